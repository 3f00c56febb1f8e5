"""Whatever a plugin's executor says: it is right, or the end of the run in one line, and the run can go on."""

from dataclasses import replace
from typing import Any

import pytest

from nnbench import catalog
from nnbench.contract.errors import DatasetError, ExecutorError, ExitCode, PluginWarning
from nnbench.contract.executor import Executor, Sizes
from nnbench.execution.border import Checked
from nnbench.execution.executor import LocalExecutor
from nnbench.records import (
    Block,
    CellEvent,
    CellFinished,
    CellStarted,
    Entry,
    Progress,
    Roof,
    Status,
)
from nnbench.runs import schedule, store
from tests.cells import make_spec

TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
SIZES = Sizes(1, 2, 3, 4)
BLOCK = Block(
    workload=TOY,
    threads=1,
    round=1,
    seed=7,
    entries=[Entry(label="numpy", backend="numpy"), Entry(label="python", backend="python")],
    budget_s=1.0,
    timeout_s=60.0,
)


class Scripted(Executor):
    """Says what it is told to say."""

    name = "scripted"
    summary = "for tests"

    def __init__(self, machine, *happenings, **answers):
        self.answers = {
            "machines": {"here": machine},
            "with_roofs": {"here": machine},
            "dataset_sha256": "abc",
            "dataset_classes": [3, 8],
            "sizes": SIZES,
            **answers,
        }
        self.happenings = happenings
        self.told = None

    def answer(self, method):
        answer = self.answers[method]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def machines(self, *_):
        return self.answer("machines")

    def with_roofs(self, *_):
        return self.answer("with_roofs")

    def dataset_sha256(self, _):
        return self.answer("dataset_sha256")

    def dataset_classes(self, _):
        return self.answer("dataset_classes")

    def sizes(self, _):
        return self.answer("sizes")

    def run(self, blocks):
        if "run" in self.answers:
            return self.answer("run")
        return self.happen(blocks)

    def happen(self, blocks):
        assert [block.round for block in blocks] == [1]
        for happening in self.happenings:
            if isinstance(happening, BaseException):
                raise happening
            try:
                yield happening
            except KeyboardInterrupt as error:
                self.told = error
                yield self.happenings[-1]
                raise


@pytest.fixture
def machine(make_info):
    return make_info().machine


@pytest.fixture
def result(make_cell):
    """Give a function that makes a result of the block."""

    def make(backend="numpy", **changes):
        given = {"round": 1, "seed": 7, "workload": TOY.name, "machine": "here"}
        return CellFinished(make_cell(backend, **{**given, **changes}))

    return make


@pytest.fixture
def checked(machine):
    """Give a function that returns an executor whose machines are known."""

    def check(*happenings, **answers):
        found = Checked(Scripted(machine, *happenings, **answers))
        found.machines([], 1)
        return found

    return check


def test_what_is_right_comes_through(machine, checked, result):
    spec = make_spec(label="numpy", round=1)
    roofs = [Roof(device="cpu", threads=1, gflops=None, gb_per_s=1.0)]
    happenings = [
        CellStarted(spec),
        CellEvent(spec, Progress(1, 5, 0.5, None)),
        result(),
        result("python"),
        result(final=False, attempt=1),
    ]
    found = checked(*happenings, with_roofs={"here": replace(machine, roofs=roofs)})
    assert (found.name, found.summary) == ("scripted", "for tests")
    assert found.machines([], 1) == {"here": machine}
    assert found.with_roofs({"here": machine}, [], 1)["here"].roofs == roofs
    assert (found.dataset_sha256(TOY), found.sizes(TOY)) == ("abc", SIZES)
    assert found.dataset_classes(TOY) == [3, 8]
    assert list(found.run([BLOCK])) == happenings


def test_every_method_is_checked():
    methods = {name for name, each in vars(Executor).items() if callable(each) and name[0] != "_"}
    assert methods <= vars(Checked).keys()


NO_MACHINES: list[Any] = [None, {}, [], "here", {"": 1}, {"x": None}]
ASKED = {
    "machines": lambda executor: executor.machines([], 1),
    "with_roofs": lambda executor: executor.with_roofs({}, [], 1),
    "dataset_sha256": lambda executor: executor.dataset_sha256(TOY),
    "dataset_classes": lambda executor: executor.dataset_classes(TOY),
    "sizes": lambda executor: executor.sizes(TOY),
    "run": lambda executor: list(executor.run([BLOCK])),
}


@pytest.mark.parametrize(
    ("method", "answer", "text"),
    [
        *[("machines", each, "returned ") for each in NO_MACHINES],
        ("machines", KeyError("x"), "raised KeyError: 'x'"),
        ("machines", SystemExit(3), "raised SystemExit: 3"),
        ("with_roofs", None, "returned None, which is not what it must be: "),
        ("dataset_sha256", 3, "returned 3, which is not what it must be: "),
        ("dataset_sha256", "x" * 5000, "returned "),
        ("dataset_sha256", "\ud800", "returned "),
        ("dataset_classes", [-1], "returned [-1], which is not what it must be: "),
        ("dataset_classes", 3, "returned 3, which is not what it must be: "),
        ("sizes", (1, 2), "returned (1, 2), which is not what it must be: "),
        ("sizes", object(), "returned <object object>"),
        ("run", None, "returned None, and must return a generator"),
        ("run", [], "returned [], and must return a generator"),
        ("run", OSError("no network"), "raised OSError: no network"),
    ],
)
def test_answer_that_cannot_be_is_an_error_of_the_executor(machine, method, answer, text):
    with pytest.raises(ExecutorError) as raised:
        ASKED[method](Checked(Scripted(machine, **{method: answer})))
    assert str(raised.value).startswith(f"executor 'scripted': {method}() {text}")
    assert len(str(raised.value)) < 500
    assert raised.value.exit_code is ExitCode.BACKEND_FAILED


