"""What a run will take follows from what was asked, and from what the same took before on this machine."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nnbench.contract.errors import ResultsError
from nnbench.execution.executor import Sizes
from nnbench.execution.memory import COPIES, LIBRARY_BYTES, SLACK
from nnbench.records.cells import Part
from nnbench.runs import forecast
from nnbench.show import forecast as written

SIZES = Sizes(epoch_steps=10, parameters=100, logits=50, dataset_bytes=1000)
STATE_BYTES = 1200  # of 100 parameters and both moments
AT = "2026-01-02T03:04:"


@pytest.fixture
def foresee(tmp_path, make_plan):
    """Give a function that says what a run will take; its executor knows the sizes."""

    def foresee(info, name="new", sizes=SIZES, slots=1):
        executor = SimpleNamespace(
            dataset_sha256=lambda _: "the same", sizes=lambda _: sizes, slots=slots
        )
        [found] = forecast.foresee(make_plan(info)._replace(executor=executor), tmp_path / name)
        return found

    return foresee


def timed(cell, seconds=2.0, *, started=0, recorded=None, parts=0):
    """Return a cell that took some time, in a block that was judged some seconds after a minute began."""
    made = [Part(images=1, train_s=0.1, state="a hash") for _ in range(parts)]
    epochs = [replace(cell.epochs[0], parts=made)]
    told = "" if recorded is None else f"{AT}{recorded:02}Z"
    return replace(cell, wall_s=seconds, started=f"{AT}{started:02}Z", recorded=told, epochs=epochs)


def test_what_was_asked_for_is_a_bound(foresee, make_info):
    found = foresee(make_info("numpy", "native", rounds=3, turns=True))
    assert (found.most_cells, found.most_training_s) == (6, 90.0)
    assert (found.seconds, found.unknown) == (None, ["numpy", "native"])
    assert found.memory_bytes == 2 * SLACK * (COPIES * 1000 + LIBRARY_BYTES)
    least = 5 * 3 * STATE_BYTES  # of five epochs, each cut into three parts at least
    assert found.spool_bytes == 2 * (least + 4 * (5 * 50 + 100))
    assert found.states_bytes == 0
    assert found.results_bytes == 6 * (50 * forecast.LOSS_BYTES + 15 * forecast.PART_BYTES)
    assert found.free_bytes > 0


def test_workers_that_train_one_after_the_other_need_room_for_the_largest(foresee, make_info):
    found = foresee(make_info("numpy", "native", turns=False))
    assert found.memory_bytes == found.needed_bytes(["numpy"])


def test_time_is_what_it_was_with_what_came_between_cells(foresee, write_run, make_cell, make_info):
    cells = [
        timed(make_cell("numpy"), started=10, recorded=15),
        timed(make_cell("native"), started=12, recorded=15),
    ]
    write_run(*cells, name="old")  # a block of 5 s, in which cells ran for 4 s
    found = foresee(make_info("numpy", "native", "jax", rounds=3))
    assert found.cell_s("numpy") == pytest.approx(2.5)
    assert found.seconds == pytest.approx(3 * 2 * 2.5)
    assert (found.unknown, found.has_proof) == (["jax"], True)
    text = "\n".join(written.lines(found))
    assert "time: about 15 s for all rounds, proof included, as in old; not in there: jax" in text


@pytest.mark.parametrize("changes", [{"proof": "sampled"}, {}])
def test_proof_is_left_out_where_it_was_another_or_not_written_down(
    foresee, write_run, make_cell, make_info, changes
):
    write_run(timed(make_cell(), recorded=9 if changes else None), name="old")
    found = foresee(make_info(**changes))
    assert (found.seconds, found.has_proof) == (2.0, False)


@pytest.mark.parametrize(
    ("changes", "is_known"),
    [
        ({}, True),
        ({"threads": 2}, False),
        ({"cpu": "Another CPU"}, False),
        ({"epochs": 1}, False),
        ({"budget_s": 1.0}, True),  # it ended by itself
    ],
)
def test_only_the_same_on_the_same_machine_tells(
    foresee, write_run, make_cell, make_info, mnist, changes, is_known
):
    if cpu := changes.pop("cpu", None):
        [machine] = make_info().machines.values()
        changes["environment"] = replace(machine.environment, cpu=cpu)
    if epochs := changes.pop("epochs", None):
        changes["workload"] = replace(mnist, epochs=epochs)
    write_run(timed(make_cell()), name="old")
    assert (foresee(make_info(**changes)).seconds is not None) is is_known


def test_newest_run_tells(foresee, write_run, make_cell, make_info):
    for name, second, wall_s in (("b", 1, 1.0), ("a", 3, 3.0), ("c", 2, 2.0)):
        write_run(timed(make_cell(), wall_s), name=name, started=f"{AT}{second:02}Z")
    found = foresee(make_info())
    assert (found.seconds, found.known["numpy"].run.name) == (3.0, "a")


def test_damaged_run_tells_nothing(foresee, make_info, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("{")
    assert foresee(make_info()).known == {}


def test_time_that_is_none_leaves_out_the_proof(foresee, write_run, make_cell, make_info):
    write_run(replace(timed(make_cell(), recorded=9), started="soon"), name="old")
    found = foresee(make_info("numpy"))
    assert (found.seconds, found.has_proof) == (2.0, False)


def test_damaged_cells_tell_nothing(foresee, write_run, make_cell, make_info):
    folder = write_run(timed(make_cell(), recorded=9), name="old")
    (folder / "cells.jsonl").write_text("{}\n")
    assert foresee(make_info("numpy")).seconds is None


def test_backend_that_the_budget_stopped_runs_in_few_rounds(
    foresee, write_run, make_cell, make_info
):
    cells = [timed(make_cell("numpy")), timed(make_cell("python", complete=False), 20.0)]
    write_run(*cells, name="old")
    found = foresee(make_info("numpy", "python", rounds=10))
    assert (found.cells("python"), found.cells("numpy"), found.most_cells) == (3, 10, 20)
    assert found.seconds == pytest.approx(10 * 2.0 + 3 * 20.0)
    other = foresee(make_info("numpy", "python", rounds=10, budget_s=99.0))
    assert other.unknown == ["python"]  # it would train for longer


def test_memory_and_disk_are_what_they_were(foresee, write_run, make_cell, make_info):
    peak = 7 * LIBRARY_BYTES
    write_run(timed(make_cell(peak_memory_bytes=peak), parts=40), name="old")
    found = foresee(make_info(rounds=2, keep_states=True))
    assert found.memory_bytes == SLACK * peak
    assert found.states_bytes == 2 * 40 * STATE_BYTES
    assert found.results_bytes == pytest.approx(2 * 10_000, rel=0.5)


def test_run_that_goes_on_has_rounds_left(
    foresee, write_run, make_cell, make_info, alter, tmp_path
):
    names, rounds = ("numpy", "native"), 4
    cells = [timed(make_cell(name, round=number)) for number in range(2) for name in names]
    write_run(*cells[:-1], name="run", rounds=rounds, dataset_sha256="the same")
    info = make_info(*names, rounds=rounds, dataset_sha256="the same")
    found = foresee(info, "run")
    assert (found.rounds, found.most_cells) == (3, 6)  # one of two rounds is whole
    assert found.seconds == pytest.approx(6 * 2.0)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["cells.jsonl", "run.json"]
    with pytest.raises(ResultsError, match="dataset mnist has changed"):
        foresee(alter(info, dataset_sha256="another"), "run")


def test_run_that_is_whole_has_nothing_left(foresee, write_run, make_cell, make_info):
    write_run(timed(make_cell()), name="run", dataset_sha256="the same")
    found = foresee(make_info(dataset_sha256="the same"), "run")
    assert (found.rounds, written.lines(found)) == (0, ["nothing is left to run"])


def test_executor_that_knows_no_sizes_says_so(foresee, make_info):
    found = foresee(make_info(executor="elsewhere"), sizes=None)
    assert (found.memory_bytes, found.results_bytes, found.spool_bytes) == (None, None, None)
    lines = written.lines(found)
    assert "memory: not known of the executor elsewhere" in lines
    assert "disk: not known of the executor elsewhere" in lines


def test_blocks_side_by_side_take_less_time_and_say_where(foresee, write_run, make_cell, make_info):
    slow = [timed(make_cell("slow", status="budget"), 6.0), timed(make_cell("numpy"), 2.0)]
    write_run(*slow, name="before", rounds=1, dataset_sha256="the same")
    asked = {"rounds": 10, "executor": "elsewhere", "dataset_sha256": "the same"}
    found = foresee(make_info("numpy", "slow", **asked), slots=4)
    assert found.cells("slow") == 6  # three that it is stopped in, and those that run then
    assert found.seconds == pytest.approx((10 * 2.0 + 6 * 6.0) * 3 / 10)
    lines = written.lines(found)
    assert any("for all rounds, 4 at once, " in line for line in lines)
    assert any(line.endswith(", of each block where it runs") for line in lines)


def test_what_is_left_out_stands_last_with_its_reason(foresee, make_info):
    info = make_info("numpy", unavailable={"torch-cuda": "no GPU"})
    title, _, rows = written.sheet(foresee(info))
    assert title == "mnist: 1 round of 1 backend, one after the other"
    assert [row[0] for row in rows] == ["numpy", "torch-cuda"]
    assert rows[-1][-1] == "no GPU"
