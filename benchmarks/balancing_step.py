"""Time and memory of one balanced training step, beside TorchJD and a plain loop.

    python benchmarks/balancing_step.py [--quick] [--tasks 2,8,32] [--networks mlp,lenet,resnet]

Everything is measured in turn in this one process, on one thread; a row's number is the ratio of
its time to the plain joint step of the same network. With a GPU, ``--device cuda``.
Peers: ``pip install torchjd==0.18.0 qpsolvers quadprog cvxpy ecos``; missing ones are left out.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

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


def imtl(gramian: Tensor) -> Tensor:
    lengths = gramian.diagonal().clamp_min(0).sqrt()
    eye = 1e-8 * torch.eye(len(gramian), device=gramian.device)
    found = torch.linalg.lstsq(gramian + eye, lengths).solution
    return found / found.sum()


def plain_loop(case: Case) -> None:
    """K backward passes, the gradients flattened into a matrix, IMTL-G's weights."""
    case.optimizer.zero_grad()
    losses = case.losses()[1]
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(x, case.shared, retain_graph=True)])
        for x in losses
    ]
    jacobian = torch.stack(rows)
    update = imtl(jacobian @ jacobian.T) @ jacobian
    own = list(case.heads.parameters())
    total = torch.stack(losses).sum()
    for p, g in zip(own, torch.autograd.grad(total, own), strict=True):
        p.grad = g
    start = 0
    for p in case.shared:
        p.grad = update[start : start + p.numel()].view_as(p)
        start += p.numel()
    case.optimizer.step()


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
    """Return the peer's steps for the methods that it has and that can be built here."""
    try:
        import torchjd.aggregation as aggregation
        from torchjd.autojac import jac_to_grad, mtl_backward
    except ImportError:
        return {}
    arguments: dict[str, dict[str, Any]] = {"CAGrad": {"c": 0.4}, "NashMTL": {"n_tasks": tasks}}

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
            aggregator = getattr(aggregation, name)(**arguments.get(name, {}))
        except (AttributeError, ImportError, TypeError):
            continue
        found[f"torchjd {name}"] = stepper(aggregator)
    return found


PEERS = {
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "graddrop": "GradDrop",
    "imtl-g": "IMTLG",
    "cagrad": "CAGrad",
    "nash-mtl": "NashMTL",
    "aligned-mtl": "AlignedMTL",
    "fairgrad": "FairGrad",
    "upgrad": "UPGrad",
    "dualproj": "DualProj",
    "config": "ConFIG",
    "cr-mogm": "CRMOGMWeighting",
}
GRADIENT_QUICK = ["imtl-g", "upgrad", "mgda", "pcgrad", "cagrad", "nash-mtl", "fairgrad"]


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
    for turn in range(rounds + 2):
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
            if turn >= 2:
                seconds[name].append(clock() - start)
    return seconds


def show(title: str, seconds: dict[str, list[float]]) -> None:
    base = statistics.median(seconds["plain"])
    least = min(seconds["plain"])
    print(f"\n{title}: the plain step takes {base * 1e3:.2f} ms")
    print(f"   {'':34s} {'median':>8s} {'best':>8s}")
    for name, found in seconds.items():
        if found[0] >= 0:
            ratio = statistics.median(found) / base
            print(f"   {name:34s} {ratio:7.2f}x {min(found) / least:7.2f}x", flush=True)


class MultiInput(Case):
    """Each task with a batch of its own."""

    def losses(self) -> tuple[Tensor, list[Tensor]]:
        """Return the tasks' losses, each from its own pass through the trunk."""
        t = len(self.heads)
        parts = zip(self.heads, self.x.chunk(t), self.y, strict=True)
        found = [functional.mse_loss(h(self.trunk(x)), y[: len(x)]) for h, x, y in parts]
        return found[0], found


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