def test_roofs_are_those_of_the_same_machines(machine, checked):
    with pytest.raises(ExecutorError, match=r"returned machines here, not there$"):
        checked().with_roofs({"there": machine}, [], 1)


@pytest.mark.parametrize("method", ASKED)
def test_error_that_the_user_can_mend_is_told_as_it_is(machine, method):
    executor = Checked(Scripted(machine, **{method: DatasetError("no such data")}))
    with pytest.raises(DatasetError, match=r"^no such data$"):
        ASKED[method](executor)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"backend": "jax"}, "a result of round 2 jax, which it was not given"),
        ({"round": 2}, "a result of round 3 numpy, which it was not given"),
        ({"seed": 8}, "a result of round 2 numpy whose seed is 8, not 7"),
        ({"block_attempt": 1}, "a result of round 2 numpy whose block_attempt is 1, not 0"),
        ({"point": 1}, "a result of round 2 numpy whose point is 1, not 0"),
        ({"workload": "x"}, "a result of round 2 numpy whose workload is 'x', not 'toy-sigmoid'"),
        ({"machine": "x"}, "a result of round 2 numpy from machine 'x', which nobody knows"),
        ({"threads": 0}, "CellFinished("),
        ({"wall_s": -1.0}, "CellFinished("),
        ({"message": None}, "CellFinished("),
    ],
)
def test_result_that_cannot_be_is_an_error(checked, result, changes, text):
    with pytest.raises(ExecutorError) as raised:
        list(checked(result(**changes)).run([BLOCK]))
    assert str(raised.value).startswith(f"executor 'scripted': run() yielded {text}")


@pytest.mark.parametrize("happening", [None, 3, {"type": "CellFinished"}, object(), [], Status.OK])
def test_what_is_no_happening_is_an_error(checked, happening):
    with pytest.raises(ExecutorError, match=r"^executor 'scripted': run\(\) yielded "):
        list(checked(happening).run([BLOCK]))


def test_event_of_a_strange_cell_is_an_error(checked):
    with pytest.raises(ExecutorError, match="what happens to round 2 jax, which it was not given"):
        list(checked(CellStarted(make_spec(label="jax", round=1))).run([BLOCK]))


def test_second_result_is_an_error(checked, result):
    with pytest.raises(ExecutorError, match="yielded a second result of round 2 numpy"):
        list(checked(result(), result()).run([BLOCK]))


def test_missing_result_is_an_error(checked, result):
    with pytest.raises(ExecutorError, match="has ended without a result of round 2 python"):
        list(checked(result()).run([BLOCK]))


@pytest.mark.parametrize("error", [RuntimeError("lost"), SystemExit(0)])
def test_run_that_raises_is_an_error(checked, result, error):
    with pytest.raises(ExecutorError, match=r"run\(\) raised (RuntimeError: lost|SystemExit: 0)"):
        list(checked(result(), error).run([BLOCK]))


def test_executor_is_told_of_an_interruption_and_gives_what_it_has(checked, result):
    found = checked(result(), result("python"))
    happenings = found.run([BLOCK])
    next(happenings)
    interruption = KeyboardInterrupt()
    assert happenings.throw(interruption) == result("python")
    with pytest.raises(KeyboardInterrupt):
        next(happenings)
    assert found._executor.told is interruption


def test_executor_that_does_not_end_is_told_of(checked, result):
    class Endless(Scripted):
        def happen(self, blocks):
            list(blocks)
            try:
                yield result()
            finally:
                yield result("python")

    found = checked()
    found._executor.__class__ = Endless
    happenings = found.run([BLOCK])
    next(happenings)
    with pytest.warns(PluginWarning, match="'scripted' has not ended as it should: RuntimeError"):
        happenings.close()


class Failing(LocalExecutor):
    """Loses its machine in the second round."""

    name = "failing"

    def run(self, blocks):
        for happening in super().run(blocks):
            if isinstance(happening, CellStarted) and happening.spec.round == 1:
                raise ConnectionError("the machine is gone")
            yield happening


def test_run_whose_executor_fails_can_be_resumed(tmp_path, make_info, make_plan, answer):
    answer(lambda _: {"status": Status.CRASHED, "message": "for a test"})
    info = make_info("numpy", workload=TOY, rounds=3, seed=7)
    plan, folder = make_plan(info), tmp_path / "run"
    failing = Checked(Failing())
    failing._machines = {"local"}
    text = (
        r"^executor 'failing': run\(\) raised ConnectionError: the machine is gone; "
        "what is finished is kept, and nnbench run --resume goes on$"
    )
    concluded: list[Any] = []
    with pytest.raises(ExecutorError, match=text):
        schedule.run(plan._replace(executor=failing), folder, concluded.append)
    assert len(concluded) == 1
    plan = plan._replace(info=store.read_info(folder))
    schedule.resume(plan, folder, concluded.append)
    assert [cell.round for cell in store.read_cells(folder)] == [0, 1, 2]
