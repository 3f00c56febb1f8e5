"""PyTorch: ``torch-cpu`` by hand, ``torch-eager``, ``torch-compile``, ``torch-tutorial``, CUDA, DDP."""

import os
import re
import shutil
import sys
import sysconfig
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nnbench import Backend, Option, hookimpl
from nnbench.contract.gpu import why_no_gpu

FUSED = Option(default=True, help="optimizer step in one kernel")
GRAPH = Option(default=False, help="replay recorded CUDA graphs of up to 64 steps")
PROCESSES = Option(default=0, help="ranks that share each batch; 0 is one on each CPU, or GPU")


# Nothing here imports torch, which takes seconds.


def why_no_compiler() -> str | None:
    """Return why torch.compile can't run on the CPU: it writes C++ and includes Python's headers."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler: {compiler} not found (CXX names another)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "torch.compile needs Python's headers: install python3-dev or the like"
    return None


def why_no_cuda() -> str | None:
    """Return why PyTorch has no CUDA device, or None as far as one can tell from outside.

    Its version.py says what it was built for.
    """
    spec = find_spec("torch")
    text = Path(spec.origin).with_name("version.py").read_text() if spec and spec.origin else ""
    if not re.search(r"^cuda\b[^=\n]*=\s*['\"]", text, re.MULTILINE):
        return "the installed torch is built without CUDA"
    return why_no_gpu()


def describe(network: Any) -> dict[str, str]:
    """Return what results say of a network that several processes train."""
    ranks = network.ranks
    return {"processes": str(ranks.processes), "communication": ranks.communication}


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register the family."""
    member = partial(Backend, requires=("torch",))
    return [
        member(
            name="torch-cpu",
            summary="PyTorch by hand: no autograd, every result into its buffer",
            create="nnbench_torch.handwritten:HandwrittenNetwork",
            options={"fused": FUSED},
        ),
        member(
            name="torch-eager",
            summary="PyTorch, eager: autograd, resident data, a fused optimizer",
            create="nnbench_torch.autograd:AutogradNetwork",
            options={"fused": FUSED},
        ),
        member(
            name="torch-compile",
            summary="PyTorch, torch.compile of a whole step; compiles while it warms up",
            create="nnbench_torch.compiled:CompiledNetwork",
            unavailable=why_no_compiler,
            environment=("CXX",),
            compiles=True,
        ),
        member(
            name="torch-tutorial",
            summary="a tutorial's loop: DataLoader, a new optimizer in every step (moments kept)",
            create="nnbench_torch.tutorial:TutorialNetwork",
        ),
        member(
            name="torch-cuda",
            summary="PyTorch on an NVIDIA GPU: autograd, or recorded graphs of torch-cpu's step",
            create="nnbench_torch.recording:make_cuda_network",
            unavailable=why_no_cuda,
            options={"fused": FUSED, "graph": GRAPH},
            environment=("CUDA_VISIBLE_DEVICES",),
            device="cuda",
        ),
        member(
            name="torch-ddp",
            summary="PyTorch in parallel: torchrun's processes share each batch, by gloo",
            create="nnbench_torch.distributed:make_network",
            options={"processes": PROCESSES},
            record=describe,
            named_only=True,
        ),
        member(
            name="torch-ddp-cuda",
            summary="the same with a GPU for each process, by NCCL",
            create="nnbench_torch.distributed:make_cuda_network",
            unavailable=why_no_cuda,
            options={"processes": PROCESSES},
            environment=("CUDA_VISIBLE_DEVICES",),
            record=describe,
            device="cuda",
            named_only=True,
        ),
    ]
