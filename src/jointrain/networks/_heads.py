"""Heads: each task's own last layers; many alike are computed as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW, Optimizer

from jointrain.errors import InvalidInputError
from jointrain.networks._mlp import MLP
from jointrain.networks._plain_modules import why_not_plain

GROUP_FROM = 16
"""From how many alike heads one group is faster than separate ones, see `GroupedLinear`."""


_ROW_STEPS = "row_steps"
"""Under which name an optimiser's state holds the steps that each row of a group has made."""


class TaskSlice(nn.Parameter):
    """One task's share of a parameter of a group: same memory, and the gradient's slice.

    An optimiser may hold it, which then moves this task's share alone. The graph does not know
    it: `torch.autograd.grad` takes the group's parameter.
    """

    _owner: nn.Parameter
    _index: int

    @staticmethod
    def of(owner: nn.Parameter, index: int) -> TaskSlice:
        """Return the share of task number `index` in `owner`."""
        share: TaskSlice = torch.Tensor._make_subclass(
            TaskSlice, owner.data[index], owner.requires_grad
        )
        share._owner, share._index = owner, index
        return share

    @property
    def owner(self) -> nn.Parameter:
        """The group's parameter."""
        return self._owner

    @property
    def grad(self) -> Tensor | None:
        """The slice of the group's gradient; writing to it writes there."""
        whole = self._owner.grad
        return None if whole is None else whole[self._index]

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        whole = self._owner.grad
        if value is not None:
            if whole is None:
                whole = self._owner.grad = torch.zeros_like(self._owner)
            whole[self._index] = value
        elif whole is not None:
            whole[self._index] = 0


