"""A GPU by CUDA's driver: its memory, its clock, its launches. Nothing of this runs without one."""

from __future__ import annotations

import ctypes
import weakref
from contextlib import contextmanager, suppress
from ctypes import Structure, c_float, c_int, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from nnbench import BackendUnavailableError
from nnbench_cuda import compiler
from nnbench_cuda.plan import Limits, plans

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import NetworkSpec
    from nnbench_cuda.plan import Plan

OLDEST = (8, 0)  #: compute capability: the first that copies into shared memory in the background
CLUSTERED = (9, 0)  #: the first with clusters
PORTABLE = 8  #: blocks in a cluster that every such device allows
OUT_OF_MEMORY = 2  #: of the driver's codes
NON_BLOCKING = 1  #: a stream that waits for no other
STEP_BLOCKS = 32  #: of the kernel of one step, which any number will do for


class Launch(Structure):
    """``struct Launch`` of ``plan.cuh``."""

    _fields_: ClassVar = [
        *(
            (name, c_void_p)
            for name in [
                "examples", "order", "parameters", "first", "second", "gradients",
                "rates", "losses", "squares", "logits", "mail", "arrivals",
            ]
        ),
        *((name, c_int) for name in ["count", "batch_size", "task"]),
        *((name, c_float) for name in ["beta1", "gain1", "beta2", "gain2", "epsilon", "l2"]),
    ]  # fmt: skip


class Gpu:
    """The first device that CUDA shows, and a stream on it."""

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver: Any = driver
        self._context: Any = None
        self.call("cuInit", 0)
        self._device = self.call("cuDeviceGet", 0)
        self.name = self.call("cuDeviceGetName", 128, self._device).split(b"\0")[0].decode()
        major, minor = (f"COMPUTE_CAPABILITY_{each}" for each in ("MAJOR", "MINOR"))
        self.capability = self._attribute(major), self._attribute(minor)
        if self.capability < OLDEST:
            has, needs = (".".join(map(str, each)) for each in (self.capability, OLDEST))
            raise BackendUnavailableError(f"{self.name}: compute capability {has}, below {needs}")
        self._context = self.call("cuDevicePrimaryCtxRetain", self._device)
        self._stream = self.call("cuStreamCreate", NON_BLOCKING)
        self._ends = [self.call("cuEventCreate", 0) for _ in range(2)]
        self._kernels: dict[Plan, Kernel] = {}

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver, from whatever thread, and return what it returns beside its status.

        Raises
        ------
        MemoryError
            If the device has no memory left.
        RuntimeError
            If it fails otherwise.
        """
        if self._context is not None:
            self._driver.cuCtxSetCurrent(self._context)
        status, *values = getattr(self._driver, name)(*arguments)
        if int(status) == OUT_OF_MEMORY:
            raise MemoryError(f"no memory on the GPU ({name})")
        if int(status):
            _, text = self._driver.cuGetErrorString(status)
            raise RuntimeError(f"{name}: {text.decode() if text else int(status)}")
        return values[0] if len(values) == 1 else tuple(values)

    def _attribute(self, name: str) -> int:
        which = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self.call("cuDeviceGetAttribute", which, self._device))

    @property
    def limits(self) -> Limits:
        """What it gives one kernel."""
        shared = self._attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
        return Limits(shared, clusters=self.capability >= CLUSTERED)

    def prepare(self, spec: NetworkSpec) -> Kernel:
        """Return the kernel for a network, with as many blocks as can run together.

        Raises
        ------
        BackendUnavailableError
            If the network does not stay on this chip, or the kernel cannot be compiled.
        """
        for plan in plans(spec, self.limits):
            if plan not in self._kernels:
                self._kernels[plan] = Kernel(self, plan)
            if self._kernels[plan].fits():
                return self._kernels[plan]
        raise BackendUnavailableError(f"{self.name} cannot run all blocks of it at once")

    def allocate(self, size: int) -> Memory:
        """Return so many bytes of the device, whatever is in them."""
        return Memory(self, size)

    def upload(self, array: NDArray[np.generic]) -> Memory:
        """Copy an array to the device."""
        memory = self.allocate(array.nbytes)
        memory.write(array)
        return memory

    def synchronize(self) -> None:
        """Wait until all work is done."""
        self.call("cuStreamSynchronize", self._stream)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Take the time of what is queued within this context."""
        start, end = self._ends
        self.call("cuEventRecord", start, self._stream)
        yield
        self.call("cuEventRecord", end, self._stream)

    def seconds(self) -> float:
        """Return how long that took, once it is done."""
        return float(self.call("cuEventElapsedTime", *self._ends)) / 1e3

    @property
    def stream(self) -> Any:
        """Where all work is queued."""
        return self._stream


