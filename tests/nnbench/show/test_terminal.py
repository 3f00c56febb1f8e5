"""Tables for the terminal: every width, every encoding, every name."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nnbench.figures.columns import tables
from nnbench.records import Failed, Finished, Progress, Ready, Status
from nnbench.runs.run import Run
from nnbench.show.terminal import Live, Plain, print_tables
from nnbench.show.text import sheets
from tests.cells import make_spec

NASTY = ["<script>", "[red]x", "[/red]", "x[threads=2]", "[bold]", ":smile:", "a\\", "{x}", "*é*"]


def show(folder, width=200, encoding="utf-8", **colours):
    """Print a run as a terminal would show it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    run = Run.open(folder)
    console = Console(file=file, width=width, **colours)
    print_tables(console, tables(run.info).values(), run.frame, folder)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_literally(write_run, make_cell, name):
    cells = [make_cell(name), make_cell("other", train_s=2.0)]
    text = show(write_run(*cells, baseline=name), force_terminal=True, color_system="standard")
    assert f"verdict against {name}," in text
    assert f"× {name}" in text
    assert text.count(f" {name} ") >= 6
    assert "\x1b[31m" not in text  # red


def test_everything_is_shown_where_there_is_room(write_run, make_cell):
    folder = write_run(make_cell("numpy"), make_cell("x[threads=2]", train_s=2.0))
    text = show(folder)
    for table in sheets(Run.open(folder)).values():
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


def test_control_characters_do_nothing(nasty_run):
    text = show(nasty_run)
    assert all(line.isprintable() for line in text.splitlines())
    assert "broken: crashed: " in text.splitlines()[-1]


def test_finished_cell_is_one_harmless_line_in_any_encoding(make_failed):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    cell = make_failed("bad", message="5 \N{MICRO SIGN}s\x1b[31m\nred é")
    Plain(Console(file=file, width=20)).nnbench_cell_finished(cell)
    file.flush()
    assert raw.getvalue() == b"round 1 bad: crashed: 5 us [31m red ?\n"


@pytest.fixture
def live(make_info):
    """Give the display of a run of three backends, and a function that says what its bars say."""
    display = Live(Console(file=io.StringIO(), force_terminal=True, width=100))
    display.nnbench_run_started(make_info("a", "b", "c"), Path("run"))
    yield display, lambda: {t.description: t.fields["state"] for t in display.progress.tasks}
    display.nnbench_run_finished()


def test_trained_cells_wait_for_their_verdict(live, make_cell, make_failed):
    display, states = live
    setup = make_cell().setup
    ended = [Finished(None, None, complete=True), Failed(Status.OOM, "MemoryError")]
    for label, event in zip("ab", ended, strict=True):
        spec = make_spec(label=label)
        display.nnbench_cell_started(spec)
        display.nnbench_cell_event(spec, Ready(setup))
        display.nnbench_cell_event(spec, Progress(1, 50, 0.5, 2.0))
        assert states()[label] == "epoch 1, 100 images/s, loss 2.0000"
        display.nnbench_cell_event(spec, event)
    assert states() == {
        "run": "",
        "a": "trained, waits for its verdict",
        "b": "oom, waits for its verdict",
    }
    display.nnbench_cell_finished(make_cell("a"))
    assert states() == {"run": "1 of 2 judged", "b": "oom, waits for its verdict"}
    display.nnbench_cell_finished(make_failed("b"))
    assert states() == {"run": ""}
    assert display.progress.tasks[0].completed == 2


@pytest.mark.parametrize("kind", [Plain, Live])
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "states: 466 KiB a cut, 6.83 MiB or more a cell, kept in run/states"),
        ({"epochs": 1}, "states: 466 KiB a cut, 1.37 MiB or more a cell, kept in run/states"),
        ({"batch_size": None}, "states: 466 KiB a cut, 466 KiB or more a cell, kept in run/states"),
    ],
)
def test_size_of_kept_states_is_said_once(make_info, make_cell, mnist, kind, changes, line):
    text = io.StringIO()
    display = kind(Console(file=text, width=100))
    spec = make_spec(label="a", workload=replace(mnist, **changes))
    setup = replace(make_cell().setup, parameters=39_760, epoch_images=60_000)
    for is_kept in (True, False):
        display.nnbench_run_started(make_info("a", keep_states=is_kept), Path("run"))
        if kind is Live:
            display.nnbench_cell_started(spec)
        for _ in range(2):
            display.nnbench_cell_event(spec, Ready(setup))
    lines = [each for each in text.getvalue().splitlines() if each.startswith("states")]
    assert lines == [line]


def test_bar_is_that_of_the_last_attempt(live, make_cell):
    display, states = live
    spec = make_spec(label="a")
    for _ in range(2):
        display.nnbench_cell_started(spec)
        display.nnbench_cell_event(spec, Finished(None, None, complete=True))
    assert list(states()) == ["run", "a"]
    display.nnbench_cell_finished(make_cell("a", final=False))
    assert states() == {"run": "1 of 2 judged", "a": "trained, waits for its verdict"}
    display.nnbench_cell_finished(make_cell("a", attempt=1))
    assert states() == {"run": ""}
    assert display.progress.tasks[0].completed == 1
