"""Clicks and likes on a made log: jointrain's networks against a factorisation machine by hand.

    python benchmarks/recommender_log.py [--rows 200000] [--users 20000] [--items 5000]
        [--models oracle fm jointrain] [--seed 0]
    python benchmarks/recommender_log.py --write log.csv --rows 2000 ...

The log is made from a known truth: users and items by a skewed popularity, each with a bias and
hidden factors for each of the two targets, of which half are shared by them; a device, a price and
genres that say a little more. ``oracle`` scores the test rows by the true probabilities: nothing
can be better. ``fm`` is a factorisation machine for each target in plain PyTorch (Rendle,
"Factorization Machines", ICDM 2010, eq. 1), with as many factors as the truth has, and with the
penalty and the number of epochs that are best on validation rows. ``jointrain`` is one network of
both targets with all its defaults. Rows are split 70/10/20 at random.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from jointrain import Recipe
from jointrain.data import SupervisedTable
from jointrain.tables import fit_table

TARGETS = ("click", "like")
FACTORS = 4
GENRES = ("drama", "comedy", "action", "family", "news", "music", "sport", "travel")
PENALTIES = (3e-3, 1e-2, 3e-2, 1e-1)


def make_log(rows: int, users: int, items: int, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the log, and the true probabilities of the two targets, [n, 2]."""
    random = np.random.default_rng(seed)
    # popularity falls as a power of the rank
    user = random.choice(users, rows, p=_popularity(users, 0.7))
    item = random.choice(items, rows, p=_popularity(items, 0.8))
    alone = 1
    of_user = random.normal(size=(users, FACTORS))
    logits = np.empty((rows, 2))
    price = random.lognormal(3, 0.6, items)
    genres = [
        random.choice(len(GENRES), 1 + random.integers(3), replace=False) for _ in range(items)
    ]
    taste = random.normal(size=(len(GENRES), FACTORS)) * 1.2
    of_item = random.normal(size=(items, FACTORS)) * 0.6
    of_item += np.stack([taste[chosen].mean(0) for chosen in genres])
    device = random.integers(3, size=rows)
    common_user, common_item = random.normal(size=users), random.normal(size=items)
    for target, offset in enumerate((-0.6, -1.6)):
        kept = slice(0, FACTORS - alone) if target == 0 else slice(alone, FACTORS)
        product = (of_user[user, kept] * of_item[item, kept]).sum(1)
        user_bias = 0.8 * common_user + 0.4 * random.normal(size=users)
        item_bias = 0.8 * common_item + 0.4 * random.normal(size=items)
        logits[:, target] = (
            offset + user_bias[user] + item_bias[item] + 0.8 * product
            + np.array([0.0, 0.3, -0.3])[device] - 0.4 * np.log(price[item] / 20)
        )  # fmt: skip
    probability = 1 / (1 + np.exp(-logits))
    labels = random.random((rows, 2)) < probability
    seconds = np.sort(random.integers(90 * 86400, size=rows))
    frame = pl.DataFrame(
        {
            "time": np.datetime64("2025-01-01", "ms") + seconds * 1000,
            "user": [f"u{number}" for number in random.permutation(users)[user]],
            "item": [f"i{number}" for number in random.permutation(items)[item]],
            "genres": ["|".join(GENRES[g] for g in genres[number]) for number in item],
            "device": np.array(["phone", "tablet", "desktop"])[device],
            "price": price[item].round(2),
            "click": np.where(labels[:, 0], "yes", "no"),
            "like": np.where(labels[:, 1], "yes", "no"),
        }
    )
    return frame, probability


def _popularity(count: int, power: float) -> np.ndarray:
    shares = np.arange(1, count + 1.0) ** -power
    return shares / shares.sum()


