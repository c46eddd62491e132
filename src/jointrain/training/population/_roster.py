"""Roster: which members of a stack are being trained, who waits, and who has which row."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from jointrain.training.population._member import Member


class RowState(Protocol):
    """Something that holds a row for each member that is being trained."""

    def enter(self, row: int, member: Member) -> None:
        """Fill a row with what its new member starts from."""

    def move(self, source: int, target: int) -> None:
        """Give one row the state of another."""


class Roster:
    """The members of a stack; those that are being trained have the first rows.

    Args:
        members: All, in the order of their turn.
        places: How many at the same time.
        states: What holds a row for each member.
    """

    def __init__(self, members: Sequence[Member], places: int, states: Sequence[RowState]) -> None:
        self.members: list[Member] = []
        self._every = len(members)
        self._waiting = deque(members)
        self._places = places
        self._states = states

    def admit(self) -> list[int]:
        """Let waiting members in, as many as there is room for; return their rows."""
        new: list[int] = []
        while self._waiting and len(self.members) < self._places:
            member = self._waiting.popleft()
            new.append(len(self.members))
            self.members.append(member)
            member.start()
            for state in self._states:
                state.enter(new[-1], member)
        return new

    def remove(self, row: int) -> None:
        """Take a member out; the last one moves to its row."""
        last = self.members.pop()
        end = len(self.members)
        if row < end:
            self.members[row] = last
            for state in self._states:
                state.move(end, row)

    def steps_to_go(self) -> int:
        """Return the number of steps until some member's epoch or run ends."""
        return min(member.steps_to_go() for member in self.members)

    def advance(self, steps: int) -> list[int]:
        """Count steps of all members; return the rows whose epoch or run is over."""
        ended = []
        for row, member in enumerate(self.members):
            member.step += steps
            if not member.step % member.epoch_steps or member.step == member.steps:
                ended.append(row)
        return ended

    @property
    def done(self) -> float:
        """How many members are done, with parts of those that are being trained."""
        begun = sum(member.step / member.steps for member in self.members)
        return self._every - len(self._waiting) - len(self.members) + begun
