"""Schedules: which tasks take part in which step, how often, and bad settings."""

import math
from itertools import groupby, islice, pairwise

import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats

from jointrain import Alternating, InvalidInputError, Joint, Separate
from jointrain.training import RunProgress

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
        (Alternating("temperature", temperature=1.0), [0.1, 0.3, 0.6]),
        # square roots of 100, 300, 600: 10, 17.3205, 24.4949, in all 51.8154
        (Alternating("temperature"), [0.192993, 0.334274, 0.472733]),
    ],
)
def test_random_orders_draw_by_their_probabilities(schedule, shares):
    counts = _drawn(schedule)
    # the statistic by hand; its 99.9 % quantile with 2 degrees of freedom is -2 log 0.001 = 13.8
    expected = [6000 * share for share in shares]
    assert sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True)) < 13.8


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
        (("randm",), "`order` must be one of random, .*, got 'randm'.*did you mean 'random'"),
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
    with pytest.raises(InvalidInputError, match=r"names 'aa', which is no task.*did you mean 'a'"):
        _first(Alternating("random", {"aa": 1.0}), 1)
    with pytest.raises(InvalidInputError, match="says nothing about task 'c'"):
        _first(Alternating("random", {"a": 0.5, "b": 0.5}), 1)


# --- orders that depend on the run ---------------------------------------------------------------


def _followed(schedule, count, course, labels=LABELS, seed=0):
    steps = schedule.follow(labels, torch.Generator().manual_seed(seed), course)
    return list(islice(steps, count))


def test_annealing_goes_from_proportional_towards_uniform():
    epochs, length = 5, 4000
    course = RunProgress(epochs * length, length)
    steps = _followed(Alternating("annealed"), epochs * length, course)
    for epoch in range(epochs):
        alpha = 1 - 0.8 * epoch / (epochs - 1)  # Stickland & Murray: 1 in the first, 0.2 at last
        powers = [rows**alpha for rows in LABELS.values()]
        part = steps[epoch * length : (epoch + 1) * length]
        counts = [part.count((name,)) for name in LABELS]
        expected = [length * power / sum(powers) for power in powers]
        assert sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True)) < 13.8


def test_annealing_over_one_epoch_is_proportional():
    steps = _followed(Alternating("annealed"), 3000, RunProgress(3000, 3000))
    counts = [steps.count((name,)) for name in LABELS]
    assert stats.chisquare(counts, [300, 900, 1800]).pvalue > 0.001


@given(st.integers(1, 7), st.integers(1, 30), st.integers(1, 6))
def test_annealed_blocks_fill_the_run_whatever_its_length(block, epoch_steps, epochs):
    course = RunProgress(epochs * epoch_steps, epoch_steps)
    count = epochs * epoch_steps + 20  # a trainer may be asked for more than was planned
    assert len(_followed(Alternating("annealed", block=block), count, course)) == count


def test_progress_draws_tasks_whose_loss_falls():
    course = RunProgress(10_000, 100)
    schedule = Alternating("progress")
    steps = schedule.follow({"a": 1, "b": 1}, torch.Generator().manual_seed(0), course)
    visits = {"a": 0, "b": 0}
    for (name,) in islice(steps, 1000):
        visits[name] += 1
        # a falls by a hundredth at each visit, b rests
        loss = 0.99 ** visits["a"] if name == "a" else 1.0
        course.losses.append({name: torch.tensor(loss)})
    # a: 0.9 + 0.1 / 2 = 0.95 of the draws but for the first, when nothing is known
    assert 900 < visits["a"] < 980
    assert visits["b"] > 0


def test_orders_that_depend_on_the_run_say_so():
    for order in ("annealed", "progress"):
        with pytest.raises(InvalidInputError, match=f"'{order}' depends on the length or the loss"):
            _first(Alternating(order), 1)


# --- blocks and functions ------------------------------------------------------------------------


@given(
    st.sampled_from(["random", "round_robin", "proportional", "temperature"]),
    st.integers(1, 6),
    st.integers(0, 50),
)
def test_tasks_change_only_between_blocks(order, block, seed):
    whole = _first(Alternating(order, block=block), 30 * block, seed=seed)
    starts = whole[::block]
    assert whole == [tasks for tasks in starts for _ in range(block)]
    # the choices are those without blocks
    assert starts == _first(Alternating(order), 30, seed=seed)


def test_round_robin_blocks_take_turns():
    steps = _first(Alternating("round_robin", block=3), 12)
    assert [(name, len(list(run))) for (name,), run in groupby(steps)] == [
        ("a", 3), ("b", 3), ("c", 3), ("a", 3),
    ]  # fmt: skip


def test_an_order_may_be_a_function_of_the_step():
    steps = _first(Alternating(lambda step: ["a", "b"] if step == 2 else "ab"[step % 2]), 4)
    assert steps == [("a",), ("b",), ("a", "b"), ("b",)]
    assert _first(Alternating(lambda step: "a" if step < 4 else "c", block=2), 6) == [
        *[("a",)] * 4, *[("c",)] * 2,
    ]  # fmt: skip
    with pytest.raises(InvalidInputError, match="`order` chose 'abc', which is no task"):
        _first(Alternating(lambda step: "abc"), 1)  # a string is one name
    with pytest.raises(InvalidInputError, match="`order` chose no task"):
        _first(Alternating(lambda step: []), 1)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"block": 0}, "`block` must be at least 1 step, got 0"),
        ({"temperature": 2.0}, "`temperature` goes with order 'temperature', not 'random'"),
        ({"order": "temperature", "temperature": 0.0}, "`temperature` must be positive, got 0.0"),
        ({"order": "temperature", "temperature": math.inf}, "`temperature` must be positive"),
        ({"order": "temperature", "probabilities": {"a": 1.0}}, "go with order 'random', not"),
        ({"order": "aneal"}, "`order` must be one of .*, got 'aneal'.*did you mean 'annealed'"),
    ],
)
def test_settings_of_alternation_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Alternating(**settings)


def test_the_default_temperature_is_shown():
    assert "temperature=2.0" in repr(Alternating("temperature"))
    assert Alternating("temperature") == Alternating("temperature", temperature=2.0)
