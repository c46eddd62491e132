"""Code that users bring: where it is found, and whether it is the code that a result came from."""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib
import importlib.metadata
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from jointrain.errors import InvalidInputError, closest

_NO_PACKAGE = ("", "__main__", "builtins")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range)
_UNTOLD = {"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__slotnames__"}
"""Attributes of a class that do not change what it does; the last one is left by copying."""
_BY_NAME = (
    types.BuiltinFunctionType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
)
"""What Python made, whose name says it all."""

_FIXED = (
    *_PLAIN, types.FunctionType, type, types.ModuleType, types.MethodType, functools.partial
)  # fmt: skip
"""What a program does not change as it runs, unlike lists and other things that it fills."""

_LOOK_UPS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "IMPORT_NAME"}
"""Instructions that find a name in a function's module, or in that of a class in it."""


@dataclass(frozen=True)
class CodeReference:
    """What is known of code that is not at hand: for reading only, nothing imports it.

    Args:
        path: Where it was defined, as ``module:name``.
        text: What was made of it, such as ``Halves(step=0.5)``.
        version: Release of the package that defined it; None if it is of no package.
        digest: A hash of the code and its hyper-parameters, see `digest_of`.
    """

    path: str
    text: str
    version: str | None
    digest: str

    @classmethod
    def of(cls, thing: Any) -> CodeReference:
        """Return what is known of a class, a function or an object."""
        path = path_of(thing)
        return cls(path, _text(thing), version_of(path), digest_of(thing))

    def __str__(self) -> str:
        version = "" if self.version is None else f" {self.version}"
        return f"{self.text} of {self.path.partition(':')[0]}{version}"


def path_of(thing: Any) -> str:
    """Return the path of a class or function, or of an object's class, as ``module:name``."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    module = getattr(named, "__module__", None) or "builtins"
    return f"{module}:{named.__qualname__}"


def imported_path_of(thing: Any) -> str:
    """Return the path as others import it: what a script defines is of the script's name."""
    module, _, name = path_of(thing).partition(":")
    return f"{_script() if module == '__main__' else module}:{name}"


def _script() -> str:
    """Return the name under which the program that runs can be imported."""
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return Path(file).stem if file else "__main__"


def _text(thing: Any) -> str:
    from torch import nn

    if isinstance(thing, functools.partial):
        given = [repr(value) for value in thing.args]
        given += [f"{name}={value!r}" for name, value in thing.keywords.items()]
        return f"{_text(thing.func)}({', '.join(given)})"
    if isinstance(thing, nn.Module):
        return " ".join(repr(thing).split())
    return path_of(thing).partition(":")[2]


def version_of(path: str) -> str | None:
    """Return the release of the package that code is of, None if it is of no package."""
    top = path.partition(":")[0].partition(".")[0]
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    if top in _NO_PACKAGE or top in sys.stdlib_module_names:
        return None
    names = importlib.metadata.packages_distributions().get(top)
    return importlib.metadata.version(names[0]) if names else None


