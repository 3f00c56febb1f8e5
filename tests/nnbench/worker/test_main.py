"""The worker turns whatever a backend does into events, and is set up before NumPy comes."""

import io
import os
import subprocess
import sys

import msgspec
import pytest

from nnbench import BackendUnavailableError
from nnbench.data.workloads import Workload
from nnbench.records import EpochFinished, Event, Failed, Finished, Progress
from nnbench.worker import __main__ as worker
from nnbench.worker import training
from tests.cells import make_spec

SPEC = make_spec(
    workload=Workload(name="tiny", summary="", dataset="toy", hidden=(), loss="squared_error")
)
PROGRESS = Progress(epoch=1, images=5, train_s=0.5, loss=None)


class OutOfMemoryError(RuntimeError):
    """Called as torch calls it."""


def decode(content):
    return [msgspec.json.decode(line, type=Event) for line in content.splitlines()]


@pytest.fixture
def events_after(monkeypatch):
    """Return a function that lets the training raise, and gives the events that were sent."""

    def run(error):
        def run_cell(spec, send):
            assert spec == SPEC
            send(PROGRESS)
            raise error

        monkeypatch.setattr(training, "run_cell", run_cell)
        pipe = io.BytesIO()
        worker.work(SPEC, pipe)
        return decode(pipe.getvalue())

    return run


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("two\n  lines"), "crashed", "ValueError: two lines"),
        (AssertionError(), "crashed", "AssertionError"),
        (MemoryError("no room"), "oom", "MemoryError: no room"),
        (BackendUnavailableError("no\ndevice"), "skipped", "no device"),
    ],
)
def test_error_becomes_the_last_event(events_after, error, status, message):
    assert events_after(error) == [PROGRESS, Failed(status, message)]


def test_device_out_of_memory_is_recognized_by_its_name(events_after):
    assert events_after(OutOfMemoryError("of CUDA"))[-1].status == "oom"


def test_syntax_error_says_where(events_after):
    with pytest.raises(SyntaxError) as caught:
        compile("x y", "backend.py", "exec")
    message = events_after(caught.value)[-1].message
    assert 'File "backend.py", line 1' in message
    assert "SyntaxError: invalid syntax" in message


def test_traceback_goes_to_standard_error(events_after, capsys):
    events_after(ValueError("look here"))
    assert "ValueError: look here" in capsys.readouterr().err


def test_unavailable_backend_leaves_no_traceback(events_after, capsys):
    events_after(BackendUnavailableError("no device"))
    assert capsys.readouterr().err == ""


def test_long_message_is_cut(events_after):
    assert len(events_after(ValueError("x" * 10_000))[-1].message) == worker.MESSAGE_LENGTH


def test_nothing_numerical_is_imported_before_the_worker_is_pinned():
    heavy = "{'numpy', 'pandas', 'torch', 'nnbench.worker.training'} & set(sys.modules)"
    code = f"import sys, nnbench.worker.__main__; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def start_worker(content):
    """Run a worker on what standard input says; return its exit status, errors and events."""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "nnbench.worker", str(write_end)]
    done = subprocess.run(
        command, input=content, capture_output=True, pass_fds=[write_end], check=False
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        return done.returncode, done.stderr.decode(), decode(pipe.read())


def test_worker_sends_events_to_the_descriptor_it_is_given():
    status, errors, events = start_worker(msgspec.json.encode(SPEC))
    assert (status, errors) == (0, "")
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, EpochFinished) for event in events) == SPEC.workload.epochs


def test_worker_whose_parent_died_before_it_spoke_ends():
    status, errors, events = start_worker(b"")
    assert status == 1
    assert "truncated" in errors
    assert events == []
