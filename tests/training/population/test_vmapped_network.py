"""Networks by vmap: every member is what its own Trainer run makes of it."""

import pytest
import torch
from torch import nn

from jointrain.balancing import balancer_from_name
from jointrain.networks import Dropout, HardSharing, Network, NumericEmbeddings, build_table_network
from jointrain.training import Alternating, Joint, OptimizerSettings, Run, Trainer
from jointrain.training._cross_fitted_weights import CrossFittedWeights
from jointrain.training.population import _population, fit_population, why_not_stacked
from jointrain.training.population._stacked_mlp import why_not_by_hand
from tests.training.population.runs import BY_NAME, assert_alike, make_data

TOLERANCE = 1e-6
"""Products in another order round otherwise, which Adam magnifies where a gradient is near zero."""

NAMES = ("kind", "price", "tags", "grade")
TASKS = [BY_NAME[name] for name in NAMES]


def hard(*layers: nn.Module) -> Network:
    return HardSharing(
        nn.Sequential(*layers), {task.name: nn.Linear(6, task.output_size) for task in TASKS}
    )


def own_heads(dropout: float) -> Network:
    heads = {
        task.name: nn.Sequential(
            nn.Linear(6, 4), nn.GELU(), Dropout(dropout), nn.Linear(4, task.output_size)
        )
        for task in TASKS
    }
    return HardSharing(nn.Linear(5, 6), heads)


def table_network(name: str, **settings):
    return lambda dropout: build_table_network(name, 5, TASKS, width=6, dropout=dropout, **settings)


NETWORKS = {
    "no bias": lambda p: hard(nn.Linear(5, 6, bias=False), nn.ReLU(inplace=True), Dropout(p)),
    "batch normalisation": lambda p: hard(
        nn.BatchNorm1d(5), nn.Linear(5, 8), nn.ReLU(), Dropout(p), nn.Linear(8, 6),
        nn.BatchNorm1d(6, eps=1e-3, momentum=0.3),
    ),
    "slopes": lambda p: hard(nn.Linear(5, 6), nn.PReLU(6), Dropout(p), nn.LayerNorm(6)),
    "linear embeddings": lambda p: hard(
        NumericEmbeddings(5, kind="linear", width=3), Dropout(p), nn.Linear(15, 6), nn.SiLU()
    ),
    "embeddings": table_network("hard", embeddings="periodic", input_dropout=0.1),
    "own heads": own_heads,
    "own layers": table_network("hard", depth=3, shared_depth=1),
    "mmoe": table_network("mmoe", experts=2),
    "cgc": table_network("cgc"),
    "ple": table_network("ple"),
    "cross-stitch": table_network("cross-stitch"),
    "sluice": table_network("sluice"),
    "soft": table_network("soft", strength=0.3),
    "soft by trace": table_network("soft", strength=0.3, distance="trace"),
}  # fmt: skip

IN_TURN = [
    "no bias", "batch normalisation", "slopes", "linear embeddings", "embeddings", "mmoe",
    "cross-stitch",
]  # fmt: skip


def make_run(
    network: str,
    *,
    seed: int,
    rows: int = 61,
    dropout: float = 0.2,
    validated: bool = True,
    balancer: str | None = None,
    first_half: int = 0,
    **settings,
) -> Run:
    torch.manual_seed(seed)
    arguments = {"batch_size": 13, "steps": 40, "schedule": Joint()} | settings
    trainer = Trainer(
        NETWORKS[network](dropout).double(),
        TASKS,
        seed=seed,
        balancer=None if balancer is None else balancer_from_name(balancer),
        device="cpu",
        **arguments,
    )
    check = make_data(37, seed=2).only(NAMES) if validated else None
    halves = CrossFittedWeights(check, first_half) if check is not None and first_half else None
    return Run(trainer, make_data(rows, seed=1).only(NAMES), check, halves)


FAST = OptimizerSettings(learning_rate=0.01)
CASES = [
    {"seed": 0, "patience": 2, "optimizer": FAST, "first_half": 19},
    {"seed": 1, "rows": 40, "dropout": 0.4, "l1": 0.01, "l2": 0.02, "calibrated": True},
    {"seed": 2, "validated": False, "weights": {"price": 3.0, "tags": 0.0}, "gradient_clip": 0.1},
    {"seed": 3, "steps": 17, "optimizer": OptimizerSettings(name="sgd", momentum=0.9)},
    {"seed": 4, "balancer": "uncertainty", "warm_up": 0.2, "decay": "cosine"},
    {"seed": 5, "optimizer": OptimizerSettings(weight_decay=0.5), "rows": 33},
]


@pytest.mark.parametrize(
    ("network", "schedule"),
    [(name, Joint()) for name in NETWORKS] + [(name, Alternating()) for name in IN_TURN],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_member_is_what_its_own_run_makes_of_it(network, schedule):
    runs = [make_run(network, schedule=schedule, **case) for case in CASES]
    assert {why_not_stacked(run) for run in runs} == {None}
    assert why_not_by_hand(runs[0].trainer.network) is not None
    fit_population(runs, size=3)
    for run, case in zip(runs, CASES, strict=True):
        alone = make_run(network, schedule=schedule, **case)
        alone.fit()
        assert_alike(run, alone, TOLERANCE)
        if run.cross_fitted is not None and alone.cross_fitted is not None:
            for state, other in zip(
                run.cross_fitted.states, alone.cross_fitted.states, strict=True
            ):
                torch.testing.assert_close(state, other, rtol=0, atol=TOLERANCE)
        statistics = dict(alone.trainer.network.named_buffers())
        torch.testing.assert_close(dict(run.trainer.network.named_buffers()), statistics)


def test_settings_of_a_network_that_no_weight_tells_of_keep_runs_apart():
    """A network of another strength is no member of the same stack."""
    runs = [make_run("soft", seed=0), make_run("soft by trace", seed=0)]
    fit_population(runs, size=2)
    for run, name in zip(runs, ("soft", "soft by trace"), strict=True):
        alone = make_run(name, seed=0)
        alone.fit()
        assert_alike(run, alone, TOLERANCE)


@pytest.mark.parametrize(("count", "stacked"), [(3, False), (4, True)])
def test_few_runs_are_trained_one_after_the_other(count, stacked, monkeypatch):
    calls, progress = [], []
    stack = _population.Stack
    monkeypatch.setattr(_population, "Stack", lambda *given: calls.append(given) or stack(*given))
    runs = [make_run("mmoe", seed=seed, steps=10) for seed in range(count)]
    fit_population(runs, progress=lambda *at: progress.append(at))
    assert bool(calls) == stacked
    assert all(len(run.trainer.history) == 2 for run in runs)
    assert progress[-1] == (count, count)
    assert progress == sorted(progress)
