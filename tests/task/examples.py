"""A task of each kind, with outputs and a target that it takes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jointrain import Task

TASKS = [
    Task.regression("number"),
    Task.regression("box", 3),
    Task.mean_variance("mean and variance"),
    Task.count("count"),
    Task.negative_binomial("negative binomial"),
    Task.quantiles("quantiles"),
    Task.quantiles("interval", (0.1, 0.9)),
    Task.censored("censored"),
    Task.survival("survival", (0.5, 1.5)),
    Task.binary("binary"),
    Task.multiclass("multiclass", 4),
    Task.ordinal("ordinal", 4),
    Task.ordinal("ordinal of two", 2),
    Task.multilabel("multilabel", 3),
    Task.proportions("proportions", 3),
    Task.sequence("sequence", 3),
]
EXAMPLES = {task.kind: task for task in reversed(TASKS)}
"""One of each kind but custom."""


def outputs_and_target(task: Task, rows: int = 12) -> tuple[Tensor, Tensor]:
    """Return outputs of a head, and a target of which the third and seventh label are missing."""
    generator = torch.Generator().manual_seed(1)
    positions = (5,) if task.kind == "sequence" else ()
    shape = (rows, *positions, task.output_size)
    outputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    width = {"sequence": (5,), "censored": (2,), "survival": (2,)}.get(task.kind, ())
    if task.kind in ("multilabel", "proportions") or task.name == "box":
        width = (task.output_size,)
    most = len(task.classes) if task.has_classes or positions else 2
    target = torch.randint(most, (rows, *width), generator=generator).double()
    if task.kind == "censored":
        target = target.cumsum(1)
        target[1, 0], target[2, 1] = -math.inf, math.inf
    if task.kind == "proportions":
        target = target.softmax(1)
    target[3] = target[7] = torch.nan
    return outputs, target
