"""A folder of IDX files is trained from end to end, and the files of the run agree."""

import csv
import json
import math

import numpy as np
import pytest

from nnbench import reference
from nnbench.contract.spec import minibatches
from nnbench.data.task import load_task
from nnbench.runs import store
from tests.plugins.helpers import environment, nnbench

TRAIN, TEST, BATCH_SIZE = 600, 90, 64
CLASSES = [3, 8, 9]  #: as the files call them
FILES = [
    ".lock",
    "accuracy.csv",
    "accuracy.md",
    "cells.jsonl",
    "run.json",
    "timing.csv",
    "timing.md",
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_folder):
    labels = [CLASSES[i % 3] for i in range(TRAIN)]
    folder = tmp_path_factory.mktemp("data") / "my shapes"
    return write_folder(folder, train=labels, test=labels[:TEST], zipped=True)


@pytest.fixture(scope="module")
def done(dataset):
    output = dataset.parent / "run"
    options = ["--rounds", 1, "--epochs", 1, "--seed", 0, "--output", output]
    return nnbench("run", "-b", "numpy", "--dataset", dataset, *options, env=environment())


@pytest.fixture(scope="module")
def run_folder(done, dataset):
    assert done.returncode == 0
    return dataset.parent / "run"


@pytest.fixture(scope="module")
def cell(run_folder):
    (found,) = store.read_cells(run_folder)
    return found


def read_row(path):
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


def test_run_says_what_it_did(done, run_folder):
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("round 1 numpy: 600 images in ")
    assert done.stdout.endswith(f"\nResults: {run_folder}\n")


def test_folder_holds_the_files_of_a_run(run_folder):
    assert sorted(path.name for path in run_folder.iterdir()) == FILES


def test_run_tells_what_was_asked(run_folder, dataset):
    run = json.loads((run_folder / "run.json").read_text())
    [point] = run["points"]
    assert point["workload"]["name"] == "mnist+dataset=my shapes,epochs=1"
    assert point["workload"]["dataset"] == str(dataset)
    assert point["workload"]["target_accuracy"] is None
    assert (run["backends"].keys(), run["baseline"]) == ({"numpy"}, "numpy")
    assert (run["rounds"], run["seed"], point["threads"]) == (1, 0, 1)
    assert f"--dataset '{dataset}'" in run["command"]  # as a shell takes it
    assert run["dataset_classes"] == CLASSES


def test_cell_is_the_whole_training(cell):
    assert (cell.backend, cell.status, cell.message) == ("numpy", "ok", "")
    assert cell.complete
    assert cell.workload == "mnist+dataset=my shapes,epochs=1"
    assert [epoch.images for epoch in cell.epochs] == [TRAIN]
    assert len(cell.losses) == math.ceil(TRAIN / BATCH_SIZE)
    assert cell.setup.epoch_images == TRAIN
    assert cell.test_images == TEST
    assert cell.setup.parameters == 20 * 50 + 50 + 50 * 3 + 3


def test_cell_follows_the_reference(cell, run_folder):
    task = load_task(store.read_info(run_folder).workload, seed=0)
    (order,) = task.orders()
    batches = [task.train.rows(index) for index in minibatches(order, BATCH_SIZE)]
    losses, layers = reference.train(task.network, task.layers, batches)
    logits = reference.feedforward(task.network, layers, task.test.inputs)[-1]
    loss, _ = reference.output_loss(task.network, logits, task.test)
    right = np.mean(logits.argmax(axis=1) == task.labels)
    assert cell.losses == pytest.approx(losses, rel=1e-4)
    assert cell.epochs[0].test_loss == pytest.approx(loss, rel=1e-4)
    assert cell.epochs[0].accuracy == pytest.approx(right, abs=2 / TEST)
    assert cell.deviation < cell.tolerance == 2e-5


def test_accuracy_table_is_that_of_the_cell(cell, run_folder):
    row = read_row(run_folder / "accuracy.csv")
    assert (row["backend"], row["rounds"], row["status"]) == ("numpy", "1", "ok")
    assert float(row["accuracy"]) == cell.epochs[0].accuracy
    assert float(row["final_loss"]) == cell.epochs[0].test_loss
    assert float(row["images"]) == TRAIN
    assert row["accuracy_stdev"] == ""
    assert "target_reached" not in row


def test_timing_table_is_that_of_the_cell(cell, run_folder):
    row = read_row(run_folder / "timing.csv")
    assert (row["backend"], row["rounds"], row["status"]) == ("numpy", "1", "ok")
    parts = cell.epochs[0].parts
    led_s, led = sum(part.lead_s for part in parts), sum(part.lead_images for part in parts)
    epoch_s = (cell.train_s - led_s) / (TRAIN - led) * TRAIN + cell.load_s
    assert float(row["train_s_per_epoch"]) == pytest.approx(epoch_s)
    assert float(row["images_per_s"]) == pytest.approx(TRAIN / epoch_s)
    assert (row["rank"], row["ratio"], row["precision"]) == ("1", "1.0", "float32")
    assert int(row["steps_proved"]) == int(row["steps_trained"]) == cell.steps
    assert float(row["setup_s"]) == cell.setup.setup_s
    assert float(row["peak_memory_bytes"]) == cell.peak_memory_bytes


@pytest.mark.parametrize("name", ["accuracy", "timing"])
def test_markdown_names_the_run_and_the_backend(run_folder, name):
    lines = (run_folder / f"{name}.md").read_text().splitlines()
    assert "mnist+dataset=my shapes,epochs=1, 1 round, seed 0, 1 thread" in lines[0]
    assert any(line.startswith(f"**{name.title()}") for line in lines)
    assert any(line.startswith("| numpy | ") for line in lines)


def test_labels_that_became_classes_are_told_with_the_tables(done, run_folder):
    told = "Outputs are the labels 3, 8–9 of the dataset, in this order."
    assert told in done.stdout
    assert all(told in (run_folder / f"{name}.md").read_text() for name in ("accuracy", "timing"))


def test_accuracy_stands_in_every_table(done, cell, run_folder):
    text = f"{cell.epochs[0].accuracy * 100:.2f}"
    assert f"| {text} |" in (run_folder / "accuracy.md").read_text()
    assert text in done.stdout
    assert f"accuracy {text}%" in done.stderr


def test_second_run_into_the_same_folder_is_refused(call, run_folder):
    before = (run_folder / "cells.jsonl").read_bytes()
    again = call("run", "-w", "toy-sigmoid", "-o", run_folder)
    assert again.code == 2
    assert again.stderr.endswith(f"{run_folder} already holds a run; give another --output\n")
    assert (run_folder / "cells.jsonl").read_bytes() == before


def test_batch_larger_than_the_dataset_is_the_whole_dataset(tmp_path):
    options = ["--batch-size", 10**12, "--epochs", 2, "--rounds", 1, "--output", tmp_path / "run"]
    done = nnbench("run", "-w", "toy-sigmoid", "-b", "numpy", *options, env=environment())
    assert done.returncode == 0
    (cell,) = store.read_cells(tmp_path / "run")
    assert (cell.status, cell.images, len(cell.losses)) == ("ok", 10, 2)
