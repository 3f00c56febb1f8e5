"""``nnbench profile``."""

import json
import pstats

import msgspec
import pytest

from nnbench.worker.profiled import CALLGRIND, PROF, TOP, TRACE, Line


@pytest.fixture
def profile(call, tmp_path):
    """Give a function that profiles a moment of a backend's training on the toy."""

    def run(backend, *words):
        moment = ["--workload", "toy-sigmoid", "--seconds", "0.05"]
        return call("profile", backend, *moment, "--output", str(tmp_path / "new/x"), *words)

    return run


def test_calls_are_counted_and_no_run_is_made(profile, tmp_path):
    done = profile("numpy", "--with", "cprofile")
    assert (done.code, done.stderr) == (0, "")
    folder = tmp_path / "new/x"
    assert {path.name for path in folder.iterdir()} == {CALLGRIND, PROF, TOP}
    top = msgspec.json.decode((folder / TOP).read_bytes(), type=list[Line])
    assert top == sorted(top, key=lambda line: -line.seconds)
    names = {line.name.rpartition("(")[2]: line for line in top}
    assert names["feedforward)"].calls == names["update)"].calls > 1
    assert not any("warm_up" in name or "counters" in name for name in names)
    assert len(pstats.Stats(str(folder / PROF)).get_stats_profile().func_profiles) > 1
    written = (folder / CALLGRIND).read_text()
    assert all(f"fn={line.name}\n" in written for line in top)
    lines = done.stdout.splitlines()
    assert lines[0] == "Where the time of numpy on toy-sigmoid went"
    assert top[0].name in done.stdout
    assert "no time to compare with others" in lines[-3]
    assert lines[-2].startswith(f"{folder / CALLGRIND}: https://www.speedscope.app")
    again = profile("numpy", "--with", "cprofile")
    assert (again.code, again.stderr.count("\n")) == (2, 1)
    assert "already holds a profile" in again.stderr


def test_parts_and_phases_are_spans_of_torch(profile, tmp_path):
    pytest.importorskip("torch")
    done = profile("torch-eager")
    assert (done.code, done.stderr) == (0, "")
    trace = json.loads((tmp_path / "new/x" / TRACE).read_bytes())
    spans = [e["name"] for e in trace["traceEvents"] if e.get("cat") == "user_annotation"]
    phases = {name: spans.count(name) for name in ("batch", "feedforward", "backprop", "update")}
    assert len({*phases.values()}) == 1
    assert 1 <= phases["update"] <= 200
    assert any(name.startswith("part 1: ") for name in spans)
    assert "aten::" in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nobody"], "no backend named 'nobody'"),
        (["all"], "all is not one backend"),
        (["numpy,python"], "numpy,python is not one backend"),
        (["numpy", "--with", "torch"], "numpy does not use PyTorch"),
        (["numpy", "--seconds", "0"], "'--seconds': 0 is not a positive number"),
        (["numpy", "--workload", "nothing"], "no workload named 'nothing'"),
        (["sklearn", "--with", "cprofile"], "sklearn: MLPClassifier has no squared error"),
    ],
)
def test_what_cannot_be_profiled_is_one_line_and_leaves_nothing(profile, tmp_path, words, text):
    if words[0] == "sklearn":
        pytest.importorskip("sklearn")
    done = profile(*words)
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert text in done.stderr
    assert not (tmp_path / "new/x").exists()


def test_folder_of_a_run_is_refused(profile, tmp_path):
    (tmp_path / "new/x").mkdir(parents=True)
    (tmp_path / "new/x/run.json").touch()
    done = profile("numpy", "--with", "cprofile")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "already holds a run" in done.stderr
