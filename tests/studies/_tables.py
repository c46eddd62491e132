"""Small tables for the tests of the searches."""

import numpy as np
import polars as pl

from jointrain import OptimizerSettings, Recipe, SupervisedTable

QUICK = Recipe(width=8, depth=1, dropout=0.0, epochs=3, bins=0)

NARROW = Recipe(
    bins=0,
    width=3,
    depth=1,
    dropout=0.0,
    epochs=15,
    batch_size=16,
    optimizer=OptimizerSettings(learning_rate=2e-2),
)
"""A trunk with room for one thing only: unrelated tasks get into each other's way."""


def mixed_table(rows: int = 60, seed: int = 0) -> SupervisedTable:
    """Return a table with a regression, a sparsely labelled one and a binary target."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 3))
    z = np.tanh(x.sum(1))
    sparse = np.where(np.arange(rows) % 3 == 0, np.nan, z + 0.3 * generator.normal(size=rows))
    frame = pl.DataFrame(
        {
            "u": x[:, 0], "v": x[:, 1], "w": x[:, 2],
            "price": 10 * z + generator.normal(size=rows),
            "size": sparse,
            "sold": np.where(z > 0, "yes", "no"),
        }
    )  # fmt: skip
    return SupervisedTable.prepare(frame.fill_nan(None), ["price", "size", "sold"])


def two_pairs(rows: int = 300, seed: int = 3) -> SupervisedTable:
    """Return four tasks, a1 like a2 and b1 like b2, labelled on different rows."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 6))
    a = np.tanh(x[:, 0] + x[:, 1] - x[:, 2])
    b = np.tanh(x[:, 3] - x[:, 4] + x[:, 5])
    columns = {f"x{i}": x[:, i] for i in range(6)}
    for name, truth in (("a1", a), ("b1", b), ("a2", a), ("b2", b)):
        values = truth + 0.1 * generator.normal(size=rows)
        values[generator.random(rows) > 0.4] = np.nan
        columns[name] = values
    frame = pl.DataFrame(columns).fill_nan(None)
    return SupervisedTable.prepare(frame, ["a1", "b1", "a2", "b2"])
