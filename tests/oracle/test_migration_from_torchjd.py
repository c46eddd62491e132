"""The tables of docs/from_torchjd.md: each row run side by side on one network and batch."""

from __future__ import annotations

import inspect
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from jointrain import balancing
from tests.oracle.test_aggregations_against_torchjd import projector

torchjd = pytest.importorskip("torchjd.aggregation")
scalarization = pytest.importorskip("torchjd.scalarization")
autojac = pytest.importorskip("torchjd.autojac")

TASKS = 3
WEIGHTS = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
PAGE = (Path(__file__).parents[2] / "docs/from_torchjd.md").read_text()
AGGREGATORS, SCALARIZERS = (
    re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.*?) \|$", part, re.MULTILINE)
    for part in PAGE.split("## Aggregators")[1].split("## Scalarizers")
)
CLOSE = {"MGDA": 1e-4, "CAGrad": 1e-3, "FairGrad": 1e-3}
"""Theirs are solvers that stop early, or add a number to a norm."""


def network():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh())
    heads = nn.ModuleList(nn.Linear(8, 1) for _ in range(TASKS))
    return nn.ModuleDict({"trunk": trunk, "heads": heads}).double()


def losses_and_features(model):
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)).double()
    y = torch.stack([x[:, 0], -x[:, 0] + x[:, 1], x.sum(1)])
    features = model["trunk"](x)
    outputs = [head(features)[:, 0] for head in model["heads"]]
    return [(o - t).square().mean() for o, t in zip(outputs, y, strict=True)], features


def built(text, module):
    names = {**vars(module), "weights": WEIGHTS}
    for name in ("UPGrad", "UPGradWeighting", "DualProj"):
        if name in vars(module) and name in text:  # without the 1e-4 on the Gramian's diagonal
            names[name] = partial(getattr(module, name), projector=projector())
    return eval(text, names)


@pytest.mark.parametrize("theirs,ours,said", AGGREGATORS, ids=lambda text: text[:40])
def test_gradients_of_a_network(theirs, ours, said):
    if "NashMTL" in theirs:
        pytest.importorskip("ecos")
    aggregator = built(theirs, torchjd)
    balancer = eval(ours, {**vars(balancing), "weights": WEIGHTS})
    if not said.startswith(("same", "times K")):
        return  # random, or another definition: the classes are there, and take these arguments
    mine, other = network(), network()
    losses, features = losses_and_features(mine)
    balancing.backward(losses, balancer, features=features)
    losses, features = losses_and_features(other)
    autojac.mtl_backward(losses, features=features)
    autojac.jac_to_grad(other["trunk"].parameters(), aggregator)
    factor = TASKS if said.startswith("times K") else 1
    found = torch.cat([p.grad.flatten() for p in mine["trunk"].parameters()])
    wanted = factor * torch.cat([p.grad.flatten() for p in other["trunk"].parameters()])
    near = max([v for k, v in CLOSE.items() if k in theirs], default=1e-6)
    assert float((found - wanted).norm()) <= near * float(wanted.norm())
    for own, its in zip(mine["heads"].parameters(), other["heads"].parameters(), strict=True):
        if "Constant" not in theirs and "Excess" not in theirs:
            torch.testing.assert_close(own.grad, its.grad)


@pytest.mark.parametrize("theirs,ours,said", SCALARIZERS, ids=lambda text: text[:40])
def test_gradients_of_losses(theirs, ours, said):
    scalarizer = built(theirs, scalarization)
    balancer = eval(ours, {**vars(balancing), "weights": WEIGHTS})
    if said == "random":
        return
    losses = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    mine, other = losses.clone().requires_grad_(), losses.clone().requires_grad_()
    balancer.objective(mine).backward()
    scalarizer(other).backward()
    factor = TASKS if said.startswith("times K") else 1
    torch.testing.assert_close(mine.grad, factor * other.grad, rtol=1e-5, atol=1e-8)


def test_no_method_of_theirs_is_left_out():
    abstract = {"Aggregator", "GramianWeightedAggregator", "WeightedAggregator", "Weighting"}
    for module, rows in ((torchjd, AGGREGATORS), (scalarization, SCALARIZERS)):
        said = " ".join(theirs for theirs, _, _ in rows)
        for name, value in vars(module).items():
            if not inspect.isclass(value) or name.startswith("_") or name in abstract:
                continue
            plain = name.removesuffix("Weighting")
            known = plain in said or (module is scalarization and plain in _ALSO_AGGREGATORS)
            assert known or name == "Scalarizer", name


_ALSO_AGGREGATORS = {"Sum", "Mean", "Constant"}
