"""Sections of changes: target by target, and what one gains and another loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from jointrain.baselines import CONSTANT
from jointrain.charts import axis_limit, changes, trade_offs
from jointrain.experiments import SEPARATE
from jointrain.reports._words import listed
from jointrain.reports.page._figure_texts import change_text
from jointrain.reports.page._figures import Figures
from jointrain.reports.page._parts import Figure, Section, Table

MOST_TARGETS = 20
"""Charts of single targets, at most: of those whose change is largest."""

_MOST_AXES = 12

_REFERENCES = {SEPARATE: "separate networks"}


def targets_section(figures: Figures) -> Section:
    """Return the section of each target's changes and values."""
    reference = figures.get("reference", SEPARATE)
    title = "Each target: apart, together, in alternation, and without a network"
    if figures["kind"] == "runs":
        title = f"Each target: every recipe against {reference}"
    targets = figures["targets"]
    if not figures["finished"] or not figures["overall"]:
        missing = "No verdict and no interval before all runs are in."
        if figures["finished"]:
            missing = f"No verdict: nothing else was measured to be compared with {reference}."
        tables = [_values_table(target) for target in targets]
        return Section("targets", title, tables=tables, missing=missing)
    shown = _most_changed(targets)
    panels = {target["name"]: _changes_of(target["rows"]) for target in shown}
    overall = _changes_of(figures["overall"])
    percent = [rows for rows in (overall, *panels.values()) if _unit(rows) == "%"]
    # what reaches further is most often a baseline, and would leave nothing to see of the others
    own = [[row for row in rows if row["role"] != "baseline"] for rows in percent]
    limit = axis_limit(own)
    made = [
        _change_figure(
            "All targets (Delta-m)", overall, limit, _overall_table(figures["overall"]), reference
        )
    ]
    for target in shown:
        rows = panels[target["name"]]
        reach = limit if _unit(rows) == "%" else axis_limit([rows], least=0.0) or 1.0
        name = f"{target['name']}: {target['kind']}"
        made.append(_change_figure(name, rows, reach, _values_table(target, reference), reference))
    lines = [
        f"How much better (right) or worse (left) than {_REFERENCES.get(reference, reference)} "
        "each way of training does, with the interval that decides: it holds for all recipes and "
        f"targets at once, at 95 %. Measured on {figures['measured_on']}.",
    ]
    if len(shown) < len(targets):
        lines.append(
            f"Charts are of the {len(shown)} targets of {len(targets)} that change most; the table "
            "below has all."
        )
    constants = [target["name"] for target in targets if target["constant"]]
    if constants:
        lines.append(
            "The constant is what predicts without looking at any column: a model that is no "
            "better has learned nothing. Arrows stand for what lies beyond the edge."
        )
    rest = [_values_table(t, reference) for t in targets if t not in shown]
    return Section("targets", title, lines, made, rest)


def _most_changed(targets: Sequence[Figures]) -> list[Figures]:
    if len(targets) <= MOST_TARGETS:
        return list(targets)

    def size(target: Figures) -> float:
        found = [
            abs(row["change"])
            for row in target["rows"]
            if row.get("change") is not None and row["name"] != CONSTANT
        ]
        return max(found, default=0.0)

    kept = sorted(targets, key=size, reverse=True)[:MOST_TARGETS]
    return [target for target in targets if target in kept]


def _changes_of(rows: Sequence[Figures]) -> list[Figures]:
    return [row for row in rows if row.get("change") is not None]


def _unit(rows: Sequence[Figures]) -> str:
    return "" if any(row["unit"] == "difference" for row in rows) else "%"


def _change_figure(
    title: str, rows: Sequence[Figures], limit: float, table: Table, reference: str
) -> Figure:
    said = "; ".join(f"{row['name']} {change_text(row)}, {row['verdict']}" for row in rows[:8])
    unit = _unit(rows) or "difference"
    chart = changes(rows, limit, unit, against=reference)
    return Figure(title, f"Change against {reference}. {said}.", chart, table)


