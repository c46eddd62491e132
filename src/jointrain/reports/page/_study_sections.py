"""The sections of a study's page, made of its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jointrain.charts import bars
from jointrain.reports.page._change_sections import (
    MOST_TARGETS,
    recipes_front_section,
    targets_section,
)
from jointrain.reports.page._figures import Figures
from jointrain.reports.page._model_sections import columns_section, saved_model_section
from jointrain.reports.page._parts import Figure, Section, Table
from jointrain.reports.page._training_sections import (
    affinity_section,
    conflict_section,
    losses_section,
    weights_section,
)


def study_sections(figures: Figures) -> list[Section]:
    """Return the sections, in the order in which they are read."""
    return [
        targets_section(figures),
        affinity_section(figures),
        weights_section(figures),
        losses_section(figures),
        conflict_section(figures),
        recipes_front_section(figures),
        saved_model_section(figures),
        columns_section(figures),
        data_section(figures),
    ]


def _recipe_tables(recipes: Sequence[Figures]) -> list[Table]:
    """Return what sets the recipes apart, and what all of them have."""
    first = recipes[0]
    same = {
        name: value
        for name, value in first.items()
        if name != "name" and all(name in one and one[name] == value for one in recipes)
    }
    if len(recipes) == 1:
        same = {}
    cells = [
        [
            one.get("name", ""),
            "; ".join(
                f"{name.replace('_', ' ')}: {_setting(value)}"
                for name, value in one.items()
                if name != "name" and name not in same
            )
            or "-",
        ]
        for one in recipes
    ]
    tables = [Table("Recipes", ["recipe", "what is its own"], cells)]
    if same:
        shared = [[name.replace("_", " "), _setting(value)] for name, value in same.items()]
        tables.append(Table("Settings of all recipes", ["setting", "value"], shared, hidden=True))
    return tables


def _setting(value: Any) -> str:
    """Return a setting in words."""
    if isinstance(value, Mapping):
        kind = value.get("kind")
        rest = ", ".join(
            f"{name.replace('_', ' ')} {_setting(one)}"
            for name, one in value.items()
            if name != "kind" and one is not None
        )
        return ", ".join(part for part in (kind, rest) if part)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value)) or "none"
    return str(value)


def data_section(figures: Figures) -> Section:
    """Return the section of what data it was, and how to do it again."""
    data = figures.get("data")
    made: list[Figure] = []
    tables: list[Table] = []
    lines: list[str] = []
    if data:
        columns = data.get("columns") or []
        plural = f"column{'s' * (len(columns) != 1)}"
        about = "Rows are not counted"
        if data.get("rows"):
            about = f"{data['rows']:,} row{'s' * (data['rows'] != 1)}"
        if data.get("rows") is not None or columns:
            lines.append(about + (f" with {len(columns)} feature {plural}." if columns else "."))
        missing = data.get("missing") or {}
        if missing and len(missing) > 1:
            labels = data["labels"]
            cells = [[name, f"{labels[name]:,}", f"{missing[name]:,}"] for name in missing]
            table = Table("Labels", ["target", "rows with a label", "missing"], cells, True)
            rows = [
                {
                    "name": name,
                    "value": labels[name],
                    "text": f"{labels[name]:,} row{'s' * (labels[name] != 1)}",
                }
                for name in list(missing)[:MOST_TARGETS]
            ]
            said = "; ".join(f"{row[0]} {row[1]}" for row in cells[:8])
            made.append(
                Figure("Rows with a label", said, bars(rows, across="rows", down=None), table)
            )
        if columns:
            tables.append(Table(f"Feature columns ({len(columns)})", ["column", "read as"],
                                columns, hidden=len(columns) > 12))  # fmt: skip
    recipes = figures.get("recipes") or []
    if recipes:
        tables += _recipe_tables(recipes)
    facts = [
        [name, f"{figures[key]}"]
        for key, name in (("seed", "first seed"), ("seeds", "seeds"), ("margin", "margin, %"))
        if figures.get(key) is not None
    ]
    facts += [["made on", figures["made"]]]
    facts += [[name, version] for name, version in figures["versions"].items()]
    tables.append(Table("Seeds and versions", ["what", "value"], facts))
    costs = figures.get("costs") or []
    if costs:
        of_recipes = [
            [one["recipe"], f"{one['seconds']:.2f} s",
             "-" if one.get("parameters") is None else f"{one['parameters']:,.0f}",
             "-" if one.get("steps") is None else f"{one['steps']:,.0f}"]
            for one in costs
        ]  # fmt: skip
        tables.append(
            Table(
                "Cost of a run, on average", ["recipe", "time", "parameters", "steps"], of_recipes
            )
        )
    notes = [*(data or {}).get("notes", ()), *figures.get("notes", ())]
    sentences = [f"{note[0].upper()}{note[1:]}." for note in notes if note]
    title = "What data it was, and how to do it again"
    return Section("data", title, lines, made, tables, sentences)
