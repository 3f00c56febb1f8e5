"""Folders whose names are no text, as those of old disks and archives: they work, and are shown with escapes."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from nnbench import pipes
from nnbench.contract.errors import DatasetError, ExitCode, NnbenchError
from nnbench.data.task import find_dataset
from nnbench.execution import children, environments, machine
from nnbench.records.cells import Status
from nnbench.records.events import Failed
from nnbench.records.worker import Answer
from nnbench.runs import observing, store
from nnbench.show.exports import FORMATS
from nnbench.texts import encode

BYTES = b"r\xffn"  # no text in any encoding that is in use
SHOWN = r"r\xffn"


@pytest.fixture
def run(write_run, make_cell):
    """Give a run."""
    return write_run(make_cell(), make_cell("other", train_s=2.0))


@pytest.fixture
def nameless(tmp_path):
    """Give a folder whose name is not UTF-8."""
    path = tmp_path / os.fsdecode(BYTES)
    try:
        path.mkdir()
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    return path


@pytest.fixture
def odd_run(nameless, run):
    """Give a run in a folder of such a name."""
    return run.rename(nameless / os.fsdecode(BYTES))


@pytest.mark.parametrize(
    "arguments",
    [
        *("show RUN", "show RUN RUN", "show RUN RUN --format md", "show RUN RUN --format csv"),
        *("show RUN RUN --format json", "compare RUN RUN", "show RUN/none", "report RUN -o RUN/x"),
        *("plot RUN -o RUN/x.svg", "plot RUN -o RUN/x.pdf", "new some-name -d RUN/new"),
        *(f"export RUN --to {name} -o RUN/x" for name in FORMATS),
        "clean RUN",
    ],
)
def test_folder_whose_name_is_no_text(call, odd_run, arguments):
    done = call(*(word.replace("RUN", str(odd_run)) for word in arguments.split()))
    is_refused = "none" in arguments or "pdf" in arguments
    assert done.code == (ExitCode.USAGE if is_refused else 0)
    (done.stdout + done.stderr).encode("utf-8")
    if "export" not in arguments and arguments not in {"show RUN", "clean RUN"}:
        assert SHOWN in (done.stdout + done.stderr).replace(r"\\", "\\")
    if "report" in arguments:
        assert SHOWN in (odd_run / "x").read_text("utf-8")


def test_command_with_such_a_name_can_be_recorded(tmp_path, make_info, make_cell):
    name = os.fsdecode(BYTES)
    folder = tmp_path / "run"
    store.create(folder, make_info(command=f"nnbench run -o {name}"))
    store.append(folder, make_cell(message=f"cannot import {name}"))
    assert store.read_info(folder).command == f"nnbench run -o {SHOWN}"
    [cell] = store.read_cells(folder)
    assert cell.message == f"cannot import {SHOWN}"


def test_message_with_such_a_name_reaches_the_parent():
    name = os.fsdecode(BYTES)
    content = pipes.frame(Failed(Status.CRASHED, name))[pipes.LENGTH.size :]
    assert pipes.decode(content, Answer) == Failed(Status.CRASHED, SHOWN)

    def fail(_):
        raise NnbenchError(name)

    assert children._reply(fail, b"null", type(None)).error == SHOWN
    said = children._reply(lambda _: [name], b"null", type(None)).value
    assert json.loads(bytes(said)) == [SHOWN]


def test_observer_gets_such_a_folder_as_it_is(nameless):
    sent = json.loads(encode(nameless, enc_hook=os.fsencode))
    assert observing._path(Path, sent) == nameless


def test_dataset_of_such_a_name_is_refused_with_a_way_out(nameless):
    with pytest.raises(DatasetError, match=r"a name that is not UTF-8; name a link to it$"):
        find_dataset(str(nameless), {})
    link = nameless.with_name("link")
    link.symlink_to(nameless)
    assert find_dataset(str(link), {}) is None


def test_repository_of_such_a_name_is_read(nameless, monkeypatch):
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    below = nameless / os.fsdecode(BYTES)
    below.mkdir()
    monkeypatch.chdir(below)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", "x"]):
        subprocess.run([*git, *words], capture_output=True, check=True)
    assert re.fullmatch("[0-9a-f]{12,40}", machine.git_state() or "")
    assert environments.git("rev-parse", "--show-toplevel").endswith(os.fsdecode(BYTES))
