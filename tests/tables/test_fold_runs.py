"""What a job of a fold measures."""

import subprocess
import sys

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
jobs = experiment.jobs(experiment.folds_of(0), [], [BASELINES["linear"]], recipe)
assert "sklearn.linear_model" not in sys.modules
first = _fold_runs._EncodedFold.run_baseline

def run_baseline(*args):
    print(sorted({"sklearn.ensemble", "sklearn.linear_model"} & set(sys.modules)))
    return first(*args)

_fold_runs._EncodedFold.run_baseline = run_baseline
jobs[0].run()
"""


def test_the_time_of_a_baseline_is_without_that_of_its_import():
    shown = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False
    )
    assert shown.stdout.splitlines()[:1] == ["['sklearn.ensemble', 'sklearn.linear_model']"], (
        shown.stderr
    )
