"""One training by one process or by several: at the top of a file, as processes import it."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import random
import signal
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from jointrain import (
    Alternating,
    Callback,
    Checkpoints,
    HardSharing,
    InvalidInputError,
    Mixture,
    OptimizerSettings,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from jointrain.data import DataSource
from jointrain.networks import Dropout
from jointrain.training import Merge, Phase, Phases
from jointrain.training.pretraining import Denoising

TASKS = (Task.regression("number"), Task.multiclass("kind", 3), Task.binary("sign"))


def network(tasks=TASKS, *, groups=None) -> HardSharing:
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 8), nn.Tanh(), Dropout(0.1)
    )
    heads = {task.name: nn.Linear(8, task.output_size) for task in tasks}
    return HardSharing(trunk, heads, group_from=groups).double()


def data(n: int, seed: int, *, weights: bool = True) -> TensorData:
    """Rows of which most lack a label of some task."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    kind = torch.randint(0, 3, (n,), generator=generator)
    kind[torch.rand(n, generator=generator) < 0.4] = -100
    number = x.sum(1) + kind
    number[torch.rand(n, generator=generator) < 0.5] = math.nan
    kind[0], number[0] = 1, 0.5
    sign = (x[:, 0] > 0).double()
    rows = torch.rand(n, generator=generator, dtype=torch.float64) if weights else None
    return TensorData(x, {"number": number, "kind": kind, "sign": sign}, rows)


def rare(n: int, seed: int, every: int | None = None) -> TensorData:
    """Rows of which few have a label of two tasks: most batches have none of them."""
    plain = data(n, seed, weights=False)
    targets = {name: target.clone() for name, target in plain.targets.items()}
    if every is None:
        targets["number"][2:], targets["kind"][3:] = math.nan, -100
    else:
        targets["number"][torch.arange(n) % every != 0] = math.nan
        targets["kind"][torch.arange(n) % every != 1] = -100
    return TensorData(plain.inputs, targets)


def labelled(n: int, seed: int) -> TensorData:
    """Rows that have all labels."""
    plain = data(n, seed, weights=False)
    number, kind = plain.inputs.sum(1), plain.targets["kind"].clamp_min(0)
    return TensorData(plain.inputs, {**plain.targets, "number": number, "kind": kind})


class Rows(torch.utils.data.Dataset):
    """Rows by number, read one by one."""

    def __init__(self, tensors: TensorData) -> None:
        self._data = tensors

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> Any:
        return self._data.inputs[row], {k: v[row] for k, v in self._data.targets.items()}


class Augmented(Rows):
    """The same, with noise that is drawn as they are read, for some of them more than once."""

    def __getitem__(self, row: int) -> Any:
        inputs, targets = super().__getitem__(row)
        noise = torch.randn(4, dtype=torch.float64) + random.random()
        if noise[0] > 0:
            noise *= torch.from_numpy(np.random.rand(4))
        return inputs + 0.1 * noise, targets


