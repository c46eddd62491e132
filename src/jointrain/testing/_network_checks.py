"""What a network keeps: outputs by task, and who owns which parameter."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.networks import Network, NetworkFactory, build_network
from jointrain.task import Task

_TASKS = (Task.regression("a"), Task.multiclass("b", 3), Task.binary("c"))
_FEATURES, _ROWS = 8, 5


def check_network(factory: NetworkFactory) -> None:
    """Check what makes a network of one's own for tables.

    Args:
        factory: Called with the number of inputs and the tasks, as `Recipe` does.

    Raises:
        AssertionError: It, or a network that it makes, breaks what a network must keep.

    Examples:
        >>> from jointrain.networks import HardSharing, MLP
        >>> def tower(in_features, tasks, *, width=8):
        ...     heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
        ...     return HardSharing(MLP(in_features, width=width, depth=1), heads)
        >>> check_network(tower)
    """
    for name, check in NETWORK_CHECKS.items():
        try:
            check(factory)
        except Exception as error:  # code of others may raise anything
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            raise AssertionError(f"{name}: {kind}{error}") from error


def _made(factory: NetworkFactory, tasks: Sequence[Task] = _TASKS, seed: int = 0) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(factory, _FEATURES, tasks, width=6, depth=2, dropout=0.0)


def _rows() -> Tensor:
    return torch.randn(_ROWS, _FEATURES, generator=torch.Generator().manual_seed(1))


def _target(task: Task) -> Tensor:
    labels = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    return labels.long() if task.kind == "multiclass" else labels


def _loss(network: Network, task: Task) -> Tensor:
    return network.loss(task, network(_rows(), [task.name])[task.name], _target(task))


def _reached(network: Network, loss: Tensor) -> set[int]:
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {id(p) for p, g in zip(parameters, gradients, strict=True) if g is not None}


def _outputs_fit_the_tasks(factory: NetworkFactory) -> None:
    network = _made(factory).eval()
    outputs = network(_rows())
    assert list(outputs) == ["a", "b", "c"], f"the outputs are of {list(outputs)}"
    for task in _TASKS:
        found = outputs[task.name]
        assert found.shape == (_ROWS, task.output_size), f"{task.name} has shape {found.shape}"
        assert torch.isfinite(found).all(), f"{task.name} is {found}"


def _some_tasks_alone(factory: NetworkFactory) -> None:
    network = _made(factory).eval()
    every = network(_rows())
    for names in (["c", "a"], ["b"]):
        some = network(_rows(), names)
        assert list(some) == names, f"asked for {names}, it gives {list(some)}"
        for name in names:
            torch.testing.assert_close(some[name], every[name])


def _rows_are_independent(factory: NetworkFactory) -> None:
    network = _made(factory).eval()
    order = torch.tensor([3, 0, 4, 1, 2])
    for name, output in network(_rows()[order]).items():
        torch.testing.assert_close(output, network(_rows())[name][order])


def _one_task_is_enough(factory: NetworkFactory) -> None:
    network = _made(factory, _TASKS[1:2])
    assert network.eval()(_rows())["b"].shape == (_ROWS, 3)
    assert torch.isfinite(_loss(network.train(), _TASKS[1]))


def _losses_reach_what_is_owned(factory: NetworkFactory) -> None:
    network = _made(factory).train()
    found = {task.name: _reached(network, _loss(network, task)) for task in _TASKS}
    for task in found:
        others = [p for other in found if other != task for p in network.task_parameters(other)]
        assert not found[task] & {id(p) for p in others}, (
            f"the loss of {task} reaches what parts() gives to other tasks alone"
        )
        own = {id(p) for p in network.task_parameters(task)}
        assert own <= found[task], f"the loss of {task} does not reach all that is its own"
    every = set().union(*found.values())
    missed = [name for name, p in network.named_parameters() if id(p) not in every]
    assert not missed, f"no loss reaches {', '.join(missed)}"


def _penalty_is_a_number(factory: NetworkFactory) -> None:
    penalty = _made(factory).penalty(["a"])
    assert penalty is None or (penalty.ndim == 0 and torch.isfinite(penalty)), penalty


def _weights_are_saved(factory: NetworkFactory) -> None:
    network, other = _made(factory).eval(), _made(factory, seed=1).eval()
    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    stream.seek(0)
    other.load_state_dict(torch.load(stream, weights_only=True))
    for name, output in network(_rows()).items():
        torch.testing.assert_close(other(_rows())[name], output, rtol=0, atol=0)


def _seed_decides(factory: NetworkFactory) -> None:
    one, other = _made(factory), _made(factory)
    again = other.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, again[name]), f"{name} differs between two of the same seed"
    moved = {id(p) for p in one.parameters()} & {id(p) for p in other.parameters()}
    assert not moved, "two networks share a parameter; make a new one at each call"


NETWORK_CHECKS: Mapping[str, Callable[[NetworkFactory], None]] = {
    "outputs fit the tasks": _outputs_fit_the_tasks,
    "some tasks alone": _some_tasks_alone,
    "rows do not depend on each other in evaluation": _rows_are_independent,
    "one task": _one_task_is_enough,
    "who owns which parameter": _losses_reach_what_is_owned,
    "penalty": _penalty_is_a_number,
    "weights are saved and loaded": _weights_are_saved,
    "the seed decides": _seed_decides,
}
"""The checks of `check_network`; each takes what makes a network."""
