"""What an interpreter finds of its backends: whether they can be imported, and whether they changed."""

import shutil
import sys

import pytest

from nnbench import Backend, distributions
from nnbench.contract.errors import NnbenchError
from nnbench.execution import probing
from nnbench.execution.interpreters import of_each, probe
from tests.plugins.helpers import PLUGINS

LAZY = """
from nnbench import Backend, hookimpl
print("hello")

@hookimpl
def nnbench_backends():
    create = "nnbench_lazy.network:Network"
    return [Backend(name="lazy", summary="", create=create, libraries=("numpy",))]
"""


@pytest.fixture
def lazy(tmp_path):
    """Write a plugin that imports its network when a cell starts; give a function that asks an interpreter with it."""
    package = tmp_path / "plugin" / "nnbench_lazy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(LAZY)
    (package / "network.py").write_text("class Network: pass\n")
    info = tmp_path / "plugin" / "nnbench_lazy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nnbench-lazy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nnbench]\nlazy = nnbench_lazy\n")
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nPYTHONPATH='{package.parent}' NNBENCH_PLUGINS=lazy exec '{sys.executable}' \"$@\"\n"
    )
    python.chmod(0o755)
    return package, lambda: probe(str(python), ["lazy", "nobody"])


def test_code_is_the_same_until_a_file_changes(lazy):
    package, ask = lazy
    found = ask()
    assert found.backends["lazy"].error is None
    assert (list(found.backends), found.lacks) == (["lazy"], [])
    assert ask() == found
    (package / "network.py").write_text("class Network: x = 1\n")
    assert ask().backends["lazy"].code != found.backends["lazy"].code


def test_import_that_fails_is_one_line(lazy):
    package, ask = lazy
    (package / "network.py").write_text("import no_such_module\n")
    assert ask().backends["lazy"].error == "ModuleNotFoundError: No module named 'no_such_module'"


def test_import_that_ends_the_process_is_an_error(lazy):
    package, ask = lazy
    (package / "network.py").write_text("import os; os.write(2, b'bye\\n'); os._exit(3)\n")
    with pytest.raises(NnbenchError, match=r"cannot import lazy, nobody: bye$"):
        ask()


def test_nnbench_of_before_cannot_say(tmp_path):
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\necho '{python}: No module named {probing.__name__}' >&2; exit 1\n"
    )
    python.chmod(0o755)
    assert probe(str(python), ["numpy"]) is None


def make_backend(**changes):
    given = {"name": "mine", "summary": "", "create": "no_such_module:Network"}
    return Backend(**{**given, **changes})


def test_backend_that_is_unavailable_is_not_imported():
    assert probing.why_not_importable(make_backend()).startswith("ModuleNotFoundError")
    assert probing.why_not_importable(make_backend(requires=("no-such-library",))) is None
    assert probing.why_not_importable(make_backend(create=lambda *_: None)) is None


def test_another_version_of_a_library_is_another_code(monkeypatch):
    before = probing.digest(make_backend(libraries=("numpy",)))
    assert before == probing.digest(make_backend(libraries=("numpy",)))
    monkeypatch.setattr(distributions, "versions", lambda _: {"numpy": "another"})
    assert before != probing.digest(make_backend(libraries=("numpy",)))


def test_what_is_made_of_other_files_is_no_code(tmp_path, monkeypatch):
    shutil.copytree(PLUGINS / "shelves", tmp_path / "shelves")
    monkeypatch.syspath_prepend(str(tmp_path / "shelves"))
    before = probing.files("nnbench_shelves")
    assert "nnbench_shelves.py" in before
    (tmp_path / "shelves" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "shelves" / "__pycache__" / "nnbench_shelves.pyc").touch()
    assert probing.files("nnbench_shelves") == before
    assert probing.files("no_such_package") == probing.files("sys") == {}


def test_files_of_nnbench_are_its_code():
    names = probing.files("nnbench").keys()
    assert {"nnbench/__init__.py", "nnbench/execution/probing.py"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        ("mine/__init__.py", True),
        ("mine.py", True),
        ("mine/_fast.so", True),
        ("mine/__pycache__/a.pyc", False),
        ("mine-1.0.dist-info/RECORD", False),
        ("mine.pth", False),
        ("../../bin/mine", False),
    ],
)
def test_code_is_what_a_distribution_brings(name, is_code):
    assert distributions.is_code(name) is is_code


def test_interpreters_are_asked_at_once_and_each_only_once():
    asked = []

    def ask(python):
        asked.append(python)
        return python.upper()

    found = of_each(ask, ["a", "b", "a"])
    assert (found, sorted(asked)) == (["A", "B", "A"], ["a", "b"])
