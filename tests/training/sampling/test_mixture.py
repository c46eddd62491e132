"""Mixtures: what a plan says is what is drawn, and mixtures that can't be."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from jointrain import Alternating, InvalidInputError, Joint, Task, TensorData
from jointrain.data import DataSource
from jointrain.training import Mixture
from jointrain.training.sampling._mixture import allotted
from jointrain.training.sampling._task_sets import TaskSets

CPU = torch.device("cpu")


def _rows(n, *tasks):
    """Return data whose inputs are the numbers of the rows."""
    x = torch.arange(float(n))[:, None]
    return TensorData(x, {task: torch.zeros(n) for task in tasks})


def _mixture(big=10, small=4, batch_size=2, **settings):
    return Mixture(
        {"big": _rows(big, "big"), "small": _rows(small, "small")},
        batch_size=batch_size, **settings,
    )  # fmt: skip


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(1), torch.tensor(0.0))] * 5)


def _drawn(mixture, steps, seed=0, schedule=None):
    """Return the rows that a run draws for each set, and its steps' tasks."""
    tasks = {task: Task.regression(task) for key in mixture.sources for task in key}
    sets = TaskSets.of(mixture, tasks, "training", batch_size=1, device=CPU, seed=seed)
    order = sets.schedule(schedule or Joint())
    generator = torch.Generator().manual_seed(seed)
    rows = {key: [] for key in mixture.sources}
    taken = []
    for _, step in zip(range(steps), order.steps(sets.labels, generator), strict=False):
        taken.append(step)
        for batch in sets.draw(step):
            (key,) = [key for key in rows if key[0] in batch.tasks]
            rows[key].append(batch.data.inputs[:, 0])
    return rows, taken


# --- the plan is what is drawn -------------------------------------------------------------------

SAMPLINGS = st.sampled_from(["together", "round_robin", "equal", "proportional", "temperature"])


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    batch_size=st.integers(1, 9),
    sampling=SAMPLINGS,
    epoch=st.one_of(st.sampled_from(["largest", "smallest", "once"]), st.integers(1, 40)),
    temperature=st.floats(1, 8),
    steps=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_a_plan_says_what_a_run_draws(sizes, batch_size, sampling, epoch, temperature, steps, seed):
    names = [f"t{i}" for i in range(len(sizes))]
    mixture = Mixture(
        {name: _rows(n, name) for name, n in zip(names, sizes, strict=True)},
        batch_size=batch_size, sampling=sampling, epoch=epoch, temperature=temperature,
    )  # fmt: skip
    plan = mixture.plan(steps, seed=seed)
    rows, taken = _drawn(mixture, steps, seed)
    for entry, (key, found) in zip(plan.sets, rows.items(), strict=True):
        seen = torch.cat(found) if found else torch.empty(0)
        assert entry.batches == len(found)
        assert entry.rows == len(seen)
        assert entry.every_row == (len(seen.unique()) == entry.size.rows)
        assert entry.share_of_steps == pytest.approx(sum(key[0] in step for step in taken) / steps)
        # no row a second time before all have come once
        counts = torch.bincount(seen.long(), minlength=entry.size.rows)
        assert counts.max() - counts.min() <= 1
    assert sum(entry.share_of_loss for entry in plan.sets) == pytest.approx(1)


@settings(max_examples=12)
@given(
    sampling=SAMPLINGS,
    epoch=st.sampled_from(["largest", "once"]),
    batch_size=st.integers(500, 4000),
    seed=st.integers(0, 99),
)
def test_every_row_of_a_large_and_a_small_set_is_seen(sampling, epoch, batch_size, seed):
    mixture = _mixture(391_000, 5_000, batch_size, sampling=sampling, epoch=epoch)
    plan = mixture.plan(seed=seed)
    assert [entry.every_row for entry in plan.sets] == [True, True]
    rows, _ = _drawn(mixture, plan.steps, seed)
    for entry, found in zip(plan.sets, rows.values(), strict=True):
        counts = torch.bincount(torch.cat(found).long(), minlength=entry.size.rows)
        assert len(counts) == entry.size.rows
        assert int(counts.min()) == math.floor(entry.passes)
        assert int(counts.sum()) == entry.rows
        if epoch == "once":
            assert int(counts.max()) == 1


def test_the_plan_of_a_short_run_says_that_rows_are_missing():
    plan = _mixture(391_000, 5_000, 256).plan(1000)
    assert [entry.every_row for entry in plan.sets] == [False, True]
    assert [entry.rows for entry in plan.sets] == [255_890, 250_000]


