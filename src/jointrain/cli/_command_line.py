"""The command line itself: which commands there are, and how what goes wrong is said."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer

from jointrain import __version__
from jointrain.cli._ranks import prefix_of_errors, prepare_rank
from jointrain.cli._said import remember_command
from jointrain.errors import JointrainError, StoppedError
from jointrain.system.stop_signals import (
    INTERRUPTED,
    TERMINATED,
    interrupt_outside_imports,
    on_stop,
)
from jointrain.system.temporary_folders import remove_temporary_folders
from jointrain.system.terminal_streams import say, silence, use_plain_characters
from jointrain.system.worker_processes import stop_spare

_FAILED = 2
"""The exit code of what is said in one line."""

_DATA = "data.csv --targets"

_COMMANDS = {
    "compare": ("_compare:compare", f"compare {_DATA} price,demand --budget 2m"),
    "weigh": ("_searches:weigh", f"weigh {_DATA} price,demand --budget 2m"),
    "group": ("_searches:group", f"group {_DATA} a,b,c,d --models 2"),
    "share": ("_searches:share", f"share {_DATA} price,demand"),
    "fit": ("_fit:fit", f"fit {_DATA} price,demand --out model"),
    "verdict": ("_verdict:verdict", "verdict runs.csv --wide {task}/{metric} --baseline separate"),
    "report": ("_report:report", "report data-answer --open"),
    "watch": ("_watch:watch", "watch runs"),
    "predict": ("_predict:predict", None),
    "serve": ("_serve:serve", None),
    "export": ("_export:export", None),
    "evaluate": ("_evaluate:evaluate", None),
    "explain": ("_explain:explain", None),
    "inspect": ("_inspect:inspect_bundle", None),
    "convert": ("_convert:convert", None),
    "balancers": ("_lists:balancers", None),
    "networks": ("_lists:networks", None),
    "baselines": ("_lists:baselines", None),
    "doctor": ("_doctor:doctor", None),
    "demo": ("_command_line:demo", None),
}
"""Where the commands are, in the order in which help lists them, and an example of each."""


def main() -> None:
    """Run the command line; every user fault is one line and exit code 2."""
    if os.environ.get("_JOINTRAIN_COMPLETE"):
        # a shell asks what may follow: fish reads the exit code
        app_of()(prog_name="jointrain")
    received: list[int] = []
    try:
        on_stop(interrupt_outside_imports(received))
        use_plain_characters()
        arguments = sys.argv[1:]
        code = _flush(run(arguments or ["--help"]))
        code = code if arguments else _FAILED
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
        remove_temporary_folders()
        os._exit(code)
    stop_spare()  # what has nothing to do need not be waited for
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
        app = app_of(arguments)
        code = app(list(arguments), prog_name="jointrain", standalone_mode=False)
    except StoppedError as stopped:
        stop_spare()
        say(f"stopped: {stopped}")
        return INTERRUPTED
    except JointrainError as error:
        # a command that fails at once does not wait for the processes that it has started
        stop_spare()
        return _fail(str(error))
    except SystemExit as ended:
        return _ended(ended.code)
    except MemoryError:
        stop_spare()
        return _fail("this needs more memory than there is; give fewer rows or columns")
    except OSError as error:
        stop_spare()
        if not error.filename and _flush(0):  # it was standard output, which has been said
            return _FAILED
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


def _ended(code: object) -> int:
    """Return the exit code where typer ends the interpreter itself."""
    if not code:  # it has shown or installed a shell's completion
        return _flush(0)
    stop_spare()
    return _fail("standard output can't be written: nobody reads the pipe")


def _fail(message: str) -> int:
    line = " ".join(message.split())
    with suppress(OSError, ValueError):  # the exit code still says it
        say(f"{prefix_of_errors()}error: {line}", always=True)
    return _FAILED


def _version(value: bool) -> None:
    if value:
        print(f"jointrain {__version__}")
        raise typer.Exit


def app_of(arguments: Sequence[str] = ()) -> typer.Typer:
    """Return the app with the command that the arguments name, or with all commands.

    To import all commands takes a tenth of the time of a short one.
    """
    what = "Train the targets of a table together or apart, and see with figures which is better."
    app = typer.Typer(
        name="jointrain",
        help=what,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_root)
    named = [name for name in arguments[:1] if name in _COMMANDS]
    for name in named or _COMMANDS:
        place, example = _COMMANDS[name]
        module, _, function = place.partition(":")
        command = getattr(import_module(f"jointrain.cli.{module}"), function)
        epilog = None if example is None else f"Example: jointrain {example}"
        app.command(name=name, help=_help_of(command), epilog=epilog)(command)
    return app


def _help_of(command: Callable[..., Any]) -> str:
    """Return a command's docstring as typer is to print it.

    It would keep the line breaks of all paragraphs but the first, and take brackets for markup.
    """
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(one.split("\n")) for one in paragraphs).replace("[", r"\[")


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder of the answer; of the penguins', with -penguins.")
    ] = Path("energy-answer"),
    force: Annotated[bool, typer.Option("--force", help="Replace earlier answers.")] = False,
) -> int:
    """Answer the question for two real tables: 768 buildings, then, in short, 344 penguins."""
    import jointrain.data
    from jointrain.cli._printing import print_line
    from jointrain.system.output_folder import check_new_folder

    folder = Path(jointrain.data.__path__[0])
    penguins = Path(f"{out}-penguins")
    for one in (out, penguins):
        check_new_folder(one, force=force)

    def command(table: str, targets: str, *options: str, out: Path) -> list[str]:
        asked = ["compare", str(folder / table), "--targets", targets]
        # one question, and few runs: this is to take a minute
        asked += ["--recipes", "separate,joint", *options, "--seeds", "1", "--out", str(out)]
        return [*asked, *["--force"] * force]

    # networks in threes: single ones differ too much from seed to seed
    few = ("--ensemble", "3", "--folds", "10")
    first = command("energy_efficiency.csv", "heating_load,cooling_load", *few, out=out)
    say("jointrain " + " ".join(first))
    if code := run(first):
        return code
    print_line("\nThe same question for the penguins (targets of three kinds, labels missing):")
    sys.stdout.flush()
    second = command("penguins.csv", "species,sex,body_mass_g", out=penguins)
    # the same process, which has all that it needs by now
    with redirect_stdout(StringIO()) as told:
        code = run([*second, "--json"])
    if not code:
        print_line(json.loads(told.getvalue())["answer"])
    return code
