"""Tables as text: how numbers are written, Markdown, the terminal."""

import csv
from collections import namedtuple
from dataclasses import replace

import pytest

from nnbench.figures import columns
from nnbench.figures.columns import MISSING, significant, written
from nnbench.figures.metrics import PHASES_WORD
from nnbench.records.cells import Deviations
from nnbench.runs.run import Run
from nnbench.runs.sweep import Sweep
from nnbench.show import text
from nnbench.show.text import Sheet, markdown
from tests.cells import whole

Row = namedtuple("Row", ["x"])


def texts(heading, run):
    """Return what stands below a heading in the first table that has it."""
    sheets = text.sheets(run).values()
    table = next(table for table in sheets if heading in table.headings)
    position = table.headings.index(heading)
    return [row[position] for row in table.rows]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (1, "1.00"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (123.45, "123"),
        (1234.5, "1230"),
        (0.0012345, "0.00123"),
        (9.99, "9.99"),
        (9.999, "10.0"),
        (0.9999, "1.00"),
        (999.6, "1000"),
        (1e-7, "0.000000100"),
        (-1.2345, "-1.23"),
    ],
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize(("field", "spec"), [("x", ".2f"), ("x", ""), ("absent", "d")])
def test_missing_value_is_a_dash(field, spec, missing):
    assert written(Row(missing), field, spec) == MISSING


@pytest.mark.parametrize(
    ("spec", "scale", "value", "text"),
    [
        (".2f", 100, 0.96123, "96.12"),
        (",.0f", 1e-6, 1_234_567_890, "1,235"),
        ("d", 1, 3, "3"),
        (".0e", 1, 3.2e-7, "3e-07"),
        (".2f", 1, 0.0, "0.00"),
    ],
)
def test_number_is_scaled_and_formatted(spec, scale, value, text):
    assert written(Row(value), "x", spec, scale) == text


def test_markdown_table():
    table = Sheet("T", ["backend", "s"], [["numpy", "1.00"], ["torch-cpu", "0.50"]])
    assert markdown(table) == (
        "| backend | s |\n| --- | ---: |\n| numpy | 1.00 |\n| torch-cpu | 0.50 |\n"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [("a|b", "a\\|b"), ("a\nb", "a b"), ("|", "\\|"), ("a b", "a b"), ("x[threads=2]",) * 2],
)
def test_markdown_cells_stay_cells(text, written):
    lines = markdown(Sheet("T", [text, "n"], [[text, "1"]])).splitlines()
    assert lines == [f"| {written} | n |", "| --- | ---: |", f"| {written} | 1 |"]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("backend", ["a", "b", "c"]),
        ("n", ["2", "2", "1"]),
        ("accuracy %", ["85.00 ± 7.07", "90.00 ± 0.00", MISSING]),
        ("loss", ["0.5000", "0.5000", MISSING]),
        ("≥ 90%", ["1/2", "2/2", MISSING]),
        ("after s", [MISSING, "2.50", MISSING]),  # half of them have not
        ("images", ["100", "70", MISSING]),
        ("deviation", ["1e-07", "1e-07", MISSING]),
        ("status", ["ok", "budget", "crashed"]),
    ],
)
def test_accuracy_columns(write_run, make_cell, make_failed, mnist, heading, expected):
    cells = [
        make_cell("a", accuracies=(0.8,)),
        make_cell("a", accuracies=(0.9,), round=1),
        make_cell("b", images=70, train_s=2.0, complete=False),
        make_cell("b", images=70, train_s=3.0, complete=False, round=1),
        make_failed("c"),
    ]
    run = Run.open(write_run(*cells, workload=replace(mnist, target_accuracy=0.9)))
    assert texts(heading, run) == expected


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("train s/epoch", ["1.50", "10.0", MISSING]),
        ("every round", ["1.00 2.00", "10.0 10.0", MISSING]),
        ("images/s", ["75", "10", MISSING]),
        ("times as fast", ["1.00", "0.141", MISSING]),  # the median of logarithms: 1 / √(10 · 5)
    ],
)
def test_timing_columns(write_run, make_cell, make_failed, heading, expected):
    cells = [
        *[make_cell("a", train_s=s, round=i) for i, s in enumerate([1.0, 2.0])],
        *[make_cell("b", train_s=10.0, round=i) for i in range(2)],
        make_failed("c", "timeout"),
    ]
    assert texts(heading, Run.open(write_run(*cells, baseline="a"))) == expected


@pytest.mark.parametrize(
    ("target", "heading"), [(0.961, "≥ 96.1%"), (0.9999, "≥ 99.99%"), (1.0, "≥ 100%")]
)
def test_heading_names_the_target(make_info, mnist, target, heading):
    info = make_info(workload=replace(mnist, target_accuracy=target))
    assert heading in [column.heading for column in columns.tables(info)[0].columns]


