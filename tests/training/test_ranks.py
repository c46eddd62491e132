"""Training by several processes: the same as by one, on the batches of all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch

from jointrain import InvalidInputError, Trainer
from tests.processes import Processes
from tests.training import _rank_runs as runs
from tests.training._rank_runs import CASES, DATA, distances, trained

ALL = [(case, None) for case in CASES] + [
    (case, data) for data in DATA for case in ("the sum", "upgrad")
]
FEW = [
    ("famo", None),
    ("upgrad, accumulated", None),
    ("alternating by progress", None),
    ("batches of fewer rows than processes", None),
    ("accumulated, parts of one or two rows", "labelled"),
    ("upgrad", "mixed"),
    ("the sum", "augmented"),
    ("famo", "rare"),
    ("famo, accumulated", "rare"),
    ("pcgrad, accumulated", "rare rows"),
    ("grouped, upgrad", "rare"),
    ("the sum", "rare, mixed"),
]
FEW_SHARDED = [
    ("clipped, averaged", None),
    ("upgrad", None),
    ("famo", None),
    ("alternating by progress", None),
    ("batches of fewer rows than processes", None),
    ("accumulated, parts of one or two rows", "labelled"),
    ("upgrad", "mixture"),
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


def test_where_gradients_cancel_out_adam_follows_their_rounding(two):
    """What float32 does not promise: see "In float32" in docs/many_ranks.md."""

    def away(dtype, optimizer):
        one = runs.after_one_step(dtype, optimizer, None)
        found = two.run(runs.after_one_step, dtype, optimizer, "ddp")
        assert torch.equal(*found)
        return (found[0] - one).abs()

    # the same sums in another order: descent moves by as much as their rounding
    assert float(away(torch.float32, "sgd").max()) < 1e-3 * 1e-6
    # so does Adam where there is a gradient; where there is none but rounding, it makes a step
    adam = away(torch.float32, "adamw")
    assert float(adam[0]) < 1e-8
    assert 1e-5 < float(adam[1:].max()) <= 2e-3
    # a rounding that is small beside Adam's epsilon is no step
    assert float(away(torch.float64, "adamw").max()) < 1e-10


def test_in_float64_two_processes_are_one_to_1e_10(two):
    for case in ("the sum", "upgrad", "clipped, averaged"):
        weights, *_ = trained(case)
        for others, *_ in two.run(trained, case, None, "ddp"):
            for name, value in weights.items():
                assert torch.allclose(others[name], value, rtol=0, atol=1e-10), (case, name)


def test_a_run_goes_on_with_other_numbers_of_processes(two, tmp_path):
    weights, history, *_ = trained("the sum")
    together, alone = tmp_path / "two", tmp_path / "one"
    two.run(runs.broken_off, str(together), "ddp")
    shutil.copytree(together, alone)
    found = [*two.run(runs.resumed, str(together), "ddp"), runs.resumed(str(alone), None)]
    for others, records in found:
        assert [r.step for r in records] == [r.step for r in history]
        for name, value in weights.items():
            assert torch.allclose(others[name], value, rtol=0, atol=1e-5), name


def test_what_one_process_is_told_holds_for_all(two, tmp_path):
    for step, files in two.run(runs.stopped_by_one, str(tmp_path)):
        assert step == 4
        assert files == [f"step-{n:012d}.safetensors" for n in (2, 4)]


def test_what_one_process_is_told_within_a_step_or_at_an_epochs_end_holds_for_all(two, tmp_path):
    for step, files in two.run(runs.told_within_steps, str(tmp_path)):
        assert step == 8
        assert files == [f"step-{n:012d}.safetensors" for n in (2, 8)]


def test_a_step_on_the_sum_sends_losses_and_gradients_and_waits_once(two):
    """With the losses go five flags: whether to stop, to save, and three signals."""
    numbers = sum(p.numel() for p in runs.network().parameters())
    reached = len(list(runs.network().parameters()))
    losses, gradients = ("all_reduce", 3 + 5), ("all_reduce", numbers + reached)
    for found in two.run(runs.messages_of_steps, True):
        assert found == 4 * [losses, gradients]
    rows = ("all_reduce", 3)
    for found in two.run(runs.messages_of_steps, False):
        assert found == 4 * [rows, losses, gradients]


def test_what_does_not_go_is_refused(two):
    for found in two.run(runs.messages):
        none, unknown, other, loader, foreign, held_out, settings, seed = found
        assert none.startswith("Trainer trains on one process")
        assert "strategy='ddp'" in none
        assert "did you mean 'ddp'" in unknown
        assert "another one than that of the first" in other
        assert "DistributedSampler" in loader
        assert "the training data of some process are others than those of the first" in foreign
        assert "the validation data of some process are others than those of the" in held_out
        for message in (settings, seed):
            assert "the trainer of some process has other settings than the first one's" in message


def test_processes_that_make_something_else_are_refused(two):
    words = {
        "rows": "the training data of some process are others than those of the first",
        "held out": "the validation data of some process are others than those of the first",
        "dropout": "another one than that of the first",
        "rate": "other settings than the first one's (made optimizers)",
        "checkpoints": "other settings than the first one's (checkpoints)",
        "validation": "other settings than the first one's (validation data)",
        "loop": "strategy='ddp' is for `fit`",
        "statistics": "is InstanceNorm1d with running statistics",
        "batch norm": "is SyncBatchNorm, which torch has for GPUs alone",
    }
    for found in two.run(runs.made_apart):
        assert {name for name, said in words.items() if said not in found[name]} == set(), found


def test_one_process_by_itself_is_told_of_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InvalidInputError, match="start it by `torchrun"):
        Trainer(runs.network(), runs.TASKS, strategy="ddp")


def test_the_group_that_was_joined_is_left_at_the_end():
    """Otherwise gloo's threads abort the process now and then, after its work is done."""
    program = """
import atexit, torch
from torch import distributed
from jointrain.training._ranks import joined_ranks
atexit.register(lambda: print("within a group:", distributed.is_initialized()))
joined_ranks("ddp", torch.device("cpu"))
print("within a group:", distributed.is_initialized())
"""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | alone, text=True, capture_output=True
    )
    assert done.stdout.split("\n")[:2] == ["within a group: True", "within a group: False"], done


