"""--balancer-option: what a method has for each target, and what is refused."""

import json

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, SupervisedTable
from jointrain.cli import run
from jointrain.cli._config_file import load_settings
from jointrain.cli._settings import FitSettings
from jointrain.errors import InvalidInputError
from jointrain.tables import fit_table

QUICK = ["--ensemble", "1", "--epochs", "2", "--width", "8", "--depth", "1", "--device", "cpu"]
PREFERRING = ("epo", "pmgda", "ferero", "stch", "cosmos", "pbi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    x = np.random.default_rng(0).normal(size=(80, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    targets = {"price": x[:, 0] + x[:, 1], "demand": x[:, 0] - x[:, 2], "a, b": x[:, 1]}
    pl.DataFrame(columns | targets).write_csv(folder / "t.csv")
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def fitted(name, *more, targets="price,demand"):
    arguments = ["fit", "t.csv", "--targets", targets, *QUICK, "--out", name, "--force", *more]
    return run(arguments)


def predictions(name):
    assert run(["predict", name, "t.csv", "--out", f"{name}.csv", "--force"]) == 0
    return pl.read_csv(f"{name}.csv")


@pytest.mark.parametrize("method", PREFERRING)
def test_a_preference_by_order_by_name_and_in_a_config_file_is_the_same(method, tmp_path):
    balancer = ["--balancer", method]
    balancer += ["--balancer-option", "warmup_epochs=0"] if method == "stch" else []
    assert fitted("order", *balancer, "--balancer-option", "preference=3,1") == 0
    assert fitted("name", *balancer, "--balancer-option", "preference=demand:1,price:3") == 0
    for number, written in enumerate(("[3, 1]", "{price = 3, demand = 1}", '"price:3,demand:1"')):
        config = tmp_path / f"{number}.toml"
        more = "warmup_epochs = 0\n" if method == "stch" else ""
        config.write_text(
            f'balancer = "{method}"\n[balancer_option]\n{more}preference = {written}\n'
        )
        assert fitted(f"config{number}", "--config", str(config)) == 0
    assert fitted("even", *balancer) == 0
    found = predictions("order")
    for other in ("name", "config0", "config1", "config2"):
        assert found.equals(predictions(other))
    assert not found.equals(predictions("even"))


def test_python_takes_lists_and_mappings():
    table = SupervisedTable.prepare(pl.read_csv("t.csv"), ["price", "demand"], ignore=["a, b"])
    recipes = [
        Recipe(
            balancer="epo", balancer_options={"preference": preference, "tolerance": 0.01},
            epochs=2, ensemble=1, width=8, depth=1,
        )
        for preference in ([3, 1], {"demand": 1, "price": 3})
    ]  # fmt: skip
    for recipe in recipes:
        again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
        assert again == recipe
        assert hash(again) == hash(recipe)
    first, second = (
        fit_table(table, recipe, device="cpu").predict(table.frame) for recipe in recipes
    )
    np.testing.assert_array_equal(first["price"], second["price"])


def test_networks_of_groups_take_their_tasks_of_a_preference():
    groups = ["--groups", 'price,demand;"a, b"', "--balancer", "epo"]
    every = 'price,demand,"a, b"'
    named = '"preference=a, b:5",price:3,demand:1'
    assert fitted("grouped", *groups, "--balancer-option", named, targets=every) == 0
    assert fitted("ordered", *groups, "--balancer-option", "preference=3,1,5", targets=every) == 0
    assert predictions("grouped").equals(predictions("ordered"))


def test_names_of_primary_tasks_may_be_one_or_several():
    option = "--balancer-option"
    settings = load_settings(
        FitSettings,
        {"table": "t.csv", "targets": ["a,b"], "balancer": "auto-lambda",
         option[2:].replace("-", "_"): ["primary=a,b"]},
        None,
    )  # fmt: skip
    assert settings.balancer_option == {"primary": ["a", "b"]}
    made = Recipe(balancer="auto-lambda", balancer_options={"primary": "price"}).make_balancer()
    assert made.primary == ("price",)


def test_lists_reach_schedulers_of_the_learning_rate():
    more = ["--lr-scheduler", "MultiStepLR", "--lr-scheduler-option", "milestones=1,2"]
    assert fitted("stepped", *more) == 0


@pytest.mark.parametrize(
    "option, message",
    [
        ("preference=1,2,3", "must have one entry per task, got 3 for 2 tasks"),
        ("preference=2", "`preference` must be a sequence of numbers, got 2"),
        ("preference=0,0", "must have at least one entry above zero"),
        ("preference=-1,2", "must hold finite numbers of at least 0, got [-1.0, 2.0]"),
        ("preference=much,2", "`preference` must be a sequence of numbers"),
        ("preference=pric:2,demand:1", "has an entry for task 'pric'"),
        ("preference=price:2", "must have an entry for every task, it lacks 'demand'"),
        ("preference=price:2,demand", "'preference' must have a number for each name"),
        ("preference=price:2,price:1", "'preference' names a task twice"),
        ("preference=1,2,preference=2,1", "'preference' is given twice"),
        ("2,1", "expected name=value, got '2'"),
        ("preferense=1,2", "did you mean 'preference'"),
        ("tasks=3", "is unknown to the balancer"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_what_is_no_option_ends_in_one_line(command, option, message, capfd, tmp_path):
    arguments = [
        command, "t.csv", "--targets", "price,demand", *QUICK, "--out", str(tmp_path / "out"),
        "--balancer", "pmgda", "--balancer-option", option,
    ]  # fmt: skip
    assert run(arguments) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert [line for line in said if line.startswith("error: ")] == said[-1:]
    assert message in said[-1]
    assert not (tmp_path / "out").exists()


def test_a_wrong_preference_of_an_object_is_refused_before_training():
    from jointrain import Study
    from jointrain.balancing import EPO
    from jointrain.experiments import SEPARATE
    from jointrain.training import Separate

    table = SupervisedTable.prepare(pl.read_csv("t.csv"), ["price", "demand"], ignore=["a, b"])
    recipes = [
        Recipe(name=SEPARATE, schedule=Separate()),
        Recipe(name="epo", balancer=EPO({"price": 1.0, "sold": 1.0})),
    ]
    with pytest.raises(InvalidInputError, match="has an entry for task 'sold'"):
        Study(table, recipes).run(workers=1)