def test_workload_without_target_has_no_such_column(make_info, mnist):
    info = make_info(workload=replace(mnist, target_accuracy=None))
    headings = [column.heading for column in columns.tables(info)[0].columns]
    accuracy = ["accuracy %", "− numpy", "accuracy is"]
    assert headings == ["backend", "n", *accuracy, "loss", "images", "deviation", "status"]


def test_failure_is_dashes_in_every_table(write_run, make_cell, make_failed):
    run = Run.open(write_run(make_cell("good"), make_failed("bad", message="killed")))
    for table in text.sheets(run).values():
        row = dict(zip(table.headings, table.rows[1], strict=True))
        said = {"backend", "n", "status", "verdict", "products"}
        assert (row["backend"], {row[h] for h in row if h not in said}) == ("bad", {MISSING})
        assert row.get("verdict", "crashed") == "crashed"


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("rank", ["1", "2", "1 in bf16", MISSING, MISSING]),
        ("times as fast", ["1.00", "0.500", MISSING, MISSING, MISSING]),
        ("verdict", [MISSING, "inconclusive", "in bf16", "target_missed", "not proved"]),
        ("proof", ["proved", "31%", "<1%", "99%", "none"]),
        ("products", ["float32", "float32", "bf16", "float32", "float32"]),
        (
            "steps proved",
            ["proved 1,200 of 1,200", "375 of 1,200", "1 of 1,200", "1,199 of 1,200", "0 of 1,200"],
        ),
        ("loss", ["1e-07 of 5e-06"] * 3 + ["not finite", "1e-07 of 5e-06"]),
        ("1st moment", ["2e-07 of 2e-05"] * 3 + ["0 of 2e-05", "2e-07 of 2e-05"]),
        ("2nd moment", ["3e-07 of 2e-05"] * 5),
        ("flips", ["0", "7", "0", "0", "0"]),
    ],
)
def test_columns_of_the_proof(write_run, make_cell, make_proof, heading, expected):
    def proof(proved, **changes):
        return make_proof("sampled", proved=proved, trained=1200, **changes)

    strays = Deviations(loss=None, displacement=0.0, first=0.0, second=3e-7)
    cells = [
        make_cell("a", train_s=1.0, proof=proof(1200)),
        make_cell("b", train_s=2.0, proof=proof(375, flips=7)),
        make_cell("c", train_s=0.1, proof=proof(1), precision="bf16"),
        make_cell("d", status="target_missed", proof=proof(1199, deviations=strays)),
        make_cell("e", train_s=3.0, proof=proof(0)),
    ]
    run = Run.open(write_run(*cells, baseline="a", proof="sampled"))
    sheets = text.sheets(run)
    table = sheets["proof" if heading not in sheets["timing"].headings else "timing"]
    position = table.headings.index(heading)
    assert [row[position] for row in table.rows] == expected


def test_run_that_was_not_to_be_proved_has_no_columns_of_a_proof(write_run, make_cell):
    run = Run.open(write_run(make_cell(proof=None, load_s=1e-3), proof="off"))
    sheets = text.sheets(run)
    assert "proof" not in sheets
    assert "proof" not in sheets["timing"].headings
    assert texts("verdict", run) == ["not proved"]
    assert texts("load s", run) == ["0.00100"]


def test_older_run_has_no_columns_of_a_proof_and_says_why(write_run, make_cell):
    run = Run.open(write_run(make_cell(proof=None), proof=None))
    sheets = text.sheets(run)
    assert "proof" not in sheets
    assert "proof" not in sheets["timing"].headings
    assert sheets["timing"].rows[0][:2] == ["numpy", "1"]
    [note] = text.notes(run)
    assert note.startswith("not proved (made before proofs): ")


def test_phases_that_do_not_add_up_are_marked(write_run, make_cell):
    run = Run.open(write_run(make_cell(flags=[PHASES_WORD]), make_cell("b", train_s=2.0)))
    assert texts("sum", run) == ["37 (own word)", "37"]
    assert texts("remarks", run)[0] == PHASES_WORD


def test_a_phase_that_is_lost_in_noise_is_a_dash_with_its_reason(write_run, make_cell):
    phases = replace(make_cell().phases, backprop_us=[0.0])
    run = Run.open(write_run(make_cell(flags=[PHASES_WORD], phases=phases)))
    assert (texts("backprop", run), texts("sum", run)) == (["–"], ["–"])
    assert texts("remarks", run)[0].startswith("backprop is lost in noise: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ", proved"),
        ({"mode": "sampled"}, ", proved"),
        ({"proved": 9000, "trained": 10_000}, ", followed 9,000 of 10,000 steps"),
        ({"mode": "off"}, ""),
    ],
)
def test_line_of_a_cell_says_how_much_was_proved(make_cell, make_proof, changes, words):
    line = text.cell_line(make_cell(proof=make_proof(**changes)))
    assert line == f"round 1 numpy: 100 images in 1.00 s, accuracy 90.00%{words}"


