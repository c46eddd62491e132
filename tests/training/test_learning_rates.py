"""Learning rates: those of torch's schedulers, after steps or epochs, for every optimiser."""

from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from jointrain import Callback, InvalidInputError
from jointrain.training import scheduler_from_name
from tests.training.checkpoints.runs import PHASES, PLATEAU, STEPS, cases, fit, trainer


class _Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_step_end(self, trainer, step, losses):
        session = trainer._running
        self.rates.append([one.param_groups[0]["lr"] for one in session.optimizers.all])


def _rates(case, **more):
    seen = _Rates()
    fit(trainer(case, [seen], **more), case)
    return seen.rates


@pytest.mark.parametrize("every, at", [("epoch", lambda i: i // 3), ("step", lambda i: i + 1)])
def test_rates_move_after_epochs_or_steps(every, at):
    rates = _rates(cases()["joint"], lr_scheduler=STEPS, lr_scheduler_every=every)
    assert rates == [[pytest.approx(1e-3 * 0.5 ** at(i))] for i in range(9)]


def test_every_optimiser_has_its_own():
    rates = _rates(cases()["in turn, per task"], lr_scheduler=STEPS)
    assert len(rates[0]) == 2
    assert rates[-1][0] == rates[-1][1] < 1e-3


def test_every_phase_begins_with_the_first_rate():
    rates = _rates(cases()["joint"], schedule=PHASES, lr_scheduler=STEPS)
    assert rates[0] == rates[6] == rates[9] == [1e-3]


def test_a_plateau_is_one_of_the_validation_score():
    seen = _Rates()
    made = trainer(cases()["joint"], [seen], lr_scheduler=PLATEAU, epochs=6)
    fit(made, cases()["joint"])
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1e-3)
    theirs = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    expected = []
    for record in made.history:
        expected.append(optimizer.param_groups[0]["lr"])
        theirs.step(record.score)
    assert [rates[0] for rates in seen.rates[::3]] == expected


def test_what_does_not_go_together_is_refused():
    case = cases()["joint"]
    with pytest.raises(InvalidInputError, match="as `warm_up` and `decay` do"):
        trainer(case, lr_scheduler=STEPS, warm_up=0.1)
    with pytest.raises(InvalidInputError, match="ReduceLROnPlateau looks at validation"):
        trainer(case, lr_scheduler=PLATEAU).fit(case["data"]())
    with pytest.raises(InvalidInputError, match="must make a scheduler"):
        fit(trainer(case, lr_scheduler=lambda optimizer: 3), case)
    with pytest.raises(InvalidInputError, match="LBFGS asks for the loss several times"):
        trainer(case, optimizer=partial(torch.optim.LBFGS))


def test_a_scheduler_by_name_is_that_of_torch():
    made = scheduler_from_name("StepLR", step_size=2, gamma=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = made(optimizer)
    rates = []
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    assert rates == pytest.approx([1.0, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("SteppLR", {}, "did you mean 'StepLR'"),
        ("SequentialLR", {}, "must be one of"),
        ("Optimizer", {}, "must be one of"),
        ("StepLR", {}, "lr_scheduler 'StepLR' can't be made with no options: .*step_size"),
        ("StepLR", {"step_size": 1, "speed": 2}, "speed"),
        ("OneCycleLR", {"max_lr": 0.1}, "total_steps"),
    ],
)
def test_a_name_that_makes_no_scheduler_is_refused(name, options, message):
    with pytest.raises(InvalidInputError, match=message):
        scheduler_from_name(name, **options)
