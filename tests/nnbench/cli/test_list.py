"""``nnbench list``."""

from contextlib import nullcontext
from typing import Any

import pytest

from nnbench import Option, catalog
from nnbench.catalog.listings import BackendItem, Listing
from nnbench.execution import listing
from nnbench.execution.executor import LocalExecutor
from tests.plugins.helpers import environment, nnbench

KINDS: dict[str, Any] = {
    "Backends:": catalog.backends,
    "Workloads:": catalog.workloads,
    "Datasets:": catalog.datasets,
    "Executors:": lambda: {**catalog.executors(), LocalExecutor.name: LocalExecutor},
}


def sections(text):
    """Return the lines of each section, by its title."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            title = line
        found.setdefault(title, []).append(line)
    return {title: lines[1:] for title, lines in found.items()}


@pytest.fixture
def listed(call):
    done = call("list")
    assert (done.code, done.stderr) == (0, "")
    return sections(done.stdout)


def test_sections_come_in_order(listed):
    assert list(listed) == list(KINDS)


@pytest.mark.parametrize("title", KINDS)
def test_every_name_is_listed(listed, title):
    names = [line.split()[0] for line in listed[title] if not line.startswith("    ")]
    assert names == list(KINDS[title]())


@pytest.mark.parametrize("title", ["Workloads:", "Datasets:", "Executors:"])
def test_names_have_their_summary(listed, title):
    lines = [line.split(maxsplit=1)[1] for line in listed[title] if not line.startswith("    ")]
    for line, item in zip(lines, KINDS[title]().values(), strict=True):
        reason = getattr(item, "unavailable", None)
        assert line == (f"unavailable: {reason}" if reason else item.summary)


def test_available_backend_has_its_summary(listed):
    line = next(line for line in listed["Backends:"] if line.split()[0] == "numpy")
    assert line.endswith(f"  {catalog.backends()['numpy'].summary}")


def test_unavailable_backend_has_its_reason():
    done = nnbench("list", env=environment(CUDA_VISIBLE_DEVICES=""))
    assert done.returncode == 0
    line = next(line for line in done.stdout.splitlines() if line.startswith("  torch-cuda "))
    assert line.split(maxsplit=1)[1].startswith("unavailable: ")


def test_parameters_are_listed_as_they_are_typed(listed):
    assert "    torch-cpu[fused=true]  optimizer step in one kernel" in listed["Backends:"]


@pytest.fixture
def list_backends(call, monkeypatch):
    """Return a function that lists these backends, as the only ones installed."""

    def lines(*items):
        listed = Listing(backends=list(items), workloads=[], datasets=[])
        monkeypatch.setattr(listing, "relied_on", lambda: nullcontext(listed))
        return sections(call("list").stdout)["Backends:"]

    return lines


MINE: Any = {"name": "mine", "summary": "a summary", "device": "cpu", "unavailable": None}


@pytest.mark.parametrize(
    ("default", "typed"), [(False, "x=false"), (2, "x=2"), (0.5, "x=0.5"), ("fast", "x=fast")]
)
def test_parameter_of_any_type_is_listed(list_backends, default, typed):
    options = {"x": Option(default=default, help="a help")}
    lines = list_backends(BackendItem(**MINE, options=options))
    assert lines == ["  mine  a summary", f"    mine[{typed}]  a help"]


def test_backend_that_is_none_of_all_says_so(list_backends):
    lines = list_backends(BackendItem(**MINE, options={}, named_only=True))
    assert lines == ["  mine  a summary (not in all)"]


def test_nothing_to_list_is_no_error(list_backends):
    assert list_backends() == []
