"""TrainingSettings: how long and by what steps a network is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from jointrain.options import TrainingOptions, option
from jointrain.training._optimizer import OptimizerFactory, OptimizerSettings


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(TrainingOptions):
    """How a network is trained, beside its tasks, data and schedule. A value.

    Args:
        optimizer: `OptimizerSettings`, or a function from a list of parameters to an optimiser,
            such as ``functools.partial(torch.optim.SGD, lr=0.5)``. Default AdamW with rate 1e-3.
        optimizer_layout: How many optimisers: ``one`` (default), ``per_task`` or ``per_group``;
            see `Optimizers`.
        warm_up: Share of the steps over which the learning rate rises linearly; default 0.
        decay: ``cosine`` or ``none`` (default).
        gradient_clip: Largest norm of the whole gradient; None (default) clips nothing.
        l1, l2: Factors of the penalties, >= 0; default 0.
        refresh_every: Steps for which a balancer that needs the Gramian keeps its weights;
            default 1.
        batch_size: Rows in a batch; default 256. Batches are cut to nearly equal sizes.
        epochs: How often (on average) each row is seen; default 100.
        steps: Number of steps instead of `epochs`.
        patience: Stop after so many epochs without a better validation score; None (default) never
            stops early. The score is the mean over tasks of validation loss over the loss before
            training. The best weights are restored either way.
        calibrated: Whether validation losses of class tasks are those of calibrated probabilities:
            the lowest at any temperature. Networks grow too sure of themselves long before they
            stop learning to tell classes apart, which ends training too early; default False. For
            models whose probabilities are calibrated afterwards, see `validation_losses`.
        when_converged: What becomes of a task whose own validation loss has not fallen for
            `task_patience` epochs. ``go_on`` (default): nothing. ``freeze``: its own parameters
            return to where its loss was lowest, and its loss is left out from then on (a step for
            it alone is passed over); training ends when all tasks are frozen. The shared layers go
            on moving, and its validation loss with them. ``lower``: its weight is multiplied by
            `converged_weight`, which changes nothing for a balancer that looks at directions only.
        task_patience: Epochs, see `when_converged`.
        converged_weight: Factor in (0, 1); default 0.1.

    Raises:
        InvalidInputError: A value lies outside its range, or two do not go together.
    """

    optimizer: OptimizerFactory = field(default_factory=OptimizerSettings)
    batch_size: int = option(256, "Rows in a batch.", at_least=1, at_most=2**31 - 1)
    epochs: int = option(100, "Passes over the rows.", at_least=1, at_most=10**6)
    steps: int | None = option(None, "Steps in place of epochs.", at_least=1, at_most=10**9)
    patience: int | None = option(
        None, "Epochs without progress before stopping.", at_least=1, at_most=10**6
    )
    calibrated: bool = False
