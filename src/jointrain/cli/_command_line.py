"""The command line itself: which commands there are, and how what goes wrong is said."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from jointrain import __version__
from jointrain.cli._compare import compare
from jointrain.cli._convert import convert
from jointrain.cli._doctor import doctor
from jointrain.cli._evaluate import evaluate
from jointrain.cli._explain import explain
from jointrain.cli._export import export
from jointrain.cli._fit import fit
from jointrain.cli._inspect import inspect_bundle
from jointrain.cli._lists import balancers, baselines, networks
from jointrain.cli._predict import predict
from jointrain.cli._ranks import prefix_of_errors, prepare_rank
from jointrain.cli._report import report
from jointrain.cli._said import remember_command
from jointrain.cli._searches import group, share, weigh
from jointrain.cli._serve import serve
from jointrain.cli._verdict import verdict
from jointrain.cli._watch import watch
from jointrain.errors import JointrainError, StoppedError
from jointrain.system.stop_signals import (
    INTERRUPTED,
    TERMINATED,
    interrupt_outside_imports,
    on_stop,
)
from jointrain.system.terminal_streams import say, silence, use_plain_characters
from jointrain.system.worker_processes import stop_spare

_FAILED = 2
"""The exit code of what is said in one line."""

app = typer.Typer(
    name="jointrain",
    help="Train the targets of a table together or apart, and see with figures which is better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; every user fault is one line and exit code 2."""
    received: list[int] = []
    try:
        on_stop(interrupt_outside_imports(received))
        use_plain_characters()
        code = _flush(run(sys.argv[1:]))
        # the answer is given: from here on an exception would be lost, with a traceback, in
        # whatever the interpreter shuts down, and nothing is left to be done before the end
        on_stop(signal.SIG_DFL)
    except KeyboardInterrupt:
        on_stop(signal.SIG_DFL)
        stop_spare()
        say("stopped")
        code = INTERRUPTED
    if code == INTERRUPTED and signal.SIGTERM in received:
        code = TERMINATED
    if code in (INTERRUPTED, TERMINATED, _FAILED):
        # threads of libraries that were stopped at their work, as by a full disk, may abort the
        # interpreter's end
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _flush(code: int) -> int:
    """Write what is left of standard output; return the code, or another if that can't be done."""
    with suppress(ValueError):  # a stream that was closed
        try:
            sys.stdout.flush()
        except OSError as error:
            silence(sys.stdout)
            return _fail(f"standard output can't be written: {error.strerror}")
    return code


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    remember_command(arguments)
    try:
        prepare_rank(arguments)
        code = app(list(arguments), prog_name="jointrain", standalone_mode=False)
    except StoppedError as stopped:
        stop_spare()
        say(f"stopped: {stopped}")
        return INTERRUPTED
    except JointrainError as error:
        # a command that fails at once does not wait for the processes that it has started
        stop_spare()
        return _fail(str(error))
    except SystemExit:  # what click makes of a pipe that nobody reads
        stop_spare()
        return _fail("standard output can't be written: nobody reads the pipe")
    except MemoryError:
        stop_spare()
        return _fail("this needs more memory than there is; give fewer rows or columns")
    except OSError as error:
        stop_spare()
        if not error.filename and _flush(0):  # it was standard output, which has been said
            return 2
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        # usage errors of typer can word themselves; anything else is a fault of jointrain's own
        if not hasattr(error, "format_message"):
            raise
        return _fail(error.format_message().rstrip("."))
    if code == INTERRUPTED:
        stop_spare()
        message = "stopped: nothing was written, and what was there before is as it was"
        say(message)
    return code or 0


def _fail(message: str) -> int:
    line = " ".join(message.split())
    with suppress(OSError, ValueError):  # the exit code still says it
        say(f"{prefix_of_errors()}error: {line}", always=True)
    return _FAILED


def _version(value: bool) -> None:
    if value:
        print(f"jointrain {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the answer.")] = Path("energy-answer"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier answer.")] = False,
) -> int:
    """Answer the question for a real table: 768 buildings, heating and cooling load."""
    import jointrain.data

    table = Path(jointrain.data.__path__[0]) / "energy_efficiency.csv"
    command = ["compare", str(table), "--targets", "heating_load,cooling_load", "--out", str(out)]
    command += ["--force"] * force
    say("jointrain " + " ".join(command))
    return run(command)


def _add_commands() -> None:
    """Add the commands in the order in which help lists them, tables' with an example each."""
    data = "data.csv --targets"
    for command, example in (
        (compare, f"compare {data} price,demand --budget 2m"),
        (weigh, f"weigh {data} price,demand --budget 2m"),
        (group, f"group {data} a,b,c,d --models 2"),
        (share, f"share {data} price,demand"),
        (fit, f"fit {data} price,demand --out model"),
    ):
        app.command(epilog=f"Example: jointrain {example}")(command)
    example = "verdict runs.csv --wide {task}/{metric} --baseline separate"
    app.command(epilog=f"Example: jointrain {example}")(verdict)
    app.command(epilog="Example: jointrain report data-answer --open")(report)
    app.command(epilog="Example: jointrain watch runs")(watch)
    app.command()(predict)
    app.command()(serve)
    app.command()(export)
    app.command()(evaluate)
    app.command()(explain)
    app.command(name="inspect")(inspect_bundle)
    app.command()(convert)
    for listed in (balancers, networks, baselines, doctor):
        app.command()(listed)
    app.command()(demo)


_add_commands()
