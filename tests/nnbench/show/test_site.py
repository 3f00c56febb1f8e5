"""The pages of a site: what they link, when they are made, and what of a folder they replace."""

import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from nnbench.contract.errors import ResultsError
from nnbench.records.site import Index
from nnbench.runs import store
from nnbench.runs.run import Run
from nnbench.show import page, site

LINK = re.compile(r'\b(?:href|src)="([^"]*)"')
NASTY = ("<b>&'\"", "…umlaut ä", "--output=x", "%2e.", "Run", "run")


@pytest.fixture
def write(write_run, make_cell):
    """Give a function that writes a run of two backends, and returns its folder."""

    def run(name, day=1, place="runs", ratio=0.5, asked=2, **changes):
        number = float(day + 100 * len(name) + sum(map(ord, name)))
        cells = [
            make_cell(label, round=at, seed=at, train_s=seconds + at / 100, wall_s=number)
            for at in range(2)
            for label, seconds in (("numpy", 1.0), ("a", ratio))
        ]
        started = f"2026-01-{day:02}T00:00:00Z"
        return write_run(*cells, name=f"{place}/{name}", started=started, rounds=asked, **changes)

    return run


@pytest.fixture
def drawn(monkeypatch):
    """Have pages of runs made at once, and give the names of those that were made."""
    names: list[str] = []

    def render(runs, home):
        names.extend(run.name for run in runs if [*run.cells])
        return f"{[run.info.started for run in runs]} {home}"

    monkeypatch.setattr(page, "render", render)
    monkeypatch.setattr(page, "render_history", lambda history, home: f"{history.notes} {home}")
    return names


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_link_leads_to_a_file_of_the_site_whatever_runs_are_called(write, tmp_path):
    for day, name in enumerate(NASTY, start=1):
        write(name, day)
    write("run", 20, "elsewhere")
    out = tmp_path / "site"
    made = site.make([tmp_path / "runs", tmp_path / "elsewhere"], out)
    assert (made.runs, made.pages, made.notes) == (7, 7, [])
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == 1 + 7 + 1
    reached = set()
    for path in pages:
        text = path.read_text("utf-8")
        text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        assert "<b>&'" not in text
        for link in map(unescape, LINK.findall(text)):
            parts = urlsplit(link)
            if parts.scheme == "data" or not parts.path:
                continue
            assert [parts.scheme, parts.netloc, link[0] == "/"] == ["", "", False], link
            target = (path.parent / unquote(parts.path)).resolve()
            assert target.is_file(), link
            reached.add(target.relative_to(out.resolve()))
    assert reached == {path.relative_to(out) for path in pages} | {Path("index.json")}


@pytest.mark.usefixtures("drawn")
def test_index_holds_the_numbers_of_the_tables(write, tmp_path):
    folder = write("one", ratio=0.25, plugins={"a": "mine 2.0"})
    site.make([folder], tmp_path / "site")
    index = msgspec.json.decode((tmp_path / "site" / site.INDEX).read_bytes(), type=Index)
    [course], [run] = index.courses, index.runs
    [board] = course.boards
    rows = {row.backend: row for row in Run.open(folder).frame}
    for entry in board.standings:
        row = rows[entry.backend]
        assert (entry.speedup, entry.accuracy) == (row.ratio and 1 / row.ratio, row.accuracy)
        for name in ("train_s_per_epoch", "peak_memory_bytes", "device"):
            assert getattr(entry, name) == getattr(row, name)
        assert (entry.run, entry.started, entry.runs) == ("one", "2026-01-01T00:00:00Z", 1)
    assert {entry.backend: entry.version for entry in board.standings} == {
        "a": "mine 2.0",
        "numpy": "nnbench-harness 0.1",
    }
    assert (run.page, run.backends, course.runs) == ("runs/one.html", ["numpy", "a"], ["one"])
    assert course.history is None


@pytest.mark.usefixtures("drawn")
def test_same_runs_give_the_same_bytes_wherever_they_lie(write, tmp_path):
    folder = write("one").parent
    write("two", 2, ratio=0.6)
    write("short", 3, asked=9)
    for name in ("a", "b"):
        site.make([folder], tmp_path / name)
    shutil.copytree(folder, tmp_path / "moved")
    site.make([tmp_path / "moved"], tmp_path / "c")
    first, *others = (content(tmp_path / name) for name in "abc")
    assert others == [first] * 2
    assert b"['short is not finished: 2 of 9 rounds'] ../index" in first["history/mnist-1.html"]


