"""What a population can't do, it says."""

import dataclasses
import inspect
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from jointrain import Recipe, Task, TensorData
from jointrain.balancing import LossWeighting, Weighing
from jointrain.networks import (
    MLP,
    Dropout,
    GroupedLinear,
    HardSharing,
    TaskHeads,
    build_table_network,
)
from jointrain.tables import _fold_runs
from jointrain.training import (
    Alternating,
    Callback,
    Joint,
    Merge,
    Phase,
    Phases,
    Run,
    Separate,
    Trainer,
    TrainingSettings,
)
from jointrain.training.population import fit_population, fit_together, why_not_stacked
from jointrain.training.population._stacked_mlp import why_not_by_hand
from tests.training.population.runs import BY_NAME, TOLERANCE, assert_alike, make_data, make_run


class _OwnTrainer(Trainer):
    pass


class _Sines(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).sin()


class _OwnLinear(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).sin()


class _OwnReLU(nn.ReLU):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin()


class _OwnNorm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).sin()


class _OwnDropout(Dropout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin()


class _OwnMLP(MLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).sin()


class _OwnSharing(HardSharing):
    def features(self, inputs, tasks):
        return {name: value.sin() for name, value in super().features(inputs, tasks).items()}


class _OwnGroup(GroupedLinear):
    def forward(self, features, rows=None):
        return super().forward(features, rows).sin()


class _OwnHeads(TaskHeads):
    def forward(self, features, tasks, inputs):
        found = super().forward(features, tasks, inputs)
        return {names: value.sin() for names, value in found.items()}


class _OwnData(TensorData):
    def take(self, rows):
        return TensorData(*vars(super().take(rows)).values()).part(0, 1)


class _OwnTask(Task):
    def loss(self, *given, **settings):
        return 2 * super().loss(*given, **settings)


class _OwnJoint(Joint):
    def steps(self, labels, generator):
        for names in super().steps(labels, generator):
            yield names[:1]


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


def _changed(change, **settings) -> Run:
    """Return a run of a trunk with two layers, of which something is changed."""
    run = _with_trunk(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 10), **settings)
    change(run.trainer.network)
    return run


def _wrapped(thing, name: str = "forward") -> None:
    former = getattr(thing, name)
    setattr(thing, name, lambda *given, **settings: former(*given, **settings))


def _own_group() -> Run:
    run = make_run(tasks=("price", "age"))
    heads = {name: nn.Linear(10, 1) for name in ("price", "age")}
    network = HardSharing(nn.Linear(5, 10), heads, group_from=2).double()
    network.heads.groups[0] = _OwnGroup(list(heads.values())).double()
    tasks = list(run.trainer.tasks.values())
    return Run(Trainer(network, tasks, device="cpu"), run.train, None)


def _own_heads(network: HardSharing) -> None:
    network.heads = _OwnHeads({name: nn.Linear(10, 1) for name in ("price", "sold")}).double()


def _own_network() -> Run:
    run = make_run(tasks=("price", "sold"))
    heads = {name: nn.Linear(10, 1) for name in ("price", "sold")}
    network = _OwnSharing(nn.Linear(5, 10), heads).double()
    tasks = list(run.trainer.tasks.values())
    return Run(Trainer(network, tasks, device="cpu"), run.train, run.validation)


def _own_data(which: str) -> Run:
    run = make_run(tasks=("price",))
    return replace(run, **{which: _OwnData(*vars(getattr(run, which)).values())})


def _own_task() -> Run:
    run = make_run(tasks=("price",))
    task = _OwnTask("price", "regression")
    return Run(Trainer(run.trainer.network, [task], device="cpu"), run.train, None)


def _own_method_of_the_trainer() -> Run:
    run = make_run()
    _wrapped(run.trainer, "evaluate")
    return run


def _changed_optimizer(change) -> Run:
    run = make_run(optimizer=lambda p: torch.optim.Adam(p))
    for optimizer in run.trainer.optimizers.all:
        change(optimizer)
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


