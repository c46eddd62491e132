import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jointrain.data._number_text import (
    NumberFormat,
    leading_zero,
    marks_of,
    number_format,
    only_unclear_points,
    parse_numbers,
    split_cells,
)


def marks(*cells):
    text = pl.Series(cells)
    return marks_of(split_cells(text), text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 3)), min_size=1, max_size=5),
    st.sampled_from([(".", ","), (",", "."), (".", " "), (",", "'"), (".", "")]),
    st.sampled_from(["", "%", "kg", "$"]),
)
def test_formatted_numbers_come_back(values, mark_pair, unit):
    decimal, thousands = mark_pair
    cells = [
        f"{value:,.3f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        + (f" {unit}" if unit else "")
        for value in values
    ]
    found = parse_numbers(pl.Series(cells), NumberFormat(decimal, thousands, unit))
    assert found.to_list() == [float(f"{value:.3f}") for value in values]


@pytest.mark.parametrize(
    "cell",
    ["1,0,000", "12 34", "1.2.3", "1..2", "--1", "(1", "1e", "$1$", "5+", "10:30", "A1", ""],
)
def test_no_numbers(cell):
    assert parse_numbers(pl.Series([cell]), NumberFormat(".", ",")).to_list() == [None]


def test_marks_tell_what_they_can():
    found, numbers = marks("1,234.5", "7")
    assert (found.point, found.comma, found.unclear) == ("1,234.5", None, None)
    assert numbers.all()
    found, _ = marks("1.234", "987")
    assert found.says_nothing
    assert number_format(found, frozenset(), semicolons=True) is None
    assert number_format(found, frozenset(), semicolons=False) == NumberFormat(".", ",")
    assert number_format(found, frozenset(","), semicolons=True) == NumberFormat(",", ".")
    found, _ = marks("0.5", "0,5")
    assert number_format(found, frozenset(), semicolons=False) is None


def test_codes_and_points_in_groups():
    assert leading_zero(pl.Series(["1", "007"])) == "007"
    assert leading_zero(pl.Series(["0", "0.5", "-0"])) is None
    assert only_unclear_points(pl.Series(["1.234", "987"]))
    assert not only_unclear_points(pl.Series(["1.234", "0.5"]))


def test_whole_numbers_that_floats_would_round_stay_whole_though_one_has_a_fraction_of_zeros():
    cells = pl.Series(["9007199254740992", "9007199254740993.0", None, "-9007199254740993.", "7"])
    expected = [2**53, 2**53 + 1, None, -(2**53) - 1, 7]
    assert parse_numbers(cells, NumberFormat()).to_list() == expected
    with_groups = pl.Series(["9,007,199,254,740,993.0", "7"])
    assert parse_numbers(with_groups, NumberFormat(thousands=",")).to_list() == [2**53 + 1, 7]
    assert parse_numbers(cells.head(2), NumberFormat()).dtype == pl.Int64
    beyond = pl.Series([f"{2**70 + 1}.0", "1"])
    assert parse_numbers(beyond, NumberFormat()).to_list() == [2**70 + 1, 1]
    assert parse_numbers(pl.Series(["1e300", "0.5"]), NumberFormat()).to_list() == [1e300, 0.5]
