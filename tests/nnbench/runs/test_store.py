"""A run on disk: what is written is read back, and nothing is overwritten or half read."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
from dataclasses import replace

import pytest

from nnbench.contract.errors import ExitCode, ResultsError
from nnbench.files import TornLineWarning
from nnbench.records.cells import Status
from nnbench.runs import store
from nnbench.runs.store import CELLS, RUN


@pytest.fixture
def run_folder(tmp_path, make_info):
    """Give a folder that holds a run of nothing."""
    folder = tmp_path / "run"
    store.create(folder, make_info())
    return folder


def fail_on_constant(text):
    pytest.fail(f"{text} is no JSON")


def one_line(raised) -> str:
    (line,) = str(raised.value).splitlines()
    return line


def test_info_is_read_back_as_it_was(tmp_path, make_info):
    info = make_info(
        "numpy", "torch-cpu[threads=2]", unavailable={"x": "no device"}, seed=2**63 - 1
    )
    store.create(tmp_path / "run", info)
    assert store.read_info(tmp_path / "run") == info


@pytest.mark.parametrize("path", ["run", "a/b/run", ".", "mit Umlaut ä/[x] | y"])
def test_folder_is_made_with_its_parents(tmp_path, make_info, path):
    store.create(tmp_path / path, make_info())
    assert (tmp_path / path / RUN).is_file()


def test_run_is_readable_json(run_folder):
    text = (run_folder / RUN).read_text()
    assert json.loads(text)["schema_version"] == 2  # which older ones read, too
    assert len(text.splitlines()) > 20  # indented


def test_no_temporary_file_is_left(run_folder):
    assert [path.name for path in run_folder.iterdir()] == [RUN]


def test_folder_that_holds_a_run_is_refused(run_folder, make_info):
    before = (run_folder / RUN).read_bytes()
    with pytest.raises(ResultsError) as raised:
        store.create(run_folder, make_info(seed=7))
    assert one_line(raised) == f"{run_folder} already holds a run; give another --output"
    assert (run_folder / RUN).read_bytes() == before


def test_folder_with_other_files_is_accepted(tmp_path, make_info):
    (tmp_path / "notes.txt").write_text("mine")
    store.create(tmp_path, make_info())
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        ("run", "Not a directory"),
        ("a/b/run", "Not a directory"),
        (".", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_folder_that_cannot_be_made_is_refused(plain_file, make_info, below, reason):
    parent = plain_file.parent if len(below) > 255 else plain_file
    with pytest.raises(ResultsError) as raised:
        store.create(parent / below, make_info())
    assert one_line(raised) == f"cannot write to {parent / below}: {reason}; choose another place"
    assert raised.value.exit_code == ExitCode.USAGE


def test_read_only_parent_is_refused(tmp_path, make_info):
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root writes everywhere")
        with pytest.raises(ResultsError, match=r"^cannot write to .*/run: Permission denied;"):
            store.create(tmp_path / "run", make_info())
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("workload", "name"),
    [
        ("mnist", "20260102T030405Z-mnist"),
        ("mnist+epochs=1,hidden=8,8", "20260102T030405Z-mnist+epochs=1-hidden=8-8"),
        ("a/b c|d[e]", "20260102T030405Z-a-b-c-d-e-"),
    ],
)
def test_default_folder_is_time_and_workload(make_info, mnist, workload, name):
    folder = store.default_folder(make_info(workload=replace(mnist, name=workload)))
    assert folder.as_posix() == f"results/{name}"


def test_default_folder_is_not_too_long(make_info, mnist):
    folder = store.default_folder(make_info(workload=replace(mnist, name="x" * 500)))
    assert len(folder.name) == 120


def test_cells_are_read_back_in_order(run_folder, make_cell, make_failed):
    cells = [
        make_cell("numpy", accuracies=(0.5, 0.9)),
        make_cell("numpy", round=1, losses=(1.5, None), status="diverged", message="a\nb | c ä"),
        make_failed("[red]x", output="last\r\nwords\u2028"),
        make_failed("torch-cpu", "timeout", tolerance=None),
    ]
    for cell in cells:
        store.append(run_folder, cell)
    assert list(store.read_cells(run_folder)) == cells


def test_each_cell_is_one_line_of_strict_json(run_folder, make_cell):
    numbers = {"losses": [float("nan"), float("inf"), None, 1.0]}
    cell = make_cell(message="a\nb\rc", tolerance=float("inf"), **numbers)
    for _ in range(3):
        store.append(run_folder, cell)
    lines = (run_folder / CELLS).read_text().splitlines()
    assert len(lines) == 3
    decoded = json.loads(lines[0], parse_constant=fail_on_constant)
    assert decoded["epochs"][0]["losses"] == [None, None, None, 1.0]


def test_run_without_cells_has_none(run_folder):
    assert list(store.read_cells(run_folder)) == []


def test_append_names_what_it_cannot_write(plain_file, make_cell):
    with pytest.raises(ResultsError) as raised:
        store.append(plain_file, make_cell())
    what = f"cannot write to {plain_file / CELLS}: Not a directory"
    assert one_line(raised) == f"{what}; choose another place; the cells before are kept"
    assert raised.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"3", b"null", b'{"a": "\xff"}'])
def test_damaged_run_is_refused(run_folder, content):
    (run_folder / RUN).write_bytes(content)
    with pytest.raises(ResultsError) as raised:
        store.read_info(run_folder)
    assert one_line(raised).startswith(f"{run_folder / RUN} is damaged: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", "three"),
        ("rounds", None),
        ("points", {}),
        ("points", []),
        ("backends", ["numpy"]),
        ("machines", 1),
        ("machines", {}),
        ("machines", {"local": {}}),
    ],
)
def test_run_with_a_wrong_field_is_refused(run_folder, key, value):
    content = json.loads((run_folder / RUN).read_text())
    (run_folder / RUN).write_text(json.dumps({**content, key: value}))
    with pytest.raises(ResultsError) as raised:
        store.read_info(run_folder)
    assert one_line(raised).startswith(f"{run_folder / RUN} is damaged: ")
    assert f"$.{key}" in one_line(raised)


@pytest.mark.parametrize("version", [0, 4, "1", None])
def test_other_schema_version_is_refused(run_folder, version):
    content = json.loads((run_folder / RUN).read_text())
    (run_folder / RUN).write_text(json.dumps({**content, "schema_version": version}))
    with pytest.raises(ResultsError) as raised:
        store.read_info(run_folder)
    versions = f"schema version {version}, and this nnbench reads 1 to 3"
    assert one_line(raised) == f"{run_folder / RUN} has {versions}"


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_folder_without_a_run_is_refused(tmp_path, name):
    folder = tmp_path / name
    with pytest.raises(ResultsError) as raised:
        store.read_info(folder)
    assert one_line(raised) == f"{folder} holds no run (run.json: No such file or directory)"


@pytest.mark.parametrize("damaged", [b"{", b"[]", b"{}", b'{"backend": "\xff"}', b"", b"\0"])
def test_damaged_cell_is_named_by_its_line(run_folder, make_cell, damaged):
    store.append(run_folder, make_cell())
    with (run_folder / CELLS).open("ab") as file:
        file.write(damaged + b"\n")
    store.append(run_folder, make_cell())
    with pytest.raises(ResultsError) as raised:
        list(store.read_cells(run_folder))
    assert one_line(raised).startswith(f"{run_folder / CELLS}:2 is damaged: ")


@pytest.mark.parametrize("wrong", [b"[]", b"{}", b'"text"', b'{"backend": 1}'])
def test_last_cell_of_another_kind_is_no_torn_one(run_folder, wrong):
    (run_folder / CELLS).write_bytes(wrong + b"\n")
    with pytest.raises(ResultsError) as raised:
        list(store.read_cells(run_folder))
    assert one_line(raised).startswith(f"{run_folder / CELLS}:1 is damaged: ")


def test_cells_before_a_damaged_one_are_read(run_folder, make_cell):
    store.append(run_folder, make_cell())
    with (run_folder / CELLS).open("ab") as file:
        file.write(b'{"backend": "num\n{}\n')
    cells = store.read_cells(run_folder)
    assert next(cells) == make_cell()
    with pytest.raises(ResultsError):
        next(cells)


def test_torn_cell_is_left_out_with_a_warning_and_cut_off_before_the_next(run_folder, make_cell):
    store.append(run_folder, make_cell())
    with (run_folder / CELLS).open("ab") as file:
        file.write(b'{"backend": "num')
    with pytest.warns(TornLineWarning, match=r"/cells\.jsonl: the last line is torn"):
        assert list(store.read_cells(run_folder)) == [make_cell()]
    with pytest.warns(TornLineWarning):
        list(store.read_cells(run_folder, mend=True))
    store.append(run_folder, make_cell(round=1))
    assert [cell.round for cell in store.read_cells(run_folder)] == [0, 1]


def test_mend_names_what_it_cannot_write(run_folder, make_cell, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    store.append(run_folder, make_cell())
    with (run_folder / CELLS).open("ab") as file:
        file.write(b"{")
    monkeypatch.setattr(os, "truncate", refuse)
    with pytest.warns(TornLineWarning), pytest.raises(ResultsError) as raised:
        list(store.read_cells(run_folder, mend=True))
    what = f"cannot write to {run_folder / CELLS}: Read-only file system"
    assert one_line(raised) == f"{what}; choose another place"


def test_cell_that_does_not_fit_on_the_disk_leaves_the_others(run_folder, make_cell, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.append(run_folder, make_cell())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResultsError) as raised:
        store.append(run_folder, make_cell(round=1))
    what = f"cannot write to {run_folder / CELLS}: No space left on device"
    way_out = "make room, or choose another place; the cells before are kept"
    assert one_line(raised) == f"{what}; {way_out}"
    assert raised.value.exit_code == ExitCode.INTERNAL
    assert list(store.read_cells(run_folder)) == [make_cell()]


def test_second_run_is_refused(tmp_path):
    with store.hold(tmp_path), pytest.raises(ResultsError) as raised, store.hold(tmp_path):
        pytest.fail("two runs hold the same lock")
    assert str(raised.value) == f"{tmp_path} is in use by another run"
    assert raised.value.exit_code == ExitCode.USAGE


def test_lock_can_be_taken_again(tmp_path):
    for _ in range(2):
        with store.hold(tmp_path):
            pass


def test_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(OSError, match="of the run"), store.hold(tmp_path):
        raise OSError("of the run")
    with store.hold(tmp_path):
        pass


def test_other_folders_are_free(tmp_path):
    with store.hold(tmp_path / "a"), store.hold(tmp_path / "b" / "c"):
        assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def hold_and_die(folder):
    with store.hold(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def test_kill_leaves_no_lock(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with store.hold(tmp_path):
        pass


def test_folder_to_lock_that_cannot_be_made_is_refused(plain_file):
    with pytest.raises(ResultsError) as raised, store.hold(plain_file / "run"):
        pytest.fail("there is no such folder")
    what = f"cannot write to {plain_file / 'run'}: Not a directory"
    assert str(raised.value) == f"{what}; choose another place"


def test_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ResultsError) as raised, store.hold(tmp_path):
        pytest.fail("nobody else is kept out")
    assert str(raised.value) == f"cannot lock {tmp_path}: No locks available; choose another place"


@pytest.fixture
def ledger(run_folder, make_cell):
    """Return a ledger that has a line."""
    found = store.Ledger(run_folder)
    found.append(make_cell())
    return found


def test_ledger_adds_to_what_is_there(run_folder, ledger, make_cell):
    store.Ledger(run_folder).append(make_cell(round=1))
    assert [cell.round for cell in store.read_cells(run_folder)] == [0, 1]
    with pytest.raises(store.ForgedError):
        ledger.check()  # the other one's line is not its own


def change_a_time(path):
    path.write_bytes(path.read_bytes().replace(b'"train_s":', b'"train_S":', 1))


@pytest.mark.parametrize(
    "forge",
    [
        lambda path: path.write_bytes(path.read_bytes() * 2),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        change_a_time,
    ],
    ids=["appended", "emptied", "removed", "edited"],
)
def test_what_others_write_to_a_run_is_found(run_folder, ledger, make_cell, forge):
    forge(run_folder / store.CELLS)
    text = r"cells\.jsonl is not as nnbench has written it"
    with pytest.raises(store.ForgedError, match=text) as caught:
        ledger.append(make_cell(round=1))
    assert caught.value.exit_code == 1
    with pytest.raises(store.ForgedError, match=text):
        ledger.check()


def test_file_that_was_copied_to_its_place_is_as_it_was(run_folder, ledger, make_cell):
    path = run_folder / store.CELLS
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    ledger.check()
    ledger.append(make_cell(round=1))
    assert [cell.round for cell in store.read_cells(run_folder)] == [0, 1]


def test_only_the_last_attempt_at_a_block_counts(run_folder, make_cell):
    skipped = replace(make_cell("gone"), status=Status.SKIPPED, setup=None, epochs=[])
    cells = [
        skipped,
        make_cell("a"),
        make_cell("b"),
        make_cell("a", round=1),
        make_cell("a", block_attempt=1),
        make_cell("a", block_attempt=1, final=False),
    ]
    for cell in cells:
        store.append(run_folder, cell)
    found = [cell.final for cell in store.read_cells(run_folder)]
    assert found == [True, False, False, True, True, False]


def test_backend_that_is_skipped_again_is_there_once(run_folder, make_cell):
    for attempt in range(2):
        cell = make_cell("gone", block_attempt=attempt, setup=None, epochs=[])
        store.append(run_folder, replace(cell, status=Status.SKIPPED))
    assert [cell.final for cell in store.read_cells(run_folder)] == [False, True]


def test_point_and_round_tell_blocks_apart(run_folder, make_cell):
    for place in ({}, {"point": 1}, {"round": 1}, {"point": 1, "block_attempt": 1}):
        store.append(run_folder, make_cell("a", **place))
    assert [cell.final for cell in store.read_cells(run_folder)] == [True, False, True, True]
