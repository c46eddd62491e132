"""`jointrain fit` under torchrun: the model of one process."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from jointrain.bundle import load_bundle

FIT = ["-m", "jointrain", "fit", "rows.csv", "--targets", "a,b,c", "--width", "16"]
MORE = ["--device", "cpu", "--ensemble", "1", "--force"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture
def folder(tmp_path):
    numbers = np.random.default_rng(0).standard_normal((400, 5))
    kinds = np.array(["u", "v", "w"])[np.arange(400) % 3]
    pl.DataFrame(
        {
            "x": numbers[:, 0],
            "y": numbers[:, 1],
            "kind": kinds,
            "a": numbers[:, 0] + numbers[:, 1] ** 2 + 0.1 * numbers[:, 2],
            "b": numbers[:, 0] * numbers[:, 1] + 0.1 * numbers[:, 3],
            "c": (numbers[:, 0] + numbers[:, 4] > 0).astype(int),
        }
    ).write_csv(tmp_path / "rows.csv")
    return tmp_path


def _fit(folder, out, starter, options):
    words = [sys.executable, "-W", "ignore", *starter, *FIT, *MORE, *options, "--out", out]
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return load_bundle(folder / out), done.stdout


@pytest.mark.integration
@pytest.mark.parametrize(
    "options", [["--epochs", "1"], ["--epochs", "1", "--schedule", "alternating"]], ids=" ".join
)
def test_two_processes_fit_the_model_of_one(folder, options):
    one, _ = _fit(folder, "one", [], options)
    two, printed = _fit(folder, "two", TORCHRUN, options)
    assert printed.count("Saved:") == 1
    # in float32 a gradient of nearly 0 has a sign of its own on two processes, and Adam a step
    for mine, other in zip(two.parts, one.parts, strict=True):
        assert mine.epochs == other.epochs
        assert dict(mine.validation) == pytest.approx(dict(other.validation), abs=1e-5)
    rows = pl.read_csv(folder / "rows.csv")
    predicted, expected = two.predict(rows), one.predict(rows)
    for name, values in expected.items():
        np.testing.assert_allclose(predicted[name], values, atol=1e-5, rtol=0)
