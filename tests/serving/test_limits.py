"""Limits and the token."""

import pytest

from jointrain.errors import InvalidInputError
from jointrain.serving import TOKEN_VARIABLE, Limits, token_of_environment


def test_limits_let_something_through():
    assert Limits(megabytes=0.5).bytes == 500_000
    assert Limits(rows=7).waiting_rows == 70
    wrongs = (
        {"rows": 0},
        {"megabytes": -1},
        {"seconds": float("nan")},
        {"megabytes": float("inf")},
    )
    for wrong in wrongs:
        with pytest.raises(
            InvalidInputError, match=f"limit of {next(iter(wrong))} must be above 0"
        ):
            Limits(**wrong)


def test_a_token_is_what_a_header_can_hold(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert token_of_environment() is None
    monkeypatch.setenv(TOKEN_VARIABLE, "abc-1")
    assert token_of_environment() == "abc-1"
    for wrong in ("", "a b", "ä", "a\n"):
        monkeypatch.setenv(TOKEN_VARIABLE, wrong)
        with pytest.raises(InvalidInputError, match=TOKEN_VARIABLE):
            token_of_environment()