class Stream(torch.utils.data.IterableDataset):
    """The same, one after the other."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __iter__(self) -> Any:
        yield from (self._rows[i] for i in range(len(self._rows)))


def _mixture(**options: Any) -> Mixture:
    plain = data(37, 1, weights=False)
    number = TensorData(plain.inputs[:20], {"number": plain.inputs[:20].sum(1)})
    rest = plain.only(("kind", "sign"))
    return Mixture({"number": number, ("kind", "sign"): rest}, batch_size=7, **options)


PRETRAINED = Phases(
    (
        Phase(name="before", pretraining=Denoising(), epochs=1),
        Phase(name="all", epochs=2),
        Phase(name="heads", freeze=("shared",), epochs=1, each_task=True),
    )
)


def _balanced(name: str) -> Any:
    return lambda: {"balancer": balancer_from_name(name)}


CASES: dict[str, Any] = {
    "the sum": dict,
    "clipped, averaged": lambda: {"gradient_clip": 0.1, "ema": 0.9, "l2": 0.01},
    "uncertainty": _balanced("uncertainty"),
    "famo": _balanced("famo"),
    "equal, one of weight 0": lambda: {
        "balancer": balancer_from_name("equal"),
        "weights": {"sign": 0.0},
    },
    "dwa": _balanced("dwa"),
    "upgrad": _balanced("upgrad"),
    "mgda": _balanced("mgda"),
    "graddrop": _balanced("graddrop"),
    "moco": _balanced("moco"),
    "gradnorm": _balanced("gradnorm"),
    "sdmgrad": _balanced("sdmgrad"),
    "auto-lambda": _balanced("auto-lambda"),
    "alternating": lambda: {"schedule": Alternating()},
    "alternating by progress": lambda: {"schedule": Alternating("progress")},
    "upgrad, accumulated": lambda: {"balancer": balancer_from_name("upgrad"), "accumulate": 3},
    "famo, accumulated": lambda: {"balancer": balancer_from_name("famo"), "accumulate": 2},
    "pcgrad, accumulated": lambda: {
        "balancer": balancer_from_name("pcgrad"),
        "accumulate": 2,
        "batch_size": 6,
    },
    "the sum, accumulated": lambda: {"accumulate": 2, "batch_size": 5},
    "accumulated, parts of one or two rows": lambda: {"accumulate": 2, "batch_size": 2},
    "batches of fewer rows than processes": lambda: {"batch_size": 2},
    "one batch": lambda: {"batch_size": 100},
    "phases": lambda: {"schedule": PRETRAINED},
    "merge": lambda: {"schedule": Merge()},
    "an optimiser for each task": lambda: {
        "schedule": Alternating("round_robin"),
        "optimizer_layout": "per_task",
    },
    "rates of their own": lambda: {
        "optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        "parameter_groups": {"shared": {"lr": 0.01, "weight_decay": 0.1}},
        "lr_scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    },
    "plain descent": lambda: {
        "optimizer": OptimizerSettings(name="sgd", learning_rate=0.05),
        "schedule": Alternating(),
    },
    "rolling back": lambda: {"non_finite": "rollback", "non_finite_limit": 1, "l1": 0.01},
    "frozen tasks": lambda: {"task_patience": 1, "when_converged": "freeze"},
    "grouped": lambda: {"groups": 2},
    "grouped, upgrad": lambda: {"groups": 2, "balancer": balancer_from_name("upgrad")},
}

DATA: dict[str, Any] = {
    "rows": lambda: DataSource(Rows(data(37, 1, weights=False)), batch_size=10),
    "augmented": lambda: DataSource(Augmented(data(37, 1, weights=False)), batch_size=10),
    "labelled": lambda: labelled(7, 1),
    "rare": lambda: DataSource(Rows(rare(37, 1)), batch_size=10),
    "rare rows": lambda: rare(37, 1, every=9),
    "rare, mixed": lambda: Mixture(
        {tuple(t.name for t in TASKS): DataSource(Rows(rare(37, 1)))}, batch_size=10, mixed=True
    ),
    "stream": lambda: Mixture(
        {tuple(t.name for t in TASKS): Stream(Rows(data(37, 1, weights=False)))},
        batch_size=10,
        epoch=4,
    ),
    "loader": lambda: torch.utils.data.DataLoader(Rows(data(37, 1, weights=False)), 10),
    "mixture": _mixture,
    "mixed": lambda: _mixture(mixed=True),
    "proportional": lambda: _mixture(sampling="proportional"),
}


def trained(
    options: str, of: str | None = None, strategy: str | None = None
) -> tuple[dict[str, torch.Tensor], list[Any], dict[str, Any], Any]:
    """Return weights, history, metrics and predictions of a training."""
    given = dict(CASES[options]())
    made = network(groups=given.pop("groups", None))
    phases = isinstance(given.get("schedule"), (Phases, Merge))
    settings = {"batch_size": 10, "epochs": 3, "device": "cpu", "patience": 2, "seed": 3} | given
    if "schedule" in given and phases and isinstance(given["schedule"], Phases):
        settings.pop("epochs")
    trainer = Trainer(made, TASKS, strategy=strategy, **settings)
    train = data(37, 1) if of is None else DATA[of]()
    held_out = data(23, 2)
    history = trainer.fit(train, held_out)
    weights = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    for task, own in trainer.own_networks.items():
        weights |= {f"{task}: {name}": value for name, value in own.state_dict().items()}
    # macro F1 loads scikit-learn, which takes long
    metrics = trainer.evaluate(held_out, ["number", "sign"] if options == "the sum" else [])
    return weights, history, metrics, trainer.predict(held_out.inputs)


class At(Callback):
    """Does something on one process, or on all, after a step."""

    def __init__(self, step: int, action: Any, rank: int | None = None) -> None:
        self._step, self._action, self._rank = step, action, rank

    def on_step_end(self, trainer: Trainer, step: int, losses: Any) -> None:
        ranks = trainer.ranks
        if step == self._step and (self._rank is None or ranks is None or ranks.rank == self._rank):
            self._action(trainer)


def _raise(trainer: Trainer) -> None:
    raise KeyError(trainer.seed)


def resumable(
    folder: str,
    strategy: str | None,
    *callbacks: Callback,
    every: int | str = 1,
    **options: Any,
) -> Trainer:
    settings = {"batch_size": 10, "epochs": 3, "patience": 2, "seed": 3, "device": "cpu"} | options
    return Trainer(
        network(), TASKS, strategy=strategy, callbacks=callbacks,
        checkpoints=Checkpoints(folder, every=every), **settings,
    )  # fmt: skip


def broken_off(folder: str, strategy: str | None) -> None:
    """Leave the checkpoints of a run that failed in the midst of an epoch."""
    try:
        resumable(folder, strategy, At(6, _raise)).fit(data(37, 1), data(23, 2))
    except KeyError:
        return
    raise AssertionError("the run was to fail")


def resumed(folder: str, strategy: str | None) -> tuple[dict[str, torch.Tensor], list[Any]]:
    trainer = resumable(folder, strategy)
    history = trainer.fit(data(37, 1), data(23, 2), resume=True)
    return dict(trainer.network.state_dict()), history


def stopped_by_one(folder: str) -> tuple[int, list[str]]:
    """Return the steps of a run that one process stops, and the files that it was asked to save."""
    user = signal.SIGUSR1

    def ask(trainer: Trainer) -> None:
        os.kill(os.getpid(), user)

    before = signal.signal(user, lambda *_: None)
    try:
        # that of a process alone need not be known to the others
        mine = [At(2, ask, rank=1), At(4, lambda trainer: trainer.stop(), rank=1)]
        mine = mine if torch.distributed.get_rank() == 1 else []
        trainer = resumable(folder, "ddp", *mine, every=1000)
        trainer.fit(data(37, 1), data(23, 2))
    finally:
        signal.signal(user, before)
    return trainer.history[-1].step, sorted(f.name for f in Path(folder).glob("step-*"))


class AtEpoch(Callback):
    """Stops the training on one process after an epoch."""

    def __init__(self, epoch: int, rank: int) -> None:
        self._epoch, self._rank = epoch, rank

    def on_epoch_end(self, trainer: Trainer, record: Any) -> None:
        if record.epoch == self._epoch and trainer.ranks.rank == self._rank:
            trainer.stop()


def told_within_steps(folder: str) -> tuple[int, list[str]]:
    """Return the steps of a run that one process stops after an epoch, and the files.

    One process is asked to save within its second step; nothing is called after steps.
    """
    user = signal.SIGUSR1
    before = signal.signal(user, lambda *_: None)
    asked: list[int] = []

    def ask(module: nn.Module, *_: Any) -> None:
        if module.training and trainer.session.step == 1 and trainer.ranks.rank == 1 and not asked:
            asked.append(os.getpid())
            os.kill(os.getpid(), user)

    try:
        trainer = resumable(folder, "ddp", AtEpoch(2, rank=1), every=1000)
        trainer.network.register_forward_hook(ask)
        trainer.fit(data(37, 1), data(23, 2))
    finally:
        signal.signal(user, before)
    return trainer.history[-1].step, sorted(f.name for f in Path(folder).glob("step-*"))


def messages_of_steps(complete: bool) -> list[tuple[str, int]]:
    """Return the kinds and lengths of what a process sends in an epoch of four steps."""
    trainer = Trainer(network(), TASKS, strategy="ddp", device="cpu", batch_size=10, epochs=1)
    given = labelled(40, 1) if complete else data(40, 1, weights=False)
    sent: list[tuple[str, int]] = []
    counting = False
    differentiate = trainer.session.__class__.differentiate

    def within(*arguments: Any) -> Any:
        nonlocal counting
        counting = True
        try:
            return differentiate(*arguments)
        finally:
            counting = False

    def counted(name: str) -> Any:
        plain = getattr(torch.distributed, name)

        def send(*arguments: Any, **options: Any) -> Any:
            if counting:
                sent.append((name, arguments[0].numel() if name == "all_reduce" else -1))
            return plain(*arguments, **options)

        return mock.patch.object(torch.distributed, name, send)

    with (
        mock.patch.object(trainer.session.__class__, "differentiate", within),
        counted("all_reduce"),
        counted("all_gather"),
    ):
        trainer.fit(given)
    return sent


class Kinds(Callback):
    """Notes what the parameters are while the network is trained."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def on_step_end(self, trainer: Trainer, step: int, losses: Any) -> None:
        self.found |= {type(p).__name__ for p in trainer.network.parameters()}


