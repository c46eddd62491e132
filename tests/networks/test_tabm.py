"""TabM: the trunk is the package's, each member is trained, and predictions are averaged."""

import pytest
import tabm
import torch
from torch.nn import functional

from jointrain import InvalidInputError, Task
from jointrain.networks import TabM

TASKS = [Task.regression("a"), Task.multiclass("b", 3), Task.binary("c")]


def test_the_outputs_are_those_of_the_package():
    network = TabM(8, TASKS[1:2], members=5, width=16, depth=2).eval()
    theirs = tabm.TabM(
        n_num_features=8, d_out=3, k=5, n_blocks=2, d_block=16, dropout=0.1,
        start_scaling_init="random-signs",
    ).eval()  # fmt: skip
    theirs.load_state_dict(
        {**network.trunk.state_dict(),
         **{f"output.{key}": value
            for key, value in network.heads.layers[0].layer.state_dict().items()}}
    )  # fmt: skip
    x = torch.randn(6, 8)
    members = theirs(x)  # [b, k, c]
    torch.testing.assert_close(network(x)["b"].softmax(1), members.softmax(2).mean(1))
    network.train()
    torch.manual_seed(0)
    training = network(x)["b"]
    torch.manual_seed(0)
    torch.testing.assert_close(training, theirs.train()(x))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression"])
def test_the_mean_prediction_is_the_mean_of_the_members_predictions(kind):
    outputs = 5 * torch.randn(6, 4, 1 if kind == "binary" else 3).double()
    mean = Task("a", kind, size=outputs.shape[2]).rules.mean_output(outputs)
    if kind == "multiclass":
        torch.testing.assert_close(mean.exp(), outputs.softmax(2).mean(1))
    elif kind == "regression":
        torch.testing.assert_close(mean, outputs.mean(1))
    else:
        torch.testing.assert_close(mean.sigmoid(), outputs.sigmoid().mean(1))


def test_the_loss_is_the_mean_over_members_of_each_one_s_loss():
    network = TabM(8, TASKS, members=4, width=8).train()
    x = torch.randn(6, 8)
    targets = {
        "a": torch.tensor([0.0, 1, torch.nan, 2, 3, 4]),
        "b": torch.tensor([0.0, 1, 2, torch.nan, torch.nan, 1]),
        "c": torch.tensor([0.0, 1, 0, 1, 0, torch.nan]),
    }
    outputs = network(x)
    for task in TASKS:
        output, target = outputs[task.name], targets[task.name]
        expected = torch.stack([task.loss(output[:, k], target) for k in range(4)]).mean()
        torch.testing.assert_close(network.loss(task, output, target), expected)
    network.eval()
    torch.testing.assert_close(
        network.loss(TASKS[1], network(x)["b"], targets["b"]),
        functional.cross_entropy(network(x)["b"][[0, 1, 2, 5]], torch.tensor([0, 1, 2, 1])),
    )


@pytest.mark.parametrize("embeddings", ["linear", "periodic"])
def test_embeddings_go_before_the_trunk(embeddings):
    network = TabM(8, TASKS, members=4, width=8, embeddings=embeddings)
    assert network(torch.randn(6, 8))["b"].shape == (6, 4, 3)
    assert network.trunk.num_module is not None


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"members": 0}, "`members` must be at least 1"),
        ({"depth": 0}, "`depth` must be at least 1"),
        ({"dropout": 1.0}, r"`dropout` must lie in \[0, 1\)"),
        ({"embeddings": "periodc"}, "must be one of linear, periodic, .*did you mean 'periodic'"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        TabM(8, TASKS, **settings)


@pytest.mark.parametrize("correction", [None, "inverse-propensity", "doubly-robust"])
def test_a_chain_multiplies_each_member_in_training_and_the_means_in_evaluation(correction):
    tasks = [Task.binary("click"), Task.binary("buy", given="click", correction=correction)]
    network = TabM(3, tasks, members=4, width=8, depth=1, dropout=0.0)
    network.link(tasks)
    x = torch.randn(6, 3)
    own = {
        name: head.layer(network.trunk(x))[..., :1].sigmoid()  # [b, k, 1]
        for name, head in zip(network.task_names, network.heads.layers, strict=True)
    }
    training = network.train()(x)["buy"][..., :1].sigmoid()
    torch.testing.assert_close(training, own["click"] * own["buy"])
    evaluated = network.eval()(x)["buy"][..., :1].sigmoid()
    torch.testing.assert_close(evaluated, own["click"].mean(1) * own["buy"].mean(1))
