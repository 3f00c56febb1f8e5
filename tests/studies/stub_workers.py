"""Workers of dask, many in one process, whose blocks train nothing: each answers at once what a machine would.

``python -m tests.studies.stub_workers ADDRESS COUNT MESSAGES``: what remains of a block is what dask and whoever submits it spend on it. Each
worker is a machine of its own name. What a block tells comes in so many messages, all alike but the first. Cells have the content that ``mnist`` leaves, but no proof.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from distributed import Worker, get_worker

from nnbench.contract import engine
from nnbench.execution.executor import LocalExecutor
from nnbench.records.cells import CellSpec
from nnbench.records.errands import Ended, Errand, MachineSeen
from nnbench.records.events import CellEvent, CellFinished, CellStarted, EpochFinished
from tests.studies import large_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Block, Entry, Machine

EPOCHS, PARTS = 5, 6


@cache
def machine_of(threads: int) -> Machine:
    """Return what this machine is; every stub says the same."""
    [found] = LocalExecutor().machines([], threads).values()
    return replace(found, warnings=[])


@cache
def trained() -> CellResult:
    """Return a cell that has the content of a training of ``mnist``."""
    rng = np.random.default_rng(0)
    epochs = [
        replace(each, parts=large_results.turns(each, PARTS, rng))
        for each in (
            large_results.epoch(n, large_results.STEP_US, rng) for n in range(1, EPOCHS + 1)
        )
    ]
    return replace(large_results.cell("", 0, 0, epochs, large_results.STEP_US, rng), proof=None)


def spec_of(block: Block, entry: Entry) -> CellSpec:
    """Return what a cell of a block is to do."""
    return CellSpec(
        label=entry.label,
        backend=entry.backend,
        options=entry.options,
        workload=block.workload,
        round=block.round,
        seed=None,
        threads=block.threads,
        cpus=(0,),
        budget_s=block.budget_s,
        timeout_s=block.timeout_s,
    )


def answer(
    errand: bytes, tell: Callable[[bytes], object], is_wanted: Callable[[], bool] = lambda: True
) -> bytes:
    """Answer an errand as the process of a block does."""
    del is_wanted  # it is over at once
    asked = msgspec.json.decode(errand, type=Errand)
    seen = MachineSeen(str(get_worker().name), machine_of(asked.threads))
    told: list[object] = [seen]
    kept: list[object] = [seen]
    if block := asked.block:
        for position, entry in enumerate(block.entries):
            spec = spec_of(block, entry)
            result = replace(
                trained(),
                backend=entry.label,
                workload=block.workload.name,
                round=block.round,
                seed=block.seed,
                position=position,
                block_attempt=block.attempt,
            )
            told.append(CellStarted(spec))
            told += [
                CellEvent(spec, EpochFinished(replace(each, losses=[]))) for each in result.epochs
            ]
            kept.append(CellFinished(result))
    kept.append(Ended("done"))
    tell(b"\n".join(map(msgspec.json.encode, told)))
    for _ in range(int(sys.argv[3]) - 1):
        tell(b"\n".join(map(msgspec.json.encode, told[2:7] if block else told)))
    return b"\n".join(map(msgspec.json.encode, kept))


async def work(address: str, count: int) -> None:
    """Run so many workers until this process is ended."""
    workers = [
        Worker(
            address, nthreads=1, resources={"nnbench": 1}, name=f"machine{number}", dashboard=False
        )
        for number in range(count)
    ]
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    logging.getLogger("distributed").setLevel(logging.ERROR)
    engine.carry_out = answer
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
