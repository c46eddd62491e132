"""Loggers write what the run recorded, each in its own form."""

import csv
import io
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from jointrain import (
    Alternating,
    HardSharing,
    InvalidInputError,
    MissingDependencyError,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing.weighting import Uncertainty
from jointrain.training.callbacks._loggers import (
    ConsoleLogger,
    CSVLogger,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
    WandBLogger,
)

NAMES = ("a", "b, 100 %")


def _fit(*loggers, validation=True, **settings):
    torch.manual_seed(0)
    network = HardSharing(nn.Linear(3, 4), {name: nn.Linear(4, 1) for name in NAMES})
    x = torch.randn(8, 3)
    data = TensorData(x, {name: x.sum(1) for name in NAMES})
    settings = {"epochs": 3, "batch_size": 4, "device": "cpu"} | settings
    trainer = Trainer(network, [Task.regression(n) for n in NAMES], callbacks=loggers, **settings)
    trainer.fit(data, data if validation else None)
    return trainer


class Keep(Logger):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.seen = []

    def log(self, step, values):
        self.seen.append((step, dict(values)))


def test_every_logger_gets_the_records_of_the_epochs_by_name():
    keep = Keep()
    trainer = _fit(keep)
    assert [step for step, _ in keep.seen] == [2, 4, 6]
    for record, (_, values) in zip(trainer.history, keep.seen, strict=True):
        assert values == {
            "epoch": record.epoch,
            "score": record.score,
            "best": float(record.best),
            **{f"training/{name}": record.training[name] for name in NAMES},
            **{f"validation/{name}": record.validation[name] for name in NAMES},
        }


def test_without_validation_there_is_no_score():
    keep = Keep()
    _fit(keep, validation=False)
    assert set(keep.seen[0][1]) == {"epoch", "training/a", "training/b, 100 %"}


def test_every_so_many_steps_losses_and_weights_are_logged():
    keep = Keep(every=2)
    trainer = _fit(keep, balancer=Uncertainty(), epochs=2)
    steps = [(step, values) for step, values in keep.seen if "epoch" not in values]
    assert [step for step, _ in steps] == [2, 4]
    assert set(steps[0][1]) == {f"{kind}/{name}" for kind in ("loss", "weight") for name in NAMES}
    weights = trainer.balanced.weights.tolist()
    assert [steps[-1][1][f"weight/{name}"] for name in NAMES] == weights
    plain = Keep(every=1)
    _fit(plain, schedule=Alternating("round_robin"), epochs=1)
    assert [set(values) for _, values in plain.seen[:2]] == [{"loss/a"}, {"loss/b, 100 %"}]


def test_less_than_every_step_is_refused():
    with pytest.raises(InvalidInputError, match="`every` must be at least 1, got 0"):
        ConsoleLogger(every=0)


# --- console -------------------------------------------------------------------------------------


def test_the_console_shows_a_line_an_epoch():
    out = io.StringIO()
    trainer = _fit(ConsoleLogger(console=Console(file=out, width=40)))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    record = trainer.history[1]
    loss = record.training["a"]
    assert lines[1].startswith(f"epoch 2  step 4  training/a {loss:.4g}  training/b, 100 % ")
    assert lines[1].endswith("best") == record.best
    assert f"score {record.score:.4g}" in lines[1]


def test_the_console_takes_names_as_they_are():
    out = io.StringIO()
    ConsoleLogger(console=Console(file=out)).log(1, {"training/[bold]a[/]": 0.5})
    assert out.getvalue() == "step 1  training/[bold]a[/] 0.5\n"
    ConsoleLogger(console=Console(file=out)).log(2, {"training/sex:man:woman": 0.5})
    assert out.getvalue().endswith("step 2  training/sex:man:woman 0.5\n")


# --- CSV -----------------------------------------------------------------------------------------


def test_the_file_holds_the_records(tmp_path):
    path = tmp_path / "log.csv"
    trainer = _fit(CSVLogger(path))
    trainer = _fit(CSVLogger(path))  # replaces the first
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row, record in zip(rows, trainer.history, strict=True):
        assert (int(row["step"]), int(row["epoch"])) == (record.step, record.epoch)
        assert bool(int(row["best"])) == record.best
        for name in NAMES:
            assert float(row[f"training/{name}"]) == record.training[name]
            assert float(row[f"validation/{name}"]) == record.validation[name]


def test_the_file_can_be_read_while_the_run_goes_on(tmp_path):
    path = tmp_path / "log.csv"

    class Read(Keep):
        def log(self, step, values):
            self.seen.append(len(path.read_text().splitlines()))

    read = Read(every=1)
    _fit(CSVLogger(path, every=1), read, epochs=1, schedule=Alternating("round_robin"))
    # the heading, then a line for each of four steps and one for the epoch
    assert read.seen == [2, 3, 4, 5, 6]
    cells = [line.split(",")[:2] for line in path.read_text().splitlines()[1:]]
    assert cells == [["1", ""], ["2", ""], ["3", ""], ["4", ""], ["4", "1"]]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="of the log does not exist; make it first"):
        _fit(CSVLogger(tmp_path / "none" / "log.csv"))


