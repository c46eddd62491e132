"""TaskKind: all that depends on what a target is, and what kinds of numbers and classes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric
from jointrain.task._offered_metrics import OfferedMetric

if TYPE_CHECKING:
    from jointrain.task._stacked_loss import StackedLoss

Label = str | int | float | bool
Classes = tuple[Label, ...]

IGNORED = -100
"""The integer that marks a missing label in targets that hold class indices."""

SMALLEST_PROBABILITY = 1e-6
"""What a component of a blend gives to a class at least."""


class DescribedTask(Protocol):
    """What a kind needs to know of its task."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def classes(self) -> Classes:
        """Its classes in order; empty if it has none."""
        ...

    @property
    def size(self) -> int | None:
        """Width of the head's output, as given."""
        ...

    @property
    def output_size(self) -> int:
        """Width of the head's output."""
        ...


class TaskKind(ABC):
    """What a task of one kind is: its loss, its predictions, and what tables make of them.

    A kind is one file that derives from this class, `NumberKind` or `ClassKind`, and one line in
    `KINDS`.

    Args:
        task: The task that it is the kind of; its classes and its size are known.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """What is predicted, in a few words."""
    has_classes: ClassVar[bool] = False
    """Whether each row's target is one class."""
    in_tables: ClassVar[bool] = False
    """Whether a column of a table can be such a target."""
    outputs_are_logits: ClassVar[bool] = False
    """Whether outputs that are divided by a temperature are those of softer probabilities."""
    any_label_counts: ClassVar[bool] = False
    """Whether a row with some of its labels is a labelled row; else it needs all."""
    more_metrics: ClassVar[tuple[OfferedMetric, ...]] = ()
    """Metrics beside `default_metrics` that a task can be judged by, see `Task.judged_by`."""
    stacked_loss: StackedLoss | None = None
    """The loss of many networks at once; None where they are trained one by one."""

    def __init__(self, task: DescribedTask) -> None:
        self.task = task

    # --- what a task may be -----------------------------------------------------------------------

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:  # noqa: ARG003
        """Return the classes of a task; a kind without classes has none.

        Raises:
            InvalidInputError: The classes do not fit the kind.
        """
        if classes:
            raise InvalidInputError(f"{cls.name} task {name!r} can't have classes")
        return ()

    @classmethod
    def default_size(cls, classes: Classes) -> int:
        """Return the width of a head's output."""
        return len(classes) or 1

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return what is reported; the first is what verdicts are about."""
        return ()

    # --- tensors ----------------------------------------------------------------------------------

    def values_per_row(self, shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return how many values a row's target holds, by the shape of the target.

        Raises:
            InvalidInputError: It can't be a target of the kind.
        """
        return self.task.output_size

    def output_width(self, output: Tensor) -> int:
        """Return what has to be `Task.output_size`, of an output of one row."""
        return output.numel()

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:  # noqa: ARG002
        """Return which labels that are there the loss can't take, and what they must be."""
        return None

    def wrong_rows(self, target: Tensor) -> tuple[Tensor, str] | None:  # noqa: ARG002
        """Return which rows, of those with a label, [n], the loss can't take, and what must be.

        Shape:
            target: [n, m], all values there.
        """
        return None

    @abstractmethod
    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return one loss per row, [b]; rows without a label give an arbitrary finite value.

        Shape:
            output: [b, o], or [b, s, c] of sequences. target: [b] or [b, ...].
        """

    def predict(self, output: Tensor) -> Tensor:
        """Turn a head's output into values or probabilities."""
        return output

    def standard_target(self, target: Tensor) -> Tensor:
        """Return a target in the one form that metrics take."""
        return target

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the output whose prediction is the mean of several predictions.

        Shape:
            outputs: [b, k, o]. returns: [b, o].
        """
        return outputs.mean(1)

    def can_be_columns(self) -> bool:
        """Whether `column_losses` computes tasks of this kind side by side."""
        return False

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return the losses of tasks of this kind, 0 where a label is missing, [b, n].

        Shape:
            outputs: [b, n, o]. target, missing: [b, n].
        """
        raise NotImplementedError

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return predictions or targets of batches as one tensor."""
        return torch.cat(list(parts))

    # --- tables -----------------------------------------------------------------------------------

    def in_words(self) -> str:
        """Return the kind as reports say it."""
        return self.name


class TableTaskKind(TaskKind):
    """What a column of a table can be a target of.

    Predictions are arrays: [n], or [n, c] with probabilities of classes.
    """

    in_tables = True
    blended_by: ClassVar[Literal["errors", "probabilities"]]
    """Whether the weights of a blend have the lowest squared error or the lowest log-loss."""
    objective: ClassVar[Literal["squared", "poisson", "classes"]]
    """What a model that is no network is fitted by, see `jointrain.baselines`."""
    said_as_classes: ClassVar[bool] = False
    """Whether text in a column that is said to be of this kind is classes, never numbers."""
    takes_order: ClassVar[bool] = False
    """Whether the user may name all classes in their order, as ``kind:first:second``."""

    def prediction_shape(self) -> tuple[int, ...]:
        """Return the shape of a row's prediction, () or (c,)."""
        return ()

    def check_labels(self, labels: np.ndarray) -> None:
        """Refuse labels of a column that the kind can't have; the row (from 1) is named.

        Shape:
            labels: [n], NaN where one is missing.

        Raises:
            InvalidInputError: A label does not fit.
        """

    def note(self) -> str | None:
        """Return what the user may want to know of the classes, None for nothing."""
        return None

    def scaling(
        self,
        labels: np.ndarray,  # noqa: ARG002
        weights: np.ndarray | None = None,  # noqa: ARG002
    ) -> tuple[float, float] | None:
        """Return what is subtracted from labels, [n], and what they are then divided by.

        None if networks are trained on the labels as they are. Rows count by their weights, [n].
        """
        return None

    def training_target(self, labels: np.ndarray, scaling: tuple[float, float]) -> np.ndarray:
        """Return what networks are trained on, [n, ...], by labels, [n], and their scaling."""
        mean, deviation = scaling
        return np.asarray((labels - mean) / deviation)

    @abstractmethod
    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return what a constant predicts by labels and weights, [n]: [1], or [c] of classes."""

    @abstractmethod
    def constants_without(
        self, labels: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return what a constant predicts of each row by the labels of all the others.

        Shape:
            labels: [n], NaN where one is missing. rows: [m]. weights: [n]. returns: [m, 1], or
            [m, c].
        """

    @abstractmethod
    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return values, [n, 1], or probabilities of all classes, [n, c], as predictions."""

    @abstractmethod
    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the loss of each row, [n], by which blends are chosen."""

    def deciding(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows that the first metric hangs on, [n] of bool."""
        return np.asarray(np.isfinite(labels))

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with a constant that was read, None if it may be one."""
        return None if constant.shape == (1,) else "has another length"


class NumberKind(TableTaskKind):
    """Kinds whose target is a number, and whose prediction is its mean."""

    blended_by = "errors"

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the target as a vector."""
        return as_vector(target)

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the mean, [1]."""
        if weights is not None:
            return np.array([float(np.average(labels.astype(np.float64), weights=weights))])
        return np.array([float(labels.mean(dtype=np.float64))])

    def constants_without(
        self, labels: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the mean of the others, [m, 1]."""
        known = np.isfinite(labels)
        counted = np.where(known, of_mean_one(weights, known), 0.0)
        own = counted[rows]
        others = counted.sum() - own
        total = (counted[known] * labels[known]).sum()
        left = (total - own * np.nan_to_num(labels[rows])) / np.where(others > 1e-9, others, 1.0)
        return np.asarray(left[:, None])

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the only column."""
        return np.asarray(values[:, 0])


class ClassKind(TableTaskKind):
    """Kinds whose target is one class of several, and whose prediction is their probabilities."""

    has_classes = True
    blended_by = "probabilities"
    objective = "classes"
    said_as_classes = True
    most_classes: ClassVar[int | None] = None
    """How many classes a target of this kind may have."""
    rare_classes_merge: ClassVar[bool] = False
    """Whether rare classes can become one class."""
    whole_numbers: ClassVar[bool] = False
    """Whether numbers that are classes have no fraction."""

    @classmethod
    def ordered(cls, name: str, classes: Classes) -> Classes:  # noqa: ARG003
        """Return the classes of a column, which are sorted, in the order that tasks have them.

        Raises:
            InvalidInputError: Their order is not known.
        """
        return classes

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return the classes, or the numbers below `size`."""
        classes = classes or tuple(range(size or 0))
        if not classes:
            raise InvalidInputError(
                f"{cls.name} task {name!r} needs its classes (or size=their number)"
            )
        return classes

    def values_per_row(self, shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return 1: the index of the class."""
        return 1

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no index of a class."""
        count = len(self.task.classes)
        wrong = (present < 0) | (present >= count) | (present != present.floor())
        return wrong, f"class indices from 0 to {count - 1}"

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the target as a vector."""
        return as_vector(target)

    def in_words(self) -> str:
        """Return the kind and the number of classes."""
        return f"{self.name} of {len(self.task.classes)} classes"

    def prediction_shape(self) -> tuple[int, ...]:
        """Return a place for the probability of each class."""
        return (len(self.task.classes),)

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the shares of the classes, [c], each counted once more than it occurs."""
        # add-one smoothing, so that a class absent from the rows does not cost infinite loss
        counted = of_mean_one(weights, np.ones(len(labels), dtype=bool))
        count = len(self.task.classes)
        counts = np.bincount(labels.astype(np.int64), counted, minlength=count) + 1.0
        return np.asarray(counts / counts.sum())

    def constants_without(
        self, labels: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the shares among the others, [m, c]."""
        count = len(self.task.classes)
        known = np.isfinite(labels)
        counted = of_mean_one(weights, known)
        hit = labels[rows, None] == np.arange(count)
        counts = np.bincount(labels[known].astype(np.int64), counted[known], minlength=count) + 1.0
        left = counts - hit * counted[rows, None]
        return np.asarray(left / left.sum(1, keepdims=True))

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities of all classes as they are."""
        return values

    def probabilities(self, prediction: np.ndarray) -> np.ndarray:
        """Return the probability of each class, [n, c], of predictions."""
        return prediction

    def chosen(self, prediction: np.ndarray) -> np.ndarray:
        """Return the index of the class that is predicted, [n]: the most probable one."""
        return np.asarray(self.probabilities(prediction).argmax(1))

    def chances(self, stacked: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the probability that each component gave to the class that it was, [n, k].

        Shape:
            stacked: [n, k] or [n, k, c]. labels: [n].
        """
        index = labels.astype(np.int64)[:, None, None]
        given = np.take_along_axis(stacked, index, axis=2)[:, :, 0]
        return np.asarray(np.clip(given, SMALLEST_PROBABILITY, 1.0))

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the negative log-probabilities."""
        return np.asarray(-np.log(self.chances(prediction[:, None], labels)[:, 0]))

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with shares."""
        if constant.shape != (len(self.task.classes),):
            return "has another length"
        if constant.min() < 0 or abs(constant.sum() - 1) > 1e-6:
            return "has shares that do not sum to 1"
        return None


def check_fixed_size(kind: str, name: str, size: int | None, needed: int) -> None:
    """Refuse a size of the head's output that the kind does not have.

    Raises:
        InvalidInputError: It is another number.
    """
    if size not in (None, needed):
        raise InvalidInputError(
            f"{kind} task {name!r} has {needed} outputs, not {size}; leave size out"
        )


def of_mean_one(weights: np.ndarray | None, counted: np.ndarray) -> np.ndarray:
    """Return weights, [n], over their mean over the rows that count, [n] of bool; 1 for None."""
    if weights is None:
        return np.ones(len(counted))
    largest = weights[counted].max(initial=0.0)
    if not largest > 0:
        return np.ones(len(counted))
    # by the largest first: a sum of huge weights is infinite
    scaled = weights / largest
    return np.asarray(scaled / scaled[counted].mean())


def present_labels(target: Tensor) -> Tensor:
    """Return which labels are there, of the shape of the target."""
    return ~target.isnan() if target.is_floating_point() else target != IGNORED


def filled_labels(target: Tensor) -> Tensor:
    """Put 0 where a label is missing, so that no NaN enters the graph."""
    if target.is_floating_point():
        return target.nan_to_num(nan=0.0)
    return target.masked_fill(target == IGNORED, 0)


def as_vector(target: Tensor) -> Tensor:
    """Return a target of one column as a vector."""
    return target[:, 0] if target.shape[1:] == (1,) else target
