"""A cell's process under a profiler: ``python -m nnbench.worker.profiled PROFILER FOLDER READ WRITE``.

It is a worker, and does what any other does. What is profiled is ``train_epoch`` with the ``synchronize`` after it, as
that is what is on the clock of a cell; set-up and warm-up are over by then.

Sources: Python, *The Python profilers*; PyTorch, *torch.profiler*; Valgrind's manual, *Callgrind format specification*;
``man 2 PR_SET_PTRACER``.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext, suppress
from functools import partial, wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nnbench import prctl
from nnbench.texts import encode, one_line
from nnbench.worker import __main__ as worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from nnbench.contract.backend import Model
    from nnbench.worker.training import Trainer

    Span = Callable[[str], AbstractContextManager[object]]
    Function = tuple[str, int, str]  # file, line and name
    #: Of each: calls that were no recursion, all calls, seconds of its own and with what it called, and its callers.
    Statistics = Mapping[Function, tuple[int, int, float, float, Mapping[Function, Any]]]

#: Files in the folder; speedscope knows some by their names.
PROF, CALLGRIND, TRACE, TOP = "profile.prof", "callgrind.out", "trace.json", "top.json"
PHASES = ("batch", "feedforward", "backprop", "update")
PR_SET_PTRACER = 0x59616D61
ANYONE = -1


class Line(msgspec.Struct, frozen=True):
    """How long a function, or an operator, took itself, without what it called."""

    name: str
    seconds: float
    calls: int | None = None  #: None where it was looked at now and then


def main() -> None:
    """Be a worker."""
    name, folder, *sys.argv[1:] = sys.argv[1:]
    worker.main(lambda trainer: PROFILERS[name](trainer, Path(folder)))


@contextmanager
def by_cprofile(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Count the calls of Python's and C's functions, in the thread that trains."""
    from cProfile import Profile

    profile = Profile()
    train = synchronized(trainer.network, lambda _: nullcontext())
    trainer.network.train_epoch = partial(profile.runcall, train)  # type: ignore[method-assign]  # of this network alone
    yield
    profile.dump_stats(folder / PROF)  # which makes the statistics, too
    found: Statistics = profile.stats
    (folder / CALLGRIND).write_bytes(callgrind(found).encode(errors="backslashreplace"))
    tell(folder, [Line(spell(each), own_s, calls) for each, (_, calls, own_s, *_) in found.items()])


@contextmanager
def by_torch(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Record PyTorch's operators and kernels, and what parts and phases they belong to."""
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    has_gpu = torch.cuda.is_available()

    @contextmanager
    def span(name: str) -> Iterator[None]:
        with record_function(name), torch.cuda.nvtx.range(name) if has_gpu else nullcontext():
            yield

    network = trainer.network
    for phase in PHASES:
        if hasattr(network, phase):
            with suppress(AttributeError):  # a class may have no room for more
                setattr(network, phase, named(getattr(network, phase), phase, span))
    network.train_epoch = synchronized(network, span)  # type: ignore[method-assign]  # likewise
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_gpu else [])]
    with profile(activities=activities) as found:
        yield
    found.export_chrome_trace(str(folder / TRACE))
    events = found.key_averages()
    on_gpu = any(each.self_device_time_total for each in events)
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"  # microseconds
    shown = [
        each for each in events if not (on_gpu and each.is_user_annotation)
    ]  # which hold others
    tell(folder, [Line(each.key, getattr(each, clock) / 1e6, each.count) for each in shown])


@contextmanager
def from_outside(_trainer: Trainer, _folder: Path) -> Iterator[None]:
    """Let another process look into this one, which need not be its parent."""
    prctl.ask(PR_SET_PTRACER, ANYONE)
    yield


PROFILERS = {"cprofile": by_cprofile, "torch": by_torch, "outside": from_outside}


def tell(folder: Path, lines: list[Line]) -> None:
    """Write where the time went."""
    (folder / TOP).write_bytes(encode(lines))


def spell(function: Function) -> str:
    """Write a function with its file, folder and line; those of C have none of these."""
    file, line, name = function
    return f"{'/'.join(Path(file).parts[-2:])}:{line}({name})" if line else name


def callgrind(statistics: Statistics) -> str:
    """Return statistics of cProfile as Valgrind's Callgrind writes its own, in nanoseconds.

    speedscope and KCachegrind read that, and no statistics of cProfile. Of a function it has the time that it took
    itself, and the time of each call that it made.
    """
    made: dict[Function, list[str]] = {each: [] for each in statistics}
    for function, (*_, callers) in statistics.items():
        file, line, _ = function
        for caller, (calls, _, _, all_s) in callers.items():
            made.setdefault(caller, []).extend(
                [
                    f"cfi={one_line(file)}",
                    f"cfn={one_line(spell(function))}",
                    f"calls={calls} {line}",
                ]
            )
            made[caller].append(f"{caller[1]} {round(all_s * 1e9)}")
    lines = ["# callgrind format", "events: ns", ""]
    for function, calls in made.items():
        own_s = statistics[function][2] if function in statistics else 0.0
        lines += [f"fl={one_line(function[0])}", f"fn={one_line(spell(function))}"]
        lines += [f"{function[1]} {round(own_s * 1e9)}", *calls, ""]
    return "\n".join(lines)


def synchronized(network: Model[Any, Any], span: Span) -> Callable[..., Any]:
    """Return ``train_epoch`` with its ``synchronize``, in a span of its own."""
    train, numbers = network.train_epoch, count(1)

    def train_part(data: Any, order: Any, batch_size: int) -> Any:
        with span(f"part {next(numbers)}: {len(order)} examples"):
            losses = train(data, order, batch_size)
            network.synchronize()
        return losses

    return train_part


def named(method: Callable[..., Any], name: str, span: Span) -> Callable[..., Any]:
    """Return a method that is a span."""

    @wraps(method)
    def call(*given: Any) -> Any:
        with span(name):
            return method(*given)

    return call


if __name__ == "__main__":
    main()
