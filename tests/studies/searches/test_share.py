"""The search for the split point: on tables, and for blocks of one's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Recipe, Separate, Study, Task, TensorData
from jointrain.experiments import Experiment, Folds, named_recipes
from jointrain.networks import CrossStitch, HardSharing
from jointrain.studies.searches import search_shared_depth, search_split
from jointrain.studies.searches._split_networks import split_networks
from tests.studies._tables import NARROW, QUICK, mixed_table, two_pairs

FEW = {"folds": 2, "seeds": 1, "workers": 1}


def test_every_split_point_is_measured():
    recipe = replace(QUICK, depth=2)
    found = search_shared_depth(mixed_table(), recipe, **FEW)
    assert list(found.depths.values()) == [2, 1, 0]
    assert set(found.candidates.names) == {"separate", *found.depths}
    assert found.candidates.reference == "2 of 2 shared"
    assert found.chosen in (0, 1, 2)
    assert found.recommended in (found.chosen, 2)


def test_conflicting_tasks_want_trunks_of_their_own():
    found = search_shared_depth(two_pairs(), NARROW, **FEW)
    scores = [found.candidates.score(name) for name in found.depths]
    assert scores[1] > scores[0] + 5
    assert found.chosen == 0


def blocks() -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 8), nn.Tanh())]


def data(rows: int = 60) -> TensorData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=generator)
    regression = x.sum(1)
    regression[::5] = torch.nan
    kind = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    labels = torch.stack([(x[:, 2] > 0).float(), (x[:, 3] > 0).float()], dim=1)
    return TensorData(x, {"value": regression, "kind": kind, "flags": labels})


TASKS = [Task.regression("value"), Task.multiclass("kind", 3), Task.multilabel("flags", 2)]


def heads() -> dict[str, nn.Module]:
    return {"value": nn.Linear(8, 1), "kind": nn.Linear(8, 3), "flags": nn.Linear(8, 2)}


def test_blocks_of_ones_own_are_split_and_left_as_they_were():
    trunk, own = blocks(), heads()
    before = [p.clone() for block in trunk for p in block.parameters()]
    settings = {"folds": 2, "epochs": 3, "device": "cpu", "batch_size": 16}
    found = search_split(trunk, own, TASKS, data(), **settings)
    assert list(found.depths.values()) == [2, 1, 0]
    assert found.candidates.baseline == "0 of 2 shared"
    for name in found.depths:
        assert len(found.candidates.values(name, "kind", "accuracy")) == 2
    after = [p for block in trunk for p in block.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    again = search_split(trunk, own, TASKS, data(), **settings)
    assert again.candidates.table.equals(found.candidates.table)


def test_pretrained_blocks_keep_their_weights():
    frozen = {"folds": 2, "steps": 1, "device": "cpu", "reinitialize": False}
    found = search_split(blocks(), heads(), TASKS, data(), **frozen)
    values = [found.candidates.values(name, "value", "RMSE") for name in found.depths]
    # after one small step from the same weights, all split points are still nearly the same
    np.testing.assert_allclose(values[0], values[1], rtol=0.02)
    np.testing.assert_allclose(values[0], values[2], rtol=0.02)


def test_the_smallest_budget_compares_all_split_points(here):
    found = search_shared_depth(mixed_table(), QUICK, budget=1e-6, **FEW)
    assert list(found.depths.values()) == [1, 0]
    assert found.recommended in found.depths.values()
    assert "nothing larger was done in time" in " ".join(found.candidates.notes)


class Residual(nn.Module):
    """A trunk that is no Sequential: it can be cut between its blocks, not inside of the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        x = self.first(x).relu()
        return self.last(x + self.inner(x))


def seeded(make_trunk, width):
    """Return a factory whose weights are the same in every call."""

    def make(tasks):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            trunk = make_trunk()
            heads = {task.name: nn.Linear(width, task.output_size) for task in tasks}
            for head in heads.values():
                nn.init.constant_(head.weight, 0.1)
                nn.init.zeros_(head.bias)
        return HardSharing(trunk, heads)

    return make


