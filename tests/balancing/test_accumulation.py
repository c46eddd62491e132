"""Several batches a step, balanced as one."""

from __future__ import annotations

import copy

import pytest
import torch

from jointrain.balancing import BALANCERS, FAMO, Equal, Needs, Uncertainty, UPGrad, backward
from jointrain.errors import InvalidInputError
from tests.balancing._replicas import ROWS, TASKS, Net, build, data, flat, losses_of

EXACT = sorted(
    name
    for name, cls in BALANCERS.items()
    if cls.needs not in (Needs.HELD_OUT, Needs.NEARBY, Needs.HEADS) and not cls.extra_batches
)
BATCHES = 4


def gradients(network):
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def train(name, batches, steps=3):
    network, balancer = Net(), build(name)
    optimizer = torch.optim.SGD([*network.parameters()], lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        x, y = data(step)
        for part in zip(x.chunk(batches), y.chunk(batches), strict=True):
            losses = losses_of(network, *part)
            mean = {task: loss / batches for task, loss in losses.items()}
            result = backward(mean, balancer, accumulate="exact")
        optimizer.step()
        if balancer.wants_after_step:
            with torch.no_grad():
                balancer.after_step(torch.stack(list(losses_of(network, x, y).values())))
    return network, balancer, result


@pytest.mark.parametrize("name", EXACT)
def test_batches_of_a_step_are_balanced_as_one(name):
    whole, first, one = train(name, 1)
    parts, second, several = train(name, BATCHES)
    moved = (flat(whole) - flat(Net())).abs().max()
    assert (flat(parts) - flat(whole)).abs().max() < 1e-5 * moved
    torch.testing.assert_close(several.losses, one.losses, rtol=1e-5, atol=1e-7)
    for (key, ours), theirs in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(
            theirs.float(), ours.float(), rtol=1e-3, atol=1e-5, equal_nan=True, msg=key
        )


@pytest.mark.parametrize("name", ["upgrad", "graddrop"])
def test_one_batch_is_as_without(name):
    network, other = Net(), Net()
    x, y = data(0)
    backward(losses_of(network, x, y), build(name), accumulate="exact")
    backward(losses_of(other, x, y), build(name))
    torch.testing.assert_close(gradients(network), gradients(other))


def test_tasks_may_come_in_different_batches():
    network, whole = Net(), Net()
    x, y = data(0)
    balancer = UPGrad()
    backward(losses_of(network, x, y, ("a", "b")), balancer, accumulate="exact")
    result = backward(losses_of(network, x, y, ("c",)), balancer, accumulate="exact")
    expected = backward(losses_of(whole, x, y), UPGrad())
    assert result.tasks == TASKS
    torch.testing.assert_close(result.weights, expected.weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients(network), gradients(whole))


@pytest.mark.parametrize(
    "name", ["equal", "famo", "imtl-g", "mgda", "moco", "pcgrad", "trimmed-mean"]
)
def test_one_task_a_batch_is_balanced_as_one_step(name):
    network, whole = Net(), Net()
    x, y = data(0)
    balancer = build(name)
    balancer.bind(TASKS)
    for task in TASKS:
        result = backward(losses_of(network, x, y, (task,)), balancer, accumulate="exact")
    expected = backward(losses_of(whole, x, y), build(name))
    assert result.tasks == TASKS
    torch.testing.assert_close(result.gramian, expected.gramian, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result.weights, expected.weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients(network), gradients(whole), rtol=1e-4, atol=1e-6)


def of_tasks(network, tasks):
    """Return losses of which b and c reach the head of b."""
    losses = losses_of(network, *data(0), tasks)
    if "c" in tasks:
        losses["c"] = losses["c"] + network.heads["b"].weight.square().sum()
    return losses


def test_what_tasks_of_several_batches_reach_is_shared():
    network, whole, balancer = Net(), Net(), UPGrad()
    for tasks in (("a", "b"), ("c",)):
        result = backward(of_tasks(network, tasks), balancer, accumulate="exact")
    expected = backward(of_tasks(whole, TASKS), UPGrad())
    torch.testing.assert_close(result.gramian, expected.gramian, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(network), gradients(whole))


def test_what_is_named_as_shared_is_shared_and_no_more():
    network, whole, balancer = Net(), Net(), UPGrad()
    for task in TASKS:
        result = backward(
            of_tasks(network, (task,)), balancer, shared=network.trunk, accumulate="exact"
        )
    expected = backward(of_tasks(whole, TASKS), UPGrad(), shared=whole.trunk)
    torch.testing.assert_close(result.gramian, expected.gramian, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(network), gradients(whole))


def test_a_shared_parameter_that_a_batch_leaves_out_is_refused():
    network, balancer = Net(), UPGrad()
    options = {"own": network.heads, "accumulate": "exact"}
    backward(losses_of(network, *data(0), ("a",)), balancer, **options)
    with pytest.raises(InvalidInputError, match="Name the shared parameters with `shared="):
        backward(losses_of(network, *data(0), ("b",)), balancer, **options)
    network.zero_grad()
    network.trunk[0].weight.grad = before = torch.ones_like(network.trunk[0].weight)
    backward(losses_of(network, *data(0), ("a",)), balancer, **options)
    backward(losses_of(network, *data(0), ("a",)), balancer, **options)
    assert network.trunk[0].weight.grad is before


class Halves(torch.autograd.Function):
    """Two outputs of one operation, each of a parameter of its own."""

    @staticmethod
    def forward(ctx, x, first, second):
        ctx.save_for_backward(x)
        return x * first, x * second

    @staticmethod
    def backward(ctx, first, second):
        (x,) = ctx.saved_tensors
        return None, x * first, x * second


def test_tasks_that_part_within_an_operation_are_refused_in_batches_of_their_own_too():
    first, second = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))

    def losses(*tasks):
        outputs = Halves.apply(torch.ones(3), first, second)
        return {task: outputs[k].sum() for k, task in enumerate("ab") if task in tasks}

    with pytest.raises(InvalidInputError, match="The tasks part within a compiled function"):
        backward(losses("a", "b"), UPGrad(), accumulate="exact")
    balancer = UPGrad()
    backward(losses("a"), balancer, accumulate="exact")
    with pytest.raises(InvalidInputError, match="The tasks part within a compiled function"):
        backward(losses("b"), balancer, accumulate="exact")


