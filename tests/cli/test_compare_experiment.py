"""Commands on an experiment of one's own, named ``module:name``."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

from jointrain import Experiment, load_bundle
from jointrain.cli import _compare, run

CODE = """
import functools
import random
import torch
from torch import nn
from jointrain import Experiment, Folds, HardSharing, Holdout, Recipe, Study, Task, TensorData
from jointrain import named_recipes

x = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
data = TensorData(x, {"sum": x.sum(1), "sign": (x[:, 0] > 0).float()})
tasks = [Task.regression("sum"), Task.binary("sign")]


def network(tasks):
    heads = {task.name: nn.Linear(8, task.output_size) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), heads)


experiment = Experiment(tasks, network, data, Folds(3))
fixed = Experiment(tasks, network, data, Holdout(test=0.3))
study = Study(experiment, named_recipes(["separate", "balancer-upgrad"], Recipe(epochs=2)), seeds=2)


def make():
    return experiment


def run(recipe, seed, split):
    luck = random.Random(f"{recipe}{seed}{split}").gauss(0, 0.01)
    return {"y": {"RMSE": (1.0 if recipe == "separate" else 0.9) + luck}}




def sized(width, tasks):
    return network(tasks)


def ends():
    raise SystemExit(1)


by_place = Experiment(tasks, functools.partial(sized, 8), data, Folds(3))


def two_layers(tasks):
    heads = {task.name: nn.Linear(8, task.output_size) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)), heads)


