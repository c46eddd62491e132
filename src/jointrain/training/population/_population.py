"""Population: many small runs trained as one program, each as if it were alone.

A small network leaves a processor idle most of the time: what a step costs is the calls, not the
arithmetic. Here the weights of many networks of one structure are the rows of one matrix, and a
step of all of them is one batched product for each layer and one optimiser call: by hand for
trunks of common layers, by vmap and autograd for other networks where that takes less time. Runs
differ in data, tasks, weights, schedule, learning rate, seed, dropout and length; each draws the
numbers that it would draw alone, stops by its own validation score, and makes room for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jointrain.data import TensorData
from jointrain.task import Task
from jointrain.training import Merge, Trainer
from jointrain.training._device import threads_for
from jointrain.training._run import Run, fit_one_by_one
from jointrain.training.callbacks import Callback, EpochRecord
from jointrain.training.population._member import Member
from jointrain.training.population._stack import Stack, alike, pays
from jointrain.training.population._vmapped_network import multiplications
from jointrain.training.population._why_not_stacked import why_not_stacked
from jointrain.training.sampling import weigh_rows

Progress = Callable[[float, int], None]
"""Told how many runs are done, with parts of those that are being trained, and of how many."""


def fit_population(
    runs: Sequence[Run],
    *,
    size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Fit the trainers of all runs, as ``run.fit()`` of each would.

    Afterwards each trainer has its history, and its network the best weights, equal to those of a
    fit of its own up to rounding. Runs that share data should share the `TensorData`: it is stored
    once. Optimisers that the trainers hold are not used.

    Args:
        runs: Runs for which `why_not_stacked` gives None.
        size: How many to train at the same time; default as many as is fast, and one after the
            other where that is.
        progress: Called after epochs.

    Raises:
        InvalidInputError: As in `Trainer.fit`.
    """
    known: dict[object, TensorData] = {}

    def weigh(data: TensorData, tasks: Sequence[Task]) -> TensorData:
        key = id(data), tuple(tasks)
        if key not in known:
            known[key] = weigh_rows(data, tasks)
        return known[key]

    pieces = [run.pieces() for run in runs]
    members = [Member(piece, weigh) for of_run in pieces for piece in of_run]
    known.clear()
    tell = None if progress is None else _of_runs(progress, len(members), len(runs))
    before = 0
    for group in alike(members):
        if size is None and not pays(group):
            _fit_alone([member.run for member in group], before, len(members), tell)
        else:
            stack = Stack(group, size)
            with threads_for(stack.multiplications):
                for done in stack.fit():
                    if tell is not None:
                        tell(before + done, len(members))
        before += len(group)
    for run, of_run in zip(runs, pieces, strict=True):
        run.join(of_run)


def _of_runs(progress: Progress, members: int, runs: int) -> Progress:
    """Return what tells, of how many members are done, how many runs are."""
    return lambda done, _: progress(done * runs / members, runs)


def fit_together(runs: Sequence[Run], *, progress: Progress | None = None) -> None:
    """Fit the trainers of all runs: as populations where they can be, the others one by one.

    Args:
        runs: Any runs.
        progress: Called after epochs.
    """
    stacked = [run for run in runs if why_not_stacked(run) is None]

    def advance(done: float, _: int) -> None:
        if progress is not None:
            progress(done, len(runs))

    fit_population(stacked, progress=advance)
    ids = set(map(id, stacked))
    single = [run for run in runs if id(run) not in ids]
    _fit_alone(single, len(stacked), len(runs), progress)


def _fit_alone(runs: Sequence[Run], before: int, every: int, progress: Progress | None) -> None:
    """Fit the trainers of runs one after the other, after so many others of all."""

    def advance(done: float) -> None:
        if progress is not None:
            progress(done, every)

    for number, run in enumerate(runs, start=before):
        trainer = run.trainer
        callbacks = trainer.callbacks
        trainer.callbacks = (*callbacks, _Advance(number, advance))
        with threads_for(multiplications(trainer.network, trainer.settings.batch_size)):
            fit_one_by_one([run])
        trainer.callbacks = callbacks
        advance(number + 1)


class _Advance(Callback):
    """Tells after each epoch how many runs are done, with the part of the one that is trained."""

    def __init__(self, before: int, progress: Callable[[float], None]) -> None:
        self._before, self._progress = before, progress

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        steps, epochs = trainer.settings.steps, trainer.settings.epochs
        share = record.epoch / epochs if steps is None else record.step / steps
        if isinstance(trainer.schedule, Merge):
            share /= len(trainer.tasks)
        # phases have lengths of their own
        self._progress(self._before + min(1.0, share))
