"""What PyTorch needs besides itself: a GPU, a compiler; without importing torch, which takes seconds."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

DRIVER = "libcuda.so.1"


def why_no_compiler() -> str | None:
    """Return why torch.compile can't run on the CPU: it writes C++ and includes Python's headers."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler: {compiler} not found (CXX names another)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "torch.compile needs Python's headers: install python3-dev or the like"
    return None


def why_no_cuda() -> str | None:
    """Return why PyTorch has no CUDA device, or None as far as one can tell from outside."""
    if not built_for_cuda():
        return "the installed torch is built without CUDA"
    return None if count_devices() else "no CUDA device"


def built_for_cuda() -> bool:
    """Read from torch/version.py whether this build of PyTorch is one for CUDA."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = Path(spec.origin).with_name("version.py").read_text()
    return re.search(r"^cuda\b[^=\n]*=\s*['\"]", text, re.MULTILINE) is not None


def count_devices() -> int:
    """Ask the driver for the number of devices; it honours CUDA_VISIBLE_DEVICES."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
