"""What a machine can do at most: dense float32 matrix products, and copies in its memory.

No honest backend is faster than the best product. ``python -m nnbench.execution.ceiling WHAT LIBRARY DEVICE
CPUS`` measures in a process of its own, which has the threads and the CPUs of a worker, and prints
GFLOP/s of a ``product``, or GB/s of a ``copy`` (read and written). Small products are among those
tried, because they fit into a time slice and so are right even on a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from nnbench.execution import interpreters, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.records import CellSpec

MEASURE_S = 0.3  #: for all sizes together
TIMEOUT_S = 60.0  #: with the import of torch
LIBRARIES = {"cpu": ("numpy", "torch", "jax"), "cuda": ("torch",)}
SIZES = {"cpu": (256, 512, 1024), "cuda": (4096, 8192)}
COPY_FLOATS = 1 << 26  #: 256 MB, beyond every cache


def find(spec: CellSpec, device: str, achieved: float, slack: float) -> float | None:
    """Return the ceiling of a cell in GFLOP/s, or None if it cannot be measured.

    The ceiling is NumPy's, on the CPU. A library may have better products than the BLAS of this
    NumPy: where a backend was faster than that (by ``slack``), others are asked as well.
    """
    best = None
    for library in LIBRARIES[device]:
        found = measure("product", library, device, spec.threads, spec.cpus, spec.python)
        best = max(filter(None, (best, found)), default=None)
        if best is not None and achieved <= slack * best:
            break
    return best


@cache
def measure(
    what: Literal["product", "copy"],
    library: str,
    device: str,
    threads: int,
    cpus: tuple[int, ...],
    python: str | None = None,
) -> float | None:
    """Measure once in a process of its own; None if the library is missing, or it fails."""
    arguments = (what, library, device, ",".join(map(str, cpus)))
    try:
        done = subprocess.run(
            interpreters.command(python, "nnbench.execution.ceiling", *arguments),
            env=variables.for_threads(interpreters.variables(python), threads),
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
    what, library, device, cpus = sys.argv[1:]
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, cpus.split(",")))
    best = best_copy(library, device) if what == "copy" else best_product(library, device)
    sys.stdout.write(f"{best}\n")


def best_product(library: str, device: str) -> float:
    """Return the best GFLOP/s of products of square matrices."""
    make = {"numpy": numpy_product, "torch": torch_product, "jax": jax_product}[library]
    seconds = MEASURE_S / len(SIZES[device])
    shortest = {size: shortest_s(make(size, device), seconds) for size in SIZES[device]}
    return max(2 * size**3 / s for size, s in shortest.items()) * 1e-9


def best_copy(library: str, device: str) -> float:
    """Return the best GB/s of copies of a large array, counting what is read and written."""
    make = {"numpy": numpy_copy, "torch": torch_copy}[library]
    return 2 * 4 * COPY_FLOATS / shortest_s(make(device), MEASURE_S) * 1e-9


def shortest_s(action: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of an action that is repeated for some seconds."""
    action()
    end = perf_counter() + seconds
    shortest = float("inf")
    while (start := perf_counter()) < end:
        action()
        shortest = min(shortest, perf_counter() - start)
    return shortest


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


def jax_product(size: int, _: str) -> Callable[[], Any]:
    """Return a function that multiplies with JAX, on the CPU."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["NPROC"] = os.environ[variables.THREAD_VARIABLES[0]]
    import jax
    import jax.numpy as jnp

    a = jnp.full((size, size), 0.5, jnp.float32)
    product = jax.jit(jnp.matmul)
    return lambda: product(a, a).block_until_ready()


def numpy_copy(_: str) -> Callable[[], Any]:
    """Return a function that copies with NumPy, each thread its part."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    threads = int(os.environ[variables.THREAD_VARIABLES[0]])
    source = np.ones(COPY_FLOATS, np.float32)
    target = np.ones_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def torch_copy(device: str) -> Callable[[], Any]:
    """Return a function that copies with PyTorch."""
    import torch

    source = torch.ones(COPY_FLOATS, device=device)
    target = torch.ones_like(source)

    def copy() -> None:
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()

    return copy


if __name__ == "__main__":
    main()
