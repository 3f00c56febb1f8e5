"""Backends as users type them."""

import pytest

from nnbench import Backend, NnbenchError, Option, catalog, selection

COUNT = "a whole number, at least -1,000,000,000,000,000 and at most 1,000,000,000,000,000"
NUMBER = "a number, at least -1e+300 and at most 1e+300"
OPTIONS = {
    "fused": Option(default=True, help=""),
    "chunk": Option(default=16, help=""),
    "scale": Option(default=1.0, help=""),
    "mode": Option(default="fast", help="", choices=("fast", "exact")),
}


@pytest.fixture
def tunable(monkeypatch):
    """Register one backend with an option of every type, and nothing else."""
    backend = Backend(name="tunable", summary="", create=pytest.fail, options=OPTIONS)
    monkeypatch.setattr(catalog, "backends", lambda: {"tunable": backend})


def labels(*texts):
    return [selected.label for selected in selection.parse(texts)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["numpy"], ["numpy"]),
        ([" numpy , python "], ["numpy", "python"]),
        (["python", "numpy"], ["python", "numpy"]),
        (["numpy,python", "torch-cpu"], ["numpy", "python", "torch-cpu"]),
        (["numpy[threads=2],python"], ["numpy[threads=2]", "python"]),
        (
            ["torch-cpu[threads=2,fused=false],numpy"],
            ["torch-cpu[threads=2,fused=false]", "numpy"],
        ),
        (["numpy[]"], ["numpy"]),
    ],
)
def test_lists_are_split_outside_brackets(texts, expected):
    assert labels(*texts) == expected


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("torch-cpu[fused=TRUE]", "torch-cpu[fused=true]"),
        ("torch-cpu[ fused = False ]", "torch-cpu[fused=false]"),
        ("torch-cpu[fused=true,threads=02]", "torch-cpu[threads=2,fused=true]"),
        ("torch-cpu[fused=true,]", "torch-cpu[fused=true]"),
    ],
)
def test_label_is_canonical(typed, label):
    assert labels(typed) == [label]
    assert labels(label) == [label]


@pytest.mark.usefixtures("tunable")
def test_order_of_parameters_does_not_matter():
    first, second = "tunable[scale=2,chunk=8,fused=false]", "tunable[fused=false,chunk=8,scale=2]"
    assert labels(first, second) == ["tunable[chunk=8,fused=false,scale=2.0]"]


@pytest.mark.parametrize(
    "texts",
    [
        ["numpy", "numpy"],
        ["numpy,numpy"],
        ["numpy[threads=1],numpy[threads=01]"],
        ["torch-cpu[fused=true],torch-cpu[fused=True]"],
    ],
)
def test_duplicates_are_merged(texts):
    assert len(labels(*texts)) == 1


def test_same_backend_with_other_parameters_is_no_duplicate():
    assert labels("numpy,numpy[threads=1]") == ["numpy", "numpy[threads=1]"]


def everyone():
    """Return the names that ``all`` stands for."""
    return [name for name, backend in catalog.backends().items() if not backend.named_only]


def test_all_selects_every_backend_unnamed():
    selections = selection.parse(["all"])
    assert [s.label for s in selections] == everyone()
    assert not any(s.named for s in selections)


def test_all_leaves_out_what_runs_only_where_it_is_named(monkeypatch):
    both = [
        Backend(name=name, summary="", create=pytest.fail, named_only=name == "mine")
        for name in ("mine", "numpy")
    ]
    monkeypatch.setattr(catalog, "backends", lambda: {each.name: each for each in both})
    assert labels("all") == ["numpy"]
    assert labels("all,mine") == ["numpy", "mine"]


@pytest.mark.parametrize("texts", [["all,numpy"], ["numpy,all"], ["all", "numpy"]])
def test_backend_beside_all_counts_as_named(texts):
    selections = selection.parse(texts)
    assert sorted(s.label for s in selections) == everyone()
    assert [s.label for s in selections if s.named] == ["numpy"]


def test_threads_are_the_harness_own_parameter():
    (selected,) = selection.parse(["torch-cpu[threads=2,fused=false]"])
    assert selected.threads == 2
    assert selected.options == {"fused": False}


@pytest.mark.usefixtures("tunable")
@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("fused=false", False),
        ("fused=TRUE", True),
        ("chunk=-3", -3),
        ("scale=2", 2.0),
        ("scale=1e-3", 0.001),
        ("mode=exact", "exact"),
    ],
)
def test_value_takes_the_type_of_the_default(pair, value):
    (selected,) = selection.parse([f"tunable[{pair}]"])
    (converted,) = selected.options.values()
    assert (converted, type(converted)) == (value, type(value))


@pytest.mark.usefixtures("tunable")
@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("fused=1", "expected true or false"),
        ("fused=", "expected true or false"),
        ("chunk=2.5", "expected a value of type int"),
        ("chunk=", "expected a value of type int"),
        ("chunk=x", "expected a value of type int"),
        ("scale=fast", "expected a value of type float"),
        ("mode=slow", "expected one of fast, exact"),
        ("mode=", "expected one of fast, exact"),
        ("chunk=1000000000000001", f"expected {COUNT}"),
        (f"chunk={10**400}", f"expected {COUNT}"),
        *((f"scale={text}", f"expected {NUMBER}") for text in ("nan", "-inf", "1e400")),
    ],
)
def test_wrong_value_is_refused(pair, reason):
    with pytest.raises(NnbenchError) as raised:
        selection.parse([f"tunable[{pair}]"])
    assert str(raised.value) == f"tunable[{pair}]: {reason}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read backend ''; write name or name[key=value,…]"),
        ("numpy,", "cannot read backend ''"),
        (",", "cannot read backend ''"),
        ("numpy python", "cannot read backend 'numpy python'"),
        ("numpy[threads=1", "cannot read backend 'numpy[threads=1'"),
        ("numpy]", "cannot read backend 'numpy]'"),
        ("[threads=1]", "cannot read backend '[threads=1]'"),
        ("numpy[threads=1]x", "cannot read backend 'numpy[threads=1]x'"),
        ("nump", "no backend named 'nump'; did you mean numpy? known: "),
        ("torch", "no backend named 'torch'; did you mean torch-cpu? known: "),
        ("ALL", "no backend named 'ALL'; known: "),
        ("Numpy", "no backend named 'Numpy'; did you mean numpy?"),
        ("numpy[threads]", "numpy[threads]: write threads=value"),
        ("numpy[speed=9]", "numpy has no parameter 'speed'; known: threads"),
        ("torch-cpu[=9]", "torch-cpu has no parameter ''; known: threads, fused"),
        ("numpy[threads=0]", "numpy[threads=0]: at least 1 thread is needed"),
        ("numpy[threads=-2]", "numpy[threads=-2]: at least 1 thread is needed"),
        ("numpy[threads=two]", "numpy[threads=two]: expected a value of type int"),
        ("all[threads=1]", "no backend named 'all'; known: "),
    ],
)
def test_unreadable_backend_is_refused(text, message):
    with pytest.raises(NnbenchError) as raised:
        selection.parse([text])
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_names_are_those_that_were_typed():
    typed = ["mine,numpy[x=1,y=2]", " all", "mine[z=1]"]
    assert selection.names(typed) == {"mine", "numpy", "all"}
