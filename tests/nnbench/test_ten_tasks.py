"""Whoever adds something in its one place is reminded of what must follow.

The table "To add something" in CONTRIBUTING.md names the places. What a type check says is not
repeated here, nor what a test of the place itself holds: that table names those, too.
"""

import inspect
import re
import sys
import tomllib
from typing import get_args

import pytest

from nnbench import catalog
from nnbench.catalog import listings
from nnbench.cli import signals
from nnbench.contract.engine import Engine
from nnbench.contract.errors import GRAVITY, ExitCode
from nnbench.contract.spec import Activation, Loss, OptimizerKind
from nnbench.figures.columns import COLUMNS, TABLES
from nnbench.figures.metrics import PHASES
from nnbench.records.cells import Status
from nnbench.runs.comparison import Outcome
from nnbench.show.charts import CHARTS, chart
from nnbench.show.exports import FORMATS
from nnbench.testing.networks import SPECS
from nnbench.testing.problems import make_problem
from nnbench.worker.phases import measure
from tests.documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = sorted(path.name for path in ROOT.glob("backends/nnbench_*"))

#: documents, and what is there that each of them must name
NAMED = {
    "README.md": [*catalog.backends(), *catalog.workloads()],
    "docs/adding-a-backend.md": [*get_args(OptimizerKind), *get_args(Activation), *get_args(Loss)],
    "docs/conformance.md": get_args(OptimizerKind),
    "docs/exports.md": [*FORMATS, *(phase.field for phase in PHASES)],
    "docs/measurement.md": Status,
    "docs/observers.md": [f"nnbench_{event}" for event in listings.events()],
    "docs/report.md": CHARTS,
    "docs/workloads.md": [*get_args(OptimizerKind), *catalog.datasets()],
}


@pytest.mark.parametrize(
    ("document", "name"), [(document, name) for document, names in NAMED.items() for name in names]
)
def test_document_names_it(document, name):
    text = (ROOT / document).read_text("utf-8")
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), f"{document}: no {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_backend_has_its_entry_point(package):
    assert package in PROJECT["project"]["entry-points"]["nnbench"].values()


@pytest.mark.parametrize("package", PACKAGES)
def test_backend_is_in_every_import_contract_of_backends(package):
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    lists = [names for contract in contracts for names in contract.values()]
    lists = [names for names in lists if isinstance(names, list) and set(PACKAGES) & set(names)]
    assert lists
    assert all(package in names for names in lists)


def test_every_column_is_in_a_table():
    assert {name for layout in TABLES.values() for name in layout.names} == set(COLUMNS)


@pytest.mark.parametrize("name", TABLES)
def test_narrow_terminal_drops_columns_of_the_table(name):
    assert set(TABLES[name].drops) <= set(TABLES[name].names)


def test_worker_measures_every_phase():
    problem = make_problem(SPECS[0])
    network = catalog.backends()["numpy"].network(problem.spec, problem.batch_size)
    network.load(problem.layers)
    phases = measure(network, network.place(problem.examples), problem.index, 1.0)
    assert [phase.field for phase in PHASES if not getattr(phases, phase.field)] == []


@pytest.mark.parametrize("name", CHARTS)
def test_chart_has_its_function(name):
    assert callable(chart(name))


def test_every_code_has_its_gravity_or_ends_a_command():
    errors = {ExitCode.INTERNAL, ExitCode.USAGE}
    ended = {*signals.CODES.values(), ExitCode.INTERRUPTED, ExitCode.PIPE_CLOSED}
    assert set(GRAVITY) | errors | ended == set(ExitCode)


def test_every_event_is_announced_in_one_place():
    announced = {
        path: re.findall(r"notify\(\s*\"nnbench_(\w+)\"", path.read_text("utf-8"))
        for path in ROOT.glob("nnbench/**/*.py")
    }
    [(path, events)] = [(path, events) for path, events in announced.items() if events]
    assert path.relative_to(ROOT).as_posix() == "nnbench/runs/schedule.py"
    assert set(events) == set(listings.events())


def test_executor_must_do_all_that_is_asked_of_one():
    class Half(Engine):
        name, summary = "half", "does nothing"

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]  # mypy names it, too


def test_contributing_names_tests_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tests = "".join(path.read_text("utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()


def with_member(enum, line):
    """Return an enum of nnbench as it would be with another member."""
    namespace = dict(vars(sys.modules[enum.__module__]))
    exec(f"{inspect.getsource(enum)}\n    {line}\n", namespace)
    return namespace[enum.__name__]


@pytest.mark.parametrize(
    ("enum", "line"),
    [
        (Status, 'NEW = "new"'),
        (Status, 'NEW = "new", Kind.FAILED'),
        (ExitCode, "NEW = 99"),
        (Outcome, 'NEW_ONE = "new one"'),
        (Outcome, 'NEW_ONE = "new one", ExitCode.OK'),
    ],
)
def test_member_must_say_what_it_is(enum, line):
    with pytest.raises(TypeError, match="missing"):
        with_member(enum, line)


@pytest.mark.parametrize(
    ("enum", "line"),
    [
        (Status, 'NEW = "new", Kind.FAILED, False'),
        (ExitCode, 'NEW = 99, "new"'),
        (Outcome, 'NEW_ONE = "new one", ExitCode.OK, "new"'),
    ],
)
def test_member_that_says_it_is_taken(enum, line):
    assert len(with_member(enum, line)) == len(enum) + 1
