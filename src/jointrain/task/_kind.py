"""TaskKind: all that depends on what a target is, and what kinds of numbers and classes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

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
    outputs_are_logits: ClassVar[bool] = False
    """Whether outputs that are divided by a temperature are those of softer probabilities."""
    any_label_counts: ClassVar[bool] = False
    """Whether a row with some of its labels is a labelled row; else it needs all."""
    more_metrics: ClassVar[tuple[OfferedMetric, ...]] = ()
    """Metrics beside `default_metrics` that a task can be judged by, see `Task.judged_by`."""
    steep: ClassVar[bool] = False
    """Whether a loss or its slope may overflow at outputs that no label has been trained for."""
    stacked_loss: StackedLoss | None = None
    """The loss of many networks at once; None where they are trained one by one."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # the mean is never that of the losses of a kind above
        if "losses" in vars(cls) and "mean_loss" not in vars(cls):
            cls.mean_loss = TaskKind.mean_loss  # type: ignore[method-assign]

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

    def present(self, target: Tensor) -> Tensor:
        """Return which labels are there, of the shape of the target."""
        return present_labels(target)

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

    def mean_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of rows that all have a label, a scalar.

        Kinds that training steps meet most often compute it in one operation.
        """
        return self.losses(output, target).mean()

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


class PlainProblem(NamedTuple):
    """Classes or numbers that a model which is no network can be fitted to.

    Args:
        rows: Numbers of the rows that it is fitted to, [m]; a row may come several times.
        target: Numbers, or classes from 0, [m].
        classes: Number of classes; 0 for numbers.
        weights: What the rows' weights are multiplied by, [m]; None for 1.
        more: Inputs beside those of the row, [m, e]; None for none.
        level: The quantile that is wanted of numbers; None for the mean.
    """

    rows: np.ndarray
    target: np.ndarray
    classes: int = 0
    weights: np.ndarray | None = None
    more: np.ndarray | None = None
    level: float | None = None


class PredictedColumn(NamedTuple):
    """A column of a table of predictions.

    Args:
        suffix: What follows the target's name; empty for the column of its name.
        what: What it holds, in a word, where the name is another column's already.
        values: [n].
    """

    suffix: str
    what: str
    values: Any


def in_few_digits(numbers: Sequence[float]) -> list[str]:
    """Return numbers as text, in six digits, or as many as tell them apart."""
    for digits in (6, 12, 17):
        found = [f"{number:.{digits}g}" for number in numbers]
        if len({*found}) == len(found):
            break
    return found


class TableTaskKind(TaskKind):
    """What columns of a table can be a target of.

    A target is one number a row, [n], or several, [n, m], as `label_shape` says. Predictions are
    arrays: [n], or [n, c].
    """

    cells: ClassVar[Literal["numbers", "classes", "bounds", "times", "shares", "yes or no"]] = (
        "numbers"
    )
    """What the cells of its columns are read as."""
    blended_by: ClassVar[Literal["errors", "probabilities", "losses"]]
    """Whether the weights of a blend have the lowest squared error, log-loss or `row_losses`."""
    objective: ClassVar[Literal["squared", "poisson", "classes", "problems"]]
    """What a model that is no network is fitted by, see `jointrain.baselines`."""
    calibrated_by: ClassVar[Literal["temperature", "errors"] | None] = None
    """Whether held-out rows give a temperature of probabilities, or intervals by their errors."""
    has_scale: ClassVar[bool] = False
    """Whether networks are trained on labels in another unit, see `scaling`."""
    said_as_classes: ClassVar[bool] = False
    """Whether text in a column that is said to be of this kind is classes, never numbers."""
    takes_order: ClassVar[bool] = False
    """Whether the user may name all classes in their order, as ``kind:first:second``."""

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns and the classes that are named after the kind, ``kind:a:b``.

        Args:
            name: The target.
            parts: What was named.

        Raises:
            InvalidInputError: The kind takes other names, or none.
        """
        if parts:
            raise InvalidInputError(
                f"{cls.name} target {name!r} takes nothing after the kind, got "
                f"{':'.join((cls.name, *parts))!r}; only ordinal, quantiles, censored, survival, "
                "multilabel and proportions do"
            )
        return (), ()

    # --- labels -----------------------------------------------------------------------------------

    def label_shape(self) -> tuple[int, ...]:
        """Return the shape of a row's label, () or (m,) with m of 2 or more."""
        return ()

    def known(self, labels: np.ndarray) -> np.ndarray:
        """Return which rows have a label, [n] of bool; of several numbers, all are needed."""
        missing = np.isnan(labels)
        return np.asarray(~(missing if missing.ndim == 1 else missing.any(1)))

    def spread_evenly(self, labels: np.ndarray) -> np.ndarray:
        """Return what parts of the rows are to have alike, [n, l] of bool; classes, and labels."""
        known = self.known(labels)
        return known[:, None] if not known.all() else np.zeros((len(labels), 0), dtype=bool)

    def prediction_shape(self) -> tuple[int, ...]:
        """Return the shape of a row's prediction, () or (c,)."""
        return ()

    def predicted_columns(self, prediction: np.ndarray) -> list[PredictedColumn]:
        """Return predictions as columns of a table."""
        return [PredictedColumn("", "", prediction)]

    def check_labels(self, labels: np.ndarray) -> None:
        """Refuse labels of a column that the kind can't have; the row (from 1) is named.

        Shape:
            labels: [n] or [n, m], NaN where one is missing.

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
        """Return what networks are trained on, [n, ...], by labels and their scaling."""
        mean, deviation = scaling
        return np.asarray((labels - mean) / deviation)

    # --- constants --------------------------------------------------------------------------------

    @abstractmethod
    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return what a constant predicts by labels and weights, [n]: [1], or [c]."""

    def constants_without(
        self, labels: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return what a constant predicts of each row by the labels of all the others.

        Here by those of all but its part of the rows; there are `CONSTANT_PARTS`.

        Shape:
            labels: [n] or [n, m], NaN where one is missing. rows: [k]. weights: [n]. returns:
            [k, 1], or [k, c].
        """
        part = np.zeros(len(labels), dtype=np.int64)
        part[rows] = np.arange(len(rows)) % CONSTANT_PARTS + 1
        known = self.known(labels)
        found: list[np.ndarray] = []
        for number in range(1, min(len(rows), CONSTANT_PARTS) + 1):
            others = known & (part != number)
            others = others if others.any() else known
            of_rows = None if weights is None else weights[others]
            found.append(self.constant(labels[others], of_rows))
        return np.stack(found)[part[rows] - 1] if found else np.zeros((0, 1))

    @abstractmethod
    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return values, [n, 1], or all c of a row, [n, c], as predictions."""

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with a constant that was read, None if it may be one."""
        return None if constant.shape == (1,) else "has another length"

    # --- models that are no networks --------------------------------------------------------------

    def plain_problems(self, labels: np.ndarray) -> list[PlainProblem]:
        """Return what such a model is fitted to, where `objective` is ``problems``.

        Shape:
            labels: [n, ...], all known.
        """
        raise NotImplementedError

    def plain_inputs(self) -> list[tuple[int, np.ndarray | None]]:
        """Return what such a model is asked: the number of a problem, and inputs beside, [e].

        It answers each with values [n], or with probabilities [n, c].
        """
        raise NotImplementedError

    def from_plain(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the predictions by the answers to `plain_inputs`."""
        raise NotImplementedError

    # --- blends -----------------------------------------------------------------------------------

    @abstractmethod
    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the loss of each row, [n], by which blends are chosen."""

    def evidence(
        self, stacked: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability that components gave to what happened, [m, k], and weights, [m].

        For kinds that are blended by probabilities. The mixture's log-loss is that of its rows.

        Shape:
            stacked: [n, k] or [n, k, c]. labels: [n] or [n, m]. weights: [n].
        """
        raise NotImplementedError

    def possible_interval(self, ends: np.ndarray) -> np.ndarray:
        """Return the ends of intervals, lower and upper, [n, 2], as far out as labels can be."""
        return ends

    def deciding(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows that the first metric hangs on, [n] of bool."""
        return self.known(labels)


CONSTANT_PARTS = 20
"""Parts of the rows whose constants come from the other parts."""


class NumberKind(TableTaskKind):
    """Kinds whose target is a number, and whose prediction is its mean."""

    blended_by = "errors"
    calibrated_by = "errors"
    has_scale = True

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
    cells = "classes"
    blended_by = "probabilities"
    calibrated_by = "temperature"
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

    def spread_evenly(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes."""
        return np.asarray(labels[:, None] == np.arange(len(self.task.classes)))

    def predicted_columns(self, prediction: np.ndarray) -> list[PredictedColumn]:
        """Return the chosen class, and the probability of each."""
        shares = self.probabilities(prediction)
        chosen = [self.task.classes[i] for i in self.chosen(prediction)]
        return [PredictedColumn("", "", chosen)] + [
            PredictedColumn(f"={label}", "probability", shares[:, index])
            for index, label in enumerate(self.task.classes)
        ]

    def evidence(
        self, stacked: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of the class of each row, and the weights as they are."""
        return self.chances(stacked, labels), weights

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


def mean_and_deviation(
    labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Return mean and standard deviation of numbers, [n], NaN left out; 1 for a constant."""
    if weights is None:
        deviation = float(np.nanstd(labels))
        mean = float(np.nanmean(labels))
    else:
        known = np.isfinite(labels)
        values, counted = labels[known], of_mean_one(weights, known)[known]
        mean = float(np.average(values, weights=counted))
        deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=counted)))
    # equal values have a deviation of rounding errors
    varies = deviation > 1e-12 * abs(mean)
    return mean, deviation if varies else 1.0


