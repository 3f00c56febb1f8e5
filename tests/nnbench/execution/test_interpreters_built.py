"""Environments of git revisions: built once, whole or not at all, and without the network."""

import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.execution import interpreters
from nnbench.execution.interpreters import build, find_commit, pip_arguments

PYPROJECT = """
[build-system]
requires = []
build-backend = "builder"
backend-path = ["."]

[project]
name = "nnbench"
version = "1.0"
"""
# A build backend in the tree, so that pip needs nothing from anywhere.
BUILDER = """
import pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "nnbench-1.0-py3-none-any.whl", "nnbench-1.0.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.write("revised.py")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: nnbench\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def git(folder, *arguments):
    identity = [
        "-c",
        "user.name=me",
        "-c",
        "user.email=me@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    command = ["git", *identity, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def commit(folder, value):
    (folder / "revised.py").write_text(f"VALUE = {value}\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", f"value {value}")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Make a repository of two commits; in the working tree there is a third version."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "builder.py").write_text(BUILDER)
    commit(folder, 1)
    commit(folder, 2)
    (folder / "revised.py").write_text("VALUE = 3\n")
    return folder


@pytest.fixture(autouse=True)
def here(repository, tmp_path, monkeypatch):
    """Go into the repository, with an empty cache."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(interpreters, "cache_folder", lambda: tmp_path / "cache")
    return repository


@pytest.fixture
def calls(monkeypatch):
    """Record the commands of builds, and make only the interpreter."""
    found = []

    def call(log, command, *_):
        found.append(list(command))
        log.touch()
        if "venv" in command:
            python = Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(interpreters, "call", call)
    return found


def test_revision_is_built_and_the_working_tree_is_not_touched(here, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(here))
    python = build(find_commit("HEAD~1"), ["--no-index"])
    command = [python, "-P", "-c", "import revised; print(revised.VALUE, revised.__file__)"]
    monkeypatch.delenv("PYTHONPATH")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    value, path = done.stdout.split()
    assert value == "1"
    assert path.startswith(str(python.parent.parent))
    assert (here / "revised.py").read_text() == "VALUE = 3\n"
    assert {path.name for path in here.iterdir()} == {
        *(".git", "builder.py", "pyproject.toml", "revised.py")
    }


def test_second_build_runs_nothing(calls):
    head = find_commit("HEAD")
    python = build(head)
    assert python.parent.parent.name.startswith(head)
    count = len(calls)
    assert build(head) == python
    assert len(calls) == count


@pytest.mark.usefixtures("calls")
def test_what_else_goes_in_makes_another_environment(monkeypatch):
    head, base = find_commit("HEAD"), find_commit("HEAD~1")
    found = {build(head), build(base), build(head, ["x"])}
    monkeypatch.setattr(interpreters, "own_requirement", lambda: ["nnbench-harness==9"])
    assert len(found | {build(head)}) == 4


