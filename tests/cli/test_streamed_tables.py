"""The commands on folders of files: tables larger than memory."""

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jointrain.bundle import load_bundle
from jointrain.cli import run
from jointrain.data.streaming import TextFiles
from jointrain.tables import TimeLimit
from tests.data.streaming.tables import in_files, mixed_frame

FIT = ["--targets", "y,z,w", "--id", "row", "--epochs", "1", "--width", "8", "--device", "cpu"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a table in files and a bundle that was fitted to it."""
    folder = tmp_path_factory.mktemp("streamed")
    in_files(mixed_frame(400), folder / "rows", group_rows=70)
    assert run(["fit", str(folder / "rows"), *FIT, "--out", str(folder / "bundle")]) == 0
    return folder


@pytest.fixture
def inside(fitted, monkeypatch):
    monkeypatch.chdir(fitted)
    return fitted


def test_fit_says_what_was_inferred_and_saves_a_bundle(inside, capsys):
    assert run(["fit", "rows", *FIT, "--out", "again", "--force"]) == 0
    printed = capsys.readouterr()
    assert "joint: 400 rows" in printed.out
    assert "target w: multiclass: hi, lo, mid (inferred)" in printed.err
    model = load_bundle("again")
    assert [task.name for task in model.tasks] == ["y", "z", "w"]
    described = json.loads(Path("again/bundle.json").read_text())
    assert described["notes"]["importance"]
    assert (
        Path("again/weights.safetensors").read_bytes()
        == Path("bundle/weights.safetensors").read_bytes()
    )


@pytest.mark.integration
def test_a_fit_ends_without_a_word_of_its_libraries(inside):
    """datasketches reports objects that are left at the end, on hundreds of lines."""
    done = subprocess.run(
        [sys.executable, "-m", "jointrain", "fit", "rows", *FIT, "--out", "alone", "--force"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "leak" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--time", "when"], "--time orders all rows"),
        (["--duplicates", "drop"], "--duplicates"),
        (["--rare", "merge"], "--rare merge"),
        (["--ensemble", "3"], "ensemble of 3"),
        (["--weights", "searched"], "further runs"),
    ],
)
def test_what_needs_all_rows_is_refused_in_one_line(inside, capsys, flags, said):
    assert run(["fit", "rows", *FIT, "--out", "refused", *flags]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert said in printed[-1]
    assert not Path("refused").exists()


@pytest.mark.integration
def test_a_pattern_names_files(inside, capsys):
    assert run(["fit", "rows/part-[01].parquet", *FIT, "--out", "some"]) == 0
    assert "joint: 266 rows" in capsys.readouterr().out
    assert run(["fit", "rows/none-*.parquet", *FIT, "--out", "none"]) == 2
    assert "no file is called" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "p.csv.gz",
        *(
            pytest.param(name, marks=pytest.mark.integration)
            for name in ("p.csv", "p.parquet", "p.jsonl", "p.arrow")
        ),
    ],
)
def test_predictions_of_a_folder_are_those_of_one_file(inside, capsys, name):
    whole = pl.concat([pl.read_parquet(path) for path in sorted(Path("rows").iterdir())])
    whole.write_parquet("whole.parquet")
    more = ["--intervals", "0.8", "--keep", "letter"]
    assert run(["predict", "bundle", "whole.parquet", "--out", f"one-{name}", *more]) == 0
    assert run(["predict", "bundle", "rows", "--out", f"other-{name}", *more]) == 0
    assert "Predicted 400 rows" in capsys.readouterr().out
    read = {".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson, ".arrow": pl.read_ipc}
    read = read.get(Path(name).suffix, pl.read_csv)
    one, other = read(f"one-{name}"), read(f"other-{name}")
    # the last bits of an encoding of text hang on the rows beside
    assert_frame_equal(one, other, rel_tol=1e-5)
    assert one["row"].to_list() == mixed_frame(400)["row"].to_list()


def test_predictions_are_not_overwritten_unasked(inside, capsys):
    Path("there.csv").write_text("mine")
    assert run(["predict", "bundle", "rows", "--out", "there.csv"]) == 2
    assert Path("there.csv").read_text() == "mine"
    assert run(["predict", "bundle", "rows", "--out", "there.csv", "--force"]) == 0
    assert len(pl.read_csv("there.csv")) == 400
    capsys.readouterr()
    assert run(["predict", "bundle", "rows", "--out", "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 401


def test_predict_names_file_and_row_and_leaves_nothing(inside, capsys):
    frame = mixed_frame(400)
    frame = frame.with_columns(
        pl.when(pl.int_range(400) == 313).then(float("inf")).otherwise("x1").alias("x1")
    )
    in_files(frame, Path("broken"), group_rows=70)
    assert run(["predict", "bundle", "broken", "--out", "p.csv"]) == 2
    # the third file begins with row 266
    assert "row 48 of broken/part-2.parquet" in capsys.readouterr().err
    assert not [*Path().glob("p.csv*"), *Path().glob(".p.csv*")]


def test_evaluate_of_a_folder_is_that_of_one_file(inside, capsys):
    pl.concat([pl.read_parquet(p) for p in Path("rows").iterdir()]).write_parquet("all.parquet")
    found = []
    for table in ("rows", "all.parquet"):
        assert run(["evaluate", "bundle", table, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    for task, metrics in found[0].items():
        assert metrics == pytest.approx(found[1][task], rel=1e-9)
    assert run(["evaluate", "bundle", "rows"]) == 0
    assert "400 rows" in capsys.readouterr().out


@pytest.mark.integration
def test_compare_studies_a_sample_and_trains_on_all_rows(inside, capsys, monkeypatch):
    monkeypatch.setattr("jointrain.cli._streamed_fit.STUDIED_ROWS", 150)
    more = ["--folds", "2", "--seeds", "1", "--baselines", "constant", "--workers", "1"]
    assert run(["compare", "rows", *FIT, *more, "--out", "answer"]) == 0
    printed = capsys.readouterr()
    assert "drawn evenly from all 400" in printed.err
    model = load_bundle("answer/bundle")
    assert model.calibration.residuals["y"].rows < 80
    results = pl.read_parquet("answer/results.parquet")
    assert {"joint", "separate"} <= set(results["recipe"])
    assert Path("answer/report.md").exists()


@pytest.mark.integration
def test_the_last_fit_ends_with_the_budget(inside, capsys, monkeypatch):
    class Over(TimeLimit):
        """The time is over when training starts."""

        def __init__(self, until, networks):
            assert until > time.monotonic()
            super().__init__(0.0, networks)

    monkeypatch.setattr("jointrain.cli._streamed_fit.STUDIED_ROWS", 150)
    monkeypatch.setattr("jointrain.tables.TimeLimit", Over)
    recipes = ["--recipes", "joint", "--baselines", "constant", "--workers", "1"]
    sizes = ["--targets", "y,z,w", "--id", "row", "--width", "8", "--device", "cpu"]
    short = ["--epochs", "3", "--budget", "60s", "--out", "short"]
    assert run(["compare", "rows", *sizes, *recipes, *short]) == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "budget of 60 s: joint was trained on all rows for 1 of" in printed
    assert [task.name for task in load_bundle("short/bundle").tasks] == ["y", "z", "w"]


@pytest.mark.integration
def test_csv_files_are_fitted_and_predicted(inside, capsys):
    folder = Path("texts")
    folder.mkdir()
    frame = pl.concat([pl.read_parquet(path) for path in sorted(Path("rows").iterdir())])
    frame[:150].write_csv(folder / "a.csv")
    frame[150:].write_csv(folder / "b.csv")
    assert run(["fit", "texts", *FIT, "--category", "user", "--out", "of-texts"]) == 0
    assert "joint: 400 rows" in capsys.readouterr().out
    frame.write_csv("whole.csv")
    assert run(["predict", "of-texts", "texts", "--out", "one.parquet"]) == 0
    assert run(["predict", "of-texts", "whole.csv", "--out", "other.parquet"]) == 0
    one, other = pl.read_parquet("one.parquet"), pl.read_parquet("other.parquet")
    assert_frame_equal(one, other, rel_tol=1e-5)
    assert run(["evaluate", "of-texts", "texts/*.csv"]) == 0
    assert "400 rows" in capsys.readouterr().out


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_a_large_text_file_is_predicted_in_parts_as_if_it_were_small(
    inside, capsys, monkeypatch, packing
):
    text = "\n".join(
        [*mixed_frame(400, seed=3).with_columns(pl.col("row") + "é").write_csv().splitlines(), ""]
    ).encode()
    Path(f"large.csv{packing}").write_bytes(gzip.compress(text) if packing else text)
    predict = ["predict", "bundle", f"large.csv{packing}", "--keep", "x0", "--force"]
    assert run([*predict, "--out", "whole.csv", "--intervals", "0.8"]) == 0
    whole = capsys.readouterr()
    parts = []

    def counted(self, see=None):
        for raw in TextFiles_parts(self, see):
            parts.append(len(raw.frame))
            yield raw

    TextFiles_parts = TextFiles.parts
    monkeypatch.setattr(TextFiles, "parts", counted)
    for name in ("LARGE_BYTES", "LARGE_PACKED_BYTES"):
        monkeypatch.setattr(f"jointrain.data.streaming._table_sources.{name}", 1 << 10)
    monkeypatch.setattr("jointrain.data.streaming._text_files._PART_BYTES", 1 << 12)
    assert run([*predict, "--out", "parts.csv", "--intervals", "0.8"]) == 0
    in_parts = capsys.readouterr()
    assert len(parts) > 4
    assert sum(parts) == 400
    assert in_parts.out == whole.out.replace("whole", "parts")
    assert in_parts.err == whole.err
    # products of other sizes are rounded in another way
    assert_frame_equal(pl.read_csv("parts.csv"), pl.read_csv("whole.csv"), rel_tol=1e-5)


def test_a_fault_of_a_large_text_file_is_told_by_its_line_and_leaves_nothing(
    inside, capsys, monkeypatch
):
    lines = mixed_frame(400).write_csv().splitlines()
    lines[350] = lines[350].replace(lines[350].split(",")[1], "oops", 1)
    Path("faulty.csv").write_text("\n".join(lines))
    errors = []
    for size in (1 << 30, 1 << 10):
        monkeypatch.setattr("jointrain.data.streaming._table_sources.LARGE_BYTES", size)
        monkeypatch.setattr("jointrain.data.streaming._text_files._PART_BYTES", 1 << 12)
        assert run(["predict", "bundle", "faulty.csv", "--out", "none.csv"]) == 2
        errors.append(capsys.readouterr().err)
    assert "351" in errors[0]
    assert errors[1].replace(" of faulty.csv", "") == errors[0]
    assert not Path("none.csv").exists()


NEW = {
    "a.csv": ["17,3,2024-05-01,1.50", "00017,4,2024-05-02,2"],
    "b.csv": [",5,,3.0", "12345678901234567890,6,2024-05-03 00:00,4"],
    "c.csv": ["x7,7,2024-05-04,5e0", "'17,8,2024-05-05, 6", "1.0,9,,7"],
}
"""Ids, whole numbers, days and fractions; each file looks like another type."""


@pytest.mark.parametrize(
    "trained_on",
    [
        "whole.csv",
        pytest.param("texts", marks=pytest.mark.integration),
        pytest.param("whole.parquet", marks=pytest.mark.integration),
    ],
)
def test_kept_columns_of_a_folder_of_texts_come_back_as_they_are_written(
    tmp_path, monkeypatch, capsys, trained_on
):
    monkeypatch.chdir(tmp_path)
    header = "id,rooms,day,size"
    rows = [f"{n},{n % 5},2024-05-{n % 28 + 1:02},{(7 * n) % 11 / 4}" for n in range(60)]
    text = "\n".join([header + ",y", *(f"{row},{n}" for n, row in enumerate(rows)), ""])
    Path("texts").mkdir()
    for path in ("whole.csv", "texts/all.csv"):
        Path(path).write_text(text)
    pl.read_csv("whole.csv", try_parse_dates=True).write_parquet("whole.parquet")
    fit = ["--targets", "y", "--id", "id", "--epochs", "1", "--width", "4", "--device", "cpu"]
    assert run(["fit", trained_on, *fit, "--out", "model"]) == 0
    Path("new").mkdir()
    for name, lines in NEW.items():
        Path("new", name).write_text("\n".join([header, *lines, ""]))
    keep = [word for name in ("day", "size", "rooms") for word in ("--keep", name)]
    assert run(["predict", "model", "new", *keep, "--out", "p.csv"]) == 0, capsys.readouterr().err
    written = [line.split(",") for lines in NEW.values() for line in lines]
    found = [line.split(",")[:4] for line in Path("p.csv").read_text().splitlines()]
    assert found == [["id", "day", "size", "rooms"]] + [
        [name, day, size, rooms] for name, rooms, day, size in written
    ]
