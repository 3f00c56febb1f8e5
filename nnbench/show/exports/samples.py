"""Raw samples as one long table: a row for each epoch of each attempt at a cell.

A cell that trained no epoch has one row without an epoch, so that it is not lost.
"""

from __future__ import annotations

import csv
import io
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nnbench.contract.errors import NnbenchError, install_hint
from nnbench.figures import metrics
from nnbench.runs import results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.records import CellResult, Epoch

#: Columns with the kind of their values, as Arrow names it; the units are in their names.
CELL = {
    "workload": "string",
    "backend": "string",
    "round": "int64",
    "seed": "int64",
    "threads": "int64",
    "position": "int64",
    "started": "string",
    "attempt": "int64",
    "final": "bool",
    "disturbed": "bool",
    "status": "string",
    "message": "string",
    "complete": "bool",
    "wall_s": "float64",
    "peak_memory_bytes": "int64",
    "deviation": "float64",
    "tolerance": "float64",
    "achieved_gflops": "float64",
    "ceiling_gflops": "float64",
    "flags": "string",
}
SETUP = {
    "device": "string",
    "parameters": "int64",
    "epoch_images": "int64",
    "setup_s": "float64",
    "transfer_s": "float64",
    "warmup_s": "float64",
}
PHASES = dict.fromkeys(metrics.PHASES, "float64")
EPOCH = {
    "images": "int64",
    "train_s": "float64",
    "train_loss": "float64",
    "test_loss": "float64",
    "accuracy": "float64",
    "evaluate_s": "float64",
    "cpu_s": "float64",
    "waited_s": "float64",
    "steal_s": "float64",
    "device_s": "float64",
    "involuntary_switches": "int64",
    "compilations": "int64",
}
COLUMNS = {**CELL, **SETUP, **PHASES, "epoch": "int64", **EPOCH}


def rows(cells: Iterable[CellResult]) -> Iterator[list[Any]]:
    """Yield the values of each row, in the order of COLUMNS; None is missing."""
    for cell in cells:
        shared = [getattr(cell, name) for name in CELL]
        shared[-1] = "; ".join(cell.flags)
        shared += [getattr(cell.setup, name, None) for name in SETUP]
        shared += [metrics.phase(name)(cell) for name in PHASES]
        for epoch in epochs(cell):
            values = [getattr(epoch, name, None) for name in EPOCH]
            values[list(EPOCH).index("train_loss")] = train_loss(epoch)
            yield [*shared, getattr(epoch, "number", None), *values]


def epochs(cell: CellResult) -> Sequence[Epoch | None]:
    """Return the epochs of a cell, or None in their place."""
    return cell.epochs or [None]


def train_loss(epoch: Epoch | None) -> float | None:
    """Return the mean loss of the steps of an epoch; None if one is not finite."""
    losses = epoch.losses if epoch else []
    finite = [loss for loss in losses if loss is not None]
    return fmean(finite) if finite and len(finite) == len(losses) else None


def to_csv(folder: Path) -> bytes:
    """Return the samples of a run as CSV."""
    return csv_text([list(COLUMNS), *rows(read(folder))]).encode()


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    r"""Return lines of CSV, ended by ``\n``, and with quotes around whatever needs them.

    The writer quotes a lone carriage return only if its own lines end with one.
    """
    written: list[str] = []
    csv.writer(SimpleNamespace(write=written.append)).writerows(lines)
    return "".join(line.removesuffix("\r\n") + "\n" for line in written)


def to_parquet(folder: Path) -> bytes:
    """Return the samples of a run as Parquet: the columns of the CSV, and the loss of every step.

    ``run.json`` stands in the metadata of the schema, under ``nnbench``.

    Raises
    ------
    NnbenchError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        text = f"parquet needs pyarrow, which is not installed: {install_hint('parquet')}"
        raise NnbenchError(text) from error
    cells = read(folder)
    lines = list(rows(cells))
    values = [[line[i] for line in lines] for i in range(len(COLUMNS))]
    values.append([epoch.losses if epoch else None for cell in cells for epoch in epochs(cell)])
    fields = [
        pa.field(name, getattr(pa, kind.replace("bool", "bool_"))())
        for name, kind in COLUMNS.items()
    ]
    schema = pa.schema([*fields, pa.field("losses", pa.list_(pa.float64()))])
    schema = schema.with_metadata({"nnbench": (folder / results.RUN).read_bytes()})
    file = io.BytesIO()
    parquet.write_table(pa.table(values, schema), file, compression="zstd")
    return file.getvalue()


def read(folder: Path) -> list[CellResult]:
    """Return every attempt at every cell."""
    results.read_info(folder)  # says what is wrong with a folder that holds no run
    return list(results.read_cells(folder))
