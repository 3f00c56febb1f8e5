"""``nnbench export``: where it writes, and what it refuses. The formats have tests of their own."""

import json

import pandas as pd
import pytest

from nnbench.contract.errors import ExitCode
from nnbench.runs import store
from nnbench.show.exports import FORMATS
from tests.plugins.helpers import environment, nnbench

TEXT = [name for name in FORMATS if name != "parquet"]


@pytest.fixture(autouse=True)
def no_step(monkeypatch):
    """Run outside a step of GitHub Actions, even within one."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.mark.parametrize("name", TEXT)
def test_text_goes_to_standard_output(call, write_run, make_cell, tmp_path, name):
    folder = write_run(make_cell())
    done = call("export", folder, "--to", name)
    assert (done.code, done.stderr) == (0, "")
    assert call("export", folder, "--to", name, "-o", "-") == done
    assert call("export", folder, "--to", name, "-o", tmp_path / "new" / "file").stdout == ""
    assert (tmp_path / "new" / "file").read_text() == done.stdout


def test_parquet_goes_to_a_file(call, write_run, make_cell, tmp_path):
    done = call("export", write_run(make_cell()), "--to", "parquet", "-o", tmp_path / "file")
    assert done == (0, "", "")
    assert pd.read_parquet(tmp_path / "file").backend.tolist() == ["numpy"]


@pytest.mark.parametrize("output", [[], ["-o", "-"]])
def test_parquet_is_not_printed(call, write_run, make_cell, output):
    done = call("export", write_run(make_cell()), "--to", "parquet", *output)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "nnbench: error: parquet is no text: name a file with --output\n"


def test_step_summary_is_added_to_that_of_the_step(
    call, write_run, make_cell, tmp_path, monkeypatch
):
    folder, path = write_run(make_cell()), tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert call("export", folder, "--to", "step-summary") == (0, "", "")
    assert path.read_text().startswith("before\n### nnbench: mnist\n")
    size = path.stat().st_size
    assert call("export", folder, "--to", "step-summary", "-o", "-").stdout
    assert call("export", folder, "--to", "csv").stdout
    assert path.stat().st_size == size


@pytest.mark.parametrize("arguments", [["--to", "excel"], []])
def test_format_must_be_known(call, write_run, make_cell, arguments):
    done = call("export", write_run(make_cell()), *arguments)
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "'--to'" in done.stderr


def test_output_that_cannot_be_written_is_one_line(call, write_run, make_cell, plain_file):
    path = plain_file / "below"
    done = call("export", write_run(make_cell()), "--to", "csv", "-o", path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nnbench: error: cannot write to {path}: ")


def test_device_is_written_to_not_replaced(write_run, make_cell):
    folder = write_run(make_cell())
    done = nnbench("export", folder, "--to", "bencher", "-o", "/dev/stdout", env=environment())
    assert json.loads(done.stdout).keys() == {"mnist/numpy"}


def damage_middle(folder):
    lines = (folder / store.CELLS).read_text().splitlines()
    (folder / store.CELLS).write_text("\n".join([lines[0], lines[1][:40], *lines[2:]]) + "\n")


def newer_schema(folder):
    info = json.loads((folder / store.RUN).read_text())
    (folder / store.RUN).write_text(json.dumps({**info, "schema_version": 99}))


@pytest.fixture
def run(write_run, make_cell):
    return write_run(*[make_cell(round=i) for i in range(3)])


COMMANDS = [
    ["show", "{run}"],
    ["compare", "{run}", "{run}"],
    *(["export", "{run}", "--to", name, "-o", "{out}"] for name in FORMATS),
]


@pytest.fixture(params=COMMANDS, ids=lambda command: command[3] if command[3:] else command[0])
def read(call, tmp_path, request):
    """Give each command that reads a run."""

    def start(folder):
        return call(*(text.format(run=folder, out=tmp_path / "out") for text in request.param))

    return start


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / store.RUN).unlink(), " holds no run (run.json: No such file"),
        (lambda folder: (folder / store.RUN).write_text("{"), "/run.json is damaged: "),
        (lambda folder: (folder / store.RUN).write_text("[]"), "/run.json is damaged: "),
        (newer_schema, "/run.json has schema version 99, and this nnbench reads 1"),
        (damage_middle, "/cells.jsonl:2 is damaged: "),
    ],
)
def test_folder_that_holds_no_whole_run_is_one_line(read, run, request, spoil, message):
    spoil(run)
    done = read(run)
    is_base = "compare" in request.node.name  # without a base there is nothing to compare
    assert (done.code, done.stdout) == (ExitCode.INCOMPARABLE if is_base else ExitCode.USAGE, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.filterwarnings("default::nnbench.files.TornLineWarning")
def test_torn_end_is_a_warning(read, run):
    with (run / store.CELLS).open("a") as file:
        file.write('{"backend": "num')
    done = read(run)
    assert done.code == 0
    warnings = done.stderr.splitlines()
    assert warnings
    torn = "the last line is torn, as by a kill, and left out"
    assert {line.endswith(torn) or "Passed" in line for line in warnings} == {True}
    assert warnings[0].endswith(torn)


@pytest.mark.parametrize("kind", ["nothing", "failed", "one round", "not finite", "impossible"])
def test_run_with_little_in_it_is_never_a_traceback(read, write_run, make_cell, make_failed, kind):
    cells = {
        "nothing": [],
        "failed": [make_failed("numpy", message="killed"), make_failed("a", "timeout")],
        "one round": [make_cell()],
        "not finite": [make_cell(losses=[None, None], status="diverged", message="not finite")],
        "impossible": [
            make_cell(accuracies=()),
            make_cell("a", setup=None),
            make_cell("b", train_s=0.0),
        ],
    }
    done = read(write_run(*cells[kind]))
    assert done.code in {0, 4, 5, 6}
    lines = done.stderr.splitlines()
    assert len(lines) <= 1 or all(line.startswith("nnbench: ") for line in lines)
