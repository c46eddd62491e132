"""The baselines by name: those of this folder, of installed packages, and of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jointrain.baselines._baseline import Baseline, JointBaseline, TargetBaseline
from jointrain.baselines._estimator import EstimatorBaseline, is_estimator
from jointrain.errors import InvalidInputError
from jointrain.system.folder_classes import classes_of
from jointrain.system.own_code import imported, one_line, path_of
from jointrain.system.plug_ins import Names
from jointrain.task import Task

AnyBaseline = str | Baseline | type[Baseline] | Callable[[], Any] | Any
"""What `as_baseline` takes: a name, a baseline, an estimator, or what makes one of the two."""

CONSTANT = "constant"

FIRST_BASELINES = (CONSTANT, "linear", "extra trees")
"""What a study runs by default."""

_FOUND = classes_of(
    "jointrain.baselines",
    [str(Path(__file__).parent)],
    Baseline,
    without=("_names", "_baseline_model", "_estimator", "_pretrained"),
)
BASELINES: dict[str, Baseline] = {
    cls.name: cls()
    for cls in sorted(_FOUND.values(), key=lambda cls: (cls.name != CONSTANT, cls.name))
}
"""The project's own; some need a package, see `Baseline.check_ready`."""

JOINT = {name: one.alone for name, one in BASELINES.items() if one.alone is not None}
"""The baseline of each target alone, by the name of the one of all targets."""


def as_baseline(given: AnyBaseline, called: str | None = None) -> Baseline:
    """Return a baseline of anything that stands for one.

    Args:
        given: The name of one; ``module:name``, which is imported; a baseline or its class; an
            estimator with the interface of scikit-learn or its class; a function that returns a
            baseline or an estimator.
        called: What messages call it; default by what was given.

    Raises:
        InvalidInputError: It is none of these, can't be imported, or can't be made.
    """
    if isinstance(given, str):
        return _of_path(given) if ":" in given else BASELINE_NAMES.get(given)
    called = called or _called(given)
    made = given
    if not (isinstance(given, Baseline) or is_estimator(given)) and callable(given):
        try:
            made = given()
        except Exception as error:  # foreign code may raise anything
            raise InvalidInputError(
                f"baseline {called!r} can't be made without arguments: {one_line(error)}; give "
                "one that is made"
            ) from error
    if is_estimator(made) and not isinstance(made, Baseline):
        made = EstimatorBaseline.of(made)
    if not isinstance(made, (TargetBaseline, JointBaseline)):
        raise InvalidInputError(
            f"{called!r} is no baseline: it must be a TargetBaseline, a JointBaseline, an "
            f"estimator with fit and predict, or what makes one of them, got {made!r}"
        )
    if not hasattr(made, "name"):
        made = made.renamed(type(made).__name__)
    guarded = made.guarded_by() if isinstance(made, EstimatorBaseline) else None
    if guarded is not None:
        raise InvalidInputError(
            f"baseline {called!r} may download weights; give the name {guarded!r}, which takes "
            "them from this disk alone"
        )
    return made


def _called(given: object) -> str:
    return getattr(given, "name", "") if isinstance(given, Baseline) else path_of(given)


def _of_path(path: str) -> Baseline:
    """Return the baseline of a path; a name without its ending stands for both estimators.

    ``sklearn.ensemble:ExtraTrees`` is ``ExtraTreesRegressor`` for numbers and
    ``ExtraTreesClassifier`` for classes.
    """
    try:
        return as_baseline(imported(path), path)
    except InvalidInputError as error:
        try:
            pair = [imported(path + ending) for ending in ("Regressor", "Classifier")]
        except InvalidInputError:
            raise error from None
    regressor, classifier = (as_baseline(one, path) for one in pair)
    return EstimatorBaseline(
        getattr(regressor, "regressor", None),
        getattr(classifier, "classifier", None),
        re.split("[.:]", path)[-1],
    )


def _of_package(name: str, given: object) -> Baseline:
    """Return the baseline of an entry point, called by its name."""
    return as_baseline(given, name).renamed(name)


BASELINE_NAMES = Names("baseline", BASELINES, _of_package)
"""Baselines by name; packages add theirs by the entry point ``jointrain.baselines``."""


def stored_name(baseline: Baseline) -> str:
    """Return what files call a baseline: its name if that finds it again, else its path."""
    name = baseline.name
    if name in BASELINES:
        found: Baseline | None = BASELINES[name]
    else:
        found = BASELINE_NAMES.get(name) if name in BASELINE_NAMES else None
    return name if type(found) is type(baseline) else path_of(baseline)


def check_predicts(baseline: Baseline, tasks: Sequence[Task]) -> None:
    """Refuse a baseline that can't predict the tasks, or whose package is missing.

    Raises:
        InvalidInputError: It predicts no such tasks, or the tasks are not of one kind, as a joint
            forest needs it.
        MissingDependencyError: What it needs is not installed.
    """
    reason = baseline.why_not(tasks)
    if reason is not None:
        instead = "" if baseline.alone is None else f"; use {baseline.alone!r}"
        together = " together" if isinstance(baseline, JointBaseline) else ""
        raise InvalidInputError(
            f"baseline {baseline.name!r} can't predict these targets{together}: {reason}{instead}"
        )
    baseline.check_ready(tasks)
