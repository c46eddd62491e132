"""Population: many small runs trained as one program, each as if it were alone.

A small network leaves a processor idle most of the time: what a step costs is the calls, not the
arithmetic. Here the weights of many networks of one structure are the rows of one matrix, and a
step of all of them is one batched product for each layer and one optimiser call. Runs differ in
data, tasks, weights, schedule, learning rate, seed, dropout and length; each draws the numbers
that it would draw alone, stops by its own validation score, and makes room for the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from jointrain.balancing import LossWeighting
from jointrain.data import TensorData
from jointrain.networks import Dropout, keep_factors
from jointrain.task import Task
from jointrain.training import Joint, Phases, Separate, Trainer
from jointrain.training._device import threads_for
from jointrain.training._early_stopping import BestScore
from jointrain.training._epoch_losses import check_finite
from jointrain.training._epochs import relative_score
from jointrain.training._halves import copy_state
from jointrain.training._losses import TEMPERATURES, temperature_penalties
from jointrain.training._optimizer import learning_rate_factor
from jointrain.training._run import Run, fit_one_by_one
from jointrain.training.callbacks import Callback, EpochRecord
from jointrain.training.population._stacked_balancers import MemberBalancer, balance
from jointrain.training.population._stacked_draws import Draws
from jointrain.training.population._stacked_losses import (
    Slot,
    StackedLosses,
    common_slots,
    places,
    slot_of,
)
from jointrain.training.population._stacked_network import (
    StackedNetwork,
    Structure,
    trunk_layers,
    why_not_stackable,
)
from jointrain.training.population._stacked_optimizer import (
    OptimizerKind,
    Pieces,
    StackedOptimizer,
    optimizer_kind,
)

Progress = Callable[[float, int], None]
"""Told how many runs are done, with parts of those that are being trained, and of how many."""


def why_not_stacked(run: Run) -> str | None:
    """Return why a run can't be part of a population, None if it can."""
    trainer = run.trainer
    reason = _why_not_plain(trainer)
    if reason is not None:
        return reason
    if any(slot_of(task) is None for task in trainer.tasks.values()):
        return "a task has a loss of its own or is a sequence"
    reason = why_not_stackable(trainer.network)
    if reason is not None:
        return reason
    if len(trainer.network.heads.groups) and (trainer.l1 or trainer.l2):
        return "penalties of grouped heads reach tasks that are not in the step"
    kind = optimizer_kind(trainer.optimizers, trainer.network)
    if isinstance(kind, str):
        return kind
    if not isinstance(run.train, TensorData) or run.train.inputs.ndim != 2:
        return "its data are not one matrix of inputs"
    if run.train.inputs.dtype != next(trainer.network.parameters()).dtype:
        return "its inputs are of another type than its weights"
    return None


def _why_not_plain(trainer: Trainer) -> str | None:
    """Return what a trainer's loop does that a population's does not."""
    if type(trainer) is not Trainer or trainer.callbacks:
        return "its trainer has methods or callbacks of its own"
    schedule, balancer = trainer.schedule, trainer.balancer
    if isinstance(schedule, Phases) or schedule.follows_course:
        return "its schedule depends on how the training goes"
    if trainer.auxiliary or trainer.task_patience is not None:
        return "it has auxiliary tasks, or stops tasks one by one"
    if trainer.device.type != "cpu":
        return "it is not trained on the CPU"
    if balancer is not None and (
        not isinstance(balancer, LossWeighting) or balancer.wants_after_step
    ):
        return "its balancer needs more than the losses of the step"
    return None


