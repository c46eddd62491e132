"""Population: every member is what its own Trainer run makes of it, whoever it is trained with."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Recipe, Task, TensorData
from jointrain.errors import NonFiniteError
from jointrain.networks import MLP, HardSharing
from jointrain.tables._network_runs import prepare_runs
from jointrain.training import Alternating, Joint, Merge, OptimizerSettings, Run, Separate, Trainer
from jointrain.training.population import fit_population, fit_together, why_not_stacked
from jointrain.training.population._member import Member
from jointrain.training.population._stack import Stack
from tests.training.population.runs import (
    BY_NAME,
    TOLERANCE,
    assert_alike,
    make_data,
    make_run,
    weights_of,
)

ADAM = OptimizerSettings(name="adam", learning_rate=3e-3, weight_decay=0.1)
SGD = OptimizerSettings(name="sgd", learning_rate=0.05, weight_decay=0.02)
CASES = {
    "joint": {},
    "random": {"schedule": Alternating()},
    "round robin": {"schedule": Alternating("round_robin"), "seed": 1},
    "proportional": {"schedule": Alternating("proportional"), "warm_up": 0.1, "decay": "cosine"},
    "chances": {
        "tasks": ("price", "kind"),
        "schedule": Alternating(probabilities={"price": 0.8, "kind": 0.2}),
    },
    "separate": {"tasks": ("price",), "schedule": Separate()},
    "separate classes": {"tasks": ("kind",), "schedule": Separate(), "seed": 2},
    "separate labels": {"tasks": ("tags",), "schedule": Separate(), "dropout": 0.5},
    "separate decision": {"tasks": ("sold",), "schedule": Separate()},
    "counts": {"tasks": ("visits",), "schedule": Separate()},
    "mean and variance": {"tasks": ("noisy",), "schedule": Separate()},
    "quantiles": {"tasks": ("range", "price", "interval")},
    "means and numbers": {"tasks": ("noisy", "price", "sold")},
    "ordered classes": {"tasks": ("grade",), "schedule": Separate(), "calibrated": True},
    "counts and ordered classes": {"tasks": ("visits", "price", "grade", "kind")},
    "counts and ordered classes in turn": {
        "tasks": ("grade", "visits"), "schedule": Alternating(), "calibrated": True,
    },
    "weights": {"weights": {"price": 3.0, "sold": 0.0, "kind": 0.2}},
    "adam": {"optimizer": ADAM},
    "adam in turn": {"optimizer": ADAM, "schedule": Alternating()},
    "sgd": {"optimizer": SGD},
    "momentum": {"optimizer": replace(SGD, momentum=0.9), "schedule": Alternating()},
    "weight decay": {"optimizer": OptimizerSettings(weight_decay=0.5), "schedule": Alternating()},
    "per group": {"optimizer_layout": "per_group", "schedule": Alternating()},
    "per task alone": {"optimizer_layout": "per_task", "tasks": ("age",), "schedule": Separate()},
    "clipping": {"gradient_clip": 0.05},
    "clipping in turn": {"gradient_clip": 0.05, "schedule": Alternating("round_robin")},
    "l1": {"l1": 0.01},
    "l2": {"l2": 0.02, "schedule": Alternating(), "gradient_clip": 1.0},
    "much dropout": {"dropout": 0.6, "decay": "cosine"},
    "no dropout": {"dropout": 0.0},
    "input dropout": {"input_dropout": 0.3},
    "input dropout alone": {"input_dropout": 0.2, "dropout": 0.0, "schedule": Alternating()},
    "input dropout of wider data": {"input_dropout": 0.3, "features": 9, "batch_size": 7},
    "calibrated": {"calibrated": True, "steps": 200},
    "calibrated in turn": {"calibrated": True, "schedule": Alternating(), "patience": 3},
    "calibrated classes": {"calibrated": True, "tasks": ("kind",), "schedule": Separate()},
    "halves": {"first_half": 19, "optimizer": OptimizerSettings(learning_rate=0.03)},
    "halves in turn": {
        "first_half": 5, "patience": 2, "calibrated": True, "schedule": Alternating(),
        "optimizer": OptimizerSettings(learning_rate=0.03),
    },
    "a half without labels": {"first_half": 1, "tasks": ("price",), "schedule": Separate()},
    "rows weigh": {"rows_weigh": True},
    "rows weigh for some": {
        "rows_weigh": ("price", "kind"), "calibrated": True, "schedule": Alternating(),
    },
    "rows weigh in halves": {
        "rows_weigh": True, "first_half": 15, "calibrated": True, "balancer": "uncertainty",
        "optimizer": OptimizerSettings(learning_rate=0.03),
    },
    "no normalisation": {"normalize": False},
    "shallow": {"depth": 1, "width": 8},
    "all rows in a batch": {"batch_size": 500, "steps": 60},
    "other data": {"rows": 30, "features": 3, "batch_size": 7},
    "wider data": {"features": 9, "schedule": Alternating()},
    "short": {"steps": 17},
    "not validated": {"validated": False},
    "patience": {"patience": 2, "optimizer": OptimizerSettings(learning_rate=0.03)},
    "patience in turn": {
        "patience": 1, "schedule": Alternating(), "optimizer": OptimizerSettings(learning_rate=0.1),
    },
    **{
        f"balancer {name}": {"balancer": name, "schedule": schedule}
        for name, schedule in (
            ("equal", Joint()), ("static", Alternating()), ("uncertainty", Joint()),
            ("uncertainty", Joint()), ("dwa", Joint()), ("uw-so", Joint()), ("log", Joint()),
        )
    },
    "balancer uncertainty in turn": {"balancer": "uncertainty", "schedule": Alternating()},
    "balancer uncertainty warmed up": {
        "balancer": "uncertainty", "warm_up": 0.5, "decay": "cosine", "weights": {"price": 2.0},
    },
    "merge": {"schedule": Merge("ties")},
    "merge with patience": {
        "schedule": Merge("arithmetic", weights="searched"), "patience": 2, "calibrated": True,
        "optimizer": OptimizerSettings(learning_rate=0.03),
    },
    "merge and tuned heads": {
        "schedule": Merge("dare", head_epochs=3), "weights": {"price": 3.0}, "rows_weigh": True,
    },
    "merge, not validated": {"schedule": Merge("dare", then="ties"), "validated": False},
    "merge of two": {"schedule": Merge(), "tasks": ("price", "visits"), "steps": 40},
    "balancer dwa in turn": {"balancer": "dwa", "schedule": Alternating(), "weights": {"age": 2.0}},
}  # fmt: skip


@pytest.fixture(scope="module")
def together() -> dict[str, Run]:
    """All cases, trained as one population that holds five at a time."""
    runs = {name: make_run(**case) for name, case in CASES.items()}
    fit_population(list(runs.values()), size=5)
    return runs


@pytest.mark.parametrize("name", CASES)
def test_member_is_what_its_own_run_makes_of_it(together, name):
    alone = make_run(**CASES[name])
    start = weights_of(alone).clone()
    alone.fit()
    assert (weights_of(alone)[: len(start)] - start).abs().max() > 1e-3
    assert_alike(together[name], alone, TOLERANCE)
    assert not together[name].trainer.network.training


@pytest.mark.parametrize("schedule", [Joint(), Alternating("random")])
@pytest.mark.parametrize("name", ["uncertainty", "dwa", "uw-so", "pbi", "dtp"])
def test_records_have_the_balancers_weights_as_the_trainers_have(name, schedule):
    """Of the tasks of the last step that had labels, whatever the losses were multiplied by."""
    cases = [
        {"weights": {"price": factor, "sold": 0.2}, "seed": seed, "steps": steps, "batch_size": 3}
        for seed, (factor, steps) in enumerate([(0.5, 9), (2.5, 45), (1.0, 30), (3.0, 61)])
    ]
    slow = OptimizerSettings(name="sgd", learning_rate=5e-3)
    options = {"balancer": name, "schedule": schedule, "optimizer": slow}
    runs, alone = ([make_run(**case, **options) for case in cases] for _ in range(2))
    fit_population(runs, size=2)
    absent = 0
    for run, other in zip(runs, alone, strict=True):
        other.fit()
        for mine, wanted in zip(run.trainer.history, other.trainer.history, strict=True):
            assert wanted.weights
            assert mine.weights == pytest.approx(wanted.weights, rel=1e-5)
            absent += len(wanted.weights) < len(run.trainer.tasks)
    assert absent


def test_early_stopping_stops_members_at_epochs_of_their_own(together):
    stopped = together["patience"].trainer.history
    assert stopped[-1].step < 100
    assert together["joint"].trainer.history[-1].step == 100
    assert together["patience"].parts()[0].epochs == (len(stopped), len(stopped) - 2)


@pytest.mark.parametrize(
    ("optimizer", "tolerance"),
    # Adam divides by the root of the squares, which magnifies what rounding does to small gradients
    [(SGD, 1e-5), (OptimizerSettings(learning_rate=2e-3, weight_decay=1e-2), 2e-3)],
)
def test_single_precision(optimizer, tolerance):
    cases = [{"schedule": Joint()}, {"schedule": Alternating()}, {"seed": 3}]
    runs = [make_run(optimizer=optimizer, dtype=torch.float32, **case) for case in cases]
    fit_population(runs)
    for run, case in zip(runs, cases, strict=True):
        alone = make_run(optimizer=optimizer, dtype=torch.float32, **case)
        alone.fit()
        assert (weights_of(run) - weights_of(alone)).abs().max() < tolerance


@pytest.mark.parametrize("seed", range(6))
def test_neither_company_nor_order_nor_size_matters(seed):
    """Random populations: members come, stop and go in all ways."""
    draw = random.Random(seed)

    def some_run(number: int) -> dict[str, object]:
        schedule = draw.choice([Joint(), Alternating(), Alternating("round_robin")])
        return {
            "tasks": tuple(draw.sample(sorted(BY_NAME), draw.randint(2, 4))),
            "seed": number,
            "schedule": schedule,
            "width": 6,
            "dropout": draw.choice([0.1, 0.4]),
            "features": draw.choice([2, 5]),
            "rows": draw.choice([40, 61]),
            "steps": draw.randint(1, 60),
            "patience": draw.choice([None, 1, 2]),
            "gradient_clip": draw.choice([None, 0.1]),
            "l2": draw.choice([0.0, 0.01]),
            "optimizer": draw.choice([ADAM, SGD, OptimizerSettings(learning_rate=0.05)]),
        }

    cases = [some_run(number) for number in range(7)]
    alone = [make_run(**case) for case in cases]
    for run in alone:
        run.fit()
    for size in (1, draw.randint(2, 4), None):
        order = draw.sample(range(len(cases)), len(cases))
        runs = {number: make_run(**cases[number]) for number in order}
        fit_population(list(runs.values()), size=size)
        for number, run in runs.items():
            assert_alike(run, alone[number], TOLERANCE)


def test_grouped_heads():
    """From sixteen tasks on a network's heads are one parameter."""
    generator = torch.Generator().manual_seed(0)
    tasks = [Task.regression(f"t{i}") for i in range(16)]
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, 16, generator=generator, dtype=torch.float64)
    data = TensorData(x, {task.name: targets[:, i] for i, task in enumerate(tasks)})

    def runs() -> list[Run]:
        made = []
        for schedule in (Joint(), Alternating()):
            torch.manual_seed(0)
            heads = {task.name: nn.Linear(8, 1) for task in tasks}
            network = HardSharing(MLP(4, width=8), heads).double()
            made.append(Run(Trainer(network, tasks, schedule=schedule, steps=60), data, None))
        return made

    together, alone = runs(), runs()
    assert len(together[0].trainer.network.heads.groups) == 1
    fit_population(together)
    for run, other in zip(together, alone, strict=True):
        other.fit()
        assert_alike(run, other, TOLERANCE)


