"""Encoder and networks of a table model as one module of torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from jointrain.exporting._inputs import FIRST, MISSING, UNSEEN, Inputs, outputs_of, table_of_values
from jointrain.exporting._network_module import NetworkModule
from jointrain.tables import TableModel


class WholeModule(nn.Module):
    """Predicts from numbers and codes, as `export_model` describes.

    Args:
        model: The model.
        inputs: What it is given.

    Shape:
        forward: numbers [n, c] in double and codes [n, k] of 64 bits to each task's predictions.
    """

    center: Tensor
    scale: Tensor
    order: Tensor
    column: Tensor
    edges: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, model: TableModel, inputs: Inputs) -> None:
        super().__init__()
        self.networks = NetworkModule(model)
        self.numbers = [name for name, kind in inputs.kinds.items() if kind != "category"]
        self.categories = [name for name, kind in inputs.kinds.items() if kind == "category"]
        self.ends = {name: FIRST + len(values) for name, values in inputs.values.items()}
        places: list[int] = []
        start = 0
        self.steps: list[tuple[str, str]] = []
        for block in model.encoder.blocks:
            if block.kind == "numeric":
                settings, arrays = block.state()
                self.of_numbers = [self.numbers.index(name) for name in settings["names"]]
                self.register_buffer("center", torch.from_numpy(arrays["center"]))
                self.register_buffer("scale", torch.from_numpy(arrays["scale"]))
                self.marked = np.flatnonzero(arrays["missing"]).tolist()
                self.steps.append(("numbers", ""))
                places += range(start, start + len(block.features))
            else:
                for name in block.names:
                    table = table_of_values(block, name, inputs).astype(np.float32)
                    self.register_buffer(f"table_{len(self.steps)}", torch.from_numpy(table))
                    self.steps.append((block.kind, name))
                    places += [start + place for place in outputs_of(block, name)]
            start += len(block.features)
        self.register_buffer("order", torch.from_numpy(np.argsort(places)))
        pieces = model.encoder.pieces
        self.has_pieces = pieces is not None and len(pieces.column) > 0
        if pieces is not None:
            low = np.where(pieces.ends[0], -np.inf, 0).astype(np.float32)
            high = np.where(pieces.ends[1], np.inf, 1).astype(np.float32)
            for name, array in (
                ("column", pieces.column), ("edges", pieces.edges), ("low", low), ("high", high),
            ):  # fmt: skip
                self.register_buffer(name, torch.from_numpy(array))

    def example(self) -> tuple[Tensor, Tensor]:
        """Return inputs of three rows."""
        numbers = torch.zeros(3, len(self.numbers), dtype=torch.float64)
        return numbers, torch.zeros(3, len(self.categories), dtype=torch.int64)

    def forward(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
        """Return the predictions of each task."""
        parts: list[Tensor] = []
        for step, (kind, name) in enumerate(self.steps):
            if kind == "numbers":
                parts += self._numbers(numbers[:, self.of_numbers])
                continue
            if kind == "boolean":
                given = numbers[:, self.numbers.index(name)]
                code = torch.where(given.isnan(), -1.0, given).long() + FIRST
            else:
                code = codes[:, self.categories.index(name)] + FIRST
            outside = (code < MISSING) | (code >= self.ends[name])
            otherwise = MISSING if kind == "boolean" else UNSEEN
            code = torch.where(outside, otherwise, code)
            parts.append(getattr(self, f"table_{step}")[code])
        encoded = torch.cat(parts, dim=1)[:, self.order]
        if self.has_pieces:
            passed = (encoded[:, self.column] - self.edges[0]) / (self.edges[1] - self.edges[0])
            passed = torch.minimum(torch.maximum(passed, self.low), self.high)
            encoded = torch.cat([encoded, passed], dim=1)
        found: tuple[Tensor, ...] = self.networks(encoded)
        return found

    def _numbers(self, given: Tensor) -> list[Tensor]:
        absent = given.isnan()
        values = (given.clamp(-1e150, 1e150) - self.center) * self.scale
        values = torch.where(absent, 0.0, values).clamp(-1e6, 1e6)
        values = values / torch.sqrt(1 + (values / 3) ** 2)
        return [values.float(), absent[:, self.marked].float()]
