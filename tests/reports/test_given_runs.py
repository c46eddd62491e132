"""Given runs in words: what the figures of made runs say."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from jointrain.reports import (
    answer_of_runs,
    print_runs,
    runs_figures,
    runs_page,
    runs_to_json,
)
from jointrain.reports._given_runs import tables_of_runs
from jointrain.studies import verdict

# spread of changes without a mean, in percent of 2
LEFT = np.array([-2.0, -1, 0, 1, 2])


def runs(changes, tasks="ab", recipes=("joint",), folds=1, **renamed):
    """Return runs whose changes in percent are given, [seeds]; an error of 2 by the baseline."""
    rows = []
    for recipe in ("separate", *recipes):
        for at, task in enumerate(tasks):
            of = 0 * np.asarray(changes[0]) if recipe == "separate" else changes[at % len(changes)]
            for index, change in enumerate(of):
                rows.append(
                    {
                        "recipe": recipe, "task": task, "metric": "rmse", "seed": index // folds,
                        "fold": index % folds, "value": 2 - 0.02 * change,
                    }
                )  # fmt: skip
    return pl.DataFrame(rows)


def said(frame, **options):
    return answer_of_runs(verdict(frame, **options))


def test_better_and_worse_are_a_decision():
    # mean 14, standard error 1/sqrt(2); half of the level for Delta-m: t(4) at 0.9875 is 3.495
    assert said(runs([14 + LEFT]))[0] == (
        "Take joint: it is 14 % better than separate [12, 16] over a and b."
    )
    assert (
        said(runs([-14 + LEFT]))[0] == "Take separate: joint is 14 % worse [12, 16] over a and b."
    )


def test_a_task_keeps_its_name_whatever_it_is_called():
    first, *_ = said(runs([14 + LEFT], tasks=["targets", "b"]))
    assert first == "Take joint: it is 14 % better than separate [12, 16] over b and targets."


def test_equivalent_takes_the_cheaper_one():
    first, *_ = said(runs([0.2 + LEFT / 20]))
    assert first.startswith(
        "It makes no difference beyond 1 %: joint is 0.2 % better than separate"
    )
    assert first.endswith("over a and b; take the cheaper one.")


def test_undecided_says_what_could_not_be_seen_and_how_many_seeds_would_show_it():
    first, second, last = said(runs([LEFT]))
    assert first == (
        "The runs do not decide between joint and separate over a and b: differences under 2.5 % "
        "could not be seen with 5 seeds."
    )
    assert second.startswith("About 27 seeds would show a difference of 1 %, 6")
    assert "(5 seeds show it only roughly)." in second
    assert last.startswith("Seeds vary how training goes, not the data")
    assert "About 9 seeds would show a difference of 2 %" in said(runs([LEFT]), difference="2%")[1]


def test_tasks_that_differ_are_named():
    sentences = said(runs([14 + LEFT / 4, -5 + LEFT / 4]))
    assert sentences[1] == "By task, joint against separate: better for a, worse for b."
    many = said(runs([14 + LEFT / 4, -5 + LEFT / 4], tasks="abcdefgh"))
    assert many[1] == "By task, joint against separate: better for four, worse for four."


def test_tasks_whose_changes_are_all_equal_are_not_counted_in():
    first, second, *_ = said(runs([5 + 0 * LEFT, 0.2 + LEFT / 20]))
    assert first.endswith("over b; take the cheaper one.")
    assert second == (
        "By task, joint against separate: equivalent for b, no verdict for a, where runs do not "
        "tell how sure the change is."
    )


def task_in_r2(separate, joint):
    """Return runs of a task w whose change is a difference: R2 of separate training is below 0."""
    return pl.DataFrame(
        [
            {"recipe": recipe, "task": "w", "metric": "r2", "seed": seed, "fold": 0, "value": value}
            for recipe, values in (("separate", separate), ("joint", joint))
            for seed, value in enumerate(values)
        ]
    )


def test_tasks_whose_change_is_a_difference_have_their_verdict():
    separate = [-0.5, -0.6, -0.4, -0.5, -0.55]
    worse = task_in_r2(separate, [-0.9, -1.2, -0.8, -0.95, -1.1])
    frame = pl.concat([runs([14 + LEFT], tasks="t"), worse])
    result = verdict(frame)
    assert (result.delta_m["joint"].left_out, result.verdict("joint")["w"]) == (("w",), "worse")
    first, second, *_ = answer_of_runs(result)
    assert first.endswith("over t.")
    assert second == "By task, joint against separate: better for t, worse for w."
    # Delta-m does not tell of it, so it is named where its verdict is the same, too
    better = task_in_r2(separate, [-0.1, -0.25, 0.0, -0.1, -0.2])
    second = said(pl.concat([runs([14 + LEFT], tasks="t"), better]))[1]
    assert second == "By task, joint against separate: better for t and w."


def test_of_several_recipes_the_best_is_named_and_the_others_not_compared():
    one = runs([14 + LEFT])
    other = runs([10 + LEFT], recipes=("upgrad",)).filter(recipe="upgrad")
    first, *_ = said(pl.concat([one, other]))
    assert first.startswith("Take joint: it is 14 % better than separate [")
    assert first.endswith(
        "]; upgrad is better than separate, too, and which is the best of them takes a comparison "
        "of its own (--baseline joint)."
    )
    bad = runs([-14 + LEFT], recipes=("upgrad",)).filter(recipe="upgrad")
    first, *_ = said(pl.concat([runs([LEFT]), bad]))
    assert first == (
        "No recipe is shown to be better than separate; worse: upgrad; undecided: joint "
        "(differences under 3.1 % could not be seen with 5 seeds)."
    )


@pytest.mark.parametrize(("count", "words"), [(1, "One seed gives"), (2, "Two seeds give")])
def test_few_seeds_are_a_first_look(count, words):
    first, second = said(runs([14 + LEFT[:count]]))
    assert first == (
        f"{words} no interval: these figures are a first look, and three seeds are the fewest that "
        "can be judged."
    )
    assert second.startswith("In them joint is 1")
    assert second.endswith("better than separate.")


def test_folds_vary_the_data_and_have_a_floor():
    sentences = said(runs([LEFT], folds=5), fold="fold")
    assert "could not be seen with 5 folds x 1 seed" in sentences[0]
    assert sentences[1:] == [
        "No number of seeds would show a difference of 1 %: folds share their rows; more rows "
        "would."
    ]
    two = said(runs([LEFT[:2]], folds=2), fold="fold")
    assert two[0].startswith("Two folds give no interval")
    own = runs([LEFT]).with_columns(fold="seed")
    assert "with 5 seeds, each with a fold of its own." in said(own, fold="fold")[0]


def test_seeds_without_pairs_are_counted_by_side():
    frame = runs([LEFT]).with_columns(
        seed=pl.when(recipe="joint").then(pl.col("seed") + 5).otherwise("seed")
    )
    frame = frame.with_columns(value=pl.col("value") + pl.col("seed") % 5 / 100)
    assert "could not be seen with 5 seeds" in said(frame)[0]


def test_what_has_no_verdict_is_referred_to_the_notes():
    frame = runs([LEFT]).with_columns(
        value=pl.when((pl.col("recipe") == "separate") | (pl.col("seed") < 4)).then("value")
    )
    first, _ = said(frame)
    assert first == "There is no interval, and so no verdict: the notes say why."


def test_tasks_have_their_verdicts_where_there_is_none_over_all():
    frame = runs([14 + LEFT, 14 + LEFT]).with_columns(
        value=pl.when((pl.col("task") == "a") | (pl.col("recipe") == "separate")
                      | (pl.col("seed") < 4)).then("value")
    )  # fmt: skip
    assert said(frame) == [
        "There is no interval over all tasks, and so no verdict on them: the notes say why.",
        "In the runs joint is 13.8 % better than separate.",
        "By task, joint against separate: better for a, no verdict for b, where runs do not tell "
        "how sure the change is.",
    ]


def test_tasks_that_delta_m_leaves_out_are_named_by_row_where_recipes_differ():
    whole = runs([14 + LEFT, -37 + LEFT], recipes=("A", "B"))
    some = whole.filter((pl.col("recipe") != "B") | (pl.col("task") == "a") | (pl.col("seed") < 2))
    table = tables_of_runs(verdict(some))[-1]
    assert table.title == "All tasks"
    assert [(row[0], row[table.headings.index("without")]) for row in table.rows] == [
        ("A", ""),
        ("B", "b"),
    ]
    good = some.with_columns(
        value=pl.when(task="b").then(2 - pl.col("value") / 9).otherwise("value")
    )
    assert "] over a; A is better than separate, too" in said(good)[0]
    # a task that a recipe lacks is left out of its mean, too
    lacking = whole.filter((pl.col("recipe") != "B") | (pl.col("task") == "a"))
    assert [row[-1] for row in tables_of_runs(verdict(lacking))[-1].rows] == ["", "b"]
    both = whole.filter((pl.col("recipe") == "separate") | (pl.col("task") == "a"))
    table = tables_of_runs(verdict(both))[-1]
    assert table.title == "All tasks but b"
    assert "without" not in table.headings
    assert tables_of_runs(verdict(whole))[-1].title == "All tasks"


def test_the_page_has_answer_tables_and_how_it_was_judged():
    result = verdict(runs([14 + LEFT, LEFT]))
    page = runs_page(result, "Which?")
    assert page.startswith(f"# Which?\n\n{' '.join(answer_of_runs(result))}\n\n## a\n")
    assert "| recipe | rmse ↓ | runs | change against separate | verdict | seeds for 1 % |" in page
    assert "- joint: a paired t-test over the seeds that both recipes have." in page
    many = runs_page(verdict(runs([LEFT], tasks="abcdefghijklmnopqrstu")), "Which?")
    assert "| joint | 0 | 0 | 0 | 21 |" in many


def test_json_has_all_figures():
    result = verdict(runs([14 + LEFT, LEFT]), difference="2%")
    told = json.loads(json.dumps(runs_to_json(result), allow_nan=False))
    assert told["answer"] == " ".join(answer_of_runs(result))
    joint = told["recipes"]["joint"]
    assert joint["test"] == "paired t"
    assert joint["tasks"]["a"]["change"] == pytest.approx(14)
    assert joint["tasks"]["a"]["difference"] == 2
    assert joint["delta_m"]["verdict"] == "better"
    assert told["tasks"]["a"]["recipes"]["separate"] == {"mean": 2, "deviation": 0}
    bare = json.dumps(runs_to_json(verdict(runs([LEFT[:1]]))), allow_nan=False)
    assert json.loads(bare)["recipes"]["joint"]["delta_m"]["low"] is None


def test_names_with_codes_of_emoji_are_printed_as_they_are():
    console = Console(file=io.StringIO(), width=200)
    print_runs(verdict(runs([14 + LEFT], recipes=("my:man:way",))), console)
    shown = console.file.getvalue()
    assert "Take my:man:way: it is" in shown
    assert shown.count("my:man:way") == 4


def _page(frame, **options):
    return runs_page(verdict(frame, **options), "runs")


def test_the_page_says_truly_why_there_is_no_test():
    assert "no test: fewer than three runs" in _page(runs([LEFT[:2]]))
    assert "no test: fewer than three folds" in _page(runs([14 + LEFT[:4]], folds=2), fold="fold")
    equal = _page(runs([0 * LEFT + 3]))
    of_joint = (pl.col("recipe") == "joint") & (pl.col("seed") == 2)
    value = pl.when(~of_joint).then("value").alias("value")
    lacking = _page(runs([14 + LEFT]).with_columns(value))
    for page in (equal, lacking):
        assert "no test: the runs do not tell how sure the changes are, see the notes" in page
        assert "fewer than" not in page
    assert "is the same in all runs" in equal
    assert "is undefined in runs of one of the two" in lacking


def test_recipes_without_an_interval_are_named():
    def of(change):
        changes = {"joint": change, "alt": np.array([50.0, 50, np.nan, 50, 50])}
        frames = [runs([one], recipes=(name,)) for name, one in changes.items()]
        return said(pl.concat([frames[0], frames[1].filter(pl.col("recipe") == "alt")]))[0]

    assert of(LEFT).startswith("No recipe is shown to be better than separate; undecided: joint")
    assert of(LEFT).endswith("seeds); no verdict: alt.")
    assert of(14 + LEFT).endswith("; no verdict: alt.")


def test_the_level_is_halved_among_several_tasks_only():
    assert "The level of 5 % is shared out, half among the Delta-m" in _page(runs([LEFT]))
    alone = _page(runs([LEFT], tasks="a"))
    assert "The level of 5 % is shared out, among the recipes, so" in alone


def test_small_differences_that_could_not_be_seen_keep_two_digits():
    frame = runs([LEFT]).with_columns(
        metric=pl.lit("r2"), value=0.03 + (pl.col("value") - 2) * pl.lit(0.5)
    )
    # half of the interval is 3.495 * sqrt(2.5 / 5) * 0.01
    assert "differences under 0.025 could not be seen" in said(frame)[0]


def test_changes_of_sum_0_are_0_and_a_margin_of_0_is_not_printed():
    values = {
        "separate": [0.012, 0.008, 0.010, 0.009, 0.011],
        "joint": [0.013, 0.008, 0.014, 0.003, 0.012],
    }
    rows = [
        {"recipe": name, "task": "y", "metric": "r2", "seed": seed, "value": value}
        for name, of in values.items()
        for seed, value in enumerate(of)
    ]
    result = verdict(pl.DataFrame(rows))
    assert tables_of_runs(result)[0].rows[1][3].startswith("+0 [-0.00")
    assert "joint is no better than separate" in answer_of_runs(result)[0]
    perfect = verdict(pl.DataFrame(rows).with_columns(metric=pl.lit("accuracy"), value=1.0))
    assert answer_of_runs(perfect)[0].startswith("It makes no difference: joint is no better")


def test_seeds_with_a_fold_of_their_own_are_not_called_one_fold():
    frame = runs([14 + LEFT]).with_columns(fold=pl.col("seed"))
    figures = runs_figures(verdict(frame, fold="fold"), "runs")
    assert figures["measured_on"] == "up to 5 seeds, each with a fold of its own"
