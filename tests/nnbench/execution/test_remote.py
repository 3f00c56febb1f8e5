"""Blocks on other machines: what an engine brings is taken once, whole, or the block is lost."""

import signal
from contextlib import closing
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from nnbench import catalog, hookimpl
from nnbench.contract.backend import Option
from nnbench.contract.engine import Engine, Report, Session
from nnbench.contract.errors import BackendUnavailableError, ExecutorError, ExitCode, NnbenchError
from nnbench.execution import remote
from nnbench.execution.executor import Blocks, LocalExecutor
from nnbench.execution.remote import AGAIN, FOREIGN, EngineWarning, Remote
from nnbench.records.cells import LOCAL, Part
from nnbench.records.errands import Ended, Errand, MachineSeen, Spoken, States
from nnbench.records.events import (
    BlockLost,
    CellFinished,
    CellStarted,
    MachineJoined,
    Queue,
    Witness,
)
from nnbench.records.runs import Block, Entry
from tests.cells import TOY, make_spec

ENTRIES = [Entry(label=name, backend=name) for name in ("numpy", "python")]


@pytest.fixture(autouse=True)
def own_floors(home):
    """Keep floors of machines in a folder of the test's own."""


class Scripted(Engine, Session):
    """An engine that reports of one errand after the other what is written in its script."""

    name = "scripted"
    summary = "a script"
    options = {"speed": Option(1, "how fast")}  # noqa: RUF012 - it is never changed
    requires: tuple[str, ...] = ()

    def __init__(self, *script, slots=1):
        self.script, self.room = iter(script), slots
        self.errands: dict[str, Errand] = {}
        self.outliving: dict[str, bool] = {}
        self.reports: list[Any] = []
        self.cancelled: list[str] = []
        self.opened: list[dict[str, object]] = []
        self.closed = 0

    def open(self, **options):
        self.opened.append(options)
        return self

    def slots(self):
        return self.room

    def submit(self, name, errand, *, outlives):
        self.outliving[name] = outlives
        self.errands[name] = msgspec.json.decode(errand, type=Errand)
        self.reports += next(self.script)(name, self.errands[name])

    def wait(self, seconds):
        if not self.reports:
            raise ExecutorError("nothing more will come")
        if isinstance(self.reports[0], BaseException):
            raise self.reports.pop(0)
        return [self.reports.pop(0)]

    def cancel(self, name):
        self.cancelled.append(name)

    def close(self):
        self.closed += 1


def lines(*said):
    return b"\n".join(map(msgspec.json.encode, said))


@pytest.fixture
def seen(make_info):
    """Give what a machine says of itself."""
    return MachineSeen("node1", make_info().machine)


@pytest.fixture
def outcome(seen, make_cell):
    """Give a function that returns the lines of a block that went well, but for what is changed."""

    def lines_of(errand, *, host="node1", how="done", message="", **changes):
        block = errand.block
        places: dict[str, Any] = {
            "round": block.round,
            "seed": block.seed,
            "block_attempt": block.attempt,
            "workload": block.workload.name,
        }
        cells = [
            make_cell(entry.label, position=i, **{**places, **changes})
            for i, entry in enumerate(block.entries)
        ]
        where = MachineSeen(host, seen.machine)
        return lines(where, *map(CellFinished, cells), Ended(how, message))

    return lines_of


@pytest.fixture
def well(outcome):
    """Give a function that makes an answer of a script: all goes well."""

    def answer(run="run", **changes):
        def reports(name, errand):
            told = lines(CellStarted(make_spec(round=errand.block.round)))
            whole = outcome(errand, **changes)
            return [
                Report(errand=name, run=run, lines=told),
                Report(errand=name, run=run, lines=whole, is_over=True),
            ]

        return reports

    return answer


def faulty(text):
    return lambda name, _: [Report(errand=name, fault=text)]


def blocks(*rounds, attempt=0, proof="off"):
    return [
        Block(
            workload=TOY,
            threads=1,
            round=round_,
            seed=7 + round_,
            attempt=attempt,
            entries=ENTRIES,
            proof=proof,
            budget_s=1.0,
            timeout_s=60.0,
        )
        for round_ in rounds
    ]


def gather(happenings, into):
    """Add to a list what happens, up to what ends it."""
    for each in happenings:
        into.append(each)


def run(engine, given):
    """Return what happens to blocks, and machines that join apart."""
    happened = list(Remote(engine, {}).run(given))
    joined = [each for each in happened if isinstance(each, MachineJoined)]
    return [each for each in happened if not isinstance(each, MachineJoined | Queue)], joined


