"""Blocks: random order, common seeds, every result on disk, and all events announced."""

from collections import defaultdict
from dataclasses import replace
from functools import partial
from time import monotonic

import msgspec
import pytest

from nnbench import catalog, hookimpl
from nnbench.cli.signals import Terminated
from nnbench.contract.errors import DatasetError, ExitCode, ResultsError
from nnbench.data import seeding
from nnbench.data.datasets import digest, load_toy
from nnbench.execution import cpus, executor, machine
from nnbench.execution.cpus import Chooser, Look
from nnbench.records.cells import Epoch, Handicap, Status
from nnbench.records.events import Happening
from nnbench.records.runs import Block, Entry
from nnbench.runs import schedule, store
from tests.nnbench.runs.conftest import WRONG

NAMES = ["first", "second", "third", "fourth"]
TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
CRASHED = {"status": Status.CRASHED, "message": "killed by SIGSEGV", "output": "last words"}
SKIPPED = {"status": Status.SKIPPED, "message": "no device"}


def select(name, threads=None):
    label = f"{name}[threads={threads}]" if threads else name
    return Entry(label=label, backend=name, threads=threads)


ENTRIES = [select(name) for name in NAMES]


@pytest.fixture
def make_info(make_info):
    """Give a function that describes a run of all of them on the toy."""
    given = {"workload": TOY, "baseline": "first", "rounds": 5, "seed": 7}
    return partial(make_info, *NAMES, **given)


@pytest.fixture
def run(tmp_path, make_plan, answer):
    """Return a function that runs with canned outcomes; it gives the specs and the results."""

    def run_with(info, entries, outcomes=None):
        specs = []

        def outcome_of(spec):
            specs.append(spec)
            outcome = (outcomes or {}).get(spec.label, CRASHED)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        answer(outcome_of)
        schedule.run(make_plan(info, entries), tmp_path / "run", lambda _: None)
        return specs, list(store.read_cells(tmp_path / "run"))

    return run_with


def by_round(specs):
    rounds = defaultdict(list)
    for spec in specs:
        rounds[spec.round].append(spec)
    return rounds


def test_blocks_run_in_the_order_that_is_drawn(run, make_info):
    specs, cells = run(make_info(), ENTRIES)
    for round_, block in by_round(specs).items():
        assert [s.label for s in block] == seeding.block_order(NAMES, 7 + round_)
    assert [s.label for s in specs] == [c.backend for c in cells]
    assert [c.position for c in cells] == [0, 1, 2, 3] * 5


def test_order_differs_between_blocks():
    assert len({tuple(seeding.block_order(NAMES, seed)) for seed in range(10)}) > 1


def test_all_backends_of_a_round_share_its_seed(run, make_info):
    specs, cells = run(make_info(), ENTRIES)
    seeds = [{spec.seed for spec in block} for block in by_round(specs).values()]
    assert seeds == [{7}, {8}, {9}, {10}, {11}]
    assert [cell.seed for cell in cells] == [spec.seed for spec in specs]


@pytest.mark.parametrize("turns", [True, False])
def test_block_says_how_its_cells_train_and_what_they_are_compared_with(
    tmp_path, make_info, make_plan, monkeypatch, turns
):
    blocks = []

    def note(_, given):
        blocks.extend(given)
        yield from ()

    monkeypatch.setattr(executor.LocalExecutor, "run", note)
    info = make_info(rounds=2, turns=turns, baseline="second")
    schedule.run(make_plan(info), tmp_path / "run", lambda _: None)
    assert [(block.turns, block.baseline) for block in blocks] == [(turns, "second")] * 2


def test_seed_that_is_drawn_is_told_to_no_cell_and_written_afterwards(run, make_info):
    specs, cells = run(make_info(seed=None), ENTRIES)
    assert {spec.seed for spec in specs} == {None}
    seeds = [{cell.seed for cell in block} for block in by_round(cells).values()]
    assert [len(block) for block in seeds] == [1] * 5
    assert len(set.union(*seeds)) == 5
    assert max(set.union(*seeds)) >= 2**32


