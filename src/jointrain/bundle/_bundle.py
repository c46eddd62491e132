"""Saving and loading: which reader and writer a bundle needs."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from jointrain.bundle._blend import read_blend, write_blend
from jointrain.bundle._description import (
    DESCRIPTION,
    bundle_folder,
    describe_bundle,
    savable,
    whole,
    with_digest,
    write_description,
)
from jointrain.bundle._factories import Factories
from jointrain.bundle._fields import ColumnEntry, Strict
from jointrain.bundle._modules import network_model_of, read_modules, write_modules
from jointrain.bundle._networks import read_networks, write_networks
from jointrain.data import SupervisedTable, known_values
from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.system.output_file import write_whole
from jointrain.system.output_folder import write_new_folder
from jointrain.system.stored_files import DamagedError, json_to_bytes
from jointrain.tables import BlendedModel, TableModel, training_reference
from jointrain.task import Task
from jointrain.training import NetworkModel, Trainer

Model: TypeAlias = TableModel | BlendedModel | NetworkModel
"""What comes back from a bundle."""


def save_bundle(
    model: Model | Trainer | Network | Sequence[Trainer | NetworkModel],
    path: str | Path,
    *,
    factory: Callable[..., Network] | None = None,
    tasks: Sequence[Task] | None = None,
    table: SupervisedTable | None = None,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    notes: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a model as a bundle; the folder appears whole or not at all.

    Args:
        model: The fitted model of a table; or what was trained of own modules: a `Trainer`, a
            list of trainers of different tasks, a `NetworkModel`, or a network with its `tasks`.
        path: The folder to make.
        factory: Of own modules, what makes a network of a list of tasks, freshly initialised and
            with the names, shapes and types of the one that is saved. A `functools.partial` keeps
            its arguments by keyword, which must be what JSON can hold. Its path is kept, no code.
        tasks: Of a bare network, the tasks that it has heads for.
        table: The table that the model was fitted to. What is kept of it (how its columns are
            spread, constants, promised losses) is what `jointrain evaluate` holds later tables
            against; default: nothing is kept.
        metrics: What is known of the model's quality, by task and metric; NaN is kept as null.
        notes: Anything else that JSON can hold, such as how the metrics were measured.
        force: Replace the folder if it exists.

    Raises:
        InvalidInputError: The folder exists and `force` is not set, or can't be written; or the
            model holds what `load_bundle` refuses, such as weights that are no numbers, or more
            columns and categories than 64 MiB of JSON hold; or its factory is missing, fails, or
            makes another network.

    Examples:
        >>> import tempfile, torch
        >>> from jointrain.networks import HardSharing
        >>> def make(tasks, width=4):
        ...     heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
        ...     return HardSharing(torch.nn.Linear(3, width), heads)
        >>> tasks = [Task.regression("price"), Task.multiclass("kind", 3)]
        >>> folder = tempfile.mkdtemp() + "/model"
        >>> path = save_bundle(make(tasks), folder, factory=make, tasks=tasks)
        >>> model = load_bundle(path, factories={"make": make})
        >>> model.predict(torch.zeros(2, 3))["kind"].shape
        torch.Size([2, 3])
    """
    saved: Model
    if isinstance(model, (TableModel, BlendedModel)):
        if factory is not None or tasks is not None:
            raise InvalidInputError(
                "`factory` and `tasks` go with own modules; the model of a table knows its own"
            )
        saved = model
        if table is not None:
            notes = {"reference": training_reference(model, table), **(notes or {})}
    else:
        if table is not None:
            raise InvalidInputError("`table` goes with the model of a table; leave it out")
        saved = network_model_of(model, factory, tasks)
    return write_new_folder(
        path,
        lambda folder: write_bundle(saved, folder, metrics=metrics, notes=notes),
        force=force,
    )


def write_bundle(
    model: Model,
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
    with savable():
        if isinstance(model, BlendedModel):
            description = write_blend(model, folder, metrics or {}, notes or {})
        elif isinstance(model, NetworkModel):
            description = write_modules(model, folder, metrics or {}, notes or {})
        else:
            description = write_networks(model, folder, metrics or {}, notes or {})
        write_description(folder, description)


def add_notes(path: str | Path, notes: Mapping[str, Any]) -> None:
    """Add to the notes of a bundle; its ``bundle.json`` is the old or the new one, whole.

    Args:
        path: The bundle, or the folder that `compare` wrote around it.
        notes: What JSON can hold; notes of the same names are replaced.

    Raises:
        InvalidInputError: As in `describe_bundle`, or the notes hold what can't be read again.
    """
    folder = bundle_folder(path)
    content = describe_bundle(folder)
    del content["digest"]
    content["notes"] = {**content["notes"], **notes}
    with savable():
        data = with_digest(content)
    write_whole(folder / DESCRIPTION, lambda path: path.write_bytes(data))


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
            if column.kind in ("category", "id", "bag")
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
            f"a model of this table could not be saved: {DESCRIPTION} {error}; leave out columns, "
            "or those with the most different values, by --ignore"
        ) from None


def load_bundle(path: str | Path, *, factories: Factories | None = None) -> Model:
    """Load the model of a bundle; no code that it names is imported.

    Args:
        path: The folder.
        factories: Code of one's own by the path ``module:name`` that the bundle tells, or by the
            name alone: what makes its networks, its baselines, and of own modules also losses and
            metrics, which are needed where they are used. What makes networks is called with the
            bundle's arguments; code that has changed since is warned of. The balancing method that
            trained a model is not needed.

    Returns:
        A `TableModel` or a `BlendedModel`; a `NetworkModel` of own modules.

    Raises:
        MissingFactoryError: What makes its networks is not among the factories.
        InvalidInputError: It is no bundle, it was cut or changed, a newer jointrain or one before
            0.2 wrote it (see `convert_bundle`), or a factory fails or makes another network.
    """
    bundle = read_bundle(path, factories=factories)
    for remark in bundle.remarks:
        warnings.warn(remark, stacklevel=2)
    return bundle.model


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a bundle holds.

    Args:
        description: The checked contents of ``bundle.json``, as `describe_bundle` returns them.
        model: The model.
        remarks: What there is to say of how it was loaded, a sentence each.
    """

    description: dict[str, Any]
    model: Model
    remarks: tuple[str, ...] = ()


def read_bundle(path: str | Path, *, factories: Factories | None = None) -> Bundle:
    """Return the model of a bundle and its description, which is read once.

    Args:
        path: The folder.
        factories: As in `load_bundle`.

    Raises:
        InvalidInputError: As in `load_bundle`.
    """
    folder = bundle_folder(path)
    content = describe_bundle(folder)
    kind, remarks = content.get("kind"), list[str]()
    read: Callable[..., Model] = read_networks
    if kind == "modules":
        read = read_modules
    elif kind == "blend":
        read = read_blend
    elif "kind" in content:
        with whole(folder):
            raise DamagedError("it is of a kind that this jointrain does not know")
    return Bundle(content, read(folder, content, factories or {}, remarks), tuple(remarks))
