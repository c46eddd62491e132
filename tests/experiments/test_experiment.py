"""Experiments of one's own modules and data, as a study runs them."""

import math
import os
import re
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from jointrain import InvalidInputError, Mixture, Recipe, Study, Task, TensorData, Trainer
from jointrain.balancing import UPGrad
from jointrain.data import DataSource
from jointrain.experiments import Experiment, Folds, Given, Holdout, named_recipes
from jointrain.metrics import Metric
from jointrain.networks import HardSharing
from jointrain.reports import answer, write_markdown
from jointrain.reports._study_answer import circumstances_of
from jointrain.studies import fit_chosen, run_within_budget
from jointrain.studies.searches import search_groups, search_weights
from jointrain.training import Merge, Phase, Phases
from jointrain.training.sampling import Joint
from tests.experiments._own import (
    QUICK,
    TASKS,
    TWO,
    Rows,
    broken,
    data,
    experiment,
    network,
    wide,
)


def values(result, recipe, task):
    metric = next(one for one in TASKS if one.name == task).primary_metric.name
    return result.values(recipe, task, metric)


def test_a_run_is_that_of_a_trainer_on_the_same_rows():
    """Its figures are what anyone gets who trains a network of the same seed by hand."""
    made = experiment(Folds(3))
    found = Study(made, TWO, seeds=1).run(workers=1)
    fold = made.folds_of(0)[1]
    rows, held_out = made.held_out(fold)
    whole = data()
    torch.manual_seed(0)
    trainer = Trainer(
        network(TASKS), TASKS, seed=0, device="cpu",
        settings=QUICK.settings(len(rows), validates=True),
    )  # fmt: skip
    trainer.fit(whole.take(torch.tensor(rows)), whole.take(torch.tensor(held_out)))
    by_hand = trainer.evaluate(whole.take(torch.tensor(fold.test)))
    for task in TASKS:
        metric = task.primary_metric.name
        assert values(found, "joint", task.name)[1] == pytest.approx(
            by_hand[task.name][metric], rel=1e-5
        )


def test_the_same_bits_in_any_number_of_processes_and_after_a_stop(tmp_path):
    recipes = named_recipes(["separate", "joint", "balancer-upgrad"], QUICK)
    study = Study(experiment(Folds(2)), recipes, seeds=2)
    first = study.run(workers=1)
    assert study.run(workers=2, store=tmp_path).table.equals(first.table)
    done = []
    again = study.run(workers=1, store=tmp_path, progress=lambda *so_far: done.append(so_far))
    assert again.table.equals(first.table)
    assert done[-1] == (12, 12)
    with pytest.raises(InvalidInputError, match="another study: data is"):
        Study(experiment(Folds(2), given=data(seed=1)), recipes, seeds=2).run(store=tmp_path)


def test_small_networks_are_a_population_and_balancers_on_gradients_are_not():
    made, recipes = experiment(Folds(3)), named_recipes(["separate", "balancer-upgrad"], QUICK)
    jobs = made.jobs(made.folds_of(0), recipes, (), recipes[0])
    assert [recipe.name for job in jobs for recipe in job.stacked] == ["separate"]
    assert [recipe.name for job in jobs for recipe in job.single] == ["balancer-upgrad"] * 3


@pytest.mark.parametrize("rule", ["size", "difficulty", "gradients", "searched"])
def test_rules_of_weights(rule):
    recipes = [*TWO, replace(TWO[1], name="rule", weights=rule)]
    found = Study(experiment(Folds(2)), recipes, seeds=1).run(workers=1)
    assert not found.failed
    assert np.isfinite(values(found, "rule", "sum")).all()


def test_a_task_without_a_number_weighs_one():
    named = [task.name for task in TASKS]
    recipes = [
        *TWO,
        replace(TWO[1], name="some", weights=((named[0], 3.0),)),
        replace(TWO[1], name="all", weights=((named[0], 3.0), *((n, 1.0) for n in named[1:]))),
    ]
    found = Study(experiment(Folds(2)), recipes, seeds=1).run(workers=1)
    assert not found.failed
    for task in named:
        np.testing.assert_array_equal(values(found, "some", task), values(found, "all", task))


@pytest.mark.parametrize("schedule", [Joint(), Merge()])
def test_weights_by_number_go_to_the_networks_that_have_the_tasks(schedule):
    recipe = Recipe(weights=(("a", 2.0), ("c", 3.0)), schedule=schedule)
    found = [
        recipe.trainer_options(group, "abc", weights=dict(recipe.weights), rows=9, validates=False)
        for group in ("ab", "c")
    ]
    joint = isinstance(schedule, Joint)
    assert [one["weights"] for one in found] == [{"a": 2.0} if joint else None, None]


