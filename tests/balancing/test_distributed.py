from __future__ import annotations

import pytest

from jointrain.balancing import BALANCERS
from tests.balancing._replicas import WRAPPERS, distances
from tests.processes import Processes

METHODS = sorted(BALANCERS)
REFUSED_OVER_SHARDS = {"auto-lambda", "forum", "moml", "modo", "sdmgrad"}


@pytest.fixture(scope="module")
def two():
    processes = Processes(2)
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def four():
    processes = Processes(4)
    yield processes
    processes.close()


def assert_as_one_process(found, refused=frozenset()):
    for name, result in found.items():
        if name in refused:
            assert "is not exact for parameters that `fully_shard` manages" in result
            continue
        assert not isinstance(result, str), (name, result)
        away, apart = result
        assert away < 1e-5, (name, away)
        assert apart == 0, (name, apart)


def test_every_method_over_wrapped_copies_equals_one_process(two):
    for found in two.run(distances, METHODS, "ddp"):
        assert set(found) == set(METHODS)
        assert_as_one_process(found)


def test_every_kind_of_method_over_shards_equals_one_process(two):
    names = [
        "equal",
        "uncertainty",
        "famo",
        "upgrad",
        "gradnorm",
        "log",
        "graddrop",
        "moco",
        "modo",
    ]
    for found in two.run(distances, [*names, "forum"], "sharded"):
        assert_as_one_process(found, REFUSED_OVER_SHARDS)


@pytest.mark.parametrize("wrapper", sorted(set(WRAPPERS) - {"ddp", "sharded"}))
def test_each_kind_of_copies_equals_one_process(two, wrapper):
    for found in two.run(distances, ["equal", "famo", "upgrad", "graddrop"], wrapper):
        assert_as_one_process(found)


@pytest.mark.integration
@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
def test_every_method_on_four_processes_equals_one(four, wrapper):
    refused = REFUSED_OVER_SHARDS if wrapper == "sharded" else set()
    for found in four.run(distances, METHODS, wrapper):
        assert_as_one_process(found, refused)