def _flat(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])


def after_shards() -> tuple[set[str], set[str], bool, float, float, float]:
    """Return what the parameters are in a fit and after it, and how further fits go.

    That is whether a second fit moves them; how far a copy of the trainer is from it; how far both
    are after another fit of the same; and how far one is that begins anew.
    """
    kinds = Kinds()
    options = {"batch_size": 10, "epochs": 2, "device": "cpu", "seed": 3, "strategy": "fsdp"}
    trainer = Trainer(network(), TASKS, callbacks=[kinds], **options)
    trainer.fit(data(37, 1), data(23, 2))
    first = _flat(trainer)
    after = {type(p).__name__ for p in trainer.network.parameters()}
    copied = pickle.loads(pickle.dumps(trainer))
    state = trainer.state_dict()
    again = Trainer(network(), TASKS, **options)
    again.load_state_dict(state)
    for one in (trainer, copied, again):
        one.fit(data(37, 1), data(23, 2))
    second = _flat(trainer)
    away = [float((_flat(one) - second).abs().max()) for one in (copied, again)]
    trainer.fit(data(37, 1), data(23, 2), restart=True)
    anew = float((_flat(trainer) - first).abs().max())
    moved = bool((first != second).any())
    return kinds.found, after, moved, away[0], away[1], anew


