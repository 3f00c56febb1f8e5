"""A child answers questions, and whatever else it does, it is the child that ends."""

import itertools
import sys
from contextlib import suppress
from time import monotonic

import psutil
import pytest

from nnbench.contract.errors import DatasetError, NnbenchError, PluginWarning
from nnbench.execution import children
from nnbench.execution.children import MOST_PRINTED, MOST_WARNINGS, Child, ChildError
from tests.plugins.helpers import count_open

CHILD = """
import ctypes, os, sys, time, warnings
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
        case ["fault"]:
            ctypes.string_at(0)
        case ["interrupt"]:
            raise KeyboardInterrupt
        case ["flood", megabytes]:
            for _ in range(int(megabytes)):
                os.write(2, b"x" * (1 << 20))
        case ["flood"]:
            while True:
                os.write(2, b"x" * (1 << 20))
        case ["warn", count]:
            for number in range(int(count)):
                warnings.warn(f"warning {number}")
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
    assert count_open() <= before
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


def test_what_nobody_can_catch_is_an_error_here(child):
    with pytest.raises(NnbenchError, match=r"^KeyboardInterrupt$"):
        child.ask("interrupt", str, 60)
    assert child.ask("still there", str, 60) == "still there"


def test_warnings_are_counted_where_there_are_too_many(child):
    with pytest.warns() as told:
        child.ask(f"warn {MOST_WARNINGS + 3}", str, 60)
    assert len(told) == MOST_WARNINGS + 1
    assert str(told[-1].message) == "plugins have warned 3 more times"


def test_print_goes_to_standard_error_up_to_so_many_bytes(child, capfd):
    assert child.ask("flood 1", str, 60) == "flood 1"
    assert len(capfd.readouterr().err) == MOST_PRINTED
    with pytest.warns(PluginWarning, match="^plugins have printed more than 1,048,576 bytes: "):
        child.ask("flood 3", str, 60)
    child.ask("flood 3", str, 60)
    assert capfd.readouterr().err == "\n"


def test_endless_print_ends_in_time(child, capfd):
    child.ask("ready", str, 60)
    text = "^its process did not answer in time$"
    with pytest.warns(PluginWarning), pytest.raises(ChildError, match=text):
        child.ask("flood", str, 1.0)
    child.kill()
    child.close()  # which changes nothing any more
    assert len(capfd.readouterr().err) == MOST_PRINTED + 1


def test_last_words_are_heard(child, capfd):
    with pytest.raises(ChildError):
        child.ask("fault", str, 60)
    child.kill()
    assert "Fatal Python error" in capfd.readouterr().err


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


def test_time_in_which_nnbench_was_stopped_does_not_count(child, monkeypatch):
    child.ask("ready", str, 60)
    looks = itertools.count()
    monkeypatch.setattr(children, "monotonic", lambda: monotonic() + 100 * (next(looks) > 2))
    assert child.ask("sleep 0.5", str, 60) == "sleep 0.5"


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
