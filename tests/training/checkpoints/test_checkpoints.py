"""Checkpoints: whole or absent, the newest whole one is found, and folders are nobody else's."""

import errno
import os
import shutil
import warnings

import numpy as np
import pytest
import torch

from jointrain import Callback, InvalidInputError
from jointrain.training.checkpoints import CheckpointFolder, Checkpoints
from tests.training.checkpoints.runs import (
    assert_same_end,
    cases,
    every_checkpoint,
    fit,
    resumed_from,
    trainer,
)

CASE = cases()["alternating"]


def _write(folder, *steps):
    for step in steps:
        assert folder.write(step, {"step": step, "weights": torch.arange(500)})


@pytest.mark.parametrize(
    "every, seconds", [("30s", 30), ("10min", 600), ("1.5 h", 5400), (7, None)]
)
def test_every_is_a_time_or_a_number_of_steps(every, seconds):
    assert Checkpoints("folder", every=every).seconds == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": 0}, {"every": "10"}, {"every": "0s"}, {"every": "ten min"}, {"keep": 0},
        {"every": 60.0}, {"every": 2.5}, {"every": None}, {"every": True}, {"keep": 2.5},
    ],
)  # fmt: skip
def test_wrong_values_are_refused(wrong):
    with pytest.raises(InvalidInputError, match=r"`(every|keep)` must be"):
        Checkpoints("folder", **wrong)


def test_numbers_of_numpy_are_numbers(tmp_path):
    made = Checkpoints(tmp_path, every=np.int64(2), keep=np.int32(3))
    assert (type(made.every), made.every, type(made.keep)) == (int, 2, int)
    assert CheckpointFolder(made).due(2)


def test_the_newest_are_kept(tmp_path):
    folder = CheckpointFolder(Checkpoints(tmp_path / "a" / "b", keep=2))
    _write(folder, 3, 20, 100)
    assert [file.name for file in folder.files()] == [
        "step-000000000100.safetensors",
        "step-000000000020.safetensors",
    ]
    assert folder.newest()["step"] == 100


def test_steps_are_counted_from_the_last_checkpoint_also_of_the_run_before(tmp_path):
    folder = CheckpointFolder(Checkpoints(tmp_path, every=5))
    assert next(step for step in range(12) if folder.due(step)) == 5
    _write(folder, 7)
    folder.close()
    again = CheckpointFolder(Checkpoints(tmp_path, every=5))
    again.newest()
    assert next(step for step in range(7, 20) if again.due(step)) == 12


def test_a_time_passes(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    folder = CheckpointFolder(Checkpoints(tmp_path, every="30s"))
    for later, due in ((129.0, False), (130.0, True)):
        now[0] = later
        assert folder.due(10**6) is due
    _write(folder, 1)
    assert not folder.due(10**6)


def test_two_runs_have_no_folder_in_common(tmp_path):
    first = CheckpointFolder(Checkpoints(tmp_path))
    with pytest.raises(InvalidInputError, match="another run writes its checkpoints"):
        CheckpointFolder(Checkpoints(tmp_path))
    first.close()
    CheckpointFolder(Checkpoints(tmp_path)).close()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="can't be written to"):
        CheckpointFolder(Checkpoints(tmp_path / "file"))


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".writing-1").write_text("half")
    CheckpointFolder(Checkpoints(tmp_path))
    assert not (tmp_path / ".writing-1").exists()


def test_a_checkpoint_cut_anywhere_is_passed_over_in_words(tmp_path):
    folder = CheckpointFolder(Checkpoints(tmp_path))
    _write(folder, 1, 2)
    newest = folder.files()[0]
    data = newest.read_bytes()
    for length in range(0, len(data), 100):
        newest.write_bytes(data[:length])
        with pytest.warns(UserWarning, match="checkpoint") as told:
            assert folder.newest()["step"] == 1
        assert str(newest) in str(told[0].message)
        assert "goes on from the older checkpoint" in str(told[1].message)
        newest.with_suffix(".damaged").unlink()


def test_damaged_checkpoints_alone_are_no_reason_to_begin_anew(tmp_path):
    folder = CheckpointFolder(Checkpoints(tmp_path))
    assert folder.newest() is None
    _write(folder, 1)
    folder.files()[0].write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is not whole|can't be read|is no whole"),
        pytest.raises(InvalidInputError, match=r"none of the checkpoints in .* is whole"),
    ):
        folder.newest()


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, monkeypatch):
    folder = CheckpointFolder(Checkpoints(tmp_path, keep=1))
    _write(folder, 1)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="step 2 was not written.*No space left.*whole one is .*1"):
        assert not folder.write(2, {"step": 2})
    assert [file.name for file in tmp_path.iterdir() if file.name != ".lock"] == [
        "step-000000000001.safetensors"
    ]


# --- trainers ------------------------------------------------------------------------------------


