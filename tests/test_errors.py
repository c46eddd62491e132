"""Errors: their family tree and the hint to the closest name."""

import pytest

from jointrain.errors import (
    InvalidInputError,
    JointrainError,
    MissingDependencyError,
    NotFittedError,
    WorkerDiedError,
    closest,
)


@pytest.mark.parametrize(
    "kind, builtin",
    [
        (InvalidInputError, ValueError),
        (MissingDependencyError, ImportError),
        (NotFittedError, RuntimeError),
        (WorkerDiedError, RuntimeError),
    ],
)
def test_every_error_is_a_jointrain_error_and_a_builtin_one(kind, builtin):
    assert issubclass(kind, JointrainError)
    assert issubclass(kind, builtin)


def test_closest_names_the_nearest_known_name():
    assert closest("body_mas_g", ["species", "body_mass_g"]) == " (did you mean 'body_mass_g'?)"


@pytest.mark.parametrize("name", ["PRICE", "Price", "prcie"])
def test_closest_does_not_mind_upper_and_lower_case(name):
    assert closest(name, ["P_RATE", "price", "sold"]) == " (did you mean 'price'?)"
    assert closest(name.lower(), ["Sold", "Price"]) == " (did you mean 'Price'?)"


def test_closest_says_nothing_when_nothing_is_near():
    assert closest("xyz", ["species", "sex"]) == ""
    assert closest("xyz", []) == ""
