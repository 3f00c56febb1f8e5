"""The native backend's build, its cache, its threads, and its code for other processors."""

import platform
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from nnbench import BackendUnavailableError, catalog, reference
from nnbench.contract import builds
from nnbench_native import compiler, library
from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

NATIVE = catalog.backends()["native"]
SIZES = (300, 150, 70, 10)  # several words of inputs, several tiles, and none of them whole
EXAMPLES, BATCH_SIZE = 210, 90  # the last batch is smaller
BUILD = "import sys; from nnbench_native import library; library.load('portable')"

pytestmark = pytest.mark.skipif(
    catalog.why_unavailable(NATIVE) is not None, reason="there is no C compiler"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Give an empty cache of libraries, and forget what this process has loaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(compiler.EXTRA_FLAGS, "-O0")  # compiles in less time
    library.load.cache_clear()
    yield tmp_path / "cache" / "nnbench" / "native"
    library.load.cache_clear()


def libraries(folder):
    return sorted(path.name for path in folder.iterdir())


def fake_compiler(path, monkeypatch, script):
    """Put a shell script in the compiler's place."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))


def make(spec, instructions="native"):
    network = NATIVE.network(spec, 8, instructions=instructions)
    network.load(make_layers(spec))
    return network


def train(spec, examples, instructions="native", epochs=2):
    network = make(spec, instructions)
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(epochs)]
    losses = [network.train_epoch(data, order, BATCH_SIZE) for order in orders]
    return np.concatenate(losses), network.dump()


def batches(examples, epochs=2):
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(EXAMPLES)
        for start in range(0, EXAMPLES, BATCH_SIZE):
            index = order[start : start + BATCH_SIZE]
            yield type(examples)(*(None if part is None else part[index] for part in examples))


@pytest.mark.parametrize("threads", ["1", "2", "3"])
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-2]], ids=["relu", "sigmoid, l2"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
def test_any_number_of_threads_matches_the_reference(monkeypatch, threads, kind, optimizer):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    spec = make_spec(SIZES, kind, optimizer)
    examples = make_examples(spec, EXAMPLES)
    examples.inputs[:, :70] = 0  # never set, as a margin is
    losses, layers = train(spec, examples)
    expected, trained = reference.train(spec, make_layers(spec), list(batches(examples)))
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(layers, trained) < 1e-4
    again, same = train(spec, examples)
    assert np.array_equal(losses, again)
    assert distance(layers, same) == 0


@pytest.mark.parametrize("threads", ["2", "5"])
def test_threads_share_the_three_phases(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    examples = make_examples(spec, 3)  # fewer than threads
    whole, stepwise = make(spec), make(spec)
    loss = whole.train_epoch(whole.place(examples), np.arange(3), 3)
    batch = stepwise.batch(stepwise.place(examples), np.arange(3))
    stepwise.feedforward(batch)
    assert stepwise.backprop(batch) == pytest.approx(loss[0], rel=1e-6)
    stepwise.update()
    assert distance(whole.dump(), stepwise.dump()) < 1e-6


@pytest.mark.parametrize("value", ["", "many", "2,1", "0"])
def test_threads_come_from_the_environment(monkeypatch, value):
    from nnbench_native.network import threads

    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads() == (2 if value == "2,1" else 1)


@pytest.mark.parametrize("instructions", ["avx2", "portable"])
def test_code_for_other_processors_trains_the_same(instructions):
    if instructions == "avx2" and platform.machine() not in {"x86_64", "AMD64"}:
        pytest.skip("AVX2 is of x86 processors")
    spec = make_spec(SIZES, KINDS[0], OPTIMIZERS[1])
    examples = make_examples(spec, EXAMPLES)
    losses, layers = train(spec, examples, instructions)
    expected, trained = train(spec, examples)
    assert make(spec, instructions).instructions.lower() == instructions
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(layers, trained) < 1e-4


def test_what_lies_outside_is_refused():
    spec = make_spec((6, 5, 3), KINDS[0])
    examples, network = make_examples(spec, 4), make(spec)
    data = network.place(examples)
    with pytest.raises(IndexError, match="rows 0 to 4, but there are 4"):
        network.train_epoch(data, np.arange(5), 2)
    with pytest.raises(IndexError, match="rows -1 to 0"):
        network.batch(data, np.array([0, -1]))
    with pytest.raises(IndexError, match="labels"):
        network.place(examples._replace(labels=examples.labels + 3))
    with pytest.raises(ValueError, match="reshape"):
        network.load(make_layers(make_spec((6, 5, 4), KINDS[0])))


def test_a_library_is_built_once(cache, monkeypatch):
    library.load("portable")
    built = libraries(cache)
    assert len(built) == 1
    library.load.cache_clear()
    monkeypatch.setattr(compiler, "compile_into", lambda *_: pytest.fail("built again"))
    library.load("portable")
    assert libraries(cache) == built


def test_flags_make_another_library(cache, monkeypatch):
    library.load("portable")
    library.load.cache_clear()
    monkeypatch.setenv(compiler.EXTRA_FLAGS, "-O0 -DOTHER")
    library.load("portable")
    assert len(libraries(cache)) == 2


def test_two_processes_build_at_once(cache):
    workers = [subprocess.Popen([sys.executable, "-c", BUILD]) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert all(builds.digest_of(path) in path.stem for path in cache.iterdir())
    library.load("portable")
    assert not list(cache.glob(".building-*"))


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", None], ids=["empty", "short", "altered"])
def test_a_damaged_library_is_built_again(cache, damage):
    library.load("portable")
    [path] = cache.iterdir()
    whole = path.read_bytes()
    path.unlink()  # it may be mapped into this process
    path.write_bytes(whole[:-1] + b"\1" if damage is None else damage)
    library.load.cache_clear()
    library.load("portable")
    assert builds.find(cache, path.stem.split("-")[0], ".so")


def test_without_a_cache_it_is_built_all_the_same(tmp_path, monkeypatch, cache):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    spec = make_spec((6, 5, 3), KINDS[0])
    assert make(spec, "portable").instructions == "portable"
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_no_compiler_is_a_reason(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    reason = catalog.why_unavailable(NATIVE)
    assert reason.startswith("no C compiler: no-such-compiler not found")
    with pytest.raises(BackendUnavailableError, match="no C compiler"):
        NATIVE.network(make_spec((6, 5, 3), KINDS[0]), 8)


@pytest.mark.parametrize("variable", ["CC", compiler.EXTRA_FLAGS])
def test_an_open_quote_is_a_reason_that_names_its_variable(monkeypatch, variable):
    monkeypatch.setenv(variable, "-O2 '")
    reason = f"{variable} cannot be read as a shell does: No closing quotation"
    assert catalog.why_unavailable(NATIVE) == reason
    with pytest.raises(BackendUnavailableError, match=f"^{reason}$"):
        compiler.words(variable)


def test_without_a_home_there_is_no_cache(monkeypatch):
    def fail(_):
        raise RuntimeError("could not determine the home directory")

    for find in (fail, lambda name: Path("~/.cache", name)):  # newer and older versions
        monkeypatch.setattr(platformdirs, "user_cache_path", find)
        with pytest.raises(OSError, match="no home folder"):
            builds.cache("native")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo note >&2; echo 'x.c:1: error: no' >&2; exit 1", "x.c:1: error: no"),
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "SIGKILL"),
    ],
)
def test_a_failing_compiler_is_a_reason_in_one_line(tmp_path, monkeypatch, script, reason):
    fake_compiler(tmp_path / "broken", monkeypatch, script)
    with pytest.raises(BackendUnavailableError, match=reason) as error:
        NATIVE.network(make_spec((6, 5, 3), KINDS[0]), 8)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("cache")
def test_what_is_no_library_is_a_reason(tmp_path, monkeypatch):
    last = 'for word; do [ "$before" = -o ] && echo junk > "$word"; before=$word; done'
    fake_compiler(tmp_path / "liar", monkeypatch, last)
    with pytest.raises(BackendUnavailableError, match="cannot load the compiled code"):
        NATIVE.network(make_spec((6, 5, 3), KINDS[0]), 8)


def code():
    return {path.name: path.read_text() for path in sorted(compiler.SOURCES.glob("*.[ch]"))}


@pytest.mark.parametrize("name", ["ADAM", "SIGMOID", "SQUARED_ERROR"])
def test_the_compiler_refuses_a_switch_that_leaves_a_kind_out(tmp_path, monkeypatch, name):
    for file, text in code().items():
        (tmp_path / file).write_text(text.replace(f"case {name}:", "case -1:"))
    monkeypatch.setattr(compiler, "SOURCES", tmp_path)
    with pytest.raises(BackendUnavailableError, match=rf"{name}\W+not handled in switch"):
        compiler.build("portable", tmp_path / "built")


@pytest.mark.parametrize(
    ("enum", "kinds"),
    [
        ("kind", library.OPTIMIZERS),
        ("activation", library.ACTIVATIONS),
        ("loss", library.LOSSES),
    ],
)
def test_kinds_have_the_same_numbers_in_c_and_in_python(enum, kinds):
    [members] = re.findall(rf"^enum {enum} {{ (.+?) }};", code()["types.h"], re.MULTILINE)
    numbers = {name: number for number, name in enumerate(members.split(", "))}
    names = {"adam-fresh": "FRESH_ADAM"}
    assert numbers == {names.get(kind, kind.upper()): number for kind, number in kinds.items()}


def test_no_two_files_of_c_need_each_other():
    """A source and the header with its prototypes count as one."""
    needs: dict[str, set[str]] = {}
    for file, text in code().items():
        included = {Path(name).stem for name in re.findall('#include "(.+)"', text)}
        needs.setdefault(Path(file).stem, set()).update(included - {Path(file).stem})
    assert needs["network"] >= {"sparse", "dense", "optimizer", "pool"}
    assert set(TopologicalSorter(needs).static_order()) >= set(needs)  # or it raises CycleError
