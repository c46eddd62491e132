"""Embeddings of ids: codes among the inputs become learned vectors before the trunk."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.networks._joined_rows import drawn_for_rows
from jointrain.task import UNSEEN_CODE, CodeColumns

LARGEST_WIDTH = 32
"""No vector is longer, without what it has for the products."""

SPREAD = 0.1
"""Standard deviation of the vectors at first."""

TAKEN_AS_UNSEEN = 5 / 256
"""Share of the values that stand for an unseen one in a step of training."""


def embedding_width(count: int) -> int:
    """Return the length of the vectors of a column of so many codes: count^(1/4), 2 to 32.

    The fourth root is the rule of "Introducing TensorFlow Feature Columns" (Google Developers Blog,
    2017).
    """
    return min(LARGEST_WIDTH, max(2, round(math.sqrt(math.sqrt(count)))))


class CategoryEmbeddings(nn.Module):
    """Puts a learned vector in the place of each code, and passes other numbers on.

    Behind the numbers come the vectors of each column of codes, the mean of the vectors where a
    column is a bag of several, and, with two columns or more, the products of all pairs of second
    vectors, summed over the pairs: what a trunk of plain layers learns badly from vectors alone
    (Rendle et al., "Neural Collaborative Filtering vs. Matrix Factorization Revisited", RecSys
    2020). The second vectors are used for nothing else: otherwise they learn what each value does
    by itself, and the products stay small. They all are as long as the longest of the first ones.

    Code 0 is a missing value, which has a vector of its own; in a bag it is nothing. Code 1 is a
    value that training never sees: there, each code stands for it with probability 5/256, so that
    its vector is that of a value drawn from the rows. Codes of 2 and more are values.

    Args:
        in_features: Number of inputs, d.
        codes: Which of them are codes, at least one.

    Shape:
        forward: [b, d] -> [b, out_features]; codes are whole numbers of any type.

    Raises:
        InvalidInputError: There are no columns of codes, they overlap or lie outside the inputs; in
            `forward`, a code is none of its column's.

    Source: Rendle, "Factorization Machines", ICDM 2010, equations 1 and 5 for the products; He &
        Chua, "Neural Factorization Machines", SIGIR 2017, section 3.1, for their use below layers.
    Differs from the source: vectors beside those of the products in place of one number for each
        value.

    Examples:
        >>> from jointrain.task import CodeColumns
        >>> layer = CategoryEmbeddings(3, [CodeColumns("user", place=1, count=10)])
        >>> layer(torch.tensor([[0.5, 7.0, -1.0]])).shape
        torch.Size([1, 4])
    """

    numbers: Tensor

    def __init__(self, in_features: int, codes: Sequence[CodeColumns]) -> None:
        super().__init__()
        places = [place for column in codes for place in column.places]
        if not codes or len({*places}) < len(places) or not set(places) <= set(range(in_features)):
            raise InvalidInputError(
                f"columns of codes must be at least one, and each input at most one of them: got "
                f"inputs {places} of {in_features}"
            )
        self.codes = tuple(codes)
        self.in_features = in_features
        numbers = [place for place in range(in_features) if place not in {*places}]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        self.widths = [embedding_width(column.count) for column in codes]
        self.product_width = max(self.widths) if len(codes) > 1 else 0
        self.vectors = nn.ParameterList()
        for column in codes:
            width = embedding_width(column.count) + self.product_width
            vectors = SPREAD * torch.randn(column.count, width)
            if column.items > 1:
                vectors[0] = 0
            self.vectors.append(nn.Parameter(vectors))
        self.out_features = len(numbers) + sum(self.widths) + self.product_width

    def forward(self, inputs: Tensor) -> Tensor:
        """Return numbers, vectors and products, [b, d']."""
        parts = [inputs[:, self.numbers]]
        found = [
            self._look_up(vectors, inputs[:, column.place : column.place + column.items], column)
            for column, vectors in zip(self.codes, self.vectors, strict=True)
        ]
        parts += [one[:, :width] for one, width in zip(found, self.widths, strict=True)]
        if self.product_width:
            factors = torch.stack([one[:, -self.product_width :] for one in found])
            parts.append((factors.sum(0).square() - factors.square().sum(0)) / 2)
        return torch.cat(parts, 1)

    def _look_up(self, vectors: Tensor, given: Tensor, column: CodeColumns) -> Tensor:
        codes = given.long()
        _check(codes, given, column)
        if self.training:
            noise = drawn_for_rows(codes, "bytes")
            unseen = (noise < round(256 * TAKEN_AS_UNSEEN)) & (codes > UNSEEN_CODE)
            codes = codes.masked_fill(unseen, UNSEEN_CODE)
        if column.items == 1:
            return functional.embedding(codes[:, 0], vectors)
        return functional.embedding_bag(codes, vectors, mode="mean", padding_idx=0)


def _check(codes: Tensor, given: Tensor, column: CodeColumns) -> None:
    """Refuse codes that a column does not have; on a GPU, torch's own check has to do.

    So it has where the network is traced for a compiler or an exporter: there are no values then.
    """
    if torch.compiler.is_compiling() or codes.device.type != "cpu" or not codes.numel():
        return
    if given.is_floating_point() and not torch.equal(codes.to(given.dtype), given):
        first = given[given != given.trunc()]
        if len(first):
            raise InvalidInputError(
                f"code {first[0].item():g} of {column.name!r} is no whole number"
            )
    for code in map(int, torch.aminmax(codes)):
        if not 0 <= code < column.count:
            raise InvalidInputError(
                f"code {code} of {column.name!r} is none of 0 to {column.count - 1}"
            )
