"""Decoders of pictures: a trunk that gives all its stages, and a head that puts them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from jointrain.errors import InvalidInputError


class AllStages(nn.Module):
    """A trunk that gives what each of its stages gives, for heads that look at several scales.

    Args:
        stages: Modules in order; each takes what the one before gives.

    Shape:
        forward: inputs -> a list of a tensor for each stage, [b, c, h, w] with sizes of their own.

    Raises:
        InvalidInputError: There is no stage.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        if not stages:
            raise InvalidInputError("`stages` must hold at least one module")
        self.stages = nn.ModuleList(stages)

    def forward(self, inputs: Any) -> list[Any]:
        """Return the outputs of all stages."""
        outputs = []
        for stage in self.stages:
            inputs = stage(inputs)
            outputs.append(inputs)
        return outputs


class PyramidHead(nn.Module):
    """A head of pictures: the stages' features added from the coarsest up, then the outputs.

    Each stage is brought to one width by a 1 x 1 convolution, enlarged to the size of the next
    finer one and added to it; a 3 x 3 convolution makes the outputs of the finest, which are
    enlarged to the inputs' size. Of networks that give a task one tensor (cross-stitch, MTAN),
    it is a decoder of that alone.

    Args:
        channels: Channels of each stage, finest first; or of the one tensor.
        outputs: Numbers of a pixel, such as `Task.output_size`.
        width: Channels that stages are brought to; default 32.
        channels_first: Whether outputs are [b, c, h, w] (default), or [b, h, w, c].

    Shape:
        forward: a list of [b, c, h, w], or one, and the inputs [b, c, h, w] -> [b, o, h, w].

    Raises:
        InvalidInputError: The features are of another number of stages.

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 3; as a
        decoder, Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019.
    Differs from the source: sums only, one convolution at the finest stage.
    """

    takes_inputs = True

    def __init__(
        self,
        channels: Sequence[int] | int,
        outputs: int,
        *,
        width: int = 32,
        channels_first: bool = True,
    ) -> None:
        super().__init__()
        sizes = [channels] if isinstance(channels, int) else list(channels)
        self.lateral = nn.ModuleList(nn.Conv2d(size, width, 1) for size in sizes)
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, 1)
        )
        self.channels_first = channels_first

    def forward(self, features: Sequence[Tensor] | Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs at each pixel of the inputs."""
        stages = [features] if isinstance(features, Tensor) else list(features)
        if len(stages) != len(self.lateral):
            raise InvalidInputError(
                f"a head of {len(self.lateral)} stages got features of {len(stages)}; give the "
                "channels of each stage (of networks that give tasks one tensor, of that)"
            )
        merged: Tensor | None = None
        for lateral, stage in zip(reversed(self.lateral), reversed(stages), strict=True):
            own = lateral(stage)
            merged = own if merged is None else own + _enlarged(merged, own)
        assert merged is not None
        outputs = _enlarged(self.last(merged), inputs)
        return outputs if self.channels_first else outputs.movedim(1, -1)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
