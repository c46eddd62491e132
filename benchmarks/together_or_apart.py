"""Joint against separate networks on the development tables of the arena, from its store.

    python benchmarks/together_or_apart.py FOLDER --seen DATA

FOLDER has runs of ``jointrain networks`` (joint) and ``jointrain separate``, made by
`benchmarks/arena.py`. A table's gain is by how many percent the joint networks' error lies below
that of separate ones, both relative to a constant and means over folds and targets. Prints the
gains by what is known before training, their regression on it, and the tables as
`jointrain/studies/_joint_prior.py` holds them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from arena import FOLDS, Store
from arena_methods import Task, _supervised
from arena_tables import is_confirmation, load

from jointrain.studies import TableFacts, facts_of

JOINT, APART = "jointrain networks", "jointrain separate"
COLUMNS = ("log10 of rows", "number of targets", "share of labels", "correlation of targets")


def gains(folder: Path) -> dict[str, float]:
    """Return the percent gained on each table that both have been run on."""
    runs = Store(folder).runs()
    found = {}
    for name in dict.fromkeys(table for table, _, _ in runs):
        both = [[runs.get((name, one, fold)) for fold in range(FOLDS)] for one in (JOINT, APART)]
        if is_confirmation(name) or any(run is None for own in both for run in own):
            continue
        joint, apart = (np.mean([run.score for run in own if run is not None]) for own in both)
        if np.isfinite([joint, apart]).all():
            found[name] = float(100 * (1 - joint / apart))
    return found


def facts(name: str, seen: Path) -> TableFacts:
    """Return what is known of a table."""
    table = load(name, seen)
    task = Task(table, table.features, table.targets, table.features, table.groups)
    return facts_of(_supervised(task))


def interval(values: np.ndarray) -> str:
    """Return mean and 95 % interval of a mean over tables, by Student's t."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def summary(title: str, values: np.ndarray) -> str:
    """Return a line of the table of gains."""
    if len(values) < 3:
        return f"| {title} | {len(values)} | | | |"
    return (
        f"| {title} | {len(values)} | {(values > 0).sum()} | {np.median(values):+.1f} | "
        f"{interval(values)} |"
    )


def regression(known: list[TableFacts], values: np.ndarray) -> list[str]:
    """Return the lines of a linear regression of the gains; inputs are standardised."""
    from scipy.stats import t

    inputs = np.array([[np.log10(f.rows), f.targets, f.label_share, f.correlation] for f in known])
    design = np.column_stack([np.ones(len(values)), (inputs - inputs.mean(0)) / inputs.std(0)])
    slopes, *_ = np.linalg.lstsq(design, values, rcond=None)
    left = values - design @ slopes
    free = len(values) - design.shape[1]
    # robust to gains that scatter more on small tables (HC3)
    bread = np.linalg.inv(design.T @ design)
    leverage = np.einsum("ij,jk,ik->i", design, bread, design)
    meat = design.T @ (design * (left / (1 - leverage))[:, None] ** 2)
    errors = np.sqrt(np.diag(bread @ meat @ bread))
    wide = t.ppf(0.975, free)
    explained = 1 - left.var() / values.var()
    return [
        "| per standard deviation of | standard deviation | percent gained |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {deviation:.2f} | {s:+.1f} [{s - wide * e:+.1f}, {s + wide * e:+.1f}] |"
            for name, deviation, s, e in zip(
                COLUMNS, inputs.std(0), slopes[1:], errors[1:], strict=True
            )
        ),
        "",
        f"R2 {explained:.2f} on {len(values)} tables.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seen", type=Path, required=True, help="folder of the nine seen tables")
    arguments = parser.parse_args()
    found = gains(arguments.folder)
    known = [facts(name, arguments.seen) for name in found]
    values = np.array(list(found.values()))
    print("| tables | number | joint better | median gain, % | mean gain, % [95 %] |")
    print("| --- | --- | --- | --- | --- |")
    print(summary("all", values))
    parts = {
        "up to 300 rows": [f.rows <= 300 for f in known],
        "301 to 2,000 rows": [300 < f.rows <= 2000 for f in known],
        "more than 2,000 rows": [f.rows > 2000 for f in known],
        "all labels there": [f.label_share == 1 for f in known],
        "labels missing": [f.label_share < 1 for f in known],
        "targets correlated below 0.3": [f.correlation < 0.3 for f in known],
        "0.3 to 0.6": [0.3 <= f.correlation < 0.6 for f in known],
        "0.6 or more": [f.correlation >= 0.6 for f in known],
        "2 or 3 targets": [f.targets <= 3 for f in known],
        "4 or more targets": [f.targets > 3 for f in known],
    }
    for title, rows in parts.items():
        print(summary(title, values[np.array(rows)]))
    print()
    print(*regression(known, values), sep="\n")
    print()
    for name, fact, gain in zip(found, known, values, strict=True):
        print(
            f"    _Other({fact.rows}, {fact.targets}, {fact.label_share:.2f}, "
            f"{fact.correlation:.2f}, {gain:.1f}),  # {name}"
        )


if __name__ == "__main__":
    main()
