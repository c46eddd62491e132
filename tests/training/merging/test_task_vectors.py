"""Task vectors: against numbers worked out by hand, and against loops over single values."""

import math

import numpy as np
import pytest
import torch

from jointrain import InvalidInputError
from jointrain.training.merging import (
    dropped,
    moved,
    sign_elected_mean,
    task_vector,
    trimmed,
    weighted_mean,
    weighted_sum,
)


def _state(*values, bias=None):
    state = {"weight": torch.tensor(values, dtype=torch.float64)}
    return state if bias is None else state | {"bias": torch.tensor(bias, dtype=torch.float64)}


def _random(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"a": torch.from_numpy(rng.normal(size=(3, 4))), "b": torch.from_numpy(rng.normal(size=5))}
        for _ in range(count)
    ]


def _flat(state):
    return np.concatenate([value.numpy().ravel() for value in state.values()])


def test_a_task_vector_leads_from_the_weights_before_to_those_after():
    before, after = _state(1.0, -2.0), _state(1.5, -3.0)
    vector = task_vector(before, after)
    assert vector["weight"].tolist() == [0.5, -1.0]
    assert moved(before, vector)["weight"].tolist() == [1.5, -3.0]
    assert moved(before, vector, 0.5)["weight"].tolist() == [1.25, -2.5]
    assert before["weight"].tolist() == [1.0, -2.0]


def test_half_precision_is_merged_in_float32_and_comes_back():
    before = {"w": torch.tensor([256.0], dtype=torch.float16)}
    after = {"w": torch.tensor([256.25], dtype=torch.float16)}
    vector = task_vector(before, after)
    assert vector["w"].dtype == torch.float32
    assert vector["w"].item() == 0.25
    # 0.05 would be lost next to 256 in half precision, ten of them are not
    total = weighted_sum([{"w": vector["w"] / 5}] * 10, [1.0] * 10)
    merged = moved(before, total)["w"]
    assert merged.dtype == torch.float16
    assert merged.item() == 256.5


def test_sums_and_means_by_hand():
    vectors = [_state(1.0, 2.0, bias=[4.0]), _state(3.0, -2.0, bias=[0.0])]
    found = weighted_sum(vectors, [1.0, 0.5])
    assert found["weight"].tolist() == [2.5, 1.0]
    assert found["bias"].tolist() == [4.0]
    assert weighted_mean(vectors, [1.0, 1.0])["weight"].tolist() == [2.0, 0.0]
    assert weighted_mean(vectors, [1.0, 3.0])["weight"].tolist() == [2.5, -1.0]


def test_the_mean_of_the_vectors_leads_to_the_mean_of_the_weights():
    before, *after = _random(4)
    vectors = [task_vector(before, one) for one in after]
    merged = moved(before, weighted_mean(vectors, [1.0] * 3))
    np.testing.assert_allclose(_flat(merged), np.mean([_flat(one) for one in after], 0), atol=1e-14)


def test_trimming_keeps_the_largest_over_all_tensors_together():
    vector = _state(0.1, -5.0, 0.2, 3.0, bias=[-4.0, 0.3])
    found = trimmed(vector, 0.5)
    assert found["weight"].tolist() == [0.0, -5.0, 0.0, 3.0]
    assert found["bias"].tolist() == [-4.0, 0.0]
    # int(0.4 * 6) = 2
    assert trimmed(vector, 0.4)["bias"].tolist() == [-4.0, 0.0]
    assert trimmed(vector, 0.4)["weight"].tolist() == [0.0, -5.0, 0.0, 0.0]
    # never none at all
    assert trimmed(vector, 0.01)["weight"].tolist() == [0.0, -5.0, 0.0, 0.0]
    assert _flat(trimmed(vector, 1.0)).tolist() == _flat(vector).tolist()


def test_of_equal_values_no_more_are_kept_than_asked():
    assert trimmed(_state(1.0, -1.0, 1.0, 1.0), 0.5)["weight"].tolist() == [1.0, -1.0, 0.0, 0.0]


def test_the_example_of_the_ties_paper_in_numbers():
    # three tasks after trimming; signs by mass: +, -, +, none, +
    vectors = [
        _state(3.0, -1.0, 0.0, 2.0, 5.0),
        _state(1.0, 4.0, 2.0, -2.0, 0.0),
        _state(-2.0, -6.0, 0.0, 0.0, 0.0),
    ]
    found = sign_elected_mean(vectors, [1.0, 1.0, 1.0])["weight"]
    assert found.tolist() == [2.0, -3.5, 2.0, 0.0, 5.0]


def test_weights_of_tasks_count_in_the_election_and_in_the_mean():
    vectors = [_state(3.0, 4.0), _state(-1.0, 1.0)]
    # 3 - 4 < 0: the second task is elected; (4 + 4 * 1) / 5
    found = sign_elected_mean(vectors, [1.0, 4.0])["weight"]
    torch.testing.assert_close(found, torch.tensor([-1.0, 1.6], dtype=torch.float64))
    # a task without weight has no say
    assert sign_elected_mean(vectors, [1.0, 0.0])["weight"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 1.0)])
def test_sign_election_is_that_of_a_loop_over_values(weights):
    vectors = [trimmed(vector, 0.6) for vector in _random(3, seed=1)]
    expected = []
    for values in zip(*map(_flat, vectors), strict=True):
        total = math.fsum(w * v for w, v in zip(weights, values, strict=True))
        agreeing = [(w, v) for w, v in zip(weights, values, strict=True) if v * total > 0]
        share = sum(w for w, _ in agreeing)
        expected.append(sum(w * v for w, v in agreeing) / share if agreeing else 0.0)
    np.testing.assert_allclose(_flat(sign_elected_mean(vectors, weights)), expected, atol=1e-14)


def test_dropping_keeps_a_share_enlarged_and_the_expectation():
    vector = {"w": torch.full((200, 100), 3.0, dtype=torch.float64)}
    found = dropped(vector, 0.25, torch.Generator().manual_seed(0))["w"]
    assert set(found.unique().tolist()) == {0.0, 12.0}
    # the standard error of the mean is 3 * sqrt(3 / 20000) = 0.037
    assert found.mean().item() == pytest.approx(3.0, abs=0.15)
    again = dropped(vector, 0.25, torch.Generator().manual_seed(0))["w"]
    assert torch.equal(found, again)
    assert torch.equal(dropped(vector, 1.0, torch.Generator())["w"], vector["w"])


@pytest.mark.parametrize(
    "vectors", [[], [{}], [_state(1.0), _state(1.0, 2.0)], [_state(1.0), {"b": torch.ones(1)}]]
)
def test_states_that_do_not_fit_are_refused(vectors):
    with pytest.raises(InvalidInputError, match=r"same names and shapes|nothing to merge"):
        weighted_sum(vectors, [1.0] * len(vectors))
