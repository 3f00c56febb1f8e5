"""What users name: a workload, by its name or as a TOML file, and a whole run as a TOML file."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from nnbench import catalog, selection
from nnbench.config import documents, schema
from nnbench.config.axes import Axes
from nnbench.config.run_table import RunTable
from nnbench.contract.errors import ConfigError, NnbenchError
from nnbench.data.datasets import beside, is_folder
from nnbench.data.workloads import OVERRIDES, Workload, derive
from nnbench.figures.axes import AXES
from nnbench.texts import recordable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnbench.config.documents import Document, KeyPath
    from nnbench.config.run_table import SweepTable

SUFFIX = ".toml"
UNTYPED = re.compile(r"[\[\],]")  # what no parameter can have: dask[jobs=4,memory=8GB]
CHANGES = re.compile(r"\+(?=[a-z_]+=)")  # mnist+epochs=1+batch_size=8
CHANGE = re.compile(r",(?=[a-z_]+=)")  # hidden=128,64,epochs=1


def find_workload(text: str) -> Workload:
    """Return the workload that a user named.

    Raises
    ------
    NnbenchError
        If there is none of that name, or the file holds none.
    """
    known = catalog.workloads()
    if text in known:
        return known[text]
    if text.endswith(SUFFIX):
        return read_workload(Path(text))
    base, *changes = CHANGES.split(text)
    workload = catalog.find("workload", base, known)
    for change in changes:
        workload = derive(workload, dict(map(_read_change, CHANGE.split(change))))
    return workload


def _read_change(change: str) -> tuple[str, Any]:
    """Read ``key=value`` as :func:`nnbench.data.workloads.derive` writes it."""
    key, _, text = change.partition("=")
    if key not in OVERRIDES:
        raise NnbenchError(f"no change {key!r} of a workload; known: {', '.join(OVERRIDES)}")
    value: str | list[str] | None = text
    if key == "hidden":
        value = [] if text == "none" else text.split(",")
    elif text == (schema.FULL if key == "batch_size" else "none"):
        value = None
    try:
        kind = get_type_hints(RunTable, None, None, True)[key]
        found = msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:  # the latter of thousands of digits
        raise NnbenchError(f"{change}: {schema.PLACE.sub('', str(error))}") from error
    if isinstance(found, float) and not math.isfinite(found):
        raise NnbenchError(f"{change}: Expected a finite number")
    return key, found


def read_run(path: Path) -> dict[str, Any]:
    """Return the options of ``nnbench run`` that a file sets, as the command takes them.

    Raises
    ------
    ConfigError
        If it cannot be read, or is no run.
    """
    source = documents.read(path)
    table = dict(source.table)
    if isinstance(table.get("workload"), dict):
        table["workload"] = _complete(table["workload"], path)
    run = schema.convert(source, "config", table, RunTable)
    options = {key: getattr(run, key) for key in source.table}
    if "sweep" in options:
        options["sweep"] = _axes(source, options["sweep"])
    if "workload" in options:
        options["workload"] = _named_workload(source, options["workload"])
    if "dataset" in options:
        options["dataset"] = _locate(source, ("dataset",), options["dataset"])
    if isinstance(options.get("executor"), dict):
        options["executor"] = _spell_executor(source, options["executor"])
    if isinstance(options.get("backends"), str):
        options["backends"] = [options["backends"]]
    if "output" in options:
        options["output"] = source.locate(("output",), options["output"])
    return options


def _axes(source: Document, table: SweepTable) -> Axes:
    """Return the axes of a file, whose workloads and datasets are relative to it.

    Raises
    ------
    ConfigError
        If an axis is also set as an option, or they make no points.
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for how in ("grid", "zip"):
        own = getattr(table, how)
        found[how] = {axis: values for axis in AXES if own and (values := getattr(own, axis))}
        for axis, values in found[how].items():
            at = ("sweep", how, axis)
            if axis in source.table:
                raise source.error(at, f"{axis} is an axis of [sweep], and set as well")
            if axis == "workload":
                found[how][axis] = [_named_workload(source, each, at) for each in values]
            if axis == "dataset":
                found[how][axis] = [_locate(source, at, each) for each in values]
    axes = Axes(**found)
    try:
        axes.check()
    except NnbenchError as error:
        raise source.error(("sweep",), str(error)) from error
    return axes


def _spell_executor(source: Document, table: Mapping[str, Any]) -> str:
    """Return what a user would type for an executor that a file has as a table."""
    if not isinstance(table.get("name"), str):
        raise source.error(("executor",), "missing in [executor]: name, a string")
    options = {key: value for key, value in table.items() if key != "name"}
    for key, value in options.items():
        if found := UNTYPED.search(str(value)):
            text = f"a parameter of an executor has no {found[0]!r}"
            raise source.error(("executor", key), text)
    return selection.spell_name(table["name"], options)


def _named_workload(
    source: Document, given: str | Workload, at: KeyPath = ("workload",)
) -> Workload:
    if isinstance(given, Workload):
        dataset = _locate(source, ("workload", "dataset"), given.dataset)
        return dataclasses.replace(given, dataset=dataset)
    try:
        is_file = given.endswith(SUFFIX)
        return find_workload(str(source.locate(at, given)) if is_file else given)
    except ConfigError:
        raise  # of the other file, or of how it is called
    except NnbenchError as error:
        raise source.error(at, str(error)) from error


def read_workload(path: Path) -> Workload:
    """Read a workload file; its name is the file's, unless it has one.

    Raises
    ------
    ConfigError
        If it cannot be read, is no workload, or has the name of another that is installed.
    """
    source = documents.read(path)
    workload = schema.convert(source, "workload", _complete(source.table, path), Workload)
    dataset = _locate(source, ("dataset",), workload.dataset)
    workload = dataclasses.replace(workload, dataset=dataset)
    installed = catalog.workloads().get(workload.name)
    if installed and (changed := workload.differences(installed)):  # in tables they look alike
        what = ", ".join(changed)
        text = f"{workload.name!r} is installed, and differs in {what}: give this another name"
        raise source.error(("name",), text)
    return workload


def _complete(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Give a table what a file may leave out or write otherwise."""
    whole = {"name": recordable(path.stem), "summary": "", **table}
    if whole.get("batch_size") == schema.FULL:
        whole["batch_size"] = None
    return whole


def _locate(source: Document, at: KeyPath, dataset: str) -> str:
    """Return a dataset so that the working directory does not matter.

    A registered name comes first; a folder is relative to that of the file.

    Raises
    ------
    ConfigError
        If there is neither, with the line of ``at``.
    """
    known = catalog.datasets()
    folder = str(source.locate(at, dataset))
    if dataset not in known and is_folder(folder):
        return folder
    try:
        catalog.find("dataset or folder", dataset, {**dict.fromkeys(beside(folder)), **known})
    except NnbenchError as error:
        raise source.error(at, str(error)) from error
    return dataset


def spell_workload(workload: Workload) -> str:
    """Return a workload as the TOML that :func:`read_workload` takes, every field spelled out."""
    fields = dataclasses.asdict(workload)
    optimizer = fields.pop("optimizer")
    if fields["batch_size"] is None:
        fields["batch_size"] = schema.FULL
    return _pairs(fields) + "\n[optimizer]\n" + _pairs(optimizer)


def _pairs(table: Mapping[str, Any]) -> str:
    """Write keys and values: TOML's strings, numbers, truth values and lists are those of JSON."""
    pairs = ((key, value) for key, value in table.items() if value is not None)
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in pairs)
    return text.replace("\x7f", "\\u007f")
