"""NVRTC compiles the kernel for each kind of device, which takes no GPU: ``make device-code``."""

import pytest

from nnbench import BackendUnavailableError, NetworkSpec
from nnbench.testing.networks import NETWORKS
from nnbench.testing.subject import required
from nnbench_cuda import compiler
from nnbench_cuda.plan import Limits, plans
from tests.problems import KINDS, OPTIMIZERS, make_spec

pytestmark = pytest.mark.device_code
#: by compute capability: an A100, a GPU of Ada, an H100 and a B200
DEVICES = {
    (8, 0): Limits(163 * 1024, clusters=False),
    (8, 9): Limits(99 * 1024, clusters=False),
    (9, 0): Limits(),
    (10, 0): Limits(),
}
SPECS: dict[str, NetworkSpec] = {
    "mnist": make_spec((784, 50, 10), KINDS[0], OPTIMIZERS[1]),
    "three hidden layers": make_spec((784, 40, 20, 16, 10), KINDS[-1], OPTIMIZERS[1]),
    "no hidden layer": make_spec((784, 10), KINDS[1], OPTIMIZERS[0]),
    **NETWORKS,
}


@pytest.fixture(autouse=True, scope="module")
def nvrtc():
    """Skip where NVRTC is missing, unless it must not be."""
    try:
        compiler.version()
    except (ImportError, BackendUnavailableError) as error:
        if "nvrtc" in required():
            raise
        pytest.skip(f"no NVRTC: {error}")


@pytest.mark.parametrize("capability", DEVICES, ids=lambda pair: "sm_{}{}".format(*pair))
@pytest.mark.parametrize("name", SPECS)
def test_kernel_compiles_and_keeps_all_in_registers(name, capability):
    plan = next(plans(SPECS[name], DEVICES[capability]))
    options = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *compiler.FLAGS]
    code, log = compiler.compile_code(compiler.sources(plan), [*options, "--ptxas-options=-v"])
    assert code[:4] == b"\x7fELF"
    assert "0 bytes spill stores, 0 bytes spill loads" in log
    assert "bytes spill stores" not in log.replace("0 bytes spill stores", "")
