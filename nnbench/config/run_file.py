"""A whole run as a TOML file, for ``nnbench run --config``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnbench.config import check, document, names, workload_file
from nnbench.config.run_table import RunTable
from nnbench.contract.errors import ConfigError, NnbenchError
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.config.document import Document


def read(path: Path) -> dict[str, Any]:
    """Return the options of ``nnbench run`` that a file sets, as the command takes them.

    Raises
    ------
    ConfigError
        If it cannot be read, or does not describe a run.
    """
    source = document.read(path)
    table = dict(source.table)
    if isinstance(table.get("workload"), dict):
        table["workload"] = workload_file.complete(table["workload"], path)
    found = check.convert(source, "config", table, RunTable)
    options = {key: getattr(found, key) for key in source.table}
    if "workload" in options:
        options["workload"] = _workload(source, options["workload"])
    if "dataset" in options:
        options["dataset"] = workload_file.locate(source, ("dataset",), options["dataset"])
    if isinstance(options.get("backends"), str):
        options["backends"] = [options["backends"]]
    if "output" in options:
        options["output"] = source.locate(options["output"])
    return options


def _workload(source: Document, given: str | Workload) -> Workload:
    if isinstance(given, Workload):
        dataset = workload_file.locate(source, ("workload", "dataset"), given.dataset)
        return replace(given, dataset=dataset)
    try:
        is_file = given.endswith(names.SUFFIX)
        return names.find(str(source.locate(given)) if is_file else given)
    except ConfigError:
        raise  # of the other file
    except NnbenchError as error:
        raise source.error(("workload",), str(error)) from error
