"""What every network keeps: shapes, who owns what, what a gradient reaches, saving, exporting."""

from __future__ import annotations

import copy
import inspect
import io

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

import jointrain.networks as networks
from jointrain import Alternating, Joint, TensorData, Trainer
from jointrain.balancing import UPGrad
from jointrain.networks import NETWORKS, Network, build_network
from jointrain.networks._heads import GroupedLinear, TaskSlice
from jointrain.testing import NETWORK_CHECKS, check_network
from tests.conformance._networks import BUILDERS, TASKS, build, rows, targets

NAMES = list(BUILDERS)
# the slow tests take one form of each class
ONE_EACH = [name for name in NAMES if "," not in name] + ["hard, grouped", "tabm, table"]
BY_NAME = {task.name: task for task in TASKS}
WIDTH = {task.name: task.output_size for task in TASKS}


@pytest.mark.parametrize("check", NETWORK_CHECKS.values(), ids=NETWORK_CHECKS.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_keeps_what_networks_for_tables_keep(name, check):
    check(lambda inputs, tasks, **settings: build_network(name, inputs, tasks, **settings))


def _tower(inputs, tasks, *, width=6, wide=0, hidden=None):
    heads = {task.name: nn.Linear(width, task.output_size + wide) for task in tasks}
    network = networks.HardSharing(nn.Sequential(nn.Linear(inputs, width), nn.Tanh()), heads)
    if hidden is not None:
        network.hidden = hidden
    return network


TRUNK = nn.Linear(8, 6)


@pytest.mark.parametrize(
    "factory, message",
    [
        (lambda d, tasks: _tower(d, tasks, wide=1), "outputs fit the tasks: a has shape"),
        (
            lambda d, tasks: _tower(d, tasks, hidden=nn.Linear(2, 2)),
            "owns .*: no loss reaches hidden",
        ),
        (
            lambda d, tasks: networks.HardSharing(
                TRUNK, {task.name: nn.Linear(6, task.output_size) for task in tasks}
            ),
            "the seed decides: two networks share a parameter",
        ),
    ],
)
def test_a_network_that_breaks_a_rule_is_told_which(factory, message):
    check_network(_tower)
    with pytest.raises(AssertionError, match=message):
        check_network(factory)


def loss_of(network: Network, task: str, x: Tensor, y: Tensor) -> Tensor:
    outputs = network(x, [task])[task]
    # the grouped network's head of the binary task is three wide
    if outputs.shape[-1] != WIDTH[task]:
        outputs = outputs[..., : WIDTH[task]]
    return network.loss(BY_NAME[task], outputs, y)


def reached(network: Network, loss: Tensor) -> set[int]:
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {id(p) for p, g in zip(parameters, gradients, strict=True) if g is not None}


def test_every_network_is_here_and_documented():
    classes = {
        item
        for item in vars(networks).values()
        if inspect.isclass(item) and issubclass(item, Network) and item is not Network
    }
    assert {type(build(name)) for name in NAMES} == classes
    assert {entry.network for entry in NETWORKS.values()} <= classes
    for cls in classes:
        for section in ("Args:", "Shape:", "Raises:", "Cost:", "Source:", "Differs from"):
            assert section in (cls.__doc__ or ""), f"{cls.__name__} lacks {section!r}"
        assert cls.__name__ in networks.__all__


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_a_row_for_each_input_in_the_order_asked(name):
    network = build(name).eval()
    for count in (1, 5):
        outputs = network(rows(count))
        assert list(outputs) == ["a", "b", "c"]
        for task, output in outputs.items():
            width = 3 if name == "hard, grouped" and task == "c" else WIDTH[task]
            assert output.shape == (count, width)
            assert torch.isfinite(output).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_subset_of_tasks_gives_the_same_outputs(name):
    network = build(name).eval()
    x = rows()
    every = network(x)
    for tasks in (["c", "a"], ["b"]):
        some = network(x, tasks)
        assert list(some) == tasks
        for task in tasks:
            torch.testing.assert_close(some[task], every[task])


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_the_others_in_evaluation(name):
    network = build(name).eval()
    x = rows()
    order = torch.tensor([3, 0, 4, 1, 2])
    for task, output in network(x[order]).items():
        torch.testing.assert_close(output, network(x)[task][order])


@pytest.mark.parametrize("name", NAMES)
def test_one_task_is_enough(name):
    network = build(name, TASKS[1:2])
    x, y = rows(), targets()["b"]
    assert network.eval()(x)["b"].shape == (5, 3)
    network.train()
    loss = loss_of(network, "b", x, y)
    missed = {id(p) for p in network.task_parameters("b")} - reached(network, loss)
    assert not missed - {id(p) for p in network.shared_parameters()}
    penalty = network.penalty(["b"])
    assert penalty is None or torch.isfinite(penalty)
    assert network.describe().startswith(f"{type(network).__name__}: 1 task, ")


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_reaches_what_the_network_says_it_reaches(name):
    network = build(name).train()
    x, y = rows(), targets()
    found = {task: reached(network, loss_of(network, task, x, y[task])) for task in BY_NAME}
    for part in network.all_parts():
        for parameter in part.all_parameters():
            owner = parameter._owner if isinstance(parameter, TaskSlice) else parameter
            users = {task for task in BY_NAME if id(owner) in found[task]}
            if isinstance(parameter, TaskSlice):
                assert part.tasks[0] in users
            else:
                # a parameter may stand in several pieces; one piece says all who reach it
                assert users >= set(part.tasks), part.path
    for task in BY_NAME:
        others = [p for other in BY_NAME if other != task for p in network.task_parameters(other)]
        assert not found[task] & {id(p) for p in others}
        own = {id(p) for p in network.task_parameters(task) if not isinstance(p, TaskSlice)}
        assert own <= found[task]
    every = set().union(*found.values())
    assert every == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_one_task_leaves_the_others_own_parameters_without_gradient(name):
    network = build(name).train()
    loss_of(network, "a", rows(), targets()["a"]).backward()
    penalty = network.penalty(["a"])
    if penalty is not None:
        assert penalty.ndim == 0
        assert torch.isfinite(penalty)
        penalty.backward()
    for task in ("b", "c"):
        for parameter in network.task_parameters(task):
            assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_shared_and_own_parameters_are_all_and_each_is_in_one_place(name):
    network = build(name)
    shared = network.shared_parameters()
    own = [p for task in BY_NAME for p in network.task_parameters(task)]
    plain = [p for p in own if not isinstance(p, TaskSlice)]
    slices = [p for p in own if isinstance(p, TaskSlice)]
    grouped = {
        id(p) for m in network.modules() if isinstance(m, GroupedLinear) for p in m.parameters()
    }
    ids = [id(p) for p in (*shared, *plain)]
    assert len(ids) == len(set(ids))
    assert set(ids) | grouped == {id(p) for p in network.parameters()}
    assert {id(p._owner) for p in slices} == grouped
    total = sum(p.numel() for p in (*shared, *own))
    assert total == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_to_a_file_and_back(name):
    network, other = build(name).eval(), build(name, seed=1).eval()
    x = rows()
    wanted = network(x)
    assert any(not torch.equal(other(x)[task], wanted[task]) for task in wanted)
    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    stream.seek(0)
    other.load_state_dict(torch.load(stream, weights_only=True))
    twins = [other, copy.deepcopy(network)]
    if name != "layers":  # its trunks hold the shared layers under several names
        again = build(name, seed=2).eval()
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        again.load_state_dict(load(save(state)))
        twins.append(again)
    for twin in twins:
        for task, output in twin(x).items():
            assert torch.equal(output, wanted[task])
        assert twin.describe() == network.describe()


@pytest.mark.parametrize("name", NAMES)
def test_double_precision_goes_through(name):
    network = build(name).double().train()
    x = rows().double()
    for task, y in targets().items():
        loss = loss_of(network, task, x, y.double())
        assert loss.dtype == torch.float64
    penalty = network.penalty()
    assert penalty is None or penalty.dtype == torch.float64
    for task, output in build(name).double().eval()(x).items():
        assert output.dtype == torch.float64
        single = build(name).eval()(rows())[task]
        torch.testing.assert_close(output.float(), single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ONE_EACH)
def test_compiled_in_one_graph_it_gives_the_same(name):
    torch._dynamo.reset()
    network = build(name).eval()
    # the tree of learned branches is read from weights, which ends a graph
    whole = not name.startswith("branch")
    compiled = torch.compile(network, backend="eager", fullgraph=whole)
    x = rows()
    for task, output in compiled(x).items():
        torch.testing.assert_close(output, network(x)[task])


@pytest.mark.parametrize("name", NAMES)
def test_one_task_alone_is_a_plain_module_with_the_same_outputs_to_the_bit(name):
    network = build(name).eval()
    x = rows()
    sizes = {}
    for task in BY_NAME:
        alone = network.for_task(task)
        assert isinstance(alone, nn.Module)
        assert not isinstance(alone, Network)
        assert torch.equal(alone(x), network(x, [task])[task])
        sizes[task] = sum(p.numel() for p in alone.parameters())
        held = {id(p) for p in network.parameters()}
        assert not held & {id(p) for p in alone.parameters()}
    total = sum(p.numel() for p in network.parameters())
    for task, size in sizes.items():
        others = sum(p.numel() for t in BY_NAME if t != task for p in network.task_parameters(t))
        assert size <= total - others


@pytest.mark.parametrize("name", NAMES)
def test_describe_names_every_piece_and_adds_up(name):
    network = build(name)
    text = network.describe()
    total = sum(p.numel() for p in network.parameters())
    shared = sum(p.numel() for p in network.shared_parameters())
    first = f"{type(network).__name__}: 3 tasks, {total:,} parameters, {shared:,} of them shared"
    assert text.splitlines()[0] == first
    for task in BY_NAME:
        assert f"{task} alone" in text
    for part in network.all_parts():
        assert part.path[-1] in text


@pytest.mark.parametrize("name", ONE_EACH)
def test_it_learns(name):
    network = build(name).train()
    x = rows(64)
    y = {
        "a": x[:, 0] + x[:, 1],
        "b": x[:, :3].argmax(1).float(),
        "c": (x[:, 3] > 0).float(),
    }
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)

    def total() -> Tensor:
        return torch.stack([loss_of(network, task, x, y[task]) for task in y])

    def measured() -> Tensor:
        network.eval()
        with torch.no_grad():
            values = total()
        network.train()
        return values

    before = measured()
    # random routing learns slowly
    for _ in range(250 if name.startswith("branch") else 50):
        optimizer.zero_grad()
        loss = total().sum()
        penalty = network.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
    after = measured()
    assert (after < 0.8 * before).all(), (before, after)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hard, grouped"])
