"""``nnbench.open``: what a run has for whoever asks with pandas."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import nnbench
from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.show import charts
from nnbench.show.exports import samples

DOCUMENT = Path(__file__).parents[2] / "docs" / "analysis.md"
RUN = DOCUMENT.parents[1] / "results" / "in-turns"


@pytest.fixture
def opened(write_run, make_cell, make_failed):
    cells = [
        make_cell(label, train_s=seconds + 0.01 * round_, accuracies=(0.5, accuracy), round=round_)
        for round_ in range(3)
        for label, seconds, accuracy in (("numpy", 2.0, 0.97), ("a", 1.0, 0.95))
    ]
    return nnbench.open(write_run(*cells, make_failed("bad", message="killed")))


def test_folder_is_opened_by_its_name(opened):
    again = nnbench.open(str(opened.info and opened._run.folder))
    assert again.backends == opened.backends == ["numpy", "a", "bad"]
    assert repr(again).endswith(": mnist, numpy, a, bad>")
    with pytest.raises(ResultsError, match="holds no run"):
        nnbench.open("/nonexistent")


def test_tables_are_those_of_the_command(opened):
    assert list(opened.accuracy().backend) == ["a", "numpy", "bad"]
    timing = opened.timing().set_index("backend")
    assert timing.ratio["a"] == pytest.approx(1.02 / 2.02, rel=0.01)
    assert opened.timing("a").set_index("backend").ratio["numpy"] > 1
    assert opened.pairs()[["backend", "over"]].to_numpy().tolist() == [["numpy", "a"]]
    for frame in (opened.accuracy(), opened.timing()):
        written = (opened._run.folder / "timing.csv").exists()
        assert not written  # nothing is written to the folder
        assert isinstance(frame, pd.DataFrame)


def test_ratios_are_the_pairs_of_the_blocks(opened):
    ratios = opened.ratios("a")
    assert list(ratios.columns) == ["backend", "baseline", "round", "machine", "ratio", "turns"]
    assert list(ratios["round"]) == [0, 1, 2]
    assert set(ratios.backend) == {"numpy"}
    assert ratios.ratio.median() == opened.timing("a").set_index("backend").ratio["numpy"]


def test_a_sweep_has_its_axes_in_front(write_sweep):
    run = nnbench.open(write_sweep(a=(1.0, 2.0, 4.0), b=(2.0, 2.5, 3.0)))
    assert repr(run).endswith(": toy-sigmoid, 3 points, a, b>")
    assert run.points.hidden.to_list() == ["4", "8", "16"]
    for frame in (run.timing(), run.accuracy(), run.pairs(), run.ratios("b")):
        assert list(frame.columns)[:2] == ["hidden", "backend"]
        assert list(frame.hidden.unique()) == ["4", "8", "16"]
    best = run.timing().query("rank == 1").set_index("hidden").backend
    assert best.to_dict() == {"4": "a", "8": "a", "16": "b"}
    for frame in (run.cells(), run.epochs()):
        assert frame.groupby("hidden").size().to_dict() == {"4": 8, "8": 8, "16": 8}
    assert len(run.at("toy-sigmoid", hidden=8).epochs()) == 8
    with pytest.raises(NnbenchError, match="has 3 points"):
        run.losses("a")
    assert run.at(hidden=8).losses("a").shape == (2, 4)  # steps and rounds


def test_run_whose_baseline_failed_has_no_ratios(write_run, make_cell, make_failed):
    opened = nnbench.open(write_run(make_failed("numpy"), make_cell("a")))
    assert opened.ratios().empty


def test_cells_have_a_row_each_and_epochs_too(opened):
    cells, epochs = opened.cells(), opened.epochs()
    assert len(cells) == 7
    assert len(epochs) == 13  # of two epochs each, and the one that trained none
    assert list(epochs.columns) == list(samples.COLUMNS)
    one = cells[(cells.backend == "a") & (cells["round"] == 1)].iloc[0]
    assert (one.accuracy, one.train_s, one.status) == (0.95, 2 * 1.01, "ok")
    assert cells[cells.backend == "bad"].train_s_per_epoch.isna().all()


def test_losses_have_a_column_for_each_round(opened):
    losses = opened.losses("a")
    assert list(losses.columns) == [0, 1, 2]
    assert losses.index[0] == 1
    assert (losses.dtypes == "float64").all()
    with pytest.raises(NnbenchError, match="no backend 'nope'"):
        opened.losses("nope")


def test_run_can_be_looked_at_in_another_way(opened):
    seen = opened.seen(baseline="a", target=0.97, backends=["numpy"])
    assert seen.backends == ["numpy", "a"]
    reached = seen.accuracy().set_index("backend").target_reached
    assert reached.to_dict() == {"a": 0, "numpy": 3}
    assert opened.info.baseline == "numpy"  # as it was


def test_notebook_shows_both_tables(opened):
    shown = opened._repr_html_()
    assert shown.count("<table") == 2
    assert "<td" in shown


def test_notebook_that_is_published_shows_what_comes_now():
    cells = json.loads((DOCUMENT.with_suffix(".ipynb")).read_text("utf-8"))["cells"]
    shown = {c["id"]: c["outputs"][-1]["data"] for c in cells if c["cell_type"] == "code"}
    assert "".join(shown["open"]["text/html"]) == nnbench.open(RUN)._repr_html_(), (
        "run: make notebook INPLACE=--inplace"
    )
    assert all("image/svg+xml" in shown[name] for name in ("ratios", "strip"))


@pytest.mark.parametrize("name", ["ratios", "accuracy"])
def test_figure_is_one_of_altair(opened, name):
    drawn = opened.chart(name).to_dict()
    assert drawn["title"]["text"]
    with pytest.raises(NnbenchError, match=f"no figure 'nope'; known: {', '.join(charts.CHARTS)}"):
        opened.chart("nope")


def test_every_method_is_in_the_document():
    text = DOCUMENT.read_text("utf-8")
    methods = [name for name in vars(nnbench.open("results/baseline").__class__) if name[0] != "_"]
    assert len(methods) >= 10
    assert [name for name in methods if f"`{name}" not in text] == []


def test_document_shows_what_comes(monkeypatch):
    monkeypatch.chdir(DOCUMENT.parents[1])
    parser = doctest.DocTestParser()
    text = DOCUMENT.read_text("utf-8").replace("```\n", "\n")
    test = parser.get_doctest(text, {}, DOCUMENT.name, str(DOCUMENT), 0)
    assert len(test.examples) >= 8
    with pd.option_context("display.width", 110, "display.max_columns", 20):
        done = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert done.failed == 0


def test_import_of_the_package_brings_no_pandas():
    code = "import sys, nnbench; print('pandas' in sys.modules, 'open' in nnbench.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
    with pytest.raises(AttributeError, match="'nnbench' has no attribute 'close'"):
        _ = nnbench.close
