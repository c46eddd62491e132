"""The command line: parse, call, print. Rooms are imported inside the commands: help is quick."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typer
from pydantic import BaseModel
from rich.console import Console

from jointrain import __version__
from jointrain.cli._after_saving import add_importance, skippable, write_whole
from jointrain.cli._settings import (
    CompareSettings,
    FitSettings,
    GroupSettings,
    SearchSettings,
    ShareSettings,
    TableSettings,
    WeighSettings,
    column_names,
    kept_reading,
    load_settings,
    panel_of,
    reading_options,
    with_kept_reading,
)
from jointrain.errors import InvalidInputError, JointrainError
from jointrain.system.cores import available_cores
from jointrain.system.output_folder import ANSWER, check_new_folder, write_new_folder
from jointrain.system.printed_tables import print_table
from jointrain.system.terminal_streams import printing, say, silence, use_plain_characters
from jointrain.system.worker_processes import stop_spare, warm_up

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import RawTable, ReadingOptions, SupervisedTable
    from jointrain.networks import NetworkFactory
    from jointrain.reports import SearchReport
    from jointrain.studies import Study, StudyResult
    from jointrain.studies.searches import Affinity, Candidates
    from jointrain.system.plug_ins import Listed, Names
    from jointrain.tables import BlendedModel, Recipe, TableModel
    from jointrain.training import FittedNetwork

_Value = TypeVar("_Value")

app = typer.Typer(
    name="jointrain",
    help="Train the targets of a table together or apart, and see with figures which is better.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

_TERMINATED = 143
"""The exit code of a command that SIGTERM stopped."""

_TABLE_HELP = (
    "File (CSV, TSV, JSON lines, Parquet, Arrow, Excel), - for standard input, or the address of a "
    "database: postgresql://HOST/NAME?table=TABLE, sqlite:///FILE?table=TABLE."
)
_JSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
_FACTORY = Annotated[
    list[str] | None,
    typer.Option(
        help="Code that makes a network of your own, MODULE:NAME, for a bundle that has one; it is "
        "run. Repeatable."
    ),
]
_READING = {
    "encoding": "Encoding of a text file; default as at fit.",
    "separator": "What stands between the fields of a text file, or tab; default as at fit.",
    "comment": "What lines that are skipped begin with; '' none; default as at fit.",
    "missing": "Cells that mean a missing value, separated by commas.",
    "decimal": "Decimal mark of numbers, . or ,",
    "thousands": "Mark between thousands; '' for none.",
    "date_format": "How dates are written, such as %d/%m/%Y, or NAME=%d/%m/%Y.",
    "time_zone": "Zone of dates that have none, or to convert to where training had none.",
}
"""Flags that say how the table of a fitted model is written, with their help."""


def main() -> None:
    """Run the command line; every user fault is one line and exit code 2."""
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    use_plain_characters()
    code = run(sys.argv[1:])
    if code == _INTERRUPTED and received:
        code = _TERMINATED
    with suppress(ValueError):  # a stream that was closed
        try:
            sys.stdout.flush()
        except OSError as error:
            silence(sys.stdout)
            code = _fail(f"standard output can't be written: {error.strerror}")
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(list(arguments), prog_name="jointrain", standalone_mode=False)
    except JointrainError as error:
        # a command that fails at once does not wait for the processes that it has started
        stop_spare()
        return _fail(str(error))
    except SystemExit:  # what click makes of a pipe that nobody reads
        stop_spare()
        return _fail("standard output can't be written: nobody reads the pipe")
    except MemoryError:
        stop_spare()
        return _fail("this needs more memory than there is; give fewer rows or columns")
    except OSError as error:
        stop_spare()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        # usage errors of typer can word themselves; anything else is a fault of jointrain's own
        if not hasattr(error, "format_message"):
            raise
        return _fail(error.format_message().rstrip("."))
    if code == _INTERRUPTED:
        stop_spare()
        message = "stopped: nothing was written, and what was there before is as it was"
        say(message)
    return code or 0


def _fail(message: str) -> int:
    line = " ".join(message.split())
    with suppress(OSError, ValueError):  # the exit code still says it
        say(f"error: {line}")
    return 2


def _version(value: bool) -> None:
    if value:
        print(f"jointrain {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _flags_of(model: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each field of its settings; it is called with what was said."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = [
            inspect.Parameter(
                "table",
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None,
                annotation=Annotated[str | None, typer.Argument(help=_TABLE_HELP)],
            ),
        ]
        fields = {
            field.alias or name: field
            for name, field in model.model_fields.items()
            if name != "table" and field.json_schema_extra != {"in_file_only": True}
        }
        for flag in sorted(fields, key=panel_of):
            field = fields[flag]
            shown, choices = _flag_type(field.annotation)
            help_text = field.description or ""
            if choices:
                help_text += f" One of {', '.join(choices)}."
            if field.default not in (None, "", [], {}, False) and not field.is_required():
                help_text += f" Default {field.default}."
            option = typer.Option(
                "--" + flag.replace("_", "-"), help=help_text, rich_help_panel=panel_of(flag)[2]
            )
            parameters.append(
                inspect.Parameter(
                    flag,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=False if shown is bool else None,
                    annotation=Annotated[shown if shown is bool else shown | None, option],
                )
            )

        parameters.append(
            inspect.Parameter(
                "config",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    Path | None,
                    typer.Option(
                        help="TOML file with any of these; flags win.",
                        rich_help_panel=panel_of("config")[2],
                    ),
                ],
            )
        )

        def wrapper(**flags: Any) -> None:
            config = flags.pop("config")
            command(load_settings(model, flags, config))

        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _flag_type(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the type of a flag for a field's type, and its choices."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _flag_type(inner[0])
    if get_origin(annotation) is Annotated:
        return _flag_type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    if get_origin(annotation) in (list, dict):
        return list[str], ()
    return annotation, ()


def _with_reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of reading in the place of its parameter `options`."""
    hints = get_type_hints(command, localns={"ReadingOptions": Any}, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name != "options":
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        parameters += [
            inspect.Parameter(
                flag,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None,
                annotation=Annotated[str | None, typer.Option(help=text)],
            )
            for flag, text in _READING.items()
        ]

    def wrapper(**given: Any) -> None:
        said = {flag: given.pop(flag) for flag in _READING}
        command(**given, options=reading_options(**said))

    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


@app.command(epilog="Example: jointrain compare data.csv --targets price,demand --budget 2m")
@_flags_of(CompareSettings)
def compare(settings: CompareSettings) -> None:
    """Say which way of training the targets is best, and keep the best model.

    Trains each target alone, all jointly and all in alternation on the same folds and seeds, beside
    baselines, prints what the data show, and saves the model that they speak for.
    """
    started = time.monotonic()
    workers = settings.workers or available_cores()
    # within a budget, even one worker is a process of its own, so that it can be ended
    if (workers > 1 or settings.budget is not None) and settings.table_may_exist:
        warm_up(workers)

    import polars as pl

    from jointrain.bundle import check_savable, write_bundle
    from jointrain.reports import (
        folds_and_seeds,
        print_interim,
        print_result,
        result_to_json,
        write_markdown,
    )
    from jointrain.studies import SHIPPED, Study, StudyInterrupted, fit_shipped
    from jointrain.tables import BlendedModel
    from jointrain.training import resolve_device

    out = _output_folder(settings)
    check_new_folder(out, force=settings.force)
    resolve_device(settings.device)
    # what is wrong with them is said before a long table is read
    recipes, baselines = settings.chosen_recipes(), settings.chosen_baselines()
    table = _prepare(settings)
    check_savable(table)
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
    try:
        result = _run_study(study, settings, started)
    except StudyInterrupted as stopped:
        planned = study.folds * study.seeds if settings.budget is None else None
        # standard output of --json is one whole answer or nothing
        console = Console(stderr=True, width=160) if settings.json_output else _console()
        print_interim(stopped.result, console, planned)
        if settings.study is not None:
            kept = f"note: finished folds are kept in {settings.study}; the same command goes on"
            say(kept)
        raise
    for note in result.notes:
        say(f"note: {note}")
    budget = settings.budget_seconds

    def spent() -> float:
        return time.monotonic() - started

    with _progress("training the model on all rows") as advance:
        # a machine that is busy is slower in the last fit, too
        left = None if budget is None else max(0.7 * (budget - _LAST_SECONDS - spent()), 1.0)
        model = fit_shipped(
            result,
            device=settings.device,
            workers=settings.workers,
            seconds=left,
            until=None if budget is None else started + max(budget, spent() + _LAST_SECONDS),
            progress=advance,
        )
    if isinstance(model, BlendedModel) and model.weights != {
        task: blend.weights for task, blend in result.blends.items()
    }:
        lost = sorted({n for b in result.blends.values() for n in b.weights} - {*model.components})
        say(f"note: {', '.join(lost)} left out of the saved model: time was over")
        result = result.with_weights(model.weights)
    metrics: dict[str, dict[str, float]] = {}
    with skippable("metrics of the saved model"):
        metrics = {
            task.name: {
                metric.name: float(_nanmean(result.values(SHIPPED, task.name, metric.name)))
                for metric in task.metrics or ()
            }
            for task in table.tasks
        }
    notes = {
        "metrics": f"mean over the test parts of {folds_and_seeds(result)}, which had no say in "
        "the model",
        **_bundle_notes(settings, table),
    }

    def write(folder: Path) -> None:
        (folder / "bundle").mkdir()
        write_bundle(model, folder / "bundle", metrics=metrics, notes=notes)
        with skippable("results.parquet"):
            rows = pl.concat([result.table, result.shipped_table])
            rows.write_parquet(folder / "results.parquet")

    out = write_new_folder(out, write, force=settings.force, elsewhere=True)
    # from here on the model is safe: what fails is skipped
    until = None if budget is None else started + budget
    add_importance(model, result.study.table, out / "bundle", until)
    picture = out / "changes.png"
    if find_spec("matplotlib") is not None:
        with skippable(picture.name):
            write_whole(picture, lambda path: result.plot().savefig(path, dpi=110))
    with skippable("report.md"):
        report = write_markdown(
            result,
            f"{settings.table_name}: together or apart?",
            picture=picture.name if picture.exists() else None,
        )
        write_whole(out / "report.md", lambda path: path.write_text(report, encoding="utf-8"))
    with printing(saved=out):
        if settings.json_output:
            whole = {**result_to_json(result), "notes": table.notes, "out": str(out)}
            print(json.dumps(whole, ensure_ascii=False))
            return
        print_result(result, _console())
        names = [n for n in ("results.parquet", "report.md", picture.name) if (out / n).exists()]
        beside = f" beside it: {', '.join(names)}." if names else ""
        print(f"\nSaved: {out / 'bundle'} (the model);{beside}")
        print(f"Predict with: jointrain predict {out / 'bundle'} TABLE --out predictions.csv")


def _run_study(study: Study, settings: CompareSettings, started: float) -> StudyResult:
    """Run a study, within its budget if it has one; say what is known while it goes on."""
    from jointrain.reports import interim_answer
    from jointrain.studies import run_within_budget

    seconds = settings.budget_seconds
    with _progress("runs") as advance:
        if seconds is None:
            return study.run(workers=settings.workers, store=settings.study, progress=advance)

        def on_answer(result: StudyResult, spent: float, planned: int) -> None:
            names = ", ".join(result.recipe_names)
            text = f"after {spent:.0f} s ({names}): {interim_answer(result, planned)}"
            say(text)

        return run_within_budget(
            study,
            seconds,
            base=settings.recipe("joint"),
            further=not settings.recipes,
            workers=settings.workers,
            store=settings.study,
            progress=advance,
            on_answer=None if settings.json_output else on_answer,
            started=started,
        )


@app.command(epilog="Example: jointrain weigh data.csv --targets price,demand --budget 2m")
@_flags_of(WeighSettings)
def weigh(settings: WeighSettings) -> None:
    """Search for the task weights with the best cross-validated metrics."""
    started = _start_search(settings)
    from jointrain.reports import report_weights
    from jointrain.studies.searches import search_weights

    if settings.weights != "equal":
        raise InvalidInputError("weigh searches for the weights; leave --weights out")
    recipe = settings.recipe(settings.schedule)
    table = _prepare_search(settings)
    with _progress("weights") as advance:
        result = search_weights(
            table,
            recipe,
            trials=settings.trials,
            pareto=settings.pareto,
            progress=advance,
            started=started,
            **settings.search,
        )
    _answer(settings, table, report_weights(result), result.candidates, "with which weights?")


@app.command(epilog="Example: jointrain group data.csv --targets a,b,c,d --models 2")
@_flags_of(GroupSettings)
def group(settings: GroupSettings) -> None:
    """Say which targets to train together, and who helps whom."""
    started = _start_search(settings)
    from jointrain.reports import report_groups
    from jointrain.studies.searches import search_groups

    recipe = settings.recipe(settings.schedule)
    table = _prepare_search(settings)
    with _progress("groups") as advance:
        result = search_groups(
            table,
            recipe,
            models=settings.models,
            measure=settings.measure,
            trials=settings.trials,
            progress=advance,
            started=started,
            **settings.search,
        )
    report = report_groups(result)
    _answer(settings, table, report, result.candidates, "which together?", result.affinity)


@app.command(epilog="Example: jointrain share data.csv --targets price,demand")
@_flags_of(ShareSettings)
def share(settings: ShareSettings) -> None:
    """Say how many layers of the trunk the targets should share."""
    started = _start_search(settings)
    from jointrain.reports import report_shared_depth
    from jointrain.studies.searches import search_shared_depth

    if settings.shared_depth is not None:
        raise InvalidInputError("share searches for the shared depth; leave --shared-depth out")
    recipe = settings.recipe(settings.schedule)
    table = _prepare_search(settings)
    with _progress("split points") as advance:
        result = search_shared_depth(
            table, recipe, progress=advance, started=started, **settings.search
        )
    report = report_shared_depth(result)
    _answer(settings, table, report, result.candidates, "how many shared layers?")


def _start_search(settings: SearchSettings) -> float:
    """Let processes start while the rest is imported; return the time of the beginning."""
    started = time.monotonic()
    workers = settings.workers or available_cores()
    if (workers > 1 or settings.budget is not None) and settings.table_may_exist:
        warm_up(workers)
    return started


def _prepare_search(settings: SearchSettings) -> SupervisedTable:
    if settings.out is not None:
        check_new_folder(settings.out, force=settings.force)
    return _prepare(settings)


def _answer(
    settings: SearchSettings,
    table: SupervisedTable,
    report: SearchReport,
    candidates: Candidates,
    question: str,
    affinity: Affinity | None = None,
) -> None:
    """Print what a search found; write it to the folder if one is named."""
    for note in candidates.notes:
        say(f"note: {note}")
    whole = {**report.json, "notes": [*table.notes, *candidates.notes]}
    out = settings.out
    if out is not None:

        def write(folder: Path) -> None:
            candidates.table.write_parquet(folder / "results.parquet")
            picture = None
            if affinity is not None:
                affinity.table().write_parquet(folder / "affinity.parquet")
                if find_spec("matplotlib") is not None:
                    picture = "affinity.png"
                    affinity.plot().savefig(folder / picture, dpi=110)
            page = report.markdown(f"{settings.table_name}: {question}", picture=picture)
            (folder / "report.md").write_text(page, encoding="utf-8")
            text = json.dumps(whole, indent=1, ensure_ascii=False)
            (folder / ANSWER).write_text(text + "\n", encoding="utf-8")

        out = write_new_folder(out, write, force=settings.force, elsewhere=True)
    with printing(saved=out):
        if settings.json_output:
            print(json.dumps(whole, ensure_ascii=False))
            return
        report.print(_console())
        if out is not None:
            print(f"\nSaved: {out}")


@app.command(epilog="Example: jointrain fit data.csv --targets price,demand --out model")
@_flags_of(FitSettings)
def fit(settings: FitSettings) -> None:
    """Fit one model for all targets and save it as a bundle."""
    from jointrain.bundle import check_savable, write_bundle
    from jointrain.training import resolve_device

    out = _output_folder(settings)
    check_new_folder(out, force=settings.force)
    resolve_device(settings.device)
    recipe = settings.recipe(settings.schedule)
    table = _prepare(settings)
    check_savable(table)
    model = _fit(table, recipe, settings)
    out = write_new_folder(
        out,
        lambda folder: write_bundle(model, folder, notes=_bundle_notes(settings, table)),
        force=settings.force,
        elsewhere=True,
    )
    add_importance(model, table, out)
    validation = model.validation
    if settings.json_output:
        answer = {"out": str(out), "validation_loss": validation, "notes": table.notes}
        print(json.dumps(answer, ensure_ascii=False))
        return
    rows = []
    for name, parts in _by_task(model.parts).items():
        made, kept = zip(*(part.epochs for part in parts), strict=True)
        loss = f"{validation.get(name, float('nan')):.4g}"
        rows.append([name, f"{len(parts)}", _range(made), _range(kept), loss])
    headings = ["task", "networks", "epochs", "epoch kept", "validation loss"]
    _print_table(f"{model.recipe.name}: {len(table.frame)} rows", headings, rows)
    print(f"Saved: {out}")


@app.command()
@_with_reading
def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    table: Annotated[str, typer.Argument(help=_TABLE_HELP)],
    out: Annotated[
        str, typer.Option(help="File to write, kind by its ending; - is standard output (CSV).")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    intervals: Annotated[
        float | None,
        typer.Option(help="Share of the numbers that intervals are to hold, such as 0.9."),
    ] = None,
    factory: _FACTORY = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the table to write beside the predictions, as they are written there. "
            "Repeatable."
        ),
    ] = None,
    escape_formulas: Annotated[
        bool,
        typer.Option(
            "--escape-formulas",
            help="Write an apostrophe before texts that a spreadsheet would take for a formula.",
        ),
    ] = False,
    *,
    options: ReadingOptions,
) -> None:
    """Predict all targets for the rows of a table.

    The columns are read as those of the training table were; flags say where this table is written
    in another way. The column of names is written as it is there.
    """
    from jointrain.bundle import read_bundle
    from jointrain.data import (
        check_writable_ending,
        formulas_escaped,
        kept_columns,
        row_of_sums,
        with_kept,
        write_table,
    )

    if out != "-":
        check_writable_ending(out)
        if os.path.lexists(out) and not force:
            raise InvalidInputError(
                f"{out} exists; choose another --out or replace it with --force"
            )
    opened = read_bundle(bundle, factories=_factories(factory))
    model, notes = opened.model, opened.description["notes"]
    raw = _raw(table, options, notes)
    name = notes.get("id")
    kept = kept_columns(raw, name, column_names(keep or []))
    if name is not None and name not in raw.frame.columns:
        say(f"note: the table has no column {name!r}, which named the rows in training")
    frame = _read_as_trained(model, raw, options, [name])
    if (why := row_of_sums(frame)) is not None:
        say(f"note: the last row is no case to predict: {why}")
    _warn_unseen(model, frame)
    predictions = model.predict_table(frame, intervals)
    _say_unused(model, frame, (name, notes.get("time"), *kept.columns))
    if intervals is not None and notes.get("time") is not None:
        say(f"note: {_LATER}")
    if intervals is not None and (open_ended := _without_bounds(model, intervals)):
        say(
            f"note: too few rows were left out of training to bound {open_ended} at "
            f"{100 * intervals:g} %: the ends are infinite"
        )
    written = with_kept(predictions, kept)
    if escape_formulas:
        written = formulas_escaped(written)
    made = write_table(written, out, replace=force)
    if out != "-":
        if made != Path(out):
            say(f"note: {out} exists by now; the predictions are in {made}")
        print(f"Predicted {len(predictions)} rows: {made}")