class _OwnWeigh(LossWeighting):
    """Moves its parameters in `weigh`, of which an objective that follows knows nothing."""

    task_state, plain_for_one_task = True, False

    def __init__(self):
        super().__init__()
        self.bind(("price", "sold"))

    def allocate(self, n_tasks):
        self.set_parameter("s", torch.zeros(n_tasks))

    def weigh(self, losses):
        return Weighing([1.0] * len(losses), learned=[(self.s, torch.ones_like(self.s))])


class _OwnObjective(LossWeighting):
    """Has a parameter for each task, and leaves out those of tasks that are not in the step."""

    task_state, plain_for_one_task = True, False

    def __init__(self):
        super().__init__()
        self.bind(("price", "sold"))

    def allocate(self, n_tasks):
        for place in range(n_tasks):
            self.set_parameter(f"s{place}", torch.zeros(()))

    def objective(self, losses):
        scales = [getattr(self, f"s{place}") for place in self.present(len(losses)).tolist()]
        terms = (torch.exp(-s) * loss + s for s, loss in zip(scales, losses, strict=True))
        return sum(terms, start=torch.zeros(()))


def _own_balancer(kind, **settings) -> Run:
    run = make_run(tasks=("price", "sold"), **settings)
    old = run.trainer
    tasks = tuple(old.tasks.values())
    trainer = Trainer(
        old.network, tasks, schedule=old.schedule, balancer=kind(), settings=old.settings,
        device="cpu",
    )  # fmt: skip
    return Run(trainer, run.train, run.validation)


SHARED = nn.Linear(10, 10)
DROPOUT = Dropout(0.1)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: make_run(balancer="mgda"), "more than the losses"),
        (lambda: make_run(balancer="famo"), "more than the losses"),
        (lambda: make_run(balancer="uw-so", weights={"price": 0}), "has no weight"),
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
        (lambda: _with_trunk(_Sines(nn.Linear(5, 10), nn.ReLU())), "a layer _Sines"),
        (lambda: _with_trunk(nn.Linear(5, 10), _Sines(nn.ReLU())), "a layer _Sines"),
        (lambda: _with_trunk(_OwnMLP(5, width=10)), "a layer _OwnMLP"),
        (lambda: _with_trunk(_OwnLinear(5, 10)), "a layer _OwnLinear"),
        (lambda: _with_trunk(nn.Linear(5, 10), _OwnReLU()), "a layer _OwnReLU"),
        (lambda: _with_trunk(nn.Linear(5, 10), _OwnNorm(10)), "a layer _OwnNorm"),
        (lambda: _with_trunk(nn.Linear(5, 10), _OwnDropout(0.1)), "a layer _OwnDropout"),
        (lambda: _with_trunk(nn.Linear(5, 10), _OwnDropout(0.0)), "a layer _OwnDropout"),
        (lambda: _changed(_own_heads), "a layer _OwnHeads"),
        (lambda: _changed(lambda n: n.heads.layers.__setitem__(0, _OwnLinear(10, 1).double())),
         "a layer _OwnLinear"),
        (_own_group, "a layer _OwnGroup"),
        (_own_network, "is a _OwnSharing"),
        (lambda: _changed(lambda n: _wrapped(n)), "a HardSharing with a method of its own"),
        (lambda: _changed(lambda n: _wrapped(n, "features")), "a HardSharing with a method"),
        (lambda: _changed(lambda n: _wrapped(n.heads)), "a TaskHeads with a method of its own"),
        (lambda: _changed(lambda n: _wrapped(n.trunk)), "a Sequential with a method of its own"),
        (lambda: _changed(lambda n: _wrapped(n.trunk[1])), "a ReLU with a method of its own"),
        (lambda: _changed(lambda n: _wrapped(n.heads.layers[0])), "a Linear with a method"),
        (lambda: _changed(lambda n: n.trunk[0].weight.register_hook(lambda g: 0 * g)), "hooks"),
        (lambda: _changed(lambda n: n.trunk[2].register_full_backward_hook(lambda *_: None)),
         "hooks"),
        (lambda: _changed(lambda n: n.trunk[1].register_full_backward_pre_hook(lambda *_: None)),
         "hooks"),
        (lambda: _changed(lambda n: n.trunk[0].register_state_dict_post_hook(lambda *_: None)),
         "hooks"),
        (lambda: _changed(lambda n: parametrize.register_parametrization(
            n.trunk[0], "weight", nn.Tanh())), "a layer Parametrized"),
        (lambda: _own_data("train"), "not one matrix"),
        (lambda: _own_data("validation"), "not one matrix"),
        (_own_task, "a loss of its own"),
        (_own_method_of_the_trainer, "methods or callbacks of its own"),
        (lambda: _changed_optimizer(lambda one: _wrapped(one, "step")), "plain form"),
        (lambda: _changed_optimizer(lambda one: one.register_step_pre_hook(lambda *_: None)),
         "plain form"),
        (lambda: _changed_optimizer(lambda one: one.register_step_post_hook(lambda *_: None)),
         "plain form"),
        (_of_classes_that_weigh, "classes of its tasks weigh"),
        (_frozen, "frozen"),
        (_own_trainer, "of its own"),
        (_own_loss, "loss of its own"),
        (_own_kind, "of a kind that is trained by itself"),
        (lambda: _own_balancer(_OwnWeigh), "not by its objective"),
    ],
)  # fmt: skip
def test_what_can_not_be_stacked(run, message):
    assert message in why_not_stacked(run())


