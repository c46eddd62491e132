"""Binary: one of two classes."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import BINARY_METRICS, Metric
from jointrain.task._kind import SMALLEST_PROBABILITY, Classes, ClassKind, filled_labels
from jointrain.task._offered_metrics import OF_TWO_CLASSES
from jointrain.task._stacked_loss import StackedLoss


class Logistic(StackedLoss):
    """Cross-entropy of yes and no."""

    name = "logistic"
    of_logits = True

    def __call__(
        self,
        output: Tensor,
        target: Tensor,
        share: Tensor,
        width: int,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Return losses and slope, see `StackedLoss`."""
        losses = functional.binary_cross_entropy_with_logits(
            output, target, share, reduction="none"
        )
        return losses, output.sigmoid().sub_(target).mul_(share)


class Binary(ClassKind):
    """The output is a logit, the prediction the probability of the second class."""

    name = "binary"
    summary = "one of two classes"
    outputs_are_logits = True
    most_classes = 2
    more_metrics = OF_TWO_CLASSES
    stacked_loss: StackedLoss | None = Logistic()

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:  # noqa: ARG003
        """Return the two classes; default 0 and 1."""
        classes = classes or (0, 1)
        if len(classes) != 2:
            raise InvalidInputError(
                f"binary task {name!r} must have two classes, got {len(classes)}"
            )
        return classes

    @classmethod
    def default_size(cls, classes: Classes) -> int:  # noqa: ARG003
        """Return 1, for the logit."""
        return 1

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return ROC-AUC and log-loss."""
        return BINARY_METRICS

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no probability."""
        return (present < 0) | (present > 1), "numbers from 0 to 1"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropies."""
        return functional.binary_cross_entropy_with_logits(
            output.squeeze(-1),
            filled_labels(target).to(output.dtype).reshape(-1),
            reduction="none",
        )

    def mean_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        labels = target.to(output.dtype).reshape(-1)
        return functional.binary_cross_entropy_with_logits(output.squeeze(-1), labels)

    def predict(self, output: Tensor) -> Tensor:
        """Return the probability of the second class, [b]."""
        return output.squeeze(-1).sigmoid()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logit of the mean probability."""
        return mean_logit(outputs)

    def can_be_columns(self) -> bool:
        """Return True."""
        return True

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return the cross-entropies."""
        losses = functional.binary_cross_entropy_with_logits(
            outputs.squeeze(-1), target.masked_fill(missing, 0).to(outputs.dtype), reduction="none"
        )
        return losses.masked_fill(missing, 0)

    def in_words(self) -> str:
        """Return the name."""
        return self.name

    def prediction_shape(self) -> tuple[int, ...]:
        """Return that of one number."""
        return ()

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the probability of the second class."""
        return np.asarray(values[:, 1])

    def probabilities(self, prediction: np.ndarray) -> np.ndarray:
        """Return both probabilities."""
        return np.stack([1 - prediction, prediction], axis=1)

    def chances(self, stacked: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the probability that each component gave to the class that it was, [n, k]."""
        given = np.where(labels[:, None] > 0.5, stacked, 1 - stacked)
        return np.clip(given, SMALLEST_PROBABILITY, 1.0)

    def deciding(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows of the rarer class, on which ROC-AUC hangs."""
        known = np.isfinite(labels)
        second = known & (labels > 0.5)
        first = known & ~second
        return min(first, second, key=lambda rows: (not rows.any(), int(rows.sum())))


def mean_logit(outputs: Tensor) -> Tensor:
    """Return the logits of the members' mean probabilities, [b, k, o] -> [b, o]."""
    yes = functional.logsigmoid(outputs).logsumexp(1)
    no = functional.logsigmoid(-outputs).logsumexp(1)
    return yes - no