@pytest.fixture
def four_cpus(monkeypatch, tmp_path):
    """Let this process have four calm CPUs, whose locks are the test's own."""
    monkeypatch.setattr(machine, "usable_cpus", lambda: [2, 3, 5, 7])
    monkeypatch.setattr(cpus, "look", lambda: Look(monotonic(), {}, 0.0))
    monkeypatch.setattr(cpus, "siblings", dict)
    monkeypatch.setattr(cpus, "FOLDER", tmp_path)


@pytest.mark.usefixtures("four_cpus")
def test_threads_of_a_backend_come_before_those_of_the_run(run, make_info):
    entries = [select("first"), select("second", threads=3)]
    labels = dict.fromkeys((entry.label for entry in entries), "")
    specs, cells = run(make_info(rounds=2, threads=2, backends=labels), entries)
    assert {(s.label, s.threads, s.cpus) for s in specs} == {
        ("first", 2, (5, 7)),
        ("second[threads=3]", 3, (3, 5, 7)),
    }
    assert [(c.cpus, c.shared_cpus) for c in cells] == [(s.cpus, ()) for s in specs]


@pytest.mark.usefixtures("four_cpus")
def test_cpus_that_another_run_holds_are_left_to_it_or_said_to_be_shared(run, make_info):
    entries = [select("first"), select("second", threads=3)]
    labels = dict.fromkeys((entry.label for entry in entries), "")
    with Chooser().hold(2):
        _, cells = run(make_info(rounds=1, threads=2, backends=labels), entries)
    assert {(c.backend, c.cpus, c.shared_cpus) for c in cells} == {
        ("first", (2, 3), ()),
        ("second[threads=3]", (2, 3, 7), (7,)),
    }


def test_backend_that_is_skipped_does_not_come_again(run, make_info):
    info = make_info(rounds=3)
    specs, cells = run(info, ENTRIES, {"second": SKIPPED})
    assert [len(block) for block in by_round(specs).values()] == [4, 3, 3]
    (skipped,) = (cell for cell in cells if cell.backend == "second")
    assert (skipped.status, skipped.message) == ("skipped", "no device")


def test_unavailable_backend_is_recorded_and_not_started(run, make_info):
    info = make_info(rounds=1, unavailable={"second": "no driver"})
    specs, cells = run(info, ENTRIES)
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
    outcome = {**CRASHED, "epochs": [epoch]}
    _, (cell,) = run(make_info(rounds=1), [select("first")], {"first": outcome})
    assert (cell.status, cell.message, cell.output) == (
        "crashed",
        "killed by SIGSEGV",
        "last words",
    )
    assert cell.epochs == [epoch]
    assert not cell.complete


def test_finished_cell_is_judged(run, make_info):
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
        return {"status": Status.OK, "epochs": [epoch], "complete": True}

    outcomes = {"first": finish(1.0), "second": finish(WRONG)}
    _, cells = run(make_info(rounds=1), [select("first"), select("second")], outcomes)
    assert {c.backend: c.status for c in cells} == {"first": "ok", "second": "invalid"}


def test_no_cell_is_written_before_all_of_its_block_were_trained(
    tmp_path, make_info, make_plan, answer
):
    written = []

    def look(spec):
        written.append((spec.round, len(list(store.read_cells(tmp_path / "run")))))
        return CRASHED

    answer(look)
    schedule.run(make_plan(make_info(rounds=2), ENTRIES), tmp_path / "run", lambda _: None)
    assert written == [(0, 0)] * 4 + [(1, 4)] * 4


