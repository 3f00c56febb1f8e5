"""A process lists what is installed, and the one that asked it relies on that alone."""

import json
import os
import sys
from contextlib import ExitStack

import pytest

from nnbench import catalog
from nnbench.contract.errors import NnbenchError, PluginWarning
from nnbench.execution import listing, remote
from tests.plugins.helpers import environment, nnbench, variables

RUN = ["run", "-b", "numpy", "-w", "toy-sigmoid", "-r", "1"]


@pytest.fixture
def rely(monkeypatch):
    """Give a function that relies on what a process lists that finds some plugins."""

    def on(*plugins, meanwhile=lambda: None):
        path = variables(*plugins)["PYTHONPATH"]
        monkeypatch.setenv("PYTHONPATH", path)
        monkeypatch.setattr(sys, "path", [*path.split(os.pathsep), *sys.path])
        return listing.relied_on(meanwhile)

    return on


def test_listing_is_what_is_installed(rely):
    here = catalog.installed()
    with rely():
        assert catalog.plugins() == here.plugins
        assert catalog.workloads() == {each.name: each for each in here.workloads}
        assert list(catalog.datasets()) == [each.name for each in here.datasets]
        for name, backend in catalog.backends().items():
            assert (name, backend.summary) == (backend.name, backend.summary)
            [item] = (each for each in here.backends if each.name == name)
            assert catalog.why_unavailable(backend) == item.unavailable
            flags = ("skips_zeros", "deterministic", "compiles", "named_only")
            for field in ("device", "precision", "environment", *flags):
                assert getattr(backend, field) == getattr(item, field)
            assert (backend.options, backend.libraries) == (item.options, item.libraries)


def test_records_have_no_code(rely, mnist):
    with rely():
        with pytest.raises(NotImplementedError):
            catalog.backends()["numpy"].network(mnist.network(4, 3), 8)
        with pytest.raises(NotImplementedError):
            catalog.datasets()["mnist"].load()


def test_plugin_is_known_and_not_loaded(rely):
    with rely("garden"):
        assert catalog.workloads()["garden"].dataset == "beds"
        assert "beds" in catalog.datasets()
    assert "garden" not in catalog.workloads()
    assert "nnbench_garden" not in sys.modules


