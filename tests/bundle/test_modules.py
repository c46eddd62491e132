"""Bundles of own modules: what is trained comes back bit for bit, and only given code is run."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import jointrain
from jointrain import (
    DataSource,
    HardSharing,
    InvalidInputError,
    Metric,
    NetworkModel,
    Phase,
    Phases,
    Task,
    TensorData,
    Trainer,
    load_bundle,
    save_bundle,
)
from jointrain.bundle import add_notes, describe_bundle, read_bundle, stored_modules
from jointrain.cli import run
from jointrain.metrics import BINARY_METRICS, root_mean_squared_error
from jointrain.training import Merge
from tests.task.examples import EXAMPLES, outputs_and_target

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import mutants

HERE = __name__
TASKS = [Task.regression("price"), Task.binary("sold"), Task.multiclass("kind", ["a", "b", "c"])]


def make(tasks, width=8, depth=1):
    trunk = nn.Sequential()
    for index in range(depth):
        trunk.append(nn.Linear(width if index else 4, width)).append(nn.Tanh())
    heads = {task.name: nn.Linear(width, task.output_size) for task in tasks}
    return HardSharing(trunk.append(nn.BatchNorm1d(width)), heads)


def _data(n=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    kind = torch.randint(0, 3, (n,), generator=generator)
    kind[:5] = -100
    return TensorData(x, {"price": x[:, 0] * 2, "sold": (x[:, 1] > 0).float(), "kind": kind})


DATA = _data()


def _fitted(tasks=TASKS, network=None, **options):
    torch.manual_seed(0)
    trainer = Trainer(make(tasks) if network is None else network, tasks, epochs=2, **options)
    trainer.fit(DATA.only([t.name for t in tasks]), DATA.only([t.name for t in tasks]))
    return trainer


def _same(one, two, inputs=DATA.inputs):
    before, after = one.predict(inputs), two.predict(inputs)
    assert list(before) == list(after)
    return all(torch.equal(before[name], after[name]) for name in before)


@pytest.fixture(scope="module")
def trainer():
    return _fitted()


@pytest.fixture
def bundle(trainer, tmp_path):
    return save_bundle(trainer, tmp_path / "model", factory=make)


PHASES = Phases(
    [
        Phase(name="joint", epochs=2),
        Phase(name="alone", epochs=1, each_task=True, tasks=("sold", "kind")),
    ]
)


@pytest.mark.parametrize(
    "options, parts",
    [
        ({}, [("price", "sold", "kind")]),
        ({"schedule": PHASES}, [("sold",), ("kind",), ("price",)]),
        ({"schedule": Merge("ties")}, [("price", "sold", "kind")]),
        ({"auxiliary": ("kind",)}, [("price", "sold", "kind")]),
    ],
    ids=["joint", "phases", "merged", "auxiliary"],
)
def test_what_a_trainer_has_made_comes_back(tmp_path, options, parts):
    trainer = _fitted(**options)
    path = save_bundle(trainer, tmp_path / "model", factory=make)
    for key in ("make", f"{HERE}:make"):
        model = load_bundle(path, factories={key: make})
        assert isinstance(model, NetworkModel)
        assert model.tasks == tuple(TASKS)
        assert [part.tasks for part in model.parts] == parts
        assert [task.name for task in model.predicted_tasks] == list(trainer.main_tasks)
        assert _same(trainer, model)
        assert model.evaluate(DATA) == trainer.evaluate(DATA)
    assert model.parts[-1].epochs == trainer.fitted_networks()[-1].epochs
    assert "kind" in model.predict(DATA.inputs, ["kind"])
    again = load_bundle(save_bundle(model, tmp_path / "again"), factories={"make": make})
    assert _same(again, model)


def test_separate_trainers_are_one_model(tmp_path):
    trainers = [_fitted([task]) for task in TASKS]
    path = save_bundle(trainers, tmp_path / "model", factory=make)
    model = load_bundle(path, factories={"make": make})
    assert [part.tasks for part in model.parts] == [("price",), ("sold",), ("kind",)]
    for trainer, task in zip(trainers, TASKS, strict=True):
        alone = trainer.predict(DATA.inputs)[task.name]
        assert torch.equal(model.predict(DATA.inputs)[task.name], alone)
    with pytest.raises(InvalidInputError, match="'price' is 1 of its tasks and predicted by 2"):
        save_bundle([trainers[0], trainers[0]], tmp_path / "twice", factory=make)


def test_an_auxiliary_task_of_two_trainers_stays_with_the_first(tmp_path):
    price, sold, kind = TASKS
    trainers = [_fitted([one, kind], auxiliary=("kind",)) for one in (price, sold)]
    model = load_bundle(
        save_bundle(trainers, tmp_path / "model", factory=make), factories={"make": make}
    )
    assert [part.tasks for part in model.parts] == [("price", "kind"), ("sold",)]
    assert model.auxiliary == ("kind",)
    assert list(model.predict(DATA.inputs)) == ["price", "sold"]


def test_a_bare_network_with_its_tasks(tmp_path):
    network = make(TASKS).eval()
    model = load_bundle(
        save_bundle(network, tmp_path / "model", factory=make, tasks=TASKS),
        factories={"make": make},
    )
    with torch.no_grad():
        assert torch.equal(
            model.predict(DATA.inputs, logits=True)["kind"], network(DATA.inputs)["kind"]
        )


def test_inputs_are_what_the_network_takes(tmp_path):
    model = load_bundle(
        save_bundle(make(TASKS), tmp_path / "model", factory=make, tasks=TASKS),
        factories={"make": make},
    )
    whole = model.predict(DATA.inputs)["price"]
    loader = DataLoader(TensorDataset(DATA.inputs), batch_size=7)
    source = DataSource(loader, inputs=0)
    assert torch.allclose(model.predict(source)["price"], whole)
    assert torch.equal(model.predict(DATA)["price"], whole)


class Pair(nn.Module):
    """Takes a dictionary, has a buffer of each kind, and ties a layer to an embedding."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.out = nn.Linear(4, 6, bias=False)
        self.out.weight = self.words.weight
        self.register_buffer("mask", torch.full((4, 4), -math.inf).triu(1))
        self.register_buffer("counts", torch.arange(3))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("phases", torch.tensor([1 + 2j, 3 - 1j]))
        self.register_buffer("wide", torch.tensor([1 + 2j], dtype=torch.complex128))
        self.register_buffer("rebuilt", torch.ones(2), persistent=False)
        self.frequencies = nn.Parameter(torch.view_as_complex(torch.ones(2, 2)))

    def forward(self, inputs):
        return self.out(self.words(inputs["ids"])) * self.phases.real.sum() + inputs["bias"]


