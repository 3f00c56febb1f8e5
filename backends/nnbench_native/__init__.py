"""The ``native`` backend: C that the machine's own compiler builds when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import Backend, Option, hookimpl
from nnbench_native.compiler import INSTRUCTIONS, why_no_compiler

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_native.network import NativeNetwork


def create(spec: NetworkSpec, *, instructions: str = "native") -> NativeNetwork:
    """Build the C code, or find it built, when a cell starts."""
    from nnbench_native.network import NativeNetwork

    return NativeNetwork(spec, instructions)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``native``."""
    help_ = "for which processor to compile: this one, any with AVX2, any of its kind"
    return [
        Backend(
            name="native",
            summary="C for this processor: zeros skipped, whole epochs, fused updates",
            create=create,
            unavailable=why_no_compiler,
            options={"instructions": Option("native", help_, tuple(INSTRUCTIONS))},
            skips_zeros=True,
        )
    ]
