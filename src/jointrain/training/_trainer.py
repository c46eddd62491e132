"""Trainer: trains the tasks of a network together, in alternation, or one alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jointrain.balancing import BalancedStep, Balancer, Needs, backward
from jointrain.balancing._task_losses import TaskLosses, mean_losses
from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._batches import Batch
from jointrain.training._callback import Callback, EpochRecord
from jointrain.training._losses import compute_losses
from jointrain.training._optimizer import (
    Layout,
    OptimizerFactory,
    Optimizers,
    OptimizerSettings,
    learning_rate_factor,
)
from jointrain.training._prediction import joined, predict
from jointrain.training._schedule import Joint, Schedule
from jointrain.training._task_sets import Data, TaskSets, input_batches


class Trainer:
    r"""Trains a network on its tasks and keeps the best weights seen on validation data.

    A step takes the tasks that the schedule names, draws a batch, and makes one step on
    :math:`L = \sum_i w_i L_i + \lambda_1 |W|_1 + \lambda_2 |W|_2^2`, where :math:`L_i` is the mean
    loss over the rows of the batch that have task i's label and W are the weight matrices (not the
    biases and normalisation parameters) that the step reaches.

    Args:
        network: Maps inputs to ``{task: output}``.
        tasks: The tasks; each must be one of the network's.
        schedule: Which tasks take part in which step; default `Joint()`.
        weights: :math:`w_i` by task name, >= 0; default 1 for each.
        balancer: Turns the weighted losses into one update in place of their sum; see
            `jointrain.balancing`. Its own parameters, if it has any, are trained by Adam at the
            network's learning rate. Default: the sum.
        refresh_every: Steps for which a balancer that needs the Gramian keeps its weights;
            default 1.
        optimizer: `OptimizerSettings`, or a function from a list of parameters to an optimiser,
            such as ``functools.partial(torch.optim.SGD, lr=0.5)``. Default AdamW with rate 1e-3.
        layout: How many optimisers: ``one`` (default), ``per_task`` or ``per_group``; see
            `Optimizers`.
        warm_up: Share of the steps over which the learning rate rises linearly; default 0.
        decay: ``cosine`` or ``none`` (default).
        gradient_clip: Largest norm of the whole gradient; None (default) clips nothing.
        l1, l2: Factors of the penalties, >= 0; default 0.
        batch_size: Rows in a batch; default 256. Batches are cut to nearly equal sizes.
        epochs: How often (on average) each row is seen; default 100.
        steps: Number of steps instead of `epochs`.
        patience: Stop after so many epochs without a better validation score; None (default) never
            stops early. The score is the mean over tasks of validation loss over the loss before
            training. The best weights are restored either way.
        seed: Seed of batches, task order and dropout; default 0.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or a `torch.device`.
        callbacks: Hooks, called in this order.

    Raises:
        InvalidInputError: A value lies outside its range, or tasks and network do not fit.
    """

    def __init__(
        self,
        network: Network,
        tasks: Sequence[Task],
        *,
        schedule: Schedule | None = None,
        weights: Mapping[str, float] | None = None,
        balancer: Balancer | None = None,
        refresh_every: int = 1,
        optimizer: OptimizerFactory | None = None,
        layout: Layout = "one",
        warm_up: float = 0.0,
        decay: Literal["cosine", "none"] = "none",
        gradient_clip: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        batch_size: int = 256,
        epochs: int = 100,
        steps: int | None = None,
        patience: int | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        callbacks: Sequence[Callback] = (),
    ) -> None:
        _check_ranges(
            warm_up=warm_up, decay=decay, gradient_clip=gradient_clip, l1=l1, l2=l2,
            batch_size=batch_size, epochs=epochs, steps=steps, patience=patience,
        )  # fmt: skip
        self.device = resolve_device(device)
        self.network = network.to(self.device)
        self.tasks = {task.name: task for task in tasks}
        if not tasks:
            raise InvalidInputError("a trainer needs at least one task")
        if len(self.tasks) != len(tasks):
            raise InvalidInputError("the tasks of a trainer must have different names")
        for name in self.tasks:
            network.index_of(name)
        self.schedule = Joint() if schedule is None else schedule
        self.weights = _checked_weights(weights, tuple(self.tasks))
        self.optimizers = Optimizers(network, optimizer or OptimizerSettings(), layout)
        self.balancer = balancer
        self.refresh_every = refresh_every
        self.balanced: BalancedStep | None = None
        self._balancer_optimizer: torch.optim.Optimizer | None = None
        if balancer is not None:
            balancer.to(self.device)
            if balancer.task_state:
                balancer.bind(tuple(self.tasks))
            learned = list(balancer.parameters())
            if learned:
                rate = self.optimizers.all[0].param_groups[0]["lr"]
                self._balancer_optimizer = torch.optim.Adam(learned, lr=rate)
        self.warm_up = warm_up
        self.decay = decay
        self.gradient_clip = gradient_clip
        self.l1 = l1
        self.l2 = l2
        self.batch_size = batch_size
        self.epochs = epochs
        self.steps = steps
        self.patience = patience
        self.seed = seed
        self.callbacks = tuple(callbacks)
        self.history: list[EpochRecord] = []
        self._parameters = [p for p in network.parameters() if p.requires_grad]

    def fit(self, train: Data, validation: Data | None = None) -> list[EpochRecord]:
        """Train, and restore the best weights if there is validation data.

        Args:
            train: One data set with the targets of all tasks (missing labels allowed), a data set
                for each task by name, or a `Mixture`. A data set is `TensorData`, a torch
                DataLoader or Dataset, or a `DataSource`.
            validation: Likewise; a task without validation labels is left out of the score.

        Returns:
            A record for each epoch, also kept as `history`.

        Raises:
            InvalidInputError: A task has no data or no label, its target or its head's output do
                not fit it, a loss or a weight is not finite, or there is `patience` without
                validation data.
        """
        if self.patience is not None and validation is None:
            raise InvalidInputError(
                "`patience` needs validation data; give fit() some, or leave patience out"
            )
        bilevel = self.balancer is not None and self.balancer.needs is Needs.HELD_OUT
        if bilevel and validation is None:
            raise InvalidInputError(
                "the balancer learns from held-out losses; give fit() validation data"
            )
        generator = torch.Generator().manual_seed(self.seed)
        sets = self._sets(train, "training", generator)
        checks = None if validation is None else self._sets(validation, "validation", generator)
        self._check_outputs(sets)
        with _seeded(self.seed, self.device):
            self._fit(sets, checks, generator)
        return self.history

    def _fit(
        self,
        sets: TaskSets,
        validation: TaskSets | None,
        generator: torch.Generator,
    ) -> None:
        schedule = sets.schedule(self.schedule)
        epoch_steps = schedule.steps_per_epoch(sets.batches, sets.together)
        total = self.epochs * epoch_steps if self.steps is None else self.steps
        self._training = sets
        self._held_out = validation or TaskSets((), {}, {}, 0)
        self._loss_weights = sets.loss_weights(self.weights)
        self.history = []
        best = _BestWeights(self.network, validation is not None)
        initial = {} if validation is None else self._mean_losses(validation)
        for callback in self.callbacks:
            callback.on_fit_start(self)
        self.network.train()
        seen: list[Mapping[str, Tensor]] = []
        for step, tasks in zip(range(total), schedule.steps(sets.labels, generator), strict=False):
            self.optimizers.check_step(tasks)
            drawn = self._training.draw(tasks)
            if self.warm_up or self.decay != "none":
                self.optimizers.scale_learning_rate(
                    learning_rate_factor(step, total, self.warm_up, self.decay)
                )
            losses = self.training_step(drawn)
            seen.append(losses)
            for callback in self.callbacks:
                callback.on_step_end(self, step + 1, losses)
            if (step + 1) % epoch_steps == 0 or step + 1 == total:
                record = self._end_epoch(step + 1, seen, validation, initial, best)
                seen = []
                for callback in self.callbacks:
                    callback.on_epoch_end(self, record)
                if self.patience is not None and best.epochs_since >= self.patience:
                    break
        for opened in (self._training, self._held_out):
            opened.close()
        best.restore(self.network)
        self._check_weights()
        self.network.eval()
        for callback in self.callbacks:
            callback.on_fit_end(self)

    def training_step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Make one step on the given batches and return the detached loss of each task."""
        losses = self.compute_losses(batches)
        self.optimizers.zero_grad()
        self.backward(losses, batches)
        self._add_network_penalty(tuple(losses))
        self._penalize()
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.gradient_clip)
        self.optimizers.step(tuple(losses))
        if self.balancer is not None and self.balancer.wants_after_step:
            self._learn_after_step(self.balancer, batches)
        if isinstance(losses, TaskLosses):
            return losses.detach()
        return {name: loss.detach() for name, loss in losses.items()}

    def compute_losses(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Return the loss of each task on the given batches, a scalar each."""
        return compute_losses(self.network, self.tasks, batches)

    def backward(self, losses: Mapping[str, Tensor], batches: Sequence[Batch]) -> None:
        """Fill the gradients: of the weighted sum of the losses, or of the balancer's update."""
        weighted = self._weighted(losses)
        if self.balancer is None:
            if isinstance(weighted, TaskLosses):
                total = weighted.together.sum()
            else:
                values = list(weighted.values())
                total = values[0] if len(values) == 1 else torch.stack(values).sum()
            total.backward()  # type: ignore[no-untyped-call]
            return

        def from_batches(drawn: Sequence[Batch]) -> Mapping[str, Tensor]:
            return self._weighted(self.compute_losses(drawn))

        if self._balancer_optimizer is not None:
            self._balancer_optimizer.zero_grad()
        names = tuple(losses)
        self.balanced = backward(
            weighted,
            self.balancer,
            refresh_every=self.refresh_every,
            extra=lambda: from_batches(self._training.draw(names)),
            train=lambda: from_batches(batches),
            held_out=lambda: from_batches(self._held_out.draw(names)),
        )
        if self._balancer_optimizer is not None:
            self._balancer_optimizer.step()

    @torch.no_grad()
    def _learn_after_step(self, balancer: Balancer, batches: Sequence[Batch]) -> None:
        """Let the balancer see the losses of the same batch at the new weights."""
        after = self._weighted(self.compute_losses(batches))
        with balancer.taking_part(balancer.positions_of(tuple(after))):
            balancer.after_step(torch.stack(list(after.values())))

    def _weighted(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if isinstance(losses, TaskLosses):
            return losses.weighted(self._loss_weights)
        return {
            name: loss if self._loss_weights[name] == 1 else loss * self._loss_weights[name]
            for name, loss in losses.items()
        }

    def predict(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, logits: bool = False
    ) -> dict[str, Tensor]:
        """Return the predictions of each task: values, or probabilities of classes.

        Args:
            inputs: What the network takes, first dimension n; or a DataLoader, a data set or a
                `DataSource` of it, with or without targets.
            tasks: Which tasks; default all.
            logits: Return the heads' outputs as they are.

        Shape:
            returns: as `Task.predict`, first dimension n, on the CPU.

        Raises:
            InvalidInputError: A name is no task of the trainer.
        """
        names = tuple(self.tasks) if tasks is None else tuple(tasks)
        for name in names:
            if name not in self.tasks:
                raise InvalidInputError(
                    f"{name!r} is no task of the trainer{closest(name, self.tasks)}"
                )
        wanted = [self.tasks[name] for name in names]
        parts = [
            predict(self.network, wanted, part, device=self.device, logits=logits)
            for part in input_batches(inputs, tuple(self.tasks), self.batch_size)
        ]
        return {task.name: joined(task, [part[task.name] for part in parts]) for task in wanted}

    def evaluate(self, data: Data) -> dict[str, dict[str, float]]:
        """Return each task's metrics over its labelled rows, by task and metric name.

        Args:
            data: As `fit` takes them; a mixture's sets are gone through once.

        Raises:
            InvalidInputError: A task has no data, or a target does not fit its task.
        """
        predictions: dict[str, list[Tensor]] = {name: [] for name in self.tasks}
        targets: dict[str, list[Tensor]] = {name: [] for name in self.tasks}
        for batch in self._sets(data, "evaluation").once():
            found = self.predict(batch.data.inputs, batch.tasks)
            for name in batch.tasks:
                predictions[name].append(found[name])
                targets[name].append(batch.data.targets[name].cpu())
        return {
            name: task.evaluate(joined(task, predictions[name]), joined(task, targets[name]))
            for name, task in self.tasks.items()
        }

    def _sets(self, data: Data, purpose: str, generator: torch.Generator | None = None) -> TaskSets:
        """Return the data sets on the device with the tasks that each serves."""
        return TaskSets.of(
            data,
            self.tasks,
            purpose,
            batch_size=self.batch_size,
            device=self.device,
            generator=generator,
            seed=self.seed,
        )

    @torch.no_grad()
    def _check_outputs(self, sets: TaskSets) -> None:
        """Refuse a head whose output does not fit its task."""
        self.network.eval()
        for batch in sets.first():
            outputs = self.network(batch.data.inputs, batch.tasks)
            for name in batch.tasks:
                task, output = self.tasks[name], outputs[name][:1]
                width = output.shape[-1] if task.kind == "sequence" else output.numel()
                if task.loss_function is None and width != task.output_size:
                    raise InvalidInputError(
                        f"the head of {task.kind} task {name!r} must give {task.output_size} "
                        f"numbers, got {width}"
                    )

    def _check_weights(self) -> None:
        """Refuse to end with weights that a last bad step has spoilt."""
        if not all(bool(parameter.isfinite().all()) for parameter in self._parameters):
            raise InvalidInputError(
                "the weights are not finite after the last step; lower the learning rate or clip "
                "the gradient"
            )

    def _add_network_penalty(self, tasks: Sequence[str]) -> None:
        """Add the gradients of what the network itself adds to the loss."""
        penalty = self.network.penalty(tasks)
        if penalty is not None:
            penalty.backward()  # type: ignore[no-untyped-call]

    def _penalize(self) -> None:
        """Add the gradients of the L1 and L2 penalties of the weights that the step reached."""
        if not (self.l1 or self.l2):
            return
        with torch.no_grad():
            for parameter in self._parameters:
                if parameter.grad is None or parameter.ndim < 2:
                    continue
                if self.l1:
                    parameter.grad.add_(parameter.sign(), alpha=self.l1)
                if self.l2:
                    parameter.grad.add_(parameter, alpha=2 * self.l2)

    @torch.no_grad()
    def _mean_losses(self, sets: TaskSets) -> dict[str, float]:
        """Return each task's loss over all labelled rows; tasks without any are left out."""
        self.network.eval()
        sums: dict[str, list[Tensor]] = {}
        counts: dict[str, list[Tensor]] = {}
        for batch in sets.once():
            outputs = self.network(batch.data.inputs, batch.tasks)
            for name in batch.tasks:
                target = batch.data.targets[name]
                count = self.tasks[name].labelled(target).sum()
                sums.setdefault(name, []).append(
                    self.tasks[name].loss(outputs[name], target).double() * count
                )
                counts.setdefault(name, []).append(count)
        self.network.train()
        means = {}
        for name in sums:
            total = int(torch.stack(counts[name]).sum())
            if total:
                means[name] = float(torch.stack(sums[name]).sum()) / total
        return means

    def _end_epoch(
        self,
        step: int,
        seen: list[Mapping[str, Tensor]],
        validation: TaskSets | None,
        initial: Mapping[str, float],
        best: _BestWeights,
    ) -> EpochRecord:
        means = mean_losses(seen)
        training = {name: means[name] for name in self.tasks if name in means}
        for name, mean in training.items():
            if not math.isfinite(mean):
                raise InvalidInputError(
                    f"the loss of task {name!r} is not finite by step {step}; lower the "
                    f"learning rate, clip the gradient or check its targets"
                )
        losses = {} if validation is None else self._mean_losses(validation)
        score = None
        if losses:
            relative = [losses[name] / max(initial[name], 1e-12) for name in losses]
            score = sum(relative) / len(relative)
        improved = best.offer(self.network, score)
        record = EpochRecord(len(self.history) + 1, step, training, losses, score, improved)
        self.history.append(record)
        if self.balancer is not None and self.balancer.wants_end_epoch:
            self.balancer.end_epoch()
        return record


class _BestWeights:
    """Keeps a copy of the weights with the lowest score."""

    def __init__(self, network: nn.Module, active: bool) -> None:
        self._copy = (
            {name: value.clone() for name, value in network.state_dict().items()} if active else {}
        )
        self._score = math.inf
        self.epochs_since = 0

    def offer(self, network: nn.Module, score: float | None) -> bool:
        if score is None or not self._copy:
            return False
        if score < self._score:
            self._score = score
            self.epochs_since = 0
            for name, value in network.state_dict().items():
                self._copy[name].copy_(value)
            return True
        self.epochs_since += 1
        return False

    def restore(self, network: nn.Module) -> None:
        if self._score < math.inf:
            network.load_state_dict(self._copy)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed dropout on the CPU and `device` inside the block; leave the random states as found."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also seed the GPUs that are not ours to touch
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; ``auto`` is a GPU if there is one.

    Raises:
        InvalidInputError: The device is unknown or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise InvalidInputError(f"`device` must be auto, cpu or cuda, got {device!r}") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InvalidInputError(
            f"device {str(resolved)!r} was asked for, but torch finds {torch.cuda.device_count()} "
            f"GPUs; use 'auto' or 'cpu'"
        )
    return resolved


def _checked_weights(
    weights: Mapping[str, float] | None, names: tuple[str, ...]
) -> dict[str, float]:
    given = {} if weights is None else dict(weights)
    for name, weight in given.items():
        if name not in names:
            raise InvalidInputError(
                f"`weights` names {name!r}, which is no task{closest(name, names)}"
            )
        if not 0 <= weight < math.inf:
            raise InvalidInputError(f"the weight of task {name!r} must be >= 0, got {weight}")
    if given and not any(given.get(name, 1.0) for name in names):
        raise InvalidInputError("at least one task must have a weight above 0")
    return {name: float(given.get(name, 1.0)) for name in names}


def _check_ranges(
    *,
    warm_up: float,
    decay: str,
    gradient_clip: float | None,
    l1: float,
    l2: float,
    batch_size: int,
    epochs: int,
    steps: int | None,
    patience: int | None,
) -> None:
    if not 0 <= warm_up <= 1:
        raise InvalidInputError(f"`warm_up` must lie in [0, 1], got {warm_up}")
    if decay not in ("cosine", "none"):
        raise InvalidInputError(f"`decay` must be 'cosine' or 'none', got {decay!r}")
    if gradient_clip is not None and not gradient_clip > 0:
        raise InvalidInputError(f"`gradient_clip` must be positive, got {gradient_clip}")
    for name, factor in (("l1", l1), ("l2", l2)):
        if not 0 <= factor < math.inf:
            raise InvalidInputError(f"`{name}` must be at least 0, got {factor}")
    for name, count in (
        ("batch_size", batch_size), ("epochs", epochs), ("steps", steps), ("patience", patience),
    ):  # fmt: skip
        if count is not None and count < 1:
            raise InvalidInputError(f"`{name}` must be at least 1, got {count}")
