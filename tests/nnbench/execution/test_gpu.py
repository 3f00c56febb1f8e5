"""Questions to a GPU: here to a stand-in for pynvml, since none has been at hand.

Without a stand-in, the real pynvml finds no driver, or the GPU of this machine.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace

import pytest

from nnbench.execution import fitness, gpu
from nnbench.records.cells import GpuSample, Setup
from nnbench.records.events import EpochFinished, Progress, Ready

COOL = GpuSample(clock_mhz=1980, temperature_c=41, throttled=[])
HOT = GpuSample(clock_mhz=1200, temperature_c=88, throttled=["temperature"])
TRAINING = Progress(epoch=1, images=64, train_s=0.1, loss=2.0)


class NVMLError(Exception):
    """Raised by every call that fails."""


class Nvml(SimpleNamespace):
    """As much of pynvml as nnbench uses; ``open`` counts what was not shut down."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
    open = 0
    reasons = 0x01  # idle
    persistence = 1
    used = 2000
    energy_mj = 71_500
    users: tuple[int, ...] = ()
    drawers: Mapping[str, tuple[int, ...]] = MappingProxyType({"GPU 0": (), "GPU 1": ()})

    def nvmlInit(self):  # noqa: N802 - as NVML has it
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802 - as NVML has it
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802 - as NVML has it
        return 2

    def nvmlDeviceGetName(self, device):  # noqa: N802 - as NVML has it
        return {"GPU 0": "A GPU", "GPU 1": "Another"}[device]

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802 - as NVML has it
        if index > 1:
            raise NVMLError("invalid argument")
        return f"GPU {index}"

    def nvmlDeviceGetHandleByUUID(self, name):  # noqa: N802 - as NVML has it
        return name

    def nvmlDeviceGetClockInfo(self, device, clock):  # noqa: N802 - as NVML has it
        return {("GPU 0", 1): 1980, ("GPU-abc", 1): 1200}[device, clock]

    def nvmlDeviceGetTemperature(self, device, sensor):  # noqa: N802 - as NVML has it
        return {("GPU 0", 0): 41, ("GPU-abc", 0): 88}[device, sensor]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, device):  # noqa: N802 - as NVML has it
        return self.reasons

    def nvmlDeviceGetPersistenceMode(self, device):  # noqa: N802 - as NVML has it
        return self.persistence

    def nvmlDeviceGetMemoryInfo(self, device):  # noqa: N802 - as NVML has it
        return SimpleNamespace(free={"GPU 0": 3000, "GPU 1": 5000}[device], used=self.used)

    def nvmlDeviceGetTotalEnergyConsumption(self, device):  # noqa: N802 - as NVML has it
        if self.energy_mj is None:
            raise NVMLError("not supported")
        return {"GPU 0": self.energy_mj}[device]

    def nvmlDeviceGetComputeRunningProcesses(self, device):  # noqa: N802 - as NVML has it
        return [SimpleNamespace(pid=pid) for pid in self.users]

    def nvmlDeviceGetGraphicsRunningProcesses(self, device):  # noqa: N802 - as NVML has it
        return [SimpleNamespace(pid=pid) for pid in self.drawers[device]]


@pytest.fixture
def nvml(monkeypatch):
    """Put the stand-in in pynvml's place."""
    stand_in = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu._kept_open.cache_clear()
    yield stand_in
    kept = gpu._kept_open.cache_info().currsize and gpu._kept_open()
    assert stand_in.open == bool(kept)
    gpu._kept_open.cache_clear()


def make_setup(device):
    return Setup(
        setup_s=0.1,
        transfer_s=0.1,
        warmup_s=0.1,
        epoch_images=64,
        parameters=1,
        thread_pools={},
        device=device,
    )


@pytest.mark.usefixtures("nvml")
def test_sample_says_clock_and_temperature():
    assert gpu.snapshot() == COOL


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x00, []),
        (0x01 | 0x02 | 0x10 | 0x100, []),
        (0x04, ["power cap"]),
        (0x20 | 0x08 | 0x01, ["hardware slowdown", "temperature"]),
        (0x40 | 0x80, ["temperature, by hardware", "power brake"]),
    ],
)
def test_bits_that_mean_less_than_full_speed_are_named(nvml, bits, reasons):
    nvml.reasons = bits
    assert gpu.snapshot().throttled == reasons


@pytest.mark.usefixtures("nvml")
def test_gpu_is_the_first_that_cuda_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc,0")
    assert gpu.snapshot().clock_mhz == 1200


