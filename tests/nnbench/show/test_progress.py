"""The display of a run: a line for each cell, and on a terminal how the backends stand."""

import io
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nnbench.cli import show_warning
from nnbench.records.cells import Status
from nnbench.records.events import Failed, Finished, Progress, Queue, Ready
from nnbench.runs import times
from nnbench.runs.run import Run
from nnbench.show import progress
from nnbench.show.machines import Machines
from nnbench.show.progress import Live, Plain
from tests.cells import make_spec
from tests.nnbench.events import events_of, spec_of

ENDED = Finished(None, None, complete=True)


@pytest.mark.parametrize("word", ["lost", "[bold]"])
def test_warning_stands_above_the_display(begin, monkeypatch, word):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stderr", file)
    display = begin("a", file=file)
    display.nnbench_cell_started(make_spec(label="a"), "local")
    show_warning(f"a block is {word}")
    display.nnbench_run_finished()
    before, _, _ = raw.getvalue().partition(f"nnbench: warning: a block is {word}".encode())
    assert before.endswith(b"\x1b[2K")  # the display was erased before


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

    def start(*backends, width=120, file=None, points=1, **changes):
        console = Console(file=file or io.StringIO(), force_terminal=True, width=width, height=24)
        display = Live(console)
        displays.append(display)
        info = make_info(*backends, **{"baseline": backends[0], "turns": True, **changes})
        each = [replace(info.point, threads=number + 1) for number in range(points)]
        info = replace(info, points=each)
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
    assert [each.strip() for each in first[:4]] == ["b", "2.00", "1.98 to 2.02", "3 turns"]
    assert [each.strip() for each in second[:4]] == ["a", "1.00", "–", "baseline"]
    assert third[0].strip() == "c"
    assert last == "2 more rounds; what one round says is provisional"


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
    assert rows(display)["b"][:3] == ["0.667", "–", "–"]
    assert shown(display)[2].endswith("; what one round says is provisional")


def test_points_of_a_sweep_are_named_and_stand_apart(begin, make_cell, in_turns):
    display = begin("a", "b", rounds=2, points=2)
    assert display.bar.tasks[0].total == 8
    for index, paces in enumerate([(1.0, 2.0), (2.0, 1.0)]):
        cells = [
            in_turns(make_cell(name, train_s=s, point=index), [(s, 50)] * 3)
            for name, s in zip("ab", paces, strict=True)
        ]
        train(display, *cells)
        where = f"threads {index + 1}"
        assert shown(display)[0] == f"round 1 of 2, {where}: 2 cells to be judged"
        assert list(rows(display))[1:] == [
            name for _, name in sorted(zip(paces, "ab", strict=True))
        ]
        for cell in cells:
            display.nnbench_cell_finished(cell)
        assert f"round 1 b at {where}: 100 images" in display.console.file.getvalue()
    assert shown(display)[2].startswith("2 more blocks")


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
    ends = f"{b.speedup_low:.3f} to {b.speedup_high:.3f}"
    assert written["b"] == [f"{b.speedup:.3f}", ends, "3 rounds"]
    assert written["a"] == ["1.00", "–", "baseline"]
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


@pytest.fixture
def elsewhere(begin):
    """Give a function that starts a run on other machines, and one that returns all that is shown, line by line."""

    def start(*backends, **changes):
        return begin(*backends, executor="engine", **changes)

    return start


def picture(display):
    """Return what stands on the terminal, as it is."""
    file = io.StringIO()
    console = Console(file=file, width=display.console.width)
    for each in display.bar.get_renderables():
        console.print(each)
    return [line.rstrip() for line in file.getvalue().splitlines() if line.strip()]


def test_blocks_that_wait_run_or_are_lost_are_told_by_machine(elsewhere, make_cell, make_failed):
    display = elsewhere("a", "b", rounds=9)
    display.nnbench_queue_changed(Queue(slots=4, given=[0, 1, 2, 3]))
    assert shown(display)[0] == "0 of 9 rounds: 4 wait"
    assert shown(display)[2] == "waiting: 4 blocks for a machine; 5 more rounds"
    display.nnbench_queue_changed(Queue(slots=4, given=[3], arrived={0: "node1", 1: "node2"}))
    assert picture(display)[-2:] == [
        "node1: waits   node2: waits",
        "waiting: 2 blocks for CPUs, 1 block for a machine; 5 more rounds",
    ]
    display.nnbench_queue_changed(Queue(slots=4, given=[3]))
    setup = replace(make_cell().setup, epoch_images=100)
    for number, machine in enumerate(["node1", "node2", "node2"]):
        for label in "ab":
            display.nnbench_cell_started(make_spec(label=label, round=number), machine)
    for label in "ab":
        spec = make_spec(label=label, round=1)
        display.nnbench_cell_event(spec, Ready(setup))
        display.nnbench_cell_event(spec, Progress(1, 250, 0.5, 2.0))
        display.nnbench_cell_finished(make_failed(label, "lost", machine="node1", final=False))
    state, _, _ = shown(display)
    assert state == "0 of 9 rounds: 2 run, 1 waits"
    assert picture(display)[-2] == "node1: 1 lost   node2: 10%, sets up"
    for label in "ab":
        display.nnbench_cell_event(make_spec(label=label, round=1), ENDED)
    assert picture(display)[-2] == "node1: 1 lost   node2: judges, sets up"
    for label in "ab":
        display.nnbench_cell_finished(make_cell(label, round=1, machine="node2"))
    assert shown(display)[0] == "1 of 9 rounds: 1 runs, 1 waits"
    assert picture(display)[-2] == "node1: 1 lost   node2: 1 done, sets up"
    assert shown(display)[2].startswith("waiting: 1 block for a machine; 6 more rounds")


