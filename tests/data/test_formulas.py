import polars as pl

from jointrain.data import formulas_escaped


def test_texts_that_a_spreadsheet_would_run_are_escaped_and_numbers_stay():
    frame = pl.DataFrame(
        {"=id": ["=1+1", "@SUM(A1)", "-5", "\tx", "plain", None], "n": [-1, 2, 3, 4, 5, 6]}
    )
    escaped = formulas_escaped(frame)
    assert escaped.columns == ["'=id", "n"]
    assert escaped["'=id"].to_list() == ["'=1+1", "'@SUM(A1)", "'-5", "'\tx", "plain", None]
    assert escaped["n"].to_list() == [-1, 2, 3, 4, 5, 6]
