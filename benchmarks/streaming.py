"""Rows a second and peak memory of training on a table larger than memory.

    python benchmarks/streaming.py [--rows 20000000] [--epochs 2] [--folder FOLDER] [--seconds cpu]

A table of 20 columns and 4 targets (two numbers, two and three classes) is made file by file in a
temporary folder. Then, each in a process of its own, whose peak memory is told by the system:

- `fit_streamed` on the folder, and on a tenth of its files: growth should be linear in time, and
  none in memory;
- the same network, encoder, batches and optimiser trained from memory;
- a loop written by hand: `pyarrow.dataset` batches, a buffer that is shuffled, a plain network.

Rows a second are those of epochs: from the end of the first step to that of the last one. The one
pass before (inference, encoders, validation rows) is told by itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = 20
FILE_ROWS, GROUP_ROWS = 500_000, 125_000
TARGETS = ["price", "demand", "sold", "grade"]
BATCH, WIDTH = 1024, 128
BUFFER = 1 << 18


def make(folder: Path, rows: int) -> None:
    """Write the table, file by file."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(0)
    weights = random.normal(size=(COLUMNS, len(TARGETS)))
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - start)
        x = random.normal(size=(count, COLUMNS))
        hidden = np.tanh(x @ weights / 4) + 0.3 * random.normal(size=(count, len(TARGETS)))
        frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(COLUMNS)}).with_columns(
            price=pl.Series(hidden[:, 0] * 10 + 50),
            demand=pl.Series(hidden[:, 1]),
            sold=pl.Series(np.where(hidden[:, 2] > 0, "yes", "no")),
            grade=pl.Series(np.digitize(hidden[:, 3], (-0.4, 0.4))).cast(pl.String),
        )
        frame.write_parquet(folder / f"part-{number:04d}.parquet", row_group_size=GROUP_ROWS)


