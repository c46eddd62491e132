"""Networks by name: those of this folder, of installed packages, and of one's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, get_type_hints

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._network import Network
from jointrain.networks._table_settings import MLPSettings
from jointrain.system.folder_classes import classes_of
from jointrain.system.own_code import path_of
from jointrain.system.plug_ins import Names
from jointrain.task import Task

NetworkFactory: TypeAlias = Callable[..., Network]
"""Makes a network of the number of inputs, the tasks, and settings by keyword."""

LAYER_SETTINGS = ("width", "depth", "dropout", "input_dropout")
"""Settings that every network of jointrain has: a factory without one of them is not told it."""


@dataclass(frozen=True)
class TableNetwork:
    """An architecture as the command line offers it.

    Args:
        network: The class.
        summary: One line on what it is.
        build: Makes it of the number of features, the tasks and settings, see `Network.for_table`.
    """

    network: type[Network]
    summary: str
    build: NetworkFactory

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that `build` takes, with their defaults."""
        found: dict[str, Any] = {}
        for one in _told(self.build):
            found |= vars(MLPSettings()) if _is_mlp(one) else {one.name: one.default}
        return found

    @property
    def takes_any(self) -> bool:
        """Whether `build` takes settings of any name."""
        parameters = inspect.signature(self.build).parameters.values()
        return any(one.kind is one.VAR_KEYWORD for one in parameters)


def _told(build: NetworkFactory) -> list[inspect.Parameter]:
    """Return the parameters after the inputs and the tasks."""
    parameters = list(inspect.signature(build).parameters.values())[2:]
    return [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def _is_mlp(parameter: inspect.Parameter) -> bool:
    return parameter.annotation in (MLPSettings, MLPSettings.__name__)


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
        needed = [one.name for one in _told(given) if one.default is one.empty]
        inspect.signature(given).bind(1, [], **dict.fromkeys(needed))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"network {name!r} can't be called with the number of inputs and the tasks: {error}"
        ) from None
    network = given if isinstance(given, type) and issubclass(given, Network) else Network
    return TableNetwork(network, _first_line(given), given)


def _first_line(described: object) -> str:
    return (inspect.getdoc(described) or "").partition("\n")[0].rstrip(".")


FOUND = classes_of(
    "jointrain.networks",
    [str(Path(__file__).parent)],
    Network,  # type: ignore[type-abstract]
    without=("_registry",),
)
"""Networks of this folder that have a ``name``, by class name."""

_ORDER = (
    "hard", "soft", "cross-stitch", "sluice", "mmoe", "cgc", "ple", "dselect-k", "mtan", "aitm",
    "branch", "low-rank", "pareto-set", "tabm",
)  # fmt: skip
"""The order of lists, in which networks that are alike stand side by side; others come last."""

NETWORKS: Mapping[str, TableNetwork] = MappingProxyType(
    {
        # the summary of a class that it derives from is that of another network
        cls.name: TableNetwork(cls, vars(cls).get("summary", _first_line(cls)), cls.for_table)
        for cls in sorted(FOUND.values(), key=lambda cls: [*_ORDER, cls.name].index(cls.name))
    }
)
"""The networks that a table can be trained with, by the name that the command line knows."""

NETWORK_NAMES = Names("network", NETWORKS, as_factory)
"""Networks by name; packages add theirs by the entry point ``jointrain.networks``."""


def check_network(network: str | NetworkFactory, settings: Mapping[str, Any]) -> None:
    """Refuse a network that there is not, and settings that it does not take.

    Raises:
        InvalidInputError: The name is unknown, it is no factory, it lacks a setting, or a value is
            of another type than one of jointrain's own has, or beyond what a count may be.
    """
    from pydantic import ValidationError

    name, entry = _found(network)
    listed = name in NETWORKS
    known = entry.settings
    readers = _readers(name) if listed else {}
    for setting, value in settings.items():
        if setting not in known and not entry.takes_any:
            # a recipe has the layers itself
            said = [one for one in known if listed or one not in LAYER_SETTINGS]
            raise InvalidInputError(
                f"network {name!r} has no setting {setting!r}{closest(setting, said)}; it has "
                f"{', '.join(said) or 'none'}"
            )
        try:
            if setting in readers:
                readers[setting].validate_python(value, strict=True)
        except ValidationError as error:
            fault = error.errors()[0]
            must = f": {fault['msg'][0].lower()}{fault['msg'][1:]}"
            if fault["type"] == "less_than_equal":
                must = f" must be at most {fault['ctx']['le']:,}"
            raise InvalidInputError(
                f"`{setting}` of network {name!r}{must}, got {value!r}"
            ) from None


@functools.cache
def _readers(name: str) -> Mapping[str, Any]:
    """Return what checks the values of settings; made once, as that takes milliseconds."""
    from pydantic import TypeAdapter

    entry = NETWORKS[name]
    types = {
        **get_type_hints(MLPSettings, include_extras=True),
        **get_type_hints(entry.build, include_extras=True),
    }
    return {one: TypeAdapter(types[one]) for one in entry.settings if one in types}


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
        **settings: Plain values such as ``width``, ``depth``, ``dropout``, ``experts``; see
            ``NETWORKS[name].settings`` for those of a network and their defaults.

    Raises:
        InvalidInputError: The name or a setting is unknown, there is no task, a value can't be
            used, or what was made is no network of the tasks.

    Examples:
        >>> tasks = [Task.regression("price"), Task.multiclass("kind", 3)]
        >>> network = build_network("mmoe", 8, tasks, width=16, experts=2)
        >>> network.task_names
        ('price', 'kind')
    """
    name, entry = _found(network)
    known = entry.settings
    told = {
        setting: value
        for setting, value in settings.items()
        if setting not in LAYER_SETTINGS or setting in known or entry.takes_any
    }
    check_network(network, told)
    if not tasks:
        raise InvalidInputError("`tasks` must hold at least one task")
    for one in filter(_is_mlp, _told(entry.build)):
        layers = {layer: told.pop(layer) for layer in vars(MLPSettings()) if layer in told}
        told[one.name] = MLPSettings(**layers)
    made = entry.build(in_features, tasks, **told)
    names = [task.name for task in tasks]
    if not isinstance(made, Network) or list(made.task_names) != names:
        raise InvalidInputError(
            f"network {name!r} must return a Network of the tasks {names}, got "
            + (f"one of {list(made.task_names)}" if isinstance(made, Network) else repr(made))
        )
    return made


def _found(network: str | NetworkFactory) -> tuple[str, TableNetwork]:
    if isinstance(network, str):
        return network, NETWORK_NAMES.get(network)
    name = path_of(network)
    return name, as_factory(name, network)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse what is none of `NETWORKS`, and settings that it does not take.

    Raises:
        InvalidInputError: As of `check_network`.
    """
    if name not in NETWORKS:
        raise InvalidInputError(
            f"`network` must be one of {', '.join(NETWORKS)}, got {name!r}{closest(name, NETWORKS)}"
        )
    check_network(name, settings)


def build_table_network(
    name: str, in_features: int, tasks: Sequence[Task], **settings: Any
) -> Network:
    """Return one of `NETWORKS`, as `build_network` does.

    Raises:
        InvalidInputError: As of `build_network`.
    """
    check_settings(name, settings)
    return build_network(name, in_features, tasks, **settings)
