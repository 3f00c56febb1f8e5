"""``nnbench continuous``: two environments side by side, here two wrappers of this interpreter."""

import json
import re
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest

from nnbench.catalog.listings import BackendItem, Listing
from nnbench.cli.continuous import build, report
from nnbench.contract.errors import ExitCode
from nnbench.execution import environments, interpreters, machine
from nnbench.execution.interpreters import Interpreter
from nnbench.execution.probing import Probe, Probed
from nnbench.figures.metrics import parse_gate
from nnbench.runs import continuous
from nnbench.runs.planning import Plan
from nnbench.runs.run import Run
from nnbench.testing import execution
from nnbench.testing.session import Finding
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
    ([*BOTH, "--fail", "speed:5%"], "no metric 'speed'; known: train_s_per_epoch, "),
    ([*BOTH, "--rounds", "0"], "Invalid value for '--rounds'"),
    (["main", "HEAD"], "git rev-parse: fatal: not a git repository"),
]


def wrap(folder, plugins, revision):
    """Write an interpreter that finds a plugin, at a revision."""
    path = folder / revision
    found = f"PYTHONPATH='{plugins}' NNBENCH_TEST_REVISION={revision}"
    path.write_text(f"#!/bin/sh\n{found} exec '{sys.executable}' \"$@\"\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def wrappers(tmp_path_factory):
    """Write two interpreters that find the same plugin, at another revision each."""
    folder = tmp_path_factory.mktemp("wrappers")
    return [wrap(folder, PLUGINS / "revised", revision) for revision in ("base", "head")]


def run(wrappers, folder, backends, rounds):
    """Compare backends; return how that ended, and the folder."""
    base, head = wrappers
    asked = ["-w", "toy-sigmoid", "-b", backends, "--rounds", rounds]
    options = ["--no-test", "--output", folder, "--fail", "train_s_per_epoch:100%"]
    both = ["--python", base, "--python", head]
    return nnbench("continuous", *both, *asked, *options, env=environment()), folder


@pytest.fixture(scope="module")
def slower(wrappers, tmp_path_factory):
    """Compare in three rounds: a busy machine can hide any slowdown from two."""
    return run(wrappers, tmp_path_factory.mktemp("slower"), "slowed", 3)


@pytest.fixture(scope="module")
def failing(wrappers, tmp_path_factory):
    """Compare what one round is enough for."""
    return run(wrappers, tmp_path_factory.mktemp("failing"), "broken,crashing,added,removed", 1)


@pytest.fixture(scope="module")
def changes(slower, failing):
    """Give the changes of these runs by backend."""
    gates = [parse_gate("train_s_per_epoch:100%")]
    runs = [Run.open(folder) for _, folder in (slower, failing)]
    found = (continuous.compare(run, gates, run.info.noise_floor) for run in runs)
    return {change.backend: change for changes in found for change in changes}


def test_both_run_in_every_block_with_the_same_seed(slower):
    _, folder = slower
    lines = (folder / "cells.jsonl").read_text().splitlines()
    seeds, labels = defaultdict(set), defaultdict(set)
    for cell in map(json.loads, lines):
        seeds[cell["round"]].add(cell["seed"])
        labels[cell["round"]].add(cell["backend"])
    assert list(labels.values()) == [{"slowed@base", "slowed@head"}] * 3
    assert [len(each) for each in seeds.values()] == [1] * 3


def test_folder_holds_a_run_with_its_tables(slower):
    done, folder = slower
    assert {"run.json", "accuracy.md", "timing.md"} <= {path.name for path in folder.iterdir()}
    assert list(json.loads((folder / "run.json").read_text())["backends"]) == [
        "slowed@base",
        "slowed@head",
    ]
    assert done.stderr.splitlines()[-1] == f"Results: {folder}"


def test_caption_says_what_failed_and_what_was_compared(slower, wrappers):
    done, _ = slower
    assert done.returncode == ExitCode.REGRESSION
    lines = done.stdout.splitlines()
    failed = "- Failed: the train_s_per_epoch of slowed changed by +"
    assert any(line.startswith(failed) for line in lines)
    text = f"`{wrappers[1]}` against `{wrappers[0]}`: toy-sigmoid, 3 rounds, paired by round"
    assert any(line.startswith(text) for line in lines)
    (row,) = [line for line in lines if line.startswith("| slowed |")]
    assert row.endswith("| slower | regression |")


@pytest.mark.parametrize(
    ("backend", "outcome", "message"),
    [
        ("slowed", "regression", ""),
        ("broken", "wrong", "invalid: in steps "),
        ("crashing", "failed", "crashed: RuntimeError: not today"),
        ("added", "new", "not measured in the base run"),
        ("removed", "missing", "no backend named 'removed'"),
    ],
)
def test_every_backend_has_its_outcome(changes, backend, outcome, message):
    assert changes[backend].outcome == outcome
    assert changes[backend].message.startswith(message)


def test_gravest_outcome_decides(failing):
    assert failing[0].returncode == ExitCode.BACKEND_FAILED


@pytest.fixture
def compare(wrappers, tmp_path, call, monkeypatch):
    """Give a function that compares a plugin with itself, after a change of it in head, and runs no cell."""
    monkeypatch.setattr(cli, "execute", lambda *_, **__: ExitCode.OK)
    base, _ = wrappers

    def compare_with(change, *arguments):
        plugins = tmp_path / "revised"
        shutil.copytree(PLUGINS / "revised", plugins)
        file = plugins / "nnbench_revised.py"
        file.write_text(change(file.read_text()))
        both = ["--python", base, "--python", wrap(tmp_path, plugins, "head")]
        return call("continuous", *both, "-w", "toy-sigmoid", *arguments)

    return compare_with


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_refused_in_one_line(call, arguments, message):
    done = call("continuous", *arguments)
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"nnbench: error: {message}")


