"""The figures that can be gated, and what users type for a limit."""

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.figures.metrics import METRICS, parse_gate


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_s", 2.0),  # two epochs of a second for 100 images, of which 50 were trained
        ("accuracy", 0.9),
        ("peak_memory", 50_000_000),
        ("gather_us", 2.0),
        ("update_us", 5.0),
        ("setup_s", 0.25),
        ("transfer_s", 0.125),
        ("warmup_s", 0.5),
    ],
)
def test_value_of_a_cell(make_cell, name, expected):
    cell = make_cell(accuracies=(0.8, 0.9), images=50)
    assert METRICS[name].value(cell) == expected


@pytest.mark.parametrize("name", list(METRICS))
def test_failed_cell_has_no_values(make_failed, name):
    assert METRICS[name].value(make_failed()) is None


@pytest.mark.parametrize(
    ("text", "threshold"),
    [("train_s:5%", 0.05), ("accuracy:0.5pp", 0.005), ("peak_memory:0%", 0.0)],
)
def test_limit_is_a_fraction(text, threshold):
    gate = parse_gate(text)
    assert gate.threshold == pytest.approx(threshold)
    assert gate.text == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "train_s", "train_s:", "train_s:5", "train_s:5pp", "train_s:-5%", "train_s:nan%"),
        *("train_s:inf%", "train_s:five%", "accuracy:1%", "speed:5%", "train_s:%"),
    ],
)
def test_unreadable_limit_is_refused(text):
    with pytest.raises(NnbenchError, match=r"no metric|cannot read"):
        parse_gate(text)
