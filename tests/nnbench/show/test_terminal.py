"""Tables for the terminal: every width, every encoding, every name."""

import io
import sys

import pytest
from rich.console import Console

from nnbench.runs.sweep import Sweep
from nnbench.show.terminal import NARROWEST, WIDEST, Terminal, print_tables
from nnbench.show.text import sheets

NASTY = ["<script>", "[red]x", "[/red]", "x[threads=2]", "[bold]", ":smile:", "a\\", "{x}", "*é*"]


def show(folder, width=200, encoding="utf-8", **colours):
    """Print a run as a terminal would show it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    run = Sweep.open(folder)
    console = Console(file=file, width=width, **colours)
    print_tables(console, run.tables, run)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_literally(write_run, make_cell, name):
    cells = [make_cell(name), make_cell("other", train_s=2.0)]
    text = show(write_run(*cells, baseline=name), force_terminal=True, color_system="standard")
    assert f"times as fast as {name}," in text
    assert text.count(f" {name} ") >= 6
    assert "\x1b[31m" not in text  # red


def test_everything_is_shown_where_there_is_room(write_run, make_cell):
    folder = write_run(make_cell("numpy"), make_cell("x[threads=2]", train_s=2.0))
    text = show(folder)
    for table in sheets(Sweep.open(folder)).values():
        assert all(cell in text for row in [table.headings, *table.rows] for cell in row)
    assert "No room" not in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_narrow_terminal_loses_columns_not_rows_and_says_so(run, width):
    lines = show(run, width).splitlines()
    assert max(map(len, lines[:-3])) <= width
    assert sum(line.startswith(" numpy ") for line in lines) == 6
    [told] = [line for line in lines if line.startswith("No room")] or [""]
    assert bool(told) == (width < 105)
    if told:
        command, _, names = told.rpartition(" ")
        assert command == f"No room for some columns: nnbench show {run} --columns"
        assert "second_deviation" in names.split(",")


ODD = [
    *(("COLUMNS", text) for text in ("0", "1", "-1", "19", "9999", "²", "1e9", "x", "9" * 99)),
    *(("LINES", text) for text in ("0", "1", "²", "9" * 99)),
    *(("TERM", text) for text in ("", "dumb", "unknown", "nonsense")),
    *((name, text) for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM") for text in ("", "0", "x")),
]


def test_odd_terminals_are_survived(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    opened = Sweep.open(run)
    for name, value in ODD:
        with monkeypatch.context() as patch:
            patch.delenv("TERM", raising=False)
            patch.setenv(name, value)
            terminal = Terminal()
            assert NARROWEST <= terminal.width <= WIDEST
            print_tables(terminal, opened.tables, opened)
            assert "numpy" in capsys.readouterr().out


def test_statuses_and_messages_stay_on_a_narrow_terminal(run):
    text = show(run, 60)
    assert "crashed" in text
    assert "\nbad: crashed: killed by SIGSEGV\n" in text


def test_names_are_whole_on_a_narrow_terminal(write_run, make_cell):
    names = ["torch-cpu[threads=2,fused=false]", "torch-cpu[threads=4,fused=false]"]
    text = show(write_run(*map(make_cell, names)), width=50)
    accuracy = text[: text.index("Timing")]
    assert "".join(line.split(" ")[1] for line in accuracy.splitlines() if " " in line).endswith(
        "".join(names)
    )


def test_encoding_without_bars_has_others(write_run, make_cell):
    cells = [make_cell("é", train_s=s, round=i) for i, s in enumerate((1.0, 2.0, 3.0))]
    text = show(write_run(*cells), encoding="ascii")
    assert "(_ the fastest to # the slowest of each backend)" in text
    assert " _+# " in text or " _=# " in text
    assert "|? " in text


def test_many_rounds_are_summed_up(write_run, make_cell):
    cells = [make_cell("numpy", train_s=1 + round_ / 100, round=round_) for round_ in range(90)]
    text = show(write_run(*cells))
    assert "1.00 to 1.89, 90 rounds" in text
    assert "▁▁▁▂▂" in text
    assert "█ (3 rounds each)" in text


def test_one_round_and_none(write_run, make_cell, make_failed):
    text = show(write_run(make_cell("numpy"), make_failed("bad")))
    rows = [line.split() for line in text[text.index("round by round") :].splitlines()]
    assert ["numpy", "1.00", "▄", "–", "–"] in rows
    assert ["bad", "–", "–", "–", "–"] in rows


def test_labels_that_became_classes_are_told(write_run, make_cell):
    told = "Outputs are the labels 3, 8–9 of the dataset, in this order."
    assert told in show(write_run(make_cell("numpy"), dataset_classes=[3, 8, 9])).splitlines()


def test_control_characters_do_nothing(nasty_run):
    text = show(nasty_run)
    assert all(line.isprintable() for line in text.splitlines())
    assert "broken: crashed: " in text.splitlines()[-1]
