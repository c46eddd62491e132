"""Tables, report and JSON of a study say the same, and stay short with many targets."""

import io
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from jointrain import Study, StudyResult, SupervisedTable
from jointrain.reports import (
    answer,
    interim_answer,
    print_interim,
    print_result,
    result_to_json,
    write_markdown,
)
from jointrain.reports._study_answer import circumstances_of
from jointrain.reports._summary import mean_and_spread, summary_tables
from jointrain.studies import Cut

GAINS = {"separate": 0, "joint": 0, "alternating": 0, "constant": -5, "extra trees": -4}


def make_result(gains, seconds=None, *, tasks=("a", "b"), folds=5, seeds=2, done=None):
    """A study whose RMSE differs from 10 by the recipe's gain, with some noise.

    `done` says how many folds of the first seed are in.
    """
    frame = pl.DataFrame(
        {"x": range(20)} | {name: np.arange(20) % (7 + len(name)) / 7 for name in tasks}
    )
    table = SupervisedTable.prepare(frame, list(tasks), kinds=dict.fromkeys(tasks, "regression"))
    study = Study(table, baselines=("constant", "extra trees"), folds=folds, seeds=seeds)
    random = np.random.default_rng(0)
    rows = [
        {
            "recipe": recipe, "task": task, "metric": metric, "fold": fold, "seed": seed,
            "value": 10 - gain.get(task, 0.0) + random.normal(scale=0.05)
            if metric == "RMSE" else 0.5,
            "train_rows": 16, "test_rows": 4,
        }
        for recipe, gain in gains.items()
        for task in tasks
        for metric in ("RMSE", "R2")
        for seed in range(seeds)
        for fold in range(folds)
        if done is None or (seed == 0 and fold < done)
    ]  # fmt: skip
    spent = seconds or dict.fromkeys(gains, 1.0)
    return StudyResult(study, pl.DataFrame(rows), spent, work=spent)


def both(**gains):
    return {name: {"a": gain, "b": gain} for name, gain in (GAINS | gains).items()}


def printed(result, width=160):
    console = Console(file=io.StringIO(), width=width)
    print_result(result, console)
    return console.file.getvalue()


def test_the_answer_of_a_clear_gain_is_in_all_reports():
    seconds = {"separate": 10, "joint": 5, "alternating": 9, "constant": 0, "extra trees": 1}
    result = make_result(both(joint=3), seconds)
    (text,) = answer(result)
    assert text.startswith("Train a and b together: 30 % better than apart [")
    assert text.endswith("at half the cost.")
    assert text in write_markdown(result, "title")
    assert text in " ".join(printed(result).split())
    described = result_to_json(result)
    assert described["answer"] == text
    assert described["best"] == result.best().name == "joint"
    assert described["decision"] == {
        "what": "together",
        "basis": "better",
        "targets": {"a": "joint", "b": "joint"},
        "not_predicted": [],
        "no_verdict": [],
        "cost_of_together": 0.5,
        "saved": None,
    }


def test_targets_that_differ_are_decided_apart():
    gains = both()
    gains["joint"] = {"a": 3, "b": -0.5}
    result = make_result(gains)
    assert result.decision.what == "by target"
    assert result.decision.targets == {"a": "joint", "b": "separate"}
    assert answer(result)[0].startswith("Train a together with the others (a 30 % better [")


def test_trees_that_beat_every_network_are_the_answer():
    gains = both(joint=-3, alternating=-3) | {"extra trees": {"a": 3, "b": 2}}
    result = make_result(gains)
    assert answer(result)[0].startswith("Use extra trees for each: they beat every network")
    assert result.decision.to_json()["targets"] == {"a": "extra trees", "b": "extra trees"}
    assert result.best().name == "separate"


def test_a_constant_that_is_not_beaten_is_named_last():
    gains = both(joint=-3, alternating=-3) | {"constant": {"a": -5, "b": 5}}
    text = answer(make_result(gains))
    assert text[0].startswith("Train a apart")
    assert text[-1] == "These columns do not predict b."


