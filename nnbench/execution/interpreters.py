"""Other Python interpreters: located, then asked what they have."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from nnbench.catalog.listings import Listing
from nnbench.contract.errors import NnbenchError
from nnbench.execution import probing, process, variables
from nnbench.execution.probing import Probe
from nnbench.execution.supervisor import CANNOT_START
from nnbench.records import PROTOCOL
from nnbench.records.runs import Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nnbench.contract.backend import Backend

T = TypeVar("T")
LIMIT_S = 120.0  #: for the imports of all plugins
POLL_S = 0.1


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
    with ThreadPoolExecutor(len(pythons)) as pool:
        asked = {python: pool.submit(ask, python) for python in dict.fromkeys(pythons)}
        try:
            return [asked[python].result() for python in pythons]
        except BaseException:  # such as Ctrl-C, which reaches none of them
            while wait(asked.values(), POLL_S).not_done:
                process.end_running()
            raise


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
    done = _run_module(python, probing.__name__, *names)
    if not done.returncode:
        return _decode(python, done.stdout, Probe)
    said = done.stderr.decode(errors="replace").splitlines() or [f"status {done.returncode}"]
    if said[-1].endswith(f"No module named {probing.__name__}"):
        return None
    raise NnbenchError(f"{python} cannot import {', '.join(names)}: {said[-1]}")


def ask(python: str, module: str, *arguments: str) -> bytes:
    """Run a module and return what it prints; what it complains of becomes a warning."""
    done = _run_module(python, module, *arguments)
    complaints = done.stderr.decode(errors="replace").splitlines()
    if done.returncode:
        last = complaints[-1] if complaints else f"exit status {done.returncode}"
        raise NnbenchError(f"{python} -m {module}: {last}")
    for line in complaints:
        warnings.warn(f"{python}: {line}", stacklevel=2)
    return bytes(done.stdout)


def _run_module(python: str, module: str, *arguments: str) -> subprocess.CompletedProcess[Any]:
    """Run a module of an interpreter, whose plugins may do anything."""
    try:
        done = process.run(
            process.command(python, module, *arguments),
            LIMIT_S,
            env=variables.all_for_another(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except subprocess.TimeoutExpired as error:
        text = f"{python} -m {module} has not ended after {LIMIT_S:g} s, and was killed"
        raise NnbenchError(text) from error
    except OSError as error:
        raise NnbenchError(f"cannot run {python}: {error.strerror}") from error
    if done.returncode == CANNOT_START and done.stderr:
        raise NnbenchError(f"cannot run {done.stderr.decode(errors='replace').strip()}")
    return done


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