def imported(path: str) -> Any:
    """Import what ``module:name`` names; modules of the working folder are found, too.

    Raises:
        InvalidInputError: There is no such module or name, or the module can't be imported.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise InvalidInputError(f"{path!r} names no code; write module:name")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        thing: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"module {module!r} of {path!r} can't be imported: {one_line(error)}"
        ) from error
    for part in name.split("."):
        if not hasattr(thing, part):
            raise InvalidInputError(
                f"module {module!r} has no {name!r}{closest(part, dir(thing))}; check {path!r}"
            )
        thing = getattr(thing, part)
    return thing


def one_line(error: BaseException) -> str:
    """Return an error of foreign code in one line."""
    lines = str(error).strip().splitlines()
    if isinstance(error, InvalidInputError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def digest_of(thing: Any) -> str:
    """Return a hash of code and what it holds: equal ones do the same.

    Of classes and functions, the compiled code counts, and that of all that it names in modules of
    its author; so comments, other parts of a script and blank lines change nothing. Installed
    packages count by name, but for the one that `thing` is of. Another release of Python compiles
    to other code.
    """
    found = hashlib.sha256()
    for part in _Walk(_top(path_of(thing).partition(":")[0])).parts(thing):
        found.update(part.encode() + b"\0")
    return found.hexdigest()


def code_digest_of(thing: Any) -> str:
    """Return a hash of code alone, without what it is called with, the same in every program.

    It is that of an object's class, with the function that it wraps, and of what a partial calls;
    that of a script is the same when it runs and when it is imported. Else as `digest_of`.
    """
    script = _script()
    found = hashlib.sha256()
    for part in _Walk(_top(imported_path_of(thing).partition(":")[0])).parts(_code_of(thing)):
        found.update(part.replace("__main__:", f"{script}:").encode() + b"\0")
    return found.hexdigest()


def _code_of(thing: Any) -> Any:
    while isinstance(thing, functools.partial):
        thing = thing.func
    if _is_wrapper(thing):
        return type(thing), thing.__wrapped__
    return thing if hasattr(thing, "__qualname__") else type(thing)


def _is_wrapper(thing: Any) -> bool:
    """Return whether it is an object of one's own class that wraps a function.

    Such are made with `functools.update_wrapper`, and pass for the function by their attributes.
    """
    if isinstance(thing, (type, types.FunctionType, types.MethodType, *_BY_NAME)):
        return False
    return hasattr(thing, "__wrapped__") and type(thing).__module__ != "functools"


def check_same_code(digests: Mapping[str, str], things: Iterable[Any]) -> None:
    """Refuse code of another source than elsewhere: a module that was changed since its import.

    Args:
        digests: What `digests_of_code` returned in another process.
        things: The same classes, functions and objects in this process.

    Raises:
        ChangedCodeError: The code of one of them is another.
    """
    here = digests_of_code(things)
    for path, digest in digests.items():
        if here.get(path) != digest:
            raise ChangedCodeError(
                f"{path} is not the same code in all processes: its file was changed after it was "
                "imported; start again"
            )


def digests_of_code(things: Iterable[Any]) -> dict[str, str]:
    """Return a hash of the code of what is imported by name, without what it holds; by path.

    Lists and the like that a function names do not count: they may be filled as it runs.
    """
    found = {}
    for thing in things:
        path = path_of(thing)
        # both are sent along as they are
        if not path.startswith("__main__:") and "<locals>" not in path:
            digest, code = hashlib.sha256(), _code_of(thing)
            for part in _Walk(_top(path.partition(":")[0]), values=False).parts(code):
                digest.update(part.encode() + b"\0")
            found[path] = digest.hexdigest()
    return found


class ChangedCodeError(InvalidInputError):
    """Two processes have imported two versions of a module."""


class _Walk:
    """One way through code and values, which names each object once.

    Args:
        home: The package whose code counts.
        values: Whether all that functions name and enclose counts, not only what is `_FIXED`.
    """

    def __init__(self, home: str, *, values: bool = True) -> None:
        self._home, self._values = home, values
        self._seen: dict[int, Any] = {}
        self._ways: list[tuple[Any, Callable[[Any], Iterator[str]]]] = [
            (types.FunctionType, self._function),
            (type, self._class),
            (types.ModuleType, lambda module: iter([f"module {module.__name__}"])),
            (types.CodeType, self._code),
            (_BY_NAME, lambda made: iter([path_of(made)])),
            ((dict, types.MappingProxyType), self._mapping),
            ((list, tuple), self._sequence),
            ((set, frozenset), self._set),
            (types.MethodType, lambda method: self.parts([method.__func__, method.__self__])),
            (functools.partial, lambda one: self.parts([one.func, one.args, one.keywords])),
            ((staticmethod, classmethod), lambda method: self.parts(method.__func__)),
            (property, lambda one: self.parts([one.fget, one.fset, one.fdel])),
            (functools.cached_property, lambda one: self.parts(one.func)),
        ]

    def _is_of_author(self, module: str | None) -> bool:
        """Return whether a module's code counts: of the same package, or of none."""
        return _top(module) == self._home != "jointrain" or _is_of_no_package(module)

    def parts(self, thing: Any) -> Iterator[str]:
        """Yield texts that tell a value, a class or a function from others."""
        if isinstance(thing, _PLAIN):
            yield repr(thing)
            return
        # equal constants may be one object or two, as the compiler or a file of its made them
        if not isinstance(thing, (tuple, frozenset, types.CodeType)):
            if id(thing) in self._seen:
                yield f"seen {list(self._seen).index(id(thing))}"
                return
            self._seen[id(thing)] = thing  # kept, so that no other gets its number
        for kinds, walk in self._ways:
            if isinstance(thing, kinds):
                yield from walk(thing)
                return
        yield from self._object(thing)

    def _mapping(self, thing: Any) -> Iterator[str]:
        yield f"mapping {len(thing)}"
        for key, value in thing.items():
            yield from self.parts(key)
            yield from self.parts(value)

    def _sequence(self, thing: Any) -> Iterator[str]:
        yield f"{type(thing).__name__} {len(thing)}"
        for value in thing:
            yield from self.parts(value)

    def _set(self, thing: Any) -> Iterator[str]:
        yield f"set {len(thing)}"
        yield from sorted(" ".join(_Walk(self._home).parts(one)) for one in thing)

    def _function(self, thing: types.FunctionType) -> Iterator[str]:
        yield f"function {path_of(thing)}"
        if not self._is_of_author(thing.__module__):
            return
        yield from self._code(thing.__code__)
        yield from self.parts([thing.__defaults__, thing.__kwdefaults__])
        cells = [] if thing.__closure__ is None else thing.__closure__
        for cell in cells:
            # a cell is empty while its function is defined
            value = cell.cell_contents if cell != types.CellType() else None
            if self._values or isinstance(value, _FIXED):
                yield from self.parts(value)
        named = {name: None for code in _codes(thing.__code__) for name in code.co_names}
        looked_up = _names_looked_up(thing.__code__)
        modules: set[str] = set()
        for name in named:
            if name in looked_up and name in thing.__globals__:
                yield name
                yield from self._named(thing.__globals__[name], named, modules)

    def _named(self, value: Any, attributes: dict[str, None], modules: set[str]) -> Iterator[str]:
        """Yield what a function's global is; of a module of the author, what may be used of it.

        `modules` are those that were told before: modules may import each other.
        """
        if self._values or isinstance(value, _FIXED):
            yield from self.parts(value)
        if not isinstance(value, types.ModuleType) or value.__name__ in modules:
            return
        if self._is_of_author(value.__name__):
            modules.add(value.__name__)
            for name in attributes:
                if name in vars(value):
                    yield name
                    yield from self._named(vars(value)[name], attributes, modules)

    def _code(self, code: types.CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags))
        yield from self.parts(code.co_consts)

    def _class(self, thing: type) -> Iterator[str]:
        yield f"class {path_of(thing)}"
        if not self._is_of_author(thing.__module__):
            return
        yield from self.parts(thing.__bases__)
        for name, value in vars(thing).items():
            if name not in _UNTOLD and not name.startswith("_abc_"):
                yield name
                yield from self.parts(value)

    def _is_walked(self, thing: Any) -> bool:
        """Return whether what it holds is told part by part: two pickles of it may differ."""
        from torch.nn import Module
        from torch.utils.data import Dataset

        plain = isinstance(thing, (Module, Dataset)) or is_dataclass(thing)
        return plain or self._is_of_author(type(thing).__module__)

    def _object(self, thing: Any) -> Iterator[str]:
        import numpy as np
        import torch

        yield f"object of {path_of(type(thing))}"
        if isinstance(thing, torch.Tensor):
            yield f"{thing.dtype} {tuple(thing.shape)}"
            plain = thing.detach().cpu().contiguous().reshape(-1)
            yield hashlib.sha256(plain.view(torch.uint8).numpy().tobytes()).hexdigest()
        elif isinstance(thing, torch.Generator):
            yield from self.parts(thing.get_state())
        elif isinstance(thing, np.ndarray):
            yield f"{thing.dtype} {thing.shape}"
            content = repr(thing.tolist()).encode() if thing.dtype.hasobject else thing.tobytes()
            yield hashlib.sha256(content).hexdigest()
        elif self._is_walked(thing):
            if _is_wrapper(thing):
                yield from self.parts(thing.__wrapped__)
            yield from self.parts(type(thing))
            yield from self._state(thing)
        elif hasattr(thing, "__wrapped__"):  # as functools.cache leaves it
            yield from self.parts(thing.__wrapped__)
        else:
            yield _pickled(thing)

    def _state(self, thing: Any) -> Iterator[str]:
        """Yield what an object holds, without the names that it has of a function it wraps."""
        state = thing.__getstate__()
        if isinstance(state, dict) and _is_wrapper(thing):
            state = {
                name: value
                for name, value in state.items()
                if name not in (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__")
            }
        yield from self.parts(state) if isinstance(state, (dict, tuple)) else [_pickled(thing)]


def _pickled(thing: Any) -> str:
    """Return what an object that hides its state looks like when it is sent to a process."""
    from loky.backend.reduction import dumps

    try:
        content = bytes(dumps(thing))
    except Exception:  # foreign code may raise anything
        # no process gets it, so it is itself and no other
        return f"{os.getpid()} {id(thing)}"
    return hashlib.sha256(content).hexdigest()


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code of a function and of those in it."""
    yield code
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            yield from _codes(value)


def _names_looked_up(code: types.CodeType) -> set[str]:
    """Return the names that a function looks up in its module; `co_names` has attributes, too."""
    return {
        step.argval
        for one in _codes(code)
        for step in dis.get_instructions(one)
        if step.opname in _LOOK_UPS
    }


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_of_no_package(module: str | None) -> bool:
    """Return whether a module is neither jointrain's, nor Python's, nor an installed package's."""
    top = _top(module)
    if top == "__main__":
        return True
    if top in ("", "jointrain", "builtins") or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(file.replace("\\", "/").split("/"))
