"""Networks from stored weights: as they were, or refused before anything large is built."""

import pytest
import torch

from jointrain import InvalidInputError
from jointrain.networks._registry import NETWORKS, build_table_network
from jointrain.networks._stored_weights import network_of_weights
from jointrain.system.stored_files import DamagedError
from jointrain.task import Task

TASKS = [Task.regression("a"), Task.binary("b"), Task.multiclass("c", 4)]
TASKS += [Task.regression(name) for name in "def"]


def maker(name, **settings):
    return lambda tasks: build_table_network(name, 7, tasks, **{"width": 8, "depth": 2} | settings)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_network_comes_back(name, count):
    tasks = TASKS[:count]
    network = maker(name)(tasks).eval()
    back = network_of_weights(maker(name), tasks, network.state_dict())
    inputs, names = torch.randn(5, 7), [task.name for task in tasks]
    expected, found = network(inputs, names), back(inputs, names)
    assert all(torch.equal(expected[task], found[task]) for task in names)
    assert not back.training


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("count", [15, 16, 17, 40])
def test_a_network_of_many_tasks_comes_back(name, count, classes):
    tasks = [Task.regression(f"t{number}") for number in range(count)]
    tasks[:classes] = [Task.multiclass(f"c{number}", 3 + number) for number in range(classes)]
    make = maker(name, depth=1)  # few tensors beside those of the heads
    network = make(tasks).eval()
    back = network_of_weights(make, tasks, network.state_dict())
    inputs, names = torch.randn(5, 7), [task.name for task in tasks]
    expected, found = network(inputs, names), back(inputs, names)
    assert all(torch.equal(expected[task], found[task]) for task in names)


@pytest.mark.parametrize(
    "name, settings",
    [
        ("hard", {"width": 65_536}),
        ("hard", {"width": 65_536, "embeddings": "periodic"}),
        ("hard", {"depth": 256}),
        ("mmoe", {"experts": 1024, "depth": 256}),
        ("ple", {"shared_experts": 1024, "task_experts": 1024, "depth": 256}),
        ("tabm", {"members": 1024, "width": 65_536}),
        ("low-rank", {"rank": 65_536, "width": 65_536}),
        ("soft", {"depth": 200}),
    ],
)
def test_a_network_larger_than_its_weights_is_not_built(name, settings):
    weights = maker(name)(TASKS[:3]).state_dict()
    with pytest.raises(DamagedError, match=r"larger than its weights|are not those"):
        network_of_weights(maker(name, **settings), TASKS[:3], weights)


@pytest.mark.parametrize("name", ["hard", "soft", "ple"])
def test_more_tasks_than_the_weights_have(name):
    weights = maker(name)(TASKS).state_dict()
    many = [Task.regression(f"t{index}") for index in range(100_000)]
    with pytest.raises(DamagedError, match=r"fewer tasks|larger than its weights"):
        network_of_weights(maker(name, depth=8), many, weights)


def test_weights_that_are_no_numbers():
    weights = maker("hard")(TASKS).state_dict()
    next(iter(weights.values()))[0] = float("nan")
    with pytest.raises(DamagedError, match="no number"):
        network_of_weights(maker("hard"), TASKS, weights)


def test_weights_of_another_type():
    weights = {n: v.double() for n, v in maker("hard")(TASKS).state_dict().items()}
    with pytest.raises(DamagedError, match="are not those"):
        network_of_weights(maker("hard"), TASKS, weights)


def test_counts_have_a_range():
    with pytest.raises(InvalidInputError, match="must be at most 1,024"):
        maker("mmoe", experts=10**9)(TASKS)