@pytest.mark.usefixtures("nvml")
def test_gpu_that_fails_to_answer_gives_no_sample(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert gpu.snapshot() is None
    assert gpu.other_processes() is None


def test_missing_package_gives_no_sample(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.snapshot() is None


def test_real_package_gives_a_sample_or_none():
    found = gpu.snapshot()
    assert found is None or found.clock_mhz > 0


@pytest.mark.usefixtures("nvml")
def test_free_memory_is_that_of_the_gpu_that_is_used(monkeypatch):
    assert gpu.free_bytes() == 3000
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu.free_bytes() == 5000


@pytest.mark.usefixtures("nvml")
def test_gpus_are_asked_for_their_names():
    assert gpu.names() == ["A GPU", "Another"]


def test_machine_without_a_driver_or_its_package_has_no_gpus(nvml, monkeypatch):
    def fail():
        raise NVMLError

    monkeypatch.setattr(nvml, "nvmlInit", fail)
    assert gpu.names() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.names() is None


def test_other_users_of_the_gpu_are_a_warning(nvml, tmp_path):
    def check():
        place = fitness.Place(cpus=[0], uses_gpu=True, root=tmp_path)
        return [text for text in fitness.warnings(place) if text.startswith("GPU")]

    assert check() == []
    nvml.users = (4711, 4712)
    assert check() == [
        "GPU is used by process 4711, 4712, which takes turns with cells: stop it (see nvidia-smi)"
    ]


def test_what_slows_a_gpu_down_is_found(nvml, tmp_path):
    def found():
        findings = fitness.graphics(fitness.Place(cpus=[0], uses_gpu=True, root=tmp_path))
        return {each.subject: (str(each.state), each.found) for each in findings}

    assert found() == {
        "GPU": ("ok", "used by nobody else"),
        "GPU persistence mode": ("ok", "on"),
        "GPU clock": ("ok", "1980 MHz at 41 °C"),
    }
    nvml.persistence, nvml.reasons = 0, 0x20
    assert found() == {
        "GPU": ("ok", "used by nobody else"),
        "GPU persistence mode": ("costs", "off"),
        "GPU clock": ("costs", "1980 MHz at 41 °C, slowed down: temperature"),
    }


@pytest.mark.usefixtures("nvml")
def test_sampler_samples_while_a_worker_trains_on_the_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "INTERVAL_S", 0.0)
    sampler = gpu.Sampler()
    for event in (TRAINING, Ready(make_setup("cuda")), TRAINING, TRAINING, EpochFinished(None)):
        sampler(event)
    assert sampler.samples == [COOL] * 3


@pytest.mark.usefixtures("nvml")
def test_sampler_keeps_its_interval(monkeypatch):
    monkeypatch.setattr(gpu, "INTERVAL_S", 3600.0)
    sampler = gpu.Sampler()
    for event in (Ready(make_setup("cuda")), TRAINING, TRAINING):
        sampler(event)
    assert sampler.samples == [COOL]


@pytest.mark.usefixtures("nvml")
def test_sampler_leaves_the_gpu_alone_while_a_cpu_trains():
    sampler = gpu.Sampler()
    for event in (Ready(make_setup("cpu")), TRAINING):
        sampler(event)
    assert sampler.samples == []


def test_what_a_worker_has_of_a_gpu_is_what_came_while_it_ran(nvml):
    use = gpu.Use("cuda")
    for before, after in ((2000, 2500), (4000, 4300), (6000, 5600)):  # others were there in between
        nvml.used = before
        use.begin()
        nvml.used = after
        use.end()
    assert use.peak == 800
    assert nvml.open == 1


def test_what_was_not_answered_once_is_unknown_for_good(nvml, monkeypatch):
    def fail(_):
        raise NVMLError

    use = gpu.Use("cuda")
    use.begin()
    use.end()
    assert use.peak == 0
    with monkeypatch.context() as patch:
        patch.setattr(nvml, "nvmlDeviceGetMemoryInfo", fail, raising=False)
        use.begin()
    use.end()
    use.begin()
    use.end()
    assert use.peak is None


def test_worker_on_a_cpu_asks_no_gpu(nvml):
    use = gpu.Use("cpu")
    use.begin()
    use.end()
    assert use.peak is None
    assert nvml.open == 0


def test_energy_is_counted_in_joules(nvml):
    assert gpu.energy_j() == 71.5
    assert gpu.why_uncounted() == ""
    assert nvml.open == 1


def test_reason_is_said_where_a_gpu_counts_no_energy(nvml, monkeypatch):
    nvml.energy_mj = None
    assert gpu.energy_j() is None
    assert gpu.why_uncounted() == "NVML has no counter of its energy"
    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", lambda: 0, raising=False)
    assert gpu.why_uncounted() == "NVML finds no GPU"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.why_uncounted() == "nvidia-ml-py is not installed, or finds no driver"


def test_reasons_of_all_samples_are_collected():
    assert gpu.throttle_reasons([COOL, HOT, HOT]) == ["temperature"]
    assert gpu.throttle_reasons([COOL]) == []


def test_whoever_has_memory_on_any_gpu_is_seen(nvml):
    assert gpu.holders() == set()
    nvml.users = (4711,)
    nvml.drawers = {"GPU 0": (), "GPU 1": (4712,)}
    assert gpu.holders() == {4711, 4712}
    assert nvml.open == 1


def test_nobody_is_seen_where_a_gpu_fails_to_answer(nvml, monkeypatch):
    def fail(_):
        raise NVMLError

    monkeypatch.setattr(nvml, "nvmlDeviceGetHandleByIndex", fail, raising=False)
    nvml.users = (4711,)
    assert gpu.holders() == set()


def test_nobody_has_memory_where_there_is_no_gpu(nvml, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.holders() == set()
    assert nvml.open == 0