@app.command()
@_with_reading
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    table: Annotated[str, typer.Argument(help="A table with the targets in it.")],
    factory: _FACTORY = None,
    *,
    options: ReadingOptions,
    json_output: _JSON = False,
) -> None:
    """Measure a bundle on a table that has the targets.

    The columns are read as those of the training table were; flags say where this table is written
    in another way.
    """
    from jointrain.bundle import read_bundle
    from jointrain.data import row_of_sums

    opened = read_bundle(bundle, factories=_factories(factory))
    model = opened.model
    raw = _raw(table, options, opened.description["notes"])
    targets = [task.name for task in model.predicted_tasks]
    frame = _read_as_trained(model, raw, options, targets)
    if (why := row_of_sums(frame)) is not None:
        say(f"note: the last row is left out: {why}")
        frame = frame.head(-1)
    _warn_unseen(model, frame)
    metrics = model.evaluate(frame)
    if json_output:
        print(json.dumps(_without_nan(metrics), ensure_ascii=False))
        return
    rows = [
        [task, name, "undefined" if value != value else f"{value:.4g}"]
        for task, values in metrics.items()
        for name, value in values.items()
    ]
    _print_table(f"{raw.where}: {len(frame)} rows", ["task", "metric", "value"], rows)


@app.command(name="inspect")
def inspect_bundle(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    factory: _FACTORY = None,
    json_output: _JSON = False,
) -> None:
    """Show what a bundle predicts, from which columns, how it was trained and how good it is."""
    from jointrain.bundle import describe_bundle, read_bundle
    from jointrain.tables import TableModel

    if json_output:
        print(json.dumps(describe_bundle(bundle), ensure_ascii=False))
        return
    opened = read_bundle(bundle, factories=_factories(factory))
    described, model = opened.description, opened.model
    metrics = described["metrics"]
    rows = [
        [
            task.name,
            task.kind,
            ", ".join(map(str, task.classes)) or "-",
            ", ".join(
                f"{name} {'undefined' if value is None else format(value, '.4g')}"
                for name, value in metrics.get(task.name, {}).items()
            )
            or "-",
            _calibration_text(model, task.name),
        ]
        for task in model.tasks
    ]
    _print_table("Tasks", ["task", "kind", "classes", "metrics", "calibration"], rows)
    if "metrics" in described["notes"]:
        print(f"Metrics: {described['notes']['metrics']}.\n")
    rows = [[column.name, column.kind, column.dtype] for column in model.columns]
    inputs = len(model.encoder.feature_names)
    _print_table(f"Feature columns ({inputs} inputs)", ["column", "kind", "type"], rows)
    if described["notes"].get("importance"):
        _print_importance(described["notes"]["importance"])
    if isinstance(model, TableModel):
        _print_networks(model)
    else:
        rows = [
            [task.name, *(f"{model.weights[task.name].get(c, 0):.2f}" for c in model.components)]
            for task in model.tasks
        ]
        _print_table("How each task is predicted: weights", ["task", *model.components], rows)
        for name, component in model.components.items():
            if isinstance(component, TableModel):
                print(f"Component {name}\n")
                _print_networks(component)
    packages = ", ".join(f"{name} {number}" for name, number in described["packages"].items())
    print(f"Written by: {packages}")


