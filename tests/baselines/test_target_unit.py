"""Trees learn numbers of any unit alike."""

from importlib.util import find_spec

import numpy as np
import pytest

from jointrain.baselines import BASELINES
from jointrain.baselines._target_unit import TargetUnit, feature_units

TREES = ["random forest", "extra trees", "gradient boosting", "xgboost", "lightgbm", "catboost"]


def _rows():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3))
    return x, x @ [1.0, 2.0, -1.0] + 0.3 * random.normal(size=300)


def _share_explained(baseline, x, y):
    predicted = baseline.predict(baseline.fit(x[:200], y[:200], 0, 0), x[200:], 0)
    return 1 - np.mean((predicted - y[200:]) ** 2) / np.var(y[200:])


@pytest.mark.parametrize("name", TREES)
def test_trees_learn_targets_of_any_unit(name):
    baseline = BASELINES[name]
    if baseline.package and not find_spec(baseline.package):
        pytest.skip(f"needs {baseline.package}")
    x, y = _rows()
    plain = _share_explained(baseline, x, y)
    for other in (y * 1e-5, y * 1e-60, y * 1e60, y + 1e9):
        assert _share_explained(baseline, x, other) > plain - 0.03
    assert _share_explained(baseline, x * 1e-9, y) > plain - 0.03


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost", "gradient boosting"])
def test_quantiles_of_any_unit(name):
    baseline = BASELINES[name]
    if baseline.package and not find_spec(baseline.package):
        pytest.skip(f"needs {baseline.package}")
    x, y = _rows()
    far = y + 1e9
    found = baseline.predict(baseline.fit_quantile(x, far, 0.9, 0), x, 0)
    assert 0.8 <= np.mean(far <= found) <= 1
    assert np.corrcoef(found - 1e9, y)[0, 1] > 0.8


@pytest.mark.parametrize("name", ["random forest", "extra trees"])
def test_forests_of_another_power_of_two_are_the_same_trees(name):
    x, y = _rows()
    forest = BASELINES[name]
    plain = forest.fit(x, y, 0, 0)
    small = forest.fit(x * 2.0**-30, y * 2.0**-30, 0, 0)
    np.testing.assert_array_equal(small.feature, plain.feature)
    np.testing.assert_array_equal(small.threshold[plain.feature >= 0] * 2.0**30,
                                  plain.threshold[plain.feature >= 0])  # fmt: skip
    np.testing.assert_allclose(small.value * 2.0**30, plain.value, rtol=1e-12)


def test_targets_and_features_of_common_units_stay():
    random = np.random.default_rng(0)
    for size in (1e-3, 1.0, 1e6, 1e11):
        target = size * (5 + random.normal(size=100))
        assert TargetUnit.of(target, 1e-3 * 0.5) == TargetUnit()
        assert TargetUnit().taken(target) is target
    inputs = np.stack([np.arange(9.0), np.ones(9), 1e-7 * np.arange(9)], axis=1)
    units = feature_units(inputs, 1e-4)
    assert units[:2].tolist() == [1, 1]
    assert 1 <= 8e-7 / units[2] < 2
