"""Grouped heads: slices of one parameter behave as layers of their own."""

import copy

import pytest
import torch
from torch import nn

from jointrain import HardSharing
from jointrain.networks import GroupedLinear
from jointrain.training._optimizer import Optimizers

NAMES = [f"t{i}" for i in range(4)]


def pair(**settings):
    """Return the same network with grouped and with separate heads."""
    trunk, heads = nn.Linear(3, 4), {name: nn.Linear(4, 2, **settings) for name in NAMES}
    separate = HardSharing(copy.deepcopy(trunk), copy.deepcopy(heads), group_from=None)
    return HardSharing(trunk, heads, group_from=4), separate


@pytest.mark.parametrize("bias", [True, False])
def test_a_group_is_the_product_of_each_head(bias):
    heads = [nn.Linear(4, 2, bias=bias) for _ in range(5)]
    group = GroupedLinear(heads)
    x = torch.randn(6, 4)
    expected = torch.stack([head(x) for head in heads], 1)
    torch.testing.assert_close(group(x), expected)
    torch.testing.assert_close(group(x, [3, 0]), expected[:, [3, 0]])
    assert torch.equal(group(x, [2]), heads[2](x))
    assert torch.equal(group.linear(2)(x), heads[2](x))
    sequence = torch.randn(6, 7, 4)
    torch.testing.assert_close(group(sequence)[:, :, 1], heads[1](sequence))


def test_by_default_sixteen_alike_heads_become_one():
    def groups(count, **settings):
        heads = {f"t{i}": nn.Linear(4, 1) for i in range(count)}
        return len(HardSharing(nn.Linear(3, 4), heads, **settings).heads.groups)

    assert [groups(15), groups(16), groups(16, group_from=None), groups(2, group_from=2)] == [
        0, 1, 0, 1,
    ]  # fmt: skip


def test_only_heads_that_are_alike_are_grouped():
    tied = nn.Linear(4, 1)
    hooked = nn.Linear(4, 1)
    hooked.register_forward_hook(lambda *_: None)
    frozen = nn.Linear(4, 1)
    frozen.weight.requires_grad_(False)
    weight_hooked, slope_hooked, own = nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(4, 1)
    weight_hooked.weight.register_hook(lambda gradient: 0 * gradient)
    slope_hooked.register_full_backward_hook(lambda *_: None)
    own.forward = lambda x: x[..., :1]
    heads = {
        "weight hooked": weight_hooked, "slope hooked": slope_hooked, "own": own,
        "a": nn.Linear(4, 1), "b": nn.Linear(4, 1), "three": nn.Linear(4, 3),
        "deep": nn.Sequential(nn.Linear(4, 1)), "tied": tied, "tied too": tied,
        "hooked": hooked, "frozen": frozen, "no bias": nn.Linear(4, 1, bias=False),
        "c": nn.Linear(4, 1),
    }  # fmt: skip
    network = HardSharing(nn.Linear(3, 4), heads, group_from=2)
    assert network.heads._members == [("a", "b", "c")]
    x = torch.randn(5, 3)
    outputs = network(x)
    assert list(outputs) == list(heads)
    for name, head in heads.items():
        torch.testing.assert_close(outputs[name], head(network.trunk(x)))
    assert [(key, tuple(value.shape)) for key, value in network(x, ["b", "three", "c"],
            grouped=True).items()] == [(("three",), (5, 3)), (("b", "c"), (5, 2, 1))]  # fmt: skip


def test_different_sizes_make_different_groups():
    heads = {f"{kind}{i}": nn.Linear(4, kind) for i in range(2) for kind in (1, 3)}
    network = HardSharing(nn.Linear(3, 4), heads, group_from=2)
    assert network.heads._members == [("10", "11"), ("30", "31")]


def test_a_slice_reads_and_writes_the_group():
    network, _ = pair()
    weight, bias = network.task_parameters("t2")
    assert network.task_parameters("t2")[0] is weight
    group = network.heads.groups[0]
    assert weight.grad is None
    network(torch.randn(2, 3))["t2"].sum().backward()
    assert torch.equal(weight.grad, group.weight.grad[2])
    weight.grad = torch.full((2, 4), 7.0)
    assert (group.weight.grad[2] == 7).all()
    weight.grad = None
    assert (group.weight.grad[2] == 0).all()
    with torch.no_grad():
        bias.fill_(9)
    assert (group.bias[2] == 9).all()