def test_own_balancers_phases_and_networks_of_recipes():
    tuned = Phases((Phase(name="joint", epochs=1), Phase(name="tune", epochs=1, each_task=True)))
    recipes = [
        *TWO,
        replace(TWO[1], name="own balancer", balancer=UPGrad()),
        replace(TWO[1], name="fine-tuned", schedule=tuned),
        replace(TWO[1], name="wide", network=wide),
        replace(TWO[1], name="groups", partition=(("sign",), ("sum",))),
    ]
    found = Study(experiment(Folds(3)), recipes, seeds=1).run(workers=1)
    assert not found.failed
    parameters = dict(found.costs().select("recipe", "parameters").iter_rows())
    trunk, head, wide_trunk, wide_head = 4 * 8 + 8, 8 + 1, 4 * 32 + 32, 32 + 1
    assert parameters["separate"] == parameters["groups"] == 2 * (trunk + head)
    assert parameters["joint"] == parameters["own balancer"] == trunk + 2 * head
    assert parameters["wide"] == wide_trunk + 2 * wide_head
    # each task has a copy of the whole network
    assert parameters["fine-tuned"] == 2 * (trunk + 2 * head)
    assert answer(found)


def test_merged_networks_are_one_for_all_tasks_and_cost_what_separate_ones_do():
    merged = replace(TWO[1], name="merged", schedule=Merge("ties"))
    told = replace(merged, name="told", weights="gradients", balancer=UPGrad())
    made = experiment(Folds(3))
    found = Study(made, [*TWO, merged, told], seeds=1).run(workers=1)
    assert not found.failed
    costs = {row["recipe"]: row for row in found.costs().iter_rows(named=True)}
    assert costs["merged"]["parameters"] == costs["joint"]["parameters"]
    # what a recipe says of weights is left aside, as for separate networks
    for task in TASKS:
        np.testing.assert_array_equal(
            values(found, "merged", task.name), values(found, "told", task.name)
        )
    jobs = made.jobs(made.folds_of(0), [merged], (), merged)
    assert [recipe.name for job in jobs for recipe in job.stacked] == ["merged"]


def test_costs_count_steps_and_passes():
    found = Study(experiment(Folds(3, validation=0.25)), TWO, seeds=1).run(workers=1)
    row = {one["recipe"]: one for one in found.costs().iter_rows(named=True)}
    # 30 rows are trained on in two batches, two epochs of each
    assert row["joint"]["steps"] == 4
    assert row["joint"]["passes"] == 2
    assert row["separate"]["steps"] == 8
    assert row["separate"]["passes"] == 4
    assert row["joint"]["seconds"] > 0


def sets(whole):
    inputs, targets = whole.inputs, whole.targets
    parts = slice(None, 24), slice(24, None)
    return {
        name: TensorData(inputs[part], {name: targets[name][part]})
        for name, part in zip(targets, parts, strict=True)
    }


@pytest.mark.parametrize(
    "given",
    [
        Rows(data()),
        DataSource(Rows(data()), batch_size=16),
        DataLoader(Rows(data()), batch_size=16),
        sets(data()),
        {name: DataSource(one, batch_size=8) for name, one in sets(data()).items()},
        Mixture(sets(data()), batch_size=8, sampling="proportional"),
        Mixture(sets(data()), sampling={"sum": 0.25, "sign": 0.75}),
    ],
    ids=["dataset", "source", "loader", "sets", "sources", "mixture", "probabilities"],
)
def test_data_of_any_kind(given):
    """Rows of a set for a task alone are counted for it alone."""
    found = Study(experiment(Folds(2), given=given), TWO, seeds=1).run(workers=1)
    assert not found.failed
    assert found.table["value"].is_finite().all()
    tested = found.table.filter(pl.col("recipe") == "joint").group_by("task").agg(
        pl.col("test_rows", "fold").sort_by("fold").unique(maintain_order=True)
    )  # fmt: skip
    assert len(tested) == 2
    if isinstance(given, (dict, Mixture)):
        labels = found.study.experiment.label_counts()
        assert labels == {"sum": 24, "sign": 36}


def test_a_data_set_gives_what_the_same_tensors_give():
    """Reading rows one by one changes their order in training, not which rows are in which part."""
    frames = [
        Study(experiment(Given([(range(40), range(40, 60))]), given=one), TWO, seeds=1)
        .run(workers=1)
        .table
        for one in (data(), Rows(data()))
    ]
    assert frames[0].drop("value").equals(frames[1].drop("value"))


