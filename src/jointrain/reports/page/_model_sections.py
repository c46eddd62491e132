"""Sections of the saved model: where it errs, and the columns that it reads."""

from __future__ import annotations

from jointrain.charts import against_truth, calibration, heat_map
from jointrain.reports._words import listed
from jointrain.reports.page._change_sections import MOST_TARGETS
from jointrain.reports.page._figure_texts import number
from jointrain.reports.page._figures import Figures
from jointrain.reports.page._parts import Figure, Section, Table

_MOST_AXES = 12
_MOST_COLUMNS = 25


def saved_model_section(figures: Figures) -> Section:
    """Return the section of what the saved model gets right, and where it errs."""
    title = "The saved model: how far its predictions can be trusted"
    saved, checks = figures.get("saved"), figures.get("checks", {})
    if saved is None:
        why = (
            "A table of runs holds no model."
            if figures["kind"] == "runs"
            else "No model is saved before all runs are in."
            if not figures["finished"]
            else "Predictions of an experiment of one's own are not kept, so there is nothing to "
            "check; jointrain evaluate measures a saved model on rows."
        )
        return Section("model", title, missing=why)
    made = []
    tables = [Table("How each target is predicted", ["target", "by"], [*map(list, saved.items())])]
    lines = [
        "Everything here is of rows that the predicting networks were not trained on. Intervals "
        "and probabilities were adjusted on one half of those rows and checked on the other. "
        "Larger points stand for more rows."
    ]
    for target in list(checks)[:MOST_TARGETS]:
        one = checks[target]
        made += (
            _number_checks(target, one) if one["kind"] == "number" else _class_check(target, one)
        )
    without = [name for name in saved if name not in checks]
    missing = None
    if without:
        missing = (
            f"Not checked: {listed(without)} (kinds without intervals and calibrated "
            "probabilities, or too few rows)."
        )
    return Section("model", title, lines, made, tables, missing=missing)


def _number_checks(target: str, one: Figures) -> list[Figure]:
    points = [{"truth": truth, "predicted": predicted} for truth, predicted in one["points"]]
    residuals = one["residuals"]
    cells = [["rows", f"{one['rows']:,}"], ["mean", number(residuals["mean"])]]
    cells += [["standard deviation", number(residuals["deviation"])]]
    cells += [
        [f"{100 * float(share):g} % lie below", number(value)]
        for share, value in residuals["quantiles"].items()
    ]
    said = (
        f"True values and predictions of {target}. True minus predicted: mean "
        f"{number(residuals['mean'])}, standard deviation {number(residuals['deviation'])}."
    )
    spread = Figure(
        f"{target}: predicted and true", said, against_truth(points, what=target),
        Table(f"Residuals of {target} (true minus predicted)", ["", "value"], cells, True),
    )  # fmt: skip
    coverage = one["coverage"]
    rows = [
        {"said": row["wanted"], "found": row["found"], "count": one["rows"]} for row in coverage
    ]
    chart = calibration(rows, across="asked for", up="rows within the interval")
    cells = [
        [f"{100 * row['wanted']:g} %", f"{100 * row['found']:.1f} %",
         "unbounded" if row["width"] is None else number(row["width"])]
        for row in coverage
    ]  # fmt: skip
    said = "; ".join(f"of {row[0]}: {row[1]} of rows within" for row in cells)
    found = Figure(
        f"{target}: intervals", f"Coverage of intervals {said}.", chart,
        Table(f"Intervals of {target}", ["asked for", "rows within", "median width"], cells, True),
    )  # fmt: skip
    return [spread, found]


def _class_check(target: str, one: Figures) -> list[Figure]:
    if one["kind"] == "binary":
        across, up = f"probability of {one['classes'][1]}", f"share that are {one['classes'][1]}"
    else:
        across, up = "probability of the likeliest class", "share where it was right"
    cells = [
        [f"{100 * row['said']:.1f} %", f"{100 * row['found']:.1f} %", f"{row['count']:,}"]
        for row in one["points"]
    ]
    said = (
        f"Of {target}, what was said and what came true differ by {100 * one['gap']:.1f} % on "
        f"average over {one['rows']:,} row{'s' * (one['rows'] != 1)}."
    )
    chart = calibration(one["points"], across=across, up=up)
    table = Table(f"Probabilities of {target}", ["said", "came true", "rows"], cells, True)
    return [Figure(f"{target}: probabilities", said, chart, table)]


def _short(value: float | None) -> str:
    """Return a figure with two digits, or all before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def columns_section(figures: Figures) -> Section:
    """Return the section of the columns that matter to each target."""
    title = "Which columns matter for which target"
    importance = figures.get("importance")
    if not importance:
        return Section(
            "columns", title,
            missing="A table of runs does not tell." if figures["kind"] == "runs" else
            "Not measured: it takes a saved model with a network, no more than 200 "
            "columns, and time within the budget.",
        )  # fmt: skip
    tasks, columns = importance["tasks"], importance["columns"]

    def share(task: Figures, index: int) -> float | None:
        most = max((value or 0.0 for value in task["increase"]), default=0.0)
        value = task["increase"][index]
        return None if value is None or most <= 0 else max(value, 0.0) / most

    order = sorted(
        range(len(columns)),
        key=lambda index: -max((share(task, index) or 0.0 for task in tasks.values()), default=0),
    )
    names = {name: f"{name} ({task['metric']})" for name, task in tasks.items()}
    rows = [
        {
            "row": columns[index],
            "column": name,
            "value": share(task, index),
            "text": _short(task["increase"][index]),
            "tip": f"{number(task['increase'][index])} {task['metric']}",
        }
        for index in order[:_MOST_COLUMNS]
        for name, task in list(tasks.items())[:_MOST_AXES]
    ]
    cells = [
        [columns[index], *(number(task["increase"][index]) for task in tasks.values())]
        for index in order
    ]
    first = columns[order[0]] if order else ""
    chart = heat_map(
        rows, down="column", across="target", what="how much worse without it", signed=False
    )
    lines = [
        "How much worse the metric gets when a column's values change places among the rows: the "
        "darker, the more the target leans on the column, relative to its most important one."
    ]
    if len(order) > _MOST_COLUMNS:
        lines.append(f"The {_MOST_COLUMNS} of {len(order)} columns that matter most are drawn.")
    return Section(
        "columns", title, lines,
        [Figure("Importance of columns", f"Most important over all targets: {first}.", chart,
                Table("Importance", ["column", *names.values()], cells, True), wide=True)],
    )  # fmt: skip