def test_local_is_always_there():
    assert isinstance(remote.find(LOCAL), LocalExecutor)


def test_local_has_no_parameters():
    with pytest.raises(NnbenchError, match=r"^local has no parameter 'jobs'; it has none$"):
        remote.find("local[jobs=4]")


@pytest.fixture
def plugin():
    """Register a plugin that lists an executor."""

    class Plugin:
        engine = Scripted()

        @hookimpl
        def nnbench_executors(self):
            return [self.engine]

    found = Plugin()
    catalog.manager().register(found, name="scripted")
    yield found
    catalog.manager().unregister(found)


def test_engine_of_a_plugin_is_opened_with_what_was_typed(plugin):
    plugin.engine.script = iter([faulty("no machine")])
    with pytest.raises(NnbenchError, match=r"^no machine$"):
        remote.find("scripted[speed=3]").machines(ENTRIES, 1)
    assert plugin.engine.opened == [{"speed": 3}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("script", "no executor named 'script'; did you mean scripted"),
        ("scripted[jobs=4]", "scripted has no parameter 'jobs'; known: speed"),
        ("scripted[speed=fast]", r"scripted\[speed=fast\]: expected a value of type int"),
        ("scripted[speed", r"cannot read executor 'scripted\[speed'; write name or"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_executor_that_is_none_is_refused(text, problem):
    with pytest.raises(NnbenchError, match=problem):
        remote.find(text)


def test_executor_without_its_library_says_how_to_get_it(plugin, monkeypatch):
    monkeypatch.setattr(plugin.engine, "requires", ("nothing-of-this-name",), raising=False)
    text = "^executor scripted is unavailable: nothing-of-this-name is not installed: pip install"
    with pytest.raises(BackendUnavailableError, match=text):
        remote.find("scripted")


def look(host, machine):
    def reports(name, errand):
        assert errand.block is None
        said = lines(MachineSeen(host, machine), Ended("done"))
        return [Report(errand=name, run="1", lines=said, is_over=True)]

    return reports


def test_every_machine_is_looked_at_and_said_to_be_a_plugins(seen, make_info):
    other = make_info(environment=replace(seen.machine.environment, cpu="another")).machine
    engine = Scripted(
        *(look("a", seen.machine), look("a", seen.machine), look("b", other), look("a", other)),
        slots=4,
    )
    found = Remote(engine, {}).machines(ENTRIES, 2, ["numpy"])
    again = f"a-{other.environment.fingerprint[:6]}"  # it calls itself like another one
    assert found.keys() == {"a", "b", again}
    assert found[again].environment.cpu == "another"
    assert all(machine.warnings[-1] == FOREIGN for machine in found.values())
    asked = {(e.threads, *e.libraries, len(e.entries)) for e in engine.errands.values()}
    assert asked == {(2, "numpy", 2)}
    assert not any(engine.outliving.values())


def test_machines_that_refuse_are_none_unless_all_do(seen):
    def refusing(name, _):
        said = lines(Ended("refused", "too few CPUs"))
        return [Report(errand=name, run="1", lines=said, is_over=True)]

    found = Remote(Scripted(refusing, look("a", seen.machine), slots=2), {}).machines(ENTRIES, 1)
    assert list(found) == ["a"]
    with pytest.raises(NnbenchError, match=r"^refused: too few CPUs$"):
        Remote(Scripted(refusing, refusing, slots=2), {}).machines(ENTRIES, 1)


def test_ceilings_are_asked_for_in_a_second_look_and_with_each_block(seen, well):
    looks = look("node1", seen.machine)
    engine = Scripted(looks, looks, well())
    executor = Remote(engine, {})
    machines = executor.machines(ENTRIES, 1)
    assert executor.with_roofs(machines, ENTRIES, [1]).keys() == machines.keys()
    list(executor.run(blocks(0)))
    assert [errand.roofline for errand in engine.errands.values()] == [False, True, True]


def test_results_name_their_machine(well):
    happened, joined = run(Scripted(well(), well(host="node2")), blocks(0, 1))
    assert [type(each) for each in happened] == [CellStarted, CellFinished, CellFinished] * 2
    results = [each.result for each in happened if isinstance(each, CellFinished)]
    assert [(r.round, r.machine) for r in results] == [
        *[(0, "node1")] * 2,
        *[(1, "node2")] * 2,
    ]
    assert [each.name for each in joined] == ["node1", "node2"]


def test_as_many_blocks_run_at_once_as_there_is_room_for(well):
    engine, taken = Scripted(*[well()] * 5, slots=2), []

    def giving():
        for block in blocks(*range(5)):
            taken.append(len(engine.reports))
            yield block

    happened = Remote(engine, {}).run(giving())
    next(happened)
    assert len(taken) == 2
    list(happened)
    assert len(taken) == 5
    assert len(set(engine.errands)) == 5
    assert all(engine.outliving.values())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (faulty("KilledWorker: three\nworkers died"), "KilledWorker: three workers died"),
        ("interrupted", "interrupted: as it was"),
        ("lost", "lost: as it was"),
        (
            lambda name, _: [Report(errand=name, run="1", lines=b"{", is_over=True)],
            "its machine has said what is none of this: Input data was truncated",
        ),
        (
            lambda name, _: [Report(errand=name, run="1", lines=b"", is_over=True)],
            "its machine has not said how it ended",
        ),
    ],
)
def test_block_that_came_to_nothing_is_lost_in_the_words_of_who_knows(outcome, answer, words):
    if isinstance(answer, str):
        how = answer

        def answer(name, errand):
            whole = outcome(errand, how=how, message="as it was")
            return [Report(errand=name, run="1", lines=whole, is_over=True)]

    [block] = blocks(3)
    happened, _ = run(Scripted(answer), [block])
    [lost] = happened
    assert isinstance(lost, BlockLost)
    assert (lost.block, lost.message) == (block, words)


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": "x"},
        {"round": 5},
        {"seed": 5},
        {"block_attempt": 5},
        {"point": 5},
        {"final": False},
    ],
)
def test_cells_of_another_block_are_not_taken(well, changes):
    happened, _ = run(Scripted(well(**changes)), blocks(0))
    assert [type(each) for each in happened] == [CellStarted, BlockLost]
    assert happened[-1].message == "its machine has brought the cells of another block"


