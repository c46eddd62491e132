"""The table of docs/engine.md, cell by cell: a kind of method under one circumstance of training.

What is compared with is the same method on the same problem without the circumstance: the
network in float32, not compiled, without checkpoints, with dense tables, pairs of real numbers in
place of complex ones, all rows in one process and one batch. That this equals K plain passes and
the method's arithmetic is tested in tests/oracle/test_backward_exact.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jointrain.balancing import BALANCERS, Balancer, Needs, backward
from jointrain.errors import InvalidInputError
from tests.balancing import _replicas as replicas
from tests.conformance import _half_precision as half
from tests.processes import Processes

_ROUNDING = 1e-5  # of the parts in float32
TASKS = ("a", "b", "c")


class Kind(NamedTuple):
    """A row of the table: methods, and how `backward` is called."""

    methods: list[str]
    options: dict[str, Any]


def _methods(wanted: Callable[[type[Balancer], Balancer], bool]) -> list[str]:
    return [name for name, cls in sorted(BALANCERS.items()) if wanted(cls, half.build(name))]


def _weighs(needs: Needs, *, own: bool, extra: bool = False) -> list[str]:
    return _methods(
        lambda cls, balancer: (
            cls.needs is needs
            and any(True for _ in balancer.parameters()) == own
            and bool(cls.extra_batches) == extra
        )
    )


def _sees_gradients(*, blockwise: bool) -> list[str]:
    return _methods(lambda cls, _: cls.needs is Needs.JACOBIAN and cls.blockwise == blockwise)


_SOME = ["upgrad", "nash-mtl", "gradnorm"]
KINDS = {
    "weighs losses": Kind(_weighs(Needs.LOSSES, own=False), {}),
    "weighs losses, with parameters of its own": Kind(_weighs(Needs.LOSSES, own=True), {}),
    "weighs by the Gramian": Kind(_weighs(Needs.GRAMIAN, own=False), {}),
    "the same, with parameters of its own": Kind(_weighs(Needs.GRAMIAN, own=True), {}),
    "the same, `refresh_every=2`": Kind(_SOME, {"refresh_every": 2}),
    'the same, `compare_at="features"`': Kind(_SOME, {"compare_at": "features"}),
    'the same, `compare_at="last_shared_layer"`': Kind(_SOME, {"compare_at": "last_shared_layer"}),
    "weighs by the Gramian of two more batches": Kind(
        _weighs(Needs.GRAMIAN, own=False, extra=True), {}
    ),
    "sees the gradients, block by block": Kind(_sees_gradients(blockwise=True), {}),
    "sees all gradients, and keeps some": Kind(_sees_gradients(blockwise=False), {}),
    "takes held-out losses": Kind(_methods(lambda cls, _: cls.needs is Needs.HELD_OUT), {}),
    "takes gradients at moved weights": Kind(
        _methods(lambda cls, _: cls.needs is Needs.NEARBY), {}
    ),
    "differentiates the heads twice": Kind(_methods(lambda cls, _: cls.needs is Needs.HEADS), {}),
}


# --- the circumstances ---------------------------------------------------------------------------


class Net(nn.Module):
    """A table, a dense layer and a head for each task, in float64."""

    def __init__(self, circumstance: str | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        sparse = circumstance == "sparse"
        self.table = nn.Embedding(12, 6, sparse=sparse)
        self.layer = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.mix = nn.Linear(8, 4)
        self.heads = nn.ModuleDict({task: nn.Linear(4, 1) for task in TASKS})
        self.tables = nn.ModuleDict({task: nn.Embedding(12, 1, sparse=sparse) for task in TASKS})
        self.double()
        self.checkpointed = circumstance == "checkpoints"

    def trunk(self, index: Tensor) -> Tensor:
        z = self.table(index)
        block = self.layer
        z = checkpoint(block, z, use_reentrant=False) if self.checkpointed else block(z)
        return self.mix(z)

    def forward(self, index: Tensor) -> dict[str, Tensor]:
        z = self.trunk(index)
        return {
            task: head(z)[:, 0] + self.tables[task](index)[:, 0]
            for task, head in self.heads.items()
        }


class ComplexNet(nn.Module):
    """A network whose parameters are complex, or the pairs of real numbers that they consist of."""

    def __init__(self, circumstance: str | None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {"table": (12, 6, 2), "mix": (6, 4, 2)} | dict.fromkeys(TASKS, (4, 1, 2))
        self.weights = nn.ParameterDict()
        for name, shape in shapes.items():
            start = torch.randn(shape, generator=generator, dtype=torch.float64)
            whole = circumstance == "complex"
            self.weights[name] = nn.Parameter(torch.view_as_complex(start) if whole else start)

    def weight(self, name: str) -> Tensor:
        found = self.weights[name]
        return found if found.is_complex() else torch.view_as_complex(found)

    def forward(self, index: Tensor) -> dict[str, Tensor]:
        z = self.weight("table")[index] @ self.weight("mix")
        return {task: (z @ self.weight(task))[:, 0].abs() for task in TASKS}


def data(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    return torch.randint(0, 12, (16,), generator=generator), y * torch.tensor([1.0, 3.0, 10.0])


def losses_of(net: nn.Module, index: Tensor, y: Tensor) -> dict[str, Tensor]:
    outputs = net(index)
    return {task: (outputs[task] - y[:, k]).square().mean() for k, task in enumerate(TASKS)}


def gradients(
    name: str, options: dict[str, Any], net: nn.Module, parts: int = 1, draws: bool = True
) -> list[Tensor]:
    """Return all gradients after each of two steps, each of so many batches.

    Without `draws` SAMO makes nothing of its random numbers.
    """
    balancer = half.build(name, TASKS)
    if name == "samo" and not draws:
        balancer.local_share = 0.0
    further = itertools.count(2)
    found = []
    for step in range(2):
        net.zero_grad()
        balancer.zero_grad()
        whole = data(step)
        for batch in zip(*(x.chunk(parts) for x in whole), strict=True):
            backward(
                {task: loss / parts for task, loss in losses_of(net, *batch).items()},
                balancer,
                extra=lambda: losses_of(net, *data(next(further))),
                train=lambda batch=batch: losses_of(net, *batch),
                held_out=lambda: losses_of(net, *data(9)),
                **options,
                **({"accumulate": "exact"} if parts > 1 else {}),
            )
        for parameter in (*net.parameters(), *balancer.parameters()):
            g = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            g = g.to_dense() if g.is_sparse else g
            found.append(torch.view_as_real(g).flatten() if g.is_complex() else g.flatten())
    return [x.detach().clone() for x in found]


def away(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the largest relative distance of a parameter's gradient."""
    return max(half.distance(x, y) for x, y in zip(found, wanted, strict=True))


