"""A run is planned before it starts, and an interrupted one goes on as it was planned."""

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from nnbench import Backend, Option, catalog
from nnbench.contract.errors import BackendUnavailableError, ExitCode, NnbenchError, ResultsError
from nnbench.execution import executor, fitness, machine
from nnbench.execution.executor import Sizes
from nnbench.execution.machine import MachineWarning
from nnbench.records import runs
from nnbench.runs import planning, store
from nnbench.runs.planning import ResumeWarning
from nnbench.selection import parse

TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
LABELS = [
    "numpy",
    "numpy[threads=2]",
    "torch-cpu[fused=true]",
    "torch-cpu[threads=1,fused=false]",
    "faulty[flag=true,name=a b,number=3,share=0.25]",
    "faulty[name=,share=1e+16]",
]


@pytest.fixture
def start(tmp_path, make_info, monkeypatch):
    """Give a function that writes what a run of some backends has written when it starts."""

    def write(*backends, **changes):
        info = make_info(*backends, workload=TOY, **changes)
        monkeypatch.setattr(machine, "examine", lambda _: info.environment)
        monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1])
        monkeypatch.setattr(fitness, "warnings", lambda _: [])
        store.create(tmp_path / "run", info)
        return tmp_path / "run", info

    return write


@pytest.mark.parametrize("label", LABELS)
def test_backend_is_known_again_by_its_label(label, start, monkeypatch):
    options = {"flag": False, "name": "", "number": 1, "share": 0.5}
    taken = {key: Option(default, "") for key, default in options.items()}
    faulty = Backend(name="faulty", summary="", create=pytest.fail, options=taken)
    known = {**catalog.backends(), "faulty": faulty}
    monkeypatch.setattr(catalog, "backends", lambda: known)
    (chosen,) = parse([label])
    folder, info = start(chosen.label)
    plan = planning.resume(folder)
    assert (plan.info, plan.entries) == (info, [chosen.entry])


@pytest.mark.parametrize(
    ("texts", "required"),
    [(["all"], []), (["numpy,all"], ["numpy"]), (["python,numpy"], ["python", "numpy"])],
)
def test_plan_says_which_backends_were_named(texts, required, monkeypatch, make_info, plan_toy):
    monkeypatch.setattr(machine, "examine", lambda _: make_info().environment)
    assert plan_toy(*texts).required == required


def check_refused(folder, message, error: type[NnbenchError] = ResultsError):
    with pytest.raises(error) as raised:
        planning.resume(folder)
    assert str(raised.value) == message
    assert raised.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"python": "CPython 3.12"}, "Python (CPython 3.11, CPython 3.12)"),
        ({"versions": {"nnbench": "0.1", "numpy": "2.1"}}, "numpy (2.0, 2.1)"),
        (
            {"cpu": "Another CPU", "versions": {"nnbench": "0.2", "numpy": "2.1"}},
            "numpy (2.0, 2.1)",
        ),
    ],
)
def test_other_version_is_refused(start, monkeypatch, changes, named):
    folder, info = start()
    monkeypatch.setattr(machine, "examine", lambda _: replace(info.environment, **changes))
    reason = f"versions changed, {named}; ratios must not mix"
    check_refused(folder, f"{folder} cannot be resumed: {reason}")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cpu": "Another CPU"}, "CPU (A CPU, Another CPU)"),
        ({"gpus": []}, "GPUs (A GPU, none)"),
        ({"system": "Linux 7"}, "system (Linux, Linux 7)"),
    ],
)
def test_run_goes_on_on_another_machine_with_a_warning(start, monkeypatch, changes, named):
    folder, info = start()
    there = replace(info.environment, **changes)
    monkeypatch.setattr(machine, "examine", lambda _: there)
    with pytest.warns(ResumeWarning) as caught:
        plan = planning.resume(folder)
    text = f"{folder} goes on on another machine, {named}: its times are kept apart"
    assert [str(warning.message) for warning in caught] == [text]
    assert plan.info == info
    [joined] = plan.executor.run([])
    assert joined.name == f"local-{there.fingerprint[:6]}"
    assert joined.machine.environment == there


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        ({"git": "abc"}, "nnbench 0.1 in a folder at abc"),
        ({"versions": {"nnbench": "0.2", "numpy": "2.0"}}, "nnbench 0.2 in a folder at no commit"),
    ],
)
def test_other_nnbench_is_a_warning(start, monkeypatch, changes, now):
    folder, info = start()
    monkeypatch.setattr(machine, "examine", lambda _: replace(info.environment, **changes))
    with pytest.warns(ResumeWarning) as caught:
        assert planning.resume(folder).info == info
    before = "nnbench 0.1 in a folder at no commit"
    (warning,) = caught
    assert str(warning.message) == f"{folder} was started with {before}, and goes on with {now}"


@pytest.mark.parametrize(
    ("before", "here", "warns"),
    [
        ("nnbench-mine 8", "nnbench-mine 9", True),
        ("nnbench-harness 9", "nnbench-mine 9", True),
        ("nnbench-mine 9", "nnbench-mine 9", False),
        ("nnbench-harness 8", "nnbench-harness 9", False),
        (None, "nnbench-mine 9", False),
    ],
)
def test_another_version_of_a_plugin_is_a_warning(start, monkeypatch, before, here, warns):
    folder, info = start()
    written = replace(info, plugins=dict.fromkeys(info.backends, before) if before else {})
    monkeypatch.setattr(store, "read_info", lambda _folder: written)
    monkeypatch.setattr(executor, "origin", lambda _entry: here)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        planning.resume(folder)
    end = f" was started with {before}, and goes on with {here}"
    expected = [f"{label}{end}" for label in info.backends] if warns else []
    assert [str(warning.message) for warning in caught] == expected


