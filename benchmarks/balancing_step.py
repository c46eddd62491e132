"""Time and memory of one balanced training step, beside TorchJD and a plain loop.

    python benchmarks/balancing_step.py [--tables speed] [--networks mlp] [--tasks 2,8]
    python benchmarks/balancing_step.py --tables large  # memory of 50 million parameters, 16 tasks

Everything is measured in turn in this one process, on one thread; a number is the ratio of a
step's time to the plain joint step of the same network. With a GPU, ``--device cuda``.
Peers: ``pip install torchjd==0.18.0 qpsolvers quadprog cvxpy ecos``; missing ones are left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

import jointrain.balancing as balancing

Step = Callable[["Case"], None]


class Residual(nn.Module):
    """Two convolutions with batch norm and a shortcut."""

    def __init__(self, c: int, d: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(c, d, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(d)
        self.second = nn.Conv2d(d, d, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(d)
        same = c == d and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(c, d, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [b, c, h, w] to [b, d, h / stride, w / stride]."""
        y = functional.relu(self.norm1(self.first(x)))
        return functional.relu(self.norm2(self.second(y)) + self.short(x))


def mlp() -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for width in (64, 256, 256):
        layers += [nn.Linear(width, 256), nn.ReLU()]
    return nn.Sequential(*layers), 256


def lenet() -> tuple[nn.Module, int]:
    trunk = nn.Sequential(
        *(nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(720, 50), nn.ReLU()),
    )
    return trunk, 50


def resnet() -> tuple[nn.Module, int]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    c = 64
    for d, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Residual(c, d, stride), Residual(d, d, 1)]
        c = d
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 512


NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, int]], tuple[int, ...], int]] = {
    "mlp": (mlp, (64,), 256),
    "lenet": (lenet, (1, 36, 36), 256),
    "resnet": (resnet, (3, 32, 32), 16),
}


class Case:
    """A network, its data and its optimiser; each method trains one of its own."""

    def __init__(self, network: str, tasks: int, device: str, batch: int | None = None) -> None:
        torch.manual_seed(0)
        build, shape, default = NETWORKS[network]
        n = batch or default
        self.trunk, width = build()
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))
        self.trunk.to(device)
        self.heads.to(device)
        self.x = torch.randn(n, *shape, device=device)
        self.y = torch.randn(tasks, n, 1, device=device)
        self.shared = list(self.trunk.parameters())
        self.optimizer = torch.optim.SGD([*self.shared, *self.heads.parameters()], lr=1e-3)

    def losses(self) -> tuple[Tensor, list[Tensor]]:
        """Return the features and the tasks' losses."""
        z = self.trunk(self.x)
        return z, [functional.mse_loss(h(z), y) for h, y in zip(self.heads, self.y, strict=True)]


def plain(case: Case) -> None:
    case.optimizer.zero_grad()
    torch.stack(case.losses()[1]).sum().backward()
    case.optimizer.step()


Update = Callable[[Tensor], Tensor]


def imtl_g(jacobian: Tensor) -> Tensor:
    gramian = jacobian @ jacobian.T
    lengths = gramian.diagonal().clamp_min(0).sqrt()
    eye = 1e-8 * torch.eye(len(gramian), device=gramian.device)
    found = torch.linalg.lstsq(gramian + eye, lengths).solution
    return found / found.sum() @ jacobian


def graddrop(jacobian: Tensor) -> Tensor:
    share = 0.5 * (1 + jacobian.sum(0) / jacobian.abs().sum(0).clamp_min(1e-30))
    draw = torch.rand_like(share)
    return torch.where(draw < share, jacobian.clamp_min(0), jacobian.clamp_max(0)).sum(0)


def trimmed_mean(jacobian: Tensor) -> Tensor:
    trim = 1 if len(jacobian) > 2 else 0
    return jacobian.sort(0).values[trim : len(jacobian) - trim].mean(0)


def excess_mtl() -> Update:
    squares = start = weights = None

    def update(jacobian: Tensor) -> Tensor:
        nonlocal squares, start, weights
        squares = jacobian**2 if squares is None else squares + jacobian**2
        excess = (jacobian**2 / (squares + 1e-7).sqrt()).sum(1)
        if start is None:
            start, weights = excess, torch.ones_like(excess)
        else:
            weights = weights * torch.exp(0.01 * excess / start)
            weights = len(weights) * weights / weights.sum()
        return weights @ jacobian

    return update


