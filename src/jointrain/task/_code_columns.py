"""Columns of codes among the inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass

from jointrain.errors import InvalidInputError

MISSING_CODE, UNSEEN_CODE, RARE_CODE = 0, 1, 2
"""What has a code of its own in every column; the codes of values follow."""

LARGEST_CODE = 2**24
"""Beyond it, numbers of single precision are no longer all whole ones."""


@dataclass(frozen=True)
class CodeColumns:
    """Inputs that are codes of one column's values, not numbers to compute with.

    Args:
        name: The column's name.
        place: The first of the inputs, from 0.
        count: How many codes there are: 0 is a missing value, 1 an unseen one, then come values.
        items: How many inputs: 1 for an id; more for a bag of at most so many values, filled up
            with 0.

    Raises:
        InvalidInputError: There is no code of a value, or more than numbers of single precision
            tell apart.
    """

    name: str
    place: int
    count: int
    items: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.count <= LARGEST_CODE or self.items < 1 or self.place < 0:
            raise InvalidInputError(
                f"codes of {self.name!r} must be from 2 to {LARGEST_CODE} in one input or more, "
                f"got {self.count} in {self.items} from input {self.place}"
            )

    @property
    def places(self) -> range:
        """The inputs, from 0."""
        return range(self.place, self.place + self.items)
