"""Layers of all members of a stack at once, forward and backward.

Letters: s members, b rows of a batch, i inputs and o outputs of a layer.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

Views = tuple[Tensor, ...]

ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU,
    nn.LogSigmoid, nn.Mish, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softsign,
    nn.Tanh, nn.Tanhshrink,
)  # fmt: skip
"""Functions of single units without weights; ReLU has a layer of its own."""


class Layer(ABC):
    """A layer of all members.

    Large results are written to the same memory at each step: fresh memory has to be cleared by
    the system first, which can take longer than a small product.
    """

    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._rooms: dict[tuple[str | int, ...], Tensor] = {}

    @abstractmethod
    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        """Return the outputs [s, b, o], and what `backward` needs."""

    @abstractmethod
    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        """Write the weights' gradients; return the slope of the inputs (of no use if `first`).

        `slope` is overwritten.
        """

    def _room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return memory for a result, which holds until the next result of the same name."""
        room = self._rooms.get((name, *shape))
        if room is None:
            size = prod(shape)
            memory = self._memory.get(name)
            if memory is None or memory.numel() < size:
                memory = self._memory[name] = like.new_empty(size)
            room = self._rooms[name, *shape] = memory[:size].view(shape)
        return room


class LinearLayer(Layer):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shapes = ((outputs, inputs), (outputs,))

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        weight, bias = weights
        room = self._room("outputs", (*inputs.shape[:2], self.shapes[0][0]), inputs)
        return torch.baddbmm(bias, inputs, weight.mT, out=room), inputs

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        # a product written straight into rows that are apart takes three times as long
        room = self._room("gradient", gradients[0].shape, slope)
        gradients[0].copy_(torch.bmm(slope.mT, kept, out=room))
        torch.sum(slope, 1, keepdim=True, out=gradients[1])
        if first:
            return slope
        return torch.bmm(slope, weights[0], out=self._room("slope", kept.shape, slope))


class LayerNormLayer(Layer):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.shapes = ((width,), (width,))
        self._epsilon = epsilon

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        # by hand: twice as fast as torch's on rows of 64 to 128
        mean = inputs.mean(-1, keepdim=True)
        unit = inputs.sub_(mean)
        length = torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
        inverse = length.square_().div_(inputs.shape[-1]).add_(self._epsilon).rsqrt_()
        unit.mul_(inverse)
        room = self._room("outputs", inputs.shape, inputs)
        return torch.addcmul(weights[1], unit, weights[0], out=room), (unit, inverse)

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        del first
        unit, inverse = kept
        product = torch.mul(slope, unit, out=self._room("product", slope.shape, slope))
        torch.sum(product, 1, keepdim=True, out=gradients[0])
        torch.sum(slope, 1, keepdim=True, out=gradients[1])
        along = product.mul_(weights[0]).mean(-1, keepdim=True)
        slope.mul_(weights[0])
        slope.sub_(slope.mean(-1, keepdim=True))
        return slope.sub_(unit.mul_(along)).mul_(inverse)


class ReLULayer(Layer):
    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        del weights
        outputs = inputs.relu_()
        return outputs, outputs

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        # dropout that has zeroed some of the outputs since has zeroed their slopes, too
        del weights, gradients, first
        before: Tensor = torch.ops.aten.threshold_backward.grad_input(
            slope, kept, 0, grad_input=slope
        )
        return before


class ActivationLayer(Layer):
    """Any of `ACTIVATIONS`; the way back is autograd's, which costs little beside the products.

    Args:
        module: Of one member; those of the others are equal.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._function = copy.deepcopy(module)
        if hasattr(self._function, "inplace"):
            setattr(self._function, "inplace", False)  # noqa: B010 (a module's attribute is no bool)

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        del weights
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            outputs = self._function(leaf)
        # the next layer may write over what it gets, and autograd may need it
        return outputs.detach().clone(), (leaf, outputs)

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        del weights, gradients, first
        leaf, outputs = kept
        before: Tensor = torch.autograd.grad(outputs, leaf, slope)[0]
        return before


class DropoutLayer(Layer):
    """Multiplies by `keep`, which is set for each step; None while evaluating."""

    keep: Tensor | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        del weights
        return inputs if self.keep is None else inputs.mul_(self.keep), self.keep

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        del weights, gradients, first
        return slope.mul_(kept)
