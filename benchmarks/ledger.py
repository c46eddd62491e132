"""The ledger: every balancer against tuned static weights, on nine small problems.

A run is one method on one problem with one seed: a network, a fixed number of epochs of AdamW, the
weights of the epoch with the least validation loss, and each task's first metric on test rows. All
methods of a seed see the same rows and start from the same weights. A balancer has the
hyper-parameters of its class. Each task is also trained alone.

Tuned static weights are what a sceptic would use: as many trainings as the seconds of the dearest
balancer on the problem pay for, of which the best on validation rows is kept. The first are equal
weights and the inverse of the losses at the start; all others lie about one of these two, up to ten
times larger or smaller for each task.

A method is judged on a problem by its mean relative change over tasks (Delta-m) against tuned
static weights, paired by seed, as `jointrain verdict` does, with intervals that hold for all
methods at once; and over all problems by a paired test over these, each problem being one value.

    python benchmarks/ledger.py --study FOLDER --workers 2 --page docs/ledger.md

Runs are kept in FOLDER, and a second call makes what is missing: further `--problems` or `--seeds`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from joblib import Parallel, delayed
from ledger_problems import PROBLEMS, Cut, Problem

from jointrain import InvalidInputError, OptimizerSettings, Recipe, Separate, Trainer
from jointrain.balancing import BALANCERS, ByDifficulty, Needs
from jointrain.studies import Comparison, RunVerdicts, verdict

TUNED, ALONE = "tuned static", "each alone"
METHODS = (ALONE, *(name for name in BALANCERS if name != "static"))
BEGIN, END = "<!-- measured -->", "<!-- end -->"


class Run(NamedTuple):
    """What a run gave.

    Args:
        test, validation: Each task's first metric; None: training ended in a number that is none.
        seconds: Of the processor, for training.
    """

    problem: str
    method: str
    seed: int
    test: dict[str, float | None]
    validation: dict[str, float | None]
    seconds: float


# --- one run ----------------------------------------------------------------------------------


def train(problem: Problem, data: Cut, seed: int, **options: Any) -> list[Trainer]:
    """Train by a recipe as a study does, one run after the other.

    Args:
        problem: Its network and tasks.
        data: The rows of the seed.
        seed: Of first weights and batches.
        **options: What the recipe has that others have not.
    """
    recipe = Recipe(
        epochs=problem.epochs,
        patience=problem.epochs,
        batch_size=problem.batch,
        optimizer=OptimizerSettings(learning_rate=problem.rate),
        **options,
    )
    experiment = problem.experiment(data)
    runs = experiment.runs(experiment.folds_of(seed)[0], recipe)
    for one in runs:
        one.fit()
    return [one.trainer for one in runs]


def losses(trainer: Trainer, data: Any) -> dict[str, float]:
    """Return each task's loss on rows that all have labels."""
    with torch.no_grad():
        outputs = trainer.network.eval()(data.inputs)
        return {
            task.name: float(
                trainer.network.loss(task, outputs[task.name], data.targets[task.name])
            )
            for task in trainer.tasks.values()
        }


def static_weights(problem: Problem, data: Cut, index: int, seed: int) -> dict[str, float]:
    """Return a candidate: 0 is equal weights, 1 the inverse of the losses at the start."""
    weights = torch.ones(len(problem.tasks))
    if index % 2:
        torch.manual_seed(seed)
        untrained = Trainer(problem.network(problem.tasks), problem.tasks, device="cpu")
        weights /= torch.tensor(list(losses(untrained, data.validation).values()))
    if index > 1:
        generator = torch.Generator().manual_seed(1000 * seed + index)
        weights *= 10 ** (2 * torch.rand(len(weights), generator=generator) - 1)
    weights /= weights.mean()
    return dict(zip((task.name for task in problem.tasks), weights.tolist(), strict=True))


def train_by(problem: Problem, data: Cut, method: str, seed: int) -> list[Trainer]:
    """Return the trainers of a method: ``each alone``, a balancer, or ``static INDEX``."""
    if method == ALONE:
        return train(problem, data, seed, schedule=Separate())
    if method.startswith("static "):
        weights = static_weights(problem, data, int(method.split()[1]), seed)
        return train(problem, data, seed, weights=weights)
    if method == "size":
        return train(problem, data, seed, weights="size")
    if method == "difficulty":
        alone = train(problem, data, seed, schedule=Separate())
        left = {name: y for one in alone for name, y in losses(one, data.validation).items()}
        return train(problem, data, seed, balancer=ByDifficulty(left))
    if BALANCERS[method].needs is Needs.HEADS:  # it guides each head by itself
        problem = replace(problem, groups=False)
    return train(problem, data, seed, balancer=method)


