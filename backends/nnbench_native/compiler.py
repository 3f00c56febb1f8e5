"""Build the C code with the machine's own compiler, once, into a cache.

It is made from the sources, the flags, and what the macros tell that the compiler predefines: its version, and the processor's
instructions. A library that is damaged is built again, since loading a truncated one kills the process.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from nnbench import BackendUnavailableError
from nnbench.contract import builds

SOURCES = Path(__file__).parent
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-Werror=switch",  # one that leaves a kind out
    "-fno-math-errno",
    "-fPIC",
    "-fvisibility=hidden",
    "-shared",
    "-pthread",
)
LIBRARIES = ("-lm",)
INSTRUCTIONS = {"native": ("-march=native",), "avx2": ("-march=haswell",), "portable": ()}
EXTRA_FLAGS = "NNBENCH_NATIVE_FLAGS"  #: an environment variable, for sanitizers and the like
TIMEOUT_S = 120.0
SUFFIX = ".so"


def words(variable: str) -> list[str]:
    """Return the words that an environment variable holds, as a shell takes them.

    Raises
    ------
    BackendUnavailableError
        If a quote in it has no end.
    """
    try:
        return shlex.split(os.environ.get(variable, ""))
    except ValueError as error:
        raise BackendUnavailableError(
            f"{variable} cannot be read as a shell does: {error}"
        ) from error


def compiler() -> list[str]:
    """Return the command of the C compiler: ``$CC``, or ``cc``."""
    return words("CC") or ["cc"]


def why_no_compiler() -> str | None:
    """Return why there is no C compiler, or None; whether it works shows when it is run."""
    try:
        [command, *_], _ = compiler(), words(EXTRA_FLAGS)
    except BackendUnavailableError as error:
        return str(error)
    if shutil.which(command) is None:
        return f"no C compiler: {command} not found; install gcc or clang, or name one in CC"
    return None


def build(instructions: str, folder: Path) -> Path:
    """Return the library for these instructions from a folder; build it there if need be.

    Raises
    ------
    BackendUnavailableError
        If there is no compiler, or it fails.
    OSError
        If the folder cannot be written.
    """
    if reason := why_no_compiler():
        raise BackendUnavailableError(reason)
    flags = [*FLAGS, *INSTRUCTIONS[instructions], *words(EXTRA_FLAGS)]
    name = digest_of_sources(flags)
    return builds.find(folder, name, SUFFIX) or compile_into(folder, name, flags)


def digest_of_sources(flags: list[str]) -> str:
    """Return the digest of all that decides what the library is."""
    digest = hashlib.sha256(repr([*compiler(), *flags, *LIBRARIES]).encode())
    digest.update(run([*flags, "-dM", "-E", "-x", "c", os.devnull]))
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[: builds.DIGITS]


def compile_into(folder: Path, name: str, flags: list[str]) -> Path:
    """Compile into a folder."""
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]

    def make(built: Path) -> None:
        run([*flags, "-o", str(built), *sources, *LIBRARIES])

    return builds.build(folder, name, SUFFIX, make)


def run(arguments: list[str]) -> bytes:
    """Run the compiler and return what it prints.

    Raises
    ------
    BackendUnavailableError
        If it fails; the message has the first line that speaks of an error.
    """
    command = compiler()
    try:
        done = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines() or [str(error)]
        line = next((line for line in lines if "error" in line), lines[-1])
        raise BackendUnavailableError(f"{command[0]} cannot build it: {line}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendUnavailableError(f"{command[0]} cannot be run: {error}") from error
    return done.stdout
