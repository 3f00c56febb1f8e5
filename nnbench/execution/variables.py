"""Environment variables of workers: what native libraries read when they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
#: Each chooses the instructions, or the kernels, of one library: it would slow some backends down,
#: and not others.
CAPS = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "BLIS_ARCH_TYPE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
)
INHERIT = "NNBENCH_INHERIT"  #: names of caps to measure with all the same, with commas


def for_threads(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return an environment for a process with so many threads, without caps."""
    dropped = caps(environment)
    kept = {name: value for name, value in environment.items() if name not in dropped}
    return kept | dict.fromkeys(THREAD_VARIABLES, str(threads))


def caps(environment: Mapping[str, str]) -> list[str]:
    """Return the caps that are set and that workers shall not inherit."""
    wanted = {name.strip() for name in environment.get(INHERIT, "").split(",")}
    return [name for name in CAPS if name in environment and name not in wanted]
