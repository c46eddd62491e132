"""Dense tasks: a label at every pixel, of which some may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric, share_metric
from jointrain.task._dense_metrics import (
    OF_DEPTH,
    OF_EDGES,
    OF_NORMALS,
    OF_PIXEL_NUMBERS,
    MeanIoU,
    PixelAccuracy,
)
from jointrain.task._kind import (
    IGNORED,
    Classes,
    TaskKind,
    check_fixed_size,
    equal_to,
    present_labels,
    with_room_for_missing,
)
from jointrain.task._multilabel import named_classes


class DenseKind(TaskKind):
    """A label at every pixel; those that are missing count in no loss and no metric.

    A picture's loss is the mean over its pixels with a label, and the task's loss the mean over
    pictures with any. Targets are [n, h, w], or of several numbers a pixel [n, c, h, w]; outputs
    are [n, c, h, w]. Without ``channels_first`` c comes last in both.

    Differs from others: LibMTL divides by the pixels of the whole batch, so that a picture with few
    labels counts less.
    """

    any_label_counts = True
    channels: ClassVar[int | None] = None
    """Numbers of a pixel's output; None for the task's size."""

    @property
    def first(self) -> bool:
        """Whether channels come before height and width."""
        return bool(getattr(self.task, "channels_first", True))

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return none."""
        if cls.channels is not None:
            check_fixed_size(cls.name, name, size, cls.channels)
        return super().checked_classes(name, classes, size)

    @classmethod
    def default_size(cls, classes: Classes) -> int:  # noqa: ARG003
        """Return the numbers of a pixel."""
        return cls.channels or 1

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return mean absolute error and RMSE over pixels."""
        return OF_PIXEL_NUMBERS

    def values_per_row(self, shape: Sequence[int]) -> int:
        """Return the number of values of a picture."""
        wanted = self.target_channels()
        fits = len(shape) == 4 and shape[1 if self.first else 3] == wanted
        if not fits and not (wanted == 1 and len(shape) == 3):
            form = "[n, c, h, w]" if self.first else "[n, h, w, c]"
            plain = "[n, h, w]" if wanted == 1 else form.replace("c", str(wanted))
            raise InvalidInputError(
                f"the target of {self.name} task {self.task.name!r} must be {plain}, got shape "
                f"{list(shape)}; see Task.dense(channels_first=...)"
            )
        return math.prod(shape[1:])

    def target_channels(self) -> int:
        """Return how many numbers a pixel's label has."""
        return self.task.output_size

    def output_width(self, output: Tensor) -> int:
        """Return the number of channels."""
        return output.shape[1 if self.first else -1] if output.ndim == 4 else output[0].numel()

    def present(self, target: Tensor) -> Tensor:
        """Return which pixels have a label, which is one in all of their channels."""
        there = present_labels(target)
        axis = 1 if self.first else -1
        if target.ndim != 4 or target.shape[axis] == 1:
            return there
        return there.all(axis, keepdim=True).expand(target.shape)

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are infinite."""
        return present.isinf(), "finite numbers"

    def _channels_first(self, values: Tensor) -> Tensor:
        """Return outputs or targets as [n, c, h, w]."""
        if values.ndim == 3:
            return values[:, None]
        return values if self.first else values.movedim(-1, 1)

    def _fitting(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return output and standard target as [n, c, h, w].

        Raises:
            InvalidInputError: Their pictures are of different sizes.
        """
        if output.ndim != 4:
            raise InvalidInputError(
                f"the head of dense task {self.task.name!r} must give pictures of four "
                f"dimensions, got shape {list(output.shape)}; see PyramidHead"
            )
        output = self._channels_first(output)
        target = target[:, None] if target.ndim == 3 else target
        if output.shape[2:] != target.shape[2:]:
            raise InvalidInputError(
                f"the head of task {self.task.name!r} gives pictures of "
                f"{' x '.join(map(str, output.shape[2:]))} pixels, and its targets have "
                f"{' x '.join(map(str, target.shape[2:]))}; let the head enlarge them to the "
                "inputs' size (PyramidHead does)"
            )
        return output, target

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over each picture's pixels that have a label, [b]."""
        output, target = self._fitting(output, self.standard_target(target))
        valid = present_labels(target)  # [b, c, h, w]
        filled = target.masked_fill(~valid, 0)
        errors = self.pixel_losses(output, filled, valid)  # [b, h, w]
        counted = valid.all(1).to(errors.dtype)
        return (errors * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)

    def pixel_losses(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:  # noqa: ARG002
        """Return the loss of each pixel, [b, h, w]: the absolute error, the mean over channels.

        Shape:
            output, target, valid: [b, c, h, w], the target 0 where it is not valid.
        """
        return (output - target).abs().mean(1)

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the target with NaN where a label is missing, without a channel of one."""
        if not target.is_floating_point():
            target = target.float().masked_fill(equal_to(target, IGNORED), math.nan)
        target = target.masked_fill(~self.present(target), math.nan)
        target = self._channels_first(target)
        return target[:, 0] if target.shape[1] == 1 else target

    def predict(self, output: Tensor) -> Tensor:
        """Return numbers, [b, h, w] or [b, c, h, w]."""
        output = self._channels_first(output)
        return output[:, 0] if output.shape[1] == 1 else output


class DenseNumbers(DenseKind):
    """Numbers at every pixel; the loss is the absolute error."""

    name = "dense"
    summary = "numbers at every pixel"


class Depth(DenseKind):
    """A depth above 0 at every pixel; 0 is none, as sensors give it. The loss is the error's size.

    Source: the loss and the metrics are those of Liu, Johns & Davison, "End-to-End Multi-Task
        Learning with Attention", CVPR 2019, with RMSE and the share within 1.25 beside.
    """

    name = "depth"
    summary = "a depth at every pixel"
    channels = 1

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return abs-rel, RMSE, mean absolute error and the share within a factor of 1.25."""
        return OF_DEPTH

    def present(self, target: Tensor) -> Tensor:
        """Return which pixels have a depth."""
        return present_labels(target) & (target != 0)

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are negative or infinite."""
        return present.isinf() | (present < 0), "depths above 0, or 0 for none"


class Normals(DenseKind):
    """A direction at every pixel, (0, 0, 0) for none; predictions have length 1.

    The loss is 1 less the cosine of the angle, as in Liu, Johns & Davison, CVPR 2019.
    """

    name = "normals"
    summary = "a direction at every pixel"
    channels = 3

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return mean and median angle, and the shares within 11.25, 22.5 and 30 degrees."""
        return OF_NORMALS

    def present(self, target: Tensor) -> Tensor:
        """Return which pixels have a direction."""
        axis = (1 if self.first else -1) if target.ndim == 4 else 0
        there = present_labels(target).all(axis, keepdim=True)
        there = there & (target != 0).any(axis, keepdim=True)
        return there.expand(target.shape)

    def pixel_losses(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:  # noqa: ARG002
        """Return 1 less the cosine."""
        return 1 - functional.cosine_similarity(output, target, dim=1)

    def predict(self, output: Tensor) -> Tensor:
        """Return directions of length 1, [b, 3, h, w]."""
        return functional.normalize(self._channels_first(output), dim=1)


class Edges(DenseKind):
    """Whether a pixel lies on an edge: the output is a logit, the prediction a probability.

    Edges are few, so in each picture the pixels on edges and those off them count the same.

    Source: Xie & Tu, "Holistically-Nested Edge Detection", ICCV 2015, eq. 2.
    Differs from the source: divided by the number of pixels.
    """

    name = "edges"
    summary = "whether there is an edge, at every pixel"
    channels = 1

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return F1, precision and recall of pixels."""
        return OF_EDGES

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no probability."""
        return (present < 0) | (present > 1), "numbers from 0 to 1"

    def pixel_losses(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the cross-entropies, each side by the share of the other."""
        counted = valid.to(output.dtype)
        share = (target * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)
        share = share[:, None, None, None]
        losses = functional.binary_cross_entropy_with_logits(output, target, reduction="none")
        return (losses * (target * (1 - share) + (1 - target) * share))[:, 0]

    def predict(self, output: Tensor) -> Tensor:
        """Return the probability of an edge, [b, h, w]."""
        return self._channels_first(output)[:, 0].sigmoid()


class Segmentation(DenseKind):
    """A class at every pixel; the outputs are logits, the prediction is the most probable class.

    Pixels of the classes that the task ignores have no label.
    """

    name = "segmentation"
    summary = "a class at every pixel"

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return the classes, or the numbers below `size`."""
        return named_classes(cls.name, name, classes, size)

    @classmethod
    def default_size(cls, classes: Classes) -> int:
        """Return the number of classes."""
        return len(classes)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return mean intersection over union, and the share of pixels found."""
        count = self.task.output_size
        return (
            share_metric("mIoU", MeanIoU(count)),
            share_metric("pixel accuracy", PixelAccuracy(count)),
        )

    def target_channels(self) -> int:
        """Return 1."""
        return 1

    def present(self, target: Tensor) -> Tensor:
        """Return which pixels have a class that is not ignored."""
        there = present_labels(target)
        for code in getattr(self.task, "ignored", ()):
            there = there & ~equal_to(target, code)
        return there

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no index of a class."""
        count = self.task.output_size
        wrong = (present < 0) | (present >= count) | (present != present.floor())
        return wrong, f"class indices from 0 to {count - 1}, or one that is ignored"

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the class indices, [b, h, w], -100 where there is none."""
        valid = self.present(target)
        codes = torch.where(valid, target, torch.zeros_like(target)).long()
        return self._channels_first(codes.masked_fill(~valid, IGNORED))[:, 0]

    def pixel_losses(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:  # noqa: ARG002
        """Return the cross-entropies."""
        return functional.cross_entropy(output, target[:, 0], reduction="none")

    def predict(self, output: Tensor) -> Tensor:
        """Return the index of the most probable class, [b, h, w]; 16 bits, as there are many."""
        return self._channels_first(output).argmax(1).to(torch.int16)


DENSE_KINDS: dict[str, type[DenseKind]] = {
    kind.name: kind for kind in (DenseNumbers, Depth, Normals, Edges, Segmentation)
}


class LabelledTask(Protocol):
    """What tells which rows have a label."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def labelled(self, target: Tensor) -> Tensor:
        """Return which rows have a label, [b]."""
        ...


def masked_target(target: Tensor, mask: Tensor) -> Tensor:
    """Return a target whose labels are missing where a mask is false.

    Args:
        target: [n, h, w] or [n, c, h, w]; or [n, h, w, c].
        mask: Where labels count: of the target's shape, or of [n, h, w] for all channels.

    Raises:
        InvalidInputError: The mask is of another shape.

    Example:
        >>> depth = torch.ones(1, 1, 2)
        >>> masked_target(depth, torch.tensor([[[True, False]]]))
        tensor([[[1., nan]]])
    """
    shape, given = tuple(target.shape), tuple(mask.shape)
    valid = mask.bool()
    if given != shape:
        first = len(shape) == 4 and given == (shape[0], *shape[2:])
        last = len(shape) == 4 and given == shape[:3]
        if not first and not last:
            raise InvalidInputError(
                f"a mask of shape {list(given)} does not fit targets of shape {list(shape)}; give "
                "one number a pixel"
            )
        valid = (valid[:, None] if first else valid[..., None]).expand(shape)
    if target.is_floating_point():
        return target.masked_fill(~valid, math.nan)
    return with_room_for_missing(target).masked_fill(~valid, IGNORED)


def unlabelled_pictures(
    tasks: Sequence[LabelledTask], targets: Mapping[str, Tensor]
) -> dict[str, int]:
    """Return how many pictures have no pixel with a label, by task; they are left out of it.

    Args:
        tasks: The tasks.
        targets: By task.
    """
    return {
        task.name: int((~task.labelled(targets[task.name])).sum())
        for task in tasks
        if task.name in targets
    }
