"""Other Python interpreters: how workers are started with them, and what their nnbench has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from nnbench.contract.errors import NnbenchError
from nnbench.records import PROTOCOL

if TYPE_CHECKING:
    from nnbench.catalog import Listing
    from nnbench.records import Environment

T = TypeVar("T")
LEAKS = {"PYTHONPATH", "PYTHONHOME"}  # they would put this interpreter's packages into another


def command(python: str | None, module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module, with this interpreter if ``python`` is None.

    With -P the working directory is not searched: there may be another version of a plugin in
    it, or a file with the name of a standard module.
    """
    return [python or sys.executable, "-P", "-m", module, *arguments]


def variables(python: str | None) -> dict[str, str]:
    """Return the environment variables for that command."""
    return {key: value for key, value in os.environ.items() if not (python and key in LEAKS)}


class Interpreter(NamedTuple):
    """An interpreter that can run workers, and what is installed for it."""

    python: str
    listing: Listing
    environment: Environment


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


def examine(python: str) -> Interpreter:
    """Ask an interpreter what it has.

    Raises
    ------
    NnbenchError
        If its nnbench is none that this one can work with, or one of its plugins is faulty.
    """
    from nnbench.catalog import Listing
    from nnbench.records import Environment

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
    try:
        done = subprocess.run(
            command(python, module, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=variables(python),
            check=False,
        )
    except OSError as error:
        raise NnbenchError(f"cannot run {python}: {error.strerror}") from error
    complaints = done.stderr.decode(errors="replace").splitlines()
    if done.returncode:
        last = complaints[-1] if complaints else f"exit status {done.returncode}"
        raise NnbenchError(f"{python} -m {module}: {last}")
    for line in complaints:
        warnings.warn(f"{python}: {line}", stacklevel=2)
    return done.stdout


def _decode(python: str, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise NnbenchError(f"{python}: its nnbench printed no {kind.__name__}: {error}") from error
