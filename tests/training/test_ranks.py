"""Training by several processes: the same as by one, on the batches of all of them."""

from __future__ import annotations

import pytest
import torch

from tests.processes import Processes
from tests.training._rank_runs import CASES, DATA, distances, trained

ALL = [(case, None) for case in CASES] + [
    (case, data) for data in DATA for case in ("the sum", "upgrad")
]
FEW = [
    ("the sum", None),
    ("famo", None),
    ("upgrad, accumulated", None),
    ("alternating by progress", None),
    ("batches of fewer rows than processes", None),
    ("the sum", "rows"),
    ("upgrad", "mixed"),
]


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


def assert_as_one_process(found, cases):
    for case in cases:
        weights, history, metrics, predictions = trained(*case)
        for of_rank in found:
            others = of_rank[case]
            for name, value in weights.items():
                assert torch.allclose(others[0][name], value, rtol=0, atol=1e-5), (case, name)
            assert len(others[1]) == len(history), case
            for mine, record in zip(others[1], history, strict=True):
                assert mine.training == pytest.approx(record.training, abs=1e-5), case
                assert mine.validation == pytest.approx(record.validation, abs=1e-5), case
                assert (mine.best, mine.step, mine.phase, mine.converged) == (
                    record.best, record.step, record.phase, record.converged,
                ), case  # fmt: skip
            for task, values in metrics.items():
                assert others[2][task] == pytest.approx(values, abs=1e-5), case
            for task, value in predictions.items():
                assert torch.allclose(others[3][task], value, rtol=0, atol=1e-5), (case, task)


def test_two_processes_train_as_one(two):
    assert_as_one_process(two.run(distances, FEW, "ddp"), FEW)


@pytest.mark.integration
@pytest.mark.parametrize("case", ALL, ids=str)
def test_four_processes_train_as_one(four, case):
    assert_as_one_process(four.run(distances, [case], "ddp"), [case])
