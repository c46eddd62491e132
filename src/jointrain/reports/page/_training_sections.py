"""Sections of the training: losses and weights by epoch, affinities and conflicts of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jointrain.charts import curves, heat_map
from jointrain.experiments import SEPARATE
from jointrain.reports._words import listed
from jointrain.reports.page._change_sections import MOST_TARGETS
from jointrain.reports.page._figure_texts import number
from jointrain.reports.page._figures import Figures
from jointrain.reports.page._parts import Figure, Section, Table

_MOST_PAIRS = 10


def losses_section(figures: Figures) -> Section:
    """Return the section of the losses while training."""
    title = "Losses while training"
    found = figures["curves"]
    if not found:
        return Section("losses", title, missing=_no_curves(figures))
    verdicts = [(one, overfits(one)) for one in found]
    tasks = list(dict.fromkeys(one["task"] for one in found))[:MOST_TARGETS]
    made = [
        _losses_figure(task, [pair for pair in verdicts if pair[0]["task"] == task])
        for task in tasks
    ]
    named = {
        task: [
            (one["recipe"], verdict) for one, verdict in verdicts if one["task"] == task and verdict
        ]
        for task in tasks
    }
    runs = max(one["runs"] for one in found)
    lines = [
        f"Means over up to {runs} run{'s' * (runs != 1)}, of losses before weights. The weights "
        "that were kept are those of the epoch with the lowest validation loss over all "
        "targets of a network."
    ]
    if any(named.values()):
        lines.append(
            f"Over-fitting: {_over_fitting(named)}. Early stopping keeps the weights from before "
            "that; more dropout or a smaller network may help."
        )
    elif any(value is not None for one in found for value in one["validation"]):
        lines.append("No recipe over-fits by more than 5 % of its lowest validation loss.")
    return Section("losses", title, lines, made)


_MOST_SENTENCES = 3


def _over_fitting(named: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Say which recipes over-fit which tasks; from when and how far only where they are few."""
    found = [(task, *pair) for task, pairs in named.items() for pair in pairs]
    if len(found) <= _MOST_SENTENCES:
        return "; ".join(f"{recipe} on {task}: {verdict}" for task, recipe, verdict in found)
    by_task = "; ".join(
        f"on {task} {listed([recipe for recipe, _ in pairs], 8)}"
        for task, pairs in named.items()
        if pairs
    )
    return f"{by_task} (the tables say from which epoch on, and how far)"


def _losses_figure(task: str, found: Sequence[tuple[Figures, str | None]]) -> Figure:
    """Return the curves of a task: each recipe's, with the verdict of `overfits`."""
    rows, cells = [], []
    for one, verdict in found:
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
    table = Table(f"Losses of {task}", headings, cells, True)
    return Figure(task, f"Losses by epoch. {said}.", chart, table)


def _no_curves(figures: Figures) -> str:
    if figures["kind"] == "runs":
        return "The table of runs holds results only, not how training went."
    return (
        "The results do not hold how training went: they are of a loop of one's own, or were kept "
        "by an earlier version. Run the command again with another --study."
    )


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


def weights_section(figures: Figures) -> Section:
    """Return the section of the weights that recipes gave to targets."""
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
