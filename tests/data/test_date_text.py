import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jointrain.data import RawTable, type_table
from jointrain.data._date_text import DATE_FORMS, parse_dates, parse_times
from jointrain.errors import InvalidInputError


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 30)).map(
        lambda t: t.replace(microsecond=0)
    ),
    st.sampled_from(sorted(DATE_FORMS)),
    st.sampled_from(["", " %H:%M:%S", "T%H:%M:%SZ", " %I:%M:%S %p"]),
)
def test_written_dates_come_back(moment, form, clock):
    year = f"{moment.year:04}"
    cell = moment.strftime(form.replace("%Y", year) + clock)
    found = parse_dates(pl.Series([cell, None]), form)
    expected = moment if clock else moment.replace(hour=0, minute=0, second=0)
    assert found.value.to_list() == [expected, None]
    assert found.has_time[0] == bool(clock)
    assert found.offset[0] == (0 if clock.endswith("Z") else None)


@pytest.mark.parametrize(
    "cell", ["2024-02-30", "2024-13-01", "24-01-01", "2024-01-01 25:00", "2024-01-01 13:00 PM", "x"]
)
def test_no_dates(cell):
    assert parse_dates(pl.Series([cell]), "%Y-%m-%d").value.to_list() == [None]


def test_offsets_in_minutes():
    cells = ["2024-01-05T10:00+02:00", "2024-01-05 10:00-0730", "2024-01-05T10:00 UTC"]
    assert parse_dates(pl.Series(cells), "%Y-%m-%d").offset.to_list() == [120, -450, 0]


def test_any_form_of_strptime():
    assert parse_dates(pl.Series(["311226"]), "%d%m%y").value[0] == dt.datetime(2026, 12, 31)


def test_times():
    cells = ["10:30 PM", "23:59", "12:00 a.m.", "24:00", "x", None]
    assert parse_times(pl.Series(cells)).to_list() == [
        dt.time(22, 30), dt.time(23, 59), dt.time(0), None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("offset", ["+15:00", "-15:00", "+00:75"])
def test_no_clock_has_such_an_offset(offset):
    text = pl.Series(["2024-01-05T10:15" + offset])
    assert parse_dates(text, "%Y-%m-%d").value.is_null().all()


def test_offsets_beyond_the_zones_of_whole_hours_are_counted_in_utc():
    cells = [f"2024-01-{day:02}T10:15-13:00" for day in range(1, 20)]
    table = type_table(RawTable(pl.DataFrame({"t": cells}), True, "t.csv"))
    assert table.frame["t"][0] == dt.datetime(2024, 1, 1, 23, 15, tzinfo=dt.UTC)
    assert any("-13:00: hours are counted in UTC" in note for note in table.notes)


@pytest.mark.parametrize(
    "form, cell, hour, offset",
    [
        ("%m/%d/%Y %r", "01/05/2024 10:15:00 PM", 22, None),
        ("%+", "2024-01-05T22:15:00+02:00", 20, 0),
        ("%Y-%m-%d %l:%M %P", "2024-01-05 9:05 pm", 21, None),
        ("%s", "1704488400", 21, 0),
        ("%Y-%m-%d%n%H:%M %#z", "2024-01-05 22:15 +02", 20, 0),
    ],
)
def test_a_form_with_a_time_of_day_keeps_it(form, cell, hour, offset):
    found = parse_dates(pl.Series([cell]), form)
    assert found.has_time.to_list() == [True]
    assert found.offset.to_list() == [offset]
    assert (found.value[0].day, found.value[0].hour) == (5, hour)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H", "%d.%m.%Y %I:%M", "%Y-%m-%d %S"])
def test_a_form_with_half_a_time_of_day_is_refused(form):
    with pytest.raises(InvalidInputError, match=f"--date-format '{form}' can't be used .*%H:%M"):
        parse_dates(pl.Series(["2024-01-05 09"]), form)
