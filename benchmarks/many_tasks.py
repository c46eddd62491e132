"""What a training step costs with 10, 100 and 1000 tasks of one kind, through the Trainer.

The trunk is 1024 -> 512 -> 256, a batch has 256 rows, 90 % of the labels are missing. Alike heads
become one grouped head with one masked loss by themselves; the last column is the same step with
a list of separate heads. Numbers of tasks take turns in this process for several rounds; the table
shows medians, and the median over rounds of the ratio to 10 tasks.

    python benchmarks/many_tasks.py --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from jointrain import HardSharing, Joint, Task, TensorData, Trainer
from jointrain.balancing import DWA, Balancer, Uncertainty
from jointrain.training import Callback

COUNTS = (10, 100, 1000)
ROWS = 2048
BATCH = 256
STEPS = 1 + 2 * ROWS // BATCH
BALANCERS: dict[str, Callable[[], Balancer | None]] = {
    "equal": lambda: None,
    "uncertainty": Uncertainty,
    "dwa": DWA,
}


def make_data(tasks: int) -> TensorData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 1024, generator=generator)
    targets = {}
    for i in range(tasks):
        y = torch.randn(ROWS, generator=generator)
        targets[f"task {i}"] = y.masked_fill(torch.rand(ROWS, generator=generator) < 0.9, torch.nan)
    return TensorData(x, targets)


def make_trainer(names: list[str], weights: str, *, grouped: bool) -> Trainer:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
    heads = {name: nn.Linear(256, 1) for name in names}
    network = HardSharing(trunk, heads) if grouped else HardSharing(trunk, heads, group_from=None)
    return Trainer(
        network,
        [Task.regression(name) for name in names],
        schedule=Joint(),
        balancer=BALANCERS[weights](),
        batch_size=BATCH,
        steps=STEPS,
        device="cpu",
        callbacks=[Clock()],
    )


class Clock(Callback):
    """Notes when each step of a fit ends, so that what is done once a fit does not count."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def milliseconds(trainer: Trainer, data: TensorData) -> float:
    """Return the mean time of a step: drawing its batch, training, and an epoch's end by share."""
    (clock,) = trainer.callbacks
    assert isinstance(clock, Clock)
    clock.ends.clear()
    trainer.fit(data)
    return 1000 * (clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a step of joint training of many tasks.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--separate", action="store_true", help="also time separate heads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), batch {BATCH}, trunk 1024 -> 512 "
        f"-> 256, 90 % of labels missing, median of {options.rounds} rounds"
    )
    print(f"{'weights':12s} {'heads':9s} " + " ".join(f"{f'K = {k}':>12s}" for k in COUNTS)
          + f" {'1000 / 10':>10s}")  # fmt: skip
    data = {count: make_data(count) for count in COUNTS}
    for weights in BALANCERS:
        for grouped in (True, False) if options.separate else (True,):
            runs = {}
            for count in COUNTS:
                runs[count] = make_trainer(list(data[count].targets), weights, grouped=grouped)
            times: dict[int, list[float]] = {count: [] for count in COUNTS}
            for turn in range(options.rounds + 1):
                for count in COUNTS:
                    elapsed = milliseconds(runs[count], data[count])
                    if turn:
                        times[count].append(elapsed)
            pairs = zip(times[COUNTS[-1]], times[COUNTS[0]], strict=True)
            ratio = statistics.median(many / few for many, few in pairs)
            row = " ".join(f"{statistics.median(times[count]):9.2f} ms" for count in COUNTS)
            print(f"{weights:12s} {'grouped' if grouped else 'separate':9s} {row} {ratio:10.2f}")


if __name__ == "__main__":
    main()