def test_the_report_holds_answer_picture_tables_and_method():
    result = make_result(both(joint=3))
    page = write_markdown(result, "a | b", picture="changes.png")
    assert page.startswith("# a | b\n")
    assert "(changes.png)" in page
    assert "| joint | " in page
    assert "## How it was measured" in page
    assert "changes.png" not in write_markdown(result, "no picture")


@pytest.mark.parametrize("name", ["joint", "extra trees"])
def test_compare_with_any_reference_turns_the_sign(name):
    result = make_result(both(joint=3))
    forward = result.compare(name, "constant")["a"]
    backward = result.compare("constant", name)["a"]
    assert forward.verdict == "better"
    assert backward.verdict == "worse"


def test_what_is_known_so_far_carries_no_verdict():
    result = make_result(both(joint=3), seeds=1, done=1)
    said = interim_answer(result, 5)
    assert said.startswith("So far (1 of 5 folds): together ")
    assert said.endswith("% better on this fold; no verdict before all folds are in.")
    later = interim_answer(make_result(both(joint=-3), done=4), 10)
    assert later.startswith("So far (4 of 10 folds): together ")
    assert "worse on these folds; no verdict" in later
    console = Console(file=io.StringIO(), width=160)
    print_interim(result, console, 5)
    text = console.file.getvalue()
    assert said in " ".join(text.split())
    for word in ("better than", "equivalent", "undecided", "verdict  ", "["):
        assert word not in text


def test_cuts_are_told_by_their_keys_and_not_by_the_words_of_notes():
    result = make_result(both(joint=3))
    failed = "recipe own failed and was left out: a sample of 3 rows is too small"
    cut = Cut("rows", "budget of 9 s: a sample of 10 of 20 rows was used")
    noted = replace(result, notes=(failed,))
    assert not circumstances_of(noted).sampled
    assert not circumstances_of(noted).cut_by_budget
    both_notes = replace(result, notes=(cut.text, failed), cuts=(cut,))
    assert circumstances_of(both_notes).sampled
    assert circumstances_of(both_notes).cut_by_budget
    text = printed(both_notes)
    assert "Recipe own failed" in text
    assert "a sample of 10" not in text


def test_a_stopped_study_without_both_ways_has_no_change():
    gains = both(joint=3)
    result = make_result(gains, seeds=1, done=2)
    alone = StudyResult(
        result.study, result.table.filter(pl.col("recipe") != "joint"), result.seconds
    )
    assert interim_answer(alone, 5) == "So far (0 of 5 folds): no verdict before all folds are in."


@pytest.mark.parametrize("count", [50, 1000])
def test_many_targets_are_counted_not_listed(count):
    tasks = [f"target {index}" for index in range(count)]
    gains = {name: dict.fromkeys(tasks, gain) for name, gain in GAINS.items()}
    gains["joint"] = {name: 3 if index % 3 else -3 for index, name in enumerate(tasks)}
    result = make_result(gains, tasks=tasks, seeds=1)
    start = time.process_time()
    text, page = printed(result, 100), write_markdown(result, "many")
    spent = time.process_time() - start
    print(f"{count} targets: {spent:.2f} s")
    assert len(text.splitlines()) < 60
    assert len(page.splitlines()) < 80
    assert f"{count} targets: how many are better or worse" in text
    assert len(" ".join(answer(result))) < 600
    described = result_to_json(result)
    assert len(described["tasks"]) == count
    assert len(described["decision"]["targets"]) == count


def test_tables_say_in_how_many_folds_a_target_can_be_scored():
    result = make_result(both(joint=3))
    fold = pl.col("seed") * 5 + pl.col("fold")
    missing = (pl.col("task") == "b") & (fold > 1) & (pl.col("metric") == "RMSE")
    table = result.table.with_columns(value=pl.when(missing).then(np.nan).otherwise("value"))
    holes = StudyResult(result.study, table, result.seconds)
    text = printed(holes)
    assert "b: regression, 20 labels, RMSE defined in 2 of 10 folds" in text
    assert "All targets but b" in text
    described = result_to_json(holes)
    b = described["tasks"][1]["recipes"]["joint"]["against_separate"]
    assert (b["verdict"], b["low"], b["defined"], b["total"]) == ("undecided", None, 2, 10)
    assert described["delta_m"]["joint"]["left_out"] == ["b"]
    assert described["delta_m"]["joint"]["verdict"] == "better"
    whole = printed(result)
    assert "defined in" not in whole
    assert "All targets but" not in whole


