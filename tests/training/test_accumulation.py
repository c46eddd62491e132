"""Steps of several batches against steps of one batch of all their rows."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from jointrain import (
    Alternating,
    HardSharing,
    InvalidInputError,
    Merge,
    Mixture,
    Phase,
    Phases,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from tests.training.checkpoints import runs

TASKS = [Task.regression("number"), Task.multiclass("kind", 3)]
GROUPED = [Task.regression(f"t{k}") for k in range(12)]
SGD = {"optimizer": torch.optim.SGD}
PHASES = Phases(
    [
        Phase(name="heads", epochs=1, freeze="trunk"),
        Phase(name="thaw", epochs=2, unfreeze="from_top", schedule=Alternating("round_robin")),
        Phase(name="tune", steps=3, each_task=True),
    ]
)


def _network(tasks=TASKS):
    torch.manual_seed(5)
    heads = {"number": nn.Linear(6, 1), "kind": nn.Linear(6, 3)}
    if tasks is GROUPED:
        heads = {task.name: nn.Linear(6, 1) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6)), heads)


def _fit(data, tasks=TASKS, balancer=None, **options):
    made = None if balancer is None else balancer_from_name(balancer)
    settings = {"epochs": 3, "device": "cpu", "seed": 7, **options}
    trainer = Trainer(_network(tasks), tasks, balancer=made, **settings)
    trainer.fit(data, runs.rows(9, 8) if tasks is TASKS else None)
    return trainer


def _assert_same(one, other):
    assert [r.step for r in one.history] == [r.step for r in other.history]
    for mine, theirs in zip(one.history, other.history, strict=True):
        assert mine.training == pytest.approx(theirs.training, rel=1e-5)
        assert mine.validation == pytest.approx(theirs.validation, rel=1e-5)
    for network, whole in [
        (one.network, other.network),
        *((one.own_networks[k], other.own_networks[k]) for k in other.own_networks),
    ]:
        for mine, theirs in zip(network.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


OPTIONS = {
    "joint": {},
    "alternating": {"schedule": Alternating("random", block=2)},
    "optimisers per task": {
        "schedule": Alternating("round_robin"), "optimizer_layout": "per_task"
    },
    "optimisers per group": {"optimizer_layout": "per_group"},
    "phases": {"schedule": PHASES},
    "merged": {"schedule": Merge("ties", head_epochs=1)},
    "penalties and clipping": {"l1": 1e-2, "l2": 1e-2, "gradient_clip": 0.1},
    "averaged": {"ema": 0.5, "patience": 2},
    "weights": {"weights": {"number": 0.2}},
}  # fmt: skip


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_batches_of_a_step_are_one_batch(name, missing):
    # 22 rows are two steps, of which the last has a batch less
    data = runs.rows(missing=missing)
    parts = _fit(data, batch_size=4, accumulate=4, **SGD, **OPTIONS[name])
    whole = _fit(data, batch_size=16, **SGD, **OPTIONS[name])
    _assert_same(parts, whole)


@pytest.mark.parametrize(
    "name",
    ["uncertainty", "famo", "dwa", "rlw", "imtl-l", "mgda", "pcgrad", "cagrad", "nash-mtl",
     "graddrop", "upgrad", "fairgrad", "aligned-mtl", "imtl-g"],
)  # fmt: skip
def test_balancers_see_the_gradients_of_all_rows(name):
    data = runs.rows(missing=True)
    parts = _fit(data, batch_size=4, accumulate=3, balancer=name, **SGD)
    whole = _fit(data, batch_size=12, balancer=name, **SGD)
    _assert_same(parts, whole)


@pytest.mark.parametrize("balancer", [None, "uncertainty", "pcgrad"])
def test_heads_computed_as_one_product(balancer):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(22, 4, generator=generator)
    targets = {task.name: x @ torch.randn(4, generator=generator) for task in GROUPED}
    targets["t1"][::3] = torch.nan
    data = TensorData(x, targets)
    parts = _fit(data, GROUPED, balancer, batch_size=4, accumulate=3, **SGD)
    whole = _fit(data, GROUPED, balancer, batch_size=12, **SGD)
    _assert_same(parts, whole)


@pytest.mark.parametrize(
    "how",
    [{}, {"sampling": {"number": 0.3, "kind": 0.7}}, {"mixed": True},
     {"mixed": True, "sampling": "proportional"}, {"epoch": "once"}],
)  # fmt: skip
def test_mixtures(how):
    def mixture(size):
        number, kind = runs.rows(17, 2, targets=("number",)), runs.rows(14, 3, targets=("kind",))
        return Mixture({"number": number, "kind": kind}, batch_size=size, **how)

    parts = _fit(mixture(3), accumulate=3, **SGD)
    _assert_same(parts, _fit(mixture(9), **SGD))


def test_the_network_sees_the_rows_of_a_batch_at_once():
    seen = []
    network = _network()
    network.trunk.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0])) if module.training else None
    )
    trainer = Trainer(network, TASKS, epochs=1, batch_size=5, accumulate=3, device="cpu")
    trainer.fit(runs.rows(30))
    assert seen == [5] * 6
    assert trainer.history[-1].step == 2


def test_checkpoints_are_of_whole_steps(tmp_path):
    case = {"accumulate": 2, "batch_size": 4, "data": runs.rows}
    case["balancer"] = lambda: balancer_from_name("pcgrad")
    whole = runs.trainer(case)
    files = runs.every_checkpoint(whole, case, tmp_path / "all")
    assert len(files) == whole.history[-1].step
    for file in files:
        runs.assert_same_end(runs.resumed_from(file, case, tmp_path / "one"), whole)


def test_what_is_not_exact_is_refused():
    data = runs.rows()
    for name in ("modo", "auto-lambda"):
        with pytest.raises(InvalidInputError, match="`accumulate` is not exact with"):
            _fit(data, accumulate=2, balancer=name)
    with pytest.raises(InvalidInputError, match="`refresh_every` keeps"):
        _fit(data, accumulate=2, balancer="nash-mtl", refresh_every=2)
    with pytest.raises(InvalidInputError, match="in phases that pretrain"):
        _fit(data, accumulate=2, schedule=runs.PHASES)
    loader = DataLoader(runs.Rows(9, 1, "number"), batch_size=3)
    sets = {"number": loader, "kind": copy.deepcopy(data)}
    with pytest.raises(InvalidInputError, match="a DataLoader with batches of its own"):
        _fit(sets, accumulate=2)
    with pytest.raises(InvalidInputError, match="`accumulate` must be"):
        _fit(data, accumulate=0)