def fit_population(
    runs: Sequence[Run],
    *,
    size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Fit the trainers of all runs, as ``run.fit()`` of each would.

    Afterwards each trainer has its history, and its network the best weights, equal to those of a
    fit of its own up to rounding. Runs that share data should share the `TensorData`: it is stored
    once. Optimisers that the trainers hold are not used.

    Args:
        runs: Runs for which `why_not_stacked` gives None.
        size: How many to train at the same time; default `population_size` of each structure.
        progress: Called after epochs.

    Raises:
        InvalidInputError: As in `Trainer.fit`.
    """
    members = [_Member(run) for run in runs]
    before = 0
    for group in _alike(members):
        stack = _Stack(group, size)
        with threads_for(stack.multiplications):
            for done in stack.fit():
                if progress is not None:
                    progress(before + done, len(members))
        before += len(group)


def fit_together(runs: Sequence[Run], *, progress: Progress | None = None) -> None:
    """Fit the trainers of all runs: as populations where they can be, the others one by one.

    Args:
        runs: Any runs.
        progress: Called after epochs.
    """
    stacked = [run for run in runs if why_not_stacked(run) is None]

    def advance(done: float, _: int) -> None:
        if progress is not None:
            progress(done, len(runs))

    fit_population(stacked, progress=advance)
    ids = set(map(id, stacked))
    single = [run for run in runs if id(run) not in ids]
    for before, run in enumerate(single, start=len(stacked)):
        trainer = run.trainer
        callbacks = trainer.callbacks
        trainer.callbacks = (*callbacks, _Advance(before, advance))
        weights = sum(parameter.numel() for parameter in trainer.network.parameters())
        with threads_for(_PASSES * trainer.batch_size * weights):
            fit_one_by_one([run])
        trainer.callbacks = callbacks
        advance(before + 1, 0)


class _Advance(Callback):
    """Tells after each epoch how many runs are done, with the part of the one that is trained."""

    def __init__(self, before: int, progress: Progress) -> None:
        self._before, self._progress = before, progress

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        steps, epochs = trainer.steps, trainer.epochs
        share = record.epoch / epochs if steps is None else record.step / steps
        # phases have lengths of their own
        self._progress(self._before + min(1.0, share), 0)


def population_size(bytes_per_member: int) -> int:
    """Return how many members to train at the same time.

    Args:
        bytes_per_member: What a step of one member touches.
    """
    return max(1, min(_LARGEST, _CACHE // bytes_per_member))


def member_bytes(run: Run) -> int:
    """Return the memory that a run takes in a population, its data not counted."""
    return _Stack([_Member(run)], 1).bytes_per_member


_PASSES = 3
"""Products with each weight for a row of a batch: one forward, two backward."""

_KEPT = 3
"""Sets of best weights of a member: by all its validation rows, and by either half of them."""

_LARGEST = 32
_CACHE = 10 * 2**20
_DRAWN_BYTES = 4 * 2**20


@lru_cache(maxsize=64)
def _rate_factors(steps: int, warm_up: float, decay: str) -> Tensor:
    """Return the learning rate of each step as a share of its peak, [steps]."""
    factors = [learning_rate_factor(step, steps, warm_up, decay) for step in range(steps)]
    return torch.tensor(factors, dtype=torch.float64)


@lru_cache(maxsize=256)
def _index(places: tuple[int, ...]) -> Tensor:
    return torch.tensor(places)


class _Member:
    """A run, and how far it has got."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.trainer = trainer = run.trainer
        sets, _ = trainer.begin(run.train, run.validation)
        self.stretch = trainer.whole_run()
        self.epoch_steps, self.steps = self.stretch.lengths(sets)
        # on all validation rows, and on either half of them if it has halves
        self.best = [BestScore() for _ in range(1 if run.halves is None else _KEPT)]
        self.initial: list[dict[str, float]] = []
        kind = optimizer_kind(trainer.optimizers, trainer.network)
        assert isinstance(kind, OptimizerKind), kind
        self.optimizer = kind
        self.dropouts = [m for m in trunk_layers(trainer.network) if isinstance(m, Dropout)]
        # all heads move at every step, so the weights can move as one piece
        self.whole = isinstance(self.stretch.schedule, (Joint, Separate))
        self.step = 0
        self.balancer: MemberBalancer | None = None
        if trainer.balancer is not None:
            assert isinstance(trainer.balancer, LossWeighting), trainer.balancer
            self.balancer = MemberBalancer(trainer.balancer, trainer.optimizers.learning_rate)

    @property
    def structure(self) -> tuple[object, ...]:
        """What the members of a stack have in common."""
        alone = len(self.trainer.tasks) == 1
        return Structure.of(self.trainer.network), self.trainer.batch_size, alone

    def start(self) -> None:
        trainer, train = self.trainer, self.run.train
        labelled = {
            name: task.labelled(train.targets[name]) for name, task in trainer.tasks.items()
        }
        self.draws = Draws(self.stretch.schedule, labelled, trainer.batch_size, trainer.seed)
        factors = _rate_factors(self.steps, trainer.warm_up, trainer.decay)
        self.rates = factors * trainer.optimizers.learning_rate

    def steps_to_go(self) -> int:
        """Return the number of steps until the epoch or the run ends."""
        epoch = self.epoch_steps
        return min(epoch - self.step % epoch, self.steps - self.step)


def _alike(members: Sequence[_Member]) -> list[list[_Member]]:
    """Return members that can be stacked together, longer runs first, so that all end together."""
    groups: dict[object, list[_Member]] = {}
    for member in members:
        groups.setdefault(member.structure, []).append(member)
    return [sorted(group, key=lambda member: -member.steps) for group in groups.values()]


class _Tables:
    """The data of all members in two matrices: inputs, and what the losses need of each row.

    The first row of either is zero: the place of rows that are not there.
    """

    def __init__(self, losses: StackedLosses, width: int, dtype: torch.dtype) -> None:
        self._losses = losses
        self._width = width
        self._inputs = [torch.zeros(1, width, dtype=dtype)]
        self._targets = [torch.zeros(1, 2 * losses.targets, dtype=dtype)]
        self._known: dict[object, int] = {}
        self._ends = [1, 1]

    def add(self, data: TensorData, tasks: Sequence[Task], slots: Sequence[int]) -> tuple[int, int]:
        """Return the first rows of the data in inputs and targets."""
        inputs = data.inputs

        def padded() -> Tensor:
            return torch.nn.functional.pad(inputs, (0, self._width - inputs.shape[1]))

        def table() -> Tensor:
            chosen = {
                slot: (task, data.targets[task.name])
                for task, slot in zip(tasks, slots, strict=True)
            }
            return self._losses.table(len(data), chosen, inputs.dtype)

        of_targets = tuple(
            (id(data.targets[task.name]), slot) for task, slot in zip(tasks, slots, strict=True)
        )
        return (
            self._place(id(inputs), padded, self._inputs, 0),
            self._place(of_targets, table, self._targets, 1),
        )

    def _place(
        self, key: object, make: Callable[[], Tensor], parts: list[Tensor], which: int
    ) -> int:
        if key not in self._known:
            part = make()
            self._known[key] = self._ends[which]
            self._ends[which] += len(part)
            parts.append(part)
        return self._known[key]

    def joined(self) -> tuple[Tensor, Tensor]:
        """Return inputs [n, i] and targets [m, 2 c]."""
        return torch.cat(self._inputs), torch.cat(self._targets)


class _Stack:
    """Members of one structure, as many at a time as is fast.

    Args:
        members: All that are to be trained, in the order of their turn.
        size: How many at the same time; None chooses.
    """

    def __init__(self, members: Sequence[_Member], size: int | None) -> None:
        networks = [member.trainer.network for member in members]
        wanted = [[slot_of(t) for t in member.trainer.tasks.values()] for member in members]
        slots: list[list[Slot]] = [[s for s in of_one if s is not None] for of_one in wanted]
        self._losses = StackedLosses(common_slots(slots))
        width = max(member.run.train.inputs.shape[1] for member in members)
        self._network = network = StackedNetwork(networks[0], width, self._losses)
        dtype = network.structure.dtype
        self._slots: dict[int, dict[str, int]] = {}
        self._first_rows: dict[int, list[tuple[int, int]]] = {}
        tables = _Tables(self._losses, width, dtype)
        for member, needed in zip(members, slots, strict=True):
            tasks = list(member.trainer.tasks.values())
            chosen = places(needed, self._losses.slots)
            self._slots[id(member)] = {t.name: s for t, s in zip(tasks, chosen, strict=True)}
            self._first_rows[id(member)] = [
                tables.add(data, tasks, chosen)
                for data in (member.run.train, member.run.validation)
                if data is not None
            ]
        self._inputs, self._targets = tables.joined()
        self._batch = max(
            min(member.trainer.batch_size, len(member.run.train)) for member in members
        )
        count = min(len(members), size or population_size(self.bytes_per_member))
        tasks_at_most = len(self._losses.slots)
        self._waiting = deque(members)
        self._members: list[_Member] = []
        # a row for each member
        self._weights = torch.zeros(count, network.size, dtype=dtype)
        self._gradients = torch.zeros_like(self._weights)
        self._best = torch.zeros(_KEPT, *self._weights.shape, dtype=dtype)
        self._optimizer = StackedOptimizer(
            self._weights, self._gradients, network.trunk, network.heads
        )
        self._task_weights = torch.zeros(count, tasks_at_most, dtype=dtype)
        self._seen = torch.zeros(2, count, tasks_at_most, dtype=torch.float64)
        self._clip = torch.zeros(count, 1, dtype=dtype)
        self._penalties = torch.zeros(2, count, 1, dtype=dtype)
        layers = len(network.dropouts)
        self._thresholds = torch.zeros(layers, count, 1, 1, dtype=torch.uint8)
        self._scales = torch.zeros(layers, count, 1, 1, dtype=dtype)
        # what was drawn for the next steps
        units = [dropout.width for dropout in network.dropouts]
        words = sum((self._batch * width + 7) // 8 for width in units)
        self._block = max(8, min(64, _DRAWN_BYTES // (8 * count * (2 * self._batch + words))))
        self._drawn = self._block
        drawn = (self._block, count)
        self._input_rows = torch.zeros(*drawn, self._batch, dtype=torch.int64)
        self._target_rows = torch.zeros(*drawn, self._batch, dtype=torch.int64)
        self._active = torch.zeros(*drawn, tasks_at_most, dtype=dtype)
        self._rates = torch.zeros(*drawn, 1, dtype=dtype)
        self._tasks: list[list[tuple[str, ...]]] = [[] for _ in range(count)]
        self._words = torch.zeros(count, words * self._block, dtype=torch.int64)
        self._first_words = torch.zeros(layers, *drawn, 1, dtype=torch.int64)
        rows = torch.arange(count)[:, None] * self._words.shape[1]
        self._word_index = [rows + torch.arange((self._batch * w + 7) // 8) for w in units]

    @property
    def bytes_per_member(self) -> int:
        """What a step of one member reads and writes, and its best weights."""
        numbers = 7 * self._network.size + 4 * self._batch * self._network.units
        return numbers * self._network.structure.dtype.itemsize

    @property
    def multiplications(self) -> int:
        """What a step of all members makes."""
        return _PASSES * self._batch * self._weights.numel()

    @torch.no_grad()
    def fit(self) -> Iterator[float]:
        """Train all members; yield after epochs how many are done, with parts of the others."""
        every = len(self._waiting)
        self._admit(len(self._weights))
        while self._members:
            if self._drawn == self._block:
                self._drawn = 0
                for row in range(len(self._members)):
                    self._draw(row)
            steps = min(member.steps_to_go() for member in self._members)
            steps = min(steps, self._block - self._drawn)
            for _ in range(steps):
                self._step(self._drawn)
                self._drawn += 1
            ended = []
            for row, member in enumerate(self._members):
                member.step += steps
                if not member.step % member.epoch_steps or member.step == member.steps:
                    ended.append(row)
            if ended:
                self._end_epochs(ended)
                begun = sum(member.step / member.steps for member in self._members)
                yield every - len(self._waiting) - len(self._members) + begun

    # --- members come and go ---------------------------------------------------------------------

    def _admit(self, count: int) -> None:
        """Let waiting members in, at rows after those of the members that are there."""
        new: list[int] = []
        while self._waiting and len(new) < count:
            new.append(len(self._members))
            self._members.append(self._waiting.popleft())
            self._set_up(new[-1])
        self._resize()
        for row, losses in zip(new, self._validate(new), strict=True):
            self._members[row].initial = losses

    def _set_up(self, row: int) -> None:
        """Fill a row with what its new member starts from."""
        member = self._members[row]
        trainer, slots = member.trainer, self._slots[id(member)]
        member.start()
        self._weights[row] = self._network.read(trainer.network, slots)
        self._optimizer.clear(row)
        self._task_weights[row] = 0
        for name, slot in slots.items():
            self._task_weights[row, slot] = trainer.weights[name]
        self._seen[:, row] = 0
        self._active[:, row] = 0
        if member.whole:
            self._active[:, row, list(slots.values())] = 1
        self._clip[row] = torch.inf if trainer.gradient_clip is None else trainer.gradient_clip
        self._penalties[0, row], self._penalties[1, row] = trainer.l1, 2 * trainer.l2
        for layer, dropout in enumerate(member.dropouts):
            self._thresholds[layer, row] = dropout.threshold
            self._scales[layer, row] = dropout.scale
        if self._drawn < self._block:
            self._draw(row)

    def _remove(self, row: int) -> None:
        """Take a member out; the last one moves to its row."""
        last = self._members.pop()
        end = len(self._members)
        if row == end:
            return
        self._members[row] = last
        self._optimizer.copy(end, row)
        self._tasks[row] = self._tasks[end]
        for by_row in (self._weights, self._task_weights, self._clip, self._words):
            by_row[row] = by_row[end]
        for by_row in (
            self._best, self._seen, self._penalties, self._thresholds, self._scales, self._active,
            self._input_rows, self._target_rows, self._rates,
        ):  # fmt: skip
            by_row[:, row] = by_row[:, end]
        self._first_words[:, :, row] = self._first_words[:, :, end]

    def _resize(self) -> None:
        """Look at the rows that are in use."""
        count = len(self._members)
        self._weight_views = self._network.views(self._weights[:count])
        self._gradient_views = self._network.views(self._gradients[:count])
        self._clips = bool(self._clip[:count].isfinite().any())
        self._penalises = bool(self._penalties[:, :count].any())
        self._balanced = [
            (row, member.balancer)
            for row, member in enumerate(self._members)
            if member.balancer is not None
        ]
        kinds: dict[OptimizerKind, list[int]] = {}
        for row, member in enumerate(self._members):
            kinds.setdefault(member.optimizer, []).append(row)
        self._rows_of_kind = list(kinds.items())
        # where all move as a whole, the same pieces move at every step
        self._all_whole = all(member.whole for member in self._members)
        self._pieces = self._moving(0) if self._all_whole else []

    # --- drawing ---------------------------------------------------------------------------------

    def _draw(self, row: int) -> None:
        """Draw what a member needs for the steps that the others have left."""
        member = self._members[row]
        slots = self._slots[id(member)]
        steps = slice(self._drawn, self._block)
        count = self._block - self._drawn
        drawn = member.draws.steps(count, self._batch)
        first_input, first_target = self._first_rows[id(member)][0]
        for rows, first in (
            (self._input_rows[steps, row], first_input),
            (self._target_rows[steps, row], first_target),
        ):
            torch.add(drawn.rows, first, out=rows)
            if drawn.missing is not None:
                rows.masked_fill_(drawn.missing, 0)
        rates = member.rates[member.step : member.step + count]
        self._rates[self._drawn : self._drawn + len(rates), row, 0] = rates
        self._tasks[row] = [()] * self._drawn + drawn.tasks
        if not member.whole:
            named = [[float(name in tasks) for name in slots] for tasks in drawn.tasks]
            self._active[steps, row, list(slots.values())] = torch.tensor(
                named, dtype=self._active.dtype
            )
        if self._network.dropouts:
            units = [dropout.width for dropout in self._network.dropouts]
            words, starts = member.draws.noise(drawn.sizes, units)
            self._words[row, : len(words)] = words
            self._first_words[:, steps, row, 0] = starts.T

    def _keep_factors(self, step: int) -> list[Tensor]:
        """Return the factors of each dropout layer, [s, b, o]."""
        count = len(self._members)
        words = self._words.view(-1)
        factors = []
        for layer, dropout in enumerate(self._network.dropouts):
            # a layer's noise is never beyond its member's row: that has room for full batches
            index = self._word_index[layer][:count] + self._first_words[layer, step, :count]
            noise = words.index_select(0, index.view(-1)).view(torch.uint8).view(count, -1)
            size = self._batch * dropout.width
            factors.append(
                keep_factors(
                    noise[:, :size].view(count, self._batch, dropout.width),
                    self._thresholds[layer, :count],
                    self._scales[layer, :count],
                    self._scales.dtype,
                )
            )
        return factors

    # --- a step ----------------------------------------------------------------------------------

    def _step(self, step: int) -> None:
        count = len(self._members)
        shape = (count, self._batch, -1)
        inputs = self._inputs.index_select(0, self._input_rows[step, :count].view(-1))
        table = self._targets.index_select(0, self._target_rows[step, :count].view(-1))
        outputs, kept = self._network.forward(
            inputs.view(shape), self._weight_views, self._keep_factors(step)
        )
        sums, labelled, slope = self._losses(outputs, table.view(shape))
        active = self._active[step, :count]
        # a batch without a task's label says nothing of it
        self._seen[1, :count] += labelled.sign().mul_(active)
        present = labelled > 0 if self._balanced else None
        labelled.clamp_min_(1)
        means = sums.div_(labelled).mul_(active)
        self._seen[0, :count] += means
        factors = self._task_weights[:count] * active
        if present is not None:
            self._balance(step, means, factors, present)
        factors.div_(labelled)
        slope.mul_(self._losses.by_column(factors).unsqueeze(1))
        self._network.backward(slope, kept, self._weight_views, self._gradient_views)
        gradients = self._gradients[:count]
        if self._penalises:
            self._penalize(gradients, active)
        if self._clips:
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            shares = self._clip[:count] / norms.add_(1e-6)
            if bool((shares < 1).any()):
                gradients.mul_(shares.clamp_max_(1))
        if self._all_whole:
            self._optimizer.step(self._pieces, self._rates[step, :count])
        else:
            self._optimizer.step(self._moving(step), self._rates[step, :count], active)

    def _moving(self, step: int) -> list[tuple[OptimizerKind, Pieces]]:
        """Return what moves: whole members, or their trunks and the heads of the step's tasks."""
        return [
            (kind, self._optimizer.pieces((row, self._moving_heads(row, step)) for row in rows))
            for kind, rows in self._rows_of_kind
        ]

    def _moving_heads(self, row: int, step: int) -> list[int] | None:
        member = self._members[row]
        if member.whole:
            return None
        slots = self._slots[id(member)]
        return [slots[name] for name in self._tasks[row][step]]

    def _balance(self, step: int, losses: Tensor, factors: Tensor, present: Tensor) -> None:
        """Ask the members' balancers for the weights of the tasks that have a label in the step."""
        there = present.tolist()
        pairs = [
            (row, tuple(n for n, slot in self._named_slots(row, step) if there[row][slot]))
            for row, _ in self._balanced
        ]
        kept = [(row, names) for row, names in pairs if names]
        if not kept:
            return
        rows = [row for row, _ in kept]
        tasks = [names for _, names in kept]
        chosen = losses[rows]
        if not bool(chosen.isfinite().all()):
            for row, names in zip(rows, tasks, strict=True):
                slots = self._slots[id(self._members[row])]
                found = {name: float(losses[row, slots[name]]) for name in names}
                check_finite(found, self._members[row].step)
        places = [self._places(row, names) for row, names in zip(rows, tasks, strict=True)]
        by_row = dict(self._balanced)
        balancers = [by_row[row] for row in rows]
        factors[rows] = balance(balancers, tasks, places, chosen, self._task_weights[rows])

    def _named_slots(self, row: int, step: int) -> list[tuple[str, int]]:
        """Return the tasks of a member's step with their slots."""
        slots = self._slots[id(self._members[row])]
        return [(name, slots[name]) for name in self._tasks[row][step]]

    def _places(self, row: int, names: tuple[str, ...]) -> Tensor:
        """Return the slots of a member's tasks, [t]."""
        slots = self._slots[id(self._members[row])]
        return _index(tuple(slots[name] for name in names))

    def _penalize(self, gradients: Tensor, active: Tensor) -> None:
        """Add the gradients of the L1 and L2 penalties of the weight matrices in the step."""
        weights = self._weights[: len(gradients)]
        reached = gradients.new_zeros(gradients.shape)
        reached[:, self._network.trunk] = 1
        for slot, (head, _) in enumerate(self._network.heads):
            reached[:, head] = active[:, slot, None]
        reached *= self._network.penalised
        l1, l2 = self._penalties[:, : len(gradients)]
        gradients.addcmul_(weights.sign(), reached * l1)
        gradients.addcmul_(weights, reached * l2)

    # --- the end of an epoch ---------------------------------------------------------------------

    def _end_epochs(self, rows: Sequence[int]) -> None:
        """Record the epoch that is over at some rows; take out members that are done."""
        validation = self._validate(rows)
        totals, counts = self._seen[:, torch.tensor(rows)].tolist()
        done = []
        for row, losses, total, number in zip(rows, validation, totals, counts, strict=True):
            member = self._members[row]
            trainer = member.trainer
            training = {
                name: total[slot] / number[slot]
                for name, slot in self._slots[id(member)].items()
                if number[slot]
            }
            check_finite(training, member.step)
            scores = [
                relative_score(found, before, found)
                for found, before, _ in zip(losses, member.initial, member.best, strict=False)
            ]
            improved = [best.offer(score) for best, score in zip(member.best, scores, strict=True)]
            for kept, better in enumerate(improved):
                # a half without labels chooses nothing
                if better or (improved[0] and scores[kept] is None):
                    self._best[kept, row] = self._weights[row]
            number = len(trainer.history) + 1
            trainer.record(
                EpochRecord(number, member.step, training, losses[0], scores[0], improved[0])
            )
            if trainer.balancer is not None and trainer.balancer.wants_end_epoch:
                trainer.balancer.end_epoch()
            patience = trainer.patience
            if member.step == member.steps or (
                patience is not None and member.best[0].epochs_since >= patience
            ):
                done.append(row)
        self._seen[:, torch.tensor(rows)] = 0
        for row in reversed(done):
            self._hand_back(row)
            self._remove(row)
        if done:
            self._admit(len(done))

    def _hand_back(self, row: int) -> None:
        """Give a member's network its weights."""
        member = self._members[row]
        network = member.trainer.network
        scored = member.best[0].value < torch.inf
        kept = self._best[:, row] if scored else self._weights[row].expand(_KEPT, -1)
        if member.run.halves is not None:
            states = []
            for weights in kept[1:]:
                self._network.write(weights, network, self._slots[id(member)])
                states.append(copy_state(network))
            member.run.halves.states = states[0], states[1]
        self._network.write(kept[0], network, self._slots[id(member)])
        member.trainer.check_weights()
        network.eval()

    def _validate(self, rows: Sequence[int]) -> list[list[dict[str, float]]]:
        """Return each task's loss over the labelled validation rows of the members at some rows.

        First over all of them, then over either half; any halves will do where a run has none.
        """
        checked = [row for row in rows if self._members[row].run.validation is not None]
        if not checked:
            return [[{}] * _KEPT for _ in rows]
        members = [self._members[row] for row in checked]
        everyone = checked == list(range(len(self._members)))
        views = (
            self._weight_views
            if everyone
            else self._network.views(self._weights[torch.tensor(checked)])
        )
        # the second half of a member lies below its first one, as if of a member of its own
        every = [len(m.run.validation or ()) for m in members]
        halves = [
            n // 2 if m.run.halves is None else m.run.halves.first
            for m, n in zip(members, every, strict=True)
        ]
        half = torch.tensor(halves)
        lengths = torch.stack([half, torch.tensor(every) - half], 1).view(-1, 1)
        firsts = torch.tensor([self._first_rows[id(member)][1] for member in members])
        firsts = torch.stack([firsts, firsts + half[:, None]], 1).view(-1, 2)
        calibrated = torch.tensor([[m.trainer.calibrated] for m in members])
        scaled = calibrated & torch.tensor([s.form != "squared" for s in self._losses.slots])
        temperatures = TEMPERATURES if bool(scaled.any()) else ()
        size = len(lengths), len(self._losses.slots)
        counts = torch.zeros(size, dtype=torch.float64)
        sums = torch.zeros(1 + len(temperatures), *size, dtype=torch.float64)
        longest = int(lengths.max())
        width = min(longest, max(self._batch, 64) // 2)
        for start in range(0, longest, width):
            column = torch.arange(start, min(start + width, longest))
            there = column < lengths
            shape = (len(members), 2 * len(column), -1)
            input_rows = (column + firsts[:, :1]).where(there, 0)
            target_rows = (column + firsts[:, 1:]).where(there, 0)
            outputs, _ = self._network.forward(
                self._inputs[input_rows.flatten()].view(shape), views
            )
            outputs = outputs.view(len(lengths), len(column), -1)
            table = self._targets[target_rows.flatten()].view(len(lengths), len(column), -1)
            for index, temperature in enumerate((1.0, *temperatures)):
                total, count, _ = self._losses(outputs / temperature, table)
                sums[index] += total
            counts += count
        # [..., s, 3, t]: all rows, first half, second half
        sums, counts = _with_total(sums), _with_total(counts)
        lowest = sums[0]
        if temperatures:
            penalised = sums[1:] + temperature_penalties()[:, None, None, None]
            lowest = penalised.amin(0).where(scaled[:, None], lowest)
        means, numbers = (lowest / counts.clamp_min(1)).tolist(), counts.tolist()
        found = {
            row: [
                {
                    name: means[index][kept][slot]
                    for name, slot in self._slots[id(self._members[row])].items()
                    if numbers[index][kept][slot]
                }
                for kept in range(_KEPT)
            ]
            for index, row in enumerate(checked)
        }
        return [found.get(row, [{}] * _KEPT) for row in rows]


def _with_total(halves: Tensor) -> Tensor:
    """Return the sum of two halves before them: [..., 2 s, t] -> [..., s, 3, t]."""
    halves = torch.unflatten(halves, -2, (-1, 2))
    return torch.cat([halves.sum(-2, keepdim=True), halves], -2)
