"""No backend that cheats stands in a ranking, and each is named by the guard that is meant for it.

They are those of tests/plugins/cheats, in real runs on a slice of MNIST; ``docs/trust.md`` has them all.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import pytest

from nnbench.contract.errors import ExitCode
from nnbench.data.datasets import load_mnist
from nnbench.execution import supervisor
from nnbench.records.cells import Status
from tests.cells import read_final
from tests.documents import ROOT
from tests.plugins.helpers import EXAMPLE, PLUGINS, environment, nnbench, survivors

if TYPE_CHECKING:
    from pathlib import Path

PATHS = [str(PLUGINS / "cheats"), EXAMPLE]
sys.path.insert(0, EXAMPLE)
from tests.plugins.cheats.nnbench_cheats import ahead, harness, less
from tests.plugins.cheats.nnbench_cheats.right import CHEATS

sys.path.remove(EXAMPLE)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guards are Linux's")
TRAIN, BATCH_SIZE = 1608, ahead.GUESSED  # 101 steps an epoch, the last one smaller
FOUND = {Status.INVALID, Status.DIVERGED, Status.CRASHED}
SAMPLE = ["plain", "rounds-weights", "puts-off-to-dump", "ignores-parameters"]
LONG = ["plain", "widens-affinity", "uses-gpu"]  # their cheat takes so long to show
CLOCKED = [  # with calls that are long beside what a busy machine makes of them
    *("plain", "slows-clock", "moves-start", "shortens-answer", "trains-on-receipt"),
    *("trains-when-counting", "takes-over", "works-in-daemon", "puts-off-to-counter"),
]
AGAIN = ["plain", "keeps-on-disk", "replays-last-round", "poisons-calibration"]
SIBLINGS = ["tells-sibling", "copies-sibling"]
WRITES = ["plain", "writes-results"]
FORESEEN = ["plain", "trains-ahead-in-predict"]
SIGNS = ["plain", "rounds-every-other-part"]
APART = {*CLOCKED, *LONG, *AGAIN, *SIBLINGS, *WRITES, *FORESEEN, *SIGNS} - {"plain"}
HIDDEN = [name for name, cheat in CHEATS.items() if cheat.fate == "hidden"]
LESS = [n for n, c in CHEATS.items() if c.create.__module__ == less.__name__]
NUMBERS = [n for n in LESS if n not in {*HIDDEN, *APART}]
OTHERS = [n for n in CHEATS if n not in {*LESS, *APART, "plain"}]
PROVED = {n for n, c in CHEATS.items() if c.fate in {"harmless", "right"}} - {*WRITES[1:]}
WORKLOAD = f"""
dataset = "digits"
hidden = [50]
batch_size = {BATCH_SIZE}
epochs = 2
"""


class Group(NamedTuple):
    """Backends that run together."""

    names: list[str]
    options: tuple[str, ...] = ()
    shares_tmp: bool = False  #: whether what they write is seen by others


FULL = ("run", "--proof", "full", "-r", "1")
GROUPS = {
    "numbers": Group(["plain", *NUMBERS], FULL),
    **{f"others{part}": Group(["plain", *OTHERS[part::2]], FULL) for part in range(2)},
    "hidden": Group(["plain", *HIDDEN], (*FULL, "--epochs", "4")),
    "clocked": Group(CLOCKED, (*FULL, "--epochs", "1", "--hidden", "400")),
    "long": Group(LONG, (*FULL, "--epochs", "4"), shares_tmp=True),
    "again": Group(AGAIN, ("run", "--proof", "full", "-r", "2"), shares_tmp=True),
    "writes": Group(WRITES, ("run", "--proof", "full", "-r", "2"), shares_tmp=True),
    "siblings": Group(SIBLINGS, FULL),
    "foreseen": Group(FORESEEN, (*FULL, "--batch-size", str(TRAIN), "--epochs", "60")),
    "signs": Group(SIGNS, (*FULL, "--optimizer", "adam-fresh", "--learning-rate", "0.001")),
    "sampled": Group([*SAMPLE, *HIDDEN], ("run", "-r", "1", "--epochs", "4")),
    "quick": Group(SAMPLE, ("run", "--quick", "-r", "1")),
    "seeded": Group(["plain", "trains-in-place"], (*FULL, "--seed", "0")),
}
#: that prove all parts, in which each cheat has its place
IN_FULL = [name for name in GROUPS if name not in {"writes", "sampled", "quick", "seeded"}]


def label(name):
    threads = CHEATS[name].threads
    return name if threads == 1 else f"{name}[threads={threads}]"


class Ran(NamedTuple):
    """A run that has ended."""

    folder: Path
    code: int
    errors: str
    survivors: list[object]

    def cells(self, name):
        found = [cell for cell in read_final(self.folder) if cell.backend == label(name)]
        assert found, self.errors
        return found


@pytest.fixture(scope="module")
def workload(tmp_path_factory, idx_bytes):
    """Write a slice of MNIST, and a workload that trains on it."""
    folder, splits = tmp_path_factory.mktemp("digits"), load_mnist()
    cut = {"train": (splits.train, TRAIN), "t10k": (splits.test, harness.TEST)}
    for prefix, (split, count) in cut.items():
        images = (255 * split.inputs[:count]).round().reshape(count, 28, 28)
        labels = split.one_hot(10).argmax(axis=1)[:count]
        for name, items in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{prefix}-{name}-ubyte").write_bytes(idx_bytes(items))
    path = folder.parent / "digits.toml"
    path.write_text(WORKLOAD.replace("digits", str(folder)))
    return path


@pytest.fixture(scope="module")
def runs(workload, tmp_path_factory):
    """Give a function that makes the run of a group, once."""

    @cache
    def run(name):
        group, folder = GROUPS[name], tmp_path_factory.mktemp(name)
        more = {"NNBENCH_CHEATS_FOLDER": str(folder), "NNBENCH_CHEATS_SERVE": "1"}
        more |= {supervisor.SHARED: "1" if group.shares_tmp else ""}
        more |= {"XDG_CACHE_HOME": str(folder / "cache")}  # one of the cheats writes there
        stand_in = ["cheats/stand_in"] if "uses-gpu" in group.names else []
        asked = ["-w", workload, "-b", ",".join(map(label, group.names)), "-o", folder / "run"]
        env = environment(*PATHS, *stand_in, mark=folder, **more)
        done = nnbench(*group.options, *asked, "--no-progress", env=env)
        return Ran(folder / "run", done.returncode, done.stderr, survivors(folder))

    return run


@pytest.fixture(scope="module")
def continuous(workload, tmp_path_factory):
    """Compare two environments, which are the same."""
    folder = tmp_path_factory.mktemp("continuous")
    path = folder / "python"
    variable = f"PYTHONPATH='{os.pathsep.join(PATHS)}'"
    path.write_text(f"#!/bin/sh\n{variable} exec '{sys.executable}' \"$@\"\n")
    path.chmod(0o755)
    both = ["--python", path, "--python", path]
    asked = ["-w", workload, "-b", ",".join(SAMPLE), "-r", "1", "-o", folder / "run"]
    done = nnbench("continuous", *both, *asked, "--no-progress", env=environment(mark=folder))
    return Ran(folder / "run", done.returncode, done.stderr, survivors(folder))


def group_of(name):
    """Return the group in which a cheat is judged in full."""
    return next(key for key in IN_FULL if name in GROUPS[key].names)


def is_accurate(cell, plain):
    mine, right = (each.epochs[-1].accuracy for each in (cell, plain))
    return abs(mine - right) < 0.02


@pytest.mark.parametrize("name", [n for n, c in CHEATS.items() if c.fate in {"named", "hidden"}])
def test_cheat_is_named_by_its_guard(runs, name):
    cell = runs(group_of(name)).cells(name)[-1]
    if name in CLOCKED and cell.disturbed:
        pytest.skip("others keep this machine so busy that no clock tells anything")
    assert cell.status in FOUND
    assert re.search(CHEATS[name].guard, cell.message)


@pytest.mark.parametrize("name", sorted(PROVED))
def test_what_gains_nothing_is_proved_and_right(runs, name):
    for cell in runs(group_of(name)).cells(name):
        assert (cell.status, cell.message) == (Status.OK, "")
        assert cell.proof.proved == cell.proof.trained == cell.steps


@pytest.mark.parametrize("group", sorted({*IN_FULL} - {"siblings"}))
def test_cell_that_is_ok_has_the_accuracy_of_a_plain_one(runs, group):
    ran = runs(group)
    plain = {cell.round: cell for cell in ran.cells("plain")}
    fine = [cell for cell in read_final(ran.folder) if cell.status is Status.OK]
    assert all(is_accurate(cell, plain[cell.round]) for cell in fine)


@pytest.mark.parametrize("group", sorted({*GROUPS} - {"writes"}))
def test_only_proved_cells_stand_in_a_ranking(runs, group):
    ran = runs(group)
    rows = pd.read_csv(ran.folder / "timing.csv").set_index("backend")
    ranked = set(rows.index[rows["rank"].notna()])
    fine = {c.backend for c in read_final(ran.folder) if c.status is Status.OK and c.proof}
    assert ranked
    assert ranked <= fine
    assert rows.loc[[name for name in rows.index if name not in ranked], "ratio"].isna().all()


@pytest.mark.parametrize("group", ["sampled", "quick"])
@pytest.mark.parametrize("name", SAMPLE)
def test_other_ways_to_run_find_the_same(runs, group, name):
    cell = runs(group).cells(name)[-1]
    assert (cell.status in FOUND) == (CHEATS[name].fate == "named")
    assert re.search(CHEATS[name].guard, cell.message)


def test_continuous_finds_the_same(continuous):
    for name in SAMPLE:
        for cell in (c for c in read_final(continuous.folder) if c.backend.startswith(f"{name}@")):
            assert (cell.status in FOUND) == (CHEATS[name].fate == "named")
            assert re.search(CHEATS[name].guard, cell.message)


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_outlives_a_run(runs, group):
    assert runs(group).survivors == []


@pytest.mark.parametrize(
    "name", ["asks-server-of-listing", "writes-to-dataset", "trains-ahead-in-predict"]
)
def test_what_is_closed_gives_no_answer(runs, name):
    assert [cell.output for cell in runs(group_of(name)).cells(name)] == [""]


@pytest.mark.skipif(os.geteuid() == 0, reason="to root nothing is closed")
def test_memory_of_the_processes_above_is_closed(runs):
    assert [
        cell.output for cell in runs(group_of("looks-into-parent")).cells("looks-into-parent")
    ] == [""]


def test_siblings_share_no_files(runs):
    if not supervisor.grants_privacy():
        pytest.skip("this system grants no folders of one's own")
    assert [cell.output for cell in runs("siblings").cells("copies-sibling")] == [""]


def test_a_seed_that_is_given_can_be_prepared_for(runs):
    """What docs/trust.md says of it is true."""
    [cell] = runs("seeded").cells("trains-in-place")
    assert cell.status is Status.OK


def test_nothing_is_concluded_from_a_file_that_somebody_else_has_written(runs):
    ran = runs("writes")
    assert ran.code == ExitCode.INTERNAL
    assert "cells.jsonl" in ran.errors


@pytest.mark.parametrize("name", CHEATS)
def test_page_names_it(name):
    assert f"`{name}`" in (ROOT / "docs" / "trust.md").read_text("utf-8")
