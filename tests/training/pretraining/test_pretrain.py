"""Pre-training: it learns, stops, restores its best, repeats, and refuses what it can't take."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.errors import NonFiniteError
from jointrain.training import Contrastive, Denoising, MaskedFeatures, pretrain

OBJECTIVES = [MaskedFeatures(), Denoising(), Contrastive()]


def _rows(n=256, seed=0):
    """Return six columns that two hidden numbers make."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 2, generator=generator)
    mixing = torch.randn(2, 6, generator=torch.Generator().manual_seed(9))
    return hidden @ mixing + 0.05 * torch.randn(n, 6, generator=generator)


def _trunk(dropout=0.0):
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 8))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_the_loss_on_new_rows_falls(objective):
    adam = partial(torch.optim.Adam, lr=3e-3)
    history = pretrain(
        _trunk(), _rows(), objective, validation=_rows(128, 1), optimizer=adam, batch_size=64,
        epochs=25,
    )  # fmt: skip
    first, last = history[0].score, history[-1].score
    # InfoNCE over 64 rows starts near log 64, and with cosines over 1 it can fall by 2 at most
    assert last < (first - 0.3 if objective.kind == "contrastive" else 0.6 * first)
    assert history[-1].validation == {objective.kind: last}


def test_what_is_learned_helps_a_linear_model_of_the_hidden_numbers():
    def error(trunk):
        with torch.no_grad():
            features = torch.cat([trunk(_rows()), torch.ones(256, 1)], 1)
            tests = torch.cat([trunk(_rows(512, 5)), torch.ones(512, 1)], 1)
        wanted = [
            torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))[:, 0].abs()
            for n, seed in ((256, 0), (512, 5))
        ]
        few = slice(0, 40)
        solution = torch.linalg.lstsq(features[few], wanted[0][few, None]).solution
        return (tests @ solution - wanted[1][:, None]).square().mean().item()

    trunk = _trunk()
    untrained = copy.deepcopy(trunk)
    adam = partial(torch.optim.Adam, lr=3e-3)
    pretrain(trunk, _rows(), Denoising(), optimizer=adam, batch_size=64, epochs=40)
    assert error(trunk) < error(untrained)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_the_same_seed_gives_the_same_bits(objective):
    start, states = _trunk(dropout=0.3), []
    for noise, seed in ((1, 4), (2, 4), (1, 5)):
        torch.manual_seed(noise)
        trunk = copy.deepcopy(start)
        pretrain(trunk, _rows(), objective, batch_size=64, epochs=2, seed=seed)
        states.append(trunk[0].weight.detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_best_weights_are_restored_and_patience_stops():
    states, trunk = [], _trunk()
    wild = partial(torch.optim.SGD, lr=0.5)
    history = pretrain(
        trunk, _rows(), Denoising(), validation=_rows(64, 3), optimizer=wild, epochs=300,
        patience=3, on_epoch_end=lambda record: states.append(trunk[0].weight.detach().clone()),
    )  # fmt: skip
    best = max(i for i, record in enumerate(history) if record.best)
    assert len(history) == best + 1 + 3
    assert torch.equal(trunk[0].weight, states[best])
    assert not trunk.training


def test_steps_warm_up_and_clipping():
    rates, norms = [], []
    trunk = _trunk()

    class Watched(torch.optim.SGD):
        def step(self, *arguments):
            rates.append(self.param_groups[0]["lr"])
            gradients = [p.grad.flatten() for g in self.param_groups for p in g["params"]]
            norms.append(torch.cat(gradients).norm().item())
            super().step(*arguments)

    history = pretrain(
        trunk, _rows(), MaskedFeatures(), optimizer=partial(Watched, lr=0.1), steps=5,
        batch_size=128, warm_up=0.4, decay="cosine", gradient_clip=1e-3,
    )  # fmt: skip
    assert [record.step for record in history] == [2, 4, 5]
    assert rates[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    assert rates[3] > rates[4] > 0
    assert norms == pytest.approx([1e-3] * 5, rel=1e-3)


class _Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        return self.layer(x)[:, None].expand(-1, 3, -1)


@pytest.mark.parametrize(
    "trunk, rows, message",
    [
        (
            _trunk(),
            torch.randn(5, 2, 3),
            r"\[n, d\] floating-point, got float32 of shape \(5, 2, 3",
        ),
        (_trunk(), torch.ones(5, 6, dtype=torch.long), r"got int64 of shape \(5, 6\)"),
        (_trunk(), torch.full((5, 6), float("nan")), "hold a value that is not finite"),
        (
            _Sequences(),
            torch.randn(5, 6),
            r"maps \[b, d\] to \[b, f\]; for 2 rows it gave \(2, 3, 4",
        ),
        (nn.Identity(), torch.randn(5, 6), "no parameter to pretrain"),
    ],
)
def test_what_can_not_be_pretrained_is_refused(trunk, rows, message):
    with pytest.raises(InvalidInputError, match=message):
        pretrain(trunk, rows, MaskedFeatures(), epochs=1)


def test_patience_without_validation_and_a_loss_that_explodes_are_refused():
    with pytest.raises(InvalidInputError, match="`patience` needs validation rows"):
        pretrain(_trunk(), _rows(), Denoising(), patience=2)
    wild = partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(InvalidInputError, match=r"the denoising loss is not finite by step \d"):
        pretrain(_trunk(), _rows(), Denoising(), optimizer=wild, epochs=20)


def test_a_validation_loss_that_is_not_finite_is_refused():
    rows = _rows(40)
    spoilt = rows.clone()
    spoilt[7, 0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"denoising loss of the validation rows is \w+ by"):
        pretrain(_trunk(), rows, Denoising(), validation=spoilt, epochs=1)
