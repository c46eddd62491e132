"""Mixture: several data sets of unequal size in one run, and what will be drawn from each."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from jointrain.data import DataSource
from jointrain.errors import InvalidInputError, closest
from jointrain.task import present_labels
from jointrain.training.sampling._schedule import Joint, RunProgress, Schedule, checked_step
from jointrain.training.sampling._turns import Turns

Sampling = Literal["together", "round_robin", "equal", "proportional", "temperature"]
Epoch = Literal["largest", "smallest", "once"]
Key = str | tuple[str, ...]
"""The task that a data set serves, or the tasks."""


@dataclass(frozen=True)
class SetSize:
    """How large a data set of a mixture is.

    Args:
        tasks: The tasks that it serves.
        rows: Rows of one pass that have a label; None where the data do not say.
        batch_size: Rows in a batch at most; None where the data do not say.
        batches: Batches of one pass; None where the data do not say.
        nearly_equal: Whether the batches of a pass are of nearly equal size; else the last one
            holds what the others leave.
    """

    tasks: tuple[str, ...]
    rows: int | None
    batch_size: int | None
    batches: int | None
    nearly_equal: bool

    @property
    def name(self) -> str:
        """The tasks in a row."""
        return ", ".join(self.tasks)

    def rows_after(self, draws: int) -> int | None:
        """Return how many rows so many batches hold; None where that is not known."""
        if self.rows is None or self.batches is None:
            return None
        passes, rest = divmod(draws, self.batches)
        if self.nearly_equal:
            return passes * self.rows + round(self.rows * rest / self.batches)
        return passes * self.rows + min(self.rows, rest * (self.batch_size or self.rows))


@dataclass(frozen=True)
class PlannedSet:
    """What a plan draws from one data set.

    Args:
        size: The data set's size.
        batches: Batches that are drawn.
        rows: Rows that are drawn, each counted as often as drawn; None where that is not known.
        share_of_steps: In which share of the steps the set takes part.
        share_of_loss: Its tasks' share of the sum of all loss weights over all steps.
    """

    size: SetSize
    batches: int
    rows: int | None
    share_of_steps: float
    share_of_loss: float

    @property
    def passes(self) -> float | None:
        """How often each row is seen on average; None where that is not known."""
        if self.rows is None or not self.size.rows:
            return None
        return self.rows / self.size.rows

    @property
    def every_row(self) -> bool | None:
        """Whether every row is seen; None where that is not known."""
        return None if self.size.batches is None else self.batches >= self.size.batches


@dataclass(frozen=True)
class MixturePlan:
    """What a mixture draws from each of its data sets; print it to see a table.

    Args:
        steps: Number of steps.
        steps_per_epoch: Number of steps in an epoch.
        sets: What is drawn from each data set.
    """

    steps: int
    steps_per_epoch: int
    sets: tuple[PlannedSet, ...]

    def __str__(self) -> str:
        """Return the table."""
        heading = (
            "data set of", "rows", "batch", "batches a pass", "batches drawn", "rows drawn",
            "passes", "every row", "share of steps", "share of loss",
        )  # fmt: skip
        lines = [heading]
        for entry in self.sets:
            size = entry.size
            passes = "?" if entry.passes is None else f"{entry.passes:.2f}"
            seen = {True: "yes", False: "no", None: "?"}[entry.every_row]
            lines.append(
                (
                    size.name, _count(size.rows), _count(size.batch_size), _count(size.batches),
                    f"{entry.batches:,}", _count(entry.rows), passes, seen,
                    f"{100 * entry.share_of_steps:.1f} %", f"{100 * entry.share_of_loss:.1f} %",
                )
            )  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(
                cell.rjust(width) if index else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        epochs = self.steps / self.steps_per_epoch
        return "\n".join(
            [f"{self.steps:,} steps ({epochs:.2f} epochs of {self.steps_per_epoch:,})", *table]
        )


class Mixture:
    r"""Several data sets in one run, each for a task or for several tasks.

    Sets are gone through in random order, pass after pass: no row comes a second time before all
    rows of its set have come once, also over the end of an epoch.

    Args:
        sets: A data set for each task or tuple of tasks; no task has two. `TensorData`, a torch
            ``DataLoader`` or ``Dataset``, a ``datasets.Dataset``, or a `DataSource`, which says
            how to read such a one.
        batch_size: Rows in a batch of a set that says none itself; default 256.
        sampling: Which sets a step draws a batch from. ``together`` (default): all of them, or
            those that the trainer's schedule asks for. Else one: ``round_robin`` takes them in
            turn; ``equal``, ``proportional`` (to the rows n) and ``temperature`` (to
            :math:`n^{1/T}`) draw them, as does a mapping from the keys of `sets` to probabilities.
            Within an epoch each set is drawn as often as its probability says, to rounding, in
            random order.
        temperature: T of sampling ``temperature``, >= 1; default 2. 1 is proportional, large is
            equal.
        mixed: Make one batch of what a step draws, with missing labels masked: one pass through
            the network instead of one per set. With ``together`` each set gives rows of its batch
            size; with ``equal``, ``proportional``, ``temperature`` or probabilities `batch_size`
            rows in all are shared out accordingly, at least one per set. Default False.
        epoch: When an epoch ends. ``largest`` (default): when every set has been gone through; the
            others start again meanwhile. ``smallest``: when one has been; the others go on where
            they are in the next epoch. ``once``: when every set has been gone through exactly
            once; a set that is through sits out. A number: after so many steps.
        loss_share: The share of each set in the sum of the loss weights over the steps of an
            epoch, by the keys of `sets`, summing to 1. Default: each task's loss counts 1 in the
            steps that it takes part in, so that shares follow from sampling.

    Raises:
        InvalidInputError: There is no set, a set is empty or of no known kind, a task has two,
            probabilities or shares do not sum to 1 or name no set, an argument lies outside its
            range, or a set has no length where one is needed.

    Source: C. Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
        Transformer", JMLR 21, 2020, section 3.5.2 (proportional, temperature, equal mixing).
    """

    def __init__(
        self,
        sets: Mapping[Any, Any],
        *,
        batch_size: int = 256,
        sampling: Sampling | Mapping[Any, float] = "together",
        temperature: float = 2.0,
        mixed: bool = False,
        epoch: Epoch | int = "largest",
        loss_share: Mapping[Any, float] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InvalidInputError(f"`batch_size` must be at least 1, got {batch_size}")
        if not 1 <= temperature < math.inf:
            raise InvalidInputError(f"`temperature` must be at least 1, got {temperature}")
        self.sources = _checked_sets(sets)
        self._rows = {key: _labelled_rows(s, key) for key, s in self.sources.items()}
        for key, rows in self._rows.items():
            if rows == 0:
                raise InvalidInputError(f"the data set of {_name(key)} has no label")
        self.mixed = mixed
        self.batch_size = batch_size
        self.sampling = self._checked_sampling(sampling)
        self.temperature = temperature
        self.epoch = _checked_epoch(epoch)
        self.batch_sizes = {
            key: source.batch_size or batch_size for key, source in self.sources.items()
        }
        if mixed and self.sampling == "round_robin":
            raise InvalidInputError(
                "sampling 'round_robin' draws from one set at a step, so that nothing is mixed; "
                "leave out mixed=True, or take sampling 'together'"
            )
        if mixed and self.sampling != "together":
            self.batch_sizes = self._shared_out()
        self.sizes = tuple(
            _size(key, source, self._rows[key], self.batch_sizes[key])
            for key, source in self.sources.items()
        )
        self.loss_share: list[float] | None = None
        if loss_share is not None:
            self.loss_share = self._by_key(loss_share, "loss_share")

    def times(self, factor: int) -> Mixture:
        """Return the mixture with `factor` times the rows in each batch.

        Raises:
            InvalidInputError: A DataLoader has batches of its own.
        """
        for key, source in self.sources.items():
            if source.is_loader:
                raise InvalidInputError(
                    f"`accumulate` takes {factor} times the rows for a step, but the data set of "
                    f"{_name(key)} is a DataLoader with batches of its own; give its data set, or "
                    f"leave out accumulate"
                )
        made = copy.copy(self)
        made.batch_size = factor * self.batch_size
        made.batch_sizes = {key: factor * rows for key, rows in self.batch_sizes.items()}
        if self.mixed and self.sampling != "together":
            made.batch_sizes = made._shared_out()
        made.sizes = tuple(
            _size(key, source, self._rows[key], made.batch_sizes[key])
            for key, source in self.sources.items()
        )
        return made

    # --- which sets take part in which step --------------------------------------------------

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in an epoch of the mixture's own choosing.

        Raises:
            InvalidInputError: A set has no length, and `epoch` is no number.
        """
        return len(self._epoch_order(torch.Generator()))

    def schedule(self, given: Schedule) -> Schedule:
        """Return the schedule of a run: the mixture's own for `Joint()`, else the given one.

        Raises:
            InvalidInputError: The mixture chooses the sets of a step, and so does the schedule.
        """
        if isinstance(given, Joint):
            return _MixtureOrder(self)
        for name, value, default in (
            ("sampling", self.sampling, "together"),
            ("loss_share", self.loss_share, None),
        ):
            if value != default:
                raise InvalidInputError(
                    f"the mixture's `{name}` goes with schedule Joint(), but the schedule is "
                    f"{given}, which chooses the tasks of a step itself; give one of the two"
                )
        if isinstance(self.epoch, int):
            return _FixedEpoch(given, self.epoch)
        if self.epoch != "largest":
            raise InvalidInputError(
                f"the mixture's epoch {self.epoch!r} goes with schedule Joint(); with {given} "
                f"give a number of steps, or leave it out"
            )
        return given

    def loss_weights(self) -> dict[str, float]:
        """Return what each task's loss is multiplied by, so that `loss_share` holds."""
        if self.loss_share is None:
            return dict.fromkeys((task for size in self.sizes for task in size.tasks), 1.0)
        order = self._epoch_order(torch.Generator())
        presence = [
            sum(index in step for step in order) / len(order) for index in range(len(self.sizes))
        ]
        whole = sum(p * len(size.tasks) for p, size in zip(presence, self.sizes, strict=True))
        weights = {}
        for share, p, size in zip(self.loss_share, presence, self.sizes, strict=True):
            if share and not p:
                raise InvalidInputError(
                    f"the data set of {size.name} has a `loss_share` of {share}, but is never drawn"
                )
            each = share * whole / (p * len(size.tasks)) if p else 0.0
            weights.update(dict.fromkeys(size.tasks, each))
        return weights

    def plan(
        self, steps: int | None = None, *, schedule: Schedule | None = None, seed: int = 0
    ) -> MixturePlan:
        """Return what a run draws from each set: what the trainer draws from the same seed.

        Args:
            steps: Number of steps; default one epoch.
            schedule: The trainer's schedule; default `Joint()`.
            seed: The trainer's seed.

        Raises:
            InvalidInputError: As `schedule`; or a set has no length where one is needed.
        """
        order = self.schedule(Joint() if schedule is None else schedule)
        per_epoch = order.steps_per_epoch(self.batches_by_task(), self.largest())
        total = per_epoch if steps is None else steps
        if total < 1:
            raise InvalidInputError(f"`steps` must be at least 1, got {steps}")
        generator = torch.Generator().manual_seed(seed)
        drawn = [0] * len(self.sizes)
        weight = [0.0] * len(self.sizes)
        weights = self.loss_weights()
        # few different steps come often: look each up once
        served: dict[tuple[str, ...], list[tuple[int, float]]] = {}
        for tasks in islice(order.steps(self.rows_by_task(), generator), total):
            if tasks not in served:
                checked_step(tasks, weights, "the schedule")
                served[tasks] = [
                    (index, sum(weights[task] for task in size.tasks if task in tasks))
                    for index, size in enumerate(self.sizes)
                    if any(task in tasks for task in size.tasks)
                ]
            for index, value in served[tasks]:
                drawn[index] += 1
                weight[index] += value
        whole = sum(weight) or 1.0
        return MixturePlan(
            total,
            per_epoch,
            tuple(
                PlannedSet(size, count, size.rows_after(count), count / total, share / whole)
                for size, count, share in zip(self.sizes, drawn, weight, strict=True)
            ),
        )

    def rows_by_task(self) -> Mapping[str, int]:
        """Return the labelled rows of each task; looking up an unknown one raises.

        Of data that are not in memory it is the rows of the task's set, with a label or without.
        """
        return _Known(
            {
                task: _labelled_rows(self.sources[size.tasks], (task,))
                for size in self.sizes
                for task in size.tasks
            }
        )

    def batches_by_task(self) -> Mapping[str, int]:
        """Return the batches of a pass of each task's set; looking up an unknown one raises."""
        return _Known({task: size.batches for size in self.sizes for task in size.tasks})

    def largest(self) -> int:
        """Return the batches of a pass of the largest set; 0 if one is not known."""
        counts = [size.batches for size in self.sizes]
        return max((count for count in counts if count is not None), default=0)

    def _epoch_order(self, generator: torch.Generator) -> list[tuple[int, ...]]:
        """Return which sets take part in each step of an epoch."""
        everything = tuple(range(len(self.sizes)))
        together = self.mixed or self.sampling == "together"
        if together and self.epoch != "once":
            return [everything] * self._together_steps()
        if together:
            batches = self._known_batches()
            return [
                tuple(index for index in everything if step < batches[index])
                for step in range(max(batches))
            ]
        counts = self._known_batches() if self.epoch == "once" else self._draws()
        if self.sampling == "round_robin":
            turns = [index for turn in range(max(counts)) for index in everything
                     if turn < counts[index]]  # fmt: skip
            return [(index,) for index in turns]
        steps = torch.repeat_interleave(torch.tensor(counts))
        steps = steps[torch.randperm(len(steps), generator=generator)]
        return [(index,) for index in steps.tolist()]

    def _together_steps(self) -> int:
        if isinstance(self.epoch, int):
            return self.epoch
        batches = self._known_batches()
        return max(batches) if self.epoch == "largest" else min(batches)

    def _draws(self) -> list[int]:
        """Return how often an epoch draws from each set, in the proportion of `_chances`."""
        chances = self._chances()
        if isinstance(self.epoch, int):
            steps = self.epoch
        else:
            needed = [
                count / chance
                for count, chance in zip(self._known_batches(), chances, strict=True)
                if chance
            ]
            # rounding of the division must not cost or add a step
            longest = max(needed) if self.epoch == "largest" else min(needed)
            steps = math.ceil(longest * (1 - 1e-12))
        return allotted(steps, chances)

    def _chances(self) -> list[float]:
        """Return the probability of each set, summing to 1."""
        if isinstance(self.sampling, dict):
            return [self.sampling[key] for key in self.sources]
        if self.sampling in ("equal", "round_robin"):
            return [1 / len(self.sources)] * len(self.sources)
        power = 1.0 if self.sampling == "proportional" else 1 / self.temperature
        raw = []
        for key, rows in self._rows.items():
            if rows is None:
                raise InvalidInputError(
                    f"sampling {self.sampling!r} needs the length of every set, and that of "
                    f"{_name(key)} has none; give probabilities instead"
                )
            raw.append(rows**power)
        return [value / sum(raw) for value in raw]

    def _shared_out(self) -> dict[tuple[str, ...], int]:
        """Share a mixed batch out among the sets by their probabilities, at least a row each."""
        for key, source in self.sources.items():
            if source.is_loader or source.batch_size is not None:
                raise InvalidInputError(
                    f"a mixed batch is shared out by `sampling`, but the data set of {_name(key)} "
                    f"has a batch size of its own; give sampling 'together', or the data set "
                    f"without one"
                )
        chances = self._chances()
        drawn = sum(chance > 0 for chance in chances)
        if drawn < len(chances):
            raise InvalidInputError("every data set of a mixed batch needs a probability above 0")
        if self.batch_size < drawn:
            raise InvalidInputError(
                f"a mixed batch of {self.batch_size} rows has less than one for each of {drawn} "
                f"sets; give a larger batch_size"
            )
        extra = allotted(self.batch_size, chances)
        while 0 in extra:
            extra[extra.index(max(extra))] -= 1
            extra[extra.index(0)] += 1
        return dict(zip(self.sources, extra, strict=True))

    def _known_batches(self) -> list[int]:
        counts = []
        for size in self.sizes:
            if size.batches is None:
                raise InvalidInputError(
                    f"the data set of {size.name} has no length, so that the end of an epoch is "
                    f"not known; give Mixture(..., epoch=<number of steps>)"
                )
            counts.append(size.batches)
        return counts

    # --- checks ------------------------------------------------------------------------------

    def _checked_sampling(
        self, sampling: Sampling | Mapping[Any, float]
    ) -> Sampling | dict[tuple[str, ...], float]:
        if isinstance(sampling, Mapping):
            return dict(zip(self.sources, self._by_key(sampling, "sampling"), strict=True))
        if sampling not in get_args(Sampling):
            raise InvalidInputError(
                f"`sampling` must be one of {', '.join(get_args(Sampling))}, or probabilities by "
                f"set, got {sampling!r}{closest(str(sampling), get_args(Sampling))}"
            )
        return sampling

    def _by_key(self, given: Mapping[Any, float], argument: str) -> list[float]:
        """Return the values in the order of the sets; they must sum to 1."""
        values = {tasks_of(key): float(value) for key, value in given.items()}
        for key in values:
            if key not in self.sources:
                names = [_name(known) for known in self.sources]
                raise InvalidInputError(
                    f"`{argument}` names {_name(key)!r}, for which there is no data set"
                    f"{closest(_name(key), names)}"
                )
        for key in self.sources:
            if key not in values:
                raise InvalidInputError(
                    f"`{argument}` says nothing about the data set of {_name(key)}"
                )
        if any(not value >= 0 for value in values.values()):
            raise InvalidInputError(f"`{argument}` must not be negative, got {dict(given)}")
        if abs(sum(values.values()) - 1) > 1e-6:
            raise InvalidInputError(f"`{argument}` must sum to 1, got {dict(given)}")
        return [values[key] / sum(values.values()) for key in self.sources]