def run(problem: Problem, method: str, seed: int) -> Run:
    """Train by a method and score it."""
    torch.set_num_threads(1)
    data, tasks = problem.data(seed), problem.tasks
    start = time.process_time()
    try:
        trainers = train_by(problem, data, method, seed)
    except InvalidInputError as error:
        if "finite" not in str(error):
            raise
        trainers = []
    seconds = time.process_time() - start
    scores = []
    for rows in (data.test, data.validation):
        found = {name: y for trainer in trainers for name, y in trainer.evaluate(rows).items()}
        first = {t.name: found.get(t.name, {}).get(t.primary_metric.name) for t in tasks}
        scores.append(
            {k: y if y is not None and math.isfinite(y) else None for k, y in first.items()}
        )
    return Run(problem.name, method, seed, *scores, seconds)


# --- what is kept -----------------------------------------------------------------------------


class Store:
    """The runs of a folder, a line for each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "runs.jsonl"
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # not the last line of a call that was killed
        if whole != text:
            self.file.write_text(whole, encoding="utf-8")
        made = [Run(**json.loads(line)) for line in whole.splitlines()]
        self.runs = {(one.problem, one.method, one.seed): one for one in made}

    def add(self, one: Run) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(one._asdict()) + "\n")
        self.runs[one.problem, one.method, one.seed] = one

    def of(self, problem: Problem, seeds: int) -> list[Run]:
        """Return the runs of a problem with the first seeds."""
        return [
            one
            for (name, _, seed), one in self.runs.items()
            if name == problem.name and seed < seeds
        ]

    def make(self, problem: Problem, methods: Iterable[str], seeds: int, workers: int) -> None:
        """Make and keep the runs that are missing."""
        jobs = [
            (m, s) for s in range(seeds) for m in methods if (problem.name, m, s) not in self.runs
        ]
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
        for one in parallel(delayed(run)(problem, method, seed) for method, seed in jobs):
            self.add(one)


# --- what they show ---------------------------------------------------------------------------


def median_seconds(runs: Sequence[Run]) -> dict[str, float]:
    """Return the median seconds of each method, which a slow first run does not move."""
    names = dict.fromkeys(one.method for one in runs)
    return {m: statistics.median(one.seconds for one in runs if one.method == m) for m in names}


def tuning_runs(runs: Sequence[Run]) -> int:
    """Return how many trainings with static weights the dearest balancer's seconds pay for."""
    seconds = {m: s for m, s in median_seconds(runs).items() if not m.startswith("static ")}
    return max(1, math.floor(max(s for m, s in seconds.items() if m != ALONE) / seconds["equal"]))


def gain(problem: Problem, ours: dict[str, float | None], theirs: dict[str, float | None]) -> float:
    """Return the mean relative change over tasks of one run against another, in percent."""
    changes = []
    for task in problem.tasks:
        value, reference = ours[task.name], theirs[task.name]
        if value is None or reference is None:
            return -math.inf
        sign = 1 if task.primary_metric.higher_is_better else -1
        changes.append(100 * sign * (value - reference) / abs(reference))
    return statistics.mean(changes)


def with_tuned(problem: Problem, runs: Sequence[Run]) -> list[Run]:
    """Return the runs of all methods, of static weights each seed's best on validation rows."""
    count = tuning_runs(runs)
    kept = [one for one in runs if not one.method.startswith("static ")]
    tried = ["equal", *(f"static {index}" for index in range(1, count))]
    for seed in sorted({one.seed for one in runs}):
        found = {one.method: one for one in runs if one.seed == seed}
        candidates = [found[name] for name in tried]
        best = max(candidates, key=lambda c: gain(problem, c.validation, candidates[0].validation))
        seconds = sum(one.seconds for one in candidates)
        kept.append(best._replace(method=TUNED, seconds=seconds))
    return kept


def judge(problem: Problem, runs: Sequence[Run]) -> RunVerdicts:
    """Judge all methods of a problem against tuned static weights."""
    rows = [
        {"recipe": one.method, "task": task.name, "metric": task.primary_metric.name,
         "seed": one.seed, "value": one.test[task.name]}
        for one in runs for task in problem.tasks
    ]  # fmt: skip
    return verdict(pl.DataFrame(rows, schema_overrides={"value": pl.Float64}), baseline=TUNED)


def judge_over_problems(changes: dict[str, dict[str, float]]) -> RunVerdicts | None:
    """Judge methods by their changes in percent on several problems, each of which is one value.

    Args:
        changes: By method and problem.
    """
    rows = [
        {"recipe": method, "task": "mean", "metric": "score", "seed": problem,
         "value": 100 + change if math.isfinite(change) else None}
        for method, by_problem in changes.items() for problem, change in by_problem.items()
    ]  # fmt: skip
    rows += [{"recipe": TUNED, "task": "mean", "metric": "score", "seed": name, "value": 100.0}
             for name in next(iter(changes.values()))]  # fmt: skip
    return verdict(pl.DataFrame(rows), baseline=TUNED, higher="score")


