"""Reader and writer of own modules: weights, tasks, and what makes the networks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import save as save_weights

from jointrain.bundle._description import (
    PACKAGES,
    SCHEMA_VERSION,
    bundle_folder,
    describe_bundle,
    digest,
    whole,
    without_digest,
)
from jointrain.bundle._entries import WEIGHTS, known_metrics, part_entries, read_weights
from jointrain.bundle._factories import (
    Factories,
    UnfitFactoryError,
    changed_code,
    given_code,
    network_factory,
)
from jointrain.bundle._fields import (
    FactoryEntry,
    MetricEntry,
    ModulesDescription,
    OwnTaskEntry,
)
from jointrain.errors import InvalidInputError, MissingFactoryError
from jointrain.metrics import Metric
from jointrain.networks import (
    Network,
    OtherNetworkError,
    network_of_own_weights,
    weights_to_store,
)
from jointrain.system.array_file import check_header
from jointrain.system.own_code import code_digest_of, imported_path_of, one_line, version_of
from jointrain.system.stored_files import DamagedError, json_from_bytes, json_to_bytes
from jointrain.task import KINDS, Task
from jointrain.training import FittedNetwork, NetworkModel, Trainer

Weights: TypeAlias = Mapping[str, torch.Tensor]

_LONGEST = 200
"""Characters of what foreign code says."""


def network_model_of(
    trained: object,
    factory: Callable[..., Network] | None = None,
    tasks: Sequence[Task] | None = None,
) -> NetworkModel:
    """Return what was trained as a model.

    Args:
        trained: A `Trainer`, a `NetworkModel`, a `Network` with `tasks`, or a list of trainers and
            models that predict different tasks; auxiliary ones stay with the first that has them.
        factory: What makes a network of some tasks; default that of the model.
        tasks: The tasks of a bare network.

    Raises:
        InvalidInputError: It is none of them, or tasks and networks do not fit.
    """
    network = getattr(trained, "_orig_mod", trained)  # as torch.compile wraps it
    if isinstance(network, Network) != (tasks is not None):
        raise InvalidInputError(
            "`tasks` goes with a network, and a network needs them: save_bundle(network, path, "
            "factory=..., tasks=[...])"
        )
    if isinstance(network, Network):
        named = tuple(tasks or ())
        part = FittedNetwork(tuple(task.name for task in named), network, {}, {}, (0, 0))
        return NetworkModel(named, (part,), factory=factory)
    if isinstance(trained, Trainer):
        return replace(trained.model, factory=factory)
    if isinstance(trained, NetworkModel):
        return trained if factory is None else replace(trained, factory=factory)
    if not isinstance(trained, Sequence) or not trained:
        raise InvalidInputError(
            "a bundle holds a table model, a blend, a Trainer, a NetworkModel, a list of trainers, "
            f"or a Network with its tasks, got {type(trained).__name__}"
        )
    return _put_together([network_model_of(one, factory) for one in trained])


def _put_together(models: Sequence[NetworkModel]) -> NetworkModel:
    predicted: dict[str, Task] = {}
    parts: list[FittedNetwork] = []
    for model in models:
        helping = {name for name in model.auxiliary if name in predicted}
        for part in model.parts:
            kept = tuple(name for name in part.tasks if name not in helping)
            if kept:
                parts.append(replace(part, tasks=kept))
        predicted |= {task.name: task for task in model.tasks if task.name not in helping}
    main = {task.name for model in models for task in model.predicted_tasks}
    return replace(
        models[0],
        tasks=tuple(predicted.values()),
        parts=tuple(parts),
        auxiliary=tuple(name for name in predicted if name not in main),
    )


def write_modules(
    model: NetworkModel,
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    notes: Mapping[str, Any],
) -> ModulesDescription:
    """Write the weights of networks into a folder, and return what describes them.

    Each network is made once by its factory, as a loader will do.

    Raises:
        InvalidInputError: There is no factory, or it makes other networks.
        DamagedError: They hold what `read_modules` refuses.
    """
    if model.factory is None:
        raise InvalidInputError(
            "a bundle keeps what makes a network beside its weights: pass factory=make, where "
            "make(tasks) returns a network of some of the tasks"
        )
    factory = _factory_entry(model.factory)
    named = {task.name: task for task in model.tasks}
    weights: dict[str, torch.Tensor] = {}
    for index, part in enumerate(model.parts):
        for name in part.network.task_names:
            if name not in named:
                raise InvalidInputError(
                    f"a network has a head for {name!r}, which is none of the tasks; train or name "
                    "that task, too"
                )
        of_part = weights_to_store(part.network)
        chosen = [named[name] for name in part.network.task_names]
        _network(model.factory, factory, chosen, of_part)
        weights |= {f"{index}.{name}": value for name, value in of_part.items()}
    data = save_weights(weights)
    check_header(data)
    (folder / WEIGHTS).write_bytes(data)
    return ModulesDescription(
        schema_version=SCHEMA_VERSION,
        tasks=[_task_entry(task) for task in model.tasks],
        parts=part_entries(model.parts),
        auxiliary=list(model.auxiliary),
        batch_size=model.batch_size,
        factory=factory,
        packages={name: version(name) for name in PACKAGES},
        metrics=known_metrics(metrics),
        notes=dict(notes),
        digests={WEIGHTS: digest(data)},
    )


def _factory_entry(factory: Callable[..., Network]) -> FactoryEntry:
    arguments: dict[str, Any] = {}
    if isinstance(factory, functools.partial):
        if factory.args:
            raise InvalidInputError(
                "give the arguments of a partial factory by keyword: partial(make, width=32)"
            )
        arguments = factory.keywords
    try:
        # as a loader finds them: tuples are lists
        plain = json_from_bytes(json_to_bytes(arguments))
    except DamagedError as error:
        raise DamagedError(f"the arguments of its factory: JSON {error}") from None
    path = imported_path_of(factory)
    return FactoryEntry(
        path=path, arguments=plain, version=version_of(path), digest=code_digest_of(factory)
    )


def _task_entry(task: Task) -> OwnTaskEntry:
    weights: Literal["balanced"] | list[float] | None = None
    if task.class_weights == "balanced":
        weights = "balanced"
    elif isinstance(task.class_weights, tuple):
        weights = list(task.class_weights)
    metrics = None
    if task.metrics != task.rules.default_metrics():
        metrics = [
            MetricEntry(
                name=metric.name,
                path=_path(metric.compute),
                higher_is_better=metric.higher_is_better,
                lowest=metric.lowest if math.isfinite(metric.lowest) else None,
                highest=metric.highest if math.isfinite(metric.highest) else None,
                percent_above=metric.percent_above,
                query=metric.query,
            )
            for metric in task.metrics or ()
        ]
    return OwnTaskEntry(
        name=task.name,
        kind=task.kind,
        classes=list(task.classes),
        size=task.output_size,
        loss=None if task.loss_function is None else _path(task.loss_function),
        metrics=metrics,
        class_weights=weights,
        given=task.given,
        correction=task.correction,
        channels_first=task.channels_first,
        ignored=list(task.ignored),
    )


def _path(code: Any) -> str:
    return code.path if isinstance(code, _NotGiven) else imported_path_of(code)


@dataclass(frozen=True)
class _NotGiven:
    """Stands where code of one's own was, until somebody calls it."""

    what: str
    path: str

    def __call__(self, *_: torch.Tensor) -> Any:
        raise MissingFactoryError(
            f"{self.what} is code that a bundle does not run: pass load_bundle(path, "
            f"factories={{{self.path!r}: ...}})"
        )


