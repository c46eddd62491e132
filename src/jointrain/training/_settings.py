"""TrainingSettings: how long and by what steps a network is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, get_args

from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.options import TrainingOptions, option
from jointrain.training._learning_rates import SchedulerFactory
from jointrain.training._optimizer import OptimizerFactory, Optimizers, OptimizerSettings
from jointrain.training._parameter_groups import ParameterGroups

BadRowsPolicy = Literal["raise", "skip"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(TrainingOptions):
    """How a network is trained, beside its tasks, data and schedule. A value.

    Args:
        optimizer: `OptimizerSettings`, or a function from a list of parameters to an optimiser,
            such as ``functools.partial(torch.optim.SGD, lr=0.5)``; with `parameter_groups` from a
            list of groups. Default AdamW with rate 1e-3.
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
        parameter_groups: Options of the optimiser for some parameters, such as ``lr`` and
            ``weight_decay``: a mapping from names of parts, as `Phase.freeze` has them (of several
            that hold a parameter the smallest counts), or a function of a parameter's name and
            itself that returns options. None (default): none. Phases that pretrain refuse it.
        precision: ``32`` (default), or ``bf16``, ``fp16``: training losses are computed in bfloat16
            or float16 by torch's autocast. Weights, validation and predictions stay as they are.
            With ``fp16`` losses are scaled, see `LossScale`: steps whose gradients do not fit are
            left out and counted in `EpochRecord.skipped`.
        compile: Whether training losses are computed by what torch.compile makes of the network;
            default False. Phases that pretrain, validation and predictions are computed without.
        ema: Decay in (0, 1) of a moving average of the weights, see `WeightAverage`: validation,
            early stopping and the fitted network are those of the average. None (default): none.
        lr_scheduler: Makes a scheduler of `torch.optim.lr_scheduler` from an optimiser, in place of
            `warm_up` and `decay`; each phase and optimiser has its own. ReduceLROnPlateau looks at
            the validation score. None (default): none.
        accumulate: A step takes the rows of so many batches, in so many passes through the network,
            and is exact for every balancer: that of one batch of all their rows; default 1.
            `batch_size` is then the rows of a pass.
        non_finite: What becomes of a step with a loss or gradient that is NaN or infinite.
            ``raise`` (default): training ends with an error, at the end of the epoch at the latest.
            ``skip``: the step is left out, and counted in `EpochRecord.skipped`; nothing has
            learned from it. ``rollback``: likewise, and all that is trained returns to where it was
            at the start of the epoch and goes on, on later batches, with half the learning rate.
            The last two look at every gradient, which lets a GPU wait at each step.
        non_finite_limit: How many such steps there may be, in phases in each, until training ends
            with an error all the same; ``skip`` and ``rollback`` need one, at least 1. Default 0.
        bad_rows: What becomes of a row that raises when it is read, and of a worker process that
            dies while it reads. ``raise`` (default): training ends with an error. ``skip``: the row
            is left out, and a new process reads on; both are told in a warning and counted in
            `EpochRecord.bad_rows`. For data sets with numbered rows.
        bad_rows_limit: How many there may be until training ends all the same, each row counted
            once; ``skip`` needs one, at least 1. Default 0.
        lr_scheduler_every: Whether it moves after each ``epoch`` (default) or each ``step``.

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
    parameter_groups: ParameterGroups | None = None
    lr_scheduler: SchedulerFactory | None = None
    bad_rows: BadRowsPolicy = option("raise", "Of a row.", choices=get_args(BadRowsPolicy))
    bad_rows_limit: int = option(0, "How many are let pass.", at_least=0, at_most=10**9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.optimizer, str) or not callable(self.optimizer):
            name = self.optimizer if isinstance(self.optimizer, str) else "adamw"
            raise InvalidInputError(
                f"`optimizer` must be OptimizerSettings(name={name!r}), or a function of "
                f"parameters such as functools.partial(torch.optim.SGD, lr=0.1), got "
                f"{named(self.optimizer)}"
            )
        if self.lr_scheduler is not None and not callable(self.lr_scheduler):
            raise InvalidInputError(
                f"`lr_scheduler` must be a function of an optimiser, got "
                f"{named(self.lr_scheduler)}; jointrain.training.scheduler_from_name makes one"
            )
        if (self.bad_rows == "raise") != (self.bad_rows_limit == 0):
            raise InvalidInputError(
                f"`bad_rows_limit` says how many rows `bad_rows` 'skip' may leave out, got "
                f"{self.bad_rows!r} with {self.bad_rows_limit}; give both or neither"
            )
        if self.lr_scheduler is not None and (self.warm_up or self.decay != "none"):
            raise InvalidInputError(
                "`lr_scheduler` moves the learning rate, as `warm_up` and `decay` do; give one of "
                "them"
            )


def named(given: object) -> str:
    """Return what was given in the words of an error: names as they are, else the type."""
    if given is None or isinstance(given, (str, Real)):
        return repr(given)
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__


def optimizers_of(network: Network, settings: TrainingSettings) -> Optimizers:
    """Return the optimisers of a network as the settings have them."""
    return Optimizers(
        network, settings.optimizer, settings.optimizer_layout, settings.parameter_groups
    )
