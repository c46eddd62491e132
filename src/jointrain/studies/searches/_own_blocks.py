"""Share, for blocks of one's own: how many of them the tasks should share."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from jointrain.data import TensorData, outer_folds, validation_split
from jointrain.errors import InvalidInputError
from jointrain.experiments import Fold, fold_overlaps
from jointrain.networks import HardSharing
from jointrain.studies._measured import Measured
from jointrain.studies._statistics import MARGIN
from jointrain.studies.searches._candidates import Candidates, check_importance
from jointrain.studies.searches._share import ShareResult, depth_text
from jointrain.task import Task
from jointrain.training import Trainer, one_thread, random_state_kept, training_work


def search_split(
    blocks: Sequence[nn.Module],
    heads: Mapping[str, nn.Module],
    tasks: Sequence[Task],
    data: TensorData,
    *,
    folds: int = 5,
    seeds: int = 1,
    seed: int = 0,
    reinitialize: bool = True,
    validation_fraction: float = 0.15,
    importance: Mapping[str, float] | None = None,
    margin: float = MARGIN,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ShareResult:
    """Search for the number of a user's own blocks that the tasks should share.

    Every number from 0 (all blocks are each task's own) to all blocks is trained on the same folds
    and seeds; the blocks and heads that are given stay as they are.

    Args:
        blocks: The trunk, in order; each takes what the one before gives.
        heads: Each task's last layers by task name.
        tasks: The tasks; each needs a metric.
        data: The rows; all of them are inner rows, so keep a test set out of them.
        folds: Folds on which all split points are measured; default 5.
        seeds: Repetitions of the folds; default 1.
        seed: Seed of the first repetition.
        reinitialize: Draw new weights for every run, by ``reset_parameters`` of the layers that
            have it (default). False starts every run from the weights given, as pretrained layers
            want.
        validation_fraction: Share of a fold's training rows kept for early stopping.
        importance: How much a task's change counts in Delta-m, by task; default 1 each.
        margin: Changes up to this many percent do not matter, see `StudyResult`; default 1.
        progress: Called with the number of finished runs and of all.
        **settings: What `Trainer` takes.

    Raises:
        InvalidInputError: There is no block, one task only, a task without a head or a metric, or
            too few rows.
    """
    if not blocks:
        raise InvalidInputError("`blocks` is empty; give the trunk's layers in order")
    if len(tasks) < 2:
        raise InvalidInputError("sharing is between tasks; give two or more")
    check_importance(importance or {}, [task.name for task in tasks])
    depth = len(blocks)
    depths = {depth_text(shared, depth): shared for shared in range(depth, -1, -1)}
    labels = np.stack([_labels(task, data) for task in tasks], axis=1)
    # what is no class of a table is spread by the presence of its labels
    spread = [task if task.has_classes else Task.regression(task.name) for task in tasks]
    splits = [
        Fold(fold, seed + repetition, train, test)
        for repetition in range(seeds)
        for fold, (train, test) in enumerate(outer_folds(labels, spread, folds, seed + repetition))
    ]
    rows: list[dict[str, object]] = []
    seconds, work = dict.fromkeys(depths, 0.0), dict.fromkeys(depths, 0.0)
    done = 0
    for fold in splits:
        inner, held_out = validation_split(
            labels[fold.train], spread, validation_fraction, fold.seed
        )
        train, validation, test = (
            data.take(torch.from_numpy(own))
            for own in (fold.train[inner], fold.train[held_out], fold.test)
        )
        for name, shared in depths.items():
            start = time.perf_counter()
            with random_state_kept(), one_thread():
                torch.manual_seed(fold.seed)
                network = _split_network(blocks, heads, shared, reinitialize)
                trainer = Trainer(network, tasks, seed=fold.seed, **settings)
                trainer.fit(train, validation if len(held_out) else None)
                metrics = trainer.evaluate(test)
            seconds[name] += time.perf_counter() - start
            work[name] += training_work(trainer, len(inner))
            rows += _rows(name, fold, tasks, metrics, np.isfinite(labels))
            done += 1
            if progress is not None:
                progress(done, len(splits) * len(depths))
    names = tuple(depths)
    overlaps = fold_overlaps(spread, labels, splits)
    candidates = Candidates(
        Measured(tuple(tasks), names, pl.DataFrame(rows), overlaps, margin),
        names,
        baseline=depth_text(0, depth),
        reference=depth_text(depth, depth),
        importance=dict(importance or {}),
        seconds=seconds,
        work=work,
    )
    return ShareResult(candidates, depths)


def _rows(
    name: str,
    fold: Fold,
    tasks: Sequence[Task],
    metrics: Mapping[str, Mapping[str, float]],
    known: np.ndarray,
) -> list[dict[str, Any]]:
    """Return a row for each task and metric of a run; `known`: which rows have a label, [n, t]."""
    train, test = known[fold.train].sum(0).tolist(), known[fold.test].sum(0).tolist()
    return [
        fold.row(name, task.name, metric, value, train[index], test[index])
        for index, task in enumerate(tasks)
        for metric, value in metrics[task.name].items()
    ]


def _labels(task: Task, data: TensorData) -> np.ndarray:
    """Return the labels that rows are spread over folds by, [n], NaN where one is missing."""
    target = data.targets[task.name]
    labelled = task.labelled(target)
    values = target.double() if task.has_classes and target.ndim == 1 else labelled.double()
    return np.asarray(torch.where(labelled, values, torch.nan).cpu().numpy())


def _split_network(
    blocks: Sequence[nn.Module], heads: Mapping[str, nn.Module], shared: int, reinitialize: bool
) -> HardSharing:
    own = copy.deepcopy(list(blocks))
    own_heads = {name: copy.deepcopy(head) for name, head in heads.items()}
    if reinitialize:
        for module in [*own, *own_heads.values()]:
            _reset(module)
    if shared == len(own):
        return HardSharing(nn.Sequential(*own), own_heads)
    stages = [nn.Sequential(*own[:shared]), nn.Sequential(*own[shared:])]
    return HardSharing(stages, own_heads, reinitialize=reinitialize)


def _reset(module: nn.Module) -> None:
    for layer in module.modules():
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset):
            reset()
