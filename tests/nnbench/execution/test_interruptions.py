"""A signal that asks to end comes when a step is over, and not in the midst of it."""

import signal
from threading import Thread

import pytest

from nnbench.execution import interruptions


class Asked(BaseException):
    """By a signal."""


def step(done, *numbers):
    """Do a step in which signals come."""
    with interruptions.deferred():
        for number in numbers:
            signal.raise_signal(number)
        done.append("step")


@pytest.fixture(params=interruptions.ENDING)
def number(request):
    """Give a signal that raises what it was."""

    def ask(number, _):
        raise Asked(number)

    before = signal.signal(request.param, ask)
    yield request.param
    signal.signal(request.param, before)


def test_signal_comes_at_the_end_and_once(number):
    done: list[str] = []
    with pytest.raises(Asked) as asked:
        step(done, *([number] if number == signal.SIGINT else [number, number]))  # as timeout does
    assert (asked.value.args, done) == ((number,), ["step"])
    with pytest.raises(Asked):
        signal.raise_signal(number)


def test_second_ctrl_c_does_not_wait():
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        step(done, signal.SIGINT, signal.SIGINT)
    assert done == []


def test_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        step([], signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_go_on_as_ever():
    done: list[str] = []
    thread = Thread(target=step, args=[done])
    thread.start()
    thread.join()
    assert done == ["step"]