def _overall_table(rows: Sequence[Figures]) -> Table:
    cells = [[row["name"], change_text(row), row["verdict"]] for row in rows]
    return Table("All targets", ["recipe", "Delta-m", "verdict"], cells, hidden=True)


def _values_table(target: Figures, reference: str = SEPARATE) -> Table:
    higher = target["higher_is_better"]
    arrow = "" if higher is None else f" ({'higher' if higher else 'lower'} is better)"
    finished = any("change" in row for row in target["rows"])
    headings = ["recipe", f"{target['metric']}{arrow}"]
    if finished:
        headings += [f"change against {reference}", "verdict"]
    cells = [
        [
            row["name"],
            row["text"],
            *([change_text(row), row.get("verdict", "")] if finished else []),
        ]
        for row in target["rows"]
    ]
    return Table(target["name"], headings, cells, hidden=finished)


def recipes_front_section(figures: Figures) -> Section:
    """Return the section of what a study's recipes trade off."""
    title = "What recipes give to one target and take from another"
    targets = [target["name"] for target in figures["targets"]]
    found: dict[str, dict[str, float]] = {}
    for target in figures["targets"]:
        if not figures["finished"]:
            break
        for row in target["rows"]:
            at_zero = row["name"] == figures.get("reference", SEPARATE)
            change = 0.0 if at_zero else row.get("change")
            if row["role"] == "baseline" or row.get("unit", "percent") != "percent":
                continue
            if change is not None:
                found.setdefault(row["name"], {})[target["name"]] = change
    whole = [name for name in targets if all(name in of for of in found.values())]
    return front_section(title, found, whole)


def front_section(
    title: str, found: Mapping[str, Mapping[str, float]], tasks: Sequence[str]
) -> Section:
    """Return the section of the Pareto front of two targets, to be chosen.

    Args:
        title: Its heading.
        found: Change in percent by recipe and target.
        tasks: The targets that all recipes have a change of.
    """
    if len(tasks) < 2 or len(found) < 2:
        why = "It takes two targets and two recipes with changes in percent."
        return Section("front", title, missing=why)
    axes = list(tasks[:_MOST_AXES])
    names = list(found)
    cells = [[name, *(f"{found[name][task]:+.1f} %" for task in axes)] for name in names]
    best = [name for name in names if not _beaten(found, name, axes)]
    said = f"On the Pareto front over these targets: {listed(best, 8)}."
    lines = [
        "Mean change of two targets against what all are compared with; choose which two. A recipe "
        "on the front "
        "(a diamond) is beaten by no other on both."
    ]
    if len(axes) < len(tasks):
        lines.append(f"The first {len(axes)} of {len(tasks)} targets can be chosen.")
    off = _far_off(found, axes)
    if off:
        lines.append(
            f"Not drawn: {listed(off, 8)}, so much worse on every target that nothing would be "
            "seen of the others. The table has all."
        )
    chart = trade_offs({name: of for name, of in found.items() if name not in off}, axes)
    return Section(
        "front", title, lines,
        [Figure("Pareto front", said, chart, Table("Changes", ["recipe", *axes], cells, True),
                wide=True)],
    )  # fmt: skip


_FAR, _LEAST_FAR = 5, 10.0
"""What is so many times further off than the median recipe, and so many percent, squeezes them."""


def _far_off(found: Mapping[str, Mapping[str, float]], tasks: Sequence[str]) -> list[str]:
    """Return what is worse on every target and lies far from the others, such as a constant."""
    most = {name: max(abs(found[name][task]) for task in tasks) for name in found}
    limit = max(_FAR * median(most.values()), _LEAST_FAR)
    return [
        name
        for name in found
        if most[name] > limit and all(found[name][task] < 0 for task in tasks)
    ]


def _beaten(found: Mapping[str, Mapping[str, float]], name: str, tasks: Sequence[str]) -> bool:
    own = [found[name][task] for task in tasks]
    return any(
        all(a >= b for a, b in zip(other, own, strict=True)) and other != own
        for other in ([found[one][task] for task in tasks] for one in found)
    )