class Counts(nn.Module):
    """Counts the steps in a buffer that is not persistent."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += float(self.training)
        return x


def counted_steps(strategy: str) -> float:
    """Return how many steps a network has counted after a fit."""
    made = network()
    made.trunk.insert(0, Counts())
    trainer = Trainer(made, TASKS, batch_size=10, epochs=2, device="cpu", strategy=strategy)
    trainer.fit(data(37, 1))
    return float(trainer.network.trunk[0].steps)


def refused_in_shards() -> dict[str, str]:
    """Return why trainers are refused that can't train shards."""
    found = {}
    attempts: dict[str, Any] = {
        "Phases": {"schedule": PRETRAINED},
        "Merge": {"schedule": Merge()},
        "SDMGrad": {"balancer": balancer_from_name("sdmgrad")},
        "AutoLambda": {"balancer": balancer_from_name("auto-lambda")},
        "UPGrad with `accumulate`": {"balancer": balancer_from_name("upgrad"), "accumulate": 2},
        "`compile`": {"compile": True},
        "precision='fp16'": {"precision": "fp16"},
    }
    for what, given in attempts.items():
        try:
            Trainer(network(), TASKS, device="cpu", strategy="fsdp", **given)
        except InvalidInputError as error:
            found[what] = str(error)
    try:
        Trainer(network(groups=2), TASKS, device="cpu", strategy="fsdp")
    except InvalidInputError as error:
        found["a network with grouped heads"] = str(error)
    scalar = network()
    scalar.factor = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    try:
        Trainer(scalar, TASKS, device="cpu", strategy="fsdp").fit(data(37, 1))
    except InvalidInputError as error:
        found["torch can't shard HardSharing"] = str(error)
    assert len(found) == len(attempts) + 2, found
    return found


