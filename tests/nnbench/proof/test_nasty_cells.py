"""A cell whose record and states may be anything that can be read: it is judged, and no judge fails."""

import hashlib
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbench.proof import anew
from nnbench.records.cells import CellResult, Status
from nnbench.records.judging import Cut
from nnbench.runs import proving
from tests import nasty
from tests.trained import judged, spooled, train

CUTS = 6
NUMBERS = [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0, -1e30]


@pytest.fixture(scope="module")
def trained(mnist, write_folder, tmp_path_factory):
    """Give a spool with a cell that trained right."""
    folder = write_folder(tmp_path_factory.mktemp("nasty") / "shapes")
    changes = {"batch_size": 8, "epochs": 2, "target_accuracy": None}
    with spooled(replace(mnist, dataset=str(folder), **changes)) as spool:
        cell = train(spool)
        assert len(cell.cuts) == CUTS
        yield spool, cell


@pytest.fixture(scope="module")
def record(trained):
    """Give its result as it stands in a run's folder."""
    spool, cell = trained
    return json.loads(msgspec.json.encode(judged(spool, cell)))


def again(cell, result):
    """Return a cell as ``nnbench prove`` has it judged."""
    sent = anew.as_sent(result)
    return msgspec.structs.replace(
        cell, result=sent, limits=anew.either_limits(result, cell.limits)
    )


@settings(max_examples=nasty.EXAMPLES or 40)
@given(data=st.data())
def test_nasty_record_is_judged(trained, record, data):
    spool, cell = trained
    content = data.draw(nasty.mutations(record))
    try:
        result = msgspec.json.decode(content, type=CellResult)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # it is refused where it is read
    if proving.is_judged(result):
        found = judged(spool, again(cell, result))
        assert proving.Again(result, found).code in {0, 6}


def with_state(cell, number, cut, digest, steps):
    """Return a cell with another state at a cut, whose hash is written down as that of a right one."""
    seen = iter(range(CUTS))
    epochs = []
    for epoch in cell.result.epochs:
        parts = [
            replace(part, state=digest, optimizer_steps=steps) if next(seen) == number else part
            for part in epoch.parts
        ]
        epochs.append(replace(epoch, parts=parts))
    cuts = [cut if index == number else each for index, each in enumerate(cell.cuts)]
    return msgspec.structs.replace(cell, result=replace(cell.result, epochs=epochs), cuts=cuts)


@settings(max_examples=nasty.EXAMPLES or 40)
@given(
    number=st.integers(0, CUTS - 1),
    value=st.sampled_from(NUMBERS),
    where=st.sampled_from(["everywhere", "one", "moments"]),
    has_moments=st.sampled_from([True, True, True, False]),
    steps=st.sampled_from([None, 0, 1, 10**15]),
)
def test_nasty_state_is_judged(trained, number, value, where, has_moments, steps):
    spool, cell = trained
    old = cell.cuts[number]
    [*digests] = (part.state for epoch in cell.result.epochs for part in epoch.parts)
    state = spool.judge.spool.values(old, digests[number]).copy()
    third = len(state) // 3
    state[{"everywhere": slice(None), "one": slice(5, 6), "moments": slice(third, None)}[where]] = (
        value
    )
    state = state if has_moments else state[:third]
    cut = Cut(spool.write(state), has_moments)
    digest = hashlib.sha256(state.tobytes()).hexdigest()
    found = judged(spool, with_state(cell, number, cut, digest, steps))
    assert found.status in {Status.INVALID, Status.DIVERGED}
    assert found.message