def test_the_plan_of_a_schedule_is_what_it_draws():
    schedule = Alternating("proportional")
    mixture = _mixture(40, 10, 4)
    plan = mixture.plan(200, schedule=schedule, seed=3)
    rows, _ = _drawn(mixture, 200, 3, schedule)
    assert [entry.batches for entry in plan.sets] == [len(found) for found in rows.values()]
    assert plan.steps_per_epoch == 13
    assert plan.sets[0].share_of_steps == pytest.approx(0.8, abs=0.1)


def test_a_plan_prints_as_a_table():
    mixture = Mixture(
        {"a": _rows(5000, "a"), "b": DataSource(Stream(), batch_size=2)},
        batch_size=50, epoch=100, loss_share={"a": 0.25, "b": 0.75},
    )  # fmt: skip
    first, heading, a, b = str(mixture.plan(200)).splitlines()
    assert first == "200 steps (2.00 epochs of 100)"
    assert heading.split()[:4] == ["data", "set", "of", "rows"]
    cells = ["a", "5,000", "50", "100", "200", "10,000", "2.00", "yes", "100.0", "%", "25.0", "%"]
    assert a.split() == cells
    assert b.split() == ["b", "?", "2", "?", "200", "?", "?", "?", "100.0", "%", "75.0", "%"]


def test_plans_compare_and_come_from_the_seed():
    mixture = _mixture(sampling="temperature")
    assert mixture.plan(7, seed=1) == mixture.plan(7, seed=1)
    assert any(mixture.plan(7, seed=1) != mixture.plan(7, seed=s) for s in range(2, 9))


# --- epochs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, steps, draws",
    [
        ({}, 5, [5, 5]),
        ({"epoch": "smallest"}, 2, [2, 2]),
        ({"epoch": "once"}, 5, [5, 2]),
        ({"epoch": 7}, 7, [7, 7]),
        ({"sampling": "equal"}, 10, [5, 5]),
        ({"sampling": "equal", "epoch": "smallest"}, 4, [2, 2]),
        ({"sampling": "round_robin"}, 10, [5, 5]),
        ({"sampling": "round_robin", "epoch": "once"}, 7, [5, 2]),
        # 5 batches at 10/14: 7 steps
        ({"sampling": "proportional"}, 7, [5, 2]),
        ({"sampling": "proportional", "epoch": 14}, 14, [10, 4]),
        # 5 batches at sqrt(10) / (sqrt(10) + 2) = 0.6126: 8.16, so 9 steps
        ({"sampling": "temperature"}, 9, [6, 3]),
        ({"sampling": "temperature", "temperature": 1.0}, 7, [5, 2]),
        ({"sampling": {"big": 0.25, "small": 0.75}}, 20, [5, 15]),
        ({"sampling": {"big": 0.25, "small": 0.75}, "epoch": "smallest"}, 3, [1, 2]),
        ({"sampling": {"big": 1.0, "small": 0.0}}, 5, [5, 0]),
    ],
)
def test_epochs_by_hand(settings, steps, draws):
    plan = _mixture(**settings).plan()
    assert plan.steps == plan.steps_per_epoch == steps
    assert [entry.batches for entry in plan.sets] == draws


def test_a_set_that_is_through_sits_out_until_the_next_epoch():
    _, taken = _drawn(_mixture(epoch="once"), 10)
    assert taken == ([("big", "small")] * 2 + [("big",)] * 3) * 2


def test_after_the_smallest_set_the_others_go_on_where_they_are():
    rows, _ = _drawn(_mixture(epoch="smallest"), 5)
    assert sorted(torch.cat(rows["big",]).tolist()) == list(range(10))


def test_round_robin_takes_turns():
    _, taken = _drawn(_mixture(sampling="round_robin"), 6)
    assert taken == [("big",), ("small",)] * 3


