"""What readers of files raise on content that nobody wrote on purpose."""

from __future__ import annotations


class DamagedError(ValueError):
    """The bytes are no such file; the message says what is wrong with them."""