def test_slices_follow_the_group_to_another_type_and_into_copies():
    network, _ = pair()
    weight, _ = network.task_parameters("t1")
    network.double()
    weight, _ = network.task_parameters("t1")
    assert weight.dtype == torch.float64
    twin = copy.deepcopy(network)
    other, _ = twin.task_parameters("t1")
    with torch.no_grad():
        other.zero_()
    assert weight.any()
    assert not twin.heads.groups[0].weight[1].any()


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.05),
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("layout", ["one", "per_task", "per_group"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_of_some_tasks_move_their_heads_alone_as_separate_ones(layout, optimizer):
    grouped, separate = pair()
    x, y = torch.randn(8, 3), {name: torch.randn(8, 2) for name in NAMES}
    # steps of some tasks, of one, of none of the group's, and of all with unlike pasts
    sets = [["t1", "t3"], ["t1"], ["t2"], NAMES, ["t0"], ["t2"]]
    if layout == "per_task":
        sets = [["t1"], ["t3"], ["t1"], ["t2"]]
    if optimizer == "adamw" and layout == "one":
        # rows of one step with unlike numbers of steps are corrected alike
        sets = [["t1", "t3"], ["t1"], ["t2"], ["t2"], ["t1"], ["t3"], ["t0"]]
    for network in (grouped, separate):
        optimizers = Optimizers(network, OPTIMIZERS[optimizer], layout)
        for names in sets:
            optimizers.zero_grad()
            outputs = network(x, names)
            sum((outputs[name] - y[name]).square().mean() for name in names).backward()
            optimizers.step(names)
    for name in NAMES:
        for ours, wanted in zip(
            grouped.task_parameters(name), separate.task_parameters(name), strict=True
        ):
            torch.testing.assert_close(ours.data, wanted.data)
    torch.testing.assert_close(grouped.trunk.weight, separate.trunk.weight)


def test_the_steps_of_each_row_are_saved_with_the_optimiser():
    network, _ = pair()
    optimizers = Optimizers(network, OPTIMIZERS["adamw"])
    x = torch.randn(2, 3)
    for names in (["t1"], ["t1"], NAMES):
        optimizers.zero_grad()
        sum(y.sum() for y in network(x, names).values()).backward()
        optimizers.step(names)
    saved = optimizers.all[0].state_dict()["state"]
    group = [state["row_steps"].tolist() for state in saved.values() if "row_steps" in state]
    assert group == [[1, 3, 1, 1], [1, 3, 1, 1]]
    optimizers.all[0].load_state_dict(optimizers.all[0].state_dict())


def test_joint_steps_keep_nothing_beside():
    network, _ = pair()
    optimizers = Optimizers(network, OPTIMIZERS["adamw"])
    sum(y.sum() for y in network(torch.randn(2, 3)).values()).backward()
    optimizers.step(NAMES)
    assert all("row_steps" not in state for state in optimizers.all[0].state.values())


class _Flat(nn.Sequential):
    def forward(self, x):
        return super().forward(x.flatten(1))


class _First(nn.Linear):
    def forward(self, x):
        return super().forward(x[:, : self.in_features])


def _with_own_forward():
    head = nn.Linear(4, 1)
    head.forward = lambda x: nn.functional.linear(x[:, :4], head.weight, head.bias)
    return head


@pytest.mark.parametrize(
    "head",
    [
        lambda: _Flat(nn.Linear(12, 1)),
        lambda: nn.Sequential(_First(4, 1)),
        lambda: nn.Sequential(_with_own_forward()),
    ],
)
def test_heads_with_a_forward_of_their_own_may_take_any_features(head):
    trunk = nn.Unflatten(1, (3, 4)) if isinstance(head(), _Flat) else nn.Identity()
    network = HardSharing(trunk, {"a": head()})
    assert network(torch.zeros(5, 12))["a"].shape == (5, 1)
