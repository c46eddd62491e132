"""What is seen while something trains: a view that changes in place, or lines where it can't."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.console import Console

from jointrain.cli._ranks import is_first_rank
from jointrain.system.temporary_folders import temporary_folder
from jointrain.system.terminal_streams import printable, say
from jointrain.system.training_feed import Look, looks, newest, open_feed

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from jointrain.studies import StudyResult

_MARKS = "▁▂▃▄▅▆▇█"
_WIDTH = 16
"""Characters of a sparkline."""

_MOST_TASKS = 12
"""Tasks that are shown; more of them would leave no room for anything else."""

_FIRST_LINE, _LINES = 10.0, 30.0
"""Seconds until the first line where there is no terminal, and from one line to the next."""

_RATE_SECONDS = 5.0
"""Rows a second are counted over so long."""


class LiveView:
    """What is known of work that goes on.

    Args:
        unit: What is counted, in words.
        folder: Where processes tell what they train.
        until: `time.monotonic()` at which the work is ended; None for an open end.
    """

    def __init__(self, unit: str, folder: Path, until: float | None = None) -> None:
        self._unit, self._folder, self._until = unit, folder, until
        self._started = self._round_started = time.monotonic()
        self._done, self._total = 0.0, 0
        self._interim = ""
        self._rows: dict[str, float] = {}
        self._sum = 0.0
        self._sums: list[tuple[float, float]] = []

    def __call__(self, done: float, total: int) -> None:
        """Take in how much is done, and of how much; less than before is another round."""
        if done < self._done or total != self._total:
            self._round_started = time.monotonic()
        self._done, self._total = done, total

    def interim(self, text: str) -> None:
        """Take in what the figures show so far, in place of what they showed before."""
        self._interim = text

    def progress(self) -> str:
        """Return how far the work is, how fast it goes and what is left, in a line."""
        found = looks(self._folder)
        self._count(found)
        share, parts, about = 0.0, [], "about"
        if self._total:
            share = self._done / self._total
            parts.append(f"{round(self._done, 1):.15g} of {self._total}")
        elif found:  # one network of a stream, whose epochs are all that is counted
            newest_time = max(look.written for look in found.values())
            at_work = [one for one in found.values() if one.written > newest_time - _RATE_SECONDS]
            share = min(one.epoch / one.epochs if one.epochs else 0.0 for one in at_work)
            about = "at most about"  # it may stop early
        now = time.monotonic()
        parts.append(f"{_duration(now - self._started)} so far")
        if self._until is not None:
            parts.append(f"at most {_duration(max(self._until - now, 0))} left")
        elif 0 < share < 1:
            left = (now - self._round_started) * (1 - share) / share
            parts.append(f"{about} {_duration(left)} left")
        if rate := self._rate():
            parts.append(f"{rate:,.0f} rows/s")
        return f"{self._unit}: {', '.join(parts)}"

    def line(self) -> str:
        """Return all that is known in one line."""
        found = list(looks(self._folder).values())
        losses = newest(found, "training")
        shown = [f"{name} {values[-1]:.4g}" for name, values in losses.items()][:_MOST_TASKS]
        parts = [self.progress()]
        if shown:
            parts.append(f"loss: {', '.join(shown)}")
        if self._interim:
            parts.append(self._interim)
        return "; ".join(parts)

    def render(self) -> Group:
        """Return all that is known for a terminal."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        found = list(looks(self._folder).values())
        parts: list[RenderableType] = [Text(self.progress())]
        if self._total:
            parts.append(ProgressBar(total=self._total, completed=self._done, width=60))
        if found:
            parts.append(_losses_table(found))
        if self._interim:
            parts.append(Text(self._interim))
        return Group(*parts)

    def _count(self, found: Mapping[str, Look]) -> None:
        for name, look in found.items():
            before = self._rows.get(name, 0.0)
            # a process that was given other work counts anew
            self._sum += look.rows - before if look.rows >= before else look.rows
            self._rows[name] = look.rows
        now = time.monotonic()
        self._sums.append((now, self._sum))
        while len(self._sums) > 2 and self._sums[1][0] < now - _RATE_SECONDS:
            self._sums.pop(0)

    def _rate(self) -> float:
        (first, before), (last, now) = self._sums[0], self._sums[-1]
        return (now - before) / (last - first) if last > first else 0.0


@contextmanager
def live_view(unit: str, *, until: float | None = None) -> Iterator[LiveView]:
    """Show on standard error what trains in the block, in this process and those it starts.

    At a terminal it changes in place and is gone at the end; else there is a line now and then.

    Args:
        unit: What is counted, in words.
        until: As in `LiveView`.
    """
    with temporary_folder("jointrain-") as folder:
        view = LiveView(unit, Path(folder), until)
        if not is_first_rank():
            yield view
            return
        open_feed(Path(folder))
        try:
            with _shown(view):
                yield view
        finally:
            open_feed(None)


@contextmanager
def _shown(view: LiveView) -> Iterator[None]:
    if sys.stderr is not None and sys.stderr.isatty():
        from rich.live import Live

        console = Console(stderr=True)
        with Live(
            get_renderable=view.render, console=console, refresh_per_second=4, transient=True
        ):
            yield
        return
    ended = Event()

    def lines() -> None:
        pause = _FIRST_LINE
        while not ended.wait(pause):
            say(view.line())
            pause = _LINES

    thread = Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def interim_changes(result: StudyResult) -> str:
    """Return in one line how the candidates of a search change against separate models so far."""
    from jointrain.experiments import SEPARATE

    names = [recipe.name for recipe in result.study.recipes if recipe.name != SEPARATE]
    changes = {name: result.overall(name, SEPARATE).change for name in names}
    best = sorted((n for n in names if math.isfinite(changes[n])), key=changes.__getitem__)
    shown = ", ".join(f"{name} {changes[name]:+.2g} %" for name in reversed(best[-3:]))
    return f"so far, against separate models: {shown}" if shown else ""


def _losses_table(found: Sequence[Look]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    training, validation = newest(found, "training"), newest(found, "validation")
    weights = newest(found, "weights")
    last = max(found, key=lambda one: one.written)
    epoch = f"epoch {last.epoch}" + (f" of {last.epochs}" if last.epochs else "")
    table = Table("task", "training loss", "validation loss", "weight", box=None, title=epoch)
    table.title_justify = "left"
    names = list(dict.fromkeys([*training, *validation]))
    for name in names[:_MOST_TASKS]:
        cells = [_series(of.get(name, [])) for of in (training, validation, weights)]
        table.add_row(Text(printable(name)), *cells)
    if len(names) > _MOST_TASKS:
        table.add_row(f"and {len(names) - _MOST_TASKS} more")
    return table


def _series(values: Sequence[float]) -> str:
    return f"{sparkline(values)} {values[-1]:.4g}" if values else "-"


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return the newest values as characters of different heights; what is not finite as a space.

    Args:
        values: Any numbers.
        width: How many are shown at most.
    """
    shown = list(values)[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (high - low) / (len(_MARKS) - 1)
    marks = (
        " " if not math.isfinite(value) else _MARKS[round((value - low) / step) if step else 0]
        for value in shown
    )
    return "".join(marks)


def _duration(seconds: float) -> str:
    """Return seconds in words: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