def test_a_recipe_of_table_networks():
    """What studies train: single precision, default settings, by way of `prepare_runs`."""
    data = make_data(90, seed=3, dtype=torch.float32)
    names = ("price", "sold", "kind")
    tasks = [BY_NAME[name] for name in names]
    train = data.take(torch.arange(70)).only(names)
    check = data.take(torch.arange(70, 90)).only(names)
    for schedule in (Joint(), Alternating(), Separate()):
        recipe = Recipe(schedule=schedule, width=16, epochs=6, weights="size")
        together = prepare_runs(recipe, train, check, tasks, seed=5)
        fit_population(together)
        for run, other in zip(
            together, prepare_runs(recipe, train, check, tasks, seed=5), strict=True
        ):
            (part,), (expected,) = run.parts(), other.fit()
            assert part.validation == pytest.approx(expected.validation, rel=1e-3)
            assert part.weights == expected.weights


def test_progress_counts_runs_and_parts_of_runs():
    calls = []
    runs = [make_run(steps=steps, seed=steps) for steps in (3, 9, 20)]
    fit_population(runs, size=2, progress=lambda *at: calls.append(at))
    done, every = zip(*calls, strict=True)
    assert set(every) == {3}
    assert list(done) == sorted(done)
    assert 0 < done[0] < 1
    assert done[-1] == 3


