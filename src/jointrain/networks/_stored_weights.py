"""Networks from stored weights: nothing is built that the weights would not fill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from jointrain.networks._network import Network
from jointrain.system.stored_files import DamagedError
from jointrain.task import Task

_FEW = 4
"""With more tasks than that, their number is checked before a network of all of them is built."""


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
    # twice: networks may make a layer and then copies of it
    tensors, numbers = 2 * len(weights), 2 * sum(values.numel() for values in weights.values())

    def state(chosen: Sequence[Task]) -> Mapping[str, Tensor]:
        with _no_more_than(tensors, numbers), torch.device("meta"):
            return make(chosen).state_dict()

    if len(tasks) > _FEW:
        # copies are not counted; each further task has at least as many as the third
        two, three = (len(state(tasks[:count])) for count in (2, 3))
        if two + (len(tasks) - 2) * (three - two) > len(weights):
            raise DamagedError("the weights are those of fewer tasks")
    declared = {name: (value.shape, value.dtype) for name, value in state(tasks).items()}
    if declared != {name: (value.shape, value.dtype) for name, value in weights.items()}:
        raise DamagedError("the weights are not those of the network that is described")
    with torch.random.fork_rng(devices=[]):
        network = make(tasks)
    network.load_state_dict(weights)
    return network.eval()


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of which one is no number.

    Raises:
        DamagedError: The first of them, by name.
    """
    for name, values in weights.items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise DamagedError(f"the weights {name!r} hold a value that is no number")


@contextmanager
def _no_more_than(tensors: int, numbers: int) -> Iterator[None]:
    """End the making of a network with more parameters than that."""
    own, made = threading.get_ident(), [0, 0]

    def count(_module: nn.Module, _name: str, parameter: Tensor | None) -> None:
        if parameter is None or threading.get_ident() != own:
            return
        made[0] += 1
        made[1] += parameter.numel()
        if made[0] > tensors or made[1] > numbers:
            raise DamagedError("the network that is described is larger than its weights")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