def _print_networks(model: TableModel) -> None:
    """Print the networks of a recipe's model, and the recipe."""
    rows = []
    for name, parts in _by_task(model.parts).items():
        network = parts[0].network
        shared = sum(p.numel() for p in network.shared_parameters())
        own = sum(p.numel() for p in network.task_parameters(name))
        weight = parts[0].weights.get(name, 1.0)
        kept = _range([part.epochs[1] for part in parts])
        rows.append([name, f"{len(parts)}", f"{shared:,}", f"{own:,}", f"{weight:.3g}", kept])
    headings = [
        "task", "networks", "trunk parameters", "head parameters", "loss weight", "epoch kept"
    ]  # fmt: skip
    _print_table(f"Networks ({len(model.parts)})", headings, rows)
    recipe = {name: value for name, value in model.recipe.to_words().items() if value is not None}
    print("Recipe: " + ", ".join(f"{name} {value}" for name, value in recipe.items()))
    print(f"Seed: {model.seed}")


def _without_bounds(model: TableModel | BlendedModel, coverage: float) -> str:
    """Return the targets whose intervals of a coverage have no end on one side, or on both."""
    residuals = model.calibration.residuals
    return ", ".join(
        name for name, one in residuals.items() if not all(map(math.isfinite, one.bounds(coverage)))
    )


