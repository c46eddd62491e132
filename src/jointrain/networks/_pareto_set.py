"""A Pareto set in one network: low-rank changes of its layers, mixed by a preference."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._network import Network, Part
from jointrain.networks._table_settings import MLPSettings, Rank
from jointrain.task import Task

Preference = Mapping[str, float] | Sequence[float]
"""How much each task counts: by name, or in the order of the tasks."""


class _Current:
    """The preference that the trunk is computed for; one object for all layers of a network."""

    def __init__(self) -> None:
        self.preference: Tensor | None = None


class PreferredLinear(nn.Module):
    r"""A linear layer changed by a preference: :math:`W x + b + \frac{\alpha}{r} \sum_i \lambda_i
    B_i A_i x`.

    Args:
        layer: The layer.
        tasks: Their number, t.
        rank: r.
        scale: :math:`\alpha`.
        current: Says the preference :math:`\lambda`, [t].
    """  # noqa: D205

    def __init__(
        self, layer: nn.Linear, tasks: int, *, rank: int, scale: float, current: _Current
    ) -> None:
        super().__init__()
        self.layer = layer
        self.rank = rank
        self.factor = scale / rank
        self.current = current
        new = layer.weight.new_empty
        self.down = nn.Parameter(new(tasks * rank, layer.in_features))
        self.up = nn.Parameter(layer.weight.new_zeros(layer.out_features, tasks * rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for the preference."""
        preference = self.current.preference
        if preference is None:
            raise InvalidInputError(
                "a layer of a Pareto set is computed outside its network, which says for which "
                "preference; call the network, and leave out activation checkpointing"
            )
        mixed = preference.to(x).repeat_interleave(self.rank)
        change = functional.linear(mixed * functional.linear(x, self.down), self.up)
        output: Tensor = self.layer(x) + self.factor * change
        return output


