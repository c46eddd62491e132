"""Parameter groups: other learning rates or weight decay for some layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from jointrain.networks import Network
from jointrain.training._freezing import parameters_of

ParameterGroups = Mapping[str, Mapping[str, Any]] | Callable[[str, nn.Parameter], Mapping[str, Any]]
"""Options of an optimiser by the name of a part, or from a parameter's name and itself."""


def options_by_parameter(network: Network, groups: ParameterGroups) -> dict[int, Mapping[str, Any]]:
    """Return the options of each parameter by its `id`; none for those without.

    Raises:
        InvalidInputError: A name means nothing in the network.
    """
    if callable(groups):
        return {id(p): groups(name, p) for name, p in network.named_parameters()}
    parts = [(parameters_of(network, name, "parameter_groups"), groups[name]) for name in groups]
    # of a trunk and a layer of it, the layer knows more
    parts.sort(key=lambda part: -len(part[0]))
    return {id(p): options for parameters, options in parts for p in parameters}


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
