"""Which columns of text hold language, and which hold codes, names of one word, or several values.

The rule, in order, for the distinct values of a column (at most 1000 of them, evenly spread):

1. A value looks like language if it is a web address (``http://``, ``https://`` or ``www.``), has
   two words or more between spaces, or six letters in a row of a script that is written without
   spaces. A word has two letters or more and no digit; marks around and within it do not count.
2. A column is language if half of its values or more look so.

So sentences, titles, addresses and full names are language; postcodes, article numbers, UUIDs,
e-mail addresses, user names and cities of one word are not.
"""

from __future__ import annotations

import re
from itertools import islice

import polars as pl

_SAMPLE = 1000
_ADDRESS = re.compile(r"(https?://|www\.)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’.\-/&])*[^\W\d_]")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{6}")
_MARKS = " \t.,;:!?()[]{}\"'“”„‚‘’«»…-–—*#"
_DIGITS_OF_HASHES = re.compile(r"\{?[0-9a-fA-F]{8}[0-9a-fA-F-]{8,}\}?")


def looks_like_language(value: str) -> bool:
    """Return whether a value looks like language rather than like a code or a name."""
    if _ADDRESS.match(value) or _UNSPACED.search(value):
        return True
    words = (_WORD.fullmatch(part.strip(_MARKS)) for part in value.split())
    return len(list(islice(filter(None, words), 2))) == 2


def is_language(distinct: pl.Series) -> bool:
    """Return whether a column with these distinct values is language."""
    sample = _sampled(distinct)
    return 2 * sum(map(looks_like_language, sample)) >= len(sample)


def are_hashes(distinct: pl.Series) -> bool:
    """Return whether values are UUIDs or hashes, whose characters say nothing."""
    return all(_DIGITS_OF_HASHES.fullmatch(value) for value in _sampled(distinct))


def _sampled(distinct: pl.Series) -> list[str]:
    known = distinct.drop_nulls().sort()
    return known.gather_every(max(1, -(-len(known) // _SAMPLE))).to_list()


BAG_MARK = "|"
"""What stands between the values of a bag that is recognised."""


def is_bag(distinct: pl.Series) -> bool:
    """Return whether values are bags of others, with ``|`` between them.

    They are if a tenth of the distinct values has the mark, no item is empty, and there are at most
    half as many items as values: the same ones come together in other ways.
    """
    known = distinct.drop_nulls()
    marked = int(known.str.contains(BAG_MARK, literal=True).sum())
    if 10 * marked < len(known) or not marked:
        return False
    items = known.str.split(BAG_MARK).explode().str.strip_chars()
    return not (items == "").any() and 2 * items.n_unique() <= len(known)
