"""Commands that are stopped or killed: they end in words, and so do their workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jointrain.data import load_penguins

COMMAND = [
    sys.executable, "-c", "from jointrain.cli import main; main()",
    "compare", "penguins.csv", "--targets", "species,sex,body_mass_g", "--workers", "2",
    "--epochs", "2000", "--patience", "2000", "--recipes", "separate,joint", "--ensemble", "1",
]  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def start(folder: Path) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """Start a long comparison and wait until both workers are there."""
    load_penguins().write_csv(folder / "penguins.csv")
    process = subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "resource_tracker" not in " ".join(child.cmdline())
        ]
        # a worker has begun to import torch
        if len(workers) >= 2 and all(one.memory_info().rss > 1e8 for one in workers):
            return process, workers
        time.sleep(0.1)
    process.kill()
    raise AssertionError("no workers came")


@pytest.mark.parametrize(
    "number, code",
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.integration),
        (signal.SIGKILL, -9),
    ],
)
def test_no_worker_outlives_its_command(tmp_path, number, code):
    process, workers = start(tmp_path)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
    assert process.returncode == code
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert "stopped" in errors.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["penguins.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_or_closed_output_is_one_line(tmp_path):
    code = "from jointrain.cli import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "balancers"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "No space left on device" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, "balancers"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "arguments, closed",
    [
        ("balancers", ">&-"),
        ("balancers", "2>&-"),
        ("--version", "<&- >&- 2>&-"),
        ("predict none none.csv --out -", ">&-"),
    ],
)
def test_streams_that_the_shell_closed(tmp_path, arguments, closed):
    program = f"{sys.executable} -c 'from jointrain.cli import main; main()' {arguments} {closed}"
    done = subprocess.run(
        ["sh", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    failed = arguments.startswith("predict")
    assert done.returncode == (2 if failed or closed != "2>&-" else 0)
    assert (done.stdout == "") == (failed or closed != "2>&-")
    assert done.stderr.count("\n") == (closed == ">&-")
    if closed == ">&-":
        assert ("no bundle" if failed else "Bad file descriptor") in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_of_other_encodings(encoding):
    code = "from jointrain.cli import main; main()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", code, "networks"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert "hard" in done.stdout.decode(encoding)


def test_a_deleted_working_folder_is_one_line(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    code = "import os, shutil; from jointrain.cli import main; shutil.rmtree(os.getcwd()); main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", "a.csv", "--targets", "a"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in done.stderr


_LATE = """
import atexit, os, signal, sys, threading, time
from jointrain.cli import _command_line

def send():
    os.kill(os.getpid(), signal.{name})

def send_as_the_main_thread_ends():
    threading.main_thread().join()
    send()
    time.sleep(20)

def run_and_send_in_flush(arguments):
    code = run(arguments)
    sys.stdout.flush = lambda: (delattr(sys.stdout, "flush"), send())
    return code

run, moment = _command_line.run, {moment!r}
if moment == "threads":
    threading.Thread(target=send_as_the_main_thread_ends).start()
elif moment == "atexit":
    atexit.register(lambda: (send(), time.sleep(20)))
else:
    _command_line.run = run_and_send_in_flush
_command_line.main()
"""


def test_a_library_that_aborts_at_the_end_changes_no_exit_code():
    program = "import atexit, os; atexit.register(os.abort)\nfrom jointrain.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "inspect", "none"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("moment", ["flush", "threads", "atexit"])
def test_a_signal_at_the_very_end_leaves_no_traceback(name, code, moment):
    program = _LATE.format(name=name, moment=moment)
    done = subprocess.run(
        [sys.executable, "-c", program, "networks"],
        capture_output=True, text=True, check=False, timeout=15,
    )  # fmt: skip
    # once the answer is given nothing is left to be done: the signal ends the process itself
    said, ended = ("stopped\n", code) if moment == "flush" else ("", -getattr(signal, name))
    assert (done.stderr, done.returncode) == (said, ended)
    assert "hard" in done.stdout


_EARLY = """
import os, signal, sys, time
def module(name):
    open(name + ".py", "w").write(
        "import os, signal\\n"
        "try:\\n"
        "    os.kill(os.getpid(), signal.{name})\\n"
        "    for _ in range(10**6): pass\\n"
        "except BaseException as error:\\n"
        "    raise RecursionError('half an import') from error\\n"
    )
sys.path.insert(0, os.getcwd())
from jointrain import cli
{start}
"""


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_the_midst_of_an_import_waits_for_its_end(tmp_path, name, code):
    start = "from jointrain.cli import _command_line\nmodule('slow')\n"
    start += "_command_line.run = lambda _: __import__('slow') and time.sleep(20)\ncli.main()"
    program = _EARLY.format(name=name, start=start)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=15,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("stopped\n", code)


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_before_the_commands_are_imported_ends_the_process_in_words(tmp_path, name, code):
    start = "module('typer')\ncli.main()"
    program = _EARLY.format(name=name, start=start)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=15,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("stopped\n", code)