def test_two_processes_train_shards_as_one(two):
    assert_as_one_process(two.run(distances, FEW_SHARDED, "fsdp"), FEW_SHARDED)


def test_a_run_in_shards_goes_on_in_shards_on_copies_and_alone(two, tmp_path):
    weights, history, *_ = trained("the sum")
    first = tmp_path / "shards"
    two.run(runs.broken_off, str(first), "fsdp")
    newest = max(first.glob("step-*"))
    assert sorted(file.name for file in newest.iterdir()) == ["shards", "state.safetensors"]
    assert len(list((newest / "shards").iterdir())) == 2
    assert len(list(first.glob("step-*"))) == 3
    for strategy in ("fsdp", "ddp"):
        shutil.copytree(first, tmp_path / strategy)
    found = [
        *two.run(runs.resumed, str(tmp_path / "fsdp"), "fsdp"),
        *two.run(runs.resumed, str(tmp_path / "ddp"), "ddp"),
        runs.resumed(str(first), None),
    ]
    for others, records in found:
        assert [r.step for r in records] == [r.step for r in history]
        for name, value in weights.items():
            assert torch.allclose(others[name], value, rtol=0, atol=1e-5), name


def test_a_run_of_one_process_goes_on_in_shards(two, tmp_path):
    weights, *_ = trained("the sum")
    runs.broken_off(str(tmp_path), None)
    for others, _ in two.run(runs.resumed, str(tmp_path), "fsdp"):
        for name, value in weights.items():
            assert torch.allclose(others[name], value, rtol=0, atol=1e-5), name


def test_damaged_shards_are_passed_over_in_words(two, tmp_path):
    two.run(runs.broken_off, str(tmp_path), "fsdp")
    files = sorted(tmp_path.glob("step-*"), reverse=True)
    shard = min((files[0] / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    (files[1] / "state.safetensors").unlink()
    with (
        pytest.warns(UserWarning, match="checksum of shard-00001"),
        pytest.warns(UserWarning, match="lacks state"),
        pytest.warns(UserWarning, match=rf"goes on from the older checkpoint .*{files[2].name}"),
    ):
        runs.resumed(str(tmp_path), None)


def test_a_trainer_of_shards_is_an_ordinary_one_after_fit(two):
    for found in two.run(runs.after_shards):
        apart, together, moved, same, goes_on, restarted = found
        assert apart == {"DTensor"}
        assert together == {"Parameter"}
        assert moved
        assert same == goes_on == 0
        assert restarted < 1e-12


def test_buffers_that_are_not_persistent_are_those_of_the_training(two):
    assert two.run(runs.counted_steps, "ddp") == [8.0, 8.0]
    assert two.run(runs.counted_steps, "fsdp") == [8.0, 8.0]


def test_what_shards_can_not_do_is_refused(two):
    for found in two.run(runs.refused_in_shards):
        for what, message in found.items():
            assert message.startswith(what), message
            assert "strategy='fsdp'" in message or "strategy='ddp'" in message


def test_optimizers_move_shards_as_copies_or_are_refused(two):
    for found in two.run(runs.optimizers_of_shards):
        refused = {name: said for name, said in found.items() if isinstance(said, str)}
        assert "(it moves them to other places than whole ones)" in refused["OfOwnPart"]
        assert set(refused) <= {"Adafactor", "Muon", "Rprop", "OfOwnPart"}
        for name, said in refused.items():
            assert said.startswith(f"the optimiser {name} can't move parameters"), said
            assert said.endswith("take another one, or give strategy='ddp'")
        assert max(away for away in found.values() if not isinstance(away, str)) < 1e-10


def test_a_full_disk_does_not_end_the_training_of_shards(two, tmp_path):
    for steps, said, left in two.run(runs.shards_on_a_full_disk, str(tmp_path)):
        assert steps == runs.trained("the sum")[1][-1].step
        assert "was not written" in said or not said
        assert left == []


@pytest.mark.integration
@pytest.mark.parametrize("case", runs.SHARDED, ids=str)
def test_four_processes_train_shards_as_one(four, case):
    assert_as_one_process(four.run(distances, [case], "fsdp"), [case])


@pytest.mark.integration
def test_four_processes_go_on_with_the_shards_of_two(two, four, tmp_path):
    weights, *_ = trained("the sum")
    two.run(runs.broken_off, str(tmp_path), "fsdp")
    for others, _ in four.run(runs.resumed, str(tmp_path), "fsdp"):
        for name, value in weights.items():
            assert torch.allclose(others[name], value, rtol=0, atol=1e-5), name


@pytest.mark.integration
@pytest.mark.parametrize("case", ALL, ids=str)
def test_four_processes_train_as_one(four, case):
    assert_as_one_process(four.run(distances, [case], "ddp"), [case])
