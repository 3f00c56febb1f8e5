"""The speed that no honest backend can exceed: the best of many dense float32 matrix products.

``python -m nnbench.ceiling LIBRARY DEVICE CPUS`` measures it in a process of its own, which has the
threads and the CPUs of a worker, and prints GFLOP/s. Small products are among those tried, because
they fit into a time slice and so are right even on a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nnbench import interpreters
from nnbench.process import THREAD_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.cell import CellSpec

MEASURE_S = 0.3  #: for all sizes together
TIMEOUT_S = 60.0  #: with the import of torch
SIZES = {"cpu": (256, 512, 1024), "cuda": (4096, 8192)}


def find(spec: CellSpec, device: str, achieved: float, slack: float) -> float | None:
    """Return the ceiling of a cell in GFLOP/s, or None if it cannot be measured.

    The ceiling is NumPy's, on the CPU. A library may have better products than the BLAS of this
    NumPy: where a backend was faster than that (by ``slack``), torch is asked as well.
    """
    libraries = ("torch",) if device == "cuda" else ("numpy", "torch")
    best = None
    for library in libraries:
        found = measure(library, device, spec.threads, spec.cpus, spec.python)
        best = max(filter(None, (best, found)), default=None)
        if best is not None and achieved <= slack * best:
            break
    return best


@cache
def measure(
    library: str, device: str, threads: int, cpus: tuple[int, ...], python: str | None = None
) -> float | None:
    """Measure once in a process of its own; None if the library is missing, or it fails."""
    arguments = (library, device, ",".join(map(str, cpus)))
    try:
        done = subprocess.run(
            interpreters.command(python, "nnbench.ceiling", *arguments),
            env=interpreters.variables(python) | dict.fromkeys(THREAD_VARIABLES, str(threads)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def main() -> None:
    """Pin this process, then import the library and print its best speed."""
    library, device, cpus = sys.argv[1:]
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, cpus.split(",")))
    make = {"numpy": numpy_product, "torch": torch_product}[library]
    sizes = SIZES[device]
    best = max(speed(make(size, device), size, MEASURE_S / len(sizes)) for size in sizes)
    sys.stdout.write(f"{best}\n")


def speed(product: Callable[[], Any], size: int, seconds: float) -> float:
    """Return the best GFLOP/s of a product of two square matrices, repeated for some seconds."""
    product()
    end = perf_counter() + seconds
    shortest = float("inf")
    while (start := perf_counter()) < end:
        product()
        shortest = min(shortest, perf_counter() - start)
    return 2 * size**3 / shortest * 1e-9


def numpy_product(size: int, _: str) -> Callable[[], Any]:
    """Return a function that multiplies with NumPy."""
    import numpy as np

    a = np.full((size, size), 0.5, np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out)


def torch_product(size: int, device: str) -> Callable[[], Any]:
    """Return a function that multiplies with PyTorch, in its default precision."""
    import torch

    a = torch.full((size, size), 0.5, device=device)
    out = torch.empty_like(a)

    def product() -> None:
        torch.mm(a, a, out=out)
        if device == "cuda":
            torch.cuda.synchronize()

    return product


if __name__ == "__main__":
    main()