def test_no_block_is_begun_when_there_is_enough(tmp_path, make_info, make_plan, answer):
    answer(lambda _: CRASHED)
    folder, asked = tmp_path / "run", list[int]()

    def enough(run, times):
        assert times.given == len(asked)
        asked.append(len(run.cells))
        return len(asked) > 2

    plan = make_plan(make_info(rounds=9), ENTRIES)
    schedule.run(plan, folder, lambda _: None, enough)
    assert asked == [0, 4, 8]  # once before each block
    assert len(list(store.read_cells(folder))) == 8


def test_result_is_on_disk_when_it_is_announced(run, tmp_path, make_info, observe):
    class Looking:
        on_disk: list[int] = []  # noqa: RUF012 - one observer, one list

        @hookimpl
        def nnbench_cell_finished(self):
            self.on_disk.append(len(list(store.read_cells(tmp_path / "run"))))

    seen = observe(Looking())
    run(make_info(rounds=1), ENTRIES)
    assert seen.on_disk == [1, 2, 3, 4]


class Listening:
    """Remembers the events of a run by name."""

    def __init__(self):
        self.heard = []

    @hookimpl
    def nnbench_run_started(self, run, folder):
        del folder
        self.heard.append(("run started", run.point.dataset_sha256))

    @hookimpl
    def nnbench_cell_started(self, spec):
        self.heard.append(("started", spec.label))

    @hookimpl
    def nnbench_cell_event(self, spec, event):
        self.heard.append((type(event).__name__, spec.label))

    @hookimpl
    def nnbench_cell_finished(self, result):
        self.heard.append(("finished", result.backend))

    @hookimpl
    def nnbench_run_finished(self, run, folder):
        del folder
        self.heard.append(("run finished", run.point.dataset_sha256))


DIGEST = digest(load_toy())


def test_all_events_of_a_run_are_announced_in_order(tmp_path, make_info, make_plan, observe):
    seen = observe(Listening())
    info = make_info(rounds=1, backends={"numpy": ""})
    schedule.run(make_plan(info), tmp_path / "run", lambda _: seen.heard.append("tables"))
    assert seen.heard == [
        ("run started", DIGEST),
        ("started", "numpy"),
        ("Ready", "numpy"),
        ("Progress", "numpy"),
        ("EpochFinished", "numpy"),
        ("Finished", "numpy"),
        ("finished", "numpy"),
        "tables",
        ("run finished", DIGEST),
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt("Ctrl-C"), ResultsError("the disk is full")])
def test_end_of_a_run_is_announced_whatever_ended_it(
    tmp_path, make_info, make_plan, answer, observe, error
):
    def conclude(_):
        seen.heard.append("tables")
        raise ResultsError("cannot write them either")

    def fail(_):
        raise error

    answer(fail)
    seen = observe(Listening())
    with pytest.raises(type(error), match=str(error)):
        schedule.run(make_plan(make_info()), tmp_path / "run", conclude)
    assert seen.heard[-2:] == ["tables", ("run finished", DIGEST)]


def test_tables_that_cannot_be_written_are_an_error(
    tmp_path, make_info, make_plan, answer, observe
):
    def conclude(_):
        raise ResultsError("the disk is full")

    answer(lambda _: CRASHED)
    seen = observe(Listening())
    with pytest.raises(ResultsError, match="the disk is full"):
        schedule.run(make_plan(make_info(rounds=1)), tmp_path / "run", conclude)
    assert seen.heard[-1] == ("run finished", DIGEST)


def test_order_within_a_block_depends_on_the_seed_alone(run, make_info):
    specs, _ = run(make_info(), ENTRIES, {"second": SKIPPED})
    for round_, block in by_round(specs).items():
        order = seeding.block_order(NAMES, 7 + round_)
        left = [name for name in order if round_ == 0 or name != "second"]
        assert [spec.label for spec in block] == left


