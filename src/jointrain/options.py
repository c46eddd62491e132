"""Options of training, each said once: name, type, default, range and help.

Trainers, recipes, the config file and the command line's flags have them from here, so that a new
option is a field here and the code that obeys it. It needs no torch: neither does a command's help.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from jointrain.errors import InvalidInputError, closest

Decay = Literal["cosine", "none"]
Layout = Literal["one", "per_task", "per_group"]
OptimizerName = Literal["adamw", "adam", "sgd"]
WhenConverged = Literal["go_on", "freeze", "lower"]
Precision = Literal["32", "bf16", "fp16"]
NonFinite = Literal["raise", "skip", "rollback"]
Every = Literal["epoch", "step"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of an option beside its name, type and default.

    Args:
        help: One line for the command line.
        choices: The values that it takes; empty for any.
        at_least, above, at_most, below: Ends of its range; whole numbers for counts.
        flag: What flags and messages call it; None is its own name.
        zero_for_none: Whether 0 stands for None on the command line, where None can't be said.
    """

    help: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    flag: str | None = None
    zero_for_none: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse a value outside the range; None is within.

        Raises:
            InvalidInputError: It is outside.
        """
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise InvalidInputError(
                f"`{name}` must be one of {', '.join(self.choices)}, got {value!r}"
                f"{closest(str(value), self.choices)}"
            )
        ends = (self.at_least, self.above, self.at_most, self.below)
        if any(end is not None for end in ends):
            self._check_number(name, value)
        low = self.above is None or value > self.above
        low = low and (self.at_least is None or value >= self.at_least)
        high = self.at_most is None or value <= self.at_most
        high = high and (self.below is None or value < self.below)
        ranged = not self.choices
        if ranged and not (low and high and -math.inf < value < math.inf):
            raise InvalidInputError(f"`{name}` must {self._range(low)}, got {value}")

    def _check_number(self, name: str, value: Any) -> None:
        """Refuse what is no number; of a count, what is no whole one."""
        counts = isinstance(self.at_most, int)
        if isinstance(value, bool) or not isinstance(value, Integral if counts else Real):
            words = "a whole number" if counts else "a number"
            raise InvalidInputError(f"`{name}` must be {words}, got {value!r}")

    def _range(self, low: bool) -> str:
        """Say the range; of a count, the end that a value is beyond."""
        if isinstance(self.at_most, int):
            return f"be at most {self.at_most:,}" if low else f"be at least {self.at_least}"
        least, most = (
            closed if closed is not None else opened
            for closed, opened in ((self.at_least, self.above), (self.at_most, self.below))
        )
        if most is None:
            return "be positive" if self.above == 0 else f"be at least {least:g}"
        left, right = "(" if self.at_least is None else "[", ")" if self.at_most is None else "]"
        return f"lie in {left}{least:g}, {most:g}{right}"


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a dataclass field that is an option; `more` are fields of `Option`."""
    return field(default=default, metadata={"option": Option(help=help, **more)})


def same_option(kind: Any, name: str) -> Any:
    """Return a dataclass field that is an option of another dataclass; None leaves it as there."""
    return field(default=None, metadata={"option": options_of(kind)[name]})


def options_of(kind: Any) -> dict[str, Option]:
    """Return the options among the fields of a dataclass, by name."""
    return {one.name: one.metadata["option"] for one in fields(kind) if "option" in one.metadata}


