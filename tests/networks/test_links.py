"""Networks whose tasks are given each other: products, and who owns what."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Task
from jointrain.networks import MTAN, HardSharing

NAMES = ("buy", "like", "cart", "click")
TASKS = [
    Task.binary("buy", given="cart"),
    Task.binary("like"),
    Task.binary("cart", given="click"),
    Task.binary("click"),
]


def made(**more):
    torch.manual_seed(0)
    heads = {name: nn.Linear(4, 1) for name in NAMES}
    return HardSharing(nn.Linear(3, 4), heads, **more).double()


def linked(tasks=TASKS, **more):
    network = made(**more)
    network.link(tasks)
    return network


def test_probabilities_are_multiplied_along_the_chain():
    x = torch.randn(5, 3).double()
    own = {name: y.sigmoid() for name, y in made()(x).items()}
    network = linked()
    found = {name: y.sigmoid() for name, y in network(x).items()}
    assert list(found) == list(NAMES)
    torch.testing.assert_close(found["click"], own["click"])
    torch.testing.assert_close(found["like"], own["like"])
    torch.testing.assert_close(found["cart"], own["click"] * own["cart"])
    torch.testing.assert_close(found["buy"], own["click"] * own["cart"] * own["buy"])
    assert list(network(x, ["cart"])) == ["cart"]
    torch.testing.assert_close(network(x, ["cart"])["cart"].sigmoid(), found["cart"])
    grouped = network(x, ["buy", "like"], grouped=True)
    assert list(grouped) == [("buy",), ("like",)]


def test_grouped_heads_become_separate_ones_of_the_same_weights():
    x = torch.randn(5, 3).double()
    torch.testing.assert_close(linked(group_from=2)(x)["buy"], linked()(x)["buy"])


def test_a_correction_sees_all_three_probabilities():
    tasks = [Task.binary("buy", given="cart", correction="doubly-robust"), *TASKS[1:]]
    heads = {task.name: nn.Linear(4, task.output_size) for task in tasks}
    network = HardSharing(nn.Linear(3, 4), heads)
    x = torch.randn(5, 3)
    own = network(x)
    network.link(tasks)
    output = network(x)["buy"]
    assert output.shape == (5, 4)
    cart = own["click"].sigmoid() * own["cart"].sigmoid()
    torch.testing.assert_close(output[:, 1:2], own["buy"][:, :1])
    torch.testing.assert_close(output[:, 2:3].sigmoid(), cart)
    torch.testing.assert_close(output[:, :1].sigmoid(), cart * own["buy"][:, :1].sigmoid())
    torch.testing.assert_close(output[:, 3:], own["buy"][:, 1:])


def test_what_others_are_multiplied_by_is_shared_with_them():
    network = linked()
    tasks = {part.path: part.tasks for part in network.all_parts()}
    assert tasks["heads", "click"] == ("buy", "cart", "click")
    assert tasks["heads", "buy"] == ("buy",)
    assert network.task_parameters("click") == []
    assert len(network.task_parameters("like")) == 2
    x = torch.randn(2, 3).double()
    network(x)["buy"].sum().backward()
    reached = {id(p) for p in network.parameters() if p.grad is not None}
    said = {id(p) for part in network.all_parts() if "buy" in part.tasks
            for p in part.all_parameters()}  # fmt: skip
    assert reached == said


@pytest.mark.parametrize("name", NAMES)
def test_one_task_is_cut_out_with_what_it_is_given(name):
    network = linked()
    x = torch.randn(2, 3).double()
    assert torch.equal(network.for_task(name)(x), network(x)[name])
    tasks = [Task.binary("a"), Task.binary("b", given="a"), Task.binary("c")]
    heads = {task.name: nn.Linear(4, 1) for task in tasks}
    mtan = MTAN([nn.Linear(3, 4), nn.Tanh()], heads, example=torch.zeros(1, 3)).eval()
    mtan.link(tasks)
    x = x.float()
    for task in "abc":
        assert torch.equal(mtan.for_task(task)(x), mtan(x)[task])


def test_a_task_that_is_not_there_is_not_multiplied():
    network = made()
    network.link([TASKS[0]])
    assert network.given_places == (2, -1, -1, -1)
    network.link([Task.binary("buy")])
    assert not network.linked
    with pytest.raises(InvalidInputError, match="'a' given 'b' given 'a'"):
        HardSharing(nn.Linear(3, 4), {n: nn.Linear(4, 1) for n in "ab"}).link(
            [Task.binary("a", given="b"), Task.binary("b", given="a")]
        )
