"""How often are the verdicts of a study right? Studies of made-up tables whose truth is known.

Every study is `Study` with two recipes, five folds and three seeds, a small network and the default
number of epochs, on a table of 480 rows with four tasks; each row has the label of one task only.
A task's truth is s tanh(1.5 (u - b)), with a sign s, an offset b and a direction u of its inputs,
and noise of a tenth of its standard deviation. The designs differ in what is shared:

- related: all tasks have one direction u of all sixteen inputs, so what the tasks share is just
  what is hard to learn from 120 labels. Joint training should be found to help.
- unrelated: as before, but each task has a direction of four inputs of its own: what one task
  learns is of no use to another. That alone does not make joint training equal to separate
  training: it can hurt (tasks get into each other's way) or help (stopping early by the sum of four
  tasks' losses is steadier), so the mean change is printed too. A "better" is called false here.
- other partners: unrelated tasks again, but both recipes train pairs, with partners swapped: {y0,
  y1}, {y2, y3} against {y0, y2}, {y1, y3}. All tasks are drawn alike, so nothing can change in
  expectation: an exact null hypothesis, with everything in it that makes figures scatter (initial
  weights, batches, folds, the table). It tests the test.
- rare under groups: partners swapped again, every row labelled, y0 and y3 numbers, y1 and y2
  classes whose positives sit in 4 of 24 groups; folds keep groups together, and some lack a class.
  Each task's two partners are drawn alike, so this is an exact null, too.
- late under time: as before, but positives come in the last 60 % of the time only, and folds go
  forward in it.

A study counts as "better" if any task's verdict is, or the one over all tasks (Delta-m); as
"any" if any is better or worse. Printed are the shares of the studies with 95 % intervals
(Wilson), the mean change, how much two differences of one study correlate (the test allows for 1 /
5 with five folds: test rows over all rows; it would claim too much if it were more), and in how
many folds the rarest task is defined. An exact null fails if the interval of "any" lies above 5 %.

    python benchmarks/verdicts.py [--studies 200] [--designs related unrelated] [--workers 2]
    python benchmarks/verdicts.py --results FILE ...   (goes on where FILE ends)
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from scipy import stats

from jointrain import Recipe, SupervisedTable
from jointrain.experiments import default_recipes
from jointrain.studies import Study, StudyResult
from jointrain.training import OptimizerSettings

ROWS, INPUTS, TASKS, NOISE = 480, 16, 4, 0.1
NAMES = tuple(f"y{task}" for task in range(TASKS))
GROUPS, HOT = 24, 4
EXACT = ("other partners", "rare under groups", "late under time")
DESIGNS = ("related", "unrelated", *EXACT)
RARE = ("y1", "y2")
NETWORK: dict[str, Any] = {
    "bins": 0,
    "width": 32,
    "depth": 1,
    "dropout": 0.0,
    "batch_size": 128,
    "optimizer": OptimizerSettings(learning_rate=1e-2),
}


class Outcome(NamedTuple):
    """What a study says about its second recipe.

    Args:
        tasks: The verdict on each task.
        overall: The verdict on Delta-m.
        change: Delta-m in percent.
        differences: Mean relative change over tasks of each fold and seed in which it is defined.
        defined: Share of the folds in which the rarest task is defined.
    """

    tasks: tuple[str, ...]
    overall: str
    change: float
    differences: tuple[float, ...]
    defined: float = 1.0

    def says(self, verdict: str) -> bool:
        return verdict in (*self.tasks, self.overall)

    def differs(self) -> bool:
        return self.says("better") or self.says("worse")


def make_truth(related: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [n, d] and what the tasks are without noise [n, t], of standard deviation 1."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(ROWS, INPUTS))
    if related:
        direction = random.normal(size=INPUTS)
        shared = inputs @ direction / np.linalg.norm(direction)
        along = np.repeat(shared[:, None], TASKS, axis=1)
    else:
        directions = random.normal(size=(TASKS, INPUTS // TASKS))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        along = np.einsum("nti,ti->nt", inputs.reshape(ROWS, TASKS, -1), directions)
    signs, offsets = random.choice([-1.0, 1.0], TASKS), random.uniform(-0.5, 0.5, TASKS)
    truth = signs * np.tanh(1.5 * (along - offsets))
    return inputs, truth / truth.std(0)


def make_table(related: bool, seed: int) -> SupervisedTable:
    """Return a table in which each row has the label of one task."""
    inputs, truth = make_truth(related, seed)
    labels = truth + NOISE * np.random.default_rng([seed, 1]).normal(size=truth.shape)
    labels[np.arange(ROWS)[:, None] % TASKS != np.arange(TASKS)] = np.nan
    columns = {f"x{i}": inputs[:, i] for i in range(INPUTS)}
    columns |= dict(zip(NAMES, labels.T, strict=True))
    return SupervisedTable.prepare(pl.DataFrame(columns).fill_nan(None), list(NAMES))


def make_rare_table(design: str, seed: int) -> SupervisedTable:
    """Return a table in which y1 and y2 are rare classes, in a few groups or late in time."""
    inputs, truth = make_truth(False, seed)
    random = np.random.default_rng([seed, 2])
    labels = truth + NOISE * random.normal(size=truth.shape)
    order = random.permutation(ROWS) * GROUPS // ROWS  # group, or moment, of each row
    columns: dict[str, Any] = {f"x{i}": inputs[:, i] for i in range(INPUTS)}
    for index, name in enumerate(NAMES):
        if name not in RARE:
            columns[name] = labels[:, index]
        elif design == "rare under groups":
            hot = np.isin(order, random.choice(GROUPS, HOT, replace=False))
            columns[name] = np.where(hot & (labels[:, index] > 0), "yes", "no")
        else:
            late = order >= 0.4 * GROUPS
            columns[name] = np.where(late & (labels[:, index] > 1), "yes", "no")
    by = "group" if design == "rare under groups" else "time"
    columns[by] = order
    return SupervisedTable.prepare(pl.DataFrame(columns), list(NAMES), **{f"{by}_column": by})


def make_study(design: str, seed: int, **settings: Any) -> Study:
    """Return the study of a design; settings are the network's."""
    network = NETWORK | settings
    recipes = default_recipes(Recipe(**network))[:2]
    if design in EXACT:
        # the study calls one of two equals its reference
        recipes = [
            Recipe(name="separate", partition=(("y0", "y1"), ("y2", "y3")), **network),
            Recipe(name="joint", partition=(("y0", "y2"), ("y1", "y3")), **network),
        ]
    if design in ("rare under groups", "late under time"):
        table = make_rare_table(design, seed)
    else:
        table = make_table(design == "related", seed)
    return Study(table, recipes, (), folds=5, seeds=3, seed=seed)