class Clock:
    """Takes the time of epochs, from the end of the first step."""

    def __init__(self, seconds: str) -> None:
        self.now: Callable[[], float] = time.process_time if seconds == "cpu" else time.monotonic
        self.started = self.now()
        self.first = self.last = 0.0
        self.steps = 0

    def step(self) -> None:
        """Take note of the end of a step."""
        self.last = self.now()
        self.steps += 1
        if self.steps == 1:
            self.first = self.last

    def figures(self, rows: int, epochs: int) -> dict[str, float]:
        """Return rows a second, seconds of all, and megabytes at the most."""
        seen = rows * epochs * (self.steps - 1) / self.steps
        return {
            "rows a second": seen / (self.last - self.first),
            "seconds": self.now() - self.started,
            "before the first step": self.first - self.started,
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def recipe(epochs: int) -> Any:
    """Return how networks are trained."""
    from jointrain.experiments import Recipe

    return Recipe(
        name="joint", epochs=epochs, batch_size=BATCH, width=WIDTH, depth=2, bins=0, patience=epochs
    )


def prepared(files: list[str]) -> Any:
    """Go through the table once."""
    from jointrain.data import StreamedTable, table_files

    return StreamedTable.prepare(table_files(files), TARGETS)


def at_steps(clock: Clock) -> list[Any]:
    """Return a callback that takes the time of each step."""
    from jointrain.training import Callback

    class Steps(Callback):
        def on_step_end(self, *_: Any) -> None:
            clock.step()

    return [Steps()]


def streamed(files: list[str], epochs: int, clock: Clock) -> int:
    """Train by `fit_streamed`."""
    from jointrain.tables import fit_streamed

    table = prepared(files)
    fit_streamed(table, recipe(epochs), device="cpu", callbacks=at_steps(clock))
    return int(table.rows)


def in_memory(files: list[str], epochs: int, clock: Clock) -> int:
    """Train the same network on the same rows, all of them in memory as tensors."""
    import torch

    from jointrain.data import TensorData
    from jointrain.tables import row_stream, stream_trainer

    table = prepared(files)
    encoder = table.encoder(0)
    stream = row_stream(table, encoder, workers=0)
    parts = list(stream.once())
    data = TensorData(
        torch.cat([part.inputs for part in parts]),
        {name: torch.cat([part.targets[name] for part in parts]) for name in TARGETS},
    )
    del parts
    trainer, validation = stream_trainer(
        table, recipe(epochs), stream, TARGETS, encoder, device="cpu", callbacks=at_steps(clock)
    )
    trainer.fit(data, validation)
    return int(table.rows)


def by_hand(files: list[str], epochs: int, clock: Clock) -> int:
    """Train by a loop that is written by hand, on the folder's rows without validation."""
    import numpy as np
    import pyarrow.dataset as arrow_dataset
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    dataset = arrow_dataset.dataset(files, format="parquet")
    names = [f"x{i}" for i in range(COLUMNS)]
    trunk = nn.Sequential(
        nn.Linear(COLUMNS, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(), nn.Dropout(0.1),
    )  # fmt: skip
    heads = nn.ModuleList(nn.Linear(WIDTH, size) for size in (1, 1, 1, 3))
    parameters = [*trunk.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
    random = np.random.default_rng(0)

    def train(x: Any, y: Any) -> None:
        for at in np.array_split(random.permutation(len(x)), -(-len(x) // BATCH)):
            rows = torch.from_numpy(at)
            z = trunk(x[rows])
            price, demand, sold, grade = (head(z) for head in heads)
            target = y[rows]
            loss = (
                functional.mse_loss(price[:, 0], (target[:, 0] - 50) / 7)
                + functional.mse_loss(demand[:, 0], target[:, 1])
                + functional.binary_cross_entropy_with_logits(sold[:, 0], target[:, 2])
                + functional.cross_entropy(grade, target[:, 3].long())
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clock.step()

    rows = 0
    for epoch in range(epochs):
        held: list[Any] = []
        count = 0
        for batch in dataset.to_batches(batch_size=65_536, batch_readahead=2, fragment_readahead=1):
            x = np.stack([batch[name].to_numpy() for name in names], 1).astype(np.float32)
            sold = batch["sold"].to_numpy(zero_copy_only=False) == "yes"
            y = np.stack(
                [
                    batch["price"].to_numpy(),
                    batch["demand"].to_numpy(),
                    sold.astype(np.float64),
                    batch["grade"].cast("double").to_numpy(),
                ],
                1,
            ).astype(np.float32)
            held.append((x, y))
            count += len(x)
            rows += len(x) if epoch == 0 else 0
            if count >= BUFFER:
                train(*(torch.from_numpy(np.concatenate(one)) for one in zip(*held, strict=True)))
                held, count = [], 0
        if held:
            train(*(torch.from_numpy(np.concatenate(one)) for one in zip(*held, strict=True)))
    return rows


WAYS = {"streamed": streamed, "memory": in_memory, "hand": by_hand}


def measured(way: str, files: list[Path], epochs: int, seconds: str) -> dict[str, float]:
    """Return the figures of a way, from a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--epochs", str(epochs)]
    command += ["--seconds", seconds]
    lines = "\n".join(map(str, files))
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Make the table, measure each way, and print a table of the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--ways", default="streamed,memory,hand")
    parser.add_argument("--way", choices=list(WAYS))
    given = parser.parse_args()
    if given.way is not None:
        clock = Clock(given.seconds)
        rows = WAYS[given.way](sys.stdin.read().split("\n"), given.epochs, clock)
        print(json.dumps(clock.figures(rows, given.epochs)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        folder.mkdir(exist_ok=True)
        if not any(folder.glob("*.parquet")):
            make(folder, given.rows)
        files = sorted(folder.glob("*.parquet"))
        runs = [("streamed, a tenth of it", "streamed", files[: max(1, len(files) // 10)])]
        runs += [(way, way, files) for way in given.ways.split(",")]
        print(f"{given.rows} rows, {len(files)} files, {given.epochs} epochs, {given.seconds} time")
        heading = ("rows a second", "seconds", "before the first step", "megabytes")
        print(f"{'':28}" + "".join(f"{name:>24}" for name in heading))
        for title, way, chosen in runs:
            found = measured(way, chosen, given.epochs, given.seconds)
            print(f"{title:28}" + "".join(f"{found[name]:24,.1f}" for name in heading), flush=True)


if __name__ == "__main__":
    main()
