"""TaskSession: a stretch of training of tasks by their labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.balancing import (
    BalancedStep,
    Balancer,
    Equal,
    LossWeighting,
    Needs,
    TaskLosses,
    backward,
)
from jointrain.balancing.engine import is_distributed
from jointrain.errors import InvalidInputError, NonFiniteError
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._accumulation import Part, added, parts_of, share_of
from jointrain.training._compilation import CompiledNetwork
from jointrain.training._early_stopping import BestWeights, ConvergedTasks, relative_score
from jointrain.training._epoch_losses import EpochLosses, check_validation, packed, unpacked
from jointrain.training._freezing import Releases, keep_running_statistics
from jointrain.training._loss_scale import LossScale
from jointrain.training._losses import (
    compute_losses,
    label_counts,
    losses_without,
    validation_losses,
    without_labels,
)
from jointrain.training._optimizer import Optimizers
from jointrain.training._penalties import Penalties
from jointrain.training._ranks import LabelledRows, TrainingRanks
from jointrain.training._session import Session, State
from jointrain.training._settings import TrainingSettings
from jointrain.training.callbacks import EpochRecord
from jointrain.training.sampling import Batch, RunProgress, Schedule, TaskSets, Turns, checked_step

ComputeLosses = Callable[[Sequence[Batch]], Mapping[str, Tensor]]
FillGradients = Callable[[Mapping[str, Tensor], Sequence[Batch]], None]

NO_SETS = TaskSets((), {}, {}, 0)

_FOUND = ("_own", "_summed", "_penalties")
"""Names of attributes that are looked up in the network once they are asked for."""


class TaskSession(Session[list[Batch]]):
    """Trains tasks of a network on labelled data, as a schedule says.

    Args:
        network: Maps inputs to outputs by task.
        tasks: All tasks of the network that are known, by name.
        settings: See `TrainingSettings`.
        optimizers: Of the network.
        weights: Of the losses; lowered in place for tasks that converge, if so set.
        balancer: None for the weighted sum.
        balancer_optimizer: Moves the balancer's own parameters, if it has any.
        scale: Of the losses, in float16.
        generator: Source of the order of tasks, and of rows in memory.
        history: Records of earlier sessions, to be added to.
        schedule: Names the tasks of each step; None for a session that makes no loop of its own.
        trained: Names of the tasks that are trained; default all.
        auxiliary: Names of tasks that count in no score.
        training: Data to train on; None if there are none yet.
        held_out: Validation data, of no sets where there are none.
        validates: Whether there are validation data.
        initial: Validation loss of each task before training.
        train_step: Makes a step on batches, in place of this session's own.
        phase: What records call it; None without phases.
        trained_before: Whether the tasks were trained before, so that the weights at the start are
            worth keeping.
        releases: Frozen parameters that are released during it.
        ranks: The processes that train the network together, each on its part of every batch.

    Attributes:
        turns: The tasks of the steps to come.
        progress: What the schedule knows of the session.
        balanced: What the balancer made of the last step.
        losses: The training losses of the epoch.
        converged: Watches tasks by themselves; None if nothing becomes of converged tasks.
        left_out: Names of converged tasks whose loss is left out.
        epochs_done: Number of epochs.
    """

    optimizers: Optimizers

    def __init__(
        self,
        network: Network,
        tasks: Mapping[str, Task],
        settings: TrainingSettings,
        optimizers: Optimizers,
        *,
        weights: dict[str, float],
        balancer: Balancer | None = None,
        balancer_optimizer: torch.optim.Optimizer | None = None,
        scale: LossScale | None = None,
        generator: torch.Generator,
        history: list[EpochRecord],
        schedule: Schedule | None = None,
        trained: tuple[str, ...] | None = None,
        auxiliary: Collection[str] = (),
        training: TaskSets | None = None,
        held_out: TaskSets = NO_SETS,
        validates: bool = False,
        initial: Mapping[str, float] | None = None,
        train_step: ComputeLosses | None = None,
        phase: str | None = None,
        trained_before: bool = False,
        releases: Releases | None = None,
        ranks: TrainingRanks | None = None,
    ) -> None:
        parameters = [p for p in network.parameters() if p.requires_grad]
        if releases is not None:
            parameters = releases.with_frozen(network)
        super().__init__(network, settings, optimizers, parameters, generator, history)
        self.network = network
        self.forward = CompiledNetwork(network) if settings.compile else network
        self.tasks = tasks
        self.weights = weights
        self.balancer = balancer
        if balancer is not None:
            balancer.keep_order(tuple(tasks))
        self.balancer_optimizer = balancer_optimizer
        self.scale = scale
        self.schedule = schedule
        self.trained = tuple(tasks) if trained is None else trained
        self.scored = [name for name in self.trained if name not in auxiliary] or self.trained
        self.training = training
        self.held_out = held_out
        self.validates = validates
        self.initial = dict(initial or {})
        self.phase = phase
        self.trained_before = trained_before
        self.releases = releases
        self.ranks = ranks
        self._rows: LabelledRows | None = None
        self.balanced: BalancedStep | None = None
        self.losses = EpochLosses()
        self.converged: ConvergedTasks | None = None
        self.left_out: set[str] = set()
        self._nothing_trained: set[str] = set()
        self.epochs_done = 0
        self.turns: Iterator[tuple[str, ...]] = iter(())
        self._known_step: tuple[str, ...] | None = None
        self.progress: RunProgress | None = None
        self._train_step = train_step or self.training_step
        if schedule is not None and training is not None:
            sets = training.serving(self.trained)
            followed = sets.schedule(schedule)
            self.epoch_steps = followed.steps_per_epoch(sets.batches, sets.together)
            count = settings.steps
            self.steps = settings.epochs * self.epoch_steps if count is None else count
        # phases make optimisers of their own
        self.notice_unmoved(refuse=schedule is not None)

    def start(self, state: State | None) -> None:
        """Begin the order of tasks, and keep the weights if they are worth it."""
        assert self.schedule is not None
        assert self.training is not None
        sets = self.training.serving(self.trained)
        self.progress = RunProgress(self.steps, self.epoch_steps)
        followed = sets.schedule(self.schedule)
        self.turns = iter(followed.follow(sets.labels, self.generator, self.progress))
        self.best = BestWeights(self.network, self.validates)
        self.open_options(validates=self.validates)
        if self.settings.task_patience is not None:
            self.converged = ConvergedTasks(self.network, self.trained, self.settings.task_patience)
        if state is not None:
            self.load_state_dict(state)
        elif self.trained_before and self.validates:
            self.best.offer(self._score(self._validate()))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the steps to come depend on, but weights, history and random numbers.

        Raises:
            InvalidInputError: The schedule's steps have no place that can be saved.
        """
        assert self.training is not None
        assert self.progress is not None
        losses = self.progress.losses
        return {
            **super().state_dict(),
            **self.data_state(),
            "turns": self._resumable_turns().state_dict(),
            "progress": None if losses is None else packed(losses),
            "losses": self.losses.state_dict(),
            "balanced": None if self.balanced is None else dict(vars(self.balanced)),
            "weights": dict(self.weights),
            "left_out": sorted(self.left_out),
            "converged": None if self.converged is None else self.converged.state_dict(),
            "epochs_done": self.epochs_done,
            "released": 0 if self.releases is None else self.releases.released,
        }

    def load_state_dict(self, state: State) -> None:
        """Set the state of a session that has been started to what `state_dict` gave."""
        assert self.progress is not None
        device = self.parameters[0].device
        if self.releases is not None:
            self.releases.release_first(state["released"])
            self.optimizers.notice_frozen()
        self.load_data_state(state)
        super().load_state_dict(state)
        self._resumable_turns().load_state_dict(state["turns"])
        if state["progress"] is not None:
            self.progress.losses = unpacked(state["progress"], device)
        self.losses.load_state_dict(state["losses"], device)
        made = state.get("balanced")  # not in a state of an earlier release
        self.balanced = None if made is None else BalancedStep(**made)
        self.weights.update(state["weights"])
        self.left_out = set(state["left_out"])
        if self.converged is not None:
            self.converged.load_state_dict(state["converged"])
        self.epochs_done = state["epochs_done"]

    def data_state(self) -> dict[str, Any]:
        """Return the place in the data, and the state of the generator that they draw from."""
        assert self.training is not None
        return {
            "generator": self.generator.get_state(),
            "training": self.training.state_dict(),
            "held_out": self.held_out.state_dict(),
        }

    def load_data_state(self, state: State) -> None:
        """Go on in the data where `data_state` tells of."""
        assert self.training is not None
        self.training.load_state_dict(state["training"])
        self.held_out.load_state_dict(state["held_out"])
        self.generator.set_state(state["generator"])

    def _resumable_turns(self) -> Turns:
        if isinstance(self.turns, Turns):
            return self.turns
        raise InvalidInputError(
            f"the steps of {type(self.schedule).__name__} can't be saved in the midst of a run; "
            f"let its `steps` return jointrain.training.Turns"
        )

    def begin_epoch(self) -> None:
        """Put the network into training mode, but for frozen statistics in phases."""
        self.notice_unmoved()
        self.network.train()
        if self.phase is not None:
            keep_running_statistics(self.network)

    def draw(self) -> list[Batch] | None:
        """Draw the batches of the next step.

        Raises:
            InvalidInputError: The schedule names what is none of the trained tasks, or nothing.
        """
        tasks = next(self.turns)
        if tasks is not self._known_step:
            by = f"schedule {type(self.schedule).__name__}()"
            tasks = self._known_step = checked_step(tasks, self.trained, by)
        if self.left_out:
            tasks = tuple(name for name in tasks if name not in self.left_out)
        if not tasks:
            return None
        self.optimizers.check_step(tasks)
        return self.draw_batches(tasks)

    def draw_batches(self, tasks: Sequence[str]) -> list[Batch]:
        """Draw training batches of the named tasks.

        Raises:
            InvalidInputError: There are no data yet.
        """
        if self.training is None:
            raise InvalidInputError(
                "the balancer draws further batches of training data, and there are none yet; "
                "call the trainer's begin(train, validation) before a training_step of your own"
            )
        return self.training.draw(tasks)

    def draw_held_out(self, tasks: Sequence[str]) -> list[Batch]:
        """Draw validation batches of the named tasks; none without validation data."""
        return self.held_out.draw(tasks)

    def make_step(self, drawn: list[Batch]) -> Mapping[str, Tensor]:
        """Make a step on the batches and return the detached losses."""
        return self._train_step(drawn)

    def see(self, losses: Mapping[str, Tensor], drawn: list[Batch]) -> None:
        """Take in the losses of a step."""
        missing = self._missing_everywhere(drawn)
        self.losses.see(losses, drawn, missing)
        if self.progress is not None and self.progress.losses is not None:
            self.progress.losses.append(losses_without(losses, without_labels(drawn) | missing))

    def training_step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Make one step on the given batches and return the detached loss of each task."""

        def fill(losses: Mapping[str, Tensor], part: Sequence[Batch]) -> None:
            self.backward(losses, part, self.compute_losses)

        losses = self.differentiate(batches, self.compute_losses, fill)
        return self.move(losses, batches, self.compute_losses)

    def differentiate(
        self, batches: Sequence[Batch], compute: ComputeLosses, fill: FillGradients
    ) -> Mapping[str, Tensor]:
        """Fill the gradients of a step's losses, part by part if so set, and return the losses.

        Args:
            batches: What the step is made on.
            compute: Gives the losses of batches.
            fill: Adds the gradients of losses on batches to what earlier parts have left.
        """
        parts = self._parts(batches)
        if len(parts) > 1:
            self.optimizers.zero_grad()
        found = []
        for part, shares in parts:
            losses, of_all = self._over_all_rows(part, shares, compute)
            if self.settings.non_finite != "raise":
                self.check_losses(of_all())
            if len(parts) == 1:
                self.optimizers.zero_grad()
            fill(losses, part)
            found.append(of_all())
        return found[0] if len(found) == 1 else added(found)

    def _over_all_rows(
        self, batches: Sequence[Batch], shares: Mapping[str, float], compute: ComputeLosses
    ) -> tuple[Mapping[str, Tensor], Callable[[], Mapping[str, Tensor]]]:
        """Return the losses of batches, and what waits for those over the rows of all processes.

        Args:
            batches: A step's batches, or a part of them.
            shares: What each loss of a part is multiplied by; empty for the whole.
            compute: Gives the losses of batches.
        """
        # is sent while the losses are computed
        rows = None if self.ranks is None else self._rows_of(self.ranks, batches)
        losses = share_of(compute(batches), shares) if shares else compute(batches)
        if self.ranks is None or rows is None:
            return losses, lambda: losses
        return losses, self.ranks.over_all_rows(losses, rows)

    def _rows_of(self, ranks: TrainingRanks, batches: Sequence[Batch]) -> LabelledRows:
        """Return in how many rows of batches each task has a label, counted once."""
        if self._rows is None or self._rows.batches is not batches:
            self._rows = LabelledRows(ranks, self.tasks, batches)
        return self._rows

    def _absent(self, batches: Sequence[Batch]) -> set[str]:
        """Return the tasks that no row of the batches has a label of, on any process.

        For a balancer those of weight 0, too, whose losses it would take for solved.
        """
        return without_labels(batches) | self._missing_everywhere(batches) | self._weightless

    @property
    def _weightless(self) -> set[str]:
        """The tasks that a balancer is not to see."""
        if self.balancer is None:
            return set()
        return {name for name, weight in self.weights.items() if weight == 0}

    def _missing_everywhere(self, batches: Sequence[Batch]) -> frozenset[str]:
        """Return the tasks that no process has a label of, where each knows only its own rows."""
        if self.ranks is None or all(batch.present is not None for batch in batches):
            return frozenset()
        return self._rows_of(self.ranks, batches).missing

    def _parts(self, batches: Sequence[Batch]) -> list[Part]:
        """Return the parts of a step's batches that go through the network one after another."""
        if self.settings.accumulate == 1:
            return [(batches, {})]
        rows = self.settings.batch_size if self.training is None else self.training.part_rows
        return parts_of(self.tasks, batches, rows, self.ranks)

    def compute_losses(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Return the loss of each task on the given batches, a scalar each."""
        if self.settings.precision == "32":
            return compute_losses(self.network, self.tasks, batches, self.forward)
        with self.autocast():
            return compute_losses(self.network, self.tasks, batches, self.forward)

    def backward(
        self, losses: Mapping[str, Tensor], batches: Sequence[Batch], compute: ComputeLosses
    ) -> None:
        """Fill the gradients: of the weighted sum of the losses, or of the balancer's update.

        Args:
            losses: On the batches, by task.
            batches: What the step is made on.
            compute: Gives the losses of further batches.
        """
        losses = self._in_order(losses)
        weighted = self.weighted(losses)
        if self.balancer_optimizer is not None:
            self.balancer_optimizer.zero_grad()
        if self.ranks is not None:
            rows = self._rows_of(self.ranks, batches)
            if self.balancer is None:
                self._reach_all(rows.missing, losses)
            if self._weights_are_known and self._summed is not None:
                self._sum_over_copies(self.ranks, losses, rows)
                return
        elif self.balancer is None:
            self._backward_of_sum(weighted)
            return

        weighted = self._with_graph(losses_without(weighted, self._absent(batches)))
        if not weighted:
            return

        def from_batches(drawn: Sequence[Batch], *, further: bool) -> Mapping[str, Tensor]:
            losses = self.weighted(compute(drawn))
            if self.ranks is None or not further:
                return losses
            # processes count alike there, however many rows they have
            return share_of(losses, self.ranks.scales(label_counts(self.tasks, drawn)))

        names = tuple(losses)
        # the losses of grouped heads come as one tensor, and a network compiled as a whole is one
        # operation, whose graphs know no owners of heads; they need not where one pass over the
        # weighted sum is all
        compiled = self.settings.compile or hasattr(self.network, "_orig_mod")
        merged = compiled or isinstance(weighted, TaskLosses)
        balancer = Equal() if self.balancer is None else self.balancer
        merged = merged and balancer.needs is not Needs.LOSSES
        balanced = backward(
            weighted,
            balancer,
            shared=self._trained_shared_parameters() if merged else None,
            refresh_every=1 if self.balancer is None else self.settings.refresh_every,
            scaler=None if self.scale is None else self.scale.scaler,
            extra=lambda: from_batches(self.draw_batches(names), further=True),
            train=lambda: from_batches(batches, further=False),
            held_out=lambda: from_batches(self.draw_held_out(names), further=True),
            accumulate="exact" if self.balancer and self.settings.accumulate > 1 else None,
            **self._of_processes(batches),
        )
        if self.balancer is not None:
            self.balanced = balanced

    def _backward_of_sum(self, losses: Mapping[str, Tensor]) -> None:
        total = _sum_of(losses)
        if total.requires_grad or self._with_graph(losses):
            self.scaled(total).backward()  # type: ignore[no-untyped-call]

    def _trained_shared_parameters(self) -> list[nn.Parameter]:
        """Return what tasks share and training moves; nothing where all of it is frozen."""
        return [p for p in self.network.shared_parameters() if p.requires_grad]

    def _in_order(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the losses in the tasks' order where the balancer goes by places.

        Grouped heads give theirs kind by kind, batches of several data sets one after another.
        """
        balancer = self.balancer
        if balancer is None or (balancer.equivariant and not balancer.random):
            return losses
        names = balancer.in_order(losses)
        if names == tuple(losses):
            return losses
        if isinstance(losses, TaskLosses):
            places = [losses.names.index(name) for name in names]
            return TaskLosses(names, losses.together[places])
        return {name: losses[name] for name in names}

    def _with_graph(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the losses without those of tasks of which nothing is trained.

        Raises:
            InvalidInputError: A loss has no gradient, and parameters that make it are trained.
        """
        self._nothing_trained = set()
        if isinstance(losses, TaskLosses):
            return losses
        without = [name for name, loss in losses.items() if not loss.requires_grad]
        for name in without:
            if any(
                parameter.requires_grad
                for part in self.network.all_parts()
                if name in part.tasks
                for parameter in part.all_parameters()
            ):
                raise InvalidInputError(
                    f"the loss of task {name!r} has no gradient, though what makes it is trained; "
                    "let the network compute it without torch.no_grad(), .detach() and .item()"
                )
        self._nothing_trained.update(without)
        return {n: x for n, x in losses.items() if x.requires_grad} if without else losses

    def _reach_all(self, missing: Collection[str], tasks: Collection[str]) -> None:
        """Give parameters of tasks without a label on any process the gradient 0, as a sum does."""
        if not missing:
            return
        others = self._own_of_others(tasks)
        for parameter in self.parameters:
            if parameter.grad is None and parameter.requires_grad and id(parameter) not in others:
                parameter.grad = torch.zeros_like(parameter)

    def _own_of_others(self, tasks: Collection[str]) -> set[int]:
        """Return the ids of the parameters that belong to other tasks alone."""
        return {
            id(parameter)
            for name, own in self._own.items()
            if name not in tasks
            for parameter in own
        }

    @cached_property
    def _own(self) -> dict[str, list[nn.Parameter]]:
        return self.network.parameters_by_task()

    @cached_property
    def _summed(self) -> list[nn.Parameter] | None:
        """What the gradients of a plain sum are sent of, the last layers first.

        None where processes have to agree on it at each step: of shards, and of tables of which a
        step has some rows alone.
        """
        moved = [
            parameter
            for optimizer in self.optimizers.all
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        found = {id(p): p for p in (*reversed(list(self.network.parameters())), *moved)}
        tables = any(getattr(module, "sparse", False) for module in self.network.modules())
        if tables or any(map(is_distributed, found.values())):
            return None
        return list(found.values())

    @property
    def _weights_are_known(self) -> bool:
        """Whether the weights of the losses do not depend on these."""
        if self.balancer is None:
            return True
        fixed = isinstance(self.balancer, LossWeighting) and self.balancer.fixed
        return fixed and self.settings.accumulate == 1

    def _sum_over_copies(
        self, ranks: TrainingRanks, losses: Mapping[str, Tensor], rows: LabelledRows
    ) -> None:
        """Fill the gradients of the weighted sum of the losses over the rows of all processes.

        All that a process has to know beforehand are the numbers of rows: which parameters others
        reach comes with the gradients, and the losses over all rows while they are computed.
        """
        assert self._summed is not None
        left_out = rows.missing | self._weightless
        names = tuple(name for name in losses if name not in left_out)
        if not names:
            return
        of_all, rows.losses = rows.losses or ranks.over_all_rows(losses, rows), None
        factors = {name: self.weights[name] for name in names}
        losses = losses_without(losses, self._weightless)
        balancer = self.balancer
        if isinstance(balancer, LossWeighting):
            with balancer.taking_part(balancer.positions_of(names)):
                weights = balancer.weigh([0.0] * len(names)).weights
            factors = {n: factors[n] * w for n, w in zip(names, weights, strict=True)}
        others = self._own_of_others(losses)
        wanted = [p for p in self._summed if p.requires_grad and id(p) not in others]
        ranks.sum_gradients(*self._started(losses, factors, rows), wanted)
        if balancer is None:
            return
        means = self.weighted(of_all())
        found = torch.stack([means[name] for name in names]).to("cpu", torch.float64)
        infinite = [k for k, fine in enumerate(found.isfinite().tolist()) if not fine]
        if infinite and self.scale is None:
            name, loss = names[infinite[0]], float(found[infinite[0]])
            raise NonFiniteError(
                f"the loss of task {name!r} is {loss}; lower the learning rate or look at its data"
            )
        self.balanced = BalancedStep(
            names,
            torch.tensor(weights, dtype=torch.float64),
            found,
            overflow=bool(infinite),
        )

    def _started(
        self, losses: Mapping[str, Tensor], factors: Mapping[str, float], rows: LabelledRows
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the losses of the tasks with rows here, and what their gradients start with."""
        here = [name for name in losses if rows.here[name]]
        shares = [factors[name] * rows.here[name] / rows.total[name] for name in here]
        if not here:
            return [], []
        if not isinstance(losses, TaskLosses):
            # nothing is trained of the others
            here = [name for name in here if losses[name].requires_grad]
            shares = [factors[name] * rows.here[name] / rows.total[name] for name in here]
            values = [losses[name] for name in here]
            pairs = zip(values, shares, strict=True)
            return values, [self.scaled(value.new_tensor(share)) for value, share in pairs]
        vector = losses.together
        if len(here) < len(losses.names):
            vector = vector[[losses.names.index(name) for name in here]]
        return [vector], [self.scaled(vector.new_tensor(shares))]

    def _of_processes(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """Return what `backward` is to know of the processes that take the step together."""
        if self.ranks is None:
            return {"process_group": None}
        return {"module": self.network, "rows": self._rows_of(self.ranks, batches).here}

    def move(
        self, losses: Mapping[str, Tensor], batches: Sequence[Batch], compute: ComputeLosses
    ) -> Mapping[str, Tensor]:
        """Add penalties to the gradients, let the optimisers step, and return detached losses."""
        tasks = tuple(losses)
        self.drop_unmoved()
        if not self.unscale():
            return _detached(losses)
        penalty = self.network.penalty(tasks)
        if penalty is not None and penalty.requires_grad:
            penalty.backward()  # type: ignore[no-untyped-call]
        moved = self._moved(tasks, batches)
        if self._penalties is not None:
            self._penalties.add(moved)
        self.drop_unmoved()
        self.check_gradients()
        self.clip_gradient()
        if self.balancer_optimizer is not None:
            self.balancer_optimizer.step()
        self.optimizers.step(moved)
        if self.balancer is not None and self.balancer.wants_after_step:
            self._learn_after_step(self.balancer, batches, compute)
        return _detached(losses)

    def _moved(self, tasks: tuple[str, ...], batches: Sequence[Batch]) -> tuple[str, ...]:
        """Return the tasks that the step moves: with a balancer, those that it has seen.

        Separate heads of the others have no gradient, which keeps them; grouped ones have a part
        of one.
        """
        if self.balancer is None or not len(self.network.heads.groups):
            return tasks
        absent = self._absent(batches)
        return tuple(name for name in tasks if name not in absent) if absent else tasks

    def weighted(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the losses times their weights."""
        weights = self.weights
        if isinstance(losses, TaskLosses):
            return losses.weighted(weights)
        return {
            name: loss if weights[name] == 1 else loss * weights[name]
            for name, loss in losses.items()
        }

    @torch.no_grad()
    def _learn_after_step(
        self, balancer: Balancer, batches: Sequence[Batch], compute: ComputeLosses
    ) -> None:
        """Let the balancer see the losses of the same batch at the new weights."""
        found = [
            self._over_all_rows(part, shares, compute)[1]() for part, shares in self._parts(batches)
        ]
        losses = found[0] if len(found) == 1 else added(found)
        # they are those of all rows already
        balancer.mean_over_processes = None
        absent = self._absent(batches)
        after = losses_without(self.weighted(losses), absent)
        if self._nothing_trained:
            after = {n: x for n, x in after.items() if n not in self._nothing_trained}
        values = torch.stack(list(after.values())) if after else None
        if values is None or (self.non_finite is not None and not bool(values.isfinite().all())):
            return
        with balancer.taking_part(balancer.positions_of(tuple(after))):
            balancer.after_step(values)

    @cached_property
    def _penalties(self) -> Penalties | None:
        l1, l2 = self.settings.l1, self.settings.l2
        return Penalties(self.network, self.parameters, l1, l2) if l1 or l2 else None

    def end_epoch(self) -> EpochRecord:
        """Measure, keep the weights if they are the best, and return the record of the epoch."""
        step = self.first_step + self.step
        training = self.losses.means(self.tasks, step)
        self._tell_without_label()
        if self.ranks is not None:
            self.ranks.average_buffers(self.network)
        losses = self._validate()
        converged = self._handle_converged(losses)
        if converged and self.settings.when_converged == "freeze":
            losses = self._validate()
        score = self._score(losses)
        record = EpochRecord(
            epoch=len(self.history) + 1,
            step=step,
            training=training,
            validation=losses,
            score=score,
            best=self.best.offer(score),
            phase=self.phase,
            converged=tuple(converged),
            bad_rows=0 if self.training is None else self.training.bad_rows.taken(),
            weights=self._balanced_weights(),
        )
        if self.balancer is not None and self.balancer.wants_end_epoch:
            self.balancer.end_epoch()
        self.epochs_done += 1
        if self.releases is not None and self.releases.after(self.epochs_done):
            self.optimizers.notice_frozen()
        return record

    def _tell_without_label(self) -> None:
        """Warn of tasks without a label in the first epoch, where none were counted beforehand."""
        counted = self.training is None or isinstance(self.training.labels, dict)
        if self.epochs_done or counted or not self.losses.without_label:
            return
        names = ", ".join(map(repr, self.losses.without_label))
        warnings.warn(
            f"the training data had no label of task {names} in the first epoch, so nothing of it "
            "has been trained; look at its targets, where NaN and -100 are missing labels",
            stacklevel=2,
        )

    def _balanced_weights(self) -> dict[str, float]:
        """Return the weights of the last step that a balancer has weighed, by task."""
        made = self.balanced
        if made is None or made.weights is None:
            return {}
        return dict(zip(made.tasks, made.weights.tolist(), strict=True))

    @property
    def stops(self) -> bool:
        """Whether all tasks are frozen, or patience is at its end."""
        return self.left_out.issuperset(self.trained) or super().stops

    def measure_initial(self) -> None:
        """Measure the validation losses that scores are relative to.

        Raises:
            InvalidInputError: No score can be relative to them.
        """
        self.initial = self._losses_on(self.held_out)
        self._score(self.initial)

    def _validate(self) -> dict[str, float]:
        return self._losses_on(self.held_out.serving(self.trained))

    def _losses_on(self, sets: TaskSets) -> dict[str, float]:
        ranks = self.ranks
        losses = validation_losses(
            self.network,
            self.tasks,
            sets.once(None if ranks is None else ranks.share),
            calibrated=self.settings.calibrated,
            add_up=None if ranks is None else ranks.add_up,
        )
        chosen_by = losses if self.converged is not None else self.scored
        watched = {name: loss for name, loss in losses.items() if name in chosen_by}
        check_validation(watched, self.first_step + self.step)
        return losses

    def _score(self, losses: Mapping[str, float]) -> float | None:
        """Return the mean over scored tasks of the loss over that before training."""
        return relative_score(losses, self.initial, self.scored)

    def _handle_converged(self, losses: Mapping[str, float]) -> list[str]:
        """Freeze tasks that have just converged, or lower their weight; return them."""
        if self.converged is None:
            return []
        found = self.converged.offer(losses)
        for name in found:
            if self.settings.when_converged == "freeze":
                self.converged.restore(name)
                self.left_out.add(name)
            else:
                self.weights[name] *= self.settings.converged_weight
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: what has been trained, not the data."""
        of_here = {
            "training": None,
            "held_out": NO_SETS,
            "turns": iter(()),
            "rates": None,
            "non_finite": None,
            "progress": None,
            "balanced": None,
            "ranks": None,
            "_rows": None,
        }
        return {k: v for k, v in self.__dict__.items() if k not in _FOUND} | of_here

    def trained_as(self, network: Network, optimizers: Optimizers) -> TaskSession:
        """Return the session of another copy of the network, with what it knows when it is over."""
        other = object.__new__(type(self))
        other.__dict__ |= {k: v for k, v in self.__dict__.items() if k not in _FOUND}
        other.network = other.module = network
        other.forward = network
        other.optimizers = optimizers
        other.parameters = [p for p in network.parameters() if p.requires_grad]
        other.notice_unmoved(refuse=False)
        other.average = other.converged = other.non_finite = other.rates = None
        if "best" in self.__dict__:
            other.best = BestWeights(network, active=False)
            other.best.value, other.best.epochs_since = self.best.value, self.best.epochs_since
        return other

    def close(self) -> None:
        """End the worker processes of the data's loaders, and let go of the last batch."""
        self._rows = None
        for opened in (self.training, self.held_out):
            if opened is not None:
                opened.close()


def _sum_of(losses: Mapping[str, Tensor]) -> Tensor:
    if isinstance(losses, TaskLosses):
        return losses.together.sum()
    values = list(losses.values())
    return values[0] if len(values) == 1 else torch.stack(values).sum()


def _detached(losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(losses, TaskLosses):
        return losses.detach()
    return {name: loss.detach() for name, loss in losses.items()}
