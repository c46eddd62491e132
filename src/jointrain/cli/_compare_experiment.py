"""`jointrain compare MODULE:NAME`: recipes on an experiment of one's own."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._experiment_settings import ExperimentCompareSettings
from jointrain.cli._printing import console_of_output, print_json, print_line
from jointrain.errors import InvalidInputError, JointrainError
from jointrain.system.output_file import write_text
from jointrain.system.output_folder import ANSWER, check_new_folder, write_new_folder
from jointrain.system.own_code import one_line
from jointrain.system.terminal_streams import printing, say

if TYPE_CHECKING:
    from jointrain.experiments import AnyExperiment
    from jointrain.studies import Study, StudyResult


def prepare_experiment_study(settings: ExperimentCompareSettings) -> Study:
    """Import the experiment, and return the study of it that the settings describe."""
    from jointrain.studies import Study

    experiment, named = settings.opened()
    check_new_folder(settings.out or settings.default_folder, force=settings.force)
    said = settings.model_fields_set

    def told(name: str) -> Any:
        """Return a setting: of the command line, else of the study that is named."""
        return getattr(settings if named is None or name in said else named, name)

    return Study(
        experiment,
        settings.recipes_for(experiment, named),
        seeds=told("seeds"),
        seed=told("seed"),
        margin=told("margin"),
    )


@dataclass(frozen=True)
class SavedAnswer:
    """What was written of a study of one's own experiment.

    Args:
        out: The folder.
        no_bundle: Why there is no bundle in it; None if there is one.
    """

    out: Path
    no_bundle: str | None

    def to_json(self) -> dict[str, str | None]:
        """Return where the bundle is, or why there is none."""
        bundle = str(self.out / "bundle") if self.no_bundle is None else None
        return {"out": str(self.out), "bundle": bundle, "no_bundle": self.no_bundle}


def save_experiment_answer(
    result: StudyResult,
    settings: ExperimentCompareSettings,
    experiment: AnyExperiment,
    *,
    executor: Executor | None = None,
    seconds: float | None = None,
    until: float | None = None,
) -> SavedAnswer:
    """Train the chosen recipe on all rows, and write it and the figures of all runs.

    Args:
        result: What was measured.
        settings: Where to write.
        experiment: What was asked about; with a budget the study may have had a sample of its rows.
        executor: Trains it in place of this process.
        seconds: What training may take; default as long as it takes.
        until: `time.monotonic()` at which it is ended; default never.
    """
    from jointrain.bundle import write_bundle
    from jointrain.experiments import Experiment
    from jointrain.reports import result_to_json
    from jointrain.studies import fit_chosen, write_runs

    out = settings.out or settings.default_folder
    model, why = None, None
    if not isinstance(result.study.experiment, Experiment):
        why = "a loop of one's own keeps its models itself"
    else:
        try:
            model = fit_chosen(
                result,
                experiment=experiment,
                executor=executor,
                seconds=seconds,
                until=until,
                on_cut=lambda text: say(f"note: {text}"),
            )
        except KeyboardInterrupt:
            why = "stopped"
        except Exception as error:  # any fault at all would lose the figures
            why = str(error) if isinstance(error, JointrainError) else one_line(error)
        if why is not None:
            say(f"note: the model is not saved: {why}")
    saved = SavedAnswer(out, why)

    def write(folder: Path) -> None:
        nonlocal saved
        write_runs(result.table, result.study.tasks, folder / "results.parquet")
        if model is not None:
            bundle = folder / "bundle"
            bundle.mkdir()
            try:
                write_bundle(model, bundle, notes={"experiment": settings.table})
            except InvalidInputError as error:
                shutil.rmtree(bundle)
                say(f"note: the model is not saved: {error}")
                saved = SavedAnswer(out, str(error))
        answer = result_to_json(result) | saved.to_json()
        text = json.dumps(answer, indent=1, ensure_ascii=False)
        write_text(folder / ANSWER, text + "\n")

    write_new_folder(out, write, force=settings.force, elsewhere=True)
    return saved


def print_experiment_answer(
    result: StudyResult, settings: ExperimentCompareSettings, saved: SavedAnswer
) -> None:
    """Print the result, and where the model is."""
    from jointrain.bundle import describe_bundle
    from jointrain.reports import print_result, result_to_json

    out = saved.out
    bundle = out / "bundle"
    with printing(saved=out):
        if settings.json_output:
            print_json(result_to_json(result) | saved.to_json())
            return
        print_result(result, console_of_output())
        names = [path.name for path in out.iterdir() if path.is_file()]
        model = " and bundle, the model" if saved.no_bundle is None else ""
        print_line(f"\nSaved: {out} ({', '.join(sorted(names))}{model})")
        if saved.no_bundle is None:
            path = describe_bundle(bundle)["factory"]["path"]
            print_line(
                f"Load with: jointrain.load_bundle({str(bundle)!r}, factories={{{path!r}: ...}})"
            )
