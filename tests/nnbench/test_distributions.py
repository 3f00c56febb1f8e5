"""The distribution has a name of its own: ``nnbench`` is another project's on package indexes."""

import importlib
import json
import re
import shutil
import tomllib
from dataclasses import replace
from email import message_from_string
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnbench import distributions
from nnbench.catalog import loading
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


METADATA = "Metadata-Version: 2.1\nName: nnbench-mine\nVersion: 1.0\n"
LISTED = "[nnbench]\nmine = nnbench_mine\n"
AGAIN = "and must be {}: install it again"
NAMED = "the name in its metadata is {}, " + AGAIN.format(
    "the name of a distribution, as pip has it"
)


@pytest.fixture
def lay(tmp_path, monkeypatch):
    """Give a function that lays down files of metadata, and returns what is announced in them."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(folder="nnbench_mine-1.0.dist-info", **files):
        where = tmp_path / folder
        where.mkdir()
        for name, content in files.items():
            path = where / ("METADATA" if name == "metadata" else "entry_points.txt")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        importlib.invalidate_caches()
        return [
            each
            for each in distributions.plugins()
            if each.module.startswith("nnbench_mine") or each.fault
        ]

    return write


def test_plugin_of_a_distribution_is_announced(lay):
    [entry] = lay(metadata=METADATA, entry_points=f"# ours\n[other]\nx = y\n\n{LISTED}[more]\nz")
    assert entry == ("mine", "nnbench_mine", "nnbench-mine", "1.0", None)
    assert distributions.versions(["nnbench-mine"]) == {"nnbench-mine": "1.0"}


@pytest.mark.parametrize("line", ["mine", "mine =", "mine = two words", "= \\x1b["])
def test_line_that_names_no_module_is_a_fault_of_its_own(lay, line):
    right, wrong = sorted(
        lay(
            metadata=METADATA, entry_points=f"[nnbench]\n{line}\nright = nnbench_mine:plugin [x]\n"
        ),
        key=lambda entry: entry.fault is not None,
    )
    assert (right.name, right.fault) == ("right", None)
    shown = repr(line)
    assert wrong.fault == f"its line in entry_points.txt is {shown}, and must be name = module"


@pytest.mark.parametrize(
    ("folder", "metadata", "fault"),
    [
        (
            "~nbench_mine-1.0.dist-info",
            METADATA,
            "an interrupted pip has left that: delete the folder",
        ),
        ("nnbench_mine-1.0.dist-info", None, NAMED.format("None")),
        ("nnbench_mine-1.0.dist-info", "", NAMED.format("None")),
        ("nnbench_mine-1.0.dist-info", "Name: a,b\nVersion: 1\n", NAMED.format("'a,b'")),
        (
            "nnbench_mine-1.0.dist-info",
            "Name: mine\n",
            "the version in its metadata is None, " + AGAIN.format("a version without blanks"),
        ),
        ("nnbench_mine-1.0.dist-info", b"Name: \xff\n", NAMED.format("None")),
    ],
)
def test_distribution_without_a_name_or_a_version_is_none(lay, folder, metadata, fault):
    files = {} if metadata is None else {"metadata": metadata}
    [entry] = lay(folder, entry_points=f"{LISTED}more = nnbench_mine.more\n", **files)
    assert entry == ("mine, more", "", folder, None, fault)
    assert distributions.get("nnbench-mine") is None
    assert distributions.versions(["nnbench-mine", "", "mine"]) == {}


def test_missing_version_is_said_whoever_reads_the_metadata(lay, monkeypatch):
    class Strict(Message):
        """As importlib_metadata has it from 8.0, which takes importlib.metadata's place."""

        def __getitem__(self, name):
            if name not in self:
                raise KeyError(name)
            return super().__getitem__(name)

    def read(found):
        return message_from_string(found.read_text("METADATA") or "", Strict)

    monkeypatch.setattr(Distribution, "metadata", property(read))
    [entry] = lay(metadata="Name: mine\n", entry_points=LISTED)
    assert entry.fault.startswith("the version in its metadata is None, ")


def test_what_pip_has_left_is_none_beside_the_distribution(lay):
    lay(metadata=METADATA, entry_points=LISTED)
    left, right = lay("~nbench_mine-0.9.dist-info", metadata=METADATA, entry_points=LISTED)
    if right.fault:
        left, right = right, left
    assert (left.distribution, right.distribution) == ("~nbench_mine-0.9.dist-info", "nnbench-mine")
    assert (bool(left.fault), right.fault) == (True, None)
    listed = [each.identity for each in map(loading.describe, (left, right))]
    assert len(set(listed)) == 2


@pytest.mark.parametrize(
    "content", ["[console_scripts]\nno equals sign\n", b"[x]\n\xff\n", b"\0" * 100]
)
def test_fault_of_a_distribution_without_plugins_is_not_ours(lay, content):
    assert lay("other-1.0.dist-info", metadata=METADATA, entry_points=content) == []


def test_plugin_is_found_in_a_file_that_is_no_text(lay):
    [entry] = lay(metadata=METADATA, entry_points=b"# \xff\n" + LISTED.encode())
    assert (entry.name, entry.fault) == ("mine", None)


def test_the_first_distribution_of_a_name_counts(lay, tmp_path, monkeypatch):
    lay(metadata=METADATA, entry_points=LISTED)
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "nnbench_mine-1.0.dist-info", other / "nnbench_mine-2.0.dist-info")
    monkeypatch.syspath_prepend(other)
    assert [each.name for each in distributions.plugins()].count("mine") == 1


def test_what_a_distribution_needs_in_any_case_is_missing_or_not(lay):
    needs = [
        "numpy>=1",
        "No.Such-One>=2 ",
        "no-other",
        "extra-one; extra == 'x'",
        "here[x] @ http://h",
    ]
    requires = "".join(f"Requires-Dist: {each}\n" for each in needs)
    lay(metadata=METADATA + requires, entry_points=LISTED)
    assert distributions.missing("nnbench-mine") == ["No.Such-One", "no-other", "here"]
    assert distributions.missing("no-such-distribution") == []
