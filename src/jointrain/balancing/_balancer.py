"""What a balancing method is: the interfaces that every method fills and the engine reads.

Letters: t tasks of the step at hand, T all tasks the balancer knows, p shared parameters.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from jointrain.balancing._kept_blocks import BlockOrder
from jointrain.balancing.solvers import FLOAT64
from jointrain.errors import InvalidInputError, closest

_TASKS_KEY = "tasks"
_RNG_KEY = "rng"
_SCALES_KEY = "task_scales"

_OF_HERE = ("block_order", "mean_over_processes", "accumulated")
"""Attributes that belong to a model and a process; None in a balancer that is new or copied."""


class Needs(enum.Enum):
    """The smallest thing that a balancer has to see in order to choose its update."""

    LOSSES = "losses"
    GRAMIAN = "gramian"
    JACOBIAN = "jacobian"
    HELD_OUT = "held-out losses"
    NEARBY = "gradients at moved weights"
    HEADS = "second derivatives of the heads"


class Balancer(nn.Module, ABC):
    """Turn several task losses into one update; the root of all methods.

    A method derives from one of the kinds below, never from this class itself. It declares
    what it needs and what it promises as class attributes; callers read those and never a name.

    Per-task state. A method that remembers something per task sets ``task_state = True``, ends its
    constructor with ``self.bind(tasks)`` and creates its buffers (or parameters) of length T in
    :meth:`allocate`. Tasks may be absent from a step: what the method is handed has an entry for
    each of the t tasks that are present. ``self.entries("state", t)`` reads their part of a state,
    ``self.set_entries("state", values)`` writes it, and ``self.present(t)`` gives their positions
    in it, [t].

    Attributes:
        name: What the command line calls the method.
        needs: The smallest thing the method has to see.
        task_state: Whether something is remembered per task (buffers or parameters of length T).
        per_task: Hyper-parameters, attributes of the same names, that say something of each task.
        random: Whether numbers are drawn, from ``self.generator``, whose state is saved.
        extra_batches: How many further batches of losses are needed at each step; the gradients
            of these give the Gramian (see :class:`GramianWeighting`).
        wants_after_step: Whether :meth:`after_step` is to be called with the losses of the same
            batch after the optimiser's step.
        wants_end_epoch: Whether :meth:`end_epoch` is to be called after each epoch.
        non_conflicting: Promise: the update increases no loss to first order, ``G w >= 0``.
        equivariant: Promise: reordering the tasks reorders the weights and nothing else.
        plain_for_one_task: Promise: with one task, the update is the plain gradient.
        non_negative: Promise: no weight is below zero.
        scale_free: Promise: a common factor on all gradients leaves the weights as they are.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    task_state: ClassVar[bool] = False
    per_task: ClassVar[tuple[str, ...]] = ()
    random: ClassVar[bool] = False
    extra_batches: ClassVar[int] = 0
    wants_after_step: ClassVar[bool] = False
    wants_end_epoch: ClassVar[bool] = False
    non_conflicting: ClassVar[bool] = False
    equivariant: ClassVar[bool] = True
    plain_for_one_task: ClassVar[bool] = True
    non_negative: ClassVar[bool] = True
    scale_free: ClassVar[bool] = True
    _rounding: float = FLOAT64
    _task_order: Mapping[str, int] = MappingProxyType({})  # see `in_order`; older pickles have none
    _of_step: tuple[str, ...] = ()  # the tasks of the last step, of methods that keep none

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.task_names: tuple[str, ...] | None = None
        self._positions: Tensor | None = None
        self.workspace: dict[str, Tensor] = {}
        self.task_scales: dict[str, int] = {}  # exponents, by task, for gradients in float16
        self.block_order: BlockOrder | None = None
        self.mean_over_processes: Callable[[Tensor], Tensor] | None = None
        self.accumulated: Any = None  # what the batches of a step have left so far
        self.seed = seed
        if self.random:
            self.generator = torch.Generator().manual_seed(seed)

    # --- tasks -----------------------------------------------------------------------------------

    def bind(self, tasks: int | Sequence[str] | None) -> None:
        """Fix the tasks that the balancer knows and create the state for them.

        Called by the constructor, by the Trainer, or at the first step. Nothing happens for None
        or when the same tasks are bound already.

        Args:
            tasks: The number of tasks or their names, in the order of the state.

        Raises:
            InvalidInputError: There is no task, a name occurs twice, or other tasks are bound.
        """
        if tasks is None:
            return
        names = tuple(str(i) for i in range(tasks)) if isinstance(tasks, int) else tuple(tasks)
        if not names or len(set(names)) != len(names):
            message = f"`tasks` must name at least one task, each once, got {tasks!r}."
            raise InvalidInputError(f"{message} Pass their number or their names.")
        if names == self.task_names:
            return
        if self.task_names is not None:
            message = f"The balancer is bound to the tasks {list(self.task_names)}"
            raise InvalidInputError(
                f"{message}, it can't be bound to {list(names)}. Build a new balancer for them."
            )
        self.task_names = names
        self.allocate(len(names))

    def keep_order(self, names: Sequence[str]) -> None:
        """Fix the order of a step's tasks where its batches have some of them each."""
        self._task_order = {name: place for place, name in enumerate(names)}

    def in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return tasks in the order that was fixed, others after them as they are.

        Some methods draw by place: what a batch has first must not decide.
        """
        last = len(self._task_order)
        return tuple(sorted(names, key=lambda name: self._task_order.get(name, last)))

    @property
    def told_of_tasks(self) -> bool:
        """Whether it was built with something for each task."""
        return any(getattr(self, name) is not None for name in self.per_task)

    def allocate(self, n_tasks: int) -> None:
        """Create, or set back to the start, the buffers and parameters of length `n_tasks`."""

    def positions_of(self, names: Sequence[str]) -> Tensor:
        """Return the positions of the named tasks in the state, [t], binding them at first.

        Raises:
            InvalidInputError: A name is unknown to a balancer that keeps per-task state.
        """
        if not self.task_state:
            self._of_step = tuple(names)
            return _first(len(names))
        if self.task_names is None:
            self.bind(tuple(names))
        if tuple(names) == self.task_names:
            return _first(len(names))
        known = {name: i for i, name in enumerate(self.task_names or ())}
        for name in names:
            if name not in known:
                message = f"Task {name!r} is unknown to the balancer, which knows {list(known)}"
                raise InvalidInputError(
                    f"{message}{closest(name, known)}. Name all tasks before the first step with "
                    "`balancer.bind([...])`."
                )
        return torch.tensor([known[name] for name in names])

    def name_of(self, place: int, n_tasks: int) -> str:
        """Return what the step's task at a place is called, the place where it has no name."""
        if self.task_names is not None:
            return self.task_names[int(self.present(n_tasks)[place])]
        return self._of_step[place] if len(self._of_step) == n_tasks else str(place)

    def taking_part(self, positions: Tensor, rounding: float | None = None) -> _TakingPart:
        """Return a context within which :meth:`present` gives `positions`, [t].

        Args:
            positions: The places of the step's tasks in the state.
            rounding: What :attr:`rounding` is within it; by default that of float64.
        """
        return _TakingPart(self, positions, rounding)

    @property
    def rounding(self) -> float:
        """Relative rounding of the Gramian at hand: of an entry, over its two gradients' lengths.

        The engine hands over float64 numbers, but gradients of float32, or computed in half
        precision, leave fewer digits in them. What is decided by a rank or by a difference from
        zero has to go by it.
        """
        return self._rounding

    def present(self, n_tasks: int) -> Tensor:
        """Return the positions of the step's tasks in the state, [t]; by default 0, ..., t - 1.

        A method used by itself, without the engine, binds that many tasks at its first call.

        Raises:
            InvalidInputError: There are more tasks than the state has places for.
        """
        if self._positions is not None:
            return self._positions
        self.bind(n_tasks if self.task_names is None else None)
        if n_tasks != len(self.task_names or ()):
            message = f"Got {n_tasks} tasks, the balancer knows {list(self.task_names or ())}."
            raise InvalidInputError(f"{message} Say which take part: `losses={{name: loss}}`.")
        return _first(n_tasks)

    def entries(self, name: str, n_tasks: int) -> Tensor:
        """Return what the state ``self.<name>`` [T] holds for the step's tasks, [t], to be read.

        The state itself where all tasks are present in its order: indexing costs more than most of
        what methods that weigh losses do.
        """
        present = self.present(n_tasks)
        state: Tensor = getattr(self, name)
        return state if present is _first(len(state)) else state[present.to(state.device)]

    def set_entries(self, name: str, values: Tensor) -> None:
        """Write values [t] to the places that the state ``self.<name>`` [T] has for the tasks."""
        present = self.present(len(values))
        state: Tensor = getattr(self, name)
        if present is _first(len(state)):
            state.copy_(values)
        else:
            state[present] = values.to(state)

    def spread(self, values: Sequence[float]) -> Tensor:
        """Return values [t] at the places of the step's tasks, among zeros for the others, [T]."""
        numbers = [0.0] * len(self.task_names or ())
        for place, value in zip(self.present(len(values)).tolist(), values, strict=True):
            numbers[place] = value
        return torch.tensor(numbers)

    # --- hooks of the training loop --------------------------------------------------------------

    def after_step(self, losses: Tensor) -> None:
        """Learn from the losses [t] of the same batch after the optimiser's step; by default not.

        Takes no part of a graph. Callers call it if ``wants_after_step``. A method takes
        ``self.over_processes(losses)`` in their place.
        """

    def over_processes(self, losses: Tensor) -> Tensor:
        """Return the mean losses [t] over the rows of all processes of the last step."""
        mean = self.mean_over_processes
        return losses if mean is None else mean(losses)

    def end_epoch(self) -> None:
        """Learn that an epoch is over; callers call it if ``wants_end_epoch``."""

    def reset(self) -> None:
        """Set all state back to what it was after construction: buffers, parameters, generator."""
        if self.random:
            self.generator.manual_seed(self.seed)
        for name in self._remembered():
            delattr(self, name)
        self.block_order = None
        self.task_scales = {}
        if self.task_names is not None:
            with torch.no_grad():
                self.allocate(len(self.task_names))

    # --- state -----------------------------------------------------------------------------------

    def set_back(self, state: Mapping[str, Any]) -> None:
        """Load the state of before a step that is not to count, but keep `task_scales`.

        A gradient that overflowed in float16 is what these learn from.
        """
        scales = self.task_scales
        self.load_state_dict(dict(state))
        self.task_scales = scales

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: all but what belongs to this model and process."""
        return self.__dict__ | dict.fromkeys(_OF_HERE) | {"workspace": {}}

    def remember(self, name: str, value: Tensor) -> Tensor:
        """Keep `value` as buffer ``self.<name>``, created at its first use, saved, and dropped by
        :meth:`reset`; for state whose shape is only known at a step. `name` must begin with
        ``kept_``.
        """  # noqa: D205
        assert name.startswith("kept_"), name
        if name in self._buffers:
            self._buffers[name] = value.detach()
        else:
            self.register_buffer(name, value.detach())
        return value

    def recall(self, name: str) -> Tensor | None:
        """Return what was kept under `name`, or None."""
        return self._buffers.get(name)

    def _remembered(self) -> list[str]:
        return [name for name in self._buffers if name.startswith("kept_")]

    def set_parameter(self, name: str, value: Tensor) -> None:
        """Create parameter `name`, or overwrite its values in place so that optimisers keep it."""
        if name in self._parameters and self._parameters[name] is not None:
            with torch.no_grad():
                getattr(self, name).copy_(value)
                getattr(self, name).grad = None
        else:
            self.register_parameter(name, nn.Parameter(value.clone()))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.task_state and self.task_names is not None:
            destination[prefix + _TASKS_KEY] = _text(self.task_names)
        if self.task_scales:
            destination[prefix + _SCALES_KEY] = _text(self.task_scales)
        if self.random:
            destination[prefix + _RNG_KEY] = self.generator.get_state()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        names = state_dict.pop(prefix + _TASKS_KEY, None)
        if names is not None:
            self.bind(_read(names))
        scales = state_dict.pop(prefix + _SCALES_KEY, None)
        self.task_scales = {} if scales is None else _read(scales)
        rng = state_dict.pop(prefix + _RNG_KEY, None)
        if rng is not None and self.random:
            self.generator.set_state(rng.cpu())
        for name in self._remembered():
            delattr(self, name)
        self.block_order = None
        for key, value in state_dict.items():
            name = key[len(prefix) :]
            if key.startswith(prefix) and name.startswith("kept_"):
                self.register_buffer(name, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """List the hyper-parameters: the public attributes that are plain values."""
        skip = {"training", "task_names", *_OF_HERE}
        if not self.random:
            skip.add("seed")
        shown = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in skip
            if isinstance(value, (bool, int, float, str, tuple, type(None)))
        }
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())

    @classmethod
    def summary(cls) -> str:
        """Return the one line that says what the method does."""
        return (cls.__doc__ or "").strip().splitlines()[0]


class _TakingPart:
    """A context in which the tasks at given positions take part in a balancer's step."""

    # written out, and past what a module does when an attribute is set: with those it takes as
    # long as adding up the losses
    def __init__(self, balancer: Balancer, positions: Tensor, rounding: float | None) -> None:
        self._attributes = vars(balancer)
        self._before = balancer._positions, balancer._rounding
        self._now = positions, FLOAT64 if rounding is None else rounding

    def __enter__(self) -> None:
        self._attributes["_positions"], self._attributes["_rounding"] = self._now

    def __exit__(self, *error: object) -> None:
        self._attributes["_positions"], self._attributes["_rounding"] = self._before