def test_what_is_said_of_every_backend_is_said_once(write_run, make_cell):
    cells = [make_cell("a", flags=["x"]), make_cell("b", train_s=2.0, flags=["x", "y"])]
    run = Run.open(write_run(*cells))
    assert text.notes(run) == ["every backend: x"]
    assert texts("remarks", run) == [MISSING, "y"]


def test_notes_tell_why(write_run, make_cell, make_failed):
    cells = [make_cell("good"), make_failed("bad", message="killed by SIGSEGV")]
    assert text.notes(Run.open(write_run(*cells))) == ["bad: crashed: killed by SIGSEGV"]


@pytest.mark.parametrize("name", ["accuracy", "timing"])
def test_csv_holds_the_raw_numbers(write_run, make_cell, name):
    folder = write_run(make_cell("a,b", train_s=1 / 3), make_cell("numpy", train_s=0.7))
    run = Run.open(folder)
    text.write_tables(whole(run), folder)
    with (folder / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(vars(getattr(run, name)[0]))
    assert [row["backend"] for row in rows] == ["a,b", "numpy"]
    if name == "timing":
        assert [float(row["train_s_per_epoch"]) for row in rows] == [1 / 3, 0.7]


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("accuracy", ["**Accuracy**"]),
        (
            "timing",
            [
                "**Timing (times as fast as numpy, noise floor 5.0%)**",
                "**Phases of a step, µs, medians**",
            ],
        ),
    ],
)
def test_markdown_file_has_caption_tables_and_notes(
    write_run, make_cell, make_failed, name, titles
):
    folder = write_run(make_cell("a|b"), make_failed("bad", message="killed"))
    text.write_tables(Sweep.open(folder), folder)
    lines = (folder / f"{name}.md").read_text().splitlines()
    assert lines[0].startswith("`nnbench run`: mnist, 1 round, seed 0, 1 thread, 15 s of training")
    assert [title for title in titles if title not in lines] == []
    assert any(line.startswith("| a\\|b | 1 | ") for line in lines)
    assert lines[-1] == "- bad: crashed: killed"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rounds": 3, "threads": 2}, "mnist, 3 rounds, seed 0, 2 threads"),
        ({"budget_s": 0.5}, ", 0.5 s of training at most.\n"),
        ({}, "\nA CPU, 2 cores; A GPU; CPython 3.11, nnbench 0.1, numpy 2.0."),
        ({"dataset_classes": [3, 8]}, ".\nOutputs are the labels 3, 8 of the dataset, in this"),
        ({"dataset_classes": [*range(1, 27)]}, " the labels 1–26 of the dataset, in this order."),
        ({"dataset_classes": [0, 1, 2, 9]}, " the labels 0–2, 9 of the dataset, in this order."),
    ],
)
def test_caption_says_what_was_run_and_where(make_info, changes, expected):
    assert expected in text.caption(Sweep(make_info(**changes), []))


def test_caption_says_nothing_of_classes_that_are_called_as_ever(make_info):
    assert "labels" not in text.caption(Sweep(make_info(), []))


def test_run_without_cells_has_empty_tables(write_run):
    folder = write_run()
    text.write_tables(Sweep.open(folder), folder)
    assert "| backend | n |" in (folder / "accuracy.md").read_text()


def test_accuracy_has_a_verdict_and_a_finding_a_note(write_run, make_straying):
    run = Run.open(write_run(*make_straying(near=0.02, low=-2.4)))
    assert texts("− numpy", run) == [MISSING, "+0.02", "-2.40"]
    assert texts("accuracy is", run) == [MISSING, "same", "lower"]
    [note] = text.notes(run)
    assert note == (
        "low: its accuracy is 2.40 points lower than the baseline's (3 rounds), "
        "so one of the two trains something else"
    )
    text.write_tables(whole(run), run.folder)
    assert f"- {note}\n" in (run.folder / "accuracy.md").read_text()


def test_accuracy_in_another_class_says_which(write_run, make_straying):
    cells = [
        replace(c, precision="tf32") if c.backend == "low" else c for c in make_straying(low=-2.4)
    ]
    run = Run.open(write_run(*cells))
    assert texts("accuracy is", run) == [MISSING, "in tf32"]
    assert text.notes(run) == []


def test_rounds_that_were_made_are_told_of_each_backend(make_cell, make_info):
    cells = [
        make_cell(name, round=i) for name, n in {"a": 2, "b": 1, "c": 2}.items() for i in range(n)
    ]
    run = Run(make_info("a", "b", "c", "d", rounds=3), cells)
    assert text.rounds_made(whole(run)) == "2 of 3 rounds of a, c; 1 of b; 0 of d"
    assert text.rounds_made(Sweep(make_info("a"), cells[:1])) == "1 of 1 round of a"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(3.2, "3 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (7300, "2 h")],
)
def test_duration(seconds, expected):
    assert text.duration(seconds) == expected
