"""The tutorial's code works as it is pasted, and fails as the pages say."""

import ast
import re
from importlib.util import find_spec

import pytest

from nnbench import scaffold
from nnbench.contract.errors import ExitCode
from nnbench.testing.subject import REQUIRE, required
from tests.documents import ROOT
from tests.nnbench.test_scaffold import as_installed
from tests.plugins.helpers import nnbench

TUTORIAL, SUITE = (
    (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    for name in ("adding-a-backend", "conformance")
)
NAME = "autograd"
QUICK = "not (workload or memory or fresh or synchronize)"


def section(page, title):
    """Return the part of a page below a title."""
    return re.split(r"^#+ ", page.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text, language):
    """Return the code in a part of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def paste(source, code, owner=None):
    """Put functions into a module, or methods into its class, in the place of their namesakes."""
    lines = source.splitlines()
    indent = "    " if owner else ""
    tree = ast.parse(source)
    scope = next(n for n in tree.body if isinstance(n, ast.ClassDef)) if owner else tree
    old = {node.name: node for node in scope.body if isinstance(node, ast.FunctionDef)}
    end = scope.body[-1].end_lineno
    changes = []
    for node in ast.parse(code).body:
        text = code.splitlines()[node.lineno - 1 : node.end_lineno]
        new = [f"{indent}{line}" if line else line for line in text]
        gone = old.get(node.name)
        changes.append((gone.lineno - 1, gone.end_lineno, new) if gone else (end, end, ["", *new]))
    for start, stop, new in sorted(changes, key=lambda change: change[:2], reverse=True):
        lines[start:stop] = new
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def pasted(tmp_path_factory):
    """Follow the tutorial: give the module of the network, and an environment that finds the plugin."""
    if find_spec(NAME) is None:
        if NAME in required():
            pytest.fail(f"{NAME} is required ({REQUIRE})")
        pytest.skip(f"{NAME} is not installed")
    folder = scaffold.create(NAME, tmp_path_factory.mktemp("tutorial") / "plugin")
    env = as_installed(folder, NAME, "nnbench_autograd")
    [library] = blocks(section(TUTORIAL, "2. Say what it needs"), "python")
    listed = folder / "nnbench_autograd" / "__init__.py"
    written, count = re.subn(
        r'^LIBRARY = "numpy".*\n', library, listed.read_text("utf-8"), flags=re.MULTILINE
    )
    assert count == 1
    listed.write_text(written, "utf-8")
    methods, functions, imports = blocks(section(TUTORIAL, "3. Train with the library"), "python")
    network = folder / "nnbench_autograd" / "network.py"
    source = paste(network.read_text("utf-8"), functions)
    source = paste(source, methods, owner="AutogradNetwork")
    source, count = re.subn(r"^import numpy as np\n", imports, source, flags=re.MULTILINE)
    assert count == 1
    network.write_text(source, "utf-8")
    return network, env


def test_the_tutorials_code_is_right_as_pasted(pasted):
    _, env = pasted
    done = nnbench("test", NAME, "--", "-k", QUICK, env=env)
    assert (done.returncode, done.stderr) == (ExitCode.OK, ""), done.stdout
    assert "skipped" not in done.stdout
    assert "autograd" in nnbench("list", env=env).stdout.partition(f"  {NAME} ")[2].splitlines()[0]


def output(page, title):
    """Return the command in the first example of a section, and the whole lines that it prints."""
    command, *lines = blocks(section(page, title), "console")[0].splitlines()
    return command.removeprefix("$ ").split(maxsplit=2), {x for x in lines if "…" not in x}


def with_mistake(module, old, new):
    """Make a mistake in a module; return its text as it was."""
    right = module.read_text("utf-8")
    assert right.count(old) == 1
    module.write_text(right.replace(old, new), "utf-8")
    return right


def test_a_mistake_in_it_is_named_as_the_tutorial_shows(pasted):
    network, env = pasted
    right = with_mistake(network, "-np.mean(log_softmax", "-np.sum(log_softmax")
    try:
        done = nnbench("test", NAME, "--", "-k", "loss_matches or match_the or mnist]", env=env)
    finally:
        network.write_text(right, "utf-8")
    assert done.returncode == ExitCode.ACCURACY
    (*_, tested), lines = output(TUTORIAL, "When a check fails")
    assert tested == NAME
    assert len(lines) == 3
    assert lines <= {*done.stdout.splitlines()}


def test_a_mistake_is_named_as_the_page_about_the_suite_shows(tmp_path):
    folder = scaffold.create("mine", tmp_path / "plugin")
    with_mistake(folder / "nnbench_mine" / "network.py", " / np.float32(len(logits))", "")
    (*_, chosen), lines = output(SUITE, "Reading a failure")
    keywords = chosen.removeprefix("mine -- -k ").strip('"')
    env = as_installed(folder, "mine", "nnbench_mine")
    done = nnbench("test", "mine", "--", "-k", keywords, env=env)
    assert done.returncode == ExitCode.ACCURACY
    assert len(lines) == 3
    assert lines <= {*done.stdout.splitlines()}
