"""`jointrain compare`: which way of training the targets is best, and the model of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from jointrain.cli._after_saving import add_importance, print_use, skippable
from jointrain.cli._compare_experiment import (
    prepare_experiment_study,
    print_experiment_answer,
    save_experiment_answer,
)
from jointrain.cli._executors import opened_executor
from jointrain.cli._experiment_settings import ExperimentCompareSettings
from jointrain.cli._flags import flags_of
from jointrain.cli._live import live_view
from jointrain.cli._printing import console_of_output, print_json, print_line
from jointrain.cli._said import command_line
from jointrain.cli._settings import CompareSettings
from jointrain.cli._streamed_fit import (
    add_streamed_importance,
    fit_best,
    prepare_streamed,
    study_sample,
)
from jointrain.cli._table_opening import (
    bundle_notes,
    output_folder,
    prepare_table,
    start_processes,
)
from jointrain.errors import InvalidInputError
from jointrain.system.cores import available_cores
from jointrain.system.database_address import without_password
from jointrain.system.output_file import write_text, write_whole
from jointrain.system.output_folder import check_new_folder, write_new_folder
from jointrain.system.quick_imports import quick_imports
from jointrain.system.terminal_streams import printing, say

if TYPE_CHECKING:
    from jointrain.cli._logs import StudyLog
    from jointrain.data import StreamedTable, SupervisedTable
    from jointrain.experiments import AnyExperiment
    from jointrain.studies import Study, StudyResult
    from jointrain.studies.searches import Affinity, AffinityGlance
    from jointrain.tables import BlendedModel, TableModel

_LAST_SECONDS = 5.0
"""What is kept of a budget for column importance, files and pictures."""

_PICTURE = "changes.png"


@flags_of(CompareSettings, own=ExperimentCompareSettings)
def compare(settings: CompareSettings) -> None:
    """Say which way of training the targets is best, and keep the best model.

    Trains each target alone, all jointly and all in alternation on the same folds and seeds, beside
    baselines, prints what the data show, and saves the model that they speak for.
    """
    started = start_processes(settings)
    with quick_imports():
        from jointrain.studies import StudyInterrupted

    log = _study_log(settings)
    whole: StreamedTable | None = None

    with opened_executor(settings.executor) as executor:
        if isinstance(settings, ExperimentCompareSettings):
            study = prepare_experiment_study(settings)
        else:
            study, whole = _prepare_study(settings)
        if settings.equal is not None:
            study = _with_equal_compute(study, settings)
        try:
            result = _run_study(study, settings, started, executor, log)
        except StudyInterrupted as stopped:
            _print_interrupted(stopped.result, settings)
            if log is not None:
                log.see(stopped.result)
            raise
        result = replace(result, single=settings.single)
        if log is not None:
            log.see(result)
        for note in result.notes:
            say(f"note: {note}")
        if isinstance(settings, ExperimentCompareSettings):
            _answer_experiment(result, study.experiment, settings, started, executor)
            return
        affinity = None
        if whole is None:
            with _preparing_report(result, settings):
                model, result, affinity = _fit_model(
                    result, study.table, settings, started, executor
                )
        else:
            until = _time_of_fit(settings, started).until
            model, result = fit_best(result, whole, settings, until)
    out = _save(model, result, settings, study.table)
    # from here on the model is safe: what fails is skipped
    until = _end_of(settings, started)
    if whole is None:
        importance = add_importance(model, result.study.table, out / "bundle", until)
    else:
        importance = add_streamed_importance(model, whole, out / "bundle")
    _add_report(result, settings, out, importance, until, affinity)
    with printing(saved=out):
        _print_answer(result, settings, model, out)


def _answer_experiment(
    result: StudyResult,
    experiment: AnyExperiment,
    settings: ExperimentCompareSettings,
    started: float,
    executor: Executor | None,
) -> None:
    """Keep and print what a study of one's own experiment shows."""
    time_of_fit = _time_of_fit(settings, started)
    saved = save_experiment_answer(
        result,
        settings,
        experiment,
        executor=executor,
        seconds=time_of_fit.seconds,
        until=time_of_fit.until,
    )
    _add_report(result, settings, saved.out, until=_end_of(settings, started))
    print_experiment_answer(result, settings, saved)


