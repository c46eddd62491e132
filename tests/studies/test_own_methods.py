"""Balancers and networks of one's own in studies, searches, stores, reports and bundles."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from jointrain import (
    HardSharing,
    InvalidInputError,
    Recipe,
    Study,
    SupervisedTable,
    default_recipes,
    fit_table,
    load_bundle,
    save_bundle,
)
from jointrain.balancing import CAGrad, GramianWeighting, LossWeighting, Weighing
from jointrain.networks import MLP
from jointrain.reports import write_markdown
from jointrain.studies.searches import (
    measure_affinity,
    search_groups,
    search_shared_depth,
    search_weights,
)

SMALL = Recipe(epochs=2, width=4, depth=1, batch_size=16)
HERE = "tests.studies.test_own_methods"


class Halves(GramianWeighting):
    """Give each task the same weight."""

    def __init__(self, weight: float = 0.5) -> None:
        super().__init__()
        self.weight = weight

    def weights(self, gramian, losses):
        return torch.full((len(gramian),), self.weight, dtype=torch.float64)


class Counting(LossWeighting):
    """Weigh by how many steps were made: state that must not leak from run to run."""

    task_state = True

    def __init__(self, *, tasks=None) -> None:
        super().__init__()
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        self.register_buffer("steps", torch.zeros(n_tasks, dtype=torch.float64))

    def weigh(self, losses):
        self.steps += 1
        return Weighing([1 / float(count) for count in self.steps])


def tower(in_features, tasks, *, width=8, layers=1):
    """A plain trunk."""
    heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
    return HardSharing(MLP(in_features, width=width, depth=layers), heads)


@pytest.fixture(scope="module")
def table() -> SupervisedTable:
    x = np.random.default_rng(0).normal(size=(60, 3))
    columns = {"u": x[:, 0], "v": x[:, 1], "w": x[:, 2], "p": x.sum(1), "q": x[:, 0] - x[:, 1]}
    return SupervisedTable.prepare(pl.DataFrame(columns | {"r": x[:, 2] ** 2}), ["p", "q", "r"])


def _study(table: SupervisedTable, **settings) -> Study:
    own = replace(SMALL, name="own", **settings)
    return Study(table, [*default_recipes(SMALL)[:2], own], ["constant"], folds=2, seeds=1)


def _own_rows(result) -> list[dict]:
    return result.table.filter(pl.col("recipe") == "own").rows(named=True)


def _same_predictions(one, other, table: SupervisedTable) -> bool:
    found, expected = one.predict(table.frame), other.predict(table.frame)
    return all((found[task] == expected[task]).all() for task in "pqr")


def test_an_own_balancer_of_weights_of_1_trains_as_the_plain_sum(table):
    own = fit_table(table, replace(SMALL, balancer=Halves(1.0)), seed=3)
    plain = fit_table(table, SMALL, seed=3)
    for task in "pqr":
        assert own.predict(table.frame)[task] == pytest.approx(
            plain.predict(table.frame)[task], rel=1e-3, abs=1e-4
        )


@pytest.mark.integration
def test_two_workers_measure_what_one_does(table):
    given = {"balancer": Halves(0.3)}, {"balancer": Counting()}
    given += ({"network": tower, "network_options": {"layers": 2}},)
    own = [replace(SMALL, name=f"own {i}", **settings) for i, settings in enumerate(given)]
    study = Study(table, [*default_recipes(SMALL)[:1], *own], ["constant"], folds=2, seeds=1)
    assert study.run(workers=2).table.equals(study.run(workers=1).table)


def test_no_state_goes_from_run_to_run(table):
    template = Counting()
    recipe = replace(SMALL, balancer=template)
    first = fit_table(table, recipe).predict(table.frame)
    assert template.task_names is None
    again = fit_table(table, recipe).predict(table.frame)
    assert all((first[task] == again[task]).all() for task in "pqr")
    # one that has made steps elsewhere starts anew, too
    used = Counting(tasks=["p", "q", "r"])
    used.weigh([1.0, 2.0, 3.0])
    after = fit_table(table, replace(SMALL, balancer=used)).predict(table.frame)
    assert all((first[task] == after[task]).all() for task in "pqr")
    assert used.steps.tolist() == [1, 1, 1]


def test_the_balancer_is_made_when_training_starts():
    made = []

    class Noted(Halves):
        def __init__(self):
            made.append(self)
            super().__init__()

    recipe = Recipe(balancer=Noted())
    assert len(made) == 1
    assert recipe.make_balancer() is not recipe.make_balancer()
    assert Recipe(balancer="no such method").balancer == "no such method"


def test_recipes_with_objects_are_values():
    assert Recipe(balancer=Halves(0.5)) == Recipe(balancer=Halves(0.5)) != Recipe()
    assert hash(Recipe(balancer=Halves(0.5))) == hash(Recipe(balancer=Halves(0.5)))
    assert Recipe(balancer=Halves(0.5)) != Recipe(balancer=Halves(0.25))
    assert Recipe(network=tower) == Recipe(network=tower) != Recipe(network=lambda d, tasks: None)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Recipe(balancer=Halves), "`balancer` must be a Balancer such as PCGrad"),
        (
            lambda: Recipe(balancer=Halves(), balancer_options={"weight": 1}),
            "give those of an object to its constructor",
        ),
        (lambda: Recipe(network=3), "`network` must be a name or what makes a network, got 3"),
        (lambda: Recipe(network=tower, shared_depth=1), "goes with network 'hard', not tower"),
        (lambda: Recipe(network=tower, network_options={"layer": 1}).check(),
         f"network '{HERE}:tower' has no setting 'layer'.*did you mean 'layers'"),
        (lambda: Recipe(network=lambda: None).check(), "can't be called with the number of inputs"),
        (lambda: Recipe(balancer="upgrd").check(), "there is no balancer 'upgrd'.* 'upgrad'"),
        (lambda: Recipe(network="mmeo").check(), "there is no network .mmeo..*did you mean 'mmoe'"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_is_refused_in_a_sentence(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_a_study_looks_up_names_before_it_trains(table):
    with pytest.raises(InvalidInputError, match="there is no balancer 'upgrd'"):
        _study(table, balancer="upgrd")


def test_a_factory_must_make_a_network_of_the_tasks(table):
    with pytest.raises(InvalidInputError, match=r"must return a Network of the tasks .*, got None"):
        fit_table(table, replace(SMALL, network=lambda in_features, tasks: None))


def test_a_store_goes_on_with_the_same_code_and_refuses_another(table, tmp_path, monkeypatch):
    first = _own_rows(_study(table, balancer=Halves(0.3)).run(workers=1, store=tmp_path))
    assert _own_rows(_study(table, balancer=Halves(0.3)).run(workers=1, store=tmp_path)) == first
    with pytest.raises(InvalidInputError, match=r"holds the runs of another study: recipes\.own"):
        _study(table, balancer=Halves(0.4)).run(workers=1, store=tmp_path)

    def weights(self, gramian, losses):
        return torch.full((len(gramian),), 2 * self.weight, dtype=torch.float64)

    monkeypatch.setattr(Halves, "weights", weights)
    with pytest.raises(InvalidInputError, match=r"recipes\.own\.balancer\.digest"):
        _study(table, balancer=Halves(0.3)).run(workers=1, store=tmp_path)


@pytest.mark.integration
def test_searches_take_objects(table):
    recipe = replace(SMALL, balancer=Halves())
    own = replace(SMALL, network=tower)
    common = {"folds": 2, "seeds": 1, "workers": 1}
    for result in (
        search_weights(table, recipe, trials=2, **common),
        search_shared_depth(table, replace(recipe, depth=2), **common),
        search_groups(table, own, **common),
    ):
        assert isinstance(result.candidates.recommended, str)
    assert measure_affinity(table, own, folds=2, seeds=1, workers=2).runs.shape[-2:] == (3, 3)


def test_reports_say_whose_code_it_is(table):
    study = _study(table, balancer=Halves(0.3), network=tower)
    text = write_markdown(study.run(workers=1), "title")
    assert f"balancer Halves(weight=0.3) of {HERE}" in text
    assert f"network tower of {HERE}" in text


def test_a_bundle_loads_without_the_method_that_trained_it(table, tmp_path, monkeypatch):
    model = fit_table(table, replace(SMALL, balancer=Halves(0.3)))
    save_bundle(model, tmp_path / "one")
    monkeypatch.setitem(sys.modules, HERE, None)  # what imports it now fails
    loaded = load_bundle(tmp_path / "one")
    assert loaded.recipe.balancer.path == f"{HERE}:Halves"
    assert all(
        (loaded.predict(table.frame)[t] == model.predict(table.frame)[t]).all() for t in "pqr"
    )
    save_bundle(loaded, tmp_path / "two")
    assert load_bundle(tmp_path / "two").recipe == loaded.recipe
    with pytest.raises(InvalidInputError, match=r"Halves\(weight=0.3\) of .* is only described"):
        fit_table(table, loaded.recipe)
    fit_table(table, replace(loaded.recipe, balancer=CAGrad()))


def test_a_bundle_of_a_method_that_is_gone_loads(table, tmp_path, monkeypatch):
    from jointrain.balancing import BALANCERS

    monkeypatch.setitem(BALANCERS, "gone-method", CAGrad)
    model = fit_table(table, replace(SMALL, balancer="gone-method"))
    save_bundle(model, tmp_path / "one")
    monkeypatch.delitem(BALANCERS, "gone-method")
    assert (
        load_bundle(tmp_path / "one").predict(table.frame)["p"] == model.predict(table.frame)["p"]
    ).all()


def test_an_own_network_needs_its_factory(table, tmp_path):
    model = fit_table(table, replace(SMALL, network=tower))
    save_bundle(model, tmp_path / "one")
    with pytest.raises(InvalidInputError, match=rf"network '{HERE}:tower', and a bundle runs no"):
        load_bundle(tmp_path / "one")
    for name in (f"{HERE}:tower", "tower"):
        loaded = load_bundle(tmp_path / "one", factories={name: tower})
        assert _same_predictions(loaded, model, table)
    assert loaded.recipe == model.recipe


def tied(in_features, tasks, *, width=8):
    first, second = torch.nn.Linear(width, width), torch.nn.Linear(width, width)
    second.weight = first.weight
    trunk = torch.nn.Sequential(torch.nn.Linear(in_features, width), first, torch.nn.Tanh(), second)
    return HardSharing(trunk, {task.name: torch.nn.Linear(width, 1) for task in tasks})


def test_tied_weights_are_saved_and_other_code_is_warned_of(table, tmp_path):
    model = fit_table(table, replace(SMALL, network=tied))
    save_bundle(model, tmp_path / "one")
    loaded = load_bundle(tmp_path / "one", factories={"tied": tied})
    assert _same_predictions(loaded, model, table)
    again = loaded.parts[0].network.trunk
    assert again[1].weight is again[3].weight

    def other(in_features, tasks, *, width=8):
        return tied(in_features, tasks, width=width)

    with pytest.warns(UserWarning, match=rf"given for '{HERE}:tied' is not the code"):
        load_bundle(tmp_path / "one", factories={"tied": other})


SCRIPT = """
import torch
from jointrain import HardSharing, MLP, Recipe, Study, SupervisedTable
from jointrain import default_recipes, load_penguins
from jointrain.balancing import GramianWeighting


class Thirds(GramianWeighting):
    def weights(self, gramian, losses):
        return torch.full((len(gramian),), SHARE, dtype=torch.float64)


SHARE = 1 / 3


def tower(in_features, tasks, *, width=8):
    heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
    return HardSharing(MLP(in_features, width=width, depth=1), heads)


if __name__ == "__main__":
    table = SupervisedTable.prepare(load_penguins(), ["species", "body_mass_g"])
    base = Recipe(epochs=1, width=8, depth=1)
    own = Recipe(name="own", balancer=Thirds(), network=tower, epochs=1, width=8)
    study = Study(table, [*default_recipes(base)[:2], own], ["constant"], folds=2, seeds=1)
    one, two = (study.run(workers=workers, store=store) for workers, store in ((1, None), (2, "s")))
    print(one.table.equals(two.table))
"""


@pytest.mark.integration
def test_classes_of_a_script_go_to_its_workers(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    for _ in range(2):  # the second run finds the store of the first
        ran = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
        )
        assert ran.stdout.strip() == "True", ran.stderr
