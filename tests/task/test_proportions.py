import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from jointrain import InvalidInputError, Task

TASK = Task.proportions("soil", ["clay", "sand", "silt"])
generator = torch.Generator().manual_seed(0)
OUTPUT = torch.randn(20, 3, generator=generator, dtype=torch.float64)
SHARES = torch.randn(20, 3, generator=generator, dtype=torch.float64).softmax(1)
SHARES[0] = torch.tensor([1.0, 0.0, 0.0])


def test_the_loss_is_the_divergence():
    predicted = TASK.predict(OUTPUT)
    torch.testing.assert_close(predicted.sum(1), torch.ones(20, dtype=torch.float64))
    expected = rel_entr(SHARES.numpy(), predicted.numpy()).sum(1)
    np.testing.assert_allclose(TASK.unreduced_loss(OUTPUT, SHARES), expected)
    found = TASK.evaluate(predicted, SHARES)
    assert found["KL divergence"] == pytest.approx(expected.mean())
    assert found["misplaced share"] == pytest.approx(
        float((predicted - SHARES).clamp_min(0).sum(1).mean())
    )
    assert TASK.evaluate(SHARES, SHARES)["KL divergence"] == pytest.approx(0, abs=1e-9)


def test_a_row_with_a_missing_share_has_no_label():
    target = torch.tensor([[0.2, math.nan, 0.5], [0.2, 0.3, 0.5]])
    TASK.check_target(target)
    assert TASK.labelled(target).tolist() == [False, True]


def test_bad_input_in_one_line():
    with pytest.raises(InvalidInputError, match=r"that sum to 1, but row 2 holds 0\.2, 0\.3"):
        TASK.check_target(torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.4]]))
    with pytest.raises(InvalidInputError, match=r"holds -0\.2, but must hold shares from 0 to 1"):
        TASK.check_target(torch.tensor([[-0.2, 0.7, 0.5]]))
    with pytest.raises(InvalidInputError, match="needs its classes"):
        Task("soil", "proportions")
