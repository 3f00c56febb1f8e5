"""The checks of the conformance suite, in the order in which they run."""

from __future__ import annotations

from nnbench.testing.checks.contract import ContractChecks
from nnbench.testing.checks.optimizer import OptimizerChecks
from nnbench.testing.checks.resources import IsolationChecks, ResourceChecks
from nnbench.testing.checks.training import GradientChecks, TrainingChecks

__all__ = ["Conformance"]


class Conformance(
    ResourceChecks,
    IsolationChecks,
    OptimizerChecks,
    TrainingChecks,
    GradientChecks,
    ContractChecks,
):
    """All checks; pytest collects those of the last base first."""