def _end_of(settings: CompareSettings, started: float) -> float | None:
    """Return when the budget is spent; None without one."""
    return None if settings.budget_seconds is None else started + settings.budget_seconds


_GLANCE_SECONDS = 5.0
"""Less time than that is not enough to see who helps whom."""

_GLANCE_TARGETS = 12
"""With more targets, each step that is measured takes too long."""


def _glance(result: StudyResult) -> AffinityGlance | None:
    """Return what shows who helps whom; None where targets share no network, or are too many."""
    from jointrain.studies import together_of
    from jointrain.studies.searches import AffinityGlance

    name, study = together_of(result), result.study
    if name is None or not 2 <= len(study.tasks) <= _GLANCE_TARGETS:
        return None
    return AffinityGlance(study.experiment, result.recipe(name), study.seed)


def _affinity(result: StudyResult, until: float | None) -> Affinity | None:
    """Return who helps whom by one short run in this process, where there is time."""
    glance = _glance(result)
    if glance is None or (until is not None and time.monotonic() > until - _GLANCE_SECONDS):
        return None
    return glance.run()


def _prepare_study(settings: CompareSettings) -> tuple[Study, StreamedTable | None]:
    """Check what can be checked before the table is read, and read it.

    Of a table larger than memory the study has a sample, and the whole is returned, too.
    """
    from jointrain.bundle import check_savable
    from jointrain.data import is_streamed
    from jointrain.studies import Study, joint_prior
    from jointrain.training import resolve_device

    check_new_folder(output_folder(settings), force=settings.force)
    if settings.executor is None:  # other machines may have other devices
        resolve_device(settings.device)
    # what is wrong with them is said before a long table is read
    recipes, baselines = settings.chosen_recipes(), settings.chosen_baselines()
    whole = None
    if is_streamed(settings.table):
        whole = prepare_streamed(settings, settings.recipe("joint"))
        table = study_sample(whole, settings.seed)
    else:
        table = prepare_table(settings)
    check_savable(table)
    prior = joint_prior(table)
    if prior is not None:
        say(prior)
    study = Study(
        table,
        recipes,
        baselines,
        folds=settings.folds,
        seeds=settings.seeds,
        seed=settings.seed,
        ship=settings.ship,
        margin=settings.margin,
    )
    return study, whole


def _with_equal_compute(study: Study, settings: CompareSettings) -> Study:
    """Return the study with epochs as `--equal` asks; say what they are."""
    from jointrain.studies import with_equal_compute

    assert settings.equal is not None
    if settings.budget is not None:
        raise InvalidInputError("--equal and --budget both decide on epochs; leave one out")
    if settings.equal == "seconds" and settings.study is not None:
        raise InvalidInputError(
            "--equal seconds finds other epochs each time, so that --study can't go on with them; "
            "take --equal steps or passes"
        )
    study, notes = with_equal_compute(study, settings.equal)
    for note in notes:
        say(f"note: {note}")
    return study


def _study_log(settings: CompareSettings) -> StudyLog | None:
    """Return what logs the runs of the study; None if that is not wanted."""
    logs = settings.opened_logs(output_folder(settings).name)
    if logs is None:
        return None
    from jointrain.cli._logs import StudyLog

    return StudyLog(logs)


def _run_study(
    study: Study,
    settings: CompareSettings,
    started: float,
    executor: Executor | None,
    log: StudyLog | None,
) -> StudyResult:
    """Run a study, within its budget if it has one; say what is known while it goes on."""
    from jointrain.reports import interim_answer
    from jointrain.studies import run_within_budget

    seconds = settings.budget_seconds
    with live_view("runs", until=_end_of(settings, started)) as view:
        if seconds is None:
            planned = study.folds * study.seeds

            def on_interim(found: StudyResult) -> None:
                view.interim(interim_answer(found, planned))
                if log is not None:
                    log.see(found)

            return study.run(
                workers=settings.workers,
                store=settings.study,
                executor=executor,
                progress=view,
                on_interim=on_interim,
            )

        def on_answer(result: StudyResult, spent: float, planned: int) -> None:
            names = ", ".join(result.recipe_names)
            answer = interim_answer(result, planned)
            view.interim(answer)
            if not settings.json_output:
                say(f"after {spent:.0f} s ({names}): {answer}")

        return run_within_budget(
            study,
            seconds,
            base=settings.recipe("joint") if study.experiment.cuts_training else None,
            further=not settings.recipes and study.experiment.cuts_training,
            workers=settings.workers,
            store=settings.study,
            executor=executor,
            progress=view,
            on_answer=on_answer,
            started=started,
            single=settings.single,
        )


