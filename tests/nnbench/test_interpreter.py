"""What of a Python can be switched is part of its name, and nothing is added to those of before."""

import platform
import subprocess
import sys
import sysconfig
from types import SimpleNamespace

import pytest

from nnbench import interpreter

PLAIN = f"{platform.python_implementation()} {platform.python_version()}"


@pytest.fixture
def become(monkeypatch):
    """Return a function that lets this Python look like another one."""
    variables = sysconfig.get_config_var

    def become(gil, jit):
        is_free = None if gil is None else 1
        monkeypatch.setattr(
            sysconfig,
            "get_config_var",
            lambda n: is_free if n == "Py_GIL_DISABLED" else variables(n),
        )
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: gil, raising=False)
        compiler = {"is_available": lambda: jit is not None, "is_enabled": lambda: jit}
        monkeypatch.setattr(sys, "_jit", SimpleNamespace(**compiler), raising=False)

    return become


@pytest.mark.parametrize(
    ("gil", "jit", "more"),
    [
        (None, None, ""),
        (None, False, ""),
        (None, True, ", JIT on"),
        (False, None, ", free-threaded, GIL off"),
        (True, True, ", free-threaded, GIL on, JIT on"),
    ],
)
def test_only_what_is_unlike_others_is_said(become, gil, jit, more):
    become(gil, jit)
    assert interpreter.describe() == PLAIN + more
    assert interpreter.can_be_switched() is (gil is not None or jit is not None)


def test_a_python_that_knows_of_neither_is_plain(monkeypatch):
    for name in ("_is_gil_enabled", "_jit"):
        monkeypatch.delattr(sys, name, raising=False)
    assert interpreter.jit() is None
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert (interpreter.gil(), interpreter.describe()) == (None, PLAIN)


def test_another_process_says_it():
    command = [sys.executable, "-P", "-m", "nnbench.interpreter"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{interpreter.describe()}\n"