# --- a fixed test set -----------------------------------------------------------------------------


def test_verdicts_on_one_test_set_are_a_paired_t_test_over_seeds():
    made = experiment(Holdout(data(40, seed=1), validation=0.2))
    found = Study(made, TWO, seeds=5).run(workers=1)
    change = found.compare("joint")["sum"]
    ours, theirs = values(found, "joint", "sum"), values(found, "separate", "sum")
    assert len(ours) == 5
    # two tasks and Delta-m share the level: a quarter for each task
    interval = stats.ttest_1samp(theirs - ours, 0).confidence_interval(1 - 0.05 / 4)
    scale = 100 / theirs.mean() if change.unit == "percent" else 1.0
    assert change.low == pytest.approx(scale * interval.low)
    assert change.high == pytest.approx(scale * interval.high)
    page = write_markdown(found, "own modules")
    assert "one test set for all seeds; 20 % of the training rows for early stopping" in page
    words = " ".join(answer(found))
    assert "5 seeds on one test set" in words
    assert "not for other test rows" in words


def test_too_few_seeds_on_one_test_set_are_said_to_be_seeds():
    made = experiment(Holdout(data(40, seed=1), validation=0.2))
    words = " ".join(answer(Study(made, TWO, seeds=2).run(workers=1)))
    assert "Two seeds give no interval" in words
    assert "Run with --seeds 5" in words
    assert "fold" not in words


def test_recipes_are_chosen_by_validation_rows_and_never_by_the_test_set():
    """Garbage in the test set's targets changes the verdicts, not the choice."""
    train, validation = data(), data(60, seed=2)
    recipes = [*TWO, replace(TWO[1], name="longer", epochs=12)]
    chosen = []
    for noise in (0.0, 100.0):
        test = data(40, seed=1)
        test.targets["sum"].add_(noise * torch.randn(40))
        found = Study(experiment(Holdout(test, validation), given=train), recipes, seeds=2)
        result = found.run(workers=1)
        chosen.append(result.best().name)
        assert result.validation is not None
        assert set(result.validation["test_rows"]) == {60}
    assert chosen == ["longer", "longer"]


def test_the_test_set_is_no_part_of_training():
    test = data(30, seed=1)
    made = experiment(Holdout(test, validation=0.2))
    (fold,) = made.folds_of(3)
    rows, held_out = made.held_out(fold)
    assert sorted([*rows, *held_out]) == list(range(60))
    assert len(held_out) == 12
    assert fold.test.tolist() == list(range(60, 90))
    assert torch.equal(made.take(fold.test, ["sum"], training=False).inputs, test.inputs)
    share = experiment(Holdout(0.25))
    tested = [share.folds_of(seed)[0].test for seed in (0, 7)]
    np.testing.assert_array_equal(*tested)
    assert len(tested[0]) == 15


def test_given_splits_of_rows_and_of_data_sets():
    marks = np.arange(60) < 40
    made = experiment(Given([(marks, ~marks), (range(20, 60), range(10), range(10, 20))]))
    first, second = made.folds_of(0)
    assert (len(first.train), len(first.test)) == (40, 20)
    rows, held_out = made.held_out(second)
    assert (rows.min(), held_out.tolist()) == (20, list(range(10)))
    parts = data(), data(30, seed=1), data(20, seed=2)
    apart = Experiment(TASKS, network, splits=Given([parts]))
    assert apart.fixed_test
    (fold,) = apart.folds_of(0)
    assert [len(one) for one in (*apart.held_out(fold), fold.test)] == [60, 30, 20]
    assert Study(apart, TWO, seeds=1).run(workers=1).validation is not None


def test_groups_stay_together_and_time_goes_forward():
    groups = np.repeat(np.arange(20), 3)
    made = experiment(Folds(4, groups=groups))
    for fold in made.folds_of(0):
        rows, held_out = made.held_out(fold)
        assert not set(groups[fold.train]) & set(groups[fold.test])
        assert not set(groups[rows]) & set(groups[held_out])
    later = experiment(Folds(3, time=np.arange(60)))
    for fold in later.folds_of(0):
        rows, held_out = later.held_out(fold)
        assert rows.max() < held_out.min() < held_out.max() < fold.test.min()


# --- bad input ------------------------------------------------------------------------------------


