"""DSelect-k: the smooth step, the codes, the penalties by hand, and that k experts are chosen."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import DSelectK
from jointrain.networks._dselect_k import DSelectKGate, select, smooth_step


def heads(names="ab"):
    return {name: nn.Linear(4, 1) for name in names}


def experts(count):
    return [nn.Linear(8, 4) for _ in range(count)]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_smooth_step_is_flat_outside_and_smooth_at_its_ends(gamma):
    ends = torch.tensor([-9.0, -gamma / 2, 0.0, gamma / 2, 9.0]).double().requires_grad_()
    values = smooth_step(ends, gamma)
    torch.testing.assert_close(values, torch.tensor([0.0, 0, 0.5, 1, 1]).double())
    (slope,) = torch.autograd.grad(values.sum(), ends)
    assert slope[[0, 4]].tolist() == [0, 0]
    torch.testing.assert_close(slope[[1, 2, 3]], torch.tensor([0, 1.5 / gamma, 0]).double())


def test_codes_name_the_experts_in_binary():
    gate = DSelectKGate(5, 1)
    assert gate.codes.int().tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]]
    steps = torch.tensor([0.9, 0.2, 0.3])
    expected = [0.1 * 0.8 * 0.7, 0.1 * 0.8 * 0.3, 0.1 * 0.2 * 0.7, 0.1 * 0.2 * 0.3, 0.9 * 0.8 * 0.7]
    torch.testing.assert_close(select(steps, gate.codes), torch.tensor(expected))


def test_gates_sum_to_one_for_a_power_of_two():
    for count in (1, 2, 4, 8):
        weights, chosen = DSelectKGate(count, 1 if count == 1 else 2, features=6)(torch.randn(9, 6))
        torch.testing.assert_close(weights.sum(1), torch.ones(9))
        torch.testing.assert_close(chosen.sum(-1), torch.ones(chosen.shape[:-1]))


def test_decided_gates_choose_k_experts_and_the_output_is_their_mixture():
    made = experts(4)
    network = DSelectK(made, heads(), selected=2)
    gate = network.gates[0]
    with torch.no_grad():
        # the first selector names expert 3 (11), the second expert 1 (01)
        gate.switches.weight.copy_(torch.tensor([[1.0], [1.0], [-1.0], [1.0]]))
        gate.shares.weight.copy_(torch.tensor([[0.0], [1.0]]))
    share = torch.tensor([0.0, 1.0]).softmax(0)
    torch.testing.assert_close(network.chosen("a"), torch.stack([0 * share[0], share[1],
                               0 * share[0], share[0]]))  # fmt: skip
    x = torch.randn(5, 8)
    features = share[1] * made[1](x) + share[0] * made[3](x)
    torch.testing.assert_close(network(x)["a"], network.heads.layers[0](features))


@pytest.mark.parametrize("count", [4, 3])
def test_training_with_entropy_leaves_at_most_k_experts(count):
    network = DSelectK(experts(count), heads(), selected=2, entropy=0.1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    x = torch.randn(64, 8)
    for _ in range(150):
        optimizer.zero_grad()
        outputs = network(x)
        loss = (outputs["a"] - x[:, :1]).square().mean() + (
            outputs["b"] + x[:, 1:2]
        ).square().mean()
        (loss + network.penalty()).backward()
        optimizer.step()
    for name in "ab":
        weights = network.chosen(name)
        assert 1 <= int((weights > 0).sum()) <= 2
        torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


def test_the_penalty_is_entropy_and_what_bars_empty_codes():
    network = DSelectK(experts(3), heads(), selected=2, entropy=0.3).double()
    expected = 0
    for gate in network.gates:
        _, chosen = gate(torch.empty(0))
        for row in chosen[0]:
            expected += -0.3 * sum(q * torch.log(q + 1e-6) for q in row) + 1 / row.sum()
    torch.testing.assert_close(network.penalty(), expected)
    network.penalty(["b"]).backward()
    assert all(p.grad is None for p in network.gates[0].parameters())
    assert DSelectK(experts(4), heads(), entropy=0.0).penalty() is None
    assert DSelectK(experts(1), heads(), selected=1).penalty() is None


def test_by_row_the_choice_depends_on_the_row():
    network = DSelectK(experts(4), heads(), gate_features=8, entropy=0.1)
    x = torch.randn(5, 8)
    assert network.penalty() is None
    network(x)
    _, chosen = network.gates[0](x)
    entropy = -(chosen * (chosen + 1e-6).log()).sum((1, 2)).mean()
    torch.testing.assert_close(network.penalty(["a"]), 0.1 * entropy)
    weights = network.chosen("a", x)
    assert weights.shape == (5, 4)
    assert not torch.equal(weights[0], weights[1])
    with pytest.raises(InvalidInputError, match="`inputs` must be given"):
        network.chosen("a")


@pytest.mark.parametrize(
    "count, settings, message",
    [
        (0, {}, "`experts` must hold at least one module"),
        (3, {"selected": 4}, "`selected` must lie in 1 to the number of experts, 3, got 4"),
        (3, {"gamma": 0.0}, "`gamma` must be positive"),
        (3, {"entropy": -1.0}, "`entropy` must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(count, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        DSelectK(experts(count), heads(), **settings)
