"""Runs of small networks on related tasks of all kinds, and what makes two of them alike."""

import pytest
import torch
from torch import nn

from jointrain import Task, TensorData
from jointrain.balancing import balancer_from_name
from jointrain.networks import MLP, HardSharing
from jointrain.training import Joint, Run, Trainer
from jointrain.training._cross_fitted_weights import CrossFittedWeights

TASKS = (
    Task.regression("price"),
    Task.binary("sold"),
    Task.multiclass("kind", 3),
    Task.regression("box", size=2),
    Task.multilabel("tags", 3),
    Task.regression("age"),
)
LATER = (
    Task.count("visits"),
    Task.ordinal("grade", 4),
    Task.mean_variance("noisy"),
    Task.quantiles("range", (0.1, 0.4, 0.8)),
    Task.quantiles("interval", (0.1, 0.9)),
)
"""Tasks of some cases only."""
BY_NAME = {task.name: task for task in (*TASKS, *LATER)}

TOLERANCE = 1e-7
"""Adam turns a gradient that is zero but for rounding, 1e-17, into 1e-9 of its learning rate."""


def make_data(
    rows: int,
    features: int = 5,
    seed: int = 0,
    dtype=torch.float64,
    rows_weigh: bool | tuple[str, ...] = False,
) -> TensorData:
    """Related tasks with labels missing here and there, of some far more than of others."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=generator, dtype=dtype)
    z = torch.tanh(x @ torch.randn(features, 6, generator=generator, dtype=dtype))
    targets = {
        "price": z[:, 0].clone(),
        "sold": (z[:, 1] > 0).to(dtype),
        "kind": (z[:, 2] * 1.5 + 1.5).floor().clamp(0, 2).long(),
        "box": z[:, 3:5].clone(),
        "tags": (z[:, :3] > 0.2).to(dtype),
        "age": z[:, 5].clone(),
        "visits": (3 * z[:, 0] + 3).round(),
        "range": 3 * z[:, 1] - z[:, 4],
        "interval": z[:, 3] + 2,
        "noisy": z[:, 0] + z[:, 1] * z[:, 2],
        "grade": (2 * z[:, 1] + 2).floor().clamp(0, 3),
    }
    targets["visits"][4::11] = torch.nan
    targets["grade"][3::5] = torch.nan
    targets["price"][::3] = torch.nan
    targets["age"][5 : rows // 2] = torch.nan
    targets["kind"][1::7] = -100
    targets["tags"][::4, 1] = torch.nan
    targets["tags"][::8] = torch.nan
    targets["box"][2::9, 0] = torch.nan
    weights = None
    if rows_weigh:
        weights = 3 * torch.rand(rows, generator=generator, dtype=torch.float64)
        weights[::5] = 0
        if isinstance(rows_weigh, tuple):
            weights = {name: weights.roll(k) for k, name in enumerate(rows_weigh)}
    return TensorData(x, targets, weights)


def make_run(
    *,
    tasks: tuple[str, ...] = tuple(task.name for task in TASKS),
    seed: int = 0,
    width: int = 10,
    depth: int = 2,
    dropout: float = 0.1,
    input_dropout: float = 0.0,
    normalize: bool = True,
    rows: int = 61,
    features: int = 5,
    validated: bool = True,
    balancer: str | None = None,
    dtype: torch.dtype = torch.float64,
    first_half: int = 0,
    rows_weigh: bool | tuple[str, ...] = False,
    **settings,
) -> Run:
    torch.manual_seed(seed)
    trunk = MLP(
        features, width=width, depth=depth, dropout=dropout, input_dropout=input_dropout,
        normalize=normalize,
    )  # fmt: skip
    heads = {name: nn.Linear(width, BY_NAME[name].output_size) for name in tasks}
    arguments = {"batch_size": 13, "steps": 100, "schedule": Joint(), "device": "cpu"} | settings
    trainer = Trainer(
        HardSharing(trunk, heads).to(dtype),
        [BY_NAME[name] for name in tasks],
        balancer=None if balancer is None else balancer_from_name(balancer),
        seed=seed,
        **arguments,
    )
    options = {"dtype": dtype, "rows_weigh": rows_weigh}
    data = make_data(rows, features, seed=1, **options).only(tasks)
    check = make_data(37, features, seed=2, **options).only(tasks) if validated else None
    halves = CrossFittedWeights(check, first_half) if check is not None and first_half else None
    return Run(trainer, data, check, halves)


def weights_of(run: Run) -> torch.Tensor:
    states = [run.trainer.network.state_dict()]
    if run.cross_fitted is not None and run.cross_fitted.states is not None:
        states += run.cross_fitted.states
    return torch.cat([value.detach().flatten() for state in states for value in state.values()])


def assert_alike(run: Run, other: Run, tolerance: float) -> None:
    assert (weights_of(run) - weights_of(other)).abs().max() < tolerance
    first, second = run.trainer.history, other.trainer.history
    assert len(first) == len(second)
    for ours, theirs in zip(first, second, strict=True):
        assert (ours.epoch, ours.step, ours.best) == (theirs.epoch, theirs.step, theirs.best)
        assert ours.training == pytest.approx(theirs.training, abs=10 * tolerance)
        assert ours.validation == pytest.approx(theirs.validation, abs=10 * tolerance)
