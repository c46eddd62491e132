"""A balanced step on a GPU: rows a second beside the plain joint step, and memory.

    python benchmarks/gpu.py

All numbers are ratios to the plain joint step of the same network, everything in turn in one
process: of rows a second (medians), and of the bytes that the caching allocator hands out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jointrain.balancing import FAMO, MGDA, Balancer, Equal, NashMTL, UPGrad, backward

METHODS: dict[str, Callable[[], Balancer]] = {
    "equal weights": Equal,
    "FAMO": FAMO,
    "UPGrad": UPGrad,
    "MGDA": MGDA,
    "Nash-MTL": NashMTL,
}


class Case:
    """Layers of one width with heads on them, and an optimiser."""

    def __init__(
        self, device: str, width: int, layers: int, tasks: int, rows: int, *, again: bool = False
    ) -> None:
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks).to(device)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks)).to(device)
        self.x = torch.randn(rows, width, device=device)
        self.y = torch.randn(tasks, rows, 1, device=device)
        self.again = again
        parameters = [*self.blocks.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=1e-4)

    def losses(self) -> list[Tensor]:
        """Return a loss for each task."""
        z = self.x
        for block in self.blocks:
            z = checkpoint(block, z, use_reentrant=False) if self.again else block(z)
        pairs = zip(self.heads, self.y, strict=True)
        return [nn.functional.mse_loss(head(z), y) for head, y in pairs]

    def step(self, backward_pass: Callable[[list[Tensor]], Any]) -> None:
        """Train for one step."""
        self.optimizer.zero_grad()
        backward_pass(self.losses())
        self.optimizer.step()


def plain(losses: list[Tensor]) -> None:
    torch.stack(losses).sum().backward()


def loop(losses: list[Tensor]) -> None:
    """A pass per task that keeps nothing but the sum: the least that K passes cost."""
    for k, loss in enumerate(losses):
        loss.backward(retain_graph=k + 1 < len(losses))


def balanced(balancer: Balancer, **options: Any) -> Callable[[list[Tensor]], Any]:
    def run(losses: list[Tensor]) -> None:
        backward(losses, balancer, **options)
        if balancer.wants_after_step:
            balancer.after_step(torch.stack([loss.detach() for loss in losses]))

    return run


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(case: Case, passes: dict[str, Any], device: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of each step, all in turn."""
    found: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(rounds + 2):
        for name, backward_pass in passes.items():
            wait(device)
            start = time.perf_counter()
            for _ in range(3):
                case.step(backward_pass)
            wait(device)
            if number > 1:
                found[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in found.items()}


def speed(device: str, rounds: int) -> None:
    print("\n## Rows a second, the plain joint step being 1\n")
    names = [*METHODS, "loop of K passes"]
    print("| network | K | " + " | ".join(names) + " | rows a second of the plain step |")
    print("| --- " * (len(names) + 3) + "|")
    for width, layers, rows in ((256, 3, 256), (1024, 6, 512), (4096, 4, 1024)):
        for tasks in (3, 16):
            case = Case(device, width, layers, tasks, rows)
            passes = {"plain": plain, "loop of K passes": loop}
            passes |= {name: balanced(make()) for name, make in METHODS.items()}
            found = seconds(case, passes, device, rounds)
            cells = [f"{found['plain'] / found[name]:.2f}" for name in names]
            label = f"MLP {width} x {layers}, {rows} rows"
            rate = 3 * rows / found["plain"]
            print(f"| {label} | {tasks} | " + " | ".join(cells) + f" | {rate:.3g} |", flush=True)


def peak(step: Callable[[], Any]) -> int:
    """Return the bytes at the peak beyond what was there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def memory() -> None:
    print("\n## Memory of the backward pass, MiB, and as a ratio to the plain joint step's\n")
    print("MLP of 12 layers of 2048 (50 million parameters), 32 rows, UPGrad.\n")
    print("| K | checkpoints | way | MiB | ratio |\n| --- | --- | --- | --- | --- |")
    ways: dict[str, Any] = {
        "plain": plain,
        "loop of K passes": loop,
        "auto": balanced(UPGrad()),
        "per_task": balanced(UPGrad(), gradient_method="per_task"),
        "batched": balanced(UPGrad(), gradient_method="batched"),
        "layerwise": balanced(UPGrad(), gradient_method="layerwise"),
        "memory_limit=2**30": balanced(UPGrad(), memory_limit=2**30),
    }
    for tasks in (3, 16):
        for again in (False, True):
            case = Case("cuda", 2048, 12, tasks, 32, again=again)
            base = 0
            for name, backward_pass in ways.items():
                case.optimizer.zero_grad()
                losses = case.losses()
                found = peak(lambda b=backward_pass, x=losses: b(x))
                del losses
                base = base or found
                word = "each layer" if again else "none"
                print(f"| {tasks} | {word} | {name} | {found / 2**20:.0f} | {found / base:.2f} |")
            del case
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    if options.device == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__)
    speed(options.device, options.rounds)
    if options.device == "cuda":
        memory()


if __name__ == "__main__":
    main()
