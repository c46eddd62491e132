"""Bundles: a fitted table model as a folder of safetensors and JSON.

A bundle holds ``bundle.json`` (what the model is), ``weights.safetensors`` (the networks) and
``encoder.safetensors`` (the fitted encoder). Nothing in it is a pickle, and no library but
safetensors reads it, so loading a bundle from a stranger runs no code of theirs.

The bundle of a blend (`BlendedModel`) holds ``bundle.json`` with the weights of its components, and
``components/0``, ``1``, ...: a bundle for each recipe, and the files of each baseline.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_weights

from jointrain._bundle_fields import (
    BlendDescription,
    ColumnEntry,
    ComponentEntry,
    Description,
    PartEntry,
    Strict,
    TableKind,
    TaskEntry,
    first_fault,
)
from jointrain.baselines import BaselineModel
from jointrain.data import (
    Column,
    ColumnReading,
    PlainEncoder,
    SupervisedTable,
    TableEncoder,
    TableSchema,
    known_values,
)
from jointrain.errors import InvalidInputError
from jointrain.networks import check_finite, network_of_weights
from jointrain.system.array_file import check_header
from jointrain.system.output_folder import BUNDLE, write_new_folder
from jointrain.system.stored_files import (
    MISFIT,
    DamagedError,
    json_from_bytes,
    json_to_bytes,
    read_file,
    read_json,
)
from jointrain.tables import (
    BlendedModel,
    Calibration,
    FittedBaseline,
    Recipe,
    Residuals,
    TableModel,
)
from jointrain.task import Task
from jointrain.training import FittedNetwork

SCHEMA_VERSION = 2
"""Raised when a reader of before would not understand a bundle."""
_JSON = BUNDLE
_WEIGHTS = "weights.safetensors"
_ENCODER = "encoder.safetensors"
_PLAIN_ENCODER = "encoder.json"
"""The encoder of a baseline."""
_COMPONENTS = "components"
_ERRORS = "errors of "
"""What the names of residuals begin with among the weights."""
_LONGEST_REASON = 300
"""Characters of a fault that are shown: names may be of any length."""
_PACKAGES = ("jointrain", "torch", "scikit-learn", "polars", "numpy")


def save_bundle(
    model: TableModel | BlendedModel,
    path: str | Path,
    *,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    notes: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a model as a bundle; the folder appears whole or not at all.

    Args:
        model: The fitted model.
        path: The folder to make.
        metrics: What is known of the model's quality, by task and metric; NaN is kept as null.
        notes: Anything else that JSON can hold, such as how the metrics were measured.
        force: Replace the folder if it exists.

    Raises:
        InvalidInputError: The folder exists and `force` is not set, or can't be written; or the
            model holds what `load_bundle` refuses, such as weights that are no numbers, or more
            columns and categories than 64 MiB of JSON hold.
    """
    return write_new_folder(
        path,
        lambda folder: write_bundle(model, folder, metrics=metrics, notes=notes),
        force=force,
    )


