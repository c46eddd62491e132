import math

import numpy as np
import pytest
import torch

from jointrain.balancing import GCond
from jointrain.errors import InvalidInputError


def aggregate(balancer, matrix):
    block = torch.as_tensor(matrix, dtype=torch.float64)
    return balancer.aggregate([block.clone()], torch.ones(len(block))).blocks[0].numpy()


def conducted(matrix, last, averages, thresholds=(-0.8, -0.5, 0.0)):
    """The authors' loop on the vectors themselves, without dominance; the mended gradients."""
    g = [np.array(row) for row in matrix]
    critical, main, weak = thresholds

    def cosine(a, b):
        length = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / length if length else 0.0

    for _ in range(2 * len(g)):
        pairs = [(cosine(g[i], g[j]), i, j) for i in range(len(g)) for j in range(i)]
        lowest, i, j = min(pairs)
        if lowest >= weak - 1e-12:
            break
        strength = {k: np.linalg.norm(g[k]) / averages[k] for k in (i, j)}
        score = {
            k: 0.8 * max(cosine(g[k], last[k]), 0.0) + 0.2 * strength[k] / sum(strength.values())
            for k in (i, j)
        }
        w = max((i, j), key=lambda k: (score[k], np.linalg.norm(g[k])))
        o = i + j - w
        if lowest >= main:
            angle = np.pi / 2 * (weak - lowest) / (weak - main)
        elif lowest > critical:
            angle = np.pi / 2 * (1 + ((lowest - main) / (critical - main)) ** 2)
        else:
            angle = np.pi
        product, winner, loser = g[w] @ g[o], g[w], g[o]
        g[w] = winner - np.sin(angle) * product / (loser @ loser) * loser
        g[o] = loser - np.sin(min(angle, np.pi / 2)) * product / (winner @ winner) * winner
    return np.stack(g)


def test_follows_the_authors_loop():
    rng = np.random.default_rng(0)
    balancer = GCond(4, window=0)
    last, averages = np.zeros((4, 5)), None
    for _ in range(5):
        matrix = rng.normal(size=(4, 5)) * [[1.0], [3.0], [0.2], [1.0]]
        lengths = np.linalg.norm(matrix, axis=1)
        averages = lengths if averages is None else 0.95 * averages + 0.05 * lengths
        last = conducted(matrix, last, averages)
        np.testing.assert_allclose(aggregate(balancer, matrix), last.sum(0), atol=1e-10)


def test_a_weak_conflict_changes_both_by_hand():
    # cosine -0.25 with the weak half of the way: angle pi / 4
    second = [-0.5, math.sqrt(3.75)]  # of length 2
    found = aggregate(GCond(2), [[1.0, 0.0], second])
    part = math.sin(math.pi / 4)
    mended = [1 - part * -0.5 / 4 * second[0], -part * -0.5 / 4 * second[1]]
    other = [second[0] - part * -0.5, second[1]]
    np.testing.assert_allclose(found, np.add(mended, other), rtol=1e-12)


def test_gradients_that_agree_are_added_up():
    np.testing.assert_allclose(aggregate(GCond(2), [[1.0, 0.0], [0.5, 1.0]]), [1.5, 1.0])


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_a_factor_on_all_gradients_of_a_run_leaves_the_weights_as_they_are(factor):
    # cosines, and lengths over their averages: no term of a score has a unit
    one, other = GCond(4), GCond(4)
    rng = np.random.default_rng(1)
    for _ in range(8):
        matrix = torch.from_numpy(rng.normal(size=(4, 5)) * [[1.0], [3.0], [0.2], [1.0]])
        weights = [
            balancer.aggregate([scale * matrix], torch.ones(4)).weights
            for balancer, scale in ((one, 1.0), (other, factor))
        ]
        torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-12)
    assert one.winners.tolist() == other.winners.tolist()
    torch.testing.assert_close(other.lengths, factor * one.lengths)


def test_a_task_that_has_won_too_often_loses():
    balancer = GCond(2, window=2)
    opposed = [[1.0, 0.0], [-2.0, 0.2]]
    winners = []
    for _ in range(6):
        aggregate(balancer, opposed)
        winners.append(int(balancer.winners[-1]))
    assert winners[:3] == [1, 1, 0]
    assert set(winners[3:]) == {0, 1}


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`critical`, `main` and `weak` must rise"):
        GCond(critical=-0.4)
    with pytest.raises(InvalidInputError, match="`window` must be an integer"):
        GCond(window=-1)
    with pytest.raises(InvalidInputError, match="`stability` must be a number in"):
        GCond(stability=1.5)
    with pytest.raises(InvalidInputError, match="`power` must be a number in"):
        GCond(power=0.0)
