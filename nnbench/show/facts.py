"""What a run was, beside its figures: arguments, machine, skipped backends, flags, warnings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from nnbench.show.rendering import notes

if TYPE_CHECKING:
    from nnbench.show.source import Source

    Facts = dict[str, str]


def subtitle(source: Source) -> str:
    """Return what a picture needs to say of its run."""
    info = source.info
    where = [info.environment.cpu, *info.environment.gpus]
    rounds, threads = _count(info.rounds, "round"), _count(info.threads, "thread")
    return ", ".join([info.workload.name, rounds, threads, *where])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def arguments(source: Source) -> Facts:
    """Return what was asked of a run."""
    info = source.info
    return {
        "command": info.command,
        "started": info.started,
        "rounds": str(info.rounds),
        "seed": str(info.seed),
        "threads": str(info.threads),
        "budget": f"{info.budget_s:g} s of training a cell",
        "time-out": f"{info.timeout_s:g} s",
        "baseline": info.baseline,
        "noise floor": f"{info.noise_floor:.1%}",
        "dataset SHA-256": info.dataset_sha256 or "not recorded",
    }


def workload(source: Source) -> Facts:
    """Return what was trained."""
    found = asdict(source.info.workload)
    optimizer = found.pop("optimizer")
    found |= {"optimizer": optimizer.pop("kind"), **optimizer}
    return {key.replace("_", " "): _spell(value) for key, value in found.items()}


def machine(source: Source) -> Facts:
    """Return where it ran, and on which versions."""
    e = source.info.environment
    cores = f"{e.usable_cores} usable, {_spell(e.physical_cores)} physical, {_spell(e.logical_cores)} logical"
    return {
        "CPU": e.cpu,
        "cores": cores,
        "memory": f"{e.memory_bytes / 2**30:.1f} GiB",
        "GPUs": _spell(e.gpus),
        "system": e.system,
        "Python": e.python,
        **e.versions,
        "commit": _spell(e.git),
        "fingerprint": e.fingerprint,
    }


def problems(source: Source) -> list[str]:
    """Say why backends have no figures, and whose times are to be taken with care."""
    timing = source.summary.timing
    remarks = [f"{row.backend}: {row.remarks}" for row in source.ranked if row.remarks]
    return [*notes(timing), *remarks]


def _spell(value: object) -> str:
    match value:
        case None | [] | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)
