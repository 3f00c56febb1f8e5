"""Plugins are found through entry points, and a broken one harms nobody else."""

import json
import subprocess
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench import Backend, NnbenchError, catalog, selection
from nnbench.catalog import listings, names
from nnbench.contract import hooks
from tests.cells import read_final
from tests.plugins.helpers import environment, nnbench


def list_with(*plugins) -> subprocess.CompletedProcess[str]:
    return nnbench("list", env=environment(*plugins))


def reasons(plugin) -> list[str]:
    """Why it is left out, or what of it, as the list says in JSON."""
    return [each["reason"] for each in plugin["left_out"]]


def unwanted(how):
    return {"thing": "", "reason": f"NNBENCH_PLUGINS {how}", "wanted": True}


@pytest.fixture(scope="module")
def without_plugins():
    return list_with().stdout


def test_plugin_is_found_without_being_installed():
    done = list_with("faulty")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  steady " in done.stdout


BROKEN = ("unimportable", "listing", "misspelt", "unmarked")


@pytest.fixture(scope="module")
def with_broken():
    """List what is installed beside plugins that are broken, each in its way."""
    return list_with(*BROKEN)


def said_of(done, plugin):
    """Return the warnings of a plugin, without what they all begin with."""
    lines = [line for line in done.stderr.splitlines() if f"plugin '{plugin}' " in line]
    return [line.removeprefix("nnbench: warning: ") for line in lines]


def test_broken_plugins_change_nothing_else(with_broken, without_plugins):
    assert (with_broken.returncode, with_broken.stdout) == (0, without_plugins)
    assert sum(len(said_of(with_broken, name)) for name in BROKEN) == 5
    assert with_broken.stderr.count("\n") == 5


def test_plugin_whose_import_fails_is_left_out(with_broken):
    [line] = said_of(with_broken, "unimportable")
    reason = "ImportError: libfoo.so.1: cannot open shared object file"
    assert line == f"plugin 'unimportable' of nnbench-unimportable 1.0 is left out: {reason}"


def test_plugin_whose_listing_hook_fails_lists_nothing(with_broken):
    start = "{} of plugin 'listing' of nnbench-listing 1.0 are left out: "
    no_list = "the hook returned {'mine': 'no workload'}, and must return a list of Workload"
    assert said_of(with_broken, "listing") == [
        start.format("backends") + "KeyError: 'no backends'",
        start.format("workloads") + no_list,
    ]


def test_plugin_with_a_misspelt_hook_is_left_out(with_broken):
    [line] = said_of(with_broken, "misspelt")
    start = "plugin 'misspelt' of nnbench-misspelt 1.0 is left out: "
    assert line.startswith(start + "unknown hook 'nnbench_backend'")


def test_a_hook_without_its_marker_is_said(with_broken):
    reason = "nnbench_backends has no @hookimpl, so nobody calls it"
    [line] = said_of(with_broken, "unmarked")
    assert line == f"plugin 'unmarked' of nnbench-unmarked 1.0 is left out: {reason}"


def test_what_nobody_could_select_is_left_out():
    done = nnbench("list", "--json", env=environment("nameless"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    plugins = {each["name"]: each for each in found["plugins"]}
    assert plugins["nameless"]["brings"] == {
        "backends": ["mine/1.0+x"],
        "workloads": ["toy-sigmoid+epochs=1"],
        "datasets": ["a set"],
    }
    assert [each["name"] for each in found["executors"]] == ["dask", "local"]
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines)) == 12 + 5 + 5 + 2 + 1
    start = "nnbench: warning: {} of plugin 'nameless' of nnbench-nameless 1.0 is left out: "
    assert start.format("backend 'all'") + "this name stands for something else" in lines
    assert start.format("executor 'local'") + "this name stands for something else" in lines
    nameless = "name is None, and must be a text, at least 1 and at most 4,096 characters"
    assert start.format("executor None") + nameless in lines
    reason = "cannot be in its name: nobody could select it"
    assert start.format("backend 'a@b'") + f"'@' {reason}" in lines
    own = "nnbench: warning: plugin 'a,b' of nnbench-nameless 1.0 is left out: "
    assert f"{own}',' {reason}" in lines


@given(st.text(st.characters(codec="utf-8"), max_size=4))
def test_name_that_is_listed_can_be_selected(name):
    if names.why_unselectable("backends", name) is None:
        backend = Backend(name=name, summary="", create="a:b")
        assert [each.label for each in selection.parse([name], {name: backend})] == [name]


OTHER = "; NNBENCH_PLUGINS=no:numpy@nnbench-harness leaves out that one instead"
TAKEN = f"nnbench-harness {version('nnbench-harness')} has one of this name{OTHER}"


