"""`jointrain compare MODULE:NAME`: recipes on an experiment of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._after_saving import skippable
from jointrain.cli._experiment_settings import ExperimentCompareSettings
from jointrain.cli._printing import console_of_output
from jointrain.errors import InvalidInputError
from jointrain.system.output_folder import ANSWER, check_new_folder, write_new_folder
from jointrain.system.terminal_streams import printing, say

if TYPE_CHECKING:
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


def save_experiment_answer(result: StudyResult, settings: ExperimentCompareSettings) -> Path:
    """Train the chosen recipe on all rows, and write it and the figures of all runs."""
    from jointrain.bundle import write_bundle
    from jointrain.experiments import Experiment
    from jointrain.reports import result_to_json
    from jointrain.studies import fit_chosen

    model = None
    if isinstance(result.study.experiment, Experiment):
        with skippable("the model"):
            model = fit_chosen(result)

    def write(folder: Path) -> None:
        result.table.write_parquet(folder / "results.parquet")
        answer = json.dumps(result_to_json(result), indent=1, ensure_ascii=False)
        (folder / ANSWER).write_text(answer + "\n", encoding="utf-8")
        if model is None:
            return
        bundle = folder / "bundle"
        bundle.mkdir()
        try:
            write_bundle(model, bundle, notes={"experiment": settings.table})
        except InvalidInputError as error:
            shutil.rmtree(bundle)
            say(f"note: the model is not saved: {error}")

    out = settings.out or settings.default_folder
    return write_new_folder(out, write, force=settings.force, elsewhere=True)


def print_experiment_answer(
    result: StudyResult, settings: ExperimentCompareSettings, out: Path
) -> None:
    """Print the result, and where the model is."""
    from jointrain.bundle import describe_bundle
    from jointrain.reports import print_result, result_to_json

    bundle = out / "bundle"
    with printing(saved=out):
        if settings.json_output:
            print(json.dumps({**result_to_json(result), "out": str(out)}, ensure_ascii=False))
            return
        print_result(result, console_of_output())
        saved = [path.name for path in out.iterdir() if path.is_file()]
        model = " and bundle, the model" if bundle.exists() else ""
        print(f"\nSaved: {out} ({', '.join(sorted(saved))}{model})")
        if bundle.exists():
            path = describe_bundle(bundle)["factory"]["path"]
            print(f"Load with: jointrain.load_bundle({str(bundle)!r}, factories={{{path!r}: ...}})")
