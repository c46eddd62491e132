"""Network: what any architecture inherits."""

import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError, Network, Task, TensorData, Trainer
from jointrain.networks import Part


class _Towers(Network):
    """Towers without a trunk, and one parameter that belongs to no task."""

    def __init__(self, names):
        super().__init__({name: nn.Linear(3, 1) for name in names})
        self.towers = nn.ModuleList(nn.Linear(2, 3) for _ in self.task_names)
        self.scale = nn.Parameter(torch.ones(()))

    def features(self, inputs, tasks):
        return {name: self.scale * self.towers[self.index_of(name)](inputs) for name in tasks}

    def parts(self):
        return [
            Part(("towers", name), (name,), tower, own=True)
            for name, tower in zip(self.task_names, self.towers, strict=True)
        ]


def test_features_and_parts_are_all_that_an_architecture_writes():
    network = _Towers(["a", "b"])
    x = torch.randn(4, 2)
    expected = network.heads.layers[1](network.scale * network.towers[1](x))
    assert torch.equal(network(x)["b"], expected)
    assert network.shared_parameters() == [network.scale]
    assert network.task_parameters("b") == [
        *network.towers[1].parameters(),
        *network.heads.layers[1].parameters(),
    ]
    assert network.index_of("b") == 1
    assert network.penalty() is None


def test_the_exported_task_is_a_copy_without_the_other_towers():
    network = _Towers(["a", "b", "c"])
    x = torch.randn(4, 2)
    alone = network.for_task("b")
    before = alone(x).clone()
    assert torch.equal(before, network(x, ["b"])["b"])
    assert sum(p.numel() for p in alone.parameters()) == 9 + 4 + 1
    with torch.no_grad():
        network.scale.mul_(2)
    assert torch.equal(alone(x), before)


def test_the_export_keeps_the_mode():
    network = HardSharing(nn.Dropout(0.5), {"a": nn.Linear(2, 1)})
    assert network.for_task("a").training
    assert not network.eval().for_task("a").training


def test_no_task_is_refused():
    with pytest.raises(InvalidInputError, match="at least one task; give it a head for each"):
        _Towers([])


def test_a_head_that_is_no_module_is_refused():
    with pytest.raises(InvalidInputError, match="the head of task 'b' must be a torch module"):
        HardSharing(nn.Identity(), {"a": nn.Linear(2, 1), "b": 3})


def test_a_head_that_does_not_fit_the_trunk_is_refused_with_both_shapes():
    wrong = r"task 'b' takes \[b, 5\], .* give \[b, 4\]; make the head's in_features 4"
    for head in (nn.Linear(5, 1), nn.Sequential(nn.Linear(5, 2), nn.ReLU(), nn.Linear(2, 1))):
        network = HardSharing(nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": head})
        with pytest.raises(InvalidInputError, match=wrong):
            network(torch.zeros(2, 3))
    grouped = HardSharing(
        nn.Linear(3, 4), {f"t{i}": nn.Linear(5, 1) for i in range(3)}, group_from=2
    )
    with pytest.raises(InvalidInputError, match=r"'t0' takes \[b, 5\], .* give \[b, 4\]"):
        grouped(torch.zeros(2, 3))


def test_describe_is_a_tree_with_sizes_and_users():
    heads = {"price": nn.Linear(4, 1), "kind": nn.Linear(4, 3)}
    network = HardSharing([nn.Linear(8, 4), nn.Linear(4, 4)], heads)
    assert network.describe().splitlines() == [
        "HardSharing: 2 tasks, 96 parameters, 36 of them shared",
        "├─ trunk: Linear, 36 parameters, shared by all",
        "├─ branches",
        "│  ├─ price: Linear, 20 parameters, price alone",
        "│  └─ kind: Linear, 20 parameters, kind alone",
        "└─ heads",
        "   ├─ price: Linear, 5 parameters, price alone",
        "   └─ kind: Linear, 15 parameters, kind alone",
    ]


def test_describe_says_what_of_a_head_is_tied():
    trunk = nn.Linear(4, 4)
    network = HardSharing(trunk, {"a": nn.Sequential(trunk, nn.Linear(4, 1)), "b": nn.Linear(4, 1)})
    assert "├─ a: Sequential, 25 parameters, a alone but for 20" in network.describe()


def test_describe_counts_many_alike_instead_of_listing_them():
    network = HardSharing(nn.Linear(2, 2), {f"task {i}": nn.Linear(2, 1) for i in range(1000)})
    lines = network.describe().splitlines()
    assert len(lines) < 20
    assert lines[-1] == "   └─ ...: 988 more of this kind"


def test_losses_of_separate_heads_are_those_of_the_tasks():
    tasks = [Task.regression("a"), Task.multiclass("b", 3)]
    network = HardSharing(nn.Identity(), {"a": nn.Linear(2, 1), "b": nn.Linear(2, 3)})
    x = torch.randn(5, 2)
    targets = {"a": torch.tensor([0.5, torch.nan, 1, 2, 3]), "b": torch.tensor([0, 1, -100, 2, 2])}
    outputs = network(x, grouped=True)
    names, losses = network.losses({t.name: t for t in tasks}, outputs, targets)
    assert names == ("a", "b")
    plain = network(x)
    for task, loss in zip(tasks, losses, strict=True):
        torch.testing.assert_close(loss, task.loss(plain[task.name], targets[task.name]))


def test_a_trainer_refuses_a_task_without_a_head():
    network = HardSharing(nn.Identity(), {"price": nn.Linear(2, 1)})
    with pytest.raises(InvalidInputError, match=r"no task 'prices'.*did you mean 'price'.* it has"):
        Trainer(network, [Task.regression("price"), Task.regression("prices")])


def test_a_trainer_refuses_a_head_of_another_size_than_its_task():
    network = HardSharing(nn.Identity(), {"a": nn.Linear(2, 3)})
    data = TensorData(torch.zeros(4, 2), {"a": torch.zeros(4)})
    with pytest.raises(InvalidInputError, match="regression task 'a' must give 1 numbers, got 3"):
        Trainer(network, [Task.regression("a")], device="cpu").fit(data)
