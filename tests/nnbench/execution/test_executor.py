"""The executor that is always there: it runs blocks on this machine."""

import hashlib
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.errors import NnbenchError
from nnbench.execution import cpus, loading, machine
from nnbench.execution.cpus import Chooser
from nnbench.execution.executor import LocalExecutor
from nnbench.proof import kept
from nnbench.records.cells import LOCAL
from nnbench.records.events import CellEvent, CellFinished, CellStarted
from nnbench.records.runs import Block, Entry
from tests.cells import TOY


def test_machine_says_what_it_cannot_run(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(
        catalog, "why_unavailable", lambda b: "no time" if b.name == "python" else None
    )
    entries = [Entry(label=name, backend=name) for name in ("numpy", "python", "nump")]
    found = LocalExecutor().machines(entries, 1, ["numpy"])
    assert found.keys() == {LOCAL}
    reasons = found[LOCAL].unavailable
    assert reasons.keys() == {"python", "nump"}
    assert reasons["python"] == "no time"
    assert reasons["nump"].startswith("no backend named 'nump'; did you mean numpy?")
    assert found[LOCAL].environment.versions.keys() >= {"numpy"}
    assert found[LOCAL].roofs == []


@pytest.mark.parametrize(("granted", "threads"), [(None, 2), (2.0, 2), (0.5, 1)])
def test_threads_within_a_quota_are_fine(monkeypatch, granted, threads):
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(machine, "quota", lambda *_: granted)
    found = LocalExecutor().machines([], threads)
    assert found[LOCAL].environment.quota == granted


def test_threads_beyond_a_quota_are_refused(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(machine, "quota", lambda *_: 1.5)
    text = "^2 threads are more than the 1.5 CPUs that a control group grants: ask for fewer, or"
    with pytest.raises(NnbenchError, match=text):
        LocalExecutor().machines([], 2)


def test_a_workload_whose_layers_are_a_list_is_loaded_once(monkeypatch):
    loaded = []
    load = loading.load

    def note(workload, **more):
        loaded.append(workload)
        return load(workload, **more)

    monkeypatch.setattr(loading, "load", note)
    local, workload = LocalExecutor(), replace(TOY, hidden=[5, 5])
    assert local.dataset_sha256(workload) == local.dataset_sha256(workload)
    assert loaded == [workload]


def test_dataset_is_given_back_with_its_executor_or_for_another_one():
    def is_open(descriptor):
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    local = LocalExecutor()
    first = local.load(TOY).train.inputs.descriptor
    second = local.load(replace(TOY, hidden=(3,))).train.inputs.descriptor
    assert first == second or not is_open(first)
    del local
    assert not is_open(second)


def block_of_numpy(**changes):
    """Return a block of one cell on the toy."""
    asked = Block(
        workload=replace(TOY, epochs=9),
        threads=1,
        round=0,
        seed=7,
        entries=[Entry(label="numpy", backend="numpy")],
        budget_s=5.0,
        timeout_s=60.0,
    )
    return replace(asked, **changes)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only where processes are pinned")
def test_cpus_of_a_block_are_held_while_it_trains_and_are_in_its_results(tmp_path, monkeypatch):
    monkeypatch.setattr(cpus, "FOLDER", tmp_path)

    def held_by_others():
        with Chooser().hold(len(machine.usable_cpus())) as held:
            return held.shared

    seen: dict[type, Any] = {}
    for happening in LocalExecutor().run([block_of_numpy()]):
        seen.setdefault(type(happening), (held_by_others(), happening))
    taken, started = seen[CellStarted]
    assert taken == started.spec.cpus
    assert len(taken) == 1
    assert seen[CellEvent][0] == taken
    free, finished = seen[CellFinished]
    assert free == ()
    assert (finished.result.cpus, finished.result.shared_cpus) == (taken, ())


@pytest.mark.parametrize("keep_states", [False, True])
def test_states_are_kept_in_the_folder_of_the_run_if_that_is_wanted(tmp_path, keep_states):
    local = LocalExecutor()
    local.folder = tmp_path
    *_, last = local.run([block_of_numpy(keep_states=keep_states)])
    assert isinstance(last, CellFinished)
    states = [part.state for epoch in last.result.epochs for part in epoch.parts if part.state]
    files = [file.name for file in (tmp_path / kept.FOLDER).glob("*")]
    assert files == (["0-numpy-0.npy"] if keep_states else [])
    for name in files:
        rows = np.load(tmp_path / kept.FOLDER / name)
        assert [hashlib.sha256(row.tobytes()).hexdigest() for row in rows] == states
    assert len(states) >= 3
