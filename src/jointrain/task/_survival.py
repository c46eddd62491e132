"""Survival: when something happens, of which some rows only say that it had not yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric, log_loss_metric, mean_over_rows, share_metric
from jointrain.task._censored_concordance import censored_concordance
from jointrain.task._kind import (
    SMALLEST_PROBABILITY,
    Classes,
    PlainProblem,
    PredictedColumn,
    TableTaskKind,
    check_named,
    filled_labels,
    in_few_digits,
)


class Survival(TableTaskKind):
    r"""The prediction is the probability that it has not happened at the end of each interval.

    The task's classes are the ends of the intervals, :math:`t_1 < t_2 < ...`, the first of which
    begins at 0. A target has two columns: a time, and 1 where it happened then, 0 where the row was
    seen until then without it. The outputs are logits of the hazards, the probability to happen in
    an interval if not before; the loss is the negative log-likelihood,
    :math:`-\ln h_k - \sum_{j<k} \ln(1 - h_j)` of a time in interval k, and
    :math:`-\sum_{j: t_j \le c} \ln(1 - h_j)` of one that was seen until c. What happens after the
    last end counts as seen until there.

    Source: Singer & Willett, "It's About Time: Using Discrete-Time Survival Analysis", Journal of
        Educational Statistics 18, 1993; as a network's loss Gensheimer & Narasimhan, "A scalable
        discrete-time survival model for neural networks", PeerJ 2019.
    Differs from the second source: a censored row counts whole intervals only, not from their half.
    """

    name = "survival"
    summary = "when something happens, if it was seen to"
    cells = "times"
    blended_by = "probabilities"
    objective = "problems"

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns of times and of events, and the ends of intervals, if any."""
        wanted = "survival:TIME:EVENT, and after it the ends of intervals, such as :30:90:365"
        check_named(cls.name, name, parts, None, wanted)
        if len(parts) < 2:
            raise InvalidInputError(
                f"survival target {name!r} needs the columns of its times and of whether it "
                f"happened then; write {wanted}"
            )
        try:
            ends = tuple(float(part) for part in parts[2:])
        except ValueError:
            raise InvalidInputError(
                f"survival target {name!r} has ends of intervals that are no numbers, "
                f"{':'.join(parts[2:])!r}; write {wanted}"
            ) from None
        if ends:
            cls.checked_classes(name, ends, None)
        return tuple(parts[:2]), tuple(parts[2:])

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:  # noqa: ARG003
        """Return the ends of the intervals as numbers.

        Raises:
            InvalidInputError: There are none, or they do not rise from above 0.
        """
        ends = tuple(float(end) for end in classes)
        rising = all(low < high for low, high in zip((0.0, *ends), ends, strict=False))
        if not ends or not rising or not math.isfinite(ends[-1]):
            raise InvalidInputError(
                f"{cls.name} task {name!r} needs the ends of its intervals, which rise from above "
                f"0, such as (30, 90, 365), got {tuple(classes)}"
            )
        return ends

    @property
    def ends(self) -> tuple[float, ...]:
        """The ends of the intervals."""
        return tuple(float(end) for end in self.task.classes)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return the negative log-likelihood, and the C-index of the mean time within the ends."""
        return (
            log_loss_metric("log-loss", _LogLoss(self.ends)),
            share_metric("C-index", _Concordance(self.ends)),
        )

    def values_per_row(self, shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return 2: time, and whether it happened."""
        return 2

    def wrong_rows(self, target: Tensor) -> tuple[Tensor, str] | None:
        """Return which rows have no time, or a second value other than 0 and 1."""
        time, event = target.unbind(1)
        wrong = (time < 0) | time.isinf() | ((event != 0) & (event != 1))
        return wrong, "must be a time of 0 or more, and 1 (it happened) or 0 (seen until then)"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        survived, happened = _intervals(filled_labels(target), self.ends)
        return (
            survived * functional.softplus(output) + happened * functional.softplus(-output)
        ).sum(-1)

    def predict(self, output: Tensor) -> Tensor:
        """Return the probabilities that it has not happened yet, [b, k]."""
        return functional.logsigmoid(-output).cumsum(-1).exp()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the outputs of the mean probabilities."""
        left = functional.logsigmoid(-outputs).cumsum(-1).logsumexp(1) - math.log(outputs.shape[1])
        steps = -torch.cat([left[:, :1], left.diff(dim=-1)], -1)  # -ln(1 - h)
        return torch.expm1(steps.clamp_min(torch.finfo(steps.dtype).tiny)).log()

    # --- tables -----------------------------------------------------------------------------------

    def label_shape(self) -> tuple[int, ...]:
        """Return 2: time, and whether it happened."""
        return (2,)

    def prediction_shape(self) -> tuple[int, ...]:
        """Return a place for each end."""
        return (len(self.ends),)

    def predicted_columns(self, prediction: np.ndarray) -> list[PredictedColumn]:
        """Return the mean time within the last end, and the probability of more than each."""
        return [PredictedColumn("", "", _mean_time(prediction, self.ends))] + [
            PredictedColumn(f">{end}", "probability", prediction[:, index])
            for index, end in enumerate(in_few_digits(self.ends))
        ]

    def spread_evenly(self, labels: np.ndarray) -> np.ndarray:
        """Return where it happened, and where it was not seen to."""
        return np.asarray(labels[:, 1:] == np.array([0.0, 1.0]))

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the Kaplan-Meier estimate at the ends, [k], by whole intervals."""
        survived, happened = self._of_labels(labels)
        counts = np.ones(len(labels)) if weights is None else weights / weights.max()
        events, left = counts @ happened, counts @ survived
        hazards = events / np.maximum(events + left, 1e-300)
        return np.asarray(np.cumprod(1 - hazards))

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities as they are."""
        return values

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with probabilities."""
        if constant.shape != (len(self.ends),):
            return "has another length"
        falls = (np.diff(constant) <= 0).all() and constant[-1] >= 0 and constant[0] <= 1
        return None if falls else "has probabilities that do not fall from 1 to 0"

    def plain_problems(self, labels: np.ndarray) -> list[PlainProblem]:
        """Return whether it happens in an interval, of each row and interval not over before.

        Source: Craig, Zhong & Tibshirani, "A review of survival stacking", 2021,
            https://arxiv.org/abs/2107.13480.
        """
        survived, happened = self._of_labels(labels)
        rows, places = np.nonzero(survived + happened)
        intervals = np.eye(len(self.ends), dtype=np.float32)
        return [PlainProblem(rows, happened[rows, places], 2, more=intervals[places])]

    def plain_inputs(self) -> list[tuple[int, np.ndarray | None]]:
        """Return each interval."""
        return [(0, interval) for interval in np.eye(len(self.ends), dtype=np.float32)]

    def from_plain(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities by those of the intervals."""
        return np.cumprod(1 - np.stack([answer[:, 1] for answer in answers], axis=1), axis=1)

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the negative log-likelihoods."""
        given, _ = self.evidence(prediction[:, None], labels, np.ones(len(labels)))
        return np.asarray(-np.log(given[:, 0]))

    def evidence(
        self, stacked: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of what each row says, and the weights as they are."""
        survived, happened = self._of_labels(labels)
        count = survived.sum(1).astype(np.int64)[:, None, None]
        left = np.concatenate([np.ones((*stacked.shape[:2], 1)), stacked], axis=2)
        before = np.take_along_axis(left, count, axis=2)[:, :, 0]
        after = np.take_along_axis(left, np.minimum(count + 1, len(self.ends)), axis=2)[:, :, 0]
        given = np.where(happened.sum(1)[:, None] > 0, before - after, before)
        return np.clip(given, SMALLEST_PROBABILITY, 1.0), weights

    def _of_labels(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `_intervals` of labels, [n, 2]."""
        target = torch.from_numpy(np.asarray(labels, dtype=np.float64))
        survived, happened = _intervals(target, self.ends)
        return survived.numpy(), happened.numpy()


DEFAULT_INTERVALS = 10
"""Into so many intervals the times of events are cut, if nothing else is said."""


def default_ends(times: np.ndarray) -> tuple[float, ...]:
    """Return ends of intervals that hold about as many events each, by times of events, [n].

    Source: Kvamme & Borgan, "Continuous and discrete-time survival prediction with neural
        networks", Lifetime Data Analysis 27, 2021, section 3.1 (quantiles of the distribution).
    Differs from the source: quantiles of the times of events, not of the Kaplan-Meier curve.
    """
    levels = np.arange(1, DEFAULT_INTERVALS + 1) / DEFAULT_INTERVALS
    exact = np.quantile(times, levels, method="inverted_cdf")
    exact = exact[exact > 0]
    # what an end is called is short, and the last event is before the last end
    digits = 2 - np.floor(np.log10(exact))
    found = np.round(exact * 10.0**digits) / 10.0**digits
    found[-1:] = np.maximum(found[-1:], exact[-1:])
    return tuple(float(end) for end in np.unique(found))


def _intervals(target: Tensor, all_ends: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return which intervals each row survived, and in which it happened, [b, k] of 0 and 1."""
    ends = torch.tensor(all_ends, dtype=torch.float64, device=target.device)
    time, event = target.double().unbind(1)
    index = torch.searchsorted(ends, time.contiguous())  # the first end that is not before it
    places = torch.arange(len(ends), device=target.device)
    happened = (event[:, None] == 1) & (places == index[:, None])
    # or seen to the very end of an interval
    survived = (places < index[:, None]) | ((event[:, None] == 0) & (ends == time[:, None]))
    return survived.to(target.dtype), happened.to(target.dtype)


def _mean_time(left: np.ndarray, ends: tuple[float, ...]) -> np.ndarray:
    """Return the mean time within the last end, [n], by probabilities at the ends, [n, k].

    What happens in an interval happens in its middle on average.
    """
    before = np.concatenate([np.ones((len(left), 1)), left[:, :-1]], axis=1)
    # no matrix product, whose rounding hangs on the row: equal rows have equal times
    return np.asarray(((before + left) / 2 * np.diff((0.0, *ends))).sum(1))


@dataclass(frozen=True)
class _LogLoss:
    ends: tuple[float, ...]

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
        survived, happened = _intervals(target.double(), self.ends)
        left = prediction.double()
        before = torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], 1).clamp_min(1e-12)
        hazard = (1 - left / before).clamp(1e-7, 1 - 1e-7)
        losses = survived * (1 - hazard).log() + happened * hazard.log()
        return -mean_over_rows(losses.sum(1), weights)


@dataclass(frozen=True)
class _Concordance:
    ends: tuple[float, ...]

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
        mean = torch.from_numpy(_mean_time(prediction.double().cpu().numpy(), self.ends))
        time, event = target.double().cpu().unbind(1)
        # what was seen until a time, without the event, outlived what ended then: Harrell 1982
        since = torch.where(
            event == 1, time, torch.nextafter(time, torch.tensor(math.inf).to(time))
        )
        until = torch.where(event == 1, time, math.inf)
        return censored_concordance(mean, since, until, weights)
