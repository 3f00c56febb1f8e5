"""Stands for NVML where there is no GPU: it says that whoever uses-gpu names has memory on one."""

import os
from pathlib import Path
from types import SimpleNamespace

NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0


class NVMLError(Exception):
    """What pynvml raises."""


def nvmlInit():  # noqa: N802 - as NVML has it
    pass


nvmlShutdown = nvmlInit  # noqa: N816 - as NVML has it


def nvmlDeviceGetCount():  # noqa: N802 - as NVML has it
    return 1


def nvmlDeviceGetHandleByIndex(index):  # noqa: N802 - as NVML has it
    return index


def nvmlDeviceGetName(*_):  # noqa: N802 - as NVML has it
    return "a stand-in"


def nvmlDeviceGetComputeRunningProcesses(*_):  # noqa: N802 - as NVML has it
    path = Path(os.environ["NNBENCH_CHEATS_FOLDER"], "gpu")
    text = path.read_text() if path.exists() else ""
    return [SimpleNamespace(pid=int(text))] if text else []


def nvmlDeviceGetGraphicsRunningProcesses(*_):  # noqa: N802 - as NVML has it
    return []


def nvmlDeviceGetClockInfo(*_):  # noqa: N802 - as NVML has it
    return 1000


def nvmlDeviceGetTemperature(*_):  # noqa: N802 - as NVML has it
    return 40


def nvmlDeviceGetCurrentClocksThrottleReasons(*_):  # noqa: N802 - as NVML has it
    return 0