def check_options(value: Any) -> None:
    """Refuse a dataclass of which an option lies outside its range.

    Raises:
        InvalidInputError: One of them does.
    """
    for name, known in options_of(value).items():
        known.check(known.flag or name, getattr(value, name))


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Which optimiser; see `jointrain.OptimizerSettings`."""

    name: OptimizerName = option(
        "adamw", "The optimiser.", choices=get_args(OptimizerName), flag="optimizer"
    )
    learning_rate: float = option(1e-3, "Peak learning rate.", above=0)
    weight_decay: float = option(0.0, "Weight decay of the optimiser.", at_least=0)
    id_decay: float = option(
        2.0, "Weight decay of vectors of ids, in the steps that look them up.", at_least=0
    )
    momentum: float = option(0.0, "Momentum of sgd.", at_least=0.0, below=1.0)

    def __post_init__(self) -> None:
        check_options(self)
        for name in options_of(self):
            if getattr(self, name) is None:
                raise InvalidInputError(f"`{name}` must be given, got None")
        if self.momentum and self.name != "sgd":
            raise InvalidInputError(f"`momentum` goes with optimizer 'sgd', not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What trainers and recipes are told of the steps; see `jointrain.TrainingSettings`."""

    refresh_every: int = option(
        1,
        "Steps for which a Gramian balancer keeps its weights.",
        at_least=1,
        at_most=10**6,
    )
    optimizer_layout: Layout = option(
        "one",
        "One optimiser, one per task, or one per parameter group.",
        choices=get_args(Layout),
    )
    warm_up: float = option(0.0, "Share of steps with rising rate.", at_least=0.0, at_most=1.0)
    decay: Decay = option("none", "How the rate falls.", choices=get_args(Decay))
    gradient_clip: float | None = option(
        None, "Largest norm of the gradient; 0 for no limit.", above=0, zero_for_none=True
    )
    l1: float = option(0.0, "Factor of the L1 penalty.", at_least=0)
    l2: float = option(0.0, "Factor of the L2 penalty.", at_least=0)
    when_converged: WhenConverged = option(
        "go_on",
        "What becomes of a target that no longer gets better.",
        choices=get_args(WhenConverged),
    )
    task_patience: int | None = option(
        None,
        "Epochs without progress of a target, with freeze and lower.",
        at_least=1,
        at_most=10**6,
    )
    converged_weight: float = option(
        0.1, "Factor of the weight of a converged target, with lower.", above=0.0, below=1.0
    )

    precision: Precision = option("32", "Digits of training.", choices=get_args(Precision))
    compile: bool = option(False, "Train by what torch.compile makes of the network.")
    accumulate: int = option(1, "Batches that make one step.", at_least=1, at_most=10**6)
    ema: float | None = option(None, "Decay of averaged weights.", above=0.0, below=1.0)
    lr_scheduler_every: Every = option(
        "epoch", "When the scheduler moves the rate.", choices=get_args(Every)
    )
    non_finite: NonFinite = option(
        "raise",
        "What becomes of a step that is not finite.",
        choices=get_args(NonFinite),
    )
    non_finite_limit: int = option(
        0, "How many such steps are let pass.", at_least=0, at_most=10**9
    )

    def __post_init__(self) -> None:
        check_options(self)
        if (self.when_converged == "go_on") != (self.task_patience is None):
            raise InvalidInputError(
                "`when_converged` 'freeze' or 'lower' and `task_patience` go together; give both "
                "or neither"
            )
        if (self.non_finite == "raise") != (self.non_finite_limit == 0):
            raise InvalidInputError(
                f"`non_finite_limit` says how many steps `non_finite` 'skip' or 'rollback' may let "
                f"pass, got {self.non_finite!r} with {self.non_finite_limit}; give both or neither"
            )
        if self.accumulate > 1 and self.refresh_every > 1:
            raise InvalidInputError(
                "`accumulate` is not exact with weights that `refresh_every` keeps; give one of "
                "them"
            )
        if self.ema is not None and self.when_converged == "freeze":
            raise InvalidInputError(
                "`ema` averages weights that `when_converged` 'freeze' sets back; give one of them"
            )


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(TrainingOptions):
    """What recipes are told in numbers and words; see `jointrain.Recipe`."""

    warm_up: float = option(0.05, "Share of steps with rising rate.", at_least=0.0, at_most=1.0)
    decay: Decay = option("cosine", "How the rate falls.", choices=get_args(Decay))
    gradient_clip: float | None = option(
        1.0, "Largest norm of the gradient; 0 for no limit.", above=0, zero_for_none=True
    )
    width: int = option(128, "Units of each layer.", at_least=1, at_most=65_536)
    depth: int = option(2, "Number of layers.", at_least=0, at_most=256)
    dropout: float | None = option(
        None,
        "Dropout probability; default 0.1; 0.5 if all are classes.",
        at_least=0.0,
        below=1.0,
    )
    input_dropout: float | None = option(
        None,
        "The same of the inputs; default 0; 0.3 if all are classes and inputs many.",
        at_least=0.0,
        below=1.0,
    )
    shared_depth: int | None = option(
        None,
        "Trunk layers, from the first, that tasks share; default all.",
        at_least=0,
        at_most=256,
    )
    batch_size: int | None = option(
        None, "Rows in a batch; default by rows.", at_least=1, at_most=2**31 - 1
    )
    epochs: int | None = option(None, "Passes at most; default by rows.", at_least=1, at_most=10**6)
    patience: int | None = option(
        None,
        "Epochs without progress before stopping; default by epochs.",
        at_least=1,
        at_most=10**6,
    )
    validation_fraction: float = option(
        0.15, "Share of rows kept for early stopping.", above=0.0, below=1.0
    )
    bins: int | None = option(
        None,
        "Pieces that each number is cut into; default by their number.",
        at_least=0,
        at_most=1024,
    )
    ensemble: int | None = option(
        1,
        "Networks in place of each, averaged; 0 chooses by the rows.",
        at_least=1,
        at_most=1024,
        zero_for_none=True,
    )


RECIPE_OPTIMIZER = OptimizerOptions(learning_rate=4e-3, weight_decay=1e-2)
"""The optimiser of a recipe that says nothing else."""