def _print_interrupted(result: StudyResult, settings: CompareSettings) -> None:
    """Print what is known of a study that was stopped."""
    from jointrain.reports import print_interim

    study = result.study
    planned = study.folds * study.seeds if settings.budget is None else None
    # standard output of --json is one whole answer or nothing
    console = Console(stderr=True, width=160) if settings.json_output else console_of_output()
    print_interim(result, console, planned)
    if settings.study is not None:
        place = without_password(str(settings.study))
        say(f"note: finished folds are kept in {place}; the same command goes on")


@contextmanager
def _preparing_report(result: StudyResult, settings: CompareSettings) -> Iterator[None]:
    """Load what the report needs, which takes seconds, while other processes fit the model.

    Where this process fits it, nothing is loaded aside: both would import the same modules.
    """
    if (settings.workers or available_cores()) == 1:
        yield
        return
    _ = result.blends  # the processes wait for them: nothing is loaded before
    aside = Thread(target=_load_for_report, args=(settings.budget is not None,), daemon=True)
    aside.start()
    yield
    aside.join()


def _load_for_report(trains: bool) -> None:
    """Import what the report's charts need; what fails is said by the report.

    Args:
        trains: Whether this process looks at who helps whom.
    """
    if trains:
        with suppress(Exception):
            # torch imports its compiler for the first optimiser of a process
            import_module("torch._dynamo")
    with suppress(Exception):
        from jointrain.reports import prepare_page

        prepare_page()


def _fit_model(
    result: StudyResult,
    table: SupervisedTable,
    settings: CompareSettings,
    started: float,
    executor: Executor | None,
) -> tuple[TableModel | BlendedModel, StudyResult, Affinity | None]:
    """Return the model to save, the result of what it is made of, and who helps whom.

    The last is looked at beside, without a budget; else it is None.
    """
    from jointrain.studies import fit_shipped, rows_to_fit
    from jointrain.tables import BlendedModel

    time_of_fit, rows = _time_of_fit(settings, started), "all rows"
    if len(result.study.table.frame) < len(table.frame):
        whole = len(table.frame)
        assert time_of_fit.seconds is not None
        table = rows_to_fit(result, table, time_of_fit.seconds, settings.workers)
        if len(table.frame) < whole:
            rows = f"{len(table.frame):,} of {whole:,} rows"
        say(f"note: the saved model is trained on {rows}")
    looked: list[Affinity | None] = []
    with live_view(f"training the model on {rows}") as advance:
        model = fit_shipped(
            result,
            device=settings.device,
            workers=settings.workers,
            executor=executor,
            progress=advance,
            table=table,
            beside=_glance(result) if settings.budget is None else None,
            on_beside=looked.append,
            seconds=time_of_fit.seconds,
            until=time_of_fit.until,
        )
    chosen = {task: dict(blend.weights) for task, blend in result.blends.items()}
    if isinstance(model, BlendedModel):
        saved = {task: dict(weights) for task, weights in model.weights.items()}
    else:
        saved = {task: {model.recipe.name: 1.0} for task in chosen}
    if saved != chosen:
        there = {name for weights in saved.values() for name in weights}
        lost = sorted({name for weights in chosen.values() for name in weights} - there)
        say(f"note: {', '.join(lost)} left out of the saved model: time was over")
        result = result.with_weights(saved)
    return model, result, looked[0] if looked else None


class FitTime(NamedTuple):
    """The time of the last fit.

    Args:
        seconds: What it may take; default as long as it takes.
        until: `time.monotonic()` at which it is ended; default never.
    """

    seconds: float | None = None
    until: float | None = None