@dataclass(frozen=True)
class StoredModules:
    """What a bundle of own modules holds, of which nothing is built.

    Args:
        description: Its ``bundle.json``, checked.
        weights: Of each part, by name.
    """

    description: ModulesDescription
    weights: tuple[Weights, ...]


def stored_modules(path: str | Path) -> StoredModules:
    """Return what a bundle of own modules holds; no code that it names is run.

    Raises:
        InvalidInputError: It is no such bundle, or its files are not those that were saved.
    """
    folder = bundle_folder(path)
    content = describe_bundle(folder)
    with whole(folder):
        return _stored(folder, content)


def _stored(folder: Path, content: Mapping[str, Any]) -> StoredModules:
    described = ModulesDescription.model_validate(without_digest(content))
    grouped: dict[str, dict[str, torch.Tensor]] = {
        str(index): {} for index in range(len(described.parts))
    }
    for name, values in read_weights(folder, described.digests).items():
        index, _, inner = name.partition(".")
        if index not in grouped:
            raise DamagedError("networks and weights differ in number")
        grouped[index][inner] = values
    return StoredModules(described, tuple(grouped.values()))


def read_modules(
    folder: Path, content: dict[str, Any], factories: Factories, remarks: list[str]
) -> NetworkModel:
    """Return the model in a folder, by the contents of its ``bundle.json``.

    Args:
        folder: The bundle.
        content: What `describe_bundle` returned.
        factories: As in `load_bundle`.
        remarks: Gets a sentence if the factory is other code than that of the bundle.

    Raises:
        MissingFactoryError: What makes its network is not at hand.
        InvalidInputError: Its files are not those that were saved, or the factory makes another
            network.
    """
    with whole(folder):
        stored = _stored(folder, content)
        described = stored.description
        tasks = {entry.name: _task(entry, factories) for entry in described.tasks}
        entry = described.factory
        factory = network_factory(entry.path, factories)
        if code_digest_of(factory) != entry.digest:
            remarks.append(changed_code(entry.path))
        parts = []
        for part, weights in zip(described.parts, stored.weights, strict=True):
            chosen = [tasks[name] for name in part.network_tasks]
            network = _network(factory, entry, chosen, weights)
            parts.append(
                FittedNetwork(
                    tuple(part.tasks), network, part.weights, part.validation, part.epochs
                )
            )
        return NetworkModel(
            tuple(tasks.values()),
            tuple(parts),
            tuple(described.auxiliary),
            factory=functools.partial(factory, **entry.arguments) if entry.arguments else factory,
            batch_size=described.batch_size,
        )