_LATER = (
    "the intervals were measured on the latest rows of the table that the model was fitted to; on "
    "later data their coverage is not promised"
)

_LAST_SECONDS = 5.0
"""What is kept of a budget for column importance, files and pictures."""

_SHOWN_COLUMNS = 30
"""Columns that `inspect` shows the importance of at most."""


def _print_importance(importance: dict[str, Any]) -> None:
    tasks = importance["tasks"]

    def largest(index: int) -> float:
        """Return the largest share of a task's largest increase."""
        shares = [0.0]
        for task in tasks.values():
            most = max((value or 0.0 for value in task["increase"]), default=0.0)
            if most > 0:
                shares.append((task["increase"][index] or 0.0) / most)
        return max(shares)

    order = sorted(range(len(importance["columns"])), key=largest, reverse=True)
    rows = []
    for index in order[:_SHOWN_COLUMNS]:
        column = importance["columns"][index]
        users = [name for name, task in tasks.items() if column in task["used"]]
        figures = [
            "-" if task["increase"][index] is None else f"{task['increase'][index]:.3g}"
            for task in tasks.values()
        ]
        by = "all" if len(users) == len(tasks) > 1 else ", ".join(users) or "none"
        rows.append([column, *figures, by])
    headings = [
        "column",
        *(f"{name} ({task['metric']})" for name, task in tasks.items()),
        "used by",
    ]
    _print_table(
        "Importance: how much worse the metric is when the column's values change places",
        headings,
        rows,
    )


