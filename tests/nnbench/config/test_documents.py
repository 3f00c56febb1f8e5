"""Lines of keys: in these documents, every integer is the number of the line that it is on."""

import tomllib

import pytest

from nnbench.config.documents import MOST_LINES, line_of

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


def test_line_is_not_looked_for_in_a_huge_document():
    longest = "\n" * (MOST_LINES - 1) + "a = 1"
    assert line_of(longest, ("a",)) == MOST_LINES
    assert line_of("\n" + longest, ("a",)) is None