def test_interruption_says_what_it_waits_for(elsewhere):
    display = elsewhere("a", rounds=9)
    display.nnbench_cell_started(make_spec(label="a"), "node1")
    display.nnbench_queue_changed(Queue(slots=2, is_ending=True))
    assert shown(display)[0] == "0 of 9 rounds: 1 runs"
    text = "interrupted: no further block is begun, and Ctrl-C cancels those that run"
    assert shown(display)[2] == text


@pytest.mark.parametrize(("count", "lines"), [(20, 7), (200, 16)])
def test_many_machines_find_room_on_a_small_terminal(elsewhere, make_cell, count, lines):
    display = elsewhere("a", "b", rounds=1000, width=80)
    display.nnbench_queue_changed(Queue(slots=count, given=[*range(count)]))
    display.nnbench_queue_changed(Queue(slots=count))
    for number in range(count):
        where = f"node{number + 1:02}.cluster.example.org"
        for label in "ab":
            display.nnbench_cell_started(make_spec(label=label, round=number), where)
            display.nnbench_cell_finished(make_cell(label, round=number, machine=where))
            spec = make_spec(label=label, round=count + number)
            display.nnbench_cell_started(spec, where)
    seen = picture(display)
    assert all(len(line) <= 80 for line in seen)
    assert len(seen) <= 24
    machines = [line for line in seen if "node" in line or "more" in line][:-1]
    assert len(machines) == lines
    assert machines[0].split("  ")[0] == "node01: 1 done, sets up"
    assert machines[-1].endswith(" more") == (count > 20)


def test_time_left_is_that_of_blocks_side_by_side(elsewhere, make_cell, monkeypatch):
    now = 0.0
    for module in (progress, times):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    display = elsewhere("a", rounds=21)
    display.nnbench_queue_changed(Queue(slots=4, given=[0, 1, 2, 3]))
    for number in range(4):
        display.nnbench_cell_started(make_spec(label="a", round=number), "node1")
    display.nnbench_queue_changed(Queue(slots=4))
    now = 120.0
    display.nnbench_cell_finished(make_cell("a", round=0, machine="node1"))
    assert shown(display)[2].startswith("17 more rounds, about 10 min left")  # 5 times 2 min
    display.nnbench_queue_changed(Queue(slots=20, given=[4]))
    assert "16 more rounds, about 2 min left" in shown(display)[2]


def test_cell_whose_start_nobody_told_of_is_shown_all_the_same(elsewhere, make_cell):
    display = elsewhere("a", rounds=2)
    display.nnbench_queue_changed(Queue(slots=1, given=[1]))
    display.nnbench_cell_event(make_spec(label="a", round=1), Ready(make_cell().setup))
    assert shown(display)[0] == "0 of 2 rounds: 1 runs, 1 waits"
    display.nnbench_queue_changed(Queue(slots=1))
    display.nnbench_cell_finished(make_cell("a", round=1, machine="node1"))
    assert display.bar.tasks[0].completed == 1
    display.nnbench_queue_changed(Queue(slots=1, given=[0]))
    display.nnbench_cell_finished(make_cell("a", machine="node1"))  # of which nothing was heard
    assert (display.bar.tasks[0].completed, display.machines.done) == (2, {"node1": 2})


def test_rounds_of_before_are_done(elsewhere, make_cell):
    display = elsewhere("a", rounds=3)
    display.nnbench_cell_kept(make_cell("a", round=1))
    assert shown(display)[0] == "1 of 3 rounds: 0 run"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.x.org", "b.y.org"], ["a", "b"]),
        (["a.x.org", "a.y.org"], ["a.x.org", "a.y.org"]),
        (["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
        (["n" * 40, "b"], ["b", "n" * 22 + ".."]),
    ],
)
def test_machines_have_short_names_if_these_tell_them_apart(names, said):
    texts = Machines(done=Counter(dict.fromkeys(names, 2))).texts([])
    assert texts == [f"{name}: 2 done" for name in said]


def test_time_left_is_what_rounds_took(begin, make_cell, in_turns, monkeypatch):
    now = 0.0
    for module in (progress, times):
        monkeypatch.setattr(module, "monotonic", lambda: now)
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


def test_events_of_blocks_elsewhere_wait_until_it_is_time_to_look(
    make_info, make_cell, tmp_path, monkeypatch
):
    looks: list[str] = []

    def look(*_):
        looks.append("look")
        return []

    monkeypatch.setattr(progress, "monotonic", lambda: 0.0)
    monkeypatch.setattr(progress, "standings", look)
    display = Live(Console(file=io.StringIO(), force_terminal=True, width=100))
    display.nnbench_run_started(make_info("a", rounds=2, executor="dask"), tmp_path / "run")
    specs = [make_spec(label="a", round=number) for number in range(2)]
    for spec in specs:
        display.nnbench_cell_started(spec, "node1")
    looks.clear()
    for spec in specs:
        display.nnbench_cell_event(spec, Ready(make_cell().setup))
        display.nnbench_cell_finished(make_cell("a", round=spec.round))
    display.nnbench_run_finished()
    assert looks == []
