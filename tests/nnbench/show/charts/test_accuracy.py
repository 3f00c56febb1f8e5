"""What is drawn over time is what was measured."""

from dataclasses import replace

import pytest

from nnbench.show.charts.training import MOST_EPOCHS, accuracy

COLORS = {"numpy": "#000000", "other": "#111111"}


def test_time_is_of_training_alone_and_adds_up(make_run, make_cell):
    cell = make_cell("numpy", train_s=2.0, accuracies=(0.5, None, 0.75))
    found = accuracy(make_run(cell), COLORS).records["epochs"]
    assert [(r["epoch"], r["seconds"], r["value"]) for r in found] == [
        (1, 2.0, 50.0),
        (3, 6.0, 75.0),
    ]


def test_a_backend_is_the_median_of_its_rounds_and_the_band_its_middle_half(make_run, make_cell):
    rounds = enumerate([(1.0, 0.5), (2.0, 0.6), (3.0, 0.7), (4.0, 0.8), (9.0, 0.1)])
    cells = [make_cell("numpy", train_s=s, accuracies=(a,), round=i) for i, (s, a) in rounds]
    [found] = accuracy(make_run(*cells), COLORS).records["epochs"]
    assert (found["seconds"], found["value"], found["rounds"]) == (3.0, 60.0, 5)
    assert (found["low"], found["high"]) == (50.0, 70.0)


def test_epoch_that_few_rounds_have_is_left_out(make_run, make_cell):
    cells = [make_cell("numpy", accuracies=(0.5,) * (1 + (i == 0)), round=i) for i in range(3)]
    assert [r["epoch"] for r in accuracy(make_run(*cells), COLORS).records["epochs"]] == [1]


def test_target_is_marked_where_the_table_has_it(make_run, make_cell):
    cells = [
        make_cell("numpy", train_s=s, accuracies=(0.9, 0.97), round=i)
        for i, s in enumerate((1.0, 2.0, 4.0))
    ]
    figure = accuracy(make_run(*cells, make_cell("other", accuracies=(0.5,))), COLORS)
    other, reached = sorted(figure.records["labels"], key=lambda label: label["seconds"])
    assert (reached["backend"], reached["seconds"]) == ("numpy", 4.0)  # the median of 2, 4, 8
    assert (reached["target"], reached["text"]) == ("reached in 3 of 3 rounds", "numpy 4.00 s")
    assert (other["target"], other["text"], other["value"]) == ("not reached", "other", 50.0)
    [goal] = figure.records["goal"]
    assert (goal["value"], goal["text"]) == (pytest.approx(96.1), "target 96.1%")
    assert reached["value"] == goal["value"]


def test_without_a_target_a_label_has_the_time_at_the_end(make_run, make_cell, mnist):
    workload = replace(mnist, target_accuracy=None)
    figure = accuracy(make_run(make_cell(accuracies=(0.5, 0.75)), workload=workload), COLORS)
    [label] = figure.records["labels"]
    assert (label["text"], label["value"]) == ("numpy 2.00 s", 75.0)


def test_many_epochs_are_thinned_and_told(make_run, make_cell):
    cells = [make_cell("numpy", accuracies=(0.5,) * 250, round=i) for i in range(3)]
    figure = accuracy(make_run(*cells), COLORS)
    records = figure.records["epochs"]
    assert len(records) <= MOST_EPOCHS
    assert max(r["epoch"] for r in records) == 250
    assert "One epoch in 3" in figure.caption
