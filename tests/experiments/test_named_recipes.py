"""Recipes by name."""

import pytest

from jointrain import InvalidInputError, Recipe
from jointrain.experiments import default_recipes, named_recipes
from jointrain.experiments._named_recipes import FURTHER
from jointrain.training import Alternating, Joint, Merge, OptimizerSettings, Separate


def test_the_default_recipes_are_separate_joint_and_alternating():
    recipes = default_recipes()
    assert [recipe.name for recipe in recipes] == ["separate", "joint", "alternating"]
    assert [type(recipe.schedule) for recipe in recipes] == [Separate, Joint, Alternating]


def test_each_name_of_the_catalogue_sets_what_it_says():
    made = {recipe.name: recipe for recipe in named_recipes(FURTHER, Recipe(width=17))}
    assert all(recipe.width == 17 for recipe in made.values())
    assert made["weights-uncertainty"].balancer == "uncertainty"
    assert made["weights-searched"].weights == "searched"
    assert made["alternating-round-robin"].schedule == Alternating("round_robin")
    assert made["network-mmoe"].network == "mmoe"
    assert made["balancer-upgrad"].balancer == "upgrad"
    assert len({(r.balancer, r.network, r.weights, r.schedule) for r in made.values()}) == len(made)


def test_the_bases_own_schedule_is_kept_for_its_kind():
    base = Recipe(schedule=Alternating("proportional"))
    separate, joint, alternating = default_recipes(base)
    assert alternating.schedule == Alternating("proportional")
    assert isinstance(joint.schedule, Joint)
    assert isinstance(separate.schedule, Separate)


def test_joint_recipes_have_one_optimiser():
    base = Recipe(optimizer_layout="per_task", optimizer=OptimizerSettings())
    layouts = {
        r.name: r.optimizer_layout
        for r in named_recipes(["separate", "joint", "weights-size"], base)
    }
    assert layouts == {"separate": "per_task", "joint": "one", "weights-size": "one"}


def test_each_way_to_merge_has_a_name():
    names = ["merge-mean", "merge-arithmetic", "merge-ties", "merge-dare"]
    made = {recipe.name: recipe for recipe in named_recipes(names, Recipe(width=17))}
    assert made["merge-ties"].schedule == Merge("ties")
    assert [recipe.schedule.method for recipe in made.values()] == [
        "mean", "arithmetic", "ties", "dare",
    ]  # fmt: skip
    with pytest.raises(InvalidInputError, match="goes with network 'hard', not 'mmoe'"):
        named_recipes(["merge-mean"], Recipe(network="mmoe"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("jiont", "did you mean 'joint'"),
        ("weights-sise", "size"),
        ("balancer-upgrd", "upgrad"),
        ("network-mmeo", "mmoe"),
        ("alternating-rond-robin", "round_robin"),
        ("weights-", "no recipe"),
        ("merge-tie", "did you mean 'merge-ties'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest_one(name, said):
    with pytest.raises(InvalidInputError, match=said):
        named_recipes([name])
