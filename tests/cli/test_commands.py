"""The commands as a user runs them."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.bundle import load_bundle, save_bundle
from jointrain.cli import run
from jointrain.data import load_penguins
from jointrain.networks import NETWORKS
from jointrain.training import Alternating, Contrastive

QUICK = ["--epochs", "4", "--width", "16", "--device", "cpu"]


@pytest.fixture
def penguins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    load_penguins().write_csv("penguins.csv")
    return tmp_path


def compare(out: str, *more: str) -> int:
    arguments = ["penguins.csv", "--targets", "species,sex,body_mass_g", "--out", out]
    return run(["compare", *arguments, "--folds", "3", "--seeds", "1", *QUICK, *more])


def test_compare_prints_an_answer_and_saves_model_results_and_report(penguins, capsys):
    assert compare("answer") == 0
    printed = capsys.readouterr().out
    for word in ("separate", "joint", "alternating", "constant", "extra trees", "Delta-m"):
        assert word in printed
    assert "ROC-AUC" in printed
    assert "RMSE" in printed
    report = Path("answer/report.md").read_text()
    answer = report.split("\n\n")[1]
    assert answer in " ".join(printed.split())
    results = pl.read_parquet("answer/results.parquet")
    assert set(results.columns) >= {"recipe", "task", "metric", "fold", "seed", "value"}
    # 3 recipes, 3 baselines and the shipped model, 3 folds, metrics 3 + 2 + 2
    assert len(results) == 7 * 3 * 7
    assert "## All targets" in report
    assert "## The saved model" in report
    assert Path("answer/changes.png").read_bytes().startswith(b"\x89PNG")
    model = load_bundle("answer/bundle")
    assert [task.kind for task in model.tasks] == ["multiclass", "binary", "regression"]


def test_compare_json_is_one_object(penguins, capsys):
    assert compare("answer", "--json", "--margin", "900") == 0
    result = json.loads(capsys.readouterr().out)
    assert [task["name"] for task in result["tasks"]] == ["species", "sex", "body_mass_g"]
    joint = result["tasks"][2]["recipes"]["joint"]
    assert joint["metrics"]["RMSE"]["mean"] > 0
    against = joint["against_separate"]
    assert (against["margin"], against["verdict"]) == (pytest.approx(900), "equivalent")
    assert (against["unit"], against["defined"], against["total"]) == ("percent", 3, 3)
    assert against["low"] < against["change"] < against["high"]
    assert set(result["delta_m"]) == {"joint", "alternating", "constant", "linear", "extra trees"}


def test_compare_twice_gives_the_same_bits_with_any_number_of_workers(penguins, capsys):
    assert compare("one", "--workers", "1") == 0
    assert compare("two", "--workers", "2") == 0
    files = [path.relative_to("one") for path in Path("one").rglob("*") if path.is_file()]
    assert len(files) >= 5
    for name in files:
        # reports tell times and the command
        if name.stem != "report":
            assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name


def test_a_study_that_is_kept_goes_on_where_it_was(penguins, capsys, monkeypatch):
    from jointrain.tables._fold_runs import FoldJob

    assert compare("one", "--study", "runs", "--workers", "1") == 0
    monkeypatch.setattr(FoldJob, "run", lambda self: pytest.fail("a finished run was run again"))
    assert compare("two", "--study", "runs", "--workers", "1") == 0
    assert Path("one/results.parquet").read_bytes() == Path("two/results.parquet").read_bytes()


def test_a_kept_study_of_other_data_or_settings_is_refused(penguins, capsys):
    assert compare("one", "--study", "runs") == 0
    assert compare("two", "--study", "runs", "--width", "9") == 2
    assert "holds the runs of another study: recipes." in capsys.readouterr().err
    load_penguins().head(300).write_csv("penguins.csv")
    assert compare("two", "--study", "runs") == 2
    assert "holds the runs of another study: data is" in capsys.readouterr().err
    assert not Path("two").exists()


def test_a_budget_that_is_too_small_still_ends_with_an_answer(penguins, capsys):
    assert compare("answer", "--budget", "0.01s") == 0
    captured = capsys.readouterr()
    assert "note: budget of 0.01 s: nothing larger was done in time" in captured.err
    assert "a first look. Give a larger --budget." in " ".join(captured.out.split())
    assert load_bundle("answer/bundle").predict(load_penguins())["sex"].shape == (344,)


def test_compare_runs_the_recipes_and_baselines_that_are_named(penguins, capsys):
    named = ["--recipes", "weights-size,network-mmoe", "--baselines", "linear"]
    assert compare("answer", *named, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["delta_m"]) == {"weights-size", "network-mmoe", "constant", "linear"}
    assert set(result["shipped"]["weights"]) == {"species", "sex", "body_mass_g"}
    assert compare("other", "--recipes", "weights-siez") == 2
    assert "size" in capsys.readouterr().err


def test_compare_merges_and_resumes(penguins, capsys, monkeypatch):
    from jointrain.tables._fold_runs import FoldJob

    named = ["--recipes", "joint,merge-mean,merge-ties", "--study", "runs", "--workers", "1"]
    assert compare("one", *named, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {"joint", "merge-mean", "merge-ties"} < set(result["delta_m"])
    monkeypatch.setattr(FoldJob, "run", lambda self: pytest.fail("a finished run was run again"))
    assert compare("two", *named) == 0
    assert Path("one/results.parquet").read_bytes() == Path("two/results.parquet").read_bytes()
    assert compare("other", "--recipes", "merge-ties", "--network", "mmoe") == 2
    assert "goes with network 'hard', not 'mmoe'" in capsys.readouterr().err


def test_compare_judges_by_the_metrics_that_are_named(penguins, capsys):
    named = ["--metric", "body_mass_g=MAE", "--metric", "species=balanced-accuracy"]
    arguments = ["--recipes", "joint", "--baselines", "linear", "--study", "runs"]
    assert compare("answer", *arguments, *named, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    found = {task["name"]: task["metric"] for task in result["tasks"]}
    assert found == {"species": "balanced accuracy", "sex": "ROC-AUC", "body_mass_g": "MAE"}
    assert "MAE" in Path("answer/report.md").read_text()
    assert run(["evaluate", "answer/bundle", "penguins.csv", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert list(measured["body_mass_g"]) == ["MAE", "RMSE", "R2"]
    # runs that were not measured by them are not taken for runs that were
    assert compare("other", *arguments) == 2
    assert "holds the runs of another study" in capsys.readouterr().err
    assert compare("other", "--metric", "body_mass_g=Brier") == 2
    error = capsys.readouterr().err
    assert "metric 'Brier' is none of regression task 'body_mass_g'" in error
    assert len(error.strip().splitlines()) == 1


def test_compare_ranks_within_queries(penguins, capsys):
    frame = load_penguins()
    assert frame.height == 344
    clinics = pl.Series("who", [f"w{number % 40}" for number in range(344)])
    frame.with_columns(clinics).write_csv("penguins.csv")
    named = ["--metric", "body_mass_g=NDCG@5,sex=group-AUC", "--query", "who", "--ignore", "who"]
    arguments = ["--recipes", "joint", "--baselines", "linear", *named]
    assert compare("answer", *arguments, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    found = {task["name"]: task["metric"] for task in result["tasks"]}
    assert found == {"species": "accuracy", "sex": "group AUC", "body_mass_g": "NDCG@5"}
    # better than a constant, whose order is that of a lot
    means = result["tasks"][1]["recipes"]
    assert means["linear"]["metrics"]["group AUC"]["mean"] > 0.8
    assert means["constant"]["metrics"]["group AUC"]["mean"] == pytest.approx(0.5)
    assert run(["evaluate", "answer/bundle", "penguins.csv", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert list(measured["sex"]) == ["group AUC", "ROC-AUC", "log-loss"]
    assert 0 < measured["body_mass_g"]["NDCG@5"] <= 1
    frame.write_csv("other.csv")
    assert run(["evaluate", "answer/bundle", "other.csv"]) == 2
    assert "'who'" in capsys.readouterr().err
    # new rows are predicted without it
    assert run(["predict", "answer/bundle", "other.csv", "--out", "p.csv"]) == 0


@pytest.mark.integration
def test_seed_changes_the_results(penguins, capsys):
    assert compare("one") == 0
    assert compare("two", "--seed", "5") == 0
    assert Path("one/results.parquet").read_bytes() != Path("two/results.parquet").read_bytes()


@pytest.mark.parametrize("schedule", ["joint", "alternating", "separate", "merge-dare"])
def test_fit_predict_evaluate_inspect(penguins, capsys, schedule):
    table = load_penguins()
    targets = ["fit", "penguins.csv", "--targets", "species,sex,body_mass_g", "--ignore", "year"]
    assert run([*targets, "--schedule", schedule, "--out", "model", *QUICK]) == 0
    assert "validation loss" in capsys.readouterr().out
    features = table.drop("species", "sex", "body_mass_g")
    features.write_parquet("new.parquet")
    assert run(["predict", "model", "new.parquet", "--out", "predictions.parquet"]) == 0
    predictions = pl.read_parquet("predictions.parquet")
    assert predictions.columns == [
        "species", "species=Adelie", "species=Chinstrap", "species=Gentoo",
        "sex", "sex=female", "sex=male", "body_mass_g",
    ]  # fmt: skip
    assert len(predictions) == len(table)
    probabilities = predictions.select(pl.col("^species=.*$")).to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    # in the target's own unit
    assert 2000 < predictions["body_mass_g"].mean() < 7000
    wide = ["predict", "model", "new.parquet", "--out", "wide.parquet", "--intervals"]
    assert run([*wide, "0.8"]) == 0
    ends = pl.read_parquet("wide.parquet")
    assert ends.columns[-3:] == ["body_mass_g", "body_mass_g_low", "body_mass_g_high"]
    assert (ends["body_mass_g_high"] - ends["body_mass_g_low"]).min() > 0
    capsys.readouterr()
    assert run([*wide, "80", "--force"]) == 2
    assert "coverage must lie between 0 and 1" in capsys.readouterr().err
    assert run(["predict", "model", "penguins.csv", "--out", "-"]) == 0
    streamed = capsys.readouterr().out
    assert len(streamed.strip().splitlines()) == len(table) + 1
    assert run(["evaluate", "model", "penguins.csv", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert set(metrics["species"]) == {"accuracy", "macro-F1", "log-loss"}
    assert run(["evaluate", "model", "penguins.csv"]) == 0
    assert "RMSE" in capsys.readouterr().out
    assert run(["inspect", "model"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "bill_length_mm",
        "Gentoo",
        "trunk parameters",
        schedule,
        "temperature",
        "90 %",
        "Importance",
        "used by",
    ):
        assert word in shown
    assert run(["inspect", "model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 0


def test_config_file_says_what_flags_can_and_flags_win(penguins, capsys):
    Path("c.toml").write_text(
        'table = "penguins.csv"\ntargets = ["sex", "body_mass_g"]\nschedule = "alternating"\n'
        'order = "round-robin"\nepochs = 3\nwidth = 8\ndevice = "cpu"\nlearning-rate = 0.01\n'
        'weights = { sex = 2.0 }\nignore = ["year"]\nout = "from-config"\n'
        '[task]\nsex = "multiclass"\n'
    )
    assert run(["fit", "--config", "c.toml", "--out", "from-flag", "--width", "4"]) == 0
    assert not Path("from-config").exists()
    model = load_bundle("from-flag")
    assert model.recipe.width == 4
    assert model.recipe.optimizer.learning_rate == 0.01
    assert model.recipe.schedule.order == "round_robin"
    assert model.recipe.weights == (("sex", 2.0),)
    assert [task.kind for task in model.tasks] == ["multiclass", "regression"]
    assert "year" not in [column.name for column in model.columns]


def test_every_training_flag_reaches_the_recipe(penguins, capsys):
    said = (
        "--weights sex=1,body_mass_g=0.3 --probabilities sex=0.7,body_mass_g=0.3 --depth 1 "
        "--dropout 0.2 --optimizer sgd --optimizer-layout per-task --momentum 0.5 --weight-decay 0 "
        "--warm-up 0.1 --decay none --gradient-clip 0 --l1 0.001 --l2 0.002 --batch-size 50 "
        "--patience 2 --validation-fraction 0.2 --schedule alternating --learning-rate 0.02"
    )
    command = ["fit", "penguins.csv", "--targets", "sex,body_mass_g", "--out", "model"]
    assert run([*command, *QUICK, *said.split()]) == 0
    recipe = load_bundle("model").recipe
    assert recipe.weights == (("sex", 1.0), ("body_mass_g", 0.3))
    assert recipe.schedule.probabilities == (("sex", 0.7), ("body_mass_g", 0.3))
    assert (recipe.depth, recipe.dropout, recipe.optimizer_layout) == (1, 0.2, "per_task")
    assert (recipe.optimizer.name, recipe.optimizer.momentum) == ("sgd", 0.5)
    assert (recipe.warm_up, recipe.decay, recipe.gradient_clip) == (0.1, "none", None)
    assert (recipe.l1, recipe.l2, recipe.batch_size) == (0.001, 0.002, 50)
    assert (recipe.patience, recipe.validation_fraction) == (2, 0.2)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_any_network_is_fitted_stored_and_loaded(penguins, capsys, network):
    command = ["fit", "penguins.csv", "--targets", "species,body_mass_g", "--out", "model"]
    more = ["--epochs", "2", "--width", "4", "--device", "cpu", "--network", network]
    if network == "tabm":
        more += ["--network-option", "members=2,embeddings=linear"]
    assert run([*command, *more]) == 0
    model = load_bundle("model")
    assert model.recipe.network == network
    assert type(model.parts[0].network) is NETWORKS[network].network
    first = model.predict(load_penguins())
    again = fit_again(model, "copy")
    for task, values in first.items():
        np.testing.assert_array_equal(again.predict(load_penguins())[task], values)
    if network == "tabm":
        assert model.recipe.network_options == (("members", 2), ("embeddings", "linear"))


def fit_again(model, folder):
    """Save a loaded model and load it once more."""
    save_bundle(model, folder)
    return load_bundle(folder)


def test_compare_takes_a_network(penguins, capsys):
    command = ["compare", "penguins.csv", "--targets", "sex,body_mass_g", "--out", "answer"]
    quick = ["--folds", "2", "--seeds", "1", "--epochs", "1", "--width", "4", "--device", "cpu"]
    network = ["--network", "ple", "--network-option", "shared_experts=1", "--ship", "networks"]
    assert run([*command, *quick, *network]) == 0
    capsys.readouterr()
    assert run(["inspect", "answer"]) == 0
    assert "network ple" in capsys.readouterr().out


def test_networks_are_listed_with_a_line_each(capsys):
    assert run(["networks"]) == 0
    shown = capsys.readouterr().out
    for name in NETWORKS:
        assert name in shown
    assert run(["networks", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["mmoe"]["options"] == {"embeddings": None, "experts": 4}
    assert list(listed) == list(NETWORKS)


@pytest.mark.parametrize(
    "said, message",
    [
        (["--network", "mmmoe"], "no network 'mmmoe' (did you mean 'mmoe'"),
        (["--network", "ple", "--network-option", "experts=3"], "'ple' has no setting 'experts'"),
        (["--network-option", "rank=3"], "network 'hard' has no setting 'rank'"),
        (["--network", "mmoe", "--network-option", "experts=0"], "at least one module"),
    ],
)
def test_a_network_that_there_is_not_is_one_line_of_error(penguins, capsys, said, message):
    command = ["fit", "penguins.csv", "--targets", "sex", "--out", "model", *QUICK]
    assert run([*command, *said]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not Path("model").exists()


@pytest.mark.parametrize("weights", ["size", "difficulty"])
def test_weight_rules(penguins, capsys, weights):
    command = ["fit", "penguins.csv", "--targets", "sex,body_mass_g", "--out", "model"]
    assert run([*command, *QUICK, "--weights", weights]) == 0
    used = load_bundle("model").parts[0].weights
    assert sum(used.values()) == pytest.approx(2)
    assert used["sex"] != used["body_mass_g"]


def test_group_and_time_splits(penguins, capsys):
    assert compare("by-island", "--group", "island") == 0
    assert "each group" in Path("by-island/report.md").read_text()
    with_time = load_penguins().with_row_index("day")
    with_time.write_csv("penguins.csv")
    command = ["compare", "penguins.csv", "--targets", "body_mass_g,sex", "--time", "day"]
    assert run([*command, "--folds", "2", "--seeds", "1", "--out", "by-day", *QUICK]) == 0
    assert "forward in time" in Path("by-day/report.md").read_text()


def test_id_column_is_no_feature_and_names_the_predictions(penguins, capsys):
    load_penguins().with_row_index("name").write_csv("penguins.csv")
    command = ["fit", "penguins.csv", "--targets", "sex", "--id", "name", "--out", "model", *QUICK]
    assert run(command) == 0
    assert "name" not in [column.name for column in load_bundle("model").columns]
    assert run(["predict", "model", "penguins.csv", "--out", "p.csv"]) == 0
    assert pl.read_csv("p.csv")["name"].to_list() == list(range(344))


def test_version(capsys):
    from jointrain import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"jointrain {__version__}"


def search(command: str, *more: str) -> int:
    arguments = ["penguins.csv", "--targets", "species,sex,body_mass_g", "--ignore", "year"]
    few = ["--folds", "2", "--seeds", "1", "--workers", "1", "--epochs", "2", "--width", "8"]
    return run([command, *arguments, *few, *more])


def test_weigh_prints_weights_and_the_flag_that_fit_takes(penguins, capsys):
    assert search("weigh", "--trials", "2", "--pareto", "--out", "weights") == 0
    printed = capsys.readouterr().out
    for part in ("difficulty", "gradients", "separate models", "Pareto front", "Delta-m"):
        assert part in printed
    assert "Train with: jointrain fit TABLE ... --weights " in printed
    results = pl.read_parquet("weights/results.parquet")
    # separate models, four rules and two vectors; 7 metrics, 2 folds
    assert len(results) == 7 * 7 * 2
    assert "## Pareto front" in Path("weights/report.md").read_text()
    saved = json.loads(Path("weights/jointrain-answer.json").read_text())
    vector = next(c["weights"] for c in saved["candidates"] if c["name"] == "search 1")
    flag = ",".join(f"{name}={value:g}" for name, value in vector.items())
    quick = ["--targets", "species,sex,body_mass_g", *QUICK]
    assert run(["fit", "penguins.csv", *quick, "--weights", flag, "--out", "model"]) == 0
    assert dict(load_bundle("model").recipe.weights) == vector


def test_group_prints_who_helps_whom_and_fit_takes_the_groups(penguins, capsys, monkeypatch):
    assert search("group", "--trials", "2", "--models", "2", "--json", "--out", "groups") == 0
    result = json.loads(capsys.readouterr().out)
    assert 1 <= len(result["groups"]) <= 2
    assert [len(row) for row in result["affinity"]["mean"]] == [3, 3, 3]
    assert result["flag"].startswith("--groups ")
    assert len(pl.read_parquet("groups/affinity.parquet")) == 9
    assert Path("groups/affinity.png").read_bytes().startswith(b"\x89PNG")
    assert "![Who helps whom](affinity.png)" in Path("groups/report.md").read_text()

    def fails(*_):
        raise ValueError("no such font")

    # a picture that fails is a note, and no search is lost
    monkeypatch.setattr("jointrain.charts.save_picture", fails)
    assert search("group", "--trials", "1", "--measure", "lookahead", "--out", "again") == 0
    printed = capsys.readouterr()
    assert "... helps sex" in printed.out
    assert "note: affinity.png skipped: ValueError: no such font" in printed.err
    assert "affinity.png" not in Path("again/report.md").read_text()
    assert len(pl.read_parquet("again/affinity.parquet")) == 9
    quick = ["--targets", "species,sex,body_mass_g", *QUICK]
    groups = ["--groups", "species,body_mass_g;sex", "--shared-depth", "1"]
    command = ["fit", "penguins.csv", *quick, *groups, "--ensemble", "1", "--out", "model"]
    assert run(command) == 0
    model = load_bundle("model")
    assert [part.tasks for part in model.parts] == [("species", "body_mass_g"), ("sex",)]
    again = model.predict(load_penguins())
    assert list(again) == ["species", "sex", "body_mass_g"]


def test_share_prints_every_split_point(penguins, capsys):
    assert search("share", "--depth", "1") == 0
    printed = capsys.readouterr().out
    assert "1 of 1 shared" in printed
    assert "0 of 1 shared" in printed
    assert "--shared-depth" in printed
    assert not Path("penguins-answer").exists()


def test_a_search_replaces_its_own_folder_only_when_told(penguins, capsys):
    quick = ("--depth", "1", "--out", "answer")
    assert search("share", *quick) == 0
    assert search("share", *quick) == 2
    assert search("share", *quick, "--force") == 0


def test_schedules_by_flags_and_in_the_bundle(penguins, capsys):
    arguments = ["fit", "penguins.csv", "--targets", "species,sex,island", *QUICK, "--out", "model"]
    assert run(
        [
            *arguments, "--schedule", "alternating", "--order", "temperature",
            "--temperature", "3", "--block", "10", "--auxiliary", "island",
            "--when-converged", "freeze", "--task-patience", "2",
        ]
    ) == 0  # fmt: skip
    recipe = load_bundle("model").recipe
    assert recipe.schedule == Alternating("temperature", block=10, temperature=3.0)
    assert recipe.auxiliary == ("island",)
    assert (recipe.when_converged, recipe.task_patience) == ("freeze", 2)
    capsys.readouterr()
    assert run(["predict", "model", "penguins.csv", "--out", "-"]) == 0
    assert "island" not in capsys.readouterr().out.splitlines()[0]


PHASES = """
targets = ["species", "sex"]
schedule = "phases"
width = 16
out = "model"

[[phases]]
name = "pretrain"
epochs = 2
pretraining = {kind = "contrastive", rate = 0.5}

[[phases]]
name = "joint"
epochs = 3
schedule = {kind = "alternating", order = "annealed"}

[[phases]]
name = "fine-tune"
epochs = 2
each_task = true
freeze = ["shared"]
"""


def test_phases_from_a_config_file(penguins, capsys):
    Path("run.toml").write_text(PHASES)
    assert run(["fit", "penguins.csv", "--config", "run.toml", "--device", "cpu"]) == 0
    model = load_bundle("model")
    assert [phase.name for phase in model.recipe.schedule.phases] == [
        "pretrain", "joint", "fine-tune",
    ]  # fmt: skip
    assert model.recipe.schedule.phases[0].pretraining == Contrastive(rate=0.5)
    assert run(["inspect", "model"]) == 0
    assert "phases" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["annealed", "progress"])
def test_orders_that_depend_on_the_run(penguins, capsys, order):
    assert run(
        ["fit", "penguins.csv", "--targets", "species,sex", "--schedule", "alternating",
         "--order", order, "--out", "model", *QUICK]
    ) == 0  # fmt: skip
    assert load_bundle("model").recipe.schedule.order == order
