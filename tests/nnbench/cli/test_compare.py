"""``nnbench compare``: the gate that a CI job acts on."""

import csv
import io
import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from nnbench.figures.metrics import METRICS
from nnbench.runs import store

ROOT = Path(__file__).parents[3]


SLOWER = (
    r"Failed: the train_s_per_epoch of a changed by \+19\.\d% "
    r"\(95% interval \+1\d\.\d% to \+19\.\d%\), where 5% is allowed\."
)
PASSED = "Passed: nothing is known to be worse than allowed."


@pytest.fixture(autouse=True)
def no_measured_floor(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def write(tmp_path, make_cell, make_info):
    """Give a function that writes a run of ``numpy`` and ``a`` with 1% of noise."""

    def run(name, seconds=1.0, accuracy=0.96, status="ok", **changes):
        folder, rng = tmp_path / name, np.random.default_rng(len(name))
        store.create(folder, make_info("numpy", "a", **changes))
        for round_ in range(8):
            at = {"round": round_, "seed": round_}
            store.append(folder, make_cell("numpy", train_s=rng.normal(1, 0.01), **at))
            cell = make_cell(
                "a",
                train_s=seconds * rng.normal(1, 0.01),
                accuracies=(accuracy + 0.001 * round_,),
                status=status,
                message="" if status == "ok" else "the first losses stray",
                **at,
            )
            store.append(folder, cell)
        return folder

    return run


def test_same_speed_passes(call, write):
    done = call("compare", write("base"), write("again", accuracy=0.96 - 1e-7))
    assert done.code == 0
    assert done.stdout.count("passed") == 4
    assert "+0.00 pp" in done.stdout
    assert "-0.00" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "code", "line"),
    [
        ({"seconds": 1.2}, 3, "| a | train_s_per_epoch:5% |"),
        ({"accuracy": 0.95}, 6, "| a | accuracy:0.5pp |"),
        ({"status": "invalid"}, 6, "| a | train_s_per_epoch:5% |"),
        ({"status": "crashed"}, 4, "| a | train_s_per_epoch:5% |"),
    ],
)
def test_gate_names_the_backend_and_the_figure(call, write, changes, code, line):
    done = call("compare", write("base"), write("worse", **changes))
    assert done.code == code
    [bad] = [row for row in done.stdout.splitlines() if row.startswith(line)]
    assert bad.split(" | ")[-1].rstrip(" |") in {"regression", "failed", "wrong"}


def test_message_of_a_wrong_backend_is_shown(call, write):
    done = call("compare", write("base"), write("wrong", status="invalid"))
    assert "- a: invalid: the first losses stray" in done.stdout


def test_limit_can_be_wider(call, write):
    runs = write("base"), write("slower", seconds=1.2)
    assert call("compare", *runs, "--fail", "train_s_per_epoch:50%").code == 0


def test_own_limits_replace_the_default_ones(call, write):
    runs = write("base"), write("slower", seconds=1.2)
    done = call("compare", *runs, "--fail", "accuracy:1pp", "--fail", "peak_memory_bytes:10%")
    assert done.code == 0
    assert "| a | accuracy:1pp |" in done.stdout
    assert "| a | peak_memory_bytes:10% |" in done.stdout
    assert "train_s" not in done.stdout


def test_json_holds_plain_numbers(call, write):
    done = call("compare", write("base"), write("slow", seconds=1.2), "--format", "json")
    [row] = [r for r in json.loads(done.stdout) if (r["backend"], r["unit"]) == ("a", "s")]
    assert (row["outcome"], row["verdict"]) == ("regression", "slower")
    assert (row["metric"], row["limit"]) == ("train_s_per_epoch", "train_s_per_epoch:5%")
    assert 1.15 < row["low"] < row["change"] < row["high"] < 1.25


def test_csv_can_be_read_back(call, write):
    done = call("compare", write("base"), write("again"), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    metrics = "train_s_per_epoch", "accuracy"
    expected = [(backend, metric) for backend in ("numpy", "a") for metric in metrics]
    assert [(r["backend"], r["metric"]) for r in rows] == expected


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, re.escape(PASSED)), (1.2, SLOWER)])
def test_sentence_says_what_decides(call, write, seconds, expected):
    done = call("compare", write("base"), write("new", seconds=seconds))
    assert re.match(f"- {expected}\n\n", done.stdout)
    assert re.fullmatch(f"nnbench: {expected}\n", done.stderr)


def test_other_hardware_makes_ratios_and_the_baseline_has_none(call, write, make_info):
    environment = replace(make_info().environment, cpu="another")
    base, there = write("base"), write("there", environment=environment)
    done = call("compare", base, there)
    assert done.code == 0
    what = "train_s_per_epoch in × numpy, accuracy in %"
    terms = "Other hardware, CPU (A CPU, another): times are relative to numpy."
    assert done.stdout.splitlines()[:3] == [
        f"- {PASSED}",
        "",
        f"`{there}` against `{base}`: mnist, 8 rounds, noise floor 5.0%. {what}. {terms}",
    ]
    assert done.stderr == f"nnbench: {PASSED}\nnnbench: note: {terms}\n"
    assert "| numpy | train_s_per_epoch:5% | – | – | – | – | – | not comparable |" in done.stdout


