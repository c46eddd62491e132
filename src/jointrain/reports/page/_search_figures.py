"""The figures and the sections of a search's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jointrain.charts import bars, heat_map
from jointrain.reports._affinity import affinity_note
from jointrain.reports._searches import SearchReport
from jointrain.reports._words import listed
from jointrain.reports.page._change_sections import front_section
from jointrain.reports.page._conflict_figures import conflict_figures
from jointrain.reports.page._figure_texts import change_text
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
        "delta_m_unit": report.json["delta_m_unit"],
        "groups": report.json.get("groups"),
        "pair_gains": report.json.get("pair_gains"),
        "differences": [name for one in candidates[:1] for name in one["change_difference"]],
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
    percent = {
        one["text"]: {
            task: value
            for task, value in one["change_percent"].items()
            if task not in figures.get("differences", [])
        }
        for one in figures["candidates"]
    }
    found = {
        text: of for text, of in percent.items() if of and all(v is not None for v in of.values())
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
    unit = figures.get("delta_m_unit", "percent")
    texts = [change_text({"change": one["delta_m"], "unit": unit}) for one in known]
    rows = [
        {"name": _marked(one, figures), "value": one["delta_m"], "text": text}
        for one, text in zip(known[:_MOST_BARS], texts, strict=False)
    ]
    said = "; ".join(f"{row['name']} {row['text']}" for row in rows[:8])
    cells = [[_marked(one, figures), text] for one, text in zip(known, texts, strict=True)]
    return [
        Figure(
            "Delta-m of what was tried", f"Mean change against separate models: {said}.",
            bars(rows, across=f"Delta-m, {'%' if unit == 'percent' else unit}", down=None),
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
    differences = figures.get("differences", [])
    rows = [
        _pair_gain(one, other, gains[i][j], differences)
        for i, one in enumerate(tasks)
        for j, other in enumerate(tasks)
    ]
    cells = [[row["row"], row["column"], row["tip"]] for row in rows if row["row"] != row["column"]]
    chart = heat_map(rows, down="trained with", across="gains", what="change, %")
    table = Table("Gains of pairs", ["trained with", "gains", "change"], cells, hidden=True)
    said = "What each target (column) gains when it is trained with one other (row), in percent."
    if differences:
        said = (
            f"{said[:-1]}; of {listed(differences)} the difference of the metric, without colour."
        )
    return [Figure("Pairs that were trained", said, chart, table)]


def _pair_gain(one: str, other: str, gain: float | None, differences: Sequence[str]) -> Figures:
    """Return a cell of the gains of pairs; a difference has no place on a scale of percent."""
    unit = "difference" if other in differences else "percent"
    tip = "not trained" if gain is None else change_text({"change": gain, "unit": unit})
    return {
        "row": one,
        "column": other,
        "value": None if one == other or unit == "difference" else gain,
        "text": "" if one == other else "?" if gain is None else tip.removesuffix(" %"),
        "tip": "itself" if one == other else tip,
    }