def test_a_compiled_trunk_is_shared_by_tasks_of_several_batches():
    network, whole, balancer = Net(), Net(), UPGrad()
    network.trunk[2].compile(backend="aot_eager")
    for task in TASKS:
        result = backward(losses_of(network, *data(0), (task,)), balancer, accumulate="exact")
    expected = backward(losses_of(whole, *data(0)), UPGrad())
    torch.testing.assert_close(result.gramian, expected.gramian, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(network), gradients(whole))


@pytest.mark.parametrize("where", ["heads", "trunk", "penalty"])
def test_gradients_from_before_the_first_batch_are_refused(where):
    network = Net()
    unused = torch.nn.Parameter(torch.ones(2))
    filled = {"heads": network.heads["b"].weight, "trunk": network.scale, "penalty": unused}[where]
    filled.grad = torch.ones_like(filled)
    options = {"penalty": unused.square().sum()} if where == "penalty" else {}
    with pytest.raises(InvalidInputError, match="zero_grad"):
        backward(losses_of(network, *data(0), ("b",)), UPGrad(), accumulate="exact", **options)
    assert float(filled.grad.sum()) == filled.numel()


@pytest.mark.parametrize("name", [n for n in EXACT if BALANCERS[n].needs is not Needs.LOSSES])
def test_a_method_is_given_losses_without_a_graph(name, monkeypatch):
    network, balancer = Net().double(), build(name)
    method = "weights" if hasattr(balancer, "weights") else "aggregate"
    ask, given = getattr(balancer, method), []

    def noted(first, losses):
        given.append(losses)
        return ask(first, losses)

    monkeypatch.setattr(balancer, method, noted)
    for _ in range(2):
        network.zero_grad()
        for _ in range(2):
            x, y = (part.double() for part in data(0))
            result = backward(losses_of(network, x, y), balancer, accumulate="exact")
        if balancer.wants_end_epoch:
            balancer.end_epoch()
    assert len(given) >= 4
    assert not any(losses.requires_grad for losses in (*given, result.losses))
    assert not any(state.requires_grad for state in balancer.buffers())


