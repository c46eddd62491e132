"""Weights to store, and networks from stored weights: none is built that they would not fill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from jointrain.networks._network import Network
from jointrain.system.stored_files import DamagedError
from jointrain.task import Task

_COMPILED = "_orig_mod."
"""What `torch.compile` adds to the names of what it compiles."""

_ALSO_MADE = 50_000_000
"""Numbers that a factory may make beside four times those of the weights."""

_FEW = 4
"""With more tasks than that, their number is checked before a network of all of them is built."""


class OtherNetworkError(DamagedError):
    """A network is not the one that weights are of."""


def network_of_weights(
    make: Callable[[Sequence[Task]], Network], tasks: Sequence[Task], weights: Mapping[str, Tensor]
) -> Network:
    """Return a network that holds the weights, ready to predict.

    What a description declares may be larger than any memory, so the network is first built
    without numbers, up to the size of the weights and no further.

    Args:
        make: Builds the network of some tasks.
        tasks: All its tasks.
        weights: Its state, by name.

    Raises:
        DamagedError: The weights are those of another network, or hold a value that is no number.
        InvalidInputError: `make` refuses its settings.
    """
    check_finite(weights)
    tensors = sum(_tensors_made(name, values) for name, values in weights.items())
    numbers = sum(values.numel() for values in weights.values())

    def empty(chosen: Sequence[Task]) -> Network:
        # networks may make a layer and then copies of it, or tie two
        with _no_more_than(3 * tensors, 3 * numbers), torch.device("meta"):
            return make(chosen)

    if len(tasks) > _FEW:
        # copies are not counted; each further task has at least as many as the third
        two, three = (len(empty(tasks[:count]).state_dict()) for count in (2, 3))
        if two + (len(tasks) - 2) * (three - two) > tensors:
            raise DamagedError("the weights are those of fewer tasks")
    if difference(empty(tasks), weights) is not None:
        raise DamagedError("the weights are not those of the network that is described")
    with torch.random.fork_rng(devices=[]):
        network = make(tasks)
    return fill(network, weights)


def _tensors_made(name: str, values: Tensor) -> int:
    """Return of how many tensors one is made: that of grouped heads holds a row of each head."""
    return values.shape[0] if name.startswith("heads.groups.") and values.ndim else 1


def network_of_own_weights(
    make: Callable[[Sequence[Task]], Network], tasks: Sequence[Task], weights: Mapping[str, Tensor]
) -> Network:
    """Return a network of code that is trusted, though the sizes that it is told are not.

    It is built once, as what is not jointrain's may compute with numbers while it is built. It may
    make more than it keeps, such as the last layer of a pretrained trunk.

    Args:
        make: Builds the network of some tasks.
        tasks: All its tasks.
        weights: Its state, by name, as `weights_to_store` gives it.

    Raises:
        OtherNetworkError: It is much larger than the weights, or they are those of another network.
        DamagedError: A parameter holds a value that is no number, or a buffer NaN.
    """
    numbers = sum(values.numel() for values in weights.values())
    with (
        torch.random.fork_rng(devices=[]),
        _no_more_than(4 * len(weights) + 100_000, 4 * numbers + _ALSO_MADE),
    ):
        network = make(tasks)
    found = difference(network, weights)
    if found is not None:
        raise OtherNetworkError(found)
    buffers = {name for name, _ in network.named_buffers(remove_duplicate=False)}
    check_finite(weights, buffers={name.replace(_COMPILED, "") for name in buffers})
    return fill(network, weights)


def weights_to_store(network: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network on the CPU: of tied weights the first, numbers as real ones.

    Raises:
        DamagedError: It holds what is no tensor, or is a sparse or quantised one.
    """
    stored: dict[str, Tensor] = {}
    places: set[int] = set()
    for (name, *_), value in _state(network):
        if value.layout is not torch.strided or value.is_quantized:
            raise DamagedError(f"the weights {name!r} are sparse or quantised")
        value = value.detach().cpu().resolve_conj()
        place = value.untyped_storage().data_ptr()
        # two views of one memory are written twice
        value = _real(value).contiguous() if place not in places else _real(value).clone()
        places.add(place)
        stored[name] = value
    return stored


def difference(network: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """Return the first thing in which weights are not those of a network, None if they are.

    Raises:
        DamagedError: The network holds what is no tensor.
    """
    state = {names[0]: value for names, value in _state(network)}
    for name in weights:
        if name not in state:
            return f"the weights {name!r} are none of the network"
    for name, value in state.items():
        if name not in weights:
            return f"the weights {name!r} of the network are missing"
        if is_lazy(value):
            continue
        expected, found = _real(value), weights[name]
        if expected.shape != found.shape:
            return (
                f"the weights {name!r} are of shape {list(expected.shape)} in the network, but of "
                f"{list(found.shape)} among the weights"
            )
        if expected.dtype != found.dtype:
            return (
                f"the weights {name!r} are of {expected.dtype} in the network, but of "
                f"{found.dtype} among the weights"
            )
    return None


def fill(network: Network, weights: Mapping[str, Tensor]) -> Network:
    """Put weights into the network that they are of, and return it ready to predict."""
    state: dict[str, Tensor] = {}
    for names, value in _state(network, plain=False):
        found = weights[names[0].replace(_COMPILED, "")]
        if value.is_complex():
            found = torch.view_as_complex(found.contiguous())
        state.update(dict.fromkeys(names, found))
    network.load_state_dict(state)
    return network.eval()


def _state(network: nn.Module, *, plain: bool = True) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield what a network holds, each tensor once with all of its names.

    Args:
        network: The network.
        plain: Leave out of the names what `torch.compile` adds.
    """
    found: dict[int, tuple[list[str], Tensor]] = {}
    for name, value in network.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise DamagedError(f"the network keeps {name!r}, which is no tensor")
        names, _ = found.setdefault(id(value), ([], value))
        names.append(name.replace(_COMPILED, "") if plain else name)
    for names, value in found.values():
        yield tuple(names), value


def _real(value: Tensor) -> Tensor:
    """Return complex numbers as pairs of real ones, [...] -> [..., 2]."""
    return torch.view_as_real(value) if value.is_complex() else value


def check_finite(weights: Mapping[str, Tensor], buffers: Collection[str] = ()) -> None:
    """Refuse weights of which one is no number.

    Args:
        weights: By name.
        buffers: Names of those that may be infinite, as masks are, but not NaN.

    Raises:
        DamagedError: The first of them, by name.
    """
    for name, values in weights.items():
        if not values.is_floating_point():
            continue
        # what has one byte can't tell by itself
        values = values.float() if values.itemsize == 1 else values
        wrong = values.isnan() if name in buffers else ~values.isfinite()
        if bool(wrong.any()):
            raise DamagedError(f"the weights {name!r} hold a value that is no number")


@contextmanager
def _no_more_than(tensors: int, numbers: int) -> Iterator[None]:
    """End the making of a network with more parameters than that."""
    own, made = threading.get_ident(), [0, 0]

    def count(_module: nn.Module, _name: str, parameter: Tensor | None) -> None:
        if parameter is None or is_lazy(parameter) or threading.get_ident() != own:
            return
        made[0] += 1
        made[1] += parameter.numel()
        if made[0] > tensors or made[1] > numbers:
            raise OtherNetworkError("the network that is described is larger than its weights")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
