"""A trainer on chains: what it trains on, what it measures, and how far off it is."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Task, TensorData, Trainer
from jointrain.bundle import load_bundle, save_bundle
from jointrain.networks import HardSharing
from jointrain.training import Alternating, OptimizerSettings, Run
from jointrain.training.merging import Merge
from jointrain.training.population import why_not_stacked


def exposures(rows: int, seed: int):
    """Return inputs, clicks, purchases where there was a click, and both true probabilities."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    click = (-2.0 + 1.5 * x[:, 0]).sigmoid()
    # bent, which no line can follow
    buy = (-1.0 + 1.5 * x[:, 0].clamp(max=0.5) + x[:, 1]).sigmoid()
    clicked = (torch.rand(rows, generator=generator) < click).float()
    bought = (torch.rand(rows, generator=generator) < buy).float()
    return x, clicked, torch.where(clicked == 1, bought, math.nan), click, buy


def make(tasks):
    torch.manual_seed(0)
    return HardSharing(nn.Identity(), {task.name: nn.Linear(3, task.output_size) for task in tasks})


def fitted(correction=None, rows=4000, epochs=12, seed=0, given="click", batch_size=250, **more):
    x, click, buy, *_ = exposures(rows, seed)
    tasks = [Task.binary("click"), Task.binary("buy", given=given, correction=correction)]
    settings = OptimizerSettings(learning_rate=0.03)
    trainer = Trainer(
        make(tasks), tasks, epochs=epochs, batch_size=batch_size, optimizer=settings, device="cpu",
        **more,
    )  # fmt: skip
    trainer.fit(TensorData(x, {"click": click, "buy": buy}))
    return trainer


def biases(trainer) -> tuple[float, float]:
    """Return the bias of the mean of p(buy), and of p(buy | click), over all exposures."""
    x, _, _, click, buy = exposures(50_000, 99)
    predicted = trainer.predict(x)["buy"]
    given = trainer.predict_given(x).get("buy|click", predicted)
    return float((predicted - click * buy).mean()), float((given - buy).mean())


def test_the_bias_over_all_exposures_is_a_fraction_of_a_naive_models():
    naive, chained = biases(fitted(given=None)), biases(fitted())
    assert naive[0] > 0.2
    assert abs(chained[0]) < naive[0] / 20


@pytest.mark.integration
def test_a_correction_takes_the_bias_of_what_follows_a_click():
    def mean(**more):
        # few clicks where they are rare weigh much: a mean of 10,000 rows is off by 0.02 by itself
        big = {"rows": 100_000, "epochs": 5, "batch_size": 1000}
        return np.abs(np.mean([biases(fitted(seed=s, **big, **more)) for s in range(3)], axis=0))

    # a product alone does not: both are right on clicks, and clicks are no sample
    assert mean(given=None)[1] > 0.03
    chained = mean()
    assert chained[1] > 0.03
    for correction in ("inverse-propensity", "doubly-robust"):
        corrected = mean(correction=correction)
        assert corrected[0] < 0.01
        assert corrected[1] < chained[1] / 3


@pytest.mark.parametrize("correction", [None, "inverse-propensity", "doubly-robust"])
def test_both_probabilities_are_measured_and_kept(correction, tmp_path):
    trainer = fitted(correction, rows=600, epochs=2, schedule=Alternating())
    x, click, buy, *_ = exposures(500, 1)
    targets = {"click": click, "buy": buy}
    metrics = trainer.evaluate(TensorData(x, targets))["buy"]
    p, given = trainer.predict(x), trainer.predict_given(x)["buy|click"]
    torch.testing.assert_close(p["click"] * given, p["buy"])
    from sklearn.metrics import log_loss

    label = torch.where(click == 1, buy, 0.0)
    assert metrics["log-loss"] == pytest.approx(log_loss(label, p["buy"]), rel=1e-4)
    clicked = click == 1
    assert metrics["log-loss given click"] == pytest.approx(
        log_loss(buy[clicked], given[clicked]), rel=1e-4
    )
    save_bundle(trainer, tmp_path / "bundle", factory=make)
    loaded = load_bundle(tmp_path / "bundle", factories={f"{__name__}:make": make})
    assert loaded.tasks == trainer.model.tasks
    assert torch.equal(loaded.predict_given(x)["buy|click"], given)


def test_batches_of_a_data_set_are_read_alike():
    class Rows(torch.utils.data.Dataset):
        def __init__(self, x, click, buy):
            self.rows = [(x[i], {"click": click[i], "buy": buy[i]}) for i in range(len(x))]

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            return self.rows[index]

    x, click, buy, *_ = exposures(200, 2)
    trainer = fitted("doubly-robust", rows=300, epochs=1)
    memory = trainer.evaluate(TensorData(x, {"click": click, "buy": buy}))
    for name, values in trainer.evaluate(Rows(x, click, buy)).items():
        assert values == pytest.approx(memory[name])
    trainer.fit(Rows(x, click, buy), Rows(x, click, buy))
    assert trainer.history[-1].validation["buy"] > 0


def test_what_can_not_be_is_said():
    x, click, buy, *_ = exposures(50, 0)
    tasks = [Task.binary("click"), Task.binary("buy", given="click")]
    with pytest.raises(InvalidInputError, match=r"Merge\(\) trains each task apart, and 'buy'"):
        Trainer(make(tasks), tasks, schedule=Merge())
    trainer = Trainer(make(tasks), tasks, epochs=1, device="cpu")
    wrong = TensorData(x, {"click": torch.zeros(50), "buy": torch.ones(50)})
    with pytest.raises(InvalidInputError, match="row 1 has 'buy' without 'click'"):
        trainer.fit(wrong)
    chained = [tasks[0], Task.binary("buy", given="click", correction="doubly-robust")]
    trainer = Trainer(make(chained), chained, epochs=1, device="cpu")
    apart = {"click": TensorData(x, {"click": click}), "buy": TensorData(x, {"buy": buy})}
    with pytest.raises(InvalidInputError, match="does not say which rows were selected; give its"):
        trainer.fit(apart)
    run = Run(trainer, TensorData(x, {"click": click, "buy": buy}), None)
    assert "kind that is trained by itself" in why_not_stacked(run)
