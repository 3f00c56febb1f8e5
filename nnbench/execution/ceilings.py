"""What a machine can do at most: dense float32 matrix products, and copies in its memory.

A backend may have better products than the libraries here, but none is faster than its CPUs can be. ``python -m nnbench.execution.ceilings WHAT LIBRARY DEVICE
CPUS`` measures in a process of its own, which has the threads and the CPUs of a worker, and prints
GFLOP/s of a ``product``, or GB/s of a ``copy`` (read and written). Small products are among those
tried, because they fit into a time slice and so are right even on a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from nnbench import distributions, pipes
from nnbench.contract.errors import ResultsError
from nnbench.execution import machine, process, variables
from nnbench.execution.cpus import Chooser
from nnbench.execution.machine import Kept
from nnbench.kernel import read
from nnbench.proof.guards import SLACK
from nnbench.records.cells import Status
from nnbench.records.runs import Roof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nnbench.records.cells import CellResult, CellSpec
    from nnbench.records.runs import Environment

#: For all sizes together. A product takes milliseconds, and every run waits for it.
MEASURE_S = {"product": 0.1, "copy": 0.3}
TIMEOUT_S = 60.0  #: with the import of torch
ROOFS: Kept[list[Roof]] = Kept("ceilings.json", list[Roof])
#: Multiplications with an addition that a core starts in a cycle at most, in float32: lanes of a vector × units. A
#: matrix unit has more (SME). The first that the kernel names counts.
FUSED_A_CYCLE = {
    "sme": None,
    "avx512f": 16 * 2,
    "avx": 8 * 2,
    "sse": 4 * 2,
    "sve": 16 * 2,
    "asimd": 4 * 4,
}
FASTEST_HZ = 6.5e9  #: no CPU is sold with a clock like this
#: Drivers whose highest clock is that of turbo; others may not know it.
KNOW_TURBO = {"intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp"}
TURBO_SLACK = 1.05  #: they round
What = Literal["product", "copy"]
LIBRARIES: dict[tuple[What, str], tuple[str, ...]] = {
    ("product", "cpu"): ("numpy", "torch", "jax"),
    ("product", "cuda"): ("torch",),
    ("copy", "cpu"): ("numpy", "torch"),
    ("copy", "cuda"): ("torch",),
}
#: Of square matrices; 8192 make 256 MB, beyond every cache.
SIZES = {
    ("product", "cpu"): (256, 512, 1024),
    ("product", "cuda"): (4096, 8192),
    ("copy", "cpu"): (8192,),
    ("copy", "cuda"): (8192,),
}


def measure_speed(result: CellResult, spec: CellSpec) -> CellResult:
    """Return the result with the speed that it achieved, and the machine's ceiling and peak for it.

    All count the multiplications by zero. Backends that skip these may be faster than dense
    products by the inverse of the share that is not zero.
    """
    setup = result.setup
    if setup is None or not result.train_s or result.status is not Status.OK:
        return result
    achieved = result.images * setup.operations / result.train_s * 1e-9
    share = setup.nonzero_share
    dense = for_cell(spec, setup.device, achieved * share)
    of_cpus = setup.device == "cpu" and result.precision == "float32"
    peak = peak_gflops(spec.threads) if of_cpus else None

    def with_zeros(limit: float | None) -> float | None:
        return limit / share if limit and share else None  # nothing but zeros takes no time

    return replace(
        result,
        achieved_gflops=achieved,
        ceiling_gflops=with_zeros(dense),
        peak_gflops=with_zeros(peak),
    )


def for_cell(spec: CellSpec, device: str, achieved: float) -> float | None:
    """Return the ceiling of a cell in GFLOP/s, or None if it cannot be measured.

    The ceiling is NumPy's, on the CPU. A library may have better products than the BLAS of this
    NumPy: where a backend was faster than that (by ``SLACK``), others are asked as well.
    """
    best = None
    for library in LIBRARIES["product", device]:
        found = measure("product", library, device, spec.threads, spec.cpus, spec.python)
        best = max(filter(None, (best, found)), default=None)
        if best is not None and achieved <= SLACK * best:
            break
    return best


def peak_gflops(threads: int, root: Path = Path("/")) -> float | None:
    """Return what CPUs such as these cannot pass in float32; None where Linux does not say what they are.

    ``root`` is the folder that stands for ``/``.
    """
    lines = (line.partition(":") for line in read(root / "proc/cpuinfo").splitlines())
    names = {name.strip(): set(text.split()) for name, _, text in lines}
    can = names.get("flags", set()) | names.get("Features", set())
    fused = next((count for name, count in FUSED_A_CYCLE.items() if name in can), None)
    return fused and threads * 2 * fused * _highest_hz(root) * 1e-9


def _highest_hz(root: Path) -> float:
    folders = [*(root / machine.CPUS).glob("cpu[0-9]*/cpufreq")]
    known = [each for each in folders if read(each / "scaling_driver") in KNOW_TURBO]
    clocks = [float(read(each / "cpuinfo_max_freq") or 0) * 1e3 for each in known]
    return TURBO_SLACK * max(clocks) if any(clocks) else FASTEST_HZ


@cache
def measure(
    what: What,
    library: str,
    device: str,
    threads: int,
    cpus: tuple[int, ...],
    python: str | None = None,
) -> float | None:
    """Measure once in a process of its own; None if the library is missing, or it fails."""
    arguments = (what, library, device, ",".join(map(str, cpus)))
    try:
        done = process.run(
            process.command(python, "nnbench.execution.ceilings", *arguments),
            TIMEOUT_S,
            env=variables.for_threads(variables.handed_on(os.environ, python=python), threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        done.check_returncode()
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def roofs(environment: Environment, devices: Iterable[str], threads: Iterable[int]) -> list[Roof]:
    """Return the roofs of a machine, with one, some and all threads.

    What is not kept is measured, and so is what other versions of the libraries reached.
    """
    versions = distributions.versions(sorted(set(chain.from_iterable(LIBRARIES.values()))))
    cores = environment.usable_cores
    wanted = [("cpu", count) for count in sorted({1, cores, *threads})]
    wanted += [(device, 1) for device in sorted(set(devices) - {"cpu"})]
    kept = [each for each in ROOFS.load(environment, []) if each.libraries == versions]
    known = {(each.device, each.threads): each for each in kept}
    missing = {key: roof(*key, versions) for key in wanted if key not in known}
    if missing:
        with suppress(ResultsError):  # then they are measured again, the next time
            ROOFS.save(environment, [*known.values(), *missing.values()])
    found = known | missing
    return [found[key] for key in wanted]


def roof(device: str, threads: int, versions: dict[str, str]) -> Roof:
    """Measure a roof: the best of the libraries that are there, with their versions."""
    with Chooser().hold(threads) as held:
        cpus = held.cpus(threads)

        def ask(what: What) -> float | None:
            found = (measure(what, each, device, threads, cpus) for each in LIBRARIES[what, device])
            return max(filter(None, found), default=None)

        gflops, gb_per_s = ask("product"), ask("copy")
    return Roof(
        device=device, threads=threads, gflops=gflops, gb_per_s=gb_per_s, libraries=versions
    )


def main() -> None:
    """Pin this process, then import the library, which may print what it likes, and say its best speed."""
    what, library, device, cpus = sys.argv[1:]
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, cpus.split(",")))
    with pipes.own_output() as output:
        output.write(f"{best(what, library, device)}\n".encode())


def best(what: str, library: str, device: str) -> float:
    """Return the best GFLOP/s of products, or GB/s of copies, which are read and written."""
    sizes = SIZES[what, device]
    act = {"numpy": with_numpy, "torch": with_torch, "jax": with_jax}[library]
    work = {n: 2 * n**3 if what == "product" else 2 * 4 * n**2 for n in sizes}
    seconds = MEASURE_S[what] / len(sizes)
    return max(work[n] / shortest_s(act(what, n, device), seconds) for n in sizes) * 1e-9


def shortest_s(action: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of an action that is repeated for some seconds."""
    action()
    end = perf_counter() + seconds
    shortest = float("inf")
    while (start := perf_counter()) < end:
        action()
        shortest = min(shortest, perf_counter() - start)
    return shortest


