"""How far estimates of purchases are off over all exposures, of which clicks alone are labelled.

Run: python benchmarks/chains.py [logs]
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

from jointrain import Task, TensorData, Trainer
from jointrain.networks import HardSharing
from jointrain.training import OptimizerSettings

ROWS, TEST_ROWS, EPOCHS = 10_000, 200_000, 25
WAYS = {
    "naive: trained on clicks": (None, None),
    "product": ("click", None),
    "inverse propensity": ("click", "inverse-propensity"),
    "doubly robust": ("click", "doubly-robust"),
}


def exposures(rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return inputs, clicks, purchases (NaN without a click), p(click) and p(purchase | click)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    click = (-2.0 + 1.5 * x[:, 0]).sigmoid()
    buy = (-1.0 + 1.5 * x[:, 0].clamp(max=0.5) + x[:, 1]).sigmoid()
    clicked = (torch.rand(rows, generator=generator) < click).float()
    bought = (torch.rand(rows, generator=generator) < buy).float()
    return x, clicked, torch.where(clicked == 1, bought, torch.nan), click, buy


def biases(given: str | None, correction: str | None, seed: int) -> tuple[float, float]:
    """Return the bias of p(purchase) and of p(purchase | click), over all exposures."""
    x, clicked, bought, *_ = exposures(ROWS, seed)
    tasks = [
        Task.binary("click"),
        Task.binary("purchase", given=given, correction=correction),
    ]
    torch.manual_seed(seed)
    heads = {task.name: nn.Linear(3, task.output_size) for task in tasks}
    trainer = Trainer(
        HardSharing(nn.Identity(), heads),
        tasks,
        epochs=EPOCHS,
        batch_size=250,
        optimizer=OptimizerSettings(learning_rate=0.02),
        seed=seed,
        device="cpu",
    )
    trainer.fit(TensorData(x, {"click": clicked, "purchase": bought}))
    x, _, _, click, buy = exposures(TEST_ROWS, 10_000)
    p = trainer.predict(x)["purchase"]
    ratio = trainer.predict_given(x).get("purchase|click", p)
    return float((p - click * buy).mean()), float((ratio - buy).mean())


def main() -> None:
    """Print the table of docs/chains.md."""
    logs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    *_, click, buy = exposures(TEST_ROWS, 10_000)
    print(f"truth: p(purchase) {(click * buy).mean():.4f}, p(purchase | click) {buy.mean():.4f}")
    print("| model | bias of p(purchase) | of p(purchase \\| click) |\n| --- | --- | --- |")
    for name, way in WAYS.items():
        found = np.array([biases(*way, seed) for seed in range(logs)])
        mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(logs)
        cells = [f"{m:+.4f} ± {e:.4f}" for m, e in zip(mean, error, strict=True)]
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
