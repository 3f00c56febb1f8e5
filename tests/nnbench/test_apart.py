"""The process of a run loads no plugin, and whatever one patches, it patches elsewhere."""

import json
import os
import sys

import pytest

from tests.cells import read_final
from tests.plugins.helpers import environment, nnbench

RUN = ["-b", "numpy", "-w", "toy-sigmoid"]
CONTINUOUS = ["continuous", "--python", sys.executable, "--python", sys.executable]
COMMANDS = {
    "run": ["run", *RUN, "-r", "1", "--dataset", "meddled"],
    "continuous": [*CONTINUOUS, *RUN, "-r", "1"],
}


@pytest.fixture(scope="module", params=COMMANDS)
def ran(request, tmp_path_factory):
    """Run a command beside plugins that meddle, or bring an executor; return its folder, and how it ended."""
    folder = tmp_path_factory.mktemp(request.param)
    env = environment("meddler", "elsewhere", NNBENCH_FAULTY_FOLDER=str(folder))
    done = nnbench(*COMMANDS[request.param], "-o", folder / "run", env=env, tells=True)
    return folder, done


def read_lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_it_ends_well(ran):
    folder, done = ran
    assert done.returncode in {0, 7}, done.stderr
    assert "the patch of a plugin was called" not in done.stderr
    assert {cell.status for cell in read_final(folder / "run")} == {"ok"}


def test_no_plugin_is_loaded_by_it(ran):
    folder, _ = ran
    parent = json.loads((folder / "parent").read_text())
    assert "nnbench.runs.schedule" in parent["modules"]  # it tells the truth
    strangers = {m for m in parent["modules"] if m.startswith("nnbench_")}
    assert strangers == set()
    pids = read_lines(folder, "imported")
    loads = "meddled" in json.loads((folder / "run" / "run.json").read_text())["command"]
    assert len(set(pids)) == 2 + loads  # one lists, one observes; no worker of another's backend
    assert parent["pid"] not in pids


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing hides it")
def test_its_memory_is_hidden(ran):
    folder, _ = ran
    assert json.loads((folder / "parent").read_text())["dumpable"] == 0


def test_observers_are_together_in_a_process_of_their_own(ran):
    folder, _ = ran
    parent = json.loads((folder / "parent").read_text())
    seen = read_lines(folder, "seen")
    [pid] = {each["pid"] for each in seen}
    assert pid not in {parent["pid"], os.getpid()}
    assert (seen[0]["hook"], seen[-1]["hook"]) == ("run_started", "run_finished")
    assert (seen[0]["run"], seen[0]["folder"]) == ("RunInfo", "PosixPath")


def test_observers_hear_of_a_seed_when_its_block_is_over(ran):
    folder, _ = ran
    seen = read_lines(folder, "seen")
    hooks = [each["hook"] for each in seen]
    first = hooks.index("cell_finished")
    last = len(hooks) - hooks[::-1].index("cell_started")
    assert last <= first  # a block of one round
    assert {each["seed"] for each in seen if each["hook"] == "cell_started"} == {None}
    while_it_runs = seen[:first]
    assert all(each.get("losses", []) == [] for each in while_it_runs)
    assert {each.get("loss") for each in while_it_runs} == {None}
    assert {each.get("parts", 0) for each in while_it_runs} == {0}
    assert {"Ready", "Progress", "EpochFinished"} <= set(hooks)
    for each in seen[first:-1]:
        assert each["seed"] is not None
        assert each["losses"]


def test_dataset_has_the_sum_that_it_always_had(ran):
    folder, _ = ran
    run = json.loads((folder / "run" / "run.json").read_text())
    assert run["dataset_sha256"].startswith("d28fff7bf986970d")
