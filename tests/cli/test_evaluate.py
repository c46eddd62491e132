"""`jointrain evaluate` after shipping: the constant, drift, promises, history, exit code 3."""

import datetime
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, SupervisedTable, fit_table
from jointrain.bundle import describe_bundle, load_bundle, save_bundle
from jointrain.cli import run
from jointrain.cli._since_training import History


def _rows(n, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 2))
    frame = {"x0": x[:, 0], "x1": x[:, 1], "y": x @ [1.0, 2.0] + 0.3 * random.normal(size=n)}
    frame["z"] = np.where(x[:, 0] + 0.5 * random.normal(size=n) > 0, "yes", "no")
    return pl.DataFrame(frame)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    _rows(240, 0).write_csv(folder / "t.csv")
    command = ["fit", str(folder / "t.csv"), "--targets", "y,z", "--out", str(folder / "model")]
    assert run([*command, "--epochs", "8", "--ensemble", "2"]) == 0
    # one without anything of its training table
    save_bundle(load_bundle(folder / "model"), folder / "bare")
    for week in (1, 2):
        _rows(150, week).write_csv(folder / f"week-{week}.csv")
    worse = _rows(150, 3).with_columns(pl.col("y") + 4, pl.col("x1") + 0.0)
    worse.write_csv(folder / "week-3.csv")
    return folder


def test_a_model_saved_from_python_keeps_its_table_too(folder, tmp_path):
    table = SupervisedTable.prepare(pl.read_csv(folder / "t.csv"), ["y", "z"])
    model = fit_table(table, Recipe(epochs=1, width=4, ensemble=2))
    save_bundle(model, tmp_path / "model", table=table, notes={"mine": 1})
    notes = describe_bundle(tmp_path / "model")["notes"]
    of_command = describe_bundle(folder / "model")["notes"]["reference"]
    assert notes["mine"] == 1
    assert notes["reference"]["columns"] == of_command["columns"]
    assert notes["reference"]["constants"] == of_command["constants"]
    assert set(notes["reference"]["promises"]) == {"y", "z"}


@pytest.mark.integration
def test_what_compare_saves_keeps_its_table_too(folder, tmp_path, capsys):
    command = ["compare", str(folder / "t.csv"), "--targets", "y,z", "--out", str(tmp_path / "a")]
    short = ["--folds", "2", "--seeds", "1", "--epochs", "3", "--workers", "1"]
    assert run([*command, *short, "--baselines", "constant,linear"]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "a"), str(folder / "week-1.csv")]) == 0
    shown = capsys.readouterr().out
    for words in ("Drift: 0 of 2", "nothing against it"):
        assert words in shown


