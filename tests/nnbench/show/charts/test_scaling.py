"""The chart of a sweep: a line for each backend along an axis of numbers."""

from dataclasses import replace

import pytest

import nnbench
from nnbench.runs import scaling
from nnbench.runs.sweep import Sweep
from nnbench.show import page
from nnbench.show.charts import base
from nnbench.show.charts import scaling as drawing
from nnbench.show.charts.base import NothingToDrawError
from tests.cells import points_of_toy

TIMES = {"a": (1.0, 2.0, 4.0), "b": (2.0, 2.5, 3.0)}
COLORS = base.colors("ab")


def test_a_point_stands_where_its_median_is_within_its_interval(write_sweep):
    [chart] = drawing.charts(Sweep.open(write_sweep(**TIMES)), COLORS)
    first = chart.records["points"][0]
    assert (first["backend"], first["place"], first["n"], first["rank"]) == ("a", 4.0, 4, "1")
    assert first["low"] < first["seconds"] < first["high"]
    assert first["seconds"] == pytest.approx(1.0015)
    places = {(each["backend"], each["place"]) for each in chart.records["points"]}
    assert places == {(name, place) for name in "ab" for place in (4.0, 8.0, 16.0)}
    marks = [layer["mark"]["type"] for layer in chart.spec()["layer"]]
    assert marks == ["area", "line", "point"]
    scales = [chart.spec()["layer"][1]["encoding"][axis]["scale"]["type"] for axis in "xy"]
    assert scales == ["log", "log"]


def test_other_axes_have_panels_of_their_own(write_sweep, tmp_path):
    points = [replace(point, threads=n) for n in (1, 2) for point in points_of_toy(4, 8, 16)]
    folder = write_sweep(points=points, **{name: own + own for name, own in TIMES.items()})
    run = Sweep.open(folder)
    titles = [chart.title for chart in drawing.charts(run, COLORS)]
    assert titles == [f"Seconds an epoch along hidden, threads {n}" for n in (1, 2)]
    whole = drawing.chart(run, COLORS)
    assert {each["panel"] for each in whole.records["points"]} == {"threads 1", "threads 2"}
    spec = whole.spec()
    assert spec["data"] == {"name": "points"}
    inner = [spec["spec"], *spec["spec"]["layer"]]
    assert not any("data" in each for each in inner)  # else each panel would have all points
    assert whole.title == "Seconds an epoch along hidden"
    base.draw(whole, tmp_path / "x.svg", base.subtitle_of(run))
    text = (tmp_path / "x.svg").read_text()
    assert "threads 1" in text
    assert "toy-sigmoid, 6 points, 4 rounds, 1 and 2 threads" in text


def test_the_page_has_it_first_and_a_section_for_each_point(write_sweep):
    text = page.render([Sweep.open(write_sweep(**TIMES))])
    assert text.count("<article") == 4
    assert text.index('data-name="scaling-1"') < text.index('data-name="ratios"')
    assert "<li>along hidden, a leads to 8, then b</li>" in text
    assert "hidden 16</a>" in text


def test_what_cannot_be_drawn_is_said(write_sweep, write_run, make_cell):
    with pytest.raises(NothingToDrawError, match="no axis of the run has several numbers"):
        drawing.chart(Sweep.open(write_run(make_cell())), COLORS)
    points = [
        replace(each, workload=replace(each.workload, hidden=own))
        for each, own in zip(points_of_toy(4, 5), [(4,), (5, 5)], strict=True)
    ]
    run = Sweep.open(write_sweep(points=points, a=(1.0, 2.0)))
    assert scaling.axis_of(run) is None
    with pytest.raises(NothingToDrawError):
        drawing.charts(run, COLORS)


def test_it_is_drawn_in_a_notebook(write_sweep):
    run = nnbench.open(write_sweep(**TIMES))
    assert run.chart("scaling").to_dict()["title"]["text"] == "Seconds an epoch along hidden"
