"""What a backend may declare, and what becomes of it: in the list, in a run, in the suite."""

import inspect
import json
import re
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nnbench import Backend, BackendUnavailableError, Network, distributions
from nnbench.contract.errors import ExitCode
from nnbench.proof import judge
from nnbench.runs import store
from nnbench_numpy.network import NumpyNetwork
from tests.cells import read_final
from tests.plugins.helpers import EXAMPLE, environment, nnbench
from tests.problems import KINDS, make_examples, make_layers, make_spec

ROOT = Path(__file__).parents[3]
SPEC = make_spec((6, 5, 3), KINDS[0])
make = partial(Backend, name="mine", summary="")


@pytest.fixture
def whole():
    return environment("whole")


def reasons(env):
    """Return what ``nnbench list`` says of each backend."""
    done = nnbench("list", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[1:] if " " in line[2:])


def run(folder, env, *backends):
    names = ",".join(backends)
    arguments = ("--workload", "toy-sigmoid", "--rounds", 1, "--output", folder)
    return nnbench("run", "--backends", names, *arguments, env=env)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Run some backends that declare this or that beside one that declares nothing."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run(folder, environment("whole"), "whole", "single", "nowhere", "numpy")
    assert done.returncode == ExitCode.BACKEND_FAILED, done.stderr
    return folder


@pytest.fixture(scope="module")
def cells(whole_run):
    return {cell.backend: cell for cell in read_final(whole_run)}


@pytest.mark.parametrize("create", ["nnbench_numpy.network:NumpyNetwork", NumpyNetwork])
def test_a_network_is_made_by_a_path_or_a_function(create):
    assert isinstance(make(create=create).network(SPEC, 8), NumpyNetwork)


def test_every_field_is_explained_where_an_author_looks():
    shown = inspect.getdoc(Backend)
    assert shown
    page = (ROOT / "docs" / "adding-a-backend.md").read_text("utf-8")
    for field in fields(Backend):
        assert re.search(rf"^{field.name}\n    \S", shown, re.MULTILINE), field.name
        assert re.search(rf"^\| .*`{field.name}\b", page, re.MULTILINE), field.name


def test_options_are_passed_on():
    def create(spec, **options):
        assert (spec, options) == (SPEC, {"fused": False})
        return NumpyNetwork(spec)

    make(create=create).network(SPEC, 8, fused=False)


@pytest.mark.parametrize("create", ["", "nnbench_numpy", ":NumpyNetwork", "nnbench_numpy.network:"])
def test_a_path_that_names_no_attribute_is_refused_at_once(create):
    with pytest.raises(ValueError, match=r"write package\.module:Class"):
        make(create=create)


@pytest.mark.parametrize(
    "create", ["nnbench_numpy.network:X", NumpyNetwork, partial(partial(NumpyNetwork))]
)
def test_the_package_of_its_code_is_known_without_an_import(create):
    assert make(create=create).package == "nnbench_numpy"


def test_what_it_requires_is_recorded_unless_it_says_otherwise():
    assert make(create="a:b", requires=("torch",)).libraries == ("torch",)
    assert make(create="a:b", requires=("jax",), libraries=("jaxlib",)).libraries == ("jaxlib",)


def test_a_network_that_is_not_supported_is_not_made():
    backend = make(create=pytest.fail, supports=lambda spec, size: f"{spec.loss}, {size}")
    with pytest.raises(BackendUnavailableError, match=r"^cross_entropy, 3$"):
        backend.network(SPEC, 3)


@pytest.mark.parametrize("answer", [True, False, 0, ("no",)])
@pytest.mark.parametrize(
    ("field", "ask"),
    [
        ("supports", lambda backend: backend.why_unsupported(SPEC, 8)),
        ("supports", lambda backend: backend.network(SPEC, 8)),
        ("other_optimizer", lambda backend: backend.why_other_optimizer(SPEC)),
    ],
)
def test_what_is_no_reason_is_refused(field, ask, answer):
    backend = make(create=NumpyNetwork, **{field: lambda *_: answer})
    with pytest.raises(TypeError, match=f"^{field} of mine returned .*: return why, or None$"):
        ask(backend)


@pytest.mark.parametrize(
    ("answer", "reason"), [(None, None), ("", None), ("no\n biases", "no biases")]
)
def test_a_reason_is_one_line(answer, reason):
    backend = make(
        create=NumpyNetwork, supports=lambda *_: answer, other_optimizer=lambda _: answer
    )
    assert backend.why_unsupported(SPEC, 8) == backend.why_other_optimizer(SPEC) == reason


def test_a_missing_library_is_named_with_the_command_that_brings_it(whole):
    found = reasons(whole)
    command = "pip install 'nnbench-whole[accelerator]'"
    assert found["absent"] == f"unavailable: No_Such-Library is not installed: {command}"
    command = "pip install lost-one lost-two"
    assert found["lost"] == f"unavailable: lost-one is not installed: {command}"
    assert found["whole"] == found["nowhere"] == "whole steps"


@pytest.mark.parametrize(
    ("name", "installed"),
    [("scikit-learn", True), ("numpy", True), ("NumPy", True), ("no.such-thing", False)],
)
def test_a_distribution_need_not_be_called_as_its_module(name, installed):
    assert distributions.is_installed(name) is installed


def test_a_backend_that_owns_its_step_is_run_without_phases(whole_run, cells, call):
    assert cells["whole"].status == cells["numpy"].status == "ok"
    assert judge.exit_code([cells["whole"], cells["numpy"]], required=()) == ExitCode.OK
    assert cells["whole"].phases is None
    assert cells["whole"].losses == cells["numpy"].losses
    text = call("show", whole_run).stdout
    phases = text.partition("Phases of a step")[2].splitlines()
    [line] = (line for line in phases if line.startswith(" whole "))
    assert line.split()[1:-1] == ["–"] * 5


