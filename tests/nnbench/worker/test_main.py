"""The worker turns whatever a backend does into answers, and is set up before NumPy comes."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from nnbench import BackendUnavailableError, pipes
from nnbench.data.workloads import Workload
from nnbench.execution.assignment import Assignment
from nnbench.records.events import Failed, Ready
from nnbench.records.worker import (
    Answer,
    Close,
    Closed,
    Dump,
    Inspect,
    Inspected,
    Predict,
    Predicted,
    Reached,
    State,
    Train,
    Trained,
)
from nnbench.worker import __main__ as worker
from nnbench.worker import training
from tests.cells import make_spec, stored

TINY = Workload(name="tiny", summary="", dataset="toy", hidden=(), loss="squared_error")
TASK = Assignment(TINY, 0, stored(TINY))
JOB = TASK.job(make_spec(workload=TINY))
NONE_YET = Closed(None)  # an answer, for what was sent before something went wrong


class OutOfMemoryError(RuntimeError):
    """Called as torch calls it."""


def decode(content):
    pipe, answers = io.BytesIO(content), []
    while pipe.tell() < len(content):
        answers.append(pipes.receive(pipe, Answer))
    return answers


@pytest.fixture
def answers_after(monkeypatch):
    """Return a function that lets the worker raise, and gives the answers that were sent."""

    def run(error):
        def prepare(job, send):
            assert job == JOB
            send(NONE_YET)
            raise error

        monkeypatch.setattr(training, "prepare", prepare)
        pipe = io.BytesIO()
        worker.work(JOB, io.BytesIO(), pipe)
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
def test_error_becomes_the_last_answer(answers_after, error, status, message):
    assert answers_after(error) == [NONE_YET, Failed(status, message)]


def test_device_out_of_memory_is_recognized_by_its_name(answers_after):
    assert answers_after(OutOfMemoryError("of CUDA"))[-1].status == "oom"


def test_syntax_error_says_where(answers_after):
    with pytest.raises(SyntaxError) as caught:
        compile("x y", "backend.py", "exec")
    message = answers_after(caught.value)[-1].message
    assert 'File "backend.py", line 1' in message
    assert "SyntaxError: invalid syntax" in message


def test_traceback_goes_to_standard_error(answers_after, capsys):
    answers_after(ValueError("look here"))
    assert "ValueError: look here" in capsys.readouterr().err


def test_unavailable_backend_leaves_no_traceback(answers_after, capsys):
    answers_after(BackendUnavailableError("no device"))
    assert capsys.readouterr().err == ""


def test_long_message_is_cut(answers_after):
    assert len(answers_after(ValueError("x" * 10_000))[-1].message) == worker.MESSAGE_LENGTH


def test_nothing_numerical_is_imported_before_the_worker_is_pinned():
    heavy = "{'numpy', 'pandas', 'torch', 'nnbench.worker.training'} & set(sys.modules)"
    code = f"import sys, nnbench.worker.__main__; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def start_worker(*commands):
    """Run a worker on some commands; return its exit status, errors and answers."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    with (
        os.fdopen(answer_read, "rb") as answers,
        subprocess.Popen(
            [sys.executable, "-m", "nnbench.worker", str(command_read), str(answer_write)],
            stderr=subprocess.PIPE,
            pass_fds=[command_read, answer_write, *TASK.descriptors],
        ) as process,
    ):
        os.close(command_read)
        os.close(answer_write)
        with os.fdopen(command_write, "wb") as pipe:
            for command in commands:
                pipes.send(pipe, command)
        found = decode(answers.read())
        _, errors = process.communicate()
    return process.returncode, errors.decode(), found


def test_worker_answers_commands_up_to_the_last_one():
    order = np.arange(TASK.examples).tobytes()
    status, errors, answers = start_worker(
        JOB,
        Dump(),
        Train(order, TASK.layers),
        Train(order),
        Dump(),
        Predict(order),
        Inspect(order, 1.0),
        Close(),
        Predict(order),
    )
    assert (status, errors) == (0, "")
    stages = [answer.stage for answer in answers if isinstance(answer, Reached)]
    assert stages == ["import", "create", "place", "the warm-up", "the phases"]
    kinds = [Ready, State, Trained, Trained, State, Predicted, Reached, Inspected, Closed]
    assert [type(answer) for answer in answers[4:]] == kinds


@pytest.mark.parametrize("commands", [(), (JOB,), (JOB, Predict(bytes(8)))])
def test_worker_whose_parent_has_died_ends(commands):
    status, errors, answers = start_worker(*commands)
    assert status == 1
    assert errors.startswith("the parent has died")
    assert len([each for each in answers if not isinstance(each, Reached)]) == len(commands)


def test_worker_does_not_wait_for_labels_or_a_seed():
    asked = {
        name
        for kind in (type(JOB), Train, Dump, Predict, Inspect)
        for name in kind.__struct_fields__
    }
    assert asked == {*type(JOB).__struct_fields__, "order", "layers", "phases_s"}
    assert not {"seed", "workload", "labels", "targets", "target"} & asked
    assert set(type(JOB.test).__struct_fields__) == {"descriptor", "dtype", "shape"}