def test_a_recipe_that_fails_is_left_out_with_its_error():
    recipes = [*TWO, replace(TWO[1], name="broken", network=broken)]
    found = Study(experiment(Folds(3)), recipes, seeds=1).run(workers=1)
    error = "`network` of recipe 'broken' failed for sum, sign: RuntimeError: no such layer"
    assert found.failed == {"broken": error}
    assert found.recipe_names == ["separate", "joint"]
    assert found.notes == (f"recipe broken failed and was left out: {error}",)
    with pytest.raises(InvalidInputError, match="failed for sum, sign: RuntimeError: no such"):
        Study(Experiment(TASKS, broken, data(), Folds(3)), TWO)
    fails = [replace(TWO[0], network=broken), TWO[1]]
    with pytest.raises(InvalidInputError, match="recipe 'separate' failed, with which all others"):
        Study(experiment(Folds(3)), fails, seeds=1).run(workers=1)


def ends_the_program(tasks):
    raise SystemExit(3)


def test_a_factory_that_ends_the_program_is_an_error_like_others():
    recipes = [*TWO, replace(TWO[1], name="broken", network=ends_the_program)]
    found = Study(experiment(Folds(3)), recipes, seeds=1).run(workers=1)
    assert found.failed["broken"].endswith("failed for sum, sign: SystemExit: 3")


def test_one_recipe_that_raises_in_training_leaves_the_rest():
    recipes = [*TWO, replace(TWO[1], name="nan", weights={"sum": 1e38, "sign": 1e38})]
    found = Study(experiment(Folds(3)), recipes, seeds=1).run(workers=1)
    assert list(found.failed) == ["nan"]
    assert found.recipe_names == ["separate", "joint"]
    assert any(note.startswith("recipe nan failed and was left out: ") for note in found.notes)


class Flaky(UPGrad):
    """Fails while a variable is set."""

    def weights(self, gramian, losses):
        if os.environ.get("MACHINE_IS_FULL"):
            raise MemoryError("no room")
        return super().weights(gramian, losses)


def flaky(tasks):
    if os.environ.get("MACHINE_IS_FULL"):
        raise MemoryError("no room")
    return wide(tasks)


@pytest.mark.parametrize("name", [pytest.param("joint", marks=pytest.mark.integration), "separate"])
def test_a_recipe_that_failed_is_tried_again_with_the_same_store(name, tmp_path, monkeypatch):
    recipes = [
        replace(TWO[0], network=flaky) if name == "separate" else TWO[0],
        replace(TWO[1], balancer=Flaky()),
        replace(TWO[1], name="upgrad", balancer=UPGrad()),
    ]
    study = Study(experiment(Folds(2)), recipes, seeds=1)
    monkeypatch.setenv("MACHINE_IS_FULL", "1")
    if name == "separate":
        with pytest.raises(InvalidInputError, match="MemoryError: no room"):
            study.run(workers=1, store=tmp_path)
    else:
        first = study.run(workers=1, store=tmp_path)
        assert list(first.failed) == ["joint"]
        assert list(study.run(workers=1, store=tmp_path).failed) == ["joint"]
    monkeypatch.delenv("MACHINE_IS_FULL")
    second = study.run(workers=1, store=tmp_path)
    assert not second.failed
    assert second.table.equals(study.run(workers=1).table)
    third = study.run(workers=1, store=tmp_path)
    assert third.seconds == second.seconds  # nothing was trained
    if name == "joint":
        assert second.seconds["upgrad"] == first.seconds["upgrad"]


def test_a_store_of_another_torch_is_refused_and_threads_change_no_bit(tmp_path, monkeypatch):
    study = Study(experiment(Folds(3)), TWO, seeds=1)
    before = torch.get_num_threads()
    try:
        tables = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            tables.append(study.run(workers=1, store=tmp_path / str(threads)).table)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert tables[0].equals(tables[1])
    monkeypatch.setattr(torch, "__version__", "0.1")
    with pytest.raises(InvalidInputError, match=r"torch is '.*' there and '0.1' here"):
        study.run(workers=1, store=tmp_path / "1")


def shares_a_trunk():
    trunk = nn.Linear(4, 8)

    def make(tasks):
        return HardSharing(trunk, {task.name: nn.Linear(8, 1) for task in tasks})

    return make


