"""``nnbench report`` and ``nnbench plot``: what they write, and what they say to bad input."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from nnbench import catalog
from nnbench.runs import store
from nnbench.runs.run import Run
from nnbench.show import charts, page
from nnbench.show.charts import CHARTS, base, chart
from tests.plugins.helpers import environment, nnbench

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(write_run, varied):
    """Give the folder of a run in which every kind of thing happened."""
    return write_run(*varied, rounds=9)


def test_report_is_one_file(call, run, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert call("report", run) == (0, "Report: report.html\n", "")
    assert set(tmp_path.iterdir()) - set(before) == {tmp_path / "report.html"}
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!doctype html>")
    assert all(f'data-name="{name}"' in text for name in CHARTS)


def test_report_replaces_an_older_one(call, run, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    assert call("report", run, "-o", page).code == 0
    assert "numpy" in page.read_text()


def test_report_says_once_what_it_says_of_several(write_run, make_cell):
    remarked = [("a", ["unstable x"]), ("b", ["y"]), ("c", ["unstable x"]), ("d", [])]
    cells = [make_cell(name, train_s=i + 1.0, flags=f) for i, (name, f) in enumerate(remarked)]
    found = page.section(Run.open(write_run(*cells)), dict.fromkeys("abcd", "red"))["problems"]
    assert found == ["a, c: unstable x", "b: y"]


def test_report_of_several_runs(call, write_run, make_cell, tmp_path):
    folders = [write_run(make_cell("numpy"), name=name) for name in ("before", "after")]
    assert call("report", *folders).code == 0
    text = (tmp_path / "report.html").read_text()
    assert text.count("<article") == 2
    for number, name in enumerate(("before", "after"), start=1):
        assert f'<a href="#run-{number}">{name}</a>' in text
        assert f'<article id="run-{number}">' in text


@pytest.mark.parametrize("figure", CHARTS)
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_draws_each_figure(call, run, tmp_path, figure, suffix):
    path = tmp_path / f"figure.{suffix}"
    assert call("plot", run, "-o", path, "--figure", figure).code == 0
    content = path.read_bytes()
    if suffix == "png":
        assert content.startswith(PNG)
    else:
        shown = "".join(ET.fromstring(content).itertext())
        assert ("3 backends, proved to be the same" if figure == "loss" else "numpy") in shown


@pytest.mark.parametrize(("theme", "ink"), [("light", "#1d232b"), ("dark", "#e6e9ee")])
def test_theme_is_of_text_and_paper(call, run, tmp_path, theme, ink):
    path = tmp_path / "figure.svg"
    assert call("plot", run, "-o", path, "--theme", theme).code == 0
    assert f'fill="{ink}"' in path.read_text()


def test_scale_is_of_the_pixels(call, run, tmp_path):
    def width(scale):
        path = tmp_path / "figure.png"
        assert call("plot", run, "-o", path, "--scale", scale).code == 0
        return int.from_bytes(path.read_bytes()[16:20])

    assert width(3) == pytest.approx(3 * width(1), abs=3)


@pytest.mark.parametrize("scale", ["1e6", "200", "10.1", "nan", "inf", "0", "-1", "0.09", "x"])
def test_scale_beyond_what_can_be_drawn_is_one_line(call, run, tmp_path, scale):
    ended = call("plot", run, "-o", tmp_path / "x.png", "--scale", scale)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("nnbench: error: Invalid value for '--scale': ")
    assert scale in ended.stderr


def test_picture_that_is_too_large_is_one_line(call, run, tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    assert call("plot", run, "-o", path, "--scale", "0.1").code == 0
    path.unlink()
    monkeypatch.setattr(base, "MOST_PIXELS", 100_000)
    ended = call("plot", run, "-o", path)
    assert (ended.code, ended.stdout) == (2, "")
    said = r"nnbench: error: a PNG of [\d,]+ × [\d,]+ pixels is too large: give a smaller --scale, or .*\n"
    assert re.fullmatch(said, ended.stderr)
    assert not path.exists()
    assert call("plot", run, "-o", path.with_suffix(".svg")).code == 0


LONG = 4096  #: characters, the most that a name may have
NAMES = {
    "long": "x" * LONG,
    "right to left": "שלום" * (LONG // 4),
    "combining": "a" + "\u0301\u0323" * (LONG // 2 - 1),
    "wide": "漢" * LONG,
    "joined": "👩\u200d👩\u200d👧" * 50,
    "letters that join": "العربية" * 50,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_name_can_be_drawn(call, write_run, make_cell, tmp_path, name):
    cells = [
        make_cell(label, round=number, train_s=seconds, workload=name, accuracies=(0.8, 0.9))
        for number in range(2)
        for label, seconds in (("numpy", 1.0), (name, 2.0))
    ]
    workload = replace(catalog.workloads()["mnist"], name=name)
    folder = write_run(*cells, rounds=2, workload=workload)
    for figure in ("ratios", "accuracy"):
        path = tmp_path / f"{figure}.png"
        assert call("plot", folder, "-o", path, "-f", figure).code == 0
        content = path.read_bytes()
        width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))
        assert max(width, height) < 4000


class Make(NamedTuple):
    """What makes cells, and a run of them on disk."""

    run: Any
    cell: Any
    failed: Any


@pytest.fixture
def make(write_run, make_cell, make_failed):
    """Give what odd runs are made with."""
    return Make(write_run, make_cell, make_failed)


def empty(make):
    return make.run()


def skipped_only(make):
    return make.run(make.failed("gone", "skipped", message="no such device"))


def failed_only(make):
    return make.run(make.failed("bad", "crashed", message="killed by SIGSEGV"))


def one_backend(make):
    return make.run(*[make.cell("numpy", round=i) for i in range(3)], rounds=3)


def one_round(make):
    return make.run(make.cell("numpy"), make.cell("other", train_s=2.0))


def not_finite(make):
    wrong = make.cell("bad", losses=(2.0, None, None), status="diverged", message="loss is nan")
    return make.run(make.cell("numpy"), make.cell("other", losses=(None, None)), wrong)


def toy(make):
    cells = [make.cell(name, accuracies=(None,) * 150, losses=(0.5,)) for name in ("numpy", "x")]
    return make.run(*cells, workload=catalog.workloads()["toy-sigmoid"])


def torn(make):
    folder = make.run(make.cell("numpy"), make.cell("other"))
    with (folder / store.CELLS).open("a") as file:
        file.write('{"backend": "num')
    return folder


ODD_RUNS = {
    empty: ["Nothing to compare", "In this run no cell was finished."],
    skipped_only: ["In this run no backend was measured.", "gone: skipped: no such device"],
    failed_only: ["In this run no backend was measured.", "bad: crashed: killed by SIGSEGV"],
    one_backend: [
        "numpy trains an epoch in 1.00 s",
        "There is no other backend",
        "No chart of ratios",
    ],
    one_round: ["too few rounds for an interval", "numpy or other: undecided"],
    not_finite: ["bad: diverged: loss is nan", "Training loss over steps"],
    toy: ["Test loss over training time", "One epoch in 2 is drawn."],
    torn: ["the last line is torn, as by a kill, and left out"],
}


@pytest.mark.filterwarnings("always::nnbench.files.TornLineWarning")
@pytest.mark.parametrize("odd", ODD_RUNS, ids=lambda odd: odd.__name__)
def test_page_tells_of_odd_runs(call, make, tmp_path, odd):
    ended = call("report", odd(make))
    assert ended.code == 0
    assert ended.stderr.count("\n") == (odd is torn)
    text = (tmp_path / "report.html").read_text()
    assert [shown for shown in ODD_RUNS[odd] if shown not in text] == []


@pytest.mark.filterwarnings("always::nnbench.files.TornLineWarning")
@pytest.mark.parametrize("odd", ODD_RUNS, ids=lambda odd: odd.__name__)
def test_plot_of_odd_runs_is_a_picture_or_one_line(call, make, tmp_path, odd):
    folder = odd(make)
    for figure in CHARTS:
        path = tmp_path / f"{figure}.svg"
        ended = call("plot", folder, "-o", path, "-f", figure)
        problems = [line for line in ended.stderr.splitlines() if "torn" not in line]
        assert (ended.code, len(problems), path.exists()) in {(0, 0, True), (2, 1, False)}


def damaged_in_the_middle(folder):
    cells = folder / store.CELLS
    first, *rest = cells.read_bytes().splitlines(keepends=True)
    cells.write_bytes(first[: len(first) // 2] + b"\n" + b"".join(rest))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (damaged_in_the_middle, "cells.jsonl:1 is damaged"),
        (lambda folder: (folder / store.RUN).unlink(), "holds no run"),
        (lambda folder: (folder / store.RUN).write_text("{"), "run.json is damaged"),
    ],
)
@pytest.mark.parametrize("command", ["report", "plot"])
def test_damaged_run_is_one_line(call, run, tmp_path, spoil, problem, command):
    spoil(run)
    path = tmp_path / "out.svg"
    ended = call(command, run, "-o", path)
    assert (ended.code, ended.stderr.count("\n"), path.exists()) == (2, 1, False)
    assert problem in ended.stderr


@pytest.mark.parametrize("command", ["report", "plot"])
def test_output_that_cannot_be_written_is_one_line(call, run, tmp_path, command):
    (tmp_path / "folder.svg").mkdir()
    for path, problem in [
        (tmp_path / "folder.svg", "is a directory"),
        (run / "run.json" / "x.svg", "cannot write to"),
    ]:
        ended = call(command, run, "-o", path)
        assert (ended.code, ended.stderr.count("\n")) == (2, 1)
        assert problem in ended.stderr


@pytest.mark.parametrize("command", ["report", "plot"])
def test_output_makes_its_folder(call, run, tmp_path, command):
    path = tmp_path / "new" / "folder" / "x.svg"
    assert call(command, run, "-o", path).code == 0
    assert path.read_text().startswith("<")


@pytest.mark.parametrize(
    ("command", "output", "start"),
    [("report", "-", "<!doctype html>"), ("plot", "-", "<svg"), ("plot", "/dev/stdout", "<svg")],
)
def test_standard_output_has_nothing_else(run, command, output, start):
    done = nnbench(command, run, "-o", output, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(start)
    assert done.stdout.rstrip().endswith(">")


@pytest.mark.parametrize("name", ["figure.pdf", "figure", "figure.png.txt"])
def test_unknown_suffix_is_one_line(call, run, name):
    ended = call("plot", run, "-o", name)
    assert ended.code == 2
    assert ended.stderr == (
        f"nnbench: error: cannot draw {name}: the name must end with .png or .svg\n"
    )


@pytest.mark.parametrize("arguments", [("report",), ("plot", "-o", "x.svg")])
def test_missing_library_is_one_line(call, run, monkeypatch, arguments):
    monkeypatch.setattr(charts, "LIBRARIES", ("json", "no_such_library"))
    ended = call(*arguments, run)
    assert ended.code == 2
    assert "no_such_library not installed: pip install 'nnbench-harness[report]'" in ended.stderr


def test_noise_floor_of_the_run_is_drawn(make_run, make_cell):
    run = make_run(make_cell("numpy"), make_cell("x"), noise_floor=0.123)
    assert "12.3%" in chart("ratios")(run, {"numpy": "#000", "x": "#111"}).caption


def test_backends_keep_their_colours(make_run, make_cell, mnist):
    info = {"workload": replace(mnist, target_accuracy=0.9)}
    run = make_run(make_cell("numpy", train_s=2.0), make_cell("x"), **info)
    colors = {"numpy": "#123456", "x": "#abcdef"}
    for name in ("ratios", "accuracy", "rounds", "deviation"):
        found = list(scales(chart(name)(run, colors).spec()))
        assert found
        assert all(colors[label] == color for pairs in found for label, color in pairs)


def scales(spec):
    """Yield the pairs of backend and colour of every colour scale in a specification."""
    for key, value in spec.items():
        for part in value if isinstance(value, list) else [value]:
            if key == "color" and "scale" in part:
                yield list(zip(part["scale"]["domain"], part["scale"]["range"], strict=True))
            elif isinstance(part, dict):
                yield from scales(part)
