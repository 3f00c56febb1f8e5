"""Profilers: what is asked of them, and what is read of what they write."""

import json
import os
import sys
from dataclasses import replace

import pytest

from nnbench import catalog, selection
from nnbench.cli.profile import PROFILERS
from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.execution import profiling
from nnbench.execution.profiling import CProfile, Perf, PySpy, Torch
from nnbench.records.cells import Status
from nnbench.worker.profiled import TOP, callgrind

#: Stands for py-spy and perf: says that it has begun, and writes a file when it is interrupted.
PROGRAM = """#!{python} -IS
import os, signal, sys
if sys.argv[1:] == ["begins"]:
    signal.signal(signal.SIGINT, lambda *_: (open({file!r}, "w").close(), os._exit(0)))
    print("have begun", flush=True)
    signal.pause()
print("nobody is there\\n", file=sys.stderr)
"""


@pytest.fixture
def program(tmp_path):
    """Give a command that starts the stand-in, and the file that it writes."""
    path, file = tmp_path / "program", tmp_path / "written"
    path.write_text(PROGRAM.format(python=sys.executable, file=str(file)))
    path.chmod(0o755)
    return str(path), file


def explain(said):
    return f"no: {said.decode().strip()}"


def test_command_line_offers_every_profiler():
    assert (*profiling.PROFILERS,) == PROFILERS


def test_profiler_from_outside_writes_what_it_saw_when_the_training_is_over(program):
    command, file = program
    with profiling._attached([command, "begins"], b"have begun", explain):
        assert not file.exists()
    assert file.exists()


def test_profiler_that_does_not_begin_is_one_line(program):
    command, _ = program
    with (
        pytest.raises(NnbenchError, match=r"^no: nobody is there$"),
        profiling._attached([command], b"have begun", explain),
    ):
        pytest.fail("it has not begun")


def test_profiler_from_outside_ends_with_whatever_ends_the_training(program):
    command, file = program
    with (
        pytest.raises(KeyboardInterrupt),
        profiling._attached([command, "begins"], b"have begun", explain),
    ):
        raise KeyboardInterrupt
    assert not file.exists()


def test_py_spy_s_stacks_are_counted_by_their_top(tmp_path):
    frames = [
        {"name": "train", "file": "/x/mine/network.py", "line": 3, "col": None},
        {"name": "sgemm", "file": "/x/libblas.so", "line": 0, "col": None},
        {"name": "idle"},
    ]
    one = {"samples": [[0], [0, 1], [0, 1], [2], []], "weights": [0.1, 0.2, 0.3, 0.4, 0.5]}
    content = {"shared": {"frames": frames}, "profiles": [one, one]}
    (tmp_path / profiling.SPEEDSCOPE).write_text(json.dumps(content))
    lines = {line.name: line.seconds for line in PySpy().lines(tmp_path)}
    assert lines == pytest.approx(
        {"mine/network.py:3(train)": 0.2, "sgemm (libblas.so)": 1.0, "idle": 0.8, "?": 1.0}
    )


def test_perf_s_stacks_are_counted_by_their_top(tmp_path):
    sample = "python 12 2022.05: 1001001 cpu-clock:ppp: \n\t  3eb1 {}+0x7 (/x/lib (1).so)\n\t 2 main+0x1 (/x/python)\n\n"
    stacks = [sample.format("gemm"), sample.format("gemm"), sample.format("exp(float, int)")]
    (tmp_path / profiling.PERF_TEXT).write_text("".join(stacks))
    lines = {line.name: line.seconds * profiling.PER_SECOND for line in Perf().lines(tmp_path)}
    assert lines == pytest.approx({"gemm (lib (1).so)": 2, "exp(float, int) (lib (1).so)": 1})


@pytest.mark.parametrize("profiler", [CProfile, Torch, PySpy, Perf])
@pytest.mark.parametrize("content", [None, b"{", b'{"shared": 1, "profiles": []}'])
def test_what_cannot_be_read_is_one_line(tmp_path, profiler, content):
    if content is not None and profiler is Perf:
        pytest.skip("any text has as many stacks as it has")
    for name in (TOP, profiling.SPEEDSCOPE):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ResultsError, match=f"^{profiler.name} has left nothing that can be read"):
        profiling._lines(profiler(), tmp_path)


def test_program_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(profiling, "where_is", lambda _: None)
    numpy = catalog.backends()["numpy"]
    with pytest.raises(NnbenchError, match=r"^py-spy is not installed: pip install .*\[profile\]"):
        PySpy().require(numpy)
    with pytest.raises(NnbenchError, match=r"^perf is not installed: "):
        Perf().require(numpy)


