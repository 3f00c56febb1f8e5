"""One run at a time writes to a results folder, and no lock outlives its process."""

import fcntl
import multiprocessing
import os
import signal

import pytest

from nnbench.contract.errors import ExitCode, ResultsError
from nnbench.runs import store


def test_second_run_is_refused(tmp_path):
    with store.hold(tmp_path), pytest.raises(ResultsError) as raised, store.hold(tmp_path):
        pytest.fail("two runs hold the same lock")
    assert str(raised.value) == f"{tmp_path} is in use by another run"
    assert raised.value.exit_code == ExitCode.USAGE


def test_lock_can_be_taken_again(tmp_path):
    for _ in range(2):
        with store.hold(tmp_path):
            pass


def test_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(OSError, match="of the run"), store.hold(tmp_path):
        raise OSError("of the run")
    with store.hold(tmp_path):
        pass


def test_other_folders_are_free(tmp_path):
    with store.hold(tmp_path / "a"), store.hold(tmp_path / "b" / "c"):
        assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def hold_and_die(folder):
    with store.hold(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def test_kill_leaves_no_lock(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with store.hold(tmp_path):
        pass


def test_folder_that_cannot_be_made_is_refused(plain_file):
    with pytest.raises(ResultsError) as raised, store.hold(plain_file / "run"):
        pytest.fail("there is no such folder")
    assert str(raised.value) == f"cannot write to {plain_file / 'run'}: Not a directory"


def test_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ResultsError) as raised, store.hold(tmp_path):
        pytest.fail("nobody else is kept out")
    assert str(raised.value) == f"cannot lock {tmp_path}: No locks available"
