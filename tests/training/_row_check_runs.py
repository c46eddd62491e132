"""Networks whose rows do not go through them one by one: at the top of a file for processes."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from jointrain import Alternating, HardSharing, InvalidInputError, TensorData, Trainer
from jointrain.networks import CategoryEmbeddings, Dropout
from jointrain.task import CodeColumns
from jointrain.training import _compilation
from tests.training._rank_runs import TASKS, data


class By(nn.Module):
    """A layer that is a function of its inputs while it is trained."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs) if self.training else inputs


class Checkpointed(nn.Sequential):
    """Layers that the backward pass goes through again."""

    def forward(self, inputs: Tensor) -> Tensor:
        return checkpoint(super().forward, inputs, use_reentrant=False)


class Frozen(nn.BatchNorm1d):
    """Batch normalisation with statistics that stay."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


class Attention(nn.Module):
    """Attention of two places of a row to each other; places first if so asked."""

    def __init__(self, layer: nn.Module, *, rows_first: bool = True) -> None:
        super().__init__()
        self.layer, self.rows_first = layer, rows_first

    def forward(self, inputs: Tensor) -> Tensor:
        given = inputs.unflatten(1, (2, 4))
        if self.rows_first:
            return self.layer(given).flatten(1)
        return self.layer(given.transpose(0, 1)).transpose(0, 1).flatten(1)


class Recurrent(nn.Module):
    """A recurrent layer over two places of a row."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.unflatten(1, (2, 4)))[0].flatten(1)


def _encoder(batch_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 1, 4, dropout=0.3, batch_first=batch_first)
    layer.self_attn.dropout = 0.0
    return layer


def _stochastic_depth(x: Tensor) -> Tensor:
    return x * (torch.rand(1, dtype=x.dtype) < 0.7)


GENERATOR = torch.Generator()

EXACT: dict[str, Any] = {
    "dropout of two kinds": lambda: nn.Sequential(nn.Dropout(0.2), nn.Tanh(), Dropout(0.2)),
    "dropout of channels": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4)), nn.Dropout1d(0.4), nn.Unflatten(2, (2, 2)), nn.Dropout2d(0.4),
        nn.Unflatten(3, (1, 2)), nn.Dropout3d(0.4), nn.Flatten(),
    ),
    "dropout below checkpoints": lambda: Checkpointed(
        nn.Linear(8, 8), nn.Dropout(0.4), nn.Tanh(), Dropout(0.4), nn.Linear(8, 8)
    ),
    "attention": lambda: Attention(_encoder(True)),
    "one number for all rows": lambda: By(_stochastic_depth),
    "a generator of one's own": lambda: By(lambda x: x + torch.rand(8, generator=GENERATOR)),
    "frozen statistics": lambda: Frozen(8),
    "normalised by row": lambda: nn.Sequential(
        nn.LayerNorm(8), nn.Unflatten(1, (2, 4)), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2),
        nn.Flatten(),
    ),
}  # fmt: skip
"""Layers that several processes compute as one does."""

REFUSED: dict[str, Any] = {
    "batch normalisation": lambda: nn.BatchNorm1d(8),
    "dropout as a function": lambda: By(lambda x: functional.dropout(x, 0.2)),
    "noise": lambda: By(lambda x: x + torch.randn_like(x)),
    "noise of a generator": lambda: By(
        lambda x: x + torch.rand(len(x), 1, generator=GENERATOR)
    ),
    "dropout of another kind": lambda: nn.AlphaDropout(0.2),
    "dropout of attention": lambda: Attention(
        nn.TransformerEncoderLayer(4, 1, 4, dropout=0.3, batch_first=True)
    ),
    "dropout of recurrent layers": lambda: Recurrent(nn.LSTM(4, 4, 2, dropout=0.3)),
    "rows second": lambda: Attention(_encoder(False), rows_first=False),
    "rows and places in one": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4)), By(lambda x: x), nn.Flatten(0, 1), nn.Dropout(0.2),
        nn.Unflatten(0, (-1, 2)), nn.Flatten(),
    ),
}  # fmt: skip
"""Layers that they would not, and which they refuse."""


def _trainer(layer: Any, strategy: str | None, **options: Any) -> Trainer:
    torch.manual_seed(0)
    GENERATOR.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), layer(), nn.Linear(8, 8))
    heads = {task.name: nn.Linear(8, task.output_size) for task in TASKS}
    settings = {"batch_size": 10, "epochs": 2, "device": "cpu", "seed": 3} | options
    return Trainer(HardSharing(trunk, heads).double(), TASKS, strategy=strategy, **settings)


def trained(name: str, strategy: str | None, compiled: bool = False) -> dict[str, Tensor]:
    """Return the weights of a network with a layer after a training."""
    _compilation.BACKEND = "aot_eager"
    options = {"compile": True, "schedule": Alternating()} if compiled else {}
    trainer = _trainer(EXACT[name], strategy, **options)
    trainer.fit(data(37, 1), data(23, 2))
    torch.compiler.reset()
    assert {type(layer) for layer in trainer.network.modules()} == {
        type(layer) for layer in _trainer(EXACT[name], "alone").network.modules()
    }
    return dict(trainer.network.state_dict())


def refused(name: str, strategy: str) -> tuple[str, bool, bool]:
    """Return why a layer is refused, and whether random states and weights are as before."""
    made = _trainer(REFUSED[name], strategy)
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    states = [torch.get_rng_state(), GENERATOR.get_state()]
    python = random.getstate()
    try:
        made.fit(data(37, 1), data(23, 2))
    except InvalidInputError as error:
        after = made.network.state_dict()
        same = all(torch.equal(value, after[name]) for name, value in before.items())
        again = [torch.get_rng_state(), GENERATOR.get_state()]
        alike = all(map(torch.equal, states, again)) and python == random.getstate()
        return str(error), same, alike
    raise AssertionError(f"{name} was not refused")


def with_codes(strategy: str | None) -> dict[str, Tensor]:
    """Return the weights of a network that takes some ids as unseen while it is trained."""
    torch.manual_seed(0)
    given = data(64, 1)
    ids = torch.randint(1, 5, (64, 1), generator=torch.Generator().manual_seed(4)).double()
    rows = TensorData(torch.cat([given.inputs, ids], 1), given.targets)
    first = CategoryEmbeddings(5, [CodeColumns("user", place=4, count=5)])
    trunk = nn.Sequential(first, nn.Linear(first.out_features, 8))
    heads = {task.name: nn.Linear(8, task.output_size) for task in TASKS}
    trainer = Trainer(
        HardSharing(trunk, heads).double(), TASKS, strategy=strategy, device="cpu",
        batch_size=16, epochs=8, seed=3,
    )  # fmt: skip
    trainer.fit(rows)
    return dict(trainer.network.state_dict())
