"""Cutting trunks: the stages compute what the trunk computes, with the same weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from jointrain import InvalidInputError
from jointrain.networks import (
    CrossStitch,
    HardSharing,
    LearningToBranch,
    Sluice,
    SoftSharing,
    cut,
)
from jointrain.networks._stages import copies


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return x + self.drop(self.linear(x)).relu()


class Residual(nn.Module):
    """Layers by name, a parameter of its own, and a skip connection over layer3."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(4))
        self.stem = nn.Linear(8, 4)
        self.layer1 = nn.Sequential(Block(4), Block(4))
        self.layer2 = Block(4)
        self.layer3 = Block(4)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x) + self.shift))
        return x + self.layer3(x)


def run(stages, x):
    for stage in stages:
        x = stage(x)
    return x


@pytest.mark.parametrize(
    "names", [["layer2"], ["layer3"], ["layer1", "layer2"], ["layer2", "layer1"]]
)
def test_a_traced_trunk_is_cut_before_the_named_layers(names):
    trunk = Residual().eval()
    stages = cut(trunk, names)
    assert len(stages) == len(names) + 1
    x = torch.randn(5, 8)
    torch.testing.assert_close(run(stages, x), trunk(x), rtol=0, atol=0)
    held = {id(p) for stage in stages for p in stage.parameters()}
    assert held == {id(p) for p in trunk.parameters()}


def test_a_layer_within_a_layer_can_begin_a_stage():
    trunk = Residual().eval()
    first, second = cut(trunk, "layer1.1")
    x = torch.randn(5, 8)
    torch.testing.assert_close(first(x), trunk.layer1[0](trunk.stem(x) + trunk.shift))
    torch.testing.assert_close(second(first(x)), trunk(x))


def test_the_stages_of_a_traced_trunk_follow_train_and_eval():
    stages = cut(Residual(), "layer2")
    x = torch.randn(50, 8)
    for stage in stages:
        stage.eval()
    assert torch.equal(run(stages, x), run(stages, x))
    for stage in stages:
        stage.train()
    assert not torch.equal(run(stages, x), run(stages, x))


def test_tracing_leaves_the_mode_of_every_layer():
    trunk = Residual().train()
    trunk.layer1.eval()
    before = [module.training for module in trunk.modules()]
    cut(trunk, "layer2")
    assert [module.training for module in trunk.modules()] == before


def test_other_arguments_keep_their_defaults():
    class Masked(Residual):
        def forward(self, x, mask=None, scale=2.0):
            x = self.layer1(self.stem(x)) * scale
            return self.layer2(x if mask is None else x * mask)

    trunk = Masked().eval()
    x = torch.randn(5, 8)
    torch.testing.assert_close(run(cut(trunk, "layer2"), x), trunk(x))


def test_many_stages_stay_in_order():
    trunk = nn.Sequential(*(nn.Linear(3, 3) for _ in range(13)))

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = trunk

        def forward(self, x):
            return self.body(x)

    x = torch.randn(2, 3)
    for whole, names in (
        (trunk, [str(i) for i in range(1, 13)]),
        (Wrapped(), [f"body.{i}" for i in range(1, 13)]),
    ):
        stages = cut(whole, names)
        assert len(stages) == 13
        assert torch.equal(run(stages, x), trunk(x))


def test_a_sequence_that_uses_a_layer_twice_keeps_both_places():
    layer = nn.Linear(4, 4)
    trunk = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh())
    stages = cut(trunk, ["2"])
    assert [len(stage) for stage in stages] == [2, 2]
    x = torch.randn(2, 4)
    assert torch.equal(run(stages, x), trunk(x))


