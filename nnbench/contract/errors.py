"""The errors that a user can cause, and the exit codes that a run can end with."""

from __future__ import annotations

import shlex
from enum import IntEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

from nnbench.contract import DISTRIBUTION


class ExitCode(IntEnum):
    """What the ``nnbench`` command returns to the shell; the documents' tables come from here."""

    meaning: str

    OK = 0, "fine"
    INTERNAL = 1, "nnbench itself failed, or the machine: a full disk, no memory"
    USAGE = 2, "usage: one line says what was wrong"
    REGRESSION = 3, "a regression beyond the limit, and significant"
    BACKEND_FAILED = 4, "a backend failed or timed out, or a machine was lost"
    NOTHING_MEASURED = 5, "nothing was measured"
    ACCURACY = 6, "a conformance, proof or accuracy failure"
    INCONCLUSIVE = 7, "inconclusive (only with `--strict`)"
    INCOMPARABLE = 8, "cannot be compared: no base run, another workload, or nothing to compare by"
    HUNG_UP = 129, "SIGHUP: the terminal, or the connection, was closed; as after Ctrl-C"
    INTERRUPTED = 130, "Ctrl-C; what was finished is kept and `--resume` goes on"
    PIPE_CLOSED = 141, "the reader of a pipe left, as in `nnbench list | head -1`"
    TERMINATED = 143, "SIGTERM; as after Ctrl-C"

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member; it cannot be made without its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


#: What the findings of a command can come to, the gravest first. The other codes are errors and
#: signals, which end a command at once.
GRAVITY = (
    ExitCode.BACKEND_FAILED,
    ExitCode.ACCURACY,
    ExitCode.REGRESSION,
    ExitCode.INCOMPARABLE,
    ExitCode.NOTHING_MEASURED,
    ExitCode.INCONCLUSIVE,
    ExitCode.OK,
)


def gravest(findings: Iterable[ExitCode | None]) -> ExitCode:
    """Return what a command ends with. None is a finding that measured nothing, and nobody asked for."""
    codes = [code for code in findings if code is not None]
    return min(codes, key=GRAVITY.index, default=ExitCode.NOTHING_MEASURED)


class NnbenchError(Exception):
    """A problem that the user can mend: the message names the thing and the way out."""

    exit_code = ExitCode.USAGE


class BackendUnavailableError(NnbenchError):
    """The backend cannot run on this machine; the message says why."""


class ConfigError(NnbenchError):
    """A configuration or workload file is missing, or says what cannot be; names file and line."""


class DatasetError(NnbenchError):
    """A dataset is missing, damaged or inconsistent."""


class ExecutorError(NnbenchError):
    """An executor of a plugin has failed, or says what it may not; what is finished is kept."""

    exit_code = ExitCode.BACKEND_FAILED


class IncomparableError(NnbenchError):
    """Two runs cannot be compared."""

    exit_code = ExitCode.INCOMPARABLE


class PluginError(NnbenchError):
    """A plugin misspells a hook, cannot be listed, or is not there."""


class PluginWarning(UserWarning):
    """A plugin was left out, or one of its observers failed."""


class ResultsError(NnbenchError):
    """A results folder cannot be written or read."""


def install_hint(extra: str, distribution: str = DISTRIBUTION) -> str:
    """Return the command that installs what one extra of a distribution brings."""
    return shlex.join(["pip", "install", f"{distribution}[{extra}]"])
