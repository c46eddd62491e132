"""Weight rules that need other runs: what they ask for, and what they make of it."""

import numpy as np
import pytest

from jointrain import InvalidInputError, Recipe, Task
from jointrain.experiments._weight_rules import (
    SEARCHED_VECTORS,
    requested_recipes,
    searched_weights,
)
from jointrain.training import Separate
from jointrain.training._fitted_network import FittedNetwork

TASKS = [Task.regression("a"), Task.regression("b")]


def networks(**losses: float) -> list[list[FittedNetwork]]:
    return [[FittedNetwork(tuple(losses), None, {}, losses, (1, 1))]]


def drive(recipe, answer):
    """Answer each recipe that is asked for, and return what was asked and what came out."""
    asked = []
    generator = requested_recipes(recipe, TASKS)
    wanted = next(generator)
    while True:
        asked.append(wanted)
        try:
            wanted = generator.send([answer(one) for one in wanted])
        except StopIteration as end:
            return asked, end.value


def test_a_plain_recipe_is_fitted_once_as_it_is():
    recipe = Recipe()
    made = networks(a=1.0, b=1.0)
    assert drive(recipe, lambda _: made) == ([[recipe]], made)


def test_difficulty_first_asks_for_single_task_networks_then_weighs_by_their_losses():
    asked, _ = drive(Recipe(weights="difficulty"), lambda _: networks(a=3.0, b=1.0))
    assert isinstance(asked[0][0].schedule, Separate)
    assert dict(asked[1][0].weights) == pytest.approx({"a": 1.5, "b": 0.5})


def test_difficulty_without_a_validation_loss_counts_all_alike():
    asked, _ = drive(Recipe(weights="difficulty"), lambda _: networks(a=3.0))
    assert asked[1][0].weights == "equal"


def test_searched_refuses_losses_below_zero_which_nothing_is_relative_to():
    with pytest.raises(InvalidInputError, match=r"task 'b' is -0\.5, .* add a constant"):
        drive(Recipe(weights="searched"), lambda _: networks(a=1.0, b=-0.5))


def test_searched_keeps_the_networks_with_the_lowest_relative_loss():
    def answer(recipe):
        ratio = dict(recipe.weights)["a"] / dict(recipe.weights)["b"]
        # task b's losses are a thousand times those of a, and count as much
        return networks(a=0.001 * (2 - np.tanh(ratio)), b=1.0)

    asked, kept = drive(Recipe(weights="searched"), answer)
    assert len(asked) == 1
    assert len(asked[0]) == SEARCHED_VECTORS
    largest = max(asked[0], key=lambda recipe: dict(recipe.weights)["a"])
    assert kept[0][0].validation == answer(largest)[0][0].validation


def test_a_task_alone_is_not_searched_for():
    asked, _ = drive(Recipe(weights="searched", schedule=Separate()), lambda _: networks(a=1.0))
    assert [recipe.weights for recipe in asked[0]] == ["equal"]


@pytest.mark.parametrize("count", [2, 3, 14])
def test_searched_vectors_start_with_equal_weights_differ_and_favour_none(count):
    names = [f"task {index}" for index in range(count)]
    vectors = np.array([list(vector.values()) for vector in searched_weights(names)])
    assert vectors.shape == (SEARCHED_VECTORS, count)
    np.testing.assert_array_equal(vectors[0], 1.0)
    assert len(np.unique(vectors, axis=0)) == SEARCHED_VECTORS
    np.testing.assert_allclose(vectors.mean(1), 1.0, atol=5e-3)
    assert (vectors > 0).all()
