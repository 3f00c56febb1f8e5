"""Names, messages and reasons that others wrote reach nobody but as text to be read."""

import csv
import io
import json
import re
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from nnbench import Option
from nnbench.catalog.listings import BackendItem, ExecutorItem, Item, Listing, Plugin, Problem
from nnbench.execution import listing
from nnbench.show.charts import CHARTS
from nnbench.show.progress import Plain
from nnbench.show.terminal import Terminal
from nnbench.texts import one_line
from tests.nasty import TEXT

CONTROL = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e"} - {"\n"}
#: As GitHub's runner finds commands in a log; Azure Pipelines and TeamCity have the last two.
OBEYED = re.compile(r"^\s*::[a-z-]+( |::)|##(vso|teamcity)?\[", re.IGNORECASE | re.MULTILINE)


class Tags(HTMLParser):
    """Collects the tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)


@pytest.fixture
def folder(write_run, make_cell, make_failed, machine):
    """Give a run in which every text is nasty."""
    said: dict[str, Any] = {"flags": [TEXT], "violations": [TEXT], "output": TEXT}
    cells = []
    for number in range(2):
        for backend, seconds in (("numpy", 1.0), (TEXT, 2.0)):
            cell = make_cell(backend, round=number, train_s=seconds, workload=TEXT, **said)
            setup = replace(cell.setup, recorded={TEXT: TEXT}, kernels={TEXT: TEXT})
            cells.append(replace(cell, setup=setup))
    cells.append(make_failed("bad", message=TEXT, output=TEXT))
    here = replace(machine, cpu=TEXT, gpus=[TEXT], versions={TEXT: TEXT}, git=TEXT)
    there = {"environment": here, "warnings": [TEXT], "unavailable": {f"{TEXT}2": TEXT}}
    return write_run(*cells, plugins={TEXT: TEXT}, command=TEXT, **there)


@pytest.fixture
def again(write_run, make_cell, make_failed):
    """Give another run, in which that backend failed."""
    return write_run(make_cell(), make_failed(TEXT, message=TEXT), name="again")


def check(text):
    assert not CONTROL & set(text)
    assert not OBEYED.search(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "RUN"],
        ["show", "RUN", "AGAIN", "--columns", "all"],
        ["show", "RUN", "--format", "md"],
        ["show", "RUN", "--format", "csv"],
        ["compare", "RUN", "AGAIN"],
        ["compare", "RUN", "AGAIN", "--format", "csv"],
        ["export", "RUN", "--to", "csv"],
        ["export", "RUN", "--to", "step-summary"],
        ["show", TEXT],
        ["run", "-w", TEXT],
        ["compare", "RUN", TEXT],
    ],
    ids=lambda words: " ".join(words).replace(TEXT, "TEXT"),
)
def test_a_terminal_and_a_log_read_it(call, folder, again, arguments, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    names = {"RUN": folder, "AGAIN": again}
    done = call(*(names.get(word, word.replace("\0", "")) for word in arguments))
    assert "onerror" in done.stdout + done.stderr
    check(done.stdout)
    check(done.stderr)
    if "md" in arguments or "step-summary" in arguments or arguments == ["compare", "RUN", "AGAIN"]:
        html = MarkdownIt("commonmark").enable("table").render(done.stdout)
        assert "img" not in Tags(html).found
    if "csv" in arguments:
        fields = [cell for row in csv.reader(io.StringIO(done.stdout)) for cell in row]
        assert [cell for cell in fields if re.match(r"[=+@]|-\D", cell)] == []


def test_json_has_it_as_it_was_written(call, folder):
    done = call("show", folder, "--format", "json")
    assert TEXT in [row["backend"] for row in json.loads(done.stdout)]
    check(done.stdout)


def test_page_reads_it(call, folder, tmp_path):
    assert call("report", folder, "-o", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    shown = page.partition("<main>")[2].partition("</main>")[0]
    assert not CONTROL & set(shown)
    assert "img" not in Tags(page).found


@pytest.mark.parametrize("figure", CHARTS)
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_picture_has_it(call, folder, tmp_path, figure, suffix):
    path = tmp_path / f"x.{suffix}"
    done = call("plot", folder, "-f", figure, "-o", path)
    if done.code == 0 and suffix == "svg":
        root = ET.fromstring(path.read_text("utf-8"))
        assert not CONTROL & set("".join(root.itertext()))
        assert not any(each.tag.endswith("img") for each in root.iter())
    else:
        assert done.code in {0, 2}


def test_tables_of_a_run_have_no_formula(folder):
    from nnbench.runs.sweep import Sweep
    from nnbench.show.text import write_tables

    run = Sweep.open(folder)
    row = {"backend": "=1+1", "message": "@x", "rounds": 3}
    for each in run.alone.accuracy:
        vars(each).update(message="@x", backend="=1+1")
    write_tables(run, folder)
    for line in csv.DictReader((folder / "accuracy.csv").read_text().splitlines()):
        assert (line["backend"], line["message"]) == (f"'{row['backend']}", f"'{row['message']}")
        assert line["rounds"].isdigit()


def test_list_reads_it(call, monkeypatch):
    backend = BackendItem(
        name="::error::x",
        summary=TEXT,
        device="cpu",
        unavailable=None,
        options={"key": Option(TEXT, TEXT)},
    )
    gone = replace(backend, name="gone", unavailable=TEXT, options={})
    plugin = Plugin(
        name=TEXT,
        distribution=TEXT,
        version=TEXT,
        module=TEXT,
        left_out=(Problem(reason=TEXT, thing=TEXT),),
    )
    items = [Item(name=TEXT, summary=TEXT)]
    executors = [ExecutorItem(name=TEXT, summary=TEXT, options={"key": Option(TEXT, TEXT)})]
    known = Listing(
        backends=[backend, gone],
        workloads=[],
        datasets=items,
        plugins=[plugin],
        executors=executors,
    )
    monkeypatch.setattr(listing, "relied_on", lambda: nullcontext(known))
    done = call("list", "--plugins")
    assert done.code == 0
    check(done.stdout)


def test_progress_reads_it(make_failed, capsys):
    Plain(Terminal()).nnbench_cell_finished(make_failed(TEXT, message=TEXT))
    check(capsys.readouterr().out)


def test_the_text_is_nasty():
    assert CONTROL & set(TEXT)
    assert OBEYED.search(TEXT)
    assert not OBEYED.search(one_line(TEXT))