def outcome(result: StudyResult) -> Outcome:
    """Return what is counted of a study."""
    overall = result.delta_m["joint"]
    changes = []
    for task in result.study.table.tasks:
        separate, joint = (
            result.values(recipe, task.name, task.primary_metric.name)
            for recipe in ("separate", "joint")
        )
        sign = 1 if task.primary_metric.higher_is_better else -1
        if np.isfinite(separate).any():
            changes.append(100 * sign * (joint - separate) / abs(np.nanmean(separate)))
    found = np.array(changes)
    return Outcome(
        tuple(comparison.verdict for comparison in result.comparisons["joint"].values()),
        overall.verdict,
        overall.change,
        tuple(np.nanmean(found[:, np.isfinite(found).any(0)], axis=0).tolist()),
        float(np.isfinite(found).mean(1).min()),
    )


def share_text(count: int, of: int) -> str:
    """Return a share in percent with its 95 % interval (Wilson)."""
    low, high = stats.binomtest(count, of).proportion_ci(method="wilson")
    return f"{100 * count / of:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def correlation_within(differences: np.ndarray) -> float:
    """Return the correlation of two differences of the same study.

    Args:
        differences: [s, J], one row for each study.

    Source: the one-way intraclass correlation ICC(1), Shrout & Fleiss, "Intraclass Correlations:
        Uses in Assessing Rater Reliability", Psychological Bulletin 86, 1979.
    """
    count = differences.shape[1]
    between = count * differences.mean(1).var(ddof=1)
    within = differences.var(axis=1, ddof=1).mean()
    return float((between - within) / (between + (count - 1) * within))


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a row of the table."""
    of = len(outcomes)
    changes = np.array([outcome.change for outcome in outcomes])
    changes = changes[np.isfinite(changes)]
    whole = max(len(outcome.differences) for outcome in outcomes)
    differences = [one.differences for one in outcomes if len(one.differences) == whole]
    return [
        share_text(
            sum(outcome.says("better") or outcome.says("worse") for outcome in outcomes), of
        ),
        share_text(sum(outcome.says("better") for outcome in outcomes), of),
        share_text(sum("better" in outcome.tasks for outcome in outcomes), of),
        share_text(sum(outcome.overall == "better" for outcome in outcomes), of),
        share_text(sum(outcome.says("worse") for outcome in outcomes), of),
        f"{changes.mean():+.2f} ± {1.96 * changes.std(ddof=1) / math.sqrt(len(changes)):.2f}",
        f"{correlation_within(np.array(differences)):.2f}",
        f"{100 * np.mean([outcome.defined for outcome in outcomes]):.0f} %",
    ]


def fails(design: str, outcomes: Sequence[Outcome]) -> bool:
    """Return whether an exact null has false verdicts in surely more than 5 % of the studies."""
    count = sum(map(Outcome.differs, outcomes))
    low = stats.binomtest(count, len(outcomes)).proportion_ci(method="wilson").low
    return design in EXACT and bool(low > 0.05)


def run(design: str, seed: int, **settings: Any) -> Outcome:
    return outcome(make_study(design, seed, **settings).run(workers=1))


def read_results(place: Path | None, design: str) -> dict[int, Outcome]:
    """Return the outcomes of a design that a file of results holds, by seed."""
    if place is None or not place.exists():
        return {}
    found = {}
    for line in place.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        if fields.pop("design") == design:
            seed = fields.pop("seed")
            found[seed] = Outcome(
                tuple(fields["tasks"]), fields["overall"], fields["change"],
                tuple(fields["differences"]), fields["defined"],
            )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200, help="studies of each design")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=DESIGNS)
    parser.add_argument("--workers", type=int, default=2, help="studies that run side by side")
    parser.add_argument("--results", type=Path, help="file that keeps outcomes, a line for each")
    parser.add_argument("--epochs", type=int, help="passes over the rows at most; default by rows")
    arguments = parser.parse_args()
    settings = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    print("shares of studies in %, changes in %")
    print(
        "| design | studies | any | better | a task | Delta-m | worse | mean change | correlation "
        "| rarest defined in | seconds |"
    )
    print("| --- |" + " --- |" * 10, flush=True)
    failed = []
    for design in arguments.designs:
        start = time.perf_counter()
        known = read_results(arguments.results, design)
        missing = [seed for seed in range(arguments.studies) if seed not in known]
        found = Parallel(n_jobs=arguments.workers, return_as="generator")(
            delayed(run)(design, seed, **settings) for seed in missing
        )
        for seed, one in zip(missing, found, strict=True):
            known[seed] = one
            if arguments.results is not None:
                line = json.dumps({"design": design, "seed": seed, **one._asdict()})
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
        outcomes = [known[seed] for seed in range(arguments.studies)]
        cells = [design, str(len(outcomes)), *summary(outcomes)]
        print("| " + " | ".join([*cells, f"{time.perf_counter() - start:.0f}"]) + " |", flush=True)
        if fails(design, outcomes):
            failed.append(design)
    if failed:
        raise SystemExit(f"false verdicts in surely more than 5 % of studies: {', '.join(failed)}")


if __name__ == "__main__":
    main()