@pytest.mark.filterwarnings("ignore:.*left out")
def test_import_that_fails_is_found_before_anything_is_measured(compare):
    def break_import(text):
        return text.replace("import numpy", "import no_such_module\nimport numpy")

    done = compare(break_import, "-b", "steady")
    assert done.code == ExitCode.BACKEND_FAILED
    assert "no backend named" not in done.stdout + done.stderr
    first, _, caption, *_ = done.stdout.replace("\\", "").splitlines()
    assert first.startswith("- Failed: steady is failed (cannot be imported in /")
    assert ": ModuleNotFoundError: No module named 'no_such_module': install " in first
    assert caption.endswith(": nothing was measured.")


WRONG = """

class Wrong(NumpyNetwork):
    def backprop(self, batch):
        return super().backprop(batch) / 2
"""


def test_what_changed_is_checked_first_and_a_failure_ends_it(compare, monkeypatch):
    def spoil(text):
        text = text.replace('("steady", NumpyNetwork)', '("steady", Wrong)')
        return text.replace("\n\n@hookimpl", f"{WRONG}\n\n@hookimpl")

    def test(*arguments, **more):
        return whole(arguments[0], ["-k", "loss_matches"], **more)

    whole = execution.test
    monkeypatch.setattr(execution, "test", test)
    done = compare(spoil, "-b", "steady")
    assert done.code == ExitCode.ACCURACY
    assert "nnbench: checks what changed: steady\n" in done.stderr
    assert re.search(r"^- Failed: steady is nonconforming \(loss matches", done.stdout)
    assert "nothing was measured." in done.stdout


@pytest.fixture
def pretend(make_info, call, monkeypatch):
    """Give a function that compares two environments with one backend, whose code differs, and runs no cell."""
    item = BackendItem(name="steady", summary="", device="cpu", unavailable=None, options={})
    listing = Listing(backends=[item], workloads=[], datasets=[])
    environment = make_info().environment

    def plan(_, **asked):
        chosen = {key: asked[key] for key in ("rounds", "detect")}
        return Plan(make_info("steady@base", "steady@head", **chosen), [], None)

    def compare_with(*arguments, lacks=(), tested=()):
        answers = iter([Probe(backends={"steady": Probed(code=c)}, lacks=[*lacks]) for c in "ab"])
        monkeypatch.setattr(interpreters, "examine", lambda p: Interpreter(p, listing, environment))
        monkeypatch.setattr(interpreters, "probe", lambda *_, **__: next(answers))
        monkeypatch.setattr(
            execution, "test", lambda *_, **__: execution.Tested("steady", [*tested], 1.0)
        )
        monkeypatch.setattr(continuous, "plan", plan)
        monkeypatch.setattr(cli, "execute", lambda *_, **__: ExitCode.OK)
        both = ["--python", sys.executable, "--python", shutil.which("sh")]
        return call("continuous", *both, "-w", "toy-sigmoid", *arguments)

    return compare_with


def test_rounds_are_said_beforehand(pretend):
    done = pretend()
    assert done.code == ExitCode.OK
    until = "until each limit on a ratio is known to be kept or broken"
    assert f"nnbench: rounds: {until}: 4 at least, 30 at most, and after" in done.stderr


@pytest.mark.parametrize("arguments", [["--rounds", "3"], ["--detect", "50%"]])
def test_rounds_that_were_asked_for_are_not_chosen(pretend, arguments):
    done = pretend(*arguments)
    assert (done.code, "rounds:" in done.stderr) == (ExitCode.OK, False)


FAILURE = Finding("steady", "loss matches", "failed", "loss: it is half")


@pytest.mark.parametrize(
    ("arguments", "lacks", "tested", "code", "said"),
    [
        ([], [], [], ExitCode.OK, "nnbench: checks what changed: steady"),
        (
            [],
            ["pytest"],
            [FAILURE],
            ExitCode.OK,
            "note: what changed is not checked without pytest",
        ),
        (["--no-test"], [], [FAILURE], ExitCode.OK, ""),
        (
            [],
            [],
            [FAILURE],
            ExitCode.ACCURACY,
            "steady is nonconforming (loss matches: loss: it is half)",
        ),
        ([], [], [FAILURE] * 3, ExitCode.ACCURACY, "(loss matches and 2 more: loss: it is half)"),
    ],
)
def test_checks_of_what_changed_decide_if_they_are_made(
    pretend, arguments, lacks, tested, code, said
):
    done = pretend(*arguments, lacks=lacks, tested=tested)
    assert done.code == code
    assert said in done.stderr
    assert ("checks what changed" in done.stderr) == (not arguments and not lacks)


def test_what_was_not_measured_is_data_too(pretend):
    done = pretend("--format", "json", tested=[FAILURE])
    found = json.loads(done.stdout)
    assert [each["metric"] for each in found] == ["train_s_per_epoch", "accuracy"]
    assert {each["outcome"] for each in found} == {"nonconforming"}


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
    cli.say_outlook(info, continuous.Outlook(4, 30.0, fits, 1, stdev))
    assert text in capsys.readouterr().err


def test_outlook_of_rounds_that_are_made_at_once_is_shorter(make_info, capsys):
    cli.say_outlook(make_info("one@base", detect=0.05), continuous.Outlook(5, 30.0, 14, 5, 0.01))
    text = "a round takes 30 s, and 5 are made at once: 4 to 14 rounds, 30 s to 90 s; pairs vary"
    assert text in capsys.readouterr().err


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
    install = [[".[all]", "--no-index"], ["mine"]]
    pythons = build("v1", "HEAD", install, progress=False)
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
