"""Time, groups, rare classes and repeats, from the command line to the saved model."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.bundle import describe_bundle, load_bundle
from jointrain.cli import run
from jointrain.data import SupervisedTable, read_table
from jointrain.tables._blended_model import fit_baseline_to

QUICK = ["--epochs", "2", "--width", "4", "--depth", "1", "--ensemble", "1", "--device", "cpu"]
STUDY = ["--recipes", "separate,joint", "--baselines", "constant,linear,gradient boosting",
         "--folds", "2", "--seeds", "1", "--workers", "1"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = 60
    names = random.permutation(["oak"] * 35 + ["elm"] * 20 + ["yew"] * 2 + ["fir"] * 2 + ["ash"])
    pl.DataFrame(
        {
            "day": [f"2024-{1 + i // 15:02d}-{1 + i % 15:02d}" for i in range(rows)],
            "who": [f"p{i // 4}" for i in range(rows)],
            "x": random.normal(size=rows).round(3),
            "species": names,
            "y": random.normal(size=rows).round(3),
        }
    ).write_csv("t.csv")
    return tmp_path


def compare(*more: str) -> int:
    return run(
        ["compare", "t.csv", "--targets", "species,y", *STUDY, *QUICK, "--out", "out", *more]
    )


@pytest.mark.parametrize(
    "roles", [[], ["--group", "who"], ["--time", "day"], ["--group", "who", "--time", "day"]]
)
def test_rare_classes_stop_no_study(folder, capsys, roles):
    assert compare("--ignore", "who", *roles, "--json") == 0
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    notes = json.loads(said.out)["notes"]
    assert any("target 'species': 'ash' (1 row)" in note for note in notes)
    model = load_bundle("out")
    predicted = model.predict(read_table("t.csv"))
    assert predicted["species"].shape == (60, 5)
    np.testing.assert_allclose(predicted["species"].sum(1), 1, atol=1e-6)
    assert describe_bundle("out")["notes"]["table"] == notes
    assert f"- About the data: {notes[0]}." in Path("out/report.md").read_text()


def test_rare_classes_are_merged_on_request(folder, capsys):
    assert compare("--ignore", "who,day", "--rare", "merge", "--folds", "3") == 0
    assert load_bundle("out").tasks[0].classes == ("elm", "oak", "other")
    assert "note: classes with fewer than 3 rows are merged into" in capsys.readouterr().err


def test_intervals_by_time_promise_nothing_for_later_days(folder, capsys):
    arguments = ["fit", "t.csv", "--targets", "y", "--time", "day", "--ignore", "species,who"]
    assert run([*arguments, *QUICK, "--out", "out"]) == 0
    assert "its month, weekday are features" in capsys.readouterr().err
    assert [column.kind for column in load_bundle("out").columns] == ["numeric", "calendar"]
    assert run(["predict", "out", "t.csv", "--out", "p.csv", "--intervals", "0.5"]) == 0
    assert "on later data their coverage is not promised" in capsys.readouterr().err
    assert read_table("p.csv").columns == ["y", "y_low", "y_high"]
    assert run(["predict", "out", "t.csv", "--out", "q.csv"]) == 0
    assert "coverage" not in capsys.readouterr().err


@pytest.mark.parametrize("baseline", ["linear", "gradient boosting"])
def test_a_saved_baseline_knows_the_calendar(folder, baseline):
    table = SupervisedTable.prepare(
        read_table("t.csv"), ["y"], time_column="day", ignore=["species", "who"]
    )
    model = fit_baseline_to(baseline, table, 0)
    model.encoder.save("encoder")
    again = type(model.encoder).load("encoder")
    np.testing.assert_array_equal(
        again.transform(table.frame), model.encoder.transform(table.frame)
    )
    later = read_table("t.csv").with_columns(pl.col("day").dt.offset_by("364d"))
    # a year of whole weeks later only the day of the month differs: neither year nor days count
    assert np.isfinite(model.predict(later)["y"]).all()
    assert not any("days" in name or "year" in name for name in model.encoder.feature_names)


def test_columns_that_are_missing_extra_or_in_another_order_are_told(folder, capsys):
    arguments = ["fit", "t.csv", "--targets", "y", "--ignore", "species"]
    assert run([*arguments, *QUICK, "--out", "out"]) == 0
    frame = read_table("t.csv")
    frame.select(reversed(frame.columns)).with_columns(extra=1, more=2).write_csv("u.csv")
    capsys.readouterr()
    assert run(["predict", "out", "t.csv", "--out", "p.csv"]) == 0
    assert run(["predict", "out", "u.csv", "--out", "q.csv"]) == 0
    assert "note: the model does not use: 'species', 'extra', 'more'" in capsys.readouterr().err
    assert read_table("p.csv").equals(read_table("q.csv"))
    frame.drop("x", "who").write_csv("v.csv")
    assert run(["predict", "out", "v.csv", "--out", "r.csv"]) == 2
    assert "columns 'who', 'x' are missing from the table" in capsys.readouterr().err


def test_a_new_class_in_evaluation_is_told(folder, capsys):
    assert run(["fit", "t.csv", "--targets", "species,y", *QUICK, "--out", "out"]) == 0
    frame = read_table("t.csv").with_columns(species=pl.lit("lime"))
    frame.write_csv("u.csv")
    capsys.readouterr()
    assert run(["evaluate", "out", "u.csv"]) == 2
    assert "holds 'lime' in row 1, which is none of its classes" in capsys.readouterr().err


@pytest.mark.parametrize("ignore", ["species,who", "species,who,x"])
def test_a_first_block_of_one_day_has_a_calendar_too(folder, capsys, ignore):
    frame = read_table("t.csv").with_columns(
        day=pl.Series([f"2024-0{1 + i // 20}-01" for i in range(60)])
    )
    frame.write_csv("t.csv")
    arguments = ["compare", "t.csv", "--targets", "y", "--time", "day", "--ignore", ignore]
    assert run([*arguments, *STUDY, *QUICK, "--out", "out"]) == 0
    said = capsys.readouterr().err
    assert "time column 'day' has 3 distinct values in 60 rows" in said
    assert load_bundle("out").predict(read_table("t.csv"))["y"].shape == (60,)


def test_counts_and_ordered_classes_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    x = random.normal(size=60)
    pl.DataFrame(
        {
            "x": x,
            "visits": random.poisson(np.exp(x)),
            "grade": np.digitize(x, [-0.5, 0.5]),
            "level": np.array(["low", "mid", "top"])[np.digitize(x, [-1.0, 1.0])],
        }
    ).write_csv("t.csv")
    kinds = [
        part
        for said in ("visits=count", "grade=ordinal", "level=ordinal:low:mid:top")
        for part in ("--task", said)
    ]
    asked = ["--targets", "visits,grade,level", *kinds, *STUDY, *QUICK, "--out", "out"]
    assert run(["compare", "t.csv", *asked]) == 0
    said = capsys.readouterr()
    assert "target level: ordinal: low, mid, top (as said)" in said.err
    assert "visits: count, 60 labels" in said.out
    assert "grade: ordinal of 3 classes, 60 labels" in said.out
    assert run(["inspect", "out"]) == 0
    assert "quadratic kappa" in capsys.readouterr().out
    assert run(["predict", "out", "t.csv", "--intervals", "0.8", "--out", "p.csv"]) == 0
    columns = pl.read_csv("p.csv")
    assert {"visits", "visits_low", "grade=2", "level=top"} <= set(columns.columns)
    assert columns["visits"].min() >= 0
    rows = pl.read_csv("t.csv").with_columns(visits=pl.col("visits") - 1)
    rows.write_csv("wrong.csv")
    capsys.readouterr()
    assert run(["compare", "wrong.csv", *asked, "--force"]) == 2
    assert "count target 'visits' holds -1 in row" in capsys.readouterr().err


# --- weights of rows and classes ------------------------------------------------------------------


@pytest.fixture
def weighted(folder) -> Path:
    frame = read_table("t.csv")
    weights = np.arange(60) % 4
    frame.with_columns(w=pl.Series(weights)).filter(
        pl.col("species").is_in(["oak", "elm"])
    ).write_csv("t.csv")
    return folder


def test_rows_weigh_from_the_flag_to_the_saved_model(weighted, capsys):
    arguments = ["--ignore", "who,day", "--row-weight", "w", "--class-weights", "elm=3"]
    assert compare(*arguments) == 0
    assert "13 rows of weight 0 are left out, by column w" in capsys.readouterr().err
    notes = describe_bundle("out")["notes"]
    assert notes["row_weight"] == "w"
    assert notes["class_weights"] == {"elm": 3.0}
    assert [column.name for column in load_bundle("out").columns] == ["x"]
    assert run(["evaluate", "out/bundle", "t.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    frame = read_table("t.csv")
    assert found == load_bundle("out").evaluate(frame, frame["w"].to_numpy())
    assert run(["evaluate", "out/bundle", "t.csv"]) == 0
    assert f"{len(frame)} rows, weighed by w" in capsys.readouterr().out
    frame.drop("w").write_csv("u.csv")
    assert run(["evaluate", "out/bundle", "u.csv", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == load_bundle("out").evaluate(frame) != found
    assert "rows weighed in training, by column 'w', which is not here" in said.err
    assert run(["predict", "out/bundle", "t.csv", "--out", "p.csv"]) == 0
    assert "does not use: 'day'" in (err := capsys.readouterr().err)
    assert "'w'" not in err


@pytest.mark.parametrize("command", ["fit", "weigh", "group", "share"])
def test_every_command_that_trains_takes_weights(weighted, capsys, command):
    few = {"fit": [], "weigh": ["--trials", "1"], "group": ["--trials", "1"], "share": []}[command]
    study = [] if command == "fit" else ["--folds", "2", "--seeds", "1", "--workers", "1"]
    assert run(
        [command, "t.csv", "--targets", "species,y", "--ignore", "who,day", "--row-weight", "w",
         "--class-weights", "balanced", *few, *study, *QUICK, "--out", f"{command}-out"]
    ) == 0, capsys.readouterr().err  # fmt: skip
    assert "13 rows of weight 0 are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--row-weight", "y"], "column 'y' is target and also row-weight"),
        (["--row-weight", "v"], "row-weight column 'v' is not in the table"),
        (["--row-weight", "x"], "row-weight column 'x' holds -"),
        (["--row-weight", "who"], "row-weight column 'who' holds text such as"),
        (["--class-weights", "oka=2"], "class weights name 'oka', which is no class of a target"),
        (["--class-weights", "elm=nan"], "--class-weights: expected a number for 'elm', got 'nan'"),
        (["--class-weights", "elm=five"], "expected a number for 'elm', got 'five'"),
        (["--class-weights", "elm=0"], "the weight of class 'elm' must be a number above 0"),
        (["--weights", "y=nan"], "--weights: expected a number for 'y', got 'nan'"),
        (
            ["--class-weights", "even"],
            "class weights must be 'balanced' or a number for each class",
        ),
        (["--class-weights", "balancd"], "got 'balancd' (did you mean 'balanced'?)"),
        (
            ["--class-weights", "OAK=2"],
            "'OAK', which is no class of a target (did you mean 'oak'?)",
        ),
    ],
)
def test_weights_that_are_none_are_one_line(weighted, capsys, flags, message):
    assert run(["fit", "t.csv", "--targets", "species,y", "--ignore", "day", *flags, *QUICK]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error")]
    assert message in line
