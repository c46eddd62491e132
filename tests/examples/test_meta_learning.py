"""Meta-learning: few steps on a new wave do more after Reptile, or with a new head, than else."""

import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "meta_learning.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize("way, steps", [("Reptile", 2000), ("joint trunk, new head", 2000)])
def test_a_few_steps_on_a_new_wave_do_more_than_from_scratch(way, steps):
    for seed in range(2):
        scratch, _, _ = EXAMPLE["run"]("from scratch", seed, 1)
        errors, _, said = EXAMPLE["run"](way, seed, steps)
        assert errors.shape == (33,)
        assert said.shape == (33, 50)
        assert errors[8] < 0.7 * scratch[8]
        assert errors[32] < errors[0] / 2


def test_reptile_ends_a_block_half_of_the_way():
    class Model:
        network = torch.nn.Linear(1, 1, bias=False)

    reptile, weight = EXAMPLE["Reptile"](), Model.network.weight
    weight.data.fill_(1.0)
    reptile.on_fit_start(Model)
    weight.data.fill_(3.0)
    reptile.on_step_end(Model, 9, {})
    assert weight.item() == 3.0
    reptile.on_step_end(Model, 10, {})
    assert weight.item() == 2.0
    weight.data.fill_(6.0)
    reptile.on_step_end(Model, 20, {})
    assert weight.item() == 4.0


def test_the_program_prints_and_draws(tmp_path, capsys):
    picture = tmp_path / "errors.png"
    EXAMPLE["main"](["--steps", "50", "--seeds", "1", "--picture", str(picture)])
    assert len(capsys.readouterr().out.splitlines()) == len(EXAMPLE["WAYS"])
    assert picture.stat().st_size > 10_000
