"""Other Python interpreters: located, then asked what they have."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from nnbench.catalog import Listing
from nnbench.contract.errors import NnbenchError
from nnbench.execution import probing, process, variables
from nnbench.execution.probing import Probe
from nnbench.execution.supervisor import supervised
from nnbench.records import PROTOCOL, Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nnbench.contract.backend import Backend

T = TypeVar("T")


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


def of_each(ask: Callable[[str], T], pythons: Sequence[str]) -> list[T]:
    """Ask several interpreters the same at once; one that is there twice only once."""
    different = [*dict.fromkeys(pythons)]
    with ThreadPoolExecutor(len(different)) as pool:
        found = dict(zip(different, pool.map(ask, different), strict=True))
    return [found[python] for python in pythons]


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


def probe(python: str, names: Iterable[str]) -> Probe | None:
    """Ask an interpreter what it finds of some backends; None if its nnbench is too old to say.

    They are imported there, by a process that ends with all that it starts.

    Raises
    ------
    NnbenchError
        If they end that process, or it says something else.
    """
    command = process.command(python, probing.__name__, *names)
    done = run(supervised(command), capture_output=True)
    if not done.returncode:
        return _decode(python, done.stdout, Probe)
    said = done.stderr.decode(errors="replace").splitlines() or [f"status {done.returncode}"]
    if said[-1].endswith(f"No module named {probing.__name__}"):
        return None
    raise NnbenchError(f"{python} cannot import {', '.join(names)}: {said[-1]}")


def ask(python: str, module: str, *arguments: str) -> bytes:
    """Run a module and return what it prints; what it complains of becomes a warning."""
    done = run(process.command(python, module, *arguments), capture_output=True)
    complaints = done.stderr.decode(errors="replace").splitlines()
    if done.returncode:
        last = complaints[-1] if complaints else f"exit status {done.returncode}"
        raise NnbenchError(f"{python} -m {module}: {last}")
    for line in complaints:
        warnings.warn(f"{python}: {line}", stacklevel=2)
    return bytes(done.stdout)


def run(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command, without what this interpreter alone should see."""
    kept = variables.all_for_another(os.environ)
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, env=kept, check=False, **more)
    except OSError as error:
        raise NnbenchError(f"cannot run {command[0]}: {error.strerror}") from error


def _decode(python: str, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NnbenchError(f"{python}: its nnbench printed no {kind.__name__}: {error}") from error
