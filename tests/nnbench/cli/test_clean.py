"""``nnbench clean``: what is listed is what goes, and nothing else."""

import fcntl

import pytest

from nnbench.contract.errors import ExitCode
from nnbench.proof import kept
from nnbench.runs import store


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Give a user's cache with something of each kind in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "nnbench"
    for name in ("environments/abc-1", "environments/def-2", "inductor", "native"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(bytes(2048))
    for name in ("abc-1.lock", "abc-1.log", "failed-3.lock", "failed-3.log"):
        (folder / "environments" / name).write_bytes(bytes(1024))
    return folder


@pytest.fixture
def run(make_info, tmp_path):
    """Give the folder of a run with kept states."""
    where = tmp_path / "run"
    store.create(where, make_info("numpy"))
    (where / kept.FOLDER).mkdir()
    (where / kept.FOLDER / "0-numpy-0.npy").write_bytes(bytes(3 << 20))
    return where


def test_everything_is_listed_and_nothing_removed(call, cache, run):
    done = call("clean", str(run))
    assert (done.code, done.stderr) == (0, "")
    assert "3.00 MiB" in done.stdout
    assert done.stdout.count("abc-1") == 1
    assert "4.00 KiB" in done.stdout  # with its log and its lock
    for name in ("abc-1", "def-2", "failed-3", "inductor", "native", str(run / kept.FOLDER)):
        assert name in done.stdout
    assert "the same with --remove" in done.stdout
    assert (cache / "native" / "file").exists()
    assert (run / kept.FOLDER).exists()


def test_what_is_listed_goes_and_results_stay(call, cache, run, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (cache / "native" / "link").symlink_to(outside)
    done = call("clean", "--remove", str(run))
    assert (done.code, done.stderr) == (0, "")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == []
    assert not (run / kept.FOLDER).exists()
    assert (run / store.RUN).exists()
    assert outside.read_text() == "mine"


@pytest.mark.usefixtures("cache")
def test_run_that_is_named_twice_goes_once(call, run):
    done = call("clean", "--remove", str(run), str(run / ".." / run.name))
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.count("3.00 MiB") == 1
    assert not (run / kept.FOLDER).exists()


def test_an_environment_that_is_being_built_stays(call, cache):
    with (cache / "environments" / "abc-1.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = call("clean", "--remove")
    assert done.code == ExitCode.USAGE
    assert done.stderr.endswith("abc-1 is being built by another nnbench\n")
    assert (cache / "environments" / "abc-1" / "file").exists()


def test_nothing_left_is_said(call, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert call("clean").stdout == "nothing is left to clean\n"


@pytest.mark.usefixtures("cache")
def test_states_of_a_run_that_goes_on_stay(call, run):
    with store.hold(run):
        done = call("clean", "--remove", str(run))
    assert done.code == ExitCode.USAGE
    assert "in use by another run" in done.stderr
    assert (run / kept.FOLDER).exists()


def test_folder_without_a_run_is_refused_before_anything_goes(call, cache, tmp_path):
    done = call("clean", "--remove", str(tmp_path))
    assert done.code == ExitCode.USAGE
    assert "holds no run" in done.stderr
    assert (cache / "native" / "file").exists()
