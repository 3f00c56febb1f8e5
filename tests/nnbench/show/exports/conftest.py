"""Fixtures of this folder."""

from tests.nnbench.written import name, nasty_run, run, unmeasured_run

__all__ = ["name", "nasty_run", "run", "unmeasured_run"]
