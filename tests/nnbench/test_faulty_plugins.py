"""Whatever is wrong with a plugin: as little as can be is left out, with one warning that says what, and what it must be."""

import copy
import dataclasses
import sys
import warnings
from collections.abc import Mapping
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench import Backend, Dataset, NnbenchError, Option, catalog, distributions, hookimpl
from nnbench.catalog import flaws, listings, loading
from nnbench.catalog.listings import BackendItem
from nnbench.contract import faults
from nnbench.contract.engine import Engine
from nnbench.data import datasets, workloads
from nnbench.distributions import Entry

NAME = "nnbench_mine"
NOTHING = object()


class Elsewhere(Engine):
    name = "mine"
    summary = ""

    def open(self, **_):
        raise NotImplementedError


BACKEND = Backend(
    name="mine",
    summary="a summary",
    create="package.module:Class",
    requires=("numpy",),
    options={"fused": Option(default=True, help="a help", choices=(True, False))},
    environment=("MINE",),
)
WORKLOAD = dataclasses.replace(workloads.nnbench_workloads()[0], name="mine")
#: One of each kind that nothing is wrong with; a kind that is added needs one.
RIGHT: dict[str, Any] = {
    "backends": BACKEND,
    "workloads": WORKLOAD,
    "datasets": Dataset(name="mine", summary="", load=datasets.load_toy),
    "executors": Elsewhere(),
}
FIELDS = [
    (kind, name, hint)
    for kind, each in listings.kinds().items()
    for name, hint in faults.hints(each).items()
]


@pytest.fixture
def plug(monkeypatch):
    """Give a function that lists what one plugin brings, by what its hooks return, and what is warned of."""

    def list_what(*, name="mine", **returned):
        module = ModuleType(NAME)
        for kind, what in returned.items():
            hook = what if callable(what) else lambda what=what: what
            setattr(module, f"nnbench_{kind}", hookimpl(lambda hook=hook: hook()))
        monkeypatch.setitem(sys.modules, NAME, module)
        return listed(name)

    def listed(name="mine", module=NAME):
        entry = Entry(name, module, f"nnbench-{name}", "1.0", None)
        monkeypatch.setattr(distributions, "plugins", lambda: [entry])
        loading.load.cache_clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = catalog.installed()
        return found, [str(each.message) for each in caught]

    list_what.again = listed  # type: ignore[attr-defined]  # a function may have attributes
    yield list_what
    loading.load.cache_clear()


def changed(item: Any, name: str, value: object) -> Any:
    """Return a copy with another value, as nobody should make one."""
    made = copy.copy(item)
    object.__setattr__(made, name, value)
    return made


def brought(listing):
    [plugin] = listing.plugins
    return plugin.brings


def test_what_is_right_is_listed(plug):
    listing, told = plug(**{kind: [item] for kind, item in RIGHT.items()})
    assert told == []
    assert brought(listing) == {kind: ["mine"] for kind in listings.kinds()}
    assert listing.plugins[0].left_out == ()


@pytest.mark.parametrize(("kind", "name", "hint"), FIELDS, ids=lambda each: str(each)[:20])
def test_every_field_is_checked(plug, kind, name, hint):
    other = changed(RIGHT[kind], "name", "right")
    listing, told = plug(**{kind: [changed(RIGHT[kind], name, NOTHING), other]})
    what = faults.show(NOTHING if name == "name" else "mine")
    fault = f"{name} is {faults.show(NOTHING)}, and must be {faults.words(hint)}"
    thing = f"{kind.removesuffix('s')} {what}"
    assert told == [f"{thing} of plugin 'mine' of nnbench-mine 1.0 is left out: {fault}"]
    assert brought(listing) == {kind: ["right"]}
    assert listing.plugins[0].why_left_out == f"{thing}: {fault}"


