"""Plugins are found through entry points, and a broken one harms nobody else."""

import subprocess

import pytest

from nnbench import NnbenchError, registry
from tests.plugins.helpers import environment, nnbench


def list_with(*plugins) -> subprocess.CompletedProcess[str]:
    return nnbench("list", env=environment(*plugins))


@pytest.fixture(scope="module")
def without_plugins():
    return list_with().stdout


def test_plugin_is_found_without_being_installed():
    done = list_with("faulty")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  steady " in done.stdout


def test_plugin_whose_import_fails_is_left_out(without_plugins):
    done = list_with("unimportable")
    assert (done.returncode, done.stdout) == (0, without_plugins)
    assert done.stderr == (
        "nnbench: warning: plugin 'unimportable' of nnbench-unimportable 1.0 is left out: "
        "ImportError: libfoo.so.1: cannot open shared object file\n"
    )


def test_plugin_whose_listing_hook_fails_lists_nothing(without_plugins):
    done = list_with("listing")
    assert (done.returncode, done.stdout) == (0, without_plugins)
    assert done.stderr.splitlines() == [
        "nnbench: warning: plugin 'listing' is left out: KeyError: 'no backends'",
        "nnbench: warning: plugin 'listing' is left out: TypeError: 'mine' is no Workload",
    ]


def test_misspelt_hook_is_an_error():
    done = list_with("misspelt")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    start = "nnbench: error: plugin 'misspelt' of nnbench-misspelt 1.0: "
    assert line.startswith(start + "unknown hook 'nnbench_backend'")


def test_two_backends_of_one_name_are_an_error():
    done = list_with("duplicate")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "'duplicate'" in line
    assert "'numpy'" in line
    assert line.endswith("both provide a backend named 'numpy'")


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


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(NnbenchError, match="no backend named 'nunpy'; did you mean numpy"):
        registry.find("backend", "nunpy", registry.backends())
