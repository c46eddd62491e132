"""Embeddings of numeric features: each number becomes a vector before the trunk."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from jointrain.errors import InvalidInputError, closest

EMBEDDINGS = ("linear", "periodic")


class NumericEmbeddings(nn.Module):
    """Turns each of d numbers into a vector, so that the trunk can bend where a feature needs it.

    The layers are those of the authors' package ``rtdl_num_embeddings``.

    Args:
        in_features: Number of features, d.
        kind: ``periodic`` (default; sines and cosines of learned frequencies, then linear and
            ReLU) or ``linear`` (linear, then ReLU).
        width: Length of each vector, e; default 16.
        frequency_scale: Spread of the initial frequencies of ``periodic``, > 0; default 0.05. It
            matters: larger ones fit wigglier functions of a feature.

    Shape:
        forward: [b, d] -> [b, d e].

    Raises:
        InvalidInputError: The kind is unknown or a number is out of range.

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep
        Learning", NeurIPS 2022, sections 3.2 and 3.3; by ``rtdl_num_embeddings``.
    Differs from the source: ``periodic`` is the package's light form, with one linear layer for all
        features.
    """

    def __init__(
        self,
        in_features: int,
        *,
        kind: Literal["linear", "periodic"] = "periodic",
        width: int = 16,
        frequency_scale: float = 0.05,
    ) -> None:
        super().__init__()
        if in_features < 1 or width < 1:
            raise InvalidInputError(
                f"`in_features` and `width` must be at least 1, got {in_features} and {width}"
            )
        if not frequency_scale > 0:
            raise InvalidInputError(f"`frequency_scale` must be positive, got {frequency_scale}")
        self.layers: nn.Module = embedding(kind, in_features, width, frequency_scale)
        self.out_features = in_features * width

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors of all features, one after the other."""
        vectors: Tensor = self.layers(x)  # [b, d, e]
        return vectors.flatten(1)


def embedding(kind: str, features: int, width: int, frequency_scale: float) -> Any:
    """Return the package's layer of a kind.

    Raises:
        InvalidInputError: The kind is unknown.
    """
    # the import stays here: a process that embeds no numbers need not pay for it
    from rtdl_num_embeddings import LinearReLUEmbeddings, PeriodicEmbeddings

    if kind == "linear":
        return LinearReLUEmbeddings(features, width)
    if kind == "periodic":
        return PeriodicEmbeddings(features, width, frequency_init_scale=frequency_scale, lite=True)
    raise InvalidInputError(
        f"the kind of numeric embeddings must be one of {', '.join(EMBEDDINGS)}, got {kind!r}"
        f"{closest(kind, EMBEDDINGS)}"
    )
