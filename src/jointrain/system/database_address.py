"""Addresses of databases: their parts, and how they are shown."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, unquote_plus

from jointrain.errors import InvalidInputError

_QUERY = re.compile(r"[?&]query=")
_WHAT = re.compile(r"[?&](?:table|query)=")
_ESCAPED_SPACE = re.compile(r"\s*\w+(%[0-9A-Fa-f]{2}|\+)")
_QUOTED_OR_PLUS = re.compile(r"'[^']*'|\"[^\"]*\"|%2B", re.IGNORECASE)


class DatabaseAddress(NamedTuple):
    """An address of a table in a database.

    Args:
        place: What stands before the ``?``.
        table: The name of the table; "" without one.
        query: The query; "" without one.
        rest: What else is said.
    """

    place: str
    table: str
    query: str
    rest: dict[str, str]

    @classmethod
    def of(cls, address: str) -> DatabaseAddress:
        """Read an address.

        All that follows ``query=`` is the query, as it stands; where its spaces are escaped, all of
        it is, and other settings may follow.

        Raises:
            InvalidInputError: A part is given twice, or what is escaped is no UTF-8.
        """
        found = _QUERY.search(address)
        query = "" if found is None else address[found.end() :]
        before = address if found is None else address[: found.start()]
        more = ""
        if not re.search(r"\s", query) and (escaped := _ESCAPED_SPACE.match(query)):
            query, _, more = query.partition("&")
            query = _unescaped(query, address, form=escaped[1] == "+")
        else:
            # of a query that is written as it is, %2B is a plus: no SQL has it outside of quotes
            query = _QUOTED_OR_PLUS.sub(lambda m: "+" if m[0][0] == "%" else m[0], query)
        place, _, said = before.partition("?")
        try:
            pairs = [
                pair
                for text in (said, more)
                for pair in parse_qsl(text, keep_blank_values=True, errors="strict")
            ]
        except UnicodeDecodeError:
            raise _no_text(address) from None
        rest = dict(pairs)
        if len(rest) < len(pairs) or (query and "query" in rest):
            raise InvalidInputError(f"{without_password(address)} says a part twice; drop one")
        return cls(place, rest.pop("table", ""), query, rest)


def _unescaped(text: str, address: str, *, form: bool) -> str:
    try:
        return (unquote_plus if form else unquote)(text, errors="strict")
    except UnicodeDecodeError:
        raise _no_text(address) from None


def _no_text(address: str) -> InvalidInputError:
    return InvalidInputError(
        f"{without_password(address)} has escapes (%XX) that are no UTF-8; write % as %25"
    )


def without_password(text: str) -> str:
    """Return an address, or a text with one, with ``***`` in place of its password."""
    found = _WHAT.search(text)
    end = len(text) if found is None else found.start()
    # a password may hold any letter: it ends at the last @ before what is read
    shown = re.sub(r"(://[^:/@?]*):.*@", r"\1:***@", text[:end], flags=re.DOTALL) + text[end:]
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", shown)
