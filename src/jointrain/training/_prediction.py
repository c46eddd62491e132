"""Predictions of a network, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.data import count_rows, map_tensors
from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._in_place import refusing_writes
from jointrain.training.sampling import rows_at_once


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode inside the block, and each of its parts back after it."""
    modes = [(part, part.training) for part in module.modules()]
    if not any(mode for _, mode in modes):
        yield
        return
    module.eval()
    try:
        yield
    finally:
        if modes[0][1]:
            # a layer may do more than to change its mode
            module.train()
        # parts may have been in evaluation mode, as frozen normalisation is
        for part, mode in modes:
            part.training = mode


@torch.no_grad()
def predict(
    network: Network,
    tasks: Sequence[Task],
    inputs: Any,
    *,
    device: str | torch.device = "cpu",
    logits: bool = False,
) -> dict[str, Tensor]:
    """Return the predictions of each task, with dropout off.

    Args:
        network: Maps inputs to outputs by task; stays in the mode that it is in.
        tasks: Which tasks to predict.
        inputs: What the network takes; first dimension n.
        device: Where the network is.
        logits: Return the heads' outputs as they are.

    Shape:
        returns: as `Task.predict`, first dimension n, on the CPU.

    Raises:
        InvalidInputError: The network takes an input that is not there, or a layer changes in place
            what others are given, too.
    """
    names = [task.name for task in tasks]
    found: dict[str, Tensor] = {}
    count, rows = count_rows(inputs), rows_at_once(inputs)
    with in_evaluation_mode(network):
        # at least one pass, so that no rows give empty predictions of the right shape
        for start in range(0, max(count, 1), rows):
            part = map_tensors(lambda x, i=start: x[i : i + rows].to(device), inputs)  # type: ignore[misc]
            if start == 0:
                with refusing_writes(network, part) as part:
                    outputs = _outputs(network, part, names)
            else:
                outputs = _outputs(network, part, names)
            for task in tasks:
                output = outputs[task.name]
                if output.device.type not in ("cpu", "cuda"):
                    # Apple's GPUs have no float64, which some kinds of tasks need
                    output = output.cpu()
                values = (output if logits else task.predict(output)).cpu()
                if count <= rows:
                    found[task.name] = values
                    continue
                # in place: small tensors that are kept between large ones would hold their memory
                if start == 0:
                    found[task.name] = values.new_empty((count, *values.shape[1:]))
                found[task.name][start : start + rows] = values
    return found


def joined(task: Task, parts: Sequence[Tensor]) -> Tensor:
    """Put predictions or targets of batches together; sequences are filled up to the longest.

    Shape:
        parts: [b, ...] each. returns: [n, ...]; targets of positions that are not there are
        missing, predictions 0.
    """
    if len(parts) == 1:
        return parts[0]
    return task.rules.joined(parts)


def _outputs(network: Network, inputs: Any, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of tasks by name.

    Raises:
        InvalidInputError: The network takes an input that is not there.
    """
    try:
        outputs: dict[str, Tensor] = network(inputs, names)
    except KeyError as error:
        if isinstance(inputs, Mapping) and len(error.args) == 1:
            (name,) = error.args
            if name not in inputs:
                raise InvalidInputError(
                    f"the network takes the input {name!r}, which is not among "
                    f"{', '.join(map(str, inputs))}; give all that it was trained with"
                ) from error
        raise
    return outputs
