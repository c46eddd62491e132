"""What a population can't do, it says."""

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from jointrain import Recipe, Task
from jointrain.networks import Dropout, HardSharing, build_table_network
from jointrain.tables import _fold_runs
from jointrain.training import (
    Alternating,
    Callback,
    Merge,
    Phase,
    Phases,
    Run,
    Separate,
    Trainer,
    TrainingSettings,
)
from jointrain.training.population import why_not_stacked
from tests.training.population.runs import BY_NAME, make_data, make_run


class _OwnTrainer(Trainer):
    pass


class _Squares(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x


def _table_network(name: str) -> Run:
    run = make_run(tasks=("price", "sold"))
    tasks = list(run.trainer.tasks.values())
    network = build_table_network(name, 5, tasks, width=4).double()
    trainer = Trainer(network, tasks, schedule=Alternating(), device="cpu")
    return Run(trainer, run.train, run.validation)


def _with_trunk(*layers: nn.Module, **settings: int) -> Run:
    run = make_run(tasks=("price", "sold"))
    heads = {name: nn.Linear(10, 1) for name in ("price", "sold")}
    network = HardSharing(nn.Sequential(*layers), heads).double()
    tasks = list(run.trainer.tasks.values())
    trainer = Trainer(network, tasks, device="cpu", **settings)
    return Run(trainer, run.train, run.validation)


def _of_classes_that_weigh() -> Run:
    run = make_run(tasks=("price", "sold"))
    tasks = [Task.regression("price"), Task.binary("sold", class_weights="balanced")]
    return Run(Trainer(run.trainer.network, tasks, device="cpu"), run.train, run.validation)


def _hooked() -> Run:
    run = make_run()
    run.trainer.network.trunk.register_forward_hook(lambda *_: None)
    return run


def _frozen() -> Run:
    run = make_run()
    next(run.trainer.network.parameters()).requires_grad_(False)
    return run


def _own_trainer() -> Run:
    run = make_run()
    tasks = list(run.trainer.tasks.values())
    return Run(_OwnTrainer(run.trainer.network, tasks, device="cpu"), run.train, None)


def _own_loss() -> Run:
    task = Task("price", "custom", loss_function=lambda y, t: (y[:, 0] - t).abs(), size=1)
    run = make_run(tasks=("price",))
    return Run(Trainer(run.trainer.network, [task], device="cpu"), run.train, None)


def _own_kind() -> Run:
    run = make_run(tasks=("price",))
    network = HardSharing(nn.Linear(5, 10), {"price": nn.Linear(10, 2)})
    return Run(Trainer(network, [Task.negative_binomial("price")], device="cpu"), run.train, None)


SHARED = nn.Linear(10, 10)
DROPOUT = Dropout(0.1)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: make_run(balancer="mgda"), "more than the losses"),
        (lambda: make_run(balancer="famo"), "more than the losses"),
        (lambda: make_run(callbacks=[Callback()]), "callbacks"),
        (lambda: make_run(schedule=Merge("ties"), weights={"price": 0}), "has no weight"),
        (lambda: make_run(schedule=Merge("ties"), callbacks=[Callback()]), "callbacks"),
        (lambda: make_run(schedule=Merge("ties"), when_converged="freeze", task_patience=2),
         "stops tasks one by one"),
        (
            lambda: make_run(optimizer_layout="per_task", schedule=Alternating()),
            "optimiser of its own",
        ),
        (lambda: make_run(optimizer=lambda p: torch.optim.RMSprop(p)), "not AdamW, Adam or SGD"),
        (lambda: make_run(optimizer=lambda p: torch.optim.SGD(p, 0.1, nesterov=True, momentum=0.5)),
         "plain form"),
        (lambda: _with_trunk(nn.Linear(5, 10), _Squares()), "_Squares"),
        (lambda: _with_trunk(nn.Linear(5, 10), nn.Dropout(0.1)), "a layer Dropout"),
        (lambda: _with_trunk(nn.Linear(5, 10), nn.BatchNorm1d(10, affine=False)), "plain form"),
        (lambda: _with_trunk(nn.Linear(5, 4000), nn.BatchNorm1d(4000), nn.Linear(4000, 10)),
         "steps are so large"),
        (lambda: _with_trunk(nn.Linear(5, 10), nn.BatchNorm1d(10), batch_size=2), "of one row"),
        (lambda: _with_trunk(nn.BatchNorm1d(5), nn.Linear(5, 10), DROPOUT, nn.PReLU(), DROPOUT),
         "a layer twice"),
        (lambda: _table_network("soft"), "adds a penalty"),
        (lambda: _table_network("cgc"), "dropout or batch normalisation of their own"),
        (lambda: _table_network("tabm"), "is a TabM"),
        (lambda: _table_network("dselect-k"), "is a DSelectK"),
        (lambda: _with_trunk(nn.Linear(5, 10), SHARED, nn.ReLU(), SHARED), "share weights"),
        (lambda: make_run(accumulate=2), "accumulates"),
        (lambda: make_run(non_finite="skip", non_finite_limit=1), "leaves out steps"),
        (lambda: make_run(compile=True), "compiled by itself"),
        (lambda: make_run(bad_rows="skip", bad_rows_limit=1), "leaves out rows"),
        (_hooked, "hooks"),
        (_of_classes_that_weigh, "classes of its tasks weigh"),
        (_frozen, "frozen"),
        (_own_trainer, "of its own"),
        (_own_loss, "loss of its own"),
        (_own_kind, "of a kind that is trained by itself"),
    ],
)  # fmt: skip
def test_what_can_not_be_stacked(run, message):
    assert message in why_not_stacked(run())


