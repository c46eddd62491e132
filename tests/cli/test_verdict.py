"""`jointrain verdict` as a user runs it."""

import json
import os
from pathlib import Path

import polars as pl
import pytest

from jointrain.cli import run
from jointrain.data import write_table
from jointrain.studies import verdict

VALUES = {
    "separate": [0.80, 0.81, 0.80, 0.83, 0.82],
    "joint": [0.86, 0.89, 0.85, 0.90, 0.88],
}
LONG = pl.DataFrame(
    [
        {"recipe": recipe, "task": task, "metric": "accuracy", "seed": seed, "value": value + shift}
        for recipe, values in VALUES.items()
        for task, shift in (("a", 0.0), ("b", 0.01))
        for seed, value in enumerate(values)
    ]
)
WIDE = LONG.pivot("task", index=["recipe", "seed"], values="value")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "xlsx"])
def test_all_kinds_of_files_give_the_verdict_of_python(ending, capsys):
    if ending == "jsonl":
        LONG.write_ndjson("runs.jsonl")
    elif ending == "xlsx":
        LONG.write_excel("runs.xlsx")
    else:
        write_table(LONG, f"runs.{ending}")
    assert run(["verdict", f"runs.{ending}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = verdict(LONG).delta_m["joint"]
    found = told["recipes"]["joint"]["delta_m"]
    assert (found["change"], found["low"]) == pytest.approx((expected.change, expected.low))
    assert found["verdict"] == "better"


def test_the_answer_is_printed_and_on_the_page(capsys):
    LONG.write_csv("runs.csv")
    assert run(["verdict", "runs.csv", "--report", "page.md", "--difference", "1%"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    with open("page.md", encoding="utf-8") as file:
        answer = file.read().split("\n\n")[1]
    assert answer.startswith("Take joint: it is")
    assert answer in printed
    assert "Saved: page.md" in printed
    assert run(["verdict", "runs.csv", "--report", "page.md"]) == 2
    assert "page.md exists" in capsys.readouterr().err
    assert run(["verdict", "runs.csv", "--report", "page.md", "--force"]) == 0


def test_an_export_of_mlflow(capsys):
    WIDE.select(
        pl.int_range(pl.len()).alias("run_id"),
        pl.lit("FINISHED").alias("status"),
        pl.col("a").alias("metrics.a/accuracy"),
        pl.col("b").alias("metrics.b/accuracy"),
        pl.col("recipe").alias("params.recipe"),
        pl.col("seed").alias("params.seed"),
    ).write_csv("runs.csv")
    assert run(["verdict", "runs.csv", "--wide", "{task}/{metric}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["tasks"]) == ["a", "b"]
    assert told["recipes"]["joint"]["delta_m"]["verdict"] == "better"


def test_an_export_of_wandb(capsys):
    WIDE.select(
        pl.lit("run").alias("Name"),
        pl.col("recipe").alias("Group"),
        pl.when(pl.int_range(pl.len()) < 9)
        .then(pl.lit("finished"))
        .otherwise(pl.lit("crashed"))
        .alias("State"),
        "seed",
        pl.col("a").alias("val/acc_a"),
        pl.col("b").alias("val/acc_b"),
    ).write_csv("runs.csv")
    arguments = ["verdict", "runs.csv", "--recipe", "Group", "--wide", "val/acc_{task}", "--json"]
    assert run(arguments) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["recipes"]["joint"]["delta_m"]["verdict"] == "better"
    assert "note: 1 run is not finished (crashed) and left out" in printed.err
    assert "defined in 4 of 5 pairs of runs" in printed.err


def test_seeds_and_names_are_read_as_they_are_written(capsys):
    LONG.with_columns(
        recipe=pl.when(recipe="joint").then(pl.lit("007")).otherwise(pl.lit("7")),
        seed=pl.format("00{}", "seed"),
    ).write_csv("runs.csv")
    assert run(["verdict", "runs.csv", "--baseline", "7", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["recipes"]) == ["007"]


@pytest.mark.parametrize(
    ("frame", "flags", "words"),
    [
        (LONG, ["--baseline", "seperate"], "no recipe 'seperate' to compare with (did you mean"),
        (LONG, ["--recipe", "recipes"], "no column 'recipes' for the recipes (did you mean"),
        (LONG, ["--fold", "split"], "no column 'split' for the folds"),
        (pl.concat([LONG, LONG]), [], "rows 1 and 21 are the same run"),
        (LONG.with_columns(metric=pl.lit("quality")), [], "say --higher 'quality' or --lower"),
        (LONG.with_columns(value=pl.lit("good")), [], "'value'"),
        (LONG, ["--higher", "acc"], "no metric 'acc' (did you mean 'accuracy'"),
        (LONG, ["--difference", "x"], "the difference must be a positive number"),
        (LONG, ["--report", "no/such/folder.md"], "no"),
        (LONG, ["--report", "runs.csv", "--force"], "runs.csv must end in .md or .html"),
        (LONG, ["--report", "x.pdf", "--recipe", "no"], "x.pdf must end in .md or .html"),
        (LONG, ["--report", "page"], "page must end in .md or .html"),
    ],
)
def test_what_can_not_be_judged_is_one_line(frame, flags, words, capsys):
    frame.write_csv("runs.csv")
    assert run(["verdict", "runs.csv", *flags]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]


def test_runs_that_diverged_are_counted(capsys):
    values = pl.col("value").cast(pl.String)
    first = (pl.col("recipe") == "joint") & (pl.col("seed") == 0)
    LONG.with_columns(value=pl.when(first).then(pl.lit("inf")).otherwise(values)).write_csv("r.csv")
    assert run(["verdict", "r.csv"]) == 0
    printed = capsys.readouterr()
    assert "note: 2 infinite values are taken as undefined" in printed.err
    assert "There is no interval" in printed.out


def test_whole_numbers_are_values(capsys):
    LONG.with_columns(value=(pl.col("value") > 0.82).cast(pl.Int64)).write_csv("runs.csv")
    assert run(["verdict", "runs.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]["a"]["recipes"]["joint"]["mean"] == 1


def test_one_seed_is_a_first_look(capsys):
    LONG.filter(pl.col("seed") == 0).write_csv("runs.csv")
    assert run(["verdict", "runs.csv"]) == 0
    assert "One seed gives no interval: these figures are a first look" in capsys.readouterr().out


def test_help_speaks_of_no_training(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["verdict", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "default UTF-8" in told
    assert "a point or a comma" in told
    assert "at fit" not in told
    assert "training had" not in told


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
@pytest.mark.parametrize("page", ["p.md", "p.html"])
def test_names_of_files_need_not_be_utf_8(page, capsys):
    runs = os.fsdecode(b"\xe9.csv")
    write_table(LONG, runs)
    assert run(["verdict", runs, "--report", page]) == 0
    assert Path(page).read_text(encoding="utf-8")


def test_a_last_row_of_means_is_no_run_and_is_named(capsys):
    LONG.write_csv("runs.csv")
    assert run(["verdict", "runs.csv", "--json"]) == 0
    told = capsys.readouterr().out
    with open("runs.csv", "a", encoding="utf-8") as file:
        file.write(f"mean,,,,{LONG['value'].mean()}\n")
    assert run(["verdict", "runs.csv", "--json"]) == 0
    again = capsys.readouterr()
    assert again.out == told
    assert "the last row is left out" in again.err