def _calibration_text(model: TableModel | BlendedModel, task: str) -> str:
    calibration = model.calibration
    if task in calibration.temperatures:
        return f"temperature {calibration.temperatures[task]:.3g}"
    if task in calibration.residuals:
        residuals = calibration.residuals[task]
        low, high = residuals.bounds(0.9)
        if residuals.scale == "log":
            low, high = (math.exp(min(end, 700.0)) for end in (low, high))
            return f"90 % within {low:.3g} to {high:.3g} times"
        return f"90 % within {low:+.4g} to {high:+.4g}"
    return "-"


@app.command()
def balancers(json_output: _JSON = False) -> None:
    """List the balancing methods that --balancer takes, with one line each."""
    from jointrain.balancing import BALANCER_NAMES

    listed = _listed(BALANCER_NAMES)
    if json_output:
        print(json.dumps({one.name: one.value.summary() for one in listed}, ensure_ascii=False))
        return
    rows = [
        [one.name, one.value.needs.value, one.value.summary(), one.origin]
        for one in sorted(listed, key=lambda one: one.name)
    ]
    _print_table(f"{len(rows)} balancers", ["name", "needs", "what it does", "from"], rows)


@app.command()
def networks(json_output: _JSON = False) -> None:
    """List the networks that --network takes, with one line each and their settings."""
    from jointrain.networks import NETWORK_NAMES

    common = ("width", "depth", "dropout", "input_dropout", "shared_depth")
    listed = _listed(NETWORK_NAMES)
    options = {
        one.name: {key: value for key, value in one.value.settings.items() if key not in common}
        for one in listed
    }
    if json_output:
        told = {
            one.name: {"summary": one.value.summary, "options": options[one.name]} for one in listed
        }
        print(json.dumps(told, ensure_ascii=False, default=repr))
        return
    rows = []
    for one in listed:
        defaults = [f"{k}={'none' if v is None else v}" for k, v in options[one.name].items()]
        rows.append([one.name, one.value.summary, ", ".join(defaults), one.origin])
    _print_table(f"{len(rows)} networks", ["name", "what it is", "options", "from"], rows)


