"""Networks compiled for training: the same training, and the network stays as it is."""

import copy
import pickle

import pytest
import torch
from torch import nn

from jointrain import Alternating, HardSharing, InvalidInputError, Task, TensorData, Trainer
from jointrain.balancing import balancer_from_name
from jointrain.training import OptimizerSettings, _compilation

TASKS = [Task.regression("a"), Task.regression("b")]


@pytest.fixture(autouse=True)
def _quick_compiler(monkeypatch):
    """Let torch trace and differentiate, but leave the kernels as they are."""
    torch.compiler.reset()
    monkeypatch.setattr(_compilation, "BACKEND", "aot_eager")
    yield
    torch.compiler.reset()


def _trainer(**options):
    torch.manual_seed(3)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    network = HardSharing(trunk, {"a": nn.Linear(8, 1), "b": nn.Linear(8, 1)})
    sgd = OptimizerSettings(name="sgd", learning_rate=0.05)
    settings = {"epochs": 2, "batch_size": 8, "device": "cpu", "optimizer": sgd, **options}
    return Trainer(network, TASKS, **settings)


def _rows(n=20):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return TensorData(x, {"a": x.sum(1), "b": x[:, 0] * x[:, 1]})


def _assert_close(one, two):
    assert list(one.network.state_dict()) == list(two.network.state_dict())
    for mine, theirs in zip(one.network.parameters(), two.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": Alternating("round_robin")},
        pytest.param({"balancer": "upgrad"}, marks=pytest.mark.integration),
        pytest.param({"accumulate": 2, "batch_size": 4}, marks=pytest.mark.integration),
        pytest.param({"balancer": "uncertainty"}, marks=pytest.mark.integration),
        pytest.param({"balancer": "moco"}, marks=pytest.mark.integration),
    ],
)
def test_trains_as_without(options):
    made = []
    for compiled in (False, True):
        own = dict(options)
        if "balancer" in own:
            own["balancer"] = balancer_from_name(own["balancer"])
        made.append(_trainer(compile=compiled, **own))
        made[-1].fit(_rows(), _rows(9))
    _assert_close(*made)


def test_the_program_is_used(monkeypatch):
    calls = []

    def compiled(network, **how):
        assert how == {"backend": "aot_eager", "dynamic": False}
        return lambda *args, **kwargs: calls.append(1) or network(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", compiled)
    _trainer(compile=True).fit(_rows())
    assert len(calls) == 6


@pytest.mark.integration
def test_a_copy_is_compiled_anew_and_goes_on_alike():
    made = _trainer(compile=True)
    made.fit(_rows())
    other, third = pickle.loads(pickle.dumps(made)), copy.deepcopy(made)
    for one in (made, other, third):
        one.fit(_rows())
    _assert_close(made, other)
    _assert_close(made, third)


def test_what_torch_can_not_compile_is_said_in_words(monkeypatch):
    def no_compiler(graph, examples):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(_compilation, "BACKEND", no_compiler)
    with pytest.raises(InvalidInputError, match=r"No working C\+\+ compiler.*leave `compile` out"):
        _trainer(compile=True).fit(_rows())


def test_an_error_of_the_network_stays_itself():
    trainer = _trainer(compile=True)
    trainer.network.trunk.append(nn.Linear(9, 8))
    with pytest.raises(RuntimeError, match="shape"):
        trainer.fit(_rows())


@pytest.mark.integration
def test_torchs_own_compiler(monkeypatch):
    monkeypatch.undo()
    made = [_trainer(compile=compiled) for compiled in (False, True)]
    for one in made:
        one.fit(_rows(), _rows(9))
    _assert_close(*made)
