"""Batches from data loaders and data sets: the same ones whatever the number of workers."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from jointrain.data import DataSource, TensorData
from jointrain.errors import InvalidInputError
from jointrain.networks import JoinedRows
from jointrain.task import IGNORED, Task, chained_targets
from jointrain.training.sampling._bad_rows import (
    BadRows,
    CollatedRows,
    ReadRows,
    UnreadRow,
    default_batch,
)
from jointrain.training.sampling._batch import Batch, present_tasks
from jointrain.training.sampling._batches import RowSampler
from jointrain.training.sampling._class_weights import ClassFactors, weigh_classes
from jointrain.training.sampling._little_shared_memory import received, sending
from jointrain.training.sampling._random_numbers import RandomNumbers, derived_seed, seed_all
from jointrain.training.sampling._row_shares import RowShare, local_rows
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
        share: The part of each batch that this process draws; default the whole. Of data sets with
            rows by number only that part is read, else a batch is read whole and cut.
        bad_rows: Counts rows that can't be read; default: the first one raises.
        purpose: What the data are for, in the words of errors: ``training``, ...

    Raises:
        InvalidInputError: Such rows are to be left out, and the data set has no numbered rows, or
            several processes share them.
    """

    def __init__(
        self,
        source: DataSource,
        tasks: Sequence[Task],
        batch_size: int,
        seed: int,
        device: torch.device,
        factors: ClassFactors | None = None,
        share: RowShare | None = None,
        bad_rows: BadRows | None = None,
        purpose: str = "",
    ) -> None:
        if share is not None and source.is_loader:
            _refuse_sharded(source.data)
        self._share = share
        self._source = source
        self._bad_rows = bad_rows or BadRows()
        # rows of training and validation have the same numbers
        self._rows_of = f"the {purpose} data set" if purpose else "the data set"
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
        if self._bad_rows.limit and share is not None:
            raise InvalidInputError(
                "`bad_rows` 'skip' does not go with several processes, which share the rows of a "
                "batch out before they are read; leave it out"
            )
        if self._bad_rows.limit and not source.has_rows:
            raise InvalidInputError(
                f"`bad_rows` 'skip' leaves out rows by their numbers, and {self.what} has none: a "
                f"stream, or a DataLoader of your own, ends where a row raises; give the data set "
                f"itself, or leave bad_rows out"
            )

    @property
    def what(self) -> str:
        """The data set in an error's words."""
        return f"the data set {self._of_tasks}"

    @property
    def _where(self) -> str:
        """The data set in an error's words, with what it is for."""
        return f"{self._rows_of} {self._of_tasks}"

    @property
    def _of_tasks(self) -> str:
        return f"of task{'s' if len(self._tasks) > 1 else ''} {', '.join(self._tasks)}"

    def draw(self, tasks: tuple[str, ...]) -> Batch:
        """Return the next batch with the targets of the given tasks."""
        raw = self._ahead.pop() if self._ahead else self._next()
        self._place = raw.place
        return self._part(raw.batch, tasks, raw.joined, check=not self._seen)

    def _part(
        self, raw: Any, tasks: tuple[str, ...], joined: JoinedRows | None, *, check: bool
    ) -> Batch:
        """Return what is here of a batch: the rows that were read, or some of them."""
        batch = self._batch(raw, tasks, check=check)
        if joined is not None:
            # which tasks have a label in the rows of the others is not known here
            return local_rows(replace(batch, present=None), joined)
        return batch if self._share is None else self._share.of(batch)

    def count(self, tasks: tuple[str, ...]) -> int:  # noqa: ARG002
        """Return how many batches a pass makes, whatever the tasks; 0 if it is not known."""
        return self._source.batches(self._batch_size) or 0

    def first(self) -> Batch:
        """Return the batch that will be drawn next, all tasks."""
        if not self._ahead:
            self._ahead.append(self._next())
        return self._batch(self._ahead[0].batch, tuple(self._tasks), check=True)

    def once(self, share: RowShare | None = None) -> Iterator[Batch]:
        """Yield the batches of one pass, rows in the loader's order or else in their own."""
        everything = tuple(self._tasks)
        where, bad_rows = self._where, self._bad_rows
        for raw, joined in _one_pass(
            self._source, self._batch_size, self._seed, share, bad_rows, where
        ):
            batch = self._batch(raw, everything, check=True)
            if joined is not None:
                batch = local_rows(batch, joined)
            yield batch if share is None or joined is not None else share.of(batch)

    def close(self) -> None:
        """End the worker processes; the next draw starts anew."""
        self._stream = None
        self._ahead = []
        self._place = _START

    def state_dict(self) -> dict[str, Any]:
        """Return which batches have been drawn; those that workers have ready are not."""
        place, now = self._place, _states(self._source)
        return {
            "pass": place.number,
            "batches": place.batches,
            "generators": list(place.generators or now),
            "now": list(now),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that `state_dict` tells of, by any number of workers.

        Rows by their numbers are taken up there; a stream is read again from the start of its pass.
        """
        self.close()
        generators = tuple(state["generators"])
        # not in a state of an earlier release
        now = tuple(state.get("now", ())) if state["batches"] else ()
        self._place = _Place(state["pass"], state["batches"], generators, moved=bool(now))
        _set_states(self._source, now or generators)

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
        present = _present([self._tasks[name] for name in tasks], data)
        return Batch(data.to(self._device), tasks, (False,) * len(tasks), present)

    def _next(self) -> _Raw:
        if self._stream is None:
            # `first` draws a batch that is not passed on yet
            before = self._place.generators or _states(self._source)
            self._place = self._place._replace(generators=before)
            passes = self._passes_of_rows if self._source.has_rows else self._passes
            self._stream = passes(self._place)
        return next(self._stream)

    def _passes_of_rows(self, after: _Place) -> Iterator[_Raw]:
        in_pass = self._source.batches(self._batch_size) or 0
        number, empty = after.batches, 0
        while True:
            try:
                for read, joined in self._rows_after(number):
                    number += 1
                    self._bad_rows.see(self._where, read.unread)
                    empty = 0 if read.batch is not None else empty + 1
                    if empty > in_pass:
                        raise InvalidInputError(f"no row of {self._where} can be read")
                    if read.batch is None:
                        continue
                    yield _Raw(read.batch, _Place(0, number), joined)
                    self._seen = number >= in_pass
            except RuntimeError as error:
                # batches are numbered: a new process reads the same one
                self._bad_rows.see_death(self._where, error)

    def _rows_after(self, place: int) -> Iterator[tuple[ReadRows, JoinedRows | None]]:
        """Yield the batches after so many, without end."""
        rows = RowSampler(
            torch.arange(len(self._source.data)),
            self._batch_size,
            torch.Generator().manual_seed(derived_seed(self._seed, "rows")),
        )
        rows.skip(place)
        # which rows are here of the batches that workers have been asked for
        shares: deque[JoinedRows] = deque()
        numbered = _numbered(rows, place, self._share, shares)
        loader = _loader_of_rows(self._source, numbered, self._seed, self._share)
        with self._numbers.active(derived_seed(self._seed, "loader")):
            batches = iter(loader)
        collate = CollatedRows(self._source.collate_fn)
        while True:
            with self._numbers.active():
                batch = received(next(batches), collate)
            yield batch, shares.popleft() if shares else None

    def _passes(self, after: _Place) -> Iterator[_Raw]:
        skipped = after.batches
        now = _states(self._source) if after.moved else ()
        if after.moved:
            _set_states(self._source, after.generators)
        for number in count(after.number):
            before = _states(self._source)
            index = 0
            stream = _one_stream(self._source, self._batch_size, self._seed, number)
            for batch in _told(stream, self._bad_rows, self._where):
                index += 1
                if index > skipped:
                    yield _Raw(batch, _Place(number, index, before))
                elif index == skipped and now:
                    _set_states(self._source, now)
            if index == 0:
                raise InvalidInputError(
                    f"{self.what} gave no batch{' any more' if number else ''}; it must have rows, "
                    f"and give them anew each time it is gone through"
                )
            skipped = 0
            # the targets of one pass are checked, a later one has the same
            self._seen = True


def _present(tasks: Sequence[Task], data: TensorData) -> Tensor | None:
    """Return for each task whether any row has its label, [t] booleans; None if all have one.

    To look at what a loader gave on a GPU would wait for it.
    """
    # one label is enough, most batches begin with one, and to look at all rows takes ten times as
    # long
    if all(_begins_with_label(data.targets[task.name]) for task in tasks):
        return None
    found = present_tasks(tasks, data)
    return None if found.device.type == "cpu" and bool(found.all()) else found


def _begins_with_label(target: Tensor) -> bool:
    """Return whether the first row surely has a label: one value on the CPU that is not missing."""
    if not target.is_cpu or target.ndim != 1 or not len(target):
        return False
    first = target[0].item()
    return first == first and first != IGNORED


class _Place(NamedTuple):
    """How many batches have been drawn: of the pass of a stream, else of all passes.

    With the states that the loader's own generators had before the pass, and whether they have
    moved on from there.
    """

    number: int = 0
    batches: int = 0
    generators: tuple[Tensor, ...] = ()
    moved: bool = False


class _Raw(NamedTuple):
    """A batch as the loader gives it, the place after it, and which of its rows were read."""

    batch: Any
    place: _Place
    joined: JoinedRows | None = None


_START = _Place()

_Numbered = tuple[int, list[tuple[int, int]]]
"""The number of a batch, with the place in it and the number of each row that is read here."""


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


def _states(source: DataSource) -> tuple[Tensor, ...]:
    """Return the states of these generators now."""
    return tuple(generator.get_state() for generator in _generators(source))


def _set_states(source: DataSource, states: Sequence[Tensor]) -> None:
    """Set these generators to states."""
    for generator, state in zip(_generators(source), states, strict=False):
        generator.set_state(state)


def _told(stream: Iterator[Any], bad_rows: BadRows, what: str) -> Iterator[Any]:
    """Yield what a stream yields; a process of its that dies is told of in words."""
    try:
        yield from stream
    except RuntimeError as error:
        bad_rows.see_death(what, error)


def one_pass(source: DataSource, batch_size: int, seed: int) -> Iterator[Any]:
    """Yield the batches of one pass as the loader gives them, rows not shuffled by us.

    Raises:
        InvalidInputError: A row can't be read.
        WorkerDiedError: A process that reads them died.
    """
    for batch, _ in _one_pass(source, batch_size, seed, None, BadRows(), "the data set"):
        yield batch


def _one_pass(
    source: DataSource,
    batch_size: int,
    seed: int,
    share: RowShare | None,
    bad_rows: BadRows,
    what: str,
) -> Iterator[tuple[Any, JoinedRows | None]]:
    """Yield the batches of one pass, and which of their rows were read; None: all.

    Args:
        source: The data set.
        batch_size: Rows in a batch at most, if the data set is not a DataLoader.
        seed: Seed of random numbers drawn while reading.
        share: The part of each batch that is wanted here.
        bad_rows: Counts rows that can't be read.
        what: The data set in words.
    """
    if not source.has_rows:
        for batch in _told(_one_stream(source, batch_size, seed, 0), bad_rows, what):
            yield batch, None
        return
    done = 0
    while True:
        try:
            for read, joined in _rows_once(source, batch_size, seed, share, done):
                done += 1
                bad_rows.see(what, read.unread)
                if read.batch is not None:
                    yield read.batch, joined
            return
        except RuntimeError as error:
            bad_rows.see_death(what, error)


def _rows_once(
    source: DataSource, batch_size: int, seed: int, share: RowShare | None, after: int
) -> Iterator[tuple[ReadRows, JoinedRows | None]]:
    """Yield the batches of the rows in their order, after so many of them."""
    rows = torch.arange(source.rows or 0)
    shares: deque[JoinedRows] = deque()
    starts = range(after * batch_size, len(rows), batch_size)
    cut = ((i, _here(rows[i : i + batch_size], share, shares)) for i in starts)
    numbers = RandomNumbers()
    with numbers.active(derived_seed(seed, "once")):
        batches = iter(_loader_of_rows(source, cut, seed, share))
    collate = CollatedRows(source.collate_fn)
    while True:
        try:
            with numbers.active():
                batch = received(next(batches), collate)
        except StopIteration:
            return
        yield batch, shares.popleft() if shares else None


def _one_stream(source: DataSource, batch_size: int, seed: int, number: int) -> Iterator[Any]:
    """Yield the batches of pass `number` of a DataLoader or an iterable data set."""
    loader = source.data
    part = derived_seed(seed, "pass", number)
    if not source.is_loader:
        loader = DataLoader(
            _SeededStream(source.data, part),
            batch_size,
            collate_fn=sending(source.collate_fn or default_batch, source.num_workers),
            num_workers=source.num_workers,
        )
    elif loader.persistent_workers:
        loader = _with_workers_of_its_own(loader)
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
                batch = received(next(batches), source.collate_fn or default_batch)
        except StopIteration:
            return
        yield batch


def _with_workers_of_its_own(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a DataLoader that starts workers for each pass in place of keeping them.

    For workers that are used again torch draws no seed, so that the order of rows would depend on
    earlier passes; and their random numbers go on, where no resumed run can take them up.
    """
    fresh = copy.copy(loader)
    # torch lets no one set it
    vars(fresh)["persistent_workers"] = False
    return fresh


def _numbered(
    rows: RowSampler, first: int, share: RowShare | None, shares: deque[JoinedRows]
) -> Iterator[_Numbered]:
    for number in count(first):
        yield number, _here(rows.draw(), share, shares)


def _here(rows: Tensor, share: RowShare | None, shares: deque[JoinedRows]) -> list[tuple[int, int]]:
    """Return those rows of a batch that are read here, noting which they are.

    That is the place in the batch and the number of each.
    """
    if share is None:
        return list(enumerate(rows.tolist()))
    joined = share.rows_of(len(rows))
    shares.append(joined)
    return list(zip(joined.index.tolist(), rows[joined.index].tolist(), strict=True))


def _loader_of_rows(
    source: DataSource,
    batches: Iterable[_Numbered],
    seed: int,
    share: RowShare | None = None,
) -> DataLoader[Any]:
    return DataLoader(
        _SeededRows(source.data, seed, 0 if share is None else share.rank),
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=sending(CollatedRows(source.collate_fn), source.num_workers),
        num_workers=source.num_workers,
    )


def _refuse_sharded(loader: DataLoader[Any]) -> None:
    """Refuse a loader whose batches differ from process to process already.

    Raises:
        InvalidInputError: Its sampler is a DistributedSampler.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    for sampler in (getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)):
        if isinstance(sampler, DistributedSampler) and sampler.num_replicas > 1:
            raise InvalidInputError(
                "the DataLoader's DistributedSampler gives each process rows of its own, and the "
                "trainer shares rows out itself; give a loader without it, or the data set"
            )


class _SeededRows(Dataset[Any]):
    """Reads each row with random numbers of its own, in whichever process.

    Data sets that read several rows at once have numbers for each batch, and for each of several
    processes that train together.
    """

    def __init__(self, data: Any, seed: int, rank: int = 0) -> None:
        self._data = data
        self._seed = seed
        self._seed_at_once = derived_seed(seed, "rank", rank) if rank else seed

    def __getitems__(self, numbered: _Numbered) -> list[Any]:
        number, placed = numbered
        together = hasattr(self._data, "__getitems__")
        if together:
            seed_all(derived_seed(self._seed_at_once, "batch", number))
            try:
                found: list[Any] = self._data.__getitems__([row for _, row in placed])
                return found
            except MemoryError:
                raise
            except Exception:  # code of others may raise anything
                pass
        read = self._one if together else self._data.__getitem__
        return [self._read(number, place, row, read) for place, row in placed]

    def _one(self, row: int) -> Any:
        return self._data.__getitems__([row])[0]

    def _read(self, number: int, place: int, row: int, read: Callable[[int], Any]) -> Any:
        """Return a row, or what is known of one that can't be read."""
        seed_all(derived_seed(self._seed, "row", number, place))
        try:
            return read(row)
        except MemoryError:
            raise
        except Exception as error:
            return UnreadRow.of(row, error, self._data)


class _SeededStream(IterableDataset[Any]):
    """Reads an iterable data set with random numbers of its own, in whichever process."""

    def __init__(self, data: Any, seed: int) -> None:
        self._data = data
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        seed_all(self._seed)
        yield from self._data
