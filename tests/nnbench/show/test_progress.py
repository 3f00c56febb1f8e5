"""The display of a run: a line for each cell, and on a terminal how the backends stand."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nnbench.records import Failed, Finished, Progress, Ready, Status
from nnbench.runs.run import Run
from nnbench.show import progress
from nnbench.show.progress import Live, Plain
from tests.cells import make_spec
from tests.nnbench.events import events_of, spec_of


def test_finished_cell_is_one_harmless_line_in_any_encoding(make_failed):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    cell = make_failed("bad", message="5 \N{MICRO SIGN}s\x1b[31m\nred é")
    Plain(Console(file=file, width=20)).nnbench_cell_finished(cell)
    file.flush()
    assert raw.getvalue() == b"round 1 bad: crashed: 5 us [31m red ?\n"


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
            display.nnbench_cell_started(spec, "local")
        for _ in range(2):
            display.nnbench_cell_event(spec, Ready(setup))
    if kind is Live:
        display.nnbench_run_finished()
    lines = [each for each in text.getvalue().splitlines() if each.startswith("states")]
    assert lines == [line]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    """Be on a terminal that can do what most can, wherever the tests run."""
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    ("term", "is_terminal", "is_live"),
    [
        ("xterm", False, True),
        ("xterm", True, False),
        ("xterm", True, True),
        ("dumb", True, True),
    ],
)
def test_steps_of_several_things_are_lines(term, is_terminal, is_live, monkeypatch):
    monkeypatch.setenv("TERM", term)
    text = io.StringIO()
    console = Console(file=text, width=60, force_terminal=is_terminal, color_system=None)
    with progress.steps(console, is_live=is_live) as tell:
        tell("main", "installs [x]")
        tell("HEAD", "waits")
        tell("main", "is built")
    written = text.getvalue()
    for line in ("main installs [x]", "HEAD waits", "main is built"):
        assert f"nnbench: {line}\n" in written
    assert ("0:00:00" in written) == (is_terminal and is_live and term != "dumb")


@pytest.fixture
def begin(make_info, tmp_path, monkeypatch):
    """Give a function that starts a run of some backends on a display that looks at every event."""
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    monkeypatch.setattr(progress, "REST", 0.0)
    displays = []

    def start(*backends, width=120, **changes):
        display = Live(Console(file=io.StringIO(), force_terminal=True, width=width))
        displays.append(display)
        info = make_info(*backends, **{"baseline": backends[0], "turns": True, **changes})
        display.nnbench_run_started(info, tmp_path / "run")
        return display

    yield start
    for display in displays:
        display.nnbench_run_finished()


def shown(display):
    """Return what stands on the terminal: the bar's words, the rows below it, and the last line."""
    bar = display.bar.tasks[0]
    file = io.StringIO()
    console = Console(file=file, width=display.console.width)
    for each in display.bar.below:
        console.print(each)
    lines = [line.strip() for line in file.getvalue().splitlines() if line.strip()]
    head, _, *rows, last = lines
    return (
        f"{bar.description}: {bar.fields['state']}",
        [[cell for cell in f" {row}".split("  ") if cell.strip()] for row in [head, *rows]],
        last,
    )


def train(display, *cells):
    """Show a display how a block trains, one cell after the other."""
    for cell in cells:
        display.nnbench_cell_started(spec_of(cell), "local")
        for event in events_of(cell):
            display.nnbench_cell_event(spec_of(cell), event)


def rows(display):
    """Return the first words of each row."""
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in shown(display)[1]}


def last_words(display):
    """Return where each cell stands."""
    return {name: row[-1] for name, row in rows(display).items() if name != "backend"}


def test_set_up_says_what_it_waits_for(begin, make_cell):
    display = begin("a", "b")
    display.nnbench_cell_started(make_spec(label="b"), "local")
    assert shown(display)[0] == "round 1 of 1: sets up b"
    assert last_words(display) == {"a": "waits", "b": "sets up"}
    display.nnbench_cell_event(make_spec(label="b"), Ready(make_cell().setup))
    display.nnbench_cell_started(make_spec(label="a"), "local")
    assert shown(display)[0] == "round 1 of 1: sets up a"
    assert last_words(display) == {"a": "sets up", "b": "ready"}


