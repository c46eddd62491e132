"""Reader and writer of a blend: its weights, and a folder for each component."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_weights

from jointrain.baselines import BaselineModel
from jointrain.bundle._description import (
    PACKAGES,
    SCHEMA_VERSION,
    describe_bundle,
    digest,
    whole,
    without_digest,
    write_description,
)
from jointrain.bundle._entries import (
    ENCODER,
    WEIGHTS,
    check_columns,
    column_entries,
    columns_of,
    known_metrics,
    read_calibration,
    read_weights,
    readings_of,
    residual_tensors,
    schema_of,
    task_entry,
    tasks_of,
)
from jointrain.bundle._factories import Factories
from jointrain.bundle._fields import BlendDescription, ComponentEntry
from jointrain.bundle._networks import read_networks, write_networks
from jointrain.data import PlainEncoder, TableEncoder
from jointrain.system.stored_files import DamagedError, read_file
from jointrain.tables import BlendedModel, FittedBaseline, TableModel

COMPONENTS = "components"
_PLAIN_ENCODER = "encoder.json"
"""The encoder of a baseline."""


def write_blend(
    model: BlendedModel,
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    notes: Mapping[str, Any],
) -> BlendDescription:
    """Write the components of a blend into a folder, and return what describes it."""
    entries = []
    for index, (name, component) in enumerate(model.components.items()):
        inner = folder / COMPONENTS / str(index)
        inner.mkdir(parents=True)
        networks = isinstance(component, TableModel)
        if isinstance(component, TableModel):
            write_description(inner, write_networks(component, inner, {}, {}))
        else:
            plain = isinstance(component.encoder, PlainEncoder)
            component.encoder.save(inner / (_PLAIN_ENCODER if plain else ENCODER))
            component.model.save(inner)
        tasks = [task.name for task in component.tasks]
        entries.append(
            ComponentEntry(name=name, kind="networks" if networks else "baseline", tasks=tasks)
        )
    (folder / WEIGHTS).write_bytes(save_weights(residual_tensors(model.calibration)))
    return BlendDescription(
        schema_version=SCHEMA_VERSION,
        tasks=[task_entry(task, {}, model.calibration) for task in model.tasks],
        columns=column_entries(model),
        components=entries,
        weights={task: dict(weights) for task, weights in model.weights.items()},
        packages={name: version(name) for name in PACKAGES},
        metrics=known_metrics(metrics),
        notes=dict(notes),
        digests=digests_of_files(folder),
        table_schema=readings_of(model.schema),
    )


def digests_of_files(folder: Path, expected: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the digests of all files; none is read where there are others than expected.

    Raises:
        DamagedError: There are others, or two are links to one.
    """
    inside = os.walk(folder / COMPONENTS)  # follows no link to a folder
    files = sorted(Path(place, name) for place, _, names in inside for name in names)
    files.append(folder / WEIGHTS)
    by_name = {path.relative_to(folder).as_posix(): path for path in files}
    if expected is not None and by_name.keys() != expected.keys():
        raise DamagedError("its files are not those that were saved")
    # a large file under many names would be held as often
    if len({path.resolve() for path in files}) < len(files):
        raise DamagedError("two of its files are links to one")
    return {name: digest(read_file(path, folder=folder)) for name, path in by_name.items()}


def read_blend(
    folder: Path, content: dict[str, Any], factories: Factories, remarks: list[str]
) -> BlendedModel:
    """Return the blend in a folder, by the contents of its ``bundle.json``.

    Args:
        folder: The bundle.
        content: What `describe_bundle` returned.
        factories: As in `load_bundle`.
        remarks: As in `read_networks`.

    Raises:
        InvalidInputError: Its files are not those that were saved, or do not fit together.
    """
    with whole(folder):
        described = BlendDescription.model_validate(without_digest(content))
        if digests_of_files(folder, described.digests) != described.digests:
            raise DamagedError("its files are not those that were saved")
        places = [folder / COMPONENTS / str(index) for index in range(len(described.components))]
        if any(place.is_symlink() for place in places):
            raise DamagedError("a component is a link")
        tasks = tasks_of(described.tasks)
        columns = columns_of(described.columns)
        calibration = read_calibration(described.tasks, read_weights(folder, described.digests))
        components = {
            entry.name: _read_component(place, entry, factories, remarks)
            for place, entry in zip(places, described.components, strict=True)
        }
        # of what tasks are judged by, baselines know nothing
        known = {(task.name, task.kind, task.classes) for task in tasks}
        for name, component in components.items():
            if not {(task.name, task.kind, task.classes) for task in component.tasks} <= known:
                raise DamagedError(f"component {name!r} predicts other tasks")
            check_columns(component.encoder, columns)
        for task, of_task in described.weights.items():
            if not all(task in _predicted(components[name]) for name in of_task):
                raise DamagedError(f"a component does not predict task {task!r}")
    return BlendedModel(
        tasks=tasks,
        columns=columns,
        components=components,
        weights=described.weights,
        calibration=calibration,
        schema=schema_of(described.table_schema),
    )


def _read_component(
    folder: Path, entry: ComponentEntry, factories: Factories, remarks: list[str]
) -> TableModel | FittedBaseline:
    component: TableModel | FittedBaseline
    if entry.kind == "networks":
        component = read_networks(folder, describe_bundle(folder), factories, remarks)
    else:
        model = BaselineModel.load(folder, factories=factories)
        encoder: TableEncoder
        if (folder / ENCODER).exists():
            encoder = TableEncoder.load(folder / ENCODER)
        else:
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
