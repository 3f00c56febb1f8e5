"""PyTorch: ``torch-cpu`` by hand, ``torch-eager``, ``torch-compile``, ``torch-tutorial``, CUDA."""

from functools import partial

from nnbench import Backend, Option, hookimpl
from nnbench_torch.availability import why_no_compiler, why_no_cuda

FUSED = Option(default=True, help="optimizer step in one kernel")
GRAPH = Option(default=False, help="replay recorded CUDA graphs of up to 64 steps")


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
    ]
