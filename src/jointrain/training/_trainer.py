"""Trainer: trains the tasks of a network together, in alternation, in phases, or one alone."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from jointrain.balancing import BalancedStep, Balancer, Needs
from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.system.own_code import path_of
from jointrain.task import Task
from jointrain.training._device import resolve_device, seeded, within_quota
from jointrain.training._fitted_network import FittedNetwork
from jointrain.training._joined_dropout import join_dropout, part_dropout
from jointrain.training._loss_scale import LossScale, check_precision
from jointrain.training._network_model import NetworkModel
from jointrain.training._optimizer import Optimizers, joint_step_refused
from jointrain.training._phase_runner import PhaseRunner
from jointrain.training._phases import Phases
from jointrain.training._placement import (
    copied_state,
    load_unstored_buffers,
    made_whole,
    put_state,
    unstored_buffers,
    weights_like,
)
from jointrain.training._ranks import Strategy, TrainingRanks, joined_ranks, local_device
from jointrain.training._row_checks import check_rows_apart
from jointrain.training._run_checkpoints import RunCheckpoints
from jointrain.training._session import Session
from jointrain.training._settings import TrainingSettings, optimizers_of
from jointrain.training._sharding import (
    check_shardable,
    check_steps_of_shards,
    gather_optimizers,
    gather_weights,
    shard,
)
from jointrain.training._task_session import NO_SETS, TaskSession
from jointrain.training._told_epochs import tell_epoch
from jointrain.training._trainer_checks import (
    check_accumulates,
    check_arguments,
    check_heads,
    check_losses,
    check_made,
    check_outputs,
    check_validated,
    checked_auxiliary,
    checked_weights,
    refuse_chains,
)
from jointrain.training.callbacks import Callback, EpochRecord, Logger
from jointrain.training.checkpoints import (
    Checkpoints,
    Stretches,
    check_same_run,
    from_bytes,
    history_from_plain,
    history_to_plain,
    run_description,
    to_bytes,
)
from jointrain.training.merging import Merge, MergeChoice, MergeRunner, OpenData, apart_phase
from jointrain.training.sampling import (
    BadRows,
    Batch,
    ClassFactors,
    Data,
    Joint,
    Schedule,
    TaskSets,
    class_factors,
)

T = TypeVar("T")


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
            lengths of their own; or `Merge`, whose tasks are trained one after the other, each as
            long as the settings say.
        auxiliary: Names of tasks that only help: they train like the others, but count in no
            score, and `predict` and `evaluate` leave them out unless asked.
        weights: :math:`w_i` by task name, >= 0; default 1 for each. A task of weight 0 trains
            nothing, and a balancer does not see it.
        balancer: Turns the weighted losses into one update in place of their sum; see
            `jointrain.balancing`. Its own parameters, if it has any, are trained by Adam at the
            network's learning rate. Default: the sum.
        settings: `TrainingSettings` that `options` are changes to; default those of its own.
        seed: Seed of batches, task order and dropout; default 0.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or a `torch.device`.
        callbacks: Hooks, called in this order.
        checkpoints: Where and how often to save all that a run needs to go on; see `Checkpoints`
            and ``fit(resume=True)``. With it, Ctrl-C, SIGTERM and SIGUSR1 save before they do what
            they do. Default: none are written.
        strategy: ``ddp`` trains on all processes that torchrun has started: each has a copy of the
            network and takes its part of every batch, and all of them get what one process would
            get from the whole batches. ``fsdp`` does so, too, and each holds a part of every
            parameter, of its gradient and of what the optimiser keeps of it; `fit` gathers the
            fitted network. Every process makes the same trainer and calls the same methods; the
            first one alone writes, but for shards. ``alone``: each process trains a network of its
            own on all rows. None (default): there is one process; among several it raises.
        **options: Fields of `TrainingSettings`: ``optimizer``, ``batch_size``, ``epochs``,
            ``patience``, ...

    Attributes:
        settings: The `TrainingSettings`.
        session: What is being trained, with all its state: the whole run, in phases the phase.
        own_networks: Networks of their own by task, where phases made some; see `network_for`.
        ranks: The processes that train together; None where this one trains by itself.
        merged: What `Merge` has chosen on validation data; None before `fit` and without `Merge`.

    Raises:
        InvalidInputError: A value lies outside its range, tasks, network and phases do not fit, a
            task's loss function has trainable parameters that the network does not have, or this is
            one of several processes and there is no `strategy`.
    """

    def __init__(
        self,
        network: Network,
        tasks: Sequence[Task],
        *,
        schedule: Schedule | Phases | Merge | None = None,
        auxiliary: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        balancer: Balancer | None = None,
        settings: TrainingSettings | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        callbacks: Sequence[Callback] = (),
        checkpoints: Checkpoints | None = None,
        strategy: Strategy | None = None,
        **options: Any,
    ) -> None:
        if isinstance(callbacks, Iterable):
            callbacks = tuple(callbacks)  # an iterator gives them once
        check_arguments(network, tasks, schedule, balancer, seed, callbacks, checkpoints)
        self.settings = _changed(settings or TrainingSettings(), options)
        self.device = local_device(strategy, resolve_device(device))
        check_made(network)
        network = network.to(self.device)
        check_precision(self.settings.precision, self.device, network)
        self.strategy = strategy
        self.ranks: TrainingRanks | None = joined_ranks(strategy, self.device, network)
        self.tasks = {task.name: task for task in tasks}
        if not tasks:
            raise InvalidInputError("a trainer needs at least one task")
        if len(self.tasks) != len(tasks):
            raise InvalidInputError("the tasks of a trainer must have different names")
        for name in self.tasks:
            network.index_of(name)
        check_losses(network, tasks)
        network.link(tasks)
        self.auxiliary = checked_auxiliary(auxiliary, tuple(self.tasks))
        self.schedule = Joint() if schedule is None else schedule
        self._check_schedule(network, balancer)
        self.weights = checked_weights(weights, tuple(self.tasks))
        self.balancer = balancer
        check_shardable(strategy, network, self.settings, self.schedule, balancer)
        if balancer is not None:
            balancer.to(self.device)
            check_accumulates(balancer, self.settings.accumulate)
            check_heads(balancer, network, self.settings)
            balancer.positions_of(tuple(self.tasks))
        self.seed = seed
        self.callbacks = callbacks
        self.checkpoints = checkpoints
        self.own_networks: dict[str, Network] = {}
        self.merged: MergeChoice | None = None
        self._scale = self._new_scale()
        optimizers = optimizers_of(network, self.settings)
        self._balancer_rate = optimizers.learning_rate
        self.session = TaskSession(
            network,
            self.tasks,
            self.settings,
            optimizers,
            weights=dict(self.weights),
            balancer=balancer,
            scale=self._scale,
            generator=torch.Generator(),
            history=[],
            ranks=self.ranks,
        )
        self._whole = self.session
        self._stretches: Stretches | None = None
        self._saving: RunCheckpoints | None = None
        self._running: Session[Any] | None = None
        self._asks_to_stop = False
        self._is_cut_short = False
        self._bad_rows = BadRows()
        self._loaded: Mapping[str, Any] | None = None
        self._initial: Mapping[str, Any] | None = None

    def _check_schedule(self, network: Network, balancer: Balancer | None) -> None:
        if isinstance(self.schedule, Phases):
            if self.settings.steps is not None:
                raise InvalidInputError("phases have lengths of their own; leave `steps` out")
            self.schedule.check(network, tuple(self.tasks), self.auxiliary)
        if isinstance(self.schedule, Merge):
            self.schedule.check(network, tuple(self.tasks))
            refuse_chains(network)
            if balancer is not None:
                raise InvalidInputError(
                    "Merge() trains each task apart, where a balancer has nothing to balance; "
                    "leave `balancer` out"
                )

    @property
    def network(self) -> Network:
        """The network that is trained; in phases that tune a task by itself, that task's own."""
        return self.session.network

    @property
    def optimizers(self) -> Optimizers:
        """The optimisers of what is trained at the moment."""
        return self.session.optimizers

    @property
    def balanced(self) -> BalancedStep | None:
        """What the balancer made of the last step."""
        return self.session.balanced

    @property
    def history(self) -> list[EpochRecord]:
        """A record for each epoch of the last `fit`."""
        return self.session.history

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
        resume: bool = False,
        restart: bool = False,
    ) -> list[EpochRecord]:
        """Train, and restore the best weights if there is validation data.

        A second `fit` trains on: weights, optimisers and balancer are as the first one left them,
        epochs are counted anew.

        Args:
            train: One data set with the targets of all tasks (missing labels allowed), a data set
                for each task by name, or a `Mixture`. A data set is `TensorData`, a torch
                DataLoader or Dataset, or a `DataSource`.
            validation: Likewise; a task without validation labels is left out of the score (with a
                warning where no task has any), and an auxiliary task may be left out of the data.
            unlabelled: More inputs for phases that pretrain, [n, d].
            resume: Go on where the newest whole checkpoint was written, or where the state of
                `load_state_dict` was taken, on the same data: the run ends with the same bits as
                one that was never stopped. Where there is no checkpoint yet, begin, after an error
                from the weights before the first `fit`. A run that is through is read and not
                trained again.
            restart: Begin anew, from the weights that the network had before the first `fit`, with
                new optimisers and the balancer set back; checkpoints are removed.

        Returns:
            A record for each epoch, also kept as `history`.

        Raises:
            InvalidInputError: A task has no data or no label, its target or its head's output do
                not fit it, a loss or a weight is not finite, there is `patience` or
                `task_patience` without validation data or without labels in them, the optimiser
                layout does not go with joint steps, a parameter was unfrozen since the trainer was
                made, this is one of several processes and there is no `strategy`; there are
                checkpoints, and neither `resume` nor `restart` is asked for; or those that are
                there are of another run.
        """
        pretrains = isinstance(self.schedule, Phases) and self.schedule.pretrains
        if unlabelled is not None and not pretrains:
            raise InvalidInputError(
                "`unlabelled` rows serve phases that pretrain; leave them out, or add such a phase"
            )
        self.ranks = joined_ranks(self.strategy, self.device, self.network)
        self._asks_to_stop = False
        if self.ranks is not None and self.settings.bad_rows != "raise":
            raise InvalidInputError(
                f"`bad_rows` {self.settings.bad_rows!r} is for one process, as others would not "
                f"know which rows are left out; leave it out, or train on one"
            )
        if resume and restart:
            raise InvalidInputError("`resume` goes on and `restart` begins anew; give one of them")
        self._remember_initial()
        if self.ranks is not None:
            called = {
                "strategy": self.strategy,
                "checkpoints": self.checkpoints is not None,
                "resume": resume,
                "restart": restart,
                "validation data": validation is not None,
            }
            with self.ranks.explaining():
                self._check_alike(self.ranks, called)
        saving = self._saving = RunCheckpoints(
            self.checkpoints,
            self.ranks,
            self.device,
            sharded=self.strategy == "fsdp",
            state=self._state,
            steps=self._steps_made,
        )
        with self._explaining(), saving.held(), self._in_shards():
            state = self._state_to_resume(saving, resume=resume, restart=restart)
            if restart or (resume and state is None and self._is_cut_short):
                self._set_back()
            session = self._begin(train, validation)
            self._is_cut_short = True
            with within_quota(), seeded(self.seed, self.device):
                try:
                    if self.ranks is not None:
                        join_dropout(self.network)
                        self._check_ranks_agree(self.ranks, session)
                    self._fit(session, unlabelled, lambda: self._open(train, validation), state)
                finally:
                    self.session = session
                    session.close()
                    if self.ranks is not None:
                        part_dropout([self.network, *self.own_networks.values()])
        self._is_cut_short = False
        return self.history

    def _remember_initial(self) -> None:
        """Keep the state of the network before its first `fit`, on the CPU."""
        if self._initial is None:
            self._initial = copied_state(self.network, "cpu")

    def _explaining(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ranks is None else self.ranks.explaining()

    @contextmanager
    def _in_shards(self) -> Iterator[None]:
        """Let the network be one in shards meanwhile, if that is the strategy, then gather it.

        Where training fails, the network is left as it was: others may be gone.
        """
        kept = self.session
        if self.strategy != "fsdp" or self.ranks is None:
            yield
            return
        whole, of_whole = kept.network, kept.optimizers
        check_steps_of_shards(self.settings, whole, self.device)
        network = shard(whole, self.device)
        optimizers = optimizers_of(network, self.settings)
        optimizers.take_over(of_whole)
        whole.to("cpu")
        self.session = self._whole = kept.trained_as(network, optimizers)
        try:
            yield
            gather_weights(network, whole.to(self.device).eval())
            gather_optimizers(self._whole.optimizers, of_whole)
            kept = self._whole.trained_as(whole, of_whole)
        finally:
            whole.to(self.device)
            self.session = self._whole = kept

    def _state_to_resume(
        self, saving: RunCheckpoints, *, resume: bool, restart: bool
    ) -> Mapping[str, Any] | None:
        """Return the state that a run goes on from; None to begin."""
        loaded, self._loaded = self._loaded, None
        if self.checkpoints is None:
            if resume and loaded is None:
                raise InvalidInputError(
                    "there is nothing to resume: give the trainer checkpoints=Checkpoints(folder), "
                    "or a state by load_state_dict()"
                )
            return loaded if resume else None
        stored = saving.stored(resume=resume, restart=restart)
        return loaded if stored is None and resume else stored

    def _set_back(self) -> None:
        """Set weights, optimisers and balancer back to before the first `fit`."""
        assert self._initial is not None
        put_state(self.network, self._initial)
        self.session.optimizers = self._new_optimizers()
        self._scale = self._new_scale()
        self.__dict__.pop("_balancer_optimizer", None)
        if self.balancer is not None:
            self.balancer.reset()

    def _new_optimizers(self) -> Optimizers:
        return optimizers_of(self.network, self.settings)

    def _new_scale(self) -> LossScale | None:
        return LossScale(self.device) if self.settings.precision == "fp16" else None

    def begin(self, train: Data, validation: Data | None) -> TaskSession:
        """Check and open the data, forget earlier epochs, and return the session of the whole run.

        Raises:
            InvalidInputError: As in `fit`; or there is a strategy of several processes, of whose
                rows `fit` alone makes sure that they are trained on as by one.
        """
        if self.ranks is not None:
            raise InvalidInputError(
                f"strategy={self.strategy!r} is for `fit`; in a loop of your own wrap the network "
                "in DistributedDataParallel and use `jointrain.balancing.backward`"
            )
        return self._begin(train, validation)

    def _begin(self, train: Data, validation: Data | None) -> TaskSession:
        for argument in ("patience", "task_patience"):
            if validation is None and getattr(self.settings, argument) is not None:
                raise InvalidInputError(
                    f"`{argument}` needs validation data; give fit() some, or leave {argument} out"
                )
        self._bad_rows = BadRows(self.settings.bad_rows_limit)
        generator, sets, checks = self._open(train, validation)
        self._check_held_out(checks, validation is not None)
        self._check_layout(sets)
        check_outputs(self.network, sets.first(), self.tasks)
        self.own_networks, self.merged = {}, None
        if self._scale is not None:
            self._scale.count = self._scale.in_epoch = 0
        self.session = self._whole = TaskSession(
            self.network,
            self.tasks,
            self.settings,
            self.optimizers,
            weights=sets.loss_weights(self.weights),
            balancer=self.balancer,
            balancer_optimizer=self._balancer_optimizer,
            scale=self._scale,
            generator=generator,
            history=[],
            schedule=None if isinstance(self.schedule, (Phases, Merge)) else self.schedule,
            auxiliary=self.auxiliary,
            training=sets,
            held_out=checks,
            validates=validation is not None,
            # overridden methods are to be heard
            train_step=self.training_step,
            ranks=self.ranks,
        )
        return self.session

    def _open(
        self, train: Data, validation: Data | None
    ) -> tuple[torch.Generator, TaskSets, TaskSets]:
        """Open the data, and return them with the generator that they draw from."""
        generator = torch.Generator().manual_seed(self.seed)
        # by the training rows, also in validation: the same loss
        factors = class_factors(train, self.tasks)
        sets = self._sets(train, "training", generator, factors)
        if validation is None:
            return generator, sets, NO_SETS
        return generator, sets, self._sets(validation, "validation", generator, factors)

    def _fit(
        self,
        session: TaskSession,
        unlabelled: Tensor | None,
        open_data: OpenData,
        state: Mapping[str, Any] | None,
    ) -> None:
        stretches = self._stretches = Stretches(
            self.device, None if state is None else state["stretch"]
        )
        if state is None:
            session.measure_initial()
            if session.validates:
                check_validated(session.initial, session.scored, self.settings)
        elif not self._goes_on(session, state):
            self._stretches = None
            return
        for callback in self._callbacks_here:
            callback.on_fit_start(self)
        if isinstance(self.schedule, Phases):
            PhaseRunner(
                session,
                self._run,
                stretches,
                self.training_step,
                own_networks=self.own_networks,
                auxiliary=self.auxiliary,
                seed=self.seed,
                unlabelled=unlabelled,
            ).run(self.schedule)
            session.network.eval()
        elif isinstance(self.schedule, Merge):
            self.merged = self._merge_runner(session, open_data).run(self.schedule)
        else:
            stretches.begin("")
            self._run(session)
        self._stretches = None
        if self._scale is not None:
            self._scale.refuse_nothing_made(self._steps_made())
        for callback in self._callbacks_here:
            callback.on_fit_end(self)
        if self.checkpoints is not None:
            assert self._saving is not None
            self._saving.write()

    def _goes_on(self, session: TaskSession, state: Mapping[str, Any]) -> bool:
        """Set the run to a state; return whether anything of it is left."""
        stretch = state["stretch"]
        check_same_run(state["run"], self._description(), finished=stretch is None)
        self._load(state)
        if stretch is not None and stretch["session"] is None:
            session.load_data_state(state["data"])
        return stretch is not None

    def _merge_runner(self, session: TaskSession, open_data: OpenData) -> MergeRunner:
        assert self._stretches is not None
        return MergeRunner(
            session,
            self._run,
            self._stretches,
            self.training_step,
            open_data=open_data,
            auxiliary=self.auxiliary,
            seed=self.seed,
            device=self.device,
            on_epoch_end=self._on_epoch_end,
        )

    def apart(self, task: str, network: Network, *, validates: bool) -> Trainer:
        """Return a trainer of one task, which trains as `Merge` lets that task train.

        Args:
            task: Its name.
            network: A copy of this trainer's.
            validates: Whether there are validation labels of the task.
        """
        settings = self.settings if validates else replace(self.settings, patience=None)
        return Trainer(
            network,
            [self.tasks[task]],
            weights={task: self.weights[task]},
            settings=settings,
            seed=self.seed,
            device=self.device,
            strategy=self.strategy,
        )

    def merge(self, apart: Sequence[Trainer], train: Data, validation: Data | None) -> None:
        """Finish a `fit` whose tasks were trained elsewhere, by trainers that `apart` gave.

        Args:
            apart: They, fitted, in the order of the tasks.
            train: As for `fit`.
            validation: Likewise.
        """
        assert isinstance(self.schedule, Merge)
        session = self.begin(train, validation)
        for task, alone in zip(self.tasks, apart, strict=True):
            before = session.history[-1].step if session.history else 0
            for record in alone.history:
                phase, epoch = apart_phase(task), len(session.history) + 1
                made = replace(record, epoch=epoch, step=before + record.step, phase=phase)
                session.history.append(made)
        with seeded(self.seed, self.device):
            try:
                session.measure_initial()
                self._stretches = Stretches(self.device)
                self.merged = self._merge_runner(
                    session, lambda: self._open(train, validation)
                ).join(
                    self.schedule,
                    ((name, one.network) for name, one in zip(self.tasks, apart, strict=True)),
                )
            finally:
                self._stretches = None
                self.session = session
                session.close()

    def _run(self, session: Session[Any]) -> None:
        """Run a session as the one that is trained at the moment."""
        assert self._stretches is not None
        whole = self.session
        self._running = session
        if isinstance(session, TaskSession):
            self.session = session
        between = None
        if self.checkpoints is not None:
            assert self._saving is not None
            between = self._saving.write_if_due
        if self.ranks is not None:
            speaks = self.ranks.any([self._speaks_at_steps])[0]
            self.ranks.flags = None if speaks else self._flags
            self.ranks.told = None
        try:
            session.run(
                self._on_step_end,
                self._on_epoch_end,
                agree=self._agree,
                between=between,
                state=self._stretches.take(
                    session.network if isinstance(session, TaskSession) else None
                ),
            )
        finally:
            self.session = whole
            self._running = None
            if self.ranks is not None:
                self.ranks.flags = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: settings and what has been trained, not the data."""
        of_here = {
            "_stretches": None,
            "_running": None,
            "_saving": None,
            "_loaded": None,
            "ranks": None,
        }
        return self.__dict__ | of_here

    def stop(self) -> None:
        """End the training with the step at hand, as if it had been the last one.

        For callbacks. The epoch ends there, too, and the best weights are restored. Later phases
        are left out; with `Merge`, tasks that had no turn yet stay as they were. Of several
        processes all end once they know, with that step.
        """
        if self.ranks is not None and self._running is not None:
            self._asks_to_stop = True
        else:
            self._stop()

    def _stop(self) -> None:
        self._whole.stopped = True
        if self._running is not None:
            self._running.stopped = True

    # --- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that the trainer needs to go on, for `load_state_dict`.

        During a `fit`, in a callback, it holds the place in the run; before, after, and in a loop
        of one's own what has been trained: weights, optimisers, balancer and history.

        Raises:
            InvalidInputError: Something in it can't be stored, such as a state of a callback that
                is no plain value.
        """
        state: dict[str, Any] = from_bytes(to_bytes(made_whole(self._state())))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the trainer to what `state_dict` gave; ``fit(resume=True)`` then goes on from there.

        Raises:
            InvalidInputError: The state is of another run.
        """
        check_same_run(state["run"], self._description(), finished=False)
        self._load(state)
        self._loaded = state if state["stretch"] is not None else None

    @property
    def _callbacks_here(self) -> list[Callback]:
        """The callbacks that this process calls."""
        first = self.ranks is None or self.ranks.rank == 0
        return [one for one in self.callbacks if first or one.every_rank]

    def _on_step_end(self, step: int, losses: Mapping[str, Tensor]) -> None:
        for callback in self._callbacks_here:
            callback.on_step_end(self, step, losses)

    def _on_epoch_end(self, record: EpochRecord) -> None:
        tell_epoch(self, record)
        for callback in self._callbacks_here:
            callback.on_epoch_end(self, record)

    def training_step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Make one step on the given batches and return the detached loss of each task.

        Also before `fit`, in a loop of one's own.

        Raises:
            InvalidInputError: The balancer draws further batches, and there are no data yet; see
                `begin`.
        """
        losses = self.session.differentiate(batches, self.compute_losses, self.backward)
        return self.session.move(losses, batches, self.compute_losses)

    def compute_losses(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Return the loss of each task on the given batches, a scalar each."""
        return self.session.compute_losses(batches)

    def backward(self, losses: Mapping[str, Tensor], batches: Sequence[Batch]) -> None:
        """Fill the gradients: of the weighted sum of the losses, or of the balancer's update."""
        session = self.session
        if session.balancer_optimizer is None:
            session.balancer_optimizer = self._balancer_optimizer
        session.backward(losses, batches, self.compute_losses)

    def network_for(self, task: str) -> Network:
        """Return the network that predicts a task: its own if a phase gave it one.

        Raises:
            InvalidInputError: The name is none of the tasks.
        """
        if task not in self.tasks:
            raise InvalidInputError(f"{task!r} is none of the tasks{closest(task, self.tasks)}")
        return self.own_networks.get(task, self.network)

    @property
    def model(self) -> NetworkModel:
        """What it has trained so far, by itself: networks with the tasks that each predicts."""
        return NetworkModel(
            tuple(self.tasks.values()),
            tuple(self.fitted_networks()),
            tuple(name for name in self.tasks if name in self.auxiliary),
            batch_size=self.settings.batch_size,
        )

    def fitted_networks(self) -> list[FittedNetwork]:
        """Return its network and those of tasks tuned alone, with what is known of them."""
        names, history = tuple(self.tasks), self.history
        common = tuple(name for name in names if name not in self.own_networks)
        groups = [(name,) for name in self.own_networks] + ([common] if common else [])
        fitted = []
        for group in groups:
            # the last record that was the best tells of the weights that were kept
            best = {
                name: next((r for r in reversed(history) if r.best and name in r.validation), None)
                for name in group
            }
            found = {name: record for name, record in best.items() if record is not None}
            last = history[-1].epoch if history else 0
            fitted.append(
                FittedNetwork(
                    group,
                    self.network_for(group[0]),
                    {name: self.weights[name] for name in group},
                    {name: record.validation[name] for name, record in found.items()},
                    (len(history), max((r.epoch for r in found.values()), default=last)),
                )
            )
        return fitted

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
            InvalidInputError: A name is none of the tasks, or a DataLoader gives rows in random
                order or leaves some out.
        """
        with self._aside():
            return self.model.predict(inputs, tasks, logits=logits)

    def predict_given(self, inputs: Any) -> dict[str, Tensor]:
        """Return the probabilities of tasks that are given another one, see `NetworkModel`."""
        with self._aside():
            return self.model.predict_given(inputs)

    def evaluate(
        self, data: Data, tasks: Sequence[str] | None = None
    ) -> dict[str, dict[str, float]]:
        """Return each task's metrics over its labelled rows, by task and metric name.

        Rows count by their weights, where the data have some.

        Args:
            data: As `fit` takes them; a mixture's sets are gone through once.
            tasks: Which tasks; default all that are not auxiliary.

        Raises:
            InvalidInputError: A task has no data, a target does not fit its task, or a DataLoader
                does not give each row once.
        """
        with self._aside():
            return self.model.evaluate(data, tasks)

    def _aside(self) -> AbstractContextManager[None]:
        """Return a context that leaves the random numbers of a run that goes on as they are."""
        if self._running is None:
            return nullcontext()
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def _sets(
        self,
        data: Data,
        purpose: str,
        generator: torch.Generator | None = None,
        factors: ClassFactors | None = None,
    ) -> TaskSets:
        """Return the data sets on the device with the tasks that each serves.

        In training all tasks need data, else the main ones.
        """
        needed = tuple(self.tasks) if purpose == "training" else self.main_tasks
        return TaskSets.of(
            data,
            self.tasks,
            purpose,
            batch_size=self.settings.batch_size,
            device=self.device,
            generator=generator,
            seed=self.seed,
            needed=needed,
            factors=factors,
            accumulate=self.settings.accumulate if purpose == "training" else 1,
            share=None if self.ranks is None else self.ranks.share,
            bad_rows=self._bad_rows,
        )

    def _check_held_out(self, validation: TaskSets, given: bool) -> None:
        """Refuse a balancer that learns from held-out losses which some task does not have."""
        if self.balancer is None or self.balancer.needs is not Needs.HELD_OUT:
            return
        if not given:
            raise InvalidInputError(
                "the balancer learns from held-out losses; give fit() validation data"
            )
        for name in self.tasks:
            if name not in validation.labels:
                raise InvalidInputError(
                    f"the balancer learns from held-out losses; give task {name!r} validation data"
                )

    def _check_layout(self, sets: TaskSets) -> None:
        """Refuse joint steps that optimisers per task can't take, in whatever phase they come."""
        if isinstance(self.schedule, Joint):
            steps = sets.schedule(self.schedule).steps(sets.labels, torch.Generator())
            self.optimizers.check_step(next(steps))
        elif isinstance(self.schedule, Phases) and self.settings.optimizer_layout == "per_task":
            for phase in self.schedule.phases:
                tasks = [name for name in self.tasks if phase.trains(name)]
                joint = isinstance(phase.schedule, Joint) and not phase.each_task
                if joint and len(tasks) > 1 and phase.moves_shared(self.network):
                    raise joint_step_refused()

    def _check_ranks_agree(self, ranks: TrainingRanks, session: TaskSession) -> None:
        """Refuse data and settings that differ between processes, and rows that can't be parted."""
        assert session.training is not None
        for purpose, sets in (("training", session.training), ("validation", session.held_out)):
            ranks.check_alike(
                sets.form(),
                f"the {purpose} data of some process are others than those of the first; give "
                "every process all rows, which the trainer shares out",
            )
        self._check_settings_alike(ranks)
        check_rows_apart(
            self.network,
            self.tasks,
            session.training.first(),
            self.device,
            in_phases=isinstance(self.schedule, (Phases, Merge)),
        )

    def _check_settings_alike(self, ranks: TrainingRanks) -> None:
        """Refuse settings that differ between processes, whose weights would then part."""
        optimizers = [
            (type(one).__name__, [_options_of(group) for group in one.param_groups])
            for one in self._whole.optimizers.all
        ]
        self._check_alike(ranks, {**self._description(), "made optimizers": optimizers})

    def _check_alike(self, ranks: TrainingRanks, mine: Mapping[str, Any]) -> None:
        """Refuse values, by what they are called, that differ between processes."""
        first = ranks.from_first(mine)
        others = ranks.any([mine.get(name) != value for name, value in first.items()])
        differs = [name for name, other in zip(first, others, strict=True) if other]
        if differs:
            raise InvalidInputError(
                f"the trainer of some process has other settings than the first one's "
                f"({', '.join(differs)}); let every process make the same trainer"
            )

    def _description(self) -> dict[str, Any]:
        return run_description(
            self._whole.network,
            tuple(self.tasks.values()),
            settings=self.settings,
            schedule=self.schedule,
            balancer=self.balancer,
            auxiliary=self.auxiliary,
            weights=self.weights,
            seed=self.seed,
            training=self._whole.training,
        )

    def _steps_made(self) -> int:
        """Return the number of steps of the run so far."""
        if self._running is not None:
            return self._running.first_step + self._running.step
        return self.history[-1].step if self.history else 0

    @property
    def _speaks_at_steps(self) -> bool:
        """Whether code of others runs after a step, which may stop the training there."""
        known = (Callback.on_step_end, Logger.on_step_end)
        return type(self) is not Trainer or any(
            type(one).on_step_end not in known for one in self.callbacks
        )

    def _flags(self) -> list[bool]:
        """Return what all processes are to know of this one with the step at hand."""
        assert self._saving is not None
        return self._saving.flags(self._asks_to_stop, self._steps_made() + 1)

    def _agree(self) -> None:
        """Let all processes know of a stop, of signals, and of whether a checkpoint is due.

        Where nothing can have been said since the losses of a step were sent, they know by those.
        """
        if self.ranks is None:
            return
        assert self._saving is not None
        told, self.ranks.told = self.ranks.told, None
        if told is None:
            told = self.ranks.any(self._saving.flags(self._asks_to_stop, self._steps_made()))
        if self._saving.agree(told):
            self._asks_to_stop = False
            self._stop()

    def _state(self) -> dict[str, Any]:
        """Return all that the trainer needs to go on; tensors are its own."""
        whole, running = self._whole, self._running
        stretch = data = None
        if self._stretches is not None:
            known = [whole.network, *self.own_networks.values()]
            apart = None
            if isinstance(running, TaskSession) and running.network not in known:
                apart = running.network
            session = None if running is None else running.state_dict()
            stretch = self._stretches.state_dict(session, apart)
            data = whole.data_state() if stretch["session"] is None else None
        learned, merged = self._balancer_optimizer, self.merged
        return {
            "run": self._description(),
            "network": whole.network.state_dict(),
            "buffers": unstored_buffers(whole.network),
            "own_buffers": {name: unstored_buffers(one) for name, one in self.own_networks.items()},
            "own_networks": {name: one.state_dict() for name, one in self.own_networks.items()},
            "optimizers": whole.optimizers.state_dict() if running is None else None,
            "scale": None if self._scale is None else self._scale.state_dict(),
            "balancer": None if self.balancer is None else self.balancer.state_dict(),
            "balancer_optimizer": None if learned is None else learned.state_dict(),
            "history": history_to_plain(whole.history),
            "initial": whole.initial,
            "merged": None if merged is None else asdict(merged),
            "callbacks": [[path_of(one), one.state_dict()] for one in self.callbacks],
            "stretch": stretch,
            "data": data,
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        """Set all but the session of the stretch at hand, which sets itself as it starts."""
        whole = self._whole
        whole.network.load_state_dict(weights_like(state["network"], whole.network))
        load_unstored_buffers(whole.network, state.get("buffers", {}))
        for name, weights in state["own_networks"].items():
            self.own_networks[name] = copy.deepcopy(whole.network)
            self.own_networks[name].load_state_dict(weights)
            # states of earlier versions have none
            buffers = state.get("own_buffers", {}).get(name, {})
            load_unstored_buffers(self.own_networks[name], buffers)
        if state["optimizers"] is not None:
            whole.optimizers.load_state_dict(state["optimizers"])
        if self._scale is not None:
            self._scale.load_state_dict(state["scale"])
        if self.balancer is not None:
            self.balancer.load_state_dict(dict(state["balancer"]))
        if self._balancer_optimizer is not None:
            self._balancer_optimizer.load_state_dict(dict(state["balancer_optimizer"]))
        whole.history[:] = history_from_plain(state["history"])
        whole.initial = dict(state["initial"])
        self.merged = None if state["merged"] is None else MergeChoice(**state["merged"])
        stored = list(state["callbacks"])
        for callback in self._callbacks_here:
            of_it = next((one for one in stored if one[0] == path_of(callback)), None)
            if of_it is not None:
                stored.remove(of_it)
                callback.load_state_dict(of_it[1])

    def record(self, record: EpochRecord) -> None:
        """Add a record to the history and show it to the callbacks."""
        self.history.append(record)
        self._on_epoch_end(record)


def _changed(settings: TrainingSettings, options: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings with some others."""
    known = [one.name for one in fields(TrainingSettings)]
    for name in options:
        if name not in known:
            raise InvalidInputError(
                f"`{name}` is no option of Trainer or TrainingSettings{closest(name, known)}"
            )
    return replace(settings, **options)


def _options_of(group: Mapping[str, Any]) -> dict[str, str]:
    """Return the options of a group of an optimiser's parameters."""
    return {name: repr(value) for name, value in group.items() if name != "params"}
