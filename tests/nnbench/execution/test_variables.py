"""What a process that computes inherits is listed; nothing else passes, and what does not is named."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench import catalog
from nnbench.execution import variables
from nnbench.runs import store
from nnbench.runs.run import Run
from nnbench.show import page
from nnbench.texts import recordable
from tests.cells import TOY, read_final
from tests.plugins.helpers import environment, nnbench

#: Each of these has made a backend slower, or another one, or crash, without a word.
HARMFUL = {
    "JAX_DISABLE_JIT": "1",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cuda",
    "OMP_PROC_BIND": "true",
    "GOMP_CPU_AFFINITY": "0",
    "OMP_THREAD_LIMIT": "1",
    "NUMBA_DISABLE_JIT": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "OPENBLAS_CORETYPE": "Prescott",
    "MALLOC_ARENA_MAX": "1",
    "LD_BIND_NOW": "1",
    "PYTHONHASHSEED": "0",
}
SET_BY_NNBENCH = {"NPROC": "2", "OMP_NUM_THREADS": "2"}
#: A second list, written apart from the first.
PASSES = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|TEMP|TMP|LANG|LANGUAGE|TZ|CC|CXX|SDKROOT|DEVELOPER_DIR|(XDG|LC)_.*"
    r"|NNBENCH_(?!HTTP_).*|(LD|DYLD|DYLD_FALLBACK)_LIBRARY_PATH|CUDA_(HOME|PATH|CACHE_PATH|DEVICE_ORDER)"
    r"|(CUDA|HIP|ROCR)_VISIBLE_DEVICES|(NUMBA|TRITON)_CACHE_DIR|VIRTUAL_ENV|CONDA_PREFIX"
    r"|PYTHON(PATH|HOME|USERBASE|NOUSERSITE|SAFEPATH|PYCACHEPREFIX|DONTWRITEBYTECODE)"
    r"|PYTHON(UTF8|IOENCODING|COERCECLOCALE|WARNINGS|UNBUFFERED)",
    re.DOTALL,
)
LISTED = [name for group in variables.PASSED for name in group.names.split()]
NAMES = st.one_of(
    st.text(st.characters(exclude_characters="=\0,"), min_size=1),
    st.sampled_from([*HARMFUL, *SET_BY_NNBENCH, *LISTED]),
    st.builds(lambda name, more: name.rstrip("*") + more, st.sampled_from(LISTED), st.text("X_*")),
    st.builds(
        lambda start, more: start + more, st.sampled_from(variables.TUNING.split()), st.text("X_")
    ),
    st.sampled_from(["NNBENCH_HTTP_OBSERVER", "NNBENCH_HTTP_OBSERVER_HEADER", "GITHUB_TOKEN"]),
)
ENVIRONMENTS = st.dictionaries(NAMES, st.text(st.characters(exclude_characters="\0")))


@given(ENVIRONMENTS, st.sets(NAMES), st.sets(NAMES))
def test_nothing_passes_that_is_not_listed_or_asked_for(environment, named, inherited):
    inherited = {name for name in inherited if name == name.strip() and "," not in name}
    given = {**environment, variables.INHERIT: ",".join(inherited)}
    handed = variables.handed_on(given, named)
    wanted = {name for name in given if name in named | inherited or PASSES.fullmatch(name)}
    assert handed == {name: given[name] for name in wanted}


@given(ENVIRONMENTS, st.sets(NAMES))
def test_each_variable_is_handed_on_or_named_or_set_anew(environment, named):
    handed = variables.handed_on(environment, named)
    dropped = variables.dropped(environment, named)
    noted = variables.noted(handed, named)
    own = {*variables.THREAD_VARIABLES, variables.COMPILED}
    assert sorted(map(recordable, environment.keys() - own - {*handed})) == dropped
    assert noted.keys() == set(map(recordable, handed))
    json.dumps([dropped, noted], ensure_ascii=False).encode("utf-8")


@given(ENVIRONMENTS, st.sets(NAMES))
def test_no_value_is_recorded_that_could_change_no_figure(environment, named):
    noted = variables.noted(variables.handed_on(environment, named), named)
    told = {name for name, value in noted.items() if value is not None}
    counting = {name for group in variables.PASSED if group.counts for name in group.names.split()}
    asked = map(recordable, variables.asked(environment) | named)
    assert told <= counting | set(asked)


def test_values_that_could_change_figures_are_recorded():
    handed = {"HOME": "/home/me", "CC": "clang", "MINE": "fast", "MKL_CBWR": "AVX2"}
    given = handed | {variables.INHERIT: "MKL_CBWR", "SECRET": "abc"}
    assert variables.noted(variables.handed_on(given, ["MINE"]), ["MINE"]) == {
        "HOME": None,
        "CC": "clang",
        "MINE": "fast",
        "MKL_CBWR": "AVX2",
        variables.INHERIT: None,
    }


def test_what_is_no_text_can_be_recorded():
    odd = os.fsdecode(b"A\xff")
    assert variables.dropped({odd: "1"}) == ["A\\xff"]
    assert variables.noted({odd: odd}, [odd]) == {"A\\xff": "A\\xff"}


def test_what_tunes_something_is_known_by_its_name():
    tuned = [*HARMFUL, "NPROC", "LD_PRELOAD", "MYLIB_LEVEL"]
    others = [
        "EDITOR",
        "TF_CLI_CONFIG_FILE",
        "CUDA_VERSION",
        "MYLIB_VERSION",
        "PYTHON_SHA256",
        "PWD",
    ]
    found = variables.tuning([*tuned, *others], ["mylib"])
    assert found == tuned
    assert variables.tuning(["MYLIB_LEVEL"]) == []


def test_threads_are_what_was_asked_for_and_packages_do_not_leak():
    given = {"OMP_NUM_THREADS": "7", "NPROC": "7", "PYTHONPATH": "/here"}
    handed = variables.handed_on({**given, variables.INHERIT: "NPROC"})
    threads = dict.fromkeys(variables.THREAD_VARIABLES, "2")
    assert variables.for_threads(handed, 2) == {
        **threads,
        "PYTHONPATH": "/here",
        variables.INHERIT: "NPROC",
    }
    assert variables.handed_on(given, python="/other/python") == {}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run backends under variables that harm them; return the cells, what was recorded, what was said."""
    folder = tmp_path_factory.mktemp("variables") / "run"
    names = [name for name in ("jax", "numba") if not why_unavailable(name)]
    more = {"PYTHONWARNINGS": "", "NNBENCH_INHERIT": "MALLOC_ARENA_MAX", "CC": "cc"}
    more["RECORDING_MODE"] = "fast"
    env = environment("faulty", "recording", **HARMFUL, **SET_BY_NNBENCH, **more)
    backends = ",".join(["numpy", "talks", "named", "unnamed", *names])
    command = ("run", "-b", backends, "-w", TOY.name, "-r", 1, "--proof", "off", "-o", folder)
    done = nnbench(*command, env=env)
    assert done.returncode == 4, done.stderr  # one misses its variable
    cells = {cell.backend: cell for cell in read_final(folder)}
    return cells, store.read_info(folder), done.stderr


