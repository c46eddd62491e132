"""Two losses of two parameters with a ravine: which balancing methods reach the Pareto front?

The problem of the papers on CAGrad, Nash-MTL and FAMO. On a ravine's floor the two gradients
point away from each other and one is much longer, so that the plain mean crawls along it: in as
many steps it doesn't get from (9, 9) to the front, which MGDA, CAGrad, Nash-MTL, FairGrad and
UPGrad reach from all five starts. (How many steps that takes depends on Adam's rate; the order
of the methods does less so. With two tasks UPGrad's update is half of PCGrad's.) Run it with

    python examples/toy_pareto.py --out toy_pareto.png
"""

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor

from jointrain.balancing import (
    MGDA,
    RLW,
    Balancer,
    CAGrad,
    Equal,
    FairGrad,
    NashMTL,
    PCGrad,
    UPGrad,
    backward,
)

STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
FRONT_HEIGHT = -8.3552  # both quadratics have their minimum about here, at x = 7 and x = -7
REACHED = 0.1  # distance from the front at which a way ends
METHODS: dict[str, Callable[[], Balancer]] = {
    "mean": Equal,
    "RLW": RLW,
    "PCGrad": PCGrad,
    "MGDA": MGDA,
    "CAGrad": lambda: CAGrad(c=0.5),
    "Nash-MTL": NashMTL,
    "FairGrad": lambda: FairGrad(alpha=2.0),
    "UPGrad": UPGrad,
}


def losses(point: Tensor, scale: float = 0.1) -> Tensor:
    """Return both losses, [2, ...], at points [2, ...]; `scale` makes the first one smaller."""
    x, y = point
    upper, lower = (0.5 * y).tanh().clamp_min(0.0), (-0.5 * y).tanh().clamp_min(0.0)
    ravines = (0.5 * (-x - 7.0) + y.tanh(), 0.5 * (-x + 3.0) - y.tanh() + 2.0)
    bowls = [((x + side).square() + 0.1 * (y + 8.0).square()) / 10.0 - 20.0 for side in (-7.0, 7.0)]
    first, second = (
        upper * (ravine.abs().clamp_min(5e-6).log() + 6.0) + lower * bowl
        for ravine, bowl in zip(ravines, bowls, strict=True)
    )
    return torch.stack([scale * first, second])


def run(balancer: Balancer, start: tuple[float, float], steps: int, rate: float) -> Tensor:
    """Return the way from `start` to the front, [n + 1, 2], n <= `steps`, with Adam."""
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([point], lr=rate)
    way = [point.detach().clone()]
    while len(way) <= steps and distance_to_front(way[-1]) > REACHED:
        optimizer.zero_grad()
        backward(losses(point), balancer, shared=[point])
        optimizer.step()
        way.append(point.detach().clone())
    return torch.stack(way)


def distance_to_front(point: Tensor) -> float:
    """Return how far a point [2] is from the segment of Pareto-optimal points."""
    x, y = point.tolist()
    return math.hypot(x - min(max(x, -7.0), 7.0), y - FRONT_HEIGHT)


def draw(ways: dict[str, list[Tensor]], path: str) -> None:
    """Draw the ways of each method over the sum of the losses."""
    import matplotlib.pyplot as plt

    side = torch.linspace(-11.0, 11.0, 300, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"))
    height = losses(grid, scale=1.0).mean(0)
    figure, axes = plt.subplots(2, len(ways) // 2, figsize=(12, 6.4), sharex=True, sharey=True)
    for axis, (name, of_method) in zip(axes.flat, ways.items(), strict=True):
        axis.contour(side, side, height, levels=18, cmap="Greys_r", linewidths=0.6)
        axis.plot([-7, 7], [FRONT_HEIGHT] * 2, color="tab:orange", linewidth=5, alpha=0.5)
        for way in of_method:
            reached = distance_to_front(way[-1]) <= REACHED
            axis.plot(*way.T, color="tab:blue" if reached else "tab:red", linewidth=1.4)
            axis.plot(*way[0], "o", color="black", markersize=4)
            axis.plot(*way[-1], "*", color="black", markersize=7, zorder=5)
        reached = sum(distance_to_front(way[-1]) <= REACHED for way in of_method)
        axis.set_title(f"{name}: {reached} of {len(of_method)}", fontsize=11)
        axis.set_aspect("equal")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run all methods from all starts, print where they end, and draw the ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--out", default="toy_pareto.png")
    options = parser.parse_args()
    ways = {}
    for name, make in METHODS.items():
        ways[name] = [run(make(), start, options.steps, options.rate) for start in STARTS]
        ends = [f"{distance_to_front(way[-1]):.2f} ({len(way) - 1})" for way in ways[name]]
        print(f"{name:9s} distance to the front (steps) from each start: {', '.join(ends)}")
    draw(ways, options.out)


if __name__ == "__main__":
    main()
