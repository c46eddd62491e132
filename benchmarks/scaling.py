"""Rows a second and bytes sent by 1 and 2 processes, by method, beside plain DDP.

    python benchmarks/scaling.py [--processes 1,2] [--methods equal,upgrad] [--width 512]

The processes are started here, on gloo, with one thread each. Every process has as many rows
(weak scaling): a speed-up of 2 on 2 cores would be perfect. `Trainer, ...` is a step of
`Trainer(strategy="ddp")` on the same problem, an epoch of 20 steps with all that closes it, in
every third round. Methods run in turn, in an order of their own each round; a figure is the median
over rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

PLAIN = "plain DDP"
ROUNDS, STEPS = 21, 4
EPOCH = 20


def build(width: int, tasks: int) -> Any:
    """Return a network of four wide layers and a head per task."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            layers = [layer for _ in range(4) for layer in (nn.Linear(width, width), nn.ReLU())]
            self.trunk = nn.Sequential(*layers)
            self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            z = self.trunk(x)
            return [head(z)[:, 0] for head in self.heads]

    return Network()


def stepper(method: str, width: int, tasks: int, rows: int) -> Callable[[], None]:
    """Return a function that makes one training step."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from jointrain.balancing import backward, balancer_from_name

    network = DistributedDataParallel(build(width, tasks))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    balancer = None if method == PLAIN else balancer_from_name(method)
    generator = torch.Generator().manual_seed(dist.get_rank())
    x = torch.randn(rows, width, generator=generator)

    def step() -> None:
        losses = [(out - x[:, k]).square().mean() for k, out in enumerate(network(x))]
        optimizer.zero_grad()
        if balancer is None:
            torch.stack(losses).sum().backward()
        else:
            backward(losses, balancer, module=network)
        optimizer.step()

    return step


def epoch_timer(method: str, width: int, tasks: int, rows: int) -> Callable[[], float]:
    """Return a function that gives the seconds of a step of `Trainer` on the same problem."""
    import torch
    import torch.distributed as dist
    from torch import nn

    from jointrain import Callback, HardSharing, Task, TensorData, Trainer
    from jointrain.balancing import balancer_from_name

    class Clock(Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_epoch_end(self, trainer: Any, record: Any) -> None:  # noqa: ARG002
            self.times.append(time.perf_counter())

    torch.manual_seed(0)
    layers = [layer for _ in range(4) for layer in (nn.Linear(width, width), nn.ReLU())]
    names = [f"t{k}" for k in range(tasks)]
    network = HardSharing(nn.Sequential(*layers), {name: nn.Linear(width, 1) for name in names})
    every = rows * dist.get_world_size()
    x = torch.randn(EPOCH * every, width)
    data = TensorData(x, {name: x[:, k] for k, name in enumerate(names)})
    clock = Clock()
    trainer = Trainer(
        network,
        [Task.regression(name) for name in names],
        balancer=balancer_from_name(method),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
        batch_size=every,
        epochs=2,
        callbacks=[clock],
        strategy="ddp",
        device="cpu",
    )

    def seconds() -> float:
        trainer.fit(data)
        return (clock.times[-1] - clock.times[-2]) / EPOCH

    return seconds


def serve(rank: int, size: int, port: int, options: Any, answers: Any) -> None:
    """Measure all methods as one of the processes; the first one answers."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch
    import torch.distributed as dist

    from jointrain.balancing.engine._ranks import ranks_of

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=size)
    methods = [PLAIN, *options.methods.split(",")]
    steps = {m: stepper(m, options.width, options.tasks, options.rows) for m in methods}
    names = {f"Trainer, {m}": m for m in methods[1:]}
    timers = {
        name: epoch_timer(m, options.width, options.tasks, options.rows)
        for name, m in names.items()
    }
    seconds: dict[str, list[float]] = {m: [] for m in (*methods, *names)}
    sent: dict[str, int] = {}
    ranks = ranks_of(dist.group.WORLD)
    order = random.Random(0)
    for turn in range(ROUNDS + 1):
        turns = methods if turn % 3 else [*methods, *names]
        for method in order.sample(turns, len(turns)):
            if method in timers:
                found = timers[method]()
                if turn:
                    seconds[method].append(found)
                continue
            before = ranks.sent
            dist.barrier()
            start = time.perf_counter()
            for _ in range(STEPS):
                steps[method]()
            dist.barrier()
            if turn:  # the first one builds buckets and compares parameters
                seconds[method].append((time.perf_counter() - start) / STEPS)
            sent[method] = (ranks.sent - before) // STEPS
    sent |= {name: sent[method] for name, method in names.items()}
    if rank == 0:
        bytes_of_ddp = sum(p.numel() * 4 for p in build(options.width, options.tasks).parameters())
        for method in sent:
            # what the wrapper sends by itself is not counted by the engine
            sent[method] = sent[method] or bytes_of_ddp * (size > 1)
        answers.put((seconds, sent))
    dist.barrier()
    dist.destroy_process_group()


def measure(size: int, options: Any) -> tuple[dict[str, float], dict[str, int]]:
    """Return the median seconds and the bytes of a step of each method on `size` processes."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (size, port, options, answers)
    processes = [context.Process(target=serve, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    seconds, sent = answers.get()
    for process in processes:
        process.join()
    return {method: statistics.median(found) for method, found in seconds.items()}, sent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", default="1,2", help="numbers of processes")
    parser.add_argument("--methods", default="equal,uncertainty,famo,mgda,upgrad,nash-mtl,graddrop")
    parser.add_argument("--width", type=int, default=512, help="width of the four layers")
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--rows", type=int, default=256, help="rows of each process at a step")
    options = parser.parse_args()
    sizes = [int(size) for size in options.processes.split(",")]
    found = {size: measure(size, options) for size in sizes}
    first = sizes[0]
    base = found[first][0]
    for size in sizes:
        seconds, sent = found[size]
        print(f"\n{size} process(es), {options.rows} rows each, {options.tasks} tasks")
        print(f"{'method':21} {'rows/s':>9} {'speed-up':>9} {'of plain':>9} {'MB sent':>9}")
        plain = base[PLAIN] / seconds[PLAIN]
        for method, median in seconds.items():
            rate, gain = size * options.rows / median, base[method] / median
            megabytes = sent[method] / 1e6
            speed = gain * size / first
            print(f"{method:21} {rate:9.0f} {speed:9.2f} {gain / plain:9.2f} {megabytes:9.2f}")


if __name__ == "__main__":
    main()