def lacks_a_head(tasks):
    return HardSharing(nn.Linear(4, 8), {"sum": nn.Linear(8, 1)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (shares_a_trunk(), "returned a part that it had returned before"),
        (lacks_a_head, "has no head of task 'sign'"),
        (lambda tasks: nn.Linear(4, 1), "returned a Linear for sum, sign"),
        (network(TASKS), "one network that all runs would share"),
        (3, "must be called with tasks"),
    ],
)
def test_factories_that_make_no_fresh_network(make, message):
    with pytest.raises(InvalidInputError, match=message):
        Study(Experiment(TASKS, make, data(), Folds(3)), TWO)


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"data": TensorData(torch.zeros(5, 4), {"sum": torch.zeros(5)})},
            "no target of task 'sig",
        ),
        ({"data": {"sum": data()}}, "task 'sign' has no data"),
        ({"data": {"sum": data(), "sgn": data()}}, "'sgn', which is no task"),
        ({"data": Stream()}, "can't be had by number"),
        ({"data": None}, "needs `data`"),
        ({"tasks": [TASKS[0], TASKS[0]]}, "two tasks are named 'sum'"),
        ({"tasks": []}, "at least one task"),
        ({"splits": 5}, "`splits` must be Folds, Holdout or Given"),
        ({"splits": Folds(3, groups=[1, 2])}, "`groups` must hold a value for each of the 60 rows"),
        ({"splits": Folds(3, time=[np.nan] * 60)}, "`time` holds a value that is no number"),
        (
            {"splits": Folds(3, time=np.array(["NaT"] + ["2024-01-01"] * 59, dtype="M8[D]"))},
            "`time` holds a value that is no number",
        ),
        (
            {"splits": Folds(3, groups=[0.0, np.nan] * 30)},
            "`groups` holds no value for row 1 (from 0)",
        ),
        ({"splits": Folds(3, groups=["a", "b", None] * 20)}, "`groups` holds no value for row 2"),
        (
            {"splits": Holdout(0.3, groups=np.array(["2024-01-01", "NaT"] * 30, dtype="M8[D]"))},
            "`groups` holds no value for row 1",
        ),
        ({"splits": Given([(range(50), range(50, 61))])}, "names row 60, and there are 60"),
        ({"splits": Given([([0, 1, 1], range(50, 60))])}, "names row 1 twice"),
        ({"splits": Given([(range(60), [])])}, "a part of split 0 has no row"),
    ],
)
def test_experiments_that_can_not_be(arguments, message):
    given = {"tasks": TASKS, "network": network, "data": data(), "splits": Folds(3)}
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        Experiment(**given | arguments)


@pytest.mark.parametrize(
    "sampler",
    [
        SubsetRandomSampler(range(30)),
        WeightedRandomSampler([1.0] * 60, 60),
        RandomSampler(range(60), replacement=True),
        RandomSampler(range(60), num_samples=30),
    ],
)
def test_rows_that_a_loader_leaves_out_do_not_come_back(sampler):
    by_rows = {"sampler": sampler}
    by_batches = {"batch_sampler": BatchSampler(sampler, 8, drop_last=False)}
    for options in (by_rows, by_batches):
        loader = DataLoader(Rows(data()), **options)
        name = type(next(iter(options.values()))).__name__
        with pytest.raises(InvalidInputError, match=rf"chooses rows by its {name}, .*give Subset"):
            Experiment(TASKS, network, loader, Folds(3))
        with pytest.raises(InvalidInputError, match="the DataLoader of the test data chooses"):
            Experiment(TASKS, network, data(), Holdout(test=DataSource(loader)))


def test_loaders_of_all_rows_in_any_order_serve():
    for sampler in (SequentialSampler(range(60)), RandomSampler(range(60))):
        loader = DataLoader(Rows(data()), 8, sampler=sampler)
        assert Experiment(TASKS, network, loader, Folds(3)).row_count == 60


def test_groups_may_be_of_types_that_have_no_order():
    groups = [1, "1", "a"] * 20
    experiment = Experiment(TASKS, network, data(), Folds(3, groups=groups))
    for fold in experiment.folds_of(0):
        test = {groups[row] for row in fold.test}
        assert test.isdisjoint(groups[row] for row in fold.train)


@pytest.mark.parametrize(
    ("splits", "more", "message"),
    [
        (
            Given([(range(50), range(45, 60))]),
            {},
            "on 5 same rows, the first is 45",
        ),
        (Holdout(data(5)), {"check_rows": True}, "test row 60 of split 0 has the same inputs as"),
        (Folds(61), {}, "fewer than the 61 folds"),
    ],
)
def test_test_rows_that_were_trained_on(splits, more, message):
    with pytest.raises(InvalidInputError, match=message):
        Study(experiment(splits, **more), TWO, seeds=1).run(workers=1)


