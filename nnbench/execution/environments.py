"""Environments of git revisions: what a project depends on, and on top of that the project itself.

A revision is exported, not checked out: the working tree is never touched. What is built is the folder of
the repository that nnbench was started in. What a project depends on is installed once for all revisions
that say the same of it, the project once for each commit, in an environment that sees both.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from nnbench import files
from nnbench.config import documents
from nnbench.contract import FORMER
from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.distributions import SUITE, own_record, own_requirement
from nnbench.execution import process, variables
from nnbench.execution.interpreters import run
from nnbench.execution.supervisor import supervised
from nnbench.records.runs import OWN_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO, Self

    Tell = Callable[[str], object]  # of a step that begins

PINS = "constraints.txt"
STAMP = "complete"  # written last, so that an interrupted build starts again
QUIET = ("--disable-pip-version-check", "--no-input")
DECIDING = ("name", "dependencies", "optional-dependencies", "requires-python")  #: in [project]
PROJECT = re.compile(r"\./?(\[.*\])?")  #: how pip is told of the project in its working directory
PATH = re.compile(r"(?:--[\w-]+=|-[rce])?(?P<path>[^\[]+)(?:\[.*\])?")
LINK = "0-dependencies.pth"  #: the first of its kind to be read
POLL_S = 0.1
LAST_LINES = 15  #: of what a step printed that failed


class BuildError(NnbenchError):
    """An environment cannot be built; ``output`` is the end of what was printed meanwhile."""

    def __init__(self, message: str, output: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.output = output


def cache_folder() -> Path:
    """Return the folder that holds the environments."""
    return process.cache() / "environments"


def git(*arguments: str) -> str:
    """Return what git says of the repository around the working directory."""
    done = run(["git", *arguments], capture_output=True)
    said, complaint = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    if done.returncode:
        lines = complaint.splitlines() or [f"exit status {done.returncode}"]
        raise NnbenchError(f"git {arguments[0]}: {lines[-1]}")
    return str(said.strip())


def find_commit(revision: str) -> str:
    """Return the hash of a revision's commit.

    Raises
    ------
    NnbenchError
        If the working directory is in no git repository, or that has no such revision.
    """
    shallow = git("rev-parse", "--is-shallow-repository") == "true"
    try:
        return git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except NnbenchError:
        hint = ": it is shallow, fetch its history" if shallow else ""
        raise NnbenchError(f"no revision {revision!r} in this repository{hint}") from None


def build(
    commits: Mapping[str, str],
    install: Sequence[str] = (),
    tell: Callable[[str, str], object] = lambda _name, _step: None,
) -> list[str]:
    """Return the interpreters of the environments of some commits, all built at once that are not there.

    Parameters
    ----------
    commits
        Full hashes, by what the revisions are called.
    install
        More arguments for ``pip install``, such as ``.[all]``; relative paths are in the
        exported revision.
    tell
        Called with the name of a revision and what is done for it next.

    Raises
    ------
    BuildError
        If a revision cannot be exported or installed; the message names the log. What goes on for the
        others then ends.
    """
    with ThreadPoolExecutor(len(commits)) as pool, Steps() as steps:
        started = [
            pool.submit(_build, Revision(commit, tuple(install)), steps, partial(tell, name))
            for name, commit in commits.items()
        ]
        for ended in wait(started, return_when=FIRST_EXCEPTION).done:
            ended.result()
        return [str(each.result()) for each in started]


@dataclass(frozen=True)
class Revision:
    """A commit, with what else is to be installed beside its project."""

    commit: str
    install: tuple[str, ...] = ()

    @cached_property
    def project(self) -> dict[str, Any]:
        """What its pyproject.toml says of the project; nothing where that says nothing, or cannot be read."""
        with suppress(ValueError, KeyError, TypeError):
            return dict(documents.parse(self._read("pyproject.toml") or "")["project"])
        return {}  # pip will judge it

    @property
    def is_own(self) -> bool:
        """Whether it is one of nnbench itself, under its name or the former one."""
        return self.project.get("name") in OWN_NAMES

    @property
    def harness(self) -> list[str]:
        """Pip's arguments for nnbench, and for what its conformance suite needs."""
        # By name: a pip as old as that of Python 3.11 finds no extra of what comes from a folder.
        return [*([] if self.is_own else own_requirement()), *SUITE]

    @property
    def arguments(self) -> list[str]:
        """Pip's arguments for the project and what goes with it, in the folder of the revision."""
        pins = [] if self._read(PINS) is None else ["--constraint", PINS]
        return [*pins, ".", *self.install]

    @cached_property
    def needs(self) -> str:
        """Identify what it depends on. Revisions that agree on this share it."""
        folder = git("rev-parse", "--show-prefix")
        said = (
            [self.project.get(key) for key in DECIDING] if self.is_told else [self.commit, folder]
        )
        own = "" if self.is_own else own_record()
        python = [sys.base_prefix, sys.version, sysconfig.get_platform()]
        return _digest(said, self._read(PINS), self.install, self.harness, own, python)

    @property
    def is_told(self) -> bool:
        """Whether what it depends on stands in pyproject.toml, and in no other of its files."""
        is_dynamic = "dependencies" in str(self.project.get("dynamic"))
        others = [word for word in self.install if not PROJECT.fullmatch(word)]
        return bool(self.project) and not is_dynamic and not any(map(self._has, others))

    @property
    def identity(self) -> str:
        """Name its environment after all that goes into that."""
        folder = git("rev-parse", "--show-prefix")
        return f"{self.commit}-{_digest(self.needs, folder)}"

    def _read(self, name: str) -> str | None:
        """Return the text of a file; None if it has none."""
        try:
            return git("show", f"{self.commit}:./{name}")
        except NnbenchError:
            return None

    def _has(self, word: str) -> bool:
        """Tell whether an argument of pip names something in it."""
        path = PATH.fullmatch(word)
        try:
            git("cat-file", "-e", f"{self.commit}:./{path['path'] if path else word}")
        except NnbenchError:
            return False
        return True


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


