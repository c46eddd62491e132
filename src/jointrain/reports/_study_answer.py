"""The answer of a study: what its decision and its circumstances are, and what is known so far."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl

from jointrain.experiments import SEPARATE
from jointrain.reports._answer import answer_sentences
from jointrain.reports._circumstances import Circumstances
from jointrain.reports._words import better_or_worse
from jointrain.studies import SHIPPED, StudyResult, together_of
from jointrain.tables import TableExperiment
from jointrain.task import labels_of
from jointrain.training.sampling import Alternating, Separate


def answer(
    result: StudyResult, *, written: bool = False, weights_in: str = "result.blends"
) -> list[str]:
    """Return what a study says, in at most four sentences: first what to do.

    Args:
        result: What was measured.
        written: Whether the files of the command line are written, where more can be read; default
            in `result` alone.
        weights_in: Where the weights of the saved model can be read, if not in those files.
    """
    said = circumstances_of(result)
    if not written:
        said = replace(said, weights_in=weights_in)
    return answer_sentences(result.decision, said)


def interim_answer(result: StudyResult, planned: int | None = None) -> str:
    """Return the figures of a study that goes on, in one sentence without a verdict.

    Args:
        result: What was measured so far.
        planned: How many folds x seeds are to be measured; None if that is still open.
    """
    together = together_of(result)
    names = [SEPARATE] if together is None else [SEPARATE, together]
    measured = [
        set(result.table.filter(pl.col("recipe") == name).select("seed", "fold").unique().rows())
        for name in names
    ]
    done = len(set.intersection(*measured))
    of = "" if planned is None else f" of {planned}"
    so_far = f"So far ({done}{of} fold{'s' if (planned or done) != 1 else ''})"
    what = "recipes" if planned is not None and done >= planned else "folds"
    until = f"no verdict before all {what} are in"
    if not done or together is None:
        return f"{so_far}: {until}."
    change = result.overall(together, SEPARATE)
    if not math.isfinite(change.change):
        return f"{so_far}: the change can't be computed yet; {until}."
    figure = better_or_worse(replace(change, low=math.nan, high=math.nan))
    way = ways_of(result)[together]
    these = "this fold" if done == 1 else "these folds"
    return f"{so_far}: {way} {figure} on {these}; {until}."


def circumstances_of(result: StudyResult) -> Circumstances:
    """Return what an answer says beside the decision."""
    study = result.study
    saved = bool(result.ships)
    return Circumstances(
        tuple(task.name for task in study.tasks),
        study.experiment.row_count,
        study.seeds if study.experiment.fixed_test else result.folds_done,
        study.seeds,
        ways_of(result),
        together=together_of(result) or SEPARATE,
        blends={task: blend.weights for task, blend in result.blends.items()} if saved else None,
        saved_change=(lambda name: result.overall(SHIPPED, name)) if saved else None,
        scarce=_scarce(result),
        cut_by_budget=bool(result.cuts),
        sampled=result.sampled,
        cut_short=result.cut_short,
        networks_alone=result.trained is not None and not result.cut_short,
        fixed_test=study.experiment.fixed_test,
        chosen=result.chosen_by_validation,
        single=result.single,
        own_splits=not isinstance(study.experiment, TableExperiment),
        unsaved=tuple(one.name for one in study.baselines if not one.saved),
    )


def ways_of(result: StudyResult) -> dict[str, str]:
    """Return how each recipe trains, in words."""
    together = together_of(result)
    alternating = [
        recipe.name for recipe in result.study.recipes if isinstance(recipe.schedule, Alternating)
    ]
    ways = {}
    for recipe in result.study.recipes:
        if isinstance(recipe.schedule, Separate):
            ways[recipe.name] = "apart"
        elif recipe.name == together and recipe.name not in alternating:
            ways[recipe.name] = "together"
        elif alternating == [recipe.name] or recipe.name == "alternating":
            ways[recipe.name] = "in alternation"
        else:
            ways[recipe.name] = f"by recipe {recipe.name}"
    return ways


def _scarce(result: StudyResult) -> dict[str, str]:
    """Return, of tasks whose metric is undefined in some folds, how rare their rarest class is."""
    experiment = result.study.experiment
    if not isinstance(experiment, TableExperiment):
        return {}
    table, found = experiment.table, {}
    unscored = set(result.decision.unscored)
    for index, task in enumerate(table.tasks):
        if task.name not in unscored or not task.has_classes:
            continue
        labels = labels_of(table.labels(), table.tasks)[index]
        counts = [int((labels == position).sum()) for position in range(len(task.classes))]
        rarest = int(np.argmin(counts))
        words = f"{counts[rarest]} row{'s' * (counts[rarest] != 1)} of {task.classes[rarest]!r}"
        if table.groups is not None:
            groups = len(np.unique(table.groups[labels == rarest]))
            words += f", in {groups} group{'s' if groups != 1 else ''}"
        found[task.name] = words
    return found
