"""What the searches for weights, groups and shared layers found: in words, tables and JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

from jointrain._printed_tables import print_table
from jointrain.reports._markdown import markdown_table
from jointrain.reports._summary import (
    change_and_interval,
    comparison_to_json,
    finite,
    mean_and_deviation,
    mean_and_spread,
)
from jointrain.reports._words import listed
from jointrain.studies import (
    SEPARATE,
    SHARED_ENOUGH,
    Candidates,
    GroupResult,
    ShareResult,
    WeighResult,
    groups_text,
    pairs_text,
)

SHOWN = 10
"""How many candidates the terminal shows; the Markdown page has them all."""


@dataclass(frozen=True)
class SearchReport:
    """The answer of a search, rounded and worded once for all kinds of report.

    Args:
        answer: Sentences that need no knowledge of statistics.
        flag: What the command line is given to train with what is recommended.
        tables: Title, headings and rows of each table.
        notes: How to read the tables.
        json: All figures as values that JSON can hold.
        always: First cells of the rows that the terminal shows in any case.
    """

    answer: list[str]
    flag: str
    tables: list[tuple[str, list[str], list[list[str]]]]
    notes: list[str]
    json: dict[str, Any]
    always: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """Print the tables, the notes and the answer."""
        for title, headings, rows in self.tables:
            shown = rows[:SHOWN] + [row for row in rows[SHOWN:] if row[0] in self.always]
            if len(rows) > len(shown):
                title = f"{title} ({len(shown)} of {len(rows)})"
            print_table(console, title, headings, shown)
        console.print(" ".join(self.notes), style="dim", soft_wrap=True, markup=False)
        console.print()
        console.print(" ".join(self.answer), style="bold", soft_wrap=True, markup=False)
        console.print(
            f"Train with: jointrain fit TABLE ... {self.flag}", soft_wrap=True, markup=False
        )

    def markdown(self, title: str, *, picture: str | None = None) -> str:
        """Return the report as a page.

        Args:
            title: The heading.
            picture: File name of a picture shown below the answer.
        """
        lines = [f"# {title}", "", " ".join(self.answer), ""]
        lines += [f"Train with `jointrain fit TABLE ... {self.flag}`.", ""]
        if picture is not None:
            lines += [f"![Who helps whom]({picture})", ""]
        for heading, headings, rows in self.tables:
            lines += [f"## {heading}", "", *markdown_table(headings, rows), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes), ""])


def report_weights(result: WeighResult) -> SearchReport:
    """Return the report of a search for task weights."""
    candidates = result.candidates

    def weights(name: str) -> str:
        if name == SEPARATE:
            return "separate models"
        given = result.weights(name)
        return given if isinstance(given, str) else pairs_text(given)

    def flag(name: str) -> str:
        return f"--weights {shlex.quote(weights(name))}"

    tried = len(candidates.choices)
    answer = _answer(
        candidates,
        chosen=f"Of {tried} weightings, {weights(result.chosen)} is the best",
        reference="equal weights",
        best_is_reference=f"Of {tried} weightings, equal weights are the best.",
        keep="Keep equal weights",
    )
    tables = [("Weights", *_candidates_table(candidates, "weights", weights))]
    front = result.pareto_front()
    if result.pareto:
        headings = ["to choose it", *(task.name for task in candidates.tasks), "Delta-m"]
        rows = []
        for name in front:
            changes = candidates.mean_changes(name)
            rows.append(
                [flag(name), *map(_percent, changes.values()), _percent(candidates.score(name))]
            )
        tables.append(("Pareto front: changes against separate models", headings, rows))
    notes = _notes(candidates)
    if result.pareto:
        notes.append(
            "Pareto front: no other weights are as good or better on every target. The first has "
            "the highest Delta-m; take the flag of another row to choose it, or say with "
            "--importance how much each target counts."
        )
    json = {
        **_candidates_to_json(
            candidates, lambda name: {} if name == SEPARATE else {"weights": result.weights(name)}
        ),
        "weights": result.weights(),
        "pareto_front": front,
    }
    report = _report(answer, flag(result.recommended), tables, notes, json)
    rules = [weights(name) for name in candidates.names if not name.startswith("search ")]
    return replace(report, always=tuple(rules))


def report_groups(result: GroupResult) -> SearchReport:
    """Return the report of a search for groups of tasks."""
    candidates = result.candidates
    tasks = [task.name for task in candidates.tasks]

    def groups(name: str) -> str:
        return groups_text(result.groups(name))

    def flag(name: str) -> str:
        return f"--groups {shlex.quote(groups(name))}"

    tried = len(candidates.choices)
    phrase = _grouping(result.groups())
    separate = candidates.reference == SEPARATE
    answer = _answer(
        candidates,
        chosen=f"Of {tried} groupings, the best is {phrase}",
        reference="separate models" if separate else "one model for all",
        best_is_reference=f"Of {tried} groupings, "
        + ("separate models are the best." if separate else "one model for all is the best."),
        keep="Train the targets separately" if separate else "Train all targets together",
    )
    affinity = result.affinity
    spread = len(affinity.runs) > 1
    readable, overlap = affinity.readable, affinity.overlap

    def cell(i: int, j: int) -> str:
        if i == j:
            return ""
        if not readable[i, j]:
            return "too few shared rows"
        text = f"{100 * affinity.mean[i, j]:+.2g}"
        return f"{text} ± {100 * affinity.spread[i, j]:.1g}" if spread else text

    headings = ["a step for ...", *(f"... helps {name}" for name in tasks)]
    rows = [[name, *(cell(i, j) for j in range(len(tasks)))] for i, name in enumerate(tasks)]
    tables = [("Affinity, in % of the loss a step", headings, rows)]
    shared = affinity.shared
    apart: list[str] = []
    if shared is not None and (overlap < 1).any():
        headings = ["rows with labels of ...", *(f"... and {name}" for name in tasks)]
        rows = [
            [name, *(_shared_cell(int(shared[i, j]), overlap[i, j]) for j in range(len(tasks)))]
            for i, name in enumerate(tasks)
        ]
        tables.append(("Shared rows", headings, rows))
        apart = [
            f"{tasks[i]} and {tasks[j]}"
            for i in range(len(tasks))
            for j in range(i + 1, len(tasks))
            if overlap[i, j] < SHARED_ENOUGH
        ]
    if apart:
        of = len(tasks) * (len(tasks) - 1) // 2
        pairs = listed(apart) if len(apart) < of else "any two targets"
        answer.append(
            f"Affinities of {pairs} are not read: they share under {100 * SHARED_ENOUGH:.0f} % of "
            f"their labelled rows, and gradients on other rows do not tell who helps whom."
        )
    gains = result.pair_gains()
    if np.isfinite(gains).any():
        headings = ["trained with ...", *(f"... {name} gains" for name in tasks)]
        rows = [
            [name, *(_percent(gains[i, j]) if i != j else "" for j in range(len(tasks)))]
            for i, name in enumerate(tasks)
        ]
        tables.append(("Pairs that were trained: change against separate models", headings, rows))
    tables.append(("Groupings", *_candidates_table(candidates, "groups", groups)))
    runs = f"{len(affinity.runs)} joint runs" if spread else "one joint run"
    notes = [
        f"Affinity: how much of a target's training loss a step for another target takes away, "
        f"mean over training{' ± standard deviation over' if spread else ' of'} {runs}; below 0 it "
        f"adds to it. Where two targets share under {100 * SHARED_ENOUGH:.0f} % of the rows that "
        f"have a label of either, it is noise, and not read.",
        *_notes(candidates),
    ]
    json = {
        **_candidates_to_json(candidates, lambda name: {"groups": result.groups(name)}),
        "groups": result.groups(),
        "affinity": {
            "measure": affinity.measure,
            "tasks": list(affinity.tasks),
            "mean": [[finite(value) for value in row] for row in affinity.mean.tolist()],
            "spread": [[finite(value) for value in row] for row in affinity.spread.tolist()],
            "shared_rows": None if shared is None else shared.tolist(),
            "overlap": [[finite(value) for value in row] for row in overlap.tolist()],
            "readable": readable.tolist(),
        },
        "pair_gains": [[finite(value) for value in row] for row in gains.tolist()],
    }
    return _report(answer, flag(result.recommended), tables, notes, json)


def _shared_cell(rows: int, overlap: float) -> str:
    return f"{rows:,} ({100 * overlap:.0f} %)"


def report_shared_depth(result: ShareResult) -> SearchReport:
    """Return the report of a search for the number of shared layers."""
    candidates = result.candidates
    depth = max(result.depths.values())
    answer = _answer(
        candidates,
        chosen=f"Sharing {result.chosen} of {depth} layers is the best",
        reference=f"sharing all {depth}",
        best_is_reference=f"Sharing all {depth} layers is the best.",
        keep=f"Share all {depth} layers",
    )
    tables = [("Shared layers", *_candidates_table(candidates, "layers", str))]
    json = {
        **_candidates_to_json(candidates, lambda name: {"shared": result.depths.get(name)}),
        "shared_depth": result.chosen,
    }
    flag = f"--depth {depth} --shared-depth {result.recommended}"
    return _report(answer, flag, tables, _notes(candidates), json)


def _report(
    answer: list[str],
    flag: str,
    tables: list[tuple[str, list[str], list[list[str]]]],
    notes: list[str],
    json: dict[str, Any],
) -> SearchReport:
    return SearchReport(
        answer, flag, tables, notes, {"answer": " ".join(answer), "flag": flag, **json}
    )


def _answer(
    candidates: Candidates, *, chosen: str, reference: str, best_is_reference: str, keep: str
) -> list[str]:
    """Return what the figures say of the chosen candidate against the reference."""
    if candidates.chosen == candidates.reference:
        return [best_is_reference]
    gain = candidates.gain_of_choosing
    measured = f"choosing changes Delta-m by {change_and_interval(gain)} against {reference}"
    if gain.verdict != "better":
        return [
            f"{keep}: the data do not show that anything else is better.",
            f"{chosen} on the folds that chose it, but on folds that had no say {measured}.",
        ]
    sentences = [f"{chosen}: on folds that had no say in the choice, {measured}."]
    by_task = candidates.gain_of_choosing_by_task
    for word, phrase in (
        ("better", "It helps"),
        ("worse", "It hurts"),
        ("equivalent", "It does not matter for"),
        ("undecided", "Undecided for"),
    ):
        names = [name for name, comparison in by_task.items() if comparison.verdict == word]
        if names:
            sentences.append(f"{phrase} {listed(names)}.")
    return sentences


def _grouping(groups: Sequence[Sequence[str]]) -> str:
    if len(groups) == 1:
        return "one model for all"
    together = [" + ".join(group) for group in groups if len(group) > 1]
    alone = [group[0] for group in groups if len(group) == 1]
    if not together:
        return "separate models"
    return listed(together) + (f", with {listed(alone)} alone" if alone else "")


def _candidates_table(
    candidates: Candidates, what: str, text: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Return headings and a row for each candidate, the best one first."""
    metrics = [task.primary_metric for task in candidates.tasks]
    headings = [
        what,
        *(
            f"{task.name}: {metric.name} {'↑' if metric.higher_is_better else '↓'}"
            for task, metric in zip(candidates.tasks, metrics, strict=True)
        ),
        "Delta-m",
    ]
    rows = []
    for name in sorted(candidates.names, key=candidates.score, reverse=True):
        cells = [
            mean_and_spread(candidates.values(name, task.name, metric.name), spread=False)
            for task, metric in zip(candidates.tasks, metrics, strict=True)
        ]
        base = name == candidates.baseline
        rows.append([text(name), *cells, "" if base else _percent(candidates.score(name))])
    return headings, rows


