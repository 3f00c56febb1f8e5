"""Compile the kernel for a plan and a device by NVRTC, once, into a cache."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnbench import BackendUnavailableError
from nnbench.contract import builds

if TYPE_CHECKING:
    from nnbench_cuda.plan import Plan

SOURCES = Path(__file__).parent
KERNEL = "kernel.cu"
SUFFIX = ".cubin"
#: No fast arithmetic: quotients and roots are rounded right, and small numbers are kept.
FLAGS = (
    "--std=c++17",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--fmad=true",
)


def build(plan: Plan, capability: tuple[int, int]) -> bytes:
    """Return the machine code of the kernel; from the cache if it was compiled before.

    Raises
    ------
    BackendUnavailableError
        If there is no NVRTC, or it refuses the code.
    """
    texts, options = (
        sources(plan),
        [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *FLAGS],
    )
    content = repr([version(), options, sorted(texts.items())]).encode()
    name = hashlib.sha256(content).hexdigest()[: builds.DIGITS]
    compiled: list[bytes] = []

    def make(path: Path) -> None:
        compiled.append(compile_code(texts, options)[0])
        path.write_bytes(compiled[0])

    try:
        folder = builds.cache("cuda")
        found = builds.find(folder, name, SUFFIX) or builds.build(folder, name, SUFFIX, make)
        return found.read_bytes()
    except OSError:  # the cache cannot be written
        return compiled[0] if compiled else compile_code(texts, options)[0]


def sources(plan: Plan) -> dict[str, bytes]:
    """Return the texts of all files by name, with the plan at the beginning of the kernel."""
    texts = {path.name: path.read_bytes() for path in SOURCES.glob("*.cuh")}
    macros = (f"#define {name} {value}\n" for name, value in plan.macros().items())
    return texts | {KERNEL: "".join(macros).encode() + (SOURCES / KERNEL).read_bytes()}


def compile_code(texts: dict[str, bytes], options: list[str]) -> tuple[bytes, str]:
    """Return the machine code, and what the compiler says of it.

    Raises
    ------
    BackendUnavailableError
        If it refuses the code; the message has the first line that speaks of an error.
    """
    headers = {name.encode(): text for name, text in texts.items() if name != KERNEL}
    program = call(
        "nvrtcCreateProgram",
        texts[KERNEL],
        KERNEL.encode(),
        len(headers),
        [*headers.values()],
        [*headers],
    )
    try:
        given = [option.encode() for option in options]
        (status,) = nvrtc().nvrtcCompileProgram(program, len(given), given)
        log = read("ProgramLog", program).decode(errors="replace").rstrip("\0\n")
        if int(status):
            lines = log.splitlines() or [f"status {int(status)}"]
            line = next((line for line in lines if "error" in line), lines[-1])
            raise BackendUnavailableError(f"NVRTC cannot compile the kernel: {line.strip()}")
        return read("CUBIN", program), log
    finally:
        nvrtc().nvrtcDestroyProgram(program)


def read(what: str, program: Any) -> bytes:
    """Return what NVRTC has made."""
    buffer = bytes(int(call(f"nvrtcGet{what}Size", program)))
    call(f"nvrtcGet{what}", program, buffer)  # into these bytes, as its documentation has it
    return buffer


def version() -> tuple[int, int]:
    """Return the version of NVRTC.

    Raises
    ------
    BackendUnavailableError
        If there is none.
    """
    try:
        major, minor = call("nvrtcVersion")
    except RuntimeError as error:  # its library is not found
        hint = "pip install nvidia-cuda-nvrtc, of CUDA's version that cuda-bindings has"
        raise BackendUnavailableError(f"no NVRTC: {hint}") from error
    return int(major), int(minor)


def call(name: str, *arguments: Any) -> Any:
    """Call a function of NVRTC, and return what it returns beside its status.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    status, *values = getattr(nvrtc(), name)(*arguments)
    if int(status):
        raise RuntimeError(f"{name}: status {int(status)}")
    return values[0] if len(values) == 1 else tuple(values)


def nvrtc() -> Any:
    """Import NVRTC's functions, which takes a while."""
    from cuda.bindings import nvrtc

    return nvrtc