def test_block_and_what_happens_can_be_written_down(make_info, make_plan, answer):
    answer(lambda _: CRASHED)
    entry = select("numpy", threads=1).as_variant("slow", handicap=Handicap("work", 0.1))
    block = Block(
        workload=TOY,
        threads=1,
        round=0,
        seed=7,
        entries=[entry],
        budget_s=1.0,
        timeout_s=60.0,
    )
    again = msgspec.json.decode(msgspec.json.encode(block), type=Block)
    assert again == block
    happenings = list(make_plan(make_info()).executor.run([again]))
    assert [type(each).__name__ for each in happenings] == ["CellStarted", "CellFinished"]
    for each in happenings:
        assert msgspec.json.decode(msgspec.json.encode(each), type=Happening) == each


def test_block_with_another_dataset_is_refused(make_info, make_plan):
    block = Block(
        workload=TOY,
        threads=1,
        dataset_sha256="another",
        round=0,
        seed=7,
        entries=ENTRIES,
        budget_s=1.0,
        timeout_s=60.0,
    )
    with pytest.raises(DatasetError, match="toy is another dataset here than in the run"):
        list(make_plan(make_info()).executor.run([block]))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated(ExitCode.HUNG_UP)])
def test_interruption_leaves_the_trained_cells(run, tmp_path, make_info, error):
    first, second, *_ = seeding.block_order(NAMES, 7)
    with pytest.raises(type(error)):
        run(make_info(), ENTRIES, {second: error})
    assert [cell.backend for cell in store.read_cells(tmp_path / "run")] == [first]


def test_interruption_while_an_event_is_announced_leaves_the_trained_cells(
    run, tmp_path, make_info, observe
):
    first, second, *_ = seeding.block_order(NAMES, 7)

    class Interrupting:
        @hookimpl
        def nnbench_cell_started(self, spec):
            if spec.label == second:
                raise KeyboardInterrupt

    observe(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        run(make_info(), ENTRIES)
    assert [cell.backend for cell in store.read_cells(tmp_path / "run")] == [first]


def test_second_interruption_ends_the_judging(run, tmp_path, make_info, observe):
    first, second, third, _ = seeding.block_order(NAMES, 7)

    class Interrupting:
        @hookimpl
        def nnbench_cell_finished(self, result):
            assert result.backend == first
            raise KeyboardInterrupt

    observe(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        run(make_info(), ENTRIES, {third: KeyboardInterrupt()})
    assert [cell.backend for cell in store.read_cells(tmp_path / "run")] == [first]
    assert second


def test_error_that_ends_the_run_is_no_interruption(run, tmp_path, make_info):
    _, second, *_ = seeding.block_order(NAMES, 7)
    with pytest.raises(ResultsError, match="disk"):
        run(make_info(), ENTRIES, {second: ResultsError("the disk is full")})
    assert list(store.read_cells(tmp_path / "run")) == []


def test_run_whose_file_others_have_written_to_ends_without_tables(
    tmp_path, make_info, make_plan, answer
):
    folder = tmp_path / "run"
    concluded: list[object] = []

    def forge(spec):
        if spec.round == 1:
            with (folder / store.CELLS).open("ab") as file:
                file.write((folder / store.CELLS).read_bytes().splitlines(keepends=True)[0])
        return CRASHED

    answer(forge)
    with pytest.raises(store.ForgedError, match=r"cells\.jsonl is not as nnbench has written it"):
        schedule.run(make_plan(make_info(rounds=2), ENTRIES), folder, concluded.append)
    assert concluded == []


def test_run_whose_file_others_have_written_to_at_the_end_is_found_too(
    tmp_path, make_info, make_plan, answer, observe
):
    class Forging:
        @hookimpl
        def nnbench_cell_finished(self, result):
            if result.position == 3:
                (tmp_path / "run" / store.CELLS).write_bytes(b"")

    answer(lambda _: CRASHED)
    observe(Forging())
    with pytest.raises(store.ForgedError):
        schedule.run(make_plan(make_info(rounds=1), ENTRIES), tmp_path / "run", lambda _: None)
