"""Task: one thing to predict, with its loss, its metrics and the size of its output."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError, closest
from jointrain.metrics import Metric, compute_metrics
from jointrain.task._class_weights import ClassWeightsOfTask, checked_class_weights
from jointrain.task._corrected import CORRECTIONS
from jointrain.task._kind import Label, TableTaskKind, TaskKind
from jointrain.task._kinds import KINDS
from jointrain.task._metric_choice import chosen_metrics


@dataclass(frozen=True)
class Task:
    """One thing to predict.

    A target is a tensor with a row per sample. A missing label is NaN in floating-point targets and
    -100 in integer targets; rows without a label never touch the loss or the metrics.

    Args:
        name: What the task is called everywhere, for example the target's column name.
        kind: ``regression`` (one real number), ``mean-variance`` (one whose spread differs from
            row to row), ``count`` (how often something happens), ``negative-binomial`` (the same,
            spread more than chance has it), ``quantiles`` (of a number), ``censored`` (a number,
            or bounds of it), ``survival`` (when something happens), ``binary`` (one of two
            classes), ``multiclass`` (one of several), ``ordinal`` (one of several that have an
            order), ``multilabel`` (several yes/no labels at once), ``proportions`` (shares that
            sum to 1), ``sequence`` (a class per position), of pictures ``dense``, ``depth``,
            ``normals``, ``edges`` or ``segmentation`` (at every pixel, see `Task.dense`) or
            ``custom`` (`loss_function` and `size` say what it is).
        classes: The class labels in the order of the class indices, for ``ordinal`` lowest first;
            for ``multilabel`` the labels' names. Empty for the other kinds.
        loss_function: Maps (output, target) to one loss per row, [b]. Default: squared error for
            regression, half the Poisson deviance for counts, the negative log-likelihood (nats) for
            the other kinds.
        metrics: What `evaluate` reports; the first is the one that verdicts are about. Default:
            RMSE and R2; Poisson deviance, MAE and RMSE for both kinds of counts; ROC-AUC and
            log-loss; accuracy, macro-F1 and log-loss; for ordinal, ranked probability score, MAE of
            ranks, quadratic kappa and accuracy.
        size: Width of the head's output; default from the kind and the classes.
        columns: The columns of a table that its target is read from; empty (default) for the one
            of its name.
        class_weights: How much the rows of each class count where a `Trainer` fits: ``balanced``
            (by the training rows, as scikit-learn's), a number above 0 for each class in order, or
            numbers by class, 1 for those not named. They multiply the weights of rows in losses and
            early stopping, not in metrics; `loss` is without. Kept as ``balanced`` or a tuple.
            Default: classes don't weigh.
        given: The name of another binary task without which this one, binary too, does not happen:
            a purchase needs a click. Networks of both multiply, p(purchase) = p(click)
            p(purchase | click), and are trained and judged by p(purchase) over all rows (Ma et al.,
            "Entire Space Multi-Task Model", SIGIR 2018, arXiv:1804.07931); rows without a click are
            labelled no. Default: none.
        correction: How the loss makes up for p(purchase | click) being seen where there was a click
            alone: ``inverse-propensity`` or ``doubly-robust``, see `CORRECTIONS`. Default: not.
        channels_first: Whether pictures of dense tasks have channels before height and width
            (default), or after them.
        ignored: Class indices of a segmentation whose pixels have no label, such as 255.

    Raises:
        InvalidInputError: The name is empty, the kind is unknown, the classes do not fit the kind,
            the class weights do not fit the classes, or a custom task has no loss function or no
            size; the task is given itself or is not binary, or the correction is unknown or has
            no other task.
    """

    name: str
    kind: str
    classes: tuple[Label, ...] = ()
    loss_function: Callable[[Tensor, Tensor], Tensor] | None = None
    metrics: tuple[Metric, ...] | None = None
    size: int | None = None
    columns: tuple[str, ...] = ()
    class_weights: ClassWeightsOfTask | None = None
    given: str | None = None
    correction: str | None = None
    channels_first: bool = True
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a task's name must not be empty; name it after its target")
        if self.kind not in tuple(KINDS):
            raise InvalidInputError(
                f"task {self.name!r} has unknown kind {self.kind!r}{closest(self.kind, KINDS)}; "
                f"known are {', '.join(KINDS)}"
            )
        if self.kind == "custom" and (self.loss_function is None or self.size is None):
            raise InvalidInputError(f"custom task {self.name!r} needs loss_function= and size=")
        self._check_given()
        if self.ignored and self.kind != "segmentation":
            raise InvalidInputError(
                f"{self.kind} task {self.name!r} has no classes of pixels; leave `ignored` out"
            )
        kind = type(self.rules)
        classes = kind.checked_classes(self.name, tuple(self.classes), self.size)
        if len(set(classes)) != len(classes):
            raise InvalidInputError(
                f"the classes of task {self.name!r} must differ from each other"
            )
        object.__setattr__(self, "classes", classes)
        if self.size is None:
            object.__setattr__(self, "size", kind.default_size(classes))
        self._check_size()
        if self.metrics is None:
            object.__setattr__(self, "metrics", self.rules.default_metrics())
        if self.class_weights is not None:
            known = classes if self.has_classes else ()
            weights = checked_class_weights(self.name, known, self.class_weights)
            object.__setattr__(self, "class_weights", weights)

    def _check_given(self) -> None:
        if self.given is None:
            if self.correction is not None:
                raise InvalidInputError(
                    f"task {self.name!r} has a correction, and no other task that it is given; "
                    "name it (given=...), or leave the correction out"
                )
            return
        if self.given == self.name:
            raise InvalidInputError(f"task {self.name!r} can't be given itself; name another one")
        if self.kind != "binary":
            raise InvalidInputError(
                f"task {self.name!r} is given {self.given!r}, so it must be binary, got {self.kind}"
            )
        if self.correction is not None and self.correction not in CORRECTIONS:
            raise InvalidInputError(
                f"task {self.name!r} has unknown correction {self.correction!r}"
                f"{closest(self.correction, CORRECTIONS)}; known are {', '.join(CORRECTIONS)}"
            )
        if self.correction is not None and self.loss_function is not None:
            raise InvalidInputError(
                f"task {self.name!r} has a loss function of its own, which no correction changes; "
                "leave one of them out"
            )

    def _check_size(self) -> None:
        if self.output_size < 1:
            raise InvalidInputError(
                f"the size of task {self.name!r} must be at least 1, got {self.size}"
            )
        needed = self.rules.default_size(tuple(self.classes)) if self.classes else self.output_size
        if self.loss_function is None and self.output_size != needed:
            raise InvalidInputError(
                f"{self.kind} task {self.name!r} has {len(self.classes)} classes but size "
                f"{self.size}; leave size out"
            )

    @classmethod
    def regression(cls, name: str, size: int = 1) -> Task:
        """Return a task that predicts a real number, or `size` numbers such as a box's sides."""
        return cls(name, "regression", size=size)

    @classmethod
    def binary(
        cls,
        name: str,
        classes: Sequence[Label] = (0, 1),
        *,
        class_weights: ClassWeightsOfTask | None = None,
        given: str | None = None,
        correction: str | None = None,
    ) -> Task:
        """Return a task that predicts one of two classes."""
        return cls(
            name,
            "binary",
            tuple(classes),
            class_weights=class_weights,
            given=given,
            correction=correction,
        )

    @classmethod
    def multiclass(
        cls,
        name: str,
        classes: int | Sequence[Label],
        *,
        class_weights: ClassWeightsOfTask | None = None,
    ) -> Task:
        """Return a task that predicts one of several classes (their number, or their labels)."""
        return cls(name, "multiclass", _labels(classes), class_weights=class_weights)

    @classmethod
    def count(cls, name: str) -> Task:
        """Return a task that predicts how often something happens: a rate, by a head's logarithm.

        Labels are numbers of 0 or more.
        """
        return cls(name, "count")

    @classmethod
    def mean_variance(cls, name: str) -> Task:
        """Return a task that predicts a number, and learns how widely each row's label spreads.

        Its head has two outputs; `task.rules.deviation` gives the spread of outputs.
        """
        return cls(name, "mean-variance")

    @classmethod
    def negative_binomial(cls, name: str) -> Task:
        """Return a task that predicts a rate of counts that spread more than Poisson's.

        Labels are whole numbers of 0 or more; its head has two outputs.
        """
        return cls(name, "negative-binomial")

    @classmethod
    def quantiles(cls, name: str, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Task:
        """Return a task that predicts quantiles of a number, which never cross; two: an interval.

        Targets are numbers.
        """
        return cls(name, "quantiles", tuple(levels))

    @classmethod
    def censored(cls, name: str) -> Task:
        """Return a task that predicts a number of which some labels are bounds only.

        Targets are [n, 2]: lower and upper bound, equal where the number is known, infinite where
        there is none.
        """
        return cls(name, "censored")

    @classmethod
    def survival(cls, name: str, ends: Sequence[float]) -> Task:
        """Return a task that predicts, for the ends of intervals, that it has not happened yet.

        Targets are [n, 2]: a time, and 1 where it happened then, 0 where it was seen until then.
        """
        return cls(name, "survival", tuple(ends))

    @classmethod
    def proportions(cls, name: str, parts: int | Sequence[Label]) -> Task:
        """Return a task that predicts shares of parts (their number, or names), which sum to 1.

        Targets are [n, c].
        """
        return cls(name, "proportions", _labels(parts))

    @classmethod
    def ordinal(
        cls,
        name: str,
        classes: int | Sequence[Label],
        *,
        class_weights: ClassWeightsOfTask | None = None,
    ) -> Task:
        """Return a task that predicts one of several classes (their number, or them, lowest first).

        Its head has an output for each class but one.
        """
        return cls(name, "ordinal", _labels(classes), class_weights=class_weights)

    @classmethod
    def multilabel(cls, name: str, classes: int | Sequence[Label]) -> Task:
        """Return a task that predicts several yes/no labels at once."""
        return cls(name, "multilabel", _labels(classes))

    @classmethod
    def sequence(cls, name: str, classes: int | Sequence[Label]) -> Task:
        """Return a task that predicts a class at every position of a sequence."""
        return cls(name, "sequence", _labels(classes))

    @classmethod
    def dense(
        cls,
        name: str,
        of: str | None = None,
        *,
        classes: int | Sequence[Label] | None = None,
        ignored: Sequence[int] = (),
        channels: int | None = None,
        channels_first: bool = True,
    ) -> Task:
        """Return a task that predicts something at every pixel of a picture.

        Labels are missing pixel by pixel: NaN, or -100 in integers; see `masked_target`. A picture
        without any counts in no loss and no metric of the task.

        Args:
            name: What it is called.
            of: ``numbers``, ``depth`` (above 0; 0 is missing), ``normals`` (directions, of length 1
                or not; zeros are missing), ``edges`` (0 or 1) or ``classes``. Default: what the
                name says, if it is one of them; else classes where there are some, or numbers.
            classes: Their number, or their labels; it makes the task one of classes.
            ignored: Class indices whose pixels have no label, such as 255 or -1.
            channels: Numbers of a pixel, of ``numbers``; default 1.
            channels_first: Whether pictures are [n, c, h, w] (default) or [n, h, w, c], targets and
                outputs. Targets of one number a pixel may be [n, h, w].

        Raises:
            InvalidInputError: `of` is unknown, or what goes with it does not fit.
        """
        kinds = {"numbers": "dense", "depth": "depth", "normals": "normals", "edges": "edges",
                 "classes": "segmentation"}  # fmt: skip
        if of is None:
            of = name if name in kinds and name != "classes" else "numbers"
            of = of if classes is None else "classes"
        if of not in kinds:
            raise InvalidInputError(
                f"dense task {name!r} can't be of {of!r}{closest(of, kinds)}; known are "
                f"{', '.join(kinds)}"
            )
        if (classes is None) == (of == "classes"):
            needs = "needs classes=" if classes is None else "takes no classes"
            raise InvalidInputError(f"dense task {name!r} of {of} {needs}")
        known = () if classes is None else _labels(classes)
        return cls(
            name,
            kinds[of],
            known,
            size=channels,
            channels_first=channels_first,
            ignored=tuple(ignored),
        )

    @cached_property
    def rules(self) -> TaskKind:
        """What its kind says: loss, predictions, and what tables make of them."""
        if self.correction is not None:
            return CORRECTIONS[self.correction](self)
        return KINDS[self.kind](self)

    @property
    def in_table(self) -> TableTaskKind:
        """The same of a kind that columns of a table can be.

        Raises:
            InvalidInputError: It can't.
        """
        rules = self.rules
        if not isinstance(rules, TableTaskKind):
            raise InvalidInputError(f"{self.kind} task {self.name!r} can't be a column of a table")
        return rules

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns of a table that its target is read from."""
        return self.columns or (self.name,)

    @property
    def output_size(self) -> int:
        """Width of the head's output.

        1 for regression, count and binary, 2 for mean-variance and negative-binomial, one less than
        classes for ordinal, else the number of classes.
        """
        assert self.size is not None
        return self.size

    @property
    def has_classes(self) -> bool:
        """Whether each row's target is one class."""
        return self.rules.has_classes

    @property
    def primary_metric(self) -> Metric:
        """The metric that verdicts are about: the first one."""
        if not self.metrics:
            raise InvalidInputError(f"task {self.name!r} has no metrics; give it metrics=(...)")
        return self.metrics[0]

    def judged_by(self, metric: str, query: str | None = None) -> Task:
        """Return the task with another first metric, the one that verdicts are about.

        Args:
            metric: Its name. For numbers also MAE, MAPE, pinball-0.9 (any quantile), Spearman and
                C-index; for two or more classes also balanced accuracy, average precision, Brier
                and F2 (any beta). Within queries: NDCG@10 (any number; not for multiclass), and for
                two classes recall@10 and group AUC. The kind's own metrics are reported after it.
            query: The column of a table whose values tell the queries.

        Raises:
            InvalidInputError: There is no such metric for tasks of the kind, or it needs a query.
        """
        return replace(self, metrics=chosen_metrics(self.rules, metric, query))

    def labelled(self, target: Tensor) -> Tensor:
        """Return which rows have a label, [b] of bool.

        A row with several values has one when all are there; for the kinds ``multilabel`` and
        ``sequence``, when any is there.
        """
        present = self.rules.present(target)
        if present.ndim == 1:
            return present
        flat = present.flatten(1)
        return flat.any(1) if self.rules.any_label_counts else flat.all(1)

    def check_target(self, target: Tensor) -> None:
        """Refuse a target that the task's loss can't take; a loss of its own takes anything.

        Where rows have a part of their labels only, a loss of its own never sees them: a warning.

        Shape:
            target: [n], or [n, m] for several numbers or multilabel, [n, s] for sequences, or as in
            `dense`.

        Raises:
            InvalidInputError: The shape does not fit the kind, a class index is none of the
                task's, or a number is infinite.
        """
        if self.loss_function is not None:
            self._tell_partly_labelled(target)
            return
        shape = tuple(target.shape)
        values = self.rules.values_per_row(shape)
        if math.prod(shape[1:]) != values:
            raise InvalidInputError(
                f"the target of task {self.name!r} must hold {values} "
                f"value{'s' if values > 1 else ''} a row, got shape {shape}"
            )
        if target.is_complex():
            raise InvalidInputError(
                f"the target of task {self.name!r} holds complex numbers; give their parts as real "
                "numbers"
            )
        there = self.rules.present(target)
        if not target.is_floating_point():
            # small integers would be compared with the number of classes as it wraps
            target = target.long()
        present = target[there]
        found = self.rules.wrong_values(present)
        if found is not None and bool(found[0].any()):
            wrong, rule = found
            first = int(there.nonzero()[wrong][0, 0])
            raise InvalidInputError(
                f"the target of task {self.name!r} holds {present[wrong][0].item():g}, but must "
                f"hold {rule} (or NaN or -100 where missing); it is row {first + 1}"
            )
        rows = self.labelled(target).nonzero()[:, 0]
        of_rows = self.rules.wrong_rows(target[rows])
        if of_rows is not None and bool(of_rows[0].any()):
            wrong, rule = of_rows
            first = int(rows[wrong][0])
            raise InvalidInputError(
                f"the target of task {self.name!r} {rule}, but row {first + 1} holds "
                f"{', '.join(f'{value:g}' for value in target[first].tolist())}"
            )

    def _tell_partly_labelled(self, target: Tensor) -> None:
        """Warn of rows with a part of their values, which count as rows without a label."""
        if target.ndim < 2 or self.rules.any_label_counts:
            return
        present = self.rules.present(target).flatten(1)
        partly = int((present.any(1) & ~present.all(1)).sum())
        if partly:
            warnings.warn(
                f"{partly} of {len(target)} rows of task {self.name!r} have a part of their labels "
                "only, and are left out as rows without one; for labels position by position take "
                "Task.sequence, Task.multilabel or a dense task, or mark gaps that the loss passes "
                "over by itself with another value than NaN or -100",
                stacklevel=2,
            )

    def unreduced_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return one loss per row; rows without a label give an arbitrary finite value.

        Shape:
            output: [b, o] ([b, s, c] for sequences), as the head gives it: values or logits.
            target: [b], or [b, m] for multilabel, [b, s] for sequences.
            returns: [b].
        """
        if self.loss_function is not None:
            return self._own_losses(output, target)
        return self.rules.losses(output, target)

    def loss(
        self,
        output: Tensor,
        target: Tensor,
        *,
        complete: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss over the labelled rows, a scalar; zero if no row has a label.

        Args:
            output: What the head gave.
            target: The targets, missing labels marked.
            complete: Promise that every row has a label, which saves the mask.
            weights: What each row's loss is multiplied by; default 1. The sum is divided by the
                number of labelled rows, whatever they weigh: weights of mean 1 over all rows keep
                the loss of a batch an unbiased estimate, also in batches of one row.

        Shape:
            output: [b, o] ([b, s, c] for sequences). target: [b] or [b, ...]. weights: [b].
            returns: [].
        """
        if complete and weights is None and self.loss_function is None:
            return self.rules.mean_loss(output, target)
        if complete:
            return _weighted(self.unreduced_loss(output, target), weights).mean()
        labelled = self.labelled(target)
        if self.loss_function is not None:
            # a user's loss never sees a row without a label
            if not bool(labelled.any()):
                return output.sum() * 0.0
            losses = self._own_losses(output[labelled], target[labelled])
            return _weighted(losses, None if weights is None else weights[labelled]).mean()
        if self.rules.steep:
            # an infinite slope times the 0 of the mask below is NaN
            known = labelled.view(-1, *[1] * (output.ndim - 1))
            output = torch.where(known, output, 0.0)
        losses = _weighted(self.unreduced_loss(output, target), weights)
        return torch.where(labelled, losses, 0.0).sum() / labelled.sum().clamp_min(1)

    def _own_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return what the user's loss function gives, [b].

        Raises:
            InvalidInputError: It gives anything else, such as [b, b] of a column minus a row.
        """
        assert self.loss_function is not None
        losses = self.loss_function(output, target)
        if not isinstance(losses, Tensor) or losses.shape != target.shape[:1]:
            got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InvalidInputError(
                f"the loss function of task {self.name!r} must give one loss per row, shape "
                f"[{len(target)}], got {got} from an output of shape {list(output.shape)} and a "
                f"target of shape {list(target.shape)}; don't reduce over rows, and bring both to "
                "one shape first (`output.squeeze(-1)`)"
            )
        return losses

    def predict(self, output: Tensor) -> Tensor:
        """Turn a head's output into predictions: values, or probabilities.

        Shape:
            output: [b, o]. returns: [b] for regression and mean-variance (the mean), for count and
            negative-binomial (the rate) and for binary (probability of the second class), [b, c]
            for multiclass, ordinal and multilabel, [b, s, c] for sequences, else as given.
        """
        return self.rules.predict(output)

    def evaluate(
        self,
        prediction: Tensor,
        target: Tensor,
        weights: Tensor | None = None,
        *,
        queries: Mapping[str, Tensor] | None = None,
    ) -> dict[str, float]:
        """Return the task's metrics over the labelled rows, by name.

        Args:
            prediction: As `predict` gives it.
            target: The targets, missing labels marked.
            weights: How much each row counts, default all the same. Rows of weight 0 are left out.
            queries: Which query each row is of, [b] by the column that tells it, for metrics that
                rank rows within queries.

        Shape:
            prediction: [b] or [b, ...]. target: [b] or [b, ...]. The metrics see multilabel
            targets as numbers (missing: NaN), sequences as integers (missing: -100), and a target
            of one column as a vector. weights: [b].

        Raises:
            InvalidInputError: There are weights, and a metric of one's own takes none; or a metric
                needs queries that are not given.
        """
        labelled = self.labelled(target)
        if weights is not None:
            labelled = labelled & (weights > 0)
            weights = weights[labelled]
        assert self.metrics is not None
        target = self.rules.standard_target(target[labelled])
        of_rows = {name: ids[labelled] for name, ids in (queries or {}).items()}
        return compute_metrics(self.metrics, prediction[labelled], target, weights, of_rows)


def _weighted(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses if weights is None else losses * weights.to(losses.dtype)


def _labels(classes: int | Sequence[Label]) -> tuple[Label, ...]:
    return tuple(range(classes)) if isinstance(classes, int) else tuple(classes)
