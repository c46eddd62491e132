"""What is not imported: packages that take longer to import than a small study to run."""

import subprocess
import sys

import pytest

STUDY = """
import numpy as np
import polars as pl
from jointrain import Recipe, Study, SupervisedTable, default_recipes
from jointrain.reports import write_markdown

x = np.random.default_rng(0).normal(size=(40, 2))
frame = pl.DataFrame({"u": x[:, 0], "v": x[:, 1], "p": x.sum(1), "q": x[:, 0] - x[:, 1]})
table = SupervisedTable.prepare(frame, ["p", "q"])
recipes = default_recipes(Recipe(width=4, depth=1, epochs=2))
result = Study(table, recipes, ["constant"], folds=2, seeds=1).run(workers=1)
assert result.best() in recipes
"""

PREDICT = """
from jointrain.bundle import load_bundle
from jointrain.cli import run
from jointrain.cli._predict import predict
import jointrain.tables
assert run(["predict", "no bundle", "no table", "--out", "-"]) == 2
"""


def _imported_by(program: str, packages: list[str]) -> list[str]:
    """Return which of the packages a program imports."""
    program += f"\nimport sys; print(*(set({packages!r}) & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.mark.parametrize(
    "program, packages",
    [
        ("import jointrain", ["torch", "numpy", "polars", "sklearn"]),
        (
            PREDICT,
            ["sklearn", "scipy.sparse", "scipy.linalg", "scipy.special", "scipy.stats", "fastapi",
             "onnx", "altair", "pyarrow.dataset", "torch._dynamo",
             "jointrain.cli._compare", "jointrain.studies"],
        ),
        (
            STUDY,
            ["torch._dynamo", "torchmetrics", "transformers", "sklearn", "scipy.stats", "optuna",
             "matplotlib", "altair", "jinja2"],
        ),
    ],
    ids=["the package", "a prediction", "a study of regression tasks"],
)  # fmt: skip
def test_slow_packages_are_imported_where_they_are_used(program, packages):
    assert _imported_by(program, packages) == []
