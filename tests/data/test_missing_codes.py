import polars as pl
import pytest

from jointrain.data import ReadingOptions, SupervisedTable, read_raw, type_table
from jointrain.data._missing_codes import missing_code


@pytest.mark.parametrize(
    "values, row, count",
    [
        ([0.5, -999.0, -1.5, 2.0, -999.0], 1, 2),
        ([20, 45, 80, 999, None, 999, 999], 3, 3),
        ([-99, 1, 2, 3, -99], 0, 2),
        ([40_000, 99_999, 12, 99_999, 700], 1, 2),
    ],
)
def test_nines_beyond_the_scale_of_all_others_may_mean_missing(values, row, count):
    assert missing_code(pl.Series(values)) == (row, count)


@pytest.mark.parametrize(
    "values",
    [
        [20, 45, 80, 99, 99],  # within the scale of the others
        [0.5, -999.0, -1.5, 2.0],  # once is an outlier
        [0.5, -1000.0, -1.5, 2.0, -1000.0],
        [9, 1, 9, 1],  # two values
        [1, 5, 9, 9, 3],  # a rating
        [90, 95, 99, 99, 93],
        [None, None],
        [-999, -999],
    ],
)
def test_other_numbers_mean_themselves(values):
    assert missing_code(pl.Series(values, dtype=pl.Float64)) is None


def test_the_flag_that_is_named_reads_it_as_missing(tmp_path):
    path = tmp_path / "table.csv"
    cells = ["-999.0", "1,5", "0,2", "-999.0", "-0,7"]
    path.write_text(
        "x;y\n" + "".join(f"{cell.replace('.', ',')};{i}\n" for i, cell in enumerate(cells))
    )
    typed = type_table(read_raw(path))
    (note,) = [note for note in typed.notes if "may mean a missing value" in note]
    assert "x (2 -999,0)" in note
    assert "--missing '\"-999,0\"' reads it so" in note
    read = type_table(read_raw(path), ReadingOptions(missing=("-999,0",)))
    assert read.frame["x"].to_list() == [None, 1.5, 0.2, None, -0.7]
    assert not any("may mean" in note for note in read.notes)


def test_a_table_with_types_is_looked_at_too():
    frame = pl.DataFrame({"x": [0.1, 0.2, -999.0, 0.4, -999.0], "y": [1.0, 2, 3, 4, 5]})
    notes = SupervisedTable.prepare(frame, ["y"]).notes
    assert any("x (2 -999.0); leave those cells empty if it does" in note for note in notes)
