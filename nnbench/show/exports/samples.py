"""Raw samples as one long table: a row for each epoch of each attempt at a cell.

A cell that trained no epoch has one row without an epoch, so that it is not lost.
"""

from __future__ import annotations

import csv
import io
from itertools import chain, islice
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nnbench.figures import metrics
from nnbench.runs import store
from nnbench.show.exports import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.records import CellResult, Epoch
    from nnbench.runs.run import Run

    Value = Callable[[CellResult, Epoch | None], object]

CELLS_AT_ONCE = 1000  #: that are held with all their losses


class Column(NamedTuple):
    """The kind of a column's values, as Arrow names it, and where they come from; None is missing."""

    kind: str
    value: Value


def of_cell(name: str) -> Value:
    """Return a function that gives a field of the cell."""
    return lambda cell, _: getattr(cell, name)


def of_setup(name: str) -> Value:
    """Return a function that gives a field of the cell's set-up."""
    return lambda cell, _: getattr(cell.setup, name, None)


def of_phases(name: str) -> Value:
    """Return a function that gives a phase of the cell."""
    median = metrics.phase(name)
    return lambda cell, _: median(cell)


def of_epoch(name: str) -> Value:
    """Return a function that gives a field of the epoch."""
    return lambda _, epoch: getattr(epoch, name, None)


def flags(cell: CellResult, _: Epoch | None) -> str:
    """Return the remarks on a cell."""
    return "; ".join(cell.flags)


def train_loss(_: CellResult, epoch: Epoch | None) -> float | None:
    """Return the mean loss of the steps of an epoch; None if one is not finite."""
    losses = epoch.losses if epoch else []
    finite = [loss for loss in losses if loss is not None]
    return fmean(finite) if finite and len(finite) == len(losses) else None


#: The columns in their order; the units are in their names.
COLUMNS = {
    "workload": Column("string", of_cell("workload")),
    "backend": Column("string", of_cell("backend")),
    "round": Column("int64", of_cell("round")),
    "seed": Column("int64", of_cell("seed")),
    "threads": Column("int64", of_cell("threads")),
    "position": Column("int64", of_cell("position")),
    "started": Column("string", of_cell("started")),
    "attempt": Column("int64", of_cell("attempt")),
    "final": Column("bool_", of_cell("final")),
    "disturbed": Column("bool_", of_cell("disturbed")),
    "status": Column("string", of_cell("status")),
    "message": Column("string", of_cell("message")),
    "complete": Column("bool_", of_cell("complete")),
    "wall_s": Column("float64", of_cell("wall_s")),
    "peak_memory_bytes": Column("int64", of_cell("peak_memory_bytes")),
    "deviation": Column("float64", of_cell("deviation")),
    "tolerance": Column("float64", of_cell("tolerance")),
    "achieved_gflops": Column("float64", of_cell("achieved_gflops")),
    "ceiling_gflops": Column("float64", of_cell("ceiling_gflops")),
    "flags": Column("string", flags),
    "device": Column("string", of_setup("device")),
    "parameters": Column("int64", of_setup("parameters")),
    "epoch_images": Column("int64", of_setup("epoch_images")),
    "setup_s": Column("float64", of_setup("setup_s")),
    "transfer_s": Column("float64", of_setup("transfer_s")),
    "warmup_s": Column("float64", of_setup("warmup_s")),
    **{phase.field: Column("float64", of_phases(phase.field)) for phase in metrics.PHASES},
    "epoch": Column("int64", of_epoch("number")),
    "images": Column("int64", of_epoch("images")),
    "train_s": Column("float64", of_epoch("train_s")),
    "train_loss": Column("float64", train_loss),
    "test_loss": Column("float64", of_epoch("test_loss")),
    "accuracy": Column("float64", of_epoch("accuracy")),
    "evaluate_s": Column("float64", of_epoch("evaluate_s")),
    "cpu_s": Column("float64", of_epoch("cpu_s")),
    "waited_s": Column("float64", of_epoch("waited_s")),
    "steal_s": Column("float64", of_epoch("steal_s")),
    "device_s": Column("float64", of_epoch("device_s")),
    "involuntary_switches": Column("int64", of_epoch("involuntary_switches")),
    "compilations": Column("int64", of_epoch("compilations")),
}


def rows(cells: Iterable[CellResult]) -> Iterator[list[Any]]:
    """Yield the values of each row, in the order of COLUMNS."""
    for cell in cells:
        for epoch in epochs(cell):
            yield [column.value(cell, epoch) for column in COLUMNS.values()]


def epochs(cell: CellResult) -> Sequence[Epoch | None]:
    """Return the epochs of a cell, or None in their place."""
    return cell.epochs or [None]


def to_csv(run: Run) -> bytes:
    """Return the samples of a run as CSV."""
    return csv_text(chain([list(COLUMNS)], rows(run.attempts()))).encode()


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    r"""Return lines of CSV, ended by ``\n``, and with quotes around whatever needs them.

    The writer quotes a lone carriage return only if its own lines end with one.
    """
    written: list[str] = []
    csv.writer(SimpleNamespace(write=written.append)).writerows(lines)
    return "".join(line.removesuffix("\r\n") + "\n" for line in written)


def to_parquet(run: Run) -> bytes:
    """Return the samples of a run as Parquet: the columns of the CSV, and the loss of every step.

    ``run.json`` stands in the metadata of the schema, under ``nnbench``.

    Raises
    ------
    NnbenchError
        If pyarrow is not installed.
    """
    pa = library("pyarrow", "pyarrow", extra="parquet")
    parquet = library("pyarrow.parquet", "pyarrow", extra="parquet")
    fields = [pa.field(name, getattr(pa, column.kind)()) for name, column in COLUMNS.items()]
    schema = pa.schema([*fields, pa.field("losses", pa.list_(pa.float64()))])
    whole = (run.folder / store.RUN).read_bytes() if run.folder else msgspec.json.encode(run.info)
    schema = schema.with_metadata({"nnbench": whole})
    file, attempts = io.BytesIO(), run.attempts()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while cells := list(islice(attempts, CELLS_AT_ONCE)):
            values = [list(column) for column in zip(*rows(cells), strict=True)]
            losses = [epoch.losses if epoch else None for cell in cells for epoch in epochs(cell)]
            writer.write_table(pa.table([*values, losses], schema))
    return file.getvalue()
