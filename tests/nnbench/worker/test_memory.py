"""Peaks of memory: since the start, and since the library was imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnbench.worker import memory
from nnbench.worker.memory import Mark, Peaks, Resident

LARGE = 50_000_000
KIB = 1024


@pytest.fixture
def proc(tmp_path):
    """Give a function that writes what the kernel would say of processes: of this one, and of those below."""

    def write(own, **below):
        for name, (now, peak) in {"self": own, **below}.items():
            folder = tmp_path / name.removeprefix("pid")
            (folder / "task" / "1").mkdir(parents=True, exist_ok=True)
            (folder / "task" / "1" / "children").write_text("")
            said = f"Name:\tworker\nVmHWM:\t{peak} kB\nVmRSS:\t{now} kB\nRssShmem:\t7 kB\n"
            (folder / "status").write_text(said)
        children = " ".join(name.removeprefix("pid") for name in below)
        (tmp_path / "self" / "task" / "1" / "children").write_text(children)
        return tmp_path

    return write


def test_training_is_what_came_since_the_import(proc):
    root = proc((100, 300))
    since = memory.mark(root)
    assert since == Mark(100 * KIB, 300 * KIB, is_anew=True)
    assert (root / "self" / "clear_refs").read_text() == "5"
    proc((120, 180))  # the kernel counts anew
    assert memory.peaks(since, root) == Peaks(300 * KIB, 80 * KIB)


def test_processes_below_count_with_their_own(proc):
    since = memory.mark(proc((100, 100), pid8=(10, 50)))
    root = proc((100, 150), pid8=(10, 50), pid9=(30, 40))
    assert memory.peaks(since, root) == Peaks(240 * KIB, 130 * KIB)


@pytest.mark.parametrize(("peak", "training"), [(300, None), (301, 201)])
def test_kernel_that_counts_no_peak_anew_knows_a_higher_one_alone(proc, peak, training):
    root = proc((100, 300))
    (root / "self" / "clear_refs").mkdir()  # which nobody can write to
    since = memory.mark(root)
    assert since == Mark(100 * KIB, 300 * KIB, is_anew=False)
    found = memory.peaks(since, proc((120, peak)))
    assert found == Peaks(peak * KIB, None if training is None else training * KIB)


def test_system_without_proc_knows_one_peak(tmp_path):
    assert memory.mark(tmp_path) is None
    found = memory.peaks(None, tmp_path)
    assert found.whole > 1 << 20
    assert found.training is None


def test_system_that_keeps_no_peak_has_no_mark(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("VmRSS:\t100 kB\n")
    assert memory.resident(tmp_path / "self") == Resident(100 * KIB, 0, 0)
    assert memory.mark(tmp_path) is None
    assert memory.peaks(None, tmp_path).training is None


def test_whoever_has_ended_has_nothing(tmp_path):
    assert memory.resident(tmp_path / "7") is None
    (tmp_path / "status").write_text("Name:\tworker\nState:\tZ (zombie)\n")
    assert memory.resident(tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_kernel_counts_the_peak_anew():
    code = f"""
from nnbench.worker import memory
gone = b"x" * {2 * LARGE}
del gone
since = memory.mark()
held = b"x" * {LARGE}
print(since.is_anew, *memory.peaks(since))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    is_anew, whole, training = done.stdout.split()
    assert is_anew == "True"
    assert int(whole) > 2 * LARGE
    assert LARGE <= int(training) + 500 * KIB < 1.5 * LARGE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_of_memory_is_of_all_processes_together():
    alone = memory.peaks(None).whole
    held = f"import sys; held = b'x' * {LARGE}; print(flush=True); sys.stdin.read()"
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", held], **pipes) as child:
        child.stdout.readline()
        together = memory.peaks(None).whole
        child.stdin.close()
    assert together - alone > LARGE