def with_numpy(what: str, size: int, _: str) -> Callable[[], Any]:
    """Return a function that multiplies or copies with NumPy, each thread its part of a copy."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    a = np.full((size, size), 0.5, np.float32)
    out = np.ones_like(a)
    if what == "product":
        return lambda: np.matmul(a, a, out=out)
    threads = int(os.environ[variables.THREAD_VARIABLES[0]])
    parts = list(zip(np.array_split(out, threads), np.array_split(a, threads), strict=True))
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def with_torch(what: str, size: int, device: str) -> Callable[[], Any]:
    """Return a function that multiplies or copies with PyTorch, in its default precision."""
    import torch

    a = torch.full((size, size), 0.5, device=device)
    out = torch.ones_like(a)

    def act() -> None:
        if what == "product":
            torch.mm(a, a, out=out)
        else:
            out.copy_(a)
        if device == "cuda":
            torch.cuda.synchronize()

    return act


def with_jax(_: str, size: int, device: str) -> Callable[[], Any]:
    """Return a function that multiplies with JAX."""
    os.environ["JAX_PLATFORMS"] = device
    import jax
    import jax.numpy as jnp

    a = jnp.full((size, size), 0.5, jnp.float32)
    product = jax.jit(jnp.matmul)
    return lambda: product(a, a).block_until_ready()


if __name__ == "__main__":
    main()
