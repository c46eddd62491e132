"""What `jointrain evaluate` holds against training: promises, the constant, intervals, drift."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._printing import print_line, print_rows
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import write_whole
from jointrain.system.stored_files import (
    LARGEST_JSON,
    MISFIT,
    DamagedError,
    json_from_bytes,
    json_to_bytes,
    read_file,
)
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import Drift, KnownRows
    from jointrain.tables import BlendedModel, Promise, PromiseTest, TableModel

Metrics = dict[str, dict[str, float]]

COVERAGE = 0.9
"""Of the intervals that are checked."""

_NOT_NEW = 0.05
"""From which share of rows on, beside what chance makes alike, a table is not taken as new."""

_SHOWN_COLUMNS = 10
"""Columns whose drift is shown, at most."""

_UNBOUNDED = "not defined: too few rows were left out of training to bound them"

_HISTORY_VERSION = 1


@dataclass
class SinceTraining:
    """What a table with targets tells of a model.

    Args:
        metrics: Of the model.
        constant: Metrics of what a constant predicts; empty where the bundle keeps none.
        coverage: By task with intervals, the share of its values that lie within 90 % intervals;
            NaN where too few rows were left out of training to bound them.
        drift: Of the columns; None where the bundle keeps no distributions.
        trained_on: The estimated share of rows that the model was trained on; None where the
            bundle knows none of its rows again.
        promises: By task, what was promised.
        tests: By task with a promise, the test after this table.
    """

    metrics: Metrics
    constant: Metrics = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    drift: list[Drift] | None = None
    trained_on: float | None = None
    promises: dict[str, Promise] = field(default_factory=dict)
    tests: dict[str, PromiseTest] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """The targets whose promise was shown to be broken, on this table or an earlier one."""
        return [name for name, test in self.tests.items() if test.broken(len(self.tests))]

    def to_json(self, reported: Mapping[str, Any]) -> dict[str, Any]:
        """Return all of it for machines."""
        return {
            "metrics": self.metrics,
            "reported": reported,
            "constant": self.constant,
            "coverage": {"of": COVERAGE, "measured": self.coverage},
            "trained_on": self.trained_on,
            "drift": self.drift and [{**asdict(d), "drifted": d.drifted} for d in self.drift],
            "promises": {
                name: {
                    **asdict(self.promises[name]),
                    "tables": test.tables,
                    "tested_rows": test.rows,
                    "mean_since": test.total / test.rows if test.rows else None,
                    "log_e_value": test.log_e_value,
                    "highest_log_e_value": test.highest,
                    "broken": name in self.broken,
                }
                for name, test in self.tests.items()
            },
        }


def measure(
    model: TableModel | BlendedModel,
    frame: pl.DataFrame,
    weight: str | None,
    notes: Mapping[str, Any],
    history: History,
) -> SinceTraining:
    """Return what a table tells of a model, and add it to the history.

    Args:
        model: The model.
        frame: Rows that it was not trained on, read as those of training.
        weight: The column of weights; promises are tested on rows that count the same.
        notes: Of the bundle.
        history: The tests so far.

    Raises:
        InvalidInputError: The history is one of a file, and the model was trained on these rows.
    """
    import numpy as np

    from jointrain.data import (
        ColumnShares,
        KnownRows,
        column_drift,
        encode_targets,
        query_columns,
        query_numbers,
        read_row_weights,
    )
    from jointrain.tables import (
        Promise,
        evaluate_predictions,
        names_to_know_rows_by,
        row_losses,
    )
    from jointrain.task import labels_of

    tasks = model.predicted_tasks
    read = [name for task in tasks for name in task.target_columns]
    table = model.conformed(frame, [*read, *query_columns(tasks)])
    labels = encode_targets(table, list(tasks))
    weights = None
    if weight is not None:
        weights = np.repeat(read_row_weights(table[weight])[:, None], len(tasks), axis=1)
    queries = query_numbers(table, tasks)
    predictions = model.predict(table)
    found = SinceTraining(evaluate_predictions(tasks, predictions, labels, queries, weights))
    labels_by_task = {
        task.name: own.astype(np.float64)
        for task, own in zip(tasks, labels_of(labels, tasks), strict=True)
    }
    for task in tasks:
        own = labels_by_task[task.name]
        known = np.isfinite(own)
        if task.name in model.calibration.residuals and known.any():
            ends = model.calibration.interval(task, predictions[task.name], COVERAGE)
            within = (ends[:, 0] <= own) & (own <= ends[:, 1])
            # of intervals without ends, all values lie within
            bounds = model.calibration.residuals[task.name].bounds(COVERAGE)
            bounded = all(map(math.isfinite, bounds))
            found.coverage[task.name] = float(within[known].mean()) if bounded else math.nan
    reference = notes.get("reference")
    if reference is None:
        return found
    shares = {name: ColumnShares.from_json(of) for name, of in reference["columns"].items()}
    found.drift = column_drift(shares, table)
    known_by = table.select(names_to_know_rows_by(model, table.columns))
    if reference.get("known_rows") is not None:
        trained = KnownRows.from_json(reference["known_rows"])
        found.trained_on = trained.share_of(known_by)
        _check_new(found.trained_on, trained, history)
    constants = _constants(model, reference["constants"], predictions)
    if constants is not None:
        found.constant = evaluate_predictions(tasks, constants, labels, queries, weights)
    losses = {}
    for task in tasks:
        of_rows = row_losses(task, predictions[task.name], labels_by_task[task.name])
        if task.name in reference["promises"] and of_rows is not None:
            kept = reference["promises"][task.name]
            promise = Promise(kept["loss"], kept["mean"], kept["upper"], kept["rows"])
            found.promises[task.name] = promise
            losses[task.name] = of_rows[1][np.isfinite(of_rows[1])]
    found.tests = history.after(known_by, losses, found.promises)
    return found


def _check_new(trained_on: float, trained: KnownRows, history: History) -> None:
    """Say that rows were trained on; refuse to count them in a history."""
    if trained_on < _NOT_NEW + trained.by_chance:
        return
    which = f"{_shown_share(trained_on)} of these rows are rows that the model was trained on"
    if history.path is not None:
        raise InvalidInputError(
            f"--history: {which}, and a promise is of new rows; give those alone"
        )
    say(f"note: {which}: what is measured is better than it is on new rows")


def _shown_share(share: float) -> str:
    return "all" if share == 1 else f"about {share:.0%}"


def _constants(
    model: TableModel | BlendedModel,
    kept: Mapping[str, list[float]],
    predictions: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return what a constant predicts, as `predict` does; None where one is missing or misfits."""
    import numpy as np

    found = {}
    for task in model.predicted_tasks:
        constant = np.array(kept.get(task.name, ()))
        if not len(constant):
            return None
        rows = np.tile(constant, (len(predictions[task.name]), 1))
        try:
            found[task.name] = task.in_table.from_columns(rows)
        except MISFIT:
            return None
        if found[task.name].shape != predictions[task.name].shape:
            return None
    return found


