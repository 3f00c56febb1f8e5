"""Results in other forms, for the tools that people use."""

from __future__ import annotations

from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import msgspec

from nnbench.contract.errors import ExitCode, NnbenchError, ResultsError, install_hint

if TYPE_CHECKING:
    from collections.abc import Sized
    from types import ModuleType

    from nnbench.runs.sweep import Sweep

#: The formats by the name that users type: the module and the function that make the bytes of a run.
FORMATS = {
    "parquet": "exports.samples:to_parquet",
    "csv": "exports.samples:to_csv",
    "pytest-benchmark": "exports.trackers:to_pytest_benchmark",
    "github-action-benchmark": "exports.trackers:to_github_action_benchmark",
    "bencher": "exports.trackers:to_bencher",
    "junit": "exports.junit:to_xml",
    "step-summary": "text:step_summary",
}
BINARY = {"parquet"}


def convert(run: Sweep, name: str) -> bytes:
    """Return a run in one of FORMATS.

    Raises
    ------
    NnbenchError
        If the run holds nothing that the format could hold.
    """
    converted: bytes = resolve_name(f"nnbench.show.{FORMATS[name]}")(run)
    return converted


def require(run: Sweep, content: Sized) -> None:
    """Refuse to export a run without content.

    Raises
    ------
    ResultsError
        If that is empty: no backend has figures, or a rank.
    """
    if not content:
        problem = ResultsError(f"{run.folder} has nothing to export: {run.why_nothing()}")
        problem.exit_code = ExitCode.NOTHING_MEASURED
        raise problem


def library(module: str, package: str, *, extra: str) -> ModuleType:
    """Import what a format needs beyond nnbench's own requirements.

    Raises
    ------
    NnbenchError
        If it is not installed; the message says which extra brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        text = f"the format needs {package}, which is not installed: {install_hint(extra)}"
        raise NnbenchError(text) from error


def encode(content: object) -> bytes:
    """Return JSON that people can read, too."""
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"
