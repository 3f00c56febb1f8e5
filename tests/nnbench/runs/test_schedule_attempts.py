"""A disturbed cell runs again, a bounded number of times, and every attempt is on disk."""

from dataclasses import replace

import pytest

from nnbench import catalog, hookimpl
from nnbench.execution import ceilings
from nnbench.execution.disturbance import REPEATS
from nnbench.records.cells import Epoch, Part, Setup, Status
from nnbench.runs import schedule, store
from nnbench.runs.run import Run
from nnbench.runs.schedule import finished
from nnbench.show.text import cell_line
from tests.cells import read_final
from tests.nnbench.runs.conftest import WRONG

TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
SETUP = Setup(
    setup_s=0.1, transfer_s=0.1, warmup_s=0.1, epoch_images=5, parameters=45, thread_pools={}
)
CRASHED = {"status": Status.CRASHED, "message": "killed by SIGSEGV"}


def outcome(*, waited_s=0.0, loss=1.0, complete=True):
    """Make what became of a cell that trained for a second, and waited for some of it."""
    epoch = Epoch(
        number=1,
        images=5,
        train_s=1.0,
        losses=[loss],
        test_loss=0.5,
        accuracy=None,
        evaluate_s=0.1,
        cpu_s=1.0 - waited_s,
        waited_s=waited_s,
    )
    measured = {"setup": SETUP, "epochs": [epoch], "complete": complete, "changed": True}
    return {"status": Status.OK, **measured}


CALM, BUSY = outcome(), outcome(waited_s=0.5)


@pytest.fixture
def run(tmp_path, monkeypatch, make_info, make_plan, answer):
    """Return a function that runs a backend whose workers report one outcome after the other."""
    monkeypatch.setattr(ceilings, "measure", lambda *_: 100.0)
    folder = tmp_path / "run"

    def run_with(*outcomes, rounds=1):
        rest = iter(outcomes)

        def outcome_of(_):
            following = next(rest)
            if isinstance(following, BaseException):
                raise following
            return following

        answer(outcome_of)
        info = make_info("numpy", workload=TOY, rounds=rounds)
        schedule.run(make_plan(info), folder, lambda _: None)
        assert next(rest, None) is None
        return list(store.read_cells(folder))

    return run_with


def test_calm_cell_runs_once(run):
    [cell] = run(CALM)
    assert (cell.status, cell.attempt, cell.disturbed, cell.final) == ("ok", 0, False, True)
    assert cell.flags == []


def test_disturbed_cell_runs_again_until_it_is_calm(run, tmp_path):
    cells = run(BUSY, CALM)
    assert [(c.attempt, c.disturbed, c.final) for c in cells] == [
        (0, True, False),
        (1, False, True),
    ]
    assert cells[0].flags == ["disturbed: 50% of the time without a CPU"]
    assert read_final(tmp_path / "run") == [cells[1]]


def test_cell_that_stays_disturbed_is_flagged(run, tmp_path):
    cells = run(*[BUSY] * (REPEATS + 1))
    assert [c.final for c in cells] == [False] * REPEATS + [True]
    [final] = read_final(tmp_path / "run")
    assert final.disturbed
    assert final.flags


def test_cell_without_times_does_not_run_again(run):
    [cell] = run(CRASHED)
    assert (cell.disturbed, cell.final) == (False, True)


def test_cell_that_turns_out_to_be_wrong_was_not_disturbed(run):
    wrong = outcome(waited_s=0.5, loss=WRONG)
    cells = run(wrong, outcome(loss=WRONG))  # nobody knew when it was repeated
    assert [(c.status, c.disturbed, c.final) for c in cells] == [
        ("invalid", False, False),
        ("invalid", False, True),
    ]
    assert not any(cell.flags for cell in cells)


def test_tables_and_comparisons_have_one_attempt_of_each_cell(run, tmp_path):
    run(BUSY, CALM, CALM, rounds=2)
    kept = Run.open(tmp_path / "run")
    assert [row.rounds for row in kept.timing] == [2]
    assert len(kept.cells) == 2


def test_attempt_before_an_interruption_is_kept(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(BUSY, KeyboardInterrupt())
    [cell] = store.read_cells(tmp_path / "run")
    assert not cell.final


def test_interrupted_repetition_is_not_finished(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(CALM, BUSY, KeyboardInterrupt(), rounds=2)
    assert finished(store.read_cells(tmp_path / "run")).keys() == {(0, "numpy")}


def test_training_that_the_budget_ended_is_flagged_and_not_repeated(run):
    slow = outcome(waited_s=0.5, complete=False)
    cells = run(*[slow] * schedule.SLOW_ROUNDS, rounds=schedule.SLOW_ROUNDS + 2)
    assert [(c.round, c.attempt, c.disturbed, c.final) for c in cells] == [
        (round_, 0, True, True) for round_ in range(schedule.SLOW_ROUNDS)
    ]
    assert all(any(flag.startswith("disturbed") for flag in c.flags) for c in cells)


def test_every_attempt_is_announced(run, observe):
    class Listening:
        heard: list[object] = []  # noqa: RUF012 - one observer, one list

        @hookimpl
        def nnbench_cell_started(self, spec):
            self.heard.append(spec.label)

        @hookimpl
        def nnbench_cell_finished(self, result):
            self.heard.append(result.attempt)

    seen = observe(Listening())
    run(BUSY, CALM)
    assert seen.heard == ["numpy", "numpy", 0, 1]


def test_line_of_an_attempt_says_that_another_follows(run):
    again, final = map(cell_line, run(BUSY, CALM))
    assert again == "round 1 numpy: 5 images in 1.00 s; disturbed, once more"
    assert final == "round 1 numpy: 5 images in 1.00 s"


def test_line_of_a_baseline_that_came_again_says_why(make_cell):
    cell = make_cell(final=False, disturbed=True)
    part = Part(images=5, train_s=1.0, turn=7)
    cell = replace(cell, epochs=[replace(cell.epochs[0], parts=[part])])
    assert cell_line(cell).endswith("; with those that found no room")


def test_speed_and_ceiling_are_kept(run):
    changed = {**CALM, "setup": replace(SETUP, operations=2e8)}
    [cell] = run(changed)
    assert (cell.achieved_gflops, cell.ceiling_gflops) == (1.0, 100.0)
