"""The sentences say what the figures show, and no more."""

import numpy as np
import polars as pl
import pytest

from jointrain import Study, StudyResult, SupervisedTable
from jointrain.reports import answer, write_markdown

GAINS = {"separate": 0, "joint": 0, "alternating": 0, "constant": -5, "extra trees": 0}


def make_result(gains, seconds=None):
    """A study of two tasks whose RMSE differs from 10 by the recipe's gain, with some noise."""
    frame = pl.DataFrame({"x": range(20), "a": np.arange(20) / 7, "b": np.arange(20) % 9 / 4})
    study = Study(SupervisedTable.prepare(frame, ["a", "b"]), folds=5, seeds=2)
    random = np.random.default_rng(0)
    rows = [
        {
            "recipe": recipe, "task": task, "metric": metric, "fold": fold, "seed": seed,
            "value": 10 - gain[task] + random.normal(scale=0.05) if metric == "RMSE" else 0.5,
            "train_rows": 16, "test_rows": 4,
        }
        for recipe, gain in gains.items()
        for task in "ab"
        for metric in ("RMSE", "R2")
        for fold in range(5)
        for seed in range(2)
    ]  # fmt: skip
    return StudyResult(study, pl.DataFrame(rows), seconds or dict.fromkeys(gains, 1.0))


def both(**gains):
    return {name: {"a": gain, "b": gain} for name, gain in (GAINS | gains).items()}


def test_a_clear_gain_is_named_with_its_tasks():
    gains = both()
    gains["joint"] = {"a": 3, "b": -0.5}
    text = " ".join(answer(make_result(gains)))
    assert "Train a and b jointly: Delta-m +" in text
    assert "which the data show to be better" in text
    assert "It helps a. It hurts b." in text


def test_without_a_gain_separate_models_are_the_answer_and_cheaper_ones_are_named():
    seconds = {"separate": 10, "joint": 4, "alternating": 9, "constant": 0, "extra trees": 1}
    text = " ".join(answer(make_result(both(joint=-0.01, alternating=-0.01), seconds)))
    assert "Train the targets separately" in text
    assert "no difference of joint" in text
    assert "0.40 times its time" in text
    assert "no difference of alternating" not in text


def test_a_baseline_that_is_shown_to_be_better_is_a_warning():
    gains = both(joint=-3, alternating=-3)
    gains["extra trees"] = {"a": 3, "b": 0}
    text = " ".join(answer(make_result(gains)))
    assert "Beware: extra trees did better than separate on a." in text
    assert "No evidence that separate differs from extra trees on b." in text


def test_a_constant_that_is_not_beaten_is_a_warning():
    gains = both(joint=-3, alternating=-3)
    gains["constant"] = {"a": -5, "b": 0}
    text = " ".join(answer(make_result(gains)))
    assert "do not show that separate beats a constant on b." in text


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
