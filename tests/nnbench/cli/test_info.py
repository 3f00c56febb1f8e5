"""``nnbench info``."""

import msgspec
import pytest

from nnbench.records import Environment
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


def test_versions_include_the_libraries_of_backends(lines):
    (line,) = (line for line in lines if line.startswith("versions "))
    assert {"nnbench-harness", "numpy"} <= set(line.split())