def test_trained_cells_wait_for_their_verdict(begin, make_cell, make_failed):
    display = begin("a", "b", "c")
    ended = [Finished(None, None, complete=True), Failed(Status.OOM, "MemoryError")]
    for label, event in zip("ab", ended, strict=True):
        spec = make_spec(label=label)
        display.nnbench_cell_started(spec, "local")
        display.nnbench_cell_event(spec, Ready(replace(make_cell().setup, epoch_images=100)))
        display.nnbench_cell_event(spec, Progress(1, 50, 0.5, 2.0))
        assert shown(display)[0] == "round 1 of 1: all train in turns"
        assert rows(display)[label][-3:] == ["100", "2.0000", "epoch 1, 10%"]
        display.nnbench_cell_event(spec, event)
    assert last_words(display) == {
        "a": "to be judged",
        "b": "oom, to be judged",
        "c": "waits",
    }
    assert shown(display)[0] == "round 1 of 1: 2 cells to be judged"
    display.nnbench_cell_finished(make_cell("a"))
    assert last_words(display)["a"] == "judged: ok"
    assert shown(display)[0] == "round 1 of 1: 1 of 2 judged"
    display.nnbench_cell_finished(make_failed("b"))
    assert last_words(display)["b"] == "judged: crashed"
    assert display.bar.tasks[0].completed == 2


def test_loss_that_is_not_finite_is_told(begin, make_cell):
    display = begin("a")
    display.nnbench_cell_started(make_spec(label="a"), "local")
    display.nnbench_cell_event(make_spec(label="a"), Ready(make_cell().setup))
    display.nnbench_cell_event(make_spec(label="a"), Progress(1, 50, 0.5, None))
    assert last_words(display)["a"].endswith(", not finite")


def test_ratios_of_one_round_are_marked_as_provisional(begin, make_cell, in_turns, monkeypatch):
    monkeypatch.setattr(progress, "monotonic", lambda: 0.0)
    display = begin("a", "b", "c", rounds=3)
    slow = in_turns(make_cell("a"), [(1.0, 100)] * 4)
    fast = in_turns(make_cell("b"), [(0.5, 100)] * 3)
    train(display, slow, fast)
    head, (_, first, second, third), last = shown(display)
    assert head == "round 1 of 3: 2 cells to be judged"
    assert [each.strip() for each in first[:4]] == ["b", "0.500", "0.495 to 0.505", "3 turns"]
    assert [each.strip() for each in second[:4]] == ["a", "1.00", "–", "–"]
    assert third[0].strip() == "c"
    assert last == "2 more rounds; ratios of one round are provisional"


def test_cells_that_train_whole_are_compared_as_they_go_on(begin, make_cell):
    display = begin("a", "b", turns=False)
    setup = replace(make_cell().setup, epoch_images=100)
    for label, seconds in {"a": 1.0, "b": 3.0, "a again": 2.0}.items():
        spec = make_spec(label=label[0])
        display.nnbench_cell_started(spec, "local")
        display.nnbench_cell_event(spec, Ready(setup))
        display.nnbench_cell_event(spec, Progress(1, 50, seconds, 2.0))
        assert shown(display)[0] == f"round 1 of 1: trains {label[0]}"
        display.nnbench_cell_event(spec, Finished(None, None, complete=True))
    assert rows(display)["b"][:3] == ["1.50", "–", "–"]
    assert shown(display)[2].endswith("; ratios of one round are provisional")


@pytest.mark.parametrize("width", [80, 120])
def test_display_of_a_run_ends_with_the_ratios_of_its_tables(begin, make_cell, in_turns, width):
    display = begin("a", "b", "c", rounds=3, width=width)
    cells = [
        in_turns(
            make_cell(name, train_s=pace, round=number),
            [(pace + number * turn / 50, 50)] * 3,
            first=turn,
        )
        for number in range(3)
        for turn, (name, pace) in enumerate({"a": 1.0, "b": 1.4, "c": 0.7}.items())
    ]
    for number in range(3):
        block = [cell for cell in cells if cell.round == number]
        train(display, *block)
        for cell in block:
            display.nnbench_cell_finished(cell)
    run = Run(display.run.info, cells)
    found = {row.backend: row for row in run.timing}
    assert list(found) == ["c", "a", "b"]
    assert list(rows(display)) == ["backend", *found]
    written = {name: row[:3] for name, row in rows(display).items() if name != "backend"}
    b = found["b"]
    ends = f"{b.ratio_low:.3g} to {b.ratio_high:.3g}"
    assert written["b"] == [f"{b.ratio:.2f}", ends, "3 rounds"]
    assert written["a"] == ["1.00", "–", "3 rounds"]
    assert "provisional" not in shown(display)[2]


