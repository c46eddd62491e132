"""A guard against falling back to slow ways, with much room for a busy machine."""

import time

import pytest
import torch

from jointrain.balancing.solvers import (
    bargaining_weights,
    conflict_averse_weights,
    dual_cone_weights,
    min_norm_weights,
)
from tests.conformance._matrices import jacobian

SOLVERS = {
    "min norm": min_norm_weights,
    "bargaining": bargaining_weights,
    "conflict averse": lambda g: conflict_averse_weights(g, 0.5),
    "dual cone": lambda g: dual_cone_weights(g, torch.eye(len(g)).double() / len(g)),
}


@pytest.mark.parametrize("t, milliseconds", [(8, 1.0), (32, 4.0)])
@pytest.mark.parametrize("name", SOLVERS)
def test_takes_about_as_long_as_a_few_layers(name, t, milliseconds):
    matrix = jacobian(t, 200)
    gramian = matrix @ matrix.T
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter()
        SOLVERS[name](gramian)
        best = min(best, time.perf_counter() - start)
    assert 1e3 * best < milliseconds
