"""The registry of columns and tables, and bars in the order of their values."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from nnbench.figures.columns import BARS, COLUMNS, TABLES, sparkline, tables


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        (range(8), BARS),
        ([3.0, 1.0, 2.0], "█▁▅"),
        ([1e-9, 2e-9], "▁█"),
        ([2.0, 2.0, 2.0], "▄▄▄"),
        ([5.0], "▄"),
    ],
)
def test_bars_go_from_the_least_to_the_most(values, bars):
    assert sparkline(list(values)) == bars


@pytest.mark.parametrize(
    ("difference", "text"), [(-1e-6, "+0.00"), (1e-6, "+0.00"), (-2e-4, "-0.02"), (None, "–")]
)
def test_a_difference_that_is_none_is_no_loss(difference, text):
    assert COLUMNS["difference"].text(SimpleNamespace(difference=difference)) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "< 0.001"), (4e-4, "< 0.001"), (0.0012, "0.001"), (1.0, "1.000"), (None, "–")],
)
def test_p_is_never_zero(p, text):
    assert COLUMNS["p_value"].text(SimpleNamespace(p_value=p)) == text


@pytest.mark.parametrize("name", COLUMNS)
def test_column_is_in_a_table(name):
    assert [table for table, layout in TABLES.items() if name in layout.names]


@pytest.mark.parametrize("name", TABLES)
def test_table_is_made_of_columns_and_gives_some_up(name):
    layout = TABLES[name]
    assert set(layout.names) <= COLUMNS.keys()
    assert set(layout.drops) <= set(layout.names) - {"backend"}


def test_columns_give_way_in_the_order_of_the_table(make_info):
    drops = {column.name: column.drop for column in tables(make_info())[0].columns}
    assert [drops[name] for name in TABLES["accuracy"].drops] == [1, 2, 3, 4, 5, 6]
    assert drops["backend"] == drops["status"] == 0


def test_column_that_no_row_has_is_left_out(make_info):
    rows = [SimpleNamespace(training_memory_bytes=None), SimpleNamespace(training_memory_bytes=7)]
    for shown, expected in (([], False), (rows[:1], False), (rows, True)):
        [parts] = [table for table in tables(make_info(), shown) if table.name == "parts"]
        names = {column.name for column in parts.columns}
        assert ("training_memory_bytes" in names) is expected
        assert "device_memory_bytes" not in names
        assert "peak_memory_bytes" in names


def test_device_is_shown_if_one_is_no_cpu(make_info):
    rows = [SimpleNamespace(device=name) for name in ("cpu", None, "cuda")]
    for shown, expected in ((rows[:2], False), (rows, True)):
        [timing] = [table for table in tables(make_info(), shown) if table.name == "timing"]
        assert ("device" in {column.name for column in timing.columns}) is expected


def test_table_of_energy_is_there_if_some_is_known(make_info):
    known, lacks = (
        SimpleNamespace(energy_j_per_epoch=j, energy_missing=why)
        for j, why in ((5.0, None), (None, "hidden"))
    )
    assert "energy" not in {table.name for table in tables(make_info(), [lacks])}
    [both] = [table for table in tables(make_info(), [known, lacks]) if table.name == "energy"]
    names = [column.name for column in both.columns]
    assert names == ["backend", "energy_j_per_epoch", "images_per_j", "idle_w", "energy_missing"]
    [alone] = [table for table in tables(make_info(), [known]) if table.name == "energy"]
    assert [column.name for column in alone.columns] == names[:-1]


def test_names_are_known_without_numpy():
    program = "import sys, nnbench.cli.show; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
