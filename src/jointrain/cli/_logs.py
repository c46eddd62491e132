"""`--log`: the figures of `fit` and `compare` in TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.errors import InvalidInputError
from jointrain.training.callbacks import (
    Callback,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
    WandBLogger,
)

if TYPE_CHECKING:
    from jointrain.studies import StudyResult
    from jointrain.training import Run

PROJECT = "jointrain"
"""The experiment of MLflow and the project of W&B that runs belong to."""

_FOLDER = "runs"
"""Where event files go if no place is named; it is what TensorBoard's own writer takes."""


class Logs:
    """Makes a logger for each run of a command.

    Args:
        kind: ``tensorboard``, ``mlflow`` or ``wandb``.
        place: A folder, or for MLflow the URI of its store; default as the program is set up.
        name: What all runs of the command are called.
        resumed: Whether the command goes on with runs that were logged before.

    Raises:
        MissingDependencyError: The package is not installed.
        InvalidInputError: The folder can't be written.
    """

    def __init__(self, kind: str, place: str | None, name: str, *, resumed: bool = False) -> None:
        self._kind, self._place, self._name = kind, place, name
        self._numbers = count(1)
        if kind == "tensorboard":
            self._folder = _folder_of(Path(place or _FOLDER), name, resumed=resumed)
        if kind == "wandb" and place is not None:
            _make(Path(place))
        self.logger("")  # a package that is missing is named before any work is done

    def logger(self, run: str) -> Logger:
        """Return what logs a run.

        Args:
            run: Its name.
        """
        name = f"{self._name}/{run}"
        if self._kind == "tensorboard":
            return TensorBoardLogger(self._folder / run)
        if self._kind == "mlflow":
            return MLflowLogger(PROJECT, run_name=name, tracking_uri=self._place)
        return WandBLogger(PROJECT, run_name=name, folder=self._place)

    def attach(self, runs: Sequence[Run]) -> list[tuple[Run, Logger]]:
        """Let runs that are trained one by one be logged while they train; return the others.

        Those are trained together, without callbacks, and are logged by `replay` afterwards.
        """
        from jointrain.training.population import why_not_stacked

        later = []
        for run in runs:
            logger = self.logger(f"network-{next(self._numbers):04d}")
            if why_not_stacked(run) is None:
                later.append((run, logger))
            else:
                run.trainer.callbacks = (*run.trainer.callbacks, logger)
        return later

    def replay(self, fitted: Sequence[tuple[Run, Logger]]) -> None:
        """Log runs that are over."""
        for run, logger in fitted:
            logger.on_fit_start(run.trainer)
            for record in run.trainer.history:
                logger.on_epoch_end(run.trainer, record)
            logger.on_fit_end(run.trainer)

    def callback(self) -> Callback:
        """Return what logs each of several runs that share their callbacks, by its tasks."""
        return _LoggerOfEach(self)


class _LoggerOfEach(Callback):
    every_rank = False

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._logger: Logger | None = None
        self._state: Mapping[str, Any] | None = None

    def on_fit_start(self, trainer: Any) -> None:
        self._logger = self._logs.logger("+".join(trainer.tasks)[:80].replace("/", "_"))
        if self._state is not None:
            self._logger.load_state_dict(self._state)
            self._state = None
        self._logger.on_fit_start(trainer)

    def on_epoch_end(self, trainer: Any, record: Any) -> None:
        assert self._logger is not None
        self._logger.on_epoch_end(trainer, record)

    def on_fit_end(self, trainer: Any) -> None:
        assert self._logger is not None
        self._logger.on_fit_end(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"logger": None if self._logger is None else self._logger.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._state = state["logger"]


class StudyLog:
    """Logs the runs of a study: a run for each recipe or baseline on each fold of each seed.

    It has the losses and weights of its epochs (means over the networks of an ensemble) as
    ``training/TASK``, ``validation/TASK`` and ``weight/TASK``, and the metrics on the test rows of
    the fold as ``METRIC/TASK``.

    Args:
        logs: Makes the loggers.
    """

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._seen: set[tuple[str, int, int]] = set()

    def see(self, result: StudyResult) -> None:
        """Log what has not been logged of what is measured."""
        for key, found in result.fold_results.items():
            if key in self._seen or found.error is not None:
                continue
            self._seen.add(key)
            name, seed, fold = key
            logger = self._logs.logger(f"{name}/seed-{seed}-fold-{fold}")
            logger.start({"recipe": name, "seed": seed, "fold": fold, "seconds": found.seconds})
            last = 0
            for last, values in enumerate(_epochs(found.curves), 1):
                logger.log(last, values)
            metrics = {f"{row['metric']}/{row['task']}": row["value"] for row in found.rows}
            logger.log(last + 1, metrics)
            logger.end()


def _epochs(curves: Mapping[str, Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return the values of each epoch by name, from the curves of the tasks."""
    length = max((len(curve["training"]) for curve in curves.values()), default=0)
    return [
        {
            f"{part}/{task}": curve[part][epoch]
            for task, curve in curves.items()
            for part in ("training", "validation", "weight")
            if epoch < len(curve[part]) and curve[part][epoch] is not None
        }
        for epoch in range(length)
    ]


def _folder_of(parent: Path, name: str, *, resumed: bool) -> Path:
    """Return a folder that holds no other run, or the newest that does where runs go on."""
    folders = (parent / (name if number == 1 else f"{name}-{number}") for number in count(1))
    newest = None
    for folder in folders:
        if not folder.exists():
            break
        newest = folder
    made = newest if resumed and newest is not None else folder
    _make(made)
    return made


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError(
            f"--log-to: the folder {folder} can't be made ({reason}); choose another"
        ) from None
