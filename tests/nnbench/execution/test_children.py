"""A child answers questions, and whatever else it does, it is the child that ends."""

import sys
from contextlib import suppress

import psutil
import pytest

from nnbench.contract.errors import DatasetError, NnbenchError, PluginWarning
from nnbench.execution.children import Child, ChildError
from tests.plugins.helpers import count_open

CHILD = """
import os, sys, time, warnings
from nnbench.contract.errors import DatasetError, PluginWarning
from nnbench.execution import children

def answer(text):
    match text.split():
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["refuse"]:
            raise DatasetError("no such data")
        case ["raise"]:
            raise KeyError("a bug")
        case ["warn"]:
            warnings.warn("mind", PluginWarning)
            warnings.warn("the gap")
        case ["read"]:
            return sys.stdin.read()
        case ["nonsense"]:
            os.write(int(ANSWERS), b"nonsense\\n")
        case ["endless"]:
            while True:
                os.write(int(ANSWERS), b"x" * 100_000)
        case ["leave", path]:
            if not os.fork():
                os.setsid()
                time.sleep(600)
            return os.getpid()
        case ["abort"]:
            os._exit(3)
    return text

ANSWERS = os.dup(1)
children.serve(str, answer)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Start a child."""
    (tmp_path / "child_of_test.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = count_open()
    started = Child("child_of_test")
    yield started
    started.kill()
    assert count_open() == before
    assert started.process.returncode is not None


def test_it_answers_one_question_after_the_other(child):
    assert [child.ask(text, str, 60) for text in ("one", "two", "")] == ["one", "two", ""]


def test_question_and_answer_may_be_larger_than_a_pipe(child):
    assert child.ask("x" * 5_000_000, str, 60) == "x" * 5_000_000


def test_error_of_nnbench_is_raised_here(child):
    with pytest.raises(DatasetError, match=r"^no such data$"):
        child.ask("refuse", str, 60)
    assert child.ask("still there", str, 60) == "still there"


def test_other_error_is_one_line(child):
    with pytest.raises(NnbenchError, match=r"^KeyError: 'a bug'$"):
        child.ask("raise", str, 60)


def test_warnings_are_given_here(child):
    with pytest.warns(PluginWarning, match="^mind$"), pytest.warns(UserWarning, match="^the gap$"):
        child.ask("warn", str, 60)


def test_standard_input_is_empty(child):
    assert child.ask("read", str, 60) == ""


@pytest.mark.parametrize(
    ("question", "limit_s", "text"),
    [
        ("sleep 600", 0.5, "its process did not answer in time"),
        ("nonsense", 60, "its process answered nonsense: "),
        ("endless", 60, "its process does not end its answer"),
        ("abort", 60, "its process ended with status 3"),
    ],
)
def test_what_is_no_answer_is_an_error(child, question, limit_s, text):
    child.ask("ready", str, 60)
    with pytest.raises(ChildError) as raised:
        child.ask(question, str, limit_s)
    assert str(raised.value).startswith(text)


def test_answer_that_nobody_waited_for_is_not_the_next_one(child):
    with suppress(ChildError):
        child.ask("sleep 0.5", str, 0.1)
    assert child.ask("next", str, 60) == "next"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known of a daemon")
@pytest.mark.parametrize("how", ["close", "kill"])
def test_what_it_started_ends_with_it(child, how):
    pid = child.ask("leave it", int, 60)
    daemons = psutil.Process(pid).children()
    assert len(daemons) == 1
    getattr(child, how)()
    assert not any(each.is_running() for each in daemons)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is stopped")
def test_it_can_be_stopped(child):
    pid = child.ask("leave it", int, 60)
    child.stop()
    both = [psutil.Process(pid), *psutil.Process(pid).children()]
    assert {each.status() for each in both} == {psutil.STATUS_STOPPED}
    child.go_on()
    assert child.ask("again", str, 60) == "again"
