"""Raw samples as one long table: a row for each epoch of each attempt at a cell.

A cell that trained no epoch has one row without an epoch, so that it is not lost.
"""

from __future__ import annotations

import io
from dataclasses import fields
from itertools import chain, islice
from operator import attrgetter
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nnbench import files
from nnbench.figures import machines
from nnbench.figures.metrics import PHASES, cpu_joules, gpu_joules, joules
from nnbench.records.cells import CellResult, Deviations, Epoch, Setup
from nnbench.runs import store
from nnbench.show.exports import library
from nnbench.texts import csv_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.records.cells import Proof
    from nnbench.runs.sweep import Sweep

    Value = Callable[[CellResult, Setup | None, Epoch | None], object]

MACHINE_KIND = "machine_kind"  #: the column after those of COLUMNS
CELLS_AT_ONCE = 1000  #: that are held with all their losses
RECORDS = (CellResult, Setup, Epoch)  #: that a row is made of; the last two can be missing
#: Arrow's name of the type that a field begins with; whatever may be None has a second one.
KINDS = {
    **dict.fromkeys(["Name", "Line", "Text", "Status", "Precision"], "string"),
    "bool": "bool_",
    **dict.fromkeys(["Count", "Number", "Bytes", "Seed"], "int64"),
    **dict.fromkeys(["Seconds", "CallSeconds", "Loss", "Portion", "Magnitude"], "float64"),
    **dict.fromkeys(["Amount", "Ceiling"], "float64"),
}


class Column(NamedTuple):
    """The kind of a column's values, as Arrow names it, and where they come from; None is missing."""

    kind: str
    value: Value


def of(record: type, names: str) -> dict[str, Column]:
    """Return columns of some fields of one of RECORDS."""
    place = RECORDS.index(record)
    types = {field.name: str(field.type).partition(" ")[0] for field in fields(record)}
    return {
        name: Column(KINDS[types[name]], lambda *row, name=name: getattr(row[place], name, None))
        for name in names.split()
    }


def of_proof(value: Callable[[Proof], object], kind: str) -> Column:
    """Return a column of what the judge has found; missing where it has not looked."""
    return Column(kind, lambda cell, *_: value(cell.proof) if cell.proof else None)


def train_loss(epoch: Epoch | None) -> float | None:
    """Return the mean loss of the steps of an epoch; None if one is not finite."""
    losses = epoch.losses if epoch else []
    finite = [loss for loss in losses if loss is not None]
    return fmean(finite) if finite and len(finite) == len(losses) else None


#: The columns in their order; the units are in their names.
COLUMNS = {
    **of(
        CellResult, "workload backend round seed threads position started attempt final disturbed"
    ),
    **of(CellResult, "status message complete wall_s peak_memory_bytes deviation tolerance"),
    **of(CellResult, "training_memory_bytes device_memory_bytes"),
    **of(CellResult, "achieved_gflops ceiling_gflops"),
    "flags": Column("string", lambda cell, *_: "; ".join(cell.flags)),
    "cpus": Column("string", lambda cell, *_: " ".join(map(str, cell.cpus))),
    "meters": Column("string", lambda cell, *_: " ".join(cell.meters)),
    "energy_j_per_epoch": Column("float64", lambda cell, *_: joules(cell)),
    "gpu_j_per_epoch": Column("float64", lambda cell, *_: gpu_joules(cell)),
    "violations": Column("string", lambda cell, *_: "; ".join(cell.violations)),
    **of(CellResult, "precision load_s"),
    "proof": of_proof(lambda proof: proof.mode, "string"),
    "steps_proved": of_proof(lambda proof: proof.proved, "int64"),
    "steps_trained": of_proof(lambda proof: proof.trained, "int64"),
    "flips": of_proof(lambda proof: proof.flips, "int64"),
    "from_parameters": of_proof(lambda proof: proof.from_parameters, "bool_"),
    **{
        f"{kind.name}_deviation": of_proof(attrgetter(f"deviations.{kind.name}"), "float64")
        for kind in fields(Deviations)
    },
    "proof_remarks": of_proof(lambda proof: "; ".join(proof.remarks), "string"),
    **of(Setup, "device parameters epoch_images setup_s transfer_s warmup_s"),
    **{
        phase.field: Column("float64", lambda cell, *_, phase=phase: phase.of(cell))
        for phase in PHASES
    },
    "epoch": of(Epoch, "number")["number"],
    **of(Epoch, "images train_s"),
    "train_loss": Column("float64", lambda *row: train_loss(row[-1])),
    **of(Epoch, "test_loss accuracy evaluate_s predicted_images cpu_s waited_s steal_s device_s"),
    **of(Epoch, "involuntary_switches compilations"),
    "cpu_j": Column("float64", lambda *row: cpu_joules(row[-1].parts) if row[-1] else None),
    **of(CellResult, "machine block_attempt"),
}


def rows(cells: Iterable[CellResult], *more: Value) -> Iterator[list[Any]]:
    """Yield the values of each row, in the order of COLUMNS, and those of more columns."""
    values = [*(column.value for column in COLUMNS.values()), *more]
    for cell in cells:
        epochs: Sequence[Epoch | None] = cell.epochs or [None]
        for epoch in epochs:
            yield [value(cell, cell.setup, epoch) for value in values]


def kind_of(run: Sweep) -> Value:
    """Return what says of a cell on which kind of machine it ran, as the tables of the run name it."""
    called = machines.called(run.info)
    return lambda cell, *_: called.get(cell.machine)


def points_of(run: Sweep) -> dict[str, Value]:
    """Return a column for each axis in which points differ that no other column has."""
    settings = {point.index: point.setting for point in run}
    named = dict.fromkeys(axis for own in settings.values() for axis in own if axis not in COLUMNS)
    return {axis: lambda cell, *_, axis=axis: settings[cell.point][axis] for axis in named}


def to_csv(run: Sweep) -> bytes:
    """Return the samples of a run as CSV."""
    axes = points_of(run)
    lines = rows(run.attempts(), kind_of(run), *axes.values())
    return csv_text(chain([[*COLUMNS, MACHINE_KIND, *axes]], lines)).encode()


def to_parquet(run: Sweep) -> bytes:
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
    axes = points_of(run)
    more = [pa.field(name, pa.string()) for name in (MACHINE_KIND, *axes)]
    schema = pa.schema([*fields, *more, pa.field("losses", pa.list_(pa.float64()))])
    texts: list[Value] = [lambda *row, of=of: str(of(*row)) for of in axes.values()]
    on_disk = files.read_regular(run.folder / store.RUN) if run.folder else None
    whole = on_disk or msgspec.json.encode(run.info)
    schema = schema.with_metadata({"nnbench": whole})
    file, attempts = io.BytesIO(), run.attempts()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while cells := list(islice(attempts, CELLS_AT_ONCE)):
            losses: Value = lambda *row: getattr(row[-1], "losses", None)
            found = rows(cells, kind_of(run), *texts, losses)
            columns = zip(*found, strict=True)
            writer.write_table(pa.table(list(map(list, columns)), schema))
    return file.getvalue()