def test_checkpoints_of_an_earlier_run_ask_what_to_do(tmp_path):
    made = trainer(CASE, checkpoints=Checkpoints(tmp_path, every=4))
    fit(made, CASE)
    again = trainer(CASE, checkpoints=Checkpoints(tmp_path, every=4))
    with pytest.raises(InvalidInputError, match=r"fit\(resume=True\).*fit\(restart=True\)"):
        fit(again, CASE)
    fit(again, CASE, resume=True)
    assert_same_end(again, made)
    fit(again, CASE, restart=True)
    assert_same_end(again, made)


def test_resume_without_checkpoints_yet_begins(tmp_path):
    made, plain = trainer(CASE, checkpoints=Checkpoints(tmp_path)), trainer(CASE)
    fit(made, CASE, resume=True)
    fit(plain, CASE)
    assert_same_end(made, plain)


@pytest.mark.parametrize("name", ["alternating", "famo"])
def test_resume_begins_anew_where_an_error_came_before_the_first_checkpoint(name, tmp_path):
    class Once(Callback):
        done = False

        def on_step_end(self, trainer, step, losses):
            if step == 3 and not self.done:
                self.done = True
                raise OSError("away for a moment")

    case = cases()[name]
    made = trainer(case, checkpoints=Checkpoints(tmp_path, every=100), callbacks=[Once()])
    with pytest.raises(OSError, match="away"):
        fit(made, case, resume=True)
    fit(made, case, resume=True)
    plain = trainer(case)
    fit(plain, case)
    assert_same_end(made, plain)


def test_resume_with_nothing_to_resume_from_is_refused():
    with pytest.raises(InvalidInputError, match="there is nothing to resume"):
        fit(trainer(CASE), CASE, resume=True)
    with pytest.raises(InvalidInputError, match="give one of them"):
        fit(trainer(CASE), CASE, resume=True, restart=True)


@pytest.mark.parametrize(
    "other, word", [({"seed": 8}, "seed"), ({"batch_size": 4}, "batch_size"), ({"l1": 0.1}, "l1")]
)
def test_a_run_of_another_kind_is_refused(tmp_path, other, word):
    fit(trainer(CASE, checkpoints=Checkpoints(tmp_path)), CASE)
    with pytest.raises(InvalidInputError, match=f"had other {word}"):
        fit(trainer(CASE, checkpoints=Checkpoints(tmp_path), **other), CASE, resume=True)


def test_a_run_may_become_longer_unless_it_is_through(tmp_path):
    checkpoints = every_checkpoint(trainer(CASE), CASE, tmp_path / "all")
    longer = trainer(CASE, epochs=5)
    fit(longer, CASE)
    made = resumed_from(checkpoints[3], CASE | {"epochs": 5}, tmp_path / "one")
    assert_same_end(made, longer)
    with pytest.raises(InvalidInputError, match="is through and had other epochs"):
        resumed_from(checkpoints[-1], CASE | {"epochs": 5}, tmp_path / "one")


def test_the_newest_whole_one_serves_if_the_last_is_damaged(tmp_path):
    whole = trainer(CASE)
    files = every_checkpoint(whole, CASE, tmp_path)
    for file in files[-3:]:
        file.write_bytes(file.read_bytes()[:-1000])
    made = trainer(CASE, checkpoints=Checkpoints(tmp_path, every=10**6))
    with pytest.warns(UserWarning, match="is not whole|goes on from the older"):
        fit(made, CASE, resume=True)
    assert_same_end(made, whole)


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch):
    plain, made = trainer(CASE), trainer(CASE, checkpoints=Checkpoints(tmp_path, every=1))
    fit(plain, CASE)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(made, CASE)
    assert_same_end(made, plain)


def test_a_folder_that_is_removed_meanwhile_does_not_end_the_training(tmp_path):
    class Remove(Callback):
        def on_step_end(self, trainer, step, losses):
            shutil.rmtree(tmp_path / "kept", ignore_errors=True)

    plain = trainer(CASE)
    made = trainer(CASE, checkpoints=Checkpoints(tmp_path / "kept", every=1), callbacks=[Remove()])
    fit(plain, CASE)
    with pytest.warns(UserWarning, match="was not written.*training goes on, there is none"):
        fit(made, CASE)
    assert_same_end(made, plain)


def test_a_state_goes_to_another_trainer():
    states = []

    class Keeper(Callback):
        def on_step_end(self, trainer, step, losses):
            states.append(trainer.state_dict())

        def on_epoch_end(self, trainer, record):
            states.append(trainer.state_dict())

    whole = trainer(CASE, callbacks=[Keeper()])
    fit(whole, CASE)
    for state in states:
        made = trainer(CASE)
        made.load_state_dict(state)
        fit(made, CASE, resume=True)
        assert_same_end(made, whole)
    other = trainer(CASE)
    other.load_state_dict(whole.state_dict())
    assert_same_end(other, whole)
