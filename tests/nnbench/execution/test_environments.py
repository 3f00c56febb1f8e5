"""Environments of git revisions: built once, whole or not at all, and without the network."""

import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.execution import environments
from nnbench.execution.environments import BuildError, Revision, Steps, build, find_commit

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
    monkeypatch.setattr(environments, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(environments, "own_requirement", lambda: ["nnbench-harness==9"])
    monkeypatch.setattr(environments, "SUITE", ())  # which comes from an index
    return repository


@pytest.fixture
def calls(monkeypatch):
    """Record the commands of builds, and make only the interpreter."""
    found = []

    def run(_self, log, command, _folder=None):
        found.append(list(command))
        log.touch()
        if "venv" in command:
            make_environment(Path(command[-1]))

    monkeypatch.setattr(Steps, "run", run)
    return found


def make_environment(folder):
    for name in ("bin/python", "lib/python3/site-packages/x.pth"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()


def build_one(commit_hash, *install, **more):
    [python] = build({"it": commit_hash}, install, **more)
    return Path(python)


def pips(calls):
    """Return what pip was asked for, without what is the same each time."""
    asked = [command[command.index("pip") + 1 :] for command in calls if "pip" in command]
    return [[word for word in words if word not in environments.QUIET] for words in asked]


def dependencies(python):
    """Return the folder of what an environment sees beside its own packages."""
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    return Path((packages / environments.LINK).read_text().strip()).parents[2]


def test_revisions_are_built_at_once_and_the_working_tree_is_not_touched(here, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(here))
    commits = {"base": find_commit("HEAD~1"), "head": find_commit("HEAD")}
    pythons = [Path(python) for python in build(commits, ["--no-index"])]
    monkeypatch.delenv("PYTHONPATH")
    values = []
    for python in pythons:
        command = [python, "-P", "-c", "import revised; print(revised.VALUE, revised.__file__)"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        value, path = done.stdout.split()
        values.append(value)
        assert path.startswith(str(python.parents[1]))
    assert values == ["1", "2"]
    [shared] = set(map(dependencies, pythons))
    assert list(shared.glob("lib/python*/site-packages/pip"))
    assert not list(shared.glob("lib/python*/site-packages/revised.py"))
    assert (here / "revised.py").read_text() == "VALUE = 3\n"
    assert {path.name for path in here.iterdir()} == {
        *(".git", "builder.py", "pyproject.toml", "revised.py")
    }


def test_dependencies_are_installed_once_and_the_project_for_each_commit(calls):
    base, head = find_commit("HEAD~1"), find_commit("HEAD")
    first = build_one(base)
    assert pips(calls) == [
        ["install", "."],
        ["uninstall", "--yes", "nnbench"],
        ["install", "--no-deps", "."],
    ]
    calls.clear()
    second = build_one(head)
    assert pips(calls) == [["install", "--no-deps", "."]]
    assert [python.parents[1].name[:40] for python in (first, second)] == [base, head]
    assert dependencies(first) == dependencies(second)
    assert [*second.parents[1].rglob("x.pth")] != []


def test_second_build_runs_nothing(calls):
    head, told = find_commit("HEAD"), []
    python = build_one(head)
    calls.clear()
    assert build_one(head, tell=lambda *said: told.append(said)) == python
    assert calls == []
    assert told == [("it", "was built before")]


@pytest.mark.usefixtures("calls")
def test_steps_are_told(monkeypatch):
    monkeypatch.setattr(environments, "monotonic", lambda: 7.0)
    told = []
    build_one(find_commit("HEAD"), tell=lambda *said: told.append(said))
    assert told == [
        ("it", "installs what it depends on"),
        ("it", "builds and installs it"),
        ("it", "is built, in 0 s"),
    ]


@pytest.mark.usefixtures("calls")
def test_what_else_goes_in_makes_another_environment(monkeypatch):
    head, base = find_commit("HEAD"), find_commit("HEAD~1")
    monkeypatch.setattr(Revision, "is_own", False)
    found = {build_one(head), build_one(base), build_one(head, "x")}
    monkeypatch.setattr(environments, "own_record", lambda: "another nnbench of the same version")
    assert len(found | {build_one(head)}) == 4


@pytest.fixture
def needs(tmp_path, monkeypatch):
    """Give a function that commits files, and returns what the revision needs."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    monkeypatch.chdir(folder)

    def commit_files(project, install=(), **files):
        texts = {"pyproject": f"[project]\nversion = '{time.monotonic_ns()}'\n{project}\n", **files}
        for name, text in texts.items():
            (folder / f"{name}.{'txt' if name in files else 'toml'}").write_text(text)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "it")
        return Revision(find_commit("HEAD"), tuple(install)).needs

    return commit_files


NAMED = "name = 'mine'\ndependencies = ['torch']"


@pytest.mark.parametrize(
    ("project", "more"),
    [
        ("name = 'mine'\ndependencies = ['torch>2']", {}),
        ("name = 'other'\ndependencies = ['torch']", {}),
        (f"{NAMED}\noptional-dependencies = {{x = ['y']}}", {}),
        (NAMED, {"constraints": "torch==2.5\n"}),
        (NAMED, {"install": ["--pre"]}),
    ],
)
def test_other_dependencies_are_others(needs, project, more):
    assert needs(NAMED) != needs(project, **more)


def test_another_version_of_the_project_depends_on_the_same(needs):
    assert needs(NAMED) == needs(NAMED) == needs(NAMED, readme="text")
    assert needs(NAMED, [".[x]"]) == needs(NAMED, [".[x]"])


@pytest.mark.parametrize(
    ("project", "install"),
    [
        ("name = 'mine'\ndynamic = ['dependencies']", []),
        ("name = 'mine'\ndynamic = ['optional-dependencies']", []),
        ("not toml", []),
        (f"{NAMED}\n{'a.' * 5000}a = 1", []),  # which nobody means
        (NAMED, ["-r", "needed.txt"]),
        (NAMED, ["-rneeded.txt"]),
        (NAMED, ["--requirement=needed.txt"]),
        (NAMED, ["./needed.txt[x]"]),
    ],
)
def test_dependencies_that_pyproject_does_not_tell_are_those_of_a_commit(needs, project, install):
    assert needs(project, install, needed="torch\n") != needs(project, install, needed="torch\n")


def test_interrupted_build_starts_again(calls, monkeypatch):
    head, before = find_commit("HEAD"), Steps.run

    def interrupt(self, log, command, *rest):
        before(self, log, command, *rest)
        if "pip" in command:
            raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_one(head)
    monkeypatch.setattr(Steps, "run", before)
    calls.clear()
    python = build_one(head)
    assert python.exists()
    assert len(pips(calls)) == 3


@pytest.mark.usefixtures("calls")
def test_environment_whose_interpreter_is_gone_is_built_again():
    head = find_commit("HEAD")
    build_one(head).unlink()
    assert build_one(head).exists()


def test_two_builds_at_once_are_one(calls, monkeypatch):
    head, before, told = find_commit("HEAD"), Steps.run, []

    def dawdle(*arguments):
        time.sleep(0.02)
        before(*arguments)

    monkeypatch.setattr(Steps, "run", dawdle)

    def tell(*said):
        told.append(said)

    threads = [threading.Thread(target=partial(build_one, head, tell=tell)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pips(calls)) == 3
    assert ("it", "waits for what another build installs") in told


def test_failed_build_is_one_line_that_names_the_log(tmp_path):
    with pytest.raises(BuildError) as raised:
        build_one("0" * 40)
    (log,) = (tmp_path / "cache").glob("*.log")
    message = str(raised.value)
    assert message.startswith("cannot build 000000000000: fatal: ")
    assert message.endswith(f"(log: {log})")
    first, *others = raised.value.output
    assert "git archive" in first
    assert others[-1].startswith("fatal: ")


def test_build_that_fails_ends_the_others(tmp_path):
    began, steps, ended = time.monotonic(), Steps(), []

    def sleep():
        try:
            steps.run(tmp_path / "log", [sys.executable, "-c", "import time; time.sleep(60)"])
        except BuildError as error:
            ended.append(str(error))

    thread = threading.Thread(target=sleep)
    with steps:
        thread.start()
        while not steps._running:
            time.sleep(0.01)
    thread.join()
    sleep()  # when it is over, nothing begins any more
    assert (len(ended), ended[-1]) == (2, "it was stopped")
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("calls")
def test_folder_of_the_repository_is_built_alone(here, monkeypatch):
    head = find_commit("HEAD")
    whole = build_one(head)
    (here / "part").mkdir(exist_ok=True)
    monkeypatch.chdir(here / "part")
    part = build_one(head)
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
    ("project", "is_own"),
    [
        ('name = "mine"', False),
        ('name = "nnbench-harness"', True),
        ('name = "nnbench"', True),
        ("dynamic = true", False),
        ("not toml", False),
    ],
)
def test_pip_installs_the_revision_and_this_nnbench(needs, monkeypatch, project, is_own):
    monkeypatch.setattr(environments, "SUITE", ("pytest",))
    needs(project)
    revision = Revision(find_commit("HEAD"), ("extra",))
    assert revision.arguments == [".", "extra"]
    own = [] if is_own else ["nnbench-harness==9"]
    assert revision.harness == [*own, "pytest"]


def test_pins_of_the_revision_hold(needs):
    needs(NAMED, constraints="torch==2.5")
    assert Revision(find_commit("HEAD")).arguments == ["--constraint", "constraints.txt", "."]


def test_a_namesake_that_a_plugin_of_before_asked_for_is_put_out(calls, monkeypatch):
    monkeypatch.setattr(Revision, "is_own", False)
    made = Steps.run

    def run(self, log, command, *rest):
        made(self, log, command, *rest)
        if "venv" in command and "--without-pip" not in command:
            (Path(command[-1]) / "lib/python3/site-packages/nnbench-0.5.0.dist-info").mkdir()

    monkeypatch.setattr(Steps, "run", run)
    build_one(find_commit("HEAD"))
    assert pips(calls)[1:3] == [
        ["uninstall", "--yes", "nnbench"],
        ["install", "--force-reinstall", "--no-deps", "nnbench-harness==9"],
    ]


def test_this_interpreter_makes_the_environments(calls):
    build_one(find_commit("HEAD"))
    commands = [command for command in calls if "venv" in command]
    assert [command[0] for command in commands] == [sys.executable] * 2
