"""Small problems in float64 on which bilevel methods can be followed by hand or by autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jointrain.balancing import BilevelProblem


class Quadratics:
    """Losses |x - goal|^2 c / 2 in two tensors of parameters, on training and held-out data."""

    def __init__(self, train: Tensor, held_out: Tensor, curvature: Tensor | None = None) -> None:
        self.goals = {"train": train.double(), "held_out": held_out.double()}
        t, p = train.shape
        self.curvature = torch.ones(t, p) if curvature is None else curvature
        self.curvature = self.curvature.double()
        self.parameters = [
            nn.Parameter(torch.zeros(1, dtype=torch.float64)),
            nn.Parameter(torch.zeros(p - 1, dtype=torch.float64)),
        ]

    def at(self, x: Tensor, which: str) -> Tensor:
        return 0.5 * (self.curvature * (x - self.goals[which]).square()).sum(1)

    def losses(self, which: str) -> Tensor:
        return self.at(torch.cat(self.parameters), which)

    def problem(self) -> BilevelProblem:
        return BilevelProblem(
            self.losses("train"),
            self.parameters,
            lambda: self.losses("train"),
            lambda: self.losses("held_out"),
        )

    def x(self) -> Tensor:
        return torch.cat(self.parameters).detach().clone()

    def descend(self, weights: Tensor, problem: BilevelProblem, step: float) -> None:
        """Make the step that the engine would make with plain gradient descent."""
        gradient = problem.gradient((weights.detach() * problem.losses).sum())
        with torch.no_grad():
            for i, p in enumerate(self.parameters):
                added = 0.0 if problem.added is None else problem.added[i]
                p -= step * (gradient[i] + added)


def some_quadratics(t: int = 3, p: int = 4, *, seed: int = 0) -> Quadratics:
    rng = torch.Generator().manual_seed(seed)
    train, held_out = torch.randn(2, t, p, generator=rng).unbind()
    return Quadratics(train, held_out, 0.5 + torch.rand(t, p, generator=rng))
