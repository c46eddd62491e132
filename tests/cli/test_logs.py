"""`--log`: runs of fit and compare in the programs that people keep their runs in."""

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import polars as pl
import pytest

from jointrain.cli import run
from jointrain.cli._logs import Logs, StudyLog
from jointrain.training.callbacks import Logger

SHORT = ["--targets", "y,z", "--epochs", "3", "--width", "4", "--depth", "1", "--device", "cpu"]
FIT = ["fit", "rows.csv", *SHORT, "--ensemble", "2", "--out", "model"]
COMPARE = [
    "compare", "rows.csv", *SHORT, "--recipes", "separate,joint", "--baselines", "constant",
    "--folds", "2", "--seeds", "1", "--workers", "1", "--out", "answer",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rows = pl.DataFrame({"x": [(7 * i % 31) / 31 for i in range(60)]})
    rows.with_columns(y=3 * pl.col("x"), z=pl.col("x") ** 2).write_csv(tmp_path / "rows.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Kept(Logger):
    """A logger that keeps what it is told, by the name of its run."""

    runs: ClassVar[dict[str, list]] = {}

    def __init__(self, name):
        super().__init__()
        self.name = name

    def start(self, settings):
        self.runs[self.name] = [dict(settings)]

    def log(self, step, values):
        self.runs[self.name].append((step, dict(values)))

    def end(self):
        self.runs[self.name].append("end")


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr(Kept, "runs", {})
    monkeypatch.setattr(Logs, "logger", lambda self, name: Kept(name))
    return Kept.runs


@pytest.mark.parametrize("more", [[], ["--ema", "0.9"]], ids=["together", "one by one"])
def test_fit_logs_each_network(folder, kept, more):
    assert run([*FIT, "--log", "tensorboard", *more]) == 0
    assert list(kept) == ["network-0001", "network-0002"]
    for settings, *epochs, last in kept.values():
        assert settings["batch_size"] > 0
        assert [values["epoch"] for _, values in epochs] == [1, 2, 3]
        assert {"training/y", "validation/z"} <= epochs[0][1].keys()
        assert last == "end"


def test_compare_logs_each_run_of_the_study_once(folder, kept):
    assert run([*COMPARE, "--log", "tensorboard"]) == 0
    names = ("separate", "joint", "constant")
    assert set(kept) == {f"{name}/seed-0-fold-{fold}" for name in names for fold in (0, 1)}
    settings, *epochs, (step, metrics), last = kept["joint/seed-0-fold-1"]
    assert settings["recipe"] == "joint"
    assert [step for step, _ in epochs] == [1, 2, 3]
    assert {"training/y", "validation/z", "weight/y"} <= epochs[0][1].keys()
    assert step == 4
    table = pl.read_parquet("answer/results.parquet")
    row = table.filter(recipe="joint", task="y", metric="RMSE", fold=1, seed=0)
    assert metrics["RMSE/y"] == row["value"].item()
    assert last == "end"
    assert len(kept["constant/seed-0-fold-0"]) == 3


def test_event_files_of_two_commands_have_folders_of_their_own(folder):
    pytest.importorskip("tensorboard")
    first = Logs("tensorboard", "events", "model")
    second = Logs("tensorboard", "events", "model")
    third = Logs("tensorboard", "events", "model", resumed=True)
    paths = [one.logger("a").folder for one in (first, second, third)]
    assert paths == [Path("events", name, "a") for name in ("model", "model-2", "model-2")]


@pytest.mark.parametrize("command", [FIT, COMPARE], ids=["fit", "compare"])
@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_named_before_any_work(folder, capsys, monkeypatch, command, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert run([*command, "--log", package]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert f"pip install 'jointrain[{package}]'" in error[0]
    assert not Path("model").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--log-to", "there"], "there is none; give --log"),
        (["--log", "excel"], "tensorboard"),
        (["--log", "tensorboard", "--log-to", "rows.csv"], "--log-to"),
    ],
)
def test_a_log_that_can_not_be_is_refused_in_one_line(folder, capsys, more, message):
    pytest.importorskip("tensorboard")
    assert run([*FIT, *more]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]


def measured(run_name):
    """Return what compare has written of a run, by the name that it has in a log."""
    recipe, _, rest = run_name.rpartition("/")
    _, seed, _, fold = rest.split("-")
    rows = pl.read_parquet("answer/results.parquet").filter(
        recipe=recipe.rpartition("/")[2], seed=int(seed), fold=int(fold)
    )
    return {f"{row['metric']}/{row['task']}": row["value"] for row in rows.iter_rows(named=True)}


@pytest.mark.integration
def test_tensorboard_reads_what_compare_logs(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run([*COMPARE, "--log", "tensorboard"]) == 0
    folders = [path.parent for path in Path("runs/answer").rglob("events.*")]
    assert len(folders) == 6
    for place in folders:
        events = EventAccumulator(str(place)).Reload()
        expected = measured("/".join(place.parts[-2:]))
        assert expected
        for name, value in expected.items():
            (event,) = events.Scalars(name)
            assert event.value == pytest.approx(value, rel=1e-6)  # it keeps single precision
    events = EventAccumulator("runs/answer/joint/seed-0-fold-0").Reload()
    for name in ("training/y", "validation/z", "weight/y"):
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3]


@pytest.mark.integration
@pytest.mark.parametrize("store", ["mlruns", "sqlite:///mlflow.db"], ids=["files", "sqlite"])
def test_mlflow_itself_takes_what_fit_and_compare_log(folder, store, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    if "://" in store:
        pytest.importorskip("mlflow.store.tracking.sqlalchemy_store")
        # MLflow keeps a file open by the address as given, in whatever folder a test has opened it
        store = f"sqlite:///{folder / 'mlflow.db'}"
    else:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert run([*FIT, "--log", "mlflow", "--log-to", store]) == 0
    assert run([*COMPARE, "--log", "mlflow", "--log-to", store]) == 0
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("jointrain").experiment_id
    runs = {found.info.run_name: found for found in client.search_runs([experiment])}
    of_compare = {name: found for name, found in runs.items() if name.startswith("answer/")}
    assert set(runs) == {"model/network-0001", "model/network-0002", *of_compare}
    assert len(of_compare) == 6
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    for name, found in of_compare.items():
        assert found.data.params["recipe"] == name.split("/")[1]
        expected = measured(name)
        assert {key: found.data.metrics[key] for key in expected} == expected
    number = runs["answer/joint/seed-0-fold-1"].info.run_id
    assert [one.step for one in client.get_metric_history(number, "training/y")] == [1, 2, 3]


def records(data):
    """Yield the records of a file of W&B, which is a log of LevelDB: blocks of 32 KiB."""
    place, found = 7, b""  # after a head of its own
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        found += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield found
            found = b""


def offline_history(file):
    """Return name and history of a run of W&B, of its own messages."""
    from wandb.proto import wandb_internal_pb2

    name, history = "", []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            name = record.run.display_name
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            history.append(
                {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in items}
            )
    return name, history


@pytest.mark.integration
def test_wandb_itself_takes_what_fit_and_compare_log_offline(folder, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run([*FIT, "--log", "wandb", "--log-to", "kept"]) == 0
    assert run([*COMPARE, "--log", "wandb", "--log-to", "kept"]) == 0
    wandb.teardown()  # its service closes finished runs' files in its own time
    files = Path("kept").glob("wandb/offline-run-*/run-*.wandb")
    runs = dict(offline_history(file) for file in files)
    of_compare = {name for name in runs if name.startswith("answer/")}
    assert len(of_compare) == 6
    assert set(runs) - of_compare == {"model/network-0001", "model/network-0002"}
    for name in of_compare:
        expected = measured(name)
        assert {key: runs[name][-1][key] for key in expected} == expected
    joint = runs["answer/joint/seed-0-fold-1"]
    assert [line["_step"] for line in joint if "training/y" in line] == [1, 2, 3]


def test_failed_runs_are_not_logged(kept):
    failed = SimpleNamespace(error="it failed")
    StudyLog(Logs.__new__(Logs)).see(SimpleNamespace(fold_results={("odd", 0, 0): failed}))
    assert kept == {}
