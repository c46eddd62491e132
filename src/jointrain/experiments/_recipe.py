"""Recipe: all that one run needs beside the data and the seed, as plain values."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

from jointrain.balancing import (
    BALANCER_NAMES,
    BALANCERS,
    Balancer,
    ByDifficulty,
    BySize,
    balancer_from_name,
)
from jointrain.errors import InvalidInputError, closest
from jointrain.networks import (
    NETWORK_NAMES,
    NETWORKS,
    CategoryEmbeddings,
    Network,
    NetworkFactory,
    build_network,
    check_network,
)
from jointrain.options import RECIPE_OPTIMIZER, RecipeOptions, TrainingOptions
from jointrain.system.own_code import CodeReference, digest_of, path_of
from jointrain.task import CodeColumns, Task
from jointrain.training import (
    AnySchedule,
    Merge,
    OptimizerSettings,
    Phases,
    SchedulerFactory,
    TrainingSettings,
    adapter_of,
    checked_auxiliary,
    from_plain,
    scheduler_from_name,
)
from jointrain.training.sampling import Alternating, Joint, Separate

OPEN_SETTINGS = 2
"""Raised when a setting that is left open comes to mean another, so that kept runs are not used."""

_MANY_INPUTS = 300
"""From so many on, some inputs of networks for classes alone are dropped, too."""

WEIGHT_RULES = ("equal", "size", "difficulty", "gradients", "searched")

PerTask = tuple[float, ...] | tuple[str, ...] | tuple[tuple[str, float], ...]
"""Numbers or names in the order of the tasks, or pairs of a task and its number."""

OptionValue = bool | int | float | str | PerTask
"""The value of an option of a balancer or a scheduler."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe(RecipeOptions):
    """Network, weights, schedule and optimiser settings of a run on a table. A value.

    Args:
        name: What results and reports call it.
        schedule: `Joint`, `Alternating`, `Separate`, `Phases` or `Merge`; default `Joint()`. The
            phases' lengths take the place of `epochs`. `Merge` goes with network ``hard`` and, as
            `Separate`, without weights or a balancer: those that are given are left aside.
        auxiliary: Names of tasks that only help to train the others and are not predicted.
        weights: ``equal``; ``size`` (in proportion to each task's labelled rows, mean 1);
            ``difficulty`` (in proportion to each task's validation loss when trained alone, mean
            1); ``gradients`` (so that the tasks' gradients of the shared layers are of one length,
            see `gradient_weights`); ``searched`` (of eight vectors the one with the lowest
            validation loss: eight times the work); or pairs of (task, weight), where a mapping is
            accepted and 1 is the weight of tasks left out. Default ``equal``.
        partition: Which tasks share a network: groups that hold each task once. None (default) is
            one group of all tasks, or each alone for `Separate`.
        balancer: A balancing method, or the name of one (`jointrain balancers` lists them); None
            (default) is the weighted sum. An object is a template: each run gets a copy in the
            state of its construction. It is made when training starts.
        balancer_options: With a name: pairs of (hyper-parameter, value) of the method; a mapping is
            accepted. What the method has for each task, such as a `preference`, is a list in the
            order of the tasks, or a mapping by their names.
        network: Name of the way to share layers (`jointrain networks` lists them), default
            ``hard``; or what makes a `Network` of the number of inputs, the tasks and the settings,
            see `build_network`. A task that is trained alone has the same network to itself.
        network_options: Pairs of (setting, value) of the network, such as ("experts", 4); a
            mapping is accepted.
        width, depth: The network's layers, see `jointrain.MLP`; default 128 and 2.
        dropout, input_dropout: The network's dropout, of the layers and of the inputs. None
            (default): see `for_tasks`.
        shared_depth: With network ``hard``: how many of the trunk's blocks, from the first on, the
            tasks of a group share; the others are each task's own. 0 is a trunk for each task; None
            (default) shares all.
        optimizer: Which optimiser; default AdamW with rate 4e-3 and weight decay 1e-2.
        refresh_every, optimizer_layout, l1, l2, precision, compile, accumulate, ema, non_finite,
            non_finite_limit: As in `TrainingSettings`.
        lr_scheduler: Name of a scheduler of `torch.optim.lr_scheduler`, such as ``StepLR``, in
            place of `warm_up` and `decay`; default None.
        lr_scheduler_options: Pairs of (name, value) of what it takes; a mapping is accepted, and
            lists as values, such as milestones.
        lr_scheduler_every: As in `TrainingSettings`.
        parameter_groups: Options of the optimiser by parts of the network, as in
            `TrainingSettings`: pairs of (part, pairs of (option, value)); mappings are accepted.
            A task's part is left aside in networks that do not have that task.
        warm_up, decay, gradient_clip: As there, with other defaults: 0.05, ``cosine`` and 1.
        batch_size: Rows in a batch; None (default) chooses by the number of rows: an eighth of
            them, at least 64 and at most 1024.
        epochs: Passes over the rows at most; None (default) chooses so that about 750 batches are
            seen, at least 20 and at most 300 passes.
        patience: Epochs without a better validation score before stopping; None (default) is a
            sixth of the epochs, at least 8.
        when_converged, task_patience, converged_weight: As in `TrainingSettings`.
        validation_fraction: Share of the rows kept for early stopping, in (0, 1); default 0.15.
        bins: Pieces that each number is cut into for the network, see
            `PiecewiseLinearEncoding`; None (default) chooses by how many numbers there are; 0 for
            none.
        ensemble: How many networks are trained in place of each, their predictions averaged. Each
            stops early by a part of the rows of its own, so that every row is trained on by all but
            one. Default 1; None chooses by the number of rows: 8 up to 10,000, 4 up to 20,000, else
            1.

    Raises:
        InvalidInputError: A rule is unknown, a group of the partition is empty, or a value lies
            outside its range. A name of a balancer or a network is looked up where it is used (see
            `check`).
    """

    # unknown keys in stored recipes are errors
    __pydantic_config__ = {"extra": "forbid", "arbitrary_types_allowed": True}  # noqa: RUF012

    name: str = "joint"
    schedule: AnySchedule = field(default_factory=Joint)
    auxiliary: tuple[str, ...] = ()
    weights: str | tuple[tuple[str, float], ...] = "equal"
    partition: tuple[tuple[str, ...], ...] | None = None
    balancer: Balancer | CodeReference | str | None = None
    balancer_options: tuple[tuple[str, OptionValue], ...] = ()
    network: NetworkFactory | CodeReference | str = "hard"
    network_options: tuple[tuple[str, bool | int | float | str], ...] = ()
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(**vars(RECIPE_OPTIMIZER))
    )
    lr_scheduler: str | None = None
    lr_scheduler_options: tuple[tuple[str, OptionValue], ...] = ()
    parameter_groups: tuple[tuple[str, tuple[tuple[str, bool | int | float | str], ...]], ...] = ()

    def __post_init__(self) -> None:
        for name, value in [*vars(self).items()]:
            if isinstance(value, np.generic):  # as of searches over numpy's ranges
                object.__setattr__(self, name, value.item())
        super().__post_init__()
        self._check_stored()
        self._check_rates()
        if isinstance(self.weights, str):
            if self.weights not in WEIGHT_RULES:
                raise InvalidInputError(
                    f"`weights` must be {', '.join(WEIGHT_RULES)} or name=number pairs, got "
                    f"{self.weights!r}{_near(self.weights)}"
                )
        else:
            pairs = tuple(
                (str(name), _weight(name, value)) for name, value in dict(self.weights).items()
            )
            object.__setattr__(self, "weights", pairs)
        object.__setattr__(self, "balancer_options", _frozen_options(self.balancer_options))
        auxiliary = self.auxiliary
        names = (auxiliary,) if isinstance(auxiliary, str) else tuple(auxiliary)
        object.__setattr__(self, "auxiliary", names)
        self._check_kinds()
        object.__setattr__(self, "network_options", tuple(dict(self.network_options).items()))
        for name in ("width", "depth", "dropout", "input_dropout", "shared_depth"):
            if name in dict(self.network_options):
                raise InvalidInputError(
                    f"`network_options` names {name!r}, which the recipe has itself; set `{name}`"
                )
        self._check_partition()
        if self.shared_depth is not None and not 0 <= self.shared_depth <= self.depth:
            raise InvalidInputError(
                f"`shared_depth` must lie between 0 and the depth, {self.depth}, got "
                f"{self.shared_depth}"
            )
        if self.shared_depth is not None and self.network != "hard":
            raise InvalidInputError(
                f"`shared_depth` goes with network 'hard', not {_named(self.network)}; leave one "
                f"of them out"
            )
        # what other networks share is seen when one is made
        named = isinstance(self.network, str) and self.network in NETWORKS
        if isinstance(self.schedule, Merge) and named and self.network != "hard":
            raise InvalidInputError(
                f"schedule Merge() makes one shared trunk of several; it goes with network 'hard', "
                f"not {_named(self.network)}"
            )

    def _check_stored(self) -> None:
        """Refuse what no file can hold, as every study keeps its recipes."""
        if not isinstance(self.optimizer, OptimizerSettings):
            raise InvalidInputError(
                "`optimizer` of a recipe must be OptimizerSettings(...), got "
                f"{type(self.optimizer).__name__}; a function goes with Trainer(optimizer=...)"
            )
        if not isinstance(self.lr_scheduler, (str, type(None))):
            raise InvalidInputError(
                "`lr_scheduler` of a recipe must be a name, such as 'StepLR', with "
                f"`lr_scheduler_options`, got {type(self.lr_scheduler).__name__}; a function goes "
                "with Trainer(lr_scheduler=...)"
            )
        _check_schedule(self.schedule)
        for phase in getattr(self.schedule, "phases", ()):
            _check_schedule(phase.schedule)

    def _check_rates(self) -> None:
        options = _frozen_options(self.lr_scheduler_options)
        object.__setattr__(self, "lr_scheduler_options", options)
        groups = tuple(
            (str(part), tuple(dict(of_part).items()))
            for part, of_part in dict(self.parameter_groups).items()
        )
        object.__setattr__(self, "parameter_groups", groups)
        if isinstance(self.optimizer, OptimizerSettings):
            self.optimizer.check_options(dict(of_part) for _, of_part in groups)
        if self.lr_scheduler is None:
            if options:
                raise InvalidInputError("`lr_scheduler_options` need an `lr_scheduler`; name one")
            return
        # the defaults give way
        if self.warm_up not in (0.0, RecipeOptions().warm_up):
            raise InvalidInputError(
                "`lr_scheduler` moves the learning rate, as `warm_up` and `decay` do; give one of "
                "them"
            )

    def _check_kinds(self) -> None:
        if self.balancer is None and self.balancer_options:
            raise InvalidInputError("`balancer_options` need a `balancer`; name one")
        if not isinstance(self.balancer, (Balancer, CodeReference, str, type(None))):
            raise InvalidInputError(
                f"`balancer` must be a Balancer such as PCGrad(), a name or None, got "
                f"{self.balancer!r}"
            )
        if isinstance(self.balancer, Balancer) and self.balancer_options:
            raise InvalidInputError(
                "`balancer_options` go with the name of a balancer; give those of an object to its "
                "constructor"
            )
        if not isinstance(self.network, (CodeReference, str)) and not callable(self.network):
            raise InvalidInputError(
                f"`network` must be a name or what makes a network, got {self.network!r}"
            )

    def _check_partition(self) -> None:
        if self.partition is None:
            return
        groups = tuple(tuple(str(name) for name in group) for group in self.partition)
        object.__setattr__(self, "partition", groups)
        if not groups or not all(groups):
            raise InvalidInputError(f"every group of `partition` must name a task, got {groups}")
        if isinstance(self.schedule, Separate) and any(len(group) > 1 for group in groups):
            raise InvalidInputError(
                "schedule Separate() trains each task by itself; use Joint() or Alternating() for "
                "the groups of `partition`"
            )
        names = [name for group in groups for name in group]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInputError(f"`partition` names task {name!r} twice; name it once")

    def __eq__(self, other: object) -> bool:
        return self._value() == other._value() if isinstance(other, Recipe) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value())

    def _value(self) -> tuple[object, ...]:
        """Return what tells it from others: objects by what they do, not by which they are."""
        values = (getattr(self, one.name) for one in fields(self))
        return tuple((path_of(one), digest_of(one)) if _is_own(one) else one for one in values)

    def check(self) -> None:
        """Refuse a balancer or a network that can't be made, before anything is trained.

        Raises:
            InvalidInputError: There is no such method or network, or it can't take its options.
        """
        self.make_balancer()
        self._make_scheduler()
        if isinstance(self.network, CodeReference):
            raise InvalidInputError(_not_at_hand("network", self.network))
        check_network(self.network, dict(self.network_options))

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Refuse what names something that is no task, or does not fit the number of tasks.

        Args:
            tasks: The names of all tasks of the table or the experiment.

        Raises:
            InvalidInputError: Weights, partition, auxiliary tasks or balancer do so.
        """
        self.given_weights(tasks)
        self.groups(tasks)
        self.auxiliary_among(tasks)
        self.make_balancer(tasks)

    def make_balancer(self, tasks: Sequence[str] | None = None) -> Balancer | None:
        """Return the balancer, freshly made; None for the weighted sum.

        Args:
            tasks: The names of all tasks of the table or the experiment, also where networks have
                some of them each: what a balancer is told for each task is in their order.

        Raises:
            InvalidInputError: There is no such method, it can't take the options, these do not fit
                the tasks, or it is of code that is not at hand.
        """
        if self.balancer is None:
            return None
        if isinstance(self.balancer, CodeReference):
            raise InvalidInputError(_not_at_hand("balancer", self.balancer))
        if isinstance(self.balancer, str):
            options = _thawed_options(self.balancer_options)
            balancer = balancer_from_name(self.balancer, **options)
        else:
            balancer = copy.deepcopy(self.balancer)
            balancer.reset()
        if tasks is not None and (balancer.task_names is not None or balancer.told_of_tasks):
            balancer.positions_of(tasks)
        return balancer

    def _make_scheduler(self) -> SchedulerFactory | None:
        if self.lr_scheduler is None:
            return None
        return scheduler_from_name(self.lr_scheduler, **_thawed_options(self.lr_scheduler_options))

    def for_tasks(
        self, tasks: Sequence[Task], in_features: int, codes: Sequence[CodeColumns] = ()
    ) -> Recipe:
        """Return the recipe with what it leaves open chosen by the tasks of the whole table.

        By all of them, so that recipes which group them differently differ in nothing else. Where
        all have classes, `dropout` is 0.5 and `input_dropout` 0.3 from 300 inputs on, below that 0;
        else they are 0.1 and 0.

        Args:
            tasks: All tasks of the table.
            in_features: Number of a network's inputs, bins and categories one by one.
            codes: Which of them are codes; each value of such a column counts as an input.
        """
        # by benchmarks/choose_defaults.py and docs/arena.md: classes are learned by heart sooner
        # than numbers, and few inputs may tell something only together
        classes = all(task.has_classes for task in tasks)
        dropout, inputs = 0.1, 0.0
        if classes:
            many = in_features + sum(code.count for code in codes) >= _MANY_INPUTS
            dropout, inputs = 0.5, 0.3 if many else 0.0
        return replace(
            self,
            dropout=dropout if self.dropout is None else self.dropout,
            input_dropout=inputs if self.input_dropout is None else self.input_dropout,
        )

    def make_network(
        self, in_features: int, tasks: Sequence[Task], codes: Sequence[CodeColumns] = ()
    ) -> Network:
        """Return the network, freshly initialised from torch's random state.

        Args:
            in_features: Number of inputs.
            tasks: The tasks that it predicts; where the table has others, see `for_tasks`.
            codes: Which inputs are codes; `CategoryEmbeddings` come before the layers then, and the
                network's factory is told the number of what they give.

        Raises:
            InvalidInputError: A setting of the network is out of range.
        """
        settings: dict[str, Any] = dict(self.network_options)
        if self.shared_depth is not None:
            settings["shared_depth"] = self.shared_depth
        recipe = self.for_tasks(tasks, in_features, codes)
        if isinstance(self.network, CodeReference):
            raise InvalidInputError(_not_at_hand("network", self.network))
        embeddings = CategoryEmbeddings(in_features, codes) if codes else None
        network = build_network(
            self.network,
            in_features if embeddings is None else embeddings.out_features,
            tasks,
            width=self.width,
            depth=self.depth,
            dropout=recipe.dropout,
            input_dropout=recipe.input_dropout,
            **settings,
        )
        if embeddings is not None:
            network.put_first(embeddings)
        network.link(tasks)
        return network

    @property
    def trains_apart(self) -> bool:
        """Whether every task is trained by itself, so that no losses are weighed or balanced."""
        return isinstance(self.schedule, (Separate, Merge))

    @property
    def weighs_by_other_runs(self) -> bool:
        """Whether the tasks' weights come from runs of fresh networks before the training."""
        others = ("difficulty", "gradients", "searched")
        return self.weights in others and not self.trains_apart

    def groups(self, tasks: Sequence[str]) -> list[tuple[str, ...]]:
        """Return which tasks share a network: as `partition` says, else all (or each alone).

        Raises:
            InvalidInputError: The partition names something that is no task, or leaves one out.
        """
        if self.partition is not None:
            named = [name for group in self.partition for name in group]
            for name in named:
                if name not in tasks:
                    raise InvalidInputError(
                        f"`partition` names {name!r}, which is no task{closest(name, tasks)}"
                    )
            missing = [name for name in tasks if name not in named]
            if missing:
                raise InvalidInputError(
                    f"`partition` says nothing about task {missing[0]!r}; name it in a group, or "
                    f"in one of its own"
                )
            return [tuple(group) for group in self.partition]
        if isinstance(self.schedule, Separate):
            return [(name,) for name in tasks]
        return [tuple(tasks)]

    def chosen_ensemble(self, rows: int) -> int:
        """Return the number of networks in place of each, for `rows` labelled rows."""
        if self.ensemble is not None:
            return self.ensemble
        return 8 if rows <= 10_000 else 4 if rows <= 20_000 else 1

    def chosen_batch_size(self, rows: int) -> int:
        """Return the number of rows in a batch for `rows` training rows."""
        if self.batch_size is not None:
            return self.batch_size
        return int(min(1024, max(64, 2 ** round(math.log2(max(rows, 1) / 8)))))

    def chosen_epochs(self, rows: int) -> int:
        """Return the number of passes over `rows` training rows."""
        if self.epochs is not None:
            return self.epochs
        batches = math.ceil(rows / self.chosen_batch_size(rows))
        return min(300, max(20, math.ceil(750 / batches)))

    def chosen_patience(self, rows: int) -> int:
        """Return after how many epochs without a better score training stops."""
        return self.patience if self.patience is not None else max(8, self.chosen_epochs(rows) // 6)

    def auxiliary_in(self, group: Sequence[str]) -> tuple[str, ...]:
        """Return which of the tasks that share a network only help the others."""
        helping = tuple(name for name in group if name in self.auxiliary)
        # a group of tasks that only help others has none to help
        return () if len(helping) == len(group) else helping

    def trainer_options(
        self,
        group: Sequence[str],
        every: Sequence[str],
        *,
        weights: Mapping[str, float] | None,
        rows: int,
        validates: bool,
        calibrated: bool = False,
    ) -> dict[str, Any]:
        """Return what `Trainer` is told of a recipe for tasks that share a network.

        Args:
            group: Names of these tasks.
            every: Names of all tasks, also of those that other networks have.
            weights: Of the losses by task; 1 where one is not named.
            rows: The number of training rows.
            validates: As for `settings`, like `calibrated`.
            calibrated: Likewise.
        """
        alone = len(group) == 1
        weighed = not (alone or self.trains_apart)
        return {
            "schedule": Separate()
            if alone and not isinstance(self.schedule, Phases)
            else self.schedule,
            "auxiliary": self.auxiliary_in(group),
            # the weight of a task that is trained alone would only change its learning rate
            "weights": {n: weights[n] for n in group if n in weights}
            if weighed and weights is not None
            else None,
            "balancer": self.make_balancer(every) if weighed else None,
            "settings": self.settings(
                rows, validates=validates, calibrated=calibrated, absent=set(every) - set(group)
            ),
        }

    def settings(
        self,
        rows: int,
        *,
        validates: bool,
        calibrated: bool = False,
        explores: bool = False,
        absent: Collection[str] = (),
    ) -> TrainingSettings:
        """Return what a training on so many rows is told.

        Args:
            rows: The number of training rows.
            validates: Whether there are validation rows; else nothing waits for better scores.
            calibrated: As in `TrainingSettings`; of models that are calibrated afterwards.
            explores: Whether it only measures gradients, which is done in full precision, batch by
                batch.
            absent: Names of tasks that the network does not have.

        Raises:
            InvalidInputError: The scheduler of learning rates can't be made.
        """
        common = {one.name: getattr(self, one.name) for one in fields(TrainingOptions)}
        if not validates:
            common |= {"when_converged": "go_on", "task_patience": None}
        if explores:
            common |= {"precision": "32", "compile": False, "accumulate": 1}
        scheduler = self._make_scheduler()
        if scheduler is not None:
            common |= {"warm_up": 0.0, "decay": "none"}
        groups = {
            part: dict(options)
            for part, options in self.parameter_groups
            if part.removeprefix("heads.") not in absent
        }
        return TrainingSettings(
            optimizer=self.optimizer,
            batch_size=self.chosen_batch_size(rows),
            epochs=self.chosen_epochs(rows),
            patience=self.chosen_patience(rows) if validates else None,
            calibrated=calibrated,
            lr_scheduler=scheduler,
            parameter_groups=groups or None,
            **common,
        )

    def given_weights(self, tasks: Sequence[str]) -> Mapping[str, float] | None:
        """Return the weights that were given by number, None if a rule makes them.

        Raises:
            InvalidInputError: A weight names something that is no task.
        """
        if isinstance(self.weights, str):
            return None
        for name, _ in self.weights:
            if name not in tasks:
                raise InvalidInputError(
                    f"`weights` names {name!r}, which is no task{closest(name, tasks)}"
                )
        return dict(self.weights)

    def auxiliary_among(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return which of all tasks of a table are auxiliary.

        Raises:
            InvalidInputError: A name is no task, or all tasks are auxiliary.
        """
        checked_auxiliary(self.auxiliary, tuple(tasks))
        return self.auxiliary

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as values that JSON can hold.

        A balancer or a network that is an object becomes a description of it, see `CodeReference`.

        Raises:
            InvalidInputError: The order of alternating training is a function.
        """
        schedule = self.schedule
        stretches = (
            [phase.schedule for phase in schedule.phases]
            if isinstance(schedule, Phases)
            else [schedule]
        )
        if any(isinstance(one, Alternating) and callable(one.order) for one in stretches):
            raise InvalidInputError(
                f"recipe {self.name!r} can't be stored: the order of Alternating() is a function, "
                f"which no file can hold; use an order that has a name"
            )

        told = replace(self, balancer=_reference(self.balancer), network=_reference(self.network))
        result: dict[str, Any] = adapter_of(Recipe).dump_python(told, mode="json")
        return result

    def to_words(self) -> dict[str, Any]:
        """Return the values of `to_json`, objects by what they are called: for reports.

        Raises:
            InvalidInputError: As in `to_json`.
        """
        words = self.to_json()
        for name in ("balancer", "network"):
            value = _reference(getattr(self, name))
            if isinstance(value, CodeReference):
                words[name] = str(value)
        return words

    @property
    def own_code(self) -> list[Any]:
        """The balancer and the network that are objects."""
        return [one for one in (self.balancer, self.network) if _is_own(one)]

    def sources(self) -> dict[str, dict[str, Any]]:
        """Return which balancer and network of other packages its names mean.

        A name alone does not tell the releases of such a package from each other.
        """
        found: dict[str, dict[str, Any]] = {}
        if isinstance(self.balancer, str):
            key = self.balancer.lower().replace("_", "-")
            if key not in BALANCERS:
                found["balancer"] = asdict(CodeReference.of(BALANCER_NAMES.get(key)))
        if isinstance(self.network, str) and self.network not in NETWORKS:
            found["network"] = asdict(CodeReference.of(NETWORK_NAMES.get(self.network).build))
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_json` wrote.

        Raises:
            InvalidInputError: A value is missing or of the wrong type.
        """
        return from_plain(cls, dict(values), "recipe")


def _frozen_options(options: Any) -> tuple[tuple[str, OptionValue], ...]:
    """Return pairs of a name and a value that can be hashed: lists and mappings as tuples."""

    def frozen(value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple((str(name), number) for name, number in value.items())
        if isinstance(value, (list, tuple)):
            return tuple(tuple(one) if isinstance(one, list) else one for one in value)
        return value

    return tuple((name, frozen(value)) for name, value in dict(options).items())


def _thawed_options(options: tuple[tuple[str, OptionValue], ...]) -> dict[str, Any]:
    """Return the options as what takes them does: pairs as a mapping."""

    def thawed(value: Any) -> Any:
        pairs = isinstance(value, tuple) and value and all(isinstance(x, tuple) for x in value)
        return dict(value) if pairs else value

    return {name: thawed(value) for name, value in options}


def _check_schedule(schedule: Any) -> None:
    """Refuse a schedule that no file can hold."""
    if not is_dataclass(schedule) or isinstance(schedule, type):
        raise InvalidInputError(
            "`schedule` of a recipe must be Joint(), Alternating(), Separate(), Phases() or "
            f"Merge(), got {schedule if isinstance(schedule, str) else type(schedule).__name__}; "
            "one of your own goes with Trainer(schedule=...), or must be a dataclass"
        )


def _reference(value: Any) -> Any:
    """Return a balancer or a network's factory as a description of it, all else as it is."""
    return CodeReference.of(value) if _is_own(value) else value


def _is_own(value: Any) -> bool:
    """Return whether a value of a recipe is a balancer or what makes a network."""
    return isinstance(value, Balancer) or callable(value)


def _named(network: NetworkFactory | CodeReference | str) -> str:
    return repr(network) if isinstance(network, str) else _reference(network).text


def _not_at_hand(what: str, reference: CodeReference) -> str:
    return (
        f"the {what} {reference.text} of {reference.path} is only described here, not at hand; put "
        f"it in the recipe's place: replace(recipe, {what}=...)"
    )


def _near(weights: str) -> str:
    """Return what may be meant by a rule of weights that there is none of."""
    if weights in BALANCERS:
        return f"; {weights} is a balancer: give it as one (`balancer`, --balancer {weights})"
    return closest(weights, WEIGHT_RULES)


def size_weights(labels: Mapping[str, int]) -> dict[str, float]:
    """Return weights in proportion to the number of labelled rows, with mean 1."""
    weights = BySize(dict(labels), tasks=list(labels)).task_weights
    return dict(zip(labels, weights.tolist(), strict=True))


def difficulty_weights(losses: Mapping[str, float]) -> dict[str, float]:
    """Return weights in proportion to the tasks' single-task validation losses, with mean 1."""
    # a task that is learned perfectly keeps a weight, if a tiny one
    floored = {name: max(loss, 1e-6) for name, loss in losses.items()}
    weights = ByDifficulty(floored, tasks=list(losses)).task_weights
    return dict(zip(losses, weights.tolist(), strict=True))


def _weight(name: object, value: Any) -> float:
    """Return the weight of a task; refuse what is none."""
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise InvalidInputError(f"the weight of task {str(name)!r} must be >= 0, got {value!r}")
    return weight
