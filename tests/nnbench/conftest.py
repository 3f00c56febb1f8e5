"""Fixtures for the harness: small folders of IDX files, cells made by hand, and the command."""

from __future__ import annotations

import gzip
import os
import signal
import sys
import warnings
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest

from nnbench import catalog
from nnbench.cli import main
from nnbench.cli.signals import CODES
from nnbench.execution import listing
from nnbench.execution.listing import relied_on
from nnbench.records.cells import CellResult, Deviations, Epoch, Part, Phases, Proof, Setup, Status
from nnbench.records.runs import Environment, Machine, Point, RunInfo
from nnbench.runs import planning, store
from tests.cells import points_of_toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nnbench import Workload
    from nnbench.catalog.listings import Listing

PIXELS = (4, 5)
CLASSES = 3
EPOCH_IMAGES = 100


def _idx_bytes(items: np.ndarray) -> bytes:
    """Return an IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, items.ndim]) + np.array(items.shape, ">u4").tobytes()
    return header + items.astype(np.uint8).tobytes()


def _write_folder(
    folder: Path,
    *,
    train: Sequence[int] = [0, 1, 2] * 20,
    test: Sequence[int] = [0, 1, 2] * 10,
    test_pixels: tuple[int, int] = PIXELS,
    zipped: bool = False,
    call: Callable[[str], str] = str,
) -> Path:
    """Write four IDX files, called as MNIST's or otherwise; a class has a bright pixel of its own."""
    folder.mkdir(exist_ok=True)
    splits = {"train": (train, PIXELS), "t10k": (test, test_pixels)}
    for prefix, (labels, pixels) in splits.items():
        images = np.random.default_rng(len(labels)).integers(0, 50, (len(labels), *pixels))
        for image, label in zip(images, labels, strict=True):
            image.flat[label % image.size] = 255
        for name, items in (("images-idx3", images), ("labels-idx1", np.array(labels))):
            content, path = _idx_bytes(items), folder / call(f"{prefix}-{name}-ubyte")
            if zipped:
                path, content = path.with_name(f"{path.name}.gz"), gzip.compress(content)
            path.write_bytes(content)
    return folder


def _make_cell(
    backend: str = "numpy",
    *,
    train_s: float = 1.0,
    images: int = EPOCH_IMAGES,
    accuracies: Sequence[float | None] = (0.9,),
    losses: Sequence[float | None] = (2.0, 1.0),
    **changes: Any,
) -> CellResult:
    """Make a cell with an epoch for each accuracy, each of the same time and images."""
    epochs = [
        Epoch(
            number=number,
            images=images,
            train_s=train_s,
            losses=list(losses),
            test_loss=0.5,
            accuracy=accuracy,
            evaluate_s=0.1,
        )
        for number, accuracy in enumerate(accuracies, start=1)
    ]
    setup = Setup(
        setup_s=0.25,
        transfer_s=0.125,
        warmup_s=0.5,
        epoch_images=EPOCH_IMAGES,
        parameters=1,
        thread_pools={},
    )
    result = CellResult(
        backend=backend,
        workload="mnist",
        round=0,
        seed=0,
        threads=1,
        position=0,
        started="2026-01-02T03:04:05Z",
        wall_s=2.0,
        status="ok",
        setup=setup,
        epochs=epochs,
        phases=Phases(
            gather_us=[1.0, 2.0, 30.0],
            feedforward_us=[10.0],
            backprop_us=[20.0],
            update_us=[5.0],
        ),
        peak_memory_bytes=50_000_000,
        complete=True,
        deviation=1e-7,
        tolerance=1e-4,
        proof=_make_proof(),
    )
    found = replace(result, **changes)
    status = msgspec.convert(found.status, Status)
    if status is Status.OK and not found.complete:
        status = Status.BUDGET
    return replace(found, status=status)


def _make_failed(backend: str = "numpy", status: str = "crashed", **changes: Any) -> CellResult:
    """Make a cell that has measured nothing."""
    nothing = dict.fromkeys(["setup", "phases", "peak_memory_bytes", "deviation", "proof"])
    return _make_cell(
        backend, accuracies=(), status=status, complete=False, **{**nothing, **changes}
    )


def _make_proof(mode: str = "full", **changes: Any) -> Proof:
    """Make the proof of a training of ten steps, all of them, or as its arguments say."""
    given = {"proved": 10, "trained": 10, **changes}
    deviations = Deviations(loss=1e-7, displacement=1e-6, first=2e-7, second=3e-7)
    tolerance = Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5)
    found = {"deviations": deviations, "tolerance": tolerance, **given}
    return msgspec.convert({"mode": mode, **found}, Proof)


ENVIRONMENT = Environment(
    cpu="A CPU",
    physical_cores=None,
    logical_cores=2,
    usable_cores=2,
    memory_bytes=2**30,
    gpus=["A GPU"],
    system="Linux",
    python="CPython 3.11",
    versions={"nnbench": "0.1", "numpy": "2.0"},
    git=None,
)


def _make_info(*backends: str, **changes: Any) -> RunInfo:
    info = RunInfo(
        started="2026-01-02T03:04:05Z",
        command="nnbench run",
        points=[Point(workload=catalog.workloads()["mnist"], threads=1)],
        backends=dict.fromkeys(backends or ("numpy",), "a summary"),
        baseline="numpy",
        rounds=1,
        seed=0,
        proof="full",
        budget_s=15.0,
        timeout_s=300.0,
        machines={"local": Machine(environment=ENVIRONMENT)},
    )
    return alter(info, **changes)


