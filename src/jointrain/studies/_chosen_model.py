"""The model to keep: the recipe that a study speaks for, trained on all rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from jointrain.errors import InvalidInputError
from jointrain.experiments import AnyExperiment, Recipe
from jointrain.studies._job_runner import run_jobs
from jointrain.studies._shipped_model import SHARE_HERE, fit_shipped, rows_to_fit
from jointrain.studies._study_result import StudyResult
from jointrain.tables import TableExperiment
from jointrain.training import NetworkModel


def fit_chosen(
    result: StudyResult,
    *,
    recipe: str | None = None,
    experiment: AnyExperiment | None = None,
    executor: Executor | None = None,
    seconds: float | None = None,
    until: float | None = None,
    on_cut: Callable[[str], None] | None = None,
) -> Any:
    """Train what a study speaks for on all rows that are not for testing.

    With a fixed test set it is the recipe that does best on the validation rows: the test rows
    have no say in it.

    Args:
        result: What the study measured.
        recipe: Name of another recipe of the study to train in its place.
        experiment: Where the study had a sample of the rows, what that was drawn from: as many of
            its rows are trained on as `seconds` are enough for. Default the study's rows.
        executor: As in `Study.run`; the model is then on the CPU.
        seconds: What the fit may take, by what the study's runs took: where it would take longer,
            it is of fewer epochs, for half of that. Default as long as it takes.
        until: `time.monotonic()` at which it is ended. It then runs in a process of its own, and
            the model is on the CPU, unless half of `seconds` seem to be enough. Default never.
        on_cut: Called with what was cut, in words.

    Returns:
        Of a table the blend of `fit_shipped` (or, of a recipe by name, its model); of one's own
        modules a `NetworkModel`, which `save_bundle` saves.

    Raises:
        InvalidInputError: There is no such recipe, the experiment is of a loop of one's own, or the
            time was over.
    """
    study = result.study
    if recipe is None and study.experiment.ships:
        table = None
        if isinstance(experiment, TableExperiment):
            table = experiment.table
            if seconds is not None:
                table = rows_to_fit(result, table, seconds)
        return fit_shipped(result, executor=executor, seconds=seconds, until=until, table=table)
    chosen = result.best() if recipe is None else result.recipe(recipe)
    here = until is None
    used = _rows_to_train_on(result, chosen, experiment, seconds)
    if experiment is not None and used.row_count < experiment.row_count and on_cut is not None:
        on_cut(f"the model was trained on {used.row_count:,} of {experiment.row_count:,} rows")
    if seconds is not None and used.cuts_training:
        planned = chosen.chosen_epochs(used.row_count)
        cost = _seconds_of_fit(result, chosen, used) / planned
        epochs = min(max(1, int(SHARE_HERE * seconds / max(cost, 1e-9))), planned)
        # a process may take longer to start than a short fit
        here = here or cost * epochs <= SHARE_HERE * seconds
        if epochs < planned:
            chosen = replace(chosen, epochs=epochs)
            if on_cut is not None:
                on_cut(f"the model was trained for at most {epochs} of {planned} epochs")
    if here and executor is None:
        return used.fit(chosen, seed=study.seed)
    job = _FitJob(chosen.name, used, chosen, study.seed)
    found = dict(run_jobs([job], workers=1, until=until, executor=executor))
    if job.key not in found:
        raise InvalidInputError(
            f"the time was over before {chosen.name} was trained on all rows; give it more"
        )
    return found[job.key]


def _rows_to_train_on(
    result: StudyResult, chosen: Recipe, whole: AnyExperiment | None, seconds: float | None
) -> AnyExperiment:
    """Return the study's experiment, or one of more rows if there are more and time for them."""
    sample = result.study.experiment
    if whole is None or seconds is None:
        return whole or sample
    a_row = _seconds_of_fit(result, chosen, sample) / max(sample.row_count, 1)
    affordable = int(SHARE_HERE * seconds / max(a_row, 1e-12))
    return whole.sample(max(affordable, sample.row_count), result.study.seed)


def _seconds_of_fit(result: StudyResult, recipe: Recipe, experiment: AnyExperiment) -> float:
    """Return what the fit takes: as a fold took, for the rows that it is trained on."""
    of_fold = result.seconds.get(recipe.name, 0.0) / max(result.runs(recipe.name), 1)
    folds = result.study.folds
    more_rows = experiment.row_count / max(result.study.experiment.row_count, 1)
    return of_fold * folds / max(folds - 1, 1) * more_rows


@dataclass(frozen=True)
class _FitJob:
    """The fit of a recipe on all rows.

    Args:
        key: Its name.
        experiment: What is to be learned.
        recipe: How to train.
        seed: Seed of all random choices.
    """

    key: str
    experiment: AnyExperiment
    recipe: Recipe
    seed: int

    @property
    def device(self) -> str:
        """Where it trains; on another machine, that one's."""
        return str(getattr(self.experiment, "device", "cpu"))

    def run(self) -> Any:
        """Return the fitted model."""
        model = self.experiment.fit(self.recipe, seed=self.seed)
        # what asks for it may have no such device
        return model.to("cpu") if isinstance(model, NetworkModel) else model
