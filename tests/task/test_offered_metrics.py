"""Metrics by name: against scikit-learn, torchmetrics and counts by hand."""

import math
import pickle

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from scipy.stats import spearmanr
from torchmetrics.functional import spearman_corrcoef

from jointrain.task._offered_metrics import (
    FBeta,
    PinballLoss,
    accuracy_of_two,
    average_precision,
    balanced_accuracy,
    brier_score,
    concordance_index,
    mean_absolute_error,
    mean_absolute_percentage_error,
    spearman,
)

RNG = np.random.default_rng(0)
Y = RNG.normal(size=40) + 3
P = Y + RNG.normal(size=40)
SOLD = (RNG.random(40) < 0.3).astype(float)
CHANCE = np.clip(0.5 * SOLD + 0.7 * RNG.random(40), 0, 1)
CLASS = RNG.integers(0, 3, 40).astype(float)
SHARES = RNG.dirichlet(np.ones(3), 40) * 0.5 + np.eye(3)[CLASS.astype(int)] * 0.5
WEIGHTS = RNG.integers(1, 4, 40).astype(float)


def _tensors(*arrays):
    return [torch.from_numpy(np.asarray(one, dtype=np.float64)) for one in arrays]


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_errors_are_those_of_scikit_learn(weights):
    given = _tensors(P, Y) + ([] if weights is None else _tensors(weights))
    for ours, theirs, settings in (
        (mean_absolute_error, reference.mean_absolute_error, {}),
        (mean_absolute_percentage_error, reference.mean_absolute_percentage_error, {}),
        (PinballLoss(0.9), reference.mean_pinball_loss, {"alpha": 0.9}),
    ):
        expected = theirs(Y, P, sample_weight=weights, **settings)
        assert ours(*given) == pytest.approx(expected)


def test_pinball_by_hand():
    # 2 too low costs 0.9 * 2, 1 too high 0.1 * 1
    given = _tensors([1.0, 4.0], [3.0, 3.0])
    assert PinballLoss(0.9)(*given) == pytest.approx((1.8 + 0.1) / 2)
    assert PinballLoss(0.5)(*given) == pytest.approx(mean_absolute_error(*given) / 2)


def test_a_percentage_of_nothing_is_undefined():
    assert math.isnan(mean_absolute_percentage_error(*_tensors([1.0, 2.0], [0.0, 2.0])))


def test_ranks_correlate_as_in_torchmetrics_ties_included():
    rounded = np.round(P)
    for prediction in (P, rounded):
        expected = float(spearman_corrcoef(*_tensors(prediction, Y)))
        assert spearman(*_tensors(prediction, Y)) == pytest.approx(expected, abs=1e-6)
    assert math.isnan(spearman(*_tensors(np.ones(5), np.arange(5))))
    assert math.isnan(spearman(*_tensors(np.arange(5), np.ones(5))))


@pytest.mark.parametrize(
    ("prediction", "target"),
    [(P, Y), (np.round(P), Y), (P, np.round(Y)), (np.round(P), np.round(Y)), (-Y, Y)],
)
def test_concordance_counts_pairs(prediction, target):
    right = pairs = 0.0
    for i in range(len(target)):
        for j in range(i):
            if target[i] == target[j]:
                continue
            pairs += 1
            agree = (prediction[i] - prediction[j]) * (target[i] - target[j])
            right += 0.5 if agree == 0 else agree > 0
    found = concordance_index(*_tensors(prediction, target))
    assert found == pytest.approx(right / pairs)