def test_machine_that_has_not_said_what_it_is_has_no_outcome(outcome):
    def silent(name, errand):
        _, *rest = outcome(errand).split(b"\n")
        return [Report(errand=name, run="1", lines=b"\n".join(rest), is_over=True)]

    [lost], joined = run(Scripted(silent), blocks(0))
    assert (lost.message, lost.machine) == ("its machine has not said what it is", "unknown")
    assert joined == []


def test_machine_of_a_resumed_run_that_is_another_now_joins_under_another_name(seen, well):
    before = replace(seen.machine, environment=replace(seen.machine.environment, cpu="before"))
    executor = Remote(Scripted(look("node1", seen.machine), well(), well()), {})
    executor.machines(ENTRIES, 1)
    executor.known = {"node1": before}
    happened = list(executor.run(blocks(0, 1)))
    name = f"node1-{seen.machine.environment.fingerprint[:6]}"
    assert [each.name for each in happened if isinstance(each, MachineJoined)] == [name]
    finished = [each.result for each in happened if isinstance(each, CellFinished)]
    assert {result.machine for result in finished} == {name}


def test_machine_that_was_looked_at_before_a_run_went_on_joins_it(seen, well):
    executor = Remote(Scripted(look("node1", seen.machine), well()), {})
    executor.machines(ENTRIES, 1)
    executor.known = {"node9": seen.machine}
    joined = [each for each in executor.run(blocks(0)) if isinstance(each, MachineJoined)]
    assert [each.name for each in joined] == ["node1"]


def test_outcome_without_a_part_to_prove_is_none(well):
    happened, _ = run(Scripted(well()), blocks(0, proof="sampled"))
    assert happened[-1].message == "its machine has brought no part that can be proved here"


@pytest.mark.parametrize(("problem", "status"), [("", "ok"), ("it strays", "invalid")])
def test_part_that_came_with_an_outcome_is_proved_here(outcome, monkeypatch, problem, status):
    proved = []

    class Anew:
        def __init__(self, workload, _):
            self.workload = workload

        def problem(self, cell, witness):
            proved.append((cell.backend, witness))
            return problem

        def close(self):
            proved.append("closed")

    witness = Witness(0, b"", b"state")

    def answer(name, errand):
        assert errand.block.is_witnessed
        seen, first, *rest = outcome(errand).split(b"\n")
        finished = msgspec.json.decode(first, type=CellFinished)
        with_it = lines(CellFinished(finished.result, witness))
        whole = b"\n".join([seen, with_it, *rest])
        return [Report(errand=name, run="1", lines=whole, is_over=True)]

    monkeypatch.setattr(remote, "Anew", Anew)
    happened, _ = run(Scripted(answer), blocks(0, proof="sampled"))
    assert proved == [("numpy", witness), "closed"]
    assert [(e.result.status, e.result.message) for e in happened] == [
        (status, problem),
        ("ok", ""),
    ]
    assert all(each.witness is None for each in happened)


