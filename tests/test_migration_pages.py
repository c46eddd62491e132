"""What docs/from_libmtl.md and docs/comparison.md say of names and counts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from jointrain import balancing, networks
from jointrain.balancing import BALANCERS

DOCS = Path(__file__).parents[1] / "docs"
LIBMTL = (DOCS / "from_libmtl.md").read_text()
WEIGHTINGS, ARCHITECTURES = (
    re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", part, re.MULTILINE)
    for part in LIBMTL.split("## Weightings")[1].split("## Architectures")
)
# of LibMTL's README, May 2025
THEIR_WEIGHTINGS = {
    "EW",
    "GradNorm",
    "UW",
    "MGDA",
    "DWA",
    "GLS",
    "PCGrad",
    "GradDrop",
    "IMTL",
    "GradVac",
    "CAGrad",
    "MOML",
    "Nash_MTL",
    "RLW",
    "AutoLambda",
    "MoCo",
    "Aligned_MTL",
    "FAMO",
    "SDMGrad",
    "MoDo",
    "FORUM",
    "STCH",
    "ExcessMTL",
    "FairGrad",
    "DB_MTL",
    "UPGrad",
}
THEIR_ARCHITECTURES = {"HPS", "Cross_stitch", "MMoE", "MTAN", "CGC", "PLE", "LTB", "DSelect_k"}


def test_no_method_of_libmtl_is_left_out():
    assert sorted(name for name, _ in WEIGHTINGS) == sorted(THEIR_WEIGHTINGS)
    assert sorted(name for name, _ in ARCHITECTURES) == sorted(THEIR_ARCHITECTURES)


@pytest.mark.parametrize("theirs,ours", WEIGHTINGS)
def test_balancer_takes_these_arguments(theirs, ours):
    assert isinstance(eval(ours, dict(vars(balancing))), balancing.Balancer)


@pytest.mark.parametrize("theirs,ours", ARCHITECTURES)
def test_network_is_there(theirs, ours):
    assert issubclass(getattr(networks, ours), networks.Network)


def cells(first):
    page = (DOCS / "comparison.md").read_text()
    row, _ = re.findall(rf"^\| {first} \| (.*) \|$", page, re.MULTILINE)  # of the first table
    return row.split(" | ")


def test_counts_of_the_comparison():
    ours, _, libmtl, *_ = cells("methods that balance tasks")
    assert int(ours) == len(BALANCERS)
    assert int(libmtl) == len(THEIR_WEIGHTINGS)
    ours, _, libmtl, *_ = cells("ways to share layers")
    assert int(ours) == len(networks.NETWORKS)
    assert int(libmtl) == len(THEIR_ARCHITECTURES)


def test_counts_of_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    scalarization = pytest.importorskip("torchjd.scalarization")
    abstract = {"Aggregator", "GramianWeightedAggregator", "WeightedAggregator", "Weighting"}
    methods = {
        name.removesuffix("Weighting")
        for name, value in vars(aggregation).items()
        if inspect.isclass(value) and name not in abstract
    }
    scalarizers = {
        name
        for name, value in vars(scalarization).items()
        if inspect.isclass(value) and name != "Scalarizer"
    }
    said = f"{len(methods)} aggregators and weightings, {len(scalarizers)} scalarizers"
    assert cells("methods that balance tasks")[1] == said
    assert said.replace(", ", " and ") in (DOCS / "from_torchjd.md").read_text()


def test_the_readme_counts_the_methods():
    readme = (DOCS.parent / "README.md").read_text()
    assert f"by one of {len(BALANCERS)} methods" in readme
    assert f"\n{len(BALANCERS)} balancing methods" in readme
    listed = (DOCS / "balancing.md").read_text().split("## Which methods there are")[1]
    rows = "".join(re.findall(r"^\| .* \| (`.*) \|$", listed.split("##")[0], re.MULTILINE))
    assert sorted(re.findall(r"`([\w-]+)`", rows)) == sorted(BALANCERS)


def test_versions_of_the_comparison_are_those_of_the_tests():
    pins = dict(
        re.findall(r"^([\w-]+)==(\S+)", (DOCS.parent / "constraints.txt").read_text(), re.MULTILINE)
    )
    page = (DOCS / "comparison.md").read_text()
    for name in ("TorchJD", "Lightning", "Keras"):
        (said,) = re.findall(rf"^\| \|.*\| {name} ([\d.]+) \|", page, re.MULTILINE)
        assert pins[name.lower()].startswith(said + ".")


def test_pages_count_the_balancers_of_the_ledger():
    rows = re.findall(r"^\| ([a-z0-9-]+) \| [+-]\d", (DOCS / "ledger.md").read_text(), re.MULTILINE)
    assert set(rows) <= set(BALANCERS)
    readme = (DOCS.parent / "README.md").read_text()
    assert f"([ledger](docs/ledger.md)) | none of {len(rows)} |" in readme
    choosing = (DOCS / "choosing_a_balancer.md").read_text()
    assert f"**none of {len(rows)} methods is shown to beat static weights" in choosing
