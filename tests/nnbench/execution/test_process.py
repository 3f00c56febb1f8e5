"""The parent outlives every worker, tells what became of it, and leaves no process behind."""

import json
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields, replace
from statistics import median_low
from subprocess import TimeoutExpired

import pytest

from nnbench import Backend
from nnbench.execution import gpu, machine, pauses, process, supervisor, variables
from nnbench.execution.calls import Meter
from nnbench.records.cells import CellResult, Status
from nnbench.records.events import EpochFinished, Event, Failed, Finished, Progress, Ready
from nnbench.worker import __main__ as worker
from tests.cells import TOY, make_spec, run_worker
from tests.plugins import helpers

NEEDS_REAL_TIME_SIGNALS = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMIN"), reason="needs real-time signals"
)
LONGEST = (
    34  # epochs in a part, each a step: a third of them, so that one part ends before the fault
)
FAULTY_EPOCH = 60


SPECS = [
    make_spec("hangs", timeout_s=8.0),
    make_spec("hangs-in-create", timeout_s=3.0),
    make_spec("hangs-in-predict", timeout_s=4.0),
    make_spec("hangs-at-exit"),
    make_spec("leaves-grandchild"),
    make_spec("leaves-loud-grandchild"),
    make_spec("writes-garbage-line"),
    make_spec("writes-garbage-before"),
    make_spec("writes-garbage-much"),
    make_spec("writes-another-answer"),
    make_spec("writes-no-number"),
    make_spec("writes-no-message"),
    make_spec("closes-output"),
    make_spec("closes-everything"),
    make_spec("raises-unseen"),
    make_spec("raises"),
    make_spec("prints-much"),
    make_spec("exits-as-if-done"),
    make_spec("exits-in-create"),
    make_spec("gets-nameless-signal"),
    make_spec("slow", workload=replace(TOY, batch_size=1), budget_s=0.25),
    make_spec("gets-slower", budget_s=0.25),
    make_spec(
        "steady", workload=replace(TOY, batch_size=1, epochs=10**6), budget_s=1e3, timeout_s=6.0
    ),
    make_spec("talks", cpus=tuple(machine.usable_cpus()[-1:])),
    make_spec("has-helper"),
]


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """Run all cells, some side by side, and return the outcomes, and what they left behind."""
    mark = tmp_path_factory.mktemp("faults")

    def run(spec):
        start = time.monotonic()
        events: list[Event] = []
        outcome = run_worker(spec, events.append)
        return outcome, events, time.monotonic() - start

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        for key, value in helpers.variables("faulty", mark=mark).items():
            patch.setenv(key, value)
        patch.setattr(process, "GRACE_S", 1.0)
        found = dict(zip([spec.backend for spec in SPECS], pool.map(run, SPECS), strict=True))
    yield found, helpers.survivors(mark)
    for left in helpers.survivors(mark):
        left.kill()


@pytest.fixture
def outcomes(faults):
    return {name: outcome for name, (outcome, _, _) in faults[0].items()}


def test_no_process_survives(faults):
    assert faults[1] == []


@pytest.mark.parametrize(
    ("backend", "seconds", "where", "trained"),
    [
        ("hangs", 8, r"epoch \d+", True),
        ("hangs-in-create", 3, "create", False),
        ("hangs-in-predict", 4, "predict", True),
    ],
)
def test_hanging_worker_is_killed_in_time(outcomes, backend, seconds, where, trained):
    outcome = outcomes[backend]
    assert outcome.status == "timeout"
    text = rf"still running after {seconds} s, and was killed in {where}"
    assert re.fullmatch(text, outcome.message)
    assert bool(outcome.epochs) is trained


def test_training_that_goes_on_leaves_time_for_what_follows_it(outcomes):
    outcome = outcomes["steady"]
    assert (outcome.status, outcome.complete) == ("ok", False)  # which is the status budget
    assert 3.0 < outcome.wall_s < 6.0
    assert outcome.epochs[-1].evaluate_s is not None
    assert outcome.phases is not None


@pytest.mark.parametrize(
    "backend", ["hangs-at-exit", "leaves-grandchild", "leaves-loud-grandchild"]
)
def test_what_outlives_the_last_event_does_not_block(faults, backend):
    outcome, _, seconds = faults[0][backend]
    assert outcome.status == "ok"
    assert outcome.complete
    assert seconds < make_spec().timeout_s / 2


