"""Names and values by name, as people write them in one line."""

import pytest

from jointrain.errors import InvalidInputError
from jointrain.system.text_pairs import names_in, numbers_by_name, pairs_in


def test_names_are_cut_at_commas_outside_quotes():
    assert names_in('a, b,"c, d",') == ["a", "b", "c, d"]
    assert names_in(["a,b", "c"]) == ["a", "b", "c"]
    assert names_in([1, "a"]) == [1, "a"]


def test_pairs_take_a_name_with_an_equals_sign():
    assert pairs_in("a=x, b=c=y") == {"a": "x", "b=c": "y"}
    assert pairs_in(['"a, b"=x', "c=y"]) == {"a, b": "x", "c": "y"}
    assert pairs_in({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    "said, message",
    [
        ("a", "expected name=value, got 'a'"),
        ("=1", "expected name=value, got '=1'"),
        ("a=1,a=2", "'a' is given twice"),
        ([1], "expected name=value, got 1"),
    ],
)
def test_what_is_no_pair_is_said(said, message):
    with pytest.raises(ValueError, match=message):
        pairs_in(said)


def test_numbers_by_name_say_what_they_are_of():
    assert numbers_by_name("a=0.7,b=3", "--preference") == {"a": 0.7, "b": 3.0}
    with pytest.raises(InvalidInputError, match=r"^--preference must look like a=0.7,b=0.3: "):
        numbers_by_name("a=much", "--preference")
