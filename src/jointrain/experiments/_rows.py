"""Rows of data sets that users bring, by one running number, whatever the data sets are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from jointrain.data import DataSource, TensorData, map_tensors
from jointrain.errors import InvalidInputError, closest
from jointrain.system.own_code import digest_of
from jointrain.task import Task
from jointrain.training import Mixture
from jointrain.training.sampling import default_batch


@dataclass(frozen=True, eq=False)
class RowSet:
    """One data set, and the tasks that it serves, in the order of its targets.

    Args:
        tasks: Their names.
        source: The data set.
    """

    tasks: tuple[str, ...]
    source: DataSource

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.source.rows or 0

    def take(self, rows: np.ndarray, wanted: Sequence[str]) -> TensorData | DataSource:
        """Return some rows with the targets of some of its tasks."""
        source = self.source
        if source.in_memory:
            chosen = source.data.take(torch.from_numpy(np.asarray(rows, dtype=np.int64)))
            return chosen if source.batch_size is None else replace(source, data=chosen)
        return DataSource(
            Subset(source.data, np.asarray(rows).tolist()),
            batch_size=source.batch_size,
            collate_fn=_Collate(source, self.tasks, tuple(wanted)),
            num_workers=source.num_workers,
        )

    def labels(self, tasks: Sequence[Task]) -> np.ndarray:
        """Return what rows are spread over folds by, [n, t], NaN where there is no label.

        Classes of data in memory; else 0 where there is a label. Rows of other data sets are not
        read for that, and count as labelled. A label of weight 0 is none.
        """
        found = np.full((self.count, len(tasks)), np.nan)
        for index, task in enumerate(tasks):
            if task.name not in self.tasks:
                continue
            if not self.source.in_memory:
                found[:, index] = 0.0
                continue
            target = self.source.data.targets[task.name]
            labelled = task.labelled(target).cpu().numpy()
            weights = self.source.data.weights_of(task.name)
            if weights is not None:
                labelled &= (weights > 0).cpu().numpy()
            values = np.zeros(len(labelled))
            if task.has_classes and target.ndim == 1:
                values = target.double().cpu().numpy()
            found[labelled, index] = values[labelled]
        return found

    def weights(self, tasks: Sequence[Task]) -> np.ndarray:
        """Return how much each label counts, [n, t]: 1 where no weight is given in memory."""
        found = np.ones((self.count, len(tasks)))
        if self.source.in_memory and self.source.data.weights is not None:
            for index, task in enumerate(tasks):
                weights = self.source.data.weights_of(task.name)
                if weights is not None and task.name in self.tasks:
                    found[:, index] = weights.double().cpu().numpy()
        return found

    def digest(self) -> str:
        """Return a hash of the data, and of how they are read where that is not the default."""
        found, reading = self._data_digest(), self._reading()
        if not reading:
            return found
        # as parts of a mapping, functions of installed packages count by name
        return hashlib.sha256(f"{found} {digest_of(reading)}".encode()).hexdigest()

    def _reading(self) -> dict[str, Any]:
        """Return what says how rows become batches, inputs and targets, without what is default."""
        source = self.source
        inputs, targets = source.inputs, source.targets
        told = {
            "inputs": inputs if inputs is None or isinstance(inputs, str) else list(inputs),
            "targets": {
                task: targets[task] for task in self.tasks if targets.get(task, task) != task
            },
            "weights": source.weights,
            "batch_size": source.batch_size,
            "collate_fn": source.collate_fn,
        }
        return {name: value for name, value in told.items() if value is not None and value != {}}

    def _data_digest(self) -> str:
        if not self.source.in_memory:
            # as data sets of Hugging Face have it
            known = getattr(self.source.data, "_fingerprint", None)
            return known if isinstance(known, str) else digest_of(self.source.data)
        digest = hashlib.sha256()

        def add(tensor: torch.Tensor) -> torch.Tensor:
            plain = tensor.detach().cpu().reshape(-1).contiguous()
            digest.update(f"{plain.dtype}{tuple(tensor.shape)}".encode())
            digest.update(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
            return tensor

        inputs, codes = self.source.data.inputs, self.source.data.codes
        map_tensors(add, inputs)
        if not isinstance(inputs, torch.Tensor):
            digest.update(json.dumps(_form(inputs)).encode())
        if codes:
            digest.update(repr(codes).encode())
        for name in self.tasks:
            digest.update(name.encode())
            add(self.source.data.targets[name].reshape(-1))
            weights = self.source.data.weights_of(name)
            if weights is not None:
                digest.update(b"weights")
                add(weights)
        return digest.hexdigest()

    def hashes(self, rows: np.ndarray) -> list[bytes]:
        """Return a hash of the inputs of each row."""
        numbers = rows.tolist()
        if self.source.in_memory:
            data = self.source.data
            return [_hash(data.take(torch.tensor([row])).inputs) for row in numbers]
        collate = self.source.collate_fn or default_batch
        batches = (collate([self.source.data[row]]) for row in numbers)
        return [_hash(self.source.read_inputs(batch, self.tasks)) for batch in batches]


def _form(value: Any) -> Any:
    """Return what nested inputs are beside their tensors: names, order, and other values."""
    if isinstance(value, torch.Tensor):
        return "tensor"
    if isinstance(value, Mapping):
        return {"mapping": [[repr(key), _form(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, list)):
        return {type(value).__name__: [_form(item) for item in value]}
    return digest_of(value)


def _hash(value: Any) -> bytes:
    digest = hashlib.sha256()

    def add(tensor: torch.Tensor) -> torch.Tensor:
        plain = tensor.detach().cpu().reshape(-1).contiguous()
        digest.update(f"{plain.dtype}".encode() + plain.view(torch.uint8).numpy().tobytes())
        return tensor

    map_tensors(add, value)
    return digest.digest()


@dataclass(frozen=True)
class _Collate:
    """Makes a batch of rows: inputs, the wanted targets by name, and weights if there are some."""

    source: DataSource
    tasks: tuple[str, ...]
    wanted: tuple[str, ...]

    def __call__(self, rows: list[Any]) -> tuple[Any, ...]:
        batch = (self.source.collate_fn or default_batch)(rows)
        read = self.source.read(batch, self.tasks, self.wanted)
        # named ones may be whole numbers
        weights = () if read.weights is None else (map_tensors(_floats, read.weights),)
        return read.inputs, dict(read.targets), *weights


def _floats(values: torch.Tensor) -> torch.Tensor:
    return values if values.is_floating_point() else values.float()


class OwnData:
    """Data that users bring for some tasks: one data set for all, or one for each or some of them.

    Args:
        data: `TensorData`, a torch ``Dataset`` or ``DataLoader`` (whose data set is taken), a
            `DataSource`, a data set for each task or tuple of tasks, or a `Mixture`.
        tasks: The tasks.
        what: What the data are, in the words of errors: ``data``, ``test data``.

    Raises:
        InvalidInputError: The data have no rows by number, or no target of a task; or the sampler
            of a ``DataLoader`` chooses rows.
    """

    def __init__(self, data: Any, tasks: Sequence[Task], what: str = "data") -> None:
        self.given, self.tasks = data, tuple(tasks)
        self.mixture = data if isinstance(data, Mixture) else None
        names = tuple(task.name for task in tasks)
        given: Mapping[Any, Any]
        if isinstance(data, Mixture):
            given = data.sources
        elif isinstance(data, Mapping):
            given = data
        else:
            given = {names: data}
        self.sets = tuple(
            RowSet((key,) if isinstance(key, str) else tuple(key), _by_row(one, what))
            for key, one in given.items()
        )
        served = [name for one in self.sets for name in one.tasks]
        for name in served:
            if name not in names:
                raise InvalidInputError(
                    f"there are {what} for {name!r}, which is no task{closest(name, names)}"
                )
        for task in tasks:
            if task.name not in served:
                raise InvalidInputError(f"task {task.name!r} has no {what}")
        for one in self.sets:
            for name in one.tasks if one.source.in_memory else ():
                if name not in one.source.data.targets:
                    raise InvalidInputError(
                        f"the {what} have no target of task {name!r}"
                        f"{closest(name, one.source.data.targets)}"
                    )

    @property
    def count(self) -> int:
        """Number of rows of all sets."""
        return sum(one.count for one in self.sets)

    @cached_property
    def labels(self) -> np.ndarray:
        """What rows are spread over folds by, [n, t]; see `RowSet.labels`."""
        return np.concatenate([one.labels(self.tasks) for one in self.sets])

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each label counts, [n, t]; see `RowSet.weights`."""
        return np.concatenate([one.weights(self.tasks) for one in self.sets])

    @cached_property
    def spread_tasks(self) -> list[Task]:
        """Tasks to spread rows evenly by: what has no classes counts by the presence of labels."""
        spread = []
        for index, task in enumerate(self.tasks):
            values = self.labels[:, index]
            plain = task.has_classes and values[np.isfinite(values)].any()
            spread.append(task if plain else Task.regression(task.name))
        return spread

    def take(self, rows: np.ndarray, wanted: Sequence[str], *, training: bool) -> Any:
        """Return what a trainer takes: some rows, with the targets of some tasks.

        Args:
            rows: Their numbers.
            wanted: Names of tasks.
            training: Whether a mixture's sampling is kept.

        Raises:
            InvalidInputError: None of the rows are of a task's data set.
        """
        found: dict[tuple[str, ...], TensorData | DataSource] = {}
        start = 0
        for one in self.sets:
            mine = rows[(rows >= start) & (rows < start + one.count)] - start
            start += one.count
            names = tuple(name for name in one.tasks if name in wanted)
            if names and len(mine):
                found[names] = one.take(mine, names)
        if not found:
            raise InvalidInputError(f"there is no row for {', '.join(wanted)}")
        if not isinstance(self.given, (Mapping, Mixture)):
            return next(iter(found.values()))
        plain = {key[0] if len(key) == 1 else key: one for key, one in found.items()}
        if self.mixture is None or not training or len(found) == 1:
            return plain
        return self._mixed(plain)

    def _mixed(self, sets: Mapping[Any, Any]) -> Mixture:
        """Return sets in a mixture like the given one."""
        mixture = self.mixture
        assert mixture is not None
        keys = [key if isinstance(key, tuple) else (key,) for key in sets]

        def shares(of: Any) -> Any:
            if of is None or isinstance(of, str):
                return of
            values = of.values() if isinstance(of, Mapping) else of
            every = dict(zip(mixture.sources, values, strict=True))
            kept = [
                next(share for name, share in every.items() if set(key) <= set(name))
                for key in keys
            ]
            total = sum(kept) or 1.0
            return {key: share / total for key, share in zip(sets, kept, strict=True)}

        return Mixture(
            {key: DataSource(one) if isinstance(one, TensorData) else one
             for key, one in sets.items()},
            batch_size=mixture.batch_size,
            sampling=shares(mixture.sampling),
            temperature=mixture.temperature,
            mixed=mixture.mixed,
            epoch=mixture.epoch,
            loss_share=shares(mixture.loss_share),
        )  # fmt: skip

    def digest(self) -> list[Any]:
        """Return what tells the data from others."""
        told: list[Any] = [[list(one.tasks), one.digest()] for one in self.sets]
        if self.mixture is not None:
            mixture = self.mixture
            told.append([
                repr(mixture.sampling), mixture.temperature, mixture.mixed, str(mixture.epoch),
                repr(mixture.loss_share), list(mixture.batch_sizes.values()),
            ])  # fmt: skip
        return told

    def hashes(self, rows: np.ndarray) -> dict[bytes, int]:
        """Return the rows by a hash of their inputs."""
        found: dict[bytes, int] = {}
        start = 0
        for one in self.sets:
            mine = rows[(rows >= start) & (rows < start + one.count)] - start
            for row, digest in zip(mine.tolist(), one.hashes(mine), strict=True):
                found[digest] = row + start
            start += one.count
        return found