class OfOwnPart(torch.optim.SGD):
    """Scales each gradient to a length of 1, by the part that a process holds."""

    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            held = parameter.grad.to_local() if hasattr(parameter, "to_local") else parameter.grad
            held /= held.norm() + 1e-9
        super().step(closure)


OPTIMIZERS = [
    one
    for one in (*(getattr(torch.optim, name) for name in torch.optim.__all__), OfOwnPart)
    if isinstance(one, type)
    and issubclass(one, torch.optim.Optimizer)
    and one not in (torch.optim.Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam)
]


def optimizers_of_shards() -> dict[str, float | str]:
    """Return how far shards end from copies by each optimiser of torch, or why it is refused."""
    found: dict[str, float | str] = {}
    for kind in OPTIMIZERS:
        name, ends = kind.__name__, []
        try:
            for strategy in ("ddp", "fsdp"):
                trainer = Trainer(
                    network() if name != "Muon" else _of_matrices(),
                    TASKS, batch_size=10, epochs=2, device="cpu", seed=3, strategy=strategy,
                    optimizer=partial(kind, lr=0.01),
                )  # fmt: skip
                trainer.fit(data(37, 1))
                ends.append(_flat(trainer))
        except InvalidInputError as error:
            found[name] = str(error)
        else:
            found[name] = float((ends[0] - ends[1]).abs().max())
    return found


def _of_matrices() -> nn.Module:
    """Return a network of which matrices alone are trained, as Muon wants."""
    made = network()
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(parameter.ndim == 2 and "heads" not in name)
    return made


def shards_on_a_full_disk(folder: str) -> tuple[int, str, list[str]]:
    """Return the steps of a run whose second process can't write, what is said, and the files."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    trainer = resumable(folder, "fsdp", every=4)
    if torch.distributed.get_rank() == 1:
        writer = torch.distributed.checkpoint.HuggingFaceStorageWriter
        patched = mock.patch.object(writer, "write_data", fail)
    else:
        patched = contextlib.nullcontext()
    with patched, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(data(37, 1), data(23, 2))
    said = " ".join(str(one.message) for one in caught)
    return trainer.history[-1].step, said, sorted(f.name for f in Path(folder).glob("step-*"))


def after_one_step(dtype: torch.dtype, optimizer: str, strategy: str | None) -> torch.Tensor:
    """Return weights after a step whose gradients cancel out, but for the first one, [9].

    At weights of 0 their gradients are sums over rows of products that add up to nothing.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 9, generator=generator, dtype=torch.float64)
    y = torch.randn(40, generator=generator, dtype=torch.float64)
    x[-1, 1:] = -(y[:-1] @ x[:-1, 1:]) / y[-1]
    made = HardSharing(nn.Linear(9, 9, bias=False), {"number": nn.Linear(9, 1, bias=False)})
    nn.init.eye_(made.trunk.weight)
    head = made.heads.layers[0]
    nn.init.zeros_(head.weight)
    trainer = Trainer(
        made.to(dtype), [Task.regression("number")], strategy=strategy, device="cpu",
        batch_size=40, epochs=1, optimizer=OptimizerSettings(name=optimizer, learning_rate=1e-3),
    )  # fmt: skip
    trainer.fit(TensorData(x.to(dtype), {"number": y.to(dtype)}))
    return head.weight.detach()[0].double()


