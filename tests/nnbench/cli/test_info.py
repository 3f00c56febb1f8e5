"""``nnbench info``."""

import msgspec
import pytest

from nnbench.execution import fitness
from nnbench.execution.fitness import Finding, State
from nnbench.records.runs import Environment
from tests.plugins.helpers import environment, nnbench


@pytest.fixture(scope="module")
def lines():
    done = nnbench("info", env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_json_is_the_environment(call):
    done = call("info", "--json")
    assert (done.code, done.stderr) == (0, "")
    found = msgspec.json.decode(done.stdout, type=Environment, strict=True)
    assert "numpy" in found.versions
    assert found.usable_cores >= 1


@pytest.mark.parametrize(
    "name",
    [
        *("cpu", "physical cores", "logical cores", "usable cores", "gpus"),
        *("system", "python", "versions", "git", "memory"),
    ],
)
def test_every_part_is_one_line(lines, name):
    (line,) = (line for line in lines if line.startswith(f"{name} "))
    assert line.removeprefix(name).strip()


def test_nothing_is_written_as_python(lines):
    assert not any(mark in "\n".join(lines) for mark in ("None", "{", "[", "_bytes"))


def test_memory_has_a_unit(lines):
    (line,) = (line for line in lines if line.startswith("memory "))
    number, unit = line.split()[1:]
    assert float(number) > 0
    assert unit == "GiB"


def test_check_says_what_is_fit_and_what_would_mend_the_rest(call, monkeypatch):
    found = [
        Finding(subject="turbo", state=State.COSTS, found="on", costs="heat", mend="echo 1"),
        Finding(subject="SMT", state=State.UNKNOWN, found="hidden", mend="look"),
        Finding(subject="clock", state=State.OK, found="\x1b[2Jtsc"),
    ]
    monkeypatch.setattr(fitness, "examine", lambda *_: found)
    done = call("info", "--check")
    assert (done.code, done.stderr) == (0, "")
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["turbo", "costs", "on"] in words
    assert ["SMT", "unknown", "hidden"] in words
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-3:] == [
        "turbo: heat: echo 1",
        "SMT: look",
        "1 of 3 cost something, 1 unknown",
    ]
    done = call("info", "--check", "--json")
    assert done.code == 0
    assert msgspec.json.decode(done.stdout, type=list[Finding]) == found


def test_check_goes_with_no_file(call):
    done = call("info", "--check", "--schema", "config")
    assert (done.code, done.stderr.count("\n")) == (2, 1)


def test_versions_include_the_libraries_of_backends(lines):
    (line,) = (line for line in lines if line.startswith("versions "))
    assert {"nnbench-harness", "numpy"} <= set(line.split())
