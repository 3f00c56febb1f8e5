"""``nnbench prove``: anyone who has a run and its states finds the same again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nnbench.contract.errors import ExitCode
from nnbench.proof import kept
from nnbench.records.cells import Status
from nnbench.runs import store
from tests.trained import judged, spooled, train

SMALL = {"batch_size": 8, "epochs": 3, "target_accuracy": None}


@pytest.fixture
def workload(mnist, folder):
    """Give a workload of a small dataset."""
    return replace(mnist, dataset=str(folder), **SMALL)


@pytest.fixture
def run(workload, make_info, tmp_path):
    """Give the folder of a run with two cells, whose states are kept."""
    where = tmp_path / "run"
    with spooled(workload) as spool:
        digest = spool.judge.digest
        store.create(where, make_info("trained", workload=workload, dataset_sha256=digest))
        for round_, mode in enumerate(("sampled", "full")):
            cell = train(spool, seed=round_, mode=mode)
            result = replace(judged(spool, cell), round=round_)
            parameters = spool.judge.network.parameter_count
            kept.keep(where, result, kept.in_spool(cell.cuts, spool.file.fileno(), parameters))
            store.append(where, result)
    return where


def change(run, number, act):
    """Change a line of cells.jsonl."""
    path = run / "cells.jsonl"
    lines = path.read_text().splitlines()
    cell = json.loads(lines[number])
    act(cell)
    lines[number] = json.dumps(cell)
    path.write_text("\n".join(lines) + "\n")


def test_right_run_is_proved_again(call, run):
    done = call("prove", run)
    assert (done.code, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if " trained " in line]
    assert [row[:5] for row in rows] == [
        ["trained", "1", "24", "of", "24"],
        ["trained", "2", "24", "of", "24"],
    ]
    assert [row[-1] for row in rows] == ["ok", "ok"]


def test_state_that_was_changed_is_found(call, run):
    path = run / "states" / "1-trained-0.npy"
    values = np.load(path)
    values[4, 3] += 1e-3
    np.save(path, values)
    done = call("prove", run)
    assert done.code == ExitCode.ACCURACY
    assert done.stdout.splitlines()[-1] == (
        "round 2 trained: a state is not the one that was written down"
    )


def test_loss_that_was_changed_is_found(call, run):
    change(run, 0, lambda cell: cell["epochs"][1]["losses"].__setitem__(3, 0.5))
    done = call("prove", run)
    assert done.code == ExitCode.ACCURACY
    assert done.stdout.splitlines()[-1].startswith("round 1 trained: in steps 12 to ")


@pytest.mark.parametrize(("key", "value"), [("accuracy", 0.99), ("test_loss", 0.01)])
def test_figure_that_was_changed_is_found(call, run, key, value):
    change(run, 0, lambda cell: cell["epochs"][1].update({key: value}))
    done = call("prove", run)
    assert done.code == ExitCode.ACCURACY
    assert done.stdout.splitlines()[-1].startswith("round 1 trained: epoch 2: a test loss of ")
    assert " was recorded" in done.stdout


def test_status_that_was_changed_is_found(call, run):
    change(run, 1, lambda cell: cell.update(status="diverged"))
    done = call("prove", run)
    assert done.code == ExitCode.ACCURACY
    assert done.stdout.splitlines()[-1] == "round 2 trained: it is ok, and diverged was recorded"


def test_seed_that_was_changed_is_found(call, run):
    change(run, 1, lambda cell: cell.update(seed=77))
    done = call("prove", run)
    assert done.code == ExitCode.ACCURACY
    assert " strays " in done.stdout.splitlines()[-1]


def test_tolerance_that_was_widened_does_not_count(call, run):
    def widen(cell):
        cell["epochs"][1]["losses"][3] *= 1.01
        cell["proof"]["tolerance"] = dict.fromkeys(("loss", "displacement", "first", "second"), 9.0)

    change(run, 0, widen)
    assert call("prove", run).code == ExitCode.ACCURACY


def test_times_are_not_proved(call, run):
    change(run, 0, lambda cell: cell["epochs"][1].update(train_s=1e-3))
    assert call("prove", run).code == 0


def test_states_that_are_missing_are_named(call, run):
    (run / "states" / "0-trained-0.npy").unlink()
    done = call("prove", run)
    assert done.code == ExitCode.ACCURACY
    assert done.stdout.splitlines()[-1] == "round 1 trained: no states are kept"


def test_run_without_states_is_a_mistake_of_the_user(call, write_run, make_cell):
    where = write_run(make_cell())
    done = call("prove", where)
    assert done.code == ExitCode.USAGE
    assert done.stderr == (
        f"nnbench: error: {where} keeps no states; nnbench run --keep-states does\n"
    )


def test_another_dataset_is_named(call, run):
    text = (run / "run.json").read_text()
    info = store.read_info(run)
    (run / "run.json").write_text(text.replace(info.point.dataset_sha256, "0" * 64))
    done = call("prove", run)
    assert done.code == ExitCode.USAGE
    assert "is another dataset here than in" in done.stderr


def test_failed_cells_are_left_out(call, run):
    for number in (0, 1):
        change(run, number, lambda cell: cell.update(status=Status.CRASHED))
    assert call("prove", run).code == ExitCode.NOTHING_MEASURED


def test_a_run_that_keeps_its_states_is_proved_again(call, tmp_path):
    where = tmp_path / "run"
    asked = ("-b", "numpy,python", "-w", "toy-sigmoid", "-r", "1", "-o", where, "--no-progress")
    assert call("run", *asked, "--keep-states", "--proof", "full").code == 0
    names = sorted(path.name for path in (where / "states").iterdir())
    assert {name[:-6] for name in names} == {"0-numpy", "0-python"}
    done = call("prove", where)
    assert done.code == 0
    assert done.stdout.count("100 of 100") == len(names)


def test_a_run_that_keeps_none_has_none(call, tmp_path):
    where = tmp_path / "run"
    asked = ("-b", "numpy", "-w", "toy-sigmoid", "-r", "1", "-o", where, "--no-progress")
    call("run", *asked)
    assert not (where / "states").exists()
