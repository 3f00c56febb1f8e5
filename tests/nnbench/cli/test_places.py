"""Places to write to: full, forbidden, or no place at all."""

import errno
import os
import pwd
import re
import resource
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nnbench.contract.errors import ExitCode
from nnbench.execution import machine, process
from nnbench.show import page
from nnbench.show.charts import base

TOY = "-w toy-sigmoid -b numpy"
WRITERS = {  # commands that write where a user says
    "export": "export {run} --to csv -o {place}",
    "report": "report {run} -o {place}",
    "plot": "plot {run} -o {place}.svg",
    "history": "history {run} -o {place}.svg",
    "site": "site {run} -o {place}",
    "profile": "profile numpy -w toy-sigmoid --seconds 0.1 -o {place}",
    "new": "new some-name -d {place}",
    "run": f"run {TOY} -o {{place}}",
    "dry run": f"run {TOY} --dry-run -o {{place}}",
    "continuous": "continuous HEAD~1 HEAD -o {place}",
    "selftest": "selftest -w toy-sigmoid -o {place}",
    "test": "test numpy --benchmark --benchmark-json {place}",
}


@contextmanager
def full_disk():
    """Let the system refuse to write anything to files; Python would even keep halves of what it has compiled."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[0][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        sys.dont_write_bytecode = before[1]


@pytest.fixture
def run(write_run, make_cell):
    """Give a run."""
    return write_run(make_cell(), make_cell("other", train_s=2.0))


@pytest.mark.parametrize(
    "command",
    [
        *("clean {long}", "show {long}", "prove {long}", "merge {long} {long} -o x"),
        *("history {long}", "plot {run} -o {long}", "plot {run} -o {long}.svg"),
        *("site {run} -o {long}", "site {long}"),
        *("report {run} -o {long}", "profile numpy -w toy-sigmoid -o {long}"),
    ],
)
def test_name_that_is_too_long_is_refused_in_a_line(call, run, command):
    done = call(*command.format(run=run, long="x" * 400).split())
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("nnbench: error: ")


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS.keys())
def test_every_command_says_alike_where_it_cannot_write(call, run, plain_file, command):
    place = plain_file / "below"
    done = call(*command.format(run=run, place=place).split())
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    reason = "(Not a directory|File exists); choose another place"
    assert re.fullmatch(
        rf"nnbench: error: cannot write to {re.escape(str(place))}\S*: {reason}\n", done.stderr
    )


@pytest.mark.parametrize("command", ["export", "report", "plot", "site", "new"])
def test_every_command_says_alike_that_a_disk_is_full(call, run, tmp_path, command):
    place = tmp_path / "place"
    with full_disk():
        done = call(*WRITERS[command].format(run=run, place=place).split())
    assert (done.code, done.stdout) == (ExitCode.INTERNAL, "")
    reason = "File too large; raise the limit of a file's size, or choose another place"
    assert re.fullmatch(
        rf"nnbench: error: cannot write to {re.escape(str(place))}\S*: {reason}\n", done.stderr
    )
    assert sorted(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize("command", ["report", "export", "plot"])
def test_good_file_stays_where_a_new_one_does_not_fit(call, run, tmp_path, command):
    name = "place.svg" if command == "plot" else "place"
    (tmp_path / name).write_text("good")
    with full_disk():
        done = call(*WRITERS[command].format(run=run, place=tmp_path / "place").split())
    assert done.code == ExitCode.INTERNAL
    assert (tmp_path / name).read_text() == "good"
    assert sorted(tmp_path.iterdir()) == sorted([run, tmp_path / name])


def test_nothing_is_drawn_for_a_place_that_cannot_be_written(call, run, plain_file, monkeypatch):
    drawn = []
    monkeypatch.setattr(page, "render", lambda *_: drawn.append("page"))
    monkeypatch.setattr(base, "draw", lambda *_: drawn.append("picture"))
    for command in ("report", "plot", "site"):
        words = WRITERS[command].format(run=run, place=plain_file / "below").split()
        assert call(*words).code == ExitCode.USAGE
    assert drawn == []


def test_what_cannot_be_removed_is_named(call, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "nnbench" / "native").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    done = call("clean", "--remove")
    assert done.code == ExitCode.USAGE
    what = f"cannot remove {tmp_path / 'nnbench' / 'native'}: Operation not permitted"
    assert done.stderr == f"nnbench: error: {what}; choose another place\n"


def test_floor_that_could_not_be_kept_is_refused_before_it_is_measured(
    call, plain_file, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(plain_file))
    done = call("selftest", "-w", "toy-sigmoid")
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    what = f"cannot write to {plain_file / 'nnbench'}: Not a directory"
    assert done.stderr == f"nnbench: error: {what}; name another folder in XDG_DATA_HOME\n"


# Who has no home


@pytest.fixture
def homeless(monkeypatch):
    """Be a user without HOME, and without an entry in the list of users."""

    def fail(_):
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", fail)


@pytest.mark.usefixtures("homeless")
def test_user_without_a_home_is_told_what_is_not_kept(call, tmp_path, make_info):
    [text] = process.not_kept()
    assert text == (
        "tolerances and compiled code are not kept for the next run: cannot write to the user's own "
        "folder: there is none, as HOME is not set; name another folder in XDG_CACHE_HOME"
    )
    assert not process.made(process.calibrations())
    [compiled] = process.keeping_compiled().values()
    assert Path(compiled).is_absolute()
    assert machine.noise_floor(make_info().environment) > 0
    assert call("clean") == (0, "nothing is left to clean\n", "")
    assert list(tmp_path.iterdir()) == []  # no folder called ~


@pytest.mark.parametrize("how", ["a file", "not there"])
def test_home_that_cannot_be_written_is_none(plain_file, monkeypatch, how):
    home = plain_file if how == "a file" else plain_file / "home"
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    [text] = process.not_kept()
    assert text.endswith("Not a directory; name another folder in XDG_CACHE_HOME")
    assert not process.made(process.calibrations())


def test_home_that_can_be_written_is_no_news(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert process.not_kept() == []