# --- TensorBoard ---------------------------------------------------------------------------------


def test_tensorboard_reads_the_records(tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = _fit(TensorBoardLogger(tmp_path, every=3))
    events = EventAccumulator(str(tmp_path)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("training/a")]
    expected = [(record.step, record.training["a"]) for record in trainer.history]
    assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
    assert [event.step for event in events.Scalars("loss/a")] == [3, 6]


# --- MLflow --------------------------------------------------------------------------------------


class StandIn(ModuleType):
    """What the logger uses of mlflow, kept in lists."""

    def __init__(self, active=None):
        super().__init__("mlflow")
        self.active = active
        self.calls = []
        self.experiments = {"known": "7"}

    def active_run(self):
        return self.active

    def MlflowClient(self, tracking_uri=None):
        self.tracking_uri = tracking_uri
        return self

    def get_experiment_by_name(self, name):
        found = self.experiments.get(name)
        return None if found is None else SimpleNamespace(experiment_id=found)

    def create_experiment(self, name):
        self.experiments[name] = str(len(self.experiments) + 7)
        return self.experiments[name]

    def create_run(self, experiment_id, run_name=None):
        self.calls.append(("create", experiment_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="made"))

    def log_param(self, run_id, key, value):
        self.calls.append(("param", run_id, key, value))

    def log_metric(self, run_id, key, value, timestamp=None, step=None):
        self.calls.append(("metric", run_id, key, value, step))

    def set_terminated(self, run_id):
        self.calls.append(("end", run_id))


def test_mlflow_gets_settings_and_metrics(monkeypatch):
    mlflow = StandIn()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    trainer = _fit(MLflowLogger("new", run_name="first", tracking_uri="there"), seed=4)
    assert mlflow.tracking_uri == "there"
    assert mlflow.calls[0] == ("create", "8", "first")
    assert ("param", "made", "seed", 4) in mlflow.calls
    assert ("param", "made", "balancer", "sum") in mlflow.calls
    metrics = [call[2:] for call in mlflow.calls if call[0] == "metric"]
    for record in trainer.history:
        # a comma and a percent sign are no letters of a metric's name
        assert ("training/b_ 100 _", record.training["b, 100 %"], record.step) in metrics
    assert mlflow.calls[-1] == ("end", "made")


def test_an_active_run_of_mlflow_is_used_and_left_open(monkeypatch):
    mlflow = StandIn(SimpleNamespace(info=SimpleNamespace(run_id="open")))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    logger = MLflowLogger("known")
    _fit(logger)
    assert logger.run_id == "open"
    assert {call[0] for call in mlflow.calls} == {"param", "metric"}


def test_mlflow_itself_takes_what_is_logged(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="the package mlflow is not installed")
    store = f"sqlite:///{tmp_path}/runs.db"
    logger = MLflowLogger("tasks", tracking_uri=store)
    trainer = _fit(logger)
    client = mlflow.MlflowClient(tracking_uri=store)
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "4"
    history = client.get_metric_history(logger.run_id, "validation/a")
    assert [(point.step, point.value) for point in history] == [
        (record.step, record.validation["a"]) for record in trainer.history
    ]


ODD_NAMES = [
    f"training/{name}"
    for name in (
        "CO2 (g)", "CO2 [g]", "CO2 _g_", "cost//unit", "..", "/a", "a/./b", "...",
        "n" * 230 + "/" + "n" * 60, "n" * 230 + "/" + "m" * 60,
    )
]  # fmt: skip


def test_every_name_is_a_metric_of_its_own_in_mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="the package mlflow is not installed")
    store = f"sqlite:///{tmp_path}/runs.db"
    logger = MLflowLogger("tasks", tracking_uri=store)
    logger.start({})
    logger.log(1, {name: float(number) for number, name in enumerate(ODD_NAMES)})
    resumed = MLflowLogger("tasks", tracking_uri=store)
    resumed.load_state_dict(logger.state_dict())
    resumed.start({})
    resumed.log(2, {name: float(number) for number, name in reversed([*enumerate(ODD_NAMES)])})
    found = mlflow.MlflowClient(tracking_uri=store).get_run(logger.run_id).data.metrics
    assert sorted(found.values()) == [float(number) for number in range(len(ODD_NAMES))]


