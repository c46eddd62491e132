"""Every network, small, with three tasks on eight numbers: what the conformance suite drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from jointrain.networks import (
    AITM,
    CGC,
    MTAN,
    NETWORKS,
    PLE,
    CrossStitch,
    DSelectK,
    HardSharing,
    LayerSharing,
    LearningToBranch,
    LowRankAdapters,
    MMoE,
    Network,
    ParetoSet,
    Sluice,
    SoftSharing,
    build_network,
)
from jointrain.task import Task

TASKS = (Task.regression("a"), Task.multiclass("b", 3), Task.binary("c"))
FEATURES = 8

Builder = Callable[[Sequence[Task]], Network]


def _heads(tasks: Sequence[Task]) -> dict[str, nn.Module]:
    return {task.name: nn.Linear(4, task.output_size) for task in tasks}


def _trunk() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh()
    )


def _experts(count: int, width: int = FEATURES) -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(width, 4), nn.Tanh()) for _ in range(count)]


def _level(tasks: Sequence[Task], width: int) -> tuple[list[nn.Module], dict[str, list[nn.Module]]]:
    return _experts(2, width), {task.name: _experts(1, width) for task in tasks}


class _Convolutions(nn.Module):
    """A trunk with named layers that is no Sequential, on inputs seen as images of 2 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.layer2 = nn.Conv2d(3, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        images = self.norm(self.layer1(x.view(-1, 1, 2, 4))).tanh()
        return self.layer2(images).tanh()


def _pooled(tasks: Sequence[Task]) -> dict[str, nn.Module]:
    return {
        task.name: nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, task.output_size)
        )
        for task in tasks
    }


def _table(name: str, tasks: Sequence[Task]) -> Network:
    more = {"members": 3} if name == "tabm" else {}
    return build_network(name, FEATURES, tasks, width=6, dropout=0.0, **more)


BUILDERS: dict[str, Builder] = {
    "hard": lambda tasks: HardSharing(_trunk(), _heads(tasks)),
    "hard, split": lambda tasks: HardSharing(_trunk(), _heads(tasks), split_at="2"),
    "hard, traced": lambda tasks: HardSharing(_Convolutions(), _pooled(tasks), split_at="layer2"),
    "hard, grouped": lambda tasks: HardSharing(
        _trunk(),
        {task.name: nn.Linear(4, 3 if task.name != "a" else 1) for task in tasks},
        group_from=2,
    ),
    "soft": lambda tasks: SoftSharing(_trunk(), _heads(tasks), reinitialize=True),
    "soft, trace norm": lambda tasks: SoftSharing(
        _trunk(), _heads(tasks), distance="trace", reinitialize=True
    ),
    "cross-stitch": lambda tasks: CrossStitch(_trunk(), _heads(tasks), split_at=["2", "4"]),
    "cross-stitch, channels": lambda tasks: CrossStitch(
        _trunk(), _heads(tasks), split_at=["2"], channels=[6, 4]
    ),
    "sluice": lambda tasks: Sluice(_experts(1) + _experts(2, 4), _heads(tasks)),
    "mmoe": lambda tasks: MMoE(_experts(3), _heads(tasks), gate_features=FEATURES),
    "cgc": lambda tasks: CGC(*_level(tasks, FEATURES), _heads(tasks), gate_features=FEATURES),
    "ple": lambda tasks: PLE(
        [_level(tasks, width) for width in (FEATURES, 4, 4)],
        _heads(tasks),
        gate_features=[FEATURES, 4, 4],
    ),
    "dselect-k": lambda tasks: DSelectK(_experts(4), _heads(tasks), entropy=0.1),
    "dselect-k, by row": lambda tasks: DSelectK(
        _experts(3), _heads(tasks), gate_features=FEATURES, entropy=0.1
    ),
    "mtan": lambda tasks: MTAN(
        _trunk(), _heads(tasks), example=torch.zeros(1, FEATURES), split_at=["2", "4"]
    ),
    "mtan, convolutions": lambda tasks: MTAN(
        _Convolutions(), _pooled(tasks), example=torch.zeros(1, FEATURES), split_at=["layer2"]
    ),
    "aitm": lambda tasks: AITM(
        _trunk(),
        {task.name: nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for task in tasks},
        _heads(tasks),
        width=4,
    ),
    "branch": lambda tasks: LearningToBranch(
        _trunk(), _heads(tasks), split_at=["2", "4"], warm_up=0, anneal_steps=30
    ),
    "low-rank": lambda tasks: LowRankAdapters(_trunk(), _heads(tasks), rank=2),
    "pareto-set": lambda tasks: ParetoSet(_trunk(), _heads(tasks), rank=2),
    "layers": lambda tasks: LayerSharing(_trunk(), _heads(tasks), share=["0", "4"]),
    **{f"{name}, table": partial(_table, name) for name in NETWORKS},
}


def build(name: str, tasks: Sequence[Task] = TASKS, *, seed: int = 0) -> Network:
    """Return the network with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[name](tasks)


def rows(count: int = 5, seed: int = 0) -> Tensor:
    """Return inputs, [count, 8]."""
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))


def targets(count: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """Return a target for each task, with a missing label in each."""
    generator = torch.Generator().manual_seed(100 + seed)
    made = {
        "a": torch.randn(count, generator=generator),
        "b": torch.randint(3, (count,), generator=generator).float(),
        "c": torch.randint(2, (count,), generator=generator).float(),
    }
    if count > 1:
        for position, target in enumerate(made.values()):
            target[position % count] = torch.nan
    return made