class History:
    """The tests of a bundle's promises over all tables so far, in a file or nowhere.

    Args:
        path: The file, made if there is none; None to begin anew each time.
        bundle: The digests of the bundle's files, which tell it from others.

    Raises:
        InvalidInputError: The file is damaged, or of another bundle.
    """

    def __init__(self, path: Path | None, bundle: Mapping[str, str]) -> None:
        from jointrain.data import KnownRows
        from jointrain.tables import PromiseTest

        self.path, self._bundle = path, dict(bundle)
        self._tables: list[dict[str, Any]] = []
        self._tests: dict[str, PromiseTest] = {}
        self._known: list[KnownRows] = []
        if path is not None and not path.parent.is_dir():
            raise InvalidInputError(f"--history {path}: there is no folder {path.parent}")
        self._found = _content_of(path)
        if self._found is None:
            return
        try:
            stored = json_from_bytes(self._found)
            if stored["schema_version"] != _HISTORY_VERSION:
                raise DamagedError("it is of another version of jointrain")
            of_bundle = dict(stored["bundle"])
            self._tables = [
                {"digest": str(table["digest"]), "rows": int(table["rows"])}
                | ({"known": table["known"]} if table.get("known") else {})
                for table in stored["tables"]
            ]
            self._known = [
                KnownRows.from_json(table["known"]) for table in self._tables if "known" in table
            ]
            self._tests = {
                str(name): PromiseTest.from_json(test) for name, test in stored["targets"].items()
            }
        except MISFIT:  # DamagedError is one of them
            raise InvalidInputError(
                f"--history {path} is no history that this jointrain wrote, or it is damaged; name "
                "another file to begin anew"
            ) from None
        if of_bundle != self._bundle:
            raise InvalidInputError(
                f"--history {path} is of another bundle; name a file of this one's own"
            )

    def after(
        self, table: pl.DataFrame, losses: Mapping[str, Any], promises: Mapping[str, Promise]
    ) -> dict[str, PromiseTest]:
        """Return the tests after a table; one that was counted before changes nothing.

        Args:
            table: The columns that its rows are known by.
            losses: Those of its rows, by target.
            promises: By target.

        Raises:
            InvalidInputError: Some of its rows were counted before.
        """
        from jointrain.data import KnownRows, digest_of_rows
        from jointrain.tables import PromiseTest

        tests = {name: self._tests.get(name, PromiseTest()) for name in losses}
        made = {name: tests[name].after(losses[name], promises[name].upper) for name in losses}
        if self.path is None:
            return made
        digest = digest_of_rows(table)
        if any(counted["digest"] == digest for counted in self._tables):
            say(f"note: this table stands in {self.path} already and is not counted again")
            return tests
        counted_before = min(1.0, sum(before.share_of(table) for before in self._known))
        if counted_before >= _NOT_NEW + sum(before.by_chance for before in self._known):
            raise InvalidInputError(
                f"--history: {_shown_share(counted_before)} of these rows were counted before, in "
                "earlier tables; give the new ones alone"
            )
        self._tests = self._tests | made
        known = KnownRows.of(table)
        kept = {} if known is None else {"known": known.to_json()}
        self._tables.append({"digest": digest, "rows": len(table), **kept})
        return made

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            InvalidInputError: It is another one than was read: somebody else's work is in it.
        """
        if self.path is None:
            return
        if _content_of(self.path) != self._found:
            raise InvalidInputError(
                f"--history {self.path} was changed while this table was measured; run the same "
                "command again"
            )
        content = {
            "schema_version": _HISTORY_VERSION,
            "bundle": self._bundle,
            "tables": self._tables,
            "targets": {name: test.to_json() for name, test in self._tests.items()},
        }
        try:
            data = json_to_bytes(content, indent=1)
        except DamagedError as error:
            raise InvalidInputError(
                f"--history {self.path} stays as it was: with this table it {error}; name another "
                "file to begin anew"
            ) from None
        # a link stays one
        write_whole(self.path.resolve(), lambda path: path.write_bytes(data))


def _content_of(path: Path | None) -> bytes | None:
    """Return what a history's file holds; None where there is none."""
    if path is None or not os.path.lexists(path):
        return None
    try:
        return read_file(path, largest=LARGEST_JSON)
    except DamagedError as error:
        raise InvalidInputError(f"--history {path}: {error}; name another file") from None