MARKS = {"better": " **+**", "worse": " **-**", "equivalent": " =", "undecided": ""}


def cell(found: Comparison) -> str:
    return (
        f"{found.change:+.1f}{MARKS[found.verdict]}" if math.isfinite(found.change) else "diverged"
    )


def report(problems: Sequence[Problem], runs: dict[str, list[Run]]) -> str:
    """Return the ledger of some problems in Markdown.

    Args:
        problems: In the order of the columns.
        runs: Of each problem, with tuned static weights among them.
    """
    judged = {one.name: judge(one, runs[one.name]) for one in problems}
    costs = {one.name: median_seconds(runs[one.name]) for one in problems}
    methods = [name for name in METHODS if all(name in found.delta_m for found in judged.values())]
    changes = {m: {p: found.delta_m[m].change for p, found in judged.items()} for m in methods}
    overall = judge_over_problems(changes).delta_m if len(problems) > 2 else {}
    means = {m: float(np.mean(list(by.values()))) for m, by in changes.items()}
    cost = {m: statistics.geometric_mean(by[m] / by["equal"] for by in costs.values())
            for m in (*methods, TUNED)}  # fmt: skip
    lines = [
        f"| method | mean | over problems | better / worse | cost | {' | '.join(judged)} |",
        "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(judged),
    ]
    for name in sorted(methods, key=lambda m: -means[m] if math.isfinite(means[m]) else math.inf):
        verdicts = [found.delta_m[name].verdict for found in judged.values()]
        interval = overall.get(name)
        sure = "" if interval is None or not math.isfinite(interval.low) else (
            f"[{interval.low:+.1f}, {interval.high:+.1f}]{MARKS[interval.verdict]}")  # fmt: skip
        cells = [
            name, f"{means[name]:+.1f}" if math.isfinite(means[name]) else "-", sure,
            f"{verdicts.count('better')} / {verdicts.count('worse')}", f"{cost[name]:.1f}",
            *(cell(found.delta_m[name]) for found in judged.values()),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *notes(problems, runs, judged, cost[TUNED], len(methods))]
    return "\n".join(lines)


def notes(
    problems: Sequence[Problem],
    runs: dict[str, list[Run]],
    judged: dict[str, RunVerdicts],
    cost: float,
    methods: int,
) -> list[str]:
    """Return the family, and what could be seen on each problem, as lists and a table."""
    seconds = sum(one.seconds for of in runs.values() for one in of)
    lines = [
        f"{methods} methods on {len(problems)} problems, {seconds / 60:.0f} minutes of one core. "
        f"Tuned static weights cost {cost:.1f} times as much as equal ones. Of the level of 5 % on "
        f"a problem, half is shared out among the Delta-m of all {methods} methods.",
        "",
        "| problem | what it asks | tasks | seeds | tuning runs | smallest visible difference |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for problem in problems:
        found = judged[problem.name]
        visible = [one.smallest_visible for one in found.delta_m.values()]
        low, middle, high = np.nanquantile(visible, [0.1, 0.5, 0.9])
        tuned = tuning_runs([one for one in runs[problem.name] if one.method != TUNED])
        lines.append(
            f"| {problem.name} | {problem.asks} | {len(problem.tasks)} | {found.seeds} | {tuned} | "
            f"{middle:.1f} % ({low:.1f} to {high:.1f}) |"
        )
    return lines


def write_page(page: Path, measured: str) -> None:
    """Put the ledger into its place in a page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True, help="folder that keeps the runs")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--workers", type=int, default=2, help="runs that go on side by side")
    parser.add_argument("--page", type=Path, help="page to write the ledger into")
    options = parser.parse_args(arguments)
    store, runs = Store(options.study), {}
    problems = [PROBLEMS[name] for name in options.problems]
    methods = list(dict.fromkeys(["equal", *options.methods]))
    for problem in problems:
        store.make(problem, methods, options.seeds, options.workers)
        made = [one for one in store.of(problem, options.seeds) if one.method in methods]
        tried = [f"static {index}" for index in range(1, tuning_runs(made))]
        store.make(problem, tried, options.seeds, options.workers)
        chosen = {*methods, *tried}
        made = [one for one in store.of(problem, options.seeds) if one.method in chosen]
        runs[problem.name] = with_tuned(problem, made)
        print(
            f"{problem.name}: {len(made)} runs, {sum(one.seconds for one in made):.0f} s",
            flush=True,
        )
    measured = report(problems, runs)
    print(measured)
    if options.page:
        write_page(options.page, measured)
    return measured


if __name__ == "__main__":
    main()
