"""Fixtures for what people look at: runs as the report needs them, on disk, and a browser."""

import os

import pytest

from nnbench.runs.run import Run
from tests import browser

NAME = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def make_run(make_info):
    """Give a function that makes a run of some cells."""

    def make(*cells, **changes):
        labels = dict.fromkeys(cell.backend for cell in cells)
        return Run(make_info(*labels, **changes), cells)

    return make


@pytest.fixture(scope="session")
def varied(make_cell, make_failed):
    """Give the cells of a run in which every kind of thing happened."""
    cells = []
    for number in range(8):
        at = {"round": number, "seed": number}
        speed = {"achieved_gflops": 40.0, "ceiling_gflops": 100.0}
        noise = 1 + 0.01 * number
        cells += [
            make_cell("numpy", train_s=noise, accuracies=(0.9, 0.95, 0.97), **at, **speed),
            make_cell("torch-cpu", train_s=2 * noise, accuracies=(0.9, 0.95, 0.97), **at, **speed),
            make_cell(NAME, train_s=30 * noise, images=50, **at),
            make_failed("diverged", "diverged", message=f"{NAME} is not finite", **at),
        ]
    flagged = make_cell("numpy", round=8, train_s=1.5, flags=[f"disturbed by </script> {NAME}"])
    return [*cells, flagged, make_failed("torch-cuda", "skipped", message="no CUDA device")]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Give a headless browser; ``chromium`` in NNBENCH_REQUIRE makes it a failure if there is none."""
    program = browser.find()
    if program is None:
        if "chromium" in os.environ.get("NNBENCH_REQUIRE", "").split(","):
            pytest.fail("chromium is required, and not installed")
        pytest.skip("chromium is not installed")
    found = browser.Browser(program, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()