def _notes(candidates: Candidates) -> list[str]:
    runs = candidates.table.select("seed", "fold").n_unique()
    folds = candidates.table["fold"].n_unique()
    seeds = runs // folds
    return [
        f"Means over {folds} inner folds x {seeds} seed{'s' if seeds > 1 else ''}; ↑ higher is "
        f"better, ↓ lower. Delta-m: mean change of the targets' metrics against "
        f"{candidates.baseline} in percent, positive is better; the best row's own is flattered by "
        f"having been chosen."
    ]


def _candidates_to_json(
    candidates: Candidates, more: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    return {
        "chosen": candidates.chosen,
        "recommended": candidates.recommended,
        "reference": candidates.reference,
        "gain_of_choosing": comparison_to_json(candidates.gain_of_choosing),
        "gain_of_choosing_by_task": {
            task: comparison_to_json(comparison)
            for task, comparison in candidates.gain_of_choosing_by_task.items()
        },
        "importance": dict(candidates.importance),
        "candidates": [
            {
                "name": name,
                **more(name),
                "metrics": {
                    task.name: {
                        metric.name: mean_and_deviation(
                            candidates.values(name, task.name, metric.name)
                        )
                        for metric in task.metrics or ()
                    }
                    for task in candidates.tasks
                },
                "change_percent": {
                    task: finite(change) for task, change in candidates.mean_changes(name).items()
                },
                "delta_m": finite(candidates.score(name)),
                "seconds": round(candidates.seconds.get(name, 0.0), 3),
            }
            for name in candidates.names
        ],
    }


def _percent(value: float) -> str:
    return f"{value:+.1f} %" if math.isfinite(value) else "-"