def test_a_sequence_with_a_forward_of_its_own_is_traced():
    class Doubled(nn.Sequential):
        def forward(self, x):
            return 2 * super().forward(x)

    trunk = Doubled(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    x = torch.randn(2, 4)
    torch.testing.assert_close(run(cut(trunk, "2"), x), trunk(x))


def test_a_list_is_its_stages_and_no_name_is_one_stage():
    layers = [nn.Linear(4, 4), nn.Tanh()]
    assert cut(layers) == layers
    assert cut(nn.ModuleList(layers)) == layers
    assert cut(layers[0]) == [layers[0]]
    assert len(cut(nn.Sequential(*layers), ["1", "1"])) == 2


class Skips(Residual):
    def forward(self, x):
        x = self.stem(x)
        return self.layer2(self.layer1(x)) + x


class Asks(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.how = how

    def forward(self, x):
        x = self.one(x)
        if self.how == "dropout":
            x = functional.dropout(x, 0.5, self.training)
        elif self.how == "training" and self.training:
            x = 2 * x
        elif self.how == "value" and x.sum() > 0:
            x = -x
        return self.two(x)


@pytest.mark.parametrize("how", ["dropout", "training"])
def test_a_forward_that_asks_whether_it_trains_is_refused_as_a_graph_would_forget_it(how):
    with pytest.raises(InvalidInputError, match="asks whether it is training"):
        cut(Asks(how), "two")


@pytest.mark.parametrize(
    "trunk, names, message",
    [
        (Residual(), "layer4", "`split_at` names 'layer4', .* no layer of Residual.*did you mean"),
        (Residual(), "layer1.7", r"names 'layer1.7', .*did you mean 'layer1.[01]'.*first layers "
         "are stem, layer1, layer2, layer3"),
        (Skips(), "layer2", r"Skips can't be cut before stage 1: more than one .* \(also .*stem"),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh()), "0", "'0', the trunk's first layer: nothing"),
        (Asks("none"), "one", "'one', the trunk's first layer: nothing would come before"),
        (Asks("value"), "two", "Asks can't be cut by tracing it .* give its stages as a list"),
        ([nn.Linear(4, 4)], "0", "a list is cut already"),
        ([], None, "must be a torch module or a list of such"),
        ([3], None, "must be a torch module or a list of such"),
    ],
)  # fmt: skip
def test_what_can_t_be_cut_is_refused(trunk, names, message):
    with pytest.raises(InvalidInputError, match=message):
        cut(trunk, names)


def test_a_layer_that_forward_does_not_call_can_t_begin_a_stage():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return functional.linear(self.one(x), self.two.weight)

    with pytest.raises(InvalidInputError, match="'two': its forward does not call that layer"):
        cut(Hidden(), "two")


def test_copies_share_nothing_and_draw_new_weights_if_asked():
    given = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    same = copies(given, 3, reinitialize=False)
    assert same[0] is given
    assert torch.equal(same[2][0].weight, given[0].weight)
    assert same[2][0].weight is not given[0].weight
    drawn = copies(given, 2, reinitialize=True)
    assert not torch.equal(drawn[1][0].weight, given[0].weight)
    assert torch.equal(drawn[1][1].weight, torch.ones(4))


def test_a_cut_trunk_trains_each_branch_alone():
    trunk = Residual()
    network = HardSharing(trunk, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}, split_at="layer2")
    network = copy.deepcopy(network)
    network(torch.randn(3, 8))["b"].sum().backward()
    assert all(p.grad is None for p in network.branches[0].parameters())
    assert all(p.grad is not None for p in network.branches[1].parameters())
    assert all(p.grad is not None for p in network.shared_parameters())


@pytest.mark.parametrize("changed", ["forward", "hook"])
def test_a_sequence_that_does_more_than_its_class_is_traced(changed):
    trunk = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    if changed == "hook":
        trunk.register_forward_hook(lambda _, __, output: output.sin())
    else:
        former = trunk.forward
        trunk.forward = lambda x: former(x).sin()
    first, second = cut(trunk, "2")
    x = torch.randn(5, 3)
    assert torch.equal(second(first(x)), trunk(x))


class _Tied(nn.Module):
    """A head with the weights of another layer."""

    def __init__(self, layer):
        super().__init__()
        self.weight = layer.weight

    def forward(self, x):
        return x @ self.weight.T


@pytest.mark.parametrize(
    "make",
    [
        lambda trunk, heads: HardSharing(trunk, heads, split_at="2"),
        lambda trunk, heads: CrossStitch(trunk, heads, split_at="2"),
        lambda trunk, heads: Sluice(trunk, heads, split_at="2", subspaces=2),
        lambda trunk, heads: LearningToBranch(trunk, heads, split_at="2"),
        SoftSharing,
    ],
)
def test_weights_that_copies_would_untie_are_refused(make):
    layer = nn.Linear(4, 4)
    heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}
    repeated = nn.Sequential(layer, nn.ReLU(), layer)
    if make is not SoftSharing:  # copies the whole, in which they stay tied
        with pytest.raises(InvalidInputError, match="a copy for each task would untie them"):
            make(repeated, heads)
    with pytest.raises(InvalidInputError, match="'weight' of _Tied is also a weight of another"):
        make(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), layer), heads | {"b": _Tied(layer)})
    make(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), layer), heads)
