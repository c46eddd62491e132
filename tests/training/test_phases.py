"""Phases as values: what they refuse, and how they go to plain values and back."""

import pytest
from torch import nn

from jointrain import Alternating, HardSharing, InvalidInputError
from jointrain.experiments import Recipe
from jointrain.training import (
    Contrastive,
    Denoising,
    MaskedFeatures,
    OptimizerSettings,
    Phase,
    Phases,
)

PRETRAIN = Phase(name="pretrain", epochs=2, pretraining=MaskedFeatures())
JOINT = Phase(name="joint", epochs=2)
TUNE = Phase(name="fine-tune", epochs=2, each_task=True)


def _network():
    trunk = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    return HardSharing(trunk, {"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)})


def _check(*phases, auxiliary=()):
    Phases(phases).check(_network(), ("a", "b"), auxiliary)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": ""}, "a phase's name must not be empty"),
        ({"tasks": ()}, "phase 'x' has no tasks; leave `tasks` out to train all"),
        ({"epochs": None}, "phase 'x' needs a length: give either epochs= or steps="),
        ({"steps": 3}, "phase 'x' needs a length: give either epochs= or steps="),
        ({"epochs": 0}, "phase 'x': `epochs` must be at least 1, got 0"),
        ({"epochs": None, "steps": 0}, "phase 'x': `steps` must be at least 1, got 0"),
        ({"unfreeze_every": 0}, "phase 'x': `unfreeze_every` must be at least 1, got 0"),
        ({"patience": 0}, "phase 'x': `patience` must be at least 1, got 0"),
        ({"warm_up": 2.0}, "phase 'x': `warm_up` must lie in"),
        ({"decay": "linear"}, "phase 'x': `decay` must be one of cosine, none, got 'linear'"),
        ({"pretraining": Denoising(), "tasks": "a"}, "pretrains without labels; it can't have"),
        ({"pretraining": Denoising(), "unfreeze": "trunk"}, "pretrains the whole trunk"),
        ({"each_task": True, "schedule": Alternating()}, "trains each task by itself"),
    ],
)
def test_a_phase_refuses_bad_settings(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Phase(**{"name": "x", "epochs": 1} | settings)


@pytest.mark.parametrize(
    "phases, message",
    [
        ([], "`phases` must hold at least one Phase"),
        ([JOINT, JOINT], "two phases are named 'joint'; names must differ"),
        ([PRETRAIN], "all phases pretrain; add one that trains the tasks"),
        ([TUNE, JOINT], "phase 'joint' can't follow 'fine-tune', which trains each task by itself"),
    ],
)
def test_phases_refuse_what_does_not_go_together(phases, message):
    with pytest.raises(InvalidInputError, match=message):
        Phases(phases)


ONE = Phase(name="one", epochs=1, tasks="a")


@pytest.mark.parametrize(
    "phases, message",
    [
        ([Phase(name="x", epochs=1, tasks="aa")], "phase 'x' names 'aa', which is no task .did"),
        ([Phase(name="x", epochs=1, freeze="trnk")], "`freeze` names 'trnk', .*mean 'trunk'"),
        ([Phase(name="x", epochs=1, freeze=("trunk", "b"))], "freezes all that task 'b' could"),
        (
            [Phase(name="x", epochs=1, pretraining=MaskedFeatures(part="trnk")), JOINT],
            "phase 'x' pretrains 'trnk', which is no module of HardSharing.*did you mean 'trunk'",
        ),
        ([JOINT, PRETRAIN], "phase 'pretrain' pretrains after tasks were trained"),
        ([ONE], "no phase trains task 'b'; add it to one, or make it auxiliary"),
        ([JOINT, ONE], "phase 'one' moves the shared layers without task 'b'"),
    ],
)
def test_phases_must_fit_the_network_and_its_tasks(phases, message):
    with pytest.raises(InvalidInputError, match=message):
        _check(*phases)


def test_phases_that_spoil_nothing_are_accepted():
    _check(JOINT, TUNE)
    _check(ONE, JOINT)
    _check(JOINT, ONE, auxiliary=("b",))
    _check(JOINT, Phase(name="head", epochs=1, tasks="a", freeze="trunk"))
    _check(JOINT, Phase(name="own", epochs=1, tasks="a", each_task=True))
    _check(PRETRAIN, JOINT, TUNE, Phase(name="more", epochs=1, each_task=True, freeze="shared"))


def test_phases_are_values():
    assert Phase(name="x", epochs=1, freeze="trunk") == Phase(name="x", epochs=1, freeze=("trunk",))
    one, two = Phases([PRETRAIN, JOINT]), Phases((PRETRAIN, JOINT))
    assert one == two
    assert hash(one) == hash(two)
    assert "MaskedFeatures(rate=0.3" in repr(one)


@pytest.mark.parametrize("objective", [MaskedFeatures(rate=0.5), Denoising(), Contrastive()])
def test_phases_survive_json(objective):
    import json

    phases = Phases(
        [
            Phase(name="pretrain", steps=9, pretraining=objective, decay="cosine"),
            Phase(
                name="both", epochs=3, schedule=Alternating("annealed", block=2), tasks="ab",
                optimizer=OptimizerSettings(learning_rate=0.1), unfreeze="from_top", patience=2,
            ),
            Phase(name="fine-tune", epochs=1, each_task=True, freeze=("trunk", "heads")),
        ]
    )  # fmt: skip
    recipe = Recipe(schedule=phases, auxiliary="c", when_converged="lower", task_patience=3)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    "values, message",
    [
        ({"epoch": 3}, "phases.0.epoch: Unexpected keyword argument"),
        ({"epochs": 0}, "phases.0: phase 'x': `epochs` must be at least 1, got 0"),
        ({"epochs": "many"}, "phases.0.epochs: "),
        (
            {"epochs": 1, "schedule": {"kind": "alternating", "order": "annealt"}},
            "phases.0.schedule.Alternating.order",
        ),
        (
            {"epochs": 1, "pretraining": {"kind": "denoising", "rate": 0.2}},
            "phases.0.pretraining.Denoising.rate: Unexpected keyword argument",
        ),
    ],
)
def test_plain_values_that_are_no_phases_are_refused(values, message):
    with pytest.raises(InvalidInputError, match=message):
        Phases.from_plain([{"name": "x"} | values])


def test_a_function_as_order_can_not_be_stored():
    schedule = Alternating(lambda step: "a")
    for one in (schedule, Phases([Phase(name="x", epochs=1, schedule=schedule)])):
        with pytest.raises(InvalidInputError, match=r"the order of Alternating\(\) is a function"):
            Recipe(schedule=one).to_json()