def test_targets_that_delta_m_leaves_out_are_named_by_row_where_recipes_differ():
    result = make_result(both(joint=3))
    keys = ["task", "metric", "seed", "fold"]
    apart = result.table.filter(recipe="separate").select(*keys, apart=pl.col("value") - 1)
    same = (pl.col("recipe") == "joint") & (pl.col("task") == "b")
    # changes that are all equal do not tell how sure they are
    table = result.table.join(apart, on=keys, maintain_order="left").select(
        pl.exclude("value", "apart"), value=pl.when(same).then("apart").otherwise("value")
    )
    found = StudyResult(result.study, table, result.seconds)
    assert found.delta_m["joint"].left_out == ("b",)
    assert not found.delta_m["alternating"].left_out
    (overall,) = (one for one in summary_tables(found) if one.title.startswith("All targets"))
    assert overall.title == "All targets"
    assert {row[0]: row[overall.headings.index("without")] for row in overall.rows} == {
        "separate": "", "joint": "b", "alternating": "", "constant": "", "extra trees": "",
    }  # fmt: skip


def test_changes_of_what_is_near_zero_are_printed_as_differences():
    result = make_result(both(joint=3))
    zero = pl.when(pl.col("task") == "b").then(pl.col("value") * 0).otherwise("value")
    table = result.table.with_columns(value=zero)
    described = result_to_json(StudyResult(result.study, table, result.seconds))
    b = described["tasks"][1]["recipes"]["joint"]["against_separate"]
    assert (b["unit"], b["change"], b["verdict"]) == ("difference", 0.0, "equivalent")


def test_what_was_not_measured_is_not_said_to_be():
    result = make_result(both(), seeds=1, done=2)
    assert "over 2 of 5 folds x 1 seed;" in printed(result)
    assert "- 2 of 5 folds x 1 seed, " in write_markdown(result, "title")


@pytest.mark.parametrize(
    ("joint", "words"),
    [(3, ("gain most", "gain least")), (-3, ("lose least", "lose most"))],
)
def test_the_ends_of_many_targets_are_called_what_they_are(joint, words):
    tasks = [f"target {index}" for index in range(30)]
    gains = {name: dict.fromkeys(tasks, gain) for name, gain in GAINS.items()}
    gains["joint"] = {name: joint + index / 100 for index, name in enumerate(tasks)}
    page = write_markdown(make_result(gains, tasks=tasks, seeds=1), "many")
    assert f"The 5 targets that {words[0]} by joint, and the 5 that {words[1]}" in page


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([4.02e-10, 4.9e-10], "4.46e-10 ± 6.22e-11"),
        ([4e8, 3e8], "3.5e+08 ± 7.07e+07"),
        ([1e9, 1e9 + 1e5], "1e+09 ± 7.07e+04"),
        ([1e-5, -0.1, 0.1], "0.000 ± 0.100"),
        ([1e-4, 1.1e-4], "0.000105 ± 0.000007"),
        ([123456.0, 123001.0], "123228 ± 322"),
        ([0.0, 0.0], "0.000 ± 0.000"),
    ],
)
def test_means_of_any_size_have_digits(values, text):
    assert mean_and_spread(np.array(values)) == text


def test_one_target_has_the_whole_level():
    gains = {name: {"a": gain} for name, gain in GAINS.items()}
    alone = write_markdown(make_result(gains, tasks=["a"]), "one")
    assert "the level of 5 % shared out among the recipes" in alone
    assert "half" not in alone.split("## How it was measured")[1]
    assert "1 feature column: x" in alone
    assert "with half of the level of 5 % shared out" in write_markdown(make_result(both()), "two")
