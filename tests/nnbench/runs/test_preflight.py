"""What is found before anything is measured: imports that fail, and what changed."""

import pytest

from nnbench.catalog.listings import BackendItem, Listing, Plugin, Problem
from nnbench.contract.errors import ExitCode
from nnbench.execution.interpreters import Interpreter
from nnbench.execution.probing import Probe, Probed
from nnbench.figures.metrics import parse_gates
from nnbench.runs import comparison, preflight
from nnbench.runs.comparison import Outcome
from nnbench.runs.preflight import Finding, Sides

ERROR = "ModuleNotFoundError: No module named 'x'"


def plugin(name, *, left_out=None, wanted=False, backends=()):
    brings = {"backends": [*backends]} if backends else {}
    return Plugin(
        name=name,
        distribution=f"nnbench-{name}",
        version="1",
        module=name,
        left_out=() if left_out is None else (Problem(reason=left_out, wanted=wanted),),
        brings=brings,
    )


@pytest.fixture
def make(make_info):
    """Give a function that makes two sides from the plugins of each, with what these bring."""
    environment = make_info().environment

    def interpreter(*plugins, unavailable=()):
        items = [
            BackendItem(
                name=name,
                summary="",
                device="cpu",
                unavailable="no device" if name in unavailable else None,
                options={},
            )
            for each in plugins
            for name in each.brings.get("backends", [])
        ]
        listing = Listing(backends=items, workloads=[], datasets=[], plugins=[*plugins])
        return Interpreter("python", listing, environment)

    def make_sides(base, head, **more):
        return Sides(interpreter(*base), interpreter(*head, **more), ("main", "HEAD"))

    return make_sides


WHOLE = plugin("mine", backends=["mine", "other"])
BROKEN = plugin("mine", left_out=ERROR)


@pytest.mark.parametrize("asked", [["mine"], ["numpy,mine[x=2]"], ["all"]])
def test_broken_plugin_of_head_is_named_with_its_exception(make, asked):
    found = [*preflight.broken_plugins(make([WHOLE], [BROKEN]), asked)]
    text = f"cannot be imported in HEAD: {ERROR}"
    assert found[0] == Finding("mine", Outcome.FAILED, text)
    changes = preflight.changes(found, parse_gates([]))
    assert comparison.exit_code(changes, strict=False) is ExitCode.BACKEND_FAILED


def test_broken_plugin_of_base_leaves_nothing_to_compare_with(make):
    found = [*preflight.broken_plugins(make([BROKEN], [WHOLE]), ["mine"])]
    assert found == [Finding("mine", Outcome.UNMATCHED, f"cannot be imported in main: {ERROR}")]
    changes = preflight.changes(found, parse_gates([]))
    assert comparison.exit_code(changes, strict=False) is ExitCode.INCOMPARABLE


def test_plugin_that_is_broken_on_both_sides_is_named_for_a_backend_that_nobody_knows(make):
    found = [*preflight.broken_plugins(make([BROKEN], [BROKEN]), ["mine"])]
    assert [each.outcome for each in found] == [Outcome.UNMATCHED, Outcome.FAILED]


@pytest.mark.parametrize(
    ("base", "head"),
    [
        ([WHOLE], [WHOLE, plugin("strange", left_out=ERROR)]),
        ([WHOLE], []),
        ([WHOLE], [plugin("mine", left_out="NNBENCH_PLUGINS leaves it out", wanted=True)]),
        ([WHOLE], [plugin("strange", left_out=ERROR)]),
        ([], [WHOLE]),
    ],
)
def test_backend_that_is_there_or_is_gone_has_no_broken_plugin(make, base, head):
    assert [*preflight.broken_plugins(make(base, head), ["mine"])] == []


def probe(**backends):
    return Probe(backends={k: Probed(code=v) for k, v in backends.items()}, lacks=[])


def test_import_that_fails_is_found_on_its_side(make):
    sides = make([WHOLE], [WHOLE])
    broken = Probe(backends={"mine": Probed(error=ERROR, code="")}, lacks=[])
    fine = probe(mine="")
    text = f"cannot be imported in {{}}: {ERROR}"
    for probes, outcome, title in (
        ((broken, fine), Outcome.UNMATCHED, "main"),
        ((fine, broken), Outcome.FAILED, "HEAD"),
    ):
        expected = [Finding("mine", outcome, text.format(title))]
        assert [*preflight.broken_imports(sides, probes)] == expected
    assert [*preflight.broken_imports(sides, (None, fine))] == []


@pytest.mark.parametrize(
    ("before", "after", "labels"),
    [
        (probe(mine="1", other="1"), probe(mine="2", other="1"), ["mine"]),
        (probe(mine="1", other="1"), probe(mine="1", other="1"), []),
        (probe(other="1"), probe(mine="1", other="1"), ["mine"]),
        (None, probe(mine="1", other="1"), ["mine", "other"]),
        (probe(mine="1", other="1"), None, ["mine", "other"]),
    ],
)
def test_changed_is_what_may_have_another_code(make, before, after, labels):
    found = preflight.changed(make([WHOLE], [WHOLE]), ["all"], (before, after))
    assert [each.label for each in found] == labels


def test_what_head_cannot_run_is_not_checked(make):
    sides, probes = make([WHOLE], [WHOLE], unavailable=["mine"]), (None, None)
    assert [each.label for each in preflight.changed(sides, ["mine,other"], probes)] == ["other"]
    gone = make([WHOLE], [])
    assert preflight.changed(gone, ["mine"], probes) == []


def test_each_limit_has_the_finding():
    limits = parse_gates(["accuracy:1pp", "setup_s:5%"])
    changes = preflight.changes([Finding("a", Outcome.NONCONFORMING, "why")], limits)
    assert [(c.backend, c.gate, c.outcome, c.message) for c in changes] == [
        ("a", limit, "nonconforming", "why") for limit in limits
    ]
    assert comparison.exit_code(changes, strict=False) is ExitCode.ACCURACY
