"""Partitions: cutting the tasks into groups so that the groups are worth most."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from jointrain.errors import InvalidInputError

EXACT_TASKS = 12
"""Up to how many tasks the best partition is found exactly."""

BEAM = 64
"""How many partial partitions the search beyond that keeps."""

Group = frozenset[int]
Partition = tuple[tuple[int, ...], ...]


def best_partition(
    count: int, value: Callable[[Group], float], models: int | None = None
) -> Partition:
    """Return the partition of tasks 0 to `count` - 1 whose groups' values have the largest sum.

    Of equally good partitions (to 1e-12 of the largest value) it is one of the fewest groups. Up to
    12 tasks it is exact, by dynamic programming over subsets, O(3^t); beyond, a beam search over
    tasks in order, then moves of single tasks and joins of groups while they improve.

    Args:
        count: Number of tasks, t.
        value: The worth of a group of tasks; called once for each.
        models: Largest number of groups; None (default) is no limit.

    Raises:
        InvalidInputError: The limit is below 1 or above the number of tasks.
    """
    check_models(models, count)
    limit = count if models is None else models
    value = functools.cache(value)
    if count <= EXACT_TASKS:
        return _exact(count, value, limit)
    return _improved(_beam(count, value, limit), value, limit)


def check_models(models: int | None, count: int) -> None:
    """Refuse a limit on the number of models that can't be.

    Raises:
        InvalidInputError: The limit is below 1 or above the number of tasks.
    """
    if models is not None and not 1 <= models <= count:
        raise InvalidInputError(
            f"`models` must lie between 1 and the number of tasks, {count}, got {models}"
        )


def _exact(count: int, value: Callable[[Group], float], limit: int) -> Partition:
    size = 1 << count
    worth = np.zeros(size)
    for subset in range(1, size):
        worth[subset] = value(frozenset(_members(subset)))
    tolerance = 1e-12 * max(1.0, float(np.abs(worth).max()))
    best = np.full((limit + 1, size), -np.inf)  # [groups at most, subset]
    best[:, 0] = 0.0
    first = np.zeros((limit + 1, size), dtype=np.int64)  # the group of the subset's lowest task
    for subset in range(1, size):
        groups = _groups_with_lowest(subset)
        totals = worth[groups] + best[:-1, subset ^ groups]  # [groups at most - 1, choices]
        choice = totals.argmax(1)
        best[1:, subset] = totals[np.arange(limit), choice]
        first[1:, subset] = groups[choice]
    whole = size - 1
    # as few groups as reach the largest sum
    used = int(np.flatnonzero(best[1:, whole] >= best[1:, whole].max() - tolerance)[0]) + 1
    partition, rest = [], whole
    while rest:
        group = int(first[used, rest])
        partition.append(tuple(_members(group)))
        rest ^= group
        used -= 1
    return tuple(sorted(partition))


def _groups_with_lowest(subset: int) -> np.ndarray:
    """Return all subsets of a subset that hold its lowest member, the whole one first."""
    lowest = subset & -subset
    others = np.zeros(1, dtype=np.int64)
    for member in _members(subset ^ lowest):
        others = np.concatenate([others, others | (1 << member)])
    return (others | lowest)[::-1]


def _members(subset: int) -> Iterator[int]:
    position = 0
    while subset:
        if subset & 1:
            yield position
        subset >>= 1
        position += 1


def _beam(count: int, value: Callable[[Group], float], limit: int) -> list[Group]:
    states: list[list[Group]] = [[]]
    for task in range(count):
        grown: dict[frozenset[Group], list[Group]] = {}
        for groups in states:
            options = [
                [*groups[:i], group | {task}, *groups[i + 1 :]] for i, group in enumerate(groups)
            ]
            if len(groups) < limit:
                options.append([*groups, frozenset({task})])
            grown.update((frozenset(option), option) for option in options)
        states = sorted(grown.values(), key=lambda groups: (-sum(map(value, groups)), len(groups)))
        states = states[:BEAM]
    return states[0]


def _improved(groups: list[Group], value: Callable[[Group], float], limit: int) -> Partition:
    def total(candidate: list[Group]) -> tuple[float, int]:
        return round(sum(value(group) for group in candidate), 12), -len(candidate)

    best = total(groups)
    while True:
        options = [option for option in _neighbours(groups) if len(option) <= limit]
        option = max(options, key=total, default=groups)
        if total(option) <= best:
            return tuple(sorted(tuple(sorted(group)) for group in groups))
        groups, best = option, total(option)


def _neighbours(groups: list[Group]) -> Iterator[list[Group]]:
    """Yield what one move of a task, or one join of two groups, makes of a partition."""
    for i, source in enumerate(groups):
        for task in source:
            rest = [g for g in [*groups[:i], source - {task}, *groups[i + 1 :]] if g]
            for j, target in enumerate(rest):
                if target != source - {task}:
                    yield [*rest[:j], target | {task}, *rest[j + 1 :]]
            if len(source) > 1:
                yield [*rest, frozenset({task})]
        for j in range(i):
            others = [group for k, group in enumerate(groups) if k not in (i, j)]
            yield [*others, source | groups[j]]
