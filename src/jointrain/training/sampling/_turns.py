"""Turns: the tasks of the steps to come, with a place among them that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

Step = tuple[str, ...]


class Memory(Protocol):
    """What the choice of later steps depends on, beside random numbers."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the state to what `state_dict` gave."""


class Turns(Iterator[Step]):
    """Yields the tasks of each step, drawn block by block as they are needed.

    A schedule whose `Schedule.steps` returns one can be resumed in the midst of a run; a plain
    iterator can't.

    Args:
        draw: Returns the choices of a block by its number, from 0; a block may be empty. Random
            numbers come from the generator that the schedule was given.
        repeat: How many steps in a row each choice stands for; default 1.
        memory: What `draw` learns as the run goes, if anything.
    """

    def __init__(
        self,
        draw: Callable[[int], Sequence[Step]],
        *,
        repeat: int = 1,
        memory: Memory | None = None,
    ) -> None:
        self._draw = draw
        self._repeat = repeat
        self._memory = memory
        self._number = 0
        self._place = 0
        self._steps: Sequence[Step] = ()

    def __next__(self) -> Step:
        """Return the tasks of the next step."""
        while self._place == len(self._steps):
            drawn = self._draw(self._number)
            if self._repeat > 1:
                drawn = [step for step in drawn for _ in range(self._repeat)]
            self._steps, self._place = drawn, 0
            self._number += 1
        step = self._steps[self._place]
        self._place += 1
        return step

    def state_dict(self) -> dict[str, Any]:
        """Return the place: the number of the next block, and what is left of this one."""
        left = self._steps[self._place :]
        choices = list(dict.fromkeys(left))
        code = {step: number for number, step in enumerate(choices)}
        state: dict[str, Any] = {
            "number": self._number,
            "choices": [list(step) for step in choices],
            "left": torch.tensor([code[step] for step in left], dtype=torch.int32),
        }
        if self._memory is not None:
            state["memory"] = self._memory.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the place to what `state_dict` gave."""
        choices = [tuple(step) for step in state["choices"]]
        self._steps = [choices[code] for code in state["left"].tolist()]
        self._place = 0
        self._number = state["number"]
        if self._memory is not None:
            self._memory.load_state_dict(state["memory"])
