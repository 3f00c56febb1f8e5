"""What the harness never does: import what backends need, or run what it reads."""

import ast
import json
import os
from pathlib import Path

import pytest

import nnbench as package
from nnbench.runs import store
from tests.plugins.helpers import environment, nnbench

ROOT = Path(package.__file__).parent
#: the suite runs in the backend's own process, and trusts it as that does
SUITE = ROOT / "testing"
SOURCES = sorted(path for path in ROOT.rglob("*.py") if not path.is_relative_to(SUITE))
UNPICKLING = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
UNPICKLING |= {"multiprocessing", "dbm"}
RISKY_NAMES = {"eval", "exec", "allow_pickle", "read_pickle"}
HEAVY = {"torch", "numba", "jax", "sklearn", "tensorflow", "heavy_library", "nnbench_faulty"}
SLOW = {"pandas", "scipy.stats"}  #: half a second each, which a short run need not wait
RUN = ["run", "-b", "heavy", "-w", "toy-sigmoid", "-r", "2"]


def risks(source):
    """Return the modules that some source imports to unpickle, and what else runs data."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names} & UNPICKLING
            case ast.ImportFrom(module=str(module)):
                found |= {module.partition(".")[0]} & UNPICKLING
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                found |= {name} & RISKY_NAMES
            case _:
                pass
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_module_unpickles_nothing(path):
    assert risks(path.read_text()) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os, pickle", "pickle"),
        ("def f():\n    from multiprocessing.pool import Pool", "multiprocessing"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("pd.read_pickle(path)", "read_pickle"),
        ("eval(text)", "eval"),
    ],
)
def test_risks_would_be_found(source, found):
    assert risks(source) == {found}


@pytest.fixture(scope="module")
def heavy_run(tmp_path_factory):
    """Run a backend that needs a heavy library, and no other plugin."""
    folder = tmp_path_factory.mktemp("heavy")
    more = {"NNBENCH_FAULTY_FOLDER": str(folder), "NNBENCH_PLUGINS": "heavy"}
    env = environment("heavy", "faulty", "unimportable", **more)
    done = nnbench(*RUN, "-o", folder / "run", env=env, tells=True)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_parent_imports_no_heavy_module(heavy_run):
    folder, _ = heavy_run
    parent = json.loads((folder / "parent").read_text())
    assert parent["pid"] != os.getpid()
    assert (HEAVY | SLOW) & set(parent["modules"]) == set()
    assert "numpy" in parent["modules"]  # it tells the truth


def test_each_worker_imports_it_once(heavy_run):
    folder, _ = heavy_run
    parent = json.loads((folder / "parent").read_text())["pid"]
    workers = [int(line) for line in (folder / "imported").read_text().splitlines()]
    assert len(workers) >= 2  # a disturbed cell runs again
    assert len(set(workers)) == len(workers)
    assert parent not in workers


def test_limit_of_plugins_holds_in_parent_and_worker(heavy_run):
    folder, done = heavy_run
    assert "unimportable" not in done.stderr
    outputs = {cell.output for cell in store.read_cells(folder / "run")}
    assert outputs == {""}  # no worker warned of the plugin that cannot be imported