def test_other_software_is_named_and_times_are_compared(call, write, make_info):
    environment = replace(make_info().environment, versions={"nnbench": "0.1", "numpy": "2.0.1"})
    done = call("compare", write("base"), write("slow", seconds=1.2, environment=environment))
    assert done.code == 3
    terms = "The same hardware: times are compared as they are. Software that differs: "
    caption = done.stdout.splitlines()[2]
    assert caption.endswith(f"train_s_per_epoch in s, accuracy in %. {terms}numpy (2.0, 2.0.1).")
    assert done.stderr.splitlines()[-1] == f"nnbench: note: {terms}numpy (2.0, 2.0.1)."


@pytest.mark.parametrize("change", [{}, {"cpu": "another"}], ids=["here", "there"])
def test_json_says_on_which_terms(call, write, make_info, change):
    environment = replace(make_info().environment, **change)
    done = call("compare", write("base"), write("new", environment=environment), "--format", "json")
    found = {
        (r["backend"], r["metric"]): (r["unit"], r["outcome"]) for r in json.loads(done.stdout)
    }
    time, own = ("× numpy", "× numpy") if change else ("s", "s")
    assert found == {
        ("numpy", "train_s_per_epoch"): (own, "not comparable" if change else "passed"),
        ("numpy", "accuracy"): ("%", "passed"),
        ("a", "train_s_per_epoch"): (time, "passed"),
        ("a", "accuracy"): ("%", "passed"),
    }


def without_baseline(write, make_info):
    environment = replace(make_info().environment, cpu="another")
    return write("base", baseline="b"), write("there", environment=environment, baseline="c")


CANNOT = {
    "no base": lambda write, _: (Path("nowhere"), write("new")),
    "other workload": lambda write, info: (
        write("base"),
        write("new", workload=replace(info().workload, epochs=99)),
    ),
    "other machine": without_baseline,
}


@pytest.mark.parametrize("runs", CANNOT.values(), ids=CANNOT)
def test_runs_that_cannot_be_compared_have_a_code_of_their_own(call, write, make_info, runs):
    done = call("compare", *runs(write, make_info))
    assert done.code == 8
    assert re.match("nnbench: (error|Failed): ", done.stderr)
    assert all(line.startswith("nnbench: ") for line in done.stderr.splitlines())


def test_damaged_base_is_none(call, write):
    base = write("base")
    (base / store.CELLS).write_text("{}\n{}\n")
    done = call("compare", base, write("new"))
    assert (done.code, done.stdout) == (8, "")
    assert done.stderr.startswith("nnbench: error: no run to compare with: ")


@pytest.mark.parametrize("command", ["compare", "continuous"])
def test_help_lists_the_metrics(call, command):
    shown = " ".join(call(command, "--help").stdout.split())
    assert f"A METRIC is one of {', '.join(METRICS)};" in shown
    assert "--table-format" not in shown


@pytest.mark.filterwarnings("default::FutureWarning")
@pytest.mark.parametrize("typed", [["--table-format", "csv"], ["--table-format=csv"]])
def test_former_option_goes_on_working(call, write, typed):
    runs = write("base"), write("new")
    done = call("compare", *runs, *typed)
    warning = "nnbench: warning: --table-format is deprecated: write --format"
    assert done.stderr.splitlines() == [warning, f"nnbench: {PASSED}"]
    assert (done.code, done.stdout) == (0, call("compare", *runs, "--format", "csv").stdout)


MADE_HERE = re.compile(
    r"\d{8}T\d{6}Z-.*"
)  #: as .gitignore has it: a run of whoever has cloned this
PUBLISHED = [
    path.parent
    for path in sorted((ROOT / "results").glob("*/run.json"))
    if not MADE_HERE.fullmatch(path.parent.name)
]
PAIRS = [
    (base, new)
    for base, new in permutations(PUBLISHED, 2)
    for before, after in [(store.read_info(base), store.read_info(new))]
    if before.workload == after.workload and before.backends.keys() & after.backends.keys()
]


@pytest.mark.parametrize(("base", "new"), PAIRS, ids=lambda path: path.name)
def test_published_runs_can_be_compared(call, base, new):
    done = call("compare", base, new, "--format", "json")
    assert done.code in {0, 3, 5}  # slower, or without a backend
    rows = [r for r in json.loads(done.stdout) if r["metric"] == "accuracy" and r["base"]]
    assert rows
    for folder, side in ((base, "base"), (new, "new")):
        with (folder / "accuracy.csv").open() as file:
            table = {row["backend"]: row["accuracy"] for row in csv.DictReader(file)}
        assert [r[side] for r in rows] == pytest.approx([float(table[r["backend"]]) for r in rows])


def test_dataset_without_classes_is_compared_by_time(call, write):
    base, new = write("base", accuracy=np.nan), write("again", accuracy=np.nan)
    for folder in (base, new):
        cells = list(store.read_cells(folder))
        (folder / store.CELLS).unlink()
        for cell in cells:
            epochs = [replace(epoch, accuracy=None) for epoch in cell.epochs]
            store.append(folder, replace(cell, epochs=epochs))
    done = call("compare", base, new)
    assert done.code == 0
    assert "| a | train_s_per_epoch:5% |" in done.stdout
    assert "accuracy" not in done.stdout


@pytest.mark.parametrize("text", ["setup_s:5", "speed:5%", "accuracy:5%"])
def test_unreadable_limit_is_one_line(call, write, text):
    done = call("compare", write("base"), write("again"), "--fail", text)
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_folder_without_a_new_run_is_one_line(call, write, tmp_path):
    done = call("compare", write("base"), tmp_path / "nothing")
    assert (done.code, done.stdout) == (2, "")
    assert "holds no run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
