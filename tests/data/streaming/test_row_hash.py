"""Numbers of rows that decide for what these are kept."""

import numpy as np
import polars as pl

from jointrain.data.streaming._row_hash import shares_by_place, shares_by_value


def test_shares_are_even():
    shares = shares_by_place(123, 0, 100_000, 0)
    counts = np.histogram(shares, bins=20, range=(0, 1))[0]
    # chi-square of 19 degrees: 43.8 has a probability of 0.001
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8
    assert len(np.unique(shares)) == 100_000


def test_a_row_has_the_same_share_in_whichever_piece_it_is_read():
    whole = shares_by_place(5, 0, 100, 3)
    assert (whole[40:70] == shares_by_place(5, 40, 30, 3)).all()


def test_shares_of_other_contents_and_salts_are_unrelated():
    one = shares_by_place(1, 0, 20_000, 0)
    for other in (shares_by_place(2, 0, 20_000, 0), shares_by_place(1, 0, 20_000, 1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_shares_by_value_hang_on_the_text_alone():
    numbers = pl.Series([7, 8, None, 7])
    shares = shares_by_value(numbers, 0)
    assert shares[0] == shares[3] != shares[1]
    assert (shares_by_value(pl.Series(["8", "7"]), 0) == shares[[1, 0]]).all()
    assert shares_by_value(pl.Series(["7"]), 1)[0] != shares[0]


def test_these_are_the_shares_of_all_releases():
    """Which rows are kept must not change with jointrain."""
    assert shares_by_place(1, 0, 2, 0).round(6).tolist() == [0.6566, 0.391695]
    assert shares_by_value(pl.Series(["a", "b"]), 0).round(6).tolist() == [0.85775, 0.290236]
