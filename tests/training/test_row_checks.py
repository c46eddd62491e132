"""Layers that draw numbers or look at several rows: on several processes exact or refused."""

import pytest
import torch

from tests.processes import Processes
from tests.training import _row_check_runs as runs

FEW = ("dropout below checkpoints", "frozen statistics")


@pytest.fixture(scope="module")
def two():
    processes = Processes(2)
    yield processes
    processes.close()


def _assert_as_one(found, one):
    for weights in found:
        assert list(weights) == list(one)
        for name, value in one.items():
            assert torch.allclose(weights[name], value, rtol=0, atol=1e-10), name


@pytest.mark.parametrize(
    "name",
    [n if n in FEW else pytest.param(n, marks=pytest.mark.integration) for n in runs.EXACT],
)
def test_layers_that_are_exact(name, two):
    one = runs.trained(name, None)
    for strategy in ("ddp", "fsdp"):
        _assert_as_one(two.run(runs.trained, name, strategy), one)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["dropout of two kinds", "dropout of channels"])
def test_compiled_dropout_is_exact(name, two):
    _assert_as_one(two.run(runs.trained, name, "ddp", True), runs.trained(name, None, True))


def test_ids_that_are_taken_as_unseen_are_those_of_one_process(two):
    _assert_as_one(two.run(runs.with_codes, "ddp"), runs.with_codes(None))


@pytest.mark.parametrize("name", runs.REFUSED)
def test_layers_that_are_refused_before_training(name, two):
    for strategy in ("ddp", "fsdp"):
        for message, same_weights, same_states in two.run(runs.refused, name, strategy):
            assert same_weights
            assert same_states
            if name == "batch normalisation":
                assert message.startswith("'trunk.1' is BatchNorm1d, which would normalise by")
            else:
                assert message.startswith("the network draws random numbers for the rows of one")
            assert "\n" not in message