def test_concordance_of_equal_values():
    assert concordance_index(*_tensors(np.ones(4), np.arange(4))) == 0.5
    assert math.isnan(concordance_index(*_tensors(np.arange(4), np.ones(4))))
    # of two classes it is the area under the ROC curve
    found = concordance_index(*_tensors(CHANCE, SOLD))
    assert found == pytest.approx(reference.roc_auc_score(SOLD, CHANCE))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_two_classes_as_in_scikit_learn(weights):
    given = _tensors(CHANCE, SOLD) + ([] if weights is None else _tensors(weights))
    chosen = CHANCE > 0.5
    for ours, expected in (
        (accuracy_of_two, reference.accuracy_score(SOLD, chosen, sample_weight=weights)),
        (average_precision, reference.average_precision_score(SOLD, CHANCE, sample_weight=weights)),
        (
            balanced_accuracy,
            reference.balanced_accuracy_score(SOLD, chosen, sample_weight=weights),
        ),
        (FBeta(2.0), reference.fbeta_score(SOLD, chosen, beta=2, sample_weight=weights)),
        (brier_score, reference.brier_score_loss(SOLD, CHANCE, sample_weight=weights)),
    ):
        assert ours(*given) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_several_classes_as_in_scikit_learn(weights):
    given = _tensors(SHARES, CLASS) + ([] if weights is None else _tensors(weights))
    chosen = SHARES.argmax(1)
    precisions = reference.average_precision_score(
        np.eye(3)[CLASS.astype(int)], SHARES, average="macro", sample_weight=weights
    )
    assert average_precision(*given) == pytest.approx(precisions)
    balanced = reference.balanced_accuracy_score(CLASS, chosen, sample_weight=weights)
    assert balanced_accuracy(*given) == pytest.approx(balanced)
    fbeta = reference.fbeta_score(CLASS, chosen, beta=0.5, average="macro", sample_weight=weights)
    assert FBeta(0.5)(*given) == pytest.approx(fbeta)
    squares = np.square(SHARES - np.eye(3)[CLASS.astype(int)]).sum(1)
    assert brier_score(*given) == pytest.approx(np.average(squares, weights=weights))


def test_absent_classes():
    nobody = _tensors([0.2, 0.3], [0.0, 0.0])
    assert math.isnan(average_precision(*nobody))
    assert math.isnan(FBeta(1.0)(*nobody))
    assert FBeta(1.0)(*_tensors([0.2, 0.8], [0.0, 0.0])) == 0
    # a class that no target is of has no precision
    third = SHARES[CLASS < 2], CLASS[CLASS < 2]
    expected = np.mean(
        [reference.average_precision_score(third[1] == c, third[0][:, c]) for c in (0, 1)]
    )
    assert average_precision(*_tensors(*third)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "metric",
    [mean_absolute_error, PinballLoss(0.5), spearman, concordance_index, average_precision,
     accuracy_of_two, balanced_accuracy, FBeta(1.0), brier_score],
)  # fmt: skip
def test_a_prediction_that_is_no_number_is_no_figure(metric):
    assert math.isnan(metric(*_tensors([0.1, math.nan, 0.9], [0.0, 1.0, 1.0])))


def test_numbers_in_names_make_equal_metrics_that_can_be_sent():
    assert FBeta(2.0) == FBeta(2.0)
    assert pickle.loads(pickle.dumps(PinballLoss(0.9))) == PinballLoss(0.9)


@pytest.mark.parametrize("prediction", [P, np.round(P)])
def test_weights_of_rows_in_metrics_of_ranks_equal_repeated_rows(prediction):
    target, times = np.round(2 * Y), WEIGHTS.astype(int)
    given = _tensors(prediction, target, WEIGHTS)
    repeated = np.repeat(prediction, times), np.repeat(target, times)
    assert spearman(*given) == pytest.approx(spearmanr(*repeated).statistic)
    assert concordance_index(*given) == pytest.approx(concordance_index(*_tensors(*repeated)))
    # of two classes it is the area under the ROC curve
    area = reference.roc_auc_score(SOLD, CHANCE, sample_weight=WEIGHTS)
    assert concordance_index(*_tensors(CHANCE, SOLD, WEIGHTS)) == pytest.approx(area)
    for metric in (spearman, concordance_index):
        unit = _tensors(prediction, target, 1e300 * WEIGHTS)
        assert metric(*unit) == pytest.approx(metric(*given))
        even = metric(*_tensors(prediction, target, np.ones(40)))
        assert even == pytest.approx(metric(*_tensors(prediction, target)))
        assert math.isnan(metric(*_tensors(prediction, np.ones(40), WEIGHTS)))
