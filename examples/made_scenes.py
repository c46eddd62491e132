"""Dense tasks: classes, depth and normals at every pixel of rendered rooms, in NYUv2's manner.

Spheres and boxes in a room, drawn by numpy; a depth sensor that misses pixels; classes with a
border that has none. Three networks by three ways to balance. Run it with

    python examples/made_scenes.py --picture made_scenes.png
"""

import argparse

import numpy as np
import torch
from torch import nn

from jointrain import (
    HardSharing,
    OptimizerSettings,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import FAMO, Balancer, UPGrad
from jointrain.networks import MTAN, AllStages, CrossStitch, Network, PyramidHead
from jointrain.task import masked_target

HEIGHT, WIDTH = 32, 40
CLASSES = ("floor", "wall", "sphere", "box")
TASKS = [
    Task.dense("class", classes=CLASSES, ignored=(255,)),
    Task.dense("depth"),
    Task.dense("normals"),
]
SHOWN = {
    "class": ("mIoU", "pixel accuracy"),
    "depth": ("abs-rel", "RMSE"),
    "normals": ("mean angle", "within 11.25", "within 22.5", "within 30"),
}


def render(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a picture [3, h, w], classes [h, w], depth [h, w] and normals [3, h, w] of a scene.

    The camera is at the origin and looks along z; x is right, y up.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rays = np.stack([(x - WIDTH / 2 + 0.5) / WIDTH, (HEIGHT / 2 - 0.5 - y) / WIDTH, 0.9 + 0 * x])
    rays = rays / np.linalg.norm(rays, axis=0)
    far = np.full((HEIGHT, WIDTH), np.inf)
    scene = {"t": far, "class": np.zeros((HEIGHT, WIDTH)), "normals": np.zeros_like(rays)}
    colours = np.zeros_like(rays)

    def draw(t: np.ndarray, normals: np.ndarray, code: int, colour: np.ndarray) -> None:
        seen = (t > 1e-6) & (t < scene["t"])
        scene["t"] = np.where(seen, t, scene["t"])
        scene["class"] = np.where(seen, code, scene["class"])
        scene["normals"] = np.where(seen, normals, scene["normals"])
        colours[:] = np.where(seen, colour[:, None, None], colours)

    def plane(axis: int, place: float, code: int, colour: np.ndarray) -> None:
        with np.errstate(divide="ignore"):
            t = place / rays[axis]
        normal = np.zeros_like(rays)
        normal[axis] = -np.sign(place)
        draw(np.where(t > 0, t, np.inf), normal, code, colour)

    floor, wall = rng.uniform(0.3, 0.6, 3), rng.uniform(0.5, 0.9, 3)
    plane(1, -1.0, 0, floor)
    for axis, place in ((2, rng.uniform(5, 7)), (0, -2.5), (0, 2.5), (1, 2.0)):
        plane(axis, place, 1, wall)
    for _ in range(rng.integers(2, 5)):
        radius = rng.uniform(0.35, 0.8)
        centre = np.array([rng.uniform(-1.6, 1.6), radius - 1, rng.uniform(2.5, 4.8)])
        colour = rng.uniform(0.1, 1.0, 3)
        if rng.random() < 0.5:
            along = np.tensordot(centre, rays, 1)
            inside = along**2 - centre @ centre + radius**2
            t = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
            at = np.where(np.isfinite(t), t, 0) * rays
            draw(t, (at - centre[:, None, None]) / radius, 2, colour)
            continue
        with np.errstate(divide="ignore"):
            ends = np.stack([(centre[:, None, None] + s * radius) / rays for s in (-1, 1)])
        near, leaving = ends.min(0), ends.max(0).min(0)
        side, entering = near.argmax(0), near.max(0)
        normal = -np.sign(rays) * (np.arange(3)[:, None, None] == side)
        draw(np.where(entering < leaving, entering, np.inf), normal, 3, colour)
    light = np.array([0.4, 0.8, -0.5]) / np.linalg.norm([0.4, 0.8, -0.5])
    shade = 0.35 + 0.65 * np.maximum(np.tensordot(light, scene["normals"], 1), 0)
    picture = colours * shade + rng.normal(0, 0.03, colours.shape)
    depth = scene["t"] * rays[2]
    return {
        "picture": picture,
        "class": scene["class"],
        "depth": depth,
        "normals": scene["normals"],
    }


def make_data(count: int, seed: int) -> TensorData:
    """Return scenes [n, 3, h, w] with targets; every fourth has no depth at all."""
    rng = np.random.default_rng(seed)
    scenes = [render(rng) for _ in range(count)]
    whole = {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}
    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in whole.items()}
    # classes next to another one are as little sure as an annotator's
    codes = tensors["class"]
    across = (codes[:, :, 1:] != codes[:, :, :-1]).nonzero(as_tuple=True)
    codes[across] = 255
    # the sensor misses what is far and dark, and a tenth at random
    seen = torch.tensor(rng.random(tensors["depth"].shape) > 0.1)
    seen &= (tensors["depth"] < 5.5) | (tensors["picture"].mean(1) > 0.4)
    seen[::4] = False
    targets = {
        "class": codes,
        "depth": masked_target(tensors["depth"], seen),
        "normals": masked_target(
            tensors["normals"], seen | (torch.arange(count) % 4 == 0)[:, None, None]
        ),
    }
    return TensorData(tensors["picture"], targets)


def stages() -> list[nn.Module]:
    """Return the stages of a trunk: whole, half and quarter size."""
    sizes = [(3, 12, 1), (12, 24, 2), (24, 32, 2)]
    return [
        nn.Sequential(
            nn.Conv2d(into, out, 3, stride=stride, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
        )
        for into, out, stride in sizes
    ]  # fmt: skip


def make_network(name: str, seed: int = 0) -> Network:
    """Return a fresh network: hard sharing with decoders of all stages, MTAN or cross-stitch."""
    torch.manual_seed(seed)
    if name == "hard":
        heads = {task.name: PyramidHead([12, 24, 32], task.output_size, width=16) for task in TASKS}
        return HardSharing(AllStages(stages()), heads)
    heads = {task.name: PyramidHead(32, task.output_size, width=16) for task in TASKS}
    if name == "mtan":
        return MTAN(stages(), heads, example=torch.zeros(1, 3, HEIGHT, WIDTH))
    return CrossStitch(stages(), heads)


NETWORKS = ("hard", "cross-stitch", "mtan")
BALANCERS: dict[str, type[Balancer] | None] = {"sum": None, "FAMO": FAMO, "UPGrad": UPGrad}


def fit(network: str, balancer: str, data: TensorData, epochs: int, seed: int = 0) -> Trainer:
    """Return a trainer that has fitted a network."""
    kind = BALANCERS[balancer]
    trainer = Trainer(
        make_network(network, seed),
        TASKS,
        balancer=None if kind is None else kind(),
        epochs=epochs,
        batch_size=16,
        optimizer=OptimizerSettings(learning_rate=3e-3),
        seed=seed,
        device="cpu",
    )
    trainer.fit(data)
    return trainer


def draw(trainer: Trainer, test: TensorData, path: str, rows: tuple[int, ...] = (1, 2, 3)) -> None:
    """Draw scenes with true and predicted classes, depth and normals."""
    import matplotlib.pyplot as plt

    found = trainer.predict(test.inputs)
    figure, axes = plt.subplots(
        len(rows), 7, figsize=(11, 1.45 * len(rows)), subplot_kw={"xticks": [], "yticks": []}
    )
    titles = ("picture", "class", "found", "depth", "found", "normals", "found")
    for line, row in zip(axes, rows, strict=True):
        line[0].imshow(test.inputs[row].movedim(0, -1).clamp(0, 1))
        for place, of in ((1, test.targets["class"]), (2, found["class"].float())):
            codes = of[row].clone()
            codes[codes == 255] = torch.nan
            line[place].imshow(codes, cmap="viridis", vmin=0, vmax=3)
        for place, of in ((3, test.targets["depth"]), (4, found["depth"])):
            line[place].imshow(of[row], cmap="magma_r", vmin=1, vmax=7)
        for place, of in ((5, test.targets["normals"]), (6, found["normals"])):
            line[place].imshow((of[row].movedim(0, -1) / 2 + 0.5).nan_to_num(1.0))
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Train nine networks, print their table and draw what the first has found; return figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--picture", help="file to draw predictions into")
    options = parser.parse_args(arguments)
    training, test = make_data(options.scenes, seed=0), make_data(options.scenes // 2, seed=1)
    print(f"| network | balancer | {' | '.join(m for shown in SHOWN.values() for m in shown)} |")
    print(f"| --- | --- |{' --- |' * sum(map(len, SHOWN.values()))}")
    results = {}
    for network in NETWORKS:
        for balancer in BALANCERS:
            trainer = fit(network, balancer, training, options.epochs)
            if options.picture and (network, balancer) == ("hard", "sum"):
                draw(trainer, test, options.picture)
            results[network, balancer] = trainer.evaluate(test)
            figures = [
                results[network, balancer][t][m] for t, shown in SHOWN.items() for m in shown
            ]
            cells = [f"{value:.3f}" if value < 3 else f"{value:.1f}" for value in figures]
            print(f"| {network} | {balancer} | {' | '.join(cells)} |", flush=True)
    return results


if __name__ == "__main__":
    main()
