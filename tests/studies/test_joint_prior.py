"""What is known before training: facts of a table, and how joint training did on others like it."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from jointrain import SupervisedTable, load_energy_efficiency
from jointrain.studies import TableFacts, facts_of, joint_prior
from jointrain.studies._joint_prior import OTHERS, _Other


def table(rows: int = 200, missing: bool = False) -> SupervisedTable:
    random = np.random.default_rng(0)
    a = random.normal(size=rows)
    b = np.exp(a + random.normal(size=rows))
    kind = np.where(a + random.normal(size=rows) > 0.5, "high", "low")
    frame = pl.DataFrame({"x": random.normal(size=rows), "a": a, "b": b, "kind": kind})
    if missing:
        gone = pl.int_range(pl.len()) % 4 == 0
        frame = frame.with_columns(b=pl.when(gone).then(None).otherwise("b"))
    return SupervisedTable.prepare(frame, ["a", "b", "kind"])


def test_facts_are_rows_labels_and_correlations_of_ranks():
    one = table()
    facts = facts_of(one)
    a, b, kind = (one.frame[name].to_numpy() for name in ("a", "b", "kind"))
    high = (kind == "high").astype(float)
    # ranks of a number against 0/1 of a class
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    expected = np.mean(
        [spearmanr(a, b).statistic, *(np.corrcoef(own, high)[0, 1] for own in ranks)]
    )
    assert facts == TableFacts(200, 3, 1.0, pytest.approx(expected))
    fewer = facts_of(table(missing=True))
    assert (fewer.rows, fewer.label_share) == (200, pytest.approx(11 / 12))
    known = np.arange(200) % 4 != 0
    assert spearmanr(a[known], b[known]).statistic > 0.4
    assert fewer.correlation > 0.3


def test_one_target_or_few_labels_in_common_have_no_correlation():
    frame = pl.DataFrame({"x": [float(i) for i in range(40)]}).with_columns(
        a=pl.when(pl.col("x") < 25).then(pl.col("x") * 2.5),
        b=pl.when(pl.col("x") >= 20).then(pl.col("x") * 1.5),
    )
    assert facts_of(SupervisedTable.prepare(frame, ["a", "b"])).correlation == 0
    alone = SupervisedTable.prepare(frame.drop("b"), ["a"])
    assert facts_of(alone).correlation == 0
    assert joint_prior(alone, [_Other(100, 2, 1.0, 0.0, 5.0)] * 9) is None


def test_the_sentence_counts_tables_of_the_same_kind():
    alike = [_Other(150, 4, 1.0, 0.5, gain) for gain in (-2.0, 1.0, 3.0, 4.0, 8.0)]
    others = [_Other(150, 4, 1.0, 0.1, -9.0), _Other(5000, 4, 1.0, 0.5, -9.0)]
    said = joint_prior(table(), [*alike, *others])
    assert said is not None
    assert said.startswith("prior, from 7 public tables before any training on this one: ")
    assert "(up to 300 rows, targets correlated by 0.3 or more)" in said
    assert "a lower error than separate ones in 4 of 5, by 3.0 % in the median" in said
    assert said.endswith("the answer does not rest on it")
    assert joint_prior(table(), [*alike[:4], *others]) is None
    worse = [_Other(150, 4, 1.0, 0.5, gain) for gain in (-5.0, -3.0, -1.8, -0.5, 8.0)]
    assert "in 1 of 5, median gain -1.8 %; the answer" in (joint_prior(table(), worse) or "")


def test_a_table_is_no_other_table():
    targets = ["heating_load", "cooling_load"]
    said = joint_prior(SupervisedTable.prepare(load_energy_efficiency(), targets))
    assert said is not None
    assert said.startswith(f"prior, from {len(OTHERS) - 1} public tables")
    assert "in 7 of 13" in said


@pytest.mark.parametrize(
    ("rows", "correlation", "words"),
    [
        (300, 0.29, "up to 300 rows, targets correlated by less than 0.3"),
        (301, 0.3, "301 to 2,000 rows, targets correlated by 0.3 or more"),
        (2001, 0.9, "more than 2,000 rows, targets correlated by 0.3 or more"),
    ],
)
def test_kinds_of_tables(rows, correlation, words):
    assert TableFacts(rows, 2, 1.0, correlation).in_words() == words


def test_the_tables_that_are_kept_are_possible():
    for other in OTHERS:
        assert 2 <= other.targets <= 30
        assert 0 < other.label_share <= 1
        assert 0 <= other.correlation <= 1
        assert -100 < other.gain < 100