def _listed(names: Names[_Value]) -> list[Listed[_Value]]:
    """Return what has a name, and say what can't be used."""
    listed, problems = names.listed()
    for problem in problems:
        say(f"note: {problem}")
    return listed


def _factories(paths: list[str] | None) -> dict[str, NetworkFactory]:
    """Return what --factory names, by path and by name."""
    from jointrain.system.own_code import imported

    made = {path: imported(path) for path in paths or ()}
    return made | {path.partition(":")[2]: factory for path, factory in made.items()}


def _bundle_notes(settings: TableSettings, table: SupervisedTable) -> dict[str, Any]:
    """Return what a bundle is to know of the table and its columns."""
    return {
        "id": settings.id,
        "time": settings.time,
        "reading": kept_reading(settings.reading),
        "table": list(table.notes),
    }


def _output_folder(settings: TableSettings) -> Path:
    name = "stdin" if settings.table == "-" else settings.table_name.split(".")[0]
    return settings.out or Path(f"{name}-answer")


def _prepare(settings: TableSettings) -> SupervisedTable:
    """Read the table, infer the tasks and say what was inferred."""
    from jointrain.data import SupervisedTable, read_raw

    table = SupervisedTable.prepare(
        read_raw(settings.table, settings.reading),
        settings.targets,
        kinds=settings.task,
        ignore=settings.ignore,
        id_column=settings.id,
        group_column=settings.group,
        time_column=settings.time,
        rare=settings.rare,
        rare_rows=getattr(settings, "folds", 5),
        duplicates=settings.duplicates,
        reading=settings.reading,
    )
    if not settings.json_output:
        said = settings.task
        for task in table.tasks:
            source = "as said" if task.name in said else "inferred"
            classes = f": {', '.join(map(str, task.classes))}" if task.classes else ""
            say(f"target {task.name}: {task.kind}{classes} ({source})")
        for name, reason in table.dropped.items():
            say(f"note: column {name} is no feature: {reason}")
        if table.unlabelled_rows:
            rows = "row has" if table.unlabelled_rows == 1 else "rows have"
            say(f"note: {table.unlabelled_rows} {rows} no label at all")
        for note in table.notes:
            say(f"note: {note}")
    return table


