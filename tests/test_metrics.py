"""Metrics against scikit-learn, and where they are undefined."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
import torchmetrics
from hypothesis import given, strategies as st
from torch.nn import functional

from jointrain import InvalidInputError, Metric, Task
from jointrain.metrics import (
    MULTICLASS_METRICS,
    MULTILABEL_METRICS,
    SEQUENCE_METRICS,
    accuracy,
    binary_log_loss,
    compute_metrics,
    log_loss,
    macro_f1,
    r2,
    roc_auc,
    root_mean_squared_error,
)
from jointrain.task._count import mean_absolute_error, mean_poisson_deviance
from jointrain.task._ordinal import quadratic_kappa
from tests.task.examples import EXAMPLES, outputs_and_target

seeds = st.integers(0, 10_000)
counts = st.integers(2, 60)


def _generator(seed):
    return torch.Generator().manual_seed(seed)


@given(seeds, counts, st.sampled_from([1e-6, 1e-3, 1.0, 1e6]), st.sampled_from([0.0, 1.0, 1e4]))
def test_regression_metrics_equal_scikit_learn(seed, n, scale, offset):
    target = scale * (torch.randn(n, generator=_generator(seed), dtype=torch.float64) + offset)
    prediction = target + 0.3 * scale * torch.randn(
        n, generator=_generator(seed + 1), dtype=torch.float64
    )
    expected = reference.root_mean_squared_error(target, prediction)
    assert root_mean_squared_error(prediction, target) == pytest.approx(expected, rel=1e-9)
    assert r2(prediction, target) == pytest.approx(reference.r2_score(target, prediction), rel=1e-6)


def test_the_error_of_several_numbers_a_row_is_over_all_of_them():
    prediction, target = (torch.randn(30, 4, generator=_generator(seed)) for seed in (0, 1))
    weights = torch.rand(30, generator=_generator(2))
    task = Task.regression("box", 4)
    assert [metric.name for metric in task.metrics] == ["RMSE"]
    for counted in (None, weights):
        squared = reference.mean_squared_error(target, prediction, sample_weight=counted)
        found = task.primary_metric.compute(prediction, target, counted)
        assert found == pytest.approx(squared**0.5, rel=1e-6)


def test_r2_of_a_target_in_tiny_units():
    # squares below 1e-4 must not count as zero
    target = 1e-4 * torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert r2(torch.full((4,), 2.5e-4), target) == pytest.approx(0.0, abs=1e-6)
    assert r2(target.flip(0), target) == pytest.approx(-3.0, abs=1e-5)


def test_r2_of_a_target_far_from_zero():
    target = 1e7 + 1e-2 * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    assert r2(target.flip(0), target) == pytest.approx(-3.0, rel=1e-3)


@pytest.mark.parametrize("target", [[], [1.0], [3.0, 3.0, 3.0]])
def test_r2_is_undefined_for_few_rows_and_constant_targets(target):
    assert math.isnan(r2(torch.zeros(len(target)), torch.tensor(target)))


@given(seeds, st.integers(4, 60))
def test_binary_metrics_equal_scikit_learn(seed, n):
    target = torch.randint(0, 2, (n,), generator=_generator(seed))
    target[:2] = torch.tensor([0, 1])
    # rounding makes ties, which count one half
    prediction = torch.rand(n, generator=_generator(seed + 1)).mul(8).round().div(10).add(0.05)
    assert roc_auc(prediction, target) == pytest.approx(
        reference.roc_auc_score(target, prediction), abs=1e-6
    )
    assert binary_log_loss(prediction, target) == pytest.approx(
        reference.log_loss(target, prediction.double()), rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_roc_auc_of_targets_of_any_type(dtype):
    target = torch.tensor([0, 1, 0, 1]).to(dtype)
    assert roc_auc(torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.bfloat16), target) == 0.75


@pytest.mark.parametrize("target", [[], [1.0], [0.0, 0.0], [1.0, 1.0, 1.0]])
def test_roc_auc_is_undefined_when_a_class_is_absent(target):
    assert math.isnan(roc_auc(torch.linspace(0.1, 0.9, len(target)), torch.tensor(target)))


def test_roc_auc_is_undefined_for_an_undefined_prediction():
    assert math.isnan(roc_auc(torch.tensor([0.1, math.nan]), torch.tensor([0.0, 1.0])))


def test_log_loss_of_a_certain_mistake_is_finite():
    assert binary_log_loss(torch.tensor([0.0]), torch.tensor([1.0])) == pytest.approx(
        -math.log(1e-7)
    )
    assert log_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0])) == pytest.approx(-math.log(1e-7))


@given(seeds, counts, st.integers(2, 6))
def test_multiclass_metrics_equal_scikit_learn(seed, n, classes):
    target = torch.randint(0, classes, (n,), generator=_generator(seed))
    prediction = (
        torch.randn(n, classes, generator=_generator(seed + 1), dtype=torch.float64)
    ).softmax(1)
    label = prediction.argmax(1)
    assert accuracy(prediction, target) == pytest.approx(reference.accuracy_score(target, label))
    assert macro_f1(prediction, target) == pytest.approx(
        reference.f1_score(target, label, average="macro"), abs=1e-6
    )
    assert log_loss(prediction, target) == pytest.approx(
        reference.log_loss(target, prediction, labels=list(range(classes))), rel=1e-6
    )


def test_macro_f1_of_one_class_that_is_always_right():
    assert macro_f1(torch.tensor([[0.9, 0.1, 0.0]] * 3), torch.zeros(3)) == pytest.approx(1.0)


def test_multilabel_metrics_average_over_labels_that_have_both_classes():
    prediction = torch.tensor([[0.1, 0.4, 0.5], [0.8, 0.6, 0.5], [0.7, 0.3, 0.5]])
    nan = math.nan
    target = torch.tensor([[0.0, 1.0, 1.0], [1.0, nan, 1.0], [nan, 0.0, 1.0]])
    values = compute_metrics(MULTILABEL_METRICS, prediction, target)
    # label 0: ranked right; label 1: 0.4 above 0.3, right; label 2: one class, left out
    assert values["ROC-AUC"] == pytest.approx(1.0)
    expected = np.mean(
        [
            reference.log_loss([0, 1], prediction[[0, 1], 0].double(), labels=[0, 1]),
            reference.log_loss([1, 0], prediction[[0, 2], 1].double(), labels=[0, 1]),
            reference.log_loss([1, 1, 1], prediction[:, 2].double(), labels=[0, 1]),
        ]
    )
    assert values["log-loss"] == pytest.approx(expected, rel=1e-6)


def test_multilabel_metrics_skip_missing_integer_labels():
    prediction = torch.tensor([[0.1, 0.4], [0.8, 0.6], [0.7, 0.3]])
    integers = torch.tensor([[0, 1], [1, -100], [-100, 0]])
    floats = integers.double().masked_fill(integers == -100, math.nan)
    task = Task.multilabel("tags", 2)
    assert task.evaluate(prediction, integers) == task.evaluate(prediction, floats)


def test_sequence_metrics_count_labelled_positions():
    prediction = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.5, 0.5]]])
    target = torch.tensor([[0, 0], [1, -100]])
    values = compute_metrics(SEQUENCE_METRICS, prediction, target)
    assert values["accuracy"] == pytest.approx(1 / 3)
    assert values["log-loss"] == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.4)) / 3)


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_no_rows_give_nan_for_every_metric(kind):
    task = EXAMPLES[kind]
    assert task.metrics
    values = compute_metrics(task.metrics, torch.empty(0, 3), torch.empty(0))
    assert list(values) == [metric.name for metric in task.metrics]
    assert all(math.isnan(value) for value in values.values())


def test_a_torchmetrics_metric_is_reset_at_every_call():
    metric = Metric.of(torchmetrics.MeanAbsoluteError(), "MAE")
    assert (metric.name, metric.higher_is_better) == ("MAE", False)
    assert metric.compute(torch.tensor([1.0]), torch.tensor([3.0])) == pytest.approx(2.0)
    assert metric.compute(torch.tensor([1.0]), torch.tensor([2.0])) == pytest.approx(1.0)
    assert Metric.of(torchmetrics.R2Score()).name == "R2Score"


def test_a_torchmetrics_metric_is_undefined_where_ours_is():
    from torchmetrics import classification

    shares, truth = torch.tensor([0.2, 0.7, 0.9]), torch.tensor([0.0, 1.0, 1.0])
    area = Metric.of(classification.BinaryAUROC())
    assert area.compute(shares, truth) == 1.0
    assert math.isnan(area.compute(shares, torch.zeros(3)))
    assert math.isnan(area.compute(shares, torch.ones(3)))
    missing = torch.tensor([0.2, float("nan"), 0.9])
    for metric in (classification.BinaryAccuracy(), classification.BinaryAUROC()):
        assert math.isnan(Metric.of(metric).compute(missing, truth))
    assert math.isnan(Metric.of(torchmetrics.MeanSquaredError()).compute(missing, truth))


def test_a_torchmetrics_metric_is_the_same_on_every_process(monkeypatch):
    from torchmetrics.utilities.prints import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)  # which torchmetrics warns nobody on
    area = Metric.of(torchmetrics.classification.BinaryAUROC())
    assert math.isnan(area.compute(torch.tensor([0.2, 0.7]), torch.ones(2)))
    assert rank_zero_only.rank == 1


def test_other_warnings_of_torchmetrics_are_passed_on():
    metric = Metric.of(torchmetrics.ConcordanceCorrCoef())
    with pytest.warns(UserWarning, match="variance of predictions"):
        metric.compute(torch.ones(4), torch.arange(4.0))


@pytest.mark.parametrize(
    "metric, bounds",
    [
        (torchmetrics.classification.BinaryMatthewsCorrCoef(), (-1, 1)),
        (torchmetrics.classification.MulticlassCohenKappa(3), (-1, 1)),
        (torchmetrics.classification.MulticlassHingeLoss(3), (0, math.inf)),
        (torchmetrics.classification.MultilabelCoverageError(3), (0, math.inf)),
        (torchmetrics.ExplainedVariance(), (-math.inf, 1)),
        (torchmetrics.CosineSimilarity(), (-math.inf, math.inf)),
        (torchmetrics.classification.BinaryAUROC(), (0, 1)),
        (torchmetrics.MeanAbsoluteError(), (0, math.inf)),
        (torchmetrics.R2Score(), (-math.inf, 1)),
    ],
)
def test_a_torchmetrics_metric_has_the_bounds_of_its_definition(metric, bounds):
    ours = Metric.of(metric)
    assert (ours.lowest, ours.highest) == bounds


def test_a_torchmetrics_metric_is_of_one_process():
    metric = torchmetrics.MeanSquaredError()
    ours = Metric.of(metric)
    assert not ours.compute.metric.sync_on_compute
    assert metric.sync_on_compute
    assert ours.compute(torch.tensor([1.0]), torch.tensor([3.0])) == 4.0
    assert metric.update_count == 0


def test_a_torchmetrics_metric_without_a_direction_is_refused():
    with pytest.raises(ValueError, match="MeanMetric does not say whether higher is better"):
        Metric.of(torchmetrics.MeanMetric())


def test_classification_metrics_of_torchmetrics_take_the_targets_of_tables():
    from torchmetrics import classification

    from jointrain import Task

    nan = float("nan")
    prediction = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
    kind = Task(
        "kind", "multiclass", (0, 1, 2),
        metrics=(Metric.of(classification.MulticlassAccuracy(3, average="micro")),),
    )  # fmt: skip
    target = torch.tensor([0.0, 1.0, nan])
    assert kind.evaluate(prediction, target) == {"MulticlassAccuracy": 0.5}
    metric = classification.MultilabelAccuracy(3, average="micro", ignore_index=-100)
    labels = Task("labels", "multilabel", (0, 1, 2), metrics=(Metric.of(metric),))
    # of four labels that are there, the one of 0.1 is wrong
    target = torch.tensor([[1.0, 0.0, nan], [nan, nan, 1.0], [nan, nan, 1.0]])
    metrics = labels.evaluate(prediction, target)
    assert metrics == {"MultilabelAccuracy": 0.75}


def test_a_prediction_of_nan_has_no_score():
    probabilities = torch.tensor([[0.9, 0.1], [float("nan"), 0.1], [0.2, 0.8]])
    found = compute_metrics(MULTICLASS_METRICS, probabilities, torch.tensor([0, 0, 1]))
    assert all(value != value for value in found.values()), found
    labels = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = compute_metrics(MULTILABEL_METRICS, probabilities, labels)
    assert all(value != value for value in found.values()), found


@given(seeds, st.integers(4, 60))
def test_weighted_metrics_equal_scikit_learn(seed, n):
    generator = _generator(seed)
    weights = torch.rand(n, generator=generator, dtype=torch.float64) * 10
    w = weights.numpy()
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    found = y + torch.randn(n, generator=generator, dtype=torch.float64)
    assert root_mean_squared_error(found, y, weights) == pytest.approx(
        reference.root_mean_squared_error(y, found, sample_weight=w)
    )
    assert r2(found, y, weights) == pytest.approx(reference.r2_score(y, found, sample_weight=w))
    assert mean_absolute_error(found, y, weights) == pytest.approx(
        reference.mean_absolute_error(y, found, sample_weight=w)
    )
    labels = torch.arange(n) % 2
    # ties, too
    chances = (torch.rand(n, generator=generator, dtype=torch.float64) * 8).round() / 10 + 0.05
    assert roc_auc(chances, labels, weights) == pytest.approx(
        reference.roc_auc_score(labels, chances, sample_weight=w)
    )
    assert binary_log_loss(chances, labels, weights) == pytest.approx(
        reference.log_loss(labels, chances, sample_weight=w)
    )
    classes = torch.arange(n) % 3
    shares = torch.rand(n, 3, generator=generator, dtype=torch.float64).softmax(1)
    chosen = shares.argmax(1)
    assert log_loss(shares, classes, weights) == pytest.approx(
        reference.log_loss(classes, shares, sample_weight=w, labels=[0, 1, 2])
    )
    assert accuracy(shares, classes, weights) == pytest.approx(
        reference.accuracy_score(classes, chosen, sample_weight=w)
    )
    assert macro_f1(shares, classes, weights) == pytest.approx(
        reference.f1_score(classes, chosen, sample_weight=w, average="macro")
    )
    counts, rates = classes.double(), chances * 4
    assert mean_poisson_deviance(rates, counts, weights) == pytest.approx(
        reference.mean_poisson_deviance(counts, rates, sample_weight=w)
    )
    medians = (shares.cumsum(1)[:, :-1] < 0.5).sum(1)
    assert quadratic_kappa(shares, classes, weights) == pytest.approx(
        reference.cohen_kappa_score(medians, classes, weights="quadratic", sample_weight=w),
        abs=1e-9,
    )


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_metrics_of_every_kind_equal_those_of_repeated_rows(kind):
    task = EXAMPLES[kind]
    outputs, target = outputs_and_target(task, 40)
    prediction = task.predict(outputs)
    weights = torch.arange(40) % 4
    index = torch.repeat_interleave(torch.arange(40), weights)
    expected = task.evaluate(prediction[index], target[index])
    assert len(expected) > 1
    for scale in (1.0, 1e-160, 1e160):
        found = task.evaluate(prediction, target, weights.double() * scale)
        assert found == pytest.approx(expected, rel=1e-9)


def test_a_metric_without_weights_is_refused_where_rows_weigh():
    metric = Metric("worst", lambda prediction, target: 0.0, higher_is_better=False)
    task = Task("a", "regression", metrics=(metric,))
    rows = torch.zeros(3), torch.zeros(3)
    assert task.evaluate(*rows, torch.ones(3)) == {"worst": 0.0}
    with pytest.raises(InvalidInputError, match="metric 'worst' takes no weights"):
        task.evaluate(*rows, torch.tensor([1.0, 2.0, 0.0]))


def _within(prediction, target, tolerance=0.5):
    return float(((prediction - target).abs() <= tolerance).double().mean())


@pytest.mark.parametrize(
    "compute",
    [_within, functional.l1_loss, torchmetrics.functional.mean_squared_error, torch.dist],
)
def test_a_third_parameter_that_is_no_weight_does_not_get_them(compute):
    metric = Metric("own", compute, higher_is_better=False)
    assert not metric.takes_weights
    task = Task("a", "regression", metrics=(metric,))
    with pytest.raises(InvalidInputError, match="metric 'own' takes no weights"):
        task.evaluate(torch.zeros(3), torch.ones(3), torch.tensor([1.0, 2.0, 0.0]))


@pytest.mark.parametrize(
    "compute",
    [
        lambda p, t, w: 0.0,
        lambda p, t, weight=None: 0.0,
        lambda p, t, sample_weight=None: 0.0,
        lambda *arguments: 0.0,
    ],
)
def test_a_third_parameter_without_a_default_or_of_that_name_gets_weights(compute):
    assert Metric("own", compute, higher_is_better=False).takes_weights


def test_functions_that_take_the_target_first_are_refused():
    for compute in (reference.r2_score, reference.roc_auc_score, lambda target, preds: 0.0):
        with pytest.raises(InvalidInputError, match=r"'own' takes .*; give lambda prediction, t"):
            Metric("own", compute, higher_is_better=True)
    swapped = Metric("own", lambda p, t: reference.r2_score(t, p), higher_is_better=True)
    task = Task("a", "regression", metrics=(swapped,))
    target, prediction = torch.arange(4.0), torch.tensor([0.0, 1.0, 2.0, 2.0])
    assert task.evaluate(prediction, target)["own"] == pytest.approx(0.8)


def test_functions_that_are_the_same_either_way_may_take_the_target_first():
    metric = Metric("MAE", reference.mean_absolute_error, higher_is_better=False)
    prediction, target = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 5.0])
    assert metric.compute(prediction, target) == 2.0
    with pytest.raises(InvalidInputError, match="is called with the prediction first"):
        Metric("R2", reference.r2_score, higher_is_better=True)
