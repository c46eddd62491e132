"""Batches from data loaders and data sets: the same ones whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from jointrain.data import DataSource
from jointrain.errors import InvalidInputError
from jointrain.task import Task, chained_targets
from jointrain.training.sampling._batches import Batch, RowSampler
from jointrain.training.sampling._class_weights import ClassFactors, weigh_classes
from jointrain.training.sampling._random_numbers import RandomNumbers, derived_seed, seed_all
from jointrain.training.sampling._row_weights import without_weightless_labels


class LoaderBatches:
    """Draws batches of one data set that is read by a DataLoader, without end.

    Args:
        source: The data set.
        tasks: The tasks that it serves.
        batch_size: Rows in a batch at most, if the data set is not a DataLoader.
        seed: Seed of the order of the rows and of random numbers drawn while reading them.
        device: Where the batches are wanted.
        factors: What the weights of rows are multiplied by, by their classes; default 1.
    """

    def __init__(
        self,
        source: DataSource,
        tasks: Sequence[Task],
        batch_size: int,
        seed: int,
        device: torch.device,
        factors: ClassFactors | None = None,
    ) -> None:
        self._source = source
        self._tasks = {task.name: task for task in tasks}
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._factors = factors or {}
        self._numbers = RandomNumbers()
        self._stream: Iterator[_Raw] | None = None
        self._ahead: list[_Raw] = []
        self._seen = False
        self._place = _START

    @property
    def what(self) -> str:
        """The data set in an error's words."""
        return f"the data set of task{'s' if len(self._tasks) > 1 else ''} {', '.join(self._tasks)}"

    def draw(self, tasks: tuple[str, ...]) -> Batch:
        """Return the next batch with the targets of the given tasks."""
        raw = self._ahead.pop() if self._ahead else self._next()
        self._place = raw.place
        return self._batch(raw.batch, tasks, check=not self._seen)

    def count(self, tasks: tuple[str, ...]) -> int:  # noqa: ARG002
        """Return how many batches a pass makes, whatever the tasks; 0 if it is not known."""
        return self._source.batches(self._batch_size) or 0

    def first(self) -> Batch:
        """Return the batch that will be drawn next, all tasks."""
        if not self._ahead:
            self._ahead.append(self._next())
        return self._batch(self._ahead[0].batch, tuple(self._tasks), check=True)

    def once(self) -> Iterator[Batch]:
        """Yield the batches of one pass, rows in the loader's order or else in their own."""
        for raw in one_pass(self._source, self._batch_size, self._seed):
            yield self._batch(raw, tuple(self._tasks), check=True)

    def close(self) -> None:
        """End the worker processes; the next draw starts anew."""
        self._stream = None
        self._ahead = []
        self._place = _START

    def state_dict(self) -> dict[str, Any]:
        """Return which batches have been drawn; those that workers have ready are not."""
        place = self._place
        states = place.generators
        if not place.batches:
            states = tuple(generator.get_state() for generator in _generators(self._source))
        return {"pass": place.number, "batches": place.batches, "generators": list(states)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that `state_dict` tells of, by any number of workers.

        Rows by their numbers are taken up there; a stream is read again from the start of its pass.
        """
        self.close()
        self._place = _Place(state["pass"], state["batches"])
        for generator, then in zip(_generators(self._source), state["generators"], strict=False):
            generator.set_state(then)

    def _batch(self, raw: Any, tasks: tuple[str, ...], *, check: bool) -> Batch:
        everything = tuple(self._tasks)
        linked = any(task.given is not None for task in self._tasks.values())
        try:
            data = self._source.read(raw, everything, everything if check or linked else tasks)
        except InvalidInputError as error:
            raise InvalidInputError(f"{self.what}: {error}") from None
        if check:
            for name, task in self._tasks.items():
                task.check_target(data.targets[name])
        if linked:
            targets = chained_targets(list(self._tasks.values()), data.targets)
            data = replace(data, targets=targets)
        if check or linked:
            data = data.only(tasks)
        try:
            data = without_weightless_labels(weigh_classes(data, self._factors))
        except InvalidInputError as error:
            raise InvalidInputError(f"{self.what}: {error}") from None
        return Batch(data.to(self._device), tasks, (False,) * len(tasks))

    def _next(self) -> _Raw:
        if self._stream is None:
            passes = self._passes_of_rows if self._source.has_rows else self._passes
            self._stream = passes(self._place)
        return next(self._stream)

    def _passes_of_rows(self, after: _Place) -> Iterator[_Raw]:
        rows = RowSampler(
            torch.arange(len(self._source.data)),
            self._batch_size,
            torch.Generator().manual_seed(derived_seed(self._seed, "rows")),
        )
        rows.skip(after.batches)
        loader = _loader_of_rows(self._source, _numbered(rows, after.batches), self._seed)
        with self._numbers.active(derived_seed(self._seed, "loader")):
            batches = iter(loader)
        in_pass = self._source.batches(self._batch_size) or 0
        for number in count(after.batches + 1):
            with self._numbers.active():
                batch = next(batches)
            yield _Raw(batch, _Place(0, number))
            self._seen = number >= in_pass

    def _passes(self, after: _Place) -> Iterator[_Raw]:
        generators = _generators(self._source)
        skipped = after.batches
        for number in count(after.number):
            before = tuple(generator.get_state() for generator in generators)
            index = 0
            for batch in _one_stream(self._source, self._batch_size, self._seed, number):
                index += 1
                if index > skipped:
                    yield _Raw(batch, _Place(number, index, before))
            if index == 0:
                raise InvalidInputError(
                    f"{self.what} gave no batch{' any more' if number else ''}; it must have rows, "
                    f"and give them anew each time it is gone through"
                )
            skipped = 0
            # the targets of one pass are checked, a later one has the same
            self._seen = True


class _Place(NamedTuple):
    """How many batches have been drawn: of the pass of a stream, else of all passes.

    With the states that the loader's own generators had before the pass.
    """

    number: int = 0
    batches: int = 0
    generators: tuple[Tensor, ...] = ()


class _Raw(NamedTuple):
    """A batch as the loader gives it, and the place after it."""

    batch: Any
    place: _Place


_START = _Place()


def _generators(source: DataSource) -> list[torch.Generator]:
    """Return the generators of a DataLoader that go on from pass to pass."""
    if not source.is_loader:
        return []
    loader = source.data
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None))
    found = (getattr(owner, "generator", None) for owner in owners)
    by_id = {id(one): one for one in found if isinstance(one, torch.Generator)}
    return list(by_id.values())


def one_pass(source: DataSource, batch_size: int, seed: int) -> Iterator[Any]:
    """Yield the batches of one pass as the loader gives them, rows not shuffled by us."""
    if not source.has_rows:
        yield from _one_stream(source, batch_size, seed, 0)
        return
    rows = list(range(source.rows or 0))
    cut = ((i, rows[i : i + batch_size]) for i in range(0, len(rows), batch_size))
    numbers = RandomNumbers()
    with numbers.active(derived_seed(seed, "once")):
        batches = iter(_loader_of_rows(source, cut, seed))
    while True:
        try:
            with numbers.active():
                batch = next(batches)
        except StopIteration:
            return
        yield batch


def _one_stream(source: DataSource, batch_size: int, seed: int, number: int) -> Iterator[Any]:
    """Yield the batches of pass `number` of a DataLoader or an iterable data set."""
    loader = source.data
    part = derived_seed(seed, "pass", number)
    if not source.is_loader:
        loader = DataLoader(
            _SeededStream(source.data, part),
            batch_size,
            collate_fn=source.collate_fn,
            num_workers=source.num_workers,
        )
    for told in (source.data, getattr(loader, "sampler", None)):
        # samplers and data sets that order their rows by the number of the pass
        tell = getattr(told, "set_epoch", None)
        if tell is not None:
            tell(number)
    numbers = RandomNumbers()
    # a DataLoader draws its own seeds at the start and at the first batch: one state for both
    with numbers.active(part):
        batches = iter(loader)
    while True:
        try:
            with numbers.active():
                batch = next(batches)
        except StopIteration:
            return
        yield batch


def _numbered(rows: RowSampler, first: int = 0) -> Iterator[tuple[int, list[int]]]:
    for number in count(first):
        yield number, rows.draw().tolist()


def _loader_of_rows(
    source: DataSource, batches: Iterable[tuple[int, list[int]]], seed: int
) -> DataLoader[Any]:
    return DataLoader(
        _SeededRows(source.data, seed),
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=source.collate_fn,
        num_workers=source.num_workers,
    )


class _SeededRows(Dataset[Any]):
    """Reads each batch of rows with random numbers of its own, in whichever process."""

    def __init__(self, data: Any, seed: int) -> None:
        self._data = data
        self._seed = seed

    def __getitems__(self, numbered: tuple[int, list[int]]) -> list[Any]:
        number, rows = numbered
        seed_all(derived_seed(self._seed, "batch", number))
        if hasattr(self._data, "__getitems__"):
            found: list[Any] = self._data.__getitems__(rows)
            return found
        return [self._data[row] for row in rows]


class _SeededStream(IterableDataset[Any]):
    """Reads an iterable data set with random numbers of its own, in whichever process."""

    def __init__(self, data: Any, seed: int) -> None:
        self._data = data
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        seed_all(self._seed)
        yield from self._data
