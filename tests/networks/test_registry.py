"""Networks by name: settings reach the network, unknown ones are refused with the closest."""

import pytest
import torch

from jointrain import InvalidInputError, Task
from jointrain.networks import MLP, HardSharing, MMoE, TabM, build_table_network
from jointrain.networks._registry import NETWORKS

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