def _text(value: Any) -> Tensor:
    """Return a plain value as a tensor, which any state can hold."""
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def _read(text: Tensor) -> Any:
    """Return the value that `_text` was given."""
    return json.loads(bytes(text.cpu().tolist()).decode())


@functools.cache
def _first(n: int) -> Tensor:
    """Return the positions 0, ..., n - 1, always the same tensor."""
    return torch.arange(n, device="cpu")


class _OnCpu(Balancer):
    """Work on so few numbers that their state stays on the CPU, whatever `.to(...)` asks for."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _OnCpu:  # noqa: ARG002
        return self


class Weighing(NamedTuple):
    """What a loss weighting makes of a step's losses.

    Attributes:
        weights: [t].
        value: What is minimised; None where it is ``weights @ losses``.
        learned: The method's own parameters with the gradient of what is minimised.
    """

    weights: Sequence[float]
    value: float | None = None
    learned: Sequence[tuple[nn.Parameter, Tensor]] = ()


class LossWeighting(_OnCpu):
    """Weigh losses by their values alone: one backward pass with weights known before it.

    A method gives :meth:`weigh`, the weights in closed form, or :meth:`objective`, the scalar that
    is minimised, whose gradient by the losses the weights are; the other one follows. Shared and
    task-specific parameters get the gradient of the weighted losses, the method's own parameters
    that of the objective.

    Attributes:
        fixed: Whether the weights are the same whatever the losses are, so that a pass need not
            wait until the losses of other processes are known. A class with a `weigh` or an
            `objective` of its own has to say so anew.
    """

    needs = Needs.LOSSES
    fixed: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Let what is said of a method not hold for one that weighs in another way."""
        super().__init_subclass__(**options)
        own = vars(cls)
        if "fixed" not in own and ("weigh" in own or "objective" in own):
            cls.fixed = False

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the step's tasks: the gradient of the objective by the losses.

        Either this or :meth:`objective` is called, once a step, so state may move here. A closed
        form takes a few operations on t numbers; the one here differentiates the objective.

        Shape:
            losses: [t].
        """
        leaf = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
        own = [p for p in self.parameters() if p.requires_grad]
        objective = self.checked_objective(leaf)
        weights, *found = torch.autograd.grad(objective, [leaf, *own], allow_unused=True)
        learned = [(p, g) for p, g in zip(own, found, strict=True) if g is not None]
        return Weighing(weights.tolist(), float(objective.detach()), learned)

    def checked_objective(self, losses: Tensor) -> Tensor:
        """Return the objective.

        Raises:
            InvalidInputError: It is no scalar, or has no gradient by the losses.
        """
        found = self.objective(losses)
        if not isinstance(found, Tensor) or found.numel() != 1 or not found.requires_grad:
            shape = f"shape {list(found.shape)}" if isinstance(found, Tensor) else ""
            raise InvalidInputError(
                f"{type(self).__name__}.objective must return one number as a tensor that is "
                f"computed from `losses`, got {type(found).__name__} {shape}".rstrip()
            )
        return found

    def objective(self, losses: Tensor) -> Tensor:
        """Return the scalar to be minimised, differentiable in `losses`, once.

        Shape:
            losses: [t], with or without graph, in float32 or float64.
            returns: scalar.
        """
        weights, value, _ = self.weigh(losses.tolist())
        product = torch.dot(losses.new_tensor(weights), losses)
        return product if value is None else product + (value - product.detach())


class GramianWeighting(_OnCpu):
    r"""Weigh tasks by the Gramian of their gradients; the update is :math:`J^\top w`.

    The engine hands over the Gramian on the CPU in float64 whatever the network's device and
    dtype, so a method is pure float64 linear algebra there. How many of the digits are sound,
    ``self.rounding`` says.

    Attributes:
        weighs_task_parameters: Whether the weights scale the gradients of the task-specific
            parameters as well (as in GradNorm); if not, those get their own loss's gradient.
    """

    needs = Needs.GRAMIAN
    weighs_task_parameters: ClassVar[bool] = False

    @abstractmethod
    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights of the step's tasks.

        Called once for each new Gramian, so state may move here. Never NaN for finite input.

        Shape:
            gramian: [t, t], float64 on the CPU. Without extra batches ``J @ J.T``, symmetric and
                positive semi-definite up to rounding; with ``extra_batches = 1``
                ``J @ J1.T``, with 2 ``J1 @ J2.T``, Ji the Jacobian of the i-th extra batch.
            losses: [t], float64 on the CPU, without graph, after :meth:`transform`.
            returns: [t], float64.
        """

    def transform(self, losses: Tensor) -> Tensor:
        """Return the losses to be balanced in place of the given ones; by default the same.

        Elementwise and differentiable, e.g. the logarithm. Jacobian, Gramian and the gradients of
        the task-specific parameters are those of the transformed losses. Parameters of the method
        that take part get their gradient from the sum of the transformed losses.

        Shape:
            losses: [t], with graph, on the losses' device, in float32 or float64.
            returns: [t].
        """
        return losses

    def parameter_loss(self, gramian: Tensor, losses: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return a scalar whose gradient the method's own parameters get; by default None.

        Called after :meth:`weights`, with the same arguments. Only the balancer's parameters may
        be in its graph.
        """
        return None


class HeadGuiding(GramianWeighting):
    r"""Weigh tasks by the Gramian, and guide their own parameters so that gradients agree.

    What a task sends into the shared part is its own parameters' doing, too. The tasks' own parts,
    which start from tensors z, are differentiated twice: a task's own parameters
    :math:`\theta_i` get the gradient of its loss plus :math:`f_i a_i`, where

    .. math:: a_i = \nabla_{\theta_i} \Big\langle \frac{\partial L_i}{\partial z}, \delta
        \Big\rangle, \qquad \delta = \sum_j w_j \frac{\partial L_j}{\partial z}
        \ \text{(held fixed)}

    is the gradient of its agreement with the joint gradient. A task that is alone in a step has
    nothing to agree with, and gets the gradient of its loss.
    """

    needs = Needs.HEADS

    @abstractmethod
    def guide(self, own: Tensor, agreement: Tensor) -> Tensor:
        """Return the factors f, by which the agreements' gradients count.

        Called once a step after :meth:`weights`, unless a task is alone or has no parameters.

        Shape:
            own: [t], the lengths of the gradients of the losses by the tasks' own parameters,
                float64 on the CPU.
            agreement: [t], the lengths of the :math:`a_i`.
            returns: [t], float64.
        """


class Direction(NamedTuple):
    """An update of the shared parameters: a tensor per block, and the weights if it has such."""

    blocks: list[Tensor]
    weights: Tensor | None = None


class JacobianAggregation(Balancer):
    """Make the update from the tasks' gradients themselves, block by block.

    For methods whose update is no weighted sum of this step's gradients, or that keep gradients:
    coordinate-wise ones and those with momentum on the Jacobian.

    Attributes:
        blockwise: Promise: aggregating block by block in separate calls gives the same; the engine
            then never keeps the whole Jacobian.
        weighs_task_parameters: As for :class:`GramianWeighting`, with `Direction.weights`.
    """

    needs = Needs.JACOBIAN
    blockwise: ClassVar[bool] = False
    weighs_task_parameters: ClassVar[bool] = False

    @abstractmethod
    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:
        """Return the update of the shared parameters.

        Called once a step (once a block if ``blockwise``). The blocks may be overwritten.
        Use ``self.remember("kept_...", tensor)`` for state of the blocks' shapes.

        Shape:
            blocks: one tensor [t, *shape] per shared parameter, on its device, in its dtype; a row
                is zero where the task doesn't reach the parameter.
            losses: [t], without graph, after :meth:`transform`.
            returns: `blocks` of shape [*shape] each; `weights` [t] or None.
        """

    def transform(self, losses: Tensor) -> Tensor:
        """Return the losses to be balanced; as :meth:`GramianWeighting.transform`."""
        return losses


class MovableParameters:
    """Parameters that can be moved and set back, and by which losses are differentiated.

    Attributes:
        parameters: Everything that is trained: shared and task-specific parameters.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)

    def gradient(self, scalar: Tensor, *, retain_graph: bool = False) -> list[Tensor]:
        """Return the gradient of `scalar` by all parameters, dense; zero where it isn't reached."""
        found = torch.autograd.grad(
            scalar, self.parameters, retain_graph=retain_graph, allow_unused=True
        )
        return [
            torch.zeros_like(p) if g is None else (g.to_dense() if g.is_sparse else g)
            for p, g in zip(self.parameters, found, strict=True)
        ]

    @contextlib.contextmanager
    def shifted(self, direction: Sequence[Tensor], step: float) -> Iterator[None]:
        """Within the block the parameters are moved by ``step * direction``, then set back."""
        before = [p.detach().clone() for p in self.parameters]
        # `.data` on purpose: the values are restored bit by bit, so that the graph of `losses`
        # stays valid, which writing to the parameters openly would deny; autocast keeps what it
        # has cast once, until its outermost block ends
        try:
            for p, d in zip(self.parameters, direction, strict=True):
                p.data.add_(d, alpha=step)
            torch.clear_autocast_cache()
            yield
        finally:
            for p, b in zip(self.parameters, before, strict=True):
                p.data.copy_(b)
            torch.clear_autocast_cache()


