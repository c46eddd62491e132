"""Metrics: one figure for how good a task's predictions are."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    import torchmetrics


@dataclass(frozen=True)
class Metric:
    """A named figure computed from predictions and targets of labelled rows.

    Args:
        name: What reports and result tables call it.
        compute: Maps (prediction, target) to one number, NaN where the figure is undefined (for
            example ROC-AUC when only one class is present). Where rows weigh, it is called with
            (prediction, target, weights), which it must take: a third parameter with a default
            counts as that if it is called ``weights``, ``weight`` or ``sample_weight``.
        higher_is_better: Which direction is an improvement.
        lowest, highest: Bounds of the figure; default none.
        percent_above: Below this, changes are reported as differences, for percentages of next to
            nothing say nothing. Default 0.
        query: Name of the column whose values say which rows are ranked among each other; `compute`
            then takes ``queries=``, [b] whole numbers. None (default) for metrics of all rows.

    Raises:
        InvalidInputError: By the names of its parameters, `compute` takes the target first, as
            those of scikit-learn do, and it matters for it.
    """

    name: str
    compute: Callable[..., float]
    higher_is_better: bool
    lowest: float = -math.inf
    highest: float = math.inf
    percent_above: float = 0.0
    query: str | None = None

    def __post_init__(self) -> None:
        first, second, *_ = [*(name.lower() for name in self._parameters), "", ""]
        either_way = getattr(self.compute, "__name__", "") in _SYMMETRIC
        if first in _TARGETS and second in _PREDICTIONS and not either_way:
            raise InvalidInputError(
                f"the function of metric {self.name!r} takes ({first}, {second}), and is called "
                "with the prediction first; give lambda prediction, target: function(target, "
                "prediction)"
            )

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        """What `compute` takes, by name; nothing where it does not say."""
        try:
            return inspect.signature(self.compute).parameters
        except (TypeError, ValueError):
            return {}

    @property
    def takes_weights(self) -> bool:
        """Whether `compute` takes weights of rows as a third argument."""
        queries = {} if self.query is None else {"queries": None}
        try:
            bound = inspect.signature(self.compute).bind(None, None, None, **queries)
        except (TypeError, ValueError):
            return False
        # a default of another name is a setting, such as a tolerance
        third = self._parameters[list(bound.arguments)[:3][-1]]
        return third.default is inspect.Parameter.empty or third.name in _WEIGHTS

    @classmethod
    def of(cls, metric: torchmetrics.Metric, name: str | None = None) -> Metric:
        """Wrap a torchmetrics metric that says which direction is better.

        Args:
            metric: Any `torchmetrics.Metric` with a scalar result. A copy of it computes each
                figure anew, of the rows of its own process, as other metrics do. It is NaN where a
                prediction is, or where torchmetrics warns that there are no positive or no negative
                samples. For a multilabel task with missing labels it needs ``ignore_index=-100``.
            name: Name in reports; default the class name.

        Raises:
            InvalidInputError: The metric does not say which direction is better.
        """
        if metric.higher_is_better is None:
            raise InvalidInputError(
                f"{type(metric).__name__} does not say whether higher is better; make a Metric "
                f"with higher_is_better= yourself"
            )

        lowest, highest = _bounds_of(metric)
        return cls(
            name or type(metric).__name__,
            _OfTorchmetrics(_of_one_process(metric)),
            bool(metric.higher_is_better),
            lowest,
            highest,
            _NEAR_ZERO if highest == 1 else 0.0,
        )


_SYMMETRIC = frozenset({
    "accuracy_score", "cohen_kappa_score", "matthews_corrcoef", "max_error", "mean_absolute_error",
    "mean_squared_error", "mean_squared_log_error", "median_absolute_error",
    "root_mean_squared_error", "root_mean_squared_log_error", "zero_one_loss",
})  # fmt: skip
"""Functions of scikit-learn that give the same whichever of target and prediction is first."""

_TARGETS = ("y_true", "target", "targets", "label", "labels")
_PREDICTIONS = (
    "y_pred", "y_score", "y_prob", "y_proba", "pred", "preds", "prediction", "predictions",
)  # fmt: skip
_WEIGHTS = ("weights", "weight", "sample_weight")
"""How functions call what they take, here and elsewhere."""

_BOUNDS = {
    "BERTScore": (-1, 1),
    "CharErrorRate": (0, math.inf),
    "CohenKappa": (-1, 1),
    "CosineSimilarity": (-math.inf, math.inf),  # it may be a sum
    "CoverageError": (0, math.inf),
    "ExplainedVariance": (-math.inf, 1),
    "HingeLoss": (0, math.inf),
    "MatthewsCorrCoef": (-1, 1),
    "MultiScaleStructuralSimilarityIndexMeasure": (-1, 1),
    "NormalizedRootMeanSquaredError": (-math.inf, math.inf),  # by a mean that may be negative
    "PeakSignalNoiseRatio": (-math.inf, math.inf),
    "SpectralAngleMapper": (0, math.pi),
    "StructuralSimilarityIndexMeasure": (-1, 1),
    "TranslationEditRate": (0, math.inf),
    "UniversalImageQualityIndex": (-1, 1),
    "WordErrorRate": (0, math.inf),
}
"""Bounds of torchmetrics' metrics by their definitions, where those of their plots are others."""


