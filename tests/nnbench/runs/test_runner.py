"""Blocks: random order, common seeds, and every finished cell on disk before the next one."""

from collections import defaultdict
from dataclasses import replace
from functools import partial

import pytest

from nnbench import Backend, catalog
from nnbench.data import seeding
from nnbench.data.task import load_task
from nnbench.execution import environment, process
from nnbench.execution.process import Outcome
from nnbench.proof.evaluation import expected_losses
from nnbench.records import Epoch, Finished, Setup, Status
from nnbench.runs import results, runner
from nnbench.selection import Selection
from nnbench.show.progress import Silent

NAMES = ["first", "second", "third", "fourth"]
TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
CRASHED = Outcome(status=Status.CRASHED, message="killed by SIGSEGV", output="last words")
SKIPPED = Outcome(status=Status.SKIPPED, message="no device")


def select(name, threads=None):
    backend = Backend(name=name, summary=f"the {name}", create=pytest.fail)
    return Selection(backend, {}, threads)


@pytest.fixture
def make_info(make_info):
    """Give a function that describes a run of all of them on the toy."""
    given = {"workload": TOY, "baseline": "first", "rounds": 5, "seed": 7}
    return partial(make_info, *NAMES, **given)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs with canned outcomes; it gives the specs and the results."""

    def run_with(info, selections, outcomes=None, display=None):
        specs = []

        def run_worker(spec, _):
            specs.append(spec)
            outcome = (outcomes or {}).get(spec.label, CRASHED)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(process, "run_worker", run_worker)
        runner.run(info, selections, tmp_path / "run", display or Silent())
        return specs, list(results.read_cells(tmp_path / "run"))

    return run_with


def by_round(specs):
    rounds = defaultdict(list)
    for spec in specs:
        rounds[spec.round].append(spec)
    return rounds


def test_blocks_run_in_the_order_that_is_drawn(run, make_info):
    specs, cells = run(make_info(), list(map(select, NAMES)))
    for round_, block in by_round(specs).items():
        assert [s.label for s in block] == seeding.block_order(NAMES, 7 + round_)
    assert [s.label for s in specs] == [c.backend for c in cells]
    assert [c.position for c in cells] == [0, 1, 2, 3] * 5


def test_order_differs_between_blocks():
    assert len({tuple(seeding.block_order(NAMES, seed)) for seed in range(10)}) > 1


def test_all_backends_of_a_round_share_its_seed(run, make_info):
    specs, _ = run(make_info(), list(map(select, NAMES)))
    seeds = [{spec.seed for spec in block} for block in by_round(specs).values()]
    assert seeds == [{7}, {8}, {9}, {10}, {11}]


def test_threads_of_a_backend_come_before_those_of_the_run(run, monkeypatch, make_info):
    monkeypatch.setattr(environment, "usable_cpus", lambda: [2, 3, 5, 7])
    selections = [select("first"), select("second", threads=3)]
    specs, _ = run(make_info(rounds=1, threads=2), selections)
    assert {s.label: (s.threads, s.cpus) for s in specs} == {
        "first": (2, (5, 7)),
        "second[threads=3]": (3, (3, 5, 7)),
    }


def test_backend_that_is_skipped_does_not_come_again(run, make_info):
    info = make_info(rounds=3)
    specs, cells = run(info, list(map(select, NAMES)), {"second": SKIPPED})
    assert [len(block) for block in by_round(specs).values()] == [4, 3, 3]
    (skipped,) = (cell for cell in cells if cell.backend == "second")
    assert (skipped.status, skipped.message) == ("skipped", "no device")


def test_unavailable_backend_is_recorded_and_not_started(run, make_info):
    info = make_info(rounds=1, unavailable={"second": "no driver"})
    specs, cells = run(info, list(map(select, NAMES)))
    assert "second" not in {spec.label for spec in specs}
    assert (cells[0].backend, cells[0].status, cells[0].message) == (
        "second",
        "skipped",
        "no driver",
    )


def test_failure_is_kept_with_what_came_before_it(run, make_info):
    epoch = Epoch(
        number=1, images=5, train_s=0.1, losses=[9.0], test_loss=9.0, accuracy=None, evaluate_s=0.1
    )
    outcome = replace(CRASHED, epochs=[epoch])
    _, (cell,) = run(make_info(rounds=1), [select("first")], {"first": outcome})
    assert (cell.status, cell.message, cell.output) == (
        "crashed",
        "killed by SIGSEGV",
        "last words",
    )
    assert cell.epochs == [epoch]
    assert not cell.complete


def test_finished_cell_is_judged(run, make_info):
    losses = expected_losses(load_task(TOY, 7)).losses
    setup = Setup(
        setup_s=0.1,
        transfer_s=0.1,
        warmup_s=0.1,
        epoch_images=5,
        parameters=45,
        thread_pools={},
    )

    def finish(loss):
        epoch = Epoch(
            number=1,
            images=5,
            train_s=0.1,
            losses=[loss],
            test_loss=loss,
            accuracy=None,
            evaluate_s=0.1,
        )
        return Outcome(Status.OK, setup=setup, epochs=[epoch], finished=Finished(None, 1, True))

    outcomes = {"first": finish(losses[0]), "second": finish(losses[0] * 1.01)}
    _, cells = run(make_info(rounds=1), [select("first"), select("second")], outcomes)
    assert {c.backend: c.status for c in cells} == {"first": "ok", "second": "invalid"}


def test_result_is_on_disk_when_it_is_shown(run, tmp_path, make_info):
    class Looking(Silent):
        on_disk: list[int] = []  # noqa: RUF012 - one display, one list

        def cell_finished(self, result):
            del result
            self.on_disk.append(len(list(results.read_cells(tmp_path / "run"))))

    display = Looking()
    run(make_info(rounds=1), list(map(select, NAMES)), display=display)
    assert display.on_disk == [1, 2, 3, 4]


def test_interruption_leaves_the_finished_cells(run, tmp_path, make_info):
    first, second, *_ = seeding.block_order(NAMES, 7)
    with pytest.raises(KeyboardInterrupt):
        run(make_info(), list(map(select, NAMES)), {second: KeyboardInterrupt()})
    assert [cell.backend for cell in results.read_cells(tmp_path / "run")] == [first]