class ParetoSet(Network):
    r"""All trade-offs between the tasks in one network: choose a preference when you predict.

    Each linear layer of the shared trunk is

    .. math:: y = W x + b + \frac{\alpha}{r} \sum_i \lambda_i B_i A_i x, \qquad
        A_i \in R^{r \times d}, B_i \in R^{o \times r},

    with a preference :math:`\lambda` on the simplex. In training each forward pass draws one from
    a symmetric Dirichlet distribution, and the loss of task i counts :math:`t \lambda_i` times; so
    it takes no balancer of its own. In evaluation it is what `prefer` says, equal shares at first.
    B starts at 0.

    Args:
        trunk: Any module with ``nn.Linear`` layers. The network holds a copy.
        heads: Each task's head; they have no adapters.
        rank: r >= 1; default 4.
        scale: :math:`\alpha` > 0; default 4, which makes the factor 1.
        concentration: Of the Dirichlet distribution, > 0; below 1 the corners are likelier.
            Default 1: all preferences are as likely.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: No layer of the trunk is linear, or a number is out of range.

    Cost: one pass through the trunk for all tasks, and t r (d + o) more multiplications a row and
        layer.

    Source: Dimitriadis, Frossard, Fleuret, "Pareto Low-Rank Adapters: Efficient Multi-Task Learning
        with Preferences", ICLR 2025, https://arxiv.org/abs/2407.08056, as in the authors' code;
        Chen, Kwok, "Efficient Pareto Manifold Learning with Low-Rank Structure", ICML 2024, has
        the same form. Written anew.
    Differs from the source: preferences are drawn at random, one a step, where the authors have a
        schedule of some that spreads out as training goes on; linear layers alone have adapters;
        scale 4 (theirs 1, at the same rank).

    Examples:
        >>> import torch
        >>> network = ParetoSet(nn.Linear(8, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)})
        >>> network.prefer({"a": 3, "b": 1})
        >>> network.preference.tolist()
        [0.75, 0.25]
        >>> {name: tuple(y.shape) for name, y in network.eval()(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "pareto-set"
    summary = "all trade-offs in one trunk: choose a preference to predict"

    preference: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        heads: Mapping[str, nn.Module],
        *,
        rank: int = 4,
        scale: float = 4.0,
        concentration: float = 1.0,
    ) -> None:
        super().__init__(heads)
        if rank < 1:
            raise InvalidInputError(f"`rank` must be at least 1, got {rank}")
        for name, number in (("scale", scale), ("concentration", concentration)):
            if not 0 < number < math.inf:
                raise InvalidInputError(f"`{name}` must be positive, got {number}")
        self.concentration = concentration
        self.register_buffer("preference", torch.full((len(heads),), 1.0 / len(heads)))
        self.drawn: Tensor | None = None
        self.current = _Current()
        holder = nn.Module()
        holder.trunk = copy.deepcopy(trunk)
        layers = [name for name, one in holder.named_modules() if isinstance(one, nn.Linear)]
        if not layers:
            raise InvalidInputError(
                f"{type(trunk).__name__} has no nn.Linear layer; a Pareto set needs one"
            )
        for name in layers:
            path, _, last = name.rpartition(".")
            layer = holder.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            changed = PreferredLinear(
                layer, len(heads), rank=rank, scale=scale, current=self.current
            )
            setattr(holder.get_submodule(path), last, changed)
        self.trunk: nn.Module = holder.trunk

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        rank: Rank = 4,
        scale: float = 4.0,
        concentration: float = 1.0,
    ) -> ParetoSet:
        """Return one whose trunk is an MLP."""
        trunk, heads = mlp.trunk(in_features), mlp.heads(tasks)
        return cls(trunk, heads, rank=rank, scale=scale, concentration=concentration)

    def prefer(self, preference: Preference) -> None:
        """Choose the trade-off that is predicted from now on; it is saved with the weights.

        Args:
            preference: How much each task counts, >= 0, by name or in the order of the tasks; only
                the shares matter.

        Raises:
            InvalidInputError: It is all zero, has a negative entry, or does not fit the tasks.
        """
        shares = checked_preference(preference, self.task_names)
        self.preference.copy_(torch.tensor([shares[name] for name in self.task_names]))

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what the trunk gives for the preference."""
        if self.training:
            weights = torch.full((len(self.task_names),), self.concentration)
            self.drawn = torch.distributions.Dirichlet(weights, validate_args=False).sample()
        self.current.preference = self.drawn if self.training else self.preference
        try:
            return dict.fromkeys(tasks, self.trunk(inputs))
        finally:
            self.current.preference = None

    def loss(
        self,
        task: Task,
        output: Tensor,
        target: Tensor,
        *,
        complete: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the task's mean loss, in training as often as the drawn preference says."""
        loss = super().loss(task, output, target, complete=complete, weights=weights)
        if not self.training or self.drawn is None:
            return loss
        share = self.drawn[self.index_of(task.name)]
        return len(self.drawn) * share.to(loss) * loss

    def parts(self) -> list[Part]:
        """Return the trunk, adapters included: every task reaches all of them."""
        return [Part(("trunk",), self.task_names, self.trunk)]


def checked_preference(preference: Preference, task_names: Sequence[str]) -> dict[str, float]:
    """Return the shares of the tasks, which sum to 1.

    Raises:
        InvalidInputError: It is all zero, has an entry that is negative or no number, or does not
            fit the tasks.
    """
    names = ", ".join(map(repr, task_names))
    if isinstance(preference, Mapping):
        given = {str(name): number for name, number in preference.items()}
        for name in given:
            if name not in task_names:
                raise InvalidInputError(
                    f"the preference has an entry for {name!r}{closest(name, task_names)}; the "
                    f"tasks are {names}"
                )
        for name in task_names:
            if name not in given:
                raise InvalidInputError(f"the preference lacks {name!r}; the tasks are {names}")
    else:
        numbers = list(preference)
        if len(numbers) != len(task_names):
            raise InvalidInputError(
                f"the preference must have one number per task, {len(task_names)} ({names}), got "
                f"{len(numbers)}"
            )
        given = dict(zip(task_names, numbers, strict=True))
    for name, number in given.items():
        if (
            isinstance(number, bool)
            or not isinstance(number, (int, float))
            or not (0 <= number < math.inf)
        ):
            raise InvalidInputError(
                f"the preference for {name!r} must be a number of at least 0, got {number!r}"
            )
    total = math.fsum(given.values())
    if not 0 < total < math.inf:
        raise InvalidInputError(
            f"the preference must have an entry above zero, got {list(given.values())}"
        )
    return {name: given[name] / total for name in task_names}
