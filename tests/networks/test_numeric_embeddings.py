"""Embeddings of numbers, against their formulas."""

import math

import pytest
import torch

from jointrain import InvalidInputError
from jointrain.networks import NumericEmbeddings


def test_linear_ones_are_a_line_for_each_feature_cut_at_zero():
    made = NumericEmbeddings(3, kind="linear", width=4)
    x = torch.randn(5, 3)
    weight, bias = made.layers.linear.weight, made.layers.linear.bias
    expected = (x[:, :, None] * weight + bias).clamp_min(0).flatten(1)
    torch.testing.assert_close(made(x), expected)
    assert made.out_features == 12


def test_periodic_ones_are_sines_and_cosines_through_one_linear_layer():
    made = NumericEmbeddings(3, width=4)
    x = torch.randn(5, 3)
    angles = 2 * math.pi * made.layers.periodic.weight * x[:, :, None]
    waves = torch.cat([angles.cos(), angles.sin()], -1)
    expected = made.layers.linear(waves).clamp_min(0).flatten(1)
    torch.testing.assert_close(made(x), expected)


def test_the_scale_sets_the_spread_of_frequencies():
    narrow = NumericEmbeddings(200, frequency_scale=0.01).layers.periodic.weight.detach().std()
    wide = NumericEmbeddings(200, frequency_scale=1.0).layers.periodic.weight.detach().std()
    assert 80 < float(wide / narrow) < 120


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "must be at least 1, got 3 and 0"),
        ({"frequency_scale": 0.0}, "`frequency_scale` must be positive"),
        ({"kind": "linaer"}, "got 'linaer'.*did you mean 'linear'"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        NumericEmbeddings(3, **settings)
