"""Chains: labels over all rows, and what can't be one."""

import math

import numpy as np
import pytest
import torch

from jointrain.errors import InvalidInputError
from jointrain.task import (
    Task,
    chained_labels,
    chained_targets,
    check_chains,
    conditional,
    conditional_metrics,
    in_order_of_chains,
    with_given,
)

NAN = math.nan
CLICK, CART = Task.binary("click"), Task.binary("cart", given="click")
BUY = Task.binary("buy", given="cart")


def test_what_needs_a_click_is_no_without_one():
    labels = {
        "buy": np.array([1, NAN, NAN, NAN, NAN, 0]),
        "cart": np.array([1, 0, NAN, NAN, NAN, NAN]),
        "click": np.array([1, 1, 0, NAN, 1, NAN]),
    }
    found = chained_labels([BUY, CART, CLICK], labels)
    np.testing.assert_array_equal(found["cart"], [1, 0, 0, NAN, NAN, NAN])
    np.testing.assert_array_equal(found["buy"], [1, 0, 0, NAN, NAN, 0])
    np.testing.assert_array_equal(found["click"], labels["click"])
    assert [task.name for task in in_order_of_chains([BUY, CART, CLICK])] == ["cart", "buy"]


def test_integer_targets_keep_what_is_missing():
    targets = {"click": torch.tensor([1, 0, 1]), "cart": torch.tensor([1, -100, -100])}
    found = chained_targets([CLICK, CART], targets)
    assert found["cart"].tolist() == [1, 0, -100]


def test_a_correction_asks_which_rows_were_selected():
    cart = Task.binary("cart", given="click", correction="inverse-propensity")
    targets = {
        "click": torch.tensor([1.0, 0, 1, NAN]),
        "cart": torch.tensor([1, NAN, NAN, 1]),
    }
    found = chained_targets([cart, CLICK], targets)
    np.testing.assert_array_equal(found["cart"], [[1, 1], [0, 0], [NAN, 1], [1, 0]])
    assert chained_targets([cart, CLICK], found) is found
    assert cart.labelled(found["cart"]).tolist() == [True, True, False, True]
    # not there, so nothing is known of it
    assert chained_targets([cart, CLICK], {"cart": targets["cart"]})["cart"].ndim == 1
    assert chained_targets([CLICK], targets) is targets


def test_the_other_probability_is_a_ratio():
    np.testing.assert_allclose(
        conditional(np.array([0.1, 0.5, 0.0]), np.array([0.2, 0.4, 0.0])), [0.5, 1, 0]
    )
    metrics = conditional_metrics(
        CART,
        torch.tensor([0.1, 0.3, 0.2, 0.4]).double(),
        torch.tensor([0.0, 1, 0, 0]).double(),
        torch.tensor([0.5, 0.4, 0.8, 0.4]).double(),
        torch.tensor([1.0, 1, 0, NAN]).double(),
    )
    wanted = -(math.log(1 - 0.2) + math.log(0.75)) / 2
    assert metrics["log-loss given click"] == pytest.approx(wanted)
    assert metrics["ROC-AUC given click"] == 1


def test_the_correction_follows_a_colon():
    (_, buy) = with_given([CLICK, Task.binary("buy")], {"buy": "click:doubly-robust"})
    assert (buy.given, buy.correction, buy.output_size) == ("click", "doubly-robust", 2)
    odd = [Task.binary("a:b"), Task.binary("c")]
    assert with_given(odd, {"c": "a:b"})[1].given == "a:b"
    assert with_given(odd, {"c": "a:b:inverse-propensity"})[1].correction == "inverse-propensity"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"buy": "click", "click": "buy"}, "in a circle: 'click' given 'buy' given 'click'; leave"),
        ({"buy": "buy"}, "'buy' can't be given itself"),
        (
            {"buy": "clik"},
            "'buy' is given 'clik', which is no target .did you mean 'click'..; name",
        ),
        ({"bye": "click"}, "said of 'bye', which is no target .did you mean 'buy'"),
        ({"buy": "price"}, "'buy' given 'price' needs two binary targets, and 'price' is regress"),
        ({"price": "buy"}, "'price' given 'buy' needs two binary targets, and 'price' is regress"),
        ({"buy": "click:ips"}, "unknown correction 'ips'; known are inverse-propensity, doubly-ro"),
    ],
)
def test_what_is_no_chain_is_refused(given, message):
    tasks = [CLICK, Task.binary("buy"), Task.regression("price")]
    with pytest.raises(InvalidInputError, match=message):
        with_given(tasks, given)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"kind": "regression", "given": "click"}, "so it must be binary, got regression"),
        ({"kind": "binary", "correction": "doubly-robust"}, "no other task that it is given"),
        (
            {
                "kind": "binary",
                "given": "click",
                "correction": "doubly-robust",
                "loss_function": lambda output, target: output,
            },
            "a loss function of its own",
        ),
    ],
)
def test_a_task_that_is_no_link_is_refused(more, message):
    with pytest.raises(InvalidInputError, match=message):
        Task("buy", **more)


def test_longer_circles_are_found_and_absent_tasks_are_not_needed():
    round_trip = [Task.binary(a, given=b) for a, b in ("ab", "bc", "ca")]
    with pytest.raises(InvalidInputError, match="'a' given 'b' given 'c' given 'a'"):
        check_chains(round_trip)
    check_chains([BUY])


def test_a_purchase_without_a_click_is_refused_by_row():
    labels = {"click": np.array([1.0, 0]), "cart": np.array([1.0, 1])}
    with pytest.raises(InvalidInputError, match="but row 2 has 'cart' without 'click'"):
        chained_labels([CLICK, CART], labels)
