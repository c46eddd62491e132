"""Losses of a task that is given another: of its probability, and corrected for selection."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.task._binary import Binary, mean_logit
from jointrain.task._kind import Classes, filled_labels

SMALLEST_PROPENSITY = 0.01
"""No row counts more than its inverse."""

LINKED_FROM = 3
"""An output of so many columns comes from a network that computes the other task, too."""


class InversePropensity(Binary):
    r"""Beside the loss of p(purchase), that of p(purchase | click), each click by 1 / p(click).

    With o for clicked, e the cross-entropy of p(purchase | click), and the network's p(click)
    without its gradient,

    .. math:: L = e(p_\text{purchase}) + \frac{o}{p_\text{click}} e .

    Its mean over all exposures estimates that of e without bias where p(click) is right: clicks are
    no sample of the exposures, and weights make them one.

    Shape:
        output: [b, 3] of a network that has both tasks, see `Network.link`: logits of p(purchase),
        of p(purchase | click) and of p(click); else as `Binary`. target: [b, 2], see
        `chained_targets`: purchase, and whether clicked; or [b].

    Source: Wang et al., "ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click
        Conversion Rate Estimation", SIGIR 2022, arXiv:2204.05125, section 4. From the paper.
    Differs from the source: both losses weigh the same; propensities are at least 0.01.
    """

    stacked_loss = None
    # the last loss is no function of softer probabilities
    outputs_are_logits = False

    def output_width(self, output: Tensor) -> int:
        """Return what is the head's own."""
        return output.numel() - (2 if output.shape[-1] >= LINKED_FROM else 0)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the losses, see above."""
        labels = filled_labels(label_of(target)).to(output.dtype)
        losses = functional.binary_cross_entropy_with_logits(output[:, 0], labels, reduction="none")
        if output.shape[-1] < LINKED_FROM:
            return losses
        if target.ndim == 1:
            raise InvalidInputError(
                f"task {self.task.name!r} is corrected for selection, and its target does not say "
                "which rows were selected; give its data the target of the other task, too, or "
                "make it by chained_targets(tasks, targets)"
            )
        selected = (target[:, 1] == 1).to(output.dtype)
        propensity = output[:, 2].detach().sigmoid().clamp_min(SMALLEST_PROPENSITY)
        return losses + self.corrected(output, labels, selected / propensity)

    def corrected(self, output: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Return the corrected loss of the second column, [b].

        Shape:
            output: [b, 3 or more]. labels, shares: [b].
        """
        errors = functional.binary_cross_entropy_with_logits(output[:, 1], labels, reduction="none")
        return shares * errors

    def mean_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean of the losses."""
        return self.losses(output, target).mean()

    def predict(self, output: Tensor) -> Tensor:
        """Return p(purchase), [b]."""
        return output[:, 0].sigmoid()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logits of the mean probabilities."""
        return mean_logit(outputs)

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the label."""
        return label_of(target)

    def can_be_columns(self) -> bool:
        """Return False."""
        return False


class DoublyRobust(InversePropensity):
    r"""As `InversePropensity`, and rows that were not clicked count by an imputed label.

    A second output of the head imputes a label, and with e' for the cross-entropy of
    p(purchase | click) to it,

    .. math::
        L = e(p_\text{purchase}) + e' + \frac{o}{p_\text{click}} (e - e')
            + \frac{o}{p_\text{click}} (e - e')^2 ,

    whose last term teaches the imputation alone. The estimate is without bias where p(click) or the
    imputation is right, and varies less.

    Source: Wang et al., ESCM2, SIGIR 2022, section 4; Wang et al., "Doubly Robust Joint Learning
        for Recommendation on Data Missing Not at Random", ICML 2019.
    Differs from the source: ESCM2 imputes the error itself, which then gives the prediction no
        gradient; here, as in the paper of 2019, it is that of an imputed label. Both losses weigh
        the same; propensities are at least 0.01.
    """

    @classmethod
    def default_size(cls, classes: Classes) -> int:  # noqa: ARG003
        """Return 2, for the logits of p(purchase | click) and of the imputed label."""
        return 2

    def values_per_row(self, shape: object) -> int:  # noqa: ARG002
        """Return 1: the index of the class."""
        return 1

    def corrected(self, output: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Return the corrected loss, [b]."""
        logit, imputed = output[:, 1], output[:, 3]

        def error(of: Tensor, to: Tensor) -> Tensor:
            return functional.binary_cross_entropy_with_logits(of, to, reduction="none")

        errors, guessed = error(logit, labels), error(logit, imputed.detach().sigmoid())
        fixed = logit.detach()
        missed = error(fixed, labels) - error(fixed, imputed.sigmoid())
        return guessed + shares * (errors - guessed) + shares * missed.square()


def label_of(target: Tensor) -> Tensor:
    """Return the label of a target that may also say which rows were selected, [b]."""
    return target[:, 0] if target.ndim == 2 else target


CORRECTIONS: dict[str, type[InversePropensity]] = {
    "inverse-propensity": InversePropensity,
    "doubly-robust": DoublyRobust,
}
"""What a task that is given another can be corrected by."""


def joint_logit(given: Tensor, own: Tensor) -> Tensor:
    """Return the logit of the product of two probabilities, by their logits.

    Without a difference of nearly equal numbers: 1 - pq = (1 - p) + p (1 - q).
    """
    yes = functional.logsigmoid(given) + functional.logsigmoid(own)
    no = torch.logaddexp(
        functional.logsigmoid(-given), functional.logsigmoid(given) + functional.logsigmoid(-own)
    )
    return yes - no
