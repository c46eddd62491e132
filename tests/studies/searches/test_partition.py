"""The best partition, against looking at all of them."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from jointrain import InvalidInputError
from jointrain.studies.searches import best_partition
from jointrain.studies.searches._partition import _beam, _improved


def all_partitions(tasks: list[int]) -> Iterator[list[list[int]]]:
    if not tasks:
        yield []
        return
    first, *rest = tasks
    for partition in all_partitions(rest):
        yield [[first], *partition]
        for i, group in enumerate(partition):
            yield [*partition[:i], [first, *group], *partition[i + 1 :]]


@st.composite
def problems(draw):
    count = draw(st.integers(1, 6))
    values = draw(
        st.lists(
            # few distinct values, so that there are ties
            st.one_of(st.sampled_from([0.0, 0.5, 1.0, -1.0]), st.floats(-2, 2)),
            min_size=2**count,
            max_size=2**count,
        )
    )
    models = draw(st.one_of(st.none(), st.integers(1, count)))
    return count, lambda group: values[sum(1 << task for task in group)], models


@settings(max_examples=60, deadline=None)
@given(problems())
def test_no_partition_is_better_and_none_as_good_has_fewer_groups(problem):
    count, value, models = problem

    def total(partition):
        return sum(value(frozenset(group)) for group in partition)

    found = best_partition(count, value, models)
    assert sorted(task for group in found for task in group) == list(range(count))
    allowed = [p for p in all_partitions(list(range(count))) if models is None or len(p) <= models]
    best = max(map(total, allowed))
    assert total(found) == pytest.approx(best, abs=1e-9)
    fewest = min(len(p) for p in allowed if total(p) >= best - 1e-13)
    assert len(found) <= fewest


@settings(max_examples=30, deadline=None)
@given(problems())
def test_the_beam_search_keeps_the_limit_and_is_no_worse_than_its_start(problem):
    count, value, models = problem
    start = _beam(count, value, models or count)
    found = _improved(start, value, models or count)
    assert sorted(task for group in found for task in group) == list(range(count))
    assert len(found) <= (models or count)
    total = sum(value(frozenset(group)) for group in found)
    assert total >= sum(map(value, start)) - 1e-9


def test_beyond_twelve_tasks_planted_groups_are_found():
    planted = [frozenset(range(5)), frozenset(range(5, 9)), frozenset(range(9, 15))]

    def value(group):
        together = sum(group <= one for one in planted) * len(group) ** 2
        return together - sum(not group <= one for one in planted)

    assert best_partition(15, value) == tuple(tuple(sorted(group)) for group in planted)


def test_each_group_is_asked_for_once():
    asked = []

    def value(group):
        asked.append(group)
        return 1.0

    best_partition(13, value)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("models", [0, 4, -1])
def test_impossible_limits_are_refused(models):
    with pytest.raises(InvalidInputError, match="`models` must lie between 1 and the number of"):
        best_partition(3, len, models)