def _by_row(data: Any, what: str) -> DataSource:
    """Return a data set whose rows can be had by number."""
    source = data if isinstance(data, DataSource) else DataSource(data)
    given = source.data
    if source.is_loader:
        loader: DataLoader[Any] = source.data
        batch_size = loader.batch_size
        collate = loader.collate_fn
        source = replace(
            source,
            data=loader.dataset,
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=loader.num_workers,
        )
    if not (source.in_memory or source.has_rows):
        raise InvalidInputError(
            f"rows of the {what} can't be had by number ({type(source.data).__name__}), so they "
            "can't be cut into parts; give a data set with a length, or use Experiment.of(run=...)"
        )
    if isinstance(given, DataLoader):
        _refuse_choosing(given, what)
    return source


def _refuse_choosing(loader: DataLoader[Any], what: str) -> None:
    """Refuse a loader that does not give each row of its data set once, as parts of it would."""
    sampler, size = loader.sampler, getattr(loader.dataset, "__len__", None)
    plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and size is not None
        and sampler.num_samples == size()
    )
    of_batches = loader.batch_size is None and loader.batch_sampler is not None
    if of_batches or not plain:
        own = type(loader.batch_sampler if of_batches else sampler).__name__
        raise InvalidInputError(
            f"the DataLoader of the {what} chooses rows by its {own}, which would be passed over "
            "where the data set is cut into parts; give Subset(dataset, rows) of the rows that "
            "count, or the data set itself"
        )
