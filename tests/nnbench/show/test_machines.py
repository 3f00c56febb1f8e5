"""Runs on many machines: each kind has its own absolute times wherever they are shown; lost rounds are told."""

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.runs import store
from nnbench.runs.run import Run
from nnbench.show import page, text, view
from nnbench.show.charts import CHARTS, OF_A_KIND, base
from nnbench.show.exports import convert
from nnbench.show.terminal import Terminal, print_tables
from tests.cells import whole

A, B = "A CPU", "Another CPU"
SECONDS = {"n1": 1.0, "n2": 1.0, "n3": 10.0}  #: of numpy, on the machines; the last is another kind


def write(folder, make_info, *cells, **changes):
    """Write a run on three machines of two kinds."""
    here = make_info().machine
    there = replace(here, environment=replace(here.environment, cpu=B), turn_floor=0.2)
    info = make_info(*dict.fromkeys(c.backend for c in cells), rounds=6, **changes)
    machines = {"n1": here, "n2": here, "n3": there}
    store.create(folder, replace(info, machines=machines))
    for cell in cells:
        store.append(folder, cell)
    return Run.open(folder)


@pytest.fixture
def cells(make_cell):
    """Give two rounds on each machine; b takes half of the time of numpy on one kind, and twice as long on the other."""
    return [
        make_cell(name, train_s=s * factor, round=number, seed=number, machine=machine)
        for number, machine in enumerate([*SECONDS] * 2)
        for s in [SECONDS[machine] * (1 + 0.01 * number)]
        for name, factor in (("numpy", 1.0), ("b", 2.0 if machine == "n3" else 0.5))
    ]


@pytest.fixture
def mixed(tmp_path, make_info, cells):
    """Give a run of two kinds."""
    return write(tmp_path / "mixed", make_info, *cells)


@pytest.fixture
def uniform(tmp_path, make_info, cells):
    """Give what the first kind has of it, as a run."""
    return write(tmp_path / "uniform", make_info, *(c for c in cells if c.machine != "n3"))


def cell_of(run, table, backend, heading):
    sheet = text.sheets(run)[table]
    [row] = [row for row in sheet.rows if row[0] == backend]
    return row[sheet.headings.index(heading)]


def test_table_of_times_is_made_for_each_kind_and_names_its_machines(mixed):
    titles = [table.title for table in mixed.tables]
    assert [t.name for t in mixed.tables if not t.kind] == ["accuracy", "timing", "proof"]
    assert f"{A} (n1 and n2): Times, and times as fast as numpy, noise floor 5.0%" in titles
    assert f"{B} (n3): Times, and times as fast as numpy, noise floor 5.0%" in titles
    assert f"{B}: Phases of a step, µs, medians" in titles
    assert cell_of(mixed, f"timing {A}", "numpy", "train s/epoch") == "1.02"
    assert cell_of(mixed, f"timing {B}", "numpy", "train s/epoch") == "10.3"
    assert cell_of(mixed, f"timing {B}", "b", "times as fast") == "0.500"
    assert cell_of(mixed, "timing", "b", "times as fast") == "2.00"
    assert "train s/epoch" not in text.sheets(mixed)["timing"].headings
    assert cell_of(mixed, "timing", "b", "n") == "6"


def test_figure_of_a_kind_is_that_of_a_run_on_it_alone(mixed, uniform):
    assert [vars(row) for row in mixed.kinds[A].timing] == [vars(row) for row in uniform.timing]


def test_floor_of_a_machine_is_that_of_its_kind(tmp_path, make_info, cells):
    run = write(tmp_path / "turns", make_info, *cells, turns=True)
    floors = [part.info.noise_floor for part in run.kinds.values()]
    assert (floors, run.info.noise_floor) == ([0.01, 0.2], 0.2)


def test_run_of_one_kind_has_the_tables_of_one_machine(uniform):
    assert not any(table.kind for table in uniform.tables)
    assert "machine_kind" not in view.choose([whole(uniform)])[0].records()[0]
    assert cell_of(uniform, "timing", "numpy", "train s/epoch") == "1.02"
    assert text.places(whole(uniform)) == [
        f"n1 and n2: {A}, 2 cores; A GPU; CPython 3.11, nnbench 0.1, numpy 2.0"
    ]


def test_records_have_a_row_for_each_kind(mixed):
    rows = view.choose([whole(mixed)])[0].records()
    found = {(r["machine_kind"], r["backend"]): r for r in rows}
    of_all, of_a, of_b = (
        [("", "b"), ("", "numpy")],
        [(A, "b"), (A, "numpy")],
        [(B, "numpy"), (B, "b")],
    )
    assert [*found] == [*of_all, *of_a, *of_b]
    assert found["", "b"]["train_s_per_epoch"] is None
    assert found["", "b"]["ratio"] == pytest.approx(0.5)
    assert found[B, "b"]["ratio"] == pytest.approx(2.0)
    assert found[A, "numpy"]["train_s_per_epoch"] == pytest.approx(1.02)
    [phases] = view.choose([whole(mixed)], names=["phases"])
    assert {r["machine_kind"] for r in phases.records()} == {A, B}


