"""The judges are processes of their own, which import no plugin, and are never a pass if they fail."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from nnbench.contract.errors import ExitCode
from nnbench.data import arrays
from nnbench.execution import loading, machine, process
from nnbench.execution.judges import JudgeError, Judges
from nnbench.records.cells import Status
from nnbench.records.judging import Evaluate
from tests.plugins.helpers import variables, wait_until
from tests.trained import judged, spooled, train

SMALL = {"batch_size": 8, "epochs": 3, "target_accuracy": None}


@pytest.fixture
def workload(mnist, folder):
    """Give a workload of a small dataset."""
    return replace(mnist, dataset=str(folder), **SMALL)


@pytest.fixture
def spool(workload):
    """Give a spool of it."""
    with spooled(workload) as given:
        yield given


@pytest.fixture
def start(workload, spool, monkeypatch, tmp_path):
    """Give a function that makes judges who read the spool."""
    monkeypatch.setattr(process, "calibrations", lambda: tmp_path / "cache")
    stored = loading.load(workload)

    def make(count=2, **options):
        return Judges(workload, stored, spool.file.fileno(), count=count, **options)

    yield make
    arrays.release(arrays.descriptors(stored.train, stored.test))


def test_judges_find_what_one_in_this_process_finds(spool, start):
    def halves(training, step):
        if step == 9:
            training._moments[0][0] *= 0.5

    cells = [
        train(spool),
        train(spool, mistake=halves),
        train(spool, shows_moments=False),
        train(spool, mode="off"),
    ]
    with start() as found:
        results = list(found.judge(cells))
    for result, other in zip(results, (judged(spool, cell) for cell in cells), strict=True):
        assert (result.status, result.message[:20]) == (other.status, other.message[:20])
        assert [e.accuracy for e in result.epochs] == [e.accuracy for e in other.epochs]
        if result.status is Status.OK:  # of a wrong one, what is followed depends on who is first
            assert (result.proof and result.proof.proved) == (other.proof and other.proof.proved)
    assert [cell.status for cell in results] == ["ok", "invalid", "ok", "ok"]


def test_sampled_cells_are_held_against_their_seed(spool, start):
    cells = [train(spool, seed, mode="sampled") for seed in (1, 2, 1, 1, 1, 1, 1)]
    with start() as found:
        results = list(found.judge(cells))
    assert [cell.status for cell in results] == ["ok"] * 7
    assert [cell.seed for cell in results] == [1, 2, 1, 1, 1, 1, 1]
    assert [cell.proof.is_whole for cell in results] == [False, True, *[False] * 5]


def test_no_cells_and_failed_cells_are_no_work(spool, start):
    cell = train(spool)
    failed = replace(cell.result, status=Status.CRASHED, message="why")
    with start() as found:
        assert list(found.judge([])) == []
        asked = type(cell)(failed, "full", cell.limits, cell.cuts)
        assert list(found.judge([asked])) == [failed]


@pytest.mark.parametrize(
    ("changes", "count"),
    [({}, 1), ({"epochs": 125}, 1), ({"epochs": 126}, 4), ({"hidden": (40_000,)}, 4)],
)
def test_a_second_judge_is_started_if_it_is_worth_it(start, workload, monkeypatch, changes, count):
    """Of 60 examples with 20 pixels: 8 steps an epoch, whose products are nothing in a small network."""
    monkeypatch.setattr(machine, "most_threads", lambda: 4)
    found = Judges(replace(workload, **changes), start(1).case.splits, 0)
    assert found.count == count


def test_parameters_are_evaluated(spool, start):
    cell = train(spool)
    with start(1) as found:
        assert found.evaluate(cell.cuts[-1].offset) == spool.judge.evaluate(cell.cuts[-1].offset)


def test_a_judge_imports_no_plugin_and_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import nnbench.proof.__main__; "
        "found = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*found - set(sys.stdlib_module_names)); "
        "print(*[name for name in sys.modules if name.startswith('nnbench.')])"
    )
    env = os.environ | variables("faulty")
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    packages, modules = (set(line.split()) for line in done.stdout.splitlines())
    assert packages >= {"nnbench", "numpy", "msgspec"}
    assert packages - {"nnbench", "numpy", "msgspec", "pluggy"} <= {"typing_extensions"}
    assert not {"nnbench.catalog", "nnbench.worker", "nnbench.selection"} & modules


def test_a_judge_has_one_thread_and_nobody_reads_its_memory(start, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    with start(1) as found:
        process = psutil.Process(found.processes[0].process.pid)
        found.limits("float32", from_parameters=False)
        assert process.environ()["OPENBLAS_NUM_THREADS"] == "1"
        assert "OPENBLAS_CORETYPE" not in process.environ()
        assert process.num_threads() == 1


def test_judges_end_with_their_context(start):
    with start() as found:
        started = [psutil.Process(each.process.pid) for each in found.processes]
        assert all(each.is_running() for each in started)
    assert not any(each.is_running() for each in started)


def test_judges_end_when_something_goes_wrong(start):
    started: list[psutil.Process] = []

    def fail(found):
        started.extend(psutil.Process(each.process.pid) for each in found.processes)
        raise KeyError

    with pytest.raises(KeyError), start() as found:
        fail(found)
    assert not any(each.is_running() for each in started)


def test_judge_that_is_killed_is_a_failure_of_nnbench(spool, start):
    with start(1) as found:
        found.processes[0].process.send_signal(signal.SIGKILL)
        wait_until(lambda: found.processes[0].process.poll() is not None)
        with pytest.raises(
            JudgeError, match="a judge was ended by SIGKILL before it was done"
        ) as e:
            list(found.judge([train(spool)]))
    assert e.value.exit_code == ExitCode.INTERNAL


def test_judge_that_fails_says_why(spool, start, capfd):
    cell = train(spool)
    broken = type(cell)(replace(cell.result, seed=-1), "full", cell.limits, cell.cuts)
    with (
        pytest.raises(JudgeError, match=r"a judge has failed: .*PipeError: Expected `int` >= 0"),
        start(1) as found,
    ):
        list(found.judge([broken]))
    assert "Traceback" in capfd.readouterr().err


def test_what_asks_to_end_does_not_end_the_judges(start):
    with start(1) as found:
        judge = found.processes[0].process
        assert os.getsid(judge.pid) != os.getsid(0)  # nor does Ctrl-C reach them
        limits = found.limits("float32", from_parameters=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            judge.send_signal(number)
        assert found.limits("float32", from_parameters=False) == limits


def test_judge_of_another_parent_ends():
    another = 1 if os.getpid() != 1 else 2
    command = process.command(None, "nnbench.proof", str(another))
    with subprocess.Popen(command, stdin=subprocess.PIPE) as judge:
        assert judge.wait(60) == 1


def test_judge_that_is_killed_when_memory_is_out_says_so(start, monkeypatch):
    with start(1) as found:
        monkeypatch.setattr(process, "out_of_memory_kills", lambda: 1 << 40)
        found.processes[0].process.kill()
        with pytest.raises(JudgeError, match=r"by SIGKILL .*; the kernel has run out of memory"):
            found.evaluate(0)


def test_limits_are_kept_for_the_next_run(start, tmp_path):
    with start(1) as found:
        first = found.limits("float32", from_parameters=False)
    [kept] = (tmp_path / "cache").iterdir()
    text = kept.read_text()
    assert f'"steps":{first.steps}' in text
    kept.write_text(text.replace(f'"steps":{first.steps}', '"steps":200'))
    with start(1) as found:
        assert found.limits("float32", from_parameters=False).steps == 200
    with start(1, cached=False) as found:
        assert found.limits("float32", from_parameters=False) == first


def test_judge_that_ctrl_c_left_an_answer_of_is_replaced(spool, start):
    cell = train(spool)
    with start(1) as found:
        before = found.processes[0]
        before.ask(Evaluate(cell.cuts[0].offset))  # whose answer nobody takes
        [result] = found.judge([cell])
        assert result.status is Status.OK
        assert found.processes[0] is not before
        assert before.process.returncode == -signal.SIGKILL
