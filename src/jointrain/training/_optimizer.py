"""Optimisers: which one, how many of them, and the learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any, get_args

from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from jointrain.balancing.engine import is_distributed
from jointrain.errors import InvalidInputError, closest
from jointrain.networks import CategoryEmbeddings, Network
from jointrain.options import Layout, OptimizerOptions
from jointrain.training._parameter_groups import (
    ParameterGroups,
    check_options,
    grouped,
    options_by_parameter,
)
from jointrain.training._placement import state_like
from jointrain.training._row_steps import by_row

ID_RATE = 2.5
"""Vectors of ids move at so many times the learning rate, by benchmarks/recommender_log.py."""

Moved = list[nn.Parameter] | list[dict[str, Any]]
"""What an optimiser moves: parameters, or groups of them with options of their own."""

OptimizerFactory = Callable[[list[nn.Parameter]], Optimizer]
"""Makes an optimiser; where parameters have options, it is given groups, as torch's kinds are."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(OptimizerOptions):
    """Which optimiser, as plain values that a recipe can store.

    Args:
        name: ``adamw`` (default), ``adam`` or ``sgd``.
        learning_rate: Peak learning rate, > 0; default 1e-3.
        weight_decay: Decay of the weights (decoupled for adamw), >= 0; default 0.
        id_decay: Weight decay of the vectors of ids, in the steps that look them up, >= 0; default
            2.0. They move at two and a half times the learning rate, as each makes few steps.
        momentum: Momentum, with sgd only, in [0, 1); default 0.

    Raises:
        InvalidInputError: A value lies outside its range, the name is unknown, or there is momentum
            without sgd.
    """

    def of_rows(
        self,
        parameters: list[nn.Parameter],
        rows: set[int],
        options: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> Optimizer:
        """Return the optimiser of the given parameters, of which some move row by row.

        Args:
            parameters: What it moves.
            rows: Which of them, by `id`; see `by_row`.
            options: Of some of them, by `id`; default none.
        """
        optimizer = self(parameters if options is None else grouped(parameters, options))
        moved = [parameter for parameter in parameters if id(parameter) in rows]
        if not moved:
            return optimizer
        return by_row(optimizer, moved, rate=ID_RATE, decay=self.id_decay, given=options)

    def __call__(self, parameters: Moved) -> Optimizer:
        """Return the optimiser of the given parameters, or groups of them."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.name == "sgd":
            # torch's fused kernel fails if some parameters have momentum and others not yet, and
            # for shards
            fused = not self.momentum and not any(map(is_distributed, _of_groups(parameters)))
            return SGD(parameters, rate, self.momentum, weight_decay=decay, fused=fused)
        kind = AdamW if self.name == "adamw" else Adam
        return kind(parameters, rate, weight_decay=decay, fused=True)

    def check_options(self, given: Iterable[Mapping[str, Any]]) -> None:
        """Refuse options of parts of a network that the optimiser does not have.

        Raises:
            InvalidInputError: There are some; the first is named.
        """
        kind = {"adamw": AdamW, "adam": Adam, "sgd": SGD}[self.name]
        check_options(given, list(signature(kind).parameters)[1:])


class OptimizerList:
    """Optimisers that all move at every step, made when they are first asked for.

    Args:
        factory: Makes an optimiser of a list of parameters.
        moved: What each optimiser moves.
        module: Whose embeddings of ids move row by row, see `by_row`, if `OptimizerSettings` make
            the optimisers.

    Attributes:
        offered: The `id` of each parameter that was there to be moved, also of those that a
            function has left out.
    """

    def __init__(
        self,
        factory: OptimizerFactory,
        moved: Sequence[Sequence[nn.Parameter]],
        module: nn.Module | None = None,
    ) -> None:
        self._moved = [list(parameters) for parameters in moved]
        self.offered = {id(parameter) for parameters in self._moved for parameter in parameters}
        self._factory = factory
        self._rows = set() if module is None else vectors_of_ids(module)
        if self.settings is None:
            # a function of the caller's may fail, which is to be known at once
            _ = self.all

    @cached_property
    def all(self) -> list[Optimizer]:
        """All of them, made when they are first asked for.

        The first optimiser of a process makes torch import its compiler, which takes a second that
        runs with optimisers of their own (`jointrain.training.population`) need not spend.
        """
        made = [self._made_of(parameters) for parameters in self._moved]
        if any(isinstance(one, LBFGS) for one in made):
            raise InvalidInputError(
                "LBFGS asks for the loss several times a step, which training on drawn batches "
                "can't give; take another optimiser, or a loop of your own with "
                "jointrain.backward and fixed weights"
            )
        self._base_rates = [[group["lr"] for group in one.param_groups] for one in made]
        return made

    def _made_of(self, parameters: list[nn.Parameter]) -> Optimizer:
        """Return a new optimiser of parameters."""
        factory = self._factory
        if isinstance(factory, OptimizerSettings):
            return factory.of_rows(parameters, self._rows)
        return factory(parameters)

    @property
    def settings(self) -> OptimizerSettings | None:
        """What they will be made from; None if they are there, or if a function makes them."""
        made = "all" in self.__dict__
        return self._factory if isinstance(self._factory, OptimizerSettings) and not made else None

    @property
    def held(self) -> set[int]:
        """The `id` of each parameter that some optimiser moves, whole or in part."""
        if self.settings is not None:
            return self.offered
        groups = [group for optimizer in self.all for group in optimizer.param_groups]
        moved = [parameter for group in groups for parameter in group["params"]]
        return {id(getattr(parameter, "owner", parameter)) for parameter in moved}

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first one at the moment."""
        if self.settings is not None:
            return self.settings.learning_rate
        return float(self.all[0].param_groups[0]["lr"])

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self.all:
            if type(optimizer).zero_grad is not Optimizer.zero_grad:
                optimizer.zero_grad(set_to_none=True)
                continue
            # what that does but for its record for profilers, which takes longer than the rest
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def step(self, tasks: Sequence[str]) -> None:  # noqa: ARG002
        """Let all optimisers make their step."""
        for optimizer in self.all:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of each optimiser."""
        return [optimizer.state_dict() for optimizer in self.all]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Set each optimiser to what `state_dict` gave."""
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(state_like(state, optimizer))

    def take_over(self, others: OptimizerList) -> None:
        """Go on from where the optimisers of another copy of the module are."""
        self.load_state_dict(others.state_dict())
        self._base_rates = [list(rates) for rates in others._base_rates]

    def scale_base_rates(self, factor: float, *, groups: bool) -> None:
        """Multiply the learning rates at the start, and those of the moment if so asked."""
        optimizers = self.all
        self._base_rates = [[rate * factor for rate in rates] for rates in self._base_rates]
        for optimizer in optimizers if groups else ():
            for group in optimizer.param_groups:
                # torch's schedulers keep the others beside
                for name in ("lr", "initial_lr", "max_lr", "min_lr"):
                    if name in group:
                        group[name] = group[name] * factor

    def scale_learning_rate(self, factor: float) -> None:
        """Set every learning rate to `factor` times its value at the start."""
        optimizers = self.all
        for optimizer, rates in zip(optimizers, self._base_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor


class Optimizers(OptimizerList):
    """The optimisers of a network: one, one for each task, or one for each group of parameters.

    - ``one``: all parameters in one optimiser. A step moves the parameters that have a gradient;
      the momentum of shared parameters mixes the tasks, so in alternating training a task's step
      goes on in part in the direction of the tasks before it.
    - ``per_task``: each task has an optimiser over the shared parameters and its own, so the shared
      parameters have a momentum for each task (the classic form of alternating training). It is
      for steps that train one task; a step of several tasks needs that nothing is shared.
    - ``per_group``: one optimiser for the shared parameters and one for each task's own.

    Args:
        network: Whose parameters.
        factory: Makes an optimiser of a list of parameters.
        layout: See above; default ``one``.
        groups: Options of some of the parameters; default none.

    Raises:
        InvalidInputError: The layout is unknown, `groups` names no part or what is no option of the
            optimiser, or can't be followed, or the network has no trainable parameter.
    """

    def __init__(
        self,
        network: Network,
        factory: OptimizerFactory,
        layout: Layout = "one",
        groups: ParameterGroups | None = None,
    ) -> None:
        self._options = (
            None
            if groups is None
            else options_by_parameter(network, groups, slices_together=layout == "one")
        )
        if self._options is not None and isinstance(factory, OptimizerSettings):
            factory.check_options(self._options.values())
        shared = _trainable(network.shared_parameters())
        self._own = network.parameters_by_task()
        own = {task: _trainable(parameters) for task, parameters in self._own.items()}
        every = _trainable(list(network.parameters()))
        if not every:
            raise InvalidInputError("the network has no parameter that requires a gradient")
        self._network = network
        # what each optimiser moves, and the numbers of those of each task
        self._moved: list[list[nn.Parameter]] = []
        if layout == "one":
            self._by_task = dict.fromkeys(own, self._numbers_of(every))
        elif layout == "per_task":
            self._by_task = {
                task: self._numbers_of(shared + parameters) for task, parameters in own.items()
            }
        elif layout == "per_group":
            first = self._numbers_of(shared)
            self._by_task = {
                task: first + self._numbers_of(parameters) for task, parameters in own.items()
            }
        else:
            known = get_args(Layout)
            raise InvalidInputError(
                f"`optimizer_layout` must be one of {', '.join(known)}, got {layout!r}"
                f"{closest(layout, known)}"
            )
        self.layout = layout
        self._one_task_at_a_time = layout == "per_task" and bool(shared)
        self.notice_frozen()
        super().__init__(factory, self._moved, network)
        # not the slices of grouped heads, but what they are of
        self.offered = set(map(id, every))

    def _made_of(self, parameters: list[nn.Parameter]) -> Optimizer:
        """Return a new optimiser of parameters: in groups where some have options."""
        if self._options is None:
            return super()._made_of(parameters)
        if isinstance(self._factory, OptimizerSettings):
            return self._factory.of_rows(parameters, self._rows, self._options)
        groups: list[Any] = grouped(parameters, self._options)
        made = self._factory(groups)
        asked = {name for options in self._options.values() for name in options}
        # a factory may have used up an option of its own
        kept = [{name: None for name in group if name in asked} for group in made.param_groups]
        check_options(kept, made.defaults)
        return made

    def _numbers_of(self, parameters: list[nn.Parameter]) -> list[int]:
        """Return the number of a new optimiser of the parameters; none of no parameters."""
        if not parameters:
            return []
        self._moved.append(parameters)
        return [len(self._moved) - 1]

    def notice_frozen(self) -> None:
        """Take in which tasks' own parameters require no gradient at the moment.

        The head of a task may be a slice of a parameter that moves, see `GroupedLinear`.
        """
        self._frozen_tasks = {
            task for task, own in self._own.items() if not any(p.requires_grad for p in own)
        }

    def check_step(self, tasks: Sequence[str]) -> None:
        """Refuse a step that the layout can't take.

        Raises:
            InvalidInputError: The layout is ``per_task``, something is shared, and the step trains
                several tasks: every optimiser would move the shared parameters once.
        """
        if self._one_task_at_a_time and len(tasks) > 1:
            raise joint_step_refused()

    def step(self, tasks: Sequence[str]) -> None:
        """Let the optimisers of the trained tasks make their step, each once."""
        if len(self.all) == 1:
            if not len(self._network.heads.groups):
                self.all[0].step()
                return
            moved = [task for task in tasks if task not in self._frozen_tasks]
            with self._network.others_kept(moved, self.all):
                self.all[0].step()
            return
        done: set[int] = set()
        for task in tasks:
            for number in self._by_task[task]:
                if number not in done:
                    done.add(number)
                    self.all[number].step()


def joint_step_refused() -> InvalidInputError:
    """Return the error of a step of several tasks that share what optimisers per task move."""
    return InvalidInputError(
        "optimisers per task need steps of one task each, because each of them would move the "
        "shared parameters; use Alternating(), or optimizer_layout 'one' or 'per_group'"
    )


def learning_rate_factor(step: int, steps: int, warm_up: float, decay: str) -> float:
    """Return the learning rate of a step as a share of its peak.

    Args:
        step: Number of the step, from 0.
        steps: Number of all steps.
        warm_up: Share of the steps over which the rate rises linearly to its peak.
        decay: ``cosine`` (falls to 0 at the end) or ``none``.

    Source: Loshchilov & Hutter, "SGDR", ICLR 2017, eq. 5 with one cycle.
    """
    rising = round(warm_up * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if decay == "none":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def vectors_of_ids(module: nn.Module) -> set[int]:
    """Return the `id` of each parameter that holds a vector for each id."""
    layers = [layer for layer in module.modules() if isinstance(layer, CategoryEmbeddings)]
    return {id(vectors) for layer in layers for vectors in layer.vectors}


def _of_groups(parameters: Sequence[Any]) -> list[nn.Parameter]:
    """Return the parameters of a list of them or of groups."""
    return [p for one in parameters for p in (one["params"] if isinstance(one, dict) else [one])]


def _trainable(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]