def test_pages_are_made_when_their_runs_are_new_or_others_and_go_with_them(write, drawn, tmp_path):
    out, folder = tmp_path / "site", write("one").parent
    other = write("two", 2)
    site.make([folder], out)
    assert drawn == ["one", "two"]
    (out / "own.txt").write_text("mine")
    before = content(out)
    assert site.make([folder], out).pages == 0
    assert content(out) == before
    (out / "runs" / "one.html").write_text("somebody's")
    shutil.copytree(other, folder / "three")
    cells = (other / store.CELLS).read_text()
    (folder / "three" / store.CELLS).write_text(cells.replace('"wall_s":', '"wall_s":1'))
    shutil.rmtree(other)
    assert site.make([folder], out).pages == 2
    assert drawn == ["one", "two", "one", "three"]
    assert {*content(out)} == {
        *("index.html", "index.json", "own.txt", "runs/one.html", "runs/three.html"),
        "history/mnist-1.html",
    }
    assert content(out)["runs/one.html"] == before["runs/one.html"]


def test_sweep_has_one_page_and_a_place_for_each_point(write_sweep, drawn, tmp_path):
    made = site.make([write_sweep(numpy=(1.0, 1.0, 1.0), a=(0.5, 1.0, 2.0))], tmp_path / "site")
    assert (made.runs, made.pages, drawn) == (1, 1, ["sweep"])
    index = msgspec.json.decode((tmp_path / "site" / site.INDEX).read_bytes(), type=Index)
    assert [course.runs for course in index.courses] == [["sweep"]] * 3
    assert [len(run.workloads) for run in index.runs] == [3]


def test_page_is_made_again_by_another_program(write, drawn, tmp_path, monkeypatch):
    folder = write("one")
    site.make([folder], tmp_path / "site")
    monkeypatch.setattr(site, "program", lambda: {"nnbench-harness": "9"})
    assert site.make([folder], tmp_path / "site").pages == 1
    assert len(drawn) == 2


@pytest.mark.parametrize("index", [None, "{}", "[", '{"schema_version": "x"}'])
def test_folder_that_holds_something_else_is_left_alone(write, drawn, tmp_path, index):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "index.html").write_text("mine")
    if index is not None:
        (out / site.INDEX).write_text(index)
    before = content(out)
    with pytest.raises(ResultsError, match="mine is not empty, and holds no site of nnbench"):
        site.make([write("one")], out)
    assert (content(out), drawn) == (before, [])


@pytest.mark.usefixtures("drawn")
def test_index_names_nothing_outside_its_folder_to_be_removed(write, tmp_path):
    out, folder = tmp_path / "site", write("one")
    site.make([folder], out)
    kept = tmp_path / "kept.html"
    kept.write_text("mine")
    (out / "runs" / "own.txt").write_text("mine")
    text = (out / site.INDEX).read_text()
    for name in ("../kept.html", "runs/../../kept.html", str(kept), "runs/own.txt", "index.html"):
        (out / site.INDEX).write_text(text.replace("runs/one.html", name))
        site.make([folder], out)
        assert {"index.html", "runs/one.html", "runs/own.txt"} < {*content(out)}
        assert kept.exists()


@pytest.mark.usefixtures("drawn")
def test_site_that_was_not_finished_is_gone_on_with(write, tmp_path, monkeypatch):
    out, folder = tmp_path / "site", write("one").parent
    with monkeypatch.context() as patched:
        patched.setattr(site, "render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            site.make([folder], out)
    assert "runs/one.html" in content(out)
    assert site.make([folder], out).runs == 1


@pytest.mark.usefixtures("drawn")
def test_run_whose_losses_are_damaged_has_no_page_and_no_place(write, tmp_path):
    good, bad = write("good"), write("bad", 2)
    cells = (bad / store.CELLS).read_text().replace('"losses":[2.0,1.0]', '"losses":[2.0,,1.0]', 1)
    (bad / store.CELLS).write_text(cells)
    made = site.make([good.parent], tmp_path / "site")
    assert made.runs == 1
    [note] = made.notes
    assert note.startswith(f"left out: {bad / store.CELLS}:1 is damaged: ")
    assert [*content(tmp_path / "site")] == ["index.html", "index.json", "runs/good.html"]


@pytest.mark.usefixtures("drawn")
def test_command_says_what_it_wrote_and_left_out(call, write):
    folder = write("one").parent
    (folder / "bad").mkdir()
    (folder / "bad" / store.RUN).write_text("{}")
    done = call("site", folder)
    assert (done.code, done.stdout) == (0, "Site: site/index.html (1 new page of 1 run)\n")
    [line] = done.stderr.splitlines()
    assert line.startswith("nnbench: note: left out: ")
    shutil.rmtree(folder)
    folder.mkdir()
    done = call("site", folder)
    assert (done.code, done.stderr) == (2, f"nnbench: error: {folder} holds no runs\n")
