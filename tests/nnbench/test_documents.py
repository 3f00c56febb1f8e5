"""What the documents say of exit codes is what the code says."""

import re
from itertools import pairwise

import pytest

from nnbench.contract.errors import GRAVITY, ExitCode, gravest
from nnbench.proof.judge import exit_code
from nnbench.records.cells import Kind, Status
from tests import documents

BEGIN = re.compile(r"<!-- generated: ")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
FILE = re.compile(r"`((?:nnbench|backends|tests|docs)/[\w/.-]+)`")
STATUS = re.compile(r"^\| `(\w+)` \| [^|]+ \| (\d+) \|$", re.MULTILINE)


@pytest.mark.parametrize("path", documents.documents(), ids=lambda path: path.name)
def test_generated_parts_are_current(path):
    text = path.read_text("utf-8")
    assert len(BEGIN.findall(text)) == len(documents.PART.findall(text)) > 0
    assert documents.generate(text) == text, "run: make documents"


def test_every_part_stands_in_a_document():
    texts = [path.read_text("utf-8") for path in documents.documents()]
    names = {match["name"] for text in texts for match in documents.PART.finditer(text)}
    assert names == set(documents.PARTS)


def test_status_table_has_every_status_and_its_exit_code(make_cell):
    text = (documents.ROOT / "docs" / "measurement.md").read_text("utf-8")
    section = text.partition("\n## Status\n")[2].partition("\n## ")[0]
    found = {name: int(code) for name, code in STATUS.findall(section)}
    expected = {s: exit_code([make_cell("numpy", status=s)], ()) for s in Status}
    skipped = {s: ExitCode.OK for s in Status if s.kind is Kind.SKIPPED}  # beside a measured one
    assert found == expected | skipped


@pytest.mark.parametrize("code", ExitCode)
def test_exit_code_has_a_meaning(code):
    assert code.meaning.strip()


def test_a_code_that_findings_come_to_has_its_gravity():
    with pytest.raises(ValueError, match="not in tuple"):
        gravest([ExitCode.OK, ExitCode.INTERNAL])


@pytest.mark.parametrize(("graver", "code"), list(pairwise(GRAVITY)))
def test_gravest_finding_decides(graver, code):
    assert gravest([code, None, graver, code]) is graver


@pytest.mark.parametrize("findings", [[], [None], [None, None]])
def test_findings_without_a_code_measured_nothing(findings):
    assert gravest(findings) is ExitCode.NOTHING_MEASURED


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/life-of-a-cell.md"])
def test_files_that_are_named_exist(name):
    named = FILE.findall((documents.ROOT / name).read_text("utf-8"))
    assert named
    assert [path for path in named if not (documents.ROOT / path).exists()] == []


DOCUMENTS = [*documents.ROOT.glob("*.md"), *documents.ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_linked_exist(path):
    linked = [target for target in LINK.findall(path.read_text("utf-8")) if ":" not in target]
    assert [target for target in linked if not (path.parent / target).exists()] == []


def test_life_of_a_cell_passes_few_files():
    text = (documents.ROOT / "docs" / "life-of-a-cell.md").read_text("utf-8")
    assert len(set(FILE.findall(text))) <= 25
