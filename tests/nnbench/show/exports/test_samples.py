"""CSV and Parquet, read back by pandas."""

import io
import math
import sys
from dataclasses import replace

import pandas as pd
import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.records.cells import Part
from nnbench.runs import store
from nnbench.runs.sweep import Sweep
from nnbench.show.exports import samples
from nnbench.texts import field


def read_csv(folder):
    content = io.BytesIO(samples.to_csv(Sweep.open(folder)))
    return pd.read_csv(content)


def read_parquet(folder):
    return pd.read_parquet(io.BytesIO(samples.to_parquet(Sweep.open(folder))))


@pytest.fixture(params=[read_csv, read_parquet])
def read(request):
    """Give each reader."""
    return request.param


def test_there_is_a_row_for_each_epoch_with_its_raw_values(read, write_run, make_cell):
    cells = [
        make_cell("a", train_s=1 / 3, accuracies=(0.1, 0.2)),
        make_cell("b", round=1, flags=["x", "y"], cpus=(2, 3)),
    ]
    frame = read(write_run(*cells))
    assert list(frame)[: len(samples.COLUMNS)] == list(samples.COLUMNS)
    assert frame.backend.tolist() == ["a", "a", "b"]
    assert frame.epoch.tolist() == [1, 2, 1]
    assert frame.train_s.tolist() == [1 / 3, 1 / 3, 1.0]
    assert frame.accuracy.tolist() == [0.1, 0.2, 0.9]
    assert frame.gather_us.tolist() == [2.0] * 3  # the median of 1, 2 and 30
    assert frame.train_loss.tolist() == [1.5] * 3
    assert frame.setup_s.tolist() == [0.25] * 3
    assert frame["flags"].fillna("").tolist() == ["", "", "x; y"]
    assert frame["cpus"].fillna("").tolist() == ["", "", "2 3"]
    assert frame.final.tolist() == [True] * 3


def test_cell_without_epochs_and_attempts_that_do_not_count_are_there(
    read, write_run, make_cell, make_failed
):
    repeated = [make_cell("a", disturbed=True, final=False), make_cell("a", attempt=1)]
    frame = read(write_run(*repeated, make_failed("b", "timeout", message="too long")))
    assert frame.final.tolist() == [False, True, True]
    assert frame.attempt.tolist() == [0, 1, 0]
    assert frame.status.tolist() == ["ok", "ok", "timeout"]
    assert math.isnan(frame.train_s[2])
    assert math.isnan(frame.setup_s[2])


def test_energy_of_an_epoch_is_that_of_its_parts(read, write_run, make_cell):
    known, lacks = (
        [Part(images=5, train_s=1.0, cpu_j=j) for j in joules]
        for joules in ((2.0, 3.0), (2.0, None))
    )
    cell = make_cell(accuracies=(0.1, 0.2, 0.3), meters=["package-0", "GPU"])
    epochs = [replace(e, parts=p) for e, p in zip(cell.epochs, (known, lacks, []), strict=True)]
    frame = read(write_run(replace(cell, epochs=epochs)))
    assert frame.cpu_j.fillna(-1).tolist() == [5.0, -1, -1]
    assert frame.meters.tolist() == ["package-0 GPU"] * 3
    assert frame.energy_j_per_epoch.isna().all()


def test_what_the_judge_has_found_is_there(read, write_run, make_cell, make_proof):
    proof = make_proof("sampled", proved=4, flips=2, from_parameters=True, remarks=["x", "y"])
    cells = [
        make_cell("a", proof=proof, precision="bf16", load_s=0.5, violations=["v", "w"]),
        make_cell("b", proof=None),
    ]
    frame = read(write_run(*cells))
    first, second = frame.to_dict("records")
    assert [first[name] for name in ("proof", "proof_remarks")] == ["sampled", "x; y"]
    assert [first[name] for name in ("steps_proved", "steps_trained", "flips")] == [4, 10, 2]
    assert (first["precision"], first["load_s"], first["violations"]) == ("bf16", 0.5, "v; w")
    assert (first["from_parameters"], first["displacement_deviation"]) == (True, 1e-6)
    missing = ("proof", "steps_proved", "flips", "from_parameters", "loss_deviation", "load_s")
    assert all(pd.isna(second[name]) for name in missing)


def test_losses_that_are_not_finite_are_missing(write_run, make_cell):
    folder = write_run(make_cell(losses=[2.0, None]))
    frame = read_parquet(folder)
    assert frame.losses[0].tolist() == pytest.approx([2.0, math.nan], nan_ok=True)
    assert math.isnan(frame.train_loss[0])
    assert math.isnan(read_csv(folder).train_loss[0])


def test_names_come_back_as_they_were(nasty_run, name):
    frame = read_parquet(nasty_run)
    assert frame.backend.tolist() == ["numpy", name] * 3 + ["broken"]
    assert frame.message.tolist()[-1] == name


def test_names_come_back_as_one_line_that_is_no_formula(nasty_run, name):
    frame = read_csv(nasty_run)
    assert frame.backend.tolist() == ["numpy", field(name)] * 3 + ["broken"]
    assert frame.message.tolist()[-1] == field(name)


def test_run_without_cells_has_columns(read, write_run):
    frame = read(write_run())
    assert list(frame)[: len(samples.COLUMNS)] == list(samples.COLUMNS)
    assert len(frame) == 0


def test_parquet_has_types_the_losses_and_the_run(write_run, make_failed):
    from pyarrow import parquet

    folder = write_run(make_failed("a"))
    schema = parquet.read_schema(io.BytesIO(samples.to_parquet(Sweep.open(folder))))
    kinds = {field.name: str(field.type) for field in schema}
    assert {name: kinds[name].replace("double", "float64") for name in samples.COLUMNS} == {
        name: column.kind.removesuffix("_") for name, column in samples.COLUMNS.items()
    }
    assert kinds["losses"] == "list<element: double>"
    assert schema.metadata[b"nnbench"] == (folder / store.RUN).read_bytes()


def test_missing_pyarrow_is_said_with_the_way_out(write_run, make_cell, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        NnbenchError, match=r"needs pyarrow, .*: pip install 'nnbench-harness\[parquet\]'$"
    ):
        samples.to_parquet(Sweep.open(write_run(make_cell())))
