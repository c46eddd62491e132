from functools import partial

import pytest
import torch

from jointrain import balancing
from jointrain.balancing import backward
from jointrain.balancing.aggregation._blocks import cut

# gradients of several calls add up in these tests
backward = partial(backward, accumulate="per-batch")

WHOLE_JACOBIAN = ["db-mtl", "excess-mtl", "moco", "graddrop", "trimmed-mean"]


@pytest.mark.parametrize("name", WHOLE_JACOBIAN)
def test_a_method_used_by_itself_creates_its_state_at_the_first_call(name):
    balancer = balancing.balancer_from_name(name)
    for _ in range(2):
        found = balancer.aggregate([torch.ones(3, 4), torch.ones(3, 2, 2)], torch.ones(3))
        assert [tuple(block.shape) for block in found.blocks] == [(4,), (2, 2)]


@pytest.mark.parametrize("name", ["excess-mtl", "graddrop"])
def test_blocks_cut_into_parts_give_what_whole_ones_do(name, monkeypatch):
    def run():
        balancer = balancing.balancer_from_name(name)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            block = torch.randn(5, 3, 7, generator=generator).double()
            found = balancer.aggregate([block], torch.ones(5))
        return found.blocks[0]

    whole = run()
    monkeypatch.setattr("jointrain.balancing.aggregation._blocks._PART", 45)
    assert [len(part) for part in cut(torch.ones(5, 3, 7))] == [2, 2, 1]
    torch.testing.assert_close(run(), whole)


@pytest.mark.parametrize("name", WHOLE_JACOBIAN)
def test_a_shared_scalar_is_updated_as_a_vector_of_one_is(name):
    found = []
    for shape in ((), (1,)):
        x = torch.full(shape, 2.0, dtype=torch.float64, requires_grad=True)
        balancer = balancing.balancer_from_name(name)
        for _ in range(2):
            losses = {"a": (3.0 * x).sum(), "b": x.square().sum(), "c": x.exp().sum()}
            backward(losses, balancer)
        found.append(x.grad.reshape(()))
    assert found[0].isfinite()
    torch.testing.assert_close(found[0], found[1])