def test_interrupted_build_starts_again(calls, monkeypatch):
    head, before = find_commit("HEAD"), interpreters.call

    def interrupt(log, command, *rest):
        before(log, command, *rest)
        if "pip" in command:
            raise KeyboardInterrupt

    monkeypatch.setattr(interpreters, "call", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(head)
    monkeypatch.setattr(interpreters, "call", before)
    calls.clear()
    python = build(head)
    assert python.exists()
    assert any("pip" in command for command in calls)


@pytest.mark.usefixtures("calls")
def test_environment_whose_interpreter_is_gone_is_built_again():
    head = find_commit("HEAD")
    build(head).unlink()
    assert build(head).exists()


def test_two_builds_at_once_are_one(calls, monkeypatch):
    head, before = find_commit("HEAD"), interpreters.call

    def dawdle(*arguments):
        time.sleep(0.05)
        before(*arguments)

    monkeypatch.setattr(interpreters, "call", dawdle)
    threads = [threading.Thread(target=build, args=[head]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("venv" in command for command in calls) == 1


def test_failed_build_is_one_line_that_names_the_log(tmp_path):
    with pytest.raises(NnbenchError) as raised:
        build("0" * 40)
    (log,) = (tmp_path / "cache").glob("*.log")
    message = str(raised.value)
    assert message.startswith("cannot build 000000000000: fatal: ")
    assert message.endswith(f"(log: {log})")
    assert log.read_text().splitlines()[0].startswith("$ git archive ")


@pytest.mark.usefixtures("calls")
def test_folder_of_the_repository_is_built_alone(here, monkeypatch):
    head = find_commit("HEAD")
    whole = build(head)
    (here / "part").mkdir(exist_ok=True)
    monkeypatch.chdir(here / "part")
    part = build(head)
    (here / "part").rmdir()
    assert part != whole


def test_revision_is_any_name_of_a_commit():
    assert find_commit("HEAD") == find_commit("HEAD^{commit}") == find_commit("@")
    assert len(find_commit("HEAD~1")) == 40


@pytest.mark.parametrize("revision", ["nope", "", "--all", "HEAD~9", "HEAD:revised.py"])
def test_unknown_revision_is_refused(revision):
    with pytest.raises(NnbenchError) as raised:
        find_commit(revision)
    assert str(raised.value) == f"no revision {revision!r} in this repository"


def test_shallow_clone_is_told(here, tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    git(here, "clone", "--quiet", "--depth=1", here.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    with pytest.raises(NnbenchError, match="'HEAD~1' in this repository: it is shallow"):
        find_commit("HEAD~1")


def test_folder_without_a_repository_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NnbenchError, match="git rev-parse: fatal: not a git repository"):
        find_commit("HEAD")


def test_machine_without_git_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NnbenchError, match="cannot run git: No such file"):
        find_commit("HEAD")


@pytest.mark.parametrize(
    ("project", "pinned", "arguments"),
    [
        ('name = "mine"', False, ". nnbench-harness==9 extra"),
        ('name = "mine"', True, "--constraint constraints.txt . nnbench-harness==9 extra"),
        ('name = "nnbench-harness"', False, ". extra"),
        ('name = "nnbench"', False, ". extra"),
        ("dynamic = true", False, ". nnbench-harness==9 extra"),
        ("not toml", False, ". nnbench-harness==9 extra"),
        (None, False, ". nnbench-harness==9 extra"),
    ],
)
def test_pip_installs_the_revision_and_this_nnbench(
    tmp_path, monkeypatch, project, pinned, arguments
):
    monkeypatch.setattr(interpreters, "own_requirement", lambda: ["nnbench-harness==9"])
    if project:
        (tmp_path / "pyproject.toml").write_text(f"[project]\n{project}\n")
    if pinned:
        (tmp_path / "constraints.txt").touch()
    assert pip_arguments(tmp_path, ["extra"]) == shlex.split(arguments)


def test_a_namesake_that_a_plugin_of_before_asked_for_is_put_out(calls, monkeypatch):
    monkeypatch.setattr(interpreters, "own_requirement", lambda: ["nnbench-harness==9"])
    monkeypatch.setattr(interpreters, "is_own", lambda _: False)
    commit_hash, made = find_commit("HEAD"), interpreters.call

    def call(log, command, *rest):
        made(log, command, *rest)
        if "venv" in command:
            Path(command[-1], "lib/python3/site-packages/nnbench-0.5.0.dist-info").mkdir(
                parents=True
            )

    monkeypatch.setattr(interpreters, "call", call)
    build(commit_hash)
    uninstall, again = (command[command.index("pip") + 1 :] for command in calls[-2:])
    assert uninstall == ["uninstall", "--yes", "nnbench"]
    assert again[-3:] == ["--force-reinstall", "--no-deps", "nnbench-harness==9"]


def test_this_interpreter_makes_the_environment(calls):
    build(find_commit("HEAD"))
    (command,) = [command for command in calls if "venv" in command]
    assert command[0] == sys.executable
