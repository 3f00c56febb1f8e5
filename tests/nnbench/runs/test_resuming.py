"""A run that was interrupted goes on as planned, and ends as if nothing had happened."""

import warnings
from dataclasses import replace
from typing import Any

import pytest

from nnbench import Backend, Option, catalog, records
from nnbench.contract.errors import BackendUnavailableError, ExitCode, NnbenchError, ResultsError
from nnbench.data.datasets import digest, load_toy
from nnbench.data.task import load_splits, load_task
from nnbench.execution import environment, machine, process
from nnbench.execution.process import Outcome
from nnbench.files import TornLineWarning
from nnbench.proof.evaluation import expected_losses
from nnbench.records import Epoch, Finished, Status
from nnbench.runs import results, resuming, runner
from nnbench.runs.resuming import ResumeWarning
from nnbench.selection import Selection, parse
from nnbench.show.progress import Silent

NAMES = ["first", "second", "third"]
ROUNDS = 4
TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
CRASHED = Outcome(status=Status.CRASHED, message="killed by SIGSEGV")
SKIPPED = Outcome(status=Status.SKIPPED, message="no device")
LABELS = [
    "numpy",
    "numpy[threads=2]",
    "torch-cpu[fused=true]",
    "torch-cpu[threads=1,fused=false]",
    "faulty[flag=true,name=a b,number=3,share=0.25]",
    "faulty[name=,share=1e+16]",
]


@pytest.fixture
def start(tmp_path, make_info, monkeypatch):
    """Give a function that writes what a run of some backends has written when it starts."""

    def write(*backends, **changes):
        info = make_info(*backends, workload=TOY, **changes)
        monkeypatch.setattr(environment, "describe", lambda _: info.environment)
        monkeypatch.setattr(environment, "usable_cpus", lambda: [0, 1])
        monkeypatch.setattr(machine, "warn", lambda *_, **__: [])
        results.create(tmp_path / "run", info)
        return tmp_path / "run", info

    return write


@pytest.mark.parametrize("label", LABELS)
def test_backend_is_known_again_by_its_label(label, start, monkeypatch):
    options = {"flag": False, "name": "", "number": 1, "share": 0.5}
    taken = {key: Option(default, "") for key, default in options.items()}
    faulty = Backend(name="faulty", summary="", create=pytest.fail, options=taken)
    known = {**catalog.backends(), "faulty": faulty}
    monkeypatch.setattr(catalog, "backends", lambda: known)
    (chosen,) = parse([label])
    folder, info = start(chosen.label)
    assert resuming.plan(folder) == (info, [chosen])


@pytest.mark.parametrize(
    ("texts", "required"),
    [(["all"], []), (["numpy,all"], ["numpy"]), (["python,numpy"], ["python", "numpy"])],
)
def test_plan_says_which_backends_were_named(texts, required, monkeypatch, make_info, plan_toy):
    monkeypatch.setattr(environment, "describe", lambda _: make_info().environment)
    assert plan_toy(*texts).required == required


def check_refused(folder, message, error: type[NnbenchError] = ResultsError):
    with pytest.raises(error) as raised:
        resuming.plan(folder)
    assert str(raised.value) == message
    assert raised.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cpu": "Another CPU"}, "cpu"),
        ({"gpus": []}, "gpus"),
        ({"system": "Linux 7"}, "system"),
        ({"python": "CPython 3.12", "usable_cores": 1}, "usable_cores, python"),
        ({"versions": {"nnbench": "0.1", "numpy": "2.1"}}, "versions"),
    ],
)
def test_other_machine_or_version_is_refused(start, monkeypatch, changes, named):
    folder, info = start()
    monkeypatch.setattr(environment, "describe", lambda _: replace(info.environment, **changes))
    reason = f"the machine or the versions changed ({named}); times must not mix"
    check_refused(folder, f"{folder} cannot be resumed: {reason}")


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        ({"git": "abc"}, "nnbench 0.1 in a folder at abc"),
        ({"versions": {"nnbench": "0.2", "numpy": "2.0"}}, "nnbench 0.2 in a folder at no commit"),
    ],
)
def test_other_nnbench_is_a_warning(start, monkeypatch, changes, now):
    folder, info = start()
    monkeypatch.setattr(environment, "describe", lambda _: replace(info.environment, **changes))
    with pytest.warns(ResumeWarning) as caught:
        assert resuming.plan(folder)[0] == info
    before = "nnbench 0.1 in a folder at no commit"
    (warning,) = caught
    assert str(warning.message) == f"{folder} was started with {before}, and goes on with {now}"


def test_versions_are_those_that_the_run_depends_on(start, monkeypatch):
    folder, info = start()
    asked = []

    def describe(libraries):
        asked.extend(libraries)
        return info.environment

    monkeypatch.setattr(environment, "describe", describe)
    resuming.plan(folder)
    assert asked == ["nnbench", "numpy"]


