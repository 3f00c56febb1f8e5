"""A run that was interrupted goes on, and ends as if nothing had happened."""

import warnings
from dataclasses import replace
from typing import Any

import pytest

from nnbench import catalog, hookimpl
from nnbench.contract.errors import ResultsError
from nnbench.files import TornLineWarning
from nnbench.records.cells import Epoch, Status
from nnbench.runs import schedule, store
from tests.cells import read_final

NAMES = ["first", "second", "third"]
ROUNDS = 4
TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
CRASHED = {"status": Status.CRASHED, "message": "killed by SIGSEGV"}
SKIPPED = {"status": Status.SKIPPED, "message": "no device"}


def test_only_a_final_attempt_finishes_a_cell(make_cell):
    cells = [
        make_cell("a", attempt=0, final=False),
        make_cell("b", round=2),
        make_cell("a", attempt=1),
        make_cell("a", round=1, attempt=0, final=False),
    ]
    assert schedule.finished(cells) == {(2, "b"): cells[1], (0, "a"): cells[2]}


def stop_early(_):
    """Return the outcome of a cell that trains rightly until its budget is spent."""
    numbers = {"images": 5, "train_s": 0.01, "evaluate_s": 0.1}
    epoch = Epoch(number=1, losses=[0.5], test_loss=0.5, accuracy=None, **numbers)
    return {"status": Status.OK, "epochs": [epoch], "complete": False}


class Observing:
    """Remembers the cells that were kept, and those that were run."""

    def __init__(self):
        self.kept: list[str] = []
        self.run: list[str] = []

    @hookimpl
    def nnbench_cell_kept(self, result):
        self.kept.append(result.backend)

    @hookimpl
    def nnbench_cell_finished(self, result):
        self.run.append(result.backend)


class Run:
    """A run of canned outcomes in a folder, interrupted before some of its cells."""

    def __init__(self, folder, info, make_plan, answer):
        self.folder, self.info, self.make_plan, self.answer = folder, info, make_plan, answer
        self.outcomes: dict[str, Any] = dict.fromkeys(NAMES, CRASHED)
        self.seen = Observing()

    def go(self, start=schedule.run, interrupted_at=None):
        """Start or resume the run; return the number of cells that ran."""
        calls = 0

        def outcome_of(spec):
            nonlocal calls
            if calls == interrupted_at:
                raise KeyboardInterrupt
            calls += 1
            outcome = self.outcomes[spec.label]
            return outcome(spec) if callable(outcome) else outcome

        self.answer(outcome_of)
        info = self.info if start is schedule.run else store.read_info(self.folder)
        catalog.manager().register(self.seen)
        try:
            start(self.make_plan(info), self.folder, lambda _: None)
        except KeyboardInterrupt:
            assert calls == interrupted_at
        finally:
            catalog.manager().unregister(self.seen)
        return calls

    def cells(self):
        """Return what must be equal after an interruption: all that counts, but times and places."""
        same = {
            "started": "",
            "recorded": "",
            "wall_s": 0.0,
            "block_attempt": 0,
            "cpus": (),
            "shared_cpus": (),
        }
        return [replace(cell, **same) for cell in read_final(self.folder)]


@pytest.fixture
def make_run(tmp_path, make_info, make_plan, answer):
    """Give a function that makes runs."""

    def make(name, **changes):
        asked = {"workload": TOY, "rounds": ROUNDS, "seed": 7, **changes}
        info = make_info(*NAMES, **asked)
        return Run(tmp_path / name, info, make_plan, answer)

    return make


