"""What a job of a fold measures."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, SupervisedTable
from jointrain.experiments import _job_words
from jointrain.tables import TableExperiment

_SCRIPT = """
import sys
import numpy as np
import polars as pl
from jointrain import Recipe, SupervisedTable
from jointrain.baselines import BASELINES
from jointrain.tables import TableExperiment, _fold_runs

numbers = np.random.default_rng(0).normal(size=(30, 2))
table = SupervisedTable.prepare(pl.DataFrame({"x": numbers[:, 0], "y": numbers[:, 1]}), ["y"])
experiment, recipe = TableExperiment(table, 2), Recipe(epochs=1)
jobs = experiment.jobs(experiment.folds_of(0), [], [BASELINES[sys.argv[1]]], recipe)
slow = {"sklearn.ensemble", "sklearn.linear_model", "lightgbm"}
assert not slow & set(sys.modules)
first = _fold_runs._EncodedFold.run_baseline

def run_baseline(*args):
    print(*slow & set(sys.modules))
    result = first(*args)
    print(*slow & set(sys.modules))
    return result

_fold_runs._EncodedFold.run_baseline = run_baseline
jobs[0].run()
"""


@pytest.mark.parametrize(
    "baseline, imports",
    [
        ("constant", ""),
        ("linear", "sklearn.linear_model"),
        ("extra trees", "sklearn.ensemble"),
        ("extra trees joint", "sklearn.ensemble"),
        ("gradient boosting", "sklearn.ensemble"),
        ("lightgbm", "lightgbm"),
    ],
)
def test_the_time_of_a_baseline_is_without_that_of_its_imports(baseline, imports):
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, baseline], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    before, after = (set(line.split()) for line in ran.stdout.splitlines()[:2])
    assert set(imports.split()) <= before == after


def test_runs_of_other_defaults_are_not_used(monkeypatch):
    frame = pl.DataFrame({"x": np.arange(30.0), "y": np.arange(30) % 2})
    experiment = TableExperiment(SupervisedTable.prepare(frame, ["y"]), 2)

    def key():
        return experiment.jobs(experiment.folds_of(0), [Recipe()], [], Recipe())[0].key

    before = key()
    assert key() == before
    monkeypatch.setattr(_job_words, "OPEN_SETTINGS", 1)
    assert key() != before