def away_but_for_draws(found: list[Tensor]) -> float:
    """Return the same for GradDrop, which draws parameter by parameter in the graph's order.

    Whatever was drawn, a number of the update is the sum of the positive ones of the tasks'
    gradients, or of the negative ones.
    """
    net, wanted = Net(None), []
    parameters = list(net.parameters())
    for step in range(2):
        losses = losses_of(net, *data(step)).values()
        rows = [
            torch.autograd.grad(
                v, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for v in losses
        ]
        for mine, *column in zip(found[step * len(parameters) :], *rows, strict=False):
            parts = torch.stack([g.flatten() for g in column])
            sums = torch.stack([parts.clamp_min(0).sum(0), parts.clamp_max(0).sum(0)])
            nearest = (sums - mine).abs().argmin(0, keepdim=True)
            wanted.append(sums.gather(0, nearest)[0])
    return away(found, wanted)


def on_another_graph(circumstance: str) -> Callable[[str, dict[str, Any]], float]:
    build = ComplexNet if circumstance == "complex" else Net

    def measure(name: str, options: dict[str, Any]) -> float:
        found = gradients(name, options, build(circumstance))
        if circumstance == "sparse" and name == "graddrop":
            return away_but_for_draws(found)
        return away(found, gradients(name, options, build(None)))

    return measure


def compiled(name: str, options: dict[str, Any]) -> float:
    net = Net(None)
    net.trunk = torch.compile(net.trunk, backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        found = gradients(name, options, net, draws=False)
    if name == "graddrop":
        return away_but_for_draws(found)
    if options.get("compare_at") == "last_shared_layer":
        options = {}  # a compiled part is one layer, and nothing else is shared here
    return away(found, gradients(name, options, Net(None), draws=False))


def accumulated(name: str, options: dict[str, Any]) -> float:
    found = gradients(name, options, Net(None), parts=2)
    return away(found, gradients(name, options, Net(None)))


def in_half_precision(precision: str) -> Callable[[str, dict[str, Any]], float]:
    dtype = half.PRECISIONS[precision]

    def measure(name: str, options: dict[str, Any]) -> float:
        scaled = precision == "float16"
        scaler = torch.amp.GradScaler("cpu", init_scale=half.SCALE, enabled=scaled)
        net, balancer = half.Net(), half.build(name)
        other_net, other = half.Net(), half.build(name)
        found = []
        for _ in range(2):
            for module in (net, other_net, balancer, other):
                module.zero_grad()
            half.step(other_net, other, None, **options)
            half.step(net, balancer, dtype, scaler=scaler, **options)
            ours = half.flat(net) / (half.SCALE if scaled else 1)
            found.append(half.distance(ours, half.flat(other_net)))
        return max(found)

    return measure


CIRCUMSTANCES: dict[str, Callable[[str, dict[str, Any]], float]] = {
    "bf16": in_half_precision("bfloat16"),
    "fp16": in_half_precision("float16"),
    "compiled": compiled,
    "checkpoints": on_another_graph("checkpoints"),
    "accumulated": accumulated,
    "sparse": on_another_graph("sparse"),
    "complex": on_another_graph("complex"),
}
SEVERAL_PROCESSES = {"DDP": "ddp", "FSDP2": "sharded"}


# --- the table -----------------------------------------------------------------------------------


def table() -> dict[tuple[str, str], str]:
    """Return the words of the table by row and column."""
    page = (Path(__file__).parents[2] / "docs" / "engine.md").read_text(encoding="utf-8")
    lines = iter(page.splitlines())
    header = next(_cells(line) for line in lines if line.startswith("| a method that |"))
    next(lines)
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        kind, *words = _cells(line)
        found |= {(kind, c): w for c, w in zip(header[1:], words, strict=True)}
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


TABLE = table()
HERE = [cell for cell in TABLE if cell[1] in CIRCUMSTANCES]
ACROSS = [cell for cell in TABLE if cell[1] in SEVERAL_PROCESSES]


def test_the_table_has_every_kind_of_method_and_every_circumstance():
    columns = {*CIRCUMSTANCES, *SEVERAL_PROCESSES}
    assert set(TABLE) == set(itertools.product(KINDS, columns))
    assert {name for kind in KINDS.values() for name in kind.methods} == set(BALANCERS)


def check(found: float | str, words: str, name: str) -> None:
    """Check what a method gave, a distance or an error's words, against those of the cell."""
    if words == "refused":
        assert isinstance(found, str), f"{name} was not refused, distance {found:.1e}"
        assert found.startswith("InvalidInputError: "), found
        return
    assert not isinstance(found, str), f"{name}: {found}"
    limit = _ROUNDING if words == "exact" else float(words.removesuffix(" %")) / 100
    assert found < limit, f"{name}: {found:.1e}"


@pytest.mark.parametrize("kind, circumstance", HERE)
def test_cell(kind, circumstance):
    measure = CIRCUMSTANCES[circumstance]
    for name in KINDS[kind].methods:
        found: float | str
        try:
            found = measure(name, KINDS[kind].options)
        except InvalidInputError as error:
            found = f"InvalidInputError: {error}"
        check(found, TABLE[kind, circumstance], name)


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    processes = Processes(2)
    yield processes
    processes.close()


@pytest.mark.parametrize("kind, circumstance", ACROSS)
def test_cell_of_two_processes(two, kind, circumstance):
    methods, options = KINDS[kind]
    for results in two.run(replicas.distances, methods, SEVERAL_PROCESSES[circumstance], options):
        assert set(results) == set(methods)
        for name, result in results.items():
            if not isinstance(result, str):
                distance, apart = result
                assert apart == 0, name
                result = distance
            check(result, TABLE[kind, circumstance], name)