def _say_unused(model: TableModel | BlendedModel, frame: Any, roles: Sequence[str | None]) -> None:
    """Name the columns of a table that a model has no use for."""
    known = {column.name for column in model.columns} | {task.name for task in model.tasks}
    unused = [name for name in frame.columns if name not in known and name not in roles]
    if unused:
        shown = ", ".join(map(repr, unused[:8]))
        more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
        say(f"note: the model does not use: {shown}{more}")


def _read_as_trained(
    model: TableModel | BlendedModel,
    raw: RawTable,
    options: ReadingOptions,
    others: Sequence[str | None],
) -> pl.DataFrame:
    """Read a table as the model's own was read: its features and the named columns."""
    from jointrain.data import type_raw

    if model.schema is None:
        say(
            "note: an older jointrain wrote this bundle, which did not keep how columns are read; "
            "they are read as this table shows",
        )
        return type_raw(raw, options)
    names = [column.name for column in model.columns]
    schema = model.schema.only([*names, *(name for name in others if name is not None)])
    return type_raw(raw, options, schema)


def _raw(table: str, options: ReadingOptions, notes: Mapping[str, Any]) -> RawTable:
    """Read a table's file as that of training was, where nothing else is said."""
    from jointrain.data import read_raw

    raw = read_raw(table, with_kept_reading(options, notes))
    for note in raw.notes:
        say(f"note: {note}")
    return raw


