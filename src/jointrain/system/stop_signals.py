"""What Ctrl-C and SIGTERM do to a command: as an exception, where nothing is left half-made."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

TERMINATED = 143
"""The exit code of a command that SIGTERM stopped."""

_PAUSE = 0.02
"""Seconds after which it is looked again whether an import is over."""

_LONGEST_IMPORT = 20.0
"""Seconds after which a stop does not wait for an import any longer."""


def on_stop(action: Any) -> None:
    """Set what happens at Ctrl-C and at SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, action)


def end_at_once(number: int, _frame: FrameType | None) -> None:
    """End the process, in words, where there is nothing yet that could be lost."""
    with suppress(OSError):  # the exit code still says it
        os.write(2, b"stopped\n")
    os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED)


def interrupt_outside_imports(received: list[int]) -> Callable[[int, FrameType | None], None]:
    """Return a handler of signals that raises `KeyboardInterrupt` once no import is under way.

    Modules don't survive an exception in the midst of their import: some swallow it, others are
    left half-made and fail later in words that nobody understands. Destructors and callbacks of
    weak references swallow it, too, and Python shows it in passing: it is raised again after them.

    Args:
        received: Gets the numbers of the signals.
    """
    # there is no timer on Windows; there an import is interrupted, as everywhere else in Python
    timer = getattr(signal, "setitimer", None)
    since: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if not since:
            since.append(time.monotonic())
        waited = time.monotonic() - since[0]
        if timer is None or waited > _LONGEST_IMPORT or not _in_import(frame):
            raise KeyboardInterrupt
        again_soon(number)

    def again_soon(number: int) -> None:
        assert timer is not None
        signal.signal(signal.SIGALRM, lambda _number, later: stop(number, later))
        timer(signal.ITIMER_REAL, _PAUSE)

    show = sys.unraisablehook

    def swallowed(unraisable: Any) -> None:
        if timer is not None and received and unraisable.exc_type is KeyboardInterrupt:
            again_soon(received[-1])
        else:
            show(unraisable)

    sys.unraisablehook = swallowed
    return stop


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
"""Those that `StopRequests` takes note of; Windows has no SIGUSR1."""


class StopRequests:
    """Takes note of signals that ask a run to save what it has, until the run can answer them.

    Within its context Ctrl-C, SIGTERM and SIGUSR1 are noted. When they are answered, Ctrl-C and
    SIGTERM do what they did before; SIGUSR1, by which Slurm announces the end of a job, ends
    nothing by itself. A second Ctrl-C or SIGTERM does not wait. In another thread than the main
    one nothing is noted, as Python allows no handlers there.
    """

    def __init__(self) -> None:
        self.pending: list[int] = []
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopRequests:
        """Take note from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                # what is ignored, or handled by another language, stays so
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """Let signals do what they did before, those that were not answered at once."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self.answer()

    def take_over(self, numbers: Iterable[int]) -> None:
        """Take note of signals that another process of the run was sent."""
        new = [number for number in numbers if number in self._before]
        self.pending.extend(number for number in new if number not in self.pending)

    def answer(self, numbers: Collection[int] = SIGNALS) -> None:
        """Let those of the signals that were noted do what they did before; default all."""
        asked = dict.fromkeys(number for number in self.pending if number in numbers)
        for number in asked:
            # in place: another one may be noted meanwhile
            while number in self.pending:
                self.pending.remove(number)
        for number in asked:
            self._deliver(number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # a worker that was forked: a Ctrl-C is its parent's to answer
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number in self.pending and number in (signal.SIGINT, signal.SIGTERM):
            self._deliver(number, frame)
            return
        self.pending.append(number)

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            before(number, frame)
        elif number == signal.SIGTERM:
            signal.signal(number, before)
            os.kill(os.getpid(), number)
