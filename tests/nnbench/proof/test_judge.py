"""The exit code of a run."""

import pytest

from nnbench.contract.errors import ExitCode
from nnbench.proof.judge import exit_code
from nnbench.records.cells import Kind, Status


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], ExitCode.NOTHING_MEASURED),
        (["ok"], ExitCode.OK),
        (["ok", "ok"], ExitCode.OK),
        (["skipped"], ExitCode.NOTHING_MEASURED),
        (["skipped", "skipped"], ExitCode.NOTHING_MEASURED),
        (["ok", "skipped"], ExitCode.OK),
        *[([status], ExitCode.BACKEND_FAILED) for status in Status if status.kind is Kind.FAILED],
        *[([status], ExitCode.ACCURACY) for status in Status if status.kind is Kind.WRONG],
        (["ok", "target_missed"], ExitCode.ACCURACY),
        (["ok", "crashed"], ExitCode.BACKEND_FAILED),
        (["skipped", "crashed"], ExitCode.BACKEND_FAILED),
        (["skipped", "invalid"], ExitCode.ACCURACY),
        (["invalid", "crashed", "ok"], ExitCode.BACKEND_FAILED),
    ],
)
def test_exit_code_of_statuses(make_cell, statuses, code):
    cells = [make_cell(status=status, round=i) for i, status in enumerate(statuses)]
    assert exit_code(iter(cells), required=set()) == code


@pytest.mark.parametrize(
    ("required", "code"),
    [
        ({"absent"}, ExitCode.BACKEND_FAILED),
        ({"numpy", "absent"}, ExitCode.BACKEND_FAILED),
        ({"numpy"}, ExitCode.OK),
        (set(), ExitCode.OK),
    ],
)
def test_backend_that_was_named_must_not_be_skipped(make_cell, make_failed, required, code):
    cells = [make_cell("numpy"), make_failed("absent", "skipped")]
    assert exit_code(cells, required) == code


@pytest.mark.parametrize(
    ("proof", "code"),
    [
        (None, 6),
        ({"mode": "off", "proved": 0}, 6),
        ({"mode": "off", "proved": 10}, 6),
        ({"mode": "sampled", "proved": 9}, 6),
        ({"mode": "sampled", "proved": 10}, 0),
        ({"mode": "full", "proved": 10}, 0),
        ({"mode": "full", "proved": 0, "trained": 0}, 6),
    ],
)
def test_less_than_proved_can_be_a_failure(make_cell, make_proof, proof, code):
    cell = make_cell(proof=proof and make_proof(**proof))
    assert exit_code([cell], (), require_proof=True) == code
    assert exit_code([cell], ()) == 0


def test_backend_without_figures_need_not_be_proved(make_failed):
    cells = [make_failed("absent", "skipped"), make_failed("broken")]
    assert exit_code(cells, (), require_proof=True) == 4
    assert exit_code(cells[:1], (), require_proof=True) == 5
