"""Metrics that a task may be judged by in place of its kind's own, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric, mean_over_rows, share_metric
from jointrain.task._censored_concordance import censored_concordance
from jointrain.task._query_metrics import NDCG, RecallAt, group_auc

Array = NDArray[Any]
Weights = Tensor | None


@dataclass(frozen=True)
class OfferedMetric:
    """A metric by name, or a family of them with a number in the name.

    Args:
        name: What it is called; of a family all but the number, which follows: ``pinball-``.
        make: Makes it; of a family by the number.
        example: A number of the family, None if it is no family.
        allowed: What the number must be, in words.
        allows: Whether a number is.
        of_queries: Whether rows are ranked within queries.
    """

    name: str
    make: Callable[..., Metric]
    example: float | None = None
    allowed: str = ""
    allows: Callable[[float], bool] = math.isfinite
    of_queries: bool = False

    @property
    def shown(self) -> str:
        """The name, of a family with the example."""
        return self.name if self.example is None else f"{self.name}{self.example:g}"

    def named(self, name: str) -> Metric | None:
        """Return the metric of a name, None if it is another's.

        Upper and lower case, spaces, hyphens and underscores make no difference.

        Raises:
            InvalidInputError: The number in the name is none that it can be.
        """
        wanted, own = plain_name(name), plain_name(self.name)
        if self.example is None:
            return self.make() if wanted == own else None
        if not wanted.startswith(own):
            return None
        try:
            number = float(wanted[len(own) :])
        except ValueError:
            return None
        if not self.allows(number):
            raise InvalidInputError(
                f"the number in metric {name!r} must be {self.allowed}; {self.shown} is one"
            )
        return self.make(number)


def plain_name(name: str) -> str:
    """Return a name without what makes no difference."""
    return "".join(c for c in name.lower() if c not in " -_").replace("²", "2")


def _same(metric: Metric) -> Callable[[], Metric]:
    return lambda: metric


def _error(name: str, compute: Callable[..., float], percent_above: float = 0.0) -> Metric:
    """Return a metric of at least 0, lower is better."""
    return Metric(name, compute, higher_is_better=False, lowest=0, percent_above=percent_above)


# --- numbers --------------------------------------------------------------------------------------


def mean_absolute_error(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the mean absolute error, in the target's unit.

    Shape:
        prediction, target, weights: [b].
    """
    return mean_over_rows((prediction.double() - target.double()).abs(), weights)


def mean_absolute_percentage_error(
    prediction: Tensor, target: Tensor, weights: Weights = None
) -> float:
    """Return the mean of the absolute error over the target's size; NaN if a target is 0.

    Shape:
        prediction, target, weights: [b].
    """
    from sklearn.metrics import mean_absolute_percentage_error as of_arrays

    if bool((target == 0).any()):
        return float("nan")
    return _of_arrays(of_arrays, prediction, target, weights)