@dataclass(frozen=True)
class _MixtureOrder(Schedule):
    """The steps as the mixture chooses them."""

    mixture: Mixture

    def steps(
        self,
        labels: Mapping[str, int],  # noqa: ARG002
        generator: torch.Generator,
    ) -> Iterator[tuple[str, ...]]:
        """Yield the tasks of the sets that take part in each step, epoch after epoch."""
        sizes = self.mixture.sizes
        served = functools.cache(
            lambda sets: tuple(t for index in sets for t in sizes[index].tasks)
        )
        return Turns(lambda _: [served(sets) for sets in self.mixture._epoch_order(generator)])

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],  # noqa: ARG002
        together: int,  # noqa: ARG002
    ) -> int:
        """Return the number of steps in the mixture's epoch."""
        return self.mixture.steps_per_epoch


@dataclass(frozen=True)
class _FixedEpoch(Schedule):
    """A schedule whose epochs have so many steps as the mixture says."""

    schedule: Schedule
    epoch: int

    def steps(
        self, labels: Mapping[str, int], generator: torch.Generator
    ) -> Iterator[tuple[str, ...]]:
        """Yield the steps of the schedule."""
        return self.schedule.steps(labels, generator)

    def follow(
        self, labels: Mapping[str, int], generator: torch.Generator, progress: RunProgress
    ) -> Iterator[tuple[str, ...]]:
        """Yield the steps of the schedule."""
        return self.schedule.follow(labels, generator, progress)

    @property
    def follows_progress(self) -> bool:
        """Whether the schedule does."""
        return self.schedule.follows_progress

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],  # noqa: ARG002
        together: int,  # noqa: ARG002
    ) -> int:
        """Return the number of steps that was given."""
        return self.epoch