def _warn_unseen(model: TableModel | BlendedModel, frame: Any) -> None:
    for column, count in model.encoder.unseen(frame).items():
        rows = "row has" if count == 1 else "rows have"
        say(
            f"warning: {count} {rows} a value of {column!r} that was never seen in training",
        )


def _nanmean(values: Any) -> float:
    import numpy as np

    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _without_nan(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        task: {name: None if value != value else value for name, value in values.items()}
        for task, values in metrics.items()
    }


def _console() -> Console:
    console = Console()
    # a pipe has no width of its own, and a table cut at 80 columns would lose its verdicts
    return console if console.is_terminal else Console(width=160)


def _print_table(title: str, headings: list[str], rows: list[list[str]]) -> None:
    print_table(_console(), title, headings, rows)


@contextmanager
def _progress(unit: str) -> Iterator[Callable[[float, int], None]]:
    """Give a function of (done, all) that moves a progress bar on standard error."""
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        line = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def _by_task(parts: Sequence[FittedNetwork]) -> dict[str, list[FittedNetwork]]:
    """Return the networks that predict each task."""
    found: dict[str, list[FittedNetwork]] = {}
    for part in parts:
        for name in part.tasks:
            found.setdefault(name, []).append(part)
    return found


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _fit(table: SupervisedTable, recipe: Recipe, settings: TableSettings) -> TableModel:
    """Train a recipe on all rows, with a progress bar."""
    from jointrain.tables import fit_table
    from jointrain.training.population import fit_together

    with _progress(f"training {recipe.name} on all rows") as advance:
        return fit_table(
            table,
            recipe,
            seed=settings.seed,
            device=settings.device,
            fit_runs=partial(fit_together, progress=advance),
        )


if __name__ == "__main__":
    main()