def test_cells_of_two_blocks_at_a_time_are_told_apart(begin, make_cell, in_turns):
    display = begin("a", "b", rounds=2)
    first, second = (
        [in_turns(make_cell(label, round=number), [(1.0, 10)]) for label in "ab"]
        for number in range(2)
    )
    train(display, first[0], *second, first[1])
    assert shown(display)[0].startswith("round 1 of 2")
    for cell in (*second, *first):
        display.nnbench_cell_finished(cell)
    assert display.bar.tasks[0].completed == 4


def test_blocks_on_other_machines_are_told_with_them(begin):
    display = begin("a", rounds=3)
    for number, machine in enumerate(["node1", "node2"]):
        display.nnbench_cell_started(make_spec(label="a", round=number), machine)
    said = " node1: round 1, sets up a; node2: round 2, sets up a"
    assert [said] in shown(display)[1]


def test_block_that_is_lost_begins_anew_and_counts_once(begin, make_cell, make_failed):
    display = begin("a", "b", rounds=1)
    for label in "ab":
        display.nnbench_cell_started(make_spec(label=label), "node1")
    for label in "ab":
        display.nnbench_cell_finished(make_failed(label, "lost", final=False))
    display.nnbench_cell_started(make_spec(label="a"), "node2")
    assert [" node2: round 1, sets up a"] in shown(display)[1]
    for label in "ab":
        display.nnbench_cell_started(make_spec(label=label), "node2")
        display.nnbench_cell_finished(make_cell(label))
    assert display.bar.tasks[0].completed == 2


def test_time_left_is_what_rounds_took(begin, make_cell, in_turns, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    display = begin("a", rounds=3)
    spec, setup = make_spec(label="a"), replace(make_cell().setup, epoch_images=100)
    display.nnbench_cell_started(spec, "local")
    display.nnbench_cell_event(spec, Ready(setup))
    assert shown(display)[2] == "2 more rounds"
    now = 5.0
    display.nnbench_cell_event(spec, Progress(1, 1, 0.5, 2.0))
    now = 10.0  # a quarter is trained in 5 s: 15 s more, and 25 s for each round to come
    display.nnbench_cell_event(spec, Progress(1, 75, 1.25, 2.0))
    assert shown(display)[2] == "2 more rounds, more than 65 s left"
    now = 200.0
    display.nnbench_cell_finished(in_turns(make_cell("a"), [(1.0, 10)]))
    display.nnbench_cell_started(replace(spec, round=1), "local")
    assert shown(display)[2] == "1 more round, about 7 min left"


def test_what_intervals_need_is_imported_before_the_first_cell(begin, monkeypatch):
    monkeypatch.delitem(sys.modules, "scipy.stats", raising=False)
    begin("a", rounds=10)
    assert "scipy.stats" in sys.modules


def test_looks_take_a_twentieth_of_the_time(make_info, make_cell, tmp_path, monkeypatch):
    looks, now = [], 0.0

    def look_for_a_second(*_):
        nonlocal now
        now += 1.0
        looks.append(now)
        return []

    monkeypatch.setattr(progress, "monotonic", lambda: now)
    monkeypatch.setattr(progress, "standings", look_for_a_second)
    display = Live(Console(file=io.StringIO(), force_terminal=True, width=100))
    display.nnbench_run_started(make_info("a"), tmp_path / "run")
    display.nnbench_cell_started(make_spec(label="a"), "local")
    display.nnbench_cell_event(make_spec(label="a"), Ready(make_cell().setup))
    looks.clear()
    for _ in range(80):
        now += 0.5
        display.nnbench_cell_event(make_spec(label="a"), Progress(1, 1, 1.0, 2.0))
    display.nnbench_cell_finished(make_cell("a"))  # which can wait as well, if a look takes so long
    display.nnbench_run_finished()
    assert looks == [22.0, 43.0]
