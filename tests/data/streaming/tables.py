"""Tables in several files, for tests."""

from itertools import pairwise

import numpy as np
import polars as pl


def mixed_frame(rows=600, seed=0):
    """Return a table with columns of every kind and three targets, some labels missing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3)).round(6)
    letter = random.choice(list("abcd"), rows)
    number = x @ [1, 2, 0] + (letter == "a") + random.normal(size=rows) * 0.3
    words = ["the red house", "a blue car", "green trees here", "some yellow sun", "one black cat"]
    frame = pl.DataFrame(
        {
            "row": [f"r{i}" for i in range(rows)],
            "x0": x[:, 0],
            "x1": x[:, 1],
            "x2": x[:, 2],
            "flag": random.random(rows) < 0.5,
            "letter": letter,
            "user": random.integers(0, 120, rows).astype(str),
            "when": pl.Series(random.integers(0, 10**9, rows)).cast(pl.Datetime("ms")),
            "clock": pl.Series(random.integers(0, 86_400 * 10**9, rows)).cast(pl.Time),
            "words": [
                f"{random.choice(words)} and {random.choice(words)} {i % 97}" for i in range(rows)
            ],
            "tags": ["|".join(random.choice(list("pqrstuvw"), 3)) for _ in range(rows)],
            "y": number,
            "z": np.where(x[:, 0] + x[:, 2] + random.normal(size=rows) > 0, "yes", "no"),
            "w": random.choice(["hi", "mid", "lo"], rows),
        }
    )
    index = pl.int_range(rows)
    return frame.with_columns(
        pl.when(index % 7 == 0).then(None).otherwise("x2").alias("x2"),
        pl.when(index % 5 == 0).then(None).otherwise("y").alias("y"),
        pl.when(index % 11 == 0).then(None).otherwise("letter").alias("letter"),
    )


def in_files(frame, folder, files=3, group_rows=50):
    """Write a table as Parquet files of a folder."""
    folder.mkdir(exist_ok=True)
    cuts = np.linspace(0, len(frame), files + 1).astype(int)
    for number, (start, end) in enumerate(pairwise(cuts)):
        path = folder / f"part-{number}.parquet"
        frame[start:end].write_parquet(path, row_group_size=group_rows)
    return folder
