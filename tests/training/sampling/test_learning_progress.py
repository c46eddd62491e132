"""Learning progress: chances by hand."""

import pytest

from jointrain.training.sampling._learning_progress import LearningProgress


def test_chances_follow_the_relative_decrease():
    progress = LearningProgress(["a", "b"])
    assert progress.chances() == [0.5, 0.5]
    for task, losses in (("a", (1.0, 0.5)), ("b", (10.0, 9.0))):
        for loss in losses:
            progress.see(task, loss)
    # a: recent 1 - 0.2 * 0.5 = 0.9, long 1 - 0.04 * 0.5 = 0.98; b: 9.8 and 9.96
    gains = [1 - 0.9 / 0.98, 1 - 9.8 / 9.96]
    expected = [0.9 * gain / sum(gains) + 0.05 for gain in gains]
    assert progress.chances() == pytest.approx(expected)


def test_a_task_whose_loss_rises_or_is_not_positive_keeps_the_share_of_exploration():
    progress = LearningProgress("abcd")
    for task, losses in (("a", (1.0, 0.5)), ("b", (1.0, 2.0)), ("c", (-1.0, -2.0))):
        for loss in losses:
            progress.see(task, loss)
    assert progress.chances() == pytest.approx([0.925, 0.025, 0.025, 0.025])


def test_all_are_alike_where_no_loss_falls():
    progress = LearningProgress("ab")
    progress.see("a", 1.0)
    progress.see("a", 3.0)
    progress.see("b", float("nan"))
    assert progress.chances() == [0.5, 0.5]
