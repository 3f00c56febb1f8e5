"""Standard input, output and error that are closed, full, shared with others, or of few characters."""

import os
import subprocess
import sys
import threading
from io import BufferedWriter
from pathlib import Path

import pytest

from nnbench.cli import streams
from nnbench.contract.errors import ExitCode
from nnbench.runs import store
from tests.plugins.helpers import NNBENCH, environment, nnbench

CHEAP = ["info", "--schema", "config"]  # which is more than a buffer holds
FULL = Path("/dev/full")
LOST = (
    "nnbench: error: cannot write to standard output: No space left on device; "
    "make room, or choose another place\n"
)
TORN = '{"backend": "num'

needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has it")


def redirected(how, *arguments, **variables):
    """Run nnbench from a shell that redirects its streams."""
    command = ["sh", "-c", f'exec "$@" {how}', "sh", *NNBENCH, *map(str, arguments)]
    env = environment(**variables)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def torn(write_run, make_cell):
    """Give a run of which there is something to warn."""
    folder = write_run(make_cell())
    with (folder / store.CELLS).open("a") as file:
        file.write(TORN)
    return folder


@pytest.mark.parametrize(
    ("closed", "end"), [("<&-", "}\n"), ("2>&-", "}\n"), (">&-", ""), ("<&- >&- 2>&-", "")]
)
def test_closed_stream_takes_what_nobody_wants(closed, end):
    done = redirected(closed, *CHEAP)
    assert (done.returncode, done.stdout[-2:], done.stderr) == (0, end, "")


def test_nothing_that_is_printed_stands_in_a_file(torn, call, tmp_path):
    path = tmp_path / "samples.csv"
    done = redirected("<&- >&- 2>&-", "export", torn, "--to", "csv", "-o", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (torn / store.CELLS).write_text((torn / store.CELLS).read_text().removesuffix(TORN))
    assert path.read_text() == call("export", torn, "--to", "csv").stdout


@needs_full
@pytest.mark.parametrize(
    "arguments",
    [
        *("--help", "info --schema config", "show {run} --format json"),
        *("export {run} --to csv", "export {run} --to junit -o -"),
    ],
)
def test_full_standard_output_is_one_line(write_run, make_cell, arguments):
    cells = [make_cell(round=number) for number in range(20)]  # more than a buffer holds
    done = redirected(f">{FULL}", *arguments.format(run=write_run(*cells)).split())
    assert (done.returncode, done.stderr) == (ExitCode.INTERNAL, LOST)


@needs_full
def test_what_standard_error_cannot_take_is_lost_and_nothing_else(torn):
    shown = redirected(f"2>{FULL}", "show", torn, "--format", "csv")
    assert shown.returncode == 0
    assert shown.stdout.startswith("backend,")
    refused = redirected(f"2>{FULL}", "info", "--jsn")
    assert (refused.returncode, refused.stdout) == (ExitCode.USAGE, "")


def test_standard_error_that_nobody_reads_ends_nothing(torn):
    reader, writer = os.pipe()
    os.close(reader)
    command = [*NNBENCH, "show", str(torn), "--format", "csv"]
    done = subprocess.run(
        command, env=environment(), stdout=subprocess.PIPE, stderr=writer, check=False
    )
    os.close(writer)
    assert done.returncode == 0
    assert done.stdout.startswith(b"backend,")


@pytest.mark.parametrize("kind", [streams.Output, streams.Lossy])
def test_stream_that_others_have_made_impatient_is_waited_for(kind):
    content, found = b"x" * 1_000_000, []
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as ours:
        thread = threading.Thread(target=lambda: found.append(ours.read()))
        with BufferedWriter(kind(writer, "w")) as theirs:
            thread.start()
            theirs.write(content)
        thread.join(timeout=10)
    assert found == [content]


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "POSIX"},
    ],
    ids=" ".join,
)
def test_every_encoding_has_all_that_is_said(write_run, make_cell, variables):
    folder = write_run(make_cell("é", train_s=2.0), make_cell(), name="ü")
    done = redirected("", "show", folder, folder, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "numpy" in done.stdout


def test_folder_that_is_gone_is_one_line(call, tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    done = call("list")
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == (
        "nnbench: error: the current folder is gone (No such file or directory): change to another one\n"
    )


@pytest.mark.filterwarnings("error")
def test_warning_that_is_made_an_error_is_one_line(call, torn):
    hint = " (a warning, which PYTHONWARNINGS or -W makes an error)\n"
    deprecated = call("compare", torn, torn, "--table-format", "csv")
    told = "nnbench: error: --table-format is deprecated: write --format"
    assert deprecated == (ExitCode.USAGE, "", told + hint)
    done = call("show", torn)
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.endswith(f"the last line is torn, as by a kill, and left out{hint}")
    assert done.stderr.count("\n") == 1


def without_docstrings(*arguments):
    """Run nnbench by a Python that leaves out docstrings and assertions."""
    command = [sys.executable, "-OO", "-m", "nnbench", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )


def test_nothing_needs_docstrings_or_assertions():
    done = without_docstrings("info", "--schema", "workload")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"learning_rate"' in done.stdout


def test_libraries_that_need_docstrings_are_named(write_run, make_cell):
    done = without_docstrings("report", write_run(make_cell()))
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    told = "charts need docstrings of their libraries: leave out -OO, or PYTHONOPTIMIZE"
    assert done.stderr == f"nnbench: error: {told}\n"


@pytest.mark.parametrize("content", ["", "1 +", "raise ImportError('mine')"])
def test_module_of_another_in_the_way_is_named(tmp_path, content):
    path = tmp_path / "click.py"
    path.write_text(content)
    around = Path(pytest.__file__).parents[
        2
    ]  # what is installed lies below it, as in a project with its environment
    folders = os.pathsep.join(map(str, (tmp_path, around)))
    done = nnbench("--version", env=environment(PYTHONPATH=folders))
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.startswith(
        f"nnbench: error: cannot start: {path} takes the place of a module"
    )
    assert done.stderr.count("\n") == 1
