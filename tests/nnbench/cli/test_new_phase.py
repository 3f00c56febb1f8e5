"""A phase that is added to the record is in every table, and older runs have not measured it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnbench.show.charts import CHARTS
from nnbench.show.exports import FORMATS
from tests.plugins.helpers import environment

TIMES = {"numpy": 1.0, "a": 2.0}
#: Adds a phase, as an edit of nnbench.records.cells would, and runs commands that come as JSON.
PROGRAM = """
import json, sys
from dataclasses import dataclass, field
from nnbench.records import cells

@dataclass(frozen=True, slots=True, kw_only=True)
class Phases(cells.Phases):
    synchronize_us: list[float] = field(default_factory=list)

cells.Phases = Phases
from nnbench.cli import main

for arguments in json.load(sys.stdin):
    sys.argv = ["nnbench", *arguments]
    try:
        main()
    except SystemExit as error:
        print("ended with", error.code or 0, *arguments)
"""


@pytest.fixture
def run(write_run, make_cell, make_failed):
    """Give a run that knows nothing of it."""
    cells = [make_cell(name, train_s=s, round=i) for i in range(3) for name, s in TIMES.items()]
    return write_run(*cells, make_failed("bad", message="killed by SIGSEGV"))


@pytest.fixture
def ask():
    """Give a function that runs commands where there is such a phase, and returns what they print."""

    def run(*commands):
        text = json.dumps([list(map(str, command)) for command in commands])
        program = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(
            program, input=text, capture_output=True, text=True, env=environment(), check=False
        )
        assert done.returncode == 0
        assert all(line.startswith("nnbench: Failed: ") for line in done.stderr.splitlines())
        return done.stdout

    return run


def test_older_run_is_read_by_every_command(ask, run, tmp_path):
    out = tmp_path / "out"
    commands = [
        *(["show", run, "--format", form] for form in ("table", "md", "csv", "json")),
        ["compare", run, run],
        *(["export", run, "--to", name, "-o", out / name] for name in FORMATS),
        *(
            ["plot", run, "-f", name, "-o", out / f"{name}.svg"]
            for name in set(CHARTS) - {"ceiling"}
        ),
        ["report", run, "-o", out / "report.html"],
    ]
    shown = ask(*commands)
    codes = [line.split()[2] for line in shown.splitlines() if line.startswith("ended with")]
    assert len(codes) == len(commands)
    assert set(codes) == {"0", "4"}  # a backend of the run crashed, and compare says so
    assert "synchronize" in (out / "report.html").read_text()


def test_what_was_not_measured_is_missing_and_the_rest_is_there(ask, run):
    shown = ask(["show", run, "--format", "json", "--table", "phases"])
    row = json.loads(shown[: shown.index("ended with")])[0]
    assert row["synchronize_us"] is None
    assert (row["gather_us"], row["phases_us"]) == (2.0, 37.0)


def test_limit_on_it_says_that_it_was_not_measured(ask, write_run, make_cell):
    folder = write_run(*[make_cell(round=i) for i in range(3)])
    shown = ask(["compare", folder, folder, "--fail", "synchronize_us:5%"])
    assert "- numpy: synchronize_us was not measured in both runs" in shown
    assert "ended with 5 " in shown


def test_cell_that_has_it_is_shown_with_it(ask, write_run, make_cell):
    folder = write_run(make_cell())
    path = Path(folder, "cells.jsonl")
    path.write_text(path.read_text().replace('"gather_us"', '"synchronize_us":[3.5],"gather_us"'))
    shown = ask(["show", folder, "--format", "json", "--columns", "synchronize_us,phases_us"])
    row = json.loads(shown[: shown.index("ended with")])[0]
    assert (row["synchronize_us"], row["phases_us"]) == (3.5, 40.5)
