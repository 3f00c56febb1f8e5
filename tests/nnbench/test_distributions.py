"""The distribution has a name of its own: ``nnbench`` is another project's on package indexes."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnbench import distributions
from nnbench.contract import DISTRIBUTION, FORMER
from nnbench.contract.errors import install_hint
from tests.plugins.helpers import environment, nnbench

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    *(ROOT / name for name in ("pyproject.toml", "constraints.txt")),
    *(
        path
        for folder in ("docs", ".github", "nnbench", "backends", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".md", ".yml", ".toml", ".py", ".in", ".txt"}
    ),
]
#: as a requirement, in a command that installs, on the index
NAMESAKE = re.compile(
    r"""(?<![\w./@{-])nnbench(?:\[[a-z,]+\]|\s*(?:[=~>]=|@\s*(?:git\+|https?:|\{)))
    |pip[ ]install\b(?:[^\n`]*[ '"])?nnbench(?![\w./-])
    |pypi\.org/project/nnbench(?![\w-])""",
    re.VERBOSE,
)


def test_no_text_installs_the_namesake():
    assert len(INSTRUCTIONS) > 100
    found = {str(path): NAMESAKE.findall(path.read_text("utf-8")) for path in INSTRUCTIONS}
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    "text",
    [
        "pip install nnbench",
        "pip install --upgrade nnbench && nnbench list",
        "pip install 'nnbench[test]'",
        'dependencies = ["nnbench>=0.1.0", "numpy>=1.26"]',
        "NNBENCH: nnbench @ git+https://host/nnbench",
        "Extra: `nnbench[report]`",
        "[nnbench](https://pypi.org/project/nnbench/)",
    ],
)
def test_the_search_finds_the_namesake(text):
    assert NAMESAKE.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install 'nnbench-harness[test]'",
        "pip install --editable nnbench-autograd",
        "pip uninstall nnbench",
        'NNBENCH: "nnbench-harness @ git+https://HOST/OWNER/nnbench"',
    ],
)
def test_the_search_takes_nothing_else_for_it(text):
    assert not NAMESAKE.search(text)


def test_the_metadata_have_the_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert install_hint("torch") == f"pip install '{DISTRIBUTION}[torch]'"
    assert list(project["scripts"]) == ["nnbench"]


def test_neither_name_makes_another_machine(make_info):
    machine = make_info().environment
    rest = {"numpy": "2.0"}
    prints = {
        replace(machine, versions=rest | own).fingerprint
        for own in ({}, {FORMER: "0.1.0"}, {DISTRIBUTION: "0.2.0"})
    }
    assert len(prints) == 1


def install(folder, version, entry_points=""):
    """Lay down the metadata of a distribution called ``nnbench``."""
    metadata = folder / f"nnbench-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: nnbench\nVersion: {version}\n"
    )
    (metadata / "entry_points.txt").write_text(entry_points)
    return environment(PYTHONPATH=str(folder))


def test_the_namesake_is_told_in_one_line(tmp_path):
    scripts = "[console_scripts]\nnnbench = nnbench.cli:main\n"
    done = nnbench("list", env=install(tmp_path, "0.5.0", scripts))
    assert done.returncode == 0
    assert done.stderr == (
        "nnbench: warning: the distribution nnbench 0.5.0 is another project's, and both write "
        "the same files: uninstall it (pip uninstall nnbench), and install "
        "nnbench-harness again\n"
    )


def test_the_former_name_is_told_and_its_plugins_are_loaded_once(tmp_path):
    done = nnbench("list", env=install(tmp_path, "0.1.0", "[nnbench]\nnumpy = nnbench_numpy\n"))
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "nnbench 0.1.0, the former name of nnbench-harness, is installed too" in line
    assert "\n  numpy " in done.stdout


def test_files_that_the_namesake_replaced_are_an_error_of_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import nnbench\ndel nnbench.Backend\n")
    done = nnbench("list", env=install(tmp_path, "0.5.0"))
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("nnbench: error: the distribution nnbench 0.5.0 is another project's")


@pytest.mark.parametrize(
    ("origin", "arguments"),
    [
        (None, ["nnbench-harness==0.7"]),
        ({"url": "file:///my%20src", "dir_info": {"editable": True}}, ["--editable", "/my src"]),
        ({"url": "file:///src", "dir_info": {}}, ["nnbench-harness @ file:///src"]),
        ({"url": "file:///x.whl", "archive_info": {}}, ["nnbench-harness @ file:///x.whl"]),
        (
            {"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["nnbench-harness @ git+https://host/x@abc"],
        ),
    ],
)
def test_nnbench_comes_from_where_this_one_came_from(monkeypatch, origin, arguments):
    record = None if origin is None else json.dumps(origin)
    own = SimpleNamespace(version="0.7", read_text={"direct_url.json": record}.__getitem__)
    monkeypatch.setattr(distributions, "distribution", lambda _: own)
    assert distributions.own_requirement() == arguments


@pytest.mark.parametrize("name", ["no-such-distribution", "definitely not"])
def test_distribution_that_is_missing_has_no_version(name):
    assert distributions.versions([name, "numpy"]) == {"numpy": np.__version__}