def test_settings_of_the_trainer_are_known_to_the_population():
    """A new setting of `Trainer` must be obeyed here, or named by `why_not_stacked`."""
    assert {one.name for one in dataclasses.fields(TrainingSettings)} == {
        "refresh_every", "optimizer", "optimizer_layout", "warm_up", "decay", "gradient_clip",
        "l1", "l2", "batch_size", "epochs", "steps", "patience", "when_converged",
        "task_patience", "converged_weight", "calibrated",
        "precision", "ema", "lr_scheduler", "lr_scheduler_every", "compile", "bad_rows",
        "bad_rows_limit", "parameter_groups", "accumulate", "non_finite", "non_finite_limit",
    }  # fmt: skip
    assert set(inspect.signature(Trainer).parameters) == {
        "network", "tasks", "schedule", "weights", "balancer", "settings", "seed", "device",
        "callbacks", "auxiliary", "checkpoints", "strategy", "options",
    }  # fmt: skip


def test_what_depends_on_the_course_of_training_is_not_stacked():
    data, names = make_data(60, seed=0), ("price", "sold")
    network = HardSharing(nn.Linear(4, 8), {name: nn.Linear(8, 1) for name in names}).double()
    for setting in (
        {"schedule": Alternating("annealed")},
        {"schedule": Phases([Phase(name="all", epochs=1)])},
        {"auxiliary": ("sold",)},
        {"when_converged": "freeze", "task_patience": 2},
    ):
        trainer = Trainer(network, [BY_NAME[name] for name in names], device="cpu", **setting)
        assert why_not_stacked(Run(trainer, data.only(names), None)), setting


def test_recipes_that_a_study_stacks():
    tasks = (BY_NAME["price"], BY_NAME["kind"])
    stacked = (
        Recipe(), Recipe(schedule=Separate()), Recipe(schedule=Alternating()),
        Recipe(weights="difficulty"), Recipe(weights="size"), Recipe(balancer="uncertainty"),
        Recipe(partition=(("price",), ("kind",))), Recipe(shared_depth=1),
        Recipe(network="mmoe", schedule=Alternating()),
        Recipe(network_options={"embeddings": "periodic"}),
    )  # fmt: skip
    assert all(_fold_runs._stackable(recipe, tasks) for recipe in stacked)
    single = (Recipe(balancer="pcgrad"), Recipe(network="tabm"))
    assert not any(_fold_runs._stackable(recipe, tasks) for recipe in single)
