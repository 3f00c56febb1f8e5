"""``nnbench continuous``: two environments side by side, here two wrappers of this interpreter."""

import json
import sys
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest

from nnbench.cli.continuous import build, report
from nnbench.contract.errors import ExitCode
from nnbench.execution import environments, machine
from nnbench.runs import continuous
from nnbench.runs.run import Run
from tests.plugins.helpers import PLUGINS, environment, nnbench

cli = import_module("nnbench.cli.continuous")  # in the package its name is the command's
BOTH = ("--python", sys.executable, "--python", sys.executable)
REVISIONS = "give two revisions, BASE and HEAD, or --python twice"
BAD = [
    ([], REVISIONS),
    (["main"], REVISIONS),
    (["--python", sys.executable], REVISIONS),
    (["--python", sys.executable] * 3, REVISIONS),
    (["main", "HEAD", *BOTH], REVISIONS),
    (["main", *BOTH], REVISIONS),
    ([*BOTH, "--install", "x"], "--install is for revisions; nothing is built with --python"),
    (["--python", "/no/where", "--python", "python"], "no interpreter '/no/where': give the path"),
    ([*BOTH, "-w", "mnits"], "no workload named 'mnits'; did you mean mnist? known: mnist, "),
    ([*BOTH, "--fail", "speed:5%"], "no metric 'speed' to gate on; known: train_s_per_epoch, "),
    ([*BOTH, "--rounds", "0"], "Invalid value for '--rounds'"),
    (["main", "HEAD"], "git rev-parse: fatal: not a git repository"),
]


@pytest.fixture(scope="module")
def wrappers(tmp_path_factory):
    """Write two interpreters that find the same plugin, at another revision each."""
    folder, found = tmp_path_factory.mktemp("wrappers"), []
    for revision in ("base", "head"):
        path = folder / revision
        variables = f"PYTHONPATH='{PLUGINS / 'revised'}' NNBENCH_TEST_REVISION={revision}"
        path.write_text(f"#!/bin/sh\n{variables} exec '{sys.executable}' \"$@\"\n")
        path.chmod(0o755)
        found += ["--python", str(path)]
    return found


@pytest.fixture(scope="module")
def run(wrappers, tmp_path_factory):
    """Give a function that runs the command on the toy, and returns its end and its folder."""

    def run_with(*arguments):
        folder = tmp_path_factory.mktemp("run")
        limit = "train_s_per_epoch:100%"
        options = ["-w", "toy-sigmoid", "--output", folder, "--fail", limit, *arguments]
        return nnbench("continuous", *wrappers, *options, env=environment()), folder

    return run_with


@pytest.fixture(scope="module")
def slow(run):
    """Compare a backend that became slower."""
    return run("-b", "slowed", "--rounds", "3")


@pytest.fixture(scope="module")
def mixed(run):
    """Compare everything once, and return the changes by backend, and the exit status."""
    names = "steady,broken,crashing,added,removed"
    done, _ = run("-b", names, "--rounds", "1", "--format", "json")
    return {change["backend"]: change for change in json.loads(done.stdout)}, done.returncode


def test_slower_head_is_a_regression(slow):
    done, _ = slow
    assert done.returncode == ExitCode.REGRESSION
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| slowed |")]
    assert row.endswith("| slower | regression |")


def test_both_run_in_every_block_with_the_same_seed(slow):
    _, folder = slow
    lines = (folder / "cells.jsonl").read_text().splitlines()
    seeds, labels = defaultdict(set), defaultdict(set)
    for cell in map(json.loads, lines):
        seeds[cell["round"]].add(cell["seed"])
        labels[cell["round"]].add(cell["backend"])
    assert list(labels.values()) == [{"slowed@base", "slowed@head"}] * 3
    assert [len(each) for each in seeds.values()] == [1] * 3


def test_folder_holds_a_run_with_its_tables(slow):
    done, folder = slow
    assert {"run.json", "accuracy.md", "timing.md"} <= {path.name for path in folder.iterdir()}
    assert list(json.loads((folder / "run.json").read_text())["backends"]) == [
        "slowed@base",
        "slowed@head",
    ]
    assert done.stderr.splitlines()[-1] == f"Results: {folder}"


def test_caption_says_what_was_compared(slow, wrappers):
    failed, _, first = slow[0].stdout.splitlines()[:3]
    assert failed.startswith("- Failed: the train_s_per_epoch of slowed changed by +")
    text = f"`{wrappers[3]}` against `{wrappers[1]}`: toy-sigmoid, 3 rounds, paired by round"
    assert first.startswith(text)


@pytest.mark.parametrize(
    ("backend", "outcome", "message"),
    [
        ("steady", "inconclusive", ""),  # a single pair
        ("broken", "wrong", "invalid: in steps "),
        ("crashing", "failed", "crashed: RuntimeError: not today"),
        ("added", "new", "not measured in the base run"),
        ("removed", "missing", "no backend named 'removed'"),
    ],
)
def test_every_backend_has_its_outcome(mixed, backend, outcome, message):
    changes, _ = mixed
    assert changes[backend]["outcome"] == outcome
    assert changes[backend]["message"].startswith(message)


