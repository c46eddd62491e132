"""Bundles: a fitted table model as a folder of safetensors and JSON.

A bundle holds ``bundle.json`` (what the model is), ``weights.safetensors`` (the networks) and
``encoder.safetensors`` (the fitted encoder). Nothing in it is a pickle, and no library but
safetensors reads it, so loading a bundle from a stranger runs no code of theirs.

The bundle of a blend (`BlendedModel`) holds ``bundle.json`` with the weights of its components, and
``components/0``, ``1``, ...: a bundle for each recipe, and the files of each baseline.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from jointrain._output_folder import BUNDLE, write_new_folder
from jointrain.data import Column, ColumnReading, PlainEncoder, TableEncoder, TableSchema
from jointrain.data._damaged import DamagedError
from jointrain.errors import InvalidInputError, JointrainError
from jointrain.studies._baselines import BaselineModel
from jointrain.studies._blended_model import BlendedModel, FittedBaseline
from jointrain.task import Kind, Task
from jointrain.training._calibration import Calibration
from jointrain.training._conformal import Residuals
from jointrain.training._recipe import Recipe
from jointrain.training._table_model import TableModel
from jointrain.training._table_part import Part

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
_PACKAGES = ("jointrain", "torch", "scikit-learn", "polars", "numpy")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _TaskEntry(_Strict):
    name: str
    kind: Kind
    classes: list[bool | int | float | str]
    mean: float | None = None
    deviation: float | None = Field(None, gt=0)
    temperature: float | None = Field(None, gt=0)
    unseen_rows: int | None = Field(None, ge=0)
    interval_scale: Literal["linear", "log"] | None = None
    lowest: float | None = None


class _ColumnEntry(_Strict):
    name: str
    kind: str
    dtype: str
    categories: list[str] | None = None


class _PartEntry(_Strict):
    tasks: list[str]
    network_tasks: list[str]
    weights: dict[str, float]
    validation: dict[str, float]
    epochs: tuple[int, int]


class _ComponentEntry(_Strict):
    name: str
    kind: Literal["networks", "baseline"]
    tasks: list[str]


class _BlendDescription(_Strict):
    """The contents of a blend's ``bundle.json``, but for its own digest."""

    schema_version: int
    kind: Literal["blend"] = "blend"
    tasks: list[_TaskEntry]
    columns: list[_ColumnEntry]
    components: list[_ComponentEntry]
    weights: dict[str, dict[str, float]]
    packages: dict[str, str]
    metrics: dict[str, dict[str, float | None]]
    notes: dict[str, Any]
    digests: dict[str, str]
    table_schema: dict[str, ColumnReading] | None = None


class _Description(_Strict):
    """The contents of ``bundle.json``, but for its own digest."""

    schema_version: int
    tasks: list[_TaskEntry]
    columns: list[_ColumnEntry]
    inputs: int
    parts: list[_PartEntry]
    recipe: dict[str, Any]
    seed: int
    packages: dict[str, str]
    metrics: dict[str, dict[str, float | None]]
    notes: dict[str, Any]
    digests: dict[str, str]
    table_schema: dict[str, ColumnReading] | None = None


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
        InvalidInputError: The folder exists and `force` is not set, or can't be written.
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
    """Write the files of a bundle into an existing folder."""
    description: _Strict
    if isinstance(model, BlendedModel):
        description = _write_components(model, folder, metrics or {}, notes or {})
    else:
        description = _write_networks(model, folder, metrics or {}, notes or {})
    (folder / _JSON).write_text(_with_digest(description.model_dump(mode="json")), encoding="utf-8")


def add_notes(path: str | Path, notes: Mapping[str, Any]) -> None:
    """Add to the notes of a bundle; its ``bundle.json`` is the old or the new one, whole.

    Args:
        path: The bundle, or the folder that `compare` wrote around it.
        notes: What JSON can hold; notes of the same names are replaced.

    Raises:
        InvalidInputError: As in `describe_bundle`.
    """
    folder = _bundle_folder(path)
    content = describe_bundle(folder)
    del content["digest"]
    content["notes"] = {**content["notes"], **notes}
    temporary = folder / f".part.{_JSON}"
    try:
        temporary.write_text(_with_digest(content), encoding="utf-8")
        os.replace(temporary, folder / _JSON)
    finally:
        temporary.unlink(missing_ok=True)


