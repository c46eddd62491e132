"""Running a merge: a session for each task on a copy of the network, then one network of all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from jointrain.errors import NonFiniteError
from jointrain.networks import Network
from jointrain.training._device import seeded
from jointrain.training._early_stopping import own_tensors, relative_score
from jointrain.training._freezing import frozen
from jointrain.training._losses import validation_losses
from jointrain.training._session import OnEpochEnd, Session
from jointrain.training._settings import optimizers_of
from jointrain.training._task_session import ComputeLosses, TaskSession
from jointrain.training.callbacks import EpochRecord
from jointrain.training.checkpoints import Stretches
from jointrain.training.merging._merge import Merge, MergeChoice, one_weight_changed
from jointrain.training.merging._running_statistics import measure_running_statistics
from jointrain.training.merging._task_vectors import State, moved, task_vector
from jointrain.training.sampling import Joint, TaskSets, derived_seed

OpenData = Callable[[], tuple[torch.Generator, TaskSets, TaskSets]]
"""Opens training and validation data anew, with the generator that they draw from."""


class MergeRunner:
    """Trains the tasks of a network apart, and merges what they share.

    Args:
        whole: The session that all are parts of: its network, data and history.
        run: Runs a session.
        stretches: Which parts of a resumed run are over.
        train_step: Makes a step on batches.
        open_data: So that each task draws the rows that it would draw alone.
        auxiliary: Names of tasks that count in no score.
        seed: Seed of each task's dropout, and of what ``dare`` drops.
        device: Where the network is.
        on_epoch_end: Called with the record of the merge.
    """

    def __init__(
        self,
        whole: TaskSession,
        run: Callable[[Session[Any]], None],
        stretches: Stretches,
        train_step: ComputeLosses,
        *,
        open_data: OpenData,
        auxiliary: Collection[str],
        seed: int,
        device: torch.device,
        on_epoch_end: OnEpochEnd,
    ) -> None:
        self.whole = whole
        self._run_session = run
        self._stretches = stretches
        self._train_step = train_step
        self._open_data = open_data
        self._auxiliary = auxiliary
        self._seed = seed
        self._device = device
        self._on_epoch_end = on_epoch_end
        self._validates = any(name in whole.initial for name in whole.scored)

    def run(self, merge: Merge) -> MergeChoice:
        """Train the tasks, merge, and return what was chosen."""
        choice = self._stretches.notes.get("choice")
        if choice is not None:
            chosen = MergeChoice(**choice)
            if merge.head_epochs:
                self._tune_heads(merge.head_epochs)
            return chosen
        return self.join(merge, ((task, self._train_apart(task)) for task in self.whole.tasks))

    def join(self, merge: Merge, networks: Iterable[tuple[str, Network | None]]) -> MergeChoice:
        """Merge networks that were trained apart, and return what was chosen.

        Args:
            merge: How.
            networks: For each task in order a copy of the network that it alone has trained; None
                in a resumed run for those that were trained before.
        """
        network, tasks = self.whole.network, tuple(self.whole.tasks)
        before = _shared(network)
        own = own_tensors(network, tasks)
        vectors: list[State] = self._stretches.notes.setdefault("vectors", [])
        for task, trained in networks:
            if trained is None:
                continue
            vectors.append(task_vector(before, _shared(trained)))
            with torch.no_grad():
                tuned = own_tensors(trained, (task,))[task]
                for tensor, value in zip(own[task], tuned, strict=True):
                    tensor.copy_(value)
        if len(tasks) == 1:
            merge = Merge(head_epochs=merge.head_epochs)
        generator = torch.Generator().manual_seed(derived_seed(self._seed, "merge"))
        choice = self._merge(merge, before, merge.sparse(vectors, generator))
        notes = self._stretches.notes
        notes["vectors"], notes["choice"] = [], asdict(choice)
        self._stretches.begin("merge")
        self._record()
        if merge.head_epochs and not self.whole.stopped:
            self._tune_heads(merge.head_epochs)
        return choice

    def _train_apart(self, task: str) -> Network | None:
        """Return a copy of the network that one task has trained by itself; None if it is over."""
        whole = self.whole
        if self._stretches.passed(apart_phase(task)):
            return None
        network = copy.deepcopy(whole.network)
        if whole.stopped:
            return network
        self._stretches.begin(apart_phase(task))
        generator, training, held_out = self._open_data()
        session = TaskSession(
            network,
            whole.tasks,
            whole.settings,
            optimizers_of(network, whole.settings),
            weights=whole.weights,
            scale=whole.scale,
            generator=generator,
            history=whole.history,
            schedule=Joint(),
            trained=(task,),
            auxiliary=self._auxiliary,
            training=training,
            held_out=held_out,
            validates=whole.validates,
            initial=whole.initial,
            train_step=self._train_step,
            phase=apart_phase(task),
            ranks=whole.ranks,
        )
        try:
            with seeded(self._seed, self._device):
                self._run_session(session)
        finally:
            session.close()
        return network

    def _merge(self, merge: Merge, before: State, vectors: list[State]) -> MergeChoice:
        """Give the network the merged weights that are best on validation data.

        Raises:
            NonFiniteError: None of them has finite validation losses.
        """
        tasks = tuple(self.whole.tasks)
        weights = merge.first_weights(tasks)
        coefficients = merge.coefficients(len(tasks), validates=self._validates)
        scores: dict[float, float] = {}
        coefficient = coefficients[0]
        best = math.inf

        def put(weights: tuple[float, ...], coefficient: float) -> None:
            self._put(moved(before, merge.combined(vectors, weights), coefficient))

        if self._validates:
            together = merge.combined(vectors, weights)
            for tried in coefficients:
                self._put(moved(before, together, tried))
                scores[tried] = self._score()
            coefficient = min(scores, key=scores.__getitem__)
            best = scores[coefficient]
            if math.isinf(best):
                raise NonFiniteError(
                    "the merged network has validation losses that are not finite, whatever the "
                    "coefficient; train the tasks for fewer steps or at a lower learning rate"
                )
        if self._validates and merge.weights == "searched":
            for number in range(len(tasks)):
                for changed in one_weight_changed(weights, number):
                    put(changed, coefficient)
                    score = self._score()
                    if score < best:
                        weights, best = changed, score
        put(weights, coefficient)
        return MergeChoice(coefficient, dict(zip(tasks, weights, strict=True)), scores)

    def _put(self, merged: State) -> None:
        """Give the network shared weights, and the running statistics that belong to them."""
        network = self.whole.network
        with torch.no_grad():
            for name, value in merged.items():
                network.get_parameter(name).copy_(value)
        assert self.whole.training is not None
        measure_running_statistics(network, self.whole.training)

    def _losses(self) -> Mapping[str, float]:
        whole, ranks = self.whole, self.whole.ranks
        return validation_losses(
            whole.network,
            whole.tasks,
            whole.held_out.once(None if ranks is None else ranks.share),
            calibrated=whole.settings.calibrated,
            add_up=None if ranks is None else ranks.add_up,
        )

    def _score(self) -> float:
        """Return the validation score of the network; infinity if it is none."""
        score = relative_score(self._losses(), self.whole.initial, self.whole.scored)
        return math.inf if score is None or math.isnan(score) else score

    def _record(self) -> None:
        """Add a record of the merged network to the history, where it can be measured."""
        if not self._validates:
            return
        history, losses = self.whole.history, self._losses()
        score = relative_score(losses, self.whole.initial, self.whole.scored)
        record = EpochRecord(
            len(history) + 1, history[-1].step, {}, losses, score, best=True, phase="merge"
        )
        history.append(record)
        self._on_epoch_end(record)

    def _tune_heads(self, epochs: int) -> None:
        """Train what belongs to single tasks, on the merged layers as they are."""
        whole = self.whole
        self._stretches.begin("heads")
        network = whole.network
        settings = replace(
            whole.settings,
            optimizer_layout="one",
            epochs=epochs,
            steps=None,
            when_converged="go_on",
            task_patience=None,
        )
        with frozen(network.shared_parameters()):
            self._run_session(
                TaskSession(
                    network,
                    whole.tasks,
                    settings,
                    optimizers_of(network, settings),
                    weights=whole.weights,
                    scale=whole.scale,
                    generator=whole.generator,
                    history=whole.history,
                    schedule=Joint(),
                    auxiliary=self._auxiliary,
                    training=whole.training,
                    held_out=whole.held_out,
                    validates=whole.validates,
                    initial=whole.initial,
                    train_step=self._train_step,
                    phase="heads",
                    trained_before=True,
                    ranks=whole.ranks,
                )
            )


def apart_phase(task: str) -> str:
    """Return what records call the training of a task by itself."""
    return f"apart: {task}"


def _shared(network: Network) -> dict[str, Tensor]:
    """Return copies of the weights that are merged: those that tasks share and training moves."""
    shared = {id(p) for p in network.shared_parameters() if p.requires_grad}
    return {
        name: parameter.detach().clone()
        for name, parameter in network.named_parameters()
        if id(parameter) in shared
    }
