"""``nnbench run`` survives bad backends, interruptions, and every kind of output."""

import csv
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnbench.cli.run import conclude, say_what_was_lost
from nnbench.data import seeding
from nnbench.execution.process import OUTPUT_BYTES
from nnbench.proof import judge
from nnbench.runs import store
from nnbench.runs.sweep import Sweep
from tests.plugins.helpers import NNBENCH, alone, environment, nnbench, survivors, wait_until

FAULTY_EPOCH = 60  # of a step each; at least one part ends before it
QUICK_CELL = "raises-in-create"
FAULTS = {
    "exits": ("crashed", "exited with status 3 before it was done"),
    "segfaults": ("crashed", "killed by SIGSEGV"),
    "aborts": ("crashed", "killed by SIGABRT"),
    "kills-itself": ("crashed", "killed by SIGKILL"),
    "exhausts-memory": ("oom", "MemoryError"),
    "writes-garbage-line": ("crashed", r"wrote to the pipe of answers: b'\x00garbage\n'"),
    "raises-in-create": ("crashed", "RuntimeError: no network of 4 layers today"),
    "unavailable-in-create": ("skipped", "the library finds no device"),
}
INVALID = ["turns-nan", "forgets-mean", "flips-sign", "never-updates", "changes-inputs"]
UNHARMED = ["steady", "leaves-grandchild", "changes-parameters"]  #: its copy of the parameters
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]")
PIPES: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def arguments(folder, *backends, **options):
    """Give the arguments of a short run of the toy."""
    given = {"workload": "toy-sigmoid", "rounds": 1, "seed": 0, "output": folder, **options}
    pairs = (text for key, value in given.items() for text in (f"--{key}", str(value)))
    return ["run", "--backends", ",".join(backends), *pairs]


def read_cells(folder):
    return {cell.backend: cell for cell in store.read_cells(folder)}


