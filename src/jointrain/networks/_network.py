"""What every network offers: outputs by task, and who owns which parameter."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jointrain.charts import Chart, InNotebook, bars
from jointrain.errors import InvalidInputError, closest
from jointrain.networks._heads import TaskHeads
from jointrain.networks._masked_losses import masked_losses
from jointrain.task import Task, check_chains, joint_logit

if TYPE_CHECKING:
    import polars as pl

_SIBLINGS = 12
"""How many siblings `describe` prints before it counts the rest."""


@dataclass(frozen=True)
class Part:
    """A piece of a network, and the tasks whose outputs depend on it.

    Args:
        path: Where it hangs in the tree that `Network.describe` prints.
        tasks: Every task whose loss reaches the piece.
        module: The piece, where it is a module.
        parameters: Its parameters; default those of the module.
        own: Whether it is made for one task (also in a network that has only one).
    """

    path: tuple[str, ...]
    tasks: tuple[str, ...]
    module: nn.Module | None = None
    parameters: tuple[nn.Parameter, ...] | None = None
    own: bool = False

    def all_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the piece."""
        if self.parameters is not None:
            return self.parameters
        return () if self.module is None else self.module.parameters()


class Network(InNotebook, nn.Module, ABC):
    """Maps inputs to ``{task: output}`` and knows which parameters are shared.

    A new architecture writes two methods: `features`, which gives each task what its head takes,
    and `parts`, which says which task reaches which piece. All else follows: outputs, ownership,
    `describe`, `for_task`, losses.

    Attributes:
        name: What the command line calls it; a class in jointrain's folder that has one is found.
        summary: One line on what it is, for lists; default the first one of its docstring.
        for_table: Makes one of the number of inputs, the tasks, and settings by keyword: what a
            table can be trained with. It is told width, depth, dropout, ... by name, or all of them
            by a parameter that is annotated as `MLPSettings`, which makes trunks and heads.

    Args:
        heads: Each task's own last layers by task name; the order is that of the outputs. A head
            with ``takes_inputs = True`` is called with the features and the network's inputs.
        beside: Modules of the network that may hold the same parameters as a head (tied weights).
        group_from: From how many linear heads of one size on features that all tasks share the
            heads become one `GroupedLinear`; None (default) groups none.

    Raises:
        InvalidInputError: There is no task.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    for_table: ClassVar[Callable[..., Network]]

    def __init__(
        self,
        heads: Mapping[str, nn.Module],
        *,
        beside: Iterable[nn.Module] = (),
        group_from: int | None = None,
    ) -> None:
        super().__init__()
        self.task_names = tuple(heads)
        if not self.task_names:
            raise InvalidInputError("a network needs at least one task; give it a head for each")
        self._position = {name: index for index, name in enumerate(self.task_names)}
        self.heads = TaskHeads(heads, beside=beside, group_from=group_from)
        self.input_layer: nn.Module | None = None
        # the place of the task that each one is given, -1 for none; and whether it is corrected
        self.given_places: tuple[int, ...] = (-1,) * len(self.task_names)
        self.corrected_places: tuple[int, ...] = ()

    def to_frame(self) -> pl.DataFrame:
        """Return a row for what is shared and for each task's own part.

        Columns: part (``shared`` or the task), parameters.
        """
        import polars as pl

        parts = {"shared": self.shared_parameters()}
        parts |= {name: self.task_parameters(name) for name in self.task_names}
        counts = [sum(one.numel() for one in own) for own in parts.values()]
        return pl.DataFrame({"part": list(parts), "parameters": counts})

    def _notebook_title(self) -> str:
        total = sum(one.numel() for one in self.parameters())
        return f"{type(self).__name__}: {total:,} parameters"

    def plot(self) -> Chart:
        """Return a chart of how many parameters are shared, and each task's own."""
        rows = [
            {"name": name, "value": count, "text": f"{count:,}"}
            for name, count in self.to_frame().iter_rows()
        ]
        return bars(rows, across="parameters", down=None)

    def link(self, tasks: Iterable[Task]) -> None:
        """Multiply the probabilities of tasks that are given another one of the network's.

        The output of such a task is then the logit of p(purchase), and its head's that of
        p(purchase | click); where the task has a correction, they are columns: p(purchase),
        p(purchase | click), p(click), and what the head gives beside. Heads that others are
        multiplied by are reached by the losses of those, so they are no longer a task's own, and
        grouped heads become separate ones. A trainer, a recipe and a bundle call it.

        Args:
            tasks: Tasks of the network; those that are given a task that it does not have stay as
                they are.

        Raises:
            InvalidInputError: Tasks are given each other in a circle, or one that is not binary.
        """
        chosen = [task for task in tasks if task.name in self._position]
        check_chains(chosen)
        places = list(self.given_places)
        corrected = set(self.corrected_places)
        for task in chosen:
            place = self._position[task.name]
            places[place] = self._position.get(task.given, -1) if task.given is not None else -1
            corrected.discard(place)
            if places[place] >= 0 and task.correction is not None:
                corrected.add(place)
        self.given_places, self.corrected_places = tuple(places), tuple(sorted(corrected))
        if self.linked:
            self.heads.separate()

    @property
    def linked(self) -> bool:
        """Whether any task's probability is multiplied by another's."""
        return any(place >= 0 for place in self.given_places)

    def _with_given(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return tasks and all that they are given, in the network's order."""
        places = {self._position[name] for name in tasks}
        more = set(places)
        while more:
            more = {self.given_places[place] for place in more} - places - {-1}
            places |= more
        return tuple(self.task_names[place] for place in sorted(places))

    def _multiplied(self, single: Mapping[str, Tensor], tasks: Sequence[str]) -> dict[str, Tensor]:
        """Return the outputs of `tasks` by those of the heads."""
        joint: dict[int, Tensor] = {}

        def of(place: int) -> Tensor:
            if place not in joint:
                own, given = single[self.task_names[place]], self.given_places[place]
                joint[place] = own[..., :1] if given < 0 else joint_logit(of(given), own[..., :1])
            return joint[place]

        outputs = {}
        for name in tasks:
            place = self._position[name]
            given = self.given_places[place]
            if given < 0:
                outputs[name] = single[name]
            elif place in self.corrected_places:
                own = single[name]
                columns = [of(place), own[..., :1], of(given), own[..., 1:]]
                outputs[name] = torch.cat(columns, -1)
            else:
                outputs[name] = of(place)
        return outputs

    def _users(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return tasks and all that are given one of them, in the network's order."""
        reached = set(tasks)
        return tuple(
            name for name in self.task_names if not reached.isdisjoint(self._with_given((name,)))
        )

    def _reached(self, part: Part) -> Part:
        """Return a piece with every task whose loss reaches it by way of what it is given."""
        users = self._users(part.tasks)
        if users == part.tasks or set(users) == set(part.tasks):
            return part
        return replace(part, tasks=users, own=False)

    def put_first(self, layer: nn.Module) -> None:
        """Put a layer before all others, which all tasks share, such as `CategoryEmbeddings`.

        Args:
            layer: Maps the inputs to what the network took before.
        """
        self.input_layer = layer

    @abstractmethod
    def features(self, inputs: Any, tasks: Sequence[str]) -> Mapping[str, Any]:
        """Return what the head of each of `tasks` takes; the same object where it is shared."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """Return the pieces below the heads, each with the tasks whose losses reach it."""

    @overload
    def forward(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, grouped: Literal[False] = False
    ) -> dict[str, Tensor]: ...
    @overload
    def forward(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, grouped: Literal[True]
    ) -> dict[tuple[str, ...], Tensor]: ...
    def forward(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, grouped: bool = False
    ) -> dict[str, Tensor] | dict[tuple[str, ...], Tensor]:
        """Return the outputs of `tasks` (default: of all), computing no head of the others.

        Args:
            inputs: What the network takes, first dimension b.
            tasks: Names of the tasks wanted.
            grouped: Return the outputs as the heads compute them, which spares a view per task:
                the key of a group is the tuple of its tasks, the value their outputs stacked.

        Shape:
            returns: [b, o] for each task; if `grouped`, [b, t, o] for each key of t > 1 tasks.

        Raises:
            InvalidInputError: A task is unknown, or features do not fit a head.
        """
        names = self.task_names if tasks is None else tuple(tasks)
        if names != self.task_names:
            for name in names:
                self.index_of(name)
        # those of a sparse matrix, of a later room
        if hasattr(inputs, "dense_rows"):
            inputs = inputs.dense_rows()
        if self.input_layer is not None:
            inputs = self.input_layer(inputs)
        if self.linked:
            needed = self._with_given(names)
            of_heads = self.heads(self.features(inputs, needed), needed, inputs)
            linked = self._multiplied(ungroup(of_heads), names)
            if not grouped:
                return linked
            by_names: dict[tuple[str, ...], Tensor] = {(name,): linked[name] for name in names}
            return by_names
        outputs: dict[tuple[str, ...], Tensor] = self.heads(
            self.features(inputs, names), names, inputs
        )
        if grouped:
            return outputs
        single = ungroup(outputs)
        return {name: single[name] for name in names}

    def penalty(self, tasks: Sequence[str] | None = None) -> Tensor | None:
        """Return what the network itself adds to the loss of a step, None where it adds nothing.

        A training loop calls it once a step, between forward and the optimiser's step, and adds it
        to the loss (or calls ``backward`` on it: its graph is its own). It is no task's loss, so
        no balancer weighs it.

        Args:
            tasks: The tasks of the step; the other tasks' own parameters get no gradient from it.

        Shape:
            returns: [].
        """
        del tasks
        return None

    def loss(
        self,
        task: Task,
        output: Tensor,
        target: Tensor,
        *,
        complete: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the task's mean loss over the labelled rows, a scalar.

        Networks whose training output is not what `Task.loss` takes (ensembles) say here what
        their loss is.

        Args:
            task: The task.
            output: What the network gave for it.
            target: The targets, missing labels marked.
            complete: Promise that every row has a label, which saves the mask.
            weights: What each row's loss is multiplied by, [b]; it is given where rows weigh.
        """
        return task.loss(output, target, complete=complete, weights=weights)

    def losses(
        self,
        tasks: Mapping[str, Task],
        outputs: Mapping[tuple[str, ...], Tensor],
        targets: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
    ) -> tuple[tuple[str, ...], Tensor]:
        """Return the mean losses of all tasks at once: one masked loss for each group.

        Args:
            tasks: The tasks by name.
            outputs: What the network gave with ``grouped=True``.
            targets: Each task's targets, missing labels marked.
            weights: What each row's loss is multiplied by, [b] for each task; default 1.

        Shape:
            returns: the names of the tasks, and their losses, [t], in the same order.
        """
        names: list[str] = []
        losses: list[Tensor] = []
        for members, output in outputs.items():
            if len(members) == 1:
                (name,) = members
                names.append(name)
                task, target = tasks[name], targets[name]
                # weights are not named where there are none: a loss of one's own may take none
                loss = (
                    self.loss(task, output, target)
                    if weights is None
                    else self.loss(task, output, target, weights=weights[name])
                )
                losses.append(loss[None])
                continue
            of_group = [tasks[n] for n in members]
            for found, of_found in masked_losses(of_group, output, targets, weights):
                names.extend(found)
                losses.append(of_found)
        return tuple(names), losses[0] if len(losses) == 1 else torch.cat(losses)

    def all_parts(self) -> list[Part]:
        """Return all pieces, the heads included."""
        first = self.input_layer
        parts = [
            *([] if first is None else [Part(("input_layer",), self.task_names, first)]),
            *self.parts(),
            *(
                Part(("heads", name), (name,), *self.heads.piece(name), own=True)
                for name in self.task_names
            ),
        ]
        return [self._reached(part) for part in parts] if self.linked else parts

    def parameters_by_task(self) -> dict[str, list[nn.Parameter]]:
        """Return each task's own parameters: those that no other task's loss reaches."""
        own: dict[str, dict[int, nn.Parameter]] = {name: {} for name in self.task_names}
        users: dict[int, set[str | None]] = {}
        for part in self.all_parts():
            for parameter in part.all_parameters():
                users.setdefault(id(parameter), set()).update(part.tasks if part.own else (None,))
                if part.own:
                    own[part.tasks[0]][id(parameter)] = parameter
        return {
            name: [parameter for key, parameter in found.items() if users[key] == {name}]
            for name, found in own.items()
        }

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Return the parameters that belong to `task` alone.

        The parameters of a task in a group of heads are slices of the group's, see
        `GroupedLinear`.

        Raises:
            InvalidInputError: The network has no such task.
        """
        self.index_of(task)
        return self.parameters_by_task()[task]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that belong to no single task."""
        owned = {id(p) for own in self.parameters_by_task().values() for p in own}
        owned |= {id(p) for group in self.heads.groups for p in group.parameters()}
        return [p for p in self.parameters() if id(p) not in owned]

    def for_task(self, task: str) -> nn.Module:
        """Return a plain module for `task` alone, a copy without what only other tasks use.

        It maps inputs to exactly what ``network(inputs, [task])[task]`` gives, to the bit.

        Raises:
            InvalidInputError: The network has no such task.
        """
        self.index_of(task)
        network = copy.deepcopy(self)
        network._prune(task)
        return OneTask(network, task)

    def _prune(self, task: str) -> None:
        """Remove the pieces that the outputs of `task` do not depend on, in evaluation mode."""
        unused: set[int] = set()
        for part in self.parts():
            if task not in self._users(part.tasks):
                pieces = part.all_parameters() if part.module is None else (part.module,)
                unused.update(map(id, pieces))
        remove(self, unused)
        self.heads.prune(self._with_given((task,)))

    def describe(self) -> str:
        """Return a printable tree of the pieces: size, and which tasks share them.

        Examples:
            >>> from torch import nn
            >>> from jointrain.networks import HardSharing
            >>> heads = {"price": nn.Linear(4, 1), "kind": nn.Linear(4, 3)}
            >>> print(HardSharing(nn.Linear(8, 4), heads).describe())
            HardSharing: 2 tasks, 56 parameters, 36 of them shared
            ├─ trunk: Linear, 36 parameters, shared by all
            └─ heads
               ├─ price: Linear, 5 parameters, price alone
               └─ kind: Linear, 15 parameters, kind alone
        """
        total = sum(p.numel() for p in self.parameters())
        shared = sum(p.numel() for p in self.shared_parameters())
        count = len(self.task_names)
        lines = [
            f"{type(self).__name__}: {count} task{'s' if count > 1 else ''}, {total:,} parameters, "
            f"{shared:,} of them shared"
        ]
        common = {id(p) for p in self.shared_parameters()}
        root: dict[str, Any] = {}
        for part in self.all_parts():
            node = root
            for step in part.path[:-1]:
                node = node.setdefault(step, {})
            node[part.path[-1]] = self._describe_part(part, common)
        lines.extend(_tree(root, ""))
        return "\n".join(lines)

    def _describe_part(self, part: Part, common: set[int]) -> str:
        size = sum(p.numel() for p in part.all_parameters())
        kind = f"{type(part.module).__name__}, " if part.module is not None else ""
        if part.parameters is not None and part.module is not None:
            kind = f"slice of {type(part.module).__name__}, "
        if part.own:
            users = f"{part.tasks[0]} alone"
            tied = sum(p.numel() for p in part.all_parameters() if id(p) in common)
            if tied:
                users += f" but for {tied:,}"
        elif set(part.tasks) == set(self.task_names):
            users = "shared by all"
        else:
            users = f"shared by {', '.join(part.tasks)}"
        return f"{kind}{size:,} parameter{'' if size == 1 else 's'}, {users}"

    def index_of(self, task: str) -> int:
        """Return the position of `task`.

        Raises:
            InvalidInputError: The network has no such task.
        """
        if task not in self._position:
            known = ", ".join(map(repr, self.task_names[:_SIBLINGS]))
            more = ", ..." if len(self.task_names) > _SIBLINGS else ""
            raise InvalidInputError(
                f"the network has no task {task!r}{closest(task, self.task_names)}; "
                f"it has {known}{more}"
            )
        return self._position[task]

    @contextmanager
    def others_kept(self, tasks: Sequence[str], optimizers: Iterable[Optimizer]) -> Iterator[None]:
        """Keep the heads of all tasks but `tasks` as they are while optimisers step.

        Grouped heads are one parameter, which an optimiser moves as a whole: its momentum and
        weight decay would move the heads of tasks that are not in the step. Within this context
        they, and the optimisers' state for them, stay as they were, as with separate heads.

        Args:
            tasks: The tasks of the step.
            optimizers: Those that step within the context.
        """
        with self.heads.others_kept(tasks, list(optimizers)):
            yield


class OneTask(nn.Module):
    """One task of a network: maps inputs to that task's output.

    Args:
        network: The network.
        task: The task's name.
    """

    def __init__(self, network: Network, task: str) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.train(network.training)

    def forward(self, inputs: Any) -> Tensor:
        """Return the task's output, [b, o]."""
        outputs: dict[str, Tensor] = self.network(inputs, (self.task,))
        return outputs[self.task]


class Unused(nn.Module):
    """Stands where `Network.for_task` removed a piece."""


def remove(network: nn.Module, unused: set[int]) -> None:
    """Put `Unused` in the place of the modules, and nothing in that of the parameters, by id."""
    for module in list(network.modules()):
        for name, child in list(module._modules.items()):
            if id(child) in unused:
                module._modules[name] = Unused()
        for name, parameter in list(module._parameters.items()):
            if id(parameter) in unused:
                module._parameters[name] = nn.Parameter(torch.empty(0))


def ungroup(outputs: Mapping[tuple[str, ...], Tensor]) -> dict[str, Tensor]:
    """Return the outputs by task, views of the groups' tensors.

    Shape:
        outputs: [b, t, o] for t > 1 tasks, [b, o] for one. returns: [b, o] each.
    """
    single: dict[str, Tensor] = {}
    for names, output in outputs.items():
        if len(names) == 1:
            single[names[0]] = output
        else:
            single.update(zip(names, output.unbind(-2), strict=True))
    return single


def _tree(node: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    entries = list(node.items())
    hidden = len(entries) - _SIBLINGS if len(entries) > _SIBLINGS + 1 else 0
    if hidden:
        entries = [*entries[:_SIBLINGS], ("...", f"{hidden} more of this kind")]
    for position, (name, content) in enumerate(entries):
        last = position + 1 == len(entries)
        lines.append(f"{indent}{'└─' if last else '├─'} {name}")
        if isinstance(content, str):
            lines[-1] += f": {content}"
        else:
            lines.extend(_tree(content, indent + ("   " if last else "│  ")))
    return lines
