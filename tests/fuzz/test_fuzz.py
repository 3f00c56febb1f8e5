"""The fuzzer finds what it is there for; and some of its cases, of which ``make fuzz`` tries thousands."""

from itertools import islice
from random import Random

import click
import pytest

from nnbench.cli import cli as nnbench
from tests.fuzz import cli, kinds, planted, toml
from tests.fuzz.case import Case, Expected, Outcome, disagreement, problem
from tests.fuzz.runner import Limits, endless, fuzz, keep


def test_cases_end_as_they_should(tmp_path):
    report = fuzz(islice(endless(1), 200), benches=1, every=100)
    assert [keep(each, tmp_path) for each in report.failures] == []
    assert report.kinds.total() == 200
    assert report.kinds.keys() >= kinds.KINDS.keys() - {"listing"}


def test_every_fault_is_found():
    worker, limits = ("-m", "tests.fuzz.planted"), Limits(seconds=1.5, bytes=200 << 20)
    report = fuzz(planted.NAMES, benches=1, every=1, limits=limits, worker=worker)
    assert {each.name: each.problem for each in report.failures} == planted.NAMES


CASE = Case(words=["show", "run"], about="")
FINE = Case(words=["show", "run"], about="", expected=Expected.FINE)


@pytest.mark.parametrize(
    ("case", "outcome", "expected"),
    [
        (CASE, Outcome(0, "text"), None),
        (CASE, Outcome(2, "", "nnbench: error: x\n"), None),
        (FINE, Outcome(0), None),
        (FINE, Outcome(2, "", "nnbench: error: x\n"), "it ended with 2, though its input is fine"),
        (CASE, Outcome(2, "x", "nnbench: error: x\n"), "it was refused, and has printed something"),
        (CASE, Outcome(0, "", "x\x07"), "a terminal would obey ['\\x07']"),
        (CASE, Outcome(0, "", "x" * 20_001), "a line has more than 20,000 characters"),
        (CASE, Outcome(99), "it ended with 99, which is no answer to any input"),
        (CASE, Outcome(None, ended="killed"), "killed"),
    ],
)
def test_outcome_is_held_against_what_is_known(case, outcome, expected):
    assert problem(case, outcome) == expected


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (Outcome(0, "x"), Outcome(0, "y"), None),
        (Outcome(0), Outcome(1), "it ended with 1 in a process of its own, and with 0 elsewhere"),
        (Outcome(2, "", "a\nb\n"), Outcome(2, "", "c\nb\n"), None),
        (Outcome(2, "", "a\n"), Outcome(2, "", "b\n"), "a process of its own says ['b']"),
    ],
)
def test_processes_must_agree(here, there, words):
    found = disagreement(here, there)
    assert found is None if words is None else found.startswith(words)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_case_comes_of_its_name(kind, tmp_path):
    made = []
    for number in range(2):
        folder, case = kinds.prepare(f"{kind}:0:7", tmp_path / f"{number}")
        files = {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30
        }
        made.append((case.words, case.about, case.expected, files))
    assert made[0] == made[1]


def test_every_command_and_option_is_drawn():
    random, drawn = Random(0), set()
    for path, command in cli.commands():
        for _ in range(100):
            words, _ = cli.fill(random, command, 0.1)
            drawn |= {(*path, word.partition("=")[0]) for word in words}
    flags = {
        (*path, name)
        for path, command in cli.commands()
        for param in command.params
        if isinstance(param, click.Option)
        for name in [*param.opts, *param.secondary_opts]
    }
    assert {path[0] for path, _ in cli.commands()} == {*nnbench.commands}
    assert flags - drawn == set()


def test_files_that_are_spelled_are_fine():
    for document, schema, _ in toml.FILES.values():
        assert toml.judge(toml.spell(document).encode(), schema) is Expected.EITHER
    assert toml.judge(b"unknown = 1", "nnbench") is Expected.BAD
    assert toml.judge(b"[", "nnbench") is Expected.BAD