def test_a_folder_of_files_is_held_against_training_too(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jointrain.cli._streamed_use._SAMPLED", 150)
    (tmp_path / "weeks").mkdir()
    for week in (1, 2):
        pl.read_csv(folder / f"week-{week}.csv").write_csv(tmp_path / f"weeks/{week}.csv")
    assert run(["evaluate", str(folder / "model"), str(tmp_path / "weeks"), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert run(["evaluate", str(folder / "model"), str(tmp_path / "weeks")]) == 0
    shown = capsys.readouterr()
    assert "of one row in 2" in shown.err
    assert f"{metrics['y']['RMSE']:.4g}" in shown.out
    for words in ("300 rows", "Drift: 0 of 2", "150", "nothing against it"):
        assert words in shown.out


def _evaluated(folder, table, capsys, *more):
    capsys.readouterr()
    arguments = ["evaluate", str(folder / "model"), str(folder / table), "--json", "--details"]
    assert run([*arguments, *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_reported_constant_coverage_and_drift_beside_the_measured(folder, capsys):
    found = _evaluated(folder, "week-1.csv", capsys)
    frame, train = pl.read_csv(folder / "week-1.csv"), pl.read_csv(folder / "t.csv")
    by_hand = float(((frame["y"] - train["y"].mean()) ** 2).mean() ** 0.5)
    assert found["constant"]["y"]["RMSE"] == pytest.approx(by_hand)
    ends = load_bundle(folder / "model").predict_interval(frame, 0.9)["y"]
    within = ((ends[:, 0] <= frame["y"].to_numpy()) & (frame["y"].to_numpy() <= ends[:, 1])).mean()
    assert found["coverage"]["measured"]["y"] == pytest.approx(within)
    assert {d["column"]: d["drifted"] for d in found["drift"]} == {"x0": False, "x1": False}
    assert {name: p["loss"] for name, p in found["promises"].items()} == {
        "y": "absolute error",
        "z": "Brier score",
    }
    assert run(["evaluate", str(folder / "model"), str(folder / "week-1.csv")]) == 0
    shown = capsys.readouterr().out
    for words in ("reported", "constant", "Drift: 0 of 2", "nothing against it"):
        assert words in shown


def test_intervals_without_ends_have_no_coverage(tmp_path, capsys):
    _rows(30, 0).write_csv(tmp_path / "t.csv")
    command = ["fit", str(tmp_path / "t.csv"), "--targets", "y", "--out", str(tmp_path / "model")]
    assert run([*command, "--epochs", "2", "--ensemble", "1"]) == 0
    _rows(20, 1).write_csv(tmp_path / "week.csv")
    found = _evaluated(tmp_path, "week.csv", capsys)
    assert found["coverage"] == {"of": 0.9, "measured": {"y": None}}
    assert run(["evaluate", str(tmp_path / "model"), str(tmp_path / "week.csv")]) == 0
    shown = capsys.readouterr().out
    assert "not defined: too few rows were left out of training" in shown
    assert "100.0%" not in shown


def test_the_history_finds_the_target_that_got_worse(folder, capsys, tmp_path):
    kept = tmp_path / "history.json"
    for count, table in enumerate(("week-1.csv", "week-2.csv"), 1):
        found = _evaluated(folder, table, capsys, "--history", str(kept))
        assert found["promises"]["y"]["tables"] == count
        assert not any(p["broken"] for p in found["promises"].values())
    before = kept.read_bytes()
    _evaluated(folder, "week-2.csv", capsys, "--history", str(kept))
    assert kept.read_bytes() == before  # the same rows are counted once
    bundle = describe_bundle(folder / "model")
    found = _evaluated(folder, "week-3.csv", capsys, "--history", str(kept))
    assert found["promises"]["y"]["broken"]
    assert not found["promises"]["z"]["broken"]
    assert describe_bundle(folder / "model") == bundle
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]


def test_the_same_rows_are_counted_once_whatever_they_are_written_in(folder, capsys, tmp_path):
    week = pl.read_csv(folder / "week-1.csv")
    week.write_csv(tmp_path / "0.csv")
    week.select(reversed(week.columns)).write_csv(tmp_path / "1.csv")
    week.with_columns(unused=pl.lit("a")).write_csv(tmp_path / "2.csv")
    week[::-1].cast({pl.Float64: pl.Float32}).write_parquet(tmp_path / "3.parquet")
    kept = ["--history", str(tmp_path / "history.json")]
    for name in ("0.csv", "1.csv", "2.csv", "3.parquet"):
        assert run(["evaluate", str(folder / "model"), str(tmp_path / name), *kept]) == 0
        assert ("stands in" in capsys.readouterr().err) == (name != "0.csv")
    assert len(json.loads((tmp_path / "history.json").read_text())["tables"]) == 1


def test_rows_of_a_table_that_grows_are_counted_once(folder, capsys, tmp_path):
    first, second = (pl.read_csv(folder / f"week-{week}.csv") for week in (1, 2))
    pl.concat([first, second[:50]]).write_csv(tmp_path / "both.csv")
    second.write_csv(tmp_path / "second.csv")
    kept = tmp_path / "history.json"
    command = ["evaluate", str(folder / "model")]
    assert run([*command, str(folder / "week-1.csv"), "--history", str(kept)]) == 0
    before = kept.read_bytes()
    assert run([*command, str(tmp_path / "both.csv"), "--history", str(kept)]) == 2
    assert "about 75% of these rows were counted before" in capsys.readouterr().err
    assert kept.read_bytes() == before
    assert run([*command, str(tmp_path / "second.csv"), "--history", str(kept)]) == 0


def test_exit_code_three_where_a_metric_is_worse(folder, capsys):
    command = ["evaluate", str(folder / "model"), str(folder / "week-1.csv"), "--fail-below"]
    assert run([*command, "R2=-1"]) == 0
    assert run([*command, "y/RMSE=0.0001"]) == 3
    assert "RMSE of y is" in capsys.readouterr().err
    assert run([*command, "y/RMSE=100"]) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--fail-below", "R3=1"], "no task has the metric 'R3'; there are RMSE"),
        (["--fail-below", "R2"], "must look like METRIC=VALUE"),
        (["--history", "other.json"], "is of another bundle"),
        (["--history", "broken.json"], "is no history"),
        (["--history", "no-digest.json"], "is no history"),
        (["--history", "no-rows.json"], "is no history"),
        (["--history", "pipe"], "pipe is no regular file; name another file"),
        (["--history", "nowhere.json"], "nowhere.json: No such file"),
        (["--history", "nowhere/h.json"], "no folder nowhere"),
    ],
)
def test_faults_are_one_line(folder, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    other = {"schema_version": 1, "bundle": {"a": "b"}, "tables": [], "targets": {}}
    Path("other.json").write_text(json.dumps(other))
    Path("broken.json").write_text("[1]")
    Path("no-digest.json").write_text(json.dumps(other | {"tables": [{"rows": 1}]}))
    no_rows = {"digest": "a", "rows": 1, "known": {"rows": 1, "digests": []}}
    Path("no-rows.json").write_text(json.dumps(other | {"tables": [no_rows]}))
    os.mkfifo("pipe")
    Path("nowhere.json").symlink_to("nothing")
    command = ["evaluate", str(folder / "model"), str(folder / "week-1.csv")]
    assert run([*command, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("first", [True, False])
def test_a_history_that_was_changed_meanwhile_stays(folder, capsys, tmp_path, monkeypatch, first):
    kept = tmp_path / "history.json"
    command = ["evaluate", str(folder / "model"), str(folder / "week-1.csv")]
    if not first:
        assert run([*command, "--history", str(kept)]) == 0
    after = History.after

    def after_another(*arguments):
        kept.write_text("another's")
        return after(*arguments)

    monkeypatch.setattr(History, "after", after_another)
    capsys.readouterr()
    assert run([*command, "--history", str(kept)]) == 2
    assert "was changed while this table was measured" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("history.json", "another's")
    ]


def test_a_label_too_large_to_be_squared_leaves_the_history(folder, capsys, tmp_path):
    kept = tmp_path / "history.json"
    pl.concat([_rows(60, 4), _rows(1, 5).with_columns(y=1e308)]).write_csv(tmp_path / "t.csv")
    command = ["evaluate", str(folder / "model"), str(tmp_path / "t.csv"), "--json"]
    assert run([*command, "--history", str(kept)]) == 2
    assert "target 'y' has values as large as 1e+308 (row 61 holds" in capsys.readouterr().err
    assert not kept.exists()


def test_a_history_by_a_link_is_written_where_it_lies(folder, capsys, tmp_path):
    (tmp_path / "link.json").symlink_to("history.json")
    command = ["evaluate", str(folder / "model"), str(folder / "week-1.csv"), "--history"]
    assert run([*command, str(tmp_path / "history.json")]) == 0
    assert run([*command, str(tmp_path / "link.json")]) == 0
    assert "stands in" in capsys.readouterr().err
    assert (tmp_path / "link.json").is_symlink()


def test_an_older_bundle_has_metrics_and_says_so(folder, capsys, tmp_path):
    command = ["evaluate", str(folder / "bare"), str(folder / "week-1.csv")]
    assert run(command) == 0
    assert "keeps nothing of its training table" in capsys.readouterr().out
    assert run([*command, "--history", str(tmp_path / "h.json")]) == 2
    assert "keeps no promise" in capsys.readouterr().err


def test_rows_that_were_trained_on_are_told_from_new_ones(folder, capsys, tmp_path):
    train, new = pl.read_csv(folder / "t.csv"), pl.read_csv(folder / "week-1.csv")
    pl.concat([new, train[:60]]).write_csv(tmp_path / "some.csv")
    train.sample(fraction=1, shuffle=True, seed=0).write_parquet(tmp_path / "all.parquet")
    for table, share, words in (
        (folder / "week-1.csv", 0, ""),
        (tmp_path / "some.csv", 60 / 210, "note: about 29% of these rows are rows that the model"),
        (
            tmp_path / "all.parquet",
            1,
            "note: all of these rows are rows that the model was",
        ),
    ):
        arguments = ["evaluate", str(folder / "model"), str(table), "--json", "--details"]
        assert run(arguments) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["trained_on"] == pytest.approx(share)
        assert words in shown.err
        assert words or "trained on" not in shown.err
    kept = tmp_path / "history.json"
    assert run([*arguments, "--history", str(kept)]) == 2
    assert "a promise is of new rows" in capsys.readouterr().err
    assert not kept.exists()


def test_rows_with_lists_and_durations_are_known_again(tmp_path, capsys):
    table = _rows(60, 0).with_columns(
        pl.Series("bag", [["a", "b"][: row % 3] for row in range(60)]),
        pl.Series("span", [datetime.timedelta(row % 7) for row in range(60)]),
        pl.Series("sort", ["red", "blue"] * 30).cast(pl.Categorical),
    )
    table.write_parquet(tmp_path / "t.parquet")
    command = ["fit", str(tmp_path / "t.parquet"), "--targets", "y", "--out"]
    assert run([*command, str(tmp_path / "model"), "--epochs", "1", "--ensemble", "1"]) == 0
    assert _evaluated(tmp_path, "t.parquet", capsys)["trained_on"] == 1


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_rows_with_instants_of_another_unit_are_known_again(tmp_path, capsys, unit):
    start = datetime.datetime(2024, 1, 1)
    table = _rows(60, 0).with_columns(
        pl.Series("when", [start + datetime.timedelta(days=row) for row in range(60)])
    )
    table.write_parquet(tmp_path / "t.parquet")
    table.cast({"when": pl.Datetime(unit)}).write_parquet(tmp_path / "other.parquet")
    command = ["fit", str(tmp_path / "t.parquet"), "--targets", "y", "--out"]
    assert run([*command, str(tmp_path / "model"), "--epochs", "1", "--ensemble", "1"]) == 0
    assert _evaluated(tmp_path, "other.parquet", capsys)["trained_on"] == 1


@pytest.mark.parametrize("how, words", [("merge", True), ("drop", True), ("drop", False)])
def test_rare_labels_are_treated_as_in_training(tmp_path, capsys, how, words):
    labels = [10 + i if i < 8 else i % 2 for i in range(80)]
    frame = pl.DataFrame({"x": [i % 7 / 7 for i in range(80)], "c": labels})
    if words:
        frame = frame.with_columns(c=pl.format("k{}", "c"))
    frame.write_csv(tmp_path / "t.csv")
    command = ["fit", str(tmp_path / "t.csv"), "--targets", "c", "--task", "c=multiclass"]
    command += ["--rare", how, "--out", str(tmp_path / "model"), "--epochs", "2", "--ensemble", "1"]
    assert run(command) == 0
    capsys.readouterr()
    evaluate = ["evaluate", str(tmp_path / "model"), str(tmp_path / "t.csv"), "--json"]
    assert run(evaluate) == 0
    measured = json.loads(capsys.readouterr().out)["c"]["accuracy"]
    kept = frame.filter(pl.Series(labels) < 2)
    kept.write_csv(tmp_path / "t.csv")
    assert run(evaluate) == 0
    own = json.loads(capsys.readouterr().out)["c"]["accuracy"]
    assert (measured == own) == (how == "drop")
    # a label that training never had is none of the classes
    frame.with_columns(pl.lit("k99" if words else 99).alias("c")).write_csv(tmp_path / "t.csv")
    assert run(evaluate) == 2
