"""Fixtures of this folder."""

from tests.nnbench.written import name, nasty_run, run

__all__ = ["name", "nasty_run", "run"]