def test_profiler_of_torch_is_for_backends_on_torch(monkeypatch):
    known = catalog.backends()
    with pytest.raises(NnbenchError, match=r"^numpy does not use PyTorch"):
        Torch().require(known["numpy"])
    monkeypatch.setattr(profiling, "find_spec", lambda _: None)
    with pytest.raises(NnbenchError, match=r"^PyTorch is not installed: pip install .*\[torch\]"):
        Torch().require(known["torch-cpu"])


@pytest.mark.parametrize(
    ("backend", "is_there", "known", "chosen"),
    [
        ("torch-cpu", True, True, Torch),
        ("numpy", True, True, PySpy),
        ("numpy", False, True, CProfile),
        ("numpy", True, False, CProfile),
    ],
)
def test_profiler_that_shows_most_is_chosen(monkeypatch, backend, is_there, known, chosen):
    monkeypatch.setattr(profiling, "where_is", lambda _: "/it" if is_there else None)
    monkeypatch.setattr(profiling, "KNOWN", known)
    assert isinstance(profiling.choose(catalog.backends()[backend]), chosen)


@pytest.mark.parametrize(
    ("scope", "said", "told"),
    [
        ("1", b"Permission denied (os error 13)", "--cap-add SYS_PTRACE"),
        ("2", b"Operation not permitted", "sudo sysctl kernel.yama.ptrace_scope=1"),
        ("0", b"first\nError: no python here\n\n", "py-spy has not begun: Error: no python here"),
        ("0", b"", "py-spy has not begun: it said nothing"),
    ],
)
def test_why_py_spy_may_not_look(tmp_path, scope, said, told):
    path = tmp_path / profiling.YAMA
    path.parent.mkdir(parents=True)
    path.write_text(f"{scope}\n")
    text = profiling.may_not_look(said, tmp_path)
    assert text.endswith(told)
    assert "\n" not in text


@pytest.mark.parametrize(
    ("level", "user", "said", "told"),
    [
        ("4", 1000, b"anything", "sudo sysctl kernel.perf_event_paranoid=2"),
        ("2", 1000, b"Operation not permitted", "--cap-add PERFMON"),
        ("4", 0, b"no such event", "perf has not begun: no such event"),
        ("", 0, b"x", "perf has not begun: x"),
    ],
)
def test_why_perf_may_not_record(tmp_path, monkeypatch, level, user, said, told):
    path = tmp_path / profiling.PARANOID
    path.parent.mkdir(parents=True)
    path.write_text(f"{level}\n")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert profiling.may_not_record(said, tmp_path).endswith(told)


def test_perf_that_may_not_record_is_refused_before_the_training(monkeypatch):
    monkeypatch.setattr(profiling, "where_is", lambda _: "/bin/false")
    with pytest.raises(NnbenchError, match=r"^perf "):
        Perf().require(catalog.backends()["numpy"])


def test_calls_are_written_as_callgrind_has_them():
    train, matmul = ("/x/mine/network.py", 3, "train"), ("~", 0, "<matmul>")
    outside = ("/x/a\nb.py", 9, "main")
    statistics = {
        train: (2, 2, 1e-3, 3e-3, {outside: (2, 2, 1e-3, 3e-3)}),
        matmul: (4, 4, 2e-3, 2e-3, {train: (4, 4, 2e-3, 2e-3)}),
    }
    blocks = callgrind(statistics).split("\n\n")
    assert blocks[0].splitlines() == ["# callgrind format", "events: ns"]
    assert blocks[1].splitlines() == [
        *("fl=/x/mine/network.py", "fn=mine/network.py:3(train)", "3 1000000"),
        *("cfi=~", "cfn=<matmul>", "calls=4 0", "3 2000000"),
    ]
    assert blocks[2].splitlines() == ["fl=~", "fn=<matmul>", "0 2000000"]
    assert blocks[3].splitlines()[1:3] == [
        "fn=x/a b.py:9(main)",
        "9 0",
    ]  # it was never returned from


def test_cell_that_fails_ends_as_a_run_does():
    assert profiling._failure("mine", Status.SKIPPED, "too small").exit_code == 2
    assert profiling._failure("mine", Status.CRASHED, "x").exit_code == 4


@pytest.mark.parametrize("profiler", [PySpy, Perf])
def test_profilers_that_are_installed_see_a_training(tmp_path, profiler):
    try:
        profiler().require(catalog.backends()["numpy"])
    except NnbenchError as error:
        pytest.skip(str(error))
    [chosen] = selection.parse(["numpy"])
    toy = replace(catalog.workloads()["toy-sigmoid"], hidden=(256, 256))
    made = profiling.run(chosen, toy, profiler(), tmp_path / "x", threads=1, seconds=0.3)
    assert made.images >= 5
    assert made.lines[0].seconds > 0
    assert all((tmp_path / "x" / name).stat().st_size for name in profiler.files)
