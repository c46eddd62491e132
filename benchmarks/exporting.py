"""What `jointrain export` gives: size, time to load, rows a second, distance from `predict`.

A table of 10 numbers and 3 categories is made up: two targets are numbers, one has three classes.
Models of several kinds are fitted to its first rows and predict the others, which none has seen:

- ``networks``: what `fit` makes, an ensemble of joint networks;
- ``networks, linear, trees``: a blend of these with lines and forests;
- ``kernel ridge``: kernels alone, of the two numbers;
- ``default blend``: what the estimators fit, networks beside lines, forests and kernels.

Each is saved as a bundle, and exported as ONNX with weights in single precision and in 8 bits. What
is loaded is loaded in a process of its own, with its imports and without. Rows a second are of all
rows, given as a frame of Polars to `predict`, and as arrays to ONNX Runtime, 10,000 at a time.
Differences of numbers are in standard deviations of the predictions.

    python benchmarks/exporting.py [--rows 100000] [--train 4000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from jointrain import Recipe, SupervisedTable, fit_table, save_bundle
from jointrain.data import encode_targets, query_numbers
from jointrain.exporting import compare_exported, export_model
from jointrain.tables import (
    BlendedModel,
    TableModel,
    evaluate_predictions,
    fit_baseline_to,
    fit_blend,
)

NUMBERS, CATEGORIES, LEVELS = 10, 3, 6
TARGETS = ["price", "demand", "style"]
LOADS = 3

BUNDLE = "from jointrain.bundle import read_bundle as load"
ONNX = "from onnxruntime import InferenceSession as load"
LOADING = """
import time
start = time.perf_counter()
{how}
middle = time.perf_counter()
load({path!r})
print(middle - start, time.perf_counter() - middle)
"""


def made(rows: int) -> pl.DataFrame:
    """Return the table."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, NUMBERS))
    codes = random.integers(LEVELS, size=(rows, CATEGORIES))
    effects = random.normal(size=(CATEGORIES, LEVELS, 3))
    hidden = np.stack([np.sin(2 * x[:, 0]), x[:, 1] * x[:, 2], np.maximum(x[:, 3], 0), x[:, 4]], 1)
    signal = hidden @ random.normal(size=(4, 3))
    signal += sum(0.5 * effects[place][codes[:, place]] for place in range(CATEGORIES))
    signal += 0.5 * random.normal(size=signal.shape)
    columns: dict[str, np.ndarray] = {f"x{place}": x[:, place] for place in range(NUMBERS)}
    letters = np.array(list("abcdef"))
    columns |= {f"c{place}": letters[codes[:, place]] for place in range(CATEGORIES)}
    columns |= {"price": signal[:, 0], "demand": signal[:, 1]}
    columns["style"] = np.array(["low", "middle", "high"])[np.digitize(signal[:, 2], (-0.7, 0.7))]
    return pl.DataFrame(columns)


def models(table: SupervisedTable) -> dict[str, TableModel | BlendedModel]:
    """Return the fitted models by name."""
    networks = fit_table(table, Recipe())
    numbers = table.only(["price", "demand"])
    parts = {
        "linear": fit_baseline_to("linear", table, 0),
        "extra trees joint": fit_baseline_to("extra trees joint", numbers, 0),
        "extra trees": fit_baseline_to("extra trees", table.only(["style"]), 0),
    }
    kernels = fit_baseline_to("kernel ridge", numbers, 0)
    return {
        "networks": networks,
        "networks, linear, trees": _mean(table, {"joint": networks, **parts}),
        "kernel ridge": _mean(numbers, {"kernel ridge": kernels}),
        "default blend": fit_blend(table, Recipe()),
    }


def _mean(table: SupervisedTable, components: dict) -> BlendedModel:
    """Return the blend in which all components of a task weigh the same."""
    weights = {}
    for task in table.tasks:
        own = [name for name, one in components.items() if task.name in _names(one)]
        weights[task.name] = {name: 1 / len(own) for name in own}
    return BlendedModel(table.tasks, table.columns, components, weights, schema=table.schema)


def _names(component) -> list[str]:
    return [task.name for task in component.tasks]


def loading(how: str, path: Path) -> tuple[float, float]:
    """Return the seconds of the imports and of loading in a new process, the least of a few."""
    program = LOADING.format(how=how, path=str(path))
    found = []
    for _ in range(LOADS):
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(ran.stderr)
        found.append(tuple(map(float, ran.stdout.split())))
    return min(found, key=sum)


def size(path: Path) -> float:
    """Return the megabytes of a file or a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def measured(model: TableModel | BlendedModel, rows: pl.DataFrame, folder: Path) -> list[list[str]]:
    """Return a row for the bundle, one for ONNX and one for ONNX in 8 bits."""
    bundle = save_bundle(model, folder / "bundle")
    imports, load = loading(BUNDLE, bundle)
    tasks = model.predicted_tasks
    labels, queries = encode_targets(rows, list(tasks)), query_numbers(rows, tasks)
    before = evaluate_predictions(tasks, model.predict(rows), labels, queries)
    shown: list[list[str]] = []
    for quantize in (None, "int8"):
        path = folder / f"{quantize or 'float'}.onnx"
        started = time.perf_counter()
        inputs = export_model(model, path, quantize=quantize)  # type: ignore[arg-type]
        exporting = time.perf_counter() - started
        found = compare_exported(model, path, inputs, rows)
        if not shown:
            rate = f"{found.rows / found.seconds_of_predict:,.0f}"
            shown.append(
                ["bundle", f"{size(bundle):.2f}", "", f"{imports:.2f} + {load:.2f}", rate, "", ""]
            )
        after = evaluate_predictions(tasks, found.predictions, labels, queries)
        lost = [
            f"{task.name} {metric.name} {before[task.name][metric.name]:.4g} "
            f"{after[task.name][metric.name] - before[task.name][metric.name]:+.1g}"
            for task in tasks
            for metric in (task.metrics or ())[:1]
        ]
        imports_of_onnx, load_of_onnx = loading(ONNX, path)
        shown.append(
            [
                f"ONNX {quantize or 'float'}",
                f"{size(path):.2f}",
                f"{exporting:.1f}",
                f"{imports_of_onnx:.2f} + {load_of_onnx:.2f}",
                f"{found.rows / found.seconds:,.0f}",
                f"{max(found.difference.values()):.1g}",
                ", ".join(lost) if quantize else "",
            ]
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100_000, help="that are predicted")
    parser.add_argument("--train", type=int, default=4_000, help="rows that models are fitted to")
    given = parser.parse_args()
    frame = made(given.train + given.rows)
    table = SupervisedTable.prepare(frame[: given.train], TARGETS)
    print("| model | as | MB | export s | import + load s | rows/s | difference | cost of 8 bits |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, model in models(table).items():
        with tempfile.TemporaryDirectory() as folder:
            for row in measured(model, frame[given.train :], Path(folder)):
                print(f"| {name} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
