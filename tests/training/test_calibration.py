"""Temperatures and conformal widths, against scikit-learn, by hand and by simulation."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jointrain.training._calibration import conformal_radius, fit_scale, scale_probabilities


def _sample(rows=4000, classes=3, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes))
    powers = np.exp(logits)
    probabilities = powers / powers.sum(1, keepdims=True)
    labels = np.array([random.choice(classes, p=p) for p in probabilities])
    return probabilities, labels.astype(float)


def test_overconfident_probabilities_are_brought_back():
    probabilities, labels = _sample()
    overconfident = scale_probabilities(probabilities, 3.0)
    factor = fit_scale(overconfident, labels)
    assert factor == pytest.approx(1 / 3, abs=0.03)
    np.testing.assert_allclose(scale_probabilities(overconfident, 1 / 3), probabilities, atol=1e-9)


def test_two_classes_equal_a_logistic_regression_without_intercept():
    probabilities, labels = _sample(classes=2)
    logit = np.log(probabilities[:, 1] / probabilities[:, 0])
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(
        logit[:, None], labels
    )
    assert fit_scale(probabilities[:, 1], labels) == pytest.approx(oracle.coef_[0, 0], abs=1e-3)


def test_the_ranking_stays_and_rows_sum_to_one():
    probabilities, _ = _sample(rows=50)
    scaled = scale_probabilities(probabilities, 0.4)
    np.testing.assert_allclose(scaled.sum(1), 1)
    assert (scaled.argmax(1) == probabilities.argmax(1)).all()


def test_certain_probabilities_stay_finite():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    factor = fit_scale(probabilities, np.array([0.0, 1.0, 1.0]))
    assert np.isfinite(scale_probabilities(probabilities, factor)).all()
    assert factor < 0.5


def test_without_labels_nothing_changes():
    assert fit_scale(np.array([0.2, 0.8]), np.full(2, math.nan)) == 1


def test_radius_by_hand():
    residuals = np.array([3.0, -1, 2, -4, math.nan])
    assert conformal_radius(residuals, 0.8) == 4
    assert conformal_radius(residuals, 0.5) == 3
    assert conformal_radius(residuals, 0.9) == math.inf


def test_intervals_cover_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        radius = conformal_radius(random.standard_cauchy(99), 0.9)
        covered.append(np.mean(np.abs(random.standard_cauchy(200)) <= radius))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)
