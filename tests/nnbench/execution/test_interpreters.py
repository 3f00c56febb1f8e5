"""Other interpreters: found, asked, and kept apart from this one."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nnbench import catalog, records
from nnbench.catalog.listings import ExecutorItem
from nnbench.contract.errors import NnbenchError
from nnbench.execution import interpreters, process
from nnbench.execution.executor import LocalExecutor
from nnbench.execution.interpreters import ask, check_protocol, examine, locate, of_each
from nnbench.records.events import EpochFinished, Event
from tests.cells import make_spec, run_worker
from tests.plugins.helpers import PLUGINS


@pytest.fixture
def script(tmp_path):
    """Give a function that writes an interpreter which runs a line of shell instead."""

    def write(line):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_own_interpreter_has_what_is_here():
    found = examine(sys.executable)
    here, local = catalog.installed(), LocalExecutor()
    item = ExecutorItem(name=local.name, summary=local.summary)
    assert found.listing == replace(here, executors=[*here.executors, item])
    assert found.environment.versions["numpy"]


@pytest.mark.filterwarnings("ignore:.*chatty. said")
def test_what_plugins_print_is_no_answer(script):
    chatty = PLUGINS / "chatty"
    path = script(f"PYTHONPATH='{chatty}' exec '{sys.executable}' \"$@\"")
    found = examine(path)
    assert "chatty" in found.backends
    assert "numpy" in found.environment.versions


def test_protocol_is_printed():
    assert int(ask(sys.executable, "nnbench.worker", "--protocol")) == records.PROTOCOL


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("echo 999", "answers '999'"),
        ("true", "answers ''"),
        ("echo 'No module named nnbench' >&2; exit 1", "No module named nnbench"),
        ("exit 3", "exit status 3"),
    ],
)
def test_other_protocol_is_refused(script, line, answer):
    path = script(line)
    with pytest.raises(NnbenchError) as raised:
        check_protocol(path)
    needed = f"both environments need an nnbench with protocol {records.PROTOCOL}: {path}"
    assert str(raised.value).startswith(needed)
    assert str(raised.value).endswith(answer)


def test_listing_that_is_none_is_refused(script):
    path = script(f'[ "$4" = --protocol ] && echo {records.PROTOCOL} || echo []')
    with pytest.raises(NnbenchError, match=f"^{path}: its nnbench printed no Listing: "):
        examine(path)


def test_file_that_is_no_program_is_refused(script):
    path = script("")
    Path(path).write_bytes(b"\x7fELF")
    with pytest.raises(NnbenchError, match=f"cannot run {path}: Exec format error"):
        ask(path, "nnbench")


def test_interpreter_that_does_not_end_is_ended(script, monkeypatch):
    monkeypatch.setattr(interpreters, "LIMIT_S", 0.2)
    path = script("sleep 600")
    with pytest.raises(NnbenchError, match=f"^{path} -m x has not ended after 0.2 s, and was kill"):
        ask(path, "x")


def test_whoever_is_interrupted_waits_for_no_interpreter(script):
    path = script("sleep 600")

    def ask_or_fail(python):
        if python == "interrupted":
            raise KeyboardInterrupt
        return ask(python, "x")

    with pytest.raises(KeyboardInterrupt):
        of_each(ask_or_fail, ["interrupted", path])


def test_complaints_become_warnings(script):
    path = script("echo careful >&2; echo answer")
    with pytest.warns(UserWarning, match=f"^{path}: careful$"):
        assert ask(path, "nnbench") == b"answer\n"


def test_interpreter_is_found_by_path_and_by_name(script, tmp_path, monkeypatch):
    path = script("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert locate(path) == locate("./python") == locate("python") == path


def test_link_to_an_interpreter_stays_one(script, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(script(""))
    assert locate(str(link)) == str(link)


def test_missing_interpreter_is_refused(tmp_path):
    with pytest.raises(NnbenchError, match=f"no interpreter '{tmp_path}/none'"):
        locate(f"{tmp_path}/none")


def test_packages_of_this_process_do_not_leak_into_another_and_all_else_does(script, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/here")
    monkeypatch.setenv("PIP_INDEX_URL", "a mirror")
    assert ask(script("echo ${PYTHONPATH-none}, $PIP_INDEX_URL"), "x") == b"none, a mirror\n"


def test_worker_runs_with_the_interpreter_of_its_cell(script, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "grants_privacy", lambda: False)  # what it writes shall be seen
    path = script(f"echo \"$@\" > '{tmp_path}/arguments'; exec '{sys.executable}' \"$@\"")
    outcome = run_worker(make_spec(python=path))
    assert outcome.status == "ok"
    assert (tmp_path / "arguments").read_text().startswith("-P -m nnbench.worker ")


def test_files_of_the_working_directory_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "ctypes.py").write_text("raise RuntimeError('not the real one')")
    monkeypatch.chdir(tmp_path)
    events: list[Event] = []
    assert run_worker(make_spec(), events.append).status == "ok"
    assert any(isinstance(event, EpochFinished) for event in events)


def test_list_prints_json(call):
    done = call("list", "--json")
    assert (done.code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [b["name"] for b in found["backends"]] == list(catalog.backends())
    assert [w["name"] for w in found["workloads"]] == list(catalog.workloads())
    assert [d["name"] for d in found["datasets"]] == list(catalog.datasets())
    assert [e["name"] for e in found["executors"]] == [*catalog.executors(), "local"]


def test_command_of_this_interpreter():
    assert process.command(None, "x", "y") == [sys.executable, "-P", "-m", "x", "y"]
