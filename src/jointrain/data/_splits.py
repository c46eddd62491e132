"""Splits: folds for comparing, and a validation part for early stopping.

Rows are stratified over all tasks at once, in the spirit of iterative stratification (Sechidis,
Tsoumakas & Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011,
https://doi.org/10.1007/978-3-642-23808-6_10): the rarest labels are dealt out first, each row to
the part that still wants most of its rarest label. Two things differ from the paper: rows with the
same labels are dealt out together, so that the work grows with the number of label combinations;
and every class is then seen to be in the training part. The package iterative-stratification does
the paper's row-by-row loop on a complete 0/1 matrix, without missing labels, and promises no class
in every training part.

A row that alone holds a class of some target is always trained on: no model can tell a class that
it has not seen. Where that would take more than `MOST_ALONE` of the rows from the test parts, they
are tested like the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from jointrain.errors import InvalidInputError
from jointrain.task import Task, known_labels, labels_of

Split = tuple[np.ndarray, np.ndarray]

MOST_ALONE = 0.2
"""Rows that alone hold a class are kept from the test parts up to this share of all rows."""


def outer_folds(
    labels: np.ndarray,
    tasks: Sequence[Task],
    folds: int,
    seed: int,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> list[Split]:
    """Return the folds that recipes are compared on.

    Without groups and time, each row is in one test part, and classes and missing labels are spread
    evenly; a class with two rows or more is in every training part, and the row of a class that has
    no other one is in all of them and never tested. With `groups`, the rows of a group stay
    together, and of the rows without another one of their class, those that are a group of their
    own are never tested.

    With `time`, rows are cut into ``folds + 1`` blocks of about the same size; each but the first
    is tested once, by what was learned from all earlier ones, and rows of the same time stay
    together. With groups, too, a group that has rows in a block and before it keeps one side only:
    of half of these groups, by chance, the rows in the block are tested and the earlier ones left
    out; of the others the earlier rows are trained on and those in the block left out.

    Args:
        labels: The labels, NaN where one is missing.
        tasks: The tasks.
        folds: How many, at least 2.
        seed: Decides which rows go together; without effect with `time` alone.
        groups: Group of each row.
        time: Time of each row, as numbers.

    Shape:
        labels: [n, w]. groups, time: [n]. returns: (train_rows, test_rows) per fold, int64, sorted.

    Raises:
        InvalidInputError: There are fewer rows, groups or distinct times than the folds need, or
            tasks have no label in the training part of a fold.
    """
    if folds < 2:
        raise InvalidInputError(f"`folds` must be at least 2, got {folds}")
    rows = len(labels)
    if rows < folds:
        raise InvalidInputError(
            f"there are {rows} rows with labels, fewer than the {folds} folds; use fewer folds "
            "or more rows"
        )
    rng = np.random.default_rng([seed, folds])
    if time is not None:
        splits = _forward_folds(np.asarray(time), folds)
        if groups is not None:
            splits = [_apart(np.asarray(groups), *split, rng) for split in splits]
    else:
        parts = np.full(rows, -1)
        if groups is None:
            tested = ~_alone(labels, tasks, folds)
            parts[tested] = _stratify(labels[tested], tasks, np.full(folds, 1 / folds), rng)
        else:
            groups = np.asarray(groups)
            _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
            tested = ~_alone(labels, tasks, folds) | (sizes[members.ravel()] > 1)
            found = _indicators(labels[tested], tasks)
            parts[tested] = _grouped_parts(found, groups[tested], folds, rng)
        splits = [
            (np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)) for fold in range(folds)
        ]
    _check_labelled(labels, tasks, splits)
    return splits


def validation_split(
    labels: np.ndarray,
    tasks: Sequence[Task],
    fraction: float,
    seed: int,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> Split:
    """Return rows to train on, and rows for early stopping.

    Where at all possible each task has labels on both sides; where that is not possible, the
    training part has them. Without `time`, every class stays in the training part.

    Args:
        labels: The labels, NaN where one is missing.
        tasks: The tasks.
        fraction: Share of rows for validation, 0 <= fraction < 1; 0 gives an empty validation part.
        seed: Decides which rows; without effect with `time` alone.
        groups: Group of each row; a group stays on one side.
        time: Time of each row; validation takes the latest ones, rows of the same time together.
            With groups, too, some rows are in neither part, as in `outer_folds`.

    Shape:
        labels: [n, w]. groups, time: [n]. returns: (train_rows, validation_rows), int64, sorted.

    Raises:
        InvalidInputError: `fraction` lies outside its range.
    """
    if not 0 <= fraction < 1:
        raise InvalidInputError(f"`fraction` must be at least 0 and below 1, got {fraction}")
    rows = len(labels)
    everything = np.arange(rows)
    wanted = max(1, round(fraction * rows))
    if fraction == 0 or rows < 2:
        return everything, everything[:0]
    rng = np.random.default_rng([seed, rows])
    if time is not None:
        held_out = _latest(np.asarray(time), known_labels(labels, tasks), wanted)
        if groups is not None:
            return _apart_or_whole(known_labels(labels, tasks), np.asarray(groups), held_out, rng)
    elif groups is not None:
        held_out = _held_out_groups(
            _indicators(labels, tasks), known_labels(labels, tasks), np.asarray(groups), wanted, rng
        )
    else:
        share = min(wanted, rows - 1) / rows
        held_out = _stratify(labels, tasks, np.array([1 - share, share]), rng) == 1
        _exchange(_indicators(labels, tasks), known_labels(labels, tasks), held_out, rng)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def validation_halves(
    labels: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> Split:
    """Return validation rows in two halves, classes and missing labels spread evenly.

    Args:
        labels: The labels, NaN where one is missing.
        tasks: The tasks.
        seed: Decides which rows go together; without effect with `time`.
        groups: Group of each row; a group stays on one side.
        time: Time of each row; the later rows are the second half, unless there are groups.

    Shape:
        labels: [n, w]. groups, time: [n]. returns: two times int64, sorted; the second one is empty
            where rows, groups or times are too few for halves.
    """
    apart = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if len(np.unique(apart)) < 2:
        return np.arange(len(labels)), np.arange(0)
    rng = np.random.default_rng([seed, len(labels)])
    if groups is not None:
        second = _grouped_parts(_indicators(labels, tasks), apart, 2, rng) == 1
    elif time is not None:
        second = _latest(np.asarray(time), known_labels(labels, tasks), len(labels) // 2)
    else:
        second = _stratify(labels, tasks, np.full(2, 0.5), rng) == 1
    return np.flatnonzero(~second), np.flatnonzero(second)


def _indicators(labels: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Return what is to be spread evenly, [n, l] of bool: classes, and labels that some rows lack.

    Every indicator holds in one row at least.
    """
    columns = [np.zeros((len(labels), 0), dtype=bool)]
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        columns.append(task.in_table.spread_evenly(own))
    indicators = np.concatenate(columns, axis=1)
    return indicators[:, indicators.any(0)]


