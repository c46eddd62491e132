"""Parameter groups: options of layers by name, against an optimiser made by hand."""

import copy
import pickle

import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError, Task, TensorData, Trainer
from jointrain.networks import CategoryEmbeddings
from jointrain.task import CodeColumns
from jointrain.training import Checkpoints, OptimizerSettings
from tests.training.checkpoints.runs import (
    PHASES,
    STEPS,
    TASKS,
    assert_same_end,
    cases,
    fit,
    trainer,
)

CASE = cases()["joint"]
GROUPS = {
    "trunk": {"lr": 1e-4},
    "trunk.0": {"lr": 0.1, "weight_decay": 0.5},
    "kind": {"lr": 0.0},
}


def _options(made):
    names = {id(p): name for name, p in made.network.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for one in made.optimizers.all
        for group in one.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("layout", ["one", "per_group"])
def test_the_smallest_part_counts(layout):
    found = _options(trainer(CASE, parameter_groups=GROUPS, optimizer_layout=layout))
    assert found["trunk.0.weight"] == found["trunk.0.bias"] == (0.1, 0.5)
    assert found["trunk.4.weight"] == (1e-4, 0.0)
    assert found["heads.layers.0.weight"] == (1e-3, 0.0)
    assert found["heads.layers.1.bias"] == (0.0, 0.0)


def test_a_function_sees_names_and_parameters():
    made = trainer(
        CASE, parameter_groups=lambda name, p: {"weight_decay": 0.3} if p.ndim > 1 else {}
    )
    found = _options(made)
    assert found["trunk.0.weight"] == (1e-3, 0.3)
    assert found["trunk.0.bias"] == (1e-3, 0.0)
    assert len(made.optimizers.all[0].param_groups) == 2


def test_a_rate_of_zero_leaves_a_layer_as_it_is():
    made = trainer(CASE, parameter_groups=GROUPS)
    before = [p.detach().clone() for p in made.network.task_parameters("kind")]
    other = made.network.trunk[0].weight.detach().clone()
    fit(made, CASE)
    assert all(map(torch.equal, before, made.network.task_parameters("kind")))
    assert not torch.equal(other, made.network.trunk[0].weight)


def test_names_of_nothing_are_refused():
    with pytest.raises(InvalidInputError, match=r"names 'trunc', .* \(did you mean 'trunk'\?\)"):
        trainer(CASE, parameter_groups={"trunc": {}})
    made = trainer(CASE, parameter_groups=GROUPS, schedule=PHASES)
    with pytest.raises(InvalidInputError, match="pre-training a part"):
        fit(made, CASE)


def test_options_that_the_optimizer_does_not_have_are_refused():
    for groups in (
        {"trunk": {"lr": 1e-4}, "kind": {"weight_decy": 0.5}},
        lambda name, _: {"weight_decy": 0.5} if "trunk" in name else {},
    ):
        for options in ({}, {"optimizer": lambda moved: torch.optim.SGD(moved, lr=0.1)}):
            with pytest.raises(InvalidInputError, match=r"'weight_decy', .* mean 'weight_decay'"):
                trainer(CASE, parameter_groups=groups, **options)
    with pytest.raises(InvalidInputError, match=r"'learning_rate', .*it has lr, momentum, "):
        trainer(
            CASE,
            optimizer=OptimizerSettings(name="sgd"),
            parameter_groups={"trunk": {"learning_rate": 0.0}},
        )


def test_a_function_that_makes_optimizers_may_have_options_of_its_own():
    def made_of(groups):
        return torch.optim.SGD([{"lr": 0.1 * one.pop("times", 1.0), **one} for one in groups])

    found = _options(trainer(CASE, optimizer=made_of, parameter_groups={"trunk": {"times": 0.5}}))
    assert found["trunk.0.weight"] == (0.05, 0.0)
    assert found["heads.layers.0.weight"] == (0.1, 0.0)


def _with_ids(**options):
    torch.manual_seed(4)
    embeddings = CategoryEmbeddings(3, [CodeColumns("shop", 0, 6)])
    network = HardSharing(
        nn.Sequential(nn.Linear(embeddings.out_features, 6), nn.Tanh()),
        {"number": nn.Linear(6, 1), "kind": nn.Linear(6, 3)},
    )
    network.put_first(embeddings)
    return Trainer(network, TASKS, epochs=2, batch_size=8, device="cpu", seed=7, **options)


def _id_rows(n=22):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(2, 6, (n, 1), generator=generator)
    x = torch.cat([codes, torch.randn(n, 2, generator=generator)], 1)
    return TensorData(x, {"number": x.sum(1), "kind": codes[:, 0] % 3})


def test_vectors_of_ids_have_groups_too(tmp_path):
    def made(**more):
        groups = {"trunk": {"lr": 1e-4}, "input_layer": {"lr": 0.0, "weight_decay": 0.0}}
        return _with_ids(parameter_groups=groups, **more)

    whole = made(checkpoints=Checkpoints(tmp_path / "all", 1, keep=99))
    before = [p.detach().clone() for p in whole.network.input_layer.parameters()]
    whole.fit(_id_rows())
    assert all(map(torch.equal, before, whole.network.input_layer.parameters()))
    (tmp_path / "one").mkdir()
    file = sorted((tmp_path / "all").glob("step-*"))[2]
    (tmp_path / "one" / file.name).write_bytes(file.read_bytes())
    again = made(checkpoints=Checkpoints(tmp_path / "one"))
    again.fit(_id_rows(), resume=True)
    assert_same_end(again, whole)


@pytest.mark.parametrize("groups", [None, {"trunk": {"lr": 1e-4}}])
def test_a_copy_of_a_trainer_goes_on_with_vectors_of_ids(groups):
    made = _with_ids(parameter_groups=groups, lr_scheduler=STEPS)
    before = [p.detach().clone() for p in made.network.input_layer.parameters()]
    made.fit(_id_rows())
    assert not any(map(torch.equal, before, made.network.input_layer.parameters()))
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        own = copy.deepcopy(made)
        other.fit(_id_rows())
        own.fit(_id_rows())
        assert_same_end(other, own)


NAMES = tuple(f"t{number}" for number in range(4))
FEATURES = torch.linspace(-1, 1, 24).reshape(6, 4)


def _of_many_heads(group_from, **options):
    torch.manual_seed(5)
    heads = {name: nn.Linear(8, 1) for name in NAMES}
    network = HardSharing(nn.Linear(4, 8), heads, group_from=group_from)
    tasks = [Task.regression(name) for name in NAMES]
    return Trainer(network, tasks, epochs=2, batch_size=3, **options)


def _moved(made):
    before = copy.deepcopy(made.network)
    made.fit(TensorData(FEATURES, dict.fromkeys(NAMES, FEATURES[:, 0] + 3)))
    return {
        name
        for name in NAMES
        if not all(
            map(torch.equal, before.task_parameters(name), made.network.task_parameters(name))
        )
    }


@pytest.mark.parametrize("layout", ["one", "per_group"])
@pytest.mark.parametrize("part", ["heads", "heads.groups.0", "heads.groups"])
def test_options_of_heads_hold_where_they_are_grouped(part, layout):
    made = _of_many_heads(2, parameter_groups={part: {"lr": 0.0}}, optimizer_layout=layout)
    assert _moved(made) == set()


@pytest.mark.parametrize("part", ["t3", "heads.t3"])
def test_options_of_one_of_grouped_heads_are_refused_where_they_move_together(part):
    groups = {part: {"lr": 0.0}}
    with pytest.raises(InvalidInputError, match=r"'t0' and 't3' different .* group_from=None"):
        _of_many_heads(2, parameter_groups=groups)
    assert _moved(_of_many_heads(None, parameter_groups=groups)) == {"t0", "t1", "t2"}
    apart = _of_many_heads(2, parameter_groups=groups, optimizer_layout="per_group")
    assert _moved(apart) == {"t0", "t1", "t2"}


def test_equal_options_of_all_grouped_heads_are_one():
    made = _of_many_heads(2, parameter_groups={name: {"lr": 0.0} for name in NAMES})
    assert _moved(made) == set()


def test_a_function_sees_grouped_heads_as_those_of_single_tasks():
    made = _of_many_heads(
        2, parameter_groups=lambda name, p: {} if p.ndim > 1 else {"weight_decay": 0.25}
    )
    found = _options(made)
    assert found["heads.groups.0.weight"] == (1e-3, 0.0)
    assert found["heads.groups.0.bias"] == found["trunk.bias"] == (1e-3, 0.25)