class BilevelProblem(MovableParameters):
    """What a bilevel method may ask for: losses at the parameters, here or nearby, on two data.

    Attributes:
        losses: [t], the training losses of the step, with their graph.
    """

    def __init__(
        self,
        losses: Tensor,
        parameters: Sequence[Tensor],
        train: Callable[[], Tensor],
        held_out: Callable[[], Tensor],
    ) -> None:
        super().__init__(parameters)
        self.losses = losses
        self._train, self._held_out = train, held_out
        self.added: list[Tensor] | None = None

    def train(self) -> Tensor:
        """Return the losses [t] on the step's training batch at the parameters as they are now."""
        return self._train()

    def held_out(self) -> Tensor:
        """Return the losses [t] on a held-out batch (the same one throughout the step)."""
        return self._held_out()

    def add_gradient(self, direction: Sequence[Tensor]) -> None:
        """Add `direction` (a tensor per parameter) to what the weighted losses' gradient gives."""
        if self.added is None:
            self.added = [d.detach().clone() for d in direction]
        else:
            for a, d in zip(self.added, direction, strict=True):
                a.add_(d)


class BilevelWeighting(Balancer):
    """Choose the weights so that a step on the training losses lowers held-out losses.

    The update of all parameters is the gradient of ``weights @ losses``, plus what the method has
    put into `problem.add_gradient`.
    """

    needs = Needs.HELD_OUT

    @abstractmethod
    def weights(self, problem: BilevelProblem) -> Tensor:
        """Return the weights of the step's tasks, [t]; called once a step, state may move.

        ``problem.losses`` keeps its graph: differentiate it only with ``retain_graph=True``. Move
        the parameters only with ``problem.shifted``, which sets them back.
        """
