"""The ``cuda`` backend where there is no GPU: why it is unavailable, and what it hands to the driver."""

import ctypes

import pytest

from nnbench import BackendUnavailableError, catalog, distributions
from nnbench.contract import gpu
from nnbench_cuda import device
from nnbench_cuda.compiler import SOURCES
from nnbench_cuda.device import Launch
from nnbench_cuda.network import Task

CUDA = catalog.backends()["cuda"]


class Driver:
    """A driver that was asked before, with a device, and no longer looks at the environment."""

    def __init__(self, devices=1, status=0):
        self.devices, self.status = devices, status

    def cuInit(self, _):  # noqa: N802 - as the driver has it
        return self.status

    def cuDeviceGetCount(self, count):  # noqa: N802 - likewise
        count._obj.value = self.devices
        return 0


@pytest.fixture
def driver(monkeypatch):
    """Give a function that puts a driver in the place of this machine's."""
    monkeypatch.delenv(gpu.VISIBLE, raising=False)

    def put(found):
        def load(_):
            if found is None:
                raise OSError("libcuda.so.1: cannot open shared object file")
            return found

        monkeypatch.setattr(ctypes, "CDLL", load)

    return put


@pytest.mark.parametrize("found", [None, Driver(devices=0), Driver(status=100), Driver(status=999)])
def test_no_driver_or_no_device_is_a_reason(driver, found):
    driver(found)
    assert gpu.why_no_gpu() == "no CUDA device"


def test_a_device_is_enough(driver):
    driver(Driver())
    assert gpu.why_no_gpu() is None


@pytest.mark.parametrize("value", ["", " ", "-1", "-1,0"])
def test_a_device_that_is_hidden_is_none(driver, monkeypatch, value):
    driver(Driver())
    monkeypatch.setenv(gpu.VISIBLE, value)
    assert gpu.why_no_gpu() == "no CUDA device: CUDA_VISIBLE_DEVICES hides all"
    monkeypatch.setenv(gpu.VISIBLE, "0,1")
    assert gpu.why_no_gpu() is None


@pytest.mark.parametrize("name", ["cuda", "torch-cuda"])
def test_with_a_hidden_device_it_is_unavailable(driver, monkeypatch, tmp_path, name):
    """Also where the library has CUDA: a file says what PyTorch was built for."""
    import nnbench_torch

    (tmp_path / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    origin = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})()
    monkeypatch.setattr(nnbench_torch, "find_spec", lambda _: origin)
    monkeypatch.setattr(distributions, "is_installed", lambda _: True)
    driver(Driver())
    backend = catalog.backends()[name]
    assert catalog.why_unavailable(backend) is None
    monkeypatch.setenv(gpu.VISIBLE, "")
    assert catalog.why_unavailable(backend) == "no CUDA device: CUDA_VISIBLE_DEVICES hides all"


def test_a_launch_is_what_the_kernel_reads():
    text = (SOURCES / "plan.cuh").read_text()
    struct = text.partition("struct Launch {\n")[2].partition("};")[0]
    lines = [line.partition("//")[0].strip(" ;") for line in struct.splitlines()]
    names = [word.split()[-1].strip("*") for line in lines for word in line.split(",")]
    assert names == [field[0] for field in Launch._fields_]
    assert ctypes.sizeof(Launch) == 12 * 8 + 9 * 4 + 4
    enum = text.partition("enum Task { ")[2].partition(" }")[0].split(", ")
    assert enum == [task.name for task in Task]


def test_a_driver_that_fails_is_a_reason(monkeypatch):
    def fail():
        raise RuntimeError("cuInit: unknown error")

    monkeypatch.setattr(device, "Gpu", fail)
    device.gpu.cache_clear()
    with pytest.raises(BackendUnavailableError, match=r"^no CUDA device: cuInit: unknown error$"):
        device.gpu()
