"""Whether workers find room is counted before they start."""

from types import SimpleNamespace

import psutil
import pytest

from nnbench.execution import gpu, memory
from nnbench.execution.memory import COPIES, LIBRARY_BYTES, SLACK, Memory, available
from nnbench.execution.tree import Taken
from nnbench.kernel import memory_bytes

GIB = 1 << 30


class Seen:
    """A tree that has so much memory."""

    def __init__(self, now, peak):
        self.taken = Taken(now, peak)

    def memory(self):
        return self.taken


@pytest.fixture
def free(monkeypatch):
    """Give a function that says how much memory there is."""

    def say(host, of_gpu=None):
        monkeypatch.setattr(memory, "available", lambda: int(host))
        monkeypatch.setattr(gpu, "free_bytes", lambda: of_gpu)

    return say


def test_worker_that_nobody_has_seen_is_guessed_at(free):
    guess = SLACK * (COPIES * GIB + LIBRARY_BYTES)
    counted = Memory(GIB)
    free(guess)
    assert counted.holds(["a"], ["cpu"], [])
    free(guess - 1)
    assert not counted.holds(["a"], ["cpu"], [])
    free(2 * guess)
    assert counted.holds(["a", "b"], ["cpu", "cpu"], [])


def test_worker_that_was_seen_needs_its_peak_and_a_little_more(free):
    counted = Memory(GIB)
    counted.note("a", Seen(1, 4 * GIB))
    counted.note("a", Seen(1, 3 * GIB))
    free(SLACK * 4 * GIB)
    assert counted.holds(["a"], ["cpu"], [])
    free(SLACK * 4 * GIB - 1)
    assert not counted.holds(["a"], ["cpu"], [])


def test_those_that_are_there_may_come_back_to_their_peaks(free):
    counted = Memory(0)
    counted.note("a", Seen(0, GIB))
    beside = [Seen(GIB, 2 * GIB), Seen(8 * GIB, GIB)]
    free(SLACK * GIB + SLACK * 2 * GIB - GIB)
    assert counted.holds(["a"], ["cpu"], beside)
    free(SLACK * GIB + SLACK * 2 * GIB - GIB - 1)
    assert not counted.holds(["a"], ["cpu"], beside)


def test_gpu_has_its_own_count(free):
    counted = Memory(0)
    counted.note("a", Seen(0, 1))
    counted.note_gpu("a", 8 * GIB, 6 * GIB)
    counted.note_gpu("a", 8 * GIB, 7 * GIB)
    counted.note_gpu("a", None, None)
    for of_gpu, fits in ((SLACK * 2 * GIB, True), (SLACK * 2 * GIB - 1, False), (None, True)):
        free(GIB, of_gpu)
        assert counted.holds(["a"], ["cuda"], []) is fits
        assert counted.holds(["a"], ["cpu"], [])


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Give a folder that stands for ``/`` of a system with 64 GiB, and a function that writes below it."""
    found = SimpleNamespace(available=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: found)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "gibibytes"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/a/b"}, 64),
        ({"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/b/memory.current": GIB}, 64),
        ({"sys/fs/cgroup/a/b/memory.max": 4 * GIB, "sys/fs/cgroup/a/b/memory.current": GIB}, 3),
        ({"sys/fs/cgroup/a/memory.max": 4 * GIB, "sys/fs/cgroup/a/memory.current": GIB}, 3),
        ({"sys/fs/cgroup/memory.max": 4 * GIB, "sys/fs/cgroup/memory.current": GIB}, 3),
        ({"sys/fs/cgroup/memory.max": GIB, "sys/fs/cgroup/memory.current": 2 * GIB}, 0),
        ({"sys/fs/memory.max": GIB, "sys/fs/memory.current": GIB}, 64),
        (
            {
                "sys/fs/cgroup/a/memory.max": 4 * GIB,
                "sys/fs/cgroup/a/memory.current": 3 * GIB,
                "sys/fs/cgroup/a/memory.stat": f"anon 7\nactive_file {GIB}\ninactive_file 0",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/a\n3:memory,other:/docker/x",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 8 * GIB,
                "sys/fs/cgroup/memory/memory.usage_in_bytes": GIB,
            },
            7,
        ),
    ],
)
def test_control_groups_limit_what_is_there(root, files, gibibytes):
    assert available(root({"proc/self/cgroup": "0::/a/b", **files})) == gibibytes * GIB


def test_whatever_else_is_used_a_group_has_no_more_than_its_limit(root):
    assert memory_bytes(root({})) > 4096
    files = {"sys/fs/cgroup/a/memory.max": 4096, "sys/fs/cgroup/a/memory.current": 4095}
    assert memory_bytes(root({"proc/self/cgroup": "0::/a/b", **files})) == 4096


def test_memory_of_this_machine_is_known():
    assert 0 < available() <= psutil.virtual_memory().total
