"""``nnbench show``: the tables of runs, chosen and sorted."""

import csv
import io
import json
from dataclasses import replace

import pytest

from nnbench.figures import frames
from nnbench.runs.sweep import Sweep
from nnbench.show.text import sheets, write_tables


@pytest.fixture
def run(write_run, make_cell, make_failed):
    cells = [
        make_cell(label, train_s=seconds + 0.01 * round_, accuracies=(accuracy,), round=round_)
        for round_ in range(3)
        for label, seconds, accuracy in (("numpy", 2.0, 0.97), ("a", 1.0, 0.95), ("b", 3.0, 0.96))
    ]
    return write_run(*cells, make_failed("bad", message="killed"))


@pytest.fixture
def backends(call, run):
    """Give a function that returns the backends in the order in which they are shown."""

    def ask(*arguments):
        done = call("show", run, "--format", "json", "--columns", "backend", *arguments)
        assert (done.code, done.stderr) == (0, "")
        return [row["backend"] for row in json.loads(done.stdout)]

    return ask


def test_all_tables_are_shown_as_the_run_did(call, run):
    done = call("show", run)
    assert (done.code, done.stderr) == (0, "")
    assert all(sheet.title in done.stdout for sheet in sheets(Sweep.open(run)).values())
    assert done.stdout.endswith("\nbad: crashed: killed\n")


def test_fastest_comes_first_and_failed_ones_last(backends):
    assert backends() == ["a", "numpy", "b", "bad"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sort", "accuracy"], ["a", "b", "numpy", "bad"]),
        (["--sort", "-accuracy"], ["numpy", "b", "a", "bad"]),
        (["--sort", "accuracy", "--reverse"], ["numpy", "b", "a", "bad"]),
        (["--sort", "-accuracy", "--reverse"], ["a", "b", "numpy", "bad"]),
        (["--sort", "backend"], ["a", "b", "bad", "numpy"]),
        (["--sort", "interval"], ["a", "b", "numpy", "bad"]),
        (["--sort", "target_s"], ["numpy", "a", "b", "bad"]),
        (["--reverse"], ["bad", "b", "numpy", "a"]),
    ],
)
def test_rows_are_sorted(backends, arguments, expected):
    assert backends(*arguments) == expected


def test_only_the_chosen_table_is_shown(call, run):
    shown = call("show", run, "--table", "accuracy", "--table", "phases").stdout
    assert "Accuracy" in shown
    assert "Phases" in shown
    assert "Timing" not in shown
    assert "Outside" not in shown


def test_only_the_chosen_columns_are_shown_in_their_order(call, run):
    lines = call("show", run, "--columns", "status, accuracy,ratio").stdout.splitlines()
    headings = [line.split() for line in lines if line.startswith(" backend")]
    assert headings == [["backend", "status", "accuracy", "%"], ["backend", "time", "×", "numpy"]]


def test_chosen_columns_stay_on_a_narrow_terminal(call, run, monkeypatch):
    monkeypatch.setattr("nnbench.show.terminal.WIDE", 40)
    assert "deviation" not in call("show", run, "--table", "accuracy").stdout.splitlines()[2]
    shown = call("show", run, "--table", "accuracy", "--columns", "all").stdout
    assert "No room" not in shown
    assert call("show", run, "--columns", "deviation").stdout.splitlines()[2].endswith("deviation ")


def test_markdown_is_that_of_the_files(call, run):
    write_tables(Sweep.open(run), run)
    shown = call("show", run, "--format", "md", "--table", "accuracy").stdout
    assert shown == (run / "accuracy.md").read_text() + "\n"


@pytest.mark.parametrize("table", ["accuracy", "timing"])
def test_csv_holds_the_numbers_of_the_files(call, run, table):
    write_tables(Sweep.open(run), run)
    shown = call("show", run, "--format", "csv", "--table", table).stdout
    rows = list(csv.DictReader(io.StringIO(shown)))
    with (run / f"{table}.csv").open(newline="") as file:
        written = {row["backend"]: row for row in csv.DictReader(file)}
    assert [row["backend"] for row in rows] == list(written)
    for row in rows:
        for field, text in row.items():
            known = written[row["backend"]][field]
            assert text == known or float(text) == float(known)


def test_json_has_null_for_what_is_missing(call, run):
    done = call("show", run, "--format", "json")
    rows = json.loads(done.stdout, parse_constant=pytest.fail)
    bad = rows[-1]
    assert (bad["backend"], bad["accuracy"], bad["ratio"]) == ("bad", None, None)
    assert rows[0]["train_s_rounds"] == "1 1.01 1.02"


def test_several_runs_are_told_apart(call, write_run, make_cell):
    folders = [write_run(make_cell(), name=name) for name in ("one", "two")]
    rows = json.loads(call("show", *folders, "--format", "json").stdout)
    assert [row["run"] for row in rows] == list(map(str, folders))
    text = call("show", *folders).stdout
    assert [line for line in text.splitlines() if line in map(str, folders)] == [*map(str, folders)]
    headings = [
        line
        for line in call("show", *folders, "--format", "md").stdout.splitlines()
        if "##" in line
    ]
    assert headings == [f"## `{folder}`" for folder in folders]