class _Known(Mapping[str, int]):
    """Counts by task of which some may not be known; asking for such a one raises."""

    def __init__(self, counts: Mapping[str, int | None]) -> None:
        self._counts = counts

    def __getitem__(self, task: str) -> int:
        count = self._counts[task]
        if count is None:
            raise InvalidInputError(
                f"the schedule needs the length of every data set, and that of task {task} has "
                f"none; give Mixture(..., epoch=<number of steps>), and probabilities instead of "
                f"sizes"
            )
        return count

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


def allotted(total: int, shares: Sequence[float]) -> list[int]:
    """Return whole numbers that sum to `total` and are nearest to its shares.

    Each gets its share rounded down; what is left goes to the largest remainders, the first of
    equal ones.
    """
    exact = [total * share for share in shares]
    # the product of an exact share may lie just below a whole number
    counts = [math.floor(value + 1e-9) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_rest[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _checked_sets(sets: Mapping[Any, Any]) -> dict[tuple[str, ...], DataSource]:
    if not sets:
        raise InvalidInputError("a mixture needs at least one data set")
    sources: dict[tuple[str, ...], DataSource] = {}
    seen: set[str] = set()
    for key, data in sets.items():
        tasks = tasks_of(key)
        if not tasks:
            raise InvalidInputError("a data set must serve at least one task, got the key ()")
        for task in tasks:
            if task in seen:
                raise InvalidInputError(
                    f"task {task!r} has two data sets; put their rows into one, for example with "
                    f"torch.utils.data.ConcatDataset"
                )
            seen.add(task)
        try:
            source = data if isinstance(data, DataSource) else DataSource(data)
        except InvalidInputError as error:
            raise InvalidInputError(f"the data set of {_name(tasks)}: {error}") from None
        _check_targets(tasks, source)
        sources[tasks] = source
    return sources


def _check_targets(tasks: tuple[str, ...], source: DataSource) -> None:
    what = f"the data set of {_name(tasks)}"
    for task in tasks:
        if source.in_memory and task not in source.data.targets:
            raise InvalidInputError(
                f"{what} has no target of task {task!r}{closest(task, source.data.targets)}"
            )
    for task in source.targets:
        if task not in tasks:
            raise InvalidInputError(
                f"{what} names the target of task {task!r}, which it does not serve"
                f"{closest(task, tasks)}"
            )


def _checked_epoch(epoch: Epoch | int) -> Epoch | int:
    if isinstance(epoch, str) and epoch not in get_args(Epoch):
        raise InvalidInputError(
            f"`epoch` must be one of {', '.join(get_args(Epoch))}, or a number of steps, got "
            f"{epoch!r}{closest(epoch, get_args(Epoch))}"
        )
    if isinstance(epoch, int) and epoch < 1:
        raise InvalidInputError(f"`epoch` must have at least 1 step, got {epoch}")
    return epoch


def _size(tasks: tuple[str, ...], source: DataSource, rows: int | None, batch_size: int) -> SetSize:
    if source.is_loader:
        size = source.data.batch_size
        return SetSize(tasks, rows, size, source.batches(0), nearly_equal=False)
    batches = None if rows is None else math.ceil(rows / batch_size)
    return SetSize(tasks, rows, batch_size, batches, nearly_equal=not source.is_stream)


def _labelled_rows(source: DataSource, tasks: Sequence[str]) -> int | None:
    """Return how many rows have a label of any task; of data not in memory, how many rows."""
    if not source.in_memory:
        return source.rows
    targets: Mapping[str, Tensor] = source.data.targets
    present = torch.zeros(len(source.data), dtype=torch.bool)
    for task in tasks:
        target = targets[task]
        there = present_labels(target)
        labelled = there.flatten(1).any(1) if there.ndim > 1 else there
        weights = source.data.weights_of(task)
        present |= (labelled if weights is None else labelled & (weights > 0)).cpu()
    return int(present.sum())


def tasks_of(key: Key) -> tuple[str, ...]:
    """Return the tasks of a key of a mixture's sets."""
    return (key,) if isinstance(key, str) else tuple(key)


def _name(tasks: Key) -> str:
    return ", ".join(tasks_of(tasks))


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
