"""Auxiliary tasks: Auto-Lambda turns the noise down and the main task gains."""

import runpy
from pathlib import Path

import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "auxiliary_tasks.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


def test_the_main_task_gains_and_the_noise_loses_its_weight(tmp_path, capsys):
    picture = tmp_path / "weights.png"
    accuracies = EXAMPLE["main"](["--small", "--picture", str(picture)])
    mean = {way: sum(values) / len(values) for way, values in accuracies.items()}
    assert mean["main task alone"] > 0.5  # ten classes
    assert mean["all, Auto-Lambda"] > mean["all, equal weights"]
    assert picture.stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == len(EXAMPLE["WAYS"])


def test_the_weight_of_the_noise_falls_below_that_of_the_main_task():
    for seed in range(2):
        _, weights = EXAMPLE["train"]("all, Auto-Lambda", seed, 100)
        digit, _, noise = weights[-1]
        assert len(weights) == 100
        assert digit > 0.5 > noise


def test_few_rows_have_a_label_of_the_main_task_and_no_row_is_in_two_sets():
    train, held_out, test = EXAMPLE["make_data"](0)
    assert int((train.targets["digit"] != -100).sum()) == 100
    assert bool((train.targets["noise"] != -100).all())
    assert len({tuple(x) for data in (train, held_out, test) for x in data.inputs.tolist()}) == 1797


def test_a_seed_gives_the_same_run_again():
    first, second = (EXAMPLE["train"]("all, Auto-Lambda", 5, 4) for _ in range(2))
    assert first == second
    assert torch.tensor(first[1]).isfinite().all()