def test_machine_is_looked_at_again(start, monkeypatch):
    folder, _ = start("numpy[threads=2]")
    seen = []
    monkeypatch.setattr(machine, "warn", lambda *given, **more: seen.append((*given, more)))
    resuming.plan(folder)
    assert seen == [([0, 1], 2, {"uses_gpu": False})]


def test_backend_that_is_gone_is_refused(start):
    folder, _ = start("numpi")
    with pytest.raises(NnbenchError, match="no backend named 'numpi'; did you mean numpy"):
        resuming.plan(folder)


def test_backend_that_is_no_longer_available_is_refused(start, monkeypatch):
    folder, _ = start("numpy")
    monkeypatch.setattr(catalog, "why_unavailable", lambda _: "no driver")
    check_refused(folder, "numpy is unavailable: no driver", BackendUnavailableError)


def test_backend_that_was_never_available_may_be_gone(start):
    folder, info = start("numpy", unavailable={"jax": "no device"})
    assert resuming.plan(folder)[0] == info


@pytest.mark.parametrize(("backend", "threads"), [("numpy", 3), ("numpy[threads=3]", 1)])
def test_too_few_cpus_are_refused(start, backend, threads):
    folder, _ = start(backend, threads=threads)
    message = "3 threads are more than the 2 CPUs nnbench may use"
    check_refused(folder, message, NnbenchError)


def test_other_schema_version_is_refused(start):
    folder, _ = start()
    content = (folder / "run.json").read_text()
    content = content.replace(f'"schema_version": {records.SCHEMA_VERSION}', '"schema_version": 9')
    (folder / "run.json").write_text(content)
    versions = f"schema version 9, and this nnbench reads 1 to {records.SCHEMA_VERSION}"
    check_refused(folder, f"{folder / 'run.json'} has {versions}")


def test_other_dataset_is_refused(tmp_path, folder, make_info, write_folder, mnist):
    other = write_folder(tmp_path / "other", train=[0, 1, 2] * 21)
    workload = replace(mnist, dataset=str(folder))
    info = make_info(workload=workload)
    info = replace(info, dataset_sha256=digest(load_splits(workload)))
    resuming.check_dataset(tmp_path, info, load_splits(workload))
    with pytest.raises(ResultsError) as raised:
        resuming.check_dataset(tmp_path, info, load_splits(replace(workload, dataset=str(other))))
    assert str(raised.value) == f"{tmp_path} cannot be resumed: the dataset {folder} has changed"


def test_toy_is_always_the_same(make_info):
    info = make_info(workload=TOY, dataset_sha256=digest(load_toy()))
    resuming.check_dataset(results.default_folder(info), info, load_toy())


def test_only_a_final_attempt_finishes_a_cell(make_cell):
    cells = [
        make_cell("a", attempt=0, final=False),
        make_cell("b", round=2),
        make_cell("a", attempt=1),
        make_cell("a", round=1, attempt=0, final=False),
    ]
    assert resuming.finished(cells) == {(2, "b"): cells[1], (0, "a"): cells[2]}


def stop_early(spec):
    """Return the outcome of a cell that trains rightly until its budget is spent."""
    (loss,) = expected_losses(load_task(spec.workload, spec.seed)).losses
    numbers = {"images": 5, "train_s": 0.01, "evaluate_s": 0.1}
    epoch = Epoch(number=1, losses=[loss], test_loss=loss, accuracy=None, **numbers)
    return Outcome(Status.OK, epochs=[epoch], finished=Finished(None, 1, complete=False))


class Observing(Silent):
    """Counts the cells that were kept, and those that were run."""

    def __init__(self):
        self.kept: list[str] = []
        self.run: list[str] = []

    def cell_kept(self, result):
        self.kept.append(result.backend)

    def cell_finished(self, result):
        self.run.append(result.backend)


class Run:
    """A run of canned outcomes in a folder, interrupted before some of its cells."""

    def __init__(self, folder, info, monkeypatch):
        self.folder, self.info, self.monkeypatch = folder, info, monkeypatch
        self.outcomes: dict[str, Any] = dict.fromkeys(NAMES, CRASHED)
        self.display = Observing()

    def go(self, start=runner.run, interrupted_at=None):
        """Start or resume the run; return the number of cells that ran."""
        calls = 0

        def run_worker(spec, _):
            nonlocal calls
            if calls == interrupted_at:
                raise KeyboardInterrupt
            calls += 1
            outcome = self.outcomes[spec.label]
            return outcome(spec) if callable(outcome) else outcome

        self.monkeypatch.setattr(process, "run_worker", run_worker)
        selections = [Selection(Backend(name=n, summary="", create=pytest.fail), {}) for n in NAMES]
        info = self.info if start is runner.run else results.read_info(self.folder)
        try:
            start(info, selections, self.folder, self.display)
        except KeyboardInterrupt:
            assert calls == interrupted_at
        return calls

    def cells(self):
        """Return what must be equal after an interruption: all but the times."""
        found = results.read_cells(self.folder)
        return [replace(cell, started="", wall_s=0.0) for cell in found]


