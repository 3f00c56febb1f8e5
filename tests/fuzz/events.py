"""What a worker answers, in which something is not as it should be: as its parent decodes, announces and records it."""

from __future__ import annotations

import io
import json
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from nnbench import catalog, cli
from nnbench.contract.errors import PluginWarning
from nnbench.execution import listing
from nnbench.proof import judge
from nnbench.records.cells import LOCAL, Status
from nnbench.records.events import Failed
from nnbench.records.runs import Point
from nnbench.records.worker import Close, Dump, Inspect, Predict, Reached, Train
from nnbench.runs import store
from nnbench.show.progress import Live
from tests import nasty, scripted
from tests.cells import make_spec
from tests.fuzz import pretending
from tests.fuzz.case import Case, Expected, few, somewhere
from tests.scripted import BEYOND, COMMANDS, DAMAGED, READY, honest

if TYPE_CHECKING:
    from nnbench.records.cells import CellResult
    from nnbench.records.events import Event

ANSWERS = "answers.json"
WORDS = [["show", "run"], *([["export", "run", "--to", "csv"]] * 2)]  #: of which one takes longer
VALUES: list[Any] = [
    *(json.loads(text) for name, text in nasty.VALUES.items() if name not in BEYOND),
    float("nan"),
    float("-inf"),
    2**64 - 1,
    -(2**63),
    b"",
    b"\0",
    b"\xff" * 3,
    bytes(1 << 20),
    msgspec.msgpack.Ext(5, b"x"),
]


def make(random: Random, folder: Path) -> Case:
    """Write down what is answered instead of what an honest worker would answer, and to which command."""
    command = random.choice([*COMMANDS])
    script = {"command": command, "time": random.randrange(COMMANDS[command]), "answers": []}
    script["seed"] = random.randrange(1 << 32)
    kind = random.choices(["honest", "values", "damaged", "another", "many"], [3, 70, 7, 15, 5])[0]
    known = Expected.EITHER
    match kind:
        case "honest":
            known = Expected.FINE
        case "values":
            script["changes"] = [random.randrange(1 << 32) for _ in range(few(random))]
        case "damaged":
            script["answers"] = [random.choice(DAMAGED).hex()]
            known = Expected.BAD
        case "another":
            script["answers"] = [encoded(random.choice(others())).hex()]
        case _:
            script["answers"] = [encoded(Reached("import")).hex()] * random.choice((2, 5000))
    (folder / ANSWERS).write_text(json.dumps(script))
    return Case(
        words=random.choice(WORDS),
        about=f"a worker whose answer to {command} is {kind}",
        expected=known,
        entry=play,
        there=False,
    )


@cache
def others() -> list[Any]:
    """Return answers of which each is due to one command, and to no other."""
    sent: Any = [Close(), Dump(), Inspect(b"", 0.0), Predict(b""), Train(b"")]
    failed = [Failed(status, "as it says") for status in Status]
    stages = [Reached("import"), Reached("the phases")]
    return [READY, *map(honest, sent), *failed, *stages, Failed(Status.CRASHED, nasty.TEXT)]


def encoded(answer: Any) -> bytes:
    """Return an answer as it is sent."""
    return msgspec.msgpack.encode(answer)


def play() -> None:
    """Run a cell whose worker answers what is written down, and show it, on a terminal and as a run."""
    script = json.loads(Path(ANSWERS).read_text())
    seen = dict.fromkeys(COMMANDS, 0)

    def answer(command: Any) -> Any:
        given, name = honest(command), type(command).__name__
        seen[name] += 1
        if (name, seen[name] - 1) != (script["command"], script["time"]):
            return given
        if changes := script.get("changes"):
            return spoilt(given, changes)
        return [bytes.fromhex(text) for text in script["answers"]] or given

    spec = make_spec(workload=scripted.WORKLOAD)
    info = replace(pretending.info(), points=[Point(workload=scripted.WORKLOAD, threads=1)])
    live = Live(Console(file=io.StringIO(), force_terminal=True, width=100))
    with listing.relied_on(), warnings.catch_warnings():
        warnings.simplefilter("error", PluginWarning)  # of an observer that fails
        catalog.manager().register(live)
        try:
            catalog.notify("nnbench_run_started", run=info, folder=Path("run"))
            catalog.notify("nnbench_cell_started", spec=spec, machine=LOCAL)
            result = scripted.run(answer, told, script["seed"])
            catalog.notify("nnbench_cell_finished", result=result)
        finally:
            catalog.notify("nnbench_run_finished", run=info, folder=Path("run"))
            catalog.manager().unregister(live)
    end(info, result)


def told(event: Event) -> None:
    """Announce an event, as it crosses a pipe."""
    msgspec.json.decode(msgspec.json.encode(event))
    catalog.notify("nnbench_cell_event", spec=make_spec(workload=scripted.WORKLOAD), event=event)


def end(info: Any, result: CellResult) -> None:
    """Show a run of one cell, and end as a run does that has it."""
    store.create(Path("run"), info)
    store.append(Path("run"), result)
    try:
        cli.main()
    except SystemExit as shown:
        sys.exit(shown.code or judge.exit_code([result], [result.backend]))


def spoilt(answer: Any, seeds: list[int]) -> bytes:
    """Return an answer with values that are others, or missing, as the seeds say."""
    document = msgspec.to_builtins(answer, builtin_types=[bytes])
    for seed in seeds:
        random = Random(seed)
        path = somewhere(random, document)
        if path and random.random() < 0.05:
            document = nasty.replaced(document, path, None)
        else:
            document = nasty.replaced(document, path, random.choice(VALUES))
    return encoded(document)
