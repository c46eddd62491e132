"""Small models of tables with columns of several kinds."""

import datetime
from functools import cache

import numpy as np
import polars as pl

from jointrain import Recipe, SupervisedTable
from jointrain.tables import TableModel, fit_table

ROWS = 60


@cache
def table() -> pl.DataFrame:
    random = np.random.default_rng(0)
    size, age = random.normal(50, 10, ROWS), random.integers(0, 90, ROWS)
    first = datetime.date(2024, 1, 1)
    return pl.DataFrame(
        {
            "size (m²)": size,
            "age": age,
            "garden": random.random(ROWS) < 0.5,
            "town": random.choice(["Bonn", "Köln", "Ulm"], ROWS),
            "sold": [
                first + datetime.timedelta(days=int(day)) for day in random.integers(0, 400, ROWS)
            ],
            "price": 3 * size - age + random.normal(size=ROWS),
            "dear": np.where(size > 50, "yes", "no"),
        }
    )


@cache
def model() -> TableModel:
    prepared = SupervisedTable.prepare(table(), ["price", "dear"])
    return fit_table(prepared, Recipe(width=4, depth=1, epochs=2, ensemble=1), device="cpu")


def rows(count: int = 2) -> list[dict]:
    """Return rows as JSON has them."""
    features = table().head(count).drop("price", "dear")
    return features.with_columns(pl.col("sold").cast(pl.String)).to_dicts()
