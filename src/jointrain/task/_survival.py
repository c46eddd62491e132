"""Survival: when something happens, of which some rows only say that it had not yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric, log_loss_metric, mean_over_rows, share_metric
from jointrain.task._censored_concordance import censored_concordance
from jointrain.task._kind import Classes, TaskKind, filled_labels


class Survival(TaskKind):
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
        widths = torch.tensor((0.0, *self.ends), dtype=torch.float64).diff()
        mean = (prediction.double().cpu() * widths).sum(1)
        time, event = target.double().cpu().unbind(1)
        until = torch.where(event == 1, time, math.inf)
        return censored_concordance(mean, time, until, weights)
