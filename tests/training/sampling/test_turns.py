"""Turns: an order of tasks can be left anywhere and gone on with elsewhere."""

from itertools import islice

import pytest
import torch

from jointrain import Alternating, Joint, Mixture, Separate, TensorData
from jointrain.training import RunProgress
from jointrain.training.sampling import Turns

LABELS = {"a": 30, "b": 7, "c": 12}


def _mixture_order(**how):
    sets = {
        name: TensorData(torch.zeros(rows, 1), {name: torch.zeros(rows)})
        for name, rows in LABELS.items()
    }
    return Mixture(sets, batch_size=4, **how).schedule(Joint())


SCHEDULES = {
    "joint": Joint(),
    "random": Alternating("random", {"a": 0.2, "b": 0.5, "c": 0.3}, block=3),
    "round robin": Alternating("round_robin", block=2),
    "temperature": Alternating("temperature"),
    "annealed": Alternating("annealed", block=2),
    "progress": Alternating("progress", block=2),
    "function": Alternating(lambda step: "abc"[step // 4 % 3], block=4),
    "proportional mixture": _mixture_order(sampling="proportional"),
    "mixture once": _mixture_order(epoch="once"),
    "mixture in turn": _mixture_order(sampling="round_robin"),
}


class _Run:
    """Follows a schedule as a trainer does, with losses that hang on the step."""

    def __init__(self, schedule):
        self.generator = torch.Generator().manual_seed(3)
        self.progress = RunProgress(60, 8)
        self.turns = schedule.follow(LABELS, self.generator, self.progress)
        self.step = 0

    def go(self, steps):
        found = []
        for tasks in islice(self.turns, steps):
            found.append(tasks)
            self.step += 1
            if self.progress.losses is not None:
                fall = 0.9 if tasks == ("b",) else 0.99
                self.progress.losses.append({name: torch.tensor(fall**self.step) for name in tasks})
        return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_turns_go_on_where_they_were_left(name):
    whole = _Run(SCHEDULES[name]).go(60)
    for at in (0, 1, 7, 8, 10, 33):
        first, second = _Run(SCHEDULES[name]), _Run(SCHEDULES[name])
        first.go(at)
        second.turns.load_state_dict(first.turns.state_dict())
        second.generator.set_state(first.generator.get_state())
        second.progress.losses, second.step = first.progress.losses, at
        assert second.go(60 - at) == whole[at:], at


def test_the_one_task_of_a_separate_schedule_has_turns_too():
    assert isinstance(Separate().steps({"a": 3}, torch.Generator()), Turns)


def test_a_block_may_be_empty():
    blocks = [[], [("a",)], [], [("b",), ("c",)]]
    turns = Turns(blocks.__getitem__, repeat=2)
    assert list(islice(turns, 6)) == [("a",), ("a",), ("b",), ("b",), ("c",), ("c",)]


def test_a_fixed_epoch_of_a_mixture_leaves_an_order_by_progress_to_the_run():
    sets = {name: TensorData(torch.zeros(8, 1), {name: torch.zeros(8)}) for name in "ab"}
    schedule = Mixture(sets, batch_size=4, epoch=5).schedule(Alternating("progress"))
    progress = RunProgress(10, 5)
    steps = schedule.follow({"a": 8, "b": 8}, torch.Generator().manual_seed(0), progress)
    assert schedule.follows_progress
    assert {len(tasks) for tasks in islice(steps, 10)} == {1}
