"""Which methods reach the Pareto front of the toy problem, as the papers say, and the script."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "toy_pareto.py"
EXAMPLE = runpy.run_path(str(SCRIPT))
REACHED, STARTS = EXAMPLE["REACHED"], EXAMPLE["STARTS"]
SLOW_START = (9.0, 9.0)
STEPS, RATE = 900, 0.2


def end(name: str, start: tuple[float, float], steps: int = STEPS) -> torch.Tensor:
    return EXAMPLE["run"](EXAMPLE["METHODS"][name](), start, steps, RATE)[-1]


def test_the_front_is_where_no_convex_combination_can_be_improved():
    """On its height the gradients are opposite, between the minima of the two quadratics."""
    for x in (-6.9, 0.0, 5.0):
        point = torch.tensor([x, EXAMPLE["FRONT_HEIGHT"]], dtype=torch.float64, requires_grad=True)
        rows = [
            torch.autograd.grad(v, point, retain_graph=True)[0] for v in EXAMPLE["losses"](point)
        ]
        cosine = torch.dot(*rows) / rows[0].norm() / rows[1].norm()
        assert float(cosine) < -0.99
        assert rows[0][0] < 0 < rows[1][0]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ["MGDA", "CAGrad", "Nash-MTL", "FairGrad", "UPGrad"])
def test_reaches_the_front_from_all_starts(name, start):
    assert EXAMPLE["distance_to_front"](end(name, start)) <= REACHED


def test_the_mean_does_not_from_one():
    assert EXAMPLE["distance_to_front"](end("mean", SLOW_START)) > 2 * REACHED


def test_upgrad_goes_the_way_of_pcgrad_where_there_are_two_tasks():
    """Adam takes no notice of a factor, so half the update is the same way."""
    ways = [
        EXAMPLE["run"](EXAMPLE["METHODS"][name](), SLOW_START, 20, RATE)
        for name in ("UPGrad", "PCGrad")
    ]
    torch.testing.assert_close(ways[0], ways[1], rtol=1e-4, atol=1e-4)


@pytest.mark.integration
def test_the_script_prints_and_draws(tmp_path):
    target = tmp_path / "picture.png"
    options = ["--steps", "3", "--out", str(target)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in EXAMPLE["METHODS"])
    assert target.read_bytes().startswith(b"\x89PNG")
