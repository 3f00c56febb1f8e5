"""Fixtures for runs, and for what is kept between them."""

import pytest

from nnbench.runs import planning


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keep what is kept of a machine in a folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def machine(make_info):
    """Give a machine."""
    return make_info().environment


@pytest.fixture
def plan_toy():
    """Give a function that plans one round of the toy, on the backends that a user named."""

    def plan(*backends):
        return planning.plan(
            command="nnbench run",
            backends=backends,
            workload="toy-sigmoid",
            overrides={},
            rounds=1,
            seed=0,
            threads=1,
            budget=1.0,
            timeout=60.0,
            baseline=None,
        ).info

    return plan
