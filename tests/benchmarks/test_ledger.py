"""The ledger: made-up runs are judged rightly, and what has been run is not run again."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats

FOLDER = Path(__file__).parents[2] / "benchmarks"
TASKS = ("digit", "odd", "mirror")  # accuracy, ROC-AUC, RMSE


@pytest.fixture(scope="module")
def ledger():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield runpy.run_path(str(FOLDER / "ledger.py"))


@pytest.fixture(scope="module")
def problem(ledger):
    return ledger["PROBLEMS"]["digits"]


@pytest.fixture
def made_up(ledger, problem):
    """Five seeds of four methods; what scatters is common to all but a little."""

    def runs(name="digits", **gains):
        random = torch.Generator().manual_seed(0)
        found = []
        for seed in range(5):
            for method, gain in {"equal": 0.0, **gains}.items():
                common = 0.02 * (seed - 2)
                own = 0.001 * torch.randn(3, generator=random)
                factor = 1 + gain / 100 + common + own
                values = (0.6 * factor[0], 0.7 * factor[1], 0.5 * (2 - factor[2]))
                scores = dict(zip(TASKS, map(float, values), strict=True))
                found.append(ledger["Run"](name, method, seed, scores, scores, 2.0))
        return found

    return runs


def test_tuned_static_weights_are_the_best_on_validation_of_what_the_dearest_pays_for(
    ledger, problem, made_up
):
    runs = made_up(upgrad=0.0, **{"static 1": -3.0, "static 2": 2.0, "static 3": 9.0})
    seconds = {"equal": 1.0, "upgrad": 3.9}
    runs = [one._replace(seconds=seconds.get(one.method, 1.0)) for one in runs]
    assert ledger["tuning_runs"](runs) == 3
    found = {(one.method, one.seed): one for one in ledger["with_tuned"](problem, runs)}
    assert {method for method, _ in found} == {"equal", "upgrad", "tuned static"}
    for seed in range(5):
        tuned = found["tuned static", seed]
        chosen = next(one for one in runs if one.method == "static 2" and one.seed == seed)
        assert tuned.test == chosen.test
        assert tuned.seconds == 3.0


def test_a_gain_is_the_mean_change_over_tasks_with_better_as_positive(ledger, problem):
    ours = {"digit": 0.66, "odd": 0.7, "mirror": 0.4}
    theirs = {"digit": 0.6, "odd": 0.7, "mirror": 0.5}
    assert ledger["gain"](problem, ours, theirs) == pytest.approx((10 + 0 + 20) / 3)
    assert ledger["gain"](problem, {**ours, "odd": None}, theirs) == -float("inf")


def test_methods_are_better_worse_or_undecided_as_they_were_made(ledger, problem, made_up):
    runs = ledger["with_tuned"](problem, made_up(famo=4.0, mgda=-4.0, dwa=0.0))
    delta = ledger["judge"](problem, runs).delta_m
    assert [delta[name].verdict for name in ("famo", "mgda")] == ["better", "worse"]
    assert delta["dwa"].verdict in ("undecided", "equivalent")
    assert delta["famo"].change == pytest.approx(4, abs=0.3)


def test_intervals_of_all_methods_hold_at_once(ledger, problem, made_up):
    runs = ledger["with_tuned"](problem, made_up(famo=4.0, mgda=-4.0, dwa=0.0))
    found = ledger["judge"](problem, runs).delta_m["famo"]
    changes = []
    for seed in range(5):
        of = {one.method: one.test for one in runs if one.seed == seed}
        changes.append(ledger["gain"](problem, of["famo"], of["tuned static"]))
    # four methods share half of the level of 5 %, paired t with four degrees of freedom; each
    # pair's own baseline in place of their mean changes little
    quantile = stats.t.ppf(1 - 0.025 / 4 / 2, 4)
    assert found.smallest_visible == pytest.approx(quantile * stats.sem(changes), rel=0.1)


def test_over_problems_each_problem_is_one_value(ledger):
    values = {"famo": [3.0, 4.0, 5.0, 6.0], "mgda": [-9.0, 2.0, 0.0, 9.0]}
    changes = {m: dict(zip("abcd", row, strict=True)) for m, row in values.items()}
    found = ledger["judge_over_problems"](changes).delta_m
    half = stats.t.ppf(1 - 0.05 / 2 / 2, 3) * stats.sem(values["famo"])
    assert (found["famo"].low, found["famo"].high) == pytest.approx((4.5 - half, 4.5 + half))
    assert found["famo"].verdict == "better"
    assert found["mgda"].verdict == "undecided"


def test_the_report_has_a_row_for_each_method_with_its_cost(ledger, problem, made_up):
    problems = [replace(problem, name=name) for name in ("one", "two", "three")]
    runs = {}
    for one in problems:
        made = [
            run._replace(seconds=6.0 if run.method == "mgda" else 2.0)
            for run in made_up(one.name, famo=4.0, mgda=-4.0, **{"static 1": 1.0, "static 2": 0.0})
        ]
        runs[one.name] = ledger["with_tuned"](one, made)
    rows = ledger["report"](problems, runs).splitlines()
    assert rows[2].startswith("| famo | +3.0 | ")
    assert "| 3 / 0 | 1.0 | +3.0 **+** |" in rows[2]
    assert rows[3].startswith("| equal | -1.0 | ")
    assert "| 0 / 3 | 3.0 | -4.9 **-** |" in rows[4]
    assert "Tuned static weights cost 3.0 times" in rows[6]
    assert [row.split(" | ")[2:5] for row in rows[-3:]] == [["3", "5", "3"]] * 3


def test_a_method_that_diverged_is_named_and_has_no_mean(ledger, problem, made_up):
    runs = [
        one._replace(test={**one.test, "odd": None})
        if (one.method, one.seed) == ("mgda", 2)
        else one
        for one in made_up(famo=4.0, mgda=-4.0)
    ]
    report = ledger["report"]([problem], {"digits": ledger["with_tuned"](problem, runs)})
    row = next(line for line in report.splitlines() if line.startswith("| mgda"))
    assert "better" not in row


def test_static_weights_begin_with_equal_ones_and_the_inverse_losses(ledger):
    scales = ledger["PROBLEMS"]["scales"]
    data = scales.data(0)
    weights = [ledger["static_weights"](scales, data, index, 0) for index in range(4)]
    assert set(weights[0].values()) == {1.0}
    ratio = weights[1]["whole"] / weights[1]["kilo"]
    assert ratio == pytest.approx(100, rel=0.5)  # squared errors of 1 and of 100
    for index in (2, 3):
        assert sum(weights[index].values()) == pytest.approx(4)
        for task in weights[index]:
            shares = [w[task] / w["kilo"] for w in (weights[index], weights[index - 2])]
            assert 0.01 <= shares[0] / shares[1] <= 100
    assert weights[3] == ledger["static_weights"](scales, data, 3, 0)
    assert weights[3] != ledger["static_weights"](scales, data, 3, 1)


def test_every_balancer_is_run(ledger):
    from jointrain.balancing import BALANCERS

    assert {*ledger["METHODS"], "static"} == {*BALANCERS, "each alone"}


@pytest.mark.parametrize("method", ["each alone", "difficulty", "size", "famo", "modo", "static 1"])
def test_a_run_scores_every_task(ledger, problem, method):
    found = ledger["run"](replace(problem, epochs=1), method, 0)
    assert list(found.test) == list(found.validation) == list(TASKS)
    assert all(0 < value < 10 for value in found.test.values())
    assert found.seconds > 0
    again = ledger["run"](replace(problem, epochs=1), method, 0)
    assert again[:5] == found[:5]


@pytest.mark.integration
def test_every_method_runs(ledger):
    tiny = replace(ledger["PROBLEMS"]["unequal"], epochs=1)
    for method in ledger["METHODS"]:
        found = ledger["run"](tiny, method, 0)
        assert all(value is not None for value in found.test.values()), method


def test_a_method_that_guides_each_head_runs_where_heads_would_be_grouped(ledger):
    many = replace(ledger["PROBLEMS"]["many"], epochs=1)
    found = ledger["run"](many, "consmtl", 0)
    assert len(found.test) == len(many.tasks)
    assert all(value is not None for value in found.test.values())


def test_a_second_call_runs_what_is_missing_and_fills_the_page(ledger, tmp_path, monkeypatch):
    short = {name: replace(ledger["PROBLEMS"][name], epochs=1) for name in ("related", "digits")}
    monkeypatch.setitem(ledger["main"].__globals__, "PROBLEMS", short)
    page = tmp_path / "ledger.md"
    page.write_text("# Ledger\n\n<!-- measured -->\nold\n<!-- end -->\nlast\n")
    call = [
        "--study",
        str(tmp_path / "store"),
        "--methods",
        "famo",
        "--seeds",
        "3",
        "--workers",
        "1",
    ]
    call += ["--page", str(page)]
    ledger["main"]([*call, "--problems", "related"])
    lines = (tmp_path / "store" / "runs.jsonl").read_text().splitlines()
    assert len(lines) >= 6
    with (tmp_path / "store" / "runs.jsonl").open("a") as file:
        file.write(lines[0][:20])  # killed while it wrote
    measured = ledger["main"](call)
    more = (tmp_path / "store" / "runs.jsonl").read_text()
    assert more.startswith("\n".join(lines))
    text = page.read_text()
    assert measured in text
    assert "old" not in text
    assert text.startswith("# Ledger\n\n<!-- measured -->\n\n| method | mean |")
    assert text.endswith("<!-- end -->\nlast\n")
    assert ledger["main"](call) == measured
    assert (tmp_path / "store" / "runs.jsonl").read_text() == more