def test_run_without_cells_is_shown_empty(call, write_run):
    folder = write_run()
    assert call("show", folder, "--format", "json") == (0, "[]\n", "")
    assert call("show", folder, "--format", "csv") == (0, "", "")
    assert call("show", folder).stdout.count("backend") == 6 + 1  # the word is in a title too


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "speed"], "no column 'speed'; known: backend, rounds, accuracy, "),
        (["--columns", "accuracy,speed"], "no column 'speed'; known: "),
        (["--sort", "speed"], "no column 'speed'; known: backend, rounds, accuracy, "),
        (["--sort", "-"], "no column ''; known: "),
        (["--sort", "remarks"], "no column 'remarks'; known: "),
        (["--table", "accuracy", "--sort", "ratio"], "no column 'ratio'; known: backend, rounds, "),
        (["--table", "ceilings"], " has no table of ceilings"),
        (["--table", "energy"], " has no table of energy: not looked for when the run was made"),
        (["--table", "speed"], "'speed' is not one of 'accuracy', 'timing', 'proof', "),
    ],
)
def test_unknown_names_are_one_line(call, run, arguments, message):
    done = call("show", run, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


# Looked at in another way


@pytest.fixture
def figures(call, run):
    """Give a function that returns what is shown of each backend."""

    def ask(*arguments):
        done = call("show", run, "--format", "json", *arguments)
        assert (done.code, done.stderr) == (0, "")
        return {row["backend"]: row for row in json.loads(done.stdout)}

    return ask


def test_ratios_are_to_the_baseline_that_is_asked_for(figures):
    shown = figures("--baseline", "a", "--columns", "ratio,verdict")
    assert shown["a"]["ratio"] == 1
    assert shown["numpy"]["ratio"] == pytest.approx(2.01 / 1.01)
    assert (shown["numpy"]["verdict"], shown["a"]["verdict"]) == ("slower", None)


def test_ratio_is_in_json_and_as_text_only_where_it_is_named(call, run, figures):
    shown = figures("--table", "timing")
    for row in shown.values():
        for name, inverse in frames.INVERSE.items():
            assert row[name] == (row[inverse] and 1 / row[inverse])
    text = call("show", run, "--table", "timing", "--columns", "speedup,verdict").stdout
    assert call("show", run, "--table", "timing").stdout.count("95% interval") == 1
    assert [line.split()[1:] for line in text.splitlines() if line.startswith(" a ")] == [
        [f"{shown['a']['speedup']:.2f}", "faster"]
    ]
    slowest = call("show", run, "--sort", "speedup", "--table", "timing").stdout
    assert [line.split()[0] for line in slowest.splitlines()[4:8]] == ["b", "numpy", "a", "bad"]


def test_only_the_chosen_backends_and_the_baseline_are_shown(figures, call, run):
    assert figures("--columns", "backend", "-b", "a").keys() == {"a", "numpy"}
    assert figures("--columns", "backend", "-b", "a, bad", "--baseline", "a").keys() == {"a", "bad"}
    rows = call("export", run, "--to", "csv", "--backends", "a").stdout
    assert {row["backend"] for row in csv.DictReader(io.StringIO(rows))} == {"a", "numpy"}


def test_backends_with_parameters_are_chosen_by_their_whole_label(call, write_run, make_cell):
    labels = ("numpy", "a", "a[threads=2,x=1]")
    folder = write_run(*(make_cell(label, round=at) for at in range(2) for label in labels))
    for chosen, shown in (("a[threads=2,x=1]", {"numpy", labels[2]}), ("a", {"numpy", "a"})):
        done = call("show", folder, "--format", "json", "--columns", "backend", "-b", chosen)
        assert {row["backend"] for row in json.loads(done.stdout)} == shown


@pytest.mark.parametrize("target", ["96", "96%", "0.96"])
def test_time_is_that_to_the_target_that_is_asked_for(figures, target):
    shown = figures("--target", target, "--columns", "target_reached,target_s")
    assert {name: row["target_reached"] for name, row in shown.items()} == {
        "numpy": 3,
        "b": 3,
        "a": 0,
        "bad": None,
    }
    assert shown["b"]["target_s"] == pytest.approx(3.01)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--baseline", "nope"], "has no backend 'nope'; known: numpy, a, b, bad"),
        (["--backends", "a,nope"], "has no backend 'nope'; known: "),
        (["--target", "0"], "Invalid value for '--target': 0 is not a positive number"),
        (["--pairs", "--table", "timing"], "--pairs is a table of its own: leave out --table"),
        (["--pairs", "--columns", "images"], "no column 'images'; known: backend, over, "),
    ],
)
def test_look_at_what_is_not_there_is_refused(call, run, arguments, problem):
    done = call("show", run, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert problem in done.stderr


def test_nothing_reaches_a_target_without_accuracies(call, write_run, make_cell):
    cell = make_cell()
    done = call(
        "show",
        write_run(replace(cell, epochs=[replace(e, accuracy=None) for e in cell.epochs])),
        *("--target", "97"),
    )
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.endswith("has no accuracies that could reach a target\n")


def test_every_backend_is_compared_with_all_that_are_faster(call, run):
    done = call("show", run, "--pairs", "--format", "json")
    rows = json.loads(done.stdout)
    assert [(row["backend"], row["over"]) for row in rows] == [
        *[("numpy", "a"), ("b", "a"), ("b", "numpy")]
    ]
    assert rows[1]["ratio"] == pytest.approx(3.01 / 1.01)
    assert rows[1]["ratio_low"] < rows[1]["ratio"] < rows[1]["ratio_high"]
    assert {row["verdict"] for row in rows} == {"slower"}
    table = call("show", run, "--pairs").stdout
    assert table.startswith("Each backend over every faster one (noise floor 5.0%; ")
    assert table.endswith("\nbad: crashed: killed\n")
    names = call("show", run, "--pairs", "--sort=-ratio", "--columns", "over,ratio").stdout.split()
    assert names[names.index("b") + 1] == "a"


@pytest.mark.parametrize(("name", "begins"), [("latex", r"\begin{table}"), ("html", "<style")])
def test_tables_are_written_for_papers(call, run, name, begins):
    done = call("show", run, "--format", name, "--table", "accuracy", "--table", "timing")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(begins)
    assert done.stdout.count(begins) == 2
