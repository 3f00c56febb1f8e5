"""A run's folder in which anything may stand: every command ends, with figures or with one line that says what is wrong."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.execution import fitness, machine
from nnbench.records.cells import Part
from nnbench.records.runs import Roof
from nnbench.runs import forecast, planning, store
from nnbench.show.charts import CHARTS
from nnbench.show.exports import FORMATS
from nnbench.show.text import duration
from tests import nasty

CONTROL = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e"} - {"\n"}
READ = [
    ["show", "RUN"],
    ["show", "RUN", "BASE", "--columns", "all"],
    *(["show", "RUN", "--format", name] for name in ("md", "csv", "json")),
    *(["compare", "RUN", "BASE", "--format", name] for name in ("md", "csv", "json")),
    [
        "compare",
        "BASE",
        "RUN",
        "--fail",
        "setup_s:5%",
        "--fail",
        "update_us:5%",
        "--fail",
        "accuracy:1pp",
    ],
    *(["export", "RUN", "--to", name, "-o", "exported"] for name in FORMATS),
    ["report", "RUN", "BASE", "-o", "page.html"],
    ["prove", "RUN"],
]
DRAWN = [["plot", "RUN", "-f", name, "-o", "x.svg"] for name in CHARTS]


pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings("default::nnbench.files.TornLineWarning"),
]


def slow(count):
    """Return settings for so many examples, of a test that starts anew with each."""
    return settings(
        max_examples=nasty.EXAMPLES or count,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory, make_info, make_cell, make_failed):
    """Give a run in turns, of two backends, one that crashed, and one that is unavailable."""
    folder = tmp_path_factory.mktemp("nasty") / "base"
    roof = Roof(device="cpu", threads=1, gflops=50.0, gb_per_s=10.0, libraries={"numpy": "2.0"})
    info = make_info(
        "numpy",
        "other",
        "bad",
        rounds=2,
        turns=True,
        roofs=[roof],
        unavailable={"gone": "no device"},
    )
    store.create(folder, info)
    for number in range(2):
        for backend, seconds in (("numpy", 1.0), ("other", 1.5)):
            cell = make_cell(
                backend, round=number, seed=number, train_s=seconds + number / 50, test_images=100
            )
            parts = [
                Part(images=50, train_s=seconds / 2, turn=turn, lead_images=1, lead_s=0.01)
                for turn in range(2)
            ]
            setup = replace(
                cell.setup, operations=1e6, traffic_bytes=1e5, recorded={"BLAS": "mine"}
            )
            epochs = [replace(epoch, parts=parts) for epoch in cell.epochs]
            store.append(
                folder,
                replace(cell, epochs=epochs, setup=setup, achieved_gflops=5.0, ceiling_gflops=50.0),
            )
    store.append(folder, make_failed("bad", message="killed by SIGSEGV", output="last words"))
    return folder


@st.composite
def spoilt(draw, folder):
    """Draw the two files of a run with one mistake in one of them."""
    run, *cells = [json.loads((folder / store.RUN).read_text())] + [
        json.loads(line) for line in (folder / store.CELLS).read_text().splitlines()
    ]
    place = draw(st.integers(0, len(cells)))
    if place == 0:
        return draw(nasty.mutations(run)), (folder / store.CELLS).read_bytes()
    written = [json.dumps(cell).encode() for cell in cells]
    written[place - 1] = draw(nasty.mutations(cells[place - 1]))
    return (folder / store.RUN).read_bytes(), b"".join(line + b"\n" for line in written)


def check(done, command):
    """Hold the end of a command against what users were told of it."""
    assert done.code in {*ExitCode} - {ExitCode.INTERNAL}, done
    lines = done.stderr.splitlines()
    if done.code == ExitCode.USAGE:
        assert lines[-1].startswith("nnbench: error: ")
        assert [line for line in lines if not line.startswith("nnbench: ")] == []
        assert done.stdout == ""
    is_data = "json" in command
    shown = done.stderr if is_data else done.stdout + done.stderr
    assert not CONTROL & set(shown)
    assert max(map(len, lines), default=0) < 20_000


def write(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in zip((store.RUN, store.CELLS), files, strict=True):
        (folder / name).write_bytes(content)


@pytest.fixture
def examine(base, call, tmp_path):
    """Give a function that has a command look at a spoilt run."""

    def look(files, command):
        write(tmp_path / "run", files)
        names = {"RUN": tmp_path / "run", "BASE": base}
        check(call(*(names.get(word, word) for word in command)), command)

    return look


def test_every_command_reads_it_as_it_is(examine, base):
    files = [(base / name).read_bytes() for name in (store.RUN, store.CELLS)]
    for command in READ:
        examine(files, command)


@slow(60)
@given(data=st.data())
def test_a_nasty_run_is_figures_or_one_line(examine, base, data):
    examine(data.draw(spoilt(base)), data.draw(st.sampled_from(READ)))


@slow(8)
@given(data=st.data())
def test_a_nasty_run_is_drawn_or_one_line(examine, base, data):
    examine(data.draw(spoilt(base)), data.draw(st.sampled_from(DRAWN)))


@slow(30)
@given(data=st.data())
def test_a_nasty_run_goes_on_or_is_one_line(base, data, tmp_path, monkeypatch):
    environment = store.read_info(base).environment
    monkeypatch.setattr(machine, "examine", lambda _: environment)
    monkeypatch.setattr(fitness, "warnings", lambda _: [])
    run, cells = data.draw(spoilt(base))
    write(tmp_path / "run", (run, cells))
    with suppress(NnbenchError):
        planning.resume(tmp_path / "run")


@slow(30)
@given(data=st.data())
def test_a_nasty_run_beside_one_to_come_tells_of_it_or_nothing(base, data, tmp_path):
    info, labels = store.read_info(base), ["numpy", "other"]
    write(tmp_path / "run", data.draw(spoilt(base)))
    found = forecast._look_up(info, tmp_path / "next", labels)
    outlook = forecast.Forecast(info, tmp_path, labels, 3, None, found)
    assert outlook.seconds is None or duration(outlook.seconds)


NO_FILES = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "endless": lambda path: os.truncate(os.open(path, os.O_WRONLY | os.O_CREAT), 1 << 40),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", [store.RUN, store.CELLS])
def test_what_is_no_file_is_one_line(call, base, tmp_path, name, kind):
    folder = shutil.copytree(base, tmp_path / "run")
    (folder / name).unlink()
    NO_FILES[kind](folder / name)
    done = call("show", folder)
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr


@pytest.mark.parametrize("name", [store.RUN, store.CELLS])
def test_what_is_too_deep_is_one_line(call, base, tmp_path, name):
    folder = shutil.copytree(base, tmp_path / "run")
    (folder / name).write_bytes(b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n")
    done = call("show", folder)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.endswith(" is damaged: it is nested too deeply\n")