ROWS = Rows(data())


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (Subset(ROWS, range(40)), Subset(ROWS, range(30, 60)), "share some, such as row 30"),
        (ROWS, Subset(ROWS, [5, 7]), "share some, such as row 5"),
        (Subset(Subset(ROWS, range(20, 60)), [0]), DataSource(Subset(ROWS, [20])), "as row 20"),
        ({"sum": ROWS}, {"sum": ROWS}, "share some; test rows"),
    ],
)
def test_subsets_of_one_data_set_that_share_rows(train, test, words):
    if isinstance(train, dict):
        one = {name: TensorDataset(torch.randn(30, 4), torch.ones(30)) for name in ("sum", "sign")}
        train, test = dict(one), dict(one)
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, train, Holdout(test))
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, splits=Given([(train, test)]))


def test_subsets_of_one_data_set_that_share_no_row():
    made = Experiment(TASKS, network, Subset(ROWS, range(40)), Holdout(Subset(ROWS, range(40, 60))))
    assert len(made.folds_of(0)[0].test) == 20


def test_the_same_data_set_to_train_and_to_test():
    whole = data()
    with pytest.raises(InvalidInputError, match="trains and tests on 60 same rows"):
        Study(experiment(Holdout(whole), given=whole), TWO, seeds=1).run(workers=1)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(name="r", width=64), "sets `width`, which is for tables"),
        (Recipe(name="r", ensemble=4), "sets `ensemble`, which is for tables"),
        (Recipe(name="r", network="mmoe"), "names network 'mmoe', which is for tables"),
        (Recipe(name="r", weights={"sm": 1.0}), "'sm', which is no task"),
        (Recipe(name="r", balancer="upgrat"), "upgrat"),
    ],
)
def test_recipes_that_only_tables_can_run(recipe, message):
    with pytest.raises(InvalidInputError, match=message):
        Study(experiment(Folds(3)), [*TWO, recipe])


def test_baselines_and_folds_are_for_tables():
    with pytest.raises(InvalidInputError, match="baseline 'linear' is for tables"):
        Study(experiment(Folds(3)), TWO, ["linear"])
    with pytest.raises(InvalidInputError, match="says itself how it is split, into 1 fold;"):
        Study(experiment(Holdout(0.2)), TWO, folds=5)
    assert Study(experiment(Folds(3)), TWO, folds=4).folds == 4
    with pytest.raises(InvalidInputError, match="a study is of a SupervisedTable"):
        Study(data(), TWO)
    with pytest.raises(InvalidInputError, match="has no metric"):
        Experiment([Task("x", "custom", loss_function=lambda o, t: o, size=1)], network, data())


# --- the model to keep, searches, budgets ---------------------------------------------------------


def test_the_model_to_keep_is_trained_on_all_rows_but_those_of_the_test_set():
    """It is what a trainer gives on the same rows, and the test set's targets change nothing."""
    test = data(40, seed=1)
    made = experiment(Holdout(test, validation=0.2))
    found = Study(made, TWO, seeds=1).run(workers=1)
    model = fit_chosen(found, recipe="joint")
    predicted = model.predict(test.inputs)
    assert predicted["sum"].shape == (40,)
    (fold,) = made.folds_of(0)
    rows, held_out = made.held_out(fold)
    torch.manual_seed(0)
    trainer = Trainer(
        network(TASKS), TASKS, seed=0, device="cpu",
        settings=QUICK.settings(len(rows), validates=True),
    )  # fmt: skip
    whole = data()
    trainer.fit(whole.take(torch.tensor(rows)), whole.take(torch.tensor(held_out)))
    torch.testing.assert_close(predicted, trainer.predict(test.inputs))
    test.targets["sum"].mul_(-50)
    torch.testing.assert_close(fit_chosen(found, recipe="joint").predict(test.inputs), predicted)
    metrics = fit_chosen(found).evaluate(test)
    assert set(metrics) == {"sum", "sign"}
    with pytest.raises(InvalidInputError, match=r"there is no recipe 'jint'.*did you mean 'joint'"):
        fit_chosen(found, recipe="jint")


def test_the_model_to_keep_has_a_deadline():
    found = Study(experiment(Folds(3)), TWO, seeds=1).run(workers=1)
    in_time = fit_chosen(found, recipe="joint", until=time.monotonic() + 300)
    plain = fit_chosen(found, recipe="joint")
    inputs = data().inputs
    for task, values in plain.predict(inputs).items():
        torch.testing.assert_close(in_time.predict(inputs)[task], values)
    with pytest.raises(InvalidInputError, match="time was over before joint was trained on all"):
        fit_chosen(found, recipe="joint", until=time.monotonic())