@given(st.integers(1, 400), st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_allotted_numbers_sum_up_and_are_within_one_of_their_share(total, parts):
    if not sum(parts):
        return
    shares = [part / sum(parts) for part in parts]
    counts = allotted(total, shares)
    assert sum(counts) == total
    for count, part in zip(counts, parts, strict=True):
        assert abs(count - Fraction(total * part, sum(parts))) < 1
        if (total * part) % sum(parts) == 0:
            assert count == total * part // sum(parts)


# --- shares of the loss --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampling", ["together", "proportional", {"big": 0.9, "small": 0.1}, "temperature"]
)
@pytest.mark.parametrize("epoch", ["largest", "once"])
def test_the_share_of_the_loss_is_apart_from_the_share_of_the_steps(sampling, epoch):
    mixture = _mixture(100, 7, 2, sampling=sampling, epoch=epoch,
                       loss_share={"big": 0.3, "small": 0.7})  # fmt: skip
    plain = _mixture(100, 7, 2, sampling=sampling, epoch=epoch).plan()
    plan = mixture.plan()
    assert [entry.share_of_loss for entry in plan.sets] == pytest.approx([0.3, 0.7])
    for entry, other in zip(plan.sets, plain.sets, strict=True):
        assert entry.share_of_steps == other.share_of_steps
    # the sum of all weights over an epoch stays as it is without shares
    counts = [entry.batches for entry in plan.sets]
    weights = mixture.loss_weights()
    total = weights["big"] * counts[0] + weights["small"] * counts[1]
    assert total == pytest.approx(sum(counts))


def test_the_tasks_of_a_set_share_its_share():
    mixture = Mixture(
        {("a", "b"): _rows(8, "a", "b"), "c": _rows(8, "c")},
        loss_share={("a", "b"): 0.5, "c": 0.5},
    )
    assert mixture.loss_weights() == pytest.approx({"a": 0.75, "b": 0.75, "c": 1.5})


# --- mixed batches -------------------------------------------------------------------------------


def test_a_mixed_batch_is_shared_out_by_probability_with_a_row_for_each_set():
    mixture = Mixture(
        {"a": _rows(900, "a"), "b": _rows(90, "b"), "c": _rows(1, "c")},
        batch_size=100, sampling="proportional", mixed=True,
    )  # fmt: skip
    assert [size.batch_size for size in mixture.sizes] == [90, 9, 1]
    assert [entry.share_of_steps for entry in mixture.plan().sets] == [1.0] * 3


def test_a_mixed_batch_of_all_takes_each_sets_own_size():
    mixture = Mixture(
        {"a": DataSource(_rows(9, "a"), batch_size=4), "b": _rows(9, "b")},
        batch_size=3, mixed=True, epoch=1,
    )  # fmt: skip
    tasks = {name: Task.regression(name) for name in "ab"}
    sets = TaskSets.of(mixture, tasks, "training", batch_size=1, device=CPU)
    (batch,) = sets.draw(("a", "b"))
    assert len(batch.data) == 6
    assert batch.tasks == ("a", "b")
    present = [task.labelled(batch.data.targets[name]).sum() for name, task in tasks.items()]
    assert present == [3, 3]
    (alone,) = sets.draw(("b",))
    assert alone.tasks == ("b",)


# --- sets of all kinds ---------------------------------------------------------------------------


def test_rows_without_a_label_of_the_set_do_not_count():
    nan = math.nan
    data = TensorData(
        torch.zeros(4, 1),
        {"a": torch.tensor([1.0, nan, nan, nan]), "b": torch.tensor([-100, -100, 3, -100])},
    )
    (size,) = Mixture({("a", "b"): data}).sizes
    assert (size.rows, size.name) == (2, "a, b")


def test_loaders_have_their_own_batches():
    loader = DataLoader(TensorDataset(torch.zeros(10, 1), torch.zeros(10)), 4)
    plan = Mixture({"a": loader}).plan(4)
    entry = plan.sets[0]
    assert plan.steps_per_epoch == 3
    assert (entry.size.batch_size, entry.rows, entry.passes) == (4, 14, 1.4)


