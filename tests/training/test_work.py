"""The cost of a training is counted by hand here: parameters x rows x steps x passes."""

import pytest
import torch

from jointrain import Task, Trainer
from jointrain.balancing.aggregation import MGDA, PCGrad
from jointrain.balancing.weighting import RLW
from jointrain.data import TensorData
from jointrain.networks import HardSharing
from jointrain.training import Alternating, Merge, training_work

TASKS = [Task.regression("a"), Task.regression("b")]
ROWS, TRUNK, HEAD = 100, 4 * 5 + 5, 5 + 1


def trained(**settings) -> Trainer:
    torch.manual_seed(0)
    heads = {task.name: torch.nn.Linear(5, 1) for task in TASKS}
    network = HardSharing(torch.nn.Linear(4, 5), heads)
    trainer = Trainer(network, TASKS, epochs=3, **{"batch_size": 40} | settings)
    data = TensorData(torch.randn(ROWS, 4), {task.name: torch.randn(ROWS) for task in TASKS})
    trainer.fit(data)
    return trainer


def test_joint_training_reaches_all_parameters_in_every_step():
    # batches of 33 or 34 rows: every epoch sees all rows once
    assert training_work(trained(), ROWS) == pytest.approx(3 * ROWS * (TRUNK + 2 * HEAD) * 3)
    assert training_work(trained(balancer=RLW()), ROWS) == training_work(trained(), ROWS)


def test_steps_of_several_batches_have_their_rows():
    work = training_work(trained(batch_size=20, accumulate=2), ROWS)
    assert work == training_work(trained(), ROWS)


def test_a_step_of_alternating_training_reaches_one_head():
    work = training_work(trained(schedule=Alternating("round_robin")), ROWS)
    assert work == pytest.approx(2 * 3 * ROWS * (TRUNK + HEAD) * 3)


def test_merged_tasks_have_each_been_trained_to_the_end():
    work = training_work(trained(schedule=Merge("ties")), ROWS)
    assert work == pytest.approx(2 * 3 * ROWS * (TRUNK + HEAD) * 3)


def test_gradients_of_each_task_are_passes_of_their_own():
    plain = 3 * ROWS * (TRUNK + 2 * HEAD)
    for balancer in (MGDA(), PCGrad()):
        assert training_work(trained(balancer=balancer), ROWS) == pytest.approx(plain * 5)
    seldom = trained(balancer=MGDA(), refresh_every=4)
    assert training_work(seldom, ROWS) == pytest.approx(plain * (1 + 2 * 1.25))
