"""The cells of the table of docs/many_ranks.md: at the top of a file, as processes import it."""

from __future__ import annotations

import copy
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from jointrain import (
    Alternating,
    Callback,
    Checkpoints,
    InvalidInputError,
    Merge,
    Mixture,
    OptimizerSettings,
    Phase,
    Phases,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from jointrain.training import _compilation
from jointrain.training.pretraining import Denoising
from tests.training import _rank_runs as rank_runs
from tests.training.checkpoints.runs import assert_same

CUT = 8
"""The step from which a run goes on a second time."""


class Stop(Callback):
    """Ends the training after a few steps, told to one process alone."""

    def on_step_end(self, trainer: Trainer, step: int, losses: Any) -> None:
        if step == 11 and (trainer.ranks is None or trainer.ranks.rank == 1):
            trainer.stop()


class Steps(Callback):
    """Counts the steps."""

    every_rank = True

    def __init__(self) -> None:
        self.count = 0

    def on_step_end(self, trainer: Trainer, step: int, losses: Any) -> None:
        self.count += 1


NAMES: dict[str, Any] = {
    "STEPS": partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    "PLATEAU": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0),
    "BY_LAYER": {"shared": {"lr": 1e-4, "weight_decay": 0.1}, "trunk.0": {"lr": 1e-2}},
    "LBFGS": torch.optim.LBFGS,
    # the scale of float16 fits from the first step: two processes can leave out another one
    "SMALL": {"number": 0.01, "kind": 0.01, "sign": 0.01},
    "UPGRAD": balancer_from_name("upgrad"),
    "SDMGRAD": balancer_from_name("sdmgrad"),
    "UNCERTAINTY": balancer_from_name("uncertainty"),
    "AUTO_LAMBDA": balancer_from_name("auto-lambda"),
    "STOP": Stop(),
}

PHASES = Phases(
    [
        Phase(name="heads", epochs=1, freeze="trunk"),
        Phase(name="thaw", epochs=2, unfreeze="from_top", schedule=Alternating("round_robin")),
        Phase(name="tune", steps=2, each_task=True),
    ]
)
PRETRAINED = Phases(
    [
        Phase(name="before", epochs=2, pretraining=Denoising()),
        Phase(name="all", epochs=2),
    ]
)
COLUMNS: dict[str, dict[str, Any]] = {
    "joint": {},
    "alternating": {"schedule": Alternating("random", block=2)},
    "phases": {"schedule": PHASES},
    "phases that pretrain": {"schedule": PRETRAINED},
    "merge": {"schedule": Merge("ties", head_epochs=1)},
    "mixture": {},
}
DATA_OPTIONS = {"rows without weights": {"weighted": False}}


def options_of(row: str) -> dict[str, Any]:
    """Return what the first cell of a row says: options of `Trainer`, or of the data."""
    if row in DATA_OPTIONS:
        return dict(DATA_OPTIONS[row])
    found: dict[str, Any] = eval(f"dict({row})", dict(NAMES))
    return copy.deepcopy(found)


def _rows(column: str, options: dict[str, Any], dtype: torch.dtype, *, weighted: bool) -> Any:
    rows = rank_runs.data(37, 1, weights=weighted)
    if "non_finite" in options:
        rows.targets["number"][rows.targets["number"].isfinite().nonzero()[3]] = 1e200
    rows = _as(rows, dtype)
    if column != "mixture":
        return rows
    return Mixture(
        {"number": rows.only(("number",)), ("kind", "sign"): rows.only(("kind", "sign"))},
        batch_size=7,
    )


def _as(rows: TensorData, dtype: torch.dtype) -> TensorData:
    targets = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in rows.targets.items()
    }
    weights = None if rows.weights is None else rows.weights.to(dtype)
    return TensorData(rows.inputs.to(dtype), targets, weights)


def _made(
    row: str, column: str, strategy: str | None, folder: Path, steps: Steps
) -> tuple[Trainer, Any, TensorData]:
    options = options_of(row)
    weighted = options.pop("weighted", True)
    half = options.get("precision") is not None
    dtype = torch.float32 if half else torch.float64
    network = rank_runs.network().to(dtype)
    settings: dict[str, Any] = {"batch_size": 10, "epochs": 3, "seed": 3, "device": "cpu"}
    if half:
        # Adam may make a whole step where there is nothing but rounding
        settings["optimizer"] = OptimizerSettings(
            name="sgd", learning_rate=0.01 if options["precision"] == "bf16" else 1.0
        )
    settings |= COLUMNS[column] | options
    if isinstance(settings.get("schedule"), Phases):
        del settings["epochs"]
    settings["callbacks"] = (*settings.get("callbacks", ()), steps)
    trainer = Trainer(
        network, rank_runs.TASKS, strategy=strategy,
        checkpoints=Checkpoints(folder, every=CUT, keep=10**6), **settings,
    )  # fmt: skip
    held_out = _as(rank_runs.data(23, 2), dtype)
    return trainer, _rows(column, options, dtype, weighted=weighted), held_out


def _end(trainer: Trainer, inputs: torch.Tensor) -> dict[str, Any]:
    weights = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    for task, own in trainer.own_networks.items():
        weights |= {f"{task}: {name}": value for name, value in own.state_dict().items()}
    return {
        "weights": weights, "history": list(trainer.history),
        "predictions": trainer.predict(inputs),
    }  # fmt: skip


def cell(row: str, column: str, strategy: str | None, folder: str) -> dict[str, Any]:
    """Return how a run ends, or why it is refused and what was done by then.

    One that is not refused goes on a second time from a checkpoint, and has to end alike.
    """
    _compilation.BACKEND = "aot_eager"
    steps = Steps()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer, train, held_out = _made(row, column, strategy, Path(folder, "whole"), steps)
            before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
            trainer.fit(train, held_out)
    except InvalidInputError as error:
        return {"refused": str(error), "steps": steps.count}
    finally:
        torch.compiler.reset()
    end = _end(trainer, held_out.inputs)
    end["before"] = {name: before[name.split(": ")[-1]] for name in end["weights"]}
    if strategy is None or torch.distributed.get_rank() == 0:
        _only_first_checkpoint(Path(folder, "whole"), Path(folder, "cut"))
    if strategy is not None:
        torch.distributed.barrier()
    again, train, held_out = _made(row, column, strategy, Path(folder, "cut"), Steps())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again.fit(train, held_out, resume=True)
    torch.compiler.reset()
    assert again.history == trainer.history
    other = {"callbacks": 0, "run": 0}
    assert_same(again.state_dict() | other, trainer.state_dict() | other)
    return end


def _only_first_checkpoint(whole: Path, cut: Path) -> None:
    first = min(whole.glob("step-*"))
    cut.mkdir(parents=True)
    copy = shutil.copytree if first.is_dir() else shutil.copy
    copy(first, cut / first.name)
