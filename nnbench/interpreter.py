"""What this process's Python is, with what can be switched in it: ``python -m nnbench.interpreter``.

Sources: Python's documentation, "Python support for free threading" (a library that is not ready for it has the GIL
switched on), ``sys._is_gil_enabled`` and ``sys._jit``; PEP 703 and PEP 744.
"""

from __future__ import annotations

import platform
import sys
import sysconfig
from typing import Any


def gil() -> bool | None:
    """Tell whether a free-threaded Python has its GIL switched on by now; None of one that always has it."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    is_enabled: Any = getattr(sys, "_is_gil_enabled", None)  # mypy knows the oldest Python's
    return bool(is_enabled())


def jit() -> bool | None:
    """Tell whether Python's own compiler is switched on; None if there is none, or (before 3.14) it says nothing."""
    compiler: Any = getattr(sys, "_jit", None)
    return bool(compiler.is_enabled()) if compiler and compiler.is_available() else None


def can_be_switched() -> bool:
    """Tell whether another process of this Python may be another one."""
    return gil() is not None or jit() is not None


def describe() -> str:
    """Name it; what every Python of its version is like stands for itself."""
    words = [f"{platform.python_implementation()} {platform.python_version()}"]
    if gil() is not None:
        words += ["free-threaded", "GIL on" if gil() else "GIL off"]
    return ", ".join([*words, *(["JIT on"] if jit() else [])])


if __name__ == "__main__":
    sys.stdout.write(f"{describe()}\n")
