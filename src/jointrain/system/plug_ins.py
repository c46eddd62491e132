"""What installed packages add to the project's own by an entry point, found by name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from jointrain.errors import InvalidInputError, closest
from jointrain.system.own_code import one_line

_Value = TypeVar("_Value")

BUILT_IN = "jointrain"
"""Where the project's own come from."""


@dataclass(frozen=True)
class Listed(Generic[_Value]):
    """Something that has a name, and the package that it comes from."""

    name: str
    value: _Value
    origin: str


class Names(Generic[_Value]):
    """The project's own things of one kind, and those of installed packages.

    Packages are asked when a name is not the project's own, or all names are listed. One that can't
    be imported keeps none of the others from use.

    Args:
        kind: What messages call one of them; the group of entry points is ``jointrain.`` and its
            plural.
        built_in: The project's own, by name.
        check: Returns what an entry point gave as a value of this kind, or raises
            `InvalidInputError` with what it should be. It gets the name and what was given.
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, _Value],
        check: Callable[[str, object], _Value],
    ) -> None:
        self.kind = kind
        self.group = f"jointrain.{kind}s"
        self.built_in = built_in
        self._check = check

    def get(self, name: str) -> _Value:
        """Return what has a name.

        Raises:
            InvalidInputError: Nothing has it, or the package that brings it is broken.
        """
        if name in self.built_in:
            return self.built_in[name]
        found = [entry for entry in self._entries() if entry.name == name]
        if not found:
            known = [*self.built_in, *(entry.name for entry in self._entries())]
            raise InvalidInputError(
                f"there is no {self.kind} {name!r}{closest(name, known)}; `jointrain "
                f"{self.kind}s` lists all names"
            )
        if len(found) > 1:
            raise InvalidInputError(
                f"{' and '.join(map(_origin, found))} both bring a {self.kind} {name!r}; "
                "uninstall one of them"
            )
        return self._loaded(found[0])

    def __contains__(self, name: str) -> bool:
        return name in self.built_in or any(entry.name == name for entry in self._entries())

    def listed(self) -> tuple[list[Listed[_Value]], list[str]]:
        """Return all that can be used, and in words what can't."""
        listed = [Listed(name, value, BUILT_IN) for name, value in self.built_in.items()]
        problems: list[str] = []
        for entry in self._entries():
            if entry.name in self.built_in:
                problems.append(
                    f"{_origin(entry)} brings a {self.kind} {entry.name!r}, a name that jointrain "
                    "has itself; it is left out"
                )
                continue
            try:
                listed.append(Listed(entry.name, self.get(entry.name), _origin(entry)))
            except InvalidInputError as error:
                if str(error) not in problems:
                    problems.append(str(error))
        return listed, problems

    def _loaded(self, entry: importlib.metadata.EntryPoint) -> _Value:
        try:
            given = entry.load()
        except Exception as error:  # foreign code may raise anything
            raise InvalidInputError(
                f"{self.kind} {entry.name!r} of {_origin(entry)} can't be imported from "
                f"{entry.value}: {one_line(error)}"
            ) from error
        try:
            return self._check(entry.name, given)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{self.kind} {entry.name!r} of {_origin(entry)} can't be used: {error}"
            ) from None

    def _entries(self) -> Iterator[importlib.metadata.EntryPoint]:
        yield from importlib.metadata.entry_points(group=self.group)


def _origin(entry: importlib.metadata.EntryPoint) -> str:
    return "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
