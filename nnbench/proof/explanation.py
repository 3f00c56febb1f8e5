"""Which known mistake explains a part that strays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnbench.proof.parts import Part
    from nnbench.proof.training import State, Training
    from nnbench.records import Limits


def explain(
    training: Training,  # noqa: ARG001
    part: Part,  # noqa: ARG001
    limits: Limits,  # noqa: ARG001
    *,
    own: State | None = None,  # noqa: ARG001
) -> str | None:
    """Return what a backend may have done instead, in a few words, or None."""
    return None