def _with_digest(content: dict[str, Any]) -> str:
    """Return a description as the text of ``bundle.json``."""
    whole = {**content, "digest": _digest(_canonical(content))}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write_components(
    model: BlendedModel,
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    notes: Mapping[str, Any],
) -> _BlendDescription:
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
            _ComponentEntry(name=name, kind="networks" if networks else "baseline", tasks=tasks)
        )
    (folder / _WEIGHTS).write_bytes(save_weights(_residuals(model.calibration)))
    return _BlendDescription(
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
    return {
        f"{_ERRORS}{name}": torch.from_numpy(residuals.errors)
        for name, residuals in calibration.residuals.items()
    }


def _blend_digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in (folder / _COMPONENTS).rglob("*") if path.is_file())
    files.append(folder / _WEIGHTS)
    return {path.relative_to(folder).as_posix(): _digest(path.read_bytes()) for path in files}


def _task_entry(
    task: Task, scaling: Mapping[str, tuple[float, float]], calibration: Calibration
) -> _TaskEntry:
    mean, deviation = scaling.get(task.name, (None, None))
    residuals = calibration.residuals.get(task.name)
    return _TaskEntry(
        name=task.name,
        kind=task.kind,
        classes=list(task.classes),
        mean=mean,
        deviation=deviation,
        temperature=calibration.temperatures.get(task.name),
        unseen_rows=None if residuals is None else residuals.rows,
        interval_scale=None if residuals is None else residuals.scale,
        lowest=None if residuals is None else residuals.lowest,
    )


