"""Ordinal: one of several classes that have an order, by cumulative logits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric, mean_over_rows, share_metric
from jointrain.task._kind import Classes, ClassKind, filled_labels
from jointrain.task._offered_metrics import OF_RANKS
from jointrain.task._stacked_loss import StackedLoss

_MOST_LISTED = 10
"""Whole numbers that no row holds are named one by one up to so many."""


class _Cumulative(StackedLoss):
    name = "cumulative"
    one_target = True

    def __call__(
        self, output: Tensor, target: Tensor, share: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        output = torch.unflatten(output, -1, (-1, width))
        index = target.long()
        losses = _losses(output, index) * share
        # slopes of -log P by the thresholds t: of log s(t_y) and of log s(-t_(y-1))
        thresholds = _thresholds(output)
        levels = torch.arange(width, device=output.device)
        upper = (index.unsqueeze(-1) == levels).to(output.dtype)
        lower = (index.unsqueeze(-1) == levels + 1).to(output.dtype)
        of_threshold = lower * thresholds.sigmoid() - upper * (-thresholds).sigmoid()
        # every threshold falls with the first output, and rises with the gaps below it
        above = of_threshold.flip(-1).cumsum(-1).flip(-1)
        gaps = output[..., 1:]
        of_gaps = above[..., 1:] * gaps.sigmoid() - upper[..., 1:] * (-gaps).sigmoid()
        slope = torch.cat([-above[..., :1], of_gaps], -1)
        return losses, slope.mul_(share.unsqueeze(-1)).flatten(-2)


class Ordinal(ClassKind):
    r"""The model of cumulative logits; the prediction is the probability of each class.

    With classes 0 to c - 1, :math:`P(y \le k) = \sigma(t_k)`. The c - 1 outputs o give ordered
    thresholds: :math:`t_0 = -o_0` and :math:`t_k = t_{k-1} + \ln(1 + e^{o_k})`. A larger first
    output means a higher class; the others are the gaps between thresholds. The loss is the
    negative log-likelihood. The class that is predicted is the median of the distribution, the one
    with the lowest expected difference of ranks.

    Source: McCullagh, "Regression Models for Ordinal Data", Journal of the Royal Statistical
        Society B 42, 1980, section 2.
    Differs from the source: as heads are linear layers, gaps may depend on the row, too. A head
        with a bias only for outputs 1 to c - 2 gives the source's proportional odds.
    """

    name = "ordinal"
    summary = "one of several classes in an order"
    said_as_classes = False
    takes_order = True
    more_metrics = OF_RANKS
    stacked_loss = _Cumulative()

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the classes in their order, lowest first."""
        if len(set(parts)) < len(parts) or len(parts) == 1 or not all(parts):
            raise InvalidInputError(
                f"the order of target {name!r}, {':'.join((cls.name, *parts))!r}, must name two or "
                "more classes, each once, between colons, lowest first"
            )
        return (), tuple(parts)

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return the classes, lowest first; default the numbers up to `size`, of thresholds."""
        classes = classes or tuple(range((size or 0) + 1))
        if len(classes) < 2:
            raise InvalidInputError(
                f"ordinal task {name!r} needs two or more classes, lowest first"
            )
        return classes

    @classmethod
    def default_size(cls, classes: Classes) -> int:
        """Return the number of thresholds."""
        return len(classes) - 1

    @classmethod
    def ordered(cls, name: str, classes: Classes) -> Classes:
        """Refuse text, whose order is not known."""
        if isinstance(classes[0], str):
            listed = ", ".join(map(repr, classes[:8])) + (", ..." if len(classes) > 8 else "")
            raise InvalidInputError(
                f"ordinal target {name!r} holds text, such as {classes[0]!r}, whose order is not "
                f"known; name all classes in their order, as ordinal:LOWEST:...:HIGHEST (they are "
                f"{listed})"
            )
        return classes

    def note(self) -> str | None:
        """Say which whole numbers are no class."""
        classes = self.task.classes
        if any(type(label) is not int for label in classes):
            return None
        first, last = int(min(classes)), int(max(classes))
        lacking = last - first + 1 - len(classes)
        if lacking > _MOST_LISTED:
            return self._note_on_a_jump(sorted(map(int, classes)))
        if not lacking:
            return None
        between = [str(label) for label in range(first, last) if label not in classes]
        every = ":".join(str(label) for label in range(first, last + 1))
        return (
            f"ordinal target {self.task.name} never holds {', '.join(between)}, so the classes "
            f"around {'it' if len(between) == 1 else 'them'} are neighbours; --task "
            f"{self.task.name}=ordinal:{every} keeps a place"
        )

    def _note_on_a_jump(self, classes: Sequence[int]) -> str | None:
        """Say that one number lies far from others that follow each other."""
        steps = [after - before for before, after in pairwise(classes)]
        if median(steps) > 1:
            return None
        place = steps.index(max(steps))
        before, after = classes[place], classes[place + 1]
        odd = after if place + 1 > len(classes) // 2 else before
        return (
            f"ordinal target {self.task.name} holds nothing between {before} and {after}, so they "
            f"are neighbours; if {odd} stands for a missing label, say so: --missing {odd}"
        )

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return ranked probability score, MAE of ranks, quadratic kappa and accuracy."""
        return (
            Metric(
                "RPS", ranked_probability_score, higher_is_better=False, lowest=0,
                percent_above=0.01,
            ),
            Metric("rank MAE", mean_rank_error, higher_is_better=False, lowest=0),
            Metric(
                "quadratic kappa", quadratic_kappa, higher_is_better=True, highest=1,
                percent_above=0.1,
            ),
            share_metric("accuracy", _median_accuracy),
        )  # fmt: skip

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        return _losses(output, filled_labels(target).long().reshape(-1))

    def predict(self, output: Tensor) -> Tensor:
        """Return the probabilities, [b, c]."""
        return _log_chances(output).exp()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the outputs of the mean probabilities."""
        thresholds = _thresholds(outputs)
        below = functional.logsigmoid(thresholds).logsumexp(1)
        above = functional.logsigmoid(-thresholds).logsumexp(1)
        mean = below - above  # [b, c - 1], ordered as those of each member
        # no gap is smaller than what a sum of numbers of its size can tell
        least = torch.finfo(mean.dtype).eps * (1 + mean[:, 1:].abs())
        gaps = torch.maximum(mean.diff(dim=1), least)
        # the inverse of log(1 + exp(o))
        return torch.cat([-mean[:, :1], gaps + (-torch.expm1(-gaps)).log()], 1)

    def can_be_columns(self) -> bool:
        """Return True."""
        return True

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        return _losses(outputs, target.masked_fill(missing, 0).long()).masked_fill(missing, 0)

    def chosen(self, prediction: np.ndarray) -> np.ndarray:
        """Return the index of the median class, [n]."""
        return _median(torch.from_numpy(prediction)).numpy()


def _thresholds(output: Tensor) -> Tensor:
    """Return the ordered thresholds of outputs, [..., c - 1]."""
    if output.shape[-1] == 1:
        return -output
    return torch.cat([-output[..., :1], functional.softplus(output[..., 1:])], -1).cumsum(-1)


def _log_chances(output: Tensor) -> Tensor:
    r"""Return the logarithm of the probability of each class, [..., c - 1] -> [..., c].

    As :math:`\sigma(a) - \sigma(b) = \sigma(a) \sigma(-b) (1 - e^{b - a})` and the gap a - b is
    :math:`\ln(1 + e^o)`, the last factor is :math:`\sigma(o)`: nothing is lost in a difference.
    """
    thresholds = _thresholds(output)
    nothing = torch.zeros_like(thresholds[..., :1])
    below = torch.cat([functional.logsigmoid(thresholds), nothing], -1)
    above = torch.cat([nothing, functional.logsigmoid(-thresholds)], -1)
    gaps = torch.cat([nothing, functional.logsigmoid(output[..., 1:]), nothing], -1)
    return below + above + gaps


def _losses(output: Tensor, index: Tensor) -> Tensor:
    """Return the negative log-likelihood of class indices, [...], by outputs, [..., c - 1]."""
    return -_log_chances(output).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _median(probabilities: Tensor) -> Tensor:
    """Return the first class up to which the probabilities sum to a half, [b, c] -> [b]."""
    # rounding must not pass over a class at which the sum is a half
    return (probabilities.double().cumsum(-1)[..., :-1] < 0.5 - 1e-9).sum(-1)


def ranked_probability_score(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None
) -> float:
    """Return the mean over rows and thresholds of the squared error of P(y <= k).

    Shape:
        prediction: [b, c], probabilities. target: [b], class indices. weights: [b].

    Source: Epstein, "A Scoring System for Probability Forecasts of Ranked Categories", Journal of
        Applied Meteorology 8, 1969; in the form of Murphy, ibid. 10, 1971, divided by c - 1.
    """
    cumulative = prediction.double().cumsum(-1)[:, :-1]
    levels = torch.arange(cumulative.shape[1], device=target.device)
    errors = cumulative - (target.long()[:, None] <= levels).double()
    return mean_over_rows(errors.square().mean(1), weights)


def mean_rank_error(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return the mean difference of the ranks of the median class and the target.

    Shape:
        prediction: [b, c], probabilities. target: [b], class indices. weights: [b].
    """
    if bool(prediction.isnan().any()):
        return float("nan")
    return mean_over_rows((_median(prediction) - target.long()).abs().double(), weights)


def quadratic_kappa(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    """Return Cohen's kappa of the median class with quadratic weights.

    NaN where predictions and targets are all of one class.

    Shape:
        prediction: [b, c], probabilities. target: [b], class indices. weights: [b].

    Source: Cohen, "Weighted kappa", Psychological Bulletin 70, 1968.
    """
    if bool(prediction.isnan().any()):
        return float("nan")
    chosen, wanted = _median(prediction).double(), target.double()
    # 1 minus the mean square of differences over that of independent draws
    means = mean_over_rows(chosen, weights), mean_over_rows(wanted, weights)
    apart, wanted_apart = chosen - means[0], wanted - means[1]
    shared = 2 * mean_over_rows(apart * wanted_apart, weights)
    expected = mean_over_rows(apart.square() + wanted_apart.square(), weights)
    expected += (means[0] - means[1]) ** 2
    # ranks are whole numbers: less is what rounding leaves of equal ones
    return shared / expected if expected > 1e-20 else float("nan")


def _median_accuracy(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    if bool(prediction.isnan().any()):
        return float("nan")
    return mean_over_rows((_median(prediction) == target.long()).double(), weights)