def test_the_model_to_keep_has_fewer_epochs_where_it_would_take_too_long():
    recipes = [replace(one, epochs=10) for one in TWO]
    found = Study(experiment(Folds(3)), recipes, seeds=1).run(workers=1)
    found.seconds["joint"] = 3 * 8.0  # a fold took 8 s, so that all rows take 12
    cuts = []
    # there is no time left, but a short fit is made all the same
    fit_chosen(found, recipe="joint", seconds=12.1, until=time.monotonic(), on_cut=cuts.append)
    fit_chosen(found, recipe="joint", seconds=24.1, on_cut=cuts.append)
    assert cuts == ["the model was trained for at most 5 of 10 epochs"]


def test_the_model_to_keep_of_folds_sees_all_rows():
    seen = []

    class Noted(Rows):
        def __getitem__(self, row):
            seen.append(row)
            return super().__getitem__(row)

    made = experiment(Folds(3), given=Noted(data()))
    model = made.fit(replace(TWO[1], weights="difficulty"))
    assert set(seen) == set(range(60))
    assert [part.tasks for part in model.parts] == [("sum", "sign")]
    apart = made.fit(TWO[0])
    assert [part.tasks for part in apart.parts] == [("sum",), ("sign",)]


def test_weights_and_groups_are_searched_with_own_modules():
    made = experiment(Folds(3))
    recipe = TWO[1]
    found = search_weights(made, recipe, trials=1, seeds=1, workers=1)
    assert {"equal", "difficulty", "gradients", "search 1"} <= set(found.candidates.names)
    groups = search_groups(made, recipe, trials=1, seeds=1, workers=1)
    assert groups.affinity.shared.tolist() == [[60, 60], [60, 60]]
    assert groups.recommended in ("separate", "together")


def test_a_large_budget_pays_for_the_whole_study():
    for splits in (Folds(2), Holdout(0.3)):
        study = Study(experiment(splits), TWO, seeds=2)
        found = run_within_budget(study, 1e5, workers=1, further=False)
        assert found.notes == ()
        assert found.study.seeds == 2
        assert found.runs("joint") == (4 if isinstance(splits, Folds) else 2)


def test_the_smallest_budget_has_a_first_look_and_says_what_was_cut():
    study = Study(experiment(Folds(3), given=data(1000)), TWO, seeds=3)
    found = run_within_budget(study, 0.001, workers=1)
    assert found.recipe_names == ["separate", "joint"]
    assert "budget of 0.001 s: a sample of 400 of 1,000 rows was used" in found.notes
    assert "first look" in " ".join(found.notes)
    assert found.folds_done == 1
    assert circumstances_of(found).sampled


def test_after_a_study_of_a_sample_the_model_to_keep_is_trained_on_the_rows_there_is_time_for():
    study = Study(experiment(Folds(3), given=data(1000)), TWO, seeds=1)
    found = run_within_budget(study, 0.001, workers=1)
    inputs, cuts = data(50, seed=1).inputs, []
    ways = {"experiment": study.experiment, "recipe": "joint", "on_cut": cuts.append}
    whole = fit_chosen(found, seconds=1e6, **ways)
    assert cuts == []
    by_hand = study.experiment.fit(found.recipe("joint"), seed=0)
    torch.testing.assert_close(whole.predict(inputs), by_hand.predict(inputs))
    fit_chosen(found, seconds=1e-6, **ways)
    assert cuts[0] == "the model was trained on 400 of 1,000 rows"


def test_a_metric_that_is_undefined_on_a_split_is_named():
    whole = data()
    whole.targets["sign"][:20] = 1.0
    made = experiment(Given([(range(20, 60), range(20)), (range(40), range(40, 60))]), given=whole)
    found = Study(made, TWO, seeds=1).run(workers=1)
    note = (
        "ROC-AUC of sign is undefined on split 0 of seed 0, by separate, and in 1 more run: test "
    )
    assert any(one.startswith(note) for one in found.notes)
    assert np.isnan(values(found, "joint", "sign")).tolist() == [True, False]


def test_a_row_that_is_for_training_and_for_validation():
    with pytest.raises(InvalidInputError, match="row 10 of split 0 is both to train on and for"):
        experiment(Given([(range(20), range(10, 30), range(30, 60))]))


# --- rows that weigh ------------------------------------------------------------------------------


def weighted(factor: float = 1.0) -> TensorData:
    rows = data()
    weights = torch.arange(60.0) % 4 * factor
    return TensorData(rows.inputs, rows.targets, weights)


class WeighedRows(Rows):
    """The same rows with their weights."""

    def __getitem__(self, row: int):
        targets = {name: target[row] for name, target in self.rows.targets.items()}
        return self.rows.inputs[row], targets, self.rows.weights[row]