def wrong(hint: Any) -> Any:
    """Yield values of the right form that are too large, too long or no numbers, wherever a type has a place for one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and arguments[0] not in faults.NOUNS:
        yield from wrong(arguments[0])
    elif origin in (Union, UnionType):
        yield from (bad for each in arguments for bad in wrong(each))
    elif origin is tuple:
        yield from ((bad,) for bad in wrong(arguments[0]))
        yield ("x",) * 10_000
    elif origin is Mapping:
        key, item = arguments
        yield from ({bad: None} for bad in wrong(key))
        yield from ({"key": bad} for bad in wrong(item))
    elif dataclasses.is_dataclass(hint):
        for name, inner in faults.hints(hint).items():
            yield from (changed(EXAMPLES[hint], name, bad) for bad in wrong(inner))
    else:
        yield from VALUES.get(arguments[0] if origin is Annotated else hint, ())
        yield from ["no such"] if origin is Literal else []


EXAMPLES: dict[Any, Any] = {
    Option: BACKEND.options["fused"],
    type(WORKLOAD.optimizer): WORKLOAD.optimizer,
}
VALUES: dict[Any, tuple[Any, ...]] = {
    str: ("x" * 5_000_000, "\ud800"),
    int: (10**400, -(10**30)),
    float: (float("nan"), float("inf"), 10**400),
    bool: (NOTHING,),
    NoneType: (),
}


@pytest.mark.parametrize(("kind", "name", "hint"), FIELDS, ids=lambda each: str(each)[:20])
def test_every_field_has_bounds(kind, name, hint):
    for value in wrong(hint):
        found = flaws.why_faulty(kind, changed(RIGHT[kind], name, value))
        assert found is not None, faults.show(value)
        assert name in found
        assert len(found) < 500


PATH = "a path such as 'package.module:Class'"
TEXT = "a text, at most 4,096 characters"
DISTRIBUTION = "the name of a distribution, as pip has it"
PARAMETER = "a name as of an argument in Python, and not threads, which every backend has"
VARIABLE = "the name of an environment variable, without = or blanks"
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"name": 3}, "name is 3, and must be a text, at least 1 and at most 4,096 characters"),
    ({"name": ""}, "name is '', and must be a text, at least 1 and at most 4,096 characters"),
    ({"name": "a b"}, "' ' cannot be in its name: nobody could select it"),
    (
        {"name": "a\x1b[31m"},
        "a name has no blanks around it, no control characters, and no - at its start",
    ),
    ({"name": "x" * 101}, "a name has at most 100 characters"),
    ({"summary": None}, f"summary is None, and must be {TEXT}"),
    ({"create": 3}, f"create is 3, and must be {PATH} or a function"),
    (
        {"create": "a b:c"},
        f"create is 'a b:c', and must be {PATH} or a function",
    ),
    ({"libraries": ("",)}, f"libraries[0] is '', and must be {DISTRIBUTION}"),
    ({"libraries": ("numpy>=2",)}, f"libraries[0] is 'numpy>=2', and must be {DISTRIBUTION}"),
    ({"libraries": ("numpy", "jax\n")}, f"libraries[1] is 'jax\\n', and must be {DISTRIBUTION}"),
    (
        {"libraries": "numpy"},
        f"libraries is 'numpy', and must be a tuple, each item {DISTRIBUTION}",
    ),
    ({"requires": (3,)}, f"requires[0] is 3, and must be {DISTRIBUTION}"),
    ({"environment": ("A=B",)}, f"environment[0] is 'A=B', and must be {VARIABLE}"),
    ({"device": "mps"}, "device is 'mps', and must be 'cpu' or 'cuda'"),
    ({"device": None}, "device is None, and must be 'cpu' or 'cuda'"),
    ({"skips_zeros": 1}, "skips_zeros is 1, and must be True or False"),
    ({"unavailable": "no driver"}, "unavailable is 'no driver', and must be a function"),
    ({"options": {"x": 3}}, "options['x'] is 3, and must be of the class Option"),
    (
        {"options": {"x": Option(default=1, help=None)}},
        f"options['x'].help is None, and must be {TEXT}",
    ),
    (
        {"options": {"threads": Option(default=1, help="")}},
        f"a key of options is 'threads', and must be {PARAMETER}",
    ),
]


@pytest.mark.parametrize(("changes", "fault"), FAULTS, ids=[str(each)[:40] for each, _ in FAULTS])
def test_fault_is_told_with_what_it_must_be(changes, fault):
    [(name, value)] = changes.items()
    assert flaws.why_faulty("backends", changed(BACKEND, name, value)) == fault


def test_a_list_is_as_good_as_a_tuple(plug):
    listing, told = plug(backends=[changed(BACKEND, "libraries", ["numpy"])])
    assert told == []
    assert listing.backends[0].libraries == ("numpy",)


class Raising(Elsewhere):
    summary = "raises"

    @property
    def name(self):  # type: ignore[override]  # that is its fault
        raise RuntimeError("no name today")


def generate():
    yield BACKEND


def never_end():
    while True:
        yield BACKEND


def fail():
    raise KeyError("no backends")


def leave():
    sys.exit(3)


LIST = "must return a list of Backend"


@pytest.mark.parametrize(
    ("returned", "fault"),
    [
        (lambda: None, f"the hook returned None, and {LIST}"),
        (lambda: "mine", f"the hook returned 'mine', and {LIST}"),
        (lambda: {"mine": BACKEND}, "the hook returned {'mine': Backend("),
        (lambda: BACKEND, "the hook returned Backend("),
        (never_end, f"the hook {LIST}, and of at most 1,000"),
        (lambda: [BACKEND] * 1001, f"the hook {LIST}, and of at most 1,000"),
        (fail, "KeyError: 'no backends'"),
        (leave, "SystemExit: 3"),
    ],
)
def test_hook_that_lists_nothing_is_told(plug, returned, fault):
    listing, [told] = plug(backends=returned, workloads=[WORKLOAD])
    assert told.startswith(f"backends of plugin 'mine' of nnbench-mine 1.0 are left out: {fault}")
    assert len(told) < 300
    assert brought(listing) == {"workloads": ["mine"]}
    assert listing.plugins[0].why_left_out.startswith(f"backends: {fault}")


def test_hook_may_be_a_generator(plug):
    listing, told = plug(backends=generate)
    assert (told, brought(listing)) == ([], {"backends": ["mine"]})


def test_what_is_no_backend_is_left_out_alone(plug):
    listing, told = plug(backends=[None, "mine", Backend, BACKEND])
    assert [each.partition(" is left out: ")[2] for each in told] == [
        "it is None, and must be of the class Backend",
        "it is 'mine', and must be of the class Backend",
        "it is <class 'nnbench.contract.backend.Backend'>, and must be of the class Backend",
    ]
    assert brought(listing) == {"backends": ["mine"]}


def test_property_that_raises_is_a_fault(plug):
    _, [told] = plug(executors=[Raising()])
    assert told.startswith(
        "executor None of plugin 'mine' of nnbench-mine 1.0 is left out: name is missing"
    )


def test_many_faults_are_counted(plug):
    listing, told = plug(backends=[3] * 500)
    assert len(told) == catalog.MOST_TOLD + 1
    assert told[-1] == "480 more backends of plugin 'mine' are left out"
    assert listing.plugins[0].why_left_out.endswith("; 480 more backends")


@pytest.mark.parametrize("answer", [True, 0, ("no driver",)])
def test_availability_is_a_reason_or_none(plug, answer):
    able = changed(BACKEND, "name", "able")
    listing, told = plug(backends=[changed(BACKEND, "unavailable", lambda: answer), able])
    fault = f"unavailable() returned {answer!r}, and must return why not, as a text, or None"
    assert told == [f"backend 'mine' of plugin 'mine' of nnbench-mine 1.0 is left out: {fault}"]
    assert [each.name for each in listing.backends] == ["able"]
    assert brought(listing) == {"backends": ["able"]}
    assert catalog.why_unavailable(changed(BACKEND, "unavailable", lambda: answer)) == fault


def test_what_the_check_raises_is_the_reason(plug):
    def ask():
        raise OSError("the driver\n is not talking")

    listing, told = plug(backends=[changed(BACKEND, "unavailable", ask)])
    assert told == []
    assert listing.backends[0].unavailable == "OSError: the driver is not talking"


def test_reason_is_a_line_of_bearable_length(plug):
    listing, _ = plug(backends=[changed(BACKEND, "unavailable", lambda: "no\n" * 10_000_000)])
    assert len(listing.backends[0].unavailable) == flaws.LONGEST + 1


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError


def test_error_without_a_text_has_its_name():
    assert flaws.shorten(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert flaws.shorten(UnspeakableError()) == "UnspeakableError"


# Import


@pytest.fixture
def written(plug, tmp_path, monkeypatch):
    """Give a function that lists a plugin whose module has some text; its distribution requires this and that."""

    def list_what(text, *requires):
        (tmp_path / "nnbench_written.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "nnbench_written", raising=False)
        monkeypatch.setattr(distributions, "missing", lambda _: list(requires))
        return plug.again("written", "nnbench_written")

    yield list_what
    sys.modules.pop("nnbench_written", None)


GONE = "ModuleNotFoundError: No module named 'nnbench_written.gone'; 'nnbench_written' is not a package"
ABSENT = "ModuleNotFoundError: No module named 'absent_library'"


@pytest.mark.parametrize(
    ("text", "requires", "fault"),
    [
        ("import absent_library", ["Absent-Library"], f"{ABSENT}: pip install Absent-Library"),
        (
            "import absent_library",
            [],
            f"{ABSENT}: install what has it, and let the plugin require that",
        ),
        (
            "import nnbench_written.gone",
            [],
            f"{GONE}: pip install --force-reinstall nnbench-written",
        ),
        ("raise SystemExit('no')", [], "SystemExit: no"),
        ("x = 1 +", [], "SyntaxError: invalid syntax (nnbench_written.py, line 1)"),
        (
            "from nnbench import hookimpl\n@hookimpl\ndef nnbench_backend(): return []",
            [],
            "unknown hook 'nnbench_backend' in plugin ",
        ),
        (
            "from nnbench import hookimpl\n@hookimpl\ndef nnbench_backends(spec): return []",
            [],
            "Plugin 'written' for hook 'nnbench_backends' hookimpl definition: ",
        ),
        (
            "from nnbench import hookimpl\ndef __dir__(): raise OSError('not today')",
            [],
            "OSError: not today",
        ),
    ],
)
def test_plugin_that_cannot_be_loaded_is_left_out(written, text, requires, fault):
    listing, told = written(text, *requires)
    assert len(told) == 1
    assert told[0].startswith(f"plugin 'written' of nnbench-written 1.0 is left out: {fault}")
    assert "\n" not in told[0]
    assert (listing.backends, brought(listing)) == ([], {})
    assert listing.workloads  # what ships
    if "@hookimpl" in text:  # nothing of it stays registered
        assert not catalog.manager().has_plugin("written")


@pytest.mark.parametrize("kind", ["backend", "workload", "dataset or folder", "executor"])
def test_who_asks_for_what_is_left_out_is_told_why(written, kind):
    written("import absent_library", "absent")
    reason = f"plugin 'written' of nnbench-written 1.0 is left out: {ABSENT}: pip install absent"
    with pytest.raises(NnbenchError) as raised:
        catalog.find(kind, "written", {"other": 1})
    assert str(raised.value) == f"no {kind} named 'written': {reason}"
    with pytest.raises(NnbenchError) as raised:
        catalog.find(kind, "mine", {"other": 1})
    may = f"it may be brought by what could not be loaded: {reason}"
    assert str(raised.value) == f"no {kind} named 'mine'; known: other; {may}"
    with pytest.raises(NnbenchError) as raised:
        catalog.find(kind, "othe", {"other": 1})
    assert str(raised.value) == f"no {kind} named 'othe'; did you mean other? known: other"


@pytest.mark.filterwarnings("ignore::nnbench.contract.errors.PluginWarning")
def test_who_asks_for_a_faulty_backend_is_told_of_its_fault(plug):
    faulty = changed(BACKEND, "device", "mps")
    also = changed(changed(BACKEND, "name", "also"), "summary", None)
    plug(name="garden", backends=[also, faulty, also, changed(BACKEND, "name", "able")])
    with pytest.raises(NnbenchError) as raised:
        catalog.find("backend", "mine", catalog.backends())
    start = "no backend named 'mine': plugin 'garden' of nnbench-garden 1.0 is left out"
    fault = "device is 'mps', and must be 'cpu' or 'cuda'"
    assert str(raised.value) == f"{start}: backend 'mine': {fault}"
    with pytest.raises(NnbenchError, match=r"^no backend named 'theano'; known: able$"):
        catalog.find("backend", "theano", catalog.backends())


def test_who_leaves_a_plugin_out_is_reminded(plug, monkeypatch):
    monkeypatch.setenv("NNBENCH_PLUGINS", "no:mine")
    plug(backends=[BACKEND])
    with pytest.raises(NnbenchError, match=r"is left out: NNBENCH_PLUGINS leaves it out$"):
        catalog.find("backend", "mine", catalog.backends())
    with pytest.raises(NnbenchError, match=r"^no backend named 'theano'; known: $"):
        catalog.find("backend", "theano", catalog.backends())


# Whatever has no fault can be told to other processes

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.text(max_size=5), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.just(NOTHING),
    st.builds(
        Option,
        default=st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()),
        help=st.text(max_size=3),
    ),
)
PROBABLE = {
    "libraries": st.lists(st.text("a-._1 ", max_size=4), max_size=2).map(tuple),
    "environment": st.lists(st.text("A_=1 ", max_size=4), max_size=2).map(tuple),
    "device": st.sampled_from(["cpu", "cuda", "mps"]),
    "options": st.dictionaries(st.text("a_1 ", max_size=3), ANYTHING, max_size=2),
    "create": st.text("ab.:", max_size=6),
}


@given(st.data())
def test_backend_without_a_fault_crosses_a_pipe(data):
    name = data.draw(st.sampled_from([*faults.hints(Backend)]))
    value = data.draw(st.one_of(ANYTHING, PROBABLE.get(name, ANYTHING)))
    backend = changed(BACKEND, name, value)
    if flaws.why_faulty("backends", backend) is None and not callable(value):
        item = catalog._item(backend)
        assert msgspec.json.decode(msgspec.json.encode(item), type=BackendItem) == item
