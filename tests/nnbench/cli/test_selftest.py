"""``nnbench selftest``: what it keeps, and what it says if it has nothing."""

from types import SimpleNamespace

import pytest

from nnbench.cli.selftest import conclude, report
from nnbench.contract.errors import NnbenchError
from nnbench.execution import machine
from nnbench.runs import selftest


@pytest.mark.usefixtures("home")
def test_floor_is_kept_with_what_a_pair_varies_by_and_when_it_was_measured(make_info, monkeypatch):
    found = selftest.Findings(floor=0.02, trials=[], other_floor=0.03, stdev=0.01)
    monkeypatch.setattr(selftest, "evaluate", lambda _: found)
    here = make_info().environment
    assert report(selftest.Machines(["local"], here, []), "2026-01-02T03:04:05Z", turns=True)
    kept = (machine.TURN_FLOORS, machine.TURN_SPREADS, machine.MEASURED)
    assert [each.load(here, None) for each in kept] == [0.02, 0.01, "2026-01-02T03:04:05Z"]


def test_selftest_that_was_interrupted_in_its_first_block_is_one_line(make_info):
    with pytest.raises(NnbenchError, match=r"needs 6 blocks, and has 0$"):
        conclude(SimpleNamespace(info=make_info("numpy"), cells=[], folder="x"))
