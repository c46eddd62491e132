"""Training in float16: equal to a loop by hand with torch's autocast and GradScaler."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from jointrain import HardSharing, InvalidInputError, Phase, Phases, Task, TensorData, Trainer
from jointrain.balancing import balancer_from_name
from jointrain.training import OptimizerSettings
from tests.training.test_non_finite_steps import _Planted

TASKS = [Task.regression("a"), Task.regression("b")]
LOUD = 40.0  # of targets, so that scaled gradients do not fit at first


def _network():
    torch.manual_seed(3)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    return HardSharing(trunk, {"a": nn.Linear(8, 1), "b": nn.Linear(8, 1)})


def _rows(n=16):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return TensorData(x, {"a": LOUD * x.sum(1), "b": x[:, 0] * x[:, 1]})


def _trainer(kind=Trainer, **options):
    settings = {"precision": "fp16", "epochs": 12, "batch_size": 16, "device": "cpu"}
    return kind(_network(), TASKS, **{**settings, **options})


def test_equals_a_loop_by_hand():
    made, data = _trainer(gradient_clip=1.0, l2=1e-3), _rows()
    expected = copy.deepcopy(made.network)
    made.fit(data)
    scaler = torch.amp.GradScaler("cpu")
    optimizer = OptimizerSettings()(list(expected.parameters()))
    left_out = []
    for _ in range(12):
        with torch.autocast("cpu", dtype=torch.float16):
            outputs = expected(data.inputs)
            losses = [functional.mse_loss(outputs[n][:, 0].float(), data.targets[n]) for n in "ab"]
        optimizer.zero_grad()
        scaler.scale(torch.stack(losses).sum()).backward()
        before = scaler.get_scale()
        scaler.unscale_(optimizer)
        for parameter in expected.parameters():
            if parameter.ndim > 1:
                parameter.grad.add_(parameter.detach(), alpha=2e-3)
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        left_out.append(int(scaler.get_scale() < before))
    for mine, theirs in zip(made.network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert [record.skipped for record in made.history] == left_out
    assert 0 < sum(left_out) < 12


@pytest.mark.parametrize(
    "name",
    [
        "uncertainty",
        "pcgrad",
        "graddrop",
        "auto-lambda",
        *(
            pytest.param(n, marks=pytest.mark.integration)
            for n in ("dwa", "famo", "upgrad", "moco")
        ),
    ],
)
def test_balancers_see_gradients_without_the_scale(name):
    found = []
    for precision in ("32", "fp16"):
        balancer = balancer_from_name(name)
        quiet = TensorData(_rows().inputs, {n: v / LOUD for n, v in _rows().targets.items()})
        sgd = OptimizerSettings(name="sgd", learning_rate=0.05)
        made = _trainer(balancer=balancer, precision=precision, optimizer=sgd, epochs=8)
        if precision == "fp16":
            made._scale.scaler = torch.amp.GradScaler("cpu", init_scale=256)
        made.fit(quiet, quiet)
        found.append(made)
    assert not any(record.skipped for record in found[1].history)
    start = nn.utils.parameters_to_vector(_network().parameters())
    moved = [
        (nn.utils.parameters_to_vector(one.network.parameters()) - start).detach() for one in found
    ]
    assert functional.cosine_similarity(*moved, dim=0) > 0.99
    torch.testing.assert_close(moved[0].norm(), moved[1].norm(), rtol=0.05, atol=0)


@pytest.mark.parametrize("accumulate", [2])
@pytest.mark.parametrize("name", [None, "pcgrad", "uncertainty"])
def test_parts_of_a_step_have_one_scale(name, accumulate):
    balancer = None if name is None else balancer_from_name(name)
    made = _trainer(balancer=balancer, accumulate=accumulate, batch_size=16 // accumulate)
    made.fit(_rows())
    assert 0 < sum(record.skipped for record in made.history) < 12
    assert all(bool(p.isfinite().all()) for p in made.network.parameters())


def test_phases_go_on_with_the_scale():
    phases = Phases([Phase(name=str(k), epochs=4) for k in range(3)])
    made = _trainer(schedule=phases)
    made.fit(_rows())
    skipped = [record.skipped for record in made.history]
    assert sum(skipped[:4])
    assert not sum(skipped[8:])


def test_a_copy_goes_on_with_the_scale():
    made = _trainer()
    made.fit(_rows())
    other = pickle.loads(pickle.dumps(made))
    third = copy.deepcopy(made)
    assert made._scale.scaler.get_scale() < 65536
    for one in (made, other, third):
        one.fit(_rows())
        assert not any(record.skipped for record in one.history)
    for mine, theirs in zip(made.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_restart_begins_with_the_first_scale():
    made = _trainer()
    first = made.fit(_rows())
    assert made.fit(_rows(), restart=True) == first


def test_gradients_that_no_scale_makes_finite_end_the_training():
    made = _trainer(_Planted, epochs=30)
    made.kind, made.at = "gradient", tuple(range(30))
    with pytest.raises(InvalidInputError, match=r"not scaled up"):
        made.fit(_rows())


def test_a_run_without_any_step_is_no_model():
    made = _trainer(_Planted, epochs=3)
    made.kind, made.at = "gradient", tuple(range(3))
    with pytest.raises(InvalidInputError, match=r"none of the 3 steps"):
        made.fit(_rows())


def test_losses_that_are_not_finite_are_no_matter_of_the_scale():
    made = _trainer(_Planted)
    made.kind, made.at = "loss", (3,)
    with pytest.raises(InvalidInputError, match="not finite"):
        made.fit(_rows())
    made = _trainer(_Planted, non_finite="skip", non_finite_limit=1)
    made.kind, made.at = "loss", (9,)
    made.fit(_rows())
    assert made.history[9].skipped == 1


def test_weights_that_are_half_precision_by_themselves_are_refused():
    network = _network().half()
    with pytest.raises(InvalidInputError, match=r"network\.float\(\)"):
        Trainer(network, TASKS, precision="fp16", device="cpu")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_torch_can_not_compute_in_is_refused(monkeypatch, precision):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    with pytest.raises(InvalidInputError, match=f"does not compute in {precision} on cpu"):
        Trainer(_network(), TASKS, precision=precision, device="cpu")