def db_mtl() -> Update:
    rows: Tensor | None = None

    def update(jacobian: Tensor) -> Tensor:
        nonlocal rows
        rows = 0.1 * jacobian if rows is None else 0.9 * rows + 0.1 * jacobian
        lengths = rows.norm(dim=1)
        return (lengths.max() / (lengths + 1e-8)) @ rows

    return update


def moco() -> Update:
    rows: Tensor | None = None
    weights: Tensor | None = None
    step = 0

    def update(jacobian: Tensor) -> Tensor:
        nonlocal rows, weights, step
        step += 1
        if rows is None:
            rows, weights = torch.zeros_like(jacobian), jacobian.new_ones(len(jacobian))
        rows = rows - 0.5 / step**0.5 * (rows - jacobian)
        moved = weights - 0.1 / step**0.5 * (rows @ rows.T @ weights)
        ordered = moved.sort(descending=True).values
        levels = (ordered.cumsum(0) - 1) / torch.arange(1, len(moved) + 1, device=moved.device)
        weights = (moved - levels[ordered > levels][-1]).clamp_min(0)
        return weights @ rows

    return update


# what a user would write for the methods that see the whole Jacobian; IMTL-G for all others
LOOPS: dict[str, Callable[[], Update]] = {
    "graddrop": lambda: graddrop,
    "trimmed-mean": lambda: trimmed_mean,
    "excess-mtl": excess_mtl,
    "db-mtl": db_mtl,
    "moco": moco,
}


def plain_loop(update: Update, *, logarithms: bool = False) -> Step:
    """K backward passes, the gradients flattened into a matrix, and a method's arithmetic."""

    def step(case: Case) -> None:
        case.optimizer.zero_grad()
        losses = case.losses()[1]
        if logarithms:
            losses = [x.log() for x in losses]
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(x, case.shared, retain_graph=True)])
            for x in losses
        ]
        found = update(torch.stack(rows))
        own = list(case.heads.parameters())
        total = torch.stack(losses).sum()
        for p, g in zip(own, torch.autograd.grad(total, own), strict=True):
            p.grad = g
        start = 0
        for p in case.shared:
            p.grad = found[start : start + p.numel()].view_as(p)
            start += p.numel()
        case.optimizer.step()

    return step


def ours(name: str, **options: Any) -> Step:
    made: dict[int, balancing.Balancer] = {}

    def step(case: Case) -> None:
        if id(case) not in made:
            made[id(case)] = balancing.balancer_from_name(name)
        balancer = made[id(case)]
        case.optimizer.zero_grad()
        balancing.backward(case.losses()[1], balancer=balancer, **options)
        case.optimizer.step()

    return step


def torchjd_steps(tasks: int, wanted: list[str]) -> dict[str, Step]:
    """Return the peer's steps, by our names, for the methods that it has and that can be built."""
    try:
        import torchjd.aggregation as aggregation
        from torchjd.autojac import jac_to_grad, mtl_backward
    except ImportError:
        return {}
    arguments: dict[str, dict[str, Any]] = {
        "CAGrad": {"c": 0.5},
        "FairGrad": {"alpha": 2.0},
        "NashMTL": {"n_tasks": tasks},
        "Krum": {"n_byzantine": 1},
        "TrimmedMean": {"trim_number": 1 if tasks > 2 else 0},
    }

    def stepper(aggregator: Any) -> Step:
        def step(case: Case) -> None:
            case.optimizer.zero_grad()
            z, losses = case.losses()
            mtl_backward(losses, features=z)
            jac_to_grad(case.shared, aggregator)
            case.optimizer.step()

        return step

    found = {}
    for ours_name, name in PEERS.items():
        if ours_name not in wanted:
            continue
        try:
            found[ours_name] = stepper(getattr(aggregation, name)(**arguments.get(name, {})))
        except (AttributeError, ImportError, ValueError) as error:
            print(f"   torchjd {name} is left out: {str(error)[:90]}")
    return found


PEERS = {
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "gradvac": "GradVac",
    "graddrop": "GradDrop",
    "imtl-g": "IMTLG",
    "cagrad": "CAGrad",
    "nash-mtl": "NashMTL",
    "aligned-mtl": "AlignedMTL",
    "fairgrad": "FairGrad",
    "upgrad": "UPGrad",
    "dualproj": "DualProj",
    "config": "ConFIG",
    "pcd": "PCD",
    "excess-mtl": "ExcessMTL",
    "krum": "Krum",
    "trimmed-mean": "TrimmedMean",
    "rgw": "Random",
}
USUAL = "imtl-g"
BARGAINERS = ("nash-mtl", "cagrad", "fairgrad", "pcgrad")


