"""What a command does when a model is saved: column importance, and how to predict with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._printing import print_line
from jointrain.errors import InvalidInputError, JointrainError
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from jointrain.data import SupervisedTable
    from jointrain.tables import BlendedModel, TableModel

_MEASURED_COLUMNS = 200
"""With more feature columns than this, their importance would take longer than the fit."""

_MEASURED_PAIRS = 300
"""With more pairs of column and task than these, fewer rows and repeats are measured."""


@contextmanager
def skippable(what: str) -> Iterator[None]:
    """Skip a step with a note if it fails or is stopped: the model is worth more than the step.

    Args:
        what: What the step makes, for the note.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"note: {what} skipped: stopped")
    except JointrainError as error:
        say(f"note: {what} skipped: {error}")
    except OSError as error:
        say(f"note: {what} skipped: {error.strerror or error}")
    except Exception as error:  # any fault at all would lose the work that is done
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"note: {what} skipped: {reason}")


def add_importance(
    model: TableModel | BlendedModel,
    table: SupervisedTable,
    bundle: Path,
    until: float | None = None,
) -> dict[str, Any] | None:
    """Measure the importance of the columns and add it to the notes of a saved bundle.

    Nothing is measured where there are very many columns. What fails is skipped with a note.

    Args:
        model: The model that the bundle holds.
        table: The rows that it was fitted to.
        bundle: The folder.
        until: `time.monotonic()` at which it is left out if it is not done; default never.

    Returns:
        What was added; None if nothing was.
    """
    from jointrain.bundle import add_notes
    from jointrain.studies import run_jobs

    with skippable("column importance"):
        if len(model.columns) <= _MEASURED_COLUMNS:
            job = _ImportanceJob(model, table)
            found: dict[str, dict[str, Any]] = dict(run_jobs([job], workers=1, until=until))
            if job.key not in found:
                raise InvalidInputError("the budget is spent")
            add_notes(bundle, {"importance": found[job.key]})
            return found[job.key]
    return None


@dataclass(frozen=True)
class _ImportanceJob:
    """The importance of the columns, as work for a process that can be ended."""

    model: TableModel | BlendedModel
    table: SupervisedTable
    key: str = "importance"

    def run(self) -> dict[str, Any] | None:
        """Return the importance."""
        return _importance(self.model, self.table)


def print_use(model: TableModel | BlendedModel, bundle: Path) -> None:
    """Print the command that predicts with a saved model, with the code of one's own it needs."""
    from jointrain.bundle import factories_needed

    own = "".join(f" --factory {path}" for path in factories_needed(model))
    folder = shlex.quote(str(bundle))
    print_line(f"Predict with: jointrain predict {folder} TABLE{own} --out predictions.csv")


def _importance(model: TableModel | BlendedModel, table: SupervisedTable) -> dict[str, Any] | None:
    """Return the importance of the columns on rows that a network left out.

    Of a blend, each task's heaviest networks are measured; a task without any has no figures.
    """
    from jointrain.tables import TableModel, unseen_column_importance

    # what takes time are the metrics of each column and task
    many = len(model.columns) * len(model.tasks) > _MEASURED_PAIRS
    limits: dict[str, Any] = {"repeats": 2, "rows": 500} if many else {}
    if isinstance(model, TableModel):
        return unseen_column_importance(model, table, **limits).to_json()
    found: dict[str, Any] = {}
    weights = {
        name: sum(of_task.get(name, 0.0) for of_task in model.weights.values())
        for name in model.components
    }
    for name in sorted(weights, key=lambda name: -weights[name]):
        component = model.components[name]
        new = {task for task in model.weights if name in model.weights[task]}
        if isinstance(component, TableModel) and new - found.get("tasks", {}).keys():
            rows = table.only([task.name for task in component.tasks])
            measured = unseen_column_importance(component, rows, **limits).to_json()
            wanted = {
                task: of for task, of in measured["tasks"].items() if name in model.weights[task]
            }
            found = {**measured, "tasks": {**wanted, **found.get("tasks", {})}}
    return found or None