def messages() -> list[str]:
    """Return why trainers are refused among several processes."""
    found = []
    rank = torch.distributed.get_rank()
    other = HardSharing(nn.Linear(4, 3 + rank), {"number": nn.Linear(3 + rank, 1)})
    loader = torch.utils.data.DataLoader(
        Rows(data(37, 1)), 4, sampler=torch.utils.data.DistributedSampler(Rows(data(37, 1)))
    )
    for attempt in (
        lambda: Trainer(network(), TASKS),
        lambda: Trainer(network(), TASKS, strategy="dpp"),
        lambda: Trainer(other, TASKS[:1], strategy="ddp", device="cpu"),
        lambda: Trainer(network(), TASKS, strategy="ddp", device="cpu").fit(loader),
        lambda: Trainer(network(), TASKS, strategy="ddp", device="cpu").fit(data(37, 1 + rank)),
        lambda: Trainer(network(), TASKS, strategy="ddp", device="cpu").fit(
            data(37, 1), rare(23, 2, every=2 + rank)
        ),
        lambda: Trainer(
            network(), TASKS, strategy="ddp", device="cpu", gradient_clip=1.0 + rank
        ).fit(data(37, 1)),
        lambda: Trainer(network(), TASKS, strategy="ddp", device="cpu", seed=rank).fit(data(37, 1)),
    ):
        try:
            attempt()
            found.append("")
        except InvalidInputError as error:
            found.append(str(error))
    return found


def made_apart() -> dict[str, str]:
    """Return why trainers are refused whose processes have made something else, by what."""
    rank = torch.distributed.get_rank()
    rows = data(37, 1)
    moved = TensorData(rows.inputs + rank, rows.targets, rows.weights)
    settings = {"strategy": "ddp", "device": "cpu", "epochs": 1}

    def of_trunk(*layers: nn.Module, **more: Any) -> Trainer:
        trunk = nn.Sequential(nn.Linear(4, 4), *layers)
        return Trainer(HardSharing(trunk, {"number": nn.Linear(4, 1)}).double(), TASKS[:1], **more)

    def rate(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1 * (rank + 1))

    folder = Checkpoints(Path("never-made")) if rank == 0 else None
    attempts = {
        "rows": lambda: of_trunk(**settings).fit(moved),
        "held out": lambda: of_trunk(**settings).fit(rows, moved),
        "dropout": lambda: of_trunk(nn.Dropout(0.1 * (rank + 1)), **settings),
        "rate": lambda: of_trunk(optimizer=rate, **settings).fit(rows),
        "checkpoints": lambda: of_trunk(checkpoints=folder, **settings).fit(rows),
        "validation": lambda: of_trunk(**settings).fit(rows, rows if rank else None),
        "loop": lambda: of_trunk(**settings).begin(rows, None),
        "statistics": lambda: of_trunk(
            nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten(),
            **settings,
        ).fit(rows),
        "batch norm": lambda: of_trunk(nn.SyncBatchNorm(4), **settings).fit(rows),
    }  # fmt: skip
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = ""
        except InvalidInputError as error:
            found[name] = str(error)
    return found


SHARDED = [
    *(
        (case, None)
        for case in (
            "the sum",
            "clipped, averaged",
            "uncertainty",
            "famo",
            "dwa",
            "upgrad",
            "mgda",
            "graddrop",
            "gradnorm",
            "alternating",
            "alternating by progress",
            "the sum, accumulated",
            "accumulated, parts of one or two rows",
            "batches of fewer rows than processes",
            "frozen tasks",
            "an optimiser for each task",
            "rates of their own",
            "plain descent",
            "rolling back",
        )
    ),
    *((case, data) for data in DATA for case in ("the sum", "upgrad")),
]
"""What strategy='fsdp' trains as one process does."""


def distances(
    cases: list[tuple[str, str | None]], strategy: str
) -> dict[tuple[str, str | None], Any]:
    """Return the results of several cases."""
    return {case: trained(*case, strategy) for case in cases}
