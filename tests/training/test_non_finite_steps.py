"""Steps that are not finite: left out as if they had not been, or gone back from."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from jointrain import (
    Alternating,
    Denoising,
    HardSharing,
    InvalidInputError,
    Mixture,
    Phase,
    Phases,
    Trainer,
    pretrain,
)
from jointrain.balancing import balancer_from_name
from jointrain.training import Checkpoints
from tests.training.checkpoints.runs import TASKS, assert_same, rows


class _Planted(Trainer):
    """A trainer whose losses or gradients are bad at some steps (from 0)."""

    at: tuple[int, ...] = ()
    kind = "loss"
    number = -1

    def training_step(self, batches):
        self.number += 1
        if self.number in self.at and self.kind == "batch":
            batches = copy.deepcopy(batches)
            for batch in batches:
                batch.data.inputs[0, 0] = torch.nan
        if self.number in self.at and self.kind == "nothing":
            modes = {module: module.training for module in self.network.modules()}
            self.network.eval()
            losses = {name: loss.detach() for name, loss in self.compute_losses(batches).items()}
            for module, mode in modes.items():
                module.training = mode
            return losses
        return super().training_step(batches)

    def compute_losses(self, batches):
        losses = super().compute_losses(batches)
        if self.number in self.at and torch.is_grad_enabled():
            if self.kind == "loss":
                losses = {name: loss * torch.inf for name, loss in losses.items()}
            if self.kind == "gradient":
                # 0 itself, with a slope that is not finite
                zero = (0 * self.network.trunk[0].weight.sum()).abs().sqrt()
                losses = {name: loss + zero for name, loss in losses.items()}
        return losses


def _trainer(kind="loss", at=(), balancer=None, **options):
    torch.manual_seed(5)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6))
    network = HardSharing(trunk, {"number": nn.Linear(6, 1), "kind": nn.Linear(6, 3)})
    made = None if balancer is None else balancer_from_name(balancer)
    settings = {"epochs": 3, "batch_size": 8, "device": "cpu", "seed": 7, **options}
    trainer = _Planted(network, TASKS, balancer=made, **settings)
    trainer.kind, trainer.at = kind, tuple(at)
    return trainer


def _fit(*args, data=None, **options):
    trainer = _trainer(*args, **options)
    trainer.fit(rows() if data is None else data, rows(9, 8))
    return trainer


SKIP = {"non_finite": "skip", "non_finite_limit": 3}
BACK = {"non_finite": "rollback", "non_finite_limit": 3}
KINDS = ("loss", "gradient", "batch")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", range(9))
def test_a_step_is_left_out_wherever_it_is(kind, step):
    made, other = _fit(kind, [step], **SKIP), _fit("nothing", [step])
    assert_same(dict(made.network.state_dict()), dict(other.network.state_dict()))
    assert [r.skipped for r in made.history] == [int(step // 3 == e) for e in range(3)]
    assert [r.validation for r in made.history] == [r.validation for r in other.history]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "balancer", ["uncertainty", "famo", "dwa", "pcgrad", "nash-mtl", "graddrop", "moco"]
)
def test_balancers_learn_nothing_from_it(kind, balancer):
    made, other = (
        _fit(kind, [4], balancer=balancer, **SKIP),
        _fit("nothing", [4], balancer=balancer),
    )
    for one in (made, other):
        one.balancer.number = 0
    assert_same(dict(made.network.state_dict()), dict(other.network.state_dict()))
    assert_same(dict(made.balancer.state_dict()), dict(other.balancer.state_dict()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{"schedule": Alternating("round_robin"), "optimizer_layout": "per_task"},
     {"schedule": Phases([Phase(name="heads", epochs=1, freeze="trunk"),
                          Phase(name="all", epochs=2)])},
     {"l1": 1e-3, "gradient_clip": 0.1}],
)  # fmt: skip
def test_under_schedules_and_phases(kind, options):
    # the trunk has no gradient while it is frozen
    at = [4, 5] if isinstance(options.get("schedule"), Phases) else [1, 4]
    made, other = _fit(kind, at, **SKIP, **options), _fit("nothing", at, **options)
    assert_same(dict(made.network.state_dict()), dict(other.network.state_dict()))
    assert sum(r.skipped for r in made.history) == len(at)


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_of_several_leaves_out_the_step(kind):
    how = {"batch_size": 4, "accumulate": 2}
    made, other = _fit(kind, [4], **how, **SKIP), _fit("nothing", [4], **how)
    assert_same(dict(made.network.state_dict()), dict(other.network.state_dict()))


@pytest.mark.parametrize("how", [SKIP, BACK])
@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_limit(how, kind):
    with pytest.raises(InvalidInputError, match="4 steps were not finite, the last one step 6"):
        _fit(kind, [1, 2, 4, 5], **how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("balancer", [None, "uncertainty", "pcgrad"])
@pytest.mark.parametrize("step", range(9))
def test_rollback_returns_to_the_start_of_the_epoch(kind, balancer, step):
    kept = {}

    class Keep(_Planted):
        def training_step(self, batches):
            if self.number + 1 == step // 3 * 3:
                kept["start"] = copy.deepcopy(self.network.state_dict())
            if self.number == step:  # the step after
                kept["after"] = copy.deepcopy(self.network.state_dict())
            return super().training_step(batches)

    trainer = _trainer(kind, [step], balancer=balancer, optimizer=torch.optim.SGD, **BACK)
    trainer.__class__ = Keep
    trainer.fit(rows())
    kept.setdefault("after", trainer.network.state_dict())
    assert_same(dict(kept["after"]), dict(kept["start"]))
    assert trainer.optimizers.learning_rate == 5e-4
    assert sum(r.skipped for r in trainer.history) == 1


class Center(nn.Module):
    """Subtracts a running mean, which is kept in a buffer that is not persistent."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.1)
        return x - self.mean


