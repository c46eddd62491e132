"""What a process trains is there for who looks on, and nowhere else."""

import os

import pytest

from jointrain.system import training_feed
from jointrain.system.training_feed import POINTS, TrainingFeed, looks, newest


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training_feed.time, "monotonic", lambda: now[0])
    return now


def tell(feed, epoch, loss, task="a"):
    feed.tell(epoch, 10, 50, {task: loss}, {task: loss + 1}, {task: 0.5})


def test_what_is_told_between_two_writings_is_a_mean(tmp_path, clock):
    feed = TrainingFeed(tmp_path)
    tell(feed, 1, 4.0)
    tell(feed, 2, 3.0)
    tell(feed, 2, 1.0)
    (look,) = looks(tmp_path).values()
    assert (look.training, look.epoch, look.rows) == ({"a": [4.0]}, 1, 50)
    clock[0] += 1
    tell(feed, 3, 2.0)
    (look,) = looks(tmp_path).values()
    assert (look.training, look.validation) == ({"a": [4.0, 2.0]}, {"a": [5.0, 3.0]})
    assert (look.weights, look.epoch, look.epochs, look.rows) == ({"a": [0.5, 0.5]}, 3, 10, 200)
    assert [file.name for file in tmp_path.iterdir()] == [f"{os.getpid()}.json"]


def test_the_newest_values_are_kept(tmp_path, clock):
    feed = TrainingFeed(tmp_path)
    for epoch in range(3 * POINTS):
        clock[0] += 1
        tell(feed, epoch, float(epoch))
    (look,) = looks(tmp_path).values()
    assert look.training["a"] == [float(epoch) for epoch in range(2 * POINTS, 3 * POINTS)]


def test_of_a_task_that_several_train_the_newest_counts(tmp_path):
    old, new = training_feed.Look(written=1.0), training_feed.Look(written=2.0)
    old.training, new.training = {"a": [1.0], "b": [2.0]}, {"a": [3.0]}
    assert newest([new, old], "training") == {"a": [3.0], "b": [2.0]}


def test_files_of_others_and_a_folder_that_is_gone_disturb_nothing(tmp_path, clock):
    (tmp_path / "1.json").write_text("{")
    (tmp_path / "2.json").write_text('{"who": 1}')
    assert looks(tmp_path) == {}
    tell(TrainingFeed(tmp_path / "gone"), 1, 1.0)