class FactorisationMachine(nn.Module):
    """A bias and a vector for each value; products of the vectors of all pairs of columns."""

    def __init__(self, counts: list[int], genres: int, factors: int = FACTORS) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.price = nn.Linear(1, 1, bias=False)
        self.biases = nn.ModuleList(nn.Embedding(count, 1) for count in counts)
        self.vectors = nn.ModuleList(nn.Embedding(count, factors) for count in counts)
        self.genre_bias = nn.EmbeddingBag(genres + 1, 1, mode="mean", padding_idx=genres)
        self.genre_vector = nn.EmbeddingBag(genres + 1, factors, mode="mean", padding_idx=genres)
        for layer in (*self.biases, *self.vectors, self.genre_bias, self.genre_vector):
            nn.init.normal_(layer.weight, std=0.05)

    def forward(self, codes: Tensor, genres: Tensor, price: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [b], and the mean square of what the rows looked up, []."""
        biases = [layer(codes[:, i]) for i, layer in enumerate(self.biases)]
        biases.append(self.genre_bias(genres))
        vectors = [layer(codes[:, i]) for i, layer in enumerate(self.vectors)]
        vectors.append(self.genre_vector(genres))
        together = torch.stack(vectors)
        pairs = 0.5 * (together.sum(0).square() - together.square().sum(0)).sum(1)
        logits = self.bias + torch.cat(biases, 1).sum(1) + self.price(price[:, None])[:, 0] + pairs
        looked_up = (
            together.square().sum((0, 2)).mean() + torch.cat(biases, 1).square().sum(1).mean()
        )
        return logits, looked_up


def fm_scores(frame: pl.DataFrame, parts: list[np.ndarray], seed: int) -> tuple[np.ndarray, str]:
    """Return the test rows' scores of a machine for each target, [m, 2], and what was chosen."""
    train, validation, test = parts
    codes = []
    counts = []
    for name in ("user", "item", "device"):
        known = {value: place for place, value in enumerate(frame[name][train].unique().sort())}
        counts.append(len(known) + 1)
        codes.append([known.get(value, len(known)) for value in frame[name]])
    sets = frame["genres"].str.split("|").to_list()
    genres = torch.tensor(
        [[GENRES.index(g) for g in one] + [len(GENRES)] * (3 - len(one)) for one in sets]
    )
    price = np.log(frame["price"].to_numpy())
    price = torch.tensor((price - price[train].mean()) / price[train].std(), dtype=torch.float32)
    inputs = torch.tensor(np.array(codes).T), genres, price
    scores, chosen = [], []
    for target in TARGETS:
        label = torch.tensor((frame[target] == "yes").to_numpy(), dtype=torch.float32)
        best = (0.0, 0.0, 0, np.zeros(0))
        for penalty in PENALTIES:
            torch.manual_seed(seed)
            machine = FactorisationMachine(counts, len(GENRES))
            optimizer = torch.optim.Adam(machine.parameters(), 5e-3)
            waited, own = 0, 0.0
            for epoch in range(30):
                mixed = np.random.default_rng([seed, epoch]).permutation(train)
                for rows in torch.from_numpy(mixed).split(1024):
                    logits, looked_up = machine(*(one[rows] for one in inputs))
                    loss = nn.functional.binary_cross_entropy_with_logits(logits, label[rows])
                    optimizer.zero_grad()
                    (loss + penalty * looked_up).backward()
                    optimizer.step()
                with torch.no_grad():
                    every = machine(*inputs)[0].numpy()
                area = roc_auc_score(label[validation], every[validation])
                waited = 0 if area > own else waited + 1
                own = max(own, area)
                if area > best[0]:
                    best = (area, penalty, epoch + 1, every[test])
                if waited == 4:
                    break
        scores.append(best[3])
        chosen.append(f"{target}: penalty {best[1]:g}, epoch {best[2]}")
    return np.stack(scores, 1), "; ".join(chosen)


def network_scores(
    frame: pl.DataFrame, parts: list[np.ndarray], seed: int
) -> tuple[np.ndarray, str]:
    """Return the test rows' scores of one network of both targets, all by default, [m, 2]."""
    train, validation, test = parts
    table = SupervisedTable.prepare(frame[np.concatenate([train, validation])], TARGETS)
    recipe = Recipe(validation_fraction=len(validation) / len(table.frame))
    model = fit_table(table, recipe, seed=seed, device="cpu")
    found = model.predict(frame[test])
    network = model.parts[0].network
    vectors = sum(p.numel() for p in network.input_layer.parameters())
    total = sum(p.numel() for p in network.parameters())
    epochs, best = model.parts[0].epochs
    words = f"{vectors:,} of {total:,} parameters are vectors; epoch {best} of {epochs}"
    return np.stack([found[name] for name in TARGETS], 1), words


def main() -> None:
    """Print AUC, CPU seconds and memory of each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=["oracle", "fm", "jointrain"])
    parser.add_argument("--write", type=Path, help="write the log there, and do nothing else")
    given = parser.parse_args()
    frame, probability = make_log(given.rows, given.users, given.items, given.seed)
    if given.write is not None:
        frame.write_csv(given.write)
        return
    order = np.random.default_rng(given.seed + 1).permutation(given.rows)
    parts = np.split(order, [int(0.7 * given.rows), int(0.8 * given.rows)])
    for name in given.models:
        start = time.process_time()
        if name == "oracle":
            scores, words = probability[parts[2]], ""
        else:
            scores, words = SCORERS[name](frame, parts, given.seed)
        areas = [
            roc_auc_score((frame[target] == "yes").to_numpy()[parts[2]], scores[:, index])
            for index, target in enumerate(TARGETS)
        ]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{name:10}", *(f"{t} {area:.4f}" for t, area in zip(TARGETS, areas, strict=True)),
            f"{time.process_time() - start:.0f} s of CPU, at most {memory:.2f} GB so far; {words}",
            flush=True,
        )  # fmt: skip


SCORERS = {"fm": fm_scores, "jointrain": network_scores}

if __name__ == "__main__":
    main()
