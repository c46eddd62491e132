"""Recipes: values that go to JSON and back, and what they choose by the number of rows."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, strategies as st

from jointrain import (
    Alternating,
    HardSharing,
    InvalidInputError,
    Joint,
    Merge,
    OptimizerSettings,
    Separate,
    Task,
)
from jointrain.experiments._recipe import Recipe, difficulty_weights, size_weights
from jointrain.networks import MMoE
from jointrain.networks._dropout import Dropout
from jointrain.task import CodeColumns
from jointrain.training import Phase, Phases, Schedule

RECIPES = [
    Recipe(),
    Recipe(name="apart", schedule=Separate(), gradient_clip=None),
    Recipe(
        schedule=Alternating("random", {"a b": 0.25, "ü": 0.75}),
        weights={"a b": 1, "ü": 0.3},
        optimizer=OptimizerSettings(name="sgd", learning_rate=0.1, momentum=0.9),
        optimizer_layout="per_task",
        decay="none",
        batch_size=7,
        epochs=3,
        patience=2,
        l1=0.1,
    ),
    Recipe(schedule=Alternating("proportional"), weights="difficulty"),
    Recipe(partition=(("a b", "ü"), ("c",)), shared_depth=1, weights="gradients"),
    Recipe(network="soft", network_options={"distance": "trace", "strength": 0.5}),
    Recipe(schedule=Merge("dare", then="ties", weights={"a b": 2}), shared_depth=1),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_survives_json(recipe):
    import json

    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_recipes_are_values():
    assert Recipe() == Recipe()
    assert hash(Recipe(weights={"a": 1})) == hash(Recipe(weights=(("a", 1.0),)))
    assert Recipe(l1=0.1) != Recipe()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"width": "wide"}, "recipe: width: "),
        ({"schedule": {"kind": "jiont"}}, "recipe: schedule"),
        ({"decay": "linear"}, "recipe: decay: "),
        ({"weights": "eqal"}, "`weights` must be equal, size, difficulty.*did you mean 'equal'"),
        ({"colour": 1}, "recipe: colour: "),
    ],
)
def test_json_that_is_no_recipe_is_refused(values, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe.from_json(Recipe().to_json() | values)


@pytest.mark.parametrize("fraction", [0.0, 1.0, math.nan])
def test_a_validation_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(InvalidInputError, match=r"`validation_fraction` must lie in \(0, 1\)"):
        Recipe(validation_fraction=fraction)


def test_an_unknown_rule_of_weights_is_refused():
    with pytest.raises(InvalidInputError, match=r"got 'sizes'.*did you mean 'size'"):
        Recipe(weights="sizes")


def test_groups_say_which_tasks_share_a_network():
    assert Recipe().groups(["a", "b"]) == [("a", "b")]
    assert Recipe(schedule=Alternating()).groups(["a", "b"]) == [("a", "b")]
    assert Recipe(schedule=Separate()).groups(["a", "b"]) == [("a",), ("b",)]


def test_given_settings_are_kept():
    recipe = Recipe(batch_size=5, epochs=6, patience=7)
    chosen = [recipe.chosen_batch_size(99), recipe.chosen_epochs(99), recipe.chosen_patience(99)]
    assert chosen == [5, 6, 7]


@given(st.integers(1, 10**7))
def test_chosen_settings_stay_within_their_bounds(rows):
    recipe = Recipe(schedule=Joint())
    assert 32 <= recipe.chosen_batch_size(rows) <= 1024
    assert 20 <= recipe.chosen_epochs(rows) <= 300
    assert 8 <= recipe.chosen_patience(rows) <= recipe.chosen_epochs(rows)


def test_more_rows_mean_larger_batches_and_fewer_passes():
    recipe, sizes = Recipe(), [10, 100, 1000, 10_000, 100_000, 1_000_000]
    batches = [recipe.chosen_batch_size(rows) for rows in sizes]
    epochs = [recipe.chosen_epochs(rows) for rows in sizes]
    assert all(a <= b for a, b in pairwise(batches))
    assert all(a >= b for a, b in pairwise(epochs))


def test_weights_by_number_must_name_tasks():
    assert Recipe().given_weights(["a"]) is None
    assert Recipe(weights={"a": 2}).given_weights(["a", "b"]) == {"a": 2.0}
    with pytest.raises(InvalidInputError, match=r"names 'aa', which is no task.*did you mean 'a'"):
        Recipe(weights={"aa": 2}).given_weights(["a", "b"])


def test_weights_by_size_and_difficulty_have_mean_one():
    assert size_weights({"a": 100, "b": 300}) == pytest.approx({"a": 0.5, "b": 1.5})
    assert difficulty_weights({"a": 0.2, "b": 0.6}) == pytest.approx({"a": 0.5, "b": 1.5})
    assert difficulty_weights({"a": 0.0, "b": 0.0}) == pytest.approx({"a": 1.0, "b": 1.0})


def test_a_partition_says_which_tasks_share_a_network():
    recipe = Recipe(partition=[["a", "c"], ["b"]])
    assert recipe.groups(["a", "b", "c"]) == [("a", "c"), ("b",)]
    assert hash(recipe) == hash(Recipe(partition=(("a", "c"), ("b",))))


@pytest.mark.parametrize(
    "partition, message",
    [
        ([["alpha", "beta"], ["gama"]], "names 'gama', which is no task.*did you mean 'gamma'"),
        ([["alpha", "beta"]], "says nothing about task 'gamma'"),
        ([["alpha", "beta"], ["gamma", "alpha"]], "names task 'alpha' twice"),
        ([["alpha"], []], "every group of `partition` must name a task"),
        ([], "every group of `partition` must name a task"),
    ],
)
def test_a_partition_holds_each_task_once(partition, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe(partition=partition).groups(["alpha", "beta", "gamma"])


def test_separate_training_has_no_groups():
    with pytest.raises(InvalidInputError, match="trains each task by itself"):
        Recipe(schedule=Separate(), partition=[["a", "b"]])


@pytest.mark.parametrize("depth", [-1, 3])
def test_no_more_blocks_can_be_shared_than_there_are(depth):
    with pytest.raises(InvalidInputError, match=r"`shared_depth` must (lie between|be at least) 0"):
        Recipe(shared_depth=depth)


def test_a_recipe_makes_the_network_that_it_names():
    tasks = [Task.regression("a"), Task.multiclass("b", 3)]
    network = Recipe(network="mmoe", network_options={"experts": 3}, width=8).make_network(5, tasks)
    assert isinstance(network, MMoE)
    assert len(network.experts) == 3
    assert type(Recipe(width=8).make_network(5, tasks)) is HardSharing
    assert Recipe() == Recipe(network="hard", network_options=())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"expert": 3}, "'mmoe' has no setting 'expert'.*did you mean 'experts'"),
        ({"experts": "three"}, "`experts` of network 'mmoe': input should be a valid integer"),
        ({"experts": True}, "`experts` of network 'mmoe': .*, got True"),
        ({"embeddings": "sines"}, "`embeddings` of network 'mmoe': input should be 'linear' or"),
        ({"width": 8}, "`network_options` names 'width', which the recipe has itself"),
    ],
)
def test_options_that_the_network_does_not_take_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe(network="mmoe", network_options=options).check()


def test_a_shared_depth_goes_with_hard_sharing():
    with pytest.raises(InvalidInputError, match="goes with network 'hard', not 'mmoe'"):
        Recipe(network="mmoe", shared_depth=1)


@pytest.mark.parametrize(
    "tasks, inputs, settings, expected",
    [
        ([Task.binary("a"), Task.multiclass("b", 3)], 299, {}, [0.5, 0.5]),
        ([Task.binary("a"), Task.multiclass("b", 3)], 300, {}, [0.3, 0.5, 0.5]),
        ([Task.binary("a"), Task.regression("b")], 300, {}, [0.1, 0.1]),
        ([Task.regression("b")], 5, {"input_dropout": 0.2}, [0.2, 0.1, 0.1]),
        ([Task.binary("a")], 300, {"dropout": 0.0}, [0.3]),
        ([Task.binary("a")], 5, {"input_dropout": 0.3}, [0.3, 0.5, 0.5]),
        ([Task.binary("a")], 300, {"dropout": 0.2, "input_dropout": 0.0}, [0.2, 0.2]),
    ],
)
def test_dropout_is_chosen_by_tasks_and_inputs_unless_given(tasks, inputs, settings, expected):
    network = Recipe(**settings).make_network(inputs, tasks)
    assert [m.probability for m in network.modules() if isinstance(m, Dropout)] == expected


def test_values_of_ids_count_as_inputs():
    for count, expected in ((298, 0.3), (297, 0.0)):
        recipe = Recipe().for_tasks([Task.binary("a")], 2, [CodeColumns("user", 0, count)])
        assert recipe.input_dropout == expected


def test_dropout_of_a_class_task_beside_numbers_is_that_of_the_table():
    tasks = [Task.binary("a"), Task.regression("b")]
    network = Recipe().for_tasks(tasks, 5).make_network(5, tasks[:1])
    assert [m.probability for m in network.modules() if isinstance(m, Dropout)] == [0.1, 0.1]


def test_options_of_training_are_values():
    recipe = Recipe(
        lr_scheduler="StepLR",
        lr_scheduler_options={"step_size": 2},
        parameter_groups={"trunk": {"lr": 1e-4}, "b": {"lr": 1e-2}, "heads.b": {"lr": 1e-3}},
        precision="bf16",
        accumulate=2,
    )
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    made = recipe.settings(100, validates=True, absent=("b",))
    assert made.parameter_groups == {"trunk": {"lr": 1e-4}}
    assert (made.warm_up, made.decay, made.accumulate) == (0.0, "none", 2)
    assert made.lr_scheduler(torch.optim.SGD([torch.zeros(1)], lr=0.1)).step_size == 2
    with pytest.raises(InvalidInputError, match="'learning_rate', which is no option"):
        replace(recipe, parameter_groups={"trunk": {"learning_rate": 0.0}})
    explores = recipe.settings(100, validates=False, explores=True)
    assert (explores.precision, explores.accumulate) == ("32", 1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lr_scheduler_options": {"gamma": 1}}, "need an `lr_scheduler`"),
        ({"lr_scheduler": "StepLR", "warm_up": 0.2}, "give one of them"),
        ({"accumulate": 2, "refresh_every": 2}, "give one of them"),
        ({"non_finite": "skip"}, "give both or neither"),
        ({"ema": 0.9, "when_converged": "freeze", "task_patience": 1}, "give one of them"),
        ({"ema": 1.0}, r"`ema` must lie in \(0, 1\)"),
    ],
)
def test_options_of_training_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe(**options)


class _OwnSchedule(Schedule):
    """One that no file can hold."""

    def steps(self, labels, generator):
        while True:
            yield tuple(labels)

    def steps_per_epoch(self, batches, together):
        return together


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"schedule": _OwnSchedule()}, "must be Joint.*got _OwnSchedule"),
        (
            {"schedule": Phases((Phase(name="a", epochs=1, schedule=_OwnSchedule()),))},
            "got _OwnSchedule",
        ),
        ({"optimizer": torch.optim.SGD}, "must be OptimizerSettings"),
        ({"lr_scheduler": torch.optim.lr_scheduler.StepLR}, "must be a name, such as 'StepLR'"),
    ],
)
def test_what_no_store_can_hold_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe(**settings)
