"""The figures and the sections of a search's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jointrain.charts import bars, heat_map
from jointrain.reports._affinity import affinity_note
from jointrain.reports._searches import SearchReport
from jointrain.reports.page._change_sections import front_section
from jointrain.reports.page._conflict_figures import conflict_figures
from jointrain.reports.page._figures import Figures, circumstances
from jointrain.reports.page._parts import Figure, Section, Table
from jointrain.reports.page._study_sections import data_section
from jointrain.reports.page._training_sections import affinity_section, conflict_section
from jointrain.studies.searches import Affinity

_MOST_BARS = 25


def search_figures(
    report: SearchReport,
    title: str,
    *,
    command: str | None = None,
    affinity: Affinity | None = None,
    data: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Figures:
    """Return the figures of a search's page.

    Args:
        report: What was found, in words and figures.
        title: The heading.
        command: What makes it again.
        affinity: Who helps whom, if it was measured.
        data: rows, labels and notes of what it was found on.
        recipe: What was trained, in words.
        seed: Of the folds.
    """
    names = report.candidate_texts
    candidates = [{**one, "text": names[one["name"]]} for one in report.json["candidates"]]
    return circumstances(title, "search", command) | {
        "answer": report.answer,
        "flag": report.flag,
        "tables": [[heading, head, rows] for heading, head, rows in report.tables],
        "candidates": candidates,
        "recommended": report.json["recommended"],
        "reference": report.json["reference"],
        "groups": report.json.get("groups"),
        "pair_gains": report.json.get("pair_gains"),
        "affinity": None
        if affinity is None
        else report.json["affinity"] | {"note": affinity_note(affinity)},
        "conflict": conflict_figures(affinity),
        "data": data,
        "notes": [*report.json["notes"]],
        "said": list(report.notes),
        "recipes": [] if recipe is None else [recipe],
        "seed": seed,
    }


def search_sections(figures: Figures) -> list[Section]:
    """Return the sections of a search's page, in the order in which they are read."""
    tables = [Table(title, headings, rows) for title, headings, rows in figures["tables"]]
    found = {
        one["text"]: one["change_percent"]
        for one in figures["candidates"]
        if one["change_percent"] and all(v is not None for v in one["change_percent"].values())
    }
    tasks = list(next(iter(found.values()), {}))
    lead = []
    if figures["flag"]:
        lead.append(f"Train with: jointrain fit TABLE ... {figures['flag']}")
    sections = [
        Section(
            "tried", "What was tried", [*lead, *figures["said"]], _tried(figures),
            [table for table in tables if not table.title.startswith(("Affinity", "Shared rows"))],
        ),
    ]  # fmt: skip
    if figures["affinity"] is not None:
        helps = affinity_section(figures)
        gains = _pair_gains(figures)
        sections.append(
            Section(helps.key, helps.title, helps.lines, [*helps.figures, *gains], helps.tables)
        )
        sections.append(conflict_section(figures))
    sections.append(front_section("What one target gains and another loses", found, tasks))
    sections.append(data_section(figures))
    return sections


def _tried(figures: Figures) -> list[Figure]:
    known = [one for one in figures["candidates"] if one["delta_m"] is not None]
    known.sort(key=lambda one: -one["delta_m"])
    if not known:
        return []
    rows = [
        {"name": _marked(one, figures), "value": one["delta_m"], "text": f"{one['delta_m']:+.1f} %"}
        for one in known[:_MOST_BARS]
    ]
    said = "; ".join(f"{row['name']} {row['text']}" for row in rows[:8])
    cells = [[_marked(one, figures), f"{one['delta_m']:+.1f} %"] for one in known]
    return [
        Figure(
            "Delta-m of what was tried", f"Mean change against separate models: {said}.",
            bars(rows, across="Delta-m, %", down=None),
            Table("Delta-m", ["what", "Delta-m"], cells, hidden=True), wide=True,
        )
    ]  # fmt: skip


def _marked(one: Figures, figures: Figures) -> str:
    return f"{one['text']}" + (" (recommended)" if one["name"] == figures["recommended"] else "")


def _pair_gains(figures: Figures) -> list[Figure]:
    gains: Sequence[Sequence[float | None]] | None = figures.get("pair_gains")
    if not gains or all(value is None for row in gains for value in row):
        return []
    tasks = figures["affinity"]["tasks"]
    rows = [
        {
            "row": tasks[i],
            "column": tasks[j],
            "value": None if i == j else gains[i][j],
            "text": "" if i == j else "?" if gains[i][j] is None else f"{gains[i][j]:+.1f}",
            "tip": "itself" if i == j else "not trained" if gains[i][j] is None
            else f"{gains[i][j]:+.1f} %",
        }
        for i in range(len(tasks))
        for j in range(len(tasks))
    ]  # fmt: skip
    cells = [[row["row"], row["column"], row["tip"]] for row in rows if row["row"] != row["column"]]
    chart = heat_map(rows, down="trained with", across="gains", what="change, %")
    table = Table("Gains of pairs", ["trained with", "gains", "change"], cells, hidden=True)
    said = "What each target (column) gains when it is trained with one other (row), in percent."
    return [Figure("Pairs that were trained", said, chart, table)]