def read_rows(path):
    with path.open(newline="") as file:
        return {row["backend"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory):
    """Run all faults at once; return the command's outcome, its folder, and what it left."""
    folder = tmp_path_factory.mktemp("faulty") / "run"
    env = environment("faulty", "unimportable", mark=folder)
    done = nnbench(*arguments(folder, *UNHARMED, *FAULTS, *INVALID), env=env)
    left = survivors(folder)
    for process in left:
        process.kill()
    return done, folder, left


@pytest.fixture(scope="module")
def cells(faulty_run):
    return read_cells(faulty_run[1])


def test_run_with_failures_ends_with_code_4(faulty_run):
    assert faulty_run[0].returncode == 4


def test_every_backend_has_run_in_the_order_that_is_drawn(cells):
    assert list(cells) == seeding.block_order([*UNHARMED, *FAULTS, *INVALID], 0)
    assert {cell.seed for cell in cells.values()} == {0}


@pytest.mark.parametrize("backend", FAULTS)
def test_fault_is_recorded(cells, backend):
    assert (cells[backend].status, cells[backend].message) == FAULTS[backend]


@pytest.mark.parametrize("backend", INVALID)
def test_wrong_training_is_invalid(cells, backend):
    cell = cells[backend]
    assert cell.status == "invalid"
    assert re.match(
        r"in steps? \d+( to \d+)? the loss .* the reference|the gradients", cell.message
    )


@pytest.mark.parametrize("backend", UNHARMED)
def test_neighbours_are_unharmed(cells, backend):
    cell = cells[backend]
    assert (cell.status, cell.message, cell.complete) == ("ok", "", True)
    assert cell.deviation < cell.tolerance


@pytest.mark.parametrize("backend", ["exits", "segfaults", "kills-itself", "exhausts-memory"])
def test_epochs_before_a_crash_are_kept(cells, backend):
    assert FAULTY_EPOCH / 4 < len(cells[backend].epochs) < FAULTY_EPOCH
    assert not cells[backend].complete


@pytest.mark.parametrize(
    ("backend", "text"),
    [
        ("segfaults", "Fatal Python error: Segmentation fault"),
        ("aborts", "Fatal Python error: Aborted"),
        ("exhausts-memory", "in exhaust_memory"),
        ("raises-in-create", "in create_badly"),
    ],
)
def test_last_words_are_kept(cells, backend, text):
    assert text in cells[backend].output
    assert len(cells[backend].output) <= OUTPUT_BYTES


def test_no_process_survives(faulty_run):
    assert faulty_run[2] == []


def test_a_line_for_each_cell_and_who_was_left_out_go_to_standard_error(faulty_run, cells):
    warning, *lines, note = faulty_run[0].stderr.splitlines()
    assert note.startswith("nnbench: note: unavailable-in-create was left out: ")
    assert warning.startswith("nnbench: warning: plugin 'unimportable' of nnbench-unimportable 1.0")
    heads = [line.split(":")[0] for line in lines]
    assert heads == [f"round 1 {backend}" for backend in cells]


@pytest.mark.parametrize("table", ["accuracy", "timing"])
def test_tables_rank_only_the_unharmed(faulty_run, table):
    _, folder, _ = faulty_run
    rows = read_rows(folder / f"{table}.csv")
    figures = {"accuracy": "final_loss", "timing": "train_s_per_epoch"}
    assert {name for name, row in rows.items() if row[figures[table]]} == set(UNHARMED)
    assert set(list(rows)[:3]) == set(UNHARMED)
    assert all(rows[name]["message"] == message for name, (_, message) in FAULTS.items())


def test_reasons_stand_below_the_tables(faulty_run):
    done, folder, _ = faulty_run
    assert "\nsegfaults: crashed: killed by SIGSEGV\n" in done.stdout
    assert "- segfaults: crashed: killed by SIGSEGV" in (folder / "timing.md").read_text()
    assert done.stdout.endswith(f"Results: {folder}\n")


@pytest.mark.parametrize(
    ("backends", "code"),
    [
        (["steady"], 0),
        (["steady", "unavailable-in-create"], 0),
        (["unavailable-in-create"], 5),
        (["steady", "turns-nan"], 6),
        (["steady", "flips-sign"], 6),
        (["turns-nan", "aborts"], 4),
        (["exhausts-memory"], 4),
    ],
)
def test_worst_cell_decides_the_exit_code(cells, backends, code):
    assert judge.exit_code([cells[name] for name in backends], required=()) == code


def test_named_backend_that_is_unavailable_has_failed(cells):
    skipped = cells["unavailable-in-create"]
    assert judge.exit_code([cells["steady"], skipped], required={skipped.backend}) == 4


@pytest.mark.parametrize(("others", "code"), [(["steady"], 0), ([], 5)])
def test_named_backend_that_does_not_train_this_is_left_out(tmp_path, others, code):
    command = arguments(tmp_path / "run", *others, "unavailable-in-create")
    done = nnbench(*command, "--no-progress", "--proof", "off", env=alone("faulty"))
    assert done.returncode == code
    reason = "the library finds no device"
    assert done.stderr == f"nnbench: note: unavailable-in-create was left out: {reason}\n"


def test_nothing_is_shown_without_progress(tmp_path):
    command = arguments(tmp_path / "run", QUICK_CELL)
    done = nnbench(*command, "--no-progress", env=alone("faulty"))
    assert done.stderr == ""
    assert done.stdout.split()[0] == "Accuracy"


def test_timeout_ends_with_code_4(tmp_path, mark):
    folder = tmp_path / "run"
    env = alone("faulty", mark=mark)
    done = nnbench(*arguments(folder, "hangs-in-create", timeout=1.5), env=env)
    assert done.returncode == 4
    cell = read_cells(folder)["hangs-in-create"]
    assert cell.status == "timeout"
    assert cell.message == "still running after 1.5 s, and was killed in create"
    assert survivors(mark) == []


def test_slow_predict_gets_its_row_and_a_wrong_one_is_found(tmp_path, write_folder):
    folder, dataset = tmp_path / "run", write_folder(tmp_path / "letters", test=[0, 1, 2] * 40)
    names = ["predicts-slowly", "predicts-slowly-and-wrong"]
    command = arguments(folder, *names, dataset=dataset)
    done = nnbench(*command, "--batch-size", 10, "--quick", env=alone("faulty"))
    assert done.returncode == 6
    slow, wrong = (read_cells(folder)[name] for name in names)
    [epoch] = slow.epochs
    assert (slow.status, slow.test_images) == ("ok", 120)
    assert epoch.predicted_images < 120
    assert epoch.evaluate_s >= 120 * 0.01
    assert epoch.accuracy * 120 == pytest.approx(round(epoch.accuracy * 120))  # of all
    assert 0 < slow.proof.logits < 1e-4
    assert (wrong.status, wrong.epochs[0].accuracy) == ("invalid", epoch.accuracy)
    assert wrong.message.startswith("the logits that predict gave are ")


def test_observers_see_the_run_and_one_that_fails_is_a_warning(tmp_path):
    folder = tmp_path / "run"
    env = alone("faulty", "observers", "raising", NNBENCH_FAULTY_FOLDER=str(tmp_path))
    done = nnbench(*arguments(folder, QUICK_CELL, rounds=2), env=env)
    assert (tmp_path / "observed").read_text().splitlines() == [
        "started toy-sigmoid ['.lock', 'run.json']",
        f"finished {QUICK_CELL} crashed",
        f"finished {QUICK_CELL} crashed",
        "ended True",
    ]
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert warnings == [
        f"nnbench: warning: nnbench_{hook} of plugin 'raising' failed: {error}"
        for hook, error in (
            ("run_started", "OSError('no connection for toy-sigmoid')"),
            ("cell_finished", "ValueError('cannot observe toy-sigmoid')"),
            ("run_finished", "SystemExit('nothing works')"),
        )
    ]
    assert done.returncode == 4


def start_run_that_hangs(folder, mark, first=QUICK_CELL, before=(), **streams):
    """Start a run whose second cell hangs, and return when it does."""
    backends = [first, "hangs"]
    seed = next(s for s in range(20) if seeding.block_order(backends, s) == backends)
    env = alone("faulty", mark=mark, NNBENCH_FAULTY_FOLDER=str(folder.parent))
    env["TERM"] = "xterm-256color"
    whole = (
        [] if first == QUICK_CELL else ["--whole"]
    )  # in turns it might not have been its own yet
    command = [*before, *NNBENCH, *arguments(folder, *backends, seed=seed), *whole]
    process = subprocess.Popen(command, env=env, start_new_session=True, **streams)
    wait_until((folder.parent / "reached").exists)
    return process


def check_interrupted(folder, shown, mark, first):
    """Check that the finished cell is kept, and shown in the tables, and nothing else is left."""
    assert list(read_cells(folder)) == [first]
    for table in ("accuracy", "timing"):
        assert list(read_rows(folder / f"{table}.csv")) == [first]
        assert first in (folder / f"{table}.md").read_text()
    assert "Accuracy" in shown
    assert "Timing" in shown
    assert survivors(mark) == []


def test_signal_that_comes_again_and_again_keeps_the_finished_cells(tmp_path, mark):
    folder = tmp_path / "run"
    process = start_run_that_hangs(folder, mark, first="steady", **PIPES)
    wait_until(lambda: process.send_signal(signal.SIGTERM) or (folder / "timing.md").exists())
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    told = errors.splitlines()[-1]
    made, others = told.removeprefix("interrupted; the finished cells are kept: ").split("; ")
    assert made == "1 of 1 round of steady"
    assert others.startswith("0 of ")
    check_interrupted(folder, shown, mark, "steady")


def test_terminal_that_is_closed_ends_a_run_as_ctrl_c_does(tmp_path, mark):
    screen, terminal = pty.openpty()
    own = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    before = [sys.executable, "-c", own]
    process = start_run_that_hangs(tmp_path / "run", mark, before=before, **streams)
    os.close(terminal)
    os.close(screen)
    assert process.wait(60) == 129
    assert list(read_rows(tmp_path / "run" / "timing.csv")) == [QUICK_CELL]
    assert survivors(mark) == []


def interrupt_when_reached(command, env, number):
    """Send a signal once a backend has announced itself; return the exit status and errors."""
    with subprocess.Popen([*NNBENCH, *command], env=env, **PIPES) as process:
        wait_until(Path(env["NNBENCH_FAULTY_FOLDER"], "reached").exists)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_signal_before_anything_is_finished(tmp_path, mark):
    folder = tmp_path / "run"
    env = alone("faulty", mark=mark, NNBENCH_FAULTY_FOLDER=str(tmp_path))
    command = arguments(folder, "hangs-in-create")
    code, errors = interrupt_when_reached(command, env, signal.SIGINT)
    assert (code, errors) == (130, "interrupted; the finished cells are kept\n")
    assert (folder / "accuracy.md").exists()
    assert read_cells(folder) == {}
    assert survivors(mark) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGINT, (130, "\nnnbench: error: interrupted\n")),
        (signal.SIGTERM, (143, "")),
    ],
)
def test_signal_before_the_run_starts(tmp_path, number, expected):
    folder = tmp_path / "run"
    env = alone("waiting", NNBENCH_FAULTY_FOLDER=str(tmp_path))
    assert interrupt_when_reached(arguments(folder, "patient"), env, number) == expected
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux's prctl")
def test_worker_dies_with_a_killed_parent_and_its_block_is_lost(tmp_path, mark):
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = start_run_that_hangs(tmp_path / "run", mark, **nowhere)
    assert workers(mark)
    process.kill()
    process.wait()
    wait_until(lambda: not survivors(mark))
    assert read_cells(tmp_path / "run") == {}


