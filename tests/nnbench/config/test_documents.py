"""Lines of keys: in these documents, every integer is the number of the line that it is on."""

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbench.config import documents
from nnbench.config.documents import line_of
from tests import nasty

DOCUMENTS = {
    "plain": "a = 1\n\nb = 3  # c = 4\n",
    "comments": "# a = 1\n# [t]\nb = 3 # ] } = , \" ' \nc = 4",
    "tables": "a = 1\n[t]\na = 3\n[t.u]\na = 5\n[ v . 'w x' ]\na = 7\n",
    "dotted": 'a.b = 1\na . "c.d" . e = 2\n[t]\nu.v.w = 4\n',
    "quoted": '"a = b" = 1\n\'[t]\' = 2\n["x]" . \'y#\']\n"\\u0061\\"]" = 4\n"" = 5\n',
    "inline": "a = { b = 1, c.d = 1, e = { f = 1, g = [1, { h = 1 }] } }\ni = 2\nj = {}\n",
    "arrays": "a = [\n  2, # [ 9,\n  3,\n  [4, [4]],\n  { b = 5 },\n  \"]\", '[',\n]\nb = 8\nc = []\n",
    "strings": 'a = """\nb = 9\n[t]\\"""\n"""""\nc = 5\nd = \'\'\'\ne = 9\'\'\'\'\'\nf = 8\ng = ""\nh = 10\n',
    "numbers": "a = 1\nb = 1979-05-27 07:32:00\nc = +1.5e-3\nd = 4\ne = 07:32:00.5\nf = -inf\ng = 7\n",
    "array of tables": "[[a]]\nb = 2\n[[a]]\nb = 4\n[a.c]\nd = 6\n[[a.e]]\n[[a.e]]\nf = 9\n[g]\nh = 11",
    "Windows": "a = 1\r\n[t]\r\nb = 3\r\nc = '''\r\n'''\r\nd = 6\r\n",
    "nothing": "",
}


