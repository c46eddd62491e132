"""Recipes that may all train as long as separate models do."""

import pytest
import torch
from torch import nn

from jointrain import (
    Experiment,
    Folds,
    HardSharing,
    InvalidInputError,
    Recipe,
    Study,
    Task,
    TensorData,
    named_recipes,
)
from jointrain.data import SupervisedTable, load_penguins
from jointrain.studies import with_equal_compute
from jointrain.training import Phase, Phases
from jointrain.training.sampling import Joint

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
TASKS = [Task.regression("sum"), Task.binary("sign"), Task.regression("last")]
DATA = TensorData(X, {"sum": X.sum(1), "sign": (X[:, 0] > 0).float(), "last": X[:, 5]})


def network(tasks):
    heads = {task.name: nn.Linear(8, task.output_size) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), heads)


def study(*recipes: Recipe, experiment=None) -> Study:
    return Study(experiment or Experiment(TASKS, network, DATA, Folds(2)), recipes, seeds=1)


@pytest.mark.parametrize("compute", ["steps", "passes"])
def test_three_tasks_together_get_the_epochs_of_three_models(compute):
    base = Recipe(epochs=4, batch_size=8, patience=100)
    given = study(*named_recipes(["separate", "joint"], base))
    equal, notes = with_equal_compute(given, compute)
    assert {one.name: one.epochs for one in equal.recipes} == {"separate": 4, "joint": 12}
    assert notes == [
        f"joint may train for 12 epochs in place of 4: as many {compute} as separate models"
    ]
    taken = {row["recipe"]: row[compute] for row in equal.run(workers=1).costs().to_dicts()}
    assert taken["joint"] == pytest.approx(taken["separate"])


def test_seconds_of_a_table():
    table = SupervisedTable.prepare(load_penguins(), ["species", "body_mass_g"])
    base = Recipe(epochs=3, width=8, depth=1)
    given = Study(table, named_recipes(["separate", "joint"], base), (), folds=2, seeds=1)
    equal, _ = with_equal_compute(given, "seconds")
    assert all(one.epochs >= 1 for one in equal.recipes)
    assert equal.recipes[0].epochs == 3


def test_what_has_lengths_of_its_own_is_refused():
    phases = Recipe(name="joint", schedule=Phases([Phase(name="all", epochs=2, schedule=Joint())]))
    with pytest.raises(InvalidInputError, match="'joint' has phases with lengths of their own"):
        with_equal_compute(study(*named_recipes(["separate"], Recipe()), phases), "steps")
    loop = Experiment.of(run=lambda *_: {"y": {"RMSE": 1.0}}, tasks=[Task.regression("y")])
    with pytest.raises(InvalidInputError, match="loop of one's own"):
        with_equal_compute(Study(loop, ["separate", "joint"]), "steps")
    with pytest.raises(InvalidInputError, match="one of steps, passes, seconds, got 'hours'"):
        with_equal_compute(study(*named_recipes(["separate"], Recipe())), "hours")
    with pytest.raises(InvalidInputError, match=r"got 'step' \(did you mean 'steps'\?\)"):
        with_equal_compute(study(*named_recipes(["separate"], Recipe())), "step")