def test_cell_of_another_block_is_not_told_of():
    def answer(name, _):
        told = lines(CellStarted(make_spec(round=99)))
        return [Report(errand=name, run="1", lines=told)]

    happened, _ = run(Scripted(answer), blocks(0))
    assert happened[-1].message == "its machine has told of another block"


def test_errand_that_the_engine_starts_again_is_given_up(outcome, well):
    def twice(name, errand):
        started = lines(CellStarted(make_spec()))
        whole = outcome(errand)
        return [
            Report(errand=name, run="first", lines=started),
            Report(errand=name, run="second", lines=started),
            Report(errand=name, run="second", lines=whole, is_over=True),
        ]

    engine = Scripted(twice, well(), slots=2)
    with pytest.warns(EngineWarning, match="after it was given up, and is dropped"):
        happened, _ = run(engine, blocks(0, 1))
    [lost] = [each for each in happened if isinstance(each, BlockLost)]
    assert (lost.block.round, lost.message) == (0, AGAIN)
    assert {e.result.round for e in happened if isinstance(e, CellFinished)} == {1}
    assert engine.cancelled == [next(iter(engine.errands))]


def test_engine_that_is_gone_loses_what_runs_and_ends_the_run(well):
    def silent(*_):
        return []

    engine = Scripted(well(), silent, silent, slots=3)
    happened: list[Any] = []
    with pytest.raises(ExecutorError, match="nothing more will come") as caught:
        gather(Remote(engine, {}).run(blocks(0, 1, 2)), happened)
    assert caught.value.exit_code == ExitCode.BACKEND_FAILED
    assert [each.block.round for each in happened if isinstance(each, BlockLost)] == [1, 2]
    assert sum(isinstance(each, CellFinished) for each in happened) == len(ENTRIES)
    assert engine.closed == 1


def test_interruption_begins_no_block_and_waits_for_those_that_run(well):
    engine = Scripted(well(), well(), well(), slots=2)
    running = Remote(engine, {}).run(blocks(*range(9)))
    next(running)
    text = (
        r"^no further block is begun; blocks that run are waited for: 2; Ctrl-C now cancels them$"
    )
    with pytest.warns(EngineWarning, match=text):
        rest = [running.throw(KeyboardInterrupt)]
    with pytest.raises(KeyboardInterrupt):
        gather(running, rest)
    finished = [each.result.round for each in rest if isinstance(each, CellFinished)]
    assert sorted(finished) == [0, 0, 1, 1]
    assert engine.closed == 1


def test_interruption_while_it_waits_is_the_same(well):
    def interrupting(name, errand):
        return [KeyboardInterrupt(), *well()(name, errand)]

    engine, happened = Scripted(interrupting), list[Any]()
    with pytest.warns(EngineWarning), pytest.raises(KeyboardInterrupt):
        gather(Remote(engine, {}).run(blocks(0, 1)), happened)
    assert sum(isinstance(each, CellFinished) for each in happened) == len(ENTRIES)
    assert len(engine.errands) == 1


def test_outcome_that_comes_with_an_interruption_is_taken(well):
    class Interrupted(Scripted):
        def wait(self, seconds):
            report = super().wait(seconds)
            if len(self.reports) == 0:
                signal.raise_signal(signal.SIGINT)
            return report

    happened: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        gather(Remote(Interrupted(well()), {}).run(blocks(0, 1)), happened)
    assert sum(isinstance(each, CellFinished) for each in happened) == len(ENTRIES)


def test_blocks_that_wait_are_told_of_until_they_train(seen, well):
    def in_pieces(name, errand):
        here = [Report(errand=name, run="run", lines=lines(seen))]
        return [*here, *well()(name, errand)]

    engine = Scripted(in_pieces, in_pieces, slots=2)
    queues = [each for each in Remote(engine, {}).run(blocks(0, 1)) if isinstance(each, Queue)]
    assert queues == [
        Queue(slots=2, given=[0, 1]),
        Queue(slots=2, given=[1], arrived={0: "node1"}),
        Queue(slots=2, given=[1]),
        Queue(slots=2, arrived={1: "node1"}),
        Queue(slots=2),
    ]


