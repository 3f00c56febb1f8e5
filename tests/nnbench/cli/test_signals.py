"""Signals that ask nnbench to end are taken once, and what was ignored stays ignored."""

import signal
import time
from importlib import import_module

import pytest

from nnbench.cli.signals import CODES, Terminated, handled


@pytest.fixture(autouse=True)
def _restored():
    """Leave the handlers as they were."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, *CODES)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_first_signal_says_how_to_end_and_others_do_not_cut_that_short(number, code):
    done = []

    def end_slowly():
        with handled():
            try:
                signal.raise_signal(number)
            finally:
                for again in CODES:
                    signal.raise_signal(again)
                    done.append(again)

    with pytest.raises(Terminated) as raised:
        end_slowly()
    assert raised.value.code is code
    assert done == list(CODES)


def test_ctrl_c_cuts_it_short():
    with handled():
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signal_waits_for_the_end_of_an_import(tmp_path, monkeypatch):
    module = tmp_path / "module_of_signals.py"
    module.write_text("import signal; signal.raise_signal(signal.SIGTERM); done = True")
    monkeypatch.syspath_prepend(str(tmp_path))

    def import_it():
        with handled():
            imported = import_module("module_of_signals")
            assert imported.done
            time.sleep(60)

    with pytest.raises(Terminated):
        import_it()


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with handled():
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_all_end_the_process_at_once_when_nothing_is_left_to_be_kept():
    with handled():
        pass
    handlers = {signal.getsignal(each) for each in (signal.SIGINT, *CODES)}
    assert handlers == {signal.SIG_DFL}


def test_what_is_said_again_afterwards_does_not_change_the_code():
    with pytest.raises(Terminated), handled():
        signal.raise_signal(signal.SIGTERM)
    ignored = [each for each in CODES if signal.getsignal(each) is signal.SIG_IGN]
    assert ignored == [*CODES]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
