"""Ctrl-Z stops nnbench at once, or when the timed call is over that it would fall into."""

import os
import select
import signal
import subprocess
import sys

import psutil

from nnbench.execution import pauses
from tests.plugins.helpers import wait_until

CODE = """
import os, signal
from nnbench.execution import pauses

def press():
    os.kill(os.getpid(), signal.SIGTSTP)

with pauses.heeded():
    press()
    print("went on", flush=True)
    pauses.begin_call()
    press()
    print("timed", flush=True)
    pauses.end_call()
    print("went on", flush=True)
assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
"""


def test_ctrl_z_waits_for_the_end_of_a_timed_call():
    command = [sys.executable, "-c", CODE]
    # In a group of its own, whose parent could let it go on: Ctrl-Z stops no other.
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout
        seen, output = [], process.stdout.fileno()
        for _ in range(2):
            wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            is_there, *_ = select.select([output], [], [], 0)
            seen.append(os.read(output, 100) if is_there else b"")
            process.send_signal(signal.SIGCONT)
        rest, _ = process.communicate(timeout=60)
    assert seen == [b"", b"went on\ntimed\n"]
    assert (process.returncode, rest) == (0, b"went on\n")


HIDDEN = """
import os, signal
from nnbench.execution import pauses

with pauses.heeded():
    with pauses.without_cursor(1):
        os.kill(os.getpid(), signal.SIGTSTP)
        os.write(1, b"went on")
    os.kill(os.getpid(), signal.SIGTSTP)
"""


def test_the_cursor_is_there_while_nnbench_is_stopped():
    command = [sys.executable, "-c", HIDDEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout
        seen = []
        for _ in range(2):
            wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            seen.append(os.read(process.stdout.fileno(), 100))
            process.send_signal(signal.SIGCONT)
        rest, _ = process.communicate(timeout=60)
    show, hide = b"\x1b[?25h", b"\x1b[?25l"
    assert seen == [show, hide + b"went on" + show]
    assert (process.returncode, rest) == (0, b"")


def test_long_time_without_a_look_is_time_away():
    assert [pauses.away_s(5.0, now) for now in (5.1, 6.0, 65.0)] == [0.0, 0.0, 60.0]
