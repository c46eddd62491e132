"""`--executor`: names of clusters, and what can't be had said in one line."""

import sys

import polars as pl
import pytest

from jointrain.cli import run
from jointrain.data import load_penguins

QUICK = [
    "--targets", "species,body_mass_g", "--width", "8", "--depth", "1", "--epochs", "2",
    "--folds", "2", "--seeds", "1",
]  # fmt: skip
COMPARE = ["compare", "penguins.csv", *QUICK, "--recipes", "joint", "--baselines", "constant"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_penguins().write_csv(tmp_path / "penguins.csv")
    return tmp_path


@pytest.mark.parametrize(
    "command, name",
    [
        ("compare", "spark:local"), ("compare", "ray:"), ("compare", "Slurm"), ("weigh", "dask"),
        ("group", "dask"), ("share", "dask"),
    ],
)  # fmt: skip
def test_unknown_executors_are_one_line(folder, capsys, command, name):
    code = run([command, "penguins.csv", *QUICK, "--executor", name])
    said = capsys.readouterr().err.splitlines()
    assert (code, said) == (
        2,
        [f"error: there is no executor {name!r}; known are dask:ADDRESS, ray:ADDRESS and slurm"],
    )


@pytest.mark.parametrize(
    "name, module", [("dask:h:1", "distributed"), ("ray:h:1", "ray"), ("slurm", "submitit")]
)
def test_what_is_not_installed_is_named_with_its_extra(folder, capsys, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert run([*COMPARE, "--executor", name]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"pip install 'jointrain[{name.partition(':')[0]}]'" in said
    assert [path.name for path in folder.iterdir()] == ["penguins.csv"]


def test_parameters_of_slurm_without_a_value_are_one_line(folder, capsys):
    assert run([*COMPARE, "--executor", "slurm:timeout_min"]) == 2
    assert "'timeout_min' has no value" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, message",
    [
        ("slurm:self=1", "no parameter 'self'"),
        ("slurm:timeout_min=1h", "must be a number of minutes"),
        ("slurm:cluster=foo", "no jobs can be given to Slurm"),
        ("slurm:folder=2024", "can't be written to 2024"),
    ],
)
def test_values_of_slurm_that_can_not_be_used_are_one_line(folder, capsys, name, message):
    pytest.importorskip("submitit")
    assert run([*COMPARE, "--executor", name]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["penguins.csv"]


@pytest.mark.integration
def test_compare_on_a_cluster_gives_the_figures_of_this_machine(folder, capsys):
    distributed = pytest.importorskip("distributed", reason="no dask on this machine")
    assert run([*COMPARE, "--workers", "1", "--out", "here"]) == 0
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        name = f"dask:{cluster.scheduler_address}"
        assert run([*COMPARE, "--executor", name, "--out", "there", "--study", "runs"]) == 0
        weighed = ["weigh", "penguins.csv", *QUICK, "--trials", "1", "--executor", name]
        assert run([*weighed, "--budget", "60s"]) == 0
    here, there = (
        pl.read_parquet(folder / out / "results.parquet").select("recipe", "task", "value")
        for out in ("here", "there")
    )
    assert there.equals(here)