def test_blocks_of_several_points_are_told_of_by_their_numbers(well):
    executor = Remote(Scripted(well(), well(), slots=2), {})
    executor.number = lambda point, round_: 3 * round_ + point
    with closing(executor.run([replace(each, point=2) for each in blocks(0, 1)])) as running:
        assert next(running) == Queue(slots=2, given=[2, 5])


def test_interruption_is_told_of_with_those_that_wait(well):
    running = Remote(Scripted(well(), slots=1), {}).run(blocks(0, 1))
    assert next(running) == Queue(slots=1, given=[0])
    with pytest.warns(EngineWarning):
        assert running.throw(KeyboardInterrupt) == Queue(slots=1, given=[0], is_ending=True)
    running.close()


def with_states(outcome, *pieces):
    """Answer with states before each cell that goes well."""

    def answer(name, errand):
        assert errand.block.keep_states
        said = [msgspec.json.decode(line, type=Spoken) for line in outcome(errand).split(b"\n")]
        more = [States(piece) for piece in pieces]
        whole = [
            each
            for one in said
            for each in ([*more, one] if isinstance(one, CellFinished) else [one])
        ]
        return [Report(errand=name, run="1", lines=lines(*whole), is_over=True)]

    return answer


@pytest.fixture
def kept_of(outcome, make_cell, tmp_path):
    """Give a function that runs a block whose cells have two cuts; it returns what happens, and the folder."""
    parameters = LocalExecutor().sizes(TOY).parameters
    parts = [Part(images=1, train_s=0.1, state="x")] * 2
    epochs = [replace(make_cell().epochs[0], parts=parts)]

    def go(*pieces):
        executor = Remote(Scripted(with_states(partial(outcome, epochs=epochs), *pieces)), {})
        executor.folder = tmp_path
        [block] = blocks(0)
        happened = list(executor.run([replace(block, keep_states=True)]))
        return [each for each in happened if isinstance(each, CellFinished | BlockLost)], tmp_path

    return SimpleNamespace(run=go, parameters=parameters)


def test_states_that_come_with_a_block_are_kept_beside_the_run(kept_of):
    size = 4 * kept_of.parameters
    rows = [bytes([number]) * size for number in (1, 2)]
    whole = b"".join(rows)
    finished, folder = kept_of.run(whole[:7], whole[7:])
    assert [type(each) for each in finished] == [CellFinished] * 2
    for name in ("numpy", "python"):
        values = np.load(folder / "states" / f"0-{name}-0.npy")
        assert [row.tobytes() for row in values] == rows


@pytest.mark.parametrize("pieces", [(), (b"",), (b"abc",)])
def test_block_whose_states_are_not_those_of_its_cells_is_lost(kept_of, pieces):
    [lost], folder = kept_of.run(*pieces)
    text = "its machine has brought other states than those of its cells: it has 2 cuts, and"
    assert lost.message.startswith(text)
    assert not (folder / "states").exists()


def test_second_interruption_waits_for_nothing(well):
    engine = Scripted(well(), well(), slots=2)
    running = Remote(engine, {}).run(blocks(0, 1))
    next(running)
    with pytest.warns(EngineWarning):
        running.throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)
    assert engine.closed == 1


class Given(Blocks):
    """No block but those that run already."""

    def __init__(self, *wanted):
        self.wanted = wanted

    def __next__(self):
        raise StopIteration

    def adopt(self, block):
        return block.round in self.wanted


def test_blocks_that_run_already_are_adopted_if_they_are_wanted(well):
    engine: Any = Scripted()
    errands = {}
    for round_ in (0, 1):
        [block] = blocks(round_)
        errands[f"nnbench-abc-0-{round_}-0"] = Errand(entries=ENTRIES, threads=1, block=block)

    def found(beginning):
        assert beginning == "nnbench-abc-"
        for name, errand in errands.items():
            engine.reports += well()(name, errand)
        return {name: msgspec.json.encode(errand) for name, errand in errands.items()}

    engine.found = found
    executor = Remote(engine, {})
    executor.identity = "abc"
    with pytest.warns(EngineWarning, match="given up"):
        happened = list(executor.run(Given(1)))
    assert {e.result.round for e in happened if isinstance(e, CellFinished)} == {1}
    assert engine.cancelled == ["nnbench-abc-0-0-0"]


def test_session_ends_with_the_executor_that_opened_it(seen):
    engine = Scripted(look("a", seen.machine))
    executor = Remote(engine, {})
    executor.machines(ENTRIES, 1)
    del executor
    assert engine.closed == 1