def why_unavailable(name):
    return catalog.why_unavailable(catalog.backends()[name])


def test_no_variable_of_the_users_slows_a_backend_down(ran):
    cells, _, _ = ran
    assert {name for name, cell in cells.items() if cell.status != "ok"} == {"unnamed"}
    told = json.loads(cells["talks"].output)["variables"]
    assert told.keys() & HARMFUL.keys() == {"MALLOC_ARENA_MAX"}
    assert {told[name] for name in SET_BY_NNBENCH} == {"1"}


def test_what_was_dropped_is_named_and_what_passed_is_recorded(ran):
    cells, info, said = ran
    dropped = HARMFUL.keys() - {"MALLOC_ARENA_MAX"}
    [machine] = info.machines.values()
    assert {*machine.dropped} >= dropped
    assert not {*machine.dropped} & {"MALLOC_ARENA_MAX", "CC", "HOME", *SET_BY_NNBENCH}
    start = "cells' environment is without "
    [remark] = (text for text in machine.warnings if text.startswith(start))
    assert remark in " ".join(said.split())
    assert {*remark.removeprefix(start).partition(", ")[0].split(",")} >= dropped
    for cell in cells.values():
        assert (cell.variables["CC"], cell.variables["MALLOC_ARENA_MAX"]) == ("cc", "1")
        assert not cell.variables.keys() & dropped


def test_both_are_on_the_page_of_a_report(ran):
    cells, info, _ = ran
    told = page.facts(Run(info, [*cells.values()]))["Environment variables"]
    assert (told["CC"], told["MALLOC_ARENA_MAX"]) == ("cc", "1")
    assert {"JAX_DISABLE_JIT", "LD_BIND_NOW"} <= {*told["set, and not handed on"].split(", ")}
    assert "HOME" not in told


def test_what_a_backend_names_reaches_it_alone_and_another_is_told_why(ran):
    cells, _, _ = ran
    named, unnamed = cells["named"], cells["unnamed"]
    assert (named.status, named.variables["RECORDING_MODE"]) == ("ok", "fast")
    assert named.setup.recorded == {"mode": "fast"}
    assert "RECORDING_MODE" not in unnamed.variables.keys() | cells["numpy"].variables.keys()
    assert unnamed.status == "crashed"
    hint = "RECORDING_MODE is set, and handed on only where NNBENCH_INHERIT or Backend.environment names it"
    assert unnamed.message == f"KeyError: 'RECORDING_MODE' ({hint})"
