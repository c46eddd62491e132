"""What every network offers: outputs by task, and who owns which parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from jointrain.errors import InvalidInputError, closest


class Network(nn.Module, ABC):
    """Maps inputs to ``{task: output}`` and knows which parameters are shared.

    Args:
        task_names: Names of the tasks, in the order of the outputs.

    Raises:
        InvalidInputError: There is no task, or two tasks have the same name.
    """

    def __init__(self, task_names: Iterable[str]) -> None:
        super().__init__()
        self.task_names = tuple(task_names)
        if not self.task_names:
            raise InvalidInputError("a network needs at least one task")
        if len(set(self.task_names)) != len(self.task_names):
            raise InvalidInputError("the tasks of a network must have different names")

    @abstractmethod
    def forward(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the outputs of `tasks` (default: of all), computing nothing for the others.

        Shape:
            inputs: what the trunk takes, first dimension b. returns: [b, o] for each task.
        """

    @abstractmethod
    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Return the parameters that belong to `task` alone."""

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that belong to no single task."""
        owned = {id(p) for name in self.task_names for p in self.task_parameters(name)}
        return [p for p in self.parameters() if id(p) not in owned]

    def index_of(self, task: str) -> int:
        """Return the position of `task`.

        Raises:
            InvalidInputError: The network has no such task.
        """
        if task not in self.task_names:
            raise InvalidInputError(
                f"the network has no task {task!r}{closest(task, self.task_names)}; "
                f"it has {', '.join(map(repr, self.task_names))}"
            )
        return self.task_names.index(task)
