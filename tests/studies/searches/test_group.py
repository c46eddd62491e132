"""The search for groups: planted pairs are found, limits kept, every pair met once."""

from dataclasses import replace

import numpy as np
import pytest

from jointrain import InvalidInputError, Separate, SupervisedTable
from jointrain.experiments import SEPARATE
from jointrain.studies.searches import Affinity, search_groups
from jointrain.studies.searches._gain_predictor import GainPredictor
from jointrain.studies.searches._group import TOGETHER, _count_partitions, _propose, pair_partitions
from tests.studies._tables import NARROW, QUICK, mixed_table, two_pairs

FEW = {"folds": 2, "seeds": 1, "workers": 1}


@pytest.fixture(scope="module")
def result():
    return search_groups(two_pairs(), NARROW, trials=6, **FEW)


def test_planted_pairs_are_found(result):
    assert result.groups() == [("a1", "a2"), ("b1", "b2")]
    assert result.candidates.score(result.chosen) > result.candidates.score("together") + 10


def test_pair_gains_show_who_gains_from_whom(result):
    gains = result.pair_gains()
    assert np.isnan(np.diag(gains)).all()
    assert np.isfinite(gains[~np.eye(4, dtype=bool)]).all()
    twins = gains[[0, 1, 2, 3], [2, 3, 0, 1]].mean()
    assert twins > np.nanmean(gains) + 10


def test_a_group_is_trained_the_same_whatever_the_others_are():
    found = search_groups(mixed_table(), QUICK, trials=3, **FEW)
    alone = [name for name in found.candidates.names if ("price",) in found.groups(name)]
    assert len(alone) == 2
    one, other = (found.candidates.values(name, "price", "RMSE") for name in alone)
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_limit_on_the_models_is_kept():
    found = search_groups(mixed_table(), QUICK, models=2, trials=3, **FEW)
    assert all(len(found.groups(name)) <= 2 for name in found.candidates.choices)
    assert found.candidates.reference == "together"
    assert len(found.groups()) <= 2
    one = search_groups(mixed_table(), QUICK, models=1, trials=2, **FEW)
    assert one.groups() == [("price", "size", "sold")]


def test_three_tasks_have_five_partitions_and_all_are_measured():
    found = search_groups(mixed_table(), QUICK, trials=50, **FEW)
    assert len(found.candidates.names) == 5
    again = search_groups(mixed_table(), QUICK, trials=50, **FEW)
    assert again.candidates.table.equals(found.candidates.table)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9])
def test_every_pair_meets_once(count):
    met = [group for partition in pair_partitions(count) for group in partition if len(group) == 2]
    assert len(met) == len(set(met)) == count * (count - 1) // 2
    for partition in pair_partitions(count):
        assert sorted(task for group in partition for task in group) == list(range(count))


def test_gains_that_follow_affinity_and_membership_are_predicted():
    generator = np.random.default_rng(0)
    affinity = Affinity(tuple("abcdef"), generator.normal(size=(1, 6, 6)), "gradient")
    harm = generator.normal(size=6)

    def truth(group, task):
        x = affinity.onto(task, sorted(group - {task}))
        return 5 * np.tanh(x) + sum(harm[i] for i in group if i != task)

    groups = [frozenset(generator.permutation(6)[: 2 + i % 3].tolist()) for i in range(60)]
    pairs = [(group, task) for group in groups for task in sorted(group)]
    seen, unseen = pairs[:100], [pair for pair in pairs[100:] if pair not in pairs[:100]]
    predictor = GainPredictor(affinity, [(g, t, truth(g, t)) for g, t in seen])
    errors = [predictor.gain(*pair) - truth(*pair) for pair in unseen]
    spread = np.std([truth(*pair) for pair in unseen])
    assert np.sqrt(np.mean(np.square(errors))) < 0.5 * spread
    assert predictor.gain(frozenset({2}), 2) == 0


def test_few_gains_only_put_affinities_on_their_scale():
    affinity = Affinity(tuple("abc"), np.array([[[9, 1, 2], [3, 9, 4], [5, 6, 9.0]]]), "gradient")
    everything = frozenset(range(3))
    measured = [(everything, 0, 0.0), (everything, 1, 3.0)]
    predictor = GainPredictor(affinity, measured)
    order = [predictor.gain(frozenset(pair), pair[1]) for pair in ((0, 1), (0, 2), (1, 0))]
    assert order == sorted(order)
    empty = GainPredictor(affinity, [])
    assert empty.gain(frozenset({0, 1}), 1) == pytest.approx(1)


def test_the_smallest_budget_compares_together_and_apart(here):
    recipe = replace(QUICK, epochs=40)
    found = search_groups(mixed_table(), recipe, budget=1e-6, **FEW)
    assert found.candidates.names == (TOGETHER, SEPARATE)
    assert found.affinity.runs.shape == (1, 3, 3)
    notes = " ".join(found.candidates.notes)
    assert f"affinities are of 1 run of {FEW['folds']}, 1 epoch of 40" in notes
    assert "0 of 3 further groupings were measured" in notes


def test_a_large_budget_measures_the_affinities_of_none(here):
    found = search_groups(mixed_table(), QUICK, budget=300, **FEW)
    free = search_groups(mixed_table(), QUICK, **FEW)
    np.testing.assert_allclose(found.affinity.runs, free.affinity.runs, rtol=1e-6)
    assert set(found.candidates.names) == set(free.candidates.names)
    assert found.candidates.notes == ()


@pytest.mark.parametrize("count, ways", [(1, 1), (2, 2), (3, 5), (4, 15), (5, 52), (10, 115975)])
def test_partitions_are_counted(count, ways):
    """Bell's numbers, OEIS A000110."""
    assert _count_partitions(count) == ways


@pytest.mark.parametrize("scale", [1e-20, 1e-300, 1e90])
def test_only_the_ratios_of_importances_count(scale):
    affinity = Affinity(
        ("a", "b", "c"), np.array([[[0, 2.0, -1], [1, 0, -3], [-2, -1, 0]]]), "gradient"
    )
    predictor = GainPredictor(affinity, {})

    def proposed(importance):
        generator = np.random.default_rng(0)
        return _propose(predictor, {}, 3, None, importance, "abc", generator)

    ratios = {"a": 2.0, "b": 1.0, "c": 0.5}
    scaled = {name: scale * value for name, value in ratios.items()}
    assert proposed(scaled) == proposed(ratios)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="between 1 and the number of tasks, 3, got 4"):
        search_groups(mixed_table(), QUICK, models=4, **FEW)
    with pytest.raises(InvalidInputError, match="`trials` must be at least 1"):
        search_groups(mixed_table(), QUICK, trials=0, **FEW)
    with pytest.raises(InvalidInputError, match="groups are trained together"):
        search_groups(mixed_table(), replace(QUICK, schedule=Separate()), **FEW)
    one = SupervisedTable.prepare(mixed_table().frame, ["price"])
    with pytest.raises(InvalidInputError, match="there is one task"):
        search_groups(one, QUICK, **FEW)
