"""``nnbench run --resume``: what a kill, a full disk or a second run has left is finished."""

import csv
import subprocess
import sys

import pytest

from nnbench.data import seeding
from nnbench.runs import store
from tests.cells import read_final
from tests.plugins.helpers import NNBENCH, alone, environment, nnbench, wait_until

TOY = ["run", "-w", "toy-sigmoid"]
REFUSED = "nnbench: error: "
TABLES = ["accuracy.csv", "accuracy.md", "timing.csv", "timing.md"]
ON_A_SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, resource.RLIM_INFINITY))
from nnbench.cli import main
main()
"""


def cells(folder):
    return [(c.round, c.backend, c.position, c.status) for c in read_final(folder)]


def kill_when(condition, command, env):
    """Start a command, and kill it as hard as one can when a condition comes true."""
    nowhere = subprocess.DEVNULL
    with subprocess.Popen([*NNBENCH, *command], env=env, stdout=nowhere, stderr=nowhere) as process:
        wait_until(condition)
        process.kill()


@pytest.fixture
def call_here(call, monkeypatch, pytestconfig):
    """Give a function that runs the command in this process, where the finished run was started."""
    monkeypatch.chdir(pytestconfig.invocation_params.dir)
    return call


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Run one backend to the end; return how the command ended, and its folder."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = nnbench(*TOY, "-b", "numpy", "-r", "1", "-o", folder, env=environment())
    return done, folder


def test_killed_run_is_finished(tmp_path):
    folder, env, names = tmp_path / "run", alone("faulty"), ["steady", "changes-parameters"]
    command = [*TOY, "-b", ",".join(names), "-r", "2", "--seed", "0", "-o", str(folder)]
    written = folder / store.CELLS
    kill_when(lambda: written.exists() and b"\n" in written.read_bytes(), command, env)
    kept = cells(folder)
    done = nnbench("run", "--resume", folder, env=env)
    assert done.returncode == 0
    assert done.stdout.endswith(f"Results: {folder}\n")
    assert 0 < len(kept) < 4
    assert len(done.stderr.splitlines()) == (2 if len(kept) >= 2 else 4)  # whole blocks
    order = [seeding.block_order(names, seed) for seed in range(2)]
    assert cells(folder) == [
        (round_, backend, position, "ok")
        for round_, block in enumerate(order)
        for position, backend in enumerate(block)
    ]
    with (folder / "timing.csv").open(newline="") as file:
        rounds = {row["backend"]: row["rounds"] for row in csv.DictReader(file)}
    assert rounds == dict.fromkeys(names, "2")


def test_torn_line_is_a_warning_of_one_line(finished_run, tmp_path):
    _, folder = finished_run
    copy = tmp_path / "run"
    copy.mkdir()
    for name in (store.RUN, store.CELLS):
        (copy / name).write_bytes((folder / name).read_bytes())
    with (copy / store.CELLS).open("ab") as file:
        file.write(b'{"backend":')
    done = nnbench("run", "--resume", copy, env=environment())
    text = f"{copy / store.CELLS}: the last line is torn, as by a kill, and left out"
    assert (done.returncode, done.stderr) == (0, f"nnbench: warning: {text}\n")
    assert cells(copy) == cells(folder)


def test_finished_run_is_shown_again(call_here, finished_run):
    done, folder = finished_run
    files = [folder / name for name in (*TABLES, store.RUN, store.CELLS)]
    before = [file.read_bytes() for file in files]
    (folder / "timing.md").unlink()
    assert call_here("run", "--resume", folder) == (0, done.stdout, "")
    assert [file.read_bytes() for file in files] == before


def test_exit_code_knows_which_backends_were_named(tmp_path):
    folder, env = tmp_path / "run", alone("faulty")
    asked = ["-b", "steady,unavailable-in-create", "-r", "1", "--require-all", "-o", folder]
    done = nnbench(*TOY, *asked, env=env)
    again = nnbench("run", "--resume", folder, env=env)
    assert (done.returncode, again.returncode) == (4, 4)


def test_full_disk_is_one_line_and_loses_no_finished_cell(tmp_path):
    folder = tmp_path / "run"
    command = [*TOY, "-b", "numpy", "-r", "2", "-o", str(folder)]
    command = [sys.executable, "-c", ON_A_SMALL_DISK, *command]
    env = environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    *shown, message = done.stderr.splitlines()
    what = f"cannot write to {folder / store.CELLS}: File too large"
    way_out = "raise the limit of a file's size, or choose another place; the cells before are kept"
    assert message == f"{REFUSED}{what}; {way_out}"
    assert len(cells(folder)) == len(shown) == 1
    assert nnbench("run", "--resume", folder, env=env).returncode == 0
    assert len(cells(folder)) == 2


@pytest.mark.parametrize(
    "options",
    [["-r", "3"], ["--quick"], ["--backends", "all"], ["-o", "x"], ["--timeout", "300"]],
)
def test_other_options_are_refused(call, tmp_path, options):
    code, stdout, stderr = call("run", "--resume", tmp_path, *options)
    text = "--resume goes on as planned, and takes no options but --progress and --dry-run"
    assert (code, stdout, stderr) == (2, "", f"{REFUSED}{text}\n")


def test_folder_without_a_run_is_refused(call, tmp_path):
    code, stdout, stderr = call("run", "--resume", tmp_path)
    text = f"{tmp_path} holds no run (run.json: No such file or directory)"
    assert (code, stdout, stderr) == (2, "", f"{REFUSED}{text}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["--output", "--resume"])
def test_second_run_at_once_is_refused(call_here, finished_run, tmp_path, way):
    _, finished = finished_run
    folder, others = (finished, []) if way == "--resume" else (tmp_path / "new", TOY[1:])
    before = (finished / store.CELLS).read_bytes()
    with store.hold(folder):
        done = call_here("run", way, folder, *others, "--no-progress")
        assert [path.name for path in (tmp_path / "new").glob("*")] in ([], [store.LOCK])
    assert done == (2, "", f"{REFUSED}{folder} is in use by another run\n")
    assert (finished / store.CELLS).read_bytes() == before
