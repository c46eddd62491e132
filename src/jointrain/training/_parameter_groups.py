"""Parameter groups: other learning rates or weight decay for some layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.training._freezing import parameters_of

ParameterGroups = Mapping[str, Mapping[str, Any]] | Callable[[str, nn.Parameter], Mapping[str, Any]]
"""Options of an optimiser by the name of a part, or from a parameter's name and itself."""


def options_by_parameter(
    network: Network, groups: ParameterGroups, *, slices_together: bool
) -> dict[int, Mapping[str, Any]]:
    """Return the options of each parameter by its `id`; none for those without.

    Args:
        network: Whose parameters, those of grouped heads and their tasks' slices.
        groups: The options; a function is called with the slices of grouped heads one by one, each
            under the name of the group's parameter.
        slices_together: Whether an optimiser moves the heads of a group as the one parameter that
            they are.

    Raises:
        InvalidInputError: A name means nothing in the network, or heads that are moved together
            have different options.
    """
    slices = network.heads.slices_of_groups()
    options: dict[int, Mapping[str, Any]] = {}
    if callable(groups):
        for name, parameter in network.named_parameters():
            for one in slices.get(id(parameter), (parameter,)):
                options[id(one)] = groups(name, one)
    else:
        parts = [
            ([p for one in named for p in slices.get(id(one), (one,))], groups[name])
            for name in groups
            for named in [parameters_of(network, name, "parameter_groups")]
        ]
        # of a trunk and a layer of it, the layer knows more
        parts.sort(key=lambda part: -len(part[0]))
        options = {id(p): of_part for parameters, of_part in parts for p in parameters}
    if slices_together:
        options |= _of_whole_groups(network, slices, options)
    return options


def _of_whole_groups(
    network: Network,
    slices: Mapping[int, Sequence[nn.Parameter]],
    options: Mapping[int, Mapping[str, Any]],
) -> dict[int, Mapping[str, Any]]:
    """Return the options of the parameters of grouped heads, which are those of all their slices.

    Raises:
        InvalidInputError: Slices of one parameter have different options.
    """
    found = {}
    for owner, tasks in network.heads.tasks_of_groups().items():
        by_task = [options.get(id(one), {}) for one in slices[owner]]
        other = next((k for k, own in enumerate(by_task) if own != by_task[0]), None)
        if other is not None:
            raise InvalidInputError(
                f"`parameter_groups` gives the heads of tasks {tasks[0]!r} and {tasks[other]!r} "
                "different options, but these heads are grouped and move as one parameter; name "
                "'heads' to mean them all, or build the network with group_from=None"
            )
        found[owner] = by_task[0]
    return found


def check_options(given: Iterable[Mapping[str, Any]], known: Collection[str]) -> None:
    """Refuse options that an optimiser would keep and pass over.

    Args:
        given: Options of some parts.
        known: Those of the optimiser.

    Raises:
        InvalidInputError: One is none of them.
    """
    for options in given:
        for name in options:
            if name not in known:
                raise InvalidInputError(
                    f"`parameter_groups` gives {name!r}, which is no option of the optimiser"
                    f"{closest(str(name), known)}; it has {', '.join(known)}"
                )


def grouped(
    parameters: Sequence[nn.Parameter], options: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the parameters as groups of an optimiser, those with the same options in one."""
    found: list[tuple[Mapping[str, Any], list[nn.Parameter]]] = []
    for parameter in parameters:
        own = options.get(id(parameter), {})
        same = next((members for known, members in found if known == own), None)
        if same is None:
            found.append((own, [parameter]))
        else:
            same.append(parameter)
    return [{"params": members, **own} for own, members in found]
