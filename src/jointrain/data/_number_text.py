"""Numbers as people write them: which marks a column uses, and what its cells are worth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

_UNITS = """
    % ‰ $ € £ ¥ ₹ USD EUR GBP CHF JPY US$
    kg g mg µg μg ug ng t lb lbs oz st km m dm cm mm µm μm um nm mi mile miles yd ft in ha
    m² m2 m³ m3 km² km2 cm² cm2 cm³ cm3 l L dl dL cl cL ml mL µl μl ul gal
    h hr hrs min mins s sec secs ms µs μs us ns d day days week weeks month months yr yrs year years
    ° °C °F km/h kmh mph m/s cm/s kn rpm bpm Hz kHz MHz GHz W kW MW GW Wh kWh MWh J kJ MJ cal kcal
    V mV kV mA Ah mAh Ω ohm kN Pa hPa kPa MPa bar mbar psi atm mmHg kB KB MB GB TB KiB MiB GiB
    dB dBm ppm ppb pH mol mmol mmol/l mmol/L µmol/L mg/l mg/L mg/dl mg/dL g/l g/L g/dl g/dL ng/ml
    ng/mL IU U/L IU/L px pcs hp PS cc kg/m² kg/m2 kg/m³ kg/m3 g/cm³ g/cm3
"""
UNITS = frozenset(_UNITS.split())
"""What may stand beside a number and make it no text; case counts."""

_PREFIX = r"[$€£¥₹]|US\$|(?:USD|EUR|GBP|CHF|JPY)"
_CELL = (
    r"^(?P<limit>(?:[<>]=?|[≤≥~≈])?)\s*(?P<open>\(?)\s*(?P<sign>[-+]?)\s*"
    rf"(?P<prefix>(?:{_PREFIX})?)\s*(?P<second>[-+]?)"
    r"(?P<body>\d[\d.,'_ ]*|[.,]\d+)(?P<exponent>(?:[eE][-+]?\d+)?)\s*"
    r"(?P<suffix>(?:[^\d\s.,()+\-'_/:<>=][^()]{0,11}?)?)\s*(?P<close>\)?)(?P<after>-?)$"
)
EXACT = 2.0**53
"""Whole numbers from here on are rounded by floats."""

_SPACES = "[\u00a0\u202f\u2009\u2007]"
_DIGITS = {
    chr(zero + digit): str(digit) for zero in (0x0660, 0x06F0, 0xFF10) for digit in range(10)
} | {"\u066b": ".", "\u066c": ",", "\uff0e": ".", "\uff0c": ",", "\uff0b": "+"}
"""Arabic, Persian and full-width digits and marks, and what they stand for."""
_MINUS = "[\u2212\u2013\ufe63\uff0d]"
_MINUS_BEHIND = r"[^.,][-\u2212\u2013\ufe63\uff0d]$"
_LIKE_GRADE = r"^\d{1,2}[-\u2212\u2013\ufe63\uff0d]?$"
_GROUPED = r"^\d{1,3}(?:[ '_]\d{3})+"
_LEADING_ZERO = r"^[-+]?0\d+$"


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written.

    Args:
        decimal: What stands before the fraction.
        thousands: What stands between the thousands; "" for nothing.
        unit: What stands before or behind every number, such as ``$``, ``%`` or ``kg``.
        limits: Whether ``<0.5`` and ``~0.5`` are read as 0.5.
        grouped: Whether the point of ``1.234`` stands between thousands where commas are decimal;
            else a cell has to show it by a fraction or by two groups.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    limits: bool = False
    grouped: bool = True


@dataclass(frozen=True)
class Marks:
    """What the cells of a column tell of its decimal mark.

    Args:
        point: A cell in which ``.`` can only be the decimal mark, None if there is none.
        comma: The same of ``,``.
        unclear: A cell such as ``1.234`` or ``1,234`` whose mark may be either.
        thousands: A mark of thousands other than point and comma, "" if there is none.
    """

    point: str | None
    comma: str | None
    unclear: str | None
    thousands: str

    @property
    def says_nothing(self) -> bool:
        """Whether there are marks, but none that leaves no doubt."""
        return self.unclear is not None and self.point is None and self.comma is None


def parse_numbers(text: pl.Series, form: NumberFormat) -> pl.Series:
    """Return the numbers of cells without outer spaces; null where a cell is none.

    Each cell is read by itself: what it is worth doesn't depend on the others. Integers if all
    are, else floats; null, too, where a number is too large for one.
    """
    known = text.count()
    native = form.decimal == "." and not form.unit
    if native:
        for dtype in (pl.Int64, pl.Float64):
            numbers = text.cast(dtype, strict=False)
            if numbers.count() == known:
                return exact_numbers(text, numbers)
    cells = split_cells(text)
    mark, group = re.escape(form.decimal), re.escape(form.thousands)
    # in India, the groups before the last one have two digits
    groups = rf"[1-9]\d{{0,2}}(?:{group}\d{{3}})+|[1-9]\d?(?:{group}\d{{2}})+{group}\d{{3}}"
    whole = rf"{groups}|\d+" if group else r"\d+"
    fits = (
        cells["body"].str.contains(rf"^(?:(?:{whole})(?:{mark}\d*)?|{mark}\d+)$")
        & (cells["unit"] == form.unit)
        & ((cells["limit"] == "") | form.limits)
    ).fill_null(value=False)
    # where commas are decimal, a lone point may be that of a file in the other way of writing
    if not form.grouped and form.thousands == ".":
        fits &= ~cells["body"].str.contains(rf"^\d{{1,3}}{group}\d{{3}}$").fill_null(value=False)
    plain = cells["body"].set(~fits, None)
    if form.thousands:
        plain = plain.str.replace_all(form.thousands, "", literal=True)
    plain = plain.str.replace(form.decimal, ".", literal=True)
    signed = cells["sign"] + plain + cells["exponent"]
    whole_numbers = signed.cast(pl.Int64, strict=False)
    if whole_numbers.count() == known:
        return whole_numbers.alias(text.name)
    numbers = signed.cast(pl.Float64, strict=False)
    if numbers.count() == known:
        return exact_numbers(signed, numbers).alias(text.name)
    if native:
        numbers = text.cast(pl.Float64, strict=False).fill_nan(None).fill_null(numbers)
    return _finite(numbers).alias(text.name)


def _finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(numbers.is_infinite().fill_null(value=False), None)


def exact_numbers(text: pl.Series, numbers: pl.Series) -> pl.Series:
    """Return numbers as integers where they are whole and floats would round them.

    Args:
        text: The cells, as digits with a point, null where missing.
        numbers: What they are worth, NaN where missing.
    """
    if numbers.dtype != pl.Float64:
        return numbers
    numbers = numbers.fill_nan(None)
    if not (numbers.abs() >= EXACT).any():
        return numbers
    whole = text.str.replace(r"\.0*$", "").cast(pl.Int128, strict=False)
    if whole.count() < text.count():
        return _finite(numbers)
    shorter = whole.cast(pl.Int64, strict=False)
    return shorter if shorter.count() == whole.count() else whole


def are_whole(text: pl.Series, numbers: pl.Series) -> bool:
    """Return whether numbers are whole ones, of which none is rounded; arguments as above."""
    numbers = exact_numbers(text, numbers)
    if not numbers.dtype.is_float():
        return True
    return bool(((numbers == numbers.round()) & (numbers.abs() < EXACT)).all())


def split_cells(text: pl.Series) -> pl.DataFrame:
    """Return limit, sign, unit, body and exponent of cells; nulls where a cell is no number.

    Shape:
        returns: [n, 5], all text.
    """
    plain = (
        text.str.replace_all(_SPACES, " ")
        .str.replace_all(_MINUS, "-")
        .str.replace_all("’", "'", literal=True)
        .str.replace_many(_DIGITS)
        .str.strip_chars()
    )
    cells = plain.str.extract_groups(_CELL).struct.unnest()
    body, suffix = pl.col("body").str.strip_chars(), pl.col("suffix").str.strip_chars()
    # a minus behind a decimal mark stands for cents, as in 5,-
    after = (pl.col("after") == "-") & ~body.str.contains(r"[.,]$")
    signs = [*(pl.col(name) != "" for name in ("sign", "second", "close")), after]
    fits = (
        ((pl.col("open") == "") == (pl.col("close") == ""))
        & ((pl.col("prefix") == "") | (suffix == ""))
        & (pl.sum_horizontal(sign.cast(pl.Int8) for sign in signs) <= 1)
    )
    minus = (pl.col("sign") == "-") | (pl.col("second") == "-")
    negative = minus | after | (pl.col("close") == ")")
    return cells.select(
        pl.when(fits).then(column).otherwise(None).alias(name)
        for name, column in (
            ("limit", pl.col("limit")),
            ("sign", pl.when(negative).then(pl.lit("-")).otherwise(pl.lit(""))),
            ("unit", pl.col("prefix") + suffix),
            ("body", body),
            ("exponent", pl.col("exponent")),
        )
    )


def marks_of(cells: pl.DataFrame, text: pl.Series) -> tuple[Marks, pl.Series]:
    """Return what split cells tell of the decimal mark, and which of them are numbers at all.

    Args:
        cells: As `split_cells` gives them.
        text: The cells as they are written.

    Shape:
        returns: the second: [n], boolean.
    """
    body, exponent = cells["body"], (cells["exponent"] != "").fill_null(value=False)
    grouped = body.str.contains(_GROUPED + r"(?:[.,]\d*)?$").fill_null(value=False)
    found: dict[str, pl.Series] = {}
    for mark, other in ((".", ","), (",", ".")):
        here, there = re.escape(mark), re.escape(other)
        unclear = body.str.contains(rf"^[1-9]\d{{0,2}}{here}\d{{3}}$") & ~exponent
        one = body.str.contains(rf"^\d*{here}\d*$") & ~unclear
        both = body.str.contains(rf"^\d{{1,3}}(?:{there}\d{{2,3}})*{there}\d{{3}}{here}\d*$")
        twice = body.str.contains(rf"^\d{{1,3}}(?:{there}\d{{2,3}})+{there}\d{{3}}$")
        after_group = grouped & body.str.contains(here + r"\d*$")
        found["unclear " + mark] = unclear.fill_null(value=False)
        found[mark] = (one | both | twice | after_group).fill_null(value=False)
    plain = body.str.contains(r"^\d+$").fill_null(value=False)
    unclear = found["unclear ."] | found["unclear ,"]
    numbers = plain | grouped | unclear | found["."] | found[","]
    thousands = body.filter(grouped).str.extract(r"([ '_])")

    def first(mask: pl.Series) -> Any:
        return text.filter(mask)[0] if mask.any() else None

    marks = Marks(
        first(found["."]),
        first(found[","]),
        first(unclear),
        thousands[0] if len(thousands) else "",
    )
    return marks, numbers


def number_format(
    marks: Marks, evidence: frozenset[str], *, semicolons: bool
) -> NumberFormat | None:
    """Return the decimal and thousands mark of a column; None if they can't be told.

    A cell in which one mark can only be the decimal one decides for its column. Where all cells
    are like ``1.234``, the decimal marks of the file's other columns decide. Without any, a point
    is decimal, except between semicolons, where points between thousands are as common.

    Args:
        marks: What the column's cells tell.
        evidence: The decimal marks of the file's other columns.
        semicolons: Whether the file's fields are separated by semicolons.
    """
    if marks.point is not None and marks.comma is not None:
        return None
    own = {mark for mark, cell in ((".", marks.point), (",", marks.comma)) if cell is not None}
    if not own and marks.unclear is not None and not marks.thousands:
        own = set(evidence)
        if not own and "." in marks.unclear and not semicolons:
            own = {"."}
        if len(own) != 1:
            return None
    decimal = own.pop() if own else "."
    return NumberFormat(decimal, marks.thousands or ("," if decimal == "." else "."))


def leading_zero(text: pl.Series) -> str | None:
    """Return a cell such as ``00123``, which is a code and no number, None if there is none."""
    starting = text.filter(text.str.starts_with("0") | text.str.starts_with("-0"))
    codes = starting.filter(starting.str.contains(_LEADING_ZERO))
    return codes[0] if len(codes) else None


def minus_behind(text: pl.Series) -> str | None:
    """Return a number such as ``12-``, None if there is none; ``12.50-`` leaves no doubt."""
    found = text.filter(text.str.contains(_MINUS_BEHIND) & ~text.str.contains(r"\d[.,'_ ]\d"))
    return found[0] if len(found) else None


def are_like_grades(text: pl.Series) -> bool:
    """Return whether numbers with a minus behind some may be grades, such as ``1``, ``1-``."""
    return bool(text.str.contains(_LIKE_GRADE).all()) and minus_behind(text) is not None


def only_unclear_points(text: pl.Series) -> bool:
    """Return whether a column of numbers has points, each of which may be between thousands."""
    pointed = text.filter(text.str.contains(".", literal=True))
    return len(pointed) > 0 and pointed.str.contains(r"^[-+]?[1-9]\d{0,2}\.\d{3}$").all()
