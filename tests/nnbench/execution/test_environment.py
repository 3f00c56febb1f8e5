"""What a result depends on is found out, and nothing of it is required."""

import os
import shutil
import subprocess

import msgspec
import pytest

from nnbench.execution import machine
from nnbench.execution.machine import examine, git_state
from nnbench.records import Environment

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