def leaves(value, path=()):
    """Yield every path in a document with its value."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*path, key), item
        yield from leaves(item, (*path, key))


@pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - {"nothing"}))
def test_lines_are_those_of_the_keys(name):
    source = DOCUMENTS[name]
    numbered = {path: item for path, item in leaves(tomllib.loads(source)) if type(item) is int}
    assert len(numbered) >= 2
    assert {path: line_of(source, path) for path in numbered} == numbered


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_has_a_line_and_no_other(name):
    source = DOCUMENTS[name]
    assert all(line_of(source, path) for path, _ in leaves(tomllib.loads(source)))
    assert [line_of(source, path) for path in [(), ("z",), ("a", "z"), ("a", 99)]] == [None] * 4


def test_line_of_a_value_that_goes_on_is_its_first():
    source = 'a = """\n\n"""\nb = [\n1\n]\n'
    assert [line_of(source, path) for path in [("a",), ("b",), ("b", 0)]] == [1, 4, 5]


def test_table_is_where_it_is_named_first():
    source = "[t.u]\nx = 1\n[t]\ny = 2\n"
    assert [line_of(source, path) for path in [("t",), ("t", "u"), ("t", "y")]] == [1, 1, 4]


@pytest.mark.parametrize(("most", "line"), [(212, 10), (211, None)])
def test_line_is_not_looked_for_where_that_takes_long(monkeypatch, most, line):
    monkeypatch.setattr(documents, "MOST_PARSED", most)  # of 3, 7, …, 35 and 41 characters
    assert line_of("# x\n" * 9 + "a = 1", ("a",)) == line


def test_line_in_a_long_document_is_given_up():
    assert line_of("\n" * 200_000 + "b = 1", ("b",)) is None


DEEPEST = documents.DEEPEST
NESTED = {
    "key": lambda depth: ".".join("a" * depth) + " = 1",
    "quoted key": lambda depth: ".".join(['"a"'] * depth) + " = 1",
    "spaced key": lambda depth: " . ".join("a" * depth) + " = 1",
    "table": lambda depth: f"[{'.'.join('a' * (depth - 1))}]",
    "tables": lambda depth: f"[[{'.'.join('a' * (depth - 2))}]]",
    "brackets": lambda depth: f"a = {'[' * (depth - 1)}{']' * (depth - 1)}",
    "lines": lambda depth: "a = " + "[\n" * (depth - 1) + "]\n" * (depth - 1),
    "braces": lambda depth: f"a = {'{a = ' * (depth - 1)}1{'}' * (depth - 1)}",
    "both": lambda depth: f"a.a = {{a.a = {'[' * (depth - 4)}1{']' * (depth - 4)}}}",
}


@pytest.mark.parametrize("kind", NESTED)
def test_document_is_as_deep_as_it_may_be(monkeypatch, kind):
    source = "b = 1\n" + NESTED[kind](DEEPEST)
    assert documents.parse(source) == tomllib.loads(source)
    monkeypatch.setattr(tomllib, "loads", None)  # to which nothing deeper comes
    with pytest.raises(ValueError, match=r"more than 32 deep in one another \(at line \d"):
        documents.parse("b = 1\n" + NESTED[kind](DEEPEST + 1))


def test_document_is_as_long_as_it_may_be(monkeypatch):
    longest = "#" + "x" * (documents.LARGEST - 1)
    assert documents.parse(longest) == {}
    monkeypatch.setattr(tomllib, "loads", None)
    with pytest.raises(ValueError, match=r"^it has more than 262,144 characters$"):
        documents.parse(longest + "x")


BRACKETS = "[{." * 50
STRINGS = [
    f"'{BRACKETS}'",
    f'"{BRACKETS}"',
    f'"\\"{BRACKETS}\\\\"',
    f"'''{BRACKETS}\n{BRACKETS}'''",
    f'"""{BRACKETS}\n"{BRACKETS}""{BRACKETS}\\"""{BRACKETS}"""',
    f'""""{BRACKETS}"""""',
    f"''''{BRACKETS}'''''",
    f'"""\\\n{BRACKETS}"""',
]
ONLY_LOOKS_DEEP = [
    f"# {BRACKETS}",
    *(f"a = {string}\nb = [{string}, {string}] # {BRACKETS}" for string in STRINGS),
    f'"{BRACKETS}" = 1',
    f"['{BRACKETS}']",
    f"a = 1 # '{BRACKETS}\nb = 'c' # {BRACKETS}",
    "a = [\n" + "  1.5,\n" * 100 + "]",
    "a = [\n" + "  {b.c = 1.5, d.e = 07:32:00.5},\n" * 100 + "]",
    "".join(f"a.b.c{number} = 1.5\n" for number in range(100)),
    "[[a.b.c]]\n" * 100,
]


@pytest.mark.parametrize("source", ONLY_LOOKS_DEEP)
def test_what_only_looks_deep_is_read(source):
    assert documents.parse(source) == tomllib.loads(source)


#: Fewer of them than could be too deep.
PIECES = [*"[]{}.,=#\"'\\\n ", '"""', "'''", '\\"', "a", "b", "1", "a = ", "= 1\n", "[a]\n", "\r\n"]


@settings(max_examples=nasty.EXAMPLES or 200)
@given(st.lists(st.sampled_from(PIECES), max_size=DEEPEST - 1).map("".join))
def test_any_document_is_what_tomllib_makes_of_it(source):
    assert attempt(documents.parse, source) == attempt(tomllib.loads, source)


def attempt(parse, source):
    """Return what a document says, or None."""
    try:
        return parse(source)
    except tomllib.TOMLDecodeError:
        return None


QUOTED = st.text(" .[]{}#='\"\\a", max_size=5).map(json.dumps)
TREES = st.recursive(
    st.sampled_from(["1", "-1.5", "true", "1979-05-27", "07:32:00.5", "''", '""', *STRINGS]),
    lambda value: (
        st.lists(value, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(QUOTED, value, max_size=4).map(
            lambda table: f"{{{', '.join(f'{key} = {each}' for key, each in table.items())}}}"
        )
    ),
    max_leaves=20,
)


@settings(max_examples=nasty.EXAMPLES or 50)
@given(st.dictionaries(st.sampled_from("xyz") | QUOTED, TREES, max_size=5))
def test_any_document_that_is_right_is_read(table):
    source = "".join(f"{key} = {value} # {BRACKETS}\n" for key, value in table.items())
    assert documents.parse(source) == tomllib.loads(source)
