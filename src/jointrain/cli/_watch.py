"""`jointrain watch`: a fit or a study of another process, from its files or its store."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jointrain.cli._fit_checkpoints import DESCRIPTION
from jointrain.cli._printing import console_of_output
from jointrain.errors import InvalidInputError
from jointrain.system.output_folder import RUNS
from jointrain.system.stored_files import MISFIT, DamagedError, read_json
from jointrain.system.terminal_streams import printable

if TYPE_CHECKING:
    from rich.console import Group

    from jointrain.studies import RunStore

_NETWORKS = 12
"""Networks that are shown, the newest; an ensemble may have many."""


class _State(NamedTuple):
    """What there is to see: a line, and a table of headings and rows."""

    line: str
    headings: list[str]
    rows: list[list[str]]


def watch(
    place: Annotated[
        str,
        typer.Argument(help="Folder of fit --checkpoints; folder or database URL of --study."),
    ],
    once: Annotated[bool, typer.Option("--once", help="Print one state and end.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.1, max=86400)] = 2.0,
) -> None:
    """Follow a fit or a study of another process or machine from what it keeps, which is only read.

    At a terminal it shows a table that changes in place; else a line whenever something is new.
    Ctrl-C ends it, and not what is watched.
    """
    look = _look_at(place)
    state = look()
    console = console_of_output()
    if once:
        console.print(_table(state))
        return
    if not console.is_terminal:
        seen = ""
        while True:
            if state.line != seen:
                print(f"{datetime.now():%H:%M:%S} {printable(state.line)}", flush=True)
                seen = state.line
            time.sleep(every)
            state = look()
    from rich.live import Live

    with Live(_table(state), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(_table(look()), refresh=True)


def _table(state: _State) -> Group:
    from rich.console import Group
    from rich.table import Column, Table
    from rich.text import Text

    def cells(texts: list[str]) -> list[Text]:
        return [Text(printable(text)) for text in texts]  # a name may be the markup of Rich

    table = Table(*map(Column, cells(state.headings)), box=None)
    for row in state.rows:
        table.add_row(*cells(row))
    return Group(*cells([state.line]), table)


def _look_at(place: str) -> Callable[[], _State]:
    """Return what looks at a place again and again."""
    from jointrain.studies import RunStore

    if "://" in place or (Path(place) / RUNS).is_file():
        return partial(_state_of_study, RunStore.existing(place))
    description = Path(place) / DESCRIPTION
    if description.is_file():
        _check_description(description)
        return partial(_state_of_fit, Path(place))
    raise InvalidInputError(
        f"{place} holds neither checkpoints of a fit nor runs of a study; name the folder of "
        "fit --checkpoints, or what compare --study names"
    )


def _check_description(file: Path) -> None:
    """Refuse a description that can't be read; a fit puts the whole file in its place at once."""
    try:
        read_json(file)
    except DamagedError:
        raise InvalidInputError(
            f"{file} is damaged, so that nothing is known of the checkpoints; name another folder, "
            "or begin the fit anew with another --checkpoints"
        ) from None


def _state_of_study(store: RunStore) -> _State:
    """Return how far a study is.

    Raises:
        InvalidInputError: It can't be read any more, or another version of jointrain made it.
    """
    described, results, claims = store.kept()
    try:
        return _progress_of_study(described, results, claims)
    except MISFIT:
        raise InvalidInputError(
            f"{store.place} holds runs that this version of jointrain did not write; watch them "
            "with the version that did"
        ) from None


def _progress_of_study(described: Mapping[str, Any], results: Iterable[Any], claims: int) -> _State:
    """Return how many runs each recipe has finished, and the mean of the first metric by task."""
    counts: Counter[str] = Counter()
    values: dict[tuple[str, str], list[float]] = {}
    metrics: dict[str, str] = {}
    for result in results:
        for run in result if isinstance(result, list) else [result]:
            counts[run["name"]] += 1
            for row in run["rows"]:
                if metrics.setdefault(row["task"], row["metric"]) == row["metric"]:
                    values.setdefault((run["name"], row["task"]), []).append(row["value"])
    planned = f" of {described['folds'] * described['seeds']}" if "folds" in described else ""
    listed = [name for kind in ("recipes", "baselines") for name in described.get(kind, ())]
    names = dict.fromkeys([*listed, *counts])
    rows = []
    for name in names:
        means = [values.get((name, task), []) for task in metrics]
        shown = [f"{sum(of) / len(of):.4g}" if of else "-" for of in means]
        rows.append([name, f"{counts[name]}{planned}", *shown])
    done = ", ".join(f"{name} {counts[name]}" for name in names)
    headings = ["recipe", "runs", *(f"{task}: {metric}" for task, metric in metrics.items())]
    at_work = f", {claims} under way" if claims else ""
    runs = f"{counts.total()} run{'s' * (counts.total() != 1)}"
    return _State(f"study: {runs} finished ({done}){at_work}", headings, rows)


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are no checkpoints themselves."""
    found = (path for path in folder.iterdir() if path.is_dir())
    return [path for path in found if not path.name.startswith(("step", "."))]


def _state_of_fit(folder: Path) -> _State:
    """Return the newest checkpoint of each network, and its losses in the last epoch."""
    from jointrain.system.stored_files import read_file
    from jointrain.training.checkpoints import from_bytes, history_from_plain

    rows, tasks = [], list[str]()
    # of rows that are streamed the networks lie in a folder of their own
    networks = sorted(network for path in _folders(folder) for network in _folders(path) or [path])
    for place in networks[-_NETWORKS:]:
        files = [f for f in place.iterdir() if re.fullmatch(r"step-\d{12}\.safetensors", f.name)]
        if not files:
            rows.append([place.name, "-", "-"])
            continue
        newest = max(files)
        try:
            epochs = history_from_plain(from_bytes(read_file(newest))["history"])
            losses = epochs[-1].validation if epochs else {}
            among = [*tasks, *(task for task in losses if task not in tasks)]
            shown = [f"{losses[task]:.4g}" if task in losses else "-" for task in among]
        except FileNotFoundError:  # a newer one took its place at this moment
            rows.append([place.name, "-", "-"])
            continue
        except (*MISFIT, RuntimeError):  # what Torch raises where numbers are none
            rows.append([place.name, "damaged", "-"])
            continue
        tasks = among
        rows.append([place.name, str(int(newest.stem[5:])), str(len(epochs)), *shown])
    headings = ["network", "step", "epoch", *(f"{task}: validation loss" for task in tasks)]
    rows = [[*row, *["-"] * (len(headings) - len(row))] for row in rows]
    last = f", last: {', step '.join(rows[-1][:2])}, epoch {rows[-1][2]}" if rows else ""
    count = f"{len(networks)} network{'s' * (len(networks) != 1)}"
    return _State(f"fit: {count}{last}", headings, rows)
