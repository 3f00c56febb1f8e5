"""Other Python interpreters: an environment is built of a git revision, or located, then asked.

A revision is exported, not checked out: the working tree is never touched. What is built, once for
each commit, is the folder of the repository that nnbench was started in.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from nnbench.catalog import Listing
from nnbench.contract import FORMER
from nnbench.contract.errors import NnbenchError
from nnbench.distributions import own_requirement
from nnbench.execution import process
from nnbench.records import OWN_NAMES, PROTOCOL, Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.contract.backend import Backend

T = TypeVar("T")
PINS = "constraints.txt"
STAMP = "complete"  # written last, so that an interrupted build starts again
PIP = ("install", "--disable-pip-version-check", "--no-input")


class Interpreter(NamedTuple):
    """An interpreter that can run workers, and what is installed for it."""

    python: str
    listing: Listing
    environment: Environment

    @property
    def backends(self) -> dict[str, Backend]:
        """Its backends by name, as records: only its own workers can create their networks."""
        return {item.name: item.backend for item in self.listing.backends}


def locate(text: str) -> str:
    """Return the path of the interpreter that a user named.

    Raises
    ------
    NnbenchError
        If there is none that can be executed.
    """
    path = shutil.which(text)
    if path is None:
        raise NnbenchError(f"no interpreter {text!r}: give the path of an environment's bin/python")
    return str(Path(path).absolute())  # resolved, it would no longer be the environment's


@cache
def examine(python: str) -> Interpreter:
    """Ask an interpreter what it has.

    Raises
    ------
    NnbenchError
        If its nnbench is none that this one can work with, or one of its plugins is faulty.
    """
    check_protocol(python)
    return Interpreter(
        python,
        _decode(python, ask(python, "nnbench", "list", "--json"), Listing),
        _decode(python, ask(python, "nnbench", "info", "--json"), Environment),
    )


def check_protocol(python: str) -> None:
    """Refuse an interpreter whose workers would not understand this process."""
    needed = f"both environments need an nnbench with protocol {PROTOCOL}"
    try:
        found = ask(python, "nnbench.worker", "--protocol").decode(errors="replace").strip()
    except NnbenchError as error:
        raise NnbenchError(f"{needed}: {error}") from error
    if found != str(PROTOCOL):
        raise NnbenchError(f"{needed}: {python} answers {found!r}")


def ask(python: str, module: str, *arguments: str) -> bytes:
    """Run a module and return what it prints; what it complains of becomes a warning."""
    done = _run(process.command(python, module, *arguments), capture_output=True)
    complaints = done.stderr.decode(errors="replace").splitlines()
    if done.returncode:
        last = complaints[-1] if complaints else f"exit status {done.returncode}"
        raise NnbenchError(f"{python} -m {module}: {last}")
    for line in complaints:
        warnings.warn(f"{python}: {line}", stacklevel=2)
    return bytes(done.stdout)


def _run(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[Any]:
    variables = process.inherited(command[0])
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, env=variables, check=False, **more)
    except OSError as error:
        raise NnbenchError(f"cannot run {command[0]}: {error.strerror}") from error


def _decode(python: str, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise NnbenchError(f"{python}: its nnbench printed no {kind.__name__}: {error}") from error


def cache_folder() -> Path:
    """Return the folder that holds the environments."""
    import platformdirs

    return Path(platformdirs.user_cache_path("nnbench")) / "environments"


def git(*arguments: str) -> str:
    """Return what git says of the repository around the working directory."""
    done = _run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        raise NnbenchError(f"git {arguments[0]}: {lines[-1]}")
    return str(done.stdout).strip()


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


def build(commit: str, install: Sequence[str] = ()) -> Path:
    """Return the interpreter of a commit's environment, which is built if there is none.

    Parameters
    ----------
    commit
        The full hash.
    install
        More arguments for ``pip install``, such as ``.[all]``; relative paths are in the
        exported revision.

    Raises
    ------
    NnbenchError
        If the revision cannot be exported or installed; the message names the log.
    """
    folder = cache_folder() / identity(commit, install)
    python, log = folder / "bin" / "python", folder.with_suffix(".log")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may build the same environment
        if not ((folder / STAMP).exists() and python.exists()):
            try:
                create(folder, commit, install, log)
            except NnbenchError as error:
                raise NnbenchError(f"cannot build {commit[:12]}: {error} (log: {log})") from error
    return python


def identity(commit: str, install: Sequence[str]) -> str:
    """Name an environment after all that it depends on: the commit, and what else goes in."""
    others = [git("rev-parse", "--show-prefix"), *install, *own_requirement()]
    interpreter = [sys.base_prefix, sys.implementation.cache_tag]
    digest = hashlib.sha256(json.dumps([*others, *interpreter]).encode()).hexdigest()
    return f"{commit}-{digest[:8]}"


def create(folder: Path, commit: str, install: Sequence[str], log: Path) -> None:
    """Build an environment; the rest of an earlier attempt is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    with TemporaryDirectory(prefix="nnbench-") as temporary:
        archive, source = Path(temporary, "source.tar"), Path(temporary, "source")
        source.mkdir()
        call(log, ["git", "archive", "--output", str(archive), commit])
        call(log, ["tar", "-xf", str(archive)], source)
        call(log, process.command(None, "venv", str(folder)))
        pip = [*PIP, *pip_arguments(source, install)]
        python = str(folder / "bin" / "python")
        call(log, process.command(python, "pip", *pip), source)
        # A plugin of before may ask for "nnbench", which is another project's on package indexes, and
        # was installed over this one's files.
        namesakes = folder.glob(f"lib/python*/site-packages/{FORMER}-*.dist-info")
        if not is_own(source) and any(namesakes):
            again = [*PIP, "--force-reinstall", "--no-deps", *own_requirement()]
            call(log, process.command(python, "pip", "uninstall", "--yes", FORMER))
            call(log, process.command(python, "pip", *again))
    (folder / STAMP).touch()


def pip_arguments(source: Path, install: Sequence[str]) -> list[str]:
    """Return what pip is to install for the revision that lies in ``source``."""
    pinned = (source / PINS).exists()
    own = [] if is_own(source) else own_requirement()
    return [*(["--constraint", PINS] if pinned else []), ".", *own, *install]


def is_own(source: Path) -> bool:
    """Tell whether a revision is one of nnbench itself, under its name or the former one."""
    try:
        found = tomllib.loads((source / "pyproject.toml").read_text())
        return found["project"]["name"] in OWN_NAMES
    except (OSError, ValueError, KeyError):  # pip will judge what has no name
        return False


def call(log: Path, command: Sequence[str], folder: Path | None = None) -> None:
    """Run one step of a build, with its output at the end of the log."""
    with log.open("a+") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        done = _run(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        if done.returncode:
            file.seek(0)
            lines = file.read().splitlines()
            errors = [line for line in lines if line.startswith(("ERROR:", "error:"))]
            raise NnbenchError((errors or lines)[-1])