def check_named(kind: str, name: str, parts: Sequence[str], most: int | None, wanted: str) -> None:
    """Refuse names after a kind that are empty, come twice or are more than `most`.

    Raises:
        InvalidInputError: They are; `wanted` is an example.
    """
    if not all(parts) or len(set(parts)) < len(parts) or (most is not None and len(parts) > most):
        raise InvalidInputError(
            f"{kind} target {name!r} needs other names than {':'.join((kind, *parts))!r}; "
            f"write {wanted}, each name once"
        )


_SMALL = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32)
"""Types of integers for which torch wraps a number that they can't hold, such as -100 to 156."""


def equal_to(target: Tensor, number: int) -> Tensor:
    """Return where a target is a number: nowhere if its type can't hold it."""
    if target.dtype in _SMALL or target.dtype == torch.uint64:
        held = torch.iinfo(target.dtype)
        if not held.min <= number <= held.max:
            return torch.zeros_like(target, dtype=torch.bool)
    return target == number


def with_room_for_missing(target: Tensor) -> Tensor:
    """Return a target in a type that has a value for missing labels, NaN or -100."""
    unsigned = target.dtype == torch.bool or not (target.is_floating_point() or target.is_signed())
    return target.long() if unsigned else target


def present_labels(target: Tensor) -> Tensor:
    """Return which labels are there, of the shape of the target."""
    return ~(target.isnan() if target.is_floating_point() else equal_to(target, IGNORED))


def filled_labels(target: Tensor) -> Tensor:
    """Put 0 where a label is missing, so that no NaN enters the graph."""
    if target.is_floating_point():
        return target.nan_to_num(nan=0.0)
    return target.masked_fill(equal_to(target, IGNORED), 0)


def as_vector(target: Tensor) -> Tensor:
    """Return a target of one column as a vector."""
    return target[:, 0] if target.shape[1:] == (1,) else target
