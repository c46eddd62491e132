"""Averaged weights against torch's own averages, and what a trainer does with them."""

import copy
import random

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jointrain import Callback, InvalidInputError
from jointrain.training._weight_average import WeightAverage
from tests.training.checkpoints.runs import cases, fit, rows, trainer


def test_the_average_is_that_of_torch():
    module = torch.nn.Linear(3, 2)
    ours = WeightAverage(list(module.parameters()), 0.9)
    # torch's begins with the weights of its first update
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(module)
    for _ in range(5):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.see()
        theirs.update_parameters(module)
    for mine, other in zip(ours.values, theirs.module.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    before = copy.deepcopy(module.state_dict())
    with ours.in_place():
        assert torch.equal(module.weight, ours.values[0])
    assert torch.equal(module.weight, before["weight"])


class _Average(Callback):
    def on_fit_start(self, trainer):
        self.average = WeightAverage(list(trainer.network.parameters()), 0.8)

    def on_step_end(self, trainer, step, losses):
        self.average.see()


def test_a_trainer_ends_with_the_average_of_the_same_run():
    case = cases()["alternating"]
    seen = _Average()
    plain, made = trainer(case, [seen]), trainer(case, ema=0.8)
    for one in (plain, made):
        np.random.seed(0)
        random.seed(0)
        one.fit(case["data"]())
    for parameter, value in zip(made.network.parameters(), seen.average.values, strict=True):
        torch.testing.assert_close(parameter.detach(), value)


def test_validation_is_that_of_the_average():
    case = cases()["joint"]
    made = trainer(case, ema=0.8)
    fit(made, case)
    best = min(made.history, key=lambda record: record.score)
    held_out = rows(9, 8)
    logits = made.predict(held_out.inputs, logits=True)["kind"]
    found = torch.nn.functional.cross_entropy(logits, held_out.targets["kind"])
    assert float(found) == pytest.approx(best.validation["kind"], rel=1e-5)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(InvalidInputError, match="`ema` averages weights"):
        trainer(cases()["frozen when converged"], ema=0.9)
    with pytest.raises(InvalidInputError, match="`ema` must"):
        trainer(cases()["joint"], ema=1.0)
    with pytest.raises(InvalidInputError, match="`precision` must be one of 32, bf16"):
        trainer(cases()["joint"], precision="fp8")