@pytest.fixture
def make_run(tmp_path, make_info, monkeypatch):
    """Give a function that makes runs."""

    def make(name, **changes):
        info = make_info(*NAMES, workload=TOY, rounds=ROUNDS, seed=7, **changes)
        return Run(tmp_path / name, info, monkeypatch)

    return make


@pytest.mark.parametrize("moment", range(ROUNDS * len(NAMES)))
def test_resumed_run_equals_an_unbroken_one(make_run, moment):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    assert unbroken.go() == ROUNDS * len(NAMES)
    broken.go(interrupted_at=moment)
    assert broken.go(runner.resume) == ROUNDS * len(NAMES) - moment
    assert broken.cells() == unbroken.cells()
    assert len(broken.display.kept) == moment
    assert broken.display.run == unbroken.display.run


@pytest.mark.parametrize("moment", range(ROUNDS * 2))
def test_backend_that_is_skipped_stays_skipped(make_run, moment):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    for run in (unbroken, broken):
        run.outcomes["second"] = SKIPPED
    unbroken.go()
    broken.go(interrupted_at=moment)
    broken.go(runner.resume)
    assert broken.cells() == unbroken.cells()
    assert [c.status for c in broken.cells() if c.backend == "second"] == ["skipped"]


@pytest.mark.parametrize("moment", range(ROUNDS * 3 - 1))
def test_backend_that_is_too_slow_leaves_after_the_same_round(make_run, moment):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    for run in (unbroken, broken):
        run.outcomes["second"] = stop_early
    unbroken.go()
    broken.go(interrupted_at=moment)
    broken.go(runner.resume)
    assert broken.cells() == unbroken.cells()
    assert [c.round for c in broken.cells() if c.status == "budget"] == list(
        range(runner.SLOW_ROUNDS)
    )


@pytest.mark.parametrize("moment", [0, 1, 5])
def test_unavailable_backend_is_recorded_once(make_run, moment):
    run = make_run("run", unavailable={"second": "no driver"})
    run.go(interrupted_at=moment)
    run.go(runner.resume)
    (cell,) = (cell for cell in run.cells() if cell.backend == "second")
    assert (cell.status, cell.message) == ("skipped", "no driver")
    assert len(run.cells()) == 1 + ROUNDS * 2


def test_run_can_be_interrupted_again_and_again(make_run):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    unbroken.go()
    broken.go(interrupted_at=0)
    while broken.go(runner.resume, interrupted_at=1):
        pass
    assert broken.cells() == unbroken.cells()


def test_finished_run_runs_nothing(make_run):
    run = make_run("run")
    run.go()
    before = (run.folder / results.CELLS).read_bytes()
    assert run.go(runner.resume) == 0
    assert (run.folder / results.CELLS).read_bytes() == before


@pytest.mark.parametrize("bytes_lost", [1, 2, 100])
def test_torn_cell_runs_again(make_run, bytes_lost):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    unbroken.go()
    broken.go(interrupted_at=5)
    path = broken.folder / results.CELLS
    path.write_bytes(path.read_bytes()[:-bytes_lost])
    with pytest.warns(TornLineWarning):
        assert broken.go(runner.resume) == ROUNDS * len(NAMES) - 4
    with warnings.catch_warnings(action="error"):
        assert broken.cells() == unbroken.cells()


def test_cell_with_an_interrupted_repetition_starts_over(make_run):
    run = make_run("run")
    run.go(interrupted_at=2)
    first, second = run.cells()
    (run.folder / results.CELLS).unlink()
    results.append(run.folder, first)
    results.append(run.folder, replace(second, final=False, disturbed=True))
    run.go(runner.resume)
    found = [(c.round, c.backend, c.final) for c in run.cells()]
    assert found[1:3] == [(0, second.backend, False), (0, second.backend, True)]
    assert len(results.read_final(run.folder)) == ROUNDS * len(NAMES)


def test_damaged_cell_is_refused_before_anything_runs(make_run):
    run = make_run("run")
    run.go(interrupted_at=2)
    path = run.folder / results.CELLS
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(ResultsError, match=r"cells\.jsonl:1 is damaged"):
        run.go(runner.resume)


def test_run_in_another_dataset_is_refused(make_run):
    run = make_run("run")
    run.go(interrupted_at=2)
    path = run.folder / results.RUN
    path.write_text(path.read_text().replace('"dataset": "toy"', '"dataset": "mnist"'))
    with pytest.raises(ResultsError, match="the dataset mnist has changed"):
        run.go(runner.resume)