def test_second_thing_of_a_name_is_left_out(without_plugins):
    done = list_with("duplicate")
    assert done.returncode == 0
    start = "nnbench: warning: {} of plugin 'duplicate' of nnbench-duplicate 1.0 is left out: "
    assert sorted(done.stderr.splitlines()) == [
        start.format("backend 'numpy'") + TAKEN,
        start.format("backend 'single'") + "it is listed twice",
        start.format("workload 'mnist'") + "one of this name ships with nnbench",
    ]
    lines = done.stdout.splitlines()
    [added] = (line for line in lines if line not in without_plugins.splitlines())
    assert added.split(maxsplit=1) == ["single", "the only one"]
    duplicate = plugins_with("duplicate")["duplicate"]
    assert duplicate["brings"] == {"backends": ["single"]}
    assert [(each["thing"], each["reason"]) for each in duplicate["left_out"]] == [
        ("backend 'single'", "it is listed twice"),
        ("workload 'mnist'", "one of this name ships with nnbench"),
        ("backend 'numpy'", TAKEN),
    ]


def test_the_other_thing_of_a_name_can_be_chosen():
    env = environment("duplicate", NNBENCH_PLUGINS="no:numpy@nnbench-harness")
    done = nnbench("list", env=env)
    assert "\n  numpy " in done.stdout
    assert " another one\n" in done.stdout
    assert "backend 'numpy'" not in done.stderr


def test_second_plugin_of_a_name_is_left_out():
    done = list_with("twin")
    text = "nnbench: warning: plugin 'numpy' of nnbench-twin 1.0 is left out: "
    assert (done.returncode, done.stderr) == (0, f"{text}{TAKEN}\n")
    assert "\n  numpy " in done.stdout
    assert "\n  twin " in done.stdout  # of the plugin called "again"


@pytest.mark.parametrize(
    "limit",
    ["no:numpy@nnbench-harness", "numpy@nnbench-twin,python", "no:numpy@nnbench-harness,no:again"],
)
def test_the_other_plugin_of_a_name_can_be_chosen(limit):
    env = environment("twin", NNBENCH_PLUGINS=limit)
    done = nnbench("list", "--json", env=env)
    names = [backend["name"] for backend in json.loads(done.stdout)["backends"]]
    assert "twin" in names
    assert "numpy" not in names


def test_backend_of_the_other_plugin_of_a_name_is_run(tmp_path):
    env = environment("twin", NNBENCH_PLUGINS="no:numpy@nnbench-harness")
    backends = ("-b", "twin", "-b", "python", "-w", "toy-sigmoid", "-r", "1")
    done = nnbench("run", *backends, "-o", tmp_path / "run", env=env)
    assert [cell.status for cell in read_final(tmp_path / "run")] == ["ok", "ok"], done.stderr


def test_plugin_can_be_left_out():
    found = plugins_with("garden", NNBENCH_PLUGINS="no:garden, no:nowhere")
    assert found["garden"]["left_out"] == [unwanted("leaves it out")]
    assert found["numpy"]["left_out"] == []


def test_one_module_is_one_plugin():
    limit = "numpy@nnbench-twin,again"
    found = nnbench("list", "--plugins", env=environment("twin", NNBENCH_PLUGINS=limit))
    assert found.stderr == (
        "nnbench: warning: plugin 'numpy' of nnbench-twin 1.0 is left out: "
        "it is what plugin 'again' is\n"
    )


def test_backend_that_fails_to_tell_is_unavailable():
    done = list_with("unavailable")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  mute "))
    assert line.split(maxsplit=1)[1] == "unavailable: OSError: the driver is not talking"


def test_naming_a_backend_that_fails_to_tell_is_an_error(tmp_path):
    done = nnbench("run", "-b", "mute", "-o", tmp_path / "run", env=environment("unavailable"))
    assert done.returncode == 2
    assert done.stderr == (
        "nnbench: error: mute is unavailable: OSError: the driver is not talking\n"
    )
    assert not (tmp_path / "run").exists()


def test_naming_a_backend_of_a_plugin_that_is_left_out_says_why(tmp_path):
    done = nnbench("run", "-b", "unimportable", "-o", tmp_path, env=environment("unimportable"))
    assert (done.returncode, done.stdout) == (2, "")
    reason = "ImportError: libfoo.so.1: cannot open shared object file"
    plugin = "plugin 'unimportable' of nnbench-unimportable 1.0 is left out"
    assert done.stderr.splitlines() == [
        f"nnbench: warning: {plugin}: {reason}",
        f"nnbench: error: no backend named 'unimportable': {plugin}: {reason}",
    ]


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(NnbenchError, match="no backend named 'nunpy'; did you mean numpy"):
        catalog.find("backend", "nunpy", catalog.backends())


def test_dataset_and_workload_of_a_plugin_are_run(tmp_path):
    env = environment("garden")
    folder = tmp_path / "run"
    done = nnbench(
        "run", "-b", "numpy", "-w", "garden", "-r", "1", "--seed", 0, "-o", folder, env=env
    )
    assert done.returncode == 0, done.stderr
    [cell] = read_final(folder)
    assert (cell.workload, cell.status, len(cell.epochs)) == ("garden", "ok", 20)
    assert cell.epochs[-1].accuracy >= 0.9