class GroupedLinear(nn.Module):
    r"""Linear heads of many tasks on the same features, as one matrix product.

    Output of task i: :math:`W_i f + b_i`, with W [t, o, d] and b [t, o] one parameter each. With a
    parameter per task, 1000 heads cost 38 ms a step (trunk 1024 -> 512 -> 256, batch 256, AdamW,
    one core): 9 ms go into 2000 gradients and 10 ms into 2000 parameters of the optimiser, even if
    the product is one. As one parameter the step takes 16 ms. So the group holds one parameter, and
    a task's share of it can be had as `slices`.

    Args:
        heads: The layers whose weights the group takes over, a copy; all of one size.

    Shape:
        forward: [..., d] -> [..., t, o]; with one row [..., o].

    Cost: one product of [b, d] by [d, t o]; rows in part copy their weights.

    Differs from separate layers: an optimiser with momentum or weight decay moves all tasks' heads,
        also those without a gradient (`Network.others_kept` prevents it); freezing one task's
        slice by ``requires_grad_(False)`` has no effect; a loss that is not finite spoils the
        gradients of the whole group, also if the balancer skips the task.
    """

    def __init__(self, heads: Sequence[nn.Linear]) -> None:
        super().__init__()
        first = heads[0]
        self.in_features, self.out_features = first.in_features, first.out_features
        grad = first.weight.requires_grad
        self.weight = nn.Parameter(torch.stack([head.weight.detach() for head in heads]), grad)
        self.bias: nn.Parameter | None = None
        if first.bias is not None:
            self.bias = nn.Parameter(torch.stack([head.bias.detach() for head in heads]), grad)
        self._slices: dict[int, tuple[nn.Parameter, ...]] = {}

    def forward(self, features: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return the outputs of the tasks in `rows` (default: all)."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if rows is not None and len(rows) == 1:
            (row,) = rows
            return functional.linear(features, weight[row], None if bias is None else bias[row])
        if rows is not None:
            index = torch.tensor(rows, device=weight.device)
            weight = weight.index_select(0, index)
            bias = None if bias is None else bias.index_select(0, index)
        flat = functional.linear(
            features, weight.flatten(0, 1), None if bias is None else bias.flatten()
        )
        return torch.unflatten(flat, -1, (-1, self.out_features))

    def slices(self, row: int) -> tuple[nn.Parameter, ...]:
        """Return the weight [o, d] and the bias [o] of one task; the same objects each time."""
        owners = [p for p in (self.weight, self.bias) if p is not None]
        kept = self._slices.get(row)
        if kept is None:
            kept = self._slices[row] = tuple(TaskSlice.of(owner, row) for owner in owners)
        for share, owner in zip(kept, owners, strict=True):
            current = owner.data[row]
            # the group may have moved to another device or type since
            if share.data_ptr() != current.data_ptr() or share.dtype != current.dtype:
                share.data = current
        return kept

    def linear(self, row: int) -> nn.Linear:
        """Return one task's head as a layer of its own, a copy."""
        layer = nn.Linear(
            self.in_features, self.out_features, bias=self.bias is not None,
            device=self.weight.device, dtype=self.weight.dtype,
        )  # fmt: skip
        with torch.no_grad():
            layer.weight.copy_(self.weight[row])
            if self.bias is not None:
                layer.bias.copy_(self.bias[row])
        return layer.requires_grad_(self.weight.requires_grad)

    def extra_repr(self) -> str:
        """Return the sizes, for printing."""
        return f"tasks={len(self.weight)}, in={self.in_features}, out={self.out_features}"

    def __getstate__(self) -> dict[str, Any]:
        # a copy makes slices of its own memory
        return {**self.__dict__, "_slices": {}}

    @contextmanager
    def others_kept(self, rows: Sequence[int], optimizers: Sequence[Optimizer]) -> Iterator[None]:
        """Keep all rows but the given ones, and the optimisers' state for them, as they are.

        Optimisers of the Adam family correct their averages by the number of steps, of which each
        row has its own; it is kept beside the optimiser's state. Rows of one step that have made
        different numbers of steps are corrected each by its own in Adam and AdamW, and by the
        smallest in others.
        """
        if not rows:
            # a gradient of zeros, as of losses that were left out, would let momentum go on
            for parameter in self.parameters():
                parameter.grad = None
        if all(parameter.grad is None for parameter in self.parameters()):
            yield
            return
        states = self._states(optimizers)
        if len(rows) == len(self.weight) and not any(_ROW_STEPS in state for _, state in states):
            yield
            return
        apart = self._counted(rows, states, optimizers)
        before = {
            id(tensor): tensor.clone()
            for tensor in (*self.parameters(), *_of_rows(states))
        }  # fmt: skip
        yield
        states = self._states(optimizers)
        with torch.no_grad():
            for moved, state, group in apart:
                _correct_by_row(moved, before[id(moved)], state, group)
            for tensor in (*self.parameters(), *_of_rows(states)):
                # what the step itself has made begins with zeros
                kept = before.get(id(tensor), torch.zeros_like(tensor))
                kept[list(rows)] = tensor[list(rows)]
                tensor.copy_(kept)
        for _, state in states:
            if isinstance(state.get("step"), Tensor):
                none = torch.zeros_like(state["step"]).repeat(len(self.weight))
                state.setdefault(_ROW_STEPS, none)[list(rows)] += 1

    def _counted(
        self,
        rows: Sequence[int],
        states: Sequence[tuple[Tensor, dict[str, Any]]],
        optimizers: Sequence[Optimizer],
    ) -> list[tuple[Tensor, dict[str, Any], dict[str, Any]]]:
        """Let optimisers correct by the number of steps of the rows.

        Returns:
            What is then to be corrected row by row: a parameter, its state and its options.
        """
        apart = []
        for parameter, state in states:
            if isinstance(state.get("step"), Tensor):
                made = state["step"].detach().repeat(len(self.weight))
                of_rows = state.setdefault(_ROW_STEPS, made)[list(rows)]
                group = _adam_group(parameter, optimizers)
                last = of_rows.amin() if group is None else of_rows.amax()
                state["step"].copy_(last)
                if group is not None and bool((of_rows < last).any()):
                    apart.append((parameter, state, group))
        return apart

    def _states(self, optimizers: Sequence[Optimizer]) -> list[tuple[Tensor, dict[str, Any]]]:
        """Return what the optimisers hold of each parameter."""
        return [
            (parameter, optimizer.state[parameter])
            for optimizer in optimizers
            for parameter in self.parameters()
            if parameter in optimizer.state
        ]


def _of_rows(states: Sequence[tuple[Tensor, dict[str, Any]]]) -> list[Tensor]:
    """Return the tensors of an optimiser's state that have an entry for each weight."""
    return [
        value
        for parameter, state in states
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    ]


def _adam_group(parameter: Tensor, optimizers: Sequence[Optimizer]) -> dict[str, Any] | None:
    """Return the options by which Adam or AdamW moves a parameter; None if neither does."""
    for optimizer in optimizers:
        if parameter in optimizer.state and isinstance(optimizer, (Adam, AdamW)):
            for group in optimizer.param_groups:
                if any(one is parameter for one in group["params"]) and not group["amsgrad"]:
                    return {"decoupled_weight_decay": isinstance(optimizer, AdamW)} | group
    return None


def _correct_by_row(
    parameter: Tensor, before: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]
) -> None:
    """Give each row of a parameter the step of Adam that its own number of steps makes of it.

    Args:
        parameter: As a step has left it that corrected the averages of all rows by the same number.
        before: As it was before.
        state: What Adam holds of it.
        group: Its options.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1;
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """
    rate, eps, (first, second) = group["lr"], group["eps"], group["betas"]
    if group["decoupled_weight_decay"]:
        before = before * (1 - rate * group["weight_decay"])
    taken = state["step"].double()
    own = state[_ROW_STEPS].double() + 1
    root = state["exp_avg_sq"].sqrt()
    rooted, rooted_own = (1 - second**taken).sqrt(), (1 - second**own).sqrt()
    factor = (rooted_own * (1 - first**taken) / (rooted * (1 - first**own))).to(root.dtype)
    shape = (-1, *[1] * (parameter.ndim - 1))
    ratio = (root + eps * rooted.to(root.dtype)) / (
        root + eps * rooted_own.to(root.dtype).view(shape)
    )
    corrected = before + (parameter - before) * factor.view(shape) * ratio
    parameter.copy_(torch.where((own < taken).view(shape), corrected, parameter))