def measure(
    steps: dict[str, Step], make: Callable[[], Any], rounds: int, device: str
) -> dict[str, list[float]]:
    """Run every step in each round, each on a case of its own; return seconds.

    On the CPU, seconds of this process's work, so that others on the machine disturb little.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    cases = {name: make() for name in steps}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = random.Random(0)
    warm_up = min(rounds, 2)
    for turn in range(rounds + warm_up):
        # in an order of its own each round, so that nobody always runs behind the same one
        for name, step in order.sample(list(steps.items()), len(steps)):
            if seconds[name] and seconds[name][0] < 0:
                continue
            start = clock()
            try:
                step(cases[name])
            except Exception as error:
                print(f"   {name}: {type(error).__name__}: {str(error)[:90]}")
                seconds[name] = [-1.0]
                continue
            if device != "cpu":
                torch.cuda.synchronize()
            if turn >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return each row's median over the plain step's."""
    base = statistics.median(seconds["plain"])
    return {
        name: statistics.median(found) / base for name, found in seconds.items() if min(found) >= 0
    }


def show(title: str, seconds: dict[str, list[float]]) -> dict[str, float]:
    """Print one row each; return the ratios."""
    print(f"\n{title}: the plain step takes {statistics.median(seconds['plain']) * 1e3:.2f} ms")
    found = ratios(seconds)
    for name, ratio in found.items():
        print(f"   {name:40s} {ratio:7.2f}x", flush=True)
    return found


class MultiInput(Case):
    """Each task with a batch of its own."""

    def losses(self) -> tuple[Tensor, list[Tensor]]:
        """Return the tasks' losses, each from its own pass through the trunk."""
        t = len(self.heads)
        parts = zip(self.heads, self.x.chunk(t), self.y, strict=True)
        found = [functional.mse_loss(h(self.trunk(x)), y[: len(x)]) for h, x, y in parts]
        return found[0], found


def separate(case: Case) -> None:
    case.optimizer.zero_grad()
    for loss in case.losses()[1]:
        loss.backward()  # type: ignore[no-untyped-call]
    case.optimizer.step()


def gramian_methods() -> list[str]:
    needs = balancing.Needs
    return [
        name
        for name, cls in balancing.BALANCERS.items()
        if cls.needs in (needs.GRAMIAN, needs.JACOBIAN) and not cls.extra_batches
    ]


def loss_methods() -> list[str]:
    return [
        name
        for name, cls in balancing.BALANCERS.items()
        if cls.needs is balancing.Needs.LOSSES and not getattr(cls, "example", None)
    ]


def speed(network: str, tasks: int, methods: list[str], options: argparse.Namespace) -> None:
    """Print the gradient methods' table, torchjd beside ours."""
    rounds = options.rounds or {"mlp": 15, "lenet": 5, "resnet": 3}[network]
    peers = torchjd_steps(tasks, methods)
    steps: dict[str, Step] = {"plain": plain, "loop": plain_loop(imtl_g)}
    steps |= {
        f"loop {m}": plain_loop(LOOPS[m](), logarithms=m == "db-mtl") for m in methods if m in LOOPS
    }
    steps |= {f"torchjd {m}": step for m, step in peers.items()}
    steps |= {f"jointrain {m}": ours(m) for m in methods}

    def make() -> Case:
        return Case(network, tasks, options.device, options.batch)

    seconds = measure(steps, make, rounds, options.device)
    found = ratios(seconds)
    print(f"\n{network}, {tasks} tasks: the plain step takes", end=" ")
    print(f"{statistics.median(seconds['plain']) * 1e3:.2f} ms")
    print(f"   a plain loop with IMTL-G {found['loop']:.2f}x")
    print(f"   {'method':18s} {'torchjd':>9s} {'its loop':>9s} {'jointrain':>10s}")
    for m in methods:
        peers_of = [found.get(f"{peer} {m}") for peer in ("torchjd", "loop")]
        shown = " ".join(f"{ratio:8.2f}x" if ratio else "        -" for ratio in peers_of)
        print(f"   {m:18s} {shown} {found[f'jointrain {m}']:9.2f}x", flush=True)
    usual = found.get(f"jointrain {USUAL}")
    if usual:
        print(f"   {USUAL} over the plain loop: {usual / found['loop']:.3f}")
        for m in set(BARGAINERS) & set(methods):
            print(f"   {m} over {USUAL}: {found[f'jointrain {m}'] / usual:.3f}")


