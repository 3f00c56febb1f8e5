"""A machine: what it is, and what is kept of it."""

import os
import platform
import shutil
import subprocess
from dataclasses import replace

import cpuinfo
import msgspec
import pytest

from nnbench import interpreter
from nnbench.contract.errors import ResultsError
from nnbench.execution import machine
from nnbench.execution.machine import FLOORS, TURN_FLOORS, examine, git_state, noise_floor
from nnbench.records.runs import DEFAULT_FLOOR, DEFAULT_TURN_FLOOR, Environment

IDENTITY = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]


def git(*arguments):
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def here():
    return examine(["numpy", "click", "no-such-distribution"])


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Work in a new repository with one commit."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")


def test_machine_is_described(here):
    assert here.cpu
    assert here.system
    assert here.python.split()[1][0] == "3"
    assert here.memory_bytes > 2**20
    assert here.usable_cores >= 1
    assert here.logical_cores is None or here.usable_cores <= here.logical_cores


def test_the_cpu_says_its_name_and_is_asked_where_linux_does_not(tmp_path):
    assert machine.cpu_name(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Z80: the first\n\n")
    assert machine.cpu_name(tmp_path) == "Z80: the first"


def test_a_machine_is_known_under_the_name_of_before(here):
    assert here.cpu == cpuinfo.get_cpu_info()["brand_raw"]


def test_only_installed_distributions_have_versions(here):
    assert list(here.versions) == ["nnbench-harness", "numpy", "click"]
    assert "" not in here.versions.values()


def test_description_survives_json(here):
    assert msgspec.json.decode(msgspec.json.encode(here), type=Environment) == here


def test_usable_cpus_are_sorted_and_distinct():
    cpus = machine.usable_cpus()
    assert cpus == sorted(set(cpus))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only where processes are pinned")
def test_usable_cpus_are_those_of_this_process():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(before)})
        assert machine.usable_cpus() == [max(before)]
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("repository")
def test_git_state_is_the_commit():
    state = git_state()
    assert state is not None
    assert len(state) == 12
    assert git("rev-parse", "HEAD").startswith(state)


@pytest.mark.usefixtures("repository")
def test_git_state_ignores_tags():
    before = git_state()
    git("tag", "--annotate", "--message", "v1", "v1")
    assert git_state() == before


def test_git_state_tells_of_changes(repository, tmp_path):  # noqa: ARG001 - sets things up
    clean = git_state()
    (tmp_path / "file").write_text("two")
    assert git_state() == f"{clean}-dirty"


def test_repository_without_a_commit_has_no_state(repository, tmp_path, monkeypatch):  # noqa: ARG001 - sets things up
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    git("init", "--quiet")
    assert git_state() is None


def test_folder_outside_a_repository_has_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_state() is None


def test_machine_without_git_has_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() is None


@pytest.mark.usefixtures("home")
def test_unknown_machine_has_the_default(machine):
    assert noise_floor(machine) == DEFAULT_FLOOR
    assert noise_floor(machine, turns=True) == DEFAULT_TURN_FLOOR == 0.01


@pytest.mark.usefixtures("home")
def test_floor_of_turns_is_one_of_its_own(machine):
    TURN_FLOORS.save(machine, 0.02)
    assert noise_floor(machine, turns=True) == 0.02
    assert noise_floor(machine) == DEFAULT_FLOOR


@pytest.mark.usefixtures("home")
def test_saved_floor_is_found_again(machine):
    assert FLOORS.save(machine, 0.02) == FLOORS.path
    assert noise_floor(machine) == 0.02


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"cpu": "another"}, False),
        ({"gpus": ["a GPU"]}, False),
        ({"versions": {"numpy": "9"}}, True),  # a library does not make a machine noisier
        ({"git": "another"}, True),
    ],
)
def test_floor_belongs_to_the_machine(machine, changes, same):
    FLOORS.save(machine, 0.02)
    assert (noise_floor(replace(machine, **changes)) == 0.02) == same


@pytest.mark.usefixtures("home")
def test_two_machines_share_the_file(machine):
    other = replace(machine, cpu="another")
    FLOORS.save(machine, 0.02)
    FLOORS.save(other, 0.03)
    assert (noise_floor(machine), noise_floor(other)) == (0.02, 0.03)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": "b"}', b"\xff"])
def test_damaged_file_counts_as_none(machine, content):
    FLOORS.save(machine, 0.02)
    FLOORS.path.write_bytes(content)
    assert noise_floor(machine) == DEFAULT_FLOOR


@pytest.mark.usefixtures("home")
def test_unwritable_place_is_one_line(machine, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ResultsError, match="cannot write"):
        FLOORS.save(machine, 0.02)


@pytest.fixture
def granted(tmp_path):
    """Return a function that reads the quota of a process from what control groups say."""

    def read(process, **files):
        for name, content in {"proc/self/cgroup": process, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return machine.quota(tmp_path)

    return read


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"
OLD = "5:memory:/a\n4:cpu,cpuacct:/a/b\n0::/a/b"


@pytest.mark.parametrize(
    ("process", "files", "cpus"),
    [
        ("0::/a/b", {f"{V2}/a/b/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {f"{V2}/a/cpu.max": "50000 100000", f"{V2}/a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a/b", {f"{V2}/a/cpu.max": "400000 100000", f"{V2}/a/b/cpu.max": "20000 10000"}, 2),
        ("0::/a/b", {f"{V2}/a/b/cpu.max": "max 100000", f"{V2}/a/cpu.max": "max 100000"}, None),
        ("0::/", {f"{V2}/cpu.max": "300000 100000"}, 3),  # as a container sees itself
        ("0::/of/the/host", {f"{V2}/cpu.max": "300000 100000"}, 3),  # where it has no such name
        ("0::/../outside", {f"{V2}/cpu.max": "300000 100000"}, 3),
        ("0::/a", {}, None),
        (OLD, {f"{V1}/a/b/cpu.cfs_quota_us": "-1", f"{V1}/a/b/cpu.cfs_period_us": "100000"}, None),
        (OLD, {f"{V1}/a/cpu.cfs_quota_us": "250000", f"{V1}/a/cpu.cfs_period_us": "100000"}, 2.5),
        (OLD, {f"{V1}/cpu.cfs_quota_us": "70000", f"{V1}/cpu.cfs_period_us": "50000"}, 1.4),
        ("5:cpuset:/a", {f"{V2}/cpuset/a/cpu.max": "100000 100000"}, None),
    ],
)
def test_tightest_quota_of_the_control_groups_counts(granted, process, files, cpus):
    assert granted(process, **files) == cpus


def test_system_without_control_groups_has_no_quota(tmp_path):
    assert machine.quota(tmp_path) is None


@pytest.mark.parametrize(
    ("cpus", "quota", "most"),
    [([0, 1, 2], None, 3), ([0, 1, 2], 2.9, 2), ([0, 1, 2], 8.0, 3), ([0, 1, 2], 0.3, 1)],
)
def test_as_many_threads_compute_at_once_as_cpus_and_quota_allow(monkeypatch, cpus, quota, most):
    monkeypatch.setattr(machine, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(machine, "quota", lambda: quota)
    assert machine.most_threads() == most


def test_another_process_says_which_python_cells_have(monkeypatch):
    plain = machine.python()
    monkeypatch.setattr(interpreter, "can_be_switched", lambda: True)
    monkeypatch.setattr(interpreter, "describe", lambda: "as this process is")
    assert machine.python() == plain == f"CPython {platform.python_version()}"
