"""Scores of the arena: by hand, and beside the papers they are from."""

import math

import numpy as np
import pytest
from scipy import stats


@pytest.fixture(scope="module")
def scores(benchmark_module):
    return benchmark_module("arena_scores")


def test_rrmse_is_relative_to_the_training_mean(scores):
    predicted, truth = np.array([1.0, 2.0]), np.array([1.0, 3.0])
    assert scores.rrmse(predicted, truth, 2.0) == pytest.approx(math.sqrt(1 / 2))
    assert scores.rrmse(truth, truth, 2.0) == 0
    assert scores.rrmse(predicted, np.array([2.0, 2.0]), 2.0) is None


def test_log_loss_of_the_true_class(scores):
    p = np.array([[0.8, 0.2], [0.5, 0.5], [1.0, 0.0]])
    found = scores.log_loss(p, ["a", "b"], ["a", "b", "b"])
    assert found == pytest.approx(-(math.log(0.8) + math.log(0.5) + math.log(1e-3)) / 3)


def test_log_loss_of_a_class_that_was_not_predicted(scores):
    assert scores.log_loss(np.array([[1.0]]), ["a"], ["c"]) == pytest.approx(-math.log(1e-3))


def test_log_loss_is_relative_to_the_training_frequencies(scores):
    p = np.array([[0.9, 0.1]])
    found = scores.relative_log_loss((p, [0, 1]), [0, 0, 1], [0])
    assert found == pytest.approx(math.log(0.9) / math.log(3 / 5))
    # a class of the test rows alone: the constant gives it 1 of 3 + 3
    found = scores.relative_log_loss((p, [0, 1]), [0, 0, 1], [2])
    assert found == pytest.approx(math.log(1e-3) / math.log(1 / 6))


def test_errors_are_over_the_labelled_rows_of_each_target(scores):
    kinds = {"n": "count", "c": "multiclass", "gone": "regression"}
    train = {"n": [1.0, None, 3.0], "c": ["a", "a", "b"], "gone": [1.0, 2.0, 3.0]}
    test = {"n": [None, 4.0], "c": ["b", None], "gone": [None, None]}
    predictions = {
        "n": np.array([100.0, 3.0]),
        "c": (np.array([[0.5, 0.5], [0.0, 1.0]]), ["a", "b"]),
        "gone": np.array([0.0, 0.0]),
    }
    found = scores.errors(predictions, kinds, train, test)
    assert found["n"] == pytest.approx(0.5)
    assert found["c"] == pytest.approx(math.log(0.5) / math.log(2 / 5))
    assert found["gone"] is None
    assert scores.table_score(found) == pytest.approx((found["n"] + found["c"]) / 2)


def test_a_prediction_that_is_no_number_is_no_result(scores):
    found = scores.errors(
        {"n": np.array([math.nan])}, {"n": "regression"}, {"n": [0.0, 1.0]}, {"n": [3.0]}
    )
    assert scores.table_score(found) == math.inf


def test_ranks_share_ties_and_leave_out_what_does_not_apply(scores):
    found = scores.ranks(np.array([[0.3, 0.1, 0.1, math.inf], [0.2, math.nan, 0.1, 0.3]]))
    np.testing.assert_array_equal(found, [[3, 1.5, 1.5, 4], [2, math.nan, 1, 3]])


def test_each_table_counts_one_in_all_battles(scores):
    values = np.array([[0.1, 0.2, 0.3], [0.5, 0.5, math.nan], [math.inf, 0.1, math.inf]])
    won = scores.wins(values)
    first = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]) / 3  # three battles
    tie = np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]])
    last = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]]) / 2  # both failures have none
    np.testing.assert_allclose(won, first + tie + last)


def test_elo_of_two_by_hand(scores):
    won = np.array([[0.0, 3.0], [1.0, 0.0]])  # odds 3 to 1
    found = scores.elo_of(won, anchor=1)
    assert found[1] == 1000
    assert found[0] == pytest.approx(1000 + 400 * math.log10(3), abs=0.1)


def test_elo_finds_the_ratings_that_wins_come_from(scores):
    ratings = np.array([1000.0, 1100.0, 1400.0, 850.0])
    odds = 1 / (1 + 10 ** ((ratings[None, :] - ratings[:, None]) / 400))
    np.fill_diagonal(odds, 0)
    np.testing.assert_allclose(scores.elo_of(50 * odds, anchor=0), ratings, atol=0.1)


def test_elo_has_an_interval_around_it_and_the_forest_at_1000(scores):
    random = np.random.default_rng(0)
    values = random.normal([0, -0.5, 1], size=(30, 3))
    found = scores.elo(values, ["ridge", "random forest", "other"], rounds=50)
    assert found[1].rating == found[1].low == found[1].high == 1000
    assert found[2].rating < found[0].rating < 1000
    for one in (found[0], found[2]):
        assert one.low < one.rating < one.high


def test_critical_difference_of_the_paper(scores):
    # Demsar 2006, section 3.2.2: four classifiers on 14 data sets; 5 % and 10 %
    assert scores.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert scores.critical_difference(4, 14, 0.1) == pytest.approx(1.12, abs=0.005)


def test_friedman_is_over_tables_that_all_have_a_score_on(scores):
    values = np.random.default_rng(0).normal([0, 0, 0, 1], size=(12, 4))
    expected = stats.friedmanchisquare(*values.T).pvalue
    with_gap = np.vstack([values, [[0.1, math.nan, 0.2, 0.3]]])
    assert scores.friedman(with_gap) == pytest.approx(expected)
