"""Reader and writer of a table model: networks, their encoder, and how they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_weights

from jointrain.baselines import BASELINE_NAMES
from jointrain.bundle._description import (
    PACKAGES,
    SCHEMA_VERSION,
    check_digest,
    digest,
    whole,
    without_digest,
)
from jointrain.bundle._entries import (
    ENCODER,
    ERRORS,
    WEIGHTS,
    check_columns,
    column_entries,
    columns_of,
    known_metrics,
    part_entries,
    read_calibration,
    read_weights,
    readings_of,
    residual_tensors,
    schema_of,
    task_entry,
    tasks_of,
)
from jointrain.bundle._factories import Factories, changed_code, network_factory
from jointrain.bundle._fields import Description, PartEntry
from jointrain.data import TableEncoder
from jointrain.errors import MissingFactoryError
from jointrain.experiments import Recipe
from jointrain.networks import (
    NETWORK_NAMES,
    check_finite,
    network_of_weights,
    weights_to_store,
)
from jointrain.system.array_file import check_header
from jointrain.system.own_code import CodeReference, digest_of, path_of
from jointrain.system.stored_files import DamagedError, read_file
from jointrain.tables import BlendedModel, TableModel
from jointrain.task import Task
from jointrain.training import FittedNetwork

_FORMER_INPUT_DROPOUT = 0.3
"""Of networks for classes alone, in bundles that say nothing of it."""


def write_networks(
    model: TableModel,
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    notes: Mapping[str, Any],
) -> Description:
    """Write weights and encoder of a table model, and return what describes it."""
    weights = {
        f"{index}.{name}": value
        for index, part in enumerate(model.parts)
        for name, value in weights_to_store(part.network).items()
    }
    check_finite(weights)
    data = save_weights(weights | residual_tensors(model.calibration))
    check_header(data)
    (folder / WEIGHTS).write_bytes(data)
    model.encoder.save(folder / ENCODER)
    return Description(
        schema_version=SCHEMA_VERSION,
        tasks=[task_entry(task, model.scaling, model.calibration) for task in model.tasks],
        columns=column_entries(model),
        inputs=len(model.encoder.feature_names),
        parts=part_entries(model.parts),
        recipe=model.recipe.to_json(),
        input_dropout=_completed(model.recipe, model.tasks, model.encoder).input_dropout,
        seed=model.seed,
        packages={name: version(name) for name in PACKAGES},
        metrics=known_metrics(metrics),
        notes=dict(notes),
        digests={name: digest((folder / name).read_bytes()) for name in (WEIGHTS, ENCODER)},
        table_schema=readings_of(model.schema),
    )


def read_networks(
    folder: Path, content: dict[str, Any], factories: Factories, remarks: list[str]
) -> TableModel:
    """Return the table model in a folder, by the contents of its ``bundle.json``.

    Args:
        folder: The bundle.
        content: What `describe_bundle` returned.
        factories: As in `load_bundle`.
        remarks: Gets a sentence if the factory is other code than that of the bundle.

    Raises:
        MissingFactoryError: What makes its network is not at hand.
        InvalidInputError: Its files are not those that were saved, or do not fit together.
    """
    with whole(folder):
        described = Description.model_validate(without_digest(content))
        weights = read_weights(folder, described.digests)
        tasks = tasks_of(described.tasks)
        columns = columns_of(described.columns)
        recipe = _with_factory(Recipe.from_json(described.recipe), factories, remarks)
        recipe.auxiliary_among([task.name for task in tasks])
        calibration = read_calibration(described.tasks, weights)
        grouped: dict[str, dict[str, torch.Tensor]] = {}
        for name, values in weights.items():
            if not name.startswith(ERRORS):
                index, _, inner = name.partition(".")
                grouped.setdefault(index, {})[inner] = values
        if grouped.keys() != {str(index) for index in range(len(described.parts))}:
            raise DamagedError("networks and weights differ in number")
        check_digest(read_file(folder / ENCODER, folder=folder), ENCODER, described.digests)
        encoder = TableEncoder.load(folder / ENCODER)
        if len(encoder.feature_names) != described.inputs:
            raise DamagedError("encoder and networks differ in their number of inputs")
        completed = _completed(recipe, tasks, encoder)
        trained = described.input_dropout
        if trained is None:
            former = _FORMER_INPUT_DROPOUT if all(task.has_classes for task in tasks) else 0.0
            trained = former if recipe.input_dropout is None else recipe.input_dropout
        if completed.input_dropout != trained:  # the default was another then
            recipe = replace(recipe, input_dropout=trained)
            completed = _completed(recipe, tasks, encoder)
        parts = [
            _read_part(entry, grouped[str(index)], completed, tasks, encoder)
            for index, entry in enumerate(described.parts)
        ]
        check_columns(encoder, columns)
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
        schema=schema_of(described.table_schema),
    )


def factories_needed(model: TableModel | BlendedModel) -> list[str]:
    """Return the paths, ``module:name``, of the code of one's own that the model's bundle needs.

    A bundle names it and does not bring it; see `load_bundle`.
    """
    if isinstance(model, TableModel):
        network = model.recipe.network
        return [] if isinstance(network, str) else [CodeReference.of(network).path]
    needed: list[str] = []
    for component in model.components.values():
        if isinstance(component, TableModel):
            needed += factories_needed(component)
        elif component.model.stored_name not in BASELINE_NAMES:
            needed.append(component.model.stored_name)
    return list(dict.fromkeys(needed))


def _with_factory(recipe: Recipe, factories: Factories, remarks: list[str]) -> Recipe:
    """Return the recipe with a factory in the place of a network that is only described."""
    network = recipe.network
    if isinstance(network, CodeReference):
        factory = network_factory(network.path, factories)
        # what a script defines has another hash where it is imported
        imported = not any(
            path.startswith("__main__:") for path in (network.path, path_of(factory))
        )
        if imported and digest_of(factory) != network.digest:
            remarks.append(changed_code(network.path))
        return replace(recipe, network=factory)
    if isinstance(network, str) and network not in NETWORK_NAMES:
        raise MissingFactoryError(
            f"the model has network {network!r}, which is none of jointrain's; install the package "
            "that brings it"
        )
    return recipe


def _completed(recipe: Recipe, tasks: Sequence[Task], encoder: TableEncoder) -> Recipe:
    return recipe.for_tasks(tasks, len(encoder.feature_names), encoder.code_columns)


def _read_part(
    entry: PartEntry,
    weights: Mapping[str, torch.Tensor],
    recipe: Recipe,
    tasks: Sequence[Task],
    encoder: TableEncoder,
) -> FittedNetwork:
    inputs, codes = len(encoder.feature_names), encoder.code_columns
    by_name = {task.name: task for task in tasks}
    network = network_of_weights(
        lambda chosen: recipe.make_network(inputs, chosen, codes),
        [by_name[name] for name in entry.network_tasks],
        weights,
    )
    return FittedNetwork(tuple(entry.tasks), network, entry.weights, entry.validation, entry.epochs)
