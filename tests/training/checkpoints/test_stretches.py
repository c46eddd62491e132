"""Stretches: those that are over are passed over, with random numbers as they were."""

import torch

from jointrain.training.checkpoints import Stretches

CPU = torch.device("cpu")


def test_a_resumed_run_passes_over_what_is_over():
    first = Stretches(CPU)
    assert not first.passed("a")
    first.begin("a")
    assert not first.passed("b")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first.begin("b")
        outer = torch.rand(1)
        torch.manual_seed(2)
        first.notes["vectors"] = [1]
        state = first.state_dict({"step": 3})
        inner = torch.rand(1)
    second = Stretches(CPU, state)
    with torch.random.fork_rng():
        assert second.passed("a")
        assert not second.passed("b")
        second.begin("b")
        assert torch.rand(1) == outer
        assert second.take(None) == {"step": 3}
        assert torch.rand(1) == inner
        assert second.take(None) is None
    assert not second.passed("c")
    assert second.notes == {"vectors": [1]}


def test_a_network_without_another_place_is_kept():
    network, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    first = Stretches(CPU)
    first.begin("a")
    second = Stretches(CPU, first.state_dict({}, network))
    second.begin("a")
    second.take(other)
    assert torch.equal(network.weight, other.weight)
