"""Dropout: how much it zeroes, its mean, and masks drawn many steps at a time."""

import pytest
import torch

from jointrain import InvalidInputError
from jointrain.networks import Dropout, keep_factors, random_bytes


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9, 0.999])
def test_the_share_of_zeroes_and_the_mean(probability):
    torch.manual_seed(0)
    outputs = Dropout(probability)(torch.ones(200_000))
    zeroed = min(round(256 * probability), 255) / 256
    assert float((outputs == 0).float().mean()) == pytest.approx(zeroed, abs=0.005)
    assert float(outputs.mean()) == pytest.approx(1, abs=0.2 if probability > 0.99 else 0.02)


def test_nothing_is_dropped_in_evaluation_or_at_zero():
    x = torch.randn(5, 3)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_bytes_of_many_calls_are_those_of_one():
    whole, parts = (torch.Generator().manual_seed(3) for _ in range(2))
    expected = random_bytes(80, whole)
    assert torch.equal(expected, torch.cat([random_bytes(24, parts), random_bytes(56, parts)]))


def test_bytes_are_uniform():
    counts = torch.bincount(random_bytes(256_000, torch.Generator()).long(), minlength=256)
    # 255 degrees of freedom: the statistic exceeds 330 with probability 1e-3
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 330


def test_factors_of_float64_stay_float64():
    noise = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    factors = keep_factors(noise, 128, 2.0, torch.float64)
    assert factors.tolist() == [0, 0, 2, 2]
    assert factors.dtype == torch.float64


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_a_probability_outside_its_range_is_refused(probability):
    with pytest.raises(InvalidInputError, match="dropout"):
        Dropout(probability)