@pytest.mark.parametrize(
    ("backend", "start"),
    [
        ("writes-garbage-line", r"b'\x00garbage"),
        ("writes-garbage-before", r"b'garbage"),
        ("writes-garbage-much", r"b'\xff\xff\xff"),
        ("writes-another-answer", "a Closed, where Trained was due"),
        ("writes-no-number", r"Expected `float` >= 1e-09 - at `$.train_s`"),
        ("writes-no-message", "MessagePack data is malformed"),
    ],
)
def test_garbage_in_the_pipe_of_answers_is_the_last_event(faults, backend, start):
    outcome, events, _ = faults[0][backend]
    assert outcome.status == "crashed"
    assert outcome.message.startswith(f"wrote to the pipe of answers: {start}")
    assert not outcome.complete
    assert LONGEST / 2 <= len(outcome.epochs) < FAULTY_EPOCH
    assert isinstance(events[-1], Failed)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("exits-as-if-done", "exited with status 0 before it was done"),
        ("exits-in-create", "exited with status 0 before it was done"),
        pytest.param("gets-nameless-signal", "killed by signal 40", marks=NEEDS_REAL_TIME_SIGNALS),
        ("raises-unseen", "ValueError: nobody can see this traceback"),
    ],
)
def test_crash_is_explained(outcomes, backend, message):
    assert (outcomes[backend].status, outcomes[backend].message) == ("crashed", message)


def test_worker_without_any_file_is_a_crash(outcomes):
    outcome = outcomes["closes-everything"]
    assert outcome.status == "crashed"
    assert re.fullmatch(r"exited with status (1|120) before it was done", outcome.message)


def test_closed_output_does_no_harm(outcomes):
    assert outcomes["closes-output"].status == "ok"


def test_output_is_bounded_and_no_event(outcomes):
    outcome = outcomes["prints-much"]
    assert outcome.status == "ok"
    lines = outcome.output.splitlines()
    assert len(lines) == process.OUTPUT_LINES
    assert lines[-1] == "last words"


def test_endless_line_and_message_are_bounded(outcomes):
    outcome = outcomes["raises"]
    assert outcome.message.startswith("ValueError: first line second line and so on")
    assert len(outcome.message) == worker.MESSAGE_LENGTH
    assert 0 < len(outcome.output) <= process.OUTPUT_BYTES


def test_budget_ends_the_training_inside_an_epoch(outcomes):
    outcome = outcomes["slow"]
    assert outcome.status == "ok"
    assert not outcome.complete
    (epoch,) = outcome.epochs
    assert 0 < epoch.images < outcome.setup.epoch_images
    assert (epoch.test_loss, epoch.parts[-1].state is None) == (0.5, False)


def test_budget_ends_a_training_that_gets_slower(outcomes):
    outcome = outcomes["gets-slower"]
    assert outcome.status == "ok"
    assert not outcome.complete
    assert 0 < len(outcome.epochs) < TOY.epochs


def test_threads_and_affinity_reach_the_worker(outcomes):
    told = json.loads(outcomes["talks"].output)
    expected = dict.fromkeys(variables.THREAD_VARIABLES, "1")
    assert {key: told["variables"].get(key) for key in expected} == expected
    assert told["cpus"] == machine.usable_cpus()[-1:]
    assert set(outcomes["talks"].setup.thread_pools.values()) == {1}


@pytest.mark.skipif(not supervisor.KNOWN, reason="needs Linux")
@pytest.mark.parametrize(("backend", "threads"), [("talks", 1), ("has-helper", 2)])
def test_threads_that_compute_are_counted(outcomes, backend, threads):
    parts = [part for epoch in outcomes[backend].epochs for part in epoch.parts]
    assert median_low(part.threads or 0 for part in parts) == threads


def test_events_come_in_order(faults):
    _, events, _ = faults[0]["talks"]
    assert [type(event) for event in events[:3]] == [Ready, Progress, EpochFinished]
    assert isinstance(events[-1], Finished)
    numbers = [event.epoch.number for event in events if isinstance(event, EpochFinished)]
    assert numbers == list(range(1, TOY.epochs + 1))


@pytest.mark.parametrize("event", [Ready, Finished, Failed])
def test_a_result_has_all_that_an_event_says(event):
    assert set(event.__struct_fields__) <= {field.name for field in fields(CellResult)}


def test_interrupted_parent_kills_its_worker(tmp_path, monkeypatch):
    for key, value in helpers.variables("faulty", mark=tmp_path).items():
        monkeypatch.setenv(key, value)
    seen = []

    def interrupt(_):
        seen.extend(helpers.survivors(tmp_path))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker(make_spec("talks"), interrupt)
    assert seen
    assert helpers.survivors(tmp_path) == []


