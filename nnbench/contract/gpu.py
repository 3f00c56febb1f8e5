"""Whether there is a GPU that CUDA may use, as a backend asks before anything heavy is imported."""

from __future__ import annotations

import ctypes
import os

DRIVER = "libcuda.so.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"
NONE = "no CUDA device"


def why_no_gpu() -> str | None:
    """Return why CUDA has no device, or None as far as its driver can tell.

    The driver reads the variable once in a process, so what that says is looked at first.
    """
    if os.environ.get(VISIBLE, "0").split(",")[0].strip() in {"", "-1"}:
        return f"{NONE}: {VISIBLE} hides all"
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return NONE
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return NONE if failed or not count.value else None