@dataclass(frozen=True)
class PinballLoss:
    r"""The mean of :math:`\max(q (y - p), (1 - q)(p - y))`, in the target's unit.

    The constant that makes it lowest is the quantile q; at 0.5 it is half the mean absolute error.

    Args:
        quantile: q, in (0, 1).

    Shape:
        prediction, target, weights: [b].

    Source: Koenker & Bassett, "Regression Quantiles", Econometrica 46, 1978.
    """

    quantile: float

    def __call__(self, prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
        """Return the loss; NaN if a prediction is NaN."""
        from sklearn.metrics import mean_pinball_loss

        return _of_arrays(mean_pinball_loss, prediction, target, weights, alpha=self.quantile)


def spearman(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the correlation of the ranks; NaN where predictions or targets are all equal.

    Weighted, it is the weighted correlation of the weighted ranks: the weight below a value and
    half of that at it, so that whole weights equal repeated rows.

    Shape:
        prediction, target, weights: [b].

    Source: Spearman, "The Proof and Measurement of Association between Two Things", American
        Journal of Psychology 15, 1904; weights as in Bailey & Emad, "wCorr Formulas", 2017.
    """
    from scipy.stats import rankdata

    found, wanted = _arrays(prediction, target)
    if np.isnan(found).any() or min(np.ptp(found), np.ptp(wanted)) == 0:
        return float("nan")
    of_rows = _weights(weights)
    if of_rows is None:
        return float(np.corrcoef(rankdata(found), rankdata(wanted))[0, 1])
    of_rows = of_rows / of_rows.max()
    ranks = np.stack([_weighted_ranks(found, of_rows), _weighted_ranks(wanted, of_rows)])
    covariance = np.cov(ranks, aweights=of_rows)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def _weighted_ranks(values: Array, weights: Array) -> Array:
    """Return the weight below each value and half of that at it, [b]."""
    places = np.unique(values, return_inverse=True)[1]
    at = np.bincount(places, weights)
    return np.asarray((np.cumsum(at) - at / 2)[places])


def concordance_index(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    r"""Return the share of pairs with different targets that are in the right order.

    Pairs of equal predictions count a half; NaN if all targets are equal. It is (1 + D) / 2 with
    Somers' D, here from Kendall's tau-b, whose number of pairs is known. Where rows weigh, a pair
    counts the product of its rows' weights, as in `censored_concordance`.

    Shape:
        prediction, target, weights: [b].

    Source: Harrell et al., "Evaluating the Yield of Medical Tests", JAMA 247, 1982.
    Differs from the source: no target is censored.
    """
    from scipy.stats import kendalltau

    if weights is not None:
        return censored_concordance(prediction, target, target, weights)
    found, wanted = _arrays(prediction, target)
    if np.isnan(found).any() or len(wanted) < 2 or np.ptp(wanted) == 0:
        return float("nan")
    if np.ptp(found) == 0:
        return 0.5
    apart, told = _unequal_pairs(wanted), _unequal_pairs(found)
    surplus = kendalltau(found, wanted).statistic * math.sqrt(told) * math.sqrt(apart)
    return float(0.5 + surplus / (2 * apart))


def _unequal_pairs(values: Array) -> float:
    """Return how many pairs of values differ."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((len(values) * (len(values) - 1) - (counts * (counts - 1)).sum()) / 2)


# --- classes --------------------------------------------------------------------------------------


def average_precision(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the area under the steps of precision over recall; NaN if a class is absent.

    Of several classes it is the mean over those that some target is of, each against all others.

    Shape:
        prediction: [b], probability of the second class, or [b, c]. target: [b]. weights: [b].
    """
    from sklearn.metrics import average_precision_score

    found, wanted = _arrays(prediction, target)
    classes = np.unique(wanted)
    if np.isnan(found).any() or len(classes) < 2:
        return float("nan")
    of_rows = _weights(weights)
    if found.ndim == 1:
        return float(average_precision_score(wanted > 0.5, found, sample_weight=of_rows))
    values = [
        average_precision_score(wanted == c, found[:, int(c)], sample_weight=of_rows)
        for c in classes
    ]
    return float(np.mean(values))


def accuracy_of_two(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the share of rows whose more probable class is the target's; NaN if one is NaN.

    Shape:
        prediction: [b], probability of the second class. target: [b]. weights: [b].
    """
    found, wanted = _arrays(prediction, target)
    if np.isnan(found).any():
        return float("nan")
    return float(np.average(_chosen(found) == wanted, weights=_weights(weights)))


def balanced_accuracy(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the mean over the classes of the targets of the share that is found.

    Shape:
        prediction: [b], probability of the second class, or [b, c]. target: [b]. weights: [b].
    """
    from sklearn.metrics import balanced_accuracy_score

    found, wanted = _arrays(prediction, target)
    if np.isnan(found).any():
        return float("nan")
    return float(balanced_accuracy_score(wanted, _chosen(found), sample_weight=_weights(weights)))


@dataclass(frozen=True)
class FBeta:
    r"""F-score: :math:`(1 + \beta^2) P R / (\beta^2 P + R)` of precision P and recall R.

    Of two classes it is that of the second one, of several the mean over those that occur in
    targets or predictions. NaN where the second class occurs in neither.

    Args:
        beta: How many times recall counts as much as precision, > 0.

    Shape:
        prediction: [b], probability of the second class, or [b, c]. target: [b]. weights: [b].
    """

    beta: float

    def __call__(self, prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
        """Return the score; NaN if a prediction is NaN."""
        from sklearn.metrics import fbeta_score

        found, wanted = _arrays(prediction, target)
        if np.isnan(found).any():
            return float("nan")
        chosen = _chosen(found)
        binary = found.ndim == 1
        if binary and not chosen.any() and not wanted.any():
            return float("nan")
        return float(
            fbeta_score(
                wanted.astype(np.int64),
                chosen,
                beta=self.beta,
                average="binary" if binary else "macro",
                sample_weight=_weights(weights),
                zero_division=0,
            )
        )


def brier_score(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the mean squared error of the probabilities, over several classes their sum.

    Shape:
        prediction: [b], probability of the second class, or [b, c]. target: [b]. weights: [b].

    Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
        Review 78, 1950. For two classes half of its value, as scikit-learn and most others.
    """
    found, wanted = _arrays(prediction, target)
    if found.ndim == 2:
        wanted = np.eye(found.shape[1])[wanted.astype(np.int64)]
    errors = np.square(found - wanted).reshape(len(found), -1).sum(1)
    return float(np.average(errors, weights=_weights(weights)))


def _chosen(found: Array) -> Array:
    """Return the most probable class of each row, [b]."""
    return (found > 0.5).astype(np.int64) if found.ndim == 1 else found.argmax(1)


def _arrays(prediction: Tensor, target: Tensor) -> tuple[Array, Array]:
    return prediction.double().cpu().numpy(), target.double().cpu().numpy()


def _weights(weights: Weights) -> Array | None:
    return None if weights is None else weights.double().cpu().numpy()


def _of_arrays(
    compute: Callable[..., float],
    prediction: Tensor,
    target: Tensor,
    weights: Weights,
    **settings: float,
) -> float:
    """Return what scikit-learn computes; NaN if a prediction is NaN, which it refuses."""
    found, wanted = _arrays(prediction, target)
    if np.isnan(found).any():
        return float("nan")
    return float(compute(wanted, found, sample_weight=_weights(weights), **settings))


def _whole(k: float) -> bool:
    return k >= 1 and k == int(min(k, 2**31))


_NDCG = OfferedMetric(
    "NDCG@",
    lambda k: share_metric(f"NDCG@{k:g}", NDCG(int(k))),
    10,
    "a whole number of 1 or more",
    _whole,
    of_queries=True,
)

OF_NUMBERS = (
    OfferedMetric("MAE", _same(_error("MAE", mean_absolute_error))),
    OfferedMetric("MAPE", _same(_error("MAPE", mean_absolute_percentage_error, 0.01))),
    OfferedMetric(
        "pinball-",
        lambda q: _error(f"pinball-{q:g}", PinballLoss(q)),
        0.9,
        "a quantile between 0 and 1",
        lambda q: 0 < q < 1,
    ),
    OfferedMetric(
        "Spearman",
        _same(
            Metric(
                "Spearman", spearman, higher_is_better=True, lowest=-1, highest=1, percent_above=0.1
            )
        ),
    ),
    OfferedMetric("C-index", _same(share_metric("C-index", concordance_index))),
    _NDCG,
)
"""For tasks that predict a number."""

OF_CLASSES = (
    OfferedMetric("balanced accuracy", _same(share_metric("balanced accuracy", balanced_accuracy))),
    OfferedMetric("average precision", _same(share_metric("average precision", average_precision))),
    OfferedMetric("Brier", _same(_error("Brier", brier_score, 0.01))),
    OfferedMetric(
        "F",
        lambda beta: share_metric(f"F{beta:g}", FBeta(beta)),
        2,
        "above 0",
        lambda beta: 0 < beta < math.inf,
    ),
)
"""For tasks that predict the probabilities of classes without an order."""

OF_TWO_CLASSES = (
    OfferedMetric("accuracy", _same(share_metric("accuracy", accuracy_of_two))),
    *OF_CLASSES,
    _NDCG,
    OfferedMetric(
        "recall@",
        lambda k: share_metric(f"recall@{k:g}", RecallAt(int(k))),
        10,
        "a whole number of 1 or more",
        _whole,
        of_queries=True,
    ),
    OfferedMetric("group AUC", _same(share_metric("group AUC", group_auc)), of_queries=True),
)
"""For tasks that predict the probability of the second of two classes."""

OF_RANKS = (_NDCG,)
"""For tasks that predict classes in an order."""