def write_bundle(
    model: TableModel | BlendedModel,
    folder: Path,
    *,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of a bundle into an existing folder, as `save_bundle` does.

    Raises:
        InvalidInputError: The model holds what `load_bundle` refuses.
        OSError: The folder can't be written.
    """
    description: Strict
    with _savable():
        if isinstance(model, BlendedModel):
            description = _write_components(model, folder, metrics or {}, notes or {})
        else:
            description = _write_networks(model, folder, metrics or {}, notes or {})
        (folder / _JSON).write_bytes(_with_digest(description.model_dump(mode="json")))


def check_savable(table: SupervisedTable) -> None:
    """Refuse a table whose models could not be saved, before they are trained.

    Args:
        table: The rows that a model is to be fitted to.

    Raises:
        InvalidInputError: It has more columns and categories than a bundle holds.
    """
    columns = [
        ColumnEntry(
            name=column.name,
            kind=column.kind,
            dtype=column.dtype,
            categories=known_values(table.frame[column.name]).unique().to_list()
            if column.kind == "category"
            else None,
        ).model_dump()
        for column in table.columns
    ]
    readings = {} if table.schema is None else table.schema.columns
    schema = {name: dataclasses.asdict(reading) for name, reading in readings.items()}
    try:
        json_to_bytes({"columns": columns, "table_schema": schema})
    except DamagedError as error:
        raise InvalidInputError(
            f"a model of this table could not be saved: {_JSON} {error}; leave out columns, or "
            "those with the most different values, by --ignore"
        ) from None


@contextmanager
def _savable() -> Iterator[None]:
    """Say in one line why something can't be saved: it could not be loaded."""
    try:
        yield
        return
    except ValidationError as error:
        reason = first_fault(error)
    except (DamagedError, PydanticSerializationError) as error:
        reason = str(error).splitlines()[0][:_LONGEST_REASON]
    raise InvalidInputError(f"the model can't be saved: {reason}")


def add_notes(path: str | Path, notes: Mapping[str, Any]) -> None:
    """Add to the notes of a bundle; its ``bundle.json`` is the old or the new one, whole.

    Args:
        path: The bundle, or the folder that `compare` wrote around it.
        notes: What JSON can hold; notes of the same names are replaced.

    Raises:
        InvalidInputError: As in `describe_bundle`, or the notes hold what can't be read again.
    """
    folder = _bundle_folder(path)
    content = describe_bundle(folder)
    del content["digest"]
    content["notes"] = {**content["notes"], **notes}
    with _savable():
        data = _with_digest(content)
    temporary = folder / f".part.{_JSON}"
    try:
        temporary.write_bytes(data)
        os.replace(temporary, folder / _JSON)
    finally:
        temporary.unlink(missing_ok=True)


def _with_digest(content: dict[str, Any]) -> bytes:
    """Return a description as the file ``bundle.json``."""
    try:
        # as a reader will find it: JSON makes texts of keys, and lists of tuples
        found = json_from_bytes(json_to_bytes(content))
        return json_to_bytes({**found, "digest": _digest(_canonical(found))}, indent=1)
    except DamagedError as error:
        raise DamagedError(f"{_JSON} {error}") from None


def _write_components(
    model: BlendedModel,
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    notes: Mapping[str, Any],
) -> BlendDescription:
    entries = []
    for index, (name, component) in enumerate(model.components.items()):
        inner = folder / _COMPONENTS / str(index)
        inner.mkdir(parents=True)
        networks = isinstance(component, TableModel)
        if isinstance(component, TableModel):
            write_bundle(component, inner)
        else:
            component.encoder.save(inner / _PLAIN_ENCODER)
            component.model.save(inner)
        tasks = [task.name for task in component.tasks]
        entries.append(
            ComponentEntry(name=name, kind="networks" if networks else "baseline", tasks=tasks)
        )
    (folder / _WEIGHTS).write_bytes(save_weights(_residuals(model.calibration)))
    return BlendDescription(
        schema_version=SCHEMA_VERSION,
        tasks=[_task_entry(task, {}, model.calibration) for task in model.tasks],
        columns=_column_entries(model),
        components=entries,
        weights={task: dict(weights) for task, weights in model.weights.items()},
        packages={name: version(name) for name in _PACKAGES},
        metrics=_known_metrics(metrics),
        notes=dict(notes),
        digests=_blend_digests(folder),
        table_schema=_readings(model.schema),
    )


def _residuals(calibration: Calibration) -> dict[str, torch.Tensor]:
    for residuals in calibration.residuals.values():
        _check_residuals(residuals)
    return {
        f"{_ERRORS}{name}": torch.from_numpy(residuals.errors)
        for name, residuals in calibration.residuals.items()
    }


def _blend_digests(folder: Path) -> dict[str, str]:
    inside = os.walk(folder / _COMPONENTS)  # follows no link to a folder
    files = sorted(Path(place, name) for place, _, names in inside for name in names)
    files.append(folder / _WEIGHTS)
    return {
        path.relative_to(folder).as_posix(): _digest(read_file(path, folder=folder))
        for path in files
    }


def _task_entry(
    task: Task, scaling: Mapping[str, tuple[float, float]], calibration: Calibration
) -> TaskEntry:
    mean, deviation = scaling.get(task.name, (None, None))
    residuals = calibration.residuals.get(task.name)
    return TaskEntry(
        name=task.name,
        kind=cast(TableKind, task.kind),
        classes=list(task.classes),
        mean=mean,
        deviation=deviation,
        temperature=calibration.temperatures.get(task.name),
        unseen_rows=None if residuals is None else residuals.rows,
        interval_scale=None if residuals is None else residuals.scale,
        lowest=None if residuals is None else residuals.lowest,
    )


def _column_entries(model: TableModel | BlendedModel) -> list[ColumnEntry]:
    return [
        ColumnEntry(
            name=column.name,
            kind=column.kind,
            dtype=column.dtype,
            categories=model.encoder.categories.get(column.name),
        )
        for column in model.columns
    ]


def _known_metrics(
    metrics: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float | None]]:
    return {
        task: {name: None if value != value else value for name, value in values.items()}
        for task, values in metrics.items()
    }


