"""Freezing: which parameters the names of parts mean, and keeping them as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network

SHARED = "shared"
FROM_TOP = "from_top"


def parameters_of(network: Network, name: str, argument: str = "freeze") -> list[nn.Parameter]:
    """Return the parameters that a name means.

    A name is, in this order: ``shared`` (all that belongs to no single task), a task (its own), a
    piece as `Network.describe` prints it (``adapters``, ``heads.price``), or a module as in
    ``network.named_modules()`` (``trunk.2``).

    Raises:
        InvalidInputError: The name means nothing in the network; the message names the closest. Or
            it is a task that has no parameters of its own, or shares some of its head's.
    """
    if name == SHARED:
        return network.shared_parameters()
    if name in network.task_names:
        _check_owns(network, name, argument)
        return network.task_parameters(name)
    pieces = {
        prefix: [
            parameter
            for part in network.all_parts()
            if part.path[: len(path)] == path
            for parameter in part.all_parameters()
        ]
        for path in _prefixes(network)
        for prefix in [".".join(path)]
    }
    if name in pieces:
        return pieces[name]
    modules = dict(network.named_modules())
    modules.pop("")
    if name in modules:
        return list(modules[name].parameters())
    known = [SHARED, *network.task_names, *pieces, *modules]
    raise InvalidInputError(
        f"`{argument}` names {name!r}, which is neither 'shared' nor a task or a part of the "
        f"network{closest(name, known)}; network.describe() shows its parts"
    )


def _check_owns(network: Network, task: str, argument: str) -> None:
    """Refuse a task whose head would not be meant as a whole.

    Raises:
        InvalidInputError: Other parts have parameters of it, too, or it has none.
    """
    parts = [(part, list(part.all_parameters())) for part in network.all_parts()]
    found = False
    for part, parameters in parts:
        if not part.own or task not in part.tasks:
            continue
        found = found or bool(parameters)
        its = {id(parameter) for parameter in parameters}
        others = [
            ".".join(other.path)
            for other, theirs in parts
            if not (other.own and task in other.tasks) and any(id(p) in its for p in theirs)
        ]
        if others:
            path = ".".join(part.path)
            raise InvalidInputError(
                f"`{argument}` names task {task!r}, but parameters of its {path} belong to "
                f"{', '.join(others)}, too; name {path!r} to mean them all"
            )
    if not found:
        raise InvalidInputError(
            f"`{argument}` names task {task!r}, which has no parameters of its own; leave it out"
        )


def _prefixes(network: Network) -> Iterator[tuple[str, ...]]:
    for part in network.all_parts():
        for length in range(1, len(part.path) + 1):
            yield part.path[:length]


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let the parameters require no gradient within the block."""
    changed = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)


def stages(network: Network, names: Sequence[str] | str) -> list[list[nn.Parameter]]:
    """Return the parameters that are released one after another.

    Args:
        network: Whose parameters.
        names: Parts as for `parameters_of`, in the order of release; or ``from_top``: the layers of
            the network's trunk, the last one first.

    Raises:
        InvalidInputError: A name means nothing, or the network has no trunk of several layers.
    """
    if names != FROM_TOP:
        return [parameters_of(network, name, "unfreeze") for name in names]
    layers = _layers(network)
    if len(layers) < 2:
        raise InvalidInputError(
            f"`unfreeze` 'from_top' needs a trunk of several layers, which "
            f"{type(network).__name__} does not have here; name the parts in their order"
        )
    return [list(layer.parameters()) for layer in reversed(layers)]


def _layers(network: Network) -> list[nn.Module]:
    """Return the trunk's layers that have parameters, in order."""
    module = getattr(network, "trunk", None)
    while isinstance(module, nn.Module):
        layers = [child for child in module.children() if any(True for _ in child.parameters())]
        if len(layers) != 1:
            return layers
        (module,) = layers
    return []


def keep_running_statistics(network: nn.Module) -> None:
    """Put normalisation layers into evaluation mode where all of a module is frozen.

    A frozen layer shall stay as it is, but in training mode batch normalisation would move its
    running means.
    """
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            for layer in module.modules():
                if isinstance(layer, _NormBase):
                    layer.eval()


class Releases:
    """Frozen parameters that are released one group after another during a session.

    Args:
        groups: The parameters, in the order of release.
        every: Epochs between two releases.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]], every: int) -> None:
        self.groups = [list(group) for group in groups]
        self.every = every
        self.released = 0

    def with_frozen(self, network: nn.Module) -> list[nn.Parameter]:
        """Return the network's trained parameters, with those that wait for their release."""
        waiting = {id(parameter) for group in self.groups for parameter in group}
        return [p for p in network.parameters() if p.requires_grad or id(p) in waiting]

    def after(self, epochs: int) -> bool:
        """Release the next group if it is due after so many epochs; return whether it was."""
        if not self.groups or epochs % self.every:
            return False
        self._release()
        return True

    def release_first(self, groups: int) -> None:
        """Release as many groups as were in a run that goes on here."""
        for _ in range(groups):
            self._release()

    def _release(self) -> None:
        for parameter in self.groups.pop(0):
            parameter.requires_grad_(True)
        self.released += 1