def _network(
    factory: Callable[..., Network], entry: FactoryEntry, tasks: Sequence[Task], weights: Weights
) -> Network:
    """Return the network of weights, made by the factory with the arguments of its entry.

    Raises:
        UnfitFactoryError: The factory fails, or makes another network.
        DamagedError: A weight is no number.
    """
    names = [task.name for task in tasks]

    def make(chosen: Sequence[Task]) -> Network:
        try:
            made = factory(list(chosen), **entry.arguments)
        except OtherNetworkError:
            raise
        except Exception as error:  # foreign code may raise anything
            reason = one_line(error)[:_LONGEST]
            raise UnfitFactoryError(f"factory {entry.path!r} fails: {reason}") from error
        if not isinstance(made, Network) or list(made.task_names) != names:
            got = f"one of {list(made.task_names)}" if isinstance(made, Network) else repr(made)
            raise UnfitFactoryError(
                f"factory {entry.path!r} must return a Network of the tasks {names}, got "
                f"{got[:_LONGEST]}"
            )
        made.link(chosen)
        return made

    try:
        return network_of_own_weights(make, tasks, weights)
    except OtherNetworkError as error:
        raise UnfitFactoryError(
            f"factory {entry.path!r} makes another network than the one that is saved: {error}; "
            "use the code and the arguments that made it"
        ) from None


def _task(entry: OwnTaskEntry, factories: Factories) -> Task:
    if entry.kind not in KINDS:
        raise DamagedError(f"task {entry.name!r} is of an unknown kind")
    loss = None
    if entry.loss is not None:
        loss = given_code(entry.loss, factories) or _NotGiven(
            f"the loss of task {entry.name!r}", entry.loss
        )
    task = Task(
        entry.name,
        entry.kind,
        tuple(entry.classes),
        loss,
        size=entry.size,
        given=entry.given,
        correction=entry.correction,
        channels_first=entry.channels_first,
        ignored=tuple(entry.ignored),
    )
    task = replace(task, class_weights=entry.class_weights)
    if entry.metrics is None:
        return task
    known = {
        (metric.name, imported_path_of(metric.compute)): metric for metric in task.metrics or ()
    }
    return replace(
        task,
        metrics=tuple(
            known.get((metric.name, metric.path)) or _metric(metric, entry.name, factories)
            for metric in entry.metrics
        ),
    )


def _metric(entry: MetricEntry, task: str, factories: Factories) -> Metric:
    given = given_code(entry.path, factories) or factories.get(entry.name)
    compute = given.compute if isinstance(given, Metric) else given
    return Metric(
        entry.name,
        compute or _NotGiven(f"metric {entry.name!r} of task {task!r}", entry.path),
        entry.higher_is_better,
        -math.inf if entry.lowest is None else entry.lowest,
        math.inf if entry.highest is None else entry.highest,
        entry.percent_above,
        entry.query,
    )
