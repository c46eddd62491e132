"""TrainingSettings: how long and by what steps a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from jointrain.errors import InvalidInputError, closest
from jointrain.training._early_stopping import WhenConverged
from jointrain.training._optimizer import Layout, OptimizerFactory, OptimizerSettings

_LARGEST = {"refresh_every": 10**6, "batch_size": 2**31 - 1, "epochs": 10**6, "steps": 10**9,
            "patience": 10**6, "task_patience": 10**6}  # fmt: skip
"""The largest value of whole numbers; the smallest is 1."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
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
    optimizer_layout: Layout = "one"
    warm_up: float = 0.0
    decay: Literal["cosine", "none"] = "none"
    gradient_clip: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    refresh_every: int = 1
    batch_size: int = 256
    epochs: int = 100
    steps: int | None = None
    patience: int | None = None
    calibrated: bool = False
    when_converged: WhenConverged = "go_on"
    task_patience: int | None = None
    converged_weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up <= 1:
            raise InvalidInputError(f"`warm_up` must lie in [0, 1], got {self.warm_up}")
        for name, known in (("decay", ("cosine", "none")), ("optimizer_layout", get_args(Layout))):
            value = getattr(self, name)
            if value not in known:
                raise InvalidInputError(
                    f"`{name}` must be one of {', '.join(known)}, got {value!r}"
                    f"{closest(value, known)}"
                )
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise InvalidInputError(f"`gradient_clip` must be positive, got {self.gradient_clip}")
        for name in ("l1", "l2"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"`{name}` must be at least 0, got {getattr(self, name)}")
        for name, most in _LARGEST.items():
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InvalidInputError(f"`{name}` must be at least 1, got {count}")
            if count is not None and not count <= most:
                raise InvalidInputError(f"`{name}` must be at most {most:,}, got {count}")
        self._check_convergence()

    def _check_convergence(self) -> None:
        choices = get_args(WhenConverged)
        if self.when_converged not in choices:
            raise InvalidInputError(
                f"`when_converged` must be one of {', '.join(choices)}, got "
                f"{self.when_converged!r}{closest(self.when_converged, choices)}"
            )
        if (self.when_converged == "go_on") != (self.task_patience is None):
            raise InvalidInputError(
                "`when_converged` 'freeze' or 'lower' and `task_patience` go together; give both "
                "or neither"
            )
        if not 0 < self.converged_weight < 1:
            raise InvalidInputError(
                f"`converged_weight` must lie in (0, 1), got {self.converged_weight}"
            )
