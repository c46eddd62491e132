"""What the searches for weights, groups and shared layers found: in words, tables and JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from rich.console import Console

from jointrain.experiments import SEPARATE
from jointrain.reports._affinity import (
    affinity_note,
    affinity_tables,
    affinity_to_json,
    unread_affinities,
)
from jointrain.reports._flag_texts import groups_text, pairs_text
from jointrain.reports._markdown import code, escaped, markdown_table
from jointrain.reports._summary import comparison_to_json, finite, mean_and_spread
from jointrain.reports._words import (
    beyond_margin,
    cost_share,
    listed,
    metric_heading,
    not_counted,
    overall_change,
    seen_text,
    signed,
    size_and_interval,
)
from jointrain.studies import VERDICTS, mean_and_deviation
from jointrain.studies.searches import (
    Candidates,
    GroupResult,
    SearchResult,
    ShareResult,
    WeighResult,
)
from jointrain.system.printed_tables import print_table
from jointrain.system.terminal_streams import printable

SHOWN = 10
"""How many candidates the terminal shows; the Markdown page has them all."""


@dataclass(frozen=True)
class SearchReport:
    """The answer of a search, rounded and worded once for all kinds of report.

    Args:
        answer: Sentences that need no knowledge of statistics.
        flag: What `fit` is given to train with what is recommended; empty for no table.
        tables: Title, headings and rows of each table.
        notes: How to read the tables.
        json: All figures as values that JSON can hold; ``notes`` is what a budget cut, and what
            failed.
        always: First cells of the rows that the terminal shows in any case.
        candidate_texts: What each candidate is, by name.
    """

    answer: list[str]
    flag: str
    tables: list[tuple[str, list[str], list[list[str]]]]
    notes: list[str]
    json: dict[str, Any]
    always: tuple[str, ...] = ()
    candidate_texts: Mapping[str, str] = field(default_factory=dict)

    def print(self, console: Console) -> None:
        """Print the tables, the notes and the answer."""
        for title, headings, rows in self.tables:
            shown = rows[:SHOWN] + [row for row in rows[SHOWN:] if row[0] in self.always]
            if len(rows) > len(shown):
                title = f"{title} ({len(shown)} of {len(rows)})"
            print_table(console, title, headings, shown)
        console.print(
            printable(" ".join(self.notes)), style="dim", soft_wrap=True, markup=False, emoji=False
        )
        console.print()
        console.print(
            printable(" ".join(self.answer)),
            style="bold",
            soft_wrap=True,
            markup=False,
            emoji=False,
        )
        if self.flag:
            text = f"Train with: jointrain fit TABLE ... {self.flag}"
            console.print(printable(text), soft_wrap=True, markup=False, emoji=False)

    def markdown(self, title: str, *, picture: str | None = None) -> str:
        """Return the report as a page.

        Args:
            title: The heading.
            picture: File name of a picture shown below the answer.
        """
        lines = [f"# {escaped(title)}", "", escaped(" ".join(self.answer)), ""]
        if self.flag:
            lines += [f"Train with {code(f'jointrain fit TABLE ... {self.flag}')}.", ""]
        if picture is not None:
            lines += [f"![Who helps whom]({picture})", ""]
        for heading, headings, rows in self.tables:
            lines += [f"## {escaped(heading)}", "", *markdown_table(headings, rows), ""]
        notes = [*self.notes, *(f"{cut[0].upper()}{cut[1:]}." for cut in self.json["notes"])]
        return "\n".join([*lines, *(f"- {escaped(note)}" for note in notes), ""])


@dataclass(frozen=True)
class CandidateWords:
    """How a report speaks of the candidates of a search.

    Args:
        title: Of the table of candidates.
        heading: Of its first column.
        kind: What they are, in the plural, such as ``weightings``.
        text: What a candidate is, by its name, in that column; default its name.
        do: What choosing it means, in words that begin a sentence; default ``Take`` its name.
        named: What it is called within a sentence; default its name.
        flag: What `fit` is given to train with it; default nothing.
        fields: Its own fields in JSON; default none.
    """

    title: str
    heading: str
    kind: str
    text: Callable[[str], str] = str
    do: Callable[[str], str] = "Take {}".format
    named: Callable[[str], str] = str
    flag: Callable[[str], str] = "".format
    fields: Callable[[str], dict[str, Any]] = lambda _: {}


def report_search(result: SearchResult, words: CandidateWords) -> SearchReport:
    """Return the report of any search.

    Args:
        result: What it found.
        words: What its candidates are called.
    """
    candidates = result.candidates
    answer = _answer(candidates, words)
    flag = words.flag(candidates.recommended)
    fields = _candidates_to_json(candidates, words.fields)
    return SearchReport(
        answer,
        flag,
        [(words.title, *_candidates_table(candidates, words.heading, words.text))],
        _notes(candidates),
        {"answer": " ".join(answer), "flag": flag, **fields},
        candidate_texts={name: words.text(name) for name in candidates.names},
    )


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

    def do(name: str) -> str:
        return "Keep equal weights" if name == candidates.reference else f"Weigh {weights(name)}"

    def named(name: str) -> str:
        return "equal weights" if name == candidates.reference else weights(name)

    def fields(name: str) -> dict[str, Any]:
        return {} if name == SEPARATE else {"weights": result.weights(name)}

    report = report_search(
        result,
        CandidateWords("Weights", "weights", "weightings", weights, do, named, flag, fields),
    )
    tables, notes, front = list(report.tables), list(report.notes), result.pareto_front()
    if result.pareto:
        headings = ["to choose it", *(task.name for task in candidates.tasks), "Delta-m"]
        rows = []
        for name in front:
            changes = candidates.mean_changes(name)
            cells = [_change(change, candidates.units[task]) for task, change in changes.items()]
            rows.append([flag(name), *cells, _delta_m(candidates, name)])
        tables.append(("Pareto front: changes against separate models", headings, rows))
        notes.append(
            "Pareto front: no other weights are as good or better on every target. The first has "
            "the highest Delta-m; take the flag of another row to choose it, or say with "
            "--importance how much each target counts."
        )
    json = {**report.json, "weights": result.weights(candidates.recommended), "pareto_front": front}
    rules = [weights(name) for name in candidates.names if not name.startswith("search ")]
    return replace(report, tables=tables, notes=notes, json=json, always=tuple(rules))


def report_groups(result: GroupResult) -> SearchReport:
    """Return the report of a search for groups of tasks."""
    tasks = [task.name for task in result.candidates.tasks]

    def groups(name: str) -> str:
        return groups_text(result.groups(name))

    def flag(name: str) -> str:
        return f"--groups {shlex.quote(groups(name))}"

    def do(name: str) -> str:
        given = result.groups(name)
        if len(given) == 1:
            return "Train all targets together"
        if all(len(group) == 1 for group in given):
            return "Train the targets apart"
        return f"Train {_grouping(given)}"

    def named(name: str) -> str:
        return _grouping(result.groups(name))

    def fields(name: str) -> dict[str, Any]:
        return {"groups": result.groups(name)}

    report = report_search(
        result, CandidateWords("Groupings", "groups", "groupings", groups, do, named, flag, fields)
    )
    affinity = result.affinity
    answer = [*report.answer, *unread_affinities(affinity)]
    tables = affinity_tables(affinity)
    gains, units = result.pair_gains(), result.candidates.units
    if np.isfinite(gains).any():
        headings = ["trained with ...", *(f"... {name} gains" for name in tasks)]
        rows = [
            [
                name,
                *(
                    _change(row[j], units[one]) if one != name else ""
                    for j, one in enumerate(tasks)
                ),
            ]
            for name, row in zip(tasks, gains, strict=True)
        ]
        tables.append(("Pairs that were trained: change against separate models", headings, rows))
    json = {
        **report.json,
        "answer": " ".join(answer),
        "groups": result.groups(result.recommended),
        "affinity": affinity_to_json(affinity),
        "pair_gains": [[finite(value) for value in row] for row in gains.tolist()],
    }
    notes = [affinity_note(affinity), *report.notes]
    return replace(report, answer=answer, tables=[*tables, *report.tables], notes=notes, json=json)


def report_shared_depth(result: ShareResult) -> SearchReport:
    """Return the report of a search for the number of shared layers."""
    depth = max(result.depths.values())

    def do(name: str) -> str:
        shared = result.depths[name]
        return (
            f"Share all {depth} layers" if shared == depth else f"Share {shared} of {depth} layers"
        )

    def named(name: str) -> str:
        shared = result.depths[name]
        return f"sharing all {depth}" if shared == depth else f"sharing {shared} of {depth}"

    def flag(name: str) -> str:
        return f"--depth {depth} --shared-depth {result.depths[name]}"

    def fields(name: str) -> dict[str, Any]:
        return {"shared": result.depths.get(name)}

    words = CandidateWords(
        "Shared layers", "layers", "split points", do=do, named=named, flag=flag, fields=fields
    )
    report = report_search(result, words)
    texts = {
        name: named(name) if name in result.depths else name for name in result.candidates.names
    }
    json = {**report.json, "shared_depth": result.recommended}
    return replace(report, json=json, candidate_texts=texts)


def _answer(candidates: Candidates, words: CandidateWords) -> list[str]:
    """Return what to do, what that rests on, and what could not be seen."""
    gain, pick = candidates.gain_of_choosing, candidates.recommended
    do, name = words.do, words.named
    reference = name(candidates.reference)
    tried = f"{len(candidates.choices)} {words.kind}"
    chance = "on folds held out of the choice"
    if gain.verdict == "better":
        change = overall_change(gain, f" than {reference}")
        by_task = candidates.gain_of_choosing_by_task
        found = {
            word: [task for task, one in by_task.items() if one.verdict == word]
            for word in VERDICTS
        }
        by_target = ", ".join(f"{word} for {listed(n)}" for word, n in found.items() if n)
        sentences = [f"{do(pick)}: the best of {tried}, {change} {chance}."]
        sentences += [f"By target: {by_target}."] if len(by_task) > 1 else []
        return [*sentences, *_apart_is_better(candidates)]
    always_plain = not any(np.nan_to_num(v).any() for v in candidates.gains_of_choosing.values())
    if always_plain and not candidates.first_look:  # it was compared with itself on every fold
        why = (
            f"none of {tried} is better, whichever fold is left out"
            if pick == candidates.reference
            else "it is not shown to be worse"
        )
    elif gain.verdict == "equivalent":
        why = f"choosing the best of {tried} gains nothing{beyond_margin(gain)}"
        others = [one for one in candidates.choices if one != candidates.reference]
        if all(one.verdict == "equivalent" for one in candidates.judge(others)[1].values()):
            why = f"{beyond_margin(gain)} it makes no difference which of {tried} is taken"
            why = why.lstrip()
    elif gain.verdict == "worse":
        why = f"choosing among {tried} by these figures is {overall_change(gain)} {chance}"
    elif not candidates.first_look:
        why = (
            f"the data do not decide between {tried}, differences under {seen_text(gain)} could "
            "not be seen"
        )
    else:
        why = f"too few folds to decide between {tried}"
    sentences = [f"{do(pick)}: {why}{_why_not_plain(candidates, name)}."]
    if candidates.first_look:
        more = "a larger --budget" if candidates.cuts else "more --folds"
        sentences.append(f"These figures are a first look: give {more}.")
    elif candidates.chosen != pick:
        change = f": {chance}, choosing is {overall_change(gain, f' than {reference}')}"
        said = always_plain or gain.verdict == "worse"
        # separate models stand in the table, and may be no choice
        first = max(candidates.names, key=candidates.score) == candidates.chosen
        where = "The first row of the table" if first else f"The best of the {words.kind}"
        sentences.append(
            f"{where} ({name(candidates.chosen)}) may owe its place to chance"
            f"{'' if said else change}."
        )
    return [*sentences, *_apart_is_better(candidates)]


def _why_not_plain(candidates: Candidates, name: Callable[[str], str]) -> str:
    """Say why the reference is not what is recommended, where nothing is shown to beat it."""
    pick, reference = candidates.recommended, candidates.reference
    if pick == reference:
        return ""
    if candidates.clearly_cheaper(pick):
        share = cost_share(candidates.work[pick] / candidates.work[reference])
        of = "as" if share.endswith(" as much") else "of"
        return f"; it costs {share} {of} {name(reference)}"
    return f"; {name(reference)}, the plain choice, comes last of them{_its_cost(candidates)}"


def _its_cost(candidates: Candidates) -> str:
    """Say what a reference that comes last costs beside what is recommended."""
    cost, own = (candidates.work.get(one) for one in (candidates.reference, candidates.recommended))
    if cost is None or own is None:
        return ""
    if own <= cost:
        return " and costs no less"
    share = cost_share(own / cost) if cost else ""
    if share.endswith(" times as much"):
        return f", though this costs {share}"
    return " and costs about as much" if share else ", though this costs more"


def _apart_is_better(candidates: Candidates) -> list[str]:
    """Warn where separate models, which are no choice here, are shown to be better."""
    if candidates.baseline in candidates.choices:
        return []
    change = candidates.judge([candidates.recommended], candidates.baseline)[1]
    found = change[candidates.recommended]
    if found.verdict != "worse":
        return []
    return [
        f"But separate models are {size_and_interval(found, turned=True)} better than that"
        f"{not_counted(found)}: see jointrain compare."
    ]


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
            f"{task.name}: {metric_heading(metric)}"
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
        rows.append([text(name), *cells, "" if base else _delta_m(candidates, name)])
    return headings, rows


def _notes(candidates: Candidates) -> list[str]:
    runs = candidates.table.select("seed", "fold").n_unique()
    folds = candidates.table["fold"].n_unique()
    seeds = runs // folds
    over = f"{folds} inner fold{'s' * (folds > 1)} x {seeds} seed{'s' * (seeds > 1)}"
    return [
        f"Means over {over}; ↑ higher is better, ↓ lower. Delta-m: mean change of the targets' "
        f"metrics against {candidates.baseline} {_in_what(candidates)}, positive is better; the "
        f"best row's own is flattered by having been chosen."
    ]


def _in_what(candidates: Candidates) -> str:
    """Return what Delta-m is given in, and which targets it leaves out."""
    whole = candidates.delta_m
    left_out = f", without {listed(whole.left_out)}" if whole.left_out else ""
    return f"{'in percent' if whole.unit == 'percent' else 'as a difference'}{left_out}"


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
        "delta_m_unit": candidates.delta_m.unit,
        "delta_m_left_out": list(candidates.delta_m.left_out),
        "notes": list(candidates.notes),
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
                **_changes_to_json(candidates, name),
                "delta_m": finite(candidates.score(name)),
                "seconds": round(candidates.seconds.get(name, 0.0), 3),
            }
            for name in candidates.names
        ],
    }


def _changes_to_json(candidates: Candidates, name: str) -> dict[str, Any]:
    """Return the changes of a candidate: in percent, and where they are none, as differences."""
    found = {task: finite(change) for task, change in candidates.mean_changes(name).items()}
    of = candidates.units
    return {
        "change_percent": {t: one if of[t] == "percent" else None for t, one in found.items()},
        "change_difference": {t: one for t, one in found.items() if of[t] == "difference"},
    }


def _delta_m(candidates: Candidates, name: str) -> str:
    return _change(candidates.score(name), candidates.delta_m.unit)


def _change(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "-"
    return signed(value, unit, "", bound=False) + (" %" if unit == "percent" else "")