def _write_networks(
    model: TableModel,
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    notes: Mapping[str, Any],
) -> Description:
    weights = {
        f"{index}.{name}": value.contiguous()
        for index, part in enumerate(model.parts)
        for name, value in part.network.state_dict().items()
    }
    check_finite(weights)
    data = save_weights(weights | _residuals(model.calibration))
    check_header(data)
    (folder / _WEIGHTS).write_bytes(data)
    model.encoder.save(folder / _ENCODER)
    return Description(
        schema_version=SCHEMA_VERSION,
        tasks=[_task_entry(task, model.scaling, model.calibration) for task in model.tasks],
        columns=_column_entries(model),
        inputs=len(model.encoder.feature_names),
        parts=[
            PartEntry(
                tasks=list(part.tasks),
                network_tasks=list(part.network.task_names),
                weights=dict(part.weights),
                validation=dict(part.validation),
                epochs=part.epochs,
            )
            for part in model.parts
        ],
        recipe=model.recipe.to_json(),
        seed=model.seed,
        packages={name: version(name) for name in _PACKAGES},
        metrics=_known_metrics(metrics),
        notes=dict(notes),
        digests={name: _digest((folder / name).read_bytes()) for name in (_WEIGHTS, _ENCODER)},
        table_schema=_readings(model.schema),
    )