class Steps:
    """The commands of builds that go on at once. When the context is left, they end."""

    def __init__(self) -> None:
        self._over, self._lock = Event(), Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over.set()
            for child in self._running:
                child.terminate()  # its supervisor ends all that comes of it

    def run(self, log: Path, command: Sequence[str], folder: Path | None = None) -> None:
        """Run one step of a build, with its output at the end of the log.

        Raises
        ------
        BuildError
            If it fails, or is not to be run any more.
        """
        with log.open("a+", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            program = shutil.which(command[0]) or command[0]
            with self._lock:
                self._refuse_if_over()
                child = subprocess.Popen(
                    supervised([program, *command[1:]]),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=variables.all_for_another(os.environ),
                    start_new_session=True,
                )
                self._running.add(child)
            status = child.wait()
            with self._lock:
                self._running.remove(child)
            if status:
                file.seek(0)
                lines = file.read().splitlines()
                errors = [line for line in lines if line.startswith(("ERROR:", "error:"))]
                raise BuildError((errors or lines)[-1], lines[-LAST_LINES:])

    def take(self, lock: IO[str], tell: Tell) -> None:
        """Take a lock when nobody else has it."""
        is_told = False
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if not is_told:
                tell("waits for what another build installs")
                is_told = True
            self._over.wait(POLL_S)
            self._refuse_if_over()

    def _refuse_if_over(self) -> None:
        if self._over.is_set():
            raise BuildError("it was stopped")


def beside(folder: Path) -> tuple[Path, Path]:
    """Return the log and the lock of an environment, whether it is there or not."""
    return folder.with_suffix(".log"), folder.with_suffix(".lock")


def remove(folder: Path) -> None:
    """Remove an environment with its log and its lock, as far as they are there.

    Raises
    ------
    ResultsError
        If it is being built.
    """
    log, lock_file = beside(folder)
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsError(f"{folder} is being built by another nnbench") from error
        if folder.exists():
            shutil.rmtree(folder)
        log.unlink(missing_ok=True)
        lock_file.unlink(missing_ok=True)


def _is_at(path: Path, file: IO[str]) -> bool:
    """Tell whether an open file still is what lies at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def _build(revision: Revision, steps: Steps, tell: Tell) -> Path:
    """Return the interpreter of a revision's environment."""
    started = monotonic()
    with TemporaryDirectory(prefix="nnbench-") as temporary:
        build = _Build(revision, Path(temporary), steps, tell)
        is_new = build.provide(build.needed, build.install_dependencies)
        is_new |= build.provide(build.own, build.install_project)
    tell(f"is built, in {monotonic() - started:.0f} s" if is_new else "was built before")
    return _python(build.own)


class _Build:
    """The build of a revision, in a folder for what it depends on and one of its own."""

    def __init__(self, revision: Revision, temporary: Path, steps: Steps, tell: Tell) -> None:
        self.revision, self.steps, self.tell = revision, steps, tell
        self.needed = cache_folder() / f"dependencies-{revision.needs}"
        self.own = cache_folder() / revision.identity
        self.archive, self.source = temporary / "source.tar", temporary / "source"

    def provide(self, folder: Path, install: Callable[[Path], None]) -> bool:
        """Have something installed in a folder, and tell whether it was not there.

        Whoever wants the same meanwhile waits for it. The rest of an earlier attempt is removed.

        Raises
        ------
        ResultsError
            If the folder of all environments cannot be written to.
        """
        log, lock_file = beside(folder)
        with files.named(folder.parent, instead=process.OTHER_CACHE):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock_file.touch()
        with lock_file.open("w") as lock:
            self.steps.take(lock, self.tell)
            if not _is_at(lock_file, lock):  # it was removed while we waited, with the environment
                return self.provide(folder, install)
            if (folder / STAMP).exists() and _python(folder).exists():
                return False
            shutil.rmtree(folder, ignore_errors=True)
            log.unlink(missing_ok=True)
            try:
                install(log)
            except BuildError as error:
                text = f"cannot build {self.revision.commit[:12]}: {error} (log: {log})"
                raise BuildError(text, error.output) from error
            (folder / STAMP).touch()
        return True

    def install_dependencies(self, log: Path) -> None:
        """Let pip find out what the project depends on by installing it, then take the project out again."""
        self.export(log)
        self.tell("installs what it depends on")
        self.steps.run(log, process.command(None, "venv", str(self.needed)))
        self.pip(log, self.needed, "install", *self.revision.arguments, *self.revision.harness)
        # A plugin of before may ask for "nnbench", which is another project's on package indexes, and
        # was installed over this one's files.
        namesakes = _packages(self.needed).glob(f"{FORMER}-*.dist-info")
        if not self.revision.is_own and any(namesakes):
            self.pip(log, self.needed, "uninstall", "--yes", FORMER)
            again = ["--force-reinstall", "--no-deps", *own_requirement()]
            self.pip(log, self.needed, "install", *again)
        if name := self.revision.project.get("name"):
            self.pip(log, self.needed, "uninstall", "--yes", str(name))

    def install_project(self, log: Path) -> None:
        """Install the project where what it depends on is seen, and nothing else."""
        self.export(log)
        self.tell("builds and installs it")
        self.steps.run(log, process.command(None, "venv", "--without-pip", str(self.own)))
        packages, needed = _packages(self.own), _packages(self.needed)
        # As paths, which the isolated builds of pip know to leave out. What these folders
        # would add, such as the folder of an editable nnbench, is not read from there.
        for file in needed.glob("*.pth"):
            shutil.copy(file, packages)
        (packages / LINK).write_bytes(os.fsencode(needed) + b"\n")
        self.pip(log, self.own, "install", "--no-deps", *self.revision.arguments)

    def export(self, log: Path) -> None:
        """Copy what is committed to the folder of the source, unless it is there."""
        if self.source.exists():
            return
        self.source.mkdir()
        self.steps.run(log, ["git", "archive", "--output", str(self.archive), self.revision.commit])
        self.steps.run(log, ["tar", "-xf", str(self.archive)], self.source)

    def pip(self, log: Path, folder: Path, what: str, *arguments: str) -> None:
        """Run pip for an environment, in the folder of the source."""
        command = process.command(str(_python(folder)), "pip", what, *QUIET, *arguments)
        self.steps.run(log, command, self.source)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _packages(folder: Path) -> Path:
    """Return where the packages of an environment are."""
    [found] = folder.glob("lib/python*/site-packages")
    return found