@pytest.mark.parametrize("schedule", ["joint", "alternating", "balanced"])
def test_the_trainer_takes_it_and_the_same_seed_gives_the_same_bits(name, schedule):
    x, y = rows(24), targets(24)
    weights = []
    for _ in range(2):
        network = build(name)
        trainer = Trainer(
            network,
            list(TASKS),
            schedule=Alternating() if schedule == "alternating" else Joint(),
            balancer=UPGrad() if schedule == "balanced" else None,
            batch_size=12,
            epochs=2,
            device="cpu",
        )
        trainer.fit(TensorData(x, y), TensorData(x, y))
        weights.append(network.state_dict())
    start = build(name).state_dict()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in start)
    assert any(not torch.equal(weights[0][key], start[key]) for key in start)


def test_grouped_heads_equal_separate_heads():
    names = [f"t{i}" for i in range(5)]
    heads = {name: nn.Linear(4, 2) for name in names}
    trunk = nn.Linear(8, 4)
    separate = networks.HardSharing(copy.deepcopy(trunk), copy.deepcopy(heads), group_from=None)
    grouped = networks.HardSharing(trunk, heads, group_from=5)
    assert len(grouped.heads.groups) == 1
    x = rows()
    for tasks in (None, names[1:4], names[3:4], names[::-1]):
        ours, wanted = grouped(x, tasks), separate(x, tasks)
        assert list(ours) == list(wanted)
        for name, output in wanted.items():
            torch.testing.assert_close(ours[name], output)
    sum(output.square().sum() for output in grouped(x).values()).backward()
    sum(output.square().sum() for output in separate(x).values()).backward()
    for name in names:
        pairs = zip(grouped.task_parameters(name), separate.task_parameters(name), strict=True)
        for ours, wanted in pairs:
            torch.testing.assert_close(ours, wanted)
            torch.testing.assert_close(ours.grad, wanted.grad)
    torch.testing.assert_close(grouped.trunk.weight.grad, separate.trunk.weight.grad)
