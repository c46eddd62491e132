"""Predictions of a network, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from jointrain.data import count_rows, map_tensors
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training.sampling import EVALUATION_ROWS


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
        network: Maps inputs to outputs by task; left in evaluation mode.
        tasks: Which tasks to predict.
        inputs: What the network takes; first dimension n.
        device: Where the network is.
        logits: Return the heads' outputs as they are.

    Shape:
        returns: as `Task.predict`, first dimension n, on the CPU.
    """
    network.eval()
    names = [task.name for task in tasks]
    parts: list[dict[str, Tensor]] = []
    # at least one pass, so that no rows give empty predictions of the right shape
    for start in range(0, max(count_rows(inputs), 1), EVALUATION_ROWS):
        part = map_tensors(lambda x, i=start: x[i : i + EVALUATION_ROWS].to(device), inputs)  # type: ignore[misc]
        outputs = network(part, names)
        parts.append(
            {
                task.name: (
                    outputs[task.name] if logits else task.predict(outputs[task.name])
                ).cpu()
                for task in tasks
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def joined(task: Task, parts: Sequence[Tensor]) -> Tensor:
    """Put predictions or targets of batches together; sequences are filled up to the longest.

    Shape:
        parts: [b, ...] each. returns: [n, ...]; targets of positions that are not there are
        missing, predictions 0.
    """
    if len(parts) == 1:
        return parts[0]
    return task.rules.joined(parts)
