"""A pytest session of ``nnbench test``: ``python -m nnbench.testing.session ARGUMENTS``.

It reports a line of JSON for each event, as it happens; the parent reads them, even after a crash.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from nnbench import files
from nnbench.texts import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

#: "expected" is a failure that the backend declares.
Verdict = Literal["planned", "started", "passed", "failed", "expected", "skipped"]
REGRESSED = 64  #: exit status; pytest itself uses 0 to 5
LIKELY = "Likely mistake: "
NOTHING_FITS = "none of those that nnbench knows gives these numbers alone"
UNTESTED = "nothing tested, as no network is supported: "  #: a failure that stands for all checks
OTHER_OPTIMIZER = "other optimizer: "  #: before what a backend declares
EXPECTED = "reason: "  #: what pytest puts before the reason of an expected failure
FAILED = "Failed: "  #: what pytest puts before the message of a check
RAISED = "raised "
TEST = re.compile(r".*?::(?P<backend>.*)::test_(?P<name>\w+) ?(?P<parameter>\[.*\])?")


class Finding(msgspec.Struct, frozen=True):
    """One event of one check."""

    backend: str
    check: str
    verdict: Verdict
    message: str = ""
    at_s: float = 0.0  #: by the monotonic clock, where it started

    @property
    def parameter(self) -> str:
        """What it was made with, such as the name of a network; empty for a check without."""
        return self.check.partition(" [")[2].removesuffix("]")

    @property
    def hint(self) -> str:
        """The likely mistake, if the message names one."""
        return self.message.partition(LIKELY)[2] if self.verdict == "failed" else ""

    @property
    def cause(self) -> str:
        """What may explain other failures, too: the likely mistake, or an exception."""
        return self.message if self.message.startswith(RAISED) else self.hint


class Reporter:
    """A pytest plugin that writes findings to a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def write(self, finding: Finding) -> None:
        """Add a line; a crash may come next."""
        with self.path.open("ab") as file:
            file.write(encode(finding) + b"\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Report which checks are to run."""
        for item in session.items:
            self.write(Finding(*name(item.nodeid), "planned"))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Report which check is about to run."""
        self.write(Finding(*name(nodeid), "started", at_s=time.monotonic()))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Report how it ended: a call's verdict, or what prevented the call."""
        if report.when == "call" or report.outcome != "passed":
            backend, check = name(report.nodeid)
            expected: str | None = getattr(report, "wasxfail", None)
            if expected is not None:
                reason = expected.removeprefix(EXPECTED)
                self.write(Finding(backend, check, "expected", reason))
                return
            message = explain(report).removeprefix(f"{backend}: ")
            self.write(Finding(backend, check, report.outcome, message))


def rank(failures: Iterable[Finding]) -> list[Finding]:
    """Put those last that name no mistake: they follow from another, or nobody knows theirs."""
    return sorted(failures, key=lambda finding: finding.hint == NOTHING_FITS)


def read(path: Path) -> list[Finding]:
    """Return what was reported; a crash may have torn the last line, and a backend written another."""
    found = []
    for line in files.read_lines(path, warn=False):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found.append(msgspec.json.decode(line, type=Finding))
    return found


def name(nodeid: str) -> tuple[str, str]:
    """Turn ``conformance::numpy::test_two_words[x]`` into ``numpy`` and ``two words [x]``."""
    match = TEST.fullmatch(nodeid)
    if match is None:
        return "", nodeid
    words = [match["name"].replace("_", " "), match["parameter"]]
    return match["backend"], " ".join(filter(None, words))


def explain(report: pytest.TestReport) -> str:
    """Return why a check did not pass, in one line."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = " ".join((crash.message if crash else report.longreprtext).split())
    if crash is None or text.startswith(FAILED):
        return text.removeprefix(FAILED)
    return f"{RAISED}{text} ({place(report, crash)})"


def place(report: pytest.TestReport, crash: Any) -> str:
    """Return file and line of an exception: the deepest in the plugin, or else where it rose."""
    backend, _ = name(report.nodeid)
    home = home_of(backend)
    traceback = getattr(report.longrepr, "reprtraceback", None)  # absent with --tb=no
    entries = getattr(traceback, "reprentries", [])
    frames = [crash, *(f for e in entries if (f := getattr(e, "reprfileloc", None)))]
    paths = [(Path(frame.path).resolve(), frame.lineno) for frame in frames]
    own = [(path, line) for path, line in paths if home and (home in path.parents or home == path)]
    path, line = (own or paths)[-1]
    return f"{path.name}:{line}"


@cache
def home_of(label: str) -> Path | None:
    """Return the folder of a backend's package, or its one file; None if it has neither."""
    from nnbench.contract.errors import NnbenchError
    from nnbench.selection import parse

    try:
        package = parse([label])[0].backend.package
    except NnbenchError:
        return None
    root = sys.modules.get(package)
    file = getattr(root, "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    return path.parent if path.stem == "__init__" else path


def main() -> int:
    """Run pytest, and give a regression that pytest-benchmark reports another status than a crash."""
    import pytest
    from pytest_benchmark.session import PerformanceRegression

    try:
        return pytest.main(sys.argv[1:])
    except PerformanceRegression:  # its table and its reasons are printed already
        return REGRESSED


if __name__ == "__main__":
    sys.exit(main())
