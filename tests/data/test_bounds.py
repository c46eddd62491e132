import math

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Task
from jointrain.data import read_bounds


def test_signs_and_numbers():
    values = [">10", ">= 2.5", "≥3", "<0.5", "<=-1e3", "≤ 4", "7", 8, 1.5, None, "", math.nan]
    found = read_bounds(values).tolist()
    inf, nan = math.inf, math.nan
    expected = [
        [10, inf], [2.5, inf], [3, inf], [-inf, 0.5], [-inf, -1000], [-inf, 4], [7, 7], [8, 8],
        [1.5, 1.5], [nan, nan], [nan, nan], [nan, nan],
    ]  # fmt: skip
    np.testing.assert_array_equal(found, expected)
    Task.censored("dose").check_target(read_bounds(values))


def test_columns_and_arrays():
    column = read_bounds(pl.Series(["1", None, ">2"])).tolist()
    np.testing.assert_array_equal(column, [[1, 1], [math.nan] * 2, [2, math.inf]])
    np.testing.assert_array_equal(read_bounds(np.array([1.0, 2.0])), [[1, 1], [2, 2]])
    assert read_bounds([]).shape == (0, 2)


@pytest.mark.parametrize("wrong", ["x", ">", "> y", "10-20", "><3", ">nan", "inf", "1_000", True])
def test_what_is_no_bound_is_named_with_its_row(wrong):
    with pytest.raises(InvalidInputError, match=r"dose holds .* in row 2, which is neither a numb"):
        read_bounds(["1", wrong], "dose")


def test_a_comma_and_a_point_can_not_both_be_decimal():
    message = "holds '<0,5' in row 3, and '0.74' in row 2: a comma and a point can't both be"
    with pytest.raises(InvalidInputError, match=message):
        read_bounds(["7", "0.74", "<0,5"])
    assert read_bounds(["<0,5", "1,25", 0.74]).tolist()[1:] == [[1.25, 1.25], [0.74, 0.74]]
    assert read_bounds(["[3, 7]", "0.5"]).tolist() == [[3, 7], [0.5, 0.5]]
