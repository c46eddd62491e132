"""Who helps whom, in tables and words: what can be read of affinities, and what can't."""

from __future__ import annotations

from typing import Any

from jointrain.reports._summary import finite
from jointrain.reports._words import listed
from jointrain.studies.searches import SHARED_ENOUGH, Affinity


def affinity_tables(affinity: Affinity) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return the affinities, and how many rows two targets share where these are not all."""
    tasks, readable, overlap = affinity.tasks, affinity.readable, affinity.overlap
    spread = len(affinity.runs) > 1
    count = range(len(tasks))

    def cell(i: int, j: int) -> str:
        if i == j:
            return ""
        if not readable[i, j]:
            return "too few shared rows"
        text = f"{100 * affinity.mean[i, j]:+.2g}"
        return f"{text} ± {100 * affinity.spread[i, j]:.1g}" if spread else text

    headings = ["a step for ...", *(f"... helps {name}" for name in tasks)]
    rows = [[name, *(cell(i, j) for j in count)] for i, name in enumerate(tasks)]
    tables = [("Affinity, in % of the loss a step", headings, rows)]
    shared = affinity.shared
    if shared is not None and (overlap < 1).any():
        headings = ["rows with labels of ...", *(f"... and {name}" for name in tasks)]
        rows = [
            [name, *(f"{int(shared[i, j]):,} ({100 * overlap[i, j]:.0f} %)" for j in count)]
            for i, name in enumerate(tasks)
        ]
        tables.append(("Shared rows", headings, rows))
    return tables


def unread_affinities(affinity: Affinity) -> list[str]:
    """Name the pairs of targets whose affinities are noise, for they share too few rows."""
    if affinity.shared is None:
        return []
    tasks = affinity.tasks
    pairs = [(i, j) for i in range(len(tasks)) for j in range(i + 1, len(tasks))]
    apart = [
        f"{tasks[i]} and {tasks[j]}" for i, j in pairs if affinity.overlap[i, j] < SHARED_ENOUGH
    ]
    if not apart:
        return []
    named = listed(apart) if len(apart) < len(pairs) else "any two targets"
    return [
        f"Affinities of {named} are not read: they share under {100 * SHARED_ENOUGH:.0f} % of "
        f"their labelled rows, and gradients on other rows do not tell who helps whom."
    ]


def affinity_note(affinity: Affinity) -> str:
    """Say how to read affinities."""
    several = len(affinity.runs) > 1
    runs = f"{len(affinity.runs)} joint runs" if several else "one joint run"
    return (
        f"Affinity: how much of a target's training loss a step for another target takes away, "
        f"mean over training{' ± standard deviation over' if several else ' of'} {runs}; below 0 "
        f"it adds to it. Where two targets share under {100 * SHARED_ENOUGH:.0f} % of the rows "
        f"that have a label of either, it is noise, and not read."
    )


def affinity_to_json(affinity: Affinity) -> dict[str, Any]:
    """Return affinities as values that JSON can hold."""
    shared = affinity.shared
    return {
        "measure": affinity.measure,
        "tasks": list(affinity.tasks),
        "mean": [[finite(value) for value in row] for row in affinity.mean.tolist()],
        "spread": [[finite(value) for value in row] for row in affinity.spread.tolist()],
        "shared_rows": None if shared is None else shared.tolist(),
        "overlap": [[finite(value) for value in row] for row in affinity.overlap.tolist()],
        "readable": affinity.readable.tolist(),
    }
