"""The sections of a study's page, made of its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jointrain.charts import (
    against_truth,
    axis_limit,
    bars,
    calibration,
    changes,
    curves,
    heat_map,
    trade_offs,
)
from jointrain.reports._words import listed
from jointrain.reports.page._figures import Figures
from jointrain.reports.page._parts import Figure, Section, Table

MOST_TARGETS = 20
"""Charts of single targets, at most: of those whose change is largest."""

_MOST_PAIRS = 10
_MOST_AXES = 12
_MOST_COLUMNS = 25

SEPARATE = "separate"

_REFERENCES = {SEPARATE: "separate networks"}


def study_sections(figures: Figures) -> list[Section]:
    """Return the sections, in the order in which they are read."""
    return [
        _targets(figures),
        affinity_section(figures),
        _weights(figures),
        _losses(figures),
        conflict_section(figures),
        _front(figures),
        _saved_model(figures),
        _columns(figures),
        data_section(figures),
    ]


def number(value: float | None) -> str:
    """Return a figure of a table."""
    return "-" if value is None else f"{value:.4g}"


def change_text(row: Mapping[str, Any]) -> str:
    """Return a change with its interval."""
    if row.get("change") is None:
        return "" if "change" not in row else "undefined"
    percent = row.get("unit") == "percent"
    form = "{:+.1f}" if percent else "{:+.3g}"
    unit = " %" if percent else ""
    if row.get("low") is None:
        return form.format(row["change"]) + unit
    ends = f"{form.format(row['low'])}, {form.format(row['high'])}"
    return f"{form.format(row['change'])}{unit} [{ends}]"


# --- per target -----------------------------------------------------------------------------------


def _targets(figures: Figures) -> Section:
    reference = figures.get("reference", SEPARATE)
    title = "Each target: apart, together, in alternation, and without a network"
    if figures["kind"] == "runs":
        title = f"Each target: every recipe against {reference}"
    targets = figures["targets"]
    if not figures["finished"] or not figures["overall"]:
        return Section(
            "targets", title, tables=[_values_table(target) for target in targets],
            missing="No verdict and no interval before all runs are in.",
        )  # fmt: skip
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
            if row.get("change") is not None and row["name"] != "constant"
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


# --- who helps whom -------------------------------------------------------------------------------


def affinity_section(figures: Figures) -> Section:
    """Return the section of who helps whom."""
    title = "Who helps whom"
    affinity, groups = figures.get("affinity"), figures.get("groups")
    lines = []
    if groups:
        named = [" + ".join(group) for group in groups]
        lines.append(f"Groups that the search recommends: {'; '.join(named)}.")
    if affinity is None:
        return Section("help", title, lines, missing=_where_affinity(figures))
    tasks, count = affinity["tasks"], len(affinity["tasks"])
    rows, cells = [], []
    for i in range(count):
        for j in range(count):
            readable = affinity["readable"][i][j] and i != j
            value = None if not readable else 100 * affinity["mean"][i][j]
            text = "" if i == j else "?" if value is None else f"{value:+.2g}"
            overlap = affinity["overlap"][i][j]
            shared = "all rows" if overlap is None else f"{100 * overlap:.0f} % of rows shared"
            tip = (
                "itself" if i == j
                else f"too few shared rows to read ({shared})" if value is None
                else f"{text} % of its loss a step; {shared}"
            )  # fmt: skip
            rows.append(
                {"row": tasks[i], "column": tasks[j], "value": value, "text": text, "tip": tip}
            )
            if i != j:
                spread = affinity["spread"][i][j]
                sure = "" if spread is None or value is None else f" ± {100 * spread:.1g}"
                cells.append([tasks[i], tasks[j], text + sure, shared])
    helps = [row for row in rows if row["value"] is not None]
    best = max(helps, key=lambda row: row["value"], default=None)
    worst = min(helps, key=lambda row: row["value"], default=None)
    said = "How much a training step for the row's target takes off the column's loss, in percent."
    if best and best["value"] > 0:
        said += f" Most help: {best['row']} to {best['column']}, {best['text']} %."
    if worst and worst["value"] < 0:
        said += f" Most harm: {worst['row']} to {worst['column']}, {worst['text']} %."
    chart = heat_map(
        rows, down="a step for", across="changes the loss of", what="change of the loss, %"
    )
    table = Table(
        "Affinities", ["a step for", "helps", "% of the loss a step", "rows"], cells, True
    )
    lines.append(affinity["note"])
    return Section("help", title, lines, [Figure("Affinity", said, chart, table, wide=count > 6)])


def _where_affinity(figures: Figures) -> str:
    if figures["kind"] == "runs":
        return "Values of runs do not tell who helps whom."
    if len(figures.get("targets", ())) == 1:
        return "There is one target, so there is nobody to help."
    return (
        "Not measured here. The command jointrain group, with the same table and targets, measures "
        "it and "
        "says which targets to train together."
    )


# --- weights, losses ------------------------------------------------------------------------------


def _weights(figures: Figures) -> Section:
    title = "Task weights, and how they moved"
    found = [one for one in figures["curves"] if one["recipe"] != SEPARATE]
    if not found:
        return Section("weights", title, missing=_no_curves(figures))
    made, lines = [], []
    for recipe in dict.fromkeys(one["recipe"] for one in found):
        own = [one for one in found if one["recipe"] == recipe]
        values = {value for one in own for value in one["weight"] if value is not None}
        if len(values) == 1:
            lines.append(f"{recipe}: all weights are {values.pop():g} throughout.")
            continue
        if all(len(set(one["weight"])) == 1 for one in own):
            given = ", ".join(f"{one['task']} {number(one['weight'][0])}" for one in own)
            lines.append(f"{recipe}: fixed weights: {given}.")
            continue
        rows = [
            {"x": epoch, "y": value, "line": one["task"]}
            for one in own
            for epoch, value in zip(one["epochs"], one["weight"], strict=True)
            if value is not None
        ]
        chart = curves(rows, across="epoch", up="weight", line="target")
        ends = [[one["task"], number(one["weight"][0]), number(one["weight"][-1])] for one in own]
        said = "; ".join(f"{name} from {first} to {last}" for name, first, last in ends[:8])
        table = Table(
            f"Weights of {recipe}", ["target", "after the first epoch", "at the end"], ends, True
        )
        made.append(Figure(f"{recipe}: weights", f"Weights by epoch: {said}.", chart, table))
    return Section("weights", title, lines, made)


def _no_curves(figures: Figures) -> str:
    if figures["kind"] == "runs":
        return "The table of runs holds results only, not how training went."
    return (
        "The results do not hold how training went: they are of a loop of one's own, or were kept "
        "by an earlier version. Run the command again with another --study."
    )


def _losses(figures: Figures) -> Section:
    title = "Losses while training"
    found = figures["curves"]
    if not found:
        return Section("losses", title, missing=_no_curves(figures))
    made, named = [], []
    tasks = list(dict.fromkeys(one["task"] for one in found))
    for task in tasks[:MOST_TARGETS]:
        own = [one for one in found if one["task"] == task]
        rows, cells = [], []
        for one in own:
            for part in ("training", "validation"):
                points = [
                    (epoch, value)
                    for epoch, value in zip(one["epochs"], one[part], strict=True)
                    if value is not None
                ]
                rows += [
                    {"x": epoch, "y": value, "line": one["recipe"], "style": part}
                    for epoch, value in points
                ]
            verdict = overfits(one)
            if verdict:
                named.append(f"{one['recipe']} on {task}: {verdict}")
            least = [value for value in one["validation"] if value is not None]
            cells.append(
                [
                    one["recipe"],
                    number(one["training"][-1]),
                    number(min(least, default=None)),
                    number(least[-1] if least else None),
                    f"{one['kept']:.0f} of {one['epochs'][-1]}",
                    verdict or "no",
                ]
            )
        positive = all(row["y"] > 0 for row in rows)
        spread = max(row["y"] for row in rows) > 20 * min(row["y"] for row in rows)
        chart = curves(
            rows, across="epoch", up="loss", line="recipe", style="rows",
            logarithmic=positive and spread,
        )  # fmt: skip
        headings = [
            "recipe", "training loss at the end", "lowest validation loss",
            "validation loss at the end", "epoch kept", "over-fits",
        ]  # fmt: skip
        said = "; ".join(
            f"{row[0]}: training {row[1]}, validation {row[3]} at the end" for row in cells
        )
        made.append(Figure(task, f"Losses by epoch. {said}.", chart,
                           Table(f"Losses of {task}", headings, cells, True)))  # fmt: skip
    runs = max(one["runs"] for one in found)
    lines = [
        f"Means over up to {runs} runs, of losses before weights. The weights that were kept are "
        "those of the epoch with the lowest validation loss over all targets of a network."
    ]
    if named:
        lines.append(
            f"Over-fitting: {'; '.join(named[:12])}. Early stopping keeps the weights from before "
            "that; more dropout or a smaller network may help."
        )
    elif any(value is not None for one in found for value in one["validation"]):
        lines.append("No recipe over-fits by more than 5 % of its lowest validation loss.")
    return Section("losses", title, lines, made)


def overfits(curve: Figures) -> str | None:
    """Say whether a validation loss has risen while the training loss went on falling.

    Args:
        curve: epochs, training and validation of a task.

    Returns:
        In words; None unless the loss ends more than 5 % above its lowest value.
    """
    points = [
        (epoch, training, validation)
        for epoch, training, validation in zip(
            curve["epochs"], curve["training"], curve["validation"], strict=True
        )
        if validation is not None and training is not None
    ]
    if len(points) < 3:
        return None
    low = min(range(len(points)), key=lambda at: points[at][2])
    epoch, training, least = points[low]
    last = points[-1]
    if least <= 0 or last[2] <= 1.05 * least or last[1] >= training:
        return None
    rise = 100 * (last[2] / least - 1)
    return f"from epoch {epoch} on, validation loss {rise:.0f} % above its lowest at the end"


# --- conflict, trade-offs -------------------------------------------------------------------------


def conflict_section(figures: Figures) -> Section:
    """Return the section of how far gradients pull apart."""
    title = "Gradient conflict over time"
    conflict = figures.get("conflict")
    if not conflict:
        missing = (
            "Values of runs do not tell how gradients lay."
            if figures["kind"] == "runs"
            else "Not measured here: it needs targets that share a network of jointrain's own, and "
            "time for one more short run."
        )
        return Section("conflict", title, missing=missing)
    pairs = conflict["pairs"]
    rows = [
        {"x": step, "y": value, "line": f"{pair['first']} and {pair['second']}"}
        for pair in sorted(pairs, key=lambda one: one["mean"])[:_MOST_PAIRS]
        for step, value in zip(pair["steps"], pair["cosines"], strict=True)
        if value is not None
    ]
    chart = curves(rows, across="step", up="cosine of the gradients", line="targets", zero=True)
    cells = [
        [pair["first"], pair["second"], f"{pair['mean']:+.2f}", f"{100 * pair['negative']:.0f} %"]
        for pair in pairs
    ]
    against = [pair for pair in pairs if pair["negative"] > 0.5]
    if against:
        names = [f"{pair['first']} and {pair['second']}" for pair in against]
        verdict = f"At most steps these pull against each other: {listed(names)}."
    else:
        verdict = "No two targets pull against each other at most steps."
    said = "; ".join(f"{row[0]} and {row[1]}: mean cosine {row[2]}" for row in cells[:8])
    table = Table(
        "Cosines", ["target", "target", "mean cosine", "steps below 0"], cells, hidden=True
    )
    lines = [
        "The cosine between two targets' gradients of the layers that they share: below 0 a step "
        f"for one undoes some of the other. {conflict['note']}",
        verdict,
    ]
    return Section("conflict", title, lines, [Figure("Cosines by step", said, chart, table)])


def _front(figures: Figures) -> Section:
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
    chart = trade_offs(found, axes)
    return Section(
        "front", title, lines,
        [Figure("Pareto front", said, chart, Table("Changes", ["recipe", *axes], cells, True),
                wide=True)],
    )  # fmt: skip


def _beaten(found: Mapping[str, Mapping[str, float]], name: str, tasks: Sequence[str]) -> bool:
    own = [found[name][task] for task in tasks]
    return any(
        all(a >= b for a, b in zip(other, own, strict=True)) and other != own
        for other in ([found[one][task] for task in tasks] for one in found)
    )


# --- the saved model ------------------------------------------------------------------------------


def _saved_model(figures: Figures) -> Section:
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
        "and probabilities were adjusted on one half of those rows and checked on the other."
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
        f"average over {one['rows']:,} rows."
    )
    chart = calibration(one["points"], across=across, up=up)
    table = Table(f"Probabilities of {target}", ["said", "came true", "rows"], cells, True)
    return [Figure(f"{target}: probabilities", said, chart, table)]


def _columns(figures: Figures) -> Section:
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
            "text": "-" if task["increase"][index] is None else f"{task['increase'][index]:.2g}",
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


# --- data, recipe, versions -----------------------------------------------------------------------


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
        about = f"{data['rows']:,} rows" if data.get("rows") else "Rows are not counted"
        if data.get("rows") is not None or columns:
            lines.append(about + (f" with {len(columns)} feature columns." if columns else "."))
        missing = data.get("missing") or {}
        if missing and len(missing) > 1:
            labels = data["labels"]
            cells = [[name, f"{labels[name]:,}", f"{missing[name]:,}"] for name in missing]
            table = Table("Labels", ["target", "rows with a label", "missing"], cells, True)
            rows = [
                {"name": name, "value": labels[name], "text": f"{labels[name]:,} rows"}
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