# --- W&B -----------------------------------------------------------------------------------------


class WandBStandIn(ModuleType):
    """What the logger uses of wandb, kept in lists."""

    def __init__(self, active=None):
        super().__init__("wandb")
        self.run, self.calls = active, []

    def init(self, **settings):
        self.calls.append(("init", settings))
        return WandBRun("made", self.calls)

    def Settings(self, **settings):
        return settings


class WandBRun:
    def __init__(self, number, calls):
        self.id, self._calls = number, calls

    def log(self, values, step):
        self._calls.append(("log", step, values))

    def finish(self):
        self._calls.append(("finish",))


def test_wandb_gets_settings_and_records(monkeypatch, tmp_path):
    wandb = WandBStandIn()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logger = WandBLogger("tasks", run_name="first", folder=tmp_path, mode="offline")
    trainer = _fit(logger, seed=4)
    (first, settings), *logged, last = wandb.calls
    assert (first, last) == ("init", ("finish",))
    assert settings["project"] == "tasks"
    assert settings["config"]["seed"] == 4
    assert (settings["dir"], settings["mode"], settings["id"]) == (str(tmp_path), "offline", None)
    for record, (_, step, values) in zip(trainer.history, logged, strict=True):
        assert (step, values["training/a"]) == (record.step, record.training["a"])
    other = WandBLogger("tasks")
    other.load_state_dict(logger.state_dict())
    other.start({})
    assert wandb.calls[-1][1]["id"] == "made"
    assert wandb.calls[-1][1]["resume"] == "allow"


def test_an_active_run_of_wandb_is_used_and_left_open(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "wandb", WandBStandIn(WandBRun("open", calls)))
    _fit(WandBLogger())
    assert {call[0] for call in calls} == {"log"}


@pytest.mark.integration
def test_wandb_itself_keeps_what_is_logged_offline(tmp_path):
    wandb = pytest.importorskip("wandb", reason="the package wandb is not installed")
    _fit(WandBLogger("tasks", folder=tmp_path, mode="offline"))
    wandb.teardown()  # its service closes a finished run's file in its own time
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"validation/a" in file.read_bytes()


# --- extras that are not there -------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, extra",
    [
        (lambda: TensorBoardLogger("x"), "tensorboard"),
        (MLflowLogger, "mlflow"),
        (WandBLogger, "wandb"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, make, extra):
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'jointrain\[{extra}\]'"):
        make()
