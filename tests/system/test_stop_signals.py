"""What Ctrl-C and SIGTERM do to a command."""

import subprocess
import sys

PROGRAM = """
import os, signal, sys, time, weakref
from jointrain.system.stop_signals import interrupt_outside_imports, on_stop

class Thing:
    pass

received = []
on_stop(interrupt_outside_imports(received))
thing = Thing()
gone = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
try:
    del thing
    time.sleep(10)
except KeyboardInterrupt:
    print("stopped by", received[-1] == signal.SIGTERM)
"""


def test_a_signal_within_a_callback_is_not_lost():
    """Python swallows what a callback of a weak reference raises."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("stopped by True\n", "")