def load_bundle(path: str | Path) -> TableModel | BlendedModel:
    """Load the model of a bundle.

    Raises:
        InvalidInputError: It is no bundle, it was cut or changed, or a newer jointrain wrote it.
    """
    folder = _bundle_folder(path)
    content = describe_bundle(folder)
    return _load_blend(folder, content) if "kind" in content else _load_networks(folder, content)


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Say in one line what is wrong with the files of a bundle."""
    try:
        yield
        return
    except _DamagedBundleError:
        raise
    except OSError as error:
        reason = f"{error.filename} can't be read: {error.strerror}"
    except ValidationError as error:
        reason = first_fault(error)
    except (SafetensorError, DamagedError, InvalidInputError) as error:
        reason = str(error).splitlines()[0].removesuffix("; use another copy")[:_LONGEST_REASON]
    except MemoryError:
        reason = "it needs more memory than there is"
    except (*MISFIT, RuntimeError):
        reason = "its parts do not fit together"
    raise _damaged(folder, reason)


def _load_blend(folder: Path, content: dict[str, Any]) -> BlendedModel:
    with _whole(folder):
        described = BlendDescription.model_validate(_without_digest(content))
        if _blend_digests(folder) != described.digests:
            raise DamagedError("its files are not those that were saved")
        tasks = _tasks(described.tasks)
        columns = _columns(described.columns)
        calibration = _load_calibration(described.tasks, _load_weights(folder, described.digests))
        components = {
            entry.name: _load_component(folder / _COMPONENTS / str(index), entry)
            for index, entry in enumerate(described.components)
        }
        for name, component in components.items():
            if not {*component.tasks} <= {*tasks}:
                raise DamagedError(f"component {name!r} predicts other tasks")
            _check_columns(component.encoder, columns)
        for task, of_task in described.weights.items():
            if not all(task in _predicted(components[name]) for name in of_task):
                raise DamagedError(f"a component does not predict task {task!r}")
    return BlendedModel(
        tasks=tasks,
        columns=columns,
        components=components,
        weights=described.weights,
        calibration=calibration,
        schema=_schema(described.table_schema),
    )


def _load_component(folder: Path, entry: ComponentEntry) -> TableModel | FittedBaseline:
    component: TableModel | FittedBaseline
    if entry.kind == "networks":
        component = _load_networks(folder, describe_bundle(folder))
    else:
        model = BaselineModel.load(folder)
        encoder = PlainEncoder.load(folder / _PLAIN_ENCODER)
        if len(encoder.feature_names) != model.inputs:
            raise DamagedError(f"component {entry.name!r} has another number of inputs")
        component = FittedBaseline(model.tasks, encoder, model)
    if [task.name for task in component.tasks] != entry.tasks:
        raise DamagedError(f"component {entry.name!r} predicts other tasks")
    return component


def _predicted(component: TableModel | FittedBaseline) -> set[str]:
    tasks = component.predicted_tasks if isinstance(component, TableModel) else component.tasks
    return {task.name for task in tasks}


def _load_networks(folder: Path, content: dict[str, Any]) -> TableModel:
    with _whole(folder):
        described = Description.model_validate(_without_digest(content))
        weights = _load_weights(folder, described.digests)
        tasks = _tasks(described.tasks)
        columns = _columns(described.columns)
        recipe = Recipe.from_json(described.recipe)
        recipe.auxiliary_among([task.name for task in tasks])
        calibration = _load_calibration(described.tasks, weights)
        grouped: dict[str, dict[str, torch.Tensor]] = {}
        for name, values in weights.items():
            if not name.startswith(_ERRORS):
                index, _, inner = name.partition(".")
                grouped.setdefault(index, {})[inner] = values
        if grouped.keys() != {str(index) for index in range(len(described.parts))}:
            raise DamagedError("networks and weights differ in number")
        parts = [
            _load_part(entry, grouped[str(index)], recipe.for_tasks(tasks), tasks, described.inputs)
            for index, entry in enumerate(described.parts)
        ]
        _check_digest(read_file(folder / _ENCODER, folder=folder), _ENCODER, described.digests)
        encoder = TableEncoder.load(folder / _ENCODER)
        if len(encoder.feature_names) != described.inputs:
            raise DamagedError("encoder and networks differ in their number of inputs")
        _check_columns(encoder, columns)
    return TableModel(
        tasks=tasks,
        columns=columns,
        encoder=encoder,
        scaling={
            entry.name: (entry.mean, entry.deviation)
            for entry in described.tasks
            if entry.mean is not None and entry.deviation is not None
        },
        parts=tuple(parts),
        recipe=recipe,
        seed=described.seed,
        calibration=calibration,
        schema=_schema(described.table_schema),
    )


def _load_part(
    entry: PartEntry,
    weights: Mapping[str, torch.Tensor],
    recipe: Recipe,
    tasks: Sequence[Task],
    inputs: int,
) -> FittedNetwork:
    by_name = {task.name: task for task in tasks}
    network = network_of_weights(
        lambda chosen: recipe.make_network(inputs, chosen),
        [by_name[name] for name in entry.network_tasks],
        weights,
    )
    return FittedNetwork(tuple(entry.tasks), network, entry.weights, entry.validation, entry.epochs)


def _load_weights(folder: Path, digests: Mapping[str, str]) -> dict[str, torch.Tensor]:
    data = read_file(folder / _WEIGHTS, folder=folder)
    _check_digest(data, _WEIGHTS, digests)
    check_header(data)
    return dict(load_tensors(data))


def _check_digest(data: bytes, name: str, digests: Mapping[str, str]) -> None:
    if _digest(data) != digests.get(name):
        raise DamagedError(f"{name} is not the file that was saved")


def _without_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != "digest"}


def _tasks(entries: Sequence[TaskEntry]) -> tuple[Task, ...]:
    return tuple(Task(entry.name, entry.kind, tuple(entry.classes)) for entry in entries)


def _columns(entries: Sequence[ColumnEntry]) -> tuple[Column, ...]:
    return tuple(Column(entry.name, entry.kind, entry.dtype) for entry in entries)


def _check_columns(encoder: TableEncoder, columns: Sequence[Column]) -> None:
    if encoder.columns != tuple(columns):
        raise DamagedError("the columns of an encoder are not those of the bundle")


def _readings(schema: TableSchema | None) -> dict[str, ColumnReading] | None:
    return None if schema is None else dict(schema.columns)


def _schema(readings: Mapping[str, ColumnReading] | None) -> TableSchema | None:
    return None if readings is None else TableSchema(readings)


def _load_calibration(
    entries: Sequence[TaskEntry], weights: Mapping[str, torch.Tensor]
) -> Calibration:
    return Calibration(
        {entry.name: entry.temperature for entry in entries if entry.temperature is not None},
        {
            entry.name: _load_residuals(entry, weights)
            for entry in entries
            if entry.unseen_rows is not None
        },
    )


def _load_residuals(entry: TaskEntry, weights: Mapping[str, torch.Tensor]) -> Residuals:
    errors = weights[_ERRORS + entry.name].numpy()
    residuals = Residuals(
        entry.unseen_rows or 0, errors, entry.interval_scale or "linear", entry.lowest
    )
    _check_residuals(residuals)
    return residuals


def _check_residuals(residuals: Residuals) -> None:
    if residuals.errors.dtype != "float64" or not np.isfinite(residuals.errors).all():
        raise DamagedError("the residuals of a task hold a value that is no number")
    residuals.check()


def describe_bundle(path: str | Path) -> dict[str, Any]:
    """Return the checked contents of ``bundle.json``.

    Raises:
        InvalidInputError: It is no bundle, it was cut or changed, or a newer jointrain wrote it.
    """
    folder = _bundle_folder(path)
    if not folder.is_dir():
        raise InvalidInputError(
            f"{folder} is no bundle: there is no such folder; give the folder that `--out` named"
        )
    try:
        content = read_json(folder / _JSON, folder=folder)
    except OSError as error:
        what = "holds no" if isinstance(error, FileNotFoundError) else "has an unreadable"
        raise InvalidInputError(f"{folder} is no bundle: it {what} {_JSON}") from None
    except DamagedError as error:
        raise _damaged(folder, str(error)) from None
    if not isinstance(content, dict) or "schema_version" not in content:
        raise _damaged(folder, f"{_JSON} has no schema_version")
    if content["schema_version"] != SCHEMA_VERSION:
        found = reprlib.repr(content["schema_version"])
        raise InvalidInputError(
            f"{folder} has schema version {found}, this jointrain reads {SCHEMA_VERSION}; use the "
            "jointrain version that wrote it, or fit the model again"
        )
    digest = content.get("digest")
    if digest != _digest(_canonical(_without_digest(content))):
        raise _damaged(folder, f"{_JSON} was changed after it was saved")
    return dict(content)


def _bundle_folder(path: str | Path) -> Path:
    """Return the bundle itself for the folder that a study wrote around it."""
    folder = Path(path)
    inner = folder / "bundle"
    return inner if inner.is_dir() and not (folder / _JSON).exists() else folder


class _DamagedBundleError(InvalidInputError):
    """Says what is wrong with which folder."""


def _damaged(folder: Path, reason: str) -> InvalidInputError:
    return _DamagedBundleError(f"{folder} is damaged: {reason}; use another copy or fit it again")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