def print_since_training(found: SinceTraining) -> None:
    """Print what there is beside the metrics."""
    if found.coverage:
        rows = [
            [name, f"{share:.1%}" if math.isfinite(share) else _UNBOUNDED]
            for name, share in found.coverage.items()
        ]
        print_rows(f"Values within their {COVERAGE:.0%} intervals", ["task", "measured"], rows)
    if found.drift is None:
        print(
            "The bundle keeps nothing of its training table to hold this one against: no constant, "
            "no drift,\nno promise. Fit it again, or give save_bundle its table."
        )
        return
    if found.drift:
        shown = found.drift[:_SHOWN_COLUMNS]
        rows = [
            [d.column, f"{d.stability:.3f}", f"{d.by_chance:.3f}", "yes" if d.drifted else "no"]
            for d in shown
        ]
        drifted = sum(d.drifted for d in found.drift)
        title = f"Drift: {drifted} of {len(found.drift)} column{'s' * (len(found.drift) != 1)}"
        title += " (population stability index)"
        if len(shown) < len(found.drift):
            title += f", the {len(shown)} largest"
        print_rows(title, ["column", "index", "by chance below", "drifted"], rows)
    if found.tests:
        _print_promises(found)
    else:
        print("No target has a promise: too few rows were held out, or it is of another kind.")


def _print_promises(found: SinceTraining) -> None:
    from jointrain.tables import ERROR

    needed = len(found.tests) / ERROR
    rows = []
    for name, test in found.tests.items():
        promise = found.promises[name]
        measured = f"{test.total / test.rows:.4g}" if test.rows else "-"
        verdict = "no longer as good" if name in found.broken else "nothing against it"
        highest = test.highest / math.log(10)
        e_value = f"{10**highest:.3g}" if highest < 6 else f"1e{highest:.0f}"
        row = [name, promise.loss, f"{promise.mean:.4g}", f"{promise.upper:.4g}", measured]
        rows.append([*row, str(test.rows), e_value, verdict])
    tables = max(test.tables for test in found.tests.values())
    since = ("measured in all", "rows in all") if tables > 1 else ("measured", "rows")
    print_rows(
        f"As good as promised? (tables so far: {tables}; broken from an e-value of {needed:.0f})",
        ["task", "loss", "promised", "at most", *since, "highest e-value", "promise"],
        rows,
    )
    for name in found.broken:
        print_line(f"{name} is no longer as good as promised.")