def _column_entries(model: TableModel | BlendedModel) -> list[_ColumnEntry]:
    return [
        _ColumnEntry(
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
) -> _Description:
    weights = {
        f"{index}.{name}": value.contiguous()
        for index, part in enumerate(model.parts)
        for name, value in part.network.state_dict().items()
    }
    (folder / _WEIGHTS).write_bytes(save_weights(weights | _residuals(model.calibration)))
    model.encoder.save(folder / _ENCODER)
    return _Description(
        schema_version=SCHEMA_VERSION,
        tasks=[_task_entry(task, model.scaling, model.calibration) for task in model.tasks],
        columns=_column_entries(model),
        inputs=len(model.encoder.feature_names),
        parts=[
            _PartEntry(
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


def _load_blend(folder: Path, content: dict[str, Any]) -> BlendedModel:
    try:
        described = _BlendDescription.model_validate(
            {name: value for name, value in content.items() if name != "digest"}
        )
        if _blend_digests(folder) != described.digests:
            raise _damaged(folder, "its files are not those that were saved")
        weights = load_weights((folder / _WEIGHTS).read_bytes())
        calibration = _load_calibration(described.tasks, weights)
        components: dict[str, TableModel | FittedBaseline] = {}
        for index, entry in enumerate(described.components):
            inner = folder / _COMPONENTS / str(index)
            if entry.kind == "networks":
                components[entry.name] = _load_networks(inner, describe_bundle(inner))
            else:
                model = BaselineModel.load(inner)
                encoder = PlainEncoder.load(inner / _PLAIN_ENCODER)
                components[entry.name] = FittedBaseline(model.tasks, encoder, model)
        if any(not of_task.keys() <= components.keys() for of_task in described.weights.values()):
            raise _damaged(folder, "a component is missing")
    except OSError as error:
        raise _damaged(folder, f"{error.filename} can't be read: {error.strerror}") from None
    except (ValidationError, SafetensorError, KeyError, DamagedError) as error:
        raise _damaged(folder, str(error).splitlines()[0]) from None
    return BlendedModel(
        tasks=tuple(Task(one.name, one.kind, tuple(one.classes)) for one in described.tasks),
        columns=tuple(Column(c.name, c.kind, c.dtype) for c in described.columns),
        components=components,
        weights=described.weights,
        calibration=calibration,
        schema=_schema(described.table_schema),
    )


def _load_networks(folder: Path, content: dict[str, Any]) -> TableModel:
    try:
        described = _Description.model_validate(
            {name: value for name, value in content.items() if name != "digest"}
        )
        files = {name: (folder / name).read_bytes() for name in (_WEIGHTS, _ENCODER)}
        for name, data in files.items():
            if _digest(data) != described.digests.get(name):
                raise _damaged(folder, f"{name} is not the file that was saved")
        weights = load_weights(files[_WEIGHTS])
        tasks = tuple(
            Task(entry.name, entry.kind, tuple(entry.classes)) for entry in described.tasks
        )
        recipe = Recipe.from_json(described.recipe)
        whole = recipe.for_tasks(tasks)
        by_name = {task.name: task for task in tasks}
        parts = []
        for index, entry in enumerate(described.parts):
            with torch.random.fork_rng(devices=[]):
                network = whole.make_network(
                    described.inputs, [by_name[name] for name in entry.network_tasks]
                )
            prefix = f"{index}."
            network.load_state_dict(
                {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            )
            network.eval()
            parts.append(
                Part(tuple(entry.tasks), network, entry.weights, entry.validation, entry.epochs)
            )
        calibration = _load_calibration(described.tasks, weights)
    except OSError as error:
        raise _damaged(folder, f"{error.filename} can't be read: {error.strerror}") from None
    except (ValidationError, SafetensorError, RuntimeError, KeyError, DamagedError) as error:
        reason = str(error).splitlines()[0]
        raise _damaged(folder, reason) from None
    return TableModel(
        tasks=tasks,
        columns=tuple(Column(c.name, c.kind, c.dtype) for c in described.columns),
        encoder=TableEncoder.load(folder / _ENCODER),
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


def _readings(schema: TableSchema | None) -> dict[str, ColumnReading] | None:
    return None if schema is None else dict(schema.columns)


def _schema(readings: Mapping[str, ColumnReading] | None) -> TableSchema | None:
    return None if readings is None else TableSchema(readings)


def _load_calibration(
    entries: Sequence[_TaskEntry], weights: Mapping[str, torch.Tensor]
) -> Calibration:
    return Calibration(
        {entry.name: entry.temperature for entry in entries if entry.temperature is not None},
        {
            entry.name: _load_residuals(entry, weights)
            for entry in entries
            if entry.unseen_rows is not None
        },
    )


def _load_residuals(entry: _TaskEntry, weights: Mapping[str, torch.Tensor]) -> Residuals:
    errors = weights[_ERRORS + entry.name].numpy()
    residuals = Residuals(
        entry.unseen_rows or 0, errors, entry.interval_scale or "linear", entry.lowest
    )
    residuals.check()
    return residuals


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
        content = json.loads((folder / _JSON).read_text(encoding="utf-8"))
    except OSError:
        raise InvalidInputError(f"{folder} is no bundle: it holds no {_JSON}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise _damaged(folder, f"{_JSON} is not whole") from None
    if not isinstance(content, dict) or "schema_version" not in content:
        raise _damaged(folder, f"{_JSON} has no schema_version")
    if content["schema_version"] != SCHEMA_VERSION:
        raise InvalidInputError(
            f"{folder} has schema version {content['schema_version']!r}, this jointrain reads "
            f"{SCHEMA_VERSION}; use the jointrain version that wrote it, or fit the model again"
        )
    digest = content.get("digest")
    rest = {name: value for name, value in content.items() if name != "digest"}
    if digest != _digest(_canonical(rest)):
        raise _damaged(folder, f"{_JSON} was changed after it was saved")
    return content


def _bundle_folder(path: str | Path) -> Path:
    """Return the bundle itself for the folder that a study wrote around it."""
    folder = Path(path)
    inner = folder / "bundle"
    return inner if inner.is_dir() and not (folder / _JSON).exists() else folder


def _damaged(folder: Path, reason: str) -> JointrainError:
    return InvalidInputError(f"{folder} is damaged: {reason}; use another copy or fit it again")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