def _linear_heads_of_norms() -> Run:
    """Return a run whose head has the weights of a linear layer, and is none."""
    run = make_run(tasks=("price",))
    network = HardSharing(nn.Linear(5, 1), {"price": nn.LayerNorm(1)}).double()
    tasks = list(run.trainer.tasks.values())
    return Run(Trainer(network, tasks, device="cpu", steps=20), run.train, run.validation)


def test_a_head_that_is_no_linear_layer_is_not_taken_for_one():
    run = _linear_heads_of_norms()
    assert why_not_by_hand(run.trainer.network) == "a head of its network is a LayerNorm"


@pytest.mark.parametrize(
    "make",
    [
        lambda: _with_trunk(_Sines(nn.Linear(5, 10), nn.ReLU()), steps=20),
        lambda: _changed(lambda n: _wrapped(n.trunk), steps=20),
        lambda: _changed(lambda n: setattr(n.trunk[1], "forward", torch.sin), steps=20),
        lambda: _changed(lambda n: n.trunk[0].weight.register_hook(lambda g: 0 * g), steps=20),
        lambda: _changed(
            lambda n: n.trunk[1].register_full_backward_pre_hook(lambda _, g: (0 * g[0],)), steps=20
        ),
        _linear_heads_of_norms,
    ],
)
def test_own_networks_are_trained_as_by_their_own_trainer(make):
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(make())
    fit_together([runs[0]])
    runs[1].trainer.fit(runs[1].train, runs[1].validation)
    assert_alike(*runs, tolerance=1e-300)


def test_parameters_of_a_balancer_that_a_step_leaves_out_stay():
    runs = [_own_balancer(_OwnObjective, schedule=Alternating(), steps=20) for _ in range(2)]
    assert why_not_stacked(runs[0]) is None
    fit_population([runs[0]])
    runs[1].fit()
    assert_alike(*runs, tolerance=TOLERANCE)
    learned = [list(run.trainer.balancer.parameters()) for run in runs]
    torch.testing.assert_close(*learned)
    assert all(bool(one) for one in learned[0])


def test_a_joint_schedule_of_ones_own_moves_the_heads_of_its_steps():
    runs = [make_run(tasks=("price", "sold"), schedule=_OwnJoint(), steps=20) for _ in range(2)]
    assert why_not_stacked(runs[0]) is None
    fit_population([runs[0]])
    runs[1].fit()
    assert_alike(*runs, tolerance=TOLERANCE)


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