class TaskHeads(nn.Module):
    """The heads of a network's tasks; linear ones of one size on shared features are grouped.

    Args:
        heads: The heads by task name.
        beside: Other modules that may hold the same parameters as a head.
        group_from: Size from which linear heads of one size become a group; None groups none.

    Raises:
        InvalidInputError: A head is not a module.
    """

    def __init__(
        self,
        heads: Mapping[str, nn.Module],
        *,
        beside: Iterable[nn.Module] = (),
        group_from: int | None = None,
    ) -> None:
        super().__init__()
        for name, head in heads.items():
            if not isinstance(head, nn.Module):
                raise InvalidInputError(
                    f"the head of task {name!r} must be a torch module, got "
                    f"{type(head).__name__}; give for example nn.Linear(features, outputs)"
                )
        self._single: dict[str, int] = {}
        self._grouped: dict[str, tuple[int, int]] = {}
        self._members: list[tuple[str, ...]] = []
        # lists, not a ModuleDict: task names are column names, which may hold dots or clash
        self.layers = nn.ModuleList()
        self.groups = nn.ModuleList()
        for names in _alike(heads, beside, group_from):
            rows = [heads[name] for name in names]
            self._grouped.update((name, (len(self.groups), row)) for row, name in enumerate(names))
            self._members.append(names)
            self.groups.append(GroupedLinear([row for row in rows if isinstance(row, nn.Linear)]))
        for name, head in heads.items():
            if name not in self._grouped:
                self._single[name] = len(self.layers)
                self.layers.append(head)

    def forward(
        self, features: Mapping[str, Any], tasks: Sequence[str], inputs: Any
    ) -> dict[tuple[str, ...], Tensor]:
        """Return the outputs of `tasks`: [b, o] under a key of one name, [b, t, o] under t."""
        outputs: dict[tuple[str, ...], Tensor] = {}
        wanted: dict[int, list[str]] = {}
        everyone = len(self.groups) == 1 and self._members[0] == tuple(tasks)
        if everyone:
            wanted[0] = list(tasks)
        layers = list(self.layers)
        for name in () if everyone else tasks:
            if name in self._single:
                head = layers[self._single[name]]
                of_task = features[name]
                if (
                    type(head) is nn.Linear
                    and isinstance(of_task, Tensor)
                    and of_task.shape[-1] == head.in_features
                ):
                    outputs[name,] = head(of_task)
                    continue
                _check_fit(name, head, features[name])
                if getattr(head, "takes_inputs", False):
                    outputs[name,] = head(features[name], inputs)
                else:
                    outputs[name,] = head(features[name])
            else:
                wanted.setdefault(self._grouped[name][0], []).append(name)
        for index, names in wanted.items():
            group = self.groups[index]
            members = tuple(names)
            _check_fit(members[0], group, features[members[0]])
            whole = members == self._members[index]
            rows = None if whole else [self._grouped[name][1] for name in members]
            outputs[members] = group(features[members[0]], rows)
        return outputs

    def piece(self, task: str) -> tuple[nn.Module, tuple[nn.Parameter, ...] | None]:
        """Return the module that holds the task's head, and its parameters if they are slices."""
        if task in self._single:
            return self.layers[self._single[task]], None
        index, row = self._grouped[task]
        group = self.groups[index]
        assert isinstance(group, GroupedLinear)
        return group, group.slices(row)

    def tasks_of_groups(self) -> dict[int, tuple[str, ...]]:
        """Return the tasks in the order of their rows by the `id` of each group's parameter."""
        return {
            id(parameter): members
            for group, members in zip(self.groups, self._members, strict=True)
            for parameter in group.parameters()
        }

    def slices_of_groups(self) -> dict[int, tuple[nn.Parameter, ...]]:
        """Return the slices of each group's parameter by its `id`, in the order of the rows."""
        found = {}
        for group, members in zip(self.groups, self._members, strict=True):
            assert isinstance(group, GroupedLinear)
            rows = [group.slices(row) for row in range(len(members))]
            for parameter, slices in zip(group.parameters(), zip(*rows, strict=True), strict=True):
                found[id(parameter)] = slices
        return found

    def prune(self, tasks: Sequence[str]) -> None:
        """Keep the heads of `tasks` alone, each by itself."""
        heads = [self._separate(task) for task in tasks]
        self._single = {task: place for place, task in enumerate(tasks)}
        self._grouped, self._members = {}, []
        self.layers, self.groups = nn.ModuleList(heads), nn.ModuleList()

    def separate(self) -> None:
        """Turn grouped heads into separate ones, copies."""
        if len(self.groups):
            self.prune([*self._single, *self._grouped])

    def _separate(self, task: str) -> nn.Module:
        if task in self._single:
            return self.layers[self._single[task]]
        index, row = self._grouped[task]
        group = self.groups[index]
        assert isinstance(group, GroupedLinear)
        return group.linear(row).train(group.training)

    @contextmanager
    def others_kept(self, tasks: Sequence[str], optimizers: Sequence[Optimizer]) -> Iterator[None]:
        """Keep the grouped heads of all tasks but `tasks` as they are; see `Network`."""
        with ExitStack() as stack:
            present = set(tasks)
            for group, members in zip(self.groups, self._members, strict=True):
                rows = [row for row, name in enumerate(members) if name in present]
                assert isinstance(group, GroupedLinear)
                stack.enter_context(group.others_kept(rows, optimizers))
            yield