def test_weights_reach_the_runs_of_a_study_and_its_figures():
    made = experiment(Folds(3), given=weighted())
    assert made.digest() != experiment(Folds(3)).digest()
    assert made.digest() != experiment(Folds(3), given=weighted(2.0)).digest()
    assert np.isnan(made._layout.labels[::4]).all()
    result = Study(made, TWO[:1], seeds=1).run(workers=1)
    row = result.table.row(0, named=True)
    fold = made.folds_of(row["seed"])[row["fold"]]
    kept = weighted().weights.numpy()[fold.test]
    assert row["test_rows"] == round(kept.sum() ** 2 / (kept**2).sum())
    again = Study(experiment(Folds(3), given=weighted(8.0)), TWO[:1], seeds=1).run(workers=1)
    assert result.table["value"].to_list() == again.table["value"].to_list()
    plain = Study(experiment(Folds(3)), TWO[:1], seeds=1).run(workers=1)
    assert result.table["value"].to_list() != plain.table["value"].to_list()


def test_data_sets_that_are_read_keep_their_weights():
    made = experiment(Folds(3), given=WeighedRows(weighted()))
    source = made.take(np.arange(5), ["sum"], training=True)
    batch = source.collate_fn([source.data[row] for row in range(5)])
    assert batch[2].tolist() == [0, 1, 2, 3, 0]
    assert list(batch[1]) == ["sum"]


def test_a_sample_keeps_rare_labels_and_small_data_sets():
    whole = data(1000)
    whole.targets["sign"][:] = 0
    whole.targets["sign"][:7] = 1
    small = {"sum": whole.take(torch.arange(30)), "sign": whole}
    made = experiment(Folds(2), given=small).sample(100, seed=0)
    rows = np.concatenate([fold.test for fold in made.folds_of(0)])
    assert set(range(30)) <= set(rows)
    assert set(range(30, 37)) <= set(rows)
    assert 100 <= len(rows) <= 200
    assert made.digest() != experiment(Folds(2), given=small).digest()


def test_tasks_devices_and_times_that_are_none():
    for tasks, words in (
        (TASKS[0], "a list of tasks"),
        (["sum"], "must hold tasks"),
        (3, "a list"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            Experiment(tasks, network, data())
        with pytest.raises(InvalidInputError, match=words):
            Experiment.of(run=print, tasks=tasks)
    with pytest.raises(InvalidInputError, match="must be auto, cpu or cuda, got 'gpu0'"):
        experiment(Folds(3), device="gpu0")
    with pytest.raises(InvalidInputError, match="must hold numbers, such as days"):
        experiment(Folds(3, time=["May"] * 60))


def _measured(value):
    task = replace(
        Task.regression("sum"),
        metrics=(
            Metric("share", lambda p, t: value, higher_is_better=True, lowest=0, highest=1),
            Metric("any", lambda p, t: value, higher_is_better=True),
        ),
    )
    return Experiment([task], network, data())


@pytest.mark.parametrize("value", [57.0, -0.5, math.inf])
def test_metrics_of_ones_own_stay_within_their_bounds(value):
    with pytest.raises(InvalidInputError, match="share of task 'sum', which lies between 0 and 1"):
        Study(_measured(value), TWO, seeds=1).run(workers=1)


def test_an_infinite_metric_is_told_as_an_undefined_one():
    task = replace(
        Task.regression("sum"),
        metrics=(Metric("own", lambda p, t: math.inf, higher_is_better=True),),
    )
    found = Study(Experiment([task], network, data()), TWO, seeds=1).run(workers=1)
    assert any("own of sum is undefined" in note for note in found.notes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Folds(2.5), "`folds` must be a whole number, got 2.5"),
        (lambda: Folds("5"), "`folds` must be a whole number, got '5'"),
        (lambda: Folds(True), "`folds` must be a whole number, got True"),
        (lambda: Folds(3, validation="a"), "`validation` must be a share .* got 'a'"),
        (lambda: Given([([0], [1])], validation=None), "`validation` must be a share"),
        (lambda: Holdout(0.2, seed=1.5), "`seed` must be a whole number"),
        (lambda: Study(_measured(0.5), TWO, seeds=1.5), "`seeds` must be a whole number, got 1.5"),
        (lambda: Study(_measured(0.5), TWO, seeds="1"), "`seeds` must be a whole number"),
        (lambda: Study(_measured(0.5), TWO, seed=0.5), "`seed` must be a whole number"),
    ],
)
def test_settings_of_another_type_are_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_whole_numbers_of_numpy_are_numbers():
    assert type(Folds(np.int64(3)).count) is int
    assert type(Study(_measured(0.5), TWO, seeds=np.int64(2)).seeds) is int
