"""The compiled library as Python sees it: the structures and functions."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_long,
    c_size_t,
    c_void_p,
)
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from nnbench import BackendUnavailableError
from nnbench.contract import builds
from nnbench_native import compiler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The enums of ``types.h``.
ACTIVATIONS = {"relu": 0, "sigmoid": 1}
LOSSES = {"cross_entropy": 0, "squared_error": 1}
OPTIMIZERS = {"sgd": 0, "adam": 1, "adam-fresh": 2}
PARAMETERS, GRADIENTS, FIRST_MOMENTS, SECOND_MOMENTS = range(4)


class Spec(Structure):
    """``struct spec``."""

    _fields_: ClassVar = [
        ("sizes", c_void_p),
        *(
            (name, c_int)
            for name in ["depth", "activation", "loss", "bias", "optimizer", "threads"]
        ),
        *((name, c_double) for name in ["l2", "learning_rate", "beta1", "beta2", "epsilon"]),
    ]


class Split(Structure):
    """``struct data``."""

    arrays: tuple[object, ...] = ()  #: that it points to, so that they live as long
    _fields_: ClassVar = [
        ("examples", c_void_p),
        ("count", c_size_t),
        ("size", c_size_t),
        ("values", c_void_p),
        ("targets", c_void_p),
        ("frequency", c_void_p),
    ]


SIGNATURES = {
    "nn_isa": (c_char_p, []),
    "nn_create": (c_void_p, [POINTER(Spec)]),
    "nn_free": (None, [c_void_p]),
    "nn_load": (None, [c_void_p, c_void_p]),
    "nn_dump": (None, [c_void_p, c_int, c_void_p]),
    "nn_steps": (c_long, [c_void_p]),
    "nn_batch": (c_int, [c_void_p, POINTER(Split), c_void_p, c_size_t]),
    "nn_feedforward": (None, [c_void_p, c_void_p]),
    "nn_backprop": (c_float, [c_void_p]),
    "nn_update": (None, [c_void_p]),
    "nn_train_epoch": (c_int, [c_void_p, POINTER(Split), c_void_p, c_size_t, c_size_t, c_void_p]),
}


@cache
def load(instructions: str) -> ctypes.CDLL:
    """Return the library for these instructions.

    Raises
    ------
    BackendUnavailableError
        If it cannot be built, or the system does not load it.
    """
    try:
        path = compiler.build(instructions, builds.cache("native"))
    except OSError:  # the cache cannot be written: build for this process alone
        with TemporaryDirectory(prefix="nnbench-") as folder:
            return open_library(compiler.build(instructions, Path(folder)))
    return open_library(path)


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library into this process, and declare its functions."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendUnavailableError(f"cannot load the compiled code: {error}") from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def pointer(array: NDArray[np.generic] | None) -> int | None:
    """Return the address of a C-contiguous array; it must outlive the call."""
    return None if array is None else array.ctypes.data
