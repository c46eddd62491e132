"""Trainer: trains the tasks of a network together, in alternation, in phases, or one alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jointrain.balancing import BalancedStep, Balancer, Needs, TaskLosses, backward
from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._device import resolve_device, seeded
from jointrain.training._early_stopping import WhenConverged
from jointrain.training._epochs import Epochs
from jointrain.training._freezing import keep_running_statistics
from jointrain.training._losses import (
    compute_losses,
    of_labelled_tasks,
    validation_losses,
)
from jointrain.training._optimizer import (
    Layout,
    OptimizerFactory,
    Optimizers,
    OptimizerSettings,
    learning_rate_factor,
)
from jointrain.training._phase_runner import PhaseRunner, Stretch
from jointrain.training._phases import Phases
from jointrain.training._prediction import joined, predict
from jointrain.training._settings_checks import (
    check_convergence,
    check_outputs,
    check_ranges,
    checked_auxiliary,
    checked_weights,
    refuse_several_processes,
)
from jointrain.training.callbacks import Callback, EpochRecord
from jointrain.training.sampling import (
    Batch,
    Course,
    Data,
    Joint,
    Schedule,
    TaskSets,
    input_batches,
)


class Trainer:
    r"""Trains a network on its tasks and keeps the best weights seen on validation data.

    A step takes the tasks that the schedule names, draws a batch, and makes one step on
    :math:`L = \sum_i w_i L_i + \lambda_1 |W|_1 + \lambda_2 |W|_2^2`, where :math:`L_i` is the mean
    loss over the rows of the batch that have task i's label and W are the weight matrices (not the
    biases and normalisation parameters) that the step reaches.

    Args:
        network: Maps inputs to ``{task: output}``.
        tasks: The tasks; each must be one of the network's.
        schedule: Which tasks take part in which step; default `Joint()`. Or `Phases`, which have
            lengths of their own.
        auxiliary: Names of tasks that only help: they train like the others, but count in no
            score, and `predict` and `evaluate` leave them out unless asked.
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
        calibrated: Whether validation losses of class tasks are those of calibrated probabilities:
            the lowest at any temperature. Networks grow too sure of themselves long before they
            stop learning to tell classes apart, which ends training too early; default False. For
            models whose probabilities are calibrated afterwards, see `validation_losses`.
        when_converged: What becomes of a task whose own validation loss has not fallen for
            `task_patience` epochs. ``go_on`` (default): nothing. ``freeze``: its own parameters
            return to where its loss was lowest, and its loss is left out from then on (a step for
            it alone is passed over); training ends when all tasks are frozen. The shared layers go
            on moving, and its validation loss with them. ``lower``: its weight is multiplied by
            `converged_weight`, which changes nothing for a balancer that looks at directions only.
        task_patience: Epochs, see `when_converged`.
        converged_weight: Factor in (0, 1); default 0.1.
        seed: Seed of batches, task order and dropout; default 0.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or a `torch.device`.
        callbacks: Hooks, called in this order.

    Attributes:
        history: A record for each epoch of the last `fit`.
        own_networks: Networks of their own by task, where phases made some; see `network_for`.

    Raises:
        InvalidInputError: A value lies outside its range, or tasks, network and phases do not fit.
    """

    def __init__(
        self,
        network: Network,
        tasks: Sequence[Task],
        *,
        schedule: Schedule | Phases | None = None,
        auxiliary: Sequence[str] = (),
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
        calibrated: bool = False,
        when_converged: WhenConverged = "go_on",
        task_patience: int | None = None,
        converged_weight: float = 0.1,
        seed: int = 0,
        device: str | torch.device = "auto",
        callbacks: Sequence[Callback] = (),
    ) -> None:
        refuse_several_processes()
        check_ranges(
            warm_up=warm_up, decay=decay, gradient_clip=gradient_clip, l1=l1, l2=l2,
            batch_size=batch_size, epochs=epochs, steps=steps, patience=patience,
            task_patience=task_patience,
        )  # fmt: skip
        check_convergence(when_converged, task_patience, converged_weight)
        self.device = resolve_device(device)
        self.network = network.to(self.device)
        self.tasks = {task.name: task for task in tasks}
        if not tasks:
            raise InvalidInputError("a trainer needs at least one task")
        if len(self.tasks) != len(tasks):
            raise InvalidInputError("the tasks of a trainer must have different names")
        for name in self.tasks:
            network.index_of(name)
        self.auxiliary = checked_auxiliary(auxiliary, tuple(self.tasks))
        self.schedule = Joint() if schedule is None else schedule
        if isinstance(self.schedule, Phases):
            if steps is not None:
                raise InvalidInputError("phases have lengths of their own; leave `steps` out")
            self.schedule.check(network, tuple(self.tasks), self.auxiliary)
        self.weights = checked_weights(weights, tuple(self.tasks))
        self._current_weights = dict(self.weights)
        self.optimizer = optimizer or OptimizerSettings()
        self.layout = layout
        self.optimizers = Optimizers(network, self.optimizer, layout)
        self.balancer = balancer
        self._balancer_rate = self.optimizers.learning_rate
        self.refresh_every = refresh_every
        self.balanced: BalancedStep | None = None
        if balancer is not None:
            balancer.to(self.device)
            if balancer.task_state:
                balancer.bind(tuple(self.tasks))
        self.warm_up = warm_up
        self.decay = decay
        self.gradient_clip = gradient_clip
        self.l1 = l1
        self.l2 = l2
        self.batch_size = batch_size
        self.epochs = epochs
        self.steps = steps
        self.patience = patience
        self.calibrated = calibrated
        self.when_converged = when_converged
        self.task_patience = task_patience
        self.converged_weight = converged_weight
        self.seed = seed
        self.callbacks = tuple(callbacks)
        self.history: list[EpochRecord] = []
        self.own_networks: dict[str, Network] = {}
        self._generator = torch.Generator()
        self._parameters = [p for p in network.parameters() if p.requires_grad]

    @cached_property
    def _balancer_optimizer(self) -> torch.optim.Optimizer | None:
        """Moves the balancer's own parameters, if it has any."""
        learned = [] if self.balancer is None else list(self.balancer.parameters())
        return torch.optim.Adam(learned, lr=self._balancer_rate) if learned else None

    def fit(
        self,
        train: Data,
        validation: Data | None = None,
        *,
        unlabelled: Tensor | None = None,
    ) -> list[EpochRecord]:
        """Train, and restore the best weights if there is validation data.

        Args:
            train: One data set with the targets of all tasks (missing labels allowed), a data set
                for each task by name, or a `Mixture`. A data set is `TensorData`, a torch
                DataLoader or Dataset, or a `DataSource`.
            validation: Likewise; a task without validation labels is left out of the score, and an
                auxiliary task may be left out of the data.
            unlabelled: More inputs for phases that pretrain, [n, d].

        Returns:
            A record for each epoch, also kept as `history`.

        Raises:
            InvalidInputError: A task has no data or no label, its target or its head's output do
                not fit it, a loss or a weight is not finite, there is `patience` or
                `task_patience` without validation data, or this is one of several processes.
        """
        pretrains = isinstance(self.schedule, Phases) and self.schedule.pretrains
        if unlabelled is not None and not pretrains:
            raise InvalidInputError(
                "`unlabelled` rows serve phases that pretrain; leave them out, or add such a phase"
            )
        refuse_several_processes()
        sets, checks = self.begin(train, validation)
        with seeded(self.seed, self.device):
            try:
                self._fit(sets, checks, unlabelled)
            finally:
                for opened in (sets, checks):
                    if opened is not None:
                        opened.close()
        return self.history

    def begin(self, train: Data, validation: Data | None) -> tuple[TaskSets, TaskSets | None]:
        """Check and open the data, and forget earlier epochs.

        Raises:
            InvalidInputError: As in `fit`.
        """
        for argument in ("patience", "task_patience"):
            if validation is None and getattr(self, argument) is not None:
                raise InvalidInputError(
                    f"`{argument}` needs validation data; give fit() some, or leave {argument} out"
                )
        self._generator = torch.Generator().manual_seed(self.seed)
        sets = self._sets(train, "training")
        checks = None if validation is None else self._sets(validation, "validation")
        self._check_held_out(checks)
        check_outputs(self.network, sets.first(), self.tasks)
        self._training = sets
        self._held_out = TaskSets((), {}, {}, 0) if checks is None else checks
        self._current_weights = sets.loss_weights(self.weights)
        self.history, self.own_networks = [], {}
        return sets, checks

    def whole_run(self) -> Stretch:
        """Return what is trained from start to end, if there are no phases.

        Raises:
            InvalidInputError: There are phases.
        """
        if isinstance(self.schedule, Phases):
            raise InvalidInputError("phases are several runs, one after the other")
        return Stretch(
            tuple(self.tasks), self.schedule, epochs=self.epochs, steps=self.steps,
            warm_up=self.warm_up, decay=self.decay, patience=self.patience,
        )  # fmt: skip

    def _fit(
        self,
        sets: TaskSets,
        validation: TaskSets | None,
        unlabelled: Tensor | None,
    ) -> None:
        self._initial = validation_losses(
            self.network, self.tasks, self._held_out.once(), calibrated=self.calibrated
        )
        for callback in self.callbacks:
            callback.on_fit_start(self)
        if isinstance(self.schedule, Phases):
            PhaseRunner(self, sets, validation, unlabelled).run(self.schedule)
        else:
            self._train(self.whole_run(), sets, validation)
        self.network.eval()
        for callback in self.callbacks:
            callback.on_fit_end(self)

    def _train(self, stretch: Stretch, sets: TaskSets, validation: TaskSets | None) -> None:
        """Make the steps of a stretch, and restore its best weights."""
        sets = sets.serving(stretch.tasks)
        schedule = sets.schedule(stretch.schedule)
        epoch_steps, total = stretch.lengths(sets)
        course = Course(total, epoch_steps)
        chosen = schedule.follow(sets.labels, self._generator, course)
        epochs = Epochs(self, stretch, validation)
        before = self.history[-1].step if self.history else 0
        out = epochs.left_out
        self._train_mode()
        for step, tasks in zip(range(1, total + 1), chosen, strict=False):
            if out:
                tasks = tuple(name for name in tasks if name not in out)
            if tasks:
                self.optimizers.check_step(tasks)
                drawn = self._training.draw(tasks)
                if stretch.warm_up or stretch.decay != "none":
                    self.optimizers.scale_learning_rate(
                        learning_rate_factor(step - 1, total, stretch.warm_up, stretch.decay)
                    )
                losses = self.training_step(drawn)
                epochs.losses.see(losses, drawn)
                if course.losses is not None:
                    course.losses.append(losses)
                for callback in self.callbacks:
                    callback.on_step_end(self, before + step, losses)
            if (step % epoch_steps == 0 or step == total) and epochs.end(before + step):
                break
        epochs.best.restore()
        self.check_weights()
        self.network.eval()

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

        weighted = of_labelled_tasks(weighted, batches)
        if not weighted:
            return

        def from_batches(drawn: Sequence[Batch]) -> Mapping[str, Tensor]:
            return self._weighted(self.compute_losses(drawn))

        if self._balancer_optimizer is not None:
            self._balancer_optimizer.zero_grad()
        names = tuple(losses)
        # the losses of grouped heads come as one tensor, and a network compiled as a whole is one
        # operation, whose graphs know no owners of heads; they need not where one pass over the
        # weighted sum is all
        merged = isinstance(weighted, TaskLosses) or hasattr(self.network, "_orig_mod")
        merged = merged and self.balancer.needs is not Needs.LOSSES
        self.balanced = backward(
            weighted,
            self.balancer,
            shared=self.network.shared_parameters() if merged else None,
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
        after = of_labelled_tasks(self._weighted(self.compute_losses(batches)), batches)
        if not after:
            return
        with balancer.taking_part(balancer.positions_of(tuple(after))):
            balancer.after_step(torch.stack(list(after.values())))

    def _weighted(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        weights = self._current_weights
        if isinstance(losses, TaskLosses):
            return losses.weighted(weights)
        return {
            name: loss if weights[name] == 1 else loss * weights[name]
            for name, loss in losses.items()
        }

    def network_for(self, task: str) -> Network:
        """Return the network that predicts a task: its own if a phase gave it one.

        Raises:
            InvalidInputError: The name is no task of the trainer.
        """
        if task not in self.tasks:
            raise InvalidInputError(
                f"{task!r} is no task of the trainer{closest(task, self.tasks)}"
            )
        return self.own_networks.get(task, self.network)

    @property
    def main_tasks(self) -> tuple[str, ...]:
        """The names of the tasks that are not auxiliary."""
        return tuple(name for name in self.tasks if name not in self.auxiliary)

    def predict(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, logits: bool = False
    ) -> dict[str, Tensor]:
        """Return the predictions of each task: values, or probabilities of classes.

        Args:
            inputs: What the network takes, first dimension n; or a DataLoader, a data set or a
                `DataSource` of it, with or without targets.
            tasks: Which tasks; default all that are not auxiliary.
            logits: Return the heads' outputs as they are.

        Shape:
            returns: as `Task.predict`, first dimension n, on the CPU.

        Raises:
            InvalidInputError: A name is no task of the trainer.
        """
        names = self.main_tasks if tasks is None else tuple(tasks)
        together: dict[Network, list[Task]] = {}
        for name in names:
            together.setdefault(self.network_for(name), []).append(self.tasks[name])
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        for part in input_batches(inputs, tuple(self.tasks), self.batch_size):
            for network, wanted in together.items():
                found = predict(network, wanted, part, device=self.device, logits=logits)
                for name, prediction in found.items():
                    parts[name].append(prediction)
        return {name: joined(self.tasks[name], parts[name]) for name in names}

    def evaluate(
        self, data: Data, tasks: Sequence[str] | None = None
    ) -> dict[str, dict[str, float]]:
        """Return each task's metrics over its labelled rows, by task and metric name.

        Args:
            data: As `fit` takes them; a mixture's sets are gone through once.
            tasks: Which tasks; default all that are not auxiliary.

        Raises:
            InvalidInputError: A task has no data, or a target does not fit its task.
        """
        wanted = self.main_tasks if tasks is None else tuple(tasks)
        for name in wanted:
            self.network_for(name)
        predictions: dict[str, list[Tensor]] = {name: [] for name in wanted}
        targets: dict[str, list[Tensor]] = {name: [] for name in wanted}
        for batch in self._sets(data, "evaluation", wanted).serving(wanted).once():
            found = self.predict(batch.data.inputs, batch.tasks)
            for name in batch.tasks:
                predictions[name].append(found[name])
                targets[name].append(batch.data.targets[name].cpu())
        return {
            name: self.tasks[name].evaluate(
                joined(self.tasks[name], predictions[name]),
                joined(self.tasks[name], targets[name]),
            )
            for name in wanted
        }

    def _sets(self, data: Data, purpose: str, needed: Sequence[str] | None = None) -> TaskSets:
        """Return the data sets on the device with the tasks that each serves.

        Tasks that are not `needed` (default: all in training, else the main ones) may lack data.
        """
        if needed is None:
            needed = tuple(self.tasks) if purpose == "training" else self.main_tasks
        return TaskSets.of(
            data,
            self.tasks,
            purpose,
            batch_size=self.batch_size,
            device=self.device,
            generator=None if purpose == "evaluation" else self._generator,
            seed=self.seed,
            needed=needed,
        )

    def _check_held_out(self, validation: TaskSets | None) -> None:
        """Refuse a balancer that learns from held-out losses which some task does not have."""
        if self.balancer is None or self.balancer.needs is not Needs.HELD_OUT:
            return
        if validation is None:
            raise InvalidInputError(
                "the balancer learns from held-out losses; give fit() validation data"
            )
        for name in self.tasks:
            if name not in validation.labels:
                raise InvalidInputError(
                    f"the balancer learns from held-out losses; give task {name!r} validation data"
                )

    def check_weights(self) -> None:
        """Refuse to end with weights that a last bad step has spoilt."""
        if not all(bool(parameter.isfinite().all()) for parameter in self._parameters):
            raise InvalidInputError(
                "the weights are not finite after the last step; lower the learning rate or clip "
                "the gradient"
            )

    def _train_mode(self) -> None:
        self.network.train()
        if isinstance(self.schedule, Phases):
            keep_running_statistics(self.network)

    def _add_network_penalty(self, tasks: Sequence[str]) -> None:
        """Add the gradients of what the network itself adds to the loss."""
        penalty = self.network.penalty(tasks)
        if penalty is not None and penalty.requires_grad:
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

    def record(self, record: EpochRecord) -> None:
        """Add a record to the history and show it to the callbacks."""
        self.history.append(record)
        for callback in self.callbacks:
            callback.on_epoch_end(self, record)
