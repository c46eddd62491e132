"""Embeddings of ids, against torch's own layers."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Task
from jointrain.networks import CategoryEmbeddings, HardSharing, build_table_network
from jointrain.task import CodeColumns

CODES = [CodeColumns("user", 1, 9), CodeColumns("item", 2, 40), CodeColumns("tags", 3, 6, 2)]
INPUTS = torch.tensor([[0.5, 3, 39, 4, 5, -1], [2.0, 0, 1, 3, 0, 7], [0.0, 8, 2, 0, 0, 0]])


def made(codes=CODES):
    torch.manual_seed(0)
    return CategoryEmbeddings(6, codes).eval()


def test_it_looks_up_what_torch_does():
    layer = made()
    user, item, tags = layer.vectors
    a = nn.Embedding.from_pretrained(user)(INPUTS[:, 1].long())
    b = nn.Embedding.from_pretrained(item)(INPUTS[:, 2].long())
    bag = nn.EmbeddingBag.from_pretrained(tags, mode="mean", padding_idx=0)(INPUTS[:, 3:5].long())
    # the fourth roots of 9, 40 and 6, at least 2; and 3 for the products
    assert [part.shape[1] for part in (a, b, bag)] == [2 + 3, 3 + 3, 2 + 3]
    pairs = a[:, 2:] * b[:, 3:] + a[:, 2:] * bag[:, 2:] + b[:, 3:] * bag[:, 2:]
    expected = torch.cat([INPUTS[:, [0, 5]], a[:, :2], b[:, :3], bag[:, :2], pairs], 1)
    torch.testing.assert_close(layer(INPUTS), expected)
    assert layer.out_features == expected.shape[1]
    assert not bag[2].any()


def test_one_column_has_no_products():
    assert made(CODES[:1]).out_features == 5 + 2


def test_training_takes_some_values_as_unseen():
    layer = made(CODES[:1]).train()
    many = torch.zeros(20_000, 6)
    many[:, 1] = 7
    found = layer(many)[:, 5:]
    unseen = (found == layer.vectors[0][1]).all(1)
    assert (unseen | (found == layer.vectors[0][7]).all(1)).all()
    assert 0.01 < unseen.float().mean() < 0.03
    many[:, 1] = 0
    assert (layer(many)[:, 5:] == layer.vectors[0][0]).all()


def test_nothing_is_unseen_in_use():
    layer = made()
    many = INPUTS.repeat(1000, 1)
    torch.testing.assert_close(layer(many), layer(INPUTS).repeat(1000, 1))


@pytest.mark.parametrize("name", ["hard", "mmoe", "cross-stitch", "ple", "tabm", "mtan"])
def test_any_network_takes_them_first(name):
    tasks = [Task.regression("a"), Task.binary("b")]
    layer = made()
    network = build_table_network(name, layer.out_features, tasks, width=8, depth=2).eval()
    before = network(layer(INPUTS))
    network.put_first(layer)
    found = network(INPUTS)
    for task in ("a", "b"):
        torch.testing.assert_close(found[task], before[task])
    shared = {id(p) for p in network.shared_parameters()}
    assert all(id(vectors) in shared for vectors in layer.vectors)
    assert "input_layer: CategoryEmbeddings" in network.describe()
    alone = network.for_task("b")
    torch.testing.assert_close(alone(INPUTS), found["b"])


def test_in_a_trunk_of_ones_own():
    layer = CategoryEmbeddings(6, CODES)
    trunk = nn.Sequential(layer, nn.Linear(layer.out_features, 4))
    network = HardSharing(trunk, {"a": nn.Linear(4, 1)})
    network(INPUTS)["a"].sum().backward()
    assert layer.vectors[0].grad[3].any()
    assert not layer.vectors[0].grad[4].any()


@pytest.mark.parametrize(
    "codes, message",
    [
        ([], "at least one"),
        ([CodeColumns("a", 6, 9)], r"inputs \[6\] of 6"),
        ([CodeColumns("a", 1, 9), CodeColumns("b", 0, 9, 2)], "at most one of them"),
    ],
)
def test_columns_that_can_not_be(codes, message):
    with pytest.raises(InvalidInputError, match=message):
        CategoryEmbeddings(6, codes)


@pytest.mark.parametrize("code", [9, -1])
def test_a_code_of_no_value(code):
    inputs = INPUTS.clone()
    inputs[1, 1] = code
    with pytest.raises(InvalidInputError, match=f"code {code} of 'user' is none of 0 to 8"):
        made()(inputs)


@pytest.mark.parametrize("code", [2.5, -0.5])
def test_a_code_that_is_not_whole(code):
    inputs = INPUTS.clone()
    inputs[1, 1] = code
    with pytest.raises(InvalidInputError, match=f"code {code} of 'user' is no whole number"):
        made()(inputs)


def test_too_many_codes():
    with pytest.raises(InvalidInputError, match="must be from 2 to"):
        CodeColumns("a", 0, 2**24 + 1)