def _alone(labels: np.ndarray, tasks: Sequence[Task], folds: int) -> np.ndarray:
    """Return which rows alone hold a class of a task, [n] of bool; none if they are too many."""
    rows = len(labels)
    alone = np.zeros(rows, dtype=bool)
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        if task.has_classes:
            known = np.flatnonzero(~np.isnan(own))
            classes = own[known].astype(np.int64)
            alone[known[np.bincount(classes)[classes] == 1]] = True
    if alone.sum() > MOST_ALONE * rows or rows - alone.sum() < folds:
        alone[:] = False
    return alone


def _stratify(
    labels: np.ndarray, tasks: Sequence[Task], shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the part of each row, [n]; part k gets about the share `shares[k]` of each label."""
    indicators = _indicators(labels, tasks)
    rows = len(labels)
    parts = np.empty(rows, dtype=np.int64)
    if not indicators.shape[1]:
        # equal shares give sizes that differ by one at most
        ends = np.round(np.cumsum(shares) * rows).astype(np.int64)
        parts[rng.permutation(rows)] = np.repeat(np.arange(len(shares)), np.diff(ends, prepend=0))
        return parts
    totals = indicators.sum(0)
    wanted = totals[:, None] * shares  # [l, k], rows that each part still wants
    wanted_rows = rows * shares  # [k]
    for members in _combinations(indicators, totals, rng):
        held = np.flatnonzero(indicators[members[0]])
        whole = np.floor(len(members) * shares + 1e-9).astype(np.int64)
        wanted[held] -= whole
        wanted_rows -= whole
        dealt = np.repeat(np.arange(len(shares)), whole)
        parts[members[: len(dealt)]] = dealt
        rarest = held[totals[held].argmin()] if len(held) else None
        for row in members[len(dealt) :]:
            first = wanted_rows if rarest is None else wanted[rarest]
            second = (wanted[held] / totals[held, None]).sum(0)
            tie = rng.random(len(shares))
            part = np.lexsort((tie, wanted_rows, second.round(9), first.round(9)))[-1]
            parts[row] = part
            wanted[held, part] -= 1
            wanted_rows[part] -= 1
    _spread(indicators, parts, len(shares))
    return parts


def _combinations(
    indicators: np.ndarray, totals: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the rows of each label combination, shuffled; combinations of rare labels first."""
    packed = np.ascontiguousarray(np.packbits(indicators, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(inverse))
    by_key = shuffled[np.argsort(inverse.ravel()[shuffled], kind="stable")]
    members = np.split(by_key, np.cumsum(counts)[:-1])
    rarity = [totals[indicators[rows[0]]].min(initial=len(indicators) + 1) for rows in members]
    tie = rng.random(len(members))
    return [members[i] for i in np.lexsort((tie, rarity))]


def _spread(indicators: np.ndarray, parts: np.ndarray, number: int) -> None:
    """Move single rows, in place, so that labels are in all parts, or at least in two.

    A label in as many rows as there are parts comes into each where that takes it from no other
    part; one in two rows at least never stays in a single part.
    """
    totals = indicators.sum(0)
    counts = np.stack(
        [indicators[parts == part].sum(0) for part in range(number)], axis=1
    )  # [l, k]
    for label in np.argsort(totals, kind="stable"):
        missing = np.flatnonzero(counts[label] == 0)
        if totals[label] < 2 or not len(missing):
            continue
        for part in missing:
            alone = (counts[label] > 0).sum() == 1
            if totals[label] < number and not alone:
                break
            donor = int(counts[label].argmax())
            if counts[label, donor] < 2:
                break
            rows = np.flatnonzero(indicators[:, label] & (parts == donor))
            # moving must not take the last row of another label from the donor
            last = (counts[:, donor] == 1) & (totals > 1)
            harmless = rows[~(indicators[rows] & last).any(1)]
            if not len(harmless) and not alone:
                continue
            row = harmless[0] if len(harmless) else rows[0]
            parts[row] = part
            counts[indicators[row], donor] -= 1
            counts[indicators[row], part] += 1


def _exchange(
    indicators: np.ndarray, present: np.ndarray, held_out: np.ndarray, rng: np.random.Generator
) -> None:
    """Move rows, in place, so that training has all labels and validation has all tasks.

    Shape:
        indicators: [n, l]. present: [n, t]. held_out: [n] of bool.
    """
    needed = np.concatenate([indicators, present[:, present.any(0)]], axis=1)
    in_training = needed[~held_out].sum(0)
    for label in np.flatnonzero(in_training == 0):
        if in_training[label] == 0:
            row = rng.choice(np.flatnonzero(needed[:, label] & held_out))
            held_out[row] = False
            in_training += needed[row]
    for task in range(present.shape[1]):
        if present[held_out, task].any():
            continue
        rows = np.flatnonzero(present[:, task] & ~held_out)
        spare = rows[~(needed[rows] & (in_training == 1)).any(1)]
        if len(spare):
            row = rng.choice(spare)
            held_out[row] = True
            in_training -= needed[row]


def _grouped_parts(
    indicators: np.ndarray, groups: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the fold of each row, [n]: rows of a group together, labels and rows spread evenly."""
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise InvalidInputError(
            f"there {'is' if len(names) == 1 else 'are'} {len(names)} "
            f"group{'s' * (len(names) != 1)} of rows that stay together, fewer than the {folds} "
            "folds; use fewer folds or another group column (--duplicates apart, if the groups "
            "are rows that repeat each other)"
        )
    counts = _group_counts(indicators, members.ravel(), len(names))  # [g, l + 1]
    totals = counts.sum(0)
    wanted = np.repeat(totals[:, None] / folds, folds, axis=1)  # [l + 1, k]
    fold_of_group = np.empty(len(names), dtype=np.int64)
    used = np.zeros(folds, dtype=bool)
    left = len(names)
    for alike in _alike_groups(counts, rng):
        # groups with the same counts are dealt out together, as many of them as come out even
        whole = len(alike) // folds
        fold_of_group[alike[: whole * folds]] = np.repeat(np.arange(folds), whole)
        wanted -= whole * counts[alike[0]][:, None]
        used |= whole > 0
        left -= whole * folds
        for group in alike[whole * folds :]:
            gain = (counts[group] / totals) @ (wanted / totals[:, None])  # [k]
            if left == (~used).sum():
                gain[used] = -np.inf
            fold = np.lexsort((rng.random(folds), gain.round(12)))[-1]
            fold_of_group[group] = fold
            used[fold] = True
            wanted[:, fold] -= counts[group]
            left -= 1
    folds_of_rows: np.ndarray = fold_of_group[members.ravel()]
    return folds_of_rows


def _alike_groups(counts: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the groups with the same counts, [g, l + 1], shuffled; large groups first."""
    kinds, inverse, sizes = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(counts))
    by_kind = shuffled[np.argsort(inverse.ravel()[shuffled], kind="stable")]
    members = np.split(by_kind, np.cumsum(sizes)[:-1])
    order = np.lexsort((rng.random(len(kinds)), -kinds[:, -1]))
    return [members[kind] for kind in order]


def _group_counts(indicators: np.ndarray, members: np.ndarray, number: int) -> np.ndarray:
    """Return each group's number of rows with each label, and of rows at all, [g, l + 1]."""
    counts = np.zeros((number, indicators.shape[1] + 1))
    for label in range(indicators.shape[1]):
        counts[:, label] = np.bincount(members[indicators[:, label]], minlength=number)
    counts[:, -1] = np.bincount(members, minlength=number)
    return counts


def _held_out_groups(
    indicators: np.ndarray,
    present: np.ndarray,
    groups: np.ndarray,
    wanted: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return which rows to hold out, [n] of bool: whole groups that training can spare."""
    names, members = np.unique(groups, return_inverse=True)
    members = members.ravel()
    needed = np.concatenate([present, indicators], axis=1)
    needed = needed[:, needed.any(0)]
    counts = _group_counts(needed, members, len(names))  # [g, l + 1]
    tasks = int(present.any(0).sum())
    left = counts.sum(0)
    held = np.zeros(len(names), dtype=bool)
    order = rng.permutation(len(names))
    rows = 0
    for group in order:
        if rows >= wanted:
            break
        if (left - counts[group] > 0).all():
            held[group] = True
            left -= counts[group]
            rows += counts[group, -1]
    for task in range(tasks):
        if counts[held, task].any():
            continue
        for group in order:
            if not held[group] and counts[group, task] and (left - counts[group] > 0).all():
                held[group] = True
                left -= counts[group]
                break
    return held[members]


def _forward_folds(time: np.ndarray, folds: int) -> list[Split]:
    values, ranks, counts = np.unique(time, return_inverse=True, return_counts=True)
    if len(values) < folds + 1:
        raise InvalidInputError(
            f"the time column has {len(values)} distinct values, and {folds} folds that go forward "
            f"in time need {folds + 1}; use fewer folds"
        )
    ranks = ranks.ravel()
    before = np.concatenate([[0], np.cumsum(counts)])  # rows earlier than each value
    cuts = [0]
    for block in range(1, folds + 1):
        target = block * len(time) / (folds + 1)
        cut = int(np.abs(before - target).argmin())
        cuts.append(min(max(cut, cuts[-1] + 1), len(values) - (folds - block) - 1))
    cuts.append(len(values))
    return [
        (
            np.flatnonzero(ranks < start),
            np.flatnonzero((ranks >= start) & (ranks < end)),
        )
        for start, end in pairwise(cuts[1:])
    ]


def _latest(time: np.ndarray, present: np.ndarray, wanted: int) -> np.ndarray:
    """Return which rows are the latest, [n] of bool: about `wanted`.

    All tasks have labels before, and if possible after; where the former is impossible, or all rows
    are of one time, no row is held out.
    """
    values, ranks, counts = np.unique(time, return_inverse=True, return_counts=True)
    ranks = ranks.ravel()
    labelled = [ranks[column] for column in present.T if column.any()]
    # the first value held out lies after each task's first label, and not after its last
    lowest = 1 + max((int(known.min()) for known in labelled), default=0)
    highest = min((int(known.max()) for known in labelled), default=len(values) - 1)
    if highest < lowest:
        highest = len(values) - 1
    if highest < lowest:
        return np.zeros(len(time), dtype=bool)
    later = np.cumsum(counts[::-1])[::-1]  # rows at or after each value
    first = lowest + int(np.abs(later[lowest : highest + 1] - wanted).argmin())
    return np.asarray(ranks >= first)


def _apart(
    groups: np.ndarray, train: np.ndarray, test: np.ndarray, rng: np.random.Generator
) -> Split:
    """Return a split by time in which no group is on both sides; see `outer_folds`."""
    both = rng.permutation(np.intersect1d(groups[train], groups[test]))
    # at least one of them is tested: the rows in the block are fewer
    tested, trained = np.split(both, [(len(both) + 1) // 2])
    return (
        train[~np.isin(groups[train], tested)],
        test[~np.isin(groups[test], trained)],
    )


def _apart_or_whole(
    present: np.ndarray, groups: np.ndarray, held_out: np.ndarray, rng: np.random.Generator
) -> Split:
    """Return `_apart` of the rows held out; none of them where training would lack a task."""
    train, held = _apart(groups, np.flatnonzero(~held_out), np.flatnonzero(held_out), rng)
    if not len(train) or (present.any(0) & ~present[train].any(0)).any():
        return np.arange(len(present)), np.arange(0)
    return train, held


def _check_labelled(labels: np.ndarray, tasks: Sequence[Task], splits: Sequence[Split]) -> None:
    empty: dict[str, list[int]] = {}
    for fold, (train, test) in enumerate(splits, start=1):
        if not len(train) or not len(test):
            part = "test" if len(train) else "train on"
            raise InvalidInputError(
                f"groups and times together leave no row to {part} in fold {fold}; use fewer "
                "folds, or groups or times alone"
            )
        for index in np.flatnonzero(~known_labels(labels[train], tasks).any(0)):
            empty.setdefault(tasks[int(index)].name, []).append(fold)
    if empty:
        named = "; ".join(
            f"target {name!r} in fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
            for name, folds in empty.items()
        )
        raise InvalidInputError(
            f"there is no label in the training part: {named}; use fewer folds, other groups or "
            "times, or leave the target out"
        )
