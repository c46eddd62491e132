"""Schedules: which tasks take part in which step, how often, and bad settings."""

from itertools import islice, pairwise

import pytest
import torch
from scipy import stats

from jointrain import Alternating, InvalidInputError, Joint, Separate

LABELS = {"a": 100, "b": 300, "c": 600}


def _first(schedule, count, labels=LABELS, seed=0):
    return list(islice(schedule.steps(labels, torch.Generator().manual_seed(seed)), count))


def _drawn(schedule, count=6000):
    steps = _first(schedule, count)
    assert all(len(tasks) == 1 for tasks in steps)
    return [steps.count((name,)) for name in LABELS]


def test_joint_trains_all_tasks_in_every_step():
    assert _first(Joint(), 3) == [("a", "b", "c")] * 3


def test_round_robin_takes_the_tasks_in_turn():
    assert _first(Alternating("round_robin"), 5) == [("a",), ("b",), ("c",), ("a",), ("b",)]


@pytest.mark.parametrize(
    "schedule, shares",
    [
        (Alternating(), [1 / 3, 1 / 3, 1 / 3]),
        (Alternating("random", {"b": 0.5, "a": 0.2, "c": 0.3}), [0.2, 0.5, 0.3]),
        (Alternating("proportional"), [0.1, 0.3, 0.6]),
    ],
)
def test_random_orders_draw_by_their_probabilities(schedule, shares):
    counts = _drawn(schedule)
    assert stats.chisquare(counts, [6000 * share for share in shares]).pvalue > 0.01


def test_random_steps_are_independent_of_the_step_before():
    steps = _first(Alternating("random"), 6000, {"a": 1, "b": 1})
    pairs = [[0, 0], [0, 0]]
    for (before,), (after,) in pairwise(steps):
        pairs[before == "b"][after == "b"] += 1
    assert stats.chi2_contingency(pairs).pvalue > 0.01


def test_a_task_of_probability_zero_is_never_drawn():
    schedule = Alternating("random", {"a": 0.0, "b": 1.0, "c": 0.0})
    assert _drawn(schedule, 500) == [0, 500, 0]


def test_the_order_follows_the_generator():
    assert _first(Alternating(), 50, seed=3) == _first(Alternating(), 50, seed=3)
    assert _first(Alternating(), 50, seed=3) != _first(Alternating(), 50, seed=4)


def test_separate_trains_the_one_task():
    assert _first(Separate(), 2, {"a": 5}) == [("a",), ("a",)]


def test_separate_refuses_several_tasks():
    with pytest.raises(InvalidInputError, match="trains one task to a network"):
        _first(Separate(), 1)


@pytest.mark.parametrize(
    "schedule, steps", [(Joint(), 4), (Alternating(), 7), (Alternating("round_robin"), 7)]
)
def test_an_epoch_shows_each_row_once(schedule, steps):
    assert schedule.steps_per_epoch({"a": 2, "b": 3, "c": 2}, together=4) == steps


def test_schedules_are_values():
    given = Alternating("random", {"a": 0.5, "b": 0.5})
    assert given == Alternating("random", (("a", 0.5), ("b", 0.5)))
    assert hash(given) == hash(Alternating("random", (("a", 0.5), ("b", 0.5))))
    assert given != Alternating()
    assert Joint() == Joint()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("randm",), "`order` must be one of random, .*, got 'randm'; did you mean 'random'"),
        (("round_robin", {"a": 1.0}), "`probabilities` go with order 'random', not 'round_robin'"),
        (("random", {"a": 1.5, "b": -0.5}), "`probabilities` must not be negative"),
        (("random", {"a": 1.0, "b": float("nan")}), "`probabilities` must not be negative"),
        (("random", {"a": 0.5, "b": 0.4}), "`probabilities` must sum to 1"),
    ],
)
def test_a_bad_setting_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Alternating(*arguments)


def test_probabilities_must_name_the_tasks():
    with pytest.raises(InvalidInputError, match="names 'aa', which is no task; did you mean 'a'"):
        _first(Alternating("random", {"aa": 1.0}), 1)
    with pytest.raises(InvalidInputError, match="says nothing about task 'c'"):
        _first(Alternating("random", {"a": 0.5, "b": 0.5}), 1)