def cheaper(tasks: int, options: argparse.Namespace) -> None:
    """Print what the options cost that are cheaper by choice."""
    choices = {
        "exact": {},
        "refresh_every=8": {"refresh_every": 8},
        'compare_at="features"': {"compare_at": "features"},
        'compare_at="last_shared_layer"': {"compare_at": "last_shared_layer"},
        'gradient_method="layerwise"': {"gradient_method": "layerwise"},
    }
    steps: dict[str, Step] = {"plain": plain}
    steps |= {name: ours(USUAL, **arguments) for name, arguments in choices.items()}
    rounds = 8 * max(1, (options.rounds or 24) // 8) + 6  # whole cycles of eight after the warm-up
    seconds = measure(steps, lambda: Case("mlp", tasks, options.device), rounds, options.device)
    found = show(f"mlp, {tasks} tasks, {USUAL}, cheaper by choice (median of the steps)", seconds)
    mean = (7 * found["refresh_every=8"] + found["exact"]) / 8
    print(f"   {'refresh_every=8, mean over a cycle':40s} {mean:7.2f}x")


def weightings(tasks: int, methods: list[str], options: argparse.Namespace) -> None:
    steps: dict[str, Step] = {"plain": plain} | {m: ours(m) for m in methods}
    rounds = options.rounds or 60
    seconds = measure(steps, lambda: Case("mlp", tasks, options.device), rounds, options.device)
    show(f"mlp, {tasks} tasks, loss weightings", seconds)


def several_inputs(tasks: int, rows: int, options: argparse.Namespace) -> None:
    steps: dict[str, Step] = {"plain": plain, "a pass per task": separate, USUAL: ours(USUAL)}

    def make() -> Case:
        return MultiInput("mlp", tasks, options.device, rows * tasks)

    seconds = measure(steps, make, options.rounds or 25, options.device)
    show(f"mlp, {tasks} tasks, each a batch of its own of {rows} rows", seconds)


def memory(tasks: int = 32) -> None:
    """Print the peak memory of a step beyond that of the plain step."""
    layer = 4 * (256 * 256 + 256)
    base = _peak(plain, tasks)
    rows: dict[str, Step] = {"a plain loop": plain_loop(imtl_g)}
    rows |= {f"torchjd {m}": step for m, step in torchjd_steps(tasks, [USUAL]).items()}
    rows |= {
        f'jointrain gradient_method="{w}"': ours(USUAL, gradient_method=w)
        for w in ("per_task", "layerwise")
    }
    found = {name: _peak(step, tasks) - base for name, step in rows.items()}
    print(f"\nmlp, {tasks} tasks: peak memory beyond the plain step, in tasks x largest layer")
    for name, extra in found.items():
        print(
            f"   {name:40s} {extra / 2**20:6.1f} MiB = {extra / (tasks * layer):5.2f}", flush=True
        )


def _peak(step: Step, tasks: int) -> int:
    """Return the most bytes that tensors took at once in a first step, as the profiler says."""
    case = Case("mlp", tasks, "cpu")
    plain(case)
    with torch.profiler.profile(profile_memory=True) as profile:
        step(case)
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


# --- a large network, each step in a process of its own ------------------------------------------


class Large:
    """An MLP, by default one of 50 million parameters, with a linear head for each task."""

    def __init__(self, tasks: int, checkpointed: bool, width: int, depth: int) -> None:
        torch.manual_seed(0)
        self.layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
        self.heads = [nn.Linear(width, 1) for _ in range(tasks)]
        self.x = torch.randn(32, width)
        self.checkpointed = checkpointed
        self.shared = [p for layer in self.layers for p in layer.parameters()]

    def losses(self) -> list[Tensor]:
        """Return the tasks' losses on 32 rows."""
        z = self.x
        for layer in self.layers:
            z = checkpoint(layer, z, use_reentrant=False) if self.checkpointed else layer(z)
        return [(head(z) - k).square().mean() for k, head in enumerate(self.heads)]


def by_hand(large: Large, losses: list[Tensor]) -> None:
    """Stack the gradients that a pass for each task gives, and write IMTL-G's update of them."""
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(x, large.shared, retain_graph=True)])
        for x in losses
    ]
    parts = imtl_g(torch.stack(rows)).split([p.numel() for p in large.shared])
    for p, g in zip(large.shared, parts, strict=True):
        p.grad = g.view_as(p)