def _alike(
    heads: Mapping[str, nn.Module], beside: Iterable[nn.Module], group_from: int | None
) -> list[tuple[str, ...]]:
    """Return the tasks whose heads can be one: plain linear layers of one size, nothing tied."""
    if group_from is None or len(heads) < max(group_from, 2):
        return []
    holders: dict[int, int] = {}
    for module in (*beside, *heads.values()):
        for parameter in module.parameters():
            holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    found: dict[object, list[str]] = {}
    for name, head in heads.items():
        if type(head) is not nn.Linear or why_not_plain(head) is not None:
            continue
        if any(holders[id(parameter)] > 1 for parameter in head.parameters()):
            continue
        if len({parameter.requires_grad for parameter in head.parameters()}) > 1:
            continue
        weight = head.weight
        size = (weight.shape, head.bias is None, weight.dtype, weight.device, weight.requires_grad)
        found.setdefault(size, []).append(name)
    return [tuple(names) for names in found.values() if len(names) >= max(group_from, 2)]


def _check_fit(task: str, head: nn.Module, features: Any) -> None:
    first = head
    # a subclass may take other features than its first layer
    while isinstance(first, nn.Sequential) and type(first) in (nn.Sequential, MLP) and len(first):
        first = first[0]
    if type(first) not in (nn.Linear, GroupedLinear) or not isinstance(features, Tensor):
        return
    if features.shape[-1] != first.in_features and why_not_plain(head) is None:
        raise InvalidInputError(
            f"the head of task {task!r} takes [b, {first.in_features}], but the layers below it "
            f"give {described(features)}; make the head's in_features {features.shape[-1]}"
        )


def described(tensor: Tensor) -> str:
    """Return a batch's shape in words: ``[b, 3, 8]``."""
    return f"[{', '.join(['b', *map(str, tensor.shape[1:])])}]"
