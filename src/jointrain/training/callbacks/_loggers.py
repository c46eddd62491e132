"""Logging: the figures of a run to the terminal, a file, TensorBoard, MLflow or W&B."""

from __future__ import annotations

import csv
import importlib
import re
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from torch import Tensor

from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.training.callbacks._callback import Callback, EpochRecord


class Logger(Callback):
    """Base of all loggers: gives names to what a run shows; a new one writes `log` alone.

    The names are ``epoch``, ``score``, ``best`` (1 or 0), ``training/<task>`` and
    ``validation/<task>`` at the end of an epoch; ``loss/<task>`` and, with a balancer that has
    weights, ``weight/<task>`` at single steps. Losses are in the tasks' own units.

    Args:
        every: Steps from one record of a step to the next; default None: none, which saves waiting
            for the GPU.

    Raises:
        InvalidInputError: `every` is less than 1.
    """

    every_rank = False

    def __init__(self, *, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise InvalidInputError(f"`every` must be at least 1, got {every}")
        self.every = every

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values after the given number of steps."""

    def start(self, settings: Mapping[str, Any]) -> None:
        """Begin to write, also for what no trainer trained here.

        Args:
            settings: What the run is, by name: numbers and texts.
        """

    def end(self) -> None:
        """End what `start` began."""

    def on_fit_start(self, trainer: Any) -> None:
        """Begin to write."""
        self.start(_settings_of(trainer))

    def on_fit_end(self, trainer: Any) -> None:  # noqa: ARG002
        """End what was begun."""
        self.end()

    def on_step_end(self, trainer: Any, step: int, losses: Mapping[str, Tensor]) -> None:
        """Log the losses of every so many steps, and the balancer's weights."""
        if self.every is None or step % self.every:
            return
        values = {f"loss/{name}": float(loss) for name, loss in losses.items()}
        balanced = trainer.balanced
        if balanced is not None and balanced.weights is not None:
            pairs = zip(balanced.tasks, balanced.weights.tolist(), strict=True)
            values.update((f"weight/{name}", weight) for name, weight in pairs)
        self.log(step, values)

    def on_epoch_end(self, trainer: Any, record: EpochRecord) -> None:  # noqa: ARG002
        """Log the epoch."""
        values: dict[str, float] = {"epoch": record.epoch}
        values.update((f"training/{name}", loss) for name, loss in record.training.items())
        values.update((f"validation/{name}", loss) for name, loss in record.validation.items())
        if record.score is not None:
            values["score"] = record.score
            values["best"] = float(record.best)
        self.log(record.step, values)


class ConsoleLogger(Logger):
    """Prints a line for each epoch.

    Args:
        every: See `Logger`.
        console: Where to print; default the terminal.
    """

    def __init__(self, *, every: int | None = None, console: Console | None = None) -> None:
        super().__init__(every=every)
        self._console = console or Console()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Print the values in one line; the best epoch so far in bold."""
        rest = dict(values)
        best = bool(rest.pop("best", 0))
        words = [f"epoch {rest.pop('epoch'):.0f}"] if "epoch" in rest else []
        words.append(f"step {step}")
        words.extend(f"{name} {value:.4g}" for name, value in rest.items())
        if best:
            words.append("best")
        self._console.print(
            "  ".join(words), style="bold" if best else None, markup=False, emoji=False,
            highlight=False, soft_wrap=True,
        )  # fmt: skip


class CSVLogger(Logger):
    """Writes a line for each epoch to a CSV file, readable while the run goes on.

    Columns are the step and the names of `Logger`, for all tasks; a cell is empty where a line has
    no such value.

    Args:
        path: The file; a run replaces what an earlier one wrote, and one that is resumed goes on
            after what stood there at its checkpoint. Its folder must exist.
        every: See `Logger`.

    Raises:
        InvalidInputError: The folder does not exist (when training starts).
    """

    def __init__(self, path: str | Path, *, every: int | None = None) -> None:
        super().__init__(every=every)
        self.path = Path(path)
        self._kept = 0
        self._file: TextIO | None = None
        self._writer: csv.DictWriter[str] | None = None

    def on_fit_start(self, trainer: Any) -> None:
        """Open the file and write the heading."""
        if not self.path.parent.is_dir():
            raise InvalidInputError(
                f"the folder {str(self.path.parent)!r} of the log does not exist; make it first"
            )
        kinds = ["training", "validation", *(["loss", "weight"] if self.every else [])]
        columns = ["step", "epoch", "score", "best"]
        # phases that pretrain have the loss of an objective in place of tasks
        phases = getattr(trainer.schedule, "phases", ())
        own = [phase.pretraining.kind for phase in phases if phase.pretraining is not None]
        names = dict.fromkeys([*trainer.tasks, *own])
        columns += [f"{kind}/{name}" for kind in kinds for name in names]
        # a log is written as it grows: a run that is stopped leaves what it has seen
        kept, self._kept = self._kept, 0
        goes_on = kept > 0 and self.path.is_file() and self.path.stat().st_size >= kept
        self._file = self.path.open("r+" if goes_on else "w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns)
        if goes_on:
            self._file.seek(kept)
            self._file.truncate()
        else:
            self._writer.writeheader()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values as a line."""
        assert self._writer is not None
        assert self._file is not None
        whole = {name: int(values[name]) for name in ("epoch", "best") if name in values}
        self._writer.writerow({"step": step, **values, **whole})
        self._file.flush()

    def on_fit_end(self, trainer: Any) -> None:  # noqa: ARG002
        """Close the file."""
        assert self._file is not None
        self._file.close()

    def state_dict(self) -> dict[str, Any]:
        """Return how far the file is written."""
        # every line is flushed
        return {"bytes": self.path.stat().st_size if self.path.is_file() else 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there: a run that was killed has written lines that come again."""
        self._kept = state["bytes"]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: not the open file."""
        return {**self.__dict__, "_file": None, "_writer": None}


class TensorBoardLogger(Logger):
    """Writes scalars for TensorBoard; show them with ``tensorboard --logdir <folder>``.

    Args:
        folder: Where the event files go; each run needs one of its own.
        every: See `Logger`.

    Raises:
        MissingDependencyError: The package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path, *, every: int | None = None) -> None:
        super().__init__(every=every)
        self.folder = Path(folder)
        _optional("tensorboard", "tensorboard")
        self._writer: Any = None
        self._last_step = 0

    def start(self, settings: Mapping[str, Any]) -> None:
        """Open an event file; what a run has written that is resumed from before is not shown."""
        self._writer = _optional("torch.utils.tensorboard", "tensorboard").SummaryWriter(
            str(self.folder), purge_step=self._last_step + 1 if self._last_step else None
        )
        text = "\n".join(f"    {name}: {value}" for name, value in settings.items())
        self._writer.add_text("settings", text)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values as scalars."""
        self._last_step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self) -> None:
        """Close the event file."""
        self._writer.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the last step that was written."""
        return {"last_step": self._last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after that step."""
        self._last_step = state["last_step"]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: not the open file."""
        return {**self.__dict__, "_writer": None}


_LONGEST_KEY = 240
"""Of the 250 characters that MLflow takes; the rest is for a number."""


class MLflowLogger(Logger):
    """Logs metrics and the run's settings to MLflow.

    What MLflow does not take in a name becomes ``_``; of tasks whose names are then the same, all
    but the first get a number.

    If an MLflow run is active when training starts, that one is logged to and left open; otherwise
    a run is made and ended with the training.

    Args:
        experiment: Name of the experiment of a run that is made; default that of MLflow. It is made
            if there is none.
        run_name: Name of a run that is made; default one that MLflow thinks up.
        tracking_uri: Where MLflow keeps its runs; default as MLflow is set up.
        every: See `Logger`.

    Raises:
        MissingDependencyError: The package mlflow is not installed.
    """

    def __init__(
        self,
        experiment: str | None = None,
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__(every=every)
        self._mlflow = _optional("mlflow", "mlflow")
        self._client = self._mlflow.MlflowClient(tracking_uri=tracking_uri)
        self._experiment = experiment
        self._run_name = run_name
        self._own = False
        self._goes_on = False
        self._keys: dict[str, str] = {}
        self.run_id: str | None = None

    def start(self, settings: Mapping[str, Any]) -> None:
        """Find the active run or make one, and log the settings; a resumed run has its own."""
        if self._goes_on:
            self._goes_on = False
            return
        active = self._mlflow.active_run()
        self._own = active is None
        if active is None:
            active = self._client.create_run(self._experiment_id(), run_name=self._run_name)
        self.run_id = active.info.run_id
        for name, value in settings.items():
            self._client.log_param(self.run_id, name, value)

    def _experiment_id(self) -> str:
        if self._experiment is None:
            return "0"
        found = self._client.get_experiment_by_name(self._experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self._experiment))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values as metrics."""
        now = int(1000 * time.time())
        for name, value in values.items():
            self._client.log_metric(
                self.run_id, self._key_of(name), value, timestamp=now, step=step
            )

    def _key_of(self, name: str) -> str:
        """Return what MLflow takes for a name: the same each time, and never that of another."""
        if name not in self._keys:
            # names are paths of letters and a few marks, without empty parts and . and ..
            parts = re.sub(r"[^\w\-. /]", "_", name).split("/")
            usable = [part if part.strip(".") else "_" * max(1, len(part)) for part in parts]
            key = "/".join(usable)[:_LONGEST_KEY].rstrip("/")
            taken, number = set(self._keys.values()), 2
            unlike = key
            while unlike in taken:
                unlike, number = f"{key}_{number}", number + 1
            self._keys[name] = unlike
        return self._keys[name]

    def end(self) -> None:
        """End a run that was made here."""
        if self._own:
            self._client.set_terminated(self.run_id)

    def state_dict(self) -> dict[str, Any]:
        """Return which run is logged to, whether it is ended with the training, and the keys."""
        return {"run_id": self.run_id, "own": self._own, "keys": dict(self._keys)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Log to that run."""
        self.run_id, self._own = state["run_id"], state["own"]
        self._keys = dict(state.get("keys", {}))
        self._goes_on = self.run_id is not None


class WandBLogger(Logger):
    """Logs to Weights & Biases; without an account in files of this machine, by ``mode``.

    If a run of W&B is active when training starts, that one is logged to and left open; otherwise a
    run is made and finished with the training.

    Args:
        project: Name of the project of a run that is made; default that of W&B.
        run_name: Name of a run that is made; default one that W&B thinks up.
        folder: Where W&B keeps its files; default as W&B is set up. It must exist.
        mode: ``online``, ``offline`` (files alone, for ``wandb sync``) or ``disabled``; default as
            W&B is set up, by ``WANDB_MODE`` among others.
        every: See `Logger`.

    Raises:
        MissingDependencyError: The package wandb is not installed.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        run_name: str | None = None,
        folder: str | Path | None = None,
        mode: str | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__(every=every)
        _optional("wandb", "wandb")
        self._project, self._run_name = project, run_name
        self._folder, self._mode = folder, mode
        self._run: Any = None
        self._own = False
        self.run_id: str | None = None

    def start(self, settings: Mapping[str, Any]) -> None:
        """Find the active run or make one; a resumed run has its own."""
        wandb = _optional("wandb", "wandb")
        self._own = wandb.run is None
        self._run = wandb.run
        if self._run is None:
            self._run = wandb.init(
                project=self._project,
                name=self._run_name,
                dir=None if self._folder is None else str(self._folder),
                mode=self._mode,
                config=dict(settings),
                id=self.run_id,
                resume=None if self.run_id is None else "allow",
                settings=wandb.Settings(silent=True, console="off"),
            )
        self.run_id = self._run.id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values as a line of the run's history."""
        self._run.log(dict(values), step=step)

    def end(self) -> None:
        """Finish a run that was made here."""
        if self._own:
            self._run.finish()

    def state_dict(self) -> dict[str, Any]:
        """Return which run is logged to."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Log to that run."""
        self.run_id = state["run_id"]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: not the open run."""
        return {**self.__dict__, "_run": None}


def _settings_of(trainer: Any) -> dict[str, Any]:
    """Return what a trainer's run is, by name."""
    return {
        "schedule": str(trainer.schedule),
        "balancer": "sum" if trainer.balancer is None else str(trainer.balancer),
        "batch_size": trainer.settings.batch_size,
        "seed": trainer.seed,
    }


def _optional(module: str, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"logging to {extra} needs the package {extra}; pip install 'jointrain[{extra}]'"
        ) from error
