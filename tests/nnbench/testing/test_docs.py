"""The page about the suite names every check, and what it promises."""

import re

import pytest

from nnbench.testing.checks import Conformance
from tests.documents import ROOT

PAGE = ROOT / "docs" / "conformance.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")]


def test_the_page_has_every_check():
    checks = {
        name.removeprefix("test_").replace("_", " "): method.__doc__
        for kind in Conformance.__mro__
        for name, method in vars(kind).items()
        if name.startswith("test_")
    }
    assert len(checks) > 20
    promises = {name: doc.splitlines()[0].replace("``", "`") for name, doc in checks.items()}
    rows = (line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines())
    assert promises.items() <= {row[0]: row[1] for row in rows if len(row) == 2}.items()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_counts_checks(path):
    """Each new check, and each workload of a plugin, would make it wrong."""
    assert re.findall(r"\b\d+ (?:passed|failed|skipped)\b", path.read_text("utf-8")) == []
