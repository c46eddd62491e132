"""A table as competitions give it: train.csv with five labels, test.csv without, and the solution.

Documents of four topics at most, as counts of forty words; scikit-learn makes them. A real table of
the kind is that of https://www.kaggle.com/c/lish-moa (206 labels of 23,814 drugs), see `load_moa`.

    python examples/competition_data.py FOLDER
"""

import argparse
from pathlib import Path

import polars as pl
from sklearn.datasets import make_multilabel_classification

TOPICS = ["art", "law", "health", "money", "sport"]


def load_moa(folder: Path) -> pl.DataFrame:
    """Return the unpacked training files of lish-moa as one table, `sig_id` naming the rows."""
    features = pl.read_csv(folder / "train_features.csv")
    return features.join(pl.read_csv(folder / "train_targets_scored.csv"), on="sig_id")


def main(arguments: list[str] | None = None) -> None:
    """Write train.csv (600 rows), test.csv and solution.csv (400 rows) into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    words, topics = make_multilabel_classification(
        1000, 40, n_classes=len(TOPICS), n_labels=2, length=50, random_state=options.seed
    )
    table = pl.DataFrame({"id": range(1000)})
    table = table.with_columns(pl.Series(f"word {i}", words[:, i]) for i in range(40))
    table = table.with_columns(pl.Series(n, y) for n, y in zip(TOPICS, topics.T, strict=True))
    table[:600].write_csv(options.folder / "train.csv")
    table[600:].drop(TOPICS).write_csv(options.folder / "test.csv")
    table[600:].select("id", *TOPICS).write_csv(options.folder / "solution.csv")


if __name__ == "__main__":
    main()
