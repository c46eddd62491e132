"""Digits and captions: images find their captions, and captions help the classes."""

import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "digits_and_captions.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


def test_classes_gain_from_captions_and_captions_are_found(tmp_path):
    picture = tmp_path / "search.png"
    figures = EXAMPLE["main"](["--small", "--picture", str(picture)])
    for alone, together in zip(figures["class alone"], figures["together"], strict=True):
        assert alone["class"] > 0.6
        assert together["class"] > alone["class"] + 0.03
    for way in ("caption alone", "together"):
        for found in figures[way]:
            assert found["caption"] > 0.4  # one of 30
            assert found["its number"] > 0.9  # one of 10
    assert picture.stat().st_size > 10_000


def test_the_contrastive_loss_is_cross_entropy_over_the_batch_both_ways():
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(3, 64, generator=generator, dtype=torch.float64)
    scores = output[:, :32] @ output[:, 32:].T / 0.1
    found = EXAMPLE["contrastive"](output, torch.tensor([4, 7, 9]))
    by_row, by_column = scores.log_softmax(1).diagonal(), scores.log_softmax(0).diagonal()
    torch.testing.assert_close(found, -(by_row + by_column) / 2, check_dtype=False)


def test_equal_captions_are_both_right():
    output = torch.zeros(2, 64)
    output[:, 0] = output[:, 32] = 1.0
    assert EXAMPLE["contrastive"](output, torch.tensor([1, 1])).tolist() == pytest.approx(
        [0.6931, 0.6931], abs=1e-4
    )


def test_the_network_says_who_owns_what():
    network = EXAMPLE["TwoTowers"]()
    text = sum(p.numel() for p in network.text.parameters())
    assert sum(p.numel() for p in network.task_parameters("match")) == text
    assert {id(p) for p in network.shared_parameters()} == {
        id(p) for p in network.image.parameters()
    }