def test_progress_of_runs_of_which_some_are_trained_alone():
    calls = []
    runs = [make_run(), make_run(steps=None, epochs=2, balancer="mgda")]
    runs += [make_run(steps=10, balancer="mgda")]
    fit_together(runs, progress=lambda *at: calls.append(at))
    assert [at for at in calls if at[0] >= 1] == [
        (1, 3), (1.5, 3), (2, 3), (2, 3), (2.5, 3), (3, 3), (3, 3),
    ]  # fmt: skip
    assert runs[1].trainer.callbacks == ()


def test_small_steps_are_made_on_one_thread():
    threads = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for runs in ([make_run(steps=5)], [make_run(steps=5, balancer="mgda")]):
            fit_together(runs, progress=lambda *_: threads.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads[:2] == [1, 1]


def test_no_runs_are_no_fault():
    fit_population([])


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"optimizer": OptimizerSettings(name="sgd", learning_rate=1e30)}, "not finite"),
        (
            {"optimizer": OptimizerSettings(name="sgd", learning_rate=1e30), "balancer": "dwa"},
            "is inf|not finite",
        ),
        ({"patience": 2, "validated": False}, "`patience` needs validation data"),
    ],
)
def test_faults_are_those_of_the_trainer(case, message):
    with pytest.raises(InvalidInputError, match=message):
        make_run(**case).fit()
    with pytest.raises(InvalidInputError, match=message):
        fit_population([make_run(), make_run(**case)])


def test_validation_losses_that_are_not_finite_are_refused_as_in_a_trainer():
    made = make_run()
    made.validation.inputs[3, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="task 'price' is nan before training"):
        fit_population([make_run(seed=1), made])


def test_cases_can_be_stacked():
    assert {why_not_stacked(make_run(**case)) for case in CASES.values()} == {None}


def test_size_follows_memory():
    def places(width: int) -> int:
        return Stack([Member(make_run(width=width)) for _ in range(20)]).places

    assert places(8) == 20
    assert 20 > places(128) > places(256) >= 1


def test_a_few_more_than_are_fast_together_are_trained_at_once():
    def places(members: int) -> int:
        return Stack([Member(make_run(width=128)) for _ in range(members)]).places

    fast = places(50)
    assert 4 <= fast < 40
    # nobody is left to the end with a few others
    assert places(fast + fast // 4) == fast + fast // 4
    assert places(fast + fast // 4 + 1) == fast
