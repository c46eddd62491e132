"""Cuts: what a budget of time left out of a study or a search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ROWS = "rows"
"""The key of the cut that only a sample of the rows was used."""


@dataclass(frozen=True)
class Cut:
    """Something that a budget cut.

    Args:
        key: What was cut, such as ``rows``, ``epochs`` or ``folds``.
        text: The same in words, for a note.
    """

    key: str
    text: str


class Cuts:
    """What a budget cut.

    Args:
        seconds: The budget.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._cuts: dict[str, Cut] = {}

    def say(self, key: str, text: str) -> None:
        """Note a cut in place of an earlier one of this key."""
        self._cuts[key] = Cut(key, f"budget of {self._seconds:g} s: {text}")

    def take_back(self, *keys: str) -> None:
        """Forget cuts."""
        for key in keys:
            self._cuts.pop(key, None)

    def leave_out(self, names: Iterable[str]) -> None:
        """Note that recipes or baselines were left out."""
        for name in names:
            # a recipe may be called as a key is
            self.say(f"without {name}", f"{name} was left out")

    def fewer(self, what: str, done: int, planned: int) -> None:
        """Note that fewer folds or seeds than planned were measured."""
        if done < planned:
            verb = "was" if done == 1 else "were"
            self.say(what, f"{done} of {planned} {what} {verb} measured")

    def fewer_folds(self, done: int, folds: int, planned: int) -> None:
        """Note that fewer folds than planned were measured.

        Args:
            done: How many were measured.
            folds: How many the rows were cut into.
            planned: How many they were to be cut into.
        """
        if folds < planned:
            self.say("split", f"the rows were cut into {folds} folds in place of {planned}")
        self.fewer("folds", done, folds)

    @property
    def all(self) -> tuple[Cut, ...]:
        """All of them, in their order."""
        return tuple(self._cuts.values())

    @property
    def texts(self) -> tuple[str, ...]:
        """The same in words."""
        return tuple(cut.text for cut in self._cuts.values())
