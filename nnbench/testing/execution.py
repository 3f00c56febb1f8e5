"""Run the suite on one backend, in a process of its own that may crash or hang."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nnbench import files
from nnbench.contract.errors import NnbenchError
from nnbench.execution import process, variables
from nnbench.testing import networks
from nnbench.testing.session import LIKELY, REGRESSED, UNTESTED, Finding, rank, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.selection import Selection

PLUGINS = ("nnbench.testing.plugin", "pytest_benchmark.plugin")
DONE = {0, 1, 5, REGRESSED}  #: exit statuses: all passed, some failed, none collected, slower
USAGE = 4  #: pytest did not understand its arguments
HANG = "a hang"
SLOW = (
    "no hang but slow steps, as of something that compiles or is made anew in each; "
    "if it has to be, give a longer --timeout"
)
TERMINAL = ("TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PY_COLORS")  #: for its output
LAST_WORDS = 3  #: lines of output that explain why pytest did not run


@dataclass(frozen=True)
class Tested:
    """The findings of the suite for one backend."""

    label: str
    findings: list[Finding]
    seconds: float
    unrun: int = 0  #: checks that a crash or a hang has kept from running
    has_regressed: bool = False  #: by pytest-benchmark's --benchmark-compare-fail

    @property
    def failures(self) -> list[Finding]:
        """What failed: those first that name a mistake."""
        return rank(finding for finding in self.findings if finding.verdict == "failed")

    @property
    def why_untested(self) -> str:
        """Why nothing was tested, if the backend supports no network; or else nothing."""
        messages = (finding.message for finding in self.findings if finding.verdict == "failed")
        return next((text for text in messages if text.startswith(UNTESTED)), "")

    @property
    def networks(self) -> list[str]:
        """The names of the networks that checks were made on; none where nothing came of any."""
        made = [each for each in self.findings if each.verdict != "skipped"]
        if all(each.verdict == "failed" for each in made):
            return []
        return list(dict.fromkeys(x.parameter for x in made if networks.is_name(x.parameter)))


def test(
    chosen: Selection,
    arguments: Sequence[str],
    *,
    timeout_s: float,
    show: bool,
    python: str | None,
    plugins: Sequence[str],
) -> Tested:
    """Run the suite, or with ``--nnbench-benchmark`` among the arguments the benchmarks.

    Parameters
    ----------
    chosen
        The backend.
    arguments
        Further arguments of pytest.
    timeout_s
        After so many seconds the process is killed.
    show
        Whether pytest's own output appears.
    python
        The interpreter, which has nnbench and what the suite is built on; None is this one.
    plugins
        Those that are loaded, as :data:`nnbench.catalog.flaws.LIMIT` names them; none are all.

    Returns
    -------
    Tested
        A crash, a hang and a session that ended badly are failed findings in it.

    Raises
    ------
    NnbenchError
        If pytest refuses the arguments.
    """
    start = time.monotonic()
    with TemporaryDirectory(prefix="nnbench-test-") as folder:
        report = Path(folder, "report.jsonl")
        asked = command(chosen, arguments, report, python)
        status, output = run(asked, chosen, timeout_s, show=show, python=python, plugins=plugins)
        events = read(report)
    if status == USAGE:
        _, _, complaint = output.rpartition("error: ")
        words = complaint.partition("\n")[0] or "its arguments, as it says above"
        raise NnbenchError(f"pytest refused {words}")
    end = time.monotonic()
    started = [event for event in events if event.verdict == "started"]
    findings = [event for event in events if event.verdict not in ("planned", "started")]
    unrun = 0
    if status not in DONE:
        is_running = bool(events) and events[-1].verdict == "started"
        check = events[-1].check if is_running else "start of the suite"
        text = explain(status, output, timeout_s)
        if status is None:
            text += why_cut(started, end)
        findings.append(Finding(chosen.label, check, "failed", text))
        unrun = sum(event.verdict == "planned" for event in events) - len(started)
    return Tested(chosen.label, findings, end - start, unrun, status == REGRESSED)


def command(
    chosen: Selection, arguments: Sequence[str], report: Path, python: str | None = None
) -> list[str]:
    """Return the command of a session that knows nothing of the user's own tests.

    It stands in an empty folder, with its own configuration and the plugins that are needed; files
    that the arguments name are still relative to the working directory.
    """
    settings = report.with_name("pytest.ini")
    settings.write_text("[pytest]\n")
    plugins = [word for name in PLUGINS for word in ("-p", name)]
    return process.command(
        python,
        "nnbench.testing.session",
        str(report.parent),
        f"--config-file={settings}",
        f"--rootdir={report.parent}",
        *plugins,
        "-pno:cacheprovider",
        f"--nnbench-backend={chosen.label}",
        f"--nnbench-report={report}",
        *arguments,
    )


def run(
    arguments: Sequence[str],
    chosen: Selection,
    timeout_s: float,
    *,
    show: bool,
    python: str | None = None,
    plugins: Sequence[str] = (),
) -> tuple[int | None, str]:
    """Run a command to its end; return its exit status (None: killed in the end) and its output."""
    named = (*chosen.backend.environment, *TERMINAL)
    handed = variables.handed_on(
        os.environ, named, python
    )  # as a worker's; none of the user's own tests
    try:
        done = process.run(
            arguments,
            timeout_s,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            env={
                **variables.for_threads(handed, chosen.threads or 1),
                **process.limited(",".join(plugins)),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout or ""


def explain(status: int | None, output: str, timeout_s: float) -> str:
    """Return why a session did not come to its end."""
    if status is None:
        return f"still running after {timeout_s:g} s, and was killed"
    if status < 0:
        name = process.name_signal(-status)
        return f"the process was killed by {name}. Likely mistake: a crash in native code"
    words = " ".join(output.strip().splitlines()[-LAST_WORDS:])
    return f"the session ended with status {status}: {words}"


def why_cut(started: Sequence[Finding], end_s: float) -> str:
    """Say whether one check hangs, or all are slow: which took longer, the last or those before it."""
    if not started:
        return f". {LIKELY}{HANG}"
    times = [event.at_s for event in started] + [end_s]
    seconds = [after - before for before, after in pairwise(times)]
    if seconds[-1] > sum(seconds[:-1]):
        return f". {LIKELY}{HANG}"
    slowest = max(range(len(seconds)), key=seconds.__getitem__)
    return (
        f", in this check for {seconds[-1]:.3g} s; the longest was {started[slowest].check} with "
        f"{seconds[slowest]:.3g} s. {LIKELY}{SLOW}"
    )


def join_timings(parts: Iterable[Path], target: Path) -> None:
    """Write the benchmarks of several of pytest-benchmark's files into one; an empty one had none."""
    written = (part.read_bytes() for part in parts if part.exists())
    contents = [json.loads(content) for content in written if content]
    if contents:
        benchmarks = [item for content in contents for item in content["benchmarks"]]
        joined = {**contents[0], "benchmarks": benchmarks}
        files.write_output(target, json.dumps(joined, indent=4).encode())