@pytest.mark.parametrize("how", ["skip", "rollback"])
def test_buffers_that_are_not_persistent_are_set_back(how, tmp_path):
    trainer = _trainer("batch", [5], non_finite=how, non_finite_limit=1)
    trainer.network.trunk.insert(0, Center())
    history = trainer.fit(rows(32), rows(16))
    assert [record.skipped for record in history] == [0, 1, 0]
    assert trainer.network.trunk[0].mean.isfinite().all()


@pytest.mark.parametrize(
    "options, rate",
    [
        ({"lr_scheduler": lambda o: StepLR(o, 1, 0.5)}, lambda e, i: 1e-3 * 0.5**e),
        ({"decay": "cosine", "warm_up": 0.3}, None),
        ({"lr_scheduler": lambda o: OneCycleLR(o, 0.1, total_steps=20),
          "lr_scheduler_every": "step"}, None),
    ],
)  # fmt: skip
def test_the_rate_is_half_of_what_it_would_be(options, rate):
    def rates(at):
        seen = []

        class Seen(_Planted):
            def training_step(self, batches):
                seen.append(self.session.optimizers.all[0].param_groups[0]["lr"])
                return super().training_step(batches)

        trainer = _trainer("loss", at, **BACK, **options)
        trainer.__class__ = Seen
        trainer.fit(rows())
        return seen

    plain, halved = rates([]), rates([4])
    assert halved[:5] == pytest.approx(plain[:5])
    assert halved[5:] == pytest.approx([0.5 * one for one in plain[5:]])
    if rate is not None:
        assert plain == pytest.approx([rate(i // 3, i) for i in range(9)])


TWO_PHASES = Phases([Phase(name="one", epochs=1), Phase(name="two", epochs=2, each_task=True)])
GOING_ON = [
    {},
    {"ema": 0.8, "decay": "cosine"},
    {"balancer": "uncertainty"},
    {"schedule": Alternating("round_robin", block=2)},
    {"schedule": TWO_PHASES},
    {"data": "mixture"},
]


def _data(options):
    if options.get("data") != "mixture":
        return rows()
    parts = {"number": rows(17, 2, targets=("number",)), "kind": rows(9, 3, targets=("kind",))}
    return Mixture(parts, batch_size=5)


@pytest.mark.parametrize(
    "how, options",
    [(BACK, options) for options in GOING_ON] + [(SKIP, options) for options in GOING_ON[:3]],
)
def test_a_resumed_run_goes_on_with_its_counts(how, options, tmp_path):
    settings = {name: value for name, value in options.items() if name != "data"}

    def made(folder=None, number=-1, at=(1, 4)):
        checkpoints = None if folder is None else Checkpoints(folder, every=2, keep=99)
        trainer = _trainer("gradient", at, checkpoints=checkpoints, **how, **settings)
        trainer.number = number
        return trainer

    whole = made(tmp_path)
    whole.fit(_data(options), rows(9, 8))
    assert sum(record.skipped for record in whole.history) == 2
    files = sorted(tmp_path.glob("step-*"))
    for file in files[:-1]:
        step = int(file.stem.split("-")[1])
        folder = tmp_path / file.stem
        folder.mkdir()
        (folder / file.name).write_bytes(file.read_bytes())
        again = made(folder, step - 1)
        again.fit(_data(options), rows(9, 8), resume=True)
        assert again.history == whole.history
        for task in ("number", "kind"):
            assert_same(
                dict(again.network_for(task).state_dict()),
                dict(whole.network_for(task).state_dict()),
            )


@pytest.mark.parametrize("options", GOING_ON[3:])
@pytest.mark.parametrize(
    "step",
    [4, *(pytest.param(step, marks=pytest.mark.integration) for step in (0, 8))],
)
def test_rollback_under_schedules_returns_to_the_start_of_the_epoch(options, step):
    settings = {name: value for name, value in options.items() if name != "data"}
    starts, seen = {}, {}

    class Keep(_Planted):
        def training_step(self, batches):
            state = copy.deepcopy(dict(self.network.state_dict()))
            epoch = len(self.history), id(self.session)
            start = starts.setdefault(epoch, state)
            rates = [
                group["lr"] for one in self.session.optimizers.all for group in one.param_groups
            ]
            if self.number == step and epoch == seen.get("epoch"):  # the step after
                assert_same(state, start)
                assert rates == [5e-4]
                seen["after"] = True
            if self.number + 1 == step:
                seen["epoch"] = epoch
            if self.number + 1 < step or epoch[1] != seen["epoch"][1]:
                # a phase to come begins with its own rate
                assert rates == [1e-3]
            return super().training_step(batches)

    trainer = _trainer("gradient", [step], **BACK, **settings)
    trainer.__class__ = Keep
    trainer.fit(_data(options))
    assert sum(record.skipped for record in trainer.history) == 1
    # the last step of an epoch has none after it
    assert "after" in seen or step == 8
    for task in ("number", "kind"):
        weights = trainer.network_for(task).parameters()
        assert all(bool(one.isfinite().all()) for one in weights)


def test_by_default_it_ends_with_an_error():
    for kind in KINDS:
        for step in range(9):
            with pytest.raises(InvalidInputError, match="not finite"):
                _trainer(kind, [step]).fit(rows())


@pytest.mark.parametrize("at", [0, 3, 5])
def test_pretraining(at):
    calls = []

    class Bad(nn.Module):
        def forward(self, x):
            if self.training:
                calls.append(1)
                if len(calls) == at + 1:
                    return x + (0 * x.sum()).abs().sqrt() + (0 * x).log() * 0
            return x

    def trunk():
        torch.manual_seed(1)
        calls.clear()
        return nn.Sequential(nn.Linear(4, 5), Bad(), nn.Tanh())

    with pytest.raises(InvalidInputError, match="not finite"):
        pretrain(trunk(), rows(16).inputs, Denoising(), batch_size=8, epochs=3)
    network = HardSharing(trunk(), {"number": nn.Linear(5, 1), "kind": nn.Linear(5, 3)})
    schedule = Phases(
        [Phase(name="before", epochs=3, pretraining=Denoising()), Phase(name="all", epochs=1)]
    )
    trainer = Trainer(network, TASKS, schedule=schedule, batch_size=8, device="cpu", **SKIP)
    trainer.fit(rows(16))
    assert sum(record.skipped for record in trainer.history) == 1
    assert all(bool(p.isfinite().all()) for p in network.parameters())


def test_limit_and_policy_belong_together():
    for options in ({"non_finite": "skip"}, {"non_finite_limit": 2}):
        with pytest.raises(InvalidInputError, match="give both or neither"):
            _trainer(**options)
    with pytest.raises(InvalidInputError, match="`non_finite` must be one of"):
        _trainer(non_finite="ignore")
