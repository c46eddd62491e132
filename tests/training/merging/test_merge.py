"""Merge as a value: what it accepts, and what it chooses from."""

import json

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from jointrain import HardSharing, InvalidInputError, Merge, Task
from jointrain.networks import build_network
from jointrain.training import AnySchedule, from_plain


def _network(**heads):
    return HardSharing(nn.Linear(3, 4), heads or {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})


def test_defaults_follow_the_method():
    assert Merge().method == "mean"
    assert Merge("ties").density == 0.2
    assert Merge("dare").density == 0.5
    assert Merge("dare").then == "arithmetic"
    assert Merge("arithmetic").density is None


@pytest.mark.parametrize(
    "merge",
    [
        Merge(),
        Merge("arithmetic", weights={"a": 2, "b": 0.5}),
        Merge("ties", density=0.4, coefficient=1.5, head_epochs=3),
        Merge("dare", then="ties", weights="searched"),
    ],
)
def test_it_goes_through_json_and_back(merge):
    adapter = TypeAdapter(AnySchedule)
    plain = json.loads(json.dumps(adapter.dump_python(merge, mode="json")))
    assert plain["kind"] == "merge"
    assert from_plain(AnySchedule, plain, "schedule") == merge
    assert hash(merge) == hash(from_plain(AnySchedule, plain, "schedule"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "tis"}, "must be one of mean, arithmetic, ties, dare, got 'tis'.*'ties'"),
        ({"method": "ties", "density": 0}, r"`density` must lie in \(0, 1\], got 0"),
        ({"method": "mean", "density": 0.5}, "`density` goes with 'ties' and 'dare', not 'mean'"),
        ({"method": "mean", "coefficient": 0.5}, "method 'mean' has no `coefficient`"),
        ({"method": "ties", "coefficient": -1}, "`coefficient` must be positive, got -1"),
        ({"method": "ties", "then": "ties"}, "`then` goes with 'dare', not 'ties'"),
        ({"method": "dare", "then": "mean"}, "`then` must be 'arithmetic' or 'ties', got 'mean'"),
        ({"weights": "size"}, "`weights` of Merge.* got 'size'"),
        ({"weights": {"a": -1}}, "gives 'a' -1.0, must be >= 0"),
        ({"head_epochs": -1}, "`head_epochs` must be at least 0, got -1"),
    ],
)
def test_what_does_not_go_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Merge(**settings)


def test_only_trunks_shared_by_all_can_be_merged():
    Merge().check(_network(), ["a", "b"])
    tasks = [Task.regression("a"), Task.regression("b")]
    experts = build_network("mmoe", 3, tasks, width=4, depth=1, dropout=0.0, input_dropout=0.0)
    with pytest.raises(InvalidInputError, match="MMoE shares in another way; use HardSharing"):
        Merge().check(experts, ["a", "b"])
    frozen = _network()
    frozen.trunk.requires_grad_(False)
    with pytest.raises(InvalidInputError, match="no shared weights are trained"):
        Merge().check(frozen, ["a", "b"])


def test_weights_name_tasks():
    with pytest.raises(InvalidInputError, match=r"names 'prize', which is no task .did .*'price'"):
        Merge(weights={"prize": 2}).check(_network(), ["price", "b"])
    with pytest.raises(InvalidInputError, match="must not all be 0"):
        Merge(weights={"a": 0, "b": 0}).check(_network(), ["a", "b"])
    assert Merge("arithmetic", weights={"b": 2}).first_weights(["a", "b"]) == (1.0, 2.0)


def test_without_validation_data_there_is_one_coefficient():
    assert Merge("mean").coefficients(4, validates=True) == (1.0,)
    assert Merge("arithmetic").coefficients(4, validates=False) == (0.25,)
    assert Merge("dare").coefficients(4, validates=False) == (0.25,)
    assert Merge("ties").coefficients(4, validates=False) == (1.0,)
    assert Merge("dare", then="ties").coefficients(4, validates=False) == (1.0,)
    assert Merge("ties", coefficient=0.7).coefficients(4, validates=True) == (0.7,)
    assert len(Merge("ties").coefficients(4, validates=True)) > 5


def test_the_methods_by_hand():
    vectors = [{"w": torch.tensor([4.0, 1.0, -3.0])}, {"w": torch.tensor([-2.0, 0.5, -1.0])}]
    generator = torch.Generator().manual_seed(0)

    def merged(merge):
        return merge.combined(merge.sparse(vectors, generator), (1.0, 1.0))["w"].tolist()

    assert merged(Merge("mean")) == [1.0, 0.75, -2.0]
    assert merged(Merge("arithmetic")) == [2.0, 1.5, -4.0]
    # two thirds of each: [4, 0, -3] and [-2, 0, -1]
    assert merged(Merge("ties", density=0.7)) == [4.0, 0.0, -2.0]
    assert merged(Merge("dare", density=1.0)) == [2.0, 1.5, -4.0]
    assert merged(Merge("dare", density=1.0, then="ties")) == [4.0, 0.75, -2.0]
