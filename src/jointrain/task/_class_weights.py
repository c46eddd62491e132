"""Weights of a task's classes, as they are given: checked, and put in the order of the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from jointrain.errors import InvalidInputError, closest

ClassWeightsOfTask = Literal["balanced"] | Mapping[Any, float] | Sequence[float]
"""``balanced``, weights by class, or one for each class in order."""


def checked_class_weight(label: object, weight: Any, where: str = "") -> float:
    """Return the weight of a class as a number.

    Raises:
        InvalidInputError: It is not a finite number above 0.
    """
    if isinstance(weight, (int, float, np.number)) and 0 < float(weight) < math.inf:
        return float(weight)
    raise InvalidInputError(
        f"the weight of class {label!r}{where} must be a number above 0, got {weight!r}"
    )


def checked_class_weights(
    task: str, classes: Sequence[Any], given: Any
) -> Literal["balanced"] | tuple[float, ...]:
    """Return ``balanced``, or the weight of each class in order; a class not named has 1.

    Args:
        task: Its name, for the errors.
        classes: Its classes; empty where its kind has none.
        given: As `ClassWeightsOfTask`, or an array.

    Raises:
        InvalidInputError: The task has no classes, a name is none of them, there are more or fewer
            weights than classes, or a weight is not a finite number above 0.
    """
    if not classes:
        raise InvalidInputError(
            f"task {task!r} has no classes that could weigh; leave class_weights out"
        )
    if isinstance(given, str):
        if given == "balanced":
            return "balanced"
    elif isinstance(given, Mapping):
        texts = [str(label) for label in classes]
        for label in given:
            if str(label) not in texts:
                raise InvalidInputError(
                    f"class weights of task {task!r} name {label!r}, which is none of its classes "
                    f"{', '.join(texts)}{closest(str(label), texts)}"
                )
        by_text = {str(label): weight for label, weight in given.items()}
        given = [by_text.get(text, 1.0) for text in texts]
    elif isinstance(given, (np.ndarray, Tensor)):
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InvalidInputError(
            f"class weights of task {task!r} must be 'balanced', a number for each class, or "
            f"numbers by class, got {given!r}"
        )
    if len(given) != len(classes):
        raise InvalidInputError(
            f"task {task!r} has {len(classes)} classes but {len(given)} class weights; give one "
            "for each class, in their order, or name the classes"
        )
    where = f" of task {task!r}"
    return tuple(checked_class_weight(*one, where) for one in zip(classes, given, strict=True))