def test_sorting_is_within_each_table(mixed):
    [shown] = view.choose([whole(mixed)], names=["timing"], sort="train_s_per_epoch", reverse=True)
    assert [[row.backend for row in table.rows] for table in shown.tables[1:]] == [
        ["numpy", "b"],
        ["b", "numpy"],
    ]


def test_files_of_a_run_have_every_kind(mixed):
    text.write_tables(whole(mixed), mixed.folder)
    with (mixed.folder / "timing.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["machine_kind"] for row in rows] == ["", "", A, A, B, B]
    assert [bool(row["train_s_per_epoch"]) for row in rows] == [False, False, *[True] * 4]
    assert [*rows[0]][-1] == "machine_kind"
    written = (mixed.folder / "timing.md").read_text()
    assert f"n1 and n2: {A}, 2 cores; A GPU; CPython 3.11" in written
    assert f"**{B} (n3): Times, and times as fast as numpy, noise floor 5.0%**" in written


def test_speedup_that_depends_on_the_machine_is_told(mixed, uniform):
    [note] = text.notes(mixed)
    assert note == (
        f"b: how many times as fast it is depends on the machine: 2.00 on {A}, 0.500 on {B}; "
        "of all together it is that of this mixture"
    )
    assert text.notes(uniform) == []


def test_terminal_shows_every_kind(mixed, capsys):
    print_tables(Terminal(), mixed.tables, whole(mixed))
    shown = capsys.readouterr().out
    assert shown.count("train s/epoch") == 2
    assert (
        shown.index("Timing (times as fast")
        < shown.index(f"{A} (n1 and n2)")
        < shown.index(f"{B} (n3)")
    )


def test_samples_name_machine_and_kind(mixed, uniform):
    for run, kinds in ((mixed, [A, A, B] * 2), (uniform, [A] * 4)):
        rows = list(csv.DictReader(io.StringIO(convert(whole(run), "csv").decode())))
        own = [row for row in rows if row["backend"] == "b"]
        assert [row["machine_kind"] for row in own] == kinds
        assert {row["machine"] for row in own} == {c.machine for c in run.cells}


def test_trackers_have_a_name_for_each_kind(mixed, uniform):
    found = json.loads(convert(whole(mixed), "bencher"))
    assert set(found) == {f"mnist/{name} on {kind}" for name in ("b", "numpy") for kind in (A, B)}
    assert found[f"mnist/b on {A}"]["latency"]["value"] == pytest.approx(0.51e9)
    assert set(json.loads(convert(whole(uniform), "bencher"))) == {"mnist/b", "mnist/numpy"}
    entries = json.loads(convert(whole(mixed), "github-action-benchmark"))
    assert f"mnist/b on {B}: train" in [entry["name"] for entry in entries]
    saved = json.loads(convert(whole(mixed), "pytest-benchmark"))["benchmarks"]
    assert {each["group"] for each in saved} == {f"mnist on {A}", f"mnist on {B}"}
    cpus = {each["extra_info"]["machine_info"]["cpu"]["brand_raw"] for each in saved}
    assert cpus == {A, B}


def test_junit_says_where_each_cell_ran(mixed):
    suite = ET.fromstring(convert(whole(mixed), "junit"))[0]
    named = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert (named["machine n1"], named["machine n3"]) == (A, B)
    assert [out.text.rpartition(", on ")[2] for out in suite.iter("system-out")] == [*SECONDS] * 2


def test_step_summary_has_no_time_that_is_a_mixture(mixed):
    summary = convert(whole(mixed), "step-summary").decode()
    assert " s/epoch" not in summary.partition("**Accuracy**")[0]
    assert "**b**: 2.00 times as fast as numpy" in summary
    assert f"**{A} (n1 and n2)" in summary


def test_page_draws_times_of_each_kind(mixed):
    pooled, *parts = page.figures(mixed, base.colors(mixed.labels))
    assert [(part.title, part.where) for part in parts] == [(A, "n1 and n2"), (B, "n3")]
    assert set(pooled.charts) | set(pooled.missing) == set(CHARTS) - OF_A_KIND
    assert all({*part.charts, *part.missing} == OF_A_KIND for part in parts)
    points = [part.charts["rounds"].records["rounds"] for part in parts]
    assert [max(each["seconds"] for each in own) for own in points] == pytest.approx([1.04, 21.0])
    assert "trains an epoch in" not in page.headline(mixed).text
    assert page.render([whole(mixed)])


def test_picture_of_unlike_machines_is_refused_and_the_way_out_works(call, mixed, tmp_path):
    asked = ["plot", mixed.folder, "-f", "rounds", "-o", tmp_path / "x.svg"]
    done = call(*asked)
    assert done.code == 2
    assert f"choose some by --machine: n1 ({A}) or n3 ({B})" in done.stderr
    assert call(*asked, "--machine", "n2").code == 0
    assert A in (tmp_path / "x.svg").read_text()
    done = call(*asked, "--machine", "n9")
    assert done.code == 2
    assert "has no figures of a machine 'n9'; there are: n1, n2, n3" in done.stderr


def test_place_is_that_of_the_machines_that_have_figures(mixed, cells):
    run = Run(mixed.info, [c for c in cells if c.machine == "n3"])
    [where] = text.places(whole(run))
    assert where.startswith(f"{B}, 2 cores")
    assert not run.is_mixed
    assert base.subtitle(run).endswith(f"{B}, A GPU")
    assert [place.partition(",")[0] for place in text.places(whole(Run(mixed.info, [])))] == [A]


def test_figures_of_a_machine_that_nobody_knows_are_of_no_kind(mixed, cells):
    strange = [replace(c, machine="x") if c.round == 0 else c for c in cells]
    run = Run(mixed.info, strange)
    assert {name for part in run.kinds.values() for name in part.info.machines} == {*SECONDS}
    assert all(cell.machine != "x" for part in run.kinds.values() for cell in part.cells)
    with pytest.raises(NnbenchError, match="no figures of a machine 'x'"):
        run.like("x")


def test_odd_machine_is_a_remark(tmp_path, make_info, make_cell):
    cells = [
        make_cell(name, train_s=s * (1 + 0.001 * number), round=number, machine=machine)
        for number, machine in enumerate(["n1", "n2"] * 6)
        for name, s in (("numpy", 1.0), ("b", 2.5 if machine == "n2" else 2.0))
    ]
    run = write(tmp_path / "odd", make_info, *cells)
    [note] = text.notes(run)
    assert note.startswith(
        "machine n1 is odd: b is 1.25 times as fast, against the baseline, as on n2 (p = 0.0"
    )
    assert note.endswith(", 6 blocks); which of the two is odd, they cannot say")
    assert f"<li>{note}</li>" in page.render([whole(run)])


@pytest.fixture
def losing(tmp_path, make_info, cells, make_failed):
    """Give a run whose third round was lost for good, its machine's name with it."""
    lost = [
        make_failed(name, "lost", round=2, seed=2, machine="unknown", message="its worker died")
        for name in ("numpy", "b")
    ]
    kept = [c for c in cells if c.round not in {2, 5}]
    return write(tmp_path / "losing", make_info, *kept, *lost)


def test_lost_round_is_told_once_and_counts_nowhere(losing):
    assert text.notes(losing) == ["round 3: lost: its worker died"]
    assert {row.rounds for row in losing.timing} == {4}
    assert {row.status for row in losing.frame} == {"ok"}
    assert "<li>round 3: lost: its worker died</li>" in page.render([whole(losing)])
    assert "- round 3: lost: its worker died" in convert(whole(losing), "step-summary").decode()


def test_lost_round_is_an_error_in_junit(losing):
    root = ET.fromstring(convert(whole(losing), "junit"))
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("10", "2", "0")
    [error, _] = root.iter("error")
    assert (error.get("type"), error.get("message")) == ("lost", "its worker died")


def test_lost_round_is_a_row_of_the_samples_and_no_point_of_trackers(losing):
    rows = list(csv.DictReader(io.StringIO(convert(whole(losing), "csv").decode())))
    [row, _] = [row for row in rows if row["status"] == "lost"]
    assert (row["machine"], row["machine_kind"], row["train_s"]) == ("unknown", "", "")
    saved = json.loads(convert(whole(losing), "pytest-benchmark"))["benchmarks"]
    assert {each["stats"]["rounds"] for each in saved} == {4}


def test_run_of_which_every_round_was_lost_says_so(tmp_path, make_info, make_failed):
    lost = [make_failed("numpy", "lost", round=n, message="gone", machine="n1") for n in range(3)]
    run = write(tmp_path / "gone", make_info, *lost)
    assert cell_of(run, "accuracy", "numpy", "status") == "lost 3/3"
    assert text.notes(run) == ["numpy: lost 3/3: gone", "round 1, 2, 3: lost: gone"]
    assert page.render([whole(run)])
    with pytest.raises(NnbenchError, match="no backend was measured"):
        convert(whole(run), "bencher")