def make_pair(tasks, dtype=torch.float32):
    heads = {task.name: nn.Linear(6, task.output_size) for task in tasks}
    network = HardSharing(Pair(), heads)
    return network if dtype is torch.float32 else network.to(dtype)


def test_tied_weights_and_all_kinds_of_buffers(tmp_path):
    network = make_pair(TASKS)
    with torch.no_grad():
        network.trunk.words.weight.normal_()
        network.trunk.counts += 5
        network.trunk.phases *= 2j
        network.trunk.wide *= 3
        network.trunk.frequencies *= 1j
    path = save_bundle(network, tmp_path / "model", factory=make_pair, tasks=TASKS)
    stored = load((path / "weights.safetensors").read_bytes())
    assert "0.trunk.words.weight" in stored
    assert "0.trunk.out.weight" not in stored  # written once
    model = load_bundle(path, factories={"make_pair": make_pair})
    again = model.parts[0].network
    assert again.trunk.out.weight is again.trunk.words.weight
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        assert again.state_dict()[name].dtype == value.dtype
    inputs = {"ids": torch.tensor([0, 3, 5]), "bias": torch.ones(3, 6)}
    assert torch.equal(
        model.predict(inputs, logits=True)["kind"], network.eval()(inputs)["kind"].detach()
    )


def make_half(tasks):
    return make(tasks).to(torch.bfloat16)


def make_float16(tasks):
    return make(tasks).half()