def of_four_layers():
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5)
    )


@pytest.mark.parametrize(
    ("make", "shared"),
    [
        (seeded(of_four_layers, 5), [145, 110, 56, 0]),
        (seeded(Residual, 4), [60, 40, 20, 0]),
        (seeded(lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Flatten(), nn.Linear(4, 4),
                                      nn.Linear(4, 4)), 4), [40, 20, 0]),
    ],
)  # fmt: skip
def test_networks_of_ones_own_share_fewer_and_fewer_blocks(make, shared):
    """They compute the same; what is shared is counted by hand."""
    own = Experiment(TASKS[:2], make, data().only(["value", "kind"]), Folds(2))
    inputs = torch.randn(3, 4)
    whole = make(own.tasks).eval()
    for factory, count in zip(split_networks(own, Recipe()), shared, strict=True):
        network = (factory or make)(own.tasks).eval()
        assert sum(p.numel() for p in network.shared_parameters()) == count
        for name, values in network(inputs).items():
            torch.testing.assert_close(values, whole(inputs)[name])


def test_the_split_of_networks_of_ones_own_is_searched():
    own = Experiment(TASKS[:2], seeded(of_four_layers, 5), data().only(["value", "kind"]), Folds(3))
    recipe = Recipe(epochs=2, batch_size=16)
    found = search_shared_depth(own, recipe, seeds=1, workers=1)
    assert list(found.depths.values()) == [3, 2, 1, 0]
    assert found.candidates.names[0] == "separate"
    joint = Study(own, named_recipes(["separate", "joint"], recipe), seeds=1).run(workers=1)
    for ours, theirs in (("3 of 3 shared", "joint"), ("separate", "separate")):
        assert np.array_equal(
            found.candidates.values(ours, "value", "RMSE"), joint.values(theirs, "value", "RMSE")
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: HardSharing(nn.Linear(4, 8), heads()), "the trunk of the network, Linear, has"),
        (lambda _: HardSharing([nn.Linear(4, 4), nn.Linear(4, 8)], heads()), "with one trunk"),
        (lambda _: CrossStitch([nn.Linear(4, 8)], heads()), "makes a CrossStitch"),
    ],
)
def test_networks_that_can_not_be_cut(make, message):
    with pytest.raises(InvalidInputError, match=message):
        search_shared_depth(Experiment(TASKS, make, data(), Folds(2)), Recipe(epochs=2))


def test_bad_input_is_refused():
    loop = Experiment.of(run=lambda *_: {}, tasks=TASKS, splits=3)
    with pytest.raises(InvalidInputError, match="can't be asked of a loop"):
        search_shared_depth(loop)
    with pytest.raises(InvalidInputError, match="nothing is shared"):
        search_shared_depth(mixed_table(), replace(QUICK, schedule=Separate()), **FEW)
    with pytest.raises(InvalidInputError, match="`blocks` is empty"):
        search_split([], heads(), TASKS, data())
    with pytest.raises(InvalidInputError, match="two or more"):
        search_split(blocks(), heads(), TASKS[:1], data())
    with pytest.raises(InvalidInputError, match="`importance` names 'vlue'"):
        search_split(blocks(), heads(), TASKS, data(), importance={"vlue": 1})


def test_networks_with_tied_weights_are_not_split():
    def tied(tasks):
        trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8))
        every = heads()
        every["kind"] = nn.Sequential(trunk[2], nn.Linear(8, 3))
        return HardSharing(trunk, {task.name: every[task.name] for task in tasks})

    with pytest.raises(InvalidInputError, match="a copy for each task would untie them"):
        split_networks(Experiment(TASKS, tied, data(), Folds(2)), Recipe())

    def repeated(tasks):
        layer, every = nn.Linear(8, 8), heads()
        trunk = nn.Sequential(nn.Linear(4, 8), layer, nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), layer)
        return HardSharing(trunk, {task.name: every[task.name] for task in tasks})

    found = split_networks(Experiment(TASKS, repeated, data(), Folds(2)), Recipe())
    assert [one and one.split_at for one in found] == [None, "1", None]
