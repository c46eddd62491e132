"""`jointrain weigh`, `group` and `share`: searches on inner folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jointrain.cli._after_saving import skippable
from jointrain.cli._executors import opened_executor
from jointrain.cli._experiment_settings import (
    ExperimentGroupSettings,
    ExperimentSearchSettings,
    ExperimentShareSettings,
    ExperimentWeighSettings,
)
from jointrain.cli._flags import flags_of
from jointrain.cli._live import interim_changes, live_view
from jointrain.cli._printing import console_of_output, print_json, print_line
from jointrain.cli._said import command_line
from jointrain.cli._settings import GroupSettings, SearchSettings, ShareSettings, WeighSettings
from jointrain.cli._table_opening import prepare_table, start_processes
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import write_text
from jointrain.system.output_folder import ANSWER, check_new_folder, write_new_folder
from jointrain.system.quick_imports import quick_imports
from jointrain.system.terminal_streams import printing, say

if TYPE_CHECKING:
    from jointrain.data import SupervisedTable
    from jointrain.experiments import AnyExperiment, Recipe
    from jointrain.reports import SearchReport
    from jointrain.studies.searches import Affinity, Candidates

_Result = TypeVar("_Result")


@flags_of(WeighSettings, own=ExperimentWeighSettings)
def weigh(settings: WeighSettings) -> None:
    """Search for the task weights with the best cross-validated metrics."""
    started = start_processes(settings)
    with quick_imports():
        from jointrain.reports import report_weights
        from jointrain.studies.searches import search_weights

    if settings.weights != "equal":
        raise InvalidInputError("weigh searches for the weights; leave --weights out")
    recipe = settings.recipe(settings.schedule)
    search = partial(search_weights, trials=settings.trials, pareto=settings.pareto)
    table, result = _found(settings, started, recipe, search, "weights")
    _answer(settings, table, report_weights(result), result.candidates, "with which weights?")


@flags_of(GroupSettings, own=ExperimentGroupSettings)
def group(settings: GroupSettings) -> None:
    """Say which targets to train together, and who helps whom."""
    started = start_processes(settings)
    with quick_imports():
        from jointrain.reports import report_groups
        from jointrain.studies.searches import search_groups

    recipe = settings.recipe(settings.schedule)
    search = partial(
        search_groups, models=settings.models, measure=settings.measure, trials=settings.trials
    )
    table, result = _found(settings, started, recipe, search, "groups")
    report = report_groups(result)
    _answer(settings, table, report, result.candidates, "which together?", result.affinity)


@flags_of(ShareSettings, own=ExperimentShareSettings)
def share(settings: ShareSettings) -> None:
    """Say how many layers of the trunk the targets should share."""
    started = start_processes(settings)
    with quick_imports():
        from jointrain.reports import report_shared_depth
        from jointrain.studies.searches import search_shared_depth

    recipe = settings.recipe(settings.schedule)
    if recipe.shared_depth is not None:
        raise InvalidInputError("share searches for the shared depth; leave --shared-depth out")
    table, result = _found(settings, started, recipe, search_shared_depth, "split points")
    report = report_shared_depth(result)
    _answer(settings, table, report, result.candidates, "how many shared layers?")


def _found(
    settings: SearchSettings,
    started: float,
    recipe: Recipe,
    search: Callable[..., _Result],
    what: str,
) -> tuple[SupervisedTable | AnyExperiment, _Result]:
    """Return what is searched on, and what the search found.

    Args:
        settings: What the user said.
        started: When the budget begins.
        recipe: What to train.
        search: Called with the table or experiment, the recipe, and how to measure.
        what: What the live view calls the candidates.
    """
    options = settings.search
    seconds = options["budget"]
    until = None if seconds is None else started + seconds
    with opened_executor(settings.executor) as executor:
        table = _prepare_search(settings)
        with live_view(what, until=until) as view:
            result = search(
                table,
                recipe,
                progress=view,
                on_interim=lambda found: view.interim(interim_changes(found)),
                started=started,
                executor=executor,
                **options,
            )
    return table, result


def _prepare_search(settings: SearchSettings) -> SupervisedTable | AnyExperiment:
    if settings.out is not None:
        check_new_folder(settings.out, force=settings.force)
    if isinstance(settings, ExperimentSearchSettings):
        return settings.opened()[0]
    return prepare_table(settings)


def _answer(
    settings: SearchSettings,
    table: SupervisedTable | AnyExperiment,
    report: SearchReport,
    candidates: Candidates,
    question: str,
    affinity: Affinity | None = None,
) -> None:
    """Print what a search found; write it to the folder if one is named."""
    from jointrain.charts import save_picture
    from jointrain.data import SupervisedTable, write_parquet
    from jointrain.reports import data_figures, search_figures, write_page
    from jointrain.studies import write_runs
    from jointrain.tables import TableExperiment

    if isinstance(settings, ExperimentSearchSettings):
        # there is no `fit` to give it to
        json_of = {name: value for name, value in report.json.items() if name != "flag"}
        report = replace(report, flag="", json=json_of)
    for note in candidates.notes:
        say(f"note: {note}")
    whole = {**report.json, "notes": [*table.notes, *candidates.notes]}
    out = settings.out
    if out is not None:

        def write(folder: Path) -> None:
            write_runs(candidates.table, candidates.tasks, folder / "results.parquet")
            picture = None
            if affinity is not None:
                write_parquet(affinity.table(), folder / "affinity.parquet")
                if find_spec("vl_convert") is not None:
                    with skippable("affinity.png"):
                        save_picture(affinity.plot(), folder / "affinity.png")
                        picture = "affinity.png"
            page = report.markdown(f"{settings.table_name}: {question}", picture=picture)
            write_text(folder / "report.md", page)
            with skippable("report.html"):
                experiment = TableExperiment(table) if isinstance(table, SupervisedTable) else table
                figures = search_figures(
                    report,
                    f"{settings.table_name}: {question}",
                    command=command_line(),
                    affinity=affinity,
                    data=data_figures(experiment),
                )
                write_page(figures, folder)
            text = json.dumps(whole, indent=1, ensure_ascii=False)
            write_text(folder / ANSWER, text + "\n")

        out = write_new_folder(out, write, force=settings.force, elsewhere=True)
    with printing(saved=out):
        if settings.json_output:
            print_json(whole)
            return
        report.print(console_of_output())
        if out is not None:
            print_line(f"\nSaved: {out}")