@pytest.mark.parametrize("factory", [make_half, make_float16])
def test_half_precision(tmp_path, factory):
    network = factory(TASKS)
    path = save_bundle(network, tmp_path / "model", factory=factory, tasks=TASKS)
    again = load_bundle(path, factories={factory.__name__: factory}).parts[0].network
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    with pytest.raises(InvalidInputError, match=r"are of torch\.float32 in the network, but of"):
        save_bundle(network, tmp_path / "other", factory=make, tasks=TASKS)
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_weights_trained_on_a_gpu_load_on_the_cpu(tmp_path):
    trainer = _fitted(device="cuda")
    path = save_bundle(trainer, tmp_path / "model", factory=make)
    model = load_bundle(path, factories={"make": make})
    assert model.device.type == "cpu"
    assert next(trainer.network.parameters()).is_cuda
    before, after = trainer.predict(DATA.inputs), model.predict(DATA.inputs)
    assert torch.allclose(before["price"], after["price"], atol=1e-5)
    on_gpu = model.to("cuda")
    assert torch.equal(on_gpu.predict(DATA.inputs)["price"], before["price"])


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's GPU")
def test_a_bundle_predicts_on_mps(tmp_path):
    trainer = _fitted(device="cpu")
    path = save_bundle(trainer, tmp_path / "model", factory=make)
    model = load_bundle(path, factories={"make": make}).to("mps")
    before, after = trainer.predict(DATA.inputs), model.predict(DATA.inputs)
    assert torch.allclose(before["price"], after["price"], atol=1e-5)