def test_versions_are_those_that_the_run_depends_on(start, monkeypatch):
    folder, info = start()
    asked = []

    def describe(libraries):
        asked.extend(libraries)
        return info.environment

    monkeypatch.setattr(machine, "examine", describe)
    planning.resume(folder)
    assert asked == ["nnbench", "numpy"]


def test_machine_is_looked_at_again(start, monkeypatch):
    folder, _ = start("numpy[threads=2]")
    seen = []

    def look(place):
        seen.append((place.cpus, place.threads, place.uses_gpu))
        return ["too hot"]

    monkeypatch.setattr(fitness, "warnings", look)
    with pytest.warns(MachineWarning, match="^machine: too hot$"):
        planning.resume(folder)
    assert seen == [([0, 1], 2, False)]


def test_backend_that_is_gone_is_refused(start):
    folder, _ = start("numpi")
    with pytest.raises(NnbenchError, match="no backend named 'numpi'; did you mean numpy"):
        planning.resume(folder)


def test_backend_that_is_no_longer_available_is_refused(start, monkeypatch):
    folder, _ = start("numpy")
    monkeypatch.setattr(catalog, "why_unavailable", lambda _: "no driver")
    check_refused(folder, "numpy is unavailable: no driver", BackendUnavailableError)


def test_backend_that_was_never_available_may_be_gone(start):
    folder, info = start("numpy", unavailable={"jax": "no device"})
    assert planning.resume(folder).info == info


@pytest.mark.parametrize(("backend", "threads"), [("numpy", 3), ("numpy[threads=3]", 1)])
def test_too_few_cpus_are_refused(start, backend, threads):
    folder, _ = start(backend, threads=threads)
    message = "3 threads are more than the 2 CPUs nnbench may use"
    check_refused(folder, message, NnbenchError)


def test_other_schema_version_is_refused(start):
    folder, _ = start()
    content = (folder / "run.json").read_text()
    content = content.replace('"schema_version": 2', '"schema_version": 9')
    (folder / "run.json").write_text(content)
    versions = f"schema version 9, and this nnbench reads 1 to {runs.SCHEMA_VERSION}"
    check_refused(folder, f"{folder / 'run.json'} has {versions}")


def plan(**asked):
    given = {"command": "", "workload": "mnist", "overrides": {}, "rounds": 1, "seed": None}
    limits = {"threads": 1, "budget": 1.0, "timeout": 1.0, "baseline": None}
    return planning.plan(backends=["numpy"], **given, **limits, **asked)


@pytest.mark.usefixtures("home")
def test_unknown_executor_is_refused():
    with pytest.raises(NnbenchError, match="no executor named 'locale'; did you mean local"):
        plan(executor="locale")


def test_difference_below_the_noise_floor_is_not_looked_for(monkeypatch, make_info):
    monkeypatch.setattr(machine, "examine", lambda _: make_info().environment)
    assert plan(detect=0.06).info.detect == 0.06
    with pytest.raises(NnbenchError, match=r"^--detect must be above it: the noise floor of this"):
        plan(detect=0.01)


def test_without_ranks_there_are_no_verdicts_to_wait_for():
    with pytest.raises(NnbenchError, match="--detect needs a proof"):
        plan(proof="off", detect=0.1)


@pytest.mark.parametrize(("asked", "turns"), [({}, True), ({"whole": True}, False)])
def test_cells_take_turns_unless_they_shall_train_whole(asked, turns, monkeypatch, make_info):
    monkeypatch.setattr(machine, "examine", lambda _: make_info().environment)
    assert plan(**asked).info.turns is turns


@pytest.mark.parametrize("asked", [{}, {"proof": "full", "require_proof": True}])
def test_plan_says_how_much_is_to_be_proved(asked, monkeypatch, make_info):
    monkeypatch.setattr(machine, "examine", lambda _: make_info().environment)
    info = plan(**asked).info
    assert info.proof == asked.get("proof", "sampled")
    assert info.require_proof is bool(asked)
    assert info.seed is None


def test_proof_that_is_required_must_be_made():
    with pytest.raises(NnbenchError, match="--require-proof needs a proof"):
        plan(proof="off", require_proof=True)


@pytest.mark.parametrize(("parameters", "is_refused"), [(39_760, False), (700_000, True)])
def test_states_are_refused_that_are_too_large_to_come_from_elsewhere(
    mnist, parameters, is_refused
):
    sizes = Sizes(epoch_steps=938, parameters=parameters, logits=1, dataset_bytes=1)
    executor: Any = SimpleNamespace(sizes=lambda _: sizes)
    if not is_refused:
        planning.refuse_states(executor, mnist, backends=10)
        return
    text = (
        "^--keep-states: the states of a block have 1,201 MiB or more, and 512 MiB at most come "
        "from other machines: use --executor local, or fewer backends$"
    )
    with pytest.raises(NnbenchError, match=text):
        planning.refuse_states(executor, mnist, backends=10)