def _bounds_of(metric: torchmetrics.Metric) -> tuple[float, float]:
    for kind in type(metric).__mro__:
        name = re.sub("^(Binary|Multiclass|Multilabel)", "", kind.__name__)
        if name in _BOUNDS and kind.__module__.startswith("torchmetrics."):
            return _BOUNDS[name]
    lowest, highest = metric.plot_lower_bound, metric.plot_upper_bound
    return (-math.inf if lowest is None else lowest, math.inf if highest is None else highest)


def _of_one_process(metric: torchmetrics.Metric) -> torchmetrics.Metric:
    """Return a copy that computes without the rows of other processes, and without waiting."""
    copy = metric.clone()
    for part in copy.modules():
        vars(part)["sync_on_compute"] = False
    return copy


@dataclass(frozen=True)
class _OfTorchmetrics:
    """Computes a metric of torchmetrics anew at every call."""

    metric: torchmetrics.Metric

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        if isinstance(prediction, Tensor) and bool(prediction.isnan().any()):
            return float("nan")
        # classification metrics take integer targets; tables hold them as floats, missing as NaN
        classes = type(self.metric).__module__.startswith("torchmetrics.classification")
        if classes and target.is_floating_point():
            target = target.nan_to_num(nan=-100).long()
        self.metric.reset()
        undefined = False
        with _warnings_of_torchmetrics() as told:
            self.metric.update(prediction, target)
            figure = float(self.metric.compute())
        for one in told:
            if re.match("No (positive|negative) samples", str(one.message)):
                undefined = True  # a rate of no samples is given as 0
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return float("nan") if undefined else figure


@contextmanager
def _warnings_of_torchmetrics() -> Iterator[list[warnings.WarningMessage]]:
    """Gather the warnings, which torchmetrics keeps to itself on all processes but the first."""
    from torchmetrics.utilities.prints import rank_zero_only

    process: Any = rank_zero_only
    rank = process.rank
    process.rank = 0
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield told
    finally:
        process.rank = rank


def root_mean_squared_error(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None
) -> float:
    """Return the root mean squared error, in the target's unit.

    Shape:
        prediction, target: [b], or [b, ...] for several numbers a row. weights: [b].
    """
    errors = (prediction.double() - target.double()).square()
    return math.sqrt(
        mean_over_rows(errors.flatten(1).mean(1) if errors.ndim > 1 else errors, weights)
    )