class _NoFloat64(TorchDispatchMode):
    """Refuses what devices such as MPS lack."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else (found,):
            assert getattr(one, "dtype", None) != torch.float64, func
        return found


def test_predictions_need_no_float64(tmp_path):
    path = save_bundle(_fitted(device="cpu"), tmp_path / "model", factory=make)
    model = load_bundle(path, factories={"make": make})
    expected = model.predict(DATA.inputs)
    with _NoFloat64():
        found = model.predict(DATA.inputs)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_compiled_network_is_saved_as_what_it_compiles(tmp_path):
    network = make(TASKS).eval()
    compiled = torch.compile(network, backend="eager")
    path = save_bundle(compiled, tmp_path / "model", factory=make, tasks=TASKS)
    model = load_bundle(path, factories={"make": make})
    assert torch.equal(
        model.predict(DATA.inputs, logits=True)["price"], network(DATA.inputs)["price"].detach()
    )


def make_lazy(tasks):
    heads = {task.name: nn.Linear(8, task.output_size) for task in tasks}
    return HardSharing(nn.LazyLinear(8), heads)


def test_layers_that_learn_their_size_from_data(tmp_path):
    network = make_lazy(TASKS).eval()
    outputs = network(DATA.inputs)
    path = save_bundle(network, tmp_path / "model", factory=make_lazy, tasks=TASKS)
    model = load_bundle(path, factories={"make_lazy": make_lazy})
    assert torch.equal(model.predict(DATA.inputs, logits=True)["price"], outputs["price"].detach())


def test_arguments_of_the_factory_are_kept(tmp_path):
    factory = functools.partial(make, width=5, depth=2)
    network = factory(TASKS)
    path = save_bundle(network, tmp_path / "model", factory=factory, tasks=TASKS)
    assert describe_bundle(path)["factory"]["arguments"] == {"width": 5, "depth": 2}
    model = load_bundle(path, factories={"make": make})
    assert model.parts[0].network.trunk[0].out_features == 5
    again = load_bundle(save_bundle(model, tmp_path / "again"), factories={"make": make})
    assert _same(model, again)


def test_the_random_state_is_left_alone(trainer, tmp_path):
    before = torch.random.get_rng_state()
    path = save_bundle(trainer, tmp_path / "model", factory=make)
    load_bundle(path, factories={"make": make})
    assert torch.equal(torch.random.get_rng_state(), before)


def test_saving_twice_gives_the_same_bytes(trainer, tmp_path):
    one, two = (save_bundle(trainer, tmp_path / name, factory=make) for name in ("one", "two"))
    for name in ("bundle.json", "weights.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def _loss(output, target):
    return (output - target).abs().flatten(1).mean(1)


def _bias(prediction, target):
    return float((prediction.squeeze() - target.squeeze()).mean())


def test_losses_and_metrics_of_ones_own(tmp_path):
    bias = Metric("bias", _bias, higher_is_better=False)
    rmse = Metric("RMSE", root_mean_squared_error, higher_is_better=False, lowest=0)
    tasks = [
        Task("box", "custom", loss_function=_loss, size=2, metrics=(bias,)),
        Task("sold", "binary", metrics=(BINARY_METRICS[1], rmse)),
    ]
    path = save_bundle(make(tasks), tmp_path / "model", factory=make, tasks=tasks)
    data = TensorData(DATA.inputs, {"box": DATA.inputs[:, :2], "sold": DATA.targets["sold"]})
    bare = load_bundle(path, factories={"make": make})
    assert bare.predict(DATA.inputs)["box"].shape == (60, 2)
    assert bare.tasks[1].metrics[0] == BINARY_METRICS[1]
    with pytest.raises(InvalidInputError, match=rf"metric 'bias' of task 'box'.*'{HERE}:_bias'"):
        bare.evaluate(data)
    with pytest.raises(InvalidInputError, match=rf"the loss of task 'box'.*'{HERE}:_loss'"):
        bare.tasks[0].loss(torch.zeros(3, 2), torch.zeros(3, 2))
    given = {"make": make, "_loss": _loss, "bias": bias, "RMSE": root_mean_squared_error}
    whole = load_bundle(path, factories=given)
    assert whole.tasks == tuple(tasks)
    found = whole.evaluate(data)
    assert found["box"]["bias"] == pytest.approx(
        float((whole.predict(DATA.inputs)["box"] - data.targets["box"]).mean())
    )
    assert set(found["sold"]) == {"log-loss", "RMSE"}
    # what was not given is still told when it is saved again
    path = save_bundle(bare, tmp_path / "again")
    assert load_bundle(path, factories=given).tasks == tuple(tasks)


def make_examples(tasks):
    heads = {
        task.name: nn.Sequential(nn.Linear(8, 5 * task.size), nn.Unflatten(1, (5, task.size)))
        if task.kind == "sequence"
        else nn.Linear(8, task.output_size)
        for task in tasks
    }
    return HardSharing(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), heads)


def test_tasks_of_every_kind_are_trained_and_come_back(tmp_path):
    tasks = list(EXAMPLES.values())
    targets = {task.name: outputs_and_target(task, 60)[1].float() for task in tasks}
    data = TensorData(DATA.inputs, targets)
    torch.manual_seed(0)
    trainer = Trainer(make_examples(tasks), tasks, epochs=12, batch_size=20, device="cpu")
    history = trainer.fit(data, data)
    for name, loss in history[-1].training.items():
        assert loss < history[0].training[name], name
    path = save_bundle(trainer, tmp_path / "model", factory=make_examples)
    model = load_bundle(path, factories={"make_examples": make_examples})
    assert model.tasks == tuple(tasks)
    assert _same(trainer, model)
    found, expected = model.evaluate(data), trainer.evaluate(data)
    assert {task: list(of_task) for task, of_task in found.items()} == {
        task.name: [metric.name for metric in task.metrics] for task in tasks
    }
    assert found == expected
    loader = DataLoader(TensorDataset(DATA.inputs, targets["censored"]), batch_size=7)
    by_batches = model.evaluate({"censored": loader}, ["censored"])
    assert by_batches["censored"] == pytest.approx(found["censored"], rel=1e-5)


DENSE = [
    Task.dense("depth"),
    Task.dense("flow", channels=2, channels_first=False),
    Task.dense("normals"),
    Task.dense("edges", channels_first=False),
    Task.dense("seen", classes=("road", "car", "sky"), ignored=(255, -1)),
]


class Last(nn.Module):
    """Channels come last."""

    def forward(self, pictures):
        return pictures.movedim(1, -1)


def make_dense(tasks):
    heads = {
        task.name: nn.Sequential(
            nn.Conv2d(4, task.output_size, 1), nn.Identity() if task.channels_first else Last()
        )
        for task in tasks
    }
    return HardSharing(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh()), heads)


def _pictures():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 4, 5, generator=generator)
    seen = torch.randint(0, 3, (6, 4, 5), generator=generator)
    seen[0, 0], seen[1, 1], seen[2, 2] = 255, -1, -100
    depth = x[:, :1].abs()
    depth[3] = 0  # none at all
    targets = {"depth": depth, "flow": x.movedim(1, -1)[..., :2], "normals": x, "seen": seen}
    return TensorData(x, {**targets, "edges": (x[:, 0] > 0).float()})


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    torch.manual_seed(0)
    trainer = Trainer(make_dense(DENSE), DENSE, epochs=1, batch_size=3, device="cpu")
    trainer.fit(_pictures())
    folder = tmp_path_factory.mktemp("dense")
    return trainer, save_bundle(trainer, folder / "model", factory=make_dense)


def test_dense_tasks_come_back_bit_for_bit(dense, tmp_path):
    trainer, path = dense
    model = load_bundle(path, factories={"make_dense": make_dense})
    assert model.tasks == tuple(DENSE)
    assert [task.channels_first for task in model.tasks] == [True, False, True, False, True]
    assert model.tasks[-1].ignored == (255, -1)
    assert _same(trainer, model, _pictures().inputs)
    assert model.evaluate(_pictures()) == trainer.evaluate(_pictures())
    again = save_bundle(model, tmp_path / "again")
    assert (again / "weights.safetensors").read_bytes() == (
        path / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    "task, change, message",
    [
        (4, {"ignored": [10**30]}, "a number beyond 64 bits"),
        (4, {"ignored": [2**40]}, "tasks.4.ignored.0"),
        (4, {"ignored": [1.5]}, "tasks.4.ignored.0"),
        (4, {"ignored": ["x"]}, "tasks.4.ignored.0"),
        (4, {"ignored": [7] * 100_000}, "tasks.4.ignored"),
        (4, {"ignored": None}, "tasks.4.ignored"),
        (4, {"channels_first": 3}, "tasks.4.channels_first"),
        (4, {"channels_first": "no way"}, "tasks.4.channels_first"),
        (4, {"size": 2}, "seen"),
        (0, {"ignored": [1]}, "has no classes of pixels"),
        (0, {"size": 2}, "has 1 outputs, not 2"),
        (2, {"kind": "depth"}, "has 1 outputs, not 3"),
        (1, {"kind": "dens"}, "of an unknown kind"),
    ],
    ids=range(13),
)
def test_a_strangers_dense_tasks_are_refused_in_one_line(dense, tmp_path, task, change, message):
    path = shutil.copytree(dense[1], tmp_path / "model")
    _resigned(path, lambda content: content["tasks"][task].update(change))
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        load_bundle(path, factories={"make_dense": make_dense})
    assert "\n" not in str(caught.value)


def test_metrics_and_notes_are_told(trainer, tmp_path):
    path = save_bundle(
        trainer,
        tmp_path / "model",
        factory=make,
        metrics={"price": {"RMSE": float("nan"), "R2": 0.5}},
        notes={"metrics": "on held-out rows"},
    )
    add_notes(path, {"inputs": "float32 [n, 4]"})
    described = read_bundle(path, factories={"make": make}).description
    assert described["kind"] == "modules"
    assert described["metrics"] == {"price": {"RMSE": None, "R2": 0.5}}
    assert described["notes"] == {"metrics": "on held-out rows", "inputs": "float32 [n, 4]"}
    assert described["factory"]["path"] == f"{HERE}:make"


# --- what can't be saved --------------------------------------------------------------------------


def _other_name(tasks):
    return HardSharing(nn.Linear(4, 8), {"x": nn.Linear(8, 1)})


def _module(tasks):
    return nn.Linear(4, 8)


def _failing(tasks):
    raise RuntimeError("no\nfile")


def make_wide(tasks):
    return make(tasks, width=9)


def make_more(tasks):
    network = make(tasks)
    network.extra = nn.Linear(2, 2)
    return network


class Odd(nn.Linear):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


def _with(change):
    network = make(TASKS)
    with torch.no_grad():
        change(network)
    return network


@pytest.mark.parametrize(
    "network, factory, message",
    [
        (make(TASKS), None, "pass factory=make"),
        (make(TASKS), _other_name, "must return a Network of the tasks"),
        (make(TASKS), _module, "got Linear(in_features=4"),
        (make(TASKS), _failing, "fails: RuntimeError: no"),
        (make(TASKS), make_wide, "are of shape [1, 9] in the network, but of [1, 8] among"),
        (make(TASKS), make_more, "'extra.weight' of the network are missing"),
        (make_more(TASKS), make, "'extra.weight' are none of the network"),
        (make(TASKS).double(), make, "float32 in the network, but of torch.float64 among"),
        (_with(lambda n: n.trunk[0].weight[0].fill_(math.nan)), make, "no number"),
        (_with(lambda n: n.trunk[0].weight[0].fill_(math.inf)), make, "no number"),
        (_with(lambda n: n.trunk[2].running_var[0].fill_(math.nan)), make, "no number"),
        (_with(lambda n: setattr(n, "odd", Odd(1, 1))), make, "'odd._extra_state', which is no"),
        (
            _with(lambda n: n.register_buffer("s", torch.eye(2).to_sparse())),
            make,
            "'s' are sparse or quantised",
        ),
        (make(TASKS), functools.partial(make, 8), "by keyword: partial(make, width=32)"),
        (make(TASKS), functools.partial(make, width=nn.Tanh), "the arguments of its factory"),
        (make(TASKS), functools.partial(make, width=math.nan), "the arguments of its factory"),
        (make([*TASKS, Task.binary("more")]), make, "a head for 'more', which is none of the"),
    ],
    ids=range(17),
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, network, factory, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        save_bundle(network, tmp_path / "model", factory=factory, tasks=TASKS)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_is_refused(trainer, tmp_path):
    for wrong, options, message in [
        (nn.Linear(2, 2), {"factory": make}, "a bundle holds a table model, a blend, a Trainer"),
        ([], {"factory": make}, "got list"),
        (make(TASKS), {"factory": make}, "`tasks` goes with a network"),
        (trainer, {"factory": make, "tasks": TASKS}, "`tasks` goes with a network"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            save_bundle(wrong, tmp_path / "model", **options)


# --- what can't be loaded -------------------------------------------------------------------------


def test_a_factory_must_be_given(bundle):
    with pytest.raises(InvalidInputError, match=rf"network '{HERE}:make', and a bundle runs no"):
        load_bundle(bundle)
    with pytest.raises(InvalidInputError, match=rf"network '{HERE}:make', and a bundle runs no"):
        load_bundle(bundle, factories={"other": make})


@pytest.mark.filterwarnings("ignore:what was given")
@pytest.mark.parametrize(
    "factory, message",
    [
        (make_wide, "makes another network than the one that is saved: the weights"),
        (make_more, "'extra.weight' of the network are missing"),
        (make_half, "bfloat16 in the network, but of torch.float32"),
        (_other_name, "must return a Network of the tasks"),
        (_module, "must return a Network of the tasks"),
        (_failing, "fails: RuntimeError: no"),
        (3, "fails: TypeError"),
    ],
    ids=range(7),
)
def test_an_unfit_factory_is_said_in_one_line(bundle, factory, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        load_bundle(bundle, factories={"make": factory})
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_factory_of_other_code_is_said(bundle):
    def other(tasks):
        return make(tasks, 8)

    with pytest.warns(UserWarning, match=rf"for '{HERE}:make' is not the code that the model"):
        load_bundle(bundle, factories={"make": other})
    assert read_bundle(bundle, factories={"make": make}).remarks == ()


def _resigned(path, change):
    content = json.loads((path / "bundle.json").read_text())
    change(content)
    (path / "bundle.json").write_text(json.dumps(content))
    mutants.sign(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["factory"]["arguments"].update(width=10**9), "another network"),
        (lambda c: c["factory"]["arguments"].update(depth=10**9), "another network"),
        (lambda c: c["factory"]["arguments"].update(width=-1), "fails: RuntimeError"),
        (lambda c: c["factory"]["arguments"].update(x=1), "fails: TypeError"),
        (lambda c: c["factory"].update(path=3), "factory.path"),
        (lambda c: c["tasks"][0].update(kind="x"), "of an unknown kind"),
        (lambda c: c["tasks"][0].update(size=10**12), "tasks.0.size"),
        (lambda c: c["tasks"][0].update(size=3), "another network"),
        (lambda c: c["tasks"][2].update(classes=["a", "a"]), "must differ"),
        (
            lambda c: c["tasks"][0].update(metrics=[{"name": "x"}]),
            "metrics.0: Field required",
        ),
        (lambda c: c["tasks"].append(c["tasks"][0]), "'price' is named twice"),
        (lambda c: c["parts"].append(c["parts"][0]), "'price' is named twice"),
        (lambda c: c["parts"][0].update(tasks=["price"]), "a task has no network"),
        (lambda c: c["parts"][0]["network_tasks"].pop(), "has no head for"),
        (lambda c: c.update(auxiliary=["price", "sold", "kind"]), "auxiliary"),
        (lambda c: c.update(batch_size=0), "batch_size"),
        (lambda c: c.update(kind="x"), "a kind that this jointrain does not know"),
        (lambda c: c.update(kind=[]), "a kind that this jointrain does not know"),
        (lambda c: c.update(columns=[]), "columns"),
    ],
    ids=range(19),
)
def test_a_strangers_description_is_refused_in_one_line(bundle, change, message):
    _resigned(bundle, change)
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        load_bundle(bundle, factories={"make": make})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.update({"0.trunk.0.bias": torch.zeros(7)}), "of shape [8] in the network"),
        (lambda w: w.update({"0.trunk.0.bias": torch.zeros(8).half()}), "torch.float16 among"),
        (lambda w: w.update({"0.trunk.0.bias": torch.zeros(8) + math.nan}), "no number"),
        (lambda w: w.update({"0.x": torch.zeros(8)}), "'x' are none of the network"),
        (lambda w: w.update({"1.trunk.0.bias": torch.zeros(8)}), "differ in number"),
        (lambda w: w.pop("0.trunk.0.bias"), "'trunk.0.bias' of the network are missing"),
        (lambda w: w.clear(), "another network"),
    ],
    ids=range(7),
)
def test_a_strangers_weights_are_refused_in_one_line(bundle, change, message):
    weights = dict(load((bundle / "weights.safetensors").read_bytes()))
    change(weights)
    (bundle / "weights.safetensors").write_bytes(save(weights))
    mutants.sign(bundle)
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        load_bundle(bundle, factories={"make": make})
    assert "\n" not in str(caught.value)


def test_changed_files_are_noticed(bundle):
    weights = dict(load((bundle / "weights.safetensors").read_bytes()))
    weights["0.trunk.0.bias"] += 1
    (bundle / "weights.safetensors").write_bytes(save(weights))
    with pytest.raises(InvalidInputError, match=r"weights\.safetensors is not the file"):
        load_bundle(bundle, factories={"make": make})
    with pytest.raises(InvalidInputError, match=r"weights\.safetensors is not the file"):
        stored_modules(bundle)


# --- the command line, and programs ---------------------------------------------------------------


def test_inspect_runs_nothing(bundle, capsys):
    assert run(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert f"Made by: {HERE}:make, called with the tasks" in shown
    assert "price, sold, kind" in shown
    numbers = sum(value.numel() for value in make(TASKS).state_dict().values())
    assert f"{numbers}" in shown
    assert run(["inspect", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "modules"


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_commands_say_what_to_do_instead(bundle, tmp_path, capsys, command):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    out = ["--out", str(tmp_path / "out.csv")] if command == "predict" else []
    assert run([command, str(bundle), str(tmp_path / "rows.csv"), *out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "jointrain.load_bundle(path, factories={...})" in said


SCRIPT = """
import sys
import torch
import jointrain


def make(tasks):
    heads = {task.name: torch.nn.Linear(4, task.output_size) for task in tasks}
    return jointrain.HardSharing(torch.nn.Linear(3, 4), heads)


if __name__ == "__main__":
    tasks = [jointrain.Task.regression("a"), jointrain.Task.binary("b")]
    jointrain.save_bundle(make(tasks), "model", factory=make, tasks=tasks)
"""


# two processes of their own: a script's code is the same where another imports it
def test_what_a_script_saves_another_loads(tmp_path):
    (tmp_path / "train_it.py").write_text(SCRIPT)
    (tmp_path / "load_it.py").write_text(
        textwrap.dedent(
            """
            import torch, jointrain
            from train_it import make

            model = jointrain.load_bundle("model", factories={"train_it:make": make})
            print(model.predict(torch.zeros(2, 3))["b"].shape)
            """
        )
    )
    for name in ("train_it.py", "load_it.py"):
        done = subprocess.run(
            [sys.executable, "-W", "error", name], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([2])\n"
    assert jointrain.load_bundle  # the names are there
