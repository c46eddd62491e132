"""`jointrain watch --once` of a study's store and of a fit's checkpoints."""

import json
import sqlite3

import pytest

from jointrain.cli import run
from jointrain.cli._watch import _look_at
from jointrain.studies import RunStore
from tests.postgresql import running_server


@pytest.mark.parametrize("kind", ["folder", "sqlite"])
def test_a_study_shows_its_finished_runs_and_their_means(tmp_path, capsys, kind):
    file = tmp_path / ("runs.jsonl" if kind == "folder" else "runs.db")
    place = str(tmp_path) if kind == "folder" else f"sqlite:///{file}"
    watch_a_study(place, capsys, file.read_bytes)


@pytest.mark.integration
def test_a_study_in_postgresql_can_be_watched(capsys):
    with running_server() as server:
        watch_a_study(server.url, capsys, bytes)


def watch_a_study(place, capsys, content):
    described = {"folds": 2, "seeds": 3, "recipes": {"joint": {}, "separate": {}}}
    store = RunStore.open(place, described)
    with store.session():
        for fold, value in enumerate((1.0, 2.0)):
            finish(store, fold, value)
        store.claim(["another"])
        before = content()
        assert run(["watch", place, "--once"]) == 0
        shown = capsys.readouterr().out
        assert "2 runs finished (joint 2, separate 0), 1 under way" in shown
        assert "2 of 6" in shown
        assert "1.5" in shown
        assert content() == before
        # one that is opened sees what others finish afterwards
        look = _look_at(place)
        finish(store, 2, 6.0)
        assert look().line.startswith("study: 3 runs finished")
        assert look().rows[0] == ["joint", "3 of 6", "3"]


def finish(store, fold, value):
    key = store.claim([f"key {fold}"])
    row = {"task": "y", "metric": "RMSE", "value": value}
    store.finish(key, [{"name": "joint", "fold": fold, "seed": 0, "rows": [row]}])


def test_a_database_without_a_study_is_refused_and_not_made(tmp_path, capsys):
    place = f"sqlite:///{tmp_path}/no.db"
    assert run(["watch", place, "--once"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert not (tmp_path / "no.db").exists()
    with sqlite3.connect(tmp_path / "no.db") as base:
        base.execute("create table other (x int)")
    assert run(["watch", place, "--once"]) == 2
    assert "holds no runs of a study" in capsys.readouterr().err


def test_a_fit_shows_its_networks_and_a_damaged_checkpoint_is_no_end(tmp_path, capsys):
    (tmp_path / "fit.json").write_text(json.dumps({}))
    (tmp_path / "network-0001").mkdir()
    (tmp_path / "network-0001" / "step-000000000007.safetensors").write_bytes(b"cut")
    assert run(["watch", str(tmp_path), "--once"]) == 0
    assert "damaged" in capsys.readouterr().out


def test_networks_of_a_streamed_fit_are_shown(tmp_path, capsys):
    (tmp_path / "fit.json").write_text(json.dumps({}))
    for number in (1, 2):
        folder = tmp_path / "networks" / f"network-{number}"
        folder.mkdir(parents=True)
        (folder / "step-000000000007.safetensors").write_bytes(b"cut")
    assert run(["watch", str(tmp_path), "--once"]) == 0
    shown = capsys.readouterr().out
    assert "fit: 2 networks" in shown
    assert "network-2" in shown


@pytest.mark.parametrize("every", ["inf", "nan", "1e12"])
def test_seconds_between_looks_are_bounded(tmp_path, capsys, every):
    (tmp_path / "fit.json").write_text(json.dumps({}))
    assert run(["watch", str(tmp_path), "--every", every]) == 2
    assert "--every" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b'{"table": "ab', b"\x00\xff", b"[" * 100_000])
def test_a_damaged_description_of_a_fit_is_one_line(tmp_path, capsys, content):
    (tmp_path / "fit.json").write_bytes(content)
    assert run(["watch", str(tmp_path), "--once"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/fit.json is damaged" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_folder_that_is_neither_is_refused_in_one_line(tmp_path, capsys, name):
    assert run(["watch", str(tmp_path / name), "--once"]) == 2
    error = capsys.readouterr().err
    assert "neither checkpoints of a fit nor runs of a study" in error
    assert len(error.strip().splitlines()) == 1


def _a_study(folder, results, described=None):
    described = described or {"folds": 2, "seeds": 3, "recipes": {"joint": {}}}
    store = RunStore.open(folder, described)
    with store.session():
        store.finish(store.claim(["key"]), results)


@pytest.mark.parametrize(
    "results",
    [
        [{"name": "joint"}],
        [{"name": "joint", "rows": [{"task": "y", "metric": "RMSE", "value": "high"}]}],
        [{"name": ["joint"], "rows": []}],
        [5],
        {"rows": 7},
    ],
)
def test_runs_that_jointrain_did_not_write_are_refused_in_one_line(tmp_path, capsys, results):
    _a_study(tmp_path, results)
    assert run(["watch", str(tmp_path), "--once"]) == 2
    error = capsys.readouterr().err
    assert "holds runs that this version of jointrain did not write" in error
    assert len(error.strip().splitlines()) == 1


def test_names_are_neither_markup_nor_commands_of_a_terminal(tmp_path, capsys):
    row = {"task": "a[/b]\x1b[2J", "metric": "RMSE", "value": 1.0}
    _a_study(tmp_path, [{"name": "[red]joint[/]", "rows": [row]}])
    assert run(["watch", str(tmp_path), "--once"]) == 0
    shown = capsys.readouterr().out
    assert "[red]joint[/]" in shown
    assert r"a[/b]\x1b[2J" in shown
    assert "\x1b" not in shown