def alter(info: RunInfo, **changes: Any) -> RunInfo:
    """Return a run with other values, those of its point and its machine among them."""

    def own(kind: type) -> dict[str, Any]:
        return {f.name: changes.pop(f.name) for f in fields(kind) if f.name in changes}

    [point], [(name, machine)] = info.points, info.machines.items()
    points, machines = [replace(point, **own(Point))], {name: replace(machine, **own(Machine))}
    return replace(info, points=points, machines=machines, **changes)


@pytest.fixture
def write_run(tmp_path):
    """Give a function that writes a run to disk and returns its folder."""

    def write(*cells, name="run", **changes):
        labels = dict.fromkeys(cell.backend for cell in cells)
        folder = tmp_path / name
        store.create(folder, _make_info(*labels, **changes))
        for cell in cells:
            store.append(folder, cell)
        return folder

    return write


@pytest.fixture
def write_sweep(tmp_path):
    """Give a function that writes a run at three points: seconds of each backend at each of them."""

    def write(name="sweep", points=None, rounds=4, **seconds):
        points = points or points_of_toy(4, 8, 16)
        folder = tmp_path / name
        info = _make_info(*seconds, rounds=rounds, baseline=next(iter(seconds)))
        store.create(folder, replace(info, points=[*points]))
        for number in range(rounds):
            for index, point in enumerate(points):
                for backend, own in seconds.items():
                    cell = _make_cell(
                        backend,
                        train_s=own[index] * (1 + number / 1000),
                        round=number,
                        point=index,
                        workload=point.workload.name,
                    )
                    store.append(folder, cell)
        return folder

    return write


class Ended(NamedTuple):
    """How the command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def idx_bytes():
    """Give a function that turns an array into the content of an IDX file."""
    return _idx_bytes


@pytest.fixture(scope="session")
def write_folder():
    """Give a function that writes a small dataset as a folder of IDX files."""
    return _write_folder


@pytest.fixture
def folder(tmp_path):
    """Give a small dataset: 60 and 30 images of 4 × 5 pixels, three classes."""
    return _write_folder(tmp_path / "shapes")


@pytest.fixture(scope="session")
def make_cell():
    """Give a function that makes a cell that went well, or as its arguments say."""
    return _make_cell


@pytest.fixture(scope="session")
def in_turns():
    """Give a function that has each epoch of a cell made of parts: seconds and images, a turn each."""

    def take_turns(cell, parts, first=0):
        made = [
            Part(train_s=s, images=images, turn=i) for i, (s, images) in enumerate(parts, first)
        ]
        return replace(cell, epochs=[replace(epoch, parts=made) for epoch in cell.epochs])

    return take_turns


@pytest.fixture(scope="session")
def make_failed():
    """Give a function that makes a cell without any figures."""
    return _make_failed


@pytest.fixture(scope="session")
def make_proof():
    """Give a function that makes what the judge has found of a cell."""
    return _make_proof


@pytest.fixture(scope="session")
def make_straying():
    """Give a function that makes rounds of numpy and of others, each so many points more accurate."""

    def make(rounds: int = 3, *, numpy: dict[str, Any] | None = None, **points: float) -> list[Any]:
        by_backend = {"numpy": 0.0, **points}
        return [
            _make_cell(
                backend,
                round=number,
                seed=number,
                train_s=1 + number / 100,
                accuracies=(round(0.96 + 0.0007 * number + more / 100, 4),),
                test_images=10_000,
                **((numpy or {}) if backend == "numpy" else {}),
            )
            for number in range(rounds)
            for backend, more in by_backend.items()
        ]

    return make


@pytest.fixture(scope="session")
def make_info():
    """Give a function that describes a run of some backends."""
    return _make_info


@pytest.fixture(scope="session")
def mnist() -> Workload:
    """Give the workload that ships with nnbench."""
    return catalog.workloads()["mnist"]


@cache
def _listed(_: frozenset[tuple[str, str]]) -> Listing:
    """List the plugins that are found in an environment, which is this process's."""
    with relied_on() as found:
        return found


@contextmanager
def _rely_again(meanwhile: Callable[[], object] = lambda: None) -> Iterator[Listing]:
    """Rely on what was listed before, if the environment was the same: each listing takes a process."""
    meanwhile()
    changes = {"PYTEST_CURRENT_TEST"}
    known = _listed(frozenset(pair for pair in os.environ.items() if pair[0] not in changes))
    with catalog.relying_on(known):
        yield known


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Give a function that runs the command in this process, in a folder of its own."""
    monkeypatch.setattr(listing, "relied_on", _rely_again)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, *CODES)}
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main replaces it
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nnbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            main()
        code = raised.value.code
        return Ended(int(code or 0), *capsys.readouterr())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def plain_file(tmp_path):
    """Give a regular file; nobody, not even root, can make a folder below it."""
    path = tmp_path / "file"
    path.write_text("text")
    return path


@pytest.fixture(name="alter", scope="session")
def give_alter():
    """Give a function that returns a run with other values, its machine's among them."""
    return alter


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keep what is kept of a machine in a folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def machine(make_info):
    """Give a machine."""
    return make_info().environment


@pytest.fixture
def plan_toy():
    """Give a function that plans one round of the toy, on the backends that a user named."""

    def plan(*backends):
        return planning.plan(
            command="nnbench run",
            backends=backends,
            workload="toy-sigmoid",
            overrides={},
            rounds=1,
            seed=0,
            threads=1,
            budget=1.0,
            timeout=60.0,
            baseline=None,
        ).info

    return plan
