"""A workload as a TOML file: its keys are the fields of :class:`~nnbench.data.workloads.Workload`."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from nnbench import catalog
from nnbench.config import check, document
from nnbench.config.schema import FULL
from nnbench.contract.errors import NnbenchError
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnbench.config.document import Document
    from nnbench.config.positions import KeyPath


def read(path: Path) -> Workload:
    """Read a workload file; its name is the file's, unless it has one.

    Raises
    ------
    ConfigError
        If it cannot be read, is no workload, or has the name of another that is installed.
    """
    source = document.read(path)
    found = check.convert(source, "workload", complete(source.table, path), Workload)
    found = dataclasses.replace(found, dataset=locate(source, ("dataset",), found.dataset))
    refuse_taken_name(source, found)
    return found


def refuse_taken_name(source: Document, workload: Workload) -> None:
    """Refuse the name of an installed workload for another one: tables would not tell them apart.

    Raises
    ------
    ConfigError
        With what differs.
    """
    installed = catalog.workloads().get(workload.name)
    if installed and (changed := workload.differences(installed)):
        what = ", ".join(changed)
        text = f"{workload.name!r} is installed, and differs in {what}: give this another name"
        raise source.error(("name",), text)


def complete(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Give a table what a file may leave out or write otherwise."""
    found = {"name": path.stem, "summary": "", **table}
    if found.get("batch_size") == FULL:
        found["batch_size"] = None
    return found


def locate(source: Document, at: KeyPath, dataset: str) -> str:
    """Return a dataset so that the working directory does not matter.

    A registered name comes first; a folder is relative to that of the file.

    Raises
    ------
    ConfigError
        If there is neither, with the line of ``at``.
    """
    known = catalog.datasets()
    folder = source.locate(dataset)
    if dataset not in known and os.path.isdir(folder):  # noqa: PTH112 - takes every text
        return str(folder)
    try:
        return catalog.find("dataset or folder", dataset, known).name
    except NnbenchError as error:
        raise source.error(at, str(error)) from error


def write(workload: Workload) -> str:
    """Return a workload as the TOML that :func:`read` takes, every field spelled out."""
    fields = dataclasses.asdict(workload)
    optimizer = fields.pop("optimizer")
    if fields["batch_size"] is None:
        fields["batch_size"] = FULL
    return _pairs(fields) + "\n[optimizer]\n" + _pairs(optimizer)


def _pairs(table: Mapping[str, Any]) -> str:
    pairs = ((key, value) for key, value in table.items() if value is not None)
    return "".join(f"{key} = {_spell(value)}\n" for key, value in pairs)


def _spell(value: object) -> str:
    """Write a string, a number, a truth value or a list of them: TOML's are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