def speed(
    network: str, tasks: int, device: str, quick: bool, every: bool, batch: int | None
) -> None:
    known = gramian_methods()
    methods = known if every else [m for m in GRADIENT_QUICK if m in known]
    rounds = (5 if network == "mlp" else 2) if quick else (15 if tasks <= 8 else 7)
    if network == "resnet":
        rounds = 2 if quick else 4
    steps: dict[str, Step] = {"plain": plain, "plain loop (IMTL-G)": plain_loop}
    steps |= torchjd_steps(tasks, methods)
    losses = loss_methods() if every else ["equal", "uncertainty", "famo"]
    steps |= {f"jointrain {m}": ours(m) for m in losses if m in balancing.BALANCERS}
    steps |= {f"jointrain {m}": ours(m) for m in methods}
    usual = "imtl-g" if "imtl-g" in known else "mgda"
    steps |= {
        f"jointrain {usual} {label}": ours(usual, **options)
        for label, options in {
            "refresh_every=8": {"refresh_every": 8},
            'at="features"': {"at": "features"},
            'at="last_shared_layer"': {"at": "last_shared_layer"},
            'way="layerwise"': {"way": "layerwise"},
        }.items()
    }
    found = measure(steps, lambda: Case(network, tasks, device, batch), rounds, device)
    show(f"{network}, {tasks} tasks, batch {batch or NETWORKS[network][2]}", found)
    refreshed = found.get(f"jointrain {usual} refresh_every=8")
    exact = found.get(f"jointrain {usual}")
    if refreshed and exact and refreshed[0] > 0:
        mean = (7 * statistics.median(refreshed) + statistics.median(exact)) / 8
        ratio = mean / statistics.median(found["plain"])
        print(f"   {usual + ' refresh_every=8, mean of 8 steps':34s} {ratio:7.2f}x")


def several_inputs(tasks: int, device: str, quick: bool) -> None:
    usual = "imtl-g" if "imtl-g" in balancing.BALANCERS else "mgda"
    steps: dict[str, Step] = {"plain": plain, f"jointrain {usual}": ours(usual)}
    rounds = 9 if quick else 25
    batch = 64 * tasks
    found = measure(steps, lambda: MultiInput("mlp", tasks, device, batch), rounds, device)
    show(f"mlp, {tasks} tasks, each a batch of its own of 64", found)


def memory(tasks: int = 32) -> None:
    """Print the peak memory of a step beyond that of the plain step."""
    usual = "imtl-g" if "imtl-g" in balancing.BALANCERS else "mgda"
    layer = 4 * (256 * 256 + 256)
    print(f"\nmlp, {tasks} tasks: peak memory beyond the plain step, in tasks x largest layer")
    base = _peak(plain, tasks)
    rows = {"plain loop (IMTL-G)": plain_loop, **torchjd_steps(tasks, ["imtl-g"])}
    rows |= {f'jointrain way="{w}"': ours(usual, way=w) for w in ("per_task", "layerwise")}
    for name, step in rows.items():
        extra = _peak(step, tasks) - base
        print(
            f"   {name:34s} {extra / 2**20:8.1f} MiB = {extra / (tasks * layer):5.2f}", flush=True
        )


def _peak(step: Step, tasks: int) -> int:
    """Return the most bytes that tensors took at once in a step, by the profiler's account."""
    case = Case("mlp", tasks, "cpu")
    step(case)
    with torch.profiler.profile(profile_memory=True) as profile:
        step(case)
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    parser.add_argument("--all", action="store_true", help="every method")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--networks", default="")
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tasks = [
        int(k) for k in (options.tasks or ("2,8" if options.quick else "2,8,32,128")).split(",")
    ]
    networks = (options.networks or ("mlp" if options.quick else "mlp,lenet,resnet")).split(",")
    for network in networks:
        for k in tasks:
            speed(network, k, options.device, options.quick, options.all, options.batch)
    if "mlp" in networks:
        for k in tasks[:2]:
            several_inputs(k, options.device, options.quick)
        if options.device == "cpu":
            memory()


if __name__ == "__main__":
    main()
