"""Run nnbench with plugins that are found but not installed, and find what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nnbench.catalog.flaws import LIMIT
from nnbench.execution import supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS = Path(__file__).parent
EXAMPLE = str(PLUGINS.parents[1] / "examples" / "nnbench-example")
MARK = "NNBENCH_TEST_MARK"  # an environment variable that all descendants of a test inherit
NNBENCH = (sys.executable, "-m", "nnbench")
PATIENCE_S = 60.0
TELLING = """
import atexit, ctypes, json, os, sys
from pathlib import Path

def tell():
    found = {"pid": os.getpid(), "modules": sorted(sys.modules)}
    if sys.platform == "linux":
        found["dumpable"] = ctypes.CDLL(None).prctl(3)  # PR_GET_DUMPABLE
    Path(os.environ["NNBENCH_FAULTY_FOLDER"], "parent").write_text(json.dumps(found))

atexit.register(tell)
from nnbench.cli import main
main()
"""  # nnbench, whose process tells at its end what it has loaded


def variables(*plugins: str, mark: object = "", **more: str) -> dict[str, str]:
    """Return the environment variables that let nnbench find some of the plugins."""
    path = os.pathsep.join(str(PLUGINS / name) for name in plugins)
    quiet = "ignore:machine"  # what nnbench says of the machine that the tests run on
    told = {"PYTHONPATH": path, MARK: str(mark), "PYTHONWARNINGS": quiet}
    shared = {supervisor.SHARED: "1"}  # workers of tests leave files for them in there
    return {**told, **shared, **more}


def environment(*plugins: str, mark: object = "", **more: str) -> dict[str, str]:
    """Return a whole environment, without what colours output or tells of this session."""
    ours = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTEST_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return kept | variables(*plugins, mark=mark, **more)


def alone(*plugins: str, mark: object = "", **more: str) -> dict[str, str]:
    """Return such an environment in which no other plugins are listed: that would take a process, and its time."""
    return environment(*plugins, mark=mark, **{LIMIT: ",".join(plugins), **more})


def run_pytest(
    folder: Path, *arguments: object, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run pytest to its end in a folder, with nnbench's plugin and pytest-benchmark."""
    plugins = ["-pnnbench.testing.plugin", "-ppytest_benchmark.plugin", "-pno:cacheprovider"]
    command = [sys.executable, "-P", "-m", "pytest", *plugins, *map(str, arguments)]
    return _run(command, {**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, folder)


def nnbench(
    *arguments: object, env: dict[str, str], tells: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command of nnbench to its end; it may tell what its process was, and has loaded."""
    start = [sys.executable, "-P", "-c", TELLING] if tells else NNBENCH
    return _run([*start, *map(str, arguments)], env)


def _run(
    command: list[str], env: dict[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and say what it said: a report of a failed test has that whole."""
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done


def survivors(mark: object) -> list[psutil.Process]:
    """Return the running processes that carry a mark, other than this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(mark) and process.pid != os.getpid():
                found.append(process)
    return found


def count_open() -> int:
    """Return how many descriptors this process has open; fewer than before is garbage of other tests that has gone."""
    return len(list(Path("/dev/fd").iterdir()))


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition, and fail if it never comes true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