# --- mixtures that can't be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sets, settings, message",
    [
        ({}, {}, "needs at least one data set"),
        ({(): _rows(2, "a")}, {}, "must serve at least one task"),
        ({"a": []}, {}, "data set of a: the data set has no rows"),
        ({"a": TensorData(torch.zeros(2, 1), {"a": torch.full((2,), math.nan)})}, {},
         "data set of a has no label"),
        ({"a": _rows(2, "b")}, {}, "data set of a has no target of task 'a'"),
        ({("a", "b"): _rows(2, "a", "b"), "a": _rows(2, "a")}, {}, "'a' has two data sets"),
        ({"a": torch.zeros(2)}, {}, "data set of a: .* give TensorData"),
        ({"a": DataSource([0], targets={"A": "y"})}, {}, "'A', which it does not serve"),
        ({"a": _rows(2, "a")}, {"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"a": _rows(2, "a")}, {"temperature": 0.5}, "`temperature` must be at least 1, got 0.5"),
        ({"a": _rows(2, "a")}, {"epoch": "larges"}, "or a number of steps.*mean 'largest'"),
        ({"a": _rows(2, "a")}, {"epoch": 0}, "`epoch` must have at least 1 step, got 0"),
        ({"a": _rows(2, "a")}, {"sampling": "propotional"}, "did you mean 'proportional'"),
    ],
)  # fmt: skip
def test_mixtures_that_can_not_be_are_refused(sets, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Mixture(sets, **settings)


@pytest.mark.parametrize("argument", ["sampling", "loss_share"])
@pytest.mark.parametrize(
    "values, message",
    [
        ({"big": 0.6, "small": 0.3}, "must sum to 1"),
        ({"big": 1.5, "small": -0.5}, "must not be negative"),
        ({"big": math.nan, "small": 1.0}, "must not be negative"),
        ({"big": 1.0}, "says nothing about the data set of small"),
        ({"big": 0.5, "smal": 0.5}, "names 'smal', .*did you mean 'small'"),
    ],
)
def test_probabilities_and_shares_that_can_not_be_are_refused(argument, values, message):
    with pytest.raises(InvalidInputError, match=f"`{argument}` {message}"):
        _mixture(**{argument: values})


def test_a_share_of_the_loss_for_a_set_that_is_never_drawn_is_refused():
    mixture = _mixture(sampling={"big": 1.0, "small": 0.0}, loss_share={"big": 0.5, "small": 0.5})
    with pytest.raises(InvalidInputError, match=r"small has a `loss_share` of 0\.5, but is never"):
        mixture.plan()


def test_sets_without_a_length_need_a_number_of_steps_and_probabilities():
    sets = {"a": Stream(), "b": _rows(4, "b")}
    with pytest.raises(InvalidInputError, match=r"data set of a has no length.*epoch=<number"):
        Mixture(sets).plan()
    with pytest.raises(InvalidInputError, match="that of a has none; give probabilities"):
        Mixture(sets, sampling="proportional", epoch=10).plan()
    mixture = Mixture(sets, sampling={"a": 0.5, "b": 0.5}, epoch=10)
    assert [entry.batches for entry in mixture.plan().sets] == [5, 5]
    # a schedule that does not ask for sizes needs none
    assert Mixture(sets, epoch=10).plan(schedule=Alternating("round_robin")).steps == 10
    with pytest.raises(InvalidInputError, match="length of every data set, and that of task a"):
        Mixture(sets, epoch=10).plan(schedule=Alternating("proportional"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sampling": "equal"}, "`sampling` goes with schedule Joint"),
        ({"loss_share": {"big": 0.5, "small": 0.5}}, "`loss_share` goes with schedule Joint"),
        ({"epoch": "once"}, "epoch 'once' goes with schedule Joint"),
    ],
)
def test_a_mixture_and_a_schedule_do_not_both_choose(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        _mixture(**settings).plan(schedule=Alternating())


@pytest.mark.parametrize(
    "sets, settings, message",
    [
        ({"a": _rows(9, "a")}, {"sampling": "round_robin"}, "so that nothing is mixed"),
        ({"a": DataSource(_rows(9, "a"), batch_size=4)}, {"sampling": "equal"}, "a batch size of"),
        ({"a": _rows(9, "a"), "b": _rows(9, "b")}, {"sampling": "equal", "batch_size": 1},
         "1 rows has less than one for each of 2 sets"),
        ({"a": _rows(9, "a"), "b": _rows(9, "b")}, {"sampling": {"a": 1.0, "b": 0.0}},
         "needs a probability above 0"),
    ],
)  # fmt: skip
def test_mixed_batches_that_can_not_be_are_refused(sets, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Mixture(sets, mixed=True, **settings)


def test_a_plan_has_a_step():
    with pytest.raises(InvalidInputError, match="`steps` must be at least 1, got 0"):
        _mixture().plan(0)


def test_alternation_by_size_counts_the_labels_of_each_task():
    few = torch.full((20,), math.nan)
    few[:2] = 1.0
    data = TensorData(torch.ones(20, 1), {"a": torch.ones(20), "b": few})
    assert dict(Mixture({("a", "b"): data}).rows_by_task()) == {"a": 20, "b": 2}
    rows = TensorDataset(data.inputs, *data.targets.values())
    assert dict(Mixture({("a", "b"): rows}).rows_by_task()) == {"a": 20, "b": 20}
