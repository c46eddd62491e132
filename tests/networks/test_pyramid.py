"""Decoders: a pyramid of stages, by hand, and on trunks that give one tensor."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from jointrain import InvalidInputError
from jointrain.networks import AllStages, HardSharing, PyramidHead


def stages():
    return [nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, stride=2, padding=1)]


def test_features_are_added_from_the_coarsest_up():
    torch.manual_seed(0)
    trunk, head, x = AllStages(stages()), PyramidHead([2, 3], 4, width=5), torch.randn(2, 1, 6, 8)
    fine, coarse = trunk(x)
    assert coarse.shape[2:] == (3, 4)
    up = functional.interpolate(head.lateral[1](coarse), (6, 8), mode="bilinear")
    wanted = head.last(head.lateral[0](fine) + up)
    torch.testing.assert_close(head(trunk(x), x), wanted)
    network = HardSharing(trunk, {"a": head, "b": PyramidHead([2, 3], 1, channels_first=False)})
    outputs = network(x)
    torch.testing.assert_close(outputs["a"], wanted)
    assert outputs["b"].shape == (2, 6, 8, 1)


def test_one_tensor_is_enlarged_to_the_inputs():
    head, x = PyramidHead(3, 4), torch.randn(2, 1, 6, 8)
    assert head(torch.randn(2, 3, 2, 2), x).shape == (2, 4, 6, 8)


def test_other_stages_are_refused():
    with pytest.raises(InvalidInputError, match="a head of 2 stages got features of 1; give the"):
        PyramidHead([2, 3], 4)(torch.randn(2, 3, 2, 2), torch.randn(2, 1, 6, 8))
    with pytest.raises(InvalidInputError, match="`stages` must hold at least one module"):
        AllStages([])
