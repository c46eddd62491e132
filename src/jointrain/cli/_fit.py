"""`jointrain fit`: one model for all targets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from jointrain.cli._after_saving import add_importance, print_use
from jointrain.cli._fit_checkpoints import FitCheckpoints, check_checkpoints
from jointrain.cli._flags import flags_of
from jointrain.cli._live import live_view
from jointrain.cli._printing import by_task, print_json, print_line, print_rows, range_text
from jointrain.cli._ranks import is_first_rank, started_by_torchrun
from jointrain.cli._settings import FitSettings
from jointrain.cli._streamed_fit import add_streamed_importance, fit_rows, prepare_streamed
from jointrain.cli._table_opening import bundle_notes, output_folder, prepare_table
from jointrain.system.output_folder import check_new_folder, write_new_folder
from jointrain.system.quick_imports import quick_imports
from jointrain.system.terminal_streams import printing

if TYPE_CHECKING:
    from jointrain.cli._logs import Logs
    from jointrain.data import SupervisedTable
    from jointrain.experiments import Recipe
    from jointrain.tables import TableModel
    from jointrain.training import Run


@flags_of(FitSettings)
def fit(settings: FitSettings) -> None:
    """Fit one model for all targets and save it as a bundle.

    Under torchrun all processes train it together: torchrun -m jointrain fit ...
    """
    with quick_imports():
        from jointrain.bundle import check_savable, write_bundle
        from jointrain.data import is_streamed
        from jointrain.training import resolve_device

    out = output_folder(settings)
    if is_first_rank():
        check_new_folder(out, force=settings.force)
        check_checkpoints(
            settings.checkpoints, every=settings.checkpoint_every, resume=settings.resume
        )
    resolve_device(settings.device)
    logs = None
    if is_first_rank():
        logs = settings.opened_logs(out.name, resumed=settings.resume)
    recipe = settings.recipe(settings.schedule)
    streamed = None
    if is_streamed(settings.table):
        streamed = prepare_streamed(settings, recipe)
        table, rows = streamed.sample, streamed.files.rows
        model = fit_rows(streamed, recipe, settings, logs)
    else:
        table = prepare_table(settings)
        check_savable(table)
        model, rows = _fit(table, recipe, settings, logs), len(table.frame)
    if not is_first_rank():
        return
    out = write_new_folder(
        out,
        lambda folder: write_bundle(model, folder, notes=bundle_notes(settings, table, model)),
        force=settings.force,
        elsewhere=True,
    )
    if streamed is None:
        add_importance(model, table, out)
    else:
        add_streamed_importance(model, streamed, out)
    with printing(saved=out):
        _print_answer(model, table, rows, out, settings)


def _print_answer(
    model: TableModel, table: SupervisedTable, count: int, out: Path, settings: FitSettings
) -> None:
    validation = model.validation
    if settings.json_output:
        answer = {"out": str(out), "validation_loss": validation, "notes": table.notes}
        print_json(answer)
        return
    rows = []
    for name, parts in by_task(model.parts).items():
        made, kept = zip(*(part.epochs for part in parts), strict=True)
        loss = f"{validation.get(name, float('nan')):.4g}"
        rows.append([name, f"{len(parts)}", range_text(made), range_text(kept), loss])
    headings = ["task", "networks", "epochs", "epoch kept", "validation loss"]
    print_rows(f"{model.recipe.name}: {count} rows", headings, rows)
    print_line(f"Saved: {out}")
    print_use(model, out)


def _fit(
    table: SupervisedTable, recipe: Recipe, settings: FitSettings, logs: Logs | None
) -> TableModel:
    """Train a recipe on all rows, with a view of it, and checkpoints where they are wanted."""
    from jointrain.tables import fit_table, table_digest
    from jointrain.training.population import fit_together

    kept: FitCheckpoints | None = None
    with ExitStack() as held:
        if settings.checkpoints is not None:
            digest = table_digest(table)
            kept = FitCheckpoints(settings.checkpoints, digest, recipe, settings)
            held.enter_context(kept.told_when_stopped())
        view = held.enter_context(live_view(f"training {recipe.name} on all rows"))

        def fit_runs(runs: Sequence[Run]) -> None:
            if kept is not None:
                kept.give(runs)
            later = [] if logs is None else logs.attach(runs)
            fit_together(runs, progress=view)
            if logs is not None:
                logs.replay(later)

        return fit_table(
            table,
            recipe,
            seed=settings.seed,
            device=settings.device,
            fit_runs=fit_runs,
            strategy="ddp" if started_by_torchrun() else None,
        )