def plugins_with(*plugins, **more):
    """List plugins; return each as its record."""
    done = nnbench("list", "--json", env=environment(*plugins, **more))
    assert done.returncode == 0, done.stderr
    return {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"]}


@pytest.fixture(scope="module")
def listed():
    """List plugins of which some are broken."""
    return plugins_with("garden", "observers", *BROKEN)


def test_plugins_are_listed_with_what_they_bring(listed):
    assert listed["garden"] == {
        "name": "garden",
        "distribution": "nnbench-garden",
        "version": "1.0",
        "module": "nnbench_garden",
        "left_out": [],
        "brings": {"workloads": ["garden"], "datasets": ["beds"]},
    }
    assert listed["observers"]["brings"] == {
        "events": ["run_started", "cell_finished", "run_finished"]
    }
    assert listed["numpy"]["brings"] == {"backends": ["numpy"]}
    assert listed["numpy"]["distribution"] == "nnbench-harness"


def test_every_hook_lists_or_observes():
    declared = {name for name in vars(hooks) if name.startswith("nnbench_")}
    known = [*listings.kinds(), *listings.events()]
    assert sorted(f"nnbench_{name}" for name in known) == sorted(declared)
    assert listings.kinds()["backends"] is Backend
    assert "run_started" in listings.events()


MORE_HOOKS = """
from collections.abc import Sequence

from nnbench.contract import hooks, hookspec


@hookspec
def nnbench_gardens() -> Sequence[Gardener]:
    return ()


@hookspec
def nnbench_rain_fell(hours: float) -> None: ...


class Gardener:
    name = "kew"


hooks.nnbench_gardens, hooks.nnbench_rain_fell = nnbench_gardens, nnbench_rain_fell
"""
WITH_THEM = """
from nnbench import hookimpl
from sitecustomize import Gardener


@hookimpl
def nnbench_gardens():
    return [Gardener()]


@hookimpl
def nnbench_rain_fell(hours):
    pass
"""


def test_what_a_hook_brings_is_known_once_the_hook_is_declared(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("from __future__ import annotations\n" + MORE_HOOKS)
    (tmp_path / "nnbench_rainy.py").write_text(WITH_THEM)
    info = tmp_path / "nnbench_rainy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nnbench-rainy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nnbench]\nrainy = nnbench_rainy\n")
    done = nnbench("list", "--plugins", env=environment(PYTHONPATH=str(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")
    [line] = (line for line in done.stdout.splitlines() if line.startswith("  rainy "))
    assert line.endswith("(nnbench_rainy): events rain_fell; gardens kew")


def test_broken_plugins_are_listed_with_their_reason(listed):
    assert reasons(listed["unimportable"])[0].startswith("ImportError: libfoo.so.1: ")
    assert reasons(listed["unmarked"])[0].startswith("nnbench_backends has no @hookimpl")
    assert listed["unimportable"]["brings"] == {}
    [backends, workloads] = listed["listing"]["left_out"]
    assert (backends["thing"], backends["reason"]) == ("backends", "KeyError: 'no backends'")
    assert workloads["thing"] == "workloads"
    assert workloads["reason"].startswith("the hook returned {'mine': ")


def test_plugins_are_shown_as_text():
    env = environment("unimportable", "garden")
    lines = nnbench("list", "--plugins", env=env).stdout.partition("Plugins:\n")[2].splitlines()
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    brought = "workloads garden; datasets beds"
    assert shown["garden"] == f"nnbench-garden 1.0 (nnbench_garden): {brought}"
    start = "nnbench-unimportable 1.0 (nnbench_unimportable): left out: ImportError: libfoo"
    assert shown["unimportable"].startswith(start)


def test_plugins_that_are_not_named_are_not_even_imported():
    found = plugins_with("unimportable", "misspelt", "garden", NNBENCH_PLUGINS=" numpy, garden,")
    loaded = {name for name, plugin in found.items() if not plugin["left_out"]}
    assert loaded == {"numpy", "garden"}
    assert found["unimportable"]["left_out"] == [unwanted("does not name it")]
    assert found["misspelt"]["left_out"] == [unwanted("does not name it")]


@pytest.mark.parametrize("value", ["", " ,"])
def test_all_plugins_are_loaded_if_none_is_named(value):
    found = plugins_with(NNBENCH_PLUGINS=value)
    assert {"numpy", "python", "torch"} <= found.keys()
    assert not any(plugin["left_out"] for plugin in found.values())


def test_unknown_plugin_is_an_error():
    done = nnbench("list", env=environment(NNBENCH_PLUGINS="numpy,nunpy"))
    assert (done.returncode, done.stdout) == (2, "")
    start = "nnbench: error: NNBENCH_PLUGINS: no plugin named 'nunpy'; did you mean numpy? known: "
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1