@pytest.mark.parametrize("moment", range(ROUNDS * len(NAMES)))
def test_resumed_run_equals_an_unbroken_one(make_run, moment):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    assert unbroken.go() == ROUNDS * len(NAMES)
    broken.go(interrupted_at=moment)
    assert len(broken.seen.run) == moment
    whole = moment - moment % len(NAMES)  # the rest of its block runs again
    assert broken.go(schedule.resume) == ROUNDS * len(NAMES) - whole
    assert broken.cells() == unbroken.cells()
    assert len(broken.seen.kept) == whole
    assert broken.seen.run[:whole] + broken.seen.run[moment:] == unbroken.seen.run
    attempts = {cell.round: cell.block_attempt for cell in read_final(broken.folder)}
    assert attempts == {r: int(r == moment // len(NAMES) and moment > whole) for r in range(ROUNDS)}


@pytest.mark.parametrize("moment", range(ROUNDS * 2))
def test_backend_that_is_skipped_stays_skipped(make_run, moment):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    for run in (unbroken, broken):
        run.outcomes["second"] = SKIPPED
    unbroken.go()
    broken.go(interrupted_at=moment)
    broken.go(schedule.resume)
    assert broken.cells() == unbroken.cells()
    assert [c.status for c in broken.cells() if c.backend == "second"] == ["skipped"]


@pytest.mark.parametrize("moment", range(ROUNDS * 3 - 1))
def test_backend_that_is_too_slow_leaves_after_the_same_round(make_run, moment):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    for run in (unbroken, broken):
        run.outcomes["second"] = stop_early
    unbroken.go()
    broken.go(interrupted_at=moment)
    broken.go(schedule.resume)
    assert broken.cells() == unbroken.cells()
    assert [c.round for c in broken.cells() if c.status == "budget"] == list(
        range(schedule.SLOW_ROUNDS)
    )


@pytest.mark.parametrize("moment", [0, 1, 5])
def test_unavailable_backend_is_recorded_once(make_run, moment):
    run = make_run("run", unavailable={"second": "no driver"})
    run.go(interrupted_at=moment)
    run.go(schedule.resume)
    (cell,) = (cell for cell in run.cells() if cell.backend == "second")
    assert (cell.status, cell.message) == ("skipped", "no driver")
    assert len(run.cells()) == 1 + ROUNDS * 2


def test_run_can_be_interrupted_again_and_again(make_run):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    unbroken.go()
    broken.go(interrupted_at=0)
    while broken.go(schedule.resume, interrupted_at=len(NAMES) + 1):
        pass  # each goes one block further
    assert broken.cells() == unbroken.cells()


def test_finished_run_runs_nothing(make_run):
    run = make_run("run")
    run.go()
    before = (run.folder / store.CELLS).read_bytes()
    assert run.go(schedule.resume) == 0
    assert (run.folder / store.CELLS).read_bytes() == before


@pytest.mark.parametrize("bytes_lost", [1, 2, 100])
def test_torn_cell_runs_again(make_run, bytes_lost):
    unbroken, broken = make_run("unbroken"), make_run("broken")
    unbroken.go()
    broken.go(interrupted_at=5)
    path = broken.folder / store.CELLS
    path.write_bytes(path.read_bytes()[:-bytes_lost])
    with pytest.warns(TornLineWarning):
        assert broken.go(schedule.resume) == ROUNDS * len(NAMES) - 3  # a whole block was there
    with warnings.catch_warnings(action="error"):
        assert broken.cells() == unbroken.cells()


def test_block_with_an_interrupted_repetition_starts_over(make_run):
    run = make_run("run")
    run.go(interrupted_at=2)
    first, second = store.read_cells(run.folder)
    (run.folder / store.CELLS).unlink()
    store.append(run.folder, first)
    store.append(run.folder, replace(second, final=False, disturbed=True))
    run.go(schedule.resume)
    found = [(c.round, c.block_attempt, c.final) for c in store.read_cells(run.folder)]
    assert found[:5] == [(0, 0, False)] * 2 + [(0, 1, True)] * 3
    assert len(read_final(run.folder)) == ROUNDS * len(NAMES)


def test_block_that_is_run_again_has_another_seed_if_it_is_drawn(make_run):
    run = make_run("run", seed=None)
    run.go(interrupted_at=2)
    run.go(schedule.resume)
    cells = list(store.read_cells(run.folder))
    seeds = [{c.seed for c in cells if (c.round, c.block_attempt) == (0, n)} for n in range(2)]
    assert [len(each) for each in seeds] == [1, 1]
    assert not set.intersection(*seeds)
    assert [cell.final for cell in cells] == [False] * 2 + [True] * ROUNDS * len(NAMES)


def test_damaged_cell_is_refused_before_anything_runs(make_run):
    run = make_run("run")
    run.go(interrupted_at=2)
    path = run.folder / store.CELLS
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(ResultsError, match=r"cells\.jsonl:1 is damaged"):
        run.go(schedule.resume)


def test_run_in_another_dataset_is_refused(make_run):
    run = make_run("run")
    run.go(interrupted_at=2)
    path = run.folder / store.RUN
    path.write_text(path.read_text().replace('"dataset": "toy"', '"dataset": "mnist"'))
    with pytest.raises(ResultsError, match="the dataset mnist has changed"):
        run.go(schedule.resume)


def test_run_that_goes_on_on_another_machine_names_it_in_whole_blocks(make_run, monkeypatch):
    run = make_run("moved")
    assert run.go(interrupted_at=len(NAMES) + 1) == len(NAMES) + 1  # in the second block
    before = run.cells()
    there = replace(run.info.machine, environment=replace(run.info.environment, cpu="another"))
    make_plan = run.make_plan

    def plan_there(info):
        plan = make_plan(info)
        monkeypatch.setattr(plan.executor, "_seen", there)
        plan.executor.known = info.machines
        return plan

    run.make_plan = plan_there
    assert run.go(schedule.resume) == (ROUNDS - 1) * len(NAMES)
    name = f"local-{there.environment.fingerprint[:6]}"
    assert store.read_info(run.folder).machines == {**run.info.machines, name: there}
    assert [c for c in run.cells() if c.round == 0] == [c for c in before if c.round == 0]
    where = {
        round_: {c.machine for c in run.cells() if c.round == round_} for round_ in range(ROUNDS)
    }
    assert where == {0: {"local"}, 1: {name}, 2: {name}, 3: {name}}