def workers(mark):
    return [p for p in survivors(mark) if "nnbench.worker" in p.cmdline()]


def read_terminal(descriptor):
    """Read what a pseudo-terminal shows, until its last process has closed it."""
    shown = b""
    while True:
        try:
            chunk = os.read(descriptor, 1 << 16)
        except OSError:  # Linux's end of file
            chunk = b""
        if not chunk:
            os.close(descriptor)
            return shown.decode()
        shown += chunk


def run_on_terminal(folder, backend, **variables):
    """Run one backend with a terminal as standard error; return what both streams show."""
    screen, terminal = pty.openpty()
    env = alone("faulty", TERM="xterm-256color", COLUMNS="120", **variables)
    command = [*NNBENCH, *arguments(folder, backend)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=terminal, text=True) as process:
        os.close(terminal)
        shown = read_terminal(screen)
        printed, _ = process.communicate(timeout=60)
    return printed, shown


def test_terminal_shows_the_run_live(tmp_path):
    printed, shown = run_on_terminal(tmp_path / "run", "steady")
    assert shown.startswith(HIDE_CURSOR)
    assert SHOW_CURSOR in shown
    assert COLOUR.search(shown)
    assert "sets up steady" in shown
    assert re.search(r"round 1 steady: 500 images in \S+ s, proved\r\n", shown)
    assert "\x1b" not in printed
    assert printed.split()[0] == "Accuracy"


