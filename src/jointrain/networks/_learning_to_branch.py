"""Learning to branch: where tasks part is learned with the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks._network import Network, Part, remove
from jointrain.networks._stages import Trunk, copies, cut, refuse_tied
from jointrain.networks._table_settings import Count, MLPSettings, Steps
from jointrain.task import Task


class LearningToBranch(Network):
    r"""A tree of layers that is learned: each node chooses one parent in the stage below.

    Stage l has several nodes, copies of one layer. In training, node i draws its parent j with
    probabilities :math:`\mathrm{softmax}(\theta_i)`; the draw is made differentiable by the
    straight-through Gumbel-softmax, with Gumbel noise :math:`\epsilon` and temperature
    :math:`\tau`:

    .. math::
        d_{ij} = \frac{\exp((\log p_{ij} + \epsilon_{ij}) / \tau)}
                      {\sum_k \exp((\log p_{ik} + \epsilon_{ik}) / \tau)},
        \qquad x_i = \sum_j [j = \arg\max_k d_{ik}]\, y_j .

    In evaluation each node takes its most probable parent, and only the chosen nodes are computed.

    Args:
        trunk: A trunk, whose stages become the nodes, or its stages as a list.
        heads: Each task's head, which chooses a node of the last stage.
        split_at: The layers with which new stages begin; see `cut`.
        nodes: How many nodes a stage has: one number, or one a stage; default the number of tasks.
        temperature: :math:`\tau` at the start and at the end; default (5, 0.5).
        anneal_steps: Training steps over which :math:`\tau` falls geometrically; default 1000.
        warm_up: Training steps at the start in which parents are drawn evenly and only weights are
            learned; default 100.
        reinitialize: Draw new weights for the copies; default True.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: A number is out of range, or a layer is unknown.

    State: the buffer ``steps`` counts forward passes in training; draws come from torch's random
        state.
    Cost: in training all nodes; in evaluation the nodes of the learned tree.

    Source: Guo, Lee & Ulbricht, "Learning to Branch for Multi-Task Learning", ICML 2020, eqs. 1 to
        5. Written from the paper.
    Differs from the source: the learned tree is used as it is (theirs is trained again from
        scratch: export it with `branches`); annealing and warm-up count steps, with defaults of our
        own.

    Examples:
        >>> stages = [nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 4))]
        >>> network = LearningToBranch(stages, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}).eval()
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "branch"
    summary = "a tree of layers, whose branches are learned"

    steps: Tensor

    def __init__(
        self,
        trunk: Trunk,
        heads: Mapping[str, nn.Module],
        *,
        split_at: str | Sequence[str] | None = None,
        nodes: int | Sequence[int] | None = None,
        temperature: tuple[float, float] = (5.0, 0.5),
        anneal_steps: int = 1000,
        warm_up: int = 100,
        reinitialize: bool = True,
    ) -> None:
        super().__init__(heads)
        stages = cut(trunk, split_at)
        counts = nodes if isinstance(nodes, Sequence) else [nodes or len(heads)] * len(stages)
        if len(counts) != len(stages) or min(counts) < 1:
            raise InvalidInputError(
                f"`nodes` must be at least 1 for each of the {len(stages)} stages, got {nodes}"
            )
        if not min(temperature) > 0:
            raise InvalidInputError(f"`temperature` must be positive, got {temperature}")
        if anneal_steps < 1 or warm_up < 0:
            raise InvalidInputError(
                f"`anneal_steps` must be at least 1 and `warm_up` at least 0, got {anneal_steps} "
                f"and {warm_up}"
            )
        if max(counts) > 1:
            refuse_tied(stages, heads.values())
        self.temperature = temperature
        self.anneal_steps = anneal_steps
        self.warm_up = warm_up
        self.nodes = nn.ModuleList(
            nn.ModuleList(copies(stage, count, reinitialize=reinitialize))
            for stage, count in zip(stages, counts, strict=True)
        )
        # choices[l][i]: how node i of stage l + 1 rates the nodes of stage l; last, the heads'
        children = [*counts[1:], len(heads)]
        self.choices = nn.ModuleList(
            nn.ParameterList(nn.Parameter(torch.zeros(below)) for _ in range(above))
            for below, above in zip(counts, children, strict=True)
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._kept: dict[str, tuple[int, ...]] = {}

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        nodes: Count | None = None,
        anneal_steps: Steps = 1000,
        warm_up: Steps = 100,
    ) -> LearningToBranch:
        """Return one of the layers of an MLP."""
        trunk, heads = mlp.stages(in_features), mlp.heads(tasks)
        return cls(trunk, heads, nodes=nodes, anneal_steps=anneal_steps, warm_up=warm_up)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what the node chosen by each task gives."""
        wanted = [self.index_of(name) for name in tasks]
        if self.training:
            return dict(zip(tasks, self._draw(inputs, wanted), strict=True))
        return self._follow(inputs, tasks)

    def _draw(self, inputs: Any, wanted: Sequence[int]) -> list[Tensor]:
        activations: list[Any] | None = None
        temperature = self._temperature()
        for level, (row, choices) in enumerate(zip(self.nodes, self.choices, strict=True)):
            assert isinstance(row, nn.ModuleList)
            assert isinstance(choices, nn.ParameterList)
            below = activations or [inputs] * len(row)
            outputs = torch.stack([node(x) for node, x in zip(row, below, strict=True)])
            last = level + 1 == len(self.nodes)
            logits = [choices[i] for i in (wanted if last else range(len(choices)))]
            drawn = self._sample(torch.stack(logits), temperature)  # [children, parents]
            activations = list(torch.einsum("cp,p...->c...", drawn, outputs).unbind())
        self.steps += 1
        assert activations is not None
        return activations

    def _sample(self, logits: Tensor, temperature: Tensor) -> Tensor:
        # the same chance for all while warming up, and no gradient into the choice
        logits = torch.where(self.steps < self.warm_up, torch.zeros_like(logits), logits)
        noise = -torch.empty_like(logits).exponential_().log()
        soft = ((logits.log_softmax(-1) + noise) / temperature).softmax(-1)
        hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        return hard + (soft - soft.detach())

    def _temperature(self) -> Tensor:
        start, end = self.temperature
        progress = ((self.steps - self.warm_up) / self.anneal_steps).clamp(0, 1)
        return start * (progress * math.log(end / start)).exp()

    def _follow(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        outputs: dict[tuple[int, int], Any] = {}
        result = {}
        for name in tasks:
            x = inputs
            for level, node in enumerate(self._path(name)):
                if (level, node) not in outputs:
                    row = self.nodes[level]
                    assert isinstance(row, nn.ModuleList)
                    outputs[level, node] = row[node](x)
                x = outputs[level, node]
            result[name] = x
        return result

    def branches(self) -> dict[str, tuple[int, ...]]:
        """Return the learned tree: the node of each stage, from the first, on each task's path."""
        return {name: self._path(name) for name in self.task_names}

    def keep_branches(self) -> None:
        """Keep the tree as it is now, whatever the choices become.

        An exporter traces the network without values, so it can't look for the largest one.
        """
        self._kept = self.branches()

    def _path(self, task: str) -> tuple[int, ...]:
        if task in self._kept:
            return self._kept[task]
        path: list[int] = []
        child = self.index_of(task)
        for choices in reversed(self.choices):
            assert isinstance(choices, nn.ParameterList)
            child = int(choices[child].argmax())
            path.append(child)
        return tuple(reversed(path))

    def parts(self) -> list[Part]:
        """Return the nodes and their choices, reached by all, and each head's choice."""
        parts: list[Part] = []
        for level, row in enumerate(self.nodes):
            assert isinstance(row, nn.ModuleList)
            parts.extend(
                Part((f"stage {level}", f"node {i}"), self.task_names, node)
                for i, node in enumerate(row)
            )
            choices = self.choices[level]
            assert isinstance(choices, nn.ParameterList)
            last = level + 1 == len(self.nodes)
            for i, choice in enumerate(choices):
                users = (self.task_names[i],) if last else self.task_names
                label = f"choice of {self.task_names[i]}" if last else f"choice of node {i} above"
                parts.append(Part((f"stage {level}", label), users, parameters=(choice,), own=last))
        return parts

    def _prune(self, task: str) -> None:
        path = self._path(task)
        unused = {
            id(node)
            for level, row in enumerate(self.nodes)
            if isinstance(row, nn.ModuleList)
            for i, node in enumerate(row)
            if i != path[level]
        }
        super()._prune(task)
        remove(self, unused)
        self.eval()
