"""Whatever a plugin's engine says: it is right, or the end of the run in one line."""

import pytest

from nnbench.contract.engine import Engine, Report, Session
from nnbench.contract.errors import DatasetError, ExecutorError, ExitCode, PluginWarning
from nnbench.execution.border import Checked

REPORT = Report(errand="a", run="1", lines=b"{}", is_over=True)


class Saying(Session):
    """Says what it is told to say."""

    def __init__(self, **answers):
        self.answers = {"slots": 2, "found": {"a": b"{}"}, "wait": [REPORT], **answers}

    def answer(self, method):
        answer = self.answers.get(method)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def slots(self):
        return self.answer("slots")

    def found(self, _):
        return self.answer("found")

    def submit(self, *_, outlives):
        return self.answer("submit")

    def wait(self, _):
        return self.answer("wait")

    def cancel(self, _):
        return self.answer("cancel")

    def close(self):
        return self.answer("close")


class Opening(Engine):
    name = "saying"
    summary = "for tests"

    def __init__(self, session):
        self.session = session

    def open(self, **_):
        if isinstance(self.session, BaseException):
            raise self.session
        return self.session


def check(**answers):
    return Checked(Opening(Saying(**answers)), {})


ASKED = {
    "slots": lambda session: session.slots(),
    "found": lambda session: session.found("a"),
    "submit": lambda session: session.submit("a", b"{}", outlives=True),
    "wait": lambda session: session.wait(1.0),
    "cancel": lambda session: session.cancel("a"),
}


def test_what_is_right_comes_through():
    session = check()
    assert (session.slots(), session.found("a")) == (2, {"a": b"{}"})
    assert session.wait(1.0) == [REPORT]
    session.submit("a", b"{}", outlives=True)
    session.cancel("a")
    session.close()


def test_every_method_is_checked():
    methods = {name for name, each in vars(Session).items() if callable(each) and name[0] != "_"}
    assert methods == ASKED.keys() | {"close"}


@pytest.mark.parametrize(
    ("method", "answer", "text"),
    [
        ("slots", 0, "slots() returned what it may not: it is 0, and must be"),
        ("slots", None, "slots() returned what it may not: it is None, and must be"),
        ("slots", 2.0, "slots() returned what it may not: it is 2.0, and must be"),
        ("found", None, "found() returned None, and must return bytes by their names"),
        ("found", {"a": "{}"}, "found() returned {'a': '{}'}, and must return bytes"),
        ("wait", [None], "wait() gave what is none: a report is None, and must be"),
        ("wait", None, "wait() raised TypeError: "),
        (
            "wait",
            [Report(errand="a", lines="{}")],
            "wait() gave what is none: a report.lines is '{}', and must be",
        ),
        ("submit", OSError("no network"), "submit() raised OSError: no network"),
        ("cancel", SystemExit(3), "cancel() raised SystemExit: 3"),
    ],
)
def test_answer_that_cannot_be_is_an_error_of_the_executor(method, answer, text):
    with pytest.raises(ExecutorError) as raised:
        ASKED[method](check(**{method: answer}))
    assert str(raised.value).startswith(f"executor 'saying': {text}")
    assert str(raised.value).endswith(
        "; what is finished is kept, and nnbench run --resume goes on"
    )
    assert len(str(raised.value)) < 500
    assert raised.value.exit_code is ExitCode.BACKEND_FAILED


@pytest.mark.parametrize("method", ASKED)
def test_error_that_the_user_can_mend_is_told_as_it_is(method):
    with pytest.raises(DatasetError, match=r"^no such data$"):
        ASKED[method](check(**{method: DatasetError("no such data")}))


@pytest.mark.parametrize(
    ("session", "text"),
    [
        (None, r"open\(\) returned None, which is no Session"),
        (RuntimeError("no cluster"), r"open\(\) raised RuntimeError: no cluster"),
    ],
)
def test_engine_that_opens_nothing_is_an_error(session, text):
    with pytest.raises(ExecutorError, match=rf"^executor 'saying': {text}"):
        Checked(Opening(session), {})


def test_session_that_does_not_end_is_told_of():
    text = "executor 'saying' has not ended as it should: OSError: no network"
    with pytest.warns(PluginWarning, match=text):
        check(close=OSError("no network")).close()
