"""The ``native`` backend: C that the machine's own compiler builds when it is first used."""

from nnbench import Backend, Option, hookimpl
from nnbench_native.compiler import EXTRA_FLAGS, INSTRUCTIONS, why_no_compiler

TARGET = "for which processor to compile: this one, any with AVX2, any of its kind"


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``native``."""
    return [
        Backend(
            name="native",
            summary="C for this processor: zeros skipped, whole epochs, fused updates",
            create="nnbench_native.network:NativeNetwork",
            unavailable=why_no_compiler,
            options={"instructions": Option("native", TARGET, tuple(INSTRUCTIONS))},
            environment=("CC", EXTRA_FLAGS),
            skips_zeros=True,
        )
    ]
