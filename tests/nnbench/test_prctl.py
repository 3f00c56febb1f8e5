"""What a process asks Linux for, as the kernel then says it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.helpers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that is asked")


def test_process_whose_parent_has_died_before_it_could_ask_ends():
    code = "from nnbench import prctl; prctl.die_with_parent({}); print('lives')"
    another = 1 if os.getpid() != 1 else 2
    done = [
        subprocess.run(
            [sys.executable, "-c", code.format(parent)], capture_output=True, check=False
        )
        for parent in (os.getpid(), another)
    ]
    assert [(each.returncode, each.stdout) for each in done] == [(0, b"lives\n"), (1, b"")]


def run(source):
    command = [sys.executable, "-c", source]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_memory_is_hidden_from_processes_but_not_from_children_of_its_own():
    asked = "import ctypes, subprocess, sys; from nnbench import prctl; prctl.hide_memory();"
    tell = "import ctypes; print(ctypes.CDLL(None).prctl(3))"  # PR_GET_DUMPABLE
    told = run(
        f"{asked} {tell}; sys.stdout.flush(); subprocess.run([sys.executable, '-c', {tell!r}])"
    )
    assert told.split() == ["0", "1"]


def test_process_dies_with_its_parent():
    child = (
        "import os, time; from nnbench import prctl; prctl.die_with_parent(os.getppid());"
        "print(1, flush=True); time.sleep(600)"
    )
    parent = (
        "import subprocess, sys, os, signal;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE);"
        "p.stdout.readline(); print(p.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, check=False
    )
    stat = Path("/proc", done.stdout.strip(), "stat")
    wait_until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")
