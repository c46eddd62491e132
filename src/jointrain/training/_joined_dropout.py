"""Dropout of batches that several processes share: masks are those that one process would draw."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from jointrain.networks import drawn_for_rows, forget_drawn_rows


class _Joined(nn.modules.dropout._DropoutNd):
    """Torch's dropout of some kind, whose factors are drawn for all rows of a batch."""

    kind: str

    def forward(self, input: Tensor) -> Tensor:
        """Return the inputs, some of them zeroed while training."""
        if not self.training or not self.p:
            return input
        return input * drawn_for_rows(input, self.kind, self.p)


class _JoinedDropout(_Joined):
    kind = "dropout"


class _JoinedDropout1d(_Joined):
    kind = "dropout1d"


class _JoinedDropout2d(_Joined):
    kind = "dropout2d"


class _JoinedDropout3d(_Joined):
    kind = "dropout3d"


_JOINED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: _JoinedDropout,
    nn.Dropout1d: _JoinedDropout1d,
    nn.Dropout2d: _JoinedDropout2d,
    nn.Dropout3d: _JoinedDropout3d,
}
_PARTED = {joined: plain for plain, joined in _JOINED.items()}


def join_dropout(network: nn.Module) -> None:
    """Let torch's dropout layers draw for all rows of a batch, as `jointrain.networks.Dropout`."""
    for layer in network.modules():
        layer.__class__ = _JOINED.get(type(layer), type(layer))


def part_dropout(networks: Iterable[nn.Module]) -> None:
    """Undo `join_dropout`, also in copies."""
    forget_drawn_rows()
    for network in networks:
        for layer in network.modules():
            layer.__class__ = _PARTED.get(type(layer), type(layer))
