"""Every method's promises on float32 and float64 gradients of every kind of conflict and rank.

What rounding leaves of an update is measured by what the weighted gradients would add up to if
none of them cancelled another.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, Needs, backward
from jointrain.balancing.solvers import FLOAT64
from tests.conformance._stationary import suite

METHODS = sorted(
    name for name, cls in BALANCERS.items() if cls.needs in (Needs.GRAMIAN, Needs.JACOBIAN)
)
# they choose a corner or a pair of gradients, and of equally good ones rounding chooses
CHOOSING = {"epo", "gcond"}
FIXED = [name for name in METHODS if not BALANCERS[name].random and name not in CHOOSING]
CASES = dict(suite())
PRECISIONS = (torch.float32, torch.float64)
# two of five gradients a millionth as long, and dependent: what the shortest gains is rounding
BEYOND_FLOAT32 = {("cagrad", "any of unlike lengths")}


def update(name: str, matrix: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """Return the update [p] in float64, and the length that its parts add up to."""
    balancer = BALANCERS[name](**getattr(BALANCERS[name], "example", {}))
    x = nn.Parameter(torch.zeros(matrix.shape[1], dtype=dtype))
    rows = matrix.to(dtype)

    def losses() -> list[Tensor]:
        return [row @ x + 1.0 for row in rows]

    step = backward(losses(), balancer, shared=[x], extra=losses)
    weights = torch.ones(len(rows)) if step.weights is None else step.weights.abs()
    return x.grad.double(), float(weights.double() @ matrix.norm(dim=1))


@pytest.mark.parametrize("name", FIXED)
def test_float32_gradients_give_the_update_of_float64_ones(name):
    for case, matrix in CASES.items():
        if (name, case) in BEYOND_FLOAT32:
            continue
        wanted, parts = update(name, matrix, torch.float64)
        found, _ = update(name, matrix, torch.float32)
        apart = float((found - wanted).norm())
        assert apart <= 1e-2 * float(wanted.norm()) + 2e-4 * parts, (case, apart, parts)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", METHODS)
def test_updates_are_finite_and_increase_no_loss_where_promised(name, dtype):
    rounding = 32 * torch.finfo(dtype).eps
    for case, matrix in CASES.items():
        found, parts = update(name, matrix, dtype)
        assert found.isfinite().all(), case
        if BALANCERS[name].non_conflicting:
            limit = max(1e-11, rounding * len(matrix)) * float(matrix.norm(dim=1).max()) * parts
            assert float((matrix @ found).min()) >= -limit, (case, matrix @ found, limit)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", [n for n in FIXED if BALANCERS[n].equivariant])
def test_the_order_of_tasks_does_not_matter_where_promised(name, dtype):
    for case, matrix in CASES.items():
        if "any" not in case or (name, case) in BEYOND_FLOAT32:
            continue
        order = torch.randperm(len(matrix), generator=torch.Generator().manual_seed(0))
        wanted, parts = update(name, matrix, dtype)
        found, _ = update(name, matrix[order], dtype)
        limit = 1e-2 * float(wanted.norm()) + (1e-4 if dtype is torch.float32 else 1e-9) * parts
        assert float((found - wanted).norm()) <= limit, case


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", [name for name in FIXED if BALANCERS[name].scale_free])
def test_a_common_factor_scales_the_update_where_promised(name, dtype):
    matrix = CASES["any 5 x 3 rank 2"]
    for factor in (1e-12, 1e-5, 1e5, 1e15):
        wanted, parts = update(name, matrix, dtype)
        found, _ = update(name, factor * matrix, dtype)
        assert float((found / factor - wanted).norm()) <= 1e-2 * float(wanted.norm()) + 1e-4 * parts


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", ["config", "upgrad"])
def test_longer_gradients_make_the_update_longer_in_proportion(name, dtype):
    rng = torch.Generator().manual_seed(1)
    for case, matrix in CASES.items():
        if "times" in case:
            continue
        first, second = 0.05 + torch.rand(2, len(matrix), 1, generator=rng, dtype=torch.float64)
        parts = [update(name, c * matrix, dtype) for c in (first, second)]
        found, _ = update(name, (0.3 * first + 0.8 * second) * matrix, dtype)
        wanted = 0.3 * parts[0][0] + 0.8 * parts[1][0]
        limit = 1e-3 * float(wanted.norm()) + 1e-4 * (parts[0][1] + parts[1][1])
        assert float((found - wanted).norm()) <= limit, case


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", ["config", "imtl-g", "aligned-mtl"])
def test_gradients_that_lack_a_rank_leave_an_update(name, dtype):
    for case, matrix in CASES.items():
        if "none" in case:
            found, _ = update(name, matrix, dtype)
            assert float(found.norm()) > 1e-4 * float(matrix.norm(dim=1).min()), case


def test_the_engine_says_how_many_digits_are_sound():
    seen: list[float] = []

    class Sees(BALANCERS["mgda"]):
        def weights(self, gramian, losses):
            seen.append(self.rounding)
            return super().weights(gramian, losses)

    def run(dtype: torch.dtype, autocast: torch.dtype | None = None) -> float:
        trunk = nn.Linear(3, 4).to(dtype)
        heads = [nn.Linear(4, 1).to(dtype) for _ in range(2)]
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            z = trunk(torch.ones(5, 3, dtype=dtype))
            outputs = [head(z) for head in heads]
        backward([out.float().square().mean() for out in outputs], Sees())
        return seen[-1]

    assert run(torch.float64) == FLOAT64
    assert run(torch.float32) == torch.finfo(torch.float32).eps
    half = torch.finfo(torch.bfloat16).eps ** 2
    assert run(torch.bfloat16) == run(torch.float32, torch.bfloat16) == half
    assert Sees().rounding == FLOAT64


@pytest.mark.parametrize("gradient_method", ["auto", "per_task", "batched", "ghost", "layerwise"])
@pytest.mark.parametrize("scale", [1e21, 1e-21])
def test_squares_beyond_the_range_of_float32(scale, gradient_method):
    torch.manual_seed(0)
    trunk, heads = nn.Linear(3, 4), [nn.Linear(4, 1) for _ in range(2)]

    def losses(factor: float) -> list[Tensor]:
        z = trunk(torch.ones(5, 3))
        return [factor * head(z).square().mean() for head in heads]

    wanted = backward(losses(1.0), BALANCERS["upgrad"](), gradient_method=gradient_method)
    found = backward(
        losses(scale),
        BALANCERS["upgrad"](),
        gradient_method=gradient_method,
        accumulate="per-batch",
    )
    torch.testing.assert_close(found.gramian / scale / scale, wanted.gramian, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.weights, wanted.weights, rtol=1e-4, atol=0)
