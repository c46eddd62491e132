"""What a saved model promises, and how far that held: of the runs of `arena.py` with promises.

    python benchmarks/arena_promises.py FOLDER [--seen DATA] [--folds 0] [--tables ...]

FOLDER is that of `arena.py`, with its kept predictions. Three promises of ``jointrain compare``:

- its probabilities: the expected calibration error (15 bins of equal width of the highest
  probability, Guo et al., ICML 2017), of all test rows together, and of each target beside what
  perfect probabilities have by chance on as many rows;
- its intervals: the share of test values that they hold, beside the promised one. A target is off
  where the count lies outside the central 95 % of the binomial distribution. Ends of intervals come
  from a finite number of errors, so more than 5 % are off by chance: how many is printed, too;
- that the blend is worth it: its error over that of the one recipe or baseline that the inner
  folds find best, fitted to all training rows. The interval comes from 2,000 paired resamples of
  test rows, whole groups where the table has groups. It knows nothing of other training rows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arena import FOLDS, Run, Store
from arena_kept import Kept
from arena_methods import COVERAGE
from arena_scores import LEAST_PROBABILITY, ranks
from arena_tables import NUMBERS, ArenaTable, load

METHOD = "jointrain compare"
BINS = 15
ROUNDS = 2000


# --- probabilities --------------------------------------------------------------------------------


def top_labels(
    probabilities: np.ndarray, classes: Sequence[Any], truth: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest probability of each row with a label, and whether its class was right."""
    known = [row for row, label in enumerate(truth) if label is not None]
    chosen = probabilities[known].argmax(1)
    right = [classes[c] == truth[row] for c, row in zip(chosen, known, strict=True)]
    return probabilities[known, chosen], np.array(right, dtype=bool)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error: bins of equal width, (low, high].

    Args:
        confidence: The highest probability of each row.
        right: Whether its class was right, [n] or of several draws [draws, n].
        bins: How many.
    """
    return float(_calibration_errors(confidence, right[None], bins)[0])


def _calibration_errors(confidence: np.ndarray, right: np.ndarray, bins: int) -> np.ndarray:
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    one_hot = np.eye(bins)[place]
    return np.asarray(np.abs((right - confidence) @ one_hot).sum(1) / len(confidence))


def by_chance(
    confidence: np.ndarray, rounds: int = ROUNDS, seed: int = 0, bins: int = BINS
) -> tuple[float, float]:
    """Return the mean and the 95 % quantile of the error of perfect probabilities on these rows.

    Source: Broecker & Smith, "Increasing the Reliability of Reliability Diagrams", Weather and
        Forecasting 22, 2007 (consistency resampling), without resampling the probabilities.
    """
    random = np.random.default_rng(seed)
    found = np.concatenate(
        [
            _calibration_errors(confidence, random.random((50, len(confidence))) < confidence, bins)
            for _ in range(math.ceil(rounds / 50))
        ]
    )
    return float(found.mean()), float(np.quantile(found, 0.95))


# --- intervals ------------------------------------------------------------------------------------


def is_off(inside: int, rows: int, coverage: float, level: float = 0.05) -> bool:
    """Return whether a count lies outside the central part of its binomial distribution."""
    low, high = _central(rows, coverage, level)
    return not low <= inside <= high


def _central(rows: int, coverage: float, level: float) -> tuple[int, int]:
    from scipy.stats import binom

    low, high = binom.ppf([level / 2, 1 - level / 2], rows, coverage)
    return int(low), int(high)


def off_by_chance(
    rows: int, coverage: float, held_out: int | None = None, level: float = 0.05
) -> float:
    """Return how probable it is that `is_off` says so though the promise holds.

    Args:
        rows: Test rows.
        coverage: Promised.
        held_out: How many errors the ends of the interval come from: its coverage is then itself
            random, beta-distributed (Vovk, "Conditional validity of inductive conformal
            predictors", Machine Learning 92, 2013). Default: it is `coverage`.
        level: As of `is_off`.
    """
    from scipy.stats import betabinom, binom

    low, high = _central(rows, coverage, level)
    if held_out is None:
        given = binom(rows, coverage)
    else:
        rank = math.floor((held_out + 1) * (1 - coverage) / 2 + 1e-9)
        if rank < 1:  # infinite: all are inside
            return float(high < rows)
        given = betabinom(rows, held_out + 1 - 2 * rank, 2 * rank)
    return float(given.cdf(low - 1) + given.sf(high))


# --- the blend ------------------------------------------------------------------------------------


def row_losses(
    given: Any, kind: str, train: Sequence[Any], truth: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each row of a prediction and of a constant; NaN where no label is known.

    Squared errors, or log-losses as `arena_scores.relative_log_loss` has them: a target's error in
    the arena is the (root of the) mean of the first over that of the second.
    """
    known = np.array([label is not None for label in truth])
    seen = [label for label in train if label is not None]
    losses = np.full((2, len(truth)), np.nan)
    if kind in NUMBERS:
        values = np.array([label for label in truth if label is not None], dtype=np.float64)
        losses[0, known] = (np.asarray(given, np.float64)[known] - values) ** 2
        losses[1, known] = (float(np.mean(seen)) - values) ** 2
        return losses[0], losses[1]
    labels = [label for label in truth if label is not None]
    classes = list(dict.fromkeys([*seen, *labels]))
    counts = np.array([sum(label == one for label in seen) + 1.0 for one in classes])
    shares = np.tile(counts / counts.sum(), (len(labels), 1))
    both = (np.asarray(given[0])[known], list(given[1])), (shares, classes)
    for index, (probabilities, of) in enumerate(both):
        place = {label: column for column, label in enumerate(of)}
        found = [
            probabilities[row, place[label]] if label in place else 0.0
            for row, label in enumerate(labels)
        ]
        losses[index, known] = -np.log(np.clip(found, LEAST_PROBABILITY, 1))
    return losses[0], losses[1]


@dataclass(frozen=True)
class Ratio:
    """An error over another one, with the ends of an interval of 95 %."""

    value: float
    low: float
    high: float


def ratio_of_scores(
    losses: Sequence[tuple[bool, np.ndarray, np.ndarray, np.ndarray]],
    groups: np.ndarray | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Ratio:
    """Return a table's score over another one's, with an interval from paired resamples of rows.

    Args:
        losses: By target: whether it is a number, and the losses of the rows by one, by the other,
            and by the constant; NaN where there is no label.
        groups: Of the rows: whole groups are drawn.
        rounds: Resamples.
        seed: Of these.
    """
    rows = len(losses[0][1])
    units = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(units.max()) + 1
    random = np.random.default_rng(seed)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=rounds)
    weights = np.concatenate([np.ones((1, count)), drawn])
    scores: list[list[np.ndarray]] = [[], []]
    for number, *of_rows in losses:
        sums = [
            weights @ np.bincount(units, np.nan_to_num(one), minlength=count) for one in of_rows
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            for place in (0, 1):
                found = np.where(sums[2] > 0, sums[place] / sums[2], np.nan)
                scores[place].append(np.sqrt(found) if number else found)
    means = [np.nanmean(one, axis=0) for one in scores]
    ratios = means[0] / means[1]
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    return Ratio(float(ratios[0]), float(low), float(high))


# --- the report -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassTarget:
    """How a target's probabilities did."""

    table: str
    target: str
    confidence: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Interval:
    """How a target's intervals did: values inside, all, and errors that its ends come from."""

    table: str
    target: str
    inside: int
    rows: int
    held_out: int


@dataclass(frozen=True)
class Kepts:
    """What the kept predictions of one fold of a table show."""

    classes: list[ClassTarget]
    intervals: list[Interval]
    ratio: Ratio | None
    over_component: Ratio | None = None


def judge(table: ArenaTable, fold: int, kept: Kept) -> Kepts:
    """Return how the promises held on the test rows of a fold."""
    train, test = table.folds(FOLDS)[fold]
    classes, intervals = [], []
    losses: dict[str, list[tuple[bool, np.ndarray, np.ndarray, np.ndarray]]] = {}
    others = {"alone": kept.chosen_predictions, "component": kept.component_predictions}
    for name, kind in table.kinds.items():
        labels = table.targets[name].to_list()
        seen, truth = [labels[i] for i in train], [labels[i] for i in test]
        known = [row for row, label in enumerate(truth) if label is not None]
        if not known:
            continue
        own = kept.predictions[name]
        if kind not in NUMBERS:
            found = top_labels(own[0], own[1], truth)
            classes.append(ClassTarget(table.name, name, *found))
        if name in kept.intervals:
            low, high = kept.intervals[name][known].T
            values = np.array([truth[row] for row in known])
            inside = int(((values >= low) & (values <= high)).sum())
            held_out = kept.held_out[name]
            intervals.append(Interval(table.name, name, inside, len(known), held_out))
        first, constant = row_losses(own, kind, seen, truth)
        for which, predictions in others.items():
            if predictions:
                second, _ = row_losses(predictions[name], kind, seen, truth)
                losses.setdefault(which, []).append((kind in NUMBERS, first, second, constant))
    groups = None if table.groups is None else table.groups[test]
    ratios = {which: ratio_of_scores(of, groups) for which, of in losses.items()}
    return Kepts(classes, intervals, ratios.get("alone"), ratios.get("component"))


def of_probabilities(found: Sequence[ClassTarget]) -> list[str]:
    """Return lines on calibration errors."""
    if not found:
        return ["No targets of classes."]
    confidence = np.concatenate([one.confidence for one in found])
    right = np.concatenate([one.right for one in found])
    each = [calibration_error(one.confidence, one.right) for one in found]
    chance = [by_chance(one.confidence) for one in found]
    lines = [
        f"Pooled over {len(found)} targets of {len({one.table for one in found})} tables "
        f"({len(right)} labels): {calibration_error(confidence, right):.4f}; perfect probabilities "
        f"have {by_chance(confidence)[0]:.4f} by chance. Mean over targets: {np.mean(each):.4f}; "
        f"perfect ones {np.mean([mean for mean, _ in chance]):.4f}.",
        "",
        "| table | target | labels | error | perfect: mean | perfect: 95 % | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    off = 0
    for one, error, (mean, most) in zip(found, each, chance, strict=True):
        off += error > most
        lines.append(
            f"| {one.table} | {one.target} | {len(one.right)} | {error:.3f} | {mean:.3f} | "
            f"{most:.3f} | {'off' if error > most else ''} |"
        )
    expected = 0.05 * len(found)
    lines += ["", f"Off: {off} of {len(found)} targets; {expected:.1f} by chance."]
    return lines


def of_intervals(found: Sequence[Interval], coverage: float = COVERAGE) -> list[str]:
    """Return lines on the coverage of intervals."""
    if not found:
        return ["No intervals."]
    inside, rows = sum(one.inside for one in found), sum(one.rows for one in found)
    by_table: dict[str, list[Interval]] = {}
    for one in found:
        by_table.setdefault(one.table, []).append(one)
    shares = [sum(o.inside for o in of) / sum(o.rows for o in of) for of in by_table.values()]
    lines = [
        f"Promised {coverage:.0%}. Pooled over {len(found)} targets of {len(by_table)} tables "
        f"({rows} values): {inside / rows:.1%}. Mean of the tables' shares: {np.mean(shares):.1%}.",
        "",
        "| table | targets | values | inside | targets off | table off |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    off = tables_off = 0
    for (name, of), share in zip(by_table.items(), shares, strict=True):
        here = [one.target for one in of if is_off(one.inside, one.rows, coverage)]
        # of a table's targets, the intervals of all hold at once
        worst = any(is_off(one.inside, one.rows, coverage, 0.05 / len(of)) for one in of)
        off, tables_off = off + len(here), tables_off + worst
        lines.append(
            f"| {name} | {len(of)} | {sum(o.rows for o in of)} | {share:.1%} | "
            f"{', '.join(here)} | {'off' if worst else ''} |"
        )
    plain = sum(off_by_chance(one.rows, coverage) for one in found)
    finite = sum(off_by_chance(one.rows, coverage, one.held_out) for one in found)
    lines += [
        "",
        f"Off: {off} of {len(found)} targets; by chance {plain:.1f} if their coverage were exact, "
        f"{finite:.1f} with ends from as many errors as they have. Tables with a target that is "
        f"off at 5 % over the number of its targets: {tables_off} of {len(by_table)}.",
    ]
    return lines


def of_choices(found: Mapping[str, tuple[str, Ratio, Ratio | None]]) -> list[str]:
    """Return lines on the blend's error over that of the inner folds' choice."""
    if not found:
        return ["None."]
    lines = [
        "| table | inner folds' choice | error over its, fitted alone (95 %) | over its, as a "
        "component | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (chosen, ratio, inside) in found.items():
        worse = "worse by over 1 %" if ratio.value > 1.01 else ""
        of_component = "" if inside is None else f"{inside.value:.3f}"
        lines.append(
            f"| {name} | {chosen} | {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) | "
            f"{of_component} | {worse} |"
        )
    components = [inside for _, _, inside in found.values() if inside is not None]
    lines += ["", "Fitted alone: " + _counts([ratio for _, ratio, _ in found.values()])]
    if components:
        lines += ["", "As a component: " + _counts(components)]
    return lines


def _counts(ratios: Sequence[Ratio]) -> str:
    values = np.array([ratio.value for ratio in ratios])
    return (
        f"geometric mean {np.exp(np.log(values).mean()):.3f}. Worse by over 1 % on "
        f"{int((values > 1.01).sum())} of {len(values)}, better by over 1 % on "
        f"{int((values < 0.99).sum())}. Intervals wholly above 1: "
        f"{sum(r.low > 1 for r in ratios)}; above 1.01: {sum(r.low > 1.01 for r in ratios)}; above "
        f"1.05: {sum(r.low > 1.05 for r in ratios)}; wholly below 1: "
        f"{sum(r.high < 1 for r in ratios)}. Intervals that reach above 1.05: "
        f"{sum(r.high > 1.05 for r in ratios)}."
    )


def of_methods(runs: Mapping[tuple[str, str, int], Run]) -> list[str]:
    """Return mean ranks and ratios over tables and folds that all methods have been run on."""
    methods = list(dict.fromkeys(method for _, method, _ in runs))
    places = [
        place
        for place in dict.fromkeys((table, fold) for table, _, fold in runs)
        if all((place[0], method, place[1]) in runs for method in methods)
    ]
    if METHOD not in methods or not places:
        return ["None."]
    scores = np.array([[runs[t, method, f].score for method in methods] for t, f in places])
    by_place = ranks(scores)
    own = scores[:, methods.index(METHOD)]
    lines = [
        f"{len(places)} tables and folds.",
        "",
        "| method | mean rank | saved model's error over its | no result |",
        "| --- | --- | --- | --- |",
    ]
    for index in np.argsort(by_place.mean(0)):
        both = np.isfinite(scores[:, index]) & np.isfinite(own)
        ratio = np.exp(np.log(own[both] / scores[both, index]).mean())
        missing = int((~np.isfinite(scores[:, index])).sum())
        lines.append(
            f"| {methods[index]} | {by_place[:, index].mean():.2f} | {ratio:.3f} | {missing} |"
        )
    lines += ["", "| table | fold | " + " | ".join(methods) + " |", "| --- " * (len(methods) + 2)]
    lines[-1] += "|"
    for (table, fold), row in zip(places, scores, strict=True):
        lines.append(f"| {table} | {fold} | " + " | ".join(f"{one:.3f}" for one in row) + " |")
    return lines


def report(
    runs: Mapping[tuple[str, str, int], Run], tables: Mapping[str, ArenaTable], folder: Path
) -> str:
    """Return what the runs of the tables show, as Markdown."""
    classes, intervals, choices = [], [], {}
    for (name, method, fold), run in runs.items():
        kept = Kept.read(folder, name, method, fold) if run.status == "done" else None
        if method != METHOD or kept is None:
            continue
        found = judge(tables[name], fold, kept)
        classes += found.classes
        intervals += found.intervals
        if found.ratio is not None:
            choices[f"{name}, fold {fold}"] = (kept.chosen, found.ratio, found.over_component)
    parts = {
        "Probabilities: expected calibration error": of_probabilities(classes),
        "Intervals: coverage": of_intervals(intervals),
        "The saved model over the inner folds' choice": of_choices(choices),
        "Beside other methods": of_methods(runs),
    }
    lines = [line for title, text in parts.items() for line in (f"## {title}", "", *text, "")]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seen", type=Path, help="folder of the nine seen tables")
    parser.add_argument("--folds", nargs="*", type=int, default=list(range(FOLDS)))
    parser.add_argument("--tables", nargs="*")
    arguments = parser.parse_args()
    runs = {
        key: run
        for key, run in Store(arguments.folder).runs().items()
        if key[2] in arguments.folds and (not arguments.tables or key[0] in arguments.tables)
    }
    tables = {name: load(name, arguments.seen) for name in {key[0] for key in runs}}
    print(report(runs, tables, arguments.folder / "predictions"))


if __name__ == "__main__":
    main()
