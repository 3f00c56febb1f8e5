"""One part of each block that another machine has judged is proved here, too."""

from contextlib import closing
from dataclasses import replace

import pytest
from msgspec import structs

from nnbench.data.workloads import derive
from nnbench.execution import witnesses
from nnbench.execution.executor import LocalExecutor
from nnbench.execution.witnesses import Anew
from nnbench.records.events import CellFinished
from nnbench.records.runs import Block, Entry
from tests.cells import TOY, stored

KINDS = ["sgd", "adam"]


def finish(kind, **changes):
    """Run a block of two cells here; return what came of them."""
    block = Block(
        workload=derive(replace(TOY, epochs=3), {"optimizer": kind}),
        threads=1,
        round=0,
        seed=7,
        is_witnessed=True,
        entries=[Entry(label=name, backend=name) for name in ("numpy", "python")],
        budget_s=10.0,
        timeout_s=60.0,
    )
    happened = LocalExecutor().run([replace(block, **changes)])
    return block.workload, [each for each in happened if isinstance(each, CellFinished)]


@pytest.fixture(scope="module", params=KINDS)
def judged(request):
    """Give a workload, and a cell with what it takes to prove a part of it."""
    workload, finished = finish(request.param)
    [chosen] = [each for each in finished if each.witness]
    return workload, chosen.result, chosen.witness


@pytest.fixture
def anew(judged):
    """Give what proves parts again."""
    with closing(Anew(judged[0], stored(judged[0]))) as made:
        yield made


def test_part_that_is_right_is_proved_here_too(judged, anew):
    _, result, witness = judged
    assert anew.problem(result, witness) == ""


def test_state_that_was_not_there_is_found_and_the_next_part_is_proved_all_the_same(judged, anew):
    _, result, witness = judged
    *rest, last = witness.after
    other = structs.replace(witness, after=bytes([*rest, last ^ 1]))
    text = "a part that was proved there cannot be followed here: "
    assert anew.problem(result, other).startswith(text)
    assert anew.problem(result, witness) == ""


def test_losses_that_are_not_those_of_the_part_are_found(judged, anew):
    _, result, witness = judged
    epochs = [replace(e, losses=[2 * loss for loss in e.losses]) for e in result.epochs]
    text = "a part that was proved there is not proved here: "
    assert anew.problem(replace(result, epochs=epochs), witness).startswith(text)


def test_part_that_is_none_is_refused(judged, anew):
    _, result, witness = judged
    problem = anew.problem(result, structs.replace(witness, stretch=999))
    assert problem == "the part that is to be proved anew is none of its parts"


@pytest.mark.parametrize("changes", [{"is_witnessed": False}, {"proof": "off"}])
def test_nothing_is_drawn_where_nothing_is_proved_or_wanted(changes):
    _, finished = finish("sgd", **changes)
    assert [each.witness for each in finished] == [None, None]


def test_any_cell_and_any_part_may_be_drawn(monkeypatch):
    drawn = []

    class Last:
        def choice(self, items):
            drawn.append(len(items))
            return items[-1]

        def randrange(self, count):
            drawn.append(count)
            return count - 1

    monkeypatch.setattr(witnesses, "RANDOM", Last())
    workload, finished = finish("sgd")
    [chosen] = [each for each in finished if each.witness]
    assert chosen is finished[-1]
    assert drawn == [2, chosen.witness.stretch + 1]
    with closing(Anew(workload, stored(workload))) as anew:
        assert anew.problem(chosen.result, chosen.witness) == ""
