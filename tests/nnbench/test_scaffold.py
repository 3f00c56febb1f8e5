"""``nnbench new`` writes a plugin that works as it is."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nnbench import NnbenchError, distributions, scaffold
from tests.plugins.helpers import environment, nnbench

EXAMPLE = Path(__file__).parents[2] / "examples" / "nnbench-example"
NAME = "my-backend"
CACHES = {"__pycache__", ".pytest_cache", ".benchmarks", ".ruff_cache", ".mypy_cache"}


def contents(folder):
    """Read every file but what Python and its tools leave behind."""
    written = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in written if not CACHES & set(path.parts)]
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in kept}


def as_installed(folder, name, package):
    """Return an environment in which the plugin is found, as an installer would arrange it."""
    info = folder / f"{package}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nnbench-{name}\nVersion: 0.1.0\n")
    [(key, module)] = metadata(folder)["entry-points"]["nnbench"].items()
    (info / "entry_points.txt").write_text(f"[nnbench]\n{key} = {module}\n")
    return environment(PYTHONPATH=str(folder))


def metadata(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return scaffold.create(NAME, tmp_path_factory.mktemp("new") / "plugin")


@pytest.fixture(scope="module")
def env(plugin):
    return as_installed(plugin, NAME, "nnbench_my_backend")


def test_the_kept_example_is_what_new_writes(tmp_path):
    written = scaffold.create("example", tmp_path / "example")
    assert contents(EXAMPLE) == contents(written)


def test_the_new_backend_is_listed(env):
    done = nnbench("list", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\n  {NAME} " in done.stdout


def test_the_new_backend_runs_as_in_the_recipe(plugin, env, tmp_path):
    recipe = (plugin / ".github/workflows/ci.yml").read_text("utf-8")
    [own] = re.findall(r"^  WORKLOAD: (.+)$", recipe, re.MULTILINE)
    [line] = re.findall(r"- run: nnbench (.+)$", recipe, re.MULTILINE)
    words = shlex.split(line.replace("$WORKLOAD", own))
    done = nnbench(*words, "--budget", 0.5, "--output", tmp_path / "run", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f" {NAME} ") >= 2  # in the accuracy and the timing table


def test_the_recipe_fails_where_its_workload_does_not_fit(plugin):
    [line] = re.findall(r"nnbench run .+", contents(plugin)[".github/workflows/ci.yml"])
    assert "--require-all" in line.split()


def test_no_field_of_the_template_is_left(plugin):
    found = set(re.findall(r"\$(\{\{.*?\}\}|\w+|.)", "".join(contents(plugin).values())))
    assert found == {
        *("{{ matrix.python }}", "NNBENCH", "WORKLOAD", "GITHUB_BASE_REF", "GITHUB_STEP_SUMMARY"),
        *("code", "?", " "),  # of a shell, whose prompt is the last one
    }


def test_the_metadata_fits_nnbench_itself(plugin):
    ours = tomllib.loads((EXAMPLE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    theirs = metadata(plugin)
    assert theirs["requires-python"] == ours["requires-python"]
    assert f"nnbench-harness>={ours['version']}" in theirs["dependencies"]
    assert theirs["name"] == f"nnbench-{NAME}"


@pytest.mark.parametrize("name", ["", "Foo", "1st", "a_b", "a--b", "a-", "../a", "all", "é"])
def test_a_name_that_cannot_be_one_is_refused(name, tmp_path):
    with pytest.raises(NnbenchError, match="cannot name a backend"):
        scaffold.create(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("numpy", "backend named 'numpy'"),
        ("torch", "plugin named 'torch'"),
        ("harness", "distribution named 'nnbench-harness'"),
        ("gone", "module named 'nnbench_gone'"),
    ],
)
def test_a_name_that_is_taken_is_refused(name, taken, tmp_path, monkeypatch):
    (tmp_path / "nnbench_gone.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NnbenchError, match=f"a {taken} is installed already"):
        scaffold.create(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_summary_follows_the_library(plugin):
    path = plugin / "nnbench_my_backend" / "__init__.py"
    text = path.read_text("utf-8")
    assert text.count("numpy") == 1  # so that who replaces it has replaced it everywhere
    scope: dict[str, Any] = {}
    exec(text.replace("numpy", "autograd"), scope)
    [backend] = scope["nnbench_backends"]()
    assert backend.requires == backend.libraries == ("autograd",)
    assert "autograd" in backend.summary
    assert "NumPy" not in backend.summary


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "new"
    with pytest.raises(NnbenchError, match=f"^cannot write to {re.escape(str(folder))}: "):
        scaffold.create(NAME, folder)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(NnbenchError, match="is not empty"):
        scaffold.create(NAME, tmp_path)
    assert contents(tmp_path) == {"mine.txt": "precious"}


def test_an_empty_folder_is_filled(tmp_path):
    assert scaffold.create(NAME, tmp_path / ".").samefile(tmp_path)
    assert "nnbench_my_backend/network.py" in contents(tmp_path)


def test_the_command_says_what_comes_next(tmp_path):
    done = nnbench("new", NAME, "--directory", tmp_path / "new", env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"nnbench test {NAME}" in done.stdout
    again = nnbench("new", NAME, "--directory", tmp_path / "new", env=environment())
    assert again.returncode == 2
    assert again.stderr.startswith("nnbench: error: ")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (["nnbench-harness @ git+https://host/x@abc"], "nnbench-harness @ git+https://host/x@abc"),
        (["--editable", "/src"], "nnbench-harness @ git+https://HOST/OWNER/nnbench"),
        (["nnbench-harness==0.7"], "nnbench-harness"),
    ],
)
def test_the_recipe_installs_nnbench_from_where_this_one_came_from(
    tmp_path, monkeypatch, own, expected
):
    monkeypatch.setattr(distributions, "own_requirement", lambda: own)
    written = contents(scaffold.create(NAME, tmp_path / "new"))
    assert f'NNBENCH: "{expected}"\n' in written[".github/workflows/ci.yml"]


@pytest.mark.parametrize("name", ["nnbench mine", "it's", "$(date)"])
def test_commands_can_be_typed(call, tmp_path, name):
    done = call("new", "mine", "--directory", tmp_path / name)
    assert done.code == 0
    commands = [shlex.split(line) for line in done.stdout.splitlines()[1:]]
    assert ["pip", "install", "--editable", str(tmp_path / name)] in commands
