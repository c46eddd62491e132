from __future__ import annotations

import pytest

from jointrain.balancing import BALANCERS
from tests.balancing._replicas import WRAPPERS, distances
from tests.processes import Processes

METHODS = sorted(BALANCERS)


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


def assert_as_one_process(found):
    for name, result in found.items():
        assert not isinstance(result, str), (name, result)
        away, apart = result
        assert away < 1e-5, (name, away)
        assert apart == 0, (name, apart)


def test_every_method_over_wrapped_copies_equals_one_process(two):
    for found in two.run(distances, METHODS, "ddp"):
        assert set(found) == set(METHODS)
        assert_as_one_process(found)


@pytest.mark.parametrize("wrapper", sorted(set(WRAPPERS) - {"ddp"}))
def test_each_kind_of_copies_equals_one_process(two, wrapper):
    for found in two.run(distances, ["equal", "famo", "upgrad", "graddrop"], wrapper):
        assert_as_one_process(found)


@pytest.mark.integration
@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
def test_every_method_on_four_processes_equals_one(four, wrapper):
    for found in four.run(distances, METHODS, wrapper):
        assert_as_one_process(found)