deep = Experiment(tasks, two_layers, data, Folds(2))
loop = Experiment.of(run=run, tasks=[Task.regression("y")], splits=5)
"""
QUICK = ["--epochs", "2", "--seeds", "1", "--workers", "1"]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_study.py").write_text(CODE)
    (tmp_path / "ending.py").write_text("raise SystemExit('usage')")
    (tmp_path / "unfinished.py").write_text(
        "from jointrain import Experiment, Task\n"
        "x = Experiment.of(run=print, tasks=[Task('a', 'custom', size=1, loss_function=print)])"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_study", None)


def test_compare_answers_and_saves_what_the_study_speaks_for(capsys):
    assert run(["compare", "own_study:experiment", *QUICK]) == 0
    printed = capsys.readouterr().out
    for word in ("separate", "alternating", "Delta-m", "parameters", "own_study:network"):
        assert word in printed
    out = Path("own_study-experiment-answer")
    results = pl.read_parquet(out / "results.parquet")
    assert set(results["recipe"]) == {"separate", "joint", "alternating"}
    assert "# own_study:experiment: together or apart?" in (out / "report.md").read_text()
    answer = json.loads((out / "jointrain-answer.json").read_text())
    assert answer["folds"] == 3
    import own_study

    model = load_bundle(out / "bundle", factories={"own_study:network": own_study.network})
    assert set(model.predict(torch.zeros(4, 6))) == {"sum", "sign"}


def test_a_study_brings_its_recipes_and_seeds(capsys):
    assert run(["compare", "own_study:study", "--json", "--workers", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == 2
    assert set(found["tasks"][0]["recipes"]) == {"separate", "balancer-upgrad"}


def test_a_function_may_make_it():
    assert run(["compare", "own_study:make", "--recipes", "joint", *QUICK, "--out", "a"]) == 0
    assert Path("a/bundle").exists()


def test_a_fixed_test_set_says_what_it_can_not_show(capsys):
    assert run(["compare", "own_study:fixed", *QUICK[:2], "--seeds", "3", "--workers", "1"]) == 0
    assert "not for other test rows" in " ".join(capsys.readouterr().out.split())


def test_a_loop_is_called_with_the_names(capsys):
    assert run(["compare", "own_study:loop", "--recipes", "fast", "--workers", "1"]) == 0
    assert "better" in capsys.readouterr().out


def test_a_budget_ends_with_an_answer(capsys):
    arguments = ["compare", "own_study:experiment", "--budget", "2s", "--workers", "1"]
    assert run(arguments) == 0
    assert Path("own_study-experiment-answer/results.parquet").exists()


def test_json_says_where_the_bundle_is_or_why_there_is_none(capsys, monkeypatch):
    def answered(*arguments):
        assert run(["compare", *arguments, "--recipes", "joint", "--json", "--workers", "1"]) == 0
        printed = json.loads(capsys.readouterr().out)
        written = json.loads((Path(printed["out"]) / "jointrain-answer.json").read_text())
        assert written == printed
        assert (printed["bundle"] is None) == (not (Path(printed["out"]) / "bundle").exists())
        return printed["bundle"], printed["no_bundle"]

    quick = ["--epochs", "2", "--seeds", "1"]
    bundle = str(Path("own_study-experiment-answer") / "bundle")
    assert answered("own_study:experiment", *quick) == (bundle, None)
    assert answered("own_study:loop") == (None, "a loop of one's own keeps its models itself")
    assert answered("own_study:by_place", *quick) == (
        None,
        "give the arguments of a partial factory by keyword: partial(make, width=32)",
    )
    monkeypatch.setattr(Experiment, "fit", stop)
    assert answered("own_study:experiment", *quick, "--out", "b") == (None, "MemoryError: full")


def stop(experiment, recipe, *, seed=0):
    raise MemoryError("full")


def test_the_last_fit_ends_with_the_budget(capsys, monkeypatch):
    monkeypatch.setattr(_compare, "_time_of_fit", lambda *_: _compare.FitTime(1e-9, 0.0))
    arguments = ["compare", "own_study:experiment", "--budget", "3s", "--workers", "1", "--json"]
    assert run(arguments) == 0
    assert "time was over before" in json.loads(capsys.readouterr().out)["no_bundle"]


def test_equal_compute_gives_the_joint_network_more_epochs(capsys):
    arguments = ["own_study:experiment", *QUICK, "--recipes", "joint"]
    assert run(["compare", *arguments, "--equal", "steps"]) == 0
    assert "joint may train for 4 epochs in place of 2" in capsys.readouterr().err
    assert run(["compare", *arguments, "--equal", "steps", "--budget", "9s", "--force"]) == 2
    assert "leave one out" in capsys.readouterr().err


@pytest.mark.parametrize("search", ["weigh", "group"])
def test_searches(search, capsys):
    assert run([search, "own_study:experiment", *QUICK, "--trials", "2", "--out", "found"]) == 0
    assert "Train with" not in capsys.readouterr().out
    assert Path("found/results.parquet").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["own_study:nothing"], "module 'own_study' has no 'nothing'"),
        (["no_such_module:x"], "'no_such_module:x' can't be imported"),
        (["ending:x"], "can't be imported: SystemExit: usage"),
        (["unfinished:x"], "can't be imported: task 'a' has no metric to compare recipes by"),
        (["own_study:ends"], "can't be called without arguments: SystemExit: 1"),
        (["own_study:data"], "is a TensorData; name an Experiment"),
        (["own_study:run"], "can't be called without arguments"),
        (["own_study:experiment", "--targets", "sum"], "--targets is for tables"),
        (["own_study:experiment", "--width", "3"], "--width is for tables"),
        (["own_study:experiment", "--encoding", "cp1252"], "--encoding is for tables"),
        (["own_study:loop"], "--recipes separate"),
        (["own_study:loop", "--recipes", "a", "--epochs", "3"], "--epochs is nothing that"),
        (["own_study:experiment", "--recipes", "jiont"], "'jiont'"),
    ],
)
def test_refused_in_one_line(arguments, words, capsys):
    assert run(["compare", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1


def test_share_cuts_the_trunk(capsys):
    assert run(["share", "own_study:deep", *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["shared"] for one in found["candidates"]} >= {0, 1, 2}
    assert "flag" not in found
    assert run(["share", "own_study:experiment", *QUICK]) == 2
    assert "has no two layers between which it can be cut" in capsys.readouterr().err


def test_the_config_file_may_name_it(capsys):
    Path("study.toml").write_text('table = "own_study:experiment"\nepochs = 2\nseeds = 1\n')
    assert run(["compare", "--config", "study.toml", "--workers", "1", "--recipes", "joint"]) == 0
    assert "Delta-m" in capsys.readouterr().out


def test_what_fails_beside_the_fit_is_left_to_the_report(monkeypatch, capsys):
    def fail():
        raise RuntimeError("no charts today")

    monkeypatch.setattr("jointrain.reports.prepare_page", fail)
    _compare._load_for_report(trains=True)
    assert capsys.readouterr() == ("", "")