def r2(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return the coefficient of determination; NaN for fewer than two rows or a constant target.

    Shape:
        prediction, target, weights: [b].
    """
    if len(target) < 2 or bool((target == target[0]).all()):
        return float("nan")
    # by hand, as torchmetrics takes sums of squares below 1e-4 for zero, whatever the unit
    prediction, target = prediction.double(), target.double()
    mean = mean_over_rows(target, weights)
    unexplained = mean_over_rows((target - prediction).square(), weights)
    return 1 - unexplained / mean_over_rows((target - mean).square(), weights)


def roc_auc(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return the area under the ROC curve; NaN if a class is absent or a prediction is NaN.

    Shape:
        prediction: [b], probability of the second class. target: [b], 0 or 1. weights: [b].

    Source: Hanley & McNeil, "The meaning and use of the area under a receiver operating
        characteristic (ROC) curve", Radiology 143, 1982 (the area as a rank statistic).
    """
    from scipy.stats import rankdata

    one_class = len(target) == 0 or bool((target == target[0]).all())
    if one_class or bool(prediction.isnan().any()):
        return float("nan")
    if weights is not None:
        from sklearn.metrics import roc_auc_score

        labels, scores, of_rows = (t.double().cpu().numpy() for t in (target, prediction, weights))
        return float(roc_auc_score(labels > 0.5, scores, sample_weight=of_rows))
    # by ranks, as scikit-learn's checks of its arguments take 50 times as long on a few rows
    positive = (target > 0.5).cpu().numpy()
    ranks = rankdata(prediction.double().cpu().numpy())
    count = positive.sum()
    others = len(positive) - count
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def binary_log_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return the mean negative log-likelihood, in nats; probabilities are kept 1e-7 off 0 and 1.

    Shape:
        prediction: [b], probability of the second class. target: [b], 0 or 1. weights: [b].
    """
    probability = prediction.double().clamp(1e-7, 1 - 1e-7)
    losses = functional.binary_cross_entropy(probability, target.double(), reduction="none")
    return mean_over_rows(losses, weights)


def log_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return the mean negative log-likelihood, in nats; probabilities are kept above 1e-7.

    Shape:
        prediction: [b, c], probabilities. target: [b], class indices. weights: [b].
    """
    logarithms = prediction.double().clamp_min(1e-7).log()
    losses = functional.nll_loss(logarithms, target.long(), reduction="none")
    return mean_over_rows(losses, weights)


def accuracy(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return the share of rows whose most probable class is the target's; NaN if one is NaN.

    Shape:
        prediction: [b, ..., c], probabilities. target: [b, ...], class indices.
        weights: as the target.
    """
    if bool(prediction.isnan().any()):
        return float("nan")
    return mean_over_rows((prediction.argmax(-1) == target.long()).double(), weights)


def macro_f1(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return F1 averaged over the classes that occur in target or prediction; NaN if one is NaN.

    Shape:
        prediction: [b, c], probabilities. target: [b], class indices. weights: [b].
    """
    from sklearn.metrics import f1_score

    if bool(prediction.isnan().any()):
        return float("nan")
    labels, chosen = target.long().cpu().numpy(), prediction.argmax(-1).cpu().numpy()
    of_rows = None if weights is None else weights.cpu().numpy()
    return float(f1_score(labels, chosen, average="macro", sample_weight=of_rows))


@dataclass(frozen=True)
class _MeanOverLabels:
    """Averages a one-label metric over the labels that have it; missing labels are NaN.

    It is NaN where a prediction is, which is no reason to leave a label out.
    """

    metric: Callable[..., float]

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
        values = []
        for label in range(target.shape[1]):
            labelled = ~target[:, label].isnan()
            if bool(prediction[labelled, label].isnan().any()):
                return float("nan")
            of_rows = None if weights is None else weights[labelled]
            value = self.metric(prediction[labelled, label], target[labelled, label], of_rows)
            values.append(value)
        return float(torch.tensor(values, dtype=torch.float64).nanmean())


def _sequence_log_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    kept = target != -100
    return log_loss(prediction[kept], target[kept], _of_positions(weights, kept))


def _sequence_accuracy(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    kept = target != -100
    return accuracy(prediction[kept], target[kept], _of_positions(weights, kept))


def _of_positions(weights: Tensor | None, kept: Tensor) -> Tensor | None:
    """Return the weight of each position that is kept: that of its row."""
    if weights is None:
        return None
    return weights.view(-1, *(1,) * (kept.ndim - 1)).expand_as(kept)[kept]


def mean_over_rows(values: Tensor, weights: Tensor | None) -> float:
    """Return the weighted mean; the plain one without weights.

    Shape:
        values, weights: [b], or any the same.
    """
    if weights is None:
        return float(values.mean())
    # by the largest weight first: a sum of huge ones is infinite
    weights = weights.double() / weights.max()
    return float((values * weights).sum() / weights.sum())


_NEAR_ZERO = 0.1
"""Below this, a figure between 0 and 1 is reported by its difference."""


def share_metric(name: str, compute: Callable[..., float]) -> Metric:
    """Return a metric between 0 and 1, higher is better."""
    return Metric(
        name, compute, higher_is_better=True, lowest=0, highest=1, percent_above=_NEAR_ZERO
    )


def log_loss_metric(name: str, compute: Callable[..., float]) -> Metric:
    """Return a log-loss; a hundredth of a nat is next to nothing."""
    return Metric(name, compute, higher_is_better=False, lowest=0, percent_above=0.01)


REGRESSION_METRICS = (
    Metric("RMSE", root_mean_squared_error, higher_is_better=False, lowest=0),
    Metric("R2", r2, higher_is_better=True, highest=1, percent_above=_NEAR_ZERO),
)
BINARY_METRICS = (share_metric("ROC-AUC", roc_auc), log_loss_metric("log-loss", binary_log_loss))
MULTICLASS_METRICS = (
    share_metric("accuracy", accuracy),
    share_metric("macro-F1", macro_f1),
    log_loss_metric("log-loss", log_loss),
)
MULTILABEL_METRICS = (
    share_metric("ROC-AUC", _MeanOverLabels(roc_auc)),
    log_loss_metric("log-loss", _MeanOverLabels(binary_log_loss)),
)
SEQUENCE_METRICS = (
    share_metric("accuracy", _sequence_accuracy),
    log_loss_metric("log-loss", _sequence_log_loss),
)


def compute_metrics(
    metrics: tuple[Metric, ...],
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    queries: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Return every metric by name; NaN for all where no row is left.

    Args:
        metrics: What is computed.
        prediction: Of labelled rows.
        target: Likewise.
        weights: How much each row counts, above 0; default all the same.
        queries: Which query each row is of, by the column that tells it.

    Shape:
        prediction: [b] or [b, ...]. target: [b] or [b, ...]. weights: [b]. queries: [b] each.

    Raises:
        InvalidInputError: There are weights, and a metric takes none; or a metric needs queries
            that are not given.
    """
    for metric in metrics:
        if metric.query is not None and metric.query not in (queries or {}):
            raise InvalidInputError(
                f"metric {metric.name!r} ranks rows within queries, and there is no column "
                f"{metric.query!r} of them here; it is for tables"
            )
    if weights is not None and len(weights) and bool((weights == weights[0]).all()):
        weights = None
    if weights is not None:
        for metric in metrics:
            if not metric.takes_weights:
                raise InvalidInputError(
                    f"metric {metric.name!r} takes no weights of rows; give its `compute` a third "
                    "argument `weights`, or leave out the weights"
                )
    if len(target) == 0:
        return {metric.name: float("nan") for metric in metrics}
    of_rows = () if weights is None else (weights,)
    with warnings.catch_warnings():
        # scikit-learn and torchmetrics warn about classes absent from a fold; NaN already says so
        warnings.simplefilter("ignore")
        return {
            metric.name: metric.compute(prediction, target, *of_rows)
            if metric.query is None
            else metric.compute(prediction, target, *of_rows, queries=(queries or {})[metric.query])
            for metric in metrics
        }
