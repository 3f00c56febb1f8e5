"""What is drawn over time is what was measured."""

import pytest

from nnbench.show.charts.training import MOST_EPOCHS, MOST_ROUNDS, accuracy

COLORS = {"numpy": "#000000", "other": "#111111"}


def test_time_is_of_training_alone_and_adds_up(make_run, make_cell):
    cell = make_cell("numpy", train_s=2.0, accuracies=(0.5, None, 0.75))
    found = accuracy(make_run(cell), COLORS).records["epochs"]
    assert [(r["epoch"], r["seconds"], r["value"]) for r in found] == [
        (1, 2.0, 50.0),
        (3, 6.0, 75.0),
    ]


def test_target_is_marked_where_the_table_has_it(make_run, make_cell):
    cells = [
        make_cell("numpy", train_s=s, accuracies=(0.9, 0.97), round=i)
        for i, s in enumerate((1.0, 2.0, 4.0))
    ]
    figure = accuracy(make_run(*cells, make_cell("other", accuracies=(0.5,))), COLORS)
    [target] = figure.records["targets"]
    assert (target["backend"], target["seconds"]) == ("numpy", 4.0)  # the median of 2, 4, 8
    assert target["reached"] == "3 of 3 rounds"
    [goal] = figure.records["goal"]
    assert (goal["value"], goal["text"]) == (pytest.approx(96.1), "target 96.1%")


@pytest.mark.parametrize(
    ("times", "texts"),
    [
        ({"a": 1.0, "b": 1.1, "c": 2.0}, ["1.00 s", "", "2.00 s"]),
        ({"a": 1.0, "b": 2.0, "c": 3.0, "d": 100.0}, ["1.00 s", "2.00 s", "", "100 s"]),
        ({"a": 1.0, "b": 1.0}, ["1.00 s", ""]),
    ],
)
def test_times_to_the_target_are_not_written_over_each_other(make_run, make_cell, times, texts):
    cells = [make_cell(name, train_s=s, accuracies=(0.97,)) for name, s in times.items()]
    figure = accuracy(make_run(*cells), dict.fromkeys(times, "#000000"))
    assert [r["text"] for r in figure.records["targets"]] == texts


def test_many_rounds_and_epochs_are_thinned_and_told(make_run, make_cell):
    count = MOST_ROUNDS + 5
    cells = [make_cell("numpy", accuracies=(0.5,) * 250, round=i) for i in range(count)]
    figure = accuracy(make_run(*cells), COLORS)
    records = figure.records["epochs"]
    assert {r["round"] for r in records} == set(range(1, MOST_ROUNDS + 1))
    assert len(records) <= MOST_ROUNDS * MOST_EPOCHS
    assert max(r["epoch"] for r in records) == 250
    assert f"the first {MOST_ROUNDS} of {count} rounds" in figure.caption
    assert "One epoch in 3" in figure.caption