def test_a_backend_that_owns_its_step_is_tested_but_for_its_phases(whole):
    done = nnbench("test", "whole", env=whole)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    *reasons, _, passed = done.stdout.splitlines()
    skipped, unfollowed = sorted(reasons)
    assert unfollowed.startswith("whole: skipped optimizer state matches the reference (×2), ")
    assert "optimizer_state() gives None" in unfollowed
    assert skipped.startswith("whole: skipped gradients have the form of parameters (×6), ")
    assert "three steps match the reference (×6)" in skipped
    assert "a dozen steps" not in skipped
    assert skipped.endswith("no phases and no gradients to check: it is a Model, not a Network")
    assert " passed, " in passed


def test_a_network_or_batch_that_is_not_supported_is_skipped_with_the_reason(cells):
    assert cells["single"].status == "skipped"
    assert cells["single"].message == "it trains one example at a time, not 5"


OWN = """
dataset = "toy"
hidden = [5]
activation = "sigmoid"
loss = "squared_error"
batch_size = 2
epochs = 40

[optimizer]
kind = "adam"
learning_rate = 0.01
epsilon = 0.01
"""


def test_another_optimizer_that_is_declared_is_listed_below_the_ranking(tmp_path, call):
    """As in the suite: what follows from it is expected, a wrong gradient is not."""
    workload, folder = tmp_path / "own.toml", tmp_path / "run"
    workload.write_text(OWN)
    arguments = ("--workload", workload, "--rounds", 1, "--output", folder, "--baseline", "numpy")
    names = "adds-epsilon-early,flips-sign-too,numpy"
    env = environment("broken", EXAMPLE)
    done = nnbench("run", "--backends", names, *arguments, env=env)
    assert done.returncode == ExitCode.ACCURACY
    cells = {cell.backend: cell for cell in read_final(folder)}
    declared = "it adds epsilon before the bias correction"
    assert cells["numpy"].other_optimizer == ""
    other = cells["adds-epsilon-early"]
    assert (other.status, other.other_optimizer) == ("ok", declared)
    assert cells["flips-sign-too"].status == "invalid"
    assert "gradient" in cells["flips-sign-too"].message
    text = call("show", folder).stdout.partition("Timing")[2]
    rows = [line.split() for line in text.splitlines() if line.startswith((" numpy", " adds"))]
    assert rows[0][:2] == ["numpy", "1"]
    assert " other optimizer " in " ".join(rows[1])
    assert f"no rank, because its optimizer is not the one asked for: {declared}" in text


def test_a_path_that_leads_nowhere_is_a_crash_that_names_it(cells):
    assert cells["nowhere"].status == "crashed"
    assert "Misspelt" in cells["nowhere"].message


def test_a_plugin_of_before_loads_and_is_right(tmp_path):
    env = environment("former")
    assert run(tmp_path / "run", env, "example").returncode == 0
    summaries = store.read_info(tmp_path / "run").backends
    assert summaries == {"example": "NumPy, one array expression after the other"}
    done = nnbench("test", "example", env=env)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    skipped, _, passed = done.stdout.splitlines()
    assert skipped.startswith("example: skipped optimizer state matches the reference (×2), ")
    assert "follows this backend from its parameters alone" in skipped
    assert re.match(r"example: \d+ passed, 4 skipped in", passed)


def test_an_attribute_called_step_does_not_get_in_the_way_of_a_network():
    class Counting(NumpyNetwork):
        step = 0  # type: ignore[assignment]  # as plugins of before may have it
        train_epoch = Network.train_epoch

    network, examples = Counting(SPEC), make_examples(SPEC, 8)
    network.load(make_layers(SPEC))
    assert len(network.train_epoch(network.place(examples), np.arange(8), 4)) == 2


def test_every_field_is_explained_to_authors():
    page = Path(__file__).parents[3] / "docs" / "adding-a-backend.md"
    table = page.read_text("utf-8").partition("### What a backend says of itself")[2]
    for field in fields(Backend):
        assert re.search(rf"^\|[^|]*`{field.name}\b", table, re.MULTILINE), field.name


def test_what_brings_a_backend_and_what_it_records_stand_in_the_results(tmp_path, call):
    folder, env = tmp_path / "run", environment("recording")
    done = run(folder, env, "recording", "failing", "numpy")
    assert done.returncode == 0, done.stderr
    info = json.loads((folder / "run.json").read_text("utf-8"))
    own = f"nnbench-harness {distributions.versions(['nnbench-harness'])['nnbench-harness']}"
    plugin = "nnbench-recording 1.5"
    assert info["plugins"] == {"recording": plugin, "failing": plugin, "numpy": own}
    recorded = {cell.backend: cell.setup.recorded for cell in read_final(folder)}
    assert recorded == {
        "recording": {"compiler": "tcc 0.9", "network": "NumpyNetwork", "count": "3"},
        "failing": {"not recorded": "OSError: no git here"},
        "numpy": {},
    }
    assert plugin in call("show", folder, "--format", "md").stdout
    page = call("report", folder, "--output", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert page.code == 0
    assert all(each in text for each in ("nnbench-recording", "recording: compiler", "tcc 0.9"))
    junit = call("export", folder, "--to", "junit").stdout
    assert '<property name="nnbench-recording" value="1.5"' in junit
    assert '<property name="compiler" value="tcc 0.9"' in junit