def test_plugin_cannot_change_what_is_known_of_others(rely, mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("NNBENCH_FAULTY_FOLDER", str(tmp_path))
    with rely("meddler", "garden"):
        assert catalog.workloads()["mnist"] == mnist
        assert catalog.workloads()["garden"].epochs == 20
        assert catalog.why_unavailable(catalog.backends()["numpy"]) is None
        assert catalog.owner("datasets", "meddled").name == "meddler"
        assert catalog.owner("backends", "numpy").name == "numpy"


def test_plugins_that_are_not_named_are_known_as_left_out(rely, monkeypatch):
    monkeypatch.setenv("NNBENCH_PLUGINS", "garden")
    with rely("meddler", "garden"):
        assert catalog.backends() == {}
        assert {"mnist", "garden"} <= catalog.workloads().keys()
        assert set(catalog.datasets()) == {"beds", "mnist", "toy"}
        left_out = {each.name for each in catalog.plugins() if each.left_out}
    assert {"meddler", "numpy", "http"} <= left_out
    assert "garden" not in left_out


def test_something_else_can_be_done_meanwhile(rely):
    done = []
    with rely(meanwhile=lambda: done.append(1)):
        assert done == [1]


def test_plugin_that_is_left_out_is_warned_of_here(rely):
    text = "^plugin 'unimportable' of .* is left out: ImportError"
    with pytest.warns(PluginWarning, match=text), rely("unimportable"):
        pass


def test_plugin_whose_hook_is_misspelt_is_left_out_here(rely):
    text = "^plugin 'misspelt' of .* is left out: unknown hook 'nnbench_backend'"
    with pytest.warns(PluginWarning, match=text), rely("misspelt"):
        assert "numpy" in catalog.backends()


@pytest.mark.filterwarnings("ignore:.*listed twice", "ignore:.*ships with nnbench")
def test_second_backend_of_a_name_is_left_out_here(rely):
    text = "^backend 'numpy' of plugin 'duplicate' of nnbench-duplicate 1.0 is left out: "
    with pytest.warns(PluginWarning, match=text) as told, rely("duplicate") as listing:
        owners = [catalog.owner("backends", name).distribution for name in ("numpy", "single")]
    assert owners == ["nnbench-harness", "nnbench-duplicate"]
    [backend] = (each for each in listing.backends if each.name == "numpy")
    assert backend.summary != "another one"
    assert len(told) == 3


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("hangs", "its process did not answer in time"),
        ("dies", "its process ended with status 3"),
        ("interrupts", "KeyboardInterrupt"),
    ],
)
def test_plugin_whose_import_does_not_end_well_is_left_out(rely, monkeypatch, what, reason):
    if what == "hangs":
        monkeypatch.setattr(listing, "LIMIT_S", 2.0)
    monkeypatch.setenv("NNBENCH_TEST_IMPORT", what)
    monkeypatch.setenv("NNBENCH_PLUGINS", "elsewhere")
    text = f"plugin 'elsewhere' of nnbench-elsewhere 1.0 is left out: {reason}"
    with ExitStack() as stack:
        with pytest.warns(PluginWarning) as told:
            listed = stack.enter_context(rely("elsewhere"))
        assert [str(each.message) for each in told] == [text]
        assert (catalog.executors(), "mnist" in catalog.workloads()) == ({}, True)
        with pytest.raises(NnbenchError, match=f"^no executor named 'elsewhere': {text}$"):
            remote.find("elsewhere")
    [plugin] = (each for each in listed.plugins if each.name == "elsewhere")
    assert plugin.why_left_out == reason


@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "GeneratorExit", "type('Skip', (BaseException,), {})"]
)
def test_whatever_an_import_raises_harms_no_neighbour(tmp_path, monkeypatch, raised):
    (tmp_path / "nnbench_bad.py").write_text(f"raise {raised}\n")
    (tmp_path / "nnbench_good.py").write_text(
        "from nnbench import Dataset, hookimpl\n\n@hookimpl\ndef nnbench_datasets():\n"
        "    return [Dataset(name='good', summary='', load=print)]\n"
    )
    info = tmp_path / "nnbench_both-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nnbench-both\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nnbench]\nbad = nnbench_bad\ngood = nnbench_good\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.warns(PluginWarning) as told, listing.relied_on():
        assert "good" in catalog.datasets()
    [warning] = told
    assert str(warning.message).startswith("plugin 'bad' of nnbench-both 1.0 is left out: ")


def test_unknown_executor_is_refused(rely):
    with (
        rely("elsewhere"),
        pytest.raises(NnbenchError, match=r"'nowhere'.*known: dask, elsewhere, local"),
    ):
        remote.find("nowhere")
    assert "nnbench_elsewhere" not in sys.modules


def test_executor_of_a_plugin_is_loaded_if_it_is_named(tmp_path):
    """If it is not, no plugin is: ``tests/nnbench/test_apart.py``."""
    env = environment("elsewhere", "meddler", NNBENCH_FAULTY_FOLDER=str(tmp_path))
    command = [*RUN, "--executor", "elsewhere", "-o", tmp_path / "run"]
    done = nnbench(*command, env=env, tells=True)
    assert done.returncode == 0, done.stderr
    modules = json.loads((tmp_path / "parent").read_text())["modules"]
    strangers = [name for name in modules if name.startswith("nnbench_")]
    assert strangers == ["nnbench_elsewhere"]
    [machine] = json.loads((tmp_path / "run" / "run.json").read_text())["machines"].values()
    remark = "the executor is a plugin's: times and proofs from here are its word"
    assert remark in machine["warnings"]
