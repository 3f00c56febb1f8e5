"""The errors that a user can cause, and the exit codes that a run can end with."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the ``nnbench`` command returns to the shell."""

    OK = 0
    INTERNAL = 1  #: nnbench itself failed
    USAGE = 2
    REGRESSION = 3  #: beyond the threshold, and significant
    BACKEND_FAILED = 4  #: a backend failed or timed out
    NOTHING_MEASURED = 5
    ACCURACY = 6  #: a conformance or accuracy failure
    INCONCLUSIVE = 7  #: only with --strict
    INTERRUPTED = 130  #: Ctrl-C, as shells count it
    PIPE_CLOSED = 141  #: the reader of standard output has left; SIGPIPE, likewise
    TERMINATED = 143  #: SIGTERM, likewise


class NnbenchError(Exception):
    """A problem that the user can mend: the message names the thing and the way out."""

    exit_code = ExitCode.USAGE


class BackendUnavailableError(NnbenchError):
    """The backend cannot run on this machine; the message says why."""


class ConfigError(NnbenchError):
    """A configuration or workload file is missing, or says what cannot be; names file and line."""


class DatasetError(NnbenchError):
    """A dataset is missing, damaged or inconsistent."""


class PluginError(NnbenchError):
    """Two plugins clash, or one misspells a hook."""


class ResultsError(NnbenchError):
    """A results folder cannot be written or read."""
