"""The status of a cell, and the exit code of a run."""

from dataclasses import replace

import pytest

from nnbench.contract.errors import ExitCode
from nnbench.proof.judge import Expected, exit_code, judge
from nnbench.records import Kind, Status

EXPECTED = Expected(losses=[2.0, 1.0], tolerance=1e-4)
SLIGHT, STRAY = 1 + 0.9e-4, 1 + 1.1e-4


def last_loss(cell, loss):
    return replace(cell, epochs=[*cell.epochs[:-1], replace(cell.epochs[-1], test_loss=loss)])


@pytest.mark.parametrize("losses", [(2.0, 1.0), (2.0, SLIGHT), (2.0, 1.0, 99.0), (2.0,)])
def test_losses_within_the_tolerance_are_ok(make_cell, losses):
    result = judge(make_cell(losses=losses), EXPECTED, None)
    assert (result.status, result.message) == ("ok", "")


@pytest.mark.parametrize("losses", [(2.0, STRAY), (2.001, 1.0), (2.0, -1.0), (2.001, None)])
def test_losses_beyond_the_tolerance_are_invalid(make_cell, losses):
    result = judge(make_cell(losses=losses), EXPECTED, None)
    assert result.status == "invalid"
    assert " from the reference, more than 1e-04; nnbench test" in result.message


@pytest.mark.parametrize(("loss", "deviation"), [(1.2, 0.2), (1.5, 0.5)])
def test_tolerance_is_that_of_the_reference(make_cell, loss, deviation):
    result = judge(make_cell(losses=(2.0, loss)), EXPECTED._replace(tolerance=0.5), None)
    assert result.status == "ok"
    assert result.deviation == pytest.approx(deviation)
    assert result.tolerance == 0.5


@pytest.mark.parametrize("losses", [(None, None), (2.0, None), (2.0, 1.0, 3.0, None), ()])
def test_loss_that_is_not_finite_is_diverged(make_cell, losses):
    result = judge(make_cell(losses=losses), EXPECTED, None)
    assert (result.status, result.message) == ("diverged", "the loss is not finite")


def test_test_loss_that_is_not_finite_is_diverged(make_cell):
    assert judge(last_loss(make_cell(), None), EXPECTED, None).status == "diverged"


def test_cell_without_epochs_is_diverged(make_cell):
    assert judge(make_cell(accuracies=()), EXPECTED, 0.9).status == "diverged"


@pytest.mark.parametrize(
    ("accuracies", "status"),
    [
        ((0.9,), "ok"),
        ((0.5, 0.95), "ok"),
        ((0.95, 0.5), "ok"),
        ((0.89,), "target_missed"),
        ((None,), "target_missed"),
    ],
)
def test_target_must_be_reached_once(make_cell, accuracies, status):
    assert judge(make_cell(accuracies=accuracies), EXPECTED, 0.9).status == status


def test_missed_target_names_the_best_accuracy(make_cell):
    cell = make_cell(accuracies=(0.1, 0.8712, 0.5))
    assert judge(cell, EXPECTED, 0.961).message == "reached 87.12%, not 96.10%"
    unknown = make_cell(accuracies=(None,))
    assert judge(unknown, EXPECTED, 0.961).message == "reached 0.00%, not 96.10%"


def test_training_that_the_budget_ended_need_not_reach_the_target(make_cell):
    cell = replace(make_cell(complete=False), status=Status.OK)  # as a worker sends it
    result = judge(cell, EXPECTED, 0.99)
    assert (result.status, result.message) == (Status.BUDGET, "")


@pytest.mark.parametrize("status", [*sorted(s for s in Status if s.kind is Kind.FAILED), "skipped"])
def test_failed_cell_keeps_its_status_and_message(make_cell, status):
    cell = make_cell(status=status, message="why", losses=(9.0, None))
    result = judge(cell, EXPECTED, 0.99)
    assert (result.status, result.message) == (status, "why")
    assert result.deviation == pytest.approx(3.5)


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