def test_gravest_outcome_decides(mixed):
    assert mixed[1] == ExitCode.BACKEND_FAILED


def test_backend_that_neither_has_is_refused(wrappers):
    options = ["-w", "toy-sigmoid", "-b", "stedy"]
    done = nnbench("continuous", *wrappers, *options, env=environment())
    assert done.returncode == ExitCode.USAGE
    assert "no backend named 'stedy'; did you mean steady?" in done.stderr


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_refused_in_one_line(call, arguments, message):
    done = call("continuous", *arguments)
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"nnbench: error: {message}")


@pytest.fixture
def builds(monkeypatch):
    """Record what is built, in a repository with two commits and three names."""
    found = []
    commits = {"v1": "a" * 40, "main": "b" * 40, "HEAD": "b" * 40}

    def record(named, arguments, tell):
        found.append((named, arguments))
        for name in named:
            tell(name, "was built before")
        return [f"/environments/{commit}/python" for commit in named.values()]

    monkeypatch.setattr(environments, "find_commit", commits.__getitem__)
    monkeypatch.setattr(environments, "build", record)
    monkeypatch.setattr("nnbench.execution.machine.git_state", lambda: "abc-dirty")
    return found


def test_revisions_are_built_with_all_arguments(builds, capsys):
    pythons = build("v1", "HEAD", ["'.[all]' --no-index", "mine"], progress=False)
    named = {"v1 (aaaaaaaaaaaa)": "a" * 40, "HEAD (bbbbbbbbbbbb)": "b" * 40}
    assert builds == [(named, [".[all]", "--no-index", "mine"])]
    assert pythons == [f"/environments/{commit}/python" for commit in ("a" * 40, "b" * 40)]
    assert capsys.readouterr().err.splitlines() == [
        "nnbench: note: changes that are not committed are not measured",
        "nnbench: v1 (aaaaaaaaaaaa) was built before",
        "nnbench: HEAD (bbbbbbbbbbbb) was built before",
    ]


@pytest.mark.usefixtures("builds")
def test_end_of_what_a_failed_build_printed_is_shown(call, monkeypatch):
    def fail(*_):
        raise environments.BuildError("cannot build it", ["one", "two"])

    monkeypatch.setattr(environments, "build", fail)
    done = call("continuous", "v1", "HEAD")
    assert done.code == ExitCode.USAGE
    assert done.stderr.splitlines()[1:] == ["  one", "  two", "nnbench: error: cannot build it"]


def test_equal_revisions_are_refused(builds, call):
    done = call("continuous", "main", "HEAD")
    assert done.code == ExitCode.USAGE
    assert "main and HEAD are the same commit: there is nothing to compare" in done.stderr
    assert builds == []


@pytest.mark.parametrize(
    ("fits", "stdev", "kept", "text"),
    [
        (14, None, 0.0, "a round takes 30 s: 4 to 14 rounds, 2 min to 7 min"),
        (4, None, 0.0, "a round takes 30 s: 4 rounds, 2 min"),
        (
            14,
            None,
            0.01,
            "; pairs vary by 1.0%, so 5 decide at the latest; 14 find slowdowns of 6.3%",
        ),
        (
            14,
            0.02,
            0.01,
            "; pairs vary by 2.0%, so 11 decide at the latest; 14 find slowdowns of 7.6%",
        ),
    ],
)
def test_outlook_has_what_is_known(make_info, monkeypatch, capsys, fits, stdev, kept, text):
    monkeypatch.setattr(machine, "TURN_SPREADS", SimpleNamespace(load=lambda *_: kept))
    info = make_info("one@base", detect=0.05)
    cli.say_outlook(info, continuous.Outlook(4, 30.0, fits, stdev))
    assert text in capsys.readouterr().err


def test_caption_names_the_versions_that_differ(make_info, make_cell, capsys):
    versions = {"nnbench": "0.1", "numpy@base": "2.0", "numpy@head": "2.1"}
    python = "CPython 3.11 and CPython 3.12"
    machine = replace(make_info().environment, python=python, versions=versions)
    info = make_info("a@base", "a@head", environment=machine)
    cells = [make_cell(f"a@{side}", round=i) for i in range(3) for side in ("base", "head")]
    report(Run(info, cells), titles=("v1", "HEAD"), gates=(), strict=False, table_format="md")
    differ = "Software that differs: Python (CPython 3.11, CPython 3.12), numpy (2.0, 2.1)."
    out, err = capsys.readouterr()
    assert out.splitlines()[2] == (
        "`HEAD` against `v1`: mnist, 3 rounds, paired by round, noise floor 5.0%. train_s_per_epoch "
        f"in s, accuracy in %. The same hardware: times are compared as they are. {differ}"
    )
    assert err.splitlines()[1].startswith("nnbench: note: The same hardware: ")
