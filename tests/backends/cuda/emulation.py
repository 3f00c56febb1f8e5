"""A GPU that the CPU emulates: the same kernel, compiled as C++, on memory of NumPy's.

It takes the place of ``nnbench_cuda.device.Gpu``; all else of the backend is as it is on a GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench.contract import builds
from nnbench_cuda.compiler import SOURCES
from nnbench_cuda.plan import Limits, Plan, plans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench import NetworkSpec

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-Wl,-Bsymbolic", "-ffp-contract=off", "-w")
SUFFIX = ".so"


class EmulatedGpu:
    """A device with some limits; ``threads`` of a block may be fewer than a real one's."""

    name = "emulated"

    def __init__(self, limits: Limits | None = None, threads: int = 64, **changes: Any) -> None:
        self.limits = limits or Limits()
        self.changes = {"threads": threads, **changes}  #: to the plan
        self.seed = 0
        self._started = self._ended = 0.0

    def prepare(self, spec: NetworkSpec) -> EmulatedKernel:
        planned = next(plans(spec, self.limits))
        fields = {"blocks": planned.blocks, "chunk": planned.chunk, "clusters": planned.clusters}
        return EmulatedKernel(Plan(spec, **fields | self.changes), self.seed)

    def allocate(self, size: int) -> EmulatedMemory:
        return EmulatedMemory(size)

    def upload(self, array: Any) -> EmulatedMemory:
        memory = self.allocate(array.nbytes)
        memory.write(array)
        return memory

    def synchronize(self) -> None:
        pass

    @contextmanager
    def clock(self) -> Iterator[None]:
        self._started = perf_counter()
        yield
        self._ended = perf_counter()

    def seconds(self) -> float:
        return self._ended - self._started


class EmulatedMemory:
    """Bytes that begin as NaN."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._array = np.full(size + 16, 0xFF, np.uint8)
        self._start = -self._array.ctypes.data % 16
        self.address = self._array.ctypes.data + self._start

    def _bytes(self, size: int) -> Any:
        assert size <= self.size
        return self._array[self._start : self._start + size]

    def write(self, array: Any) -> None:
        self._bytes(array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def read(self, array: Any) -> None:
        array.reshape(-1).view(np.uint8)[:] = self._bytes(array.nbytes)

    def clear(self) -> None:
        self._array[:] = 0


class EmulatedKernel:
    """The kernel of a plan; each launch lets the threads go on in another order."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.seed = seed
        self._library = load(plan)

    def run(self, launch: Any) -> None:
        self._call(self._library.emulate_run, launch)

    def step(self, launch: Any) -> None:
        self._call(self._library.emulate_step, launch)

    def _call(self, function: Any, launch: Any) -> None:
        self.seed += 1
        if failure := function(ctypes.byref(launch), self.seed):
            raise RuntimeError(failure.decode())


@cache
def load(plan: Plan) -> ctypes.CDLL:
    """Compile the kernel for a plan, once for each state of the sources, and load it."""
    macros = [f"-D{name}={value}" for name, value in plan.macros().items()]
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    command = [*compiler, *FLAGS, f"-I{HERE}", f"-I{SOURCES}", *macros]
    texts = [
        path.read_bytes() for folder in (HERE, SOURCES) for path in sorted(folder.glob("*.c*"))
    ]
    name = hashlib.sha256(b"\0".join([repr(command).encode(), *texts])).hexdigest()[: builds.DIGITS]

    def make(path: Path) -> None:
        subprocess.run([*command, "-o", path, HERE / "emulator.cpp"], check=True)

    folder = Path(gettempdir(), f"nnbench-emulated-{os.getuid()}")
    found = builds.find(folder, name, SUFFIX) or builds.build(folder, name, SUFFIX, make)
    library = ctypes.CDLL(str(found))
    for function in (library.emulate_run, library.emulate_step):
        function.restype = ctypes.c_char_p
    return library
