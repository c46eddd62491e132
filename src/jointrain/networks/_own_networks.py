"""Networks that need no entry in a list: of this folder, of installed packages, of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._network import Network
from jointrain.networks._registry import (
    NETWORKS as LISTED,
    TableNetwork,
    build_table_network,
    check_settings,
)
from jointrain.system.folder_classes import classes_of
from jointrain.system.own_code import path_of
from jointrain.system.plug_ins import Names
from jointrain.task import Task

NetworkFactory: TypeAlias = Callable[..., Network]
"""Makes a network of the number of inputs, the tasks, and settings by keyword."""

LAYER_SETTINGS = ("width", "depth", "dropout", "input_dropout")
"""Settings that every network of jointrain has: a factory without one of them is not told it."""


def as_factory(name: str, given: object) -> TableNetwork:
    """Return a factory, or an entry made of one, as an entry of the list of networks.

    Raises:
        InvalidInputError: It can't be called with inputs and tasks.
    """
    if isinstance(given, TableNetwork):
        return given
    if not callable(given):
        raise InvalidInputError(f"`network` must be a name or callable, got {given!r}")
    try:
        inspect.signature(given).bind(1, [], **dict.fromkeys(_needed(given)))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"network {name!r} can't be called with the number of inputs and the tasks: {error}"
        ) from None
    return _entry(given, given)


def _entry(described: object, build: NetworkFactory) -> TableNetwork:
    is_network = isinstance(described, type) and issubclass(described, Network)
    summary = (inspect.getdoc(described) or "").partition("\n")[0].rstrip(".")
    return TableNetwork(described if is_network else Network, summary, build)  # type: ignore[arg-type]


FOUND = classes_of(
    "jointrain.networks",
    [str(Path(__file__).parent)],
    Network,  # type: ignore[type-abstract]
    without=("_own_networks",),
)
"""Networks of this folder that have a ``name``, by class name."""

NETWORKS: Mapping[str, TableNetwork] = MappingProxyType(
    {**LISTED, **{cls.name: _entry(cls, cls.for_table) for cls in FOUND.values()}}
)
"""The networks that a table can be trained with, by the name that the command line knows."""

NETWORK_NAMES = Names("network", NETWORKS, as_factory)
"""Networks by name; packages add theirs by the entry point ``jointrain.networks``."""


def check_network(network: str | NetworkFactory, settings: Mapping[str, Any]) -> None:
    """Refuse a network that there is not, and settings that it does not take.

    Raises:
        InvalidInputError: The name is unknown, it is no factory, or it lacks a setting.
    """
    if isinstance(network, str) and network in LISTED:
        check_settings(network, settings)
        return
    name, build = _found(network)
    parameters = inspect.signature(build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in _by_keyword(build) if name not in LAYER_SETTINGS]
    for setting in settings:
        if setting not in parameters:
            raise InvalidInputError(
                f"network {name!r} has no setting {setting!r}{closest(setting, known)}; it has "
                f"{', '.join(known) or 'none'}"
            )


def build_network(
    network: str | NetworkFactory, in_features: int, tasks: Sequence[Task], **settings: Any
) -> Network:
    """Return a network, freshly initialised from torch's random state.

    Args:
        network: A name that `jointrain networks` lists, or a factory, which is called with
            `in_features`, `tasks` and the settings. Of width, depth, dropout and input_dropout it
            is told those that it has a parameter for.
        in_features: Number of features of the table, d.
        tasks: The tasks.
        **settings: Plain values.

    Raises:
        InvalidInputError: The name or a setting is unknown, or what was made is no network of the
            tasks.
    """
    check_network(network, {k: v for k, v in settings.items() if k not in LAYER_SETTINGS})
    if isinstance(network, str) and network in LISTED:
        return build_table_network(network, in_features, tasks, **settings)
    name, build = _found(network)
    parameters = inspect.signature(build).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    told = {
        setting: value
        for setting, value in settings.items()
        if setting not in LAYER_SETTINGS or setting in parameters or takes_all
    }
    made = build(in_features, tasks, **told)
    names = [task.name for task in tasks]
    if not isinstance(made, Network) or list(made.task_names) != names:
        raise InvalidInputError(
            f"network {name!r} must return a Network of the tasks {names}, got "
            + (f"one of {list(made.task_names)}" if isinstance(made, Network) else repr(made))
        )
    return made


def _found(network: str | NetworkFactory) -> tuple[str, NetworkFactory]:
    if isinstance(network, str):
        return network, NETWORK_NAMES.get(network).build
    name = path_of(network)
    return name, as_factory(name, network).build


def _by_keyword(build: NetworkFactory) -> list[str]:
    """Return the parameters after the inputs and the tasks."""
    parameters = list(inspect.signature(build).parameters.values())[2:]
    return [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def _needed(build: NetworkFactory) -> list[str]:
    parameters = inspect.signature(build).parameters
    return [
        name for name in _by_keyword(build) if parameters[name].default is inspect.Parameter.empty
    ]
