"""What is drawn are the numbers of the tables."""

import json
import re

import pytest

from nnbench.records.cells import Deviations
from nnbench.records.runs import Roof
from nnbench.runs.run import Run
from nnbench.show import page
from nnbench.show.charts import CHARTS, base, chart, times
from nnbench.show.charts.base import NothingToDrawError, colors, scale_of
from tests.documents import ROOT

NAMES = ("numpy", "other")


@pytest.fixture
def run(make_run, make_cell):
    """Give a run of two backends and seven rounds; one takes twice the time of the other."""
    cells = [
        make_cell(name, train_s=s * (1 + 0.01 * i), round=i)
        for i in range(7)
        for name, s in zip(NAMES, (1.0, 2.0), strict=True)
    ]
    return make_run(*cells, rounds=7)


def records(run, figure, name):
    return chart(figure)(run, colors(NAMES)).records[name]


def test_speedups_are_those_of_the_table(run):
    timing = run.timing
    found = records(run, "ratios", "ratios")
    assert [r["speedup"] for r in found] == [row.speedup for row in timing]
    assert found[1] | {"low": timing[1].speedup_low, "high": timing[1].speedup_high} == found[1]
    assert [r["verdict"] for r in found] == ["baseline", "slower"]


def test_every_round_is_a_point(run):
    found = records(run, "rounds", "rounds")
    assert len(found) == 14
    assert [r["seconds"] for r in found[:7]] == pytest.approx([1 + 0.01 * i for i in range(7)])
    assert [r["percent"] for r in found[:7]] == pytest.approx(
        [(1 + 0.01 * i) / 1.03 * 100 - 100 for i in range(7)], abs=1e-3
    )


def test_phases_and_rest_make_a_step(run):
    found = [r for r in records(run, "phases", "phases") if r["backend"] == "numpy"]
    row = run.timing[0]
    assert [r["phase"] for r in found] == list(times.PARTS)
    assert [r["us"] for r in found[:4]] == [2.0, 10.0, 20.0, 5.0]
    assert sum(r["us"] for r in found) == pytest.approx(row.step_us)
    assert sum(r["percent"] for r in found) == pytest.approx(100)


def test_phases_beyond_a_step_have_no_rest(make_run, make_cell):
    fast = make_run(make_cell("numpy", train_s=2e-6))  # two steps of 1 µs; the phases take 37
    found = records(fast, "phases", "phases")
    assert found[-1]["us"] == 0
    assert sum(r["percent"] for r in found) == pytest.approx(100)


def test_share_is_of_each_cell(make_run, make_cell):
    cells = [
        make_cell("numpy", round=i, achieved_gflops=10.0 * i, ceiling_gflops=100.0 + i)
        for i in (1, 2, 3)
    ]
    [share] = records(make_run(*cells), "ceiling", "shares")
    assert (share["percent"], share["gflops"]) == (pytest.approx(20 / 102 * 100), 20.0)


def test_share_is_that_of_the_roofline_if_there_is_one(make_run, make_cell):
    roof = Roof(device="cpu", threads=1, gflops=1e-6, gb_per_s=1e-6)
    cell = make_cell("numpy", achieved_gflops=1.0, ceiling_gflops=100.0)
    run = make_run(cell, roofs=[roof])
    [share] = records(run, "ceiling", "shares")
    [row] = run.timing
    assert share["percent"] == row.gflops_share * 100
    assert share["copies"] == row.gb_per_s_share * 100


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 10], "log"),
        ([1, 9.9], "linear"),
        ([0, 100], "linear"),
        ([-1, 100], "linear"),
        ([], "linear"),
    ],
)
def test_decades_make_a_logarithmic_axis(values, kind):
    spans = scale_of([None, *values]).to_dict().get("type") == "log"
    assert spans == (kind == "log")


def test_headline_compares_the_two_fastest(run):
    found = page.headline(run)
    assert found.title == "numpy is the fastest"
    said = "other is next, 0.500 times as fast as numpy (95% interval 0.500 to 0.500)."
    assert found.text.startswith(f"numpy trains an epoch in 1.03 s. {said}")


def test_every_factor_of_the_headline_is_that_of_the_table():
    run = Run.open(ROOT / "results" / "in-turns")
    said, table = page.headline(run).text, page.summary(run)
    place = next(i for i, h in enumerate(table.headings) if h.startswith("times as fast"))
    cells = {row[0]: row[place].replace("\N{NO-BREAK SPACE}", " ") for row in table.rows}
    first, second = [row.backend for row in run.ranked[:2]]
    found = re.findall(r"([\d.]+) times as fast as torch-tutorial \(95% interval ([^)]+)\)", said)
    assert [f"{factor} ({within})" for factor, within in found] == [cells[first], cells[second]]


def test_headline_needs_no_baseline(make_run, make_cell):
    times = {"numpy": 9.0, "a": 1.0, "b": 2.0}
    cells = [make_cell(n, train_s=s, round=i) for n, s in times.items() for i in range(6)]
    found = page.headline(make_run(*cells))
    assert found.title == "a is the fastest"
    assert "9.00 times as fast as numpy (95%" in found.text
    assert "b is next, 4.50 times as fast as numpy (95%" in found.text


