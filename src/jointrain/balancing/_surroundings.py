"""What a call to `backward` stands in: autocast and no_grad don't reach its own arithmetic."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

_CLOSURES = ("losses", "extra", "train", "held_out")


def in_plain_surroundings(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function work without the autocast and the `no_grad` that its caller stands in.

    ``loss.backward()`` works within both. The arguments that return losses anew are called within
    the caller's autocast, as the losses at hand were computed.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        kinds = _autocast_kinds()
        if not kinds and torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        dtypes = {kind: torch.get_autocast_dtype(kind) for kind in kinds}
        for name in _CLOSURES:
            if callable(kwargs.get(name)):
                kwargs[name] = _within_autocast(kwargs[name], dtypes)
        if args and callable(args[0]):
            args = (_within_autocast(args[0], dtypes), *args[1:])  # type: ignore[assignment]
        with torch.inference_mode(False), torch.enable_grad(), _autocast(dtypes, enabled=False):
            return function(*args, **kwargs)

    return called


def _autocast_kinds() -> list[str]:
    """Return the kinds of devices for which autocast is on."""
    return [kind for kind in _kinds_of_devices() if torch.is_autocast_enabled(kind)]


@functools.cache
def _kinds_of_devices() -> tuple[str, ...]:
    """Return the kinds that this build of torch computes on."""
    accelerator = torch.accelerator.current_accelerator()
    return ("cpu",) if accelerator is None else ("cpu", accelerator.type)


@contextlib.contextmanager
def _autocast(dtypes: dict[str, torch.dtype], *, enabled: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for kind, dtype in dtypes.items():
            stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled))
        yield


def _within_autocast(closure: Any, dtypes: dict[str, torch.dtype]) -> Callable[[], Any]:
    def called() -> Any:
        with _autocast(dtypes, enabled=True):
            return closure()

    return called