def plain_sum(_: Large, losses: list[Tensor]) -> None:
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def upgrad(_: Large, losses: list[Tensor], **options: Any) -> None:
    balancing.backward(losses, balancing.balancer_from_name("upgrad"), **options)


WAYS: dict[str, Callable[[Large, list[Tensor]], None]] = {
    "plain sum, one pass": plain_sum,
    "a plain loop that stacks the gradients": by_hand,
    'gradient_method="per_task"': partial(upgrad, gradient_method="per_task"),
    'gradient_method="auto"': upgrad,
    'gradient_method="layerwise"': partial(upgrad, gradient_method="layerwise"),
    "memory_limit=2**30": partial(upgrad, memory_limit=2**30),
}


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that are made within it and not gone yet."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves(args) if isinstance(x, Tensor)}
        for x in tree_leaves(found):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in given:
                storage = x.untyped_storage()
                self.sizes[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        for key in [key for key, (storage, _) in self.sizes.items() if storage.expired()]:
            del self.sizes[key]
        self.peak = max(self.peak, sum(size for _, size in self.sizes.values()))
        return found


def _of_process(field: str) -> int:
    """Return a size of this process in bytes, as Linux tells it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


def _measure_large(way: str, counted: bool, pipe: Any, *made: Any) -> None:
    """Send the peak of a step beyond what was held before it, and its CPU seconds."""
    torch.set_num_threads(1)
    large = Large(*made)
    losses = large.losses()
    if counted:
        with Held() as held:
            WAYS[way](large, losses)
        pipe.send((held.peak, 0.0))
        return
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before, start = _of_process("VmRSS"), time.process_time()
    WAYS[way](large, losses)
    pipe.send((_of_process("VmHWM") - before, time.process_time() - start))


def large_memory(tasks: int = 16, width: int = 2048, depth: int = 12) -> None:
    """Print what a step of a large network takes: its tensors, and the process as a whole."""
    # as torch asks for: what is freed goes back to the system
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "1000000"
    context = multiprocessing.get_context("spawn")
    millions = depth * width * (width + 1) / 1e6
    print(f"\nan MLP of {millions:.0f} million parameters, {tasks} tasks: peak beyond the losses")
    print(f"   {'way':40s} {'checkpoints':>11s} {'MiB held':>9s} {'of process':>11s} {'CPU s':>7s}")
    for checkpointed in (False, True):
        for way in WAYS:
            found = []
            for counted in (True, False):
                mine, theirs = context.Pipe()
                arguments = (way, counted, theirs, tasks, checkpointed, width, depth)
                process = context.Process(target=_measure_large, args=arguments)
                process.start()
                theirs.close()
                found.append(mine.recv())
                process.join()
            (held, _), (whole, seconds) = found
            words = "every layer" if checkpointed else "none"
            print(
                f"   {way:40s} {words:>11s} {held / 2**20:9.0f} {whole / 2**20:11.0f} "
                f"{seconds:7.1f}",
                flush=True,
            )


TABLES = ("speed", "weightings", "cheaper", "inputs", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", default=",".join(TABLES), help="these by default; or large")
    parser.add_argument("--tasks", default="2,8,32,128")
    parser.add_argument("--networks", default="mlp,lenet,resnet")
    parser.add_argument("--methods", default="", help="names; by default all")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tables = options.tables.split(",")
    tasks = [int(k) for k in options.tasks.split(",")]
    asked = options.methods.split(",") if options.methods else list(balancing.BALANCERS)
    for network in options.networks.split(",") if "speed" in tables else ():
        for k in tasks:
            speed(network, k, [m for m in gramian_methods() if m in asked], options)
    for k in tasks:
        if "weightings" in tables:
            weightings(k, [m for m in loss_methods() if m in asked], options)
        if "cheaper" in tables:
            cheaper(k, options)
    for k in [k for k in tasks if k <= 8] if "inputs" in tables else ():
        for rows in (64, 256):
            several_inputs(k, rows, options)
    if "memory" in tables and options.device == "cpu":
        memory()
    if "large" in tables:
        large_memory()


if __name__ == "__main__":
    main()