@pytest.mark.parametrize(
    ("exit_status", "out_of_memory", "expected"),
    [
        (None, False, ("timeout", "still running after 60 s, and was killed in dump")),
        (2, False, ("crashed", "exited with status 2 before it was done")),
        (-signal.SIGSEGV, False, ("crashed", "killed by SIGSEGV")),
        (-signal.SIGKILL, False, ("crashed", "killed by SIGKILL")),
        (-signal.SIGKILL, True, ("oom", "killed by the kernel, which was out of memory")),
        (-signal.SIGABRT, True, ("crashed", "killed by SIGABRT")),
    ],
)
def test_exit_status_is_explained(exit_status, out_of_memory, expected):
    spec = make_spec("numpy")
    found = process.explain(exit_status, spec, "dump", out_of_memory=out_of_memory)
    assert found == Failed(*expected)


@pytest.mark.parametrize(
    ("status", "started", "expected"),
    [
        ("oom", True, "oom"),
        ("crashed", False, "crashed"),
        ("skipped", False, "skipped"),
        ("skipped", True, "crashed"),  # it was available
        ("ok", True, "crashed"),
        ("budget", True, "crashed"),
        ("invalid", False, "crashed"),
    ],
)
def test_a_worker_that_fails_has_failed(status, started, expected):
    given = Failed(Status[status.upper()], "why")
    assert process.failure(given, started=started) == Failed(Status[expected.upper()], "why")


def test_no_time_out_counts_what_nnbench_was_stopped_for():
    backend = Backend(name="numpy", summary="", create=pytest.fail)
    with process.Worker(make_spec(), backend, [], 1) as worker:
        ran_s, worker.deadline = worker.ran_s, time.monotonic() - 1
        worker._looked -= 100
        worker._wait()
        assert worker.ran_s < ran_s
        worker.deadline = time.monotonic() - 1
        with pytest.raises(process.EndedError, match="still running"):
            worker._wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_worker_that_ends_with_all_processes_is_no_crash(monkeypatch, number):
    def be_told(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "sleep", be_told)
    backend = Backend(name="numpy", summary="", create=pytest.fail)
    with process.Worker(make_spec(), backend, [], 1) as worker:
        worker.process.send_signal(number)
        with pytest.raises(KeyboardInterrupt):
            worker.receive(Ready)


def test_ctrl_z_waits_while_a_call_is_metered():
    backend = Backend(name="numpy", summary="", create=pytest.fail)
    with process.Worker(make_spec(), backend, [], 1) as worker:
        for end in (lambda meter: meter.stop(), lambda _: worker.close()):
            meter = Meter(worker)
            assert pauses._STATE.is_timed
            end(meter)
            assert not pauses._STATE.is_timed


@pytest.mark.skipif(not supervisor.KNOWN, reason="elsewhere nothing is known of a daemon")
@pytest.mark.parametrize(
    ("last", "timeout_s", "ended"),
    [
        ("raise SystemExit(3)", None, nullcontext()),
        ("time.sleep(60)", 0.5, pytest.raises(TimeoutExpired)),
    ],
)
def test_command_ends_with_all_that_came_of_it(tmp_path, last, timeout_s, ended):
    code = f"import os, time\nif not os.fork():\n os.setsid()\n time.sleep(60)\n{last}"
    command = [sys.executable, "-I", "-S", "-c", code]
    with ended:
        done = process.run(command, timeout_s, env=helpers.environment(mark=tmp_path))
        assert done.returncode == 3
    assert helpers.survivors(tmp_path) == []


def test_worker_counts_the_time_for_which_it_runs():
    backend = Backend(name="numpy", summary="", create=pytest.fail)
    with process.Worker(make_spec(), backend, [], 1) as worker:
        worker.stop()
        ran_s, deadline = worker.ran_s, worker.deadline
        time.sleep(0.3)
        assert worker.ran_s == ran_s
        worker.go_on()
        assert worker.deadline - deadline >= 0.3
        time.sleep(0.1)
        assert 0.1 <= worker.ran_s - ran_s < 0.3
        worker.close()
        ran_s = worker.ran_s
        time.sleep(0.1)
        assert worker.ran_s == ran_s
        worker.close()  # which does nothing, as does leaving the context


def test_gpu_is_looked_at_whenever_a_worker_is_stopped(monkeypatch):
    used = iter([100, 400, 1000, 1050])
    monkeypatch.setattr(gpu, "used_bytes", lambda: next(used))
    backend = Backend(name="numpy", summary="", create=pytest.fail, device="cuda")
    with process.Worker(make_spec(), backend, [], 1) as worker:
        worker.stop()
        assert worker.on_gpu.peak == 300
        worker.go_on()
        worker.stop()
        worker.stop()  # which does nothing
        assert worker.on_gpu.peak == 350