def test_penalties_of_the_batches_add_up():
    network, other = Net(), Net()
    balancer = UPGrad()
    for _ in range(2):
        losses = {k: v / 2 for k, v in losses_of(network, *data(0)).items()}
        penalty = network.trunk[0].weight.square().sum()
        backward(losses, balancer, accumulate="exact", penalty=penalty)
    backward(losses_of(other, *data(0)), UPGrad())
    (2 * other.trunk[0].weight.square().sum()).backward()
    torch.testing.assert_close(gradients(network), gradients(other))


@pytest.mark.parametrize("balancer", [UPGrad(), BALANCERS["graddrop"]()])
def test_a_gradient_method_refuses_filled_gradients(balancer):
    network = Net()
    backward(losses_of(network, *data(0)), balancer)
    before = gradients(network).clone()
    with pytest.raises(InvalidInputError, match="zero_grad"):
        backward(losses_of(network, *data(1)), balancer)
    torch.testing.assert_close(gradients(network), before, rtol=0, atol=0)
    backward(losses_of(network, *data(1)), balancer, accumulate="per-batch")
    assert not torch.equal(gradients(network), before)


def test_gradients_of_zero_are_empty():
    network, other, balancer = Net(), Net(), UPGrad()
    backward(losses_of(network, *data(0)), balancer)
    torch.optim.SGD(network.parameters(), lr=0.1).zero_grad(set_to_none=False)
    backward(losses_of(network, *data(1)), balancer)
    backward(losses_of(other, *data(1)), UPGrad())
    torch.testing.assert_close(gradients(network), gradients(other), rtol=0, atol=0)


@pytest.mark.parametrize("balancer", [Equal(), FAMO(), Uncertainty()])
def test_loss_weightings_add_up(balancer):
    network, single = Net(), []
    for seed in range(2):
        alone, learned = Net(), copy.deepcopy(balancer)
        backward(losses_of(alone, *data(seed)), learned)
        backward(losses_of(network, *data(seed)), balancer)
        single.append([p.grad for p in (*alone.parameters(), *learned.parameters())])
    parameters = (*network.parameters(), *balancer.parameters())
    for parameter, first, second in zip(parameters, *single, strict=True):
        torch.testing.assert_close(parameter.grad, first + second)


def test_changed_gradients_are_not_gone_on_with():
    network, balancer = Net(), UPGrad()
    backward(losses_of(network, *data(0)), balancer, accumulate="exact")
    network.trunk[0].weight.grad.mul_(2)
    with pytest.raises(InvalidInputError, match="changed since the last batch"):
        backward(losses_of(network, *data(1)), balancer, accumulate="exact")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"compare_at": "features"}, "features"),
        ({"refresh_every": 2}, "refresh_every"),
        ({"non_finite": "skip"}, "skip"),
    ],
)
def test_what_is_not_exact_is_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        backward(losses_of(Net(), *data(0)), UPGrad(), accumulate="exact", **options)


def test_a_balancer_in_the_middle_of_a_step_can_be_copied():
    network, balancer = Net(), UPGrad()
    backward(losses_of(network, *data(0)), balancer, accumulate="exact")
    assert copy.deepcopy(balancer).accumulated is None


def test_rows_without_a_label_leave_a_task_out():
    network, other = Net(), Net()
    result = backward(losses_of(network, *data(0)), UPGrad(), rows={"a": ROWS, "b": 0, "c": ROWS})
    backward(losses_of(other, *data(0), ("a", "c")), UPGrad())
    assert result.tasks == ("a", "c")
    assert network.heads["b"].weight.grad is None
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_plain_sum_of_batches_is_exact_with_nothing_kept():
    network, other = Net(), Net()
    for seed in range(2):
        backward(losses_of(network, *data(seed)), accumulate="exact")
        backward(losses_of(other, *data(seed)))
    assert torch.equal(gradients(network), gradients(other))
    with pytest.raises(InvalidInputError, match="skip"):
        backward(losses_of(Net(), *data(0)), accumulate="exact", non_finite="skip")
