"""What a server takes from strangers: sizes, times, and the token that they must know."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from jointrain.errors import InvalidInputError

TOKEN_VARIABLE = "JOINTRAIN_TOKEN"
"""The environment variable with the token that requests must bring."""


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Args:
        rows: Rows in a request; default 10,000.
        megabytes: Size of a request's body, in units of a million bytes; default 10.
        seconds: Until the whole body must be there; default 30.
        waiting: Rows of all requests that wait at once; default ten times `rows`.
        drain: Seconds that requests have to end after SIGTERM; default 30.
    """

    rows: int = 10_000
    megabytes: float = 10.0
    seconds: float = 30.0
    waiting: int | None = None
    drain: int = 30

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        for name in ("rows", "megabytes", "seconds"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InvalidInputError(f"limit of {name} must be above 0 and finite, got {value}")

    @property
    def bytes(self) -> int:
        """Bytes in a request's body."""
        return int(self.megabytes * 1_000_000)

    @property
    def waiting_rows(self) -> int:
        """Rows that wait at once."""
        return 10 * self.rows if self.waiting is None else self.waiting


def token_of_environment() -> str | None:
    """Return the token that requests must bring; None if the variable is not set.

    Raises:
        InvalidInputError: It is set to nothing, or to what no header can hold.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInputError(
            f"{TOKEN_VARIABLE} must be one or more ASCII characters without spaces; unset it to "
            "serve without a token"
        )
    return token
