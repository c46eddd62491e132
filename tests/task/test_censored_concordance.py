import math

import numpy as np
import pytest
import torch

from jointrain.task._censored_concordance import censored_concordance


def _by_pairs(prediction, lower, upper, weights):
    right = pairs = 0.0
    for i in range(len(prediction)):
        for j in range(len(prediction)):
            if upper[i] < lower[j]:
                weight = weights[i] * weights[j]
                pairs += weight
                right += weight * (
                    (prediction[i] < prediction[j]) + (prediction[i] == prediction[j]) / 2
                )
    return right / pairs


def test_it_is_that_of_all_pairs():
    random = np.random.default_rng(0)
    prediction = random.integers(0, 12, 70).astype(float)
    lower = random.integers(0, 20, 70).astype(float)
    upper = lower + random.integers(0, 3, 70)
    upper[::5], lower[1::7] = math.inf, -math.inf
    weights = random.gamma(2.0, 1.0, 70)
    tensors = [torch.from_numpy(one) for one in (prediction, lower, upper)]
    expected = _by_pairs(prediction, lower, upper, np.ones(70))
    assert censored_concordance(*tensors) == pytest.approx(expected)
    expected = _by_pairs(prediction, lower, upper, weights)
    assert censored_concordance(*tensors, torch.from_numpy(weights)) == pytest.approx(expected)


def test_it_is_undefined_without_a_known_order():
    nothing = torch.zeros(0)
    assert math.isnan(censored_concordance(nothing, nothing, nothing))
    one = torch.ones(3)
    assert math.isnan(censored_concordance(torch.arange(3.0), one, one))
    assert math.isnan(censored_concordance(one * math.nan, torch.arange(3.0), torch.arange(3.0)))