@pytest.mark.parametrize(
    ("pace", "title"),
    [(1.01, "numpy and other are equally fast"), (None, "numpy or other: undecided")],
)
def test_headline_claims_no_more_than_is_known(make_run, make_cell, pace, title):
    paces = [pace or 1 + 0.2 * (-1) ** i + 0.05 for i in range(6)]
    cells = [
        make_cell(name, train_s=s, round=i)
        for i, p in enumerate(paces)
        for name, s in (("numpy", 1.0), ("other", p))
    ]
    assert page.headline(make_run(*cells)).title == title


def test_headline_compares_within_a_class(make_run, make_cell):
    times = {"numpy": 6.0, "a": 3.0, "b": 2.0}
    cells = [
        make_cell(name, train_s=s, round=i, precision="bf16" if name == "b" else "float32")
        for name, s in times.items()
        for i in range(6)
    ]
    assert "2.00 times as fast as numpy (95% interval 2.00 to 2.00). numpy is next." in (
        page.headline(make_run(*cells)).text
    )
    assert page.headline(make_run(*cells[6:])).text == (
        "There is no other backend to compare it with. Every step was proved."
    )


@pytest.mark.parametrize(
    ("proved", "end"),
    [
        (10, " Every step was proved."),
        (7, " 70% of the steps, or more, were followed by the reference."),
        (None, " The difference between the two is beyond the noise floor."),
    ],
)
def test_headline_says_how_much_was_proved(make_run, make_cell, make_proof, proved, end):
    cells = [
        make_cell(name, train_s=s, round=i, proof=proved and make_proof("sampled", proved=p))
        for name, s, p in (("a", 1.0, 10), ("b", 2.0, proved))
        for i in range(6)
    ]
    run = make_run(*cells, proof=proved and "sampled")
    assert page.headline(run).text.endswith(end)


@pytest.mark.parametrize("name", ["accuracy", "rounds", "phases"])
def test_charts_show_what_is_listed_below_the_ranking_too(make_run, make_cell, name):
    cells = [
        make_cell(label, train_s=s, round=i, complete=label != "part", images=10)
        for label, s in (("numpy", 2.0), ("a", 4.0), ("part", 1.0))
        for i in range(3)
    ]
    run = make_run(*cells)
    spec = chart(name)(run, colors(["numpy", "a", "part"])).spec()
    assert [name for name in ("numpy", "a", "part") if f'"{name}"' not in json.dumps(spec)] == []
    ratios = chart("ratios")(run, colors(["numpy", "a", "part"])).spec()
    assert '"part"' not in json.dumps(ratios)


def test_run_without_a_ranking_has_no_ratios_and_says_why(make_run, make_cell):
    cells = [make_cell("numpy", proof=None), make_cell("a", train_s=2.0, complete=False)]
    run = make_run(*cells, proof="off")
    assert page.headline(run).text == "In this run no backend ranks (not proved, budget)."
    with pytest.raises(NothingToDrawError, match=r"no backend ranks \(not proved, budget\)"):
        chart("ratios")(run, colors(["numpy", "a"]))


def test_headline_table_joins_both_tables(run):
    table = page.summary(run)
    speedup = "times as fast as numpy (95% interval)"
    assert table.headings[:4] == ["backend", speedup, "verdict", "train s/epoch"]
    assert table.headings[4] == "accuracy %"
    assert table.rows[1][1] == "0.500 (0.500\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.500)"


def test_a_backend_has_a_colour_of_its_own():
    found = colors(f"backend-{i}" for i in range(12))
    assert len(set(found.values())) == 12


def luminance(color):
    """Return the relative luminance of WCAG 2, of a colour as #rrggbb."""
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * p for share, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("paper", ["#f6f7f9", "#171c23"])  # of the page, by day and by night
@pytest.mark.parametrize("color", base.BACKENDS)
def test_a_colour_can_be_seen_on_either_paper(paper, color):
    dark, light = sorted(map(luminance, (paper, color)))
    assert (light + 0.05) / (dark + 0.05) >= 2


def test_deviations_are_those_of_the_table(make_run, make_cell, make_proof):
    strays = Deviations(loss=None, displacement=0.0, first=0.0, second=0.0)
    cells = [
        make_cell("numpy", proof=make_proof()),
        make_cell("other", train_s=2.0, status="invalid", proof=make_proof(deviations=strays)),
    ]
    run = make_run(*cells)
    near, far = records(run, "deviation", "deviations")
    assert (near["deviation"], near["allowed"]) == (
        run.accuracy[0].loss_deviation,
        run.accuracy[0].loss_tolerance,
    )
    assert (far["deviation"], far["text"]) == (None, "not finite")


def test_losses_that_were_not_proved_are_held_against_no_reference(make_run, make_cell):
    with pytest.raises(NothingToDrawError, match="nothing was proved"):
        chart("deviation")(make_run(make_cell(proof=None), proof="off"), colors(NAMES))


@pytest.mark.parametrize("name", CHARTS)
def test_run_without_cells_has_no_figures(make_run, name):
    with pytest.raises(NothingToDrawError):
        chart(name)(make_run(), colors(NAMES))