def test_no_color_is_honoured_on_a_terminal(tmp_path):
    _, shown = run_on_terminal(tmp_path / "run", QUICK_CELL, NO_COLOR="1")
    assert f"round 1 {QUICK_CELL}: crashed" in shown
    assert not COLOUR.search(shown)


def test_interrupted_display_gives_the_cursor_back(tmp_path, mark):
    screen, terminal = pty.openpty()
    streams = {"stdout": subprocess.PIPE, "stderr": terminal, "text": True}
    process = start_run_that_hangs(tmp_path / "run", mark, **streams)
    os.close(terminal)
    process.send_signal(signal.SIGINT)
    shown = read_terminal(screen)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)
    check_interrupted(tmp_path / "run", printed, mark, QUICK_CELL)


@pytest.mark.parametrize(("points", "code"), [(0.02, 0), (-2.4, 6), (2.4, 6)])
@pytest.mark.parametrize("rounds", [1, 3])
def test_accuracy_that_strays_ends_with_6_and_says_so(
    write_run, make_straying, capsys, points, code, rounds
):
    assert conclude(Sweep.open(write_run(*make_straying(rounds, other=points)))) == code
    shown, said = capsys.readouterr()
    told = "other: its accuracy is 2.40 points"
    assert (told in " ".join(shown.split())) == (code == 6)
    assert said.startswith(f"nnbench: {told}") if code else not said


def test_what_is_not_proved_in_full_though_required_is_said(
    write_run, make_cell, make_proof, capsys
):
    proofs = [make_proof(proved=proved) for proved in (9, 10, 0)]
    cells = [make_cell(round=number, proof=proof) for number, proof in enumerate(proofs)]
    run = write_run(*cells, require_proof=True)
    assert conclude(Sweep.open(run)) == 6
    text = "nnbench: numpy: 2 of 3 rounds not proved in full, as is required\n"
    assert capsys.readouterr().err == text


def test_rounds_that_were_lost_are_said_with_the_reason(make_info, make_cell, make_failed, capsys):
    lost = [
        make_failed(status="lost", round=n, message=m) for n, m in ((1, "a"), (3, "a"), (4, "b"))
    ]
    assert say_what_was_lost(Sweep(make_info(), [make_cell(), *lost]))
    assert capsys.readouterr().err == "nnbench: round 2, 4: lost: a\nnnbench: round 5: lost: b\n"
    assert not say_what_was_lost(Sweep(make_info(), [make_cell()]))