class Memory:
    """Bytes of the device, which end with this object."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        self._gpu = gpu
        self.size = size
        self.address = int(gpu.call("cuMemAlloc", max(size, 1)))
        weakref.finalize(self, free, gpu, self.address).atexit = False

    def write(self, array: NDArray[np.generic]) -> None:
        """Copy a C-contiguous array to its beginning."""
        if array.nbytes:
            arguments = (self.address, array.ctypes.data, array.nbytes, self._gpu.stream)
            self._gpu.call("cuMemcpyHtoDAsync", *arguments)

    def read(self, array: NDArray[np.generic]) -> None:
        """Fill a C-contiguous array from its beginning, when all that was queued before is done."""
        if array.nbytes:
            arguments = (array.ctypes.data, self.address, array.nbytes, self._gpu.stream)
            self._gpu.call("cuMemcpyDtoHAsync", *arguments)
            self._gpu.synchronize()

    def clear(self) -> None:
        """Fill it with zeros."""
        self._gpu.call("cuMemsetD8Async", self.address, 0, self.size, self._gpu.stream)


def free(gpu: Gpu, address: int) -> None:
    """Give memory back."""
    with suppress(RuntimeError):  # after a launch that failed nothing works any more
        gpu.call("cuMemFree", address)


class Kernel:
    """The kernel of a plan, loaded."""

    def __init__(self, gpu: Gpu, plan: Plan) -> None:
        self.plan = plan
        self._gpu = gpu
        driver = gpu._driver
        code = ctypes.create_string_buffer(compiler.build(plan, gpu.capability))
        module = gpu.call("cuModuleLoadData", ctypes.addressof(code))
        self._run, self._step = (
            gpu.call("cuModuleGetFunction", module, name) for name in (b"run", b"step")
        )
        attribute = driver.CUfunction_attribute
        size = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        gpu.call("cuFuncSetAttribute", self._run, size, plan.shared_bytes)
        if plan.clusters and plan.blocks > PORTABLE:
            other = attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            gpu.call("cuFuncSetAttribute", self._run, other, 1)
        self._config = configure(driver, plan, gpu.stream)

    def fits(self) -> bool:
        """Tell whether all blocks can run at the same time."""
        plan, gpu = self.plan, self._gpu
        if plan.clusters:
            try:
                return bool(gpu.call("cuOccupancyMaxActiveClusters", self._run, self._config))
            except RuntimeError:  # no device of its kind has such clusters
                return False
        name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        each = int(gpu.call(name, self._run, plan.threads, plan.shared_bytes))
        return each * gpu._attribute("MULTIPROCESSOR_COUNT") >= plan.blocks

    def run(self, launch: Launch) -> None:
        """Queue what a launch asks for."""
        pointers = (c_void_p * 1)(ctypes.addressof(launch))
        self._gpu.call("cuLaunchKernelEx", self._config, self._run, ctypes.addressof(pointers), 0)

    def step(self, launch: Launch) -> None:
        """Queue one step with the gradients that are kept."""
        pointers = (c_void_p * 1)(ctypes.addressof(launch))
        sizes = (STEP_BLOCKS, 1, 1, self.plan.threads, 1, 1)
        self._gpu.call(
            "cuLaunchKernel", self._step, *sizes, 0, self._gpu.stream, ctypes.addressof(pointers), 0
        )


def configure(driver: Any, plan: Plan, stream: Any) -> Any:
    """Return how all blocks of a plan are launched together: in a cluster, or cooperatively."""
    attribute = driver.CUlaunchAttribute()
    if plan.clusters:
        attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        dimension = attribute.value.clusterDim
        dimension.x, dimension.y, dimension.z = plan.blocks, 1, 1
    else:
        attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
        attribute.value.cooperative = 1
    config = driver.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = plan.blocks, 1, 1
    config.blockDimX, config.blockDimY, config.blockDimZ = plan.threads, 1, 1
    config.sharedMemBytes = plan.shared_bytes
    config.hStream = stream
    config.attrs = [attribute]
    config.numAttrs = 1
    return config


@cache
def gpu() -> Gpu:
    """Return this process's GPU.

    Raises
    ------
    BackendUnavailableError
        If there is none, or it is too old.
    """
    try:
        return Gpu()
    except RuntimeError as error:  # of the driver, or of its absence
        raise BackendUnavailableError(f"no CUDA device: {error}") from error
