"""The checkpoints of `jointrain fit`: a folder for each network, and what they are of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._config_file import flag_named
from jointrain.cli._ranks import is_first_rank
from jointrain.errors import InvalidInputError, StoppedError
from jointrain.system.output_file import write_whole
from jointrain.system.stored_files import DamagedError, read_json

if TYPE_CHECKING:
    from jointrain.cli._settings import FitSettings
    from jointrain.experiments import Recipe
    from jointrain.training import Checkpoints, Run

DESCRIPTION = "fit.json"
"""The file by which the folder is known: of which table and options the checkpoints are."""


def check_checkpoints(folder: Path | None, *, every: str | None, resume: bool) -> None:
    """Refuse flags that do not go together or with what a folder holds, before any work is done.

    Raises:
        InvalidInputError: They do not.
    """
    if folder is None:
        for flag, given in (("--checkpoint-every", every), ("--resume", resume)):
            if given:
                raise InvalidInputError(
                    f"{flag} needs the folder of the checkpoints; give --checkpoints FOLDER"
                )
        return
    there = (folder / DESCRIPTION).exists()
    if resume and not there:
        raise InvalidInputError(f"there is no checkpoint in {folder}; leave --resume out to begin")
    if there and not resume and not _restarted():
        raise InvalidInputError(
            f"{folder} has checkpoints; go on with --resume, or choose another --checkpoints"
        )
    if not there and folder.exists() and (not folder.is_dir() or any(_foreign(folder))):
        raise InvalidInputError(
            f"{folder} holds something else than checkpoints of a fit; choose another --checkpoints"
        )


def _foreign(folder: Path) -> Iterator[Path]:
    """Yield what is there but for what a process left that was killed as it began."""
    begun = f".{DESCRIPTION}."
    return (path for path in folder.iterdir() if not path.name.startswith(begun))


def _restarted() -> bool:
    """Return whether torchrun or Slurm has started the same command anew."""
    counts = (os.environ.get(name, "0") for name in _RESTART_COUNTS)
    return any(count.isdigit() and int(count) > 0 for count in counts)


_RESTART_COUNTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


class FitCheckpoints:
    """Lets the runs of a fit write checkpoints, and go on from those that are there.

    They are trained one after the other: a population of them writes none.

    Args:
        folder: Where; made with a description of the fit if it is new.
        table: A hash of the table.
        recipe: What is trained.
        settings: Says what else the result depends on.

    Raises:
        InvalidInputError: The checkpoints there are of another table or other options.
    """

    def __init__(
        self,
        folder: Path,
        table: str,
        recipe: Recipe,
        settings: FitSettings,
    ) -> None:
        from jointrain.experiments import recipe_in_words
        from jointrain.training import resolve_device

        self.folder = folder
        every = settings.checkpoint_every or "10min"
        self._every: int | str = int(every) if every.isdigit() else every
        self._count = 0
        options: Any = recipe_in_words(recipe)
        more = {"seed": settings.seed, "device": resolve_device(settings.device).type}
        told = {"table": table, "options": {**options, **more}}
        described = json.loads(json.dumps(told))
        file = folder / DESCRIPTION
        if not is_first_rank():
            return
        if file.exists():
            self._check_same(file, described)
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda path: path.write_text(json.dumps(described)))

    def _check_same(self, file: Path, described: Mapping[str, Any]) -> None:
        from jointrain.experiments import OPEN_SETTINGS_NAME as OPEN

        try:
            stored = read_json(file)
            table, options = stored["table"], dict(stored["options"])
        except (DamagedError, TypeError, KeyError, ValueError):
            raise InvalidInputError(
                f"{file} is damaged, so that nothing is known of the checkpoints; choose another "
                f"--checkpoints"
            ) from None
        if table != described["table"]:
            raise InvalidInputError(
                f"the checkpoints in {self.folder} are of another table: other rows, columns or "
                f"targets; give that table, or choose another --checkpoints"
            )
        if options.get(OPEN) != described["options"].get(OPEN):
            raise InvalidInputError(
                f"the checkpoints in {self.folder} are of a jointrain with other defaults; choose "
                "another --checkpoints"
            )
        for name, value in described["options"].items():
            if options.get(name) != value:
                raise InvalidInputError(
                    f"the checkpoints in {self.folder} are of other options: "
                    f"{flag_named(name)} was {_short(options.get(name))}, not {_short(value)}; "
                    "give the same, or choose another --checkpoints"
                )

    def give(self, runs: Sequence[Run]) -> None:
        """Let the next runs write checkpoints; those that are through are read."""
        from jointrain.training import Checkpoints

        for run in runs:
            self._count += 1
            place = self.folder / f"network-{self._count:04d}"
            run.trainer.checkpoints = Checkpoints(place, every=self._every)

    @property
    def of_stream(self) -> Checkpoints:
        """Where networks write that train on a table larger than memory."""
        from jointrain.training import Checkpoints

        return Checkpoints(self.folder / "networks", every=self._every)

    @contextmanager
    def told_when_stopped(self) -> Iterator[None]:
        """Say how to go on if what is in the block is stopped."""
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedError(
                f"the checkpoints are in {self.folder}; the same command with --resume goes on"
            ) from None


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
