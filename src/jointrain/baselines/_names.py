"""The baselines by name: those of this folder, of installed packages, and of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jointrain.baselines._baseline import Baseline, JointBaseline, TargetBaseline
from jointrain.errors import InvalidInputError
from jointrain.system.folder_classes import classes_of
from jointrain.system.own_code import imported
from jointrain.system.plug_ins import Names
from jointrain.task import Task

CONSTANT = "constant"

FIRST_BASELINES = (CONSTANT, "linear", "extra trees")
"""What a study runs by default."""

_FOUND = classes_of(
    "jointrain.baselines",
    [str(Path(__file__).parent)],
    Baseline,
    without=("_names", "_baseline_model"),
)
BASELINES: dict[str, Baseline] = {
    cls.name: cls()
    for cls in sorted(_FOUND.values(), key=lambda cls: (cls.name != CONSTANT, cls.name))
}
"""The project's own; ``catboost`` and ``lightgbm`` need the packages of these names."""

JOINT = {name: one.alone for name, one in BASELINES.items() if one.alone is not None}
"""The baseline of each target alone, by the name of the one of all targets."""


def as_baseline(name: str, given: object) -> Baseline:
    """Return a baseline, or one of a class, as it is.

    Raises:
        InvalidInputError: It is none.
    """
    made = given() if isinstance(given, type) and issubclass(given, Baseline) else given
    if not isinstance(made, (TargetBaseline, JointBaseline)):
        raise InvalidInputError(
            f"{name!r} must be a TargetBaseline or a JointBaseline, or the class of one, got "
            f"{given!r}"
        )
    return made


BASELINE_NAMES = Names("baseline", BASELINES, as_baseline)
"""Baselines by name; packages add theirs by the entry point ``jointrain.baselines``."""


def find_baseline(name: str) -> Baseline:
    """Return the baseline of a name, or of ``module:name``, which is imported.

    Raises:
        InvalidInputError: There is none.
    """
    if ":" in name:
        return as_baseline(name, imported(name))
    return BASELINE_NAMES.get(name)


def check_predicts(name: str, tasks: Sequence[Task]) -> None:
    """Refuse a baseline that there is not, or that can't predict the tasks.

    Raises:
        InvalidInputError: There is no such baseline, or the tasks are not of one kind, as a joint
            forest needs it.
    """
    baseline = find_baseline(name)
    reason = baseline.why_not(tasks)
    if reason is not None:
        instead = "" if baseline.alone is None else f"; use {baseline.alone!r}"
        raise InvalidInputError(
            f"baseline {name!r} can't predict these targets together: {reason}{instead}"
        )


def is_joint(name: str) -> bool:
    """Return whether a baseline has one model of all targets."""
    return isinstance(find_baseline(name), JointBaseline)
