"""Networks by name: settings reach the network, unknown ones are refused with the closest."""

import re

import pytest
import torch

from jointrain import InvalidInputError, Task
from jointrain.networks import (
    MLP,
    HardSharing,
    MMoE,
    TabM,
    build_network,
    build_table_network,
    check_network,
)
from jointrain.networks._registry import NETWORKS
from jointrain.networks._table_settings import Count, MLPSettings

TASKS = [Task.regression("a"), Task.multiclass("b", 3)]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_name_has_a_line_and_builds_its_class(name):
    entry = NETWORKS[name]
    assert 10 < len(entry.summary) <= 60
    network = build_table_network(name, 5, TASKS, width=8, depth=2)
    assert type(network) is entry.network
    assert set(entry.settings) >= {"width", "depth", "dropout", "input_dropout", "embeddings"}
    outputs = network.eval()(torch.randn(3, 5))
    assert {task: tuple(y.shape) for task, y in outputs.items()} == {"a": (3, 1), "b": (3, 3)}


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("embeddings", ["linear", "periodic"])
def test_every_name_takes_embeddings_and_one_layer(name, embeddings):
    network = build_table_network(name, 5, TASKS, width=8, depth=1, embeddings=embeddings)
    assert network.eval()(torch.randn(3, 5))["b"].shape == (3, 3)


def test_hard_sharing_is_the_same_network_as_by_hand():
    torch.manual_seed(3)
    ours = build_table_network("hard", 5, TASKS, width=8, depth=3, dropout=0.0)
    torch.manual_seed(3)
    trunk = MLP(5, width=8, depth=3, dropout=0.0)
    heads = {task.name: torch.nn.Linear(8, task.output_size) for task in TASKS}
    theirs = HardSharing(trunk, heads)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_settings_reach_the_network():
    made = build_table_network("mmoe", 5, TASKS, experts=3, width=8)
    assert isinstance(made, MMoE)
    assert len(made.experts) == 3
    assert isinstance(build_table_network("tabm", 5, TASKS, members=2, width=8), TabM)
    assert len(build_table_network("ple", 5, TASKS, depth=3, width=8).levels) == 3


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("mmmoe", {}, "`network` must be one of hard, soft, .* got 'mmmoe'.*did you mean 'mmoe'"),
        ("mmoe", {"expert": 3}, "'mmoe' has no setting 'expert'.*did you mean 'experts'.* it has"),
        ("hard", {"embeddings": "period"}, "input should be 'linear' or 'periodic', got 'period'"),
        ("cross-stitch", {"depth": 0}, "`depth` must be at least 1"),
        ("mmoe", {"experts": 0}, "`experts` must hold at least one"),
    ],
)
def test_what_there_is_not_is_refused(name, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        build_table_network(name, 5, TASKS, **settings)


def test_no_task_is_refused():
    with pytest.raises(InvalidInputError, match="at least one task"):
        build_table_network("hard", 5, [])


def test_the_table_can_t_be_changed():
    with pytest.raises(TypeError):
        NETWORKS["mine"] = NETWORKS["hard"]


@pytest.mark.parametrize("embeddings", [None, "linear"])
@pytest.mark.parametrize("shared_depth", [0, 1, 2, 3])
def test_hard_sharing_may_share_the_first_blocks_alone(shared_depth, embeddings):
    network = build_table_network(
        "hard", 5, TASKS, width=8, depth=3, shared_depth=shared_depth, embeddings=embeddings
    )
    assert network(torch.randn(3, 5))["b"].shape == (3, 3)
    linear = [p for p in network.shared_parameters() if p.ndim == 2 and p.shape[0] == 8]
    assert len(linear) == shared_depth
    single = build_table_network("hard", 5, TASKS[:1], width=8, shared_depth=0)
    assert single.branches is None


def test_a_shared_depth_outside_the_depth_is_refused():
    with pytest.raises(InvalidInputError, match="`shared_depth` must lie between 0 and the depth"):
        build_table_network("hard", 5, TASKS, depth=2, shared_depth=3)


class _OnLayers(HardSharing):
    @classmethod
    def for_table(cls, in_features, tasks, mlp: MLPSettings, *, shared: Count = 1):
        return cls(mlp.trunk(in_features), mlp.heads(tasks))


def test_a_factory_may_be_told_the_layers_at_once():
    torch.manual_seed(3)
    settings = {"width": 8, "depth": 3, "embeddings": "linear"}
    made = build_network(_OnLayers.for_table, 5, TASKS, **settings, shared=2)
    torch.manual_seed(3)
    theirs = build_network("hard", 5, TASKS, **settings)
    assert all(torch.equal(made.state_dict()[k], v) for k, v in theirs.state_dict().items())
    message = "'shred' (did you mean 'shared'?); it has embeddings, shared"
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        check_network(_OnLayers.for_table, {"shred": 2})


def test_networks_have_an_order_and_their_settings_too():
    assert list(NETWORKS)[:3] == ["hard", "soft", "cross-stitch"]
    assert NETWORKS["mmoe"].settings == {
        "width": 128, "depth": 2, "dropout": 0.1, "input_dropout": 0.0, "embeddings": None,
        "experts": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name, setting, most",
    [("cgc", "task_experts", 1024), ("branch", "nodes", 1024), ("low-rank", "rank", 65_536)],
)
def test_counts_have_a_largest_value(name, setting, most):
    check_network(name, {setting: most})
    message = f"`{setting}` of network '{name}' must be at most {most:,}, got {most + 1}"
    with pytest.raises(InvalidInputError, match=message):
        check_network(name, {setting: most + 1})