def _time_of_fit(settings: CompareSettings, started: float) -> FitTime:
    """Return what a budget leaves for the last fit."""
    budget = settings.budget_seconds
    if budget is None:
        return FitTime()
    spent = time.monotonic() - started
    return FitTime(
        # a machine that is busy is slower in the last fit, too
        seconds=max(0.7 * (budget - _LAST_SECONDS - spent), 1.0),
        until=started + max(budget, spent + _LAST_SECONDS),
    )


def _save(
    model: TableModel | BlendedModel,
    result: StudyResult,
    settings: CompareSettings,
    table: SupervisedTable,
) -> Path:
    """Write the model and the figures of all runs; return the folder."""
    import polars as pl

    from jointrain.bundle import write_bundle
    from jointrain.reports import folds_and_seeds
    from jointrain.studies import SHIPPED, mean_of_defined, write_runs

    metrics: dict[str, dict[str, float]] = {}
    with skippable("metrics of the saved model"):
        metrics = {
            task.name: {
                metric.name: mean_of_defined(result.values(SHIPPED, task.name, metric.name))
                for metric in task.metrics or ()
            }
            for task in table.tasks
        }
    notes = {
        "metrics": f"mean over the test parts of {folds_and_seeds(result)}, held out from "
        "the model",
        **bundle_notes(settings, table, model),
    }

    def write(folder: Path) -> None:
        (folder / "bundle").mkdir()
        write_bundle(model, folder / "bundle", metrics=metrics, notes=notes)
        with skippable("results.parquet"):
            rows = pl.concat([result.table, result.shipped_table])
            write_whole(folder / "results.parquet", partial(write_runs, rows, table.tasks))

    return write_new_folder(output_folder(settings), write, force=settings.force, elsewhere=True)


def _add_report(
    result: StudyResult,
    settings: CompareSettings,
    out: Path,
    importance: dict[str, Any] | None = None,
    until: float | None = None,
    affinity: Affinity | None = None,
) -> None:
    """Write the pictures and the pages beside the model."""
    from jointrain.charts import save_picture
    from jointrain.reports import study_figures, write_markdown, write_page

    title = f"{settings.table_name}: together or apart?"
    with skippable("report.html"):
        figures = study_figures(
            result,
            title,
            command=command_line(),
            importance=importance,
            affinity=_affinity(result, until) if affinity is None else affinity,
        )
        write_page(figures, out)

    picture = out / _PICTURE
    if find_spec("vl_convert") is not None:
        with skippable(picture.name):
            write_whole(picture, lambda path: save_picture(result.plot(), path))
    with skippable("report.md"):
        report = write_markdown(
            result,
            title,
            picture=picture.name if picture.exists() else None,
        )
        write_whole(out / "report.md", partial(write_text, text=report))


def _print_answer(
    result: StudyResult,
    settings: CompareSettings,
    model: TableModel | BlendedModel,
    out: Path,
) -> None:
    """Print the result, and where the model is."""
    from jointrain.reports import print_result, result_to_json

    if settings.json_output:
        whole = result_to_json(result) | {"out": str(out), "bundle": str(out / "bundle")}
        print_json(whole)
        return
    print_result(result, console_of_output())
    names = [
        n for n in ("report.html", "results.parquet", "report.md", _PICTURE) if (out / n).exists()
    ]
    beside = f" beside it: {', '.join(names)}." if names else ""
    print_line(f"\nSaved: {out / 'bundle'} (the model{_larger(result, model)});{beside}")
    print_use(model, out / "bundle")


def _larger(result: StudyResult, model: TableModel | BlendedModel) -> str:
    """Return how many saved networks take the place of each that was compared, if more than one."""
    from jointrain.tables import TableModel

    parts = [model] if isinstance(model, TableModel) else list(model.components.values())
    sizes = {
        len(one.parts) // len(one.recipe.groups([task.name for task in one.tasks]))
        for one in parts
        if isinstance(one, TableModel) and result.recipe(one.recipe.name).ensemble == 1
    }
    most = max(sizes, default=1)
    return f", ensembles of {most} networks in place of single ones" if most > 1 else ""
