"""Text files in other encodings, as UTF-8."""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from encodings.aliases import aliases
from typing import NoReturn

from jointrain.errors import InvalidInputError, closest

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    # the marks of UTF-32 begin with those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_LIKELY = ("cp1252", "cp1250", "cp1251", "cp1253", "shift_jis", "gb18030", "euc_kr", "cp850")
_ASIAN = "漢字"
"""Letters that take several bytes in every encoding that has them."""
_BESIDE_LETTERS = frozenset("€£°²³µ·–—‘’“”„…§«»©®™±×½¼¾")


def to_utf8(data: bytes, where: str, encoding: str | None) -> tuple[bytes, tuple[str, ...]]:
    """Return a text file's bytes as UTF-8 without byte order mark, and notes.

    UTF-8 is not checked here: the reader of the table does, and asks `refuse_not_utf8` for words.

    Args:
        data: The bytes of the file.
        where: What messages call it.
        encoding: Its encoding; None takes it from the byte order mark, or else as UTF-8.

    Raises:
        InvalidInputError: The encoding is unknown, or the bytes are not in it, or hold NUL.
    """
    notes: tuple[str, ...] = ()
    said = encoding is not None
    if encoding is None:
        _, encoding, name = next(
            (known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8", "UTF-8")
        )
        if encoding != "utf-8":
            notes = (f"{where} was read as {name} by its byte order mark",)
    elif _normal_name(encoding) == "utf-8":
        encoding = "utf-8"
    if encoding == "utf-8":
        data = data.removeprefix(codecs.BOM_UTF8)
    else:
        decoded = _decoded(data, where, encoding)
        if said:
            refuse_utf8(data, where, encoding)
        data = decoded.encode()
    if b"\0" in data:
        _refuse_nul(data, where)
    return data, notes


def refuse_not_utf8(data: bytes, where: str) -> None:
    """Refuse bytes that are not UTF-8, naming the first, its line and likely encodings."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        _refuse_byte(data, where, error.start)


def line_of(data: bytes, position: int) -> int:
    """Return the line, from 1, of the byte at a position."""
    before = data[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1


def check_encoding(encoding: str) -> None:
    """Refuse a name that is no encoding of text.

    Raises:
        InvalidInputError: It is none.
    """
    _normal_name(encoding)


def _normal_name(encoding: str) -> str:
    try:
        known = codecs.lookup(encoding)
        "".encode(known.name)  # some codecs are none of text
    except LookupError:
        hint = closest(encoding, sorted(set(aliases.values())))
        raise InvalidInputError(
            f"encoding {encoding!r} is unknown{hint}; examples are utf-8, utf-16, cp1252 (Windows "
            "Western), latin-1, cp1251 (Windows Cyrillic), shift_jis, gb18030"
        ) from None
    return known.name.removesuffix("-sig") if known.name.startswith("utf-8") else known.name


def _decoded(data: bytes, where: str, encoding: str) -> str:
    name = _normal_name(encoding)
    try:
        return data.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.decode(name, errors="replace")[: error.start].count("\n") + 1
        if not name.startswith(("utf-16", "utf-32")):
            line = line_of(data, error.start)
        raise InvalidInputError(
            f"{where} is not in the encoding {encoding}: line {line} holds the byte "
            f"0x{data[error.start]:02x}; say another with --encoding"
        ) from None
    except UnicodeError as error:  # UTF-16 that ends in the middle, or without what it needs
        raise InvalidInputError(
            f"{where} is not in the encoding {encoding} ({error}); say another with --encoding"
        ) from None


def refuse_utf8(data: bytes, where: str, encoding: str) -> None:
    """Refuse to read UTF-8 in an encoding of one byte a letter, which never fails.

    Raises:
        InvalidInputError: A word, and what it would be, are named.
    """
    if data.isascii() or b"\0" in data or len(_ASIAN.encode(encoding, "replace")) != len(_ASIAN):
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    words = (match[0] for match in re.finditer(r"[^\s,;|]+", text))
    word = next(word for word in words if not word.isascii())
    raise InvalidInputError(
        f"{where} is UTF-8 with words such as {word!r}, which the encoding {encoding} would read "
        f"as {word.encode().decode(encoding, 'replace')!r}; say --encoding utf-8"
    )


def _refuse_byte(data: bytes, where: str, position: int) -> NoReturn:
    start = max(data.rfind(end, 0, position) for end in (b"\n", b"\r", b",", b";", b"\t", b"|")) + 1
    ends = [data.find(end, position) for end in (b"\n", b"\r", b",", b";", b"\t", b"|")]
    end = min((found for found in ends if found >= 0), default=len(data))
    field = data[max(start, position - 20) : min(end, position + 20)]
    likely = [(name, read) for name in _LIKELY if (read := _as_words(field, name)) is not None]
    distinct = {read: name for name, read in reversed(likely)}
    shown = [f"--encoding {name} reads {read!r}" for read, name in reversed(distinct.items())][:3]
    advice = f"there {', '.join(shown)}" if shown else "say its encoding with --encoding"
    raise InvalidInputError(
        f"{where} is not UTF-8: line {line_of(data, position)} holds the byte "
        f"0x{data[position]:02x}; {advice}"
    )


def _as_words(field: bytes, encoding: str) -> str | None:
    """Return the field in an encoding, None if it is not text of one script in it."""
    try:
        text = field.decode(encoding)
    except UnicodeDecodeError:
        return None
    scripts = set()
    for character in text:
        if character.isascii():
            if character.isalpha():
                scripts.add("LATIN")
        elif unicodedata.category(character)[0] in "LM":
            script = unicodedata.name(character, "?").split(" ")[0].split("-")[0]
            scripts.add("CJK" if script in ("HIRAGANA", "KATAKANA") else script)
        elif character not in _BESIDE_LETTERS:
            return None
    letters = [character for character in text if character.isalpha()]
    if scripts == {"LATIN"} and 2 * sum(map(str.isascii, letters)) < len(letters):
        return None  # words of Latin letters are mostly plain ones
    if len(scripts) > 1 or any(
        one.islower() and other.isupper() for one, other in itertools.pairwise(text)
    ):
        return None
    return text.strip(" \"'")


def _refuse_nul(data: bytes, where: str) -> NoReturn:
    position = data.index(b"\0")
    head = data[: 1 << 12]
    if head.count(b"\0", 0) > len(head) // 4:
        first = "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        advice = f"it may be UTF-16: try --encoding {first}"
    else:
        advice = "the file is damaged or no text; fetch or write it again"
    raise InvalidInputError(f"{where} holds a NUL byte in line {line_of(data, position)}; {advice}")
