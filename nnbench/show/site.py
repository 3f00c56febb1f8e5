"""A site: static pages of all runs in some folders, which any server of files can serve, and the same as numbers.

Below its folder stand ``index.html`` and ``index.json``, ``runs/`` with the page of each run, and ``history/``. The same runs give the same
bytes, wherever they lie. The page of a run that is there is not made again, if the run and what makes pages are as they were.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from nnbench import distributions, files
from nnbench.contract import DISTRIBUTION
from nnbench.contract.errors import ResultsError
from nnbench.figures.columns import MISSING, Table, column, is_known, plain, value
from nnbench.records.site import BoardEntry, CourseEntry, Index, RunEntry, StandingEntry, Versioned
from nnbench.runs import leaderboard, store
from nnbench.runs.commits import DIRTY
from nnbench.runs.sweep import Sweep
from nnbench.show import page
from nnbench.show.exports import encode
from nnbench.show.text import Sheet, bytes_text, count, sheet, strays, times_as_fast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nnbench.runs.folders import AtPoint
    from nnbench.runs.leaderboard import Board, Course, Leaderboard, Standing
    from nnbench.runs.run import Run

INDEX, HOME = "index.json", "index.html"
#: Of a page, below the folder of the site; nothing else is ever removed there.
PAGE = re.compile(r"(runs|history)/[\w.=+-]+\.html", re.ASCII)
PACKAGE = Path(__file__).parents[1]
SOURCES = {".py", ".j2", ".css", ".js"}
#: What decides how a page is made, besides the sources.
PROGRAM = (DISTRIBUTION, "altair", "jinja2", "vl-convert-python")
SHORT = 7  #: characters of a commit
LONGEST_NAME = 100  #: characters of a page's, without its suffix
COLUMNS = (
    *("backend", "speedup", "speedup_interval", "device", "verdict", "accuracy"),
    *("train_s_per_epoch", "proof"),
)
#: What a row of the tables has of the index.
FIGURES = (
    *("backend", "speedup", "speedup_low", "speedup_high", "verdict", "no_rank", "accuracy"),
    *("accuracy_stdev", "train_s_per_epoch", "precision", "steps_proved", "steps_trained"),
    *("rounds", "device", "peak_memory_bytes", "training_memory_bytes", "device_memory_bytes"),
    "energy_j_per_epoch",
)


class Made(NamedTuple):
    """What came of a site."""

    runs: int
    pages: int  #: of runs, that were made now
    notes: list[str]


def make(paths: Iterable[Path], folder: Path) -> Made:
    """Write the site of the runs in some folders.

    Parameters
    ----------
    paths
        Each is a run, or holds runs.
    folder
        Where; it is made, or holds nothing, or a site, whose pages of runs that are gone are removed.

    Raises
    ------
    ResultsError
        If there are no runs, or the folder cannot be written, or holds something else.
    """
    files.check_folder(folder)
    site = _Site(folder)
    board = leaderboard.collect(paths, site.open, site.keep)
    site.finish(board)
    return Made(len(board.runs), site.drawn, board.notes)


class _Site:
    """A site that is being made.

    A run is opened once; its page is written at once, so that no more than one is in memory. The index comes last: whatever it links is
    there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = program()
        self.before = self._before()
        self.names = _Names()
        self.drawn = 0
        self._runs: dict[Path, RunEntry] = {}
        self._page: bytes | None = None  # of the run that was opened last, if it is to be written

    def _before(self) -> Index | None:
        """Return the index that is there; None if it is of another version, or there is none.

        Raises
        ------
        ResultsError
            If the folder holds something else.
        """
        with files.named(self.folder):
            is_new = not self.folder.exists() or not any(self.folder.iterdir())
        if is_new:
            return None
        try:
            content = files.read_regular(self.folder / INDEX)
            msgspec.json.decode(content, type=Versioned)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            text = f"{self.folder} is not empty, and holds no site of nnbench; choose another place"
            raise ResultsError(text) from error
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(content, type=Index)
        return None

    def open(self, at: AtPoint) -> Run:
        """Open a point of a run, and make the run's page if there is none that would be the same."""
        run = leaderboard.open_lazily(at)
        self._page = None
        if at.folder not in self._runs:
            self._runs[at.folder] = self._entry(at.folder)
        return run

    def keep(self, at: AtPoint) -> None:
        """Write the page of the run that was opened, if it was made."""
        if self._page is not None:
            self._write(self._runs[at.folder].page, self._page)
            self.drawn += 1

    def _entry(self, folder: Path) -> RunEntry:
        """Return what the index has of a run, once its page is made."""
        info, digest = store.read_info(folder), _digest(folder)
        name = self.names.make(folder.resolve().name)
        path = f"runs/{name}.html"
        page_digest = self._known(path, digest)
        if not page_digest:
            self._page = _draw(Sweep(info, folder=folder))
            page_digest = hashlib.sha256(self._page).hexdigest()
        return RunEntry(
            name=name,
            page=path,
            started=info.started,
            workloads=[*dict.fromkeys(point.workload.name for point in info.points)],
            threads=[*dict.fromkeys(point.threads for point in info.points)],
            baseline=info.baseline,
            backends=[*info.backends],
            rounds=info.rounds,
            versions=info.versions,
            commit=info.environment.git,
            sha256=digest,
            page_sha256=page_digest,
        )

    def _known(self, path: str, digest: str) -> str:
        """Return the digest of the page that is there, if it is as it would be made now."""
        if self.before is None or self.before.made_by != self.program:
            return ""
        for entry in self.before.runs:
            if (entry.page, entry.sha256) == (path, digest):
                with suppress(OSError):
                    content = files.read_regular(self.folder / path)
                    if hashlib.sha256(content).hexdigest() == entry.page_sha256:
                        return entry.page_sha256
        return ""

    def finish(self, board: Leaderboard) -> None:
        """Write what is not of a single run, the index last, and remove what was there before and is gone."""
        known = {folder: self._runs[folder] for folder in board.runs}
        names = _Names()
        courses = []
        for course in board.courses:
            path = None
            if course.history:
                name = names.make(f"{course.workload.name}-{course.threads}")
                path = f"history/{name}.html"
                self._write(path, page.render_history(course.history, home=f"../{HOME}").encode())
            courses.append(_course(course, known, path))
        entries = sorted(known.values(), key=lambda entry: (entry.started, entry.name))
        index = Index(made_by=self.program, courses=courses, runs=entries)
        self._write(HOME, render(board, index).encode())
        self._write(INDEX, encode(index))
        self._remove({*_pages(index)})

    def _write(self, name: str, content: bytes) -> None:
        """Write a file below the folder."""
        path = self.folder / name
        with files.named(path):
            self._begin()
            path.parent.mkdir(exist_ok=True)
            files.write_whole(path, content)

    def _begin(self) -> None:
        """Have the folder be one of a site, which a later call goes on with if this one is ended."""
        if (self.folder / INDEX).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            empty = Index(made_by={}, courses=[], runs=[])
            files.write_whole(self.folder / INDEX, encode(empty))
        except OSError:
            with suppress(OSError):
                self.folder.rmdir()
            raise

    def _remove(self, kept: set[str]) -> None:
        """Remove pages that the index before had, that this run has made for nothing, and that nothing links now."""
        made = {entry.page for entry in self._runs.values()}
        made.update(_pages(self.before) if self.before else ())
        for name in made - kept:
            if PAGE.fullmatch(name):
                with files.named(self.folder / name, "remove"):
                    (self.folder / name).unlink(missing_ok=True)


def _pages(index: Index) -> Iterator[str]:
    """Yield the pages that an index links."""
    yield from (entry.page for entry in index.runs)
    yield from (course.history for course in index.courses if course.history)


class _Names:
    """Names that files may have everywhere, each given once."""

    def __init__(self) -> None:
        self._taken = set[str]()

    def make(self, text: str) -> str:
        """Return a name like a text; those that are alike get a number."""
        base = re.sub(r"[^\w.=+-]+", "-", text, flags=re.ASCII).strip(".")[:LONGEST_NAME] or "run"
        name, number = base, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name.lower())
        return name


def _draw(run: Sweep) -> bytes:
    """Return the page of a run."""
    with warnings.catch_warnings():
        # It was said when the run was opened, and stands on the page.
        warnings.simplefilter("ignore", files.TornLineWarning)
        return page.render([run], home=f"../{HOME}").encode()


def program() -> dict[str, str]:
    """Return what makes pages: nnbench and its sources, and the libraries that draw."""
    found = hashlib.sha256()
    for path in sorted(path for path in PACKAGE.rglob("*") if path.suffix in SOURCES):
        found.update(path.read_bytes())
    return {**distributions.versions(PROGRAM), "sources_sha256": found.hexdigest()}


def _digest(folder: Path) -> str:
    """Return the SHA-256 of what a run has on disk, which was read before, and so has an end."""
    found = hashlib.sha256(files.read_regular(folder / store.RUN))
    with suppress(FileNotFoundError), files.open_regular(folder / store.CELLS) as file:
        while content := file.read(files.READ_AT_ONCE):
            found.update(content)
    return found.hexdigest()


def render(board: Leaderboard, index: Index) -> str:
    """Return the page that links all others."""
    infos = board.runs.values()
    days = sorted(info.started[:10] for info in infos)
    courses = [
        {
            "title": f"{entry.workload}, {count(entry.threads, 'thread')}",
            "headline": _headline(entry),
            "trained": _trained(entry),
            "boards": [
                {
                    "machine": each.machine,
                    "where": _hardware(each),
                    "sheet": own,
                    "remarks": _remarks(each),
                }
                for each, names in zip(course.boards, entry.boards, strict=True)
                for own in [_standings(course, each, [one.run for one in names.standings])]
            ],
            "history": quote(entry.history or ""),
            "runs": _runs([known[name] for name in reversed(entry.runs)]),
            "runs_title": count(len(entry.runs), "run"),
        }
        for known in [{entry.name: entry for entry in index.runs}]
        for course, entry in zip(board.courses, index.courses, strict=True)
    ]
    return page.make(
        "site.html.j2",
        has_charts=False,
        home="",
        colors={},
        heading=f"{count(len(days), 'run')}, {days[0]} to {days[-1]}",
        courses=courses,
        links={entry.name: quote(entry.page) for entry in index.runs},
        index=INDEX,
    )


def _headline(entry: CourseEntry) -> str:
    """Say who is the fastest: on each hardware, if there are several."""
    said = []
    for board in entry.boards:
        best, where = board.standings[0], f" on {board.machine}" if entry.boards[1:] else ""
        if best.speedup is None or best.no_rank:
            continue
        if best.backend == entry.baseline:
            said.append(f"nobody is faster than {best.backend}{where}")
        else:
            said.append(f"{best.backend} is {times_as_fast(best, entry.baseline)}{where}")
    return "; ".join(said) or "nobody has a rank"


def _trained(entry: CourseEntry) -> str:
    """Say what is behind the name of a workload, which a derived one's summary does not."""
    size = "all examples" if entry.batch_size is None else f"{entry.batch_size:,}"
    return f"{count(entry.epochs, 'epoch')} in batches of {size}"


def _standings(course: Course, board: Board, runs: Iterable[str]) -> Sheet:
    """Return the best standings as text, each with its run."""
    info = replace(board.standings[0].info, baseline=course.baseline)
    own = [plain(name, name) for name in ("run", "date", "version")]
    figures = [each.row for each in board.standings]
    first, speedup, interval, *others = (
        column(info, name) for name in COLUMNS if is_known(name, figures)
    )
    columns = [first, page.with_interval(speedup, interval), *others]
    rows = [
        SimpleNamespace(
            **vars(each.row) | {"run": run, "date": each.info.started[:10]},
            version=_version(each),
        )
        for each, run in zip(board.standings, runs, strict=True)
    ]
    title = (
        f"Times as fast as {course.baseline}; a backend in the run in which it is surely fastest"
    )
    return sheet(Table(title, [*columns, *own]), rows)


def _version(standing: Standing) -> str:
    """Return the version of what brings a backend, nnbench's own without its name, and the commit of whoever ran it, shortened."""
    commit = standing.info.environment.git or ""
    short = commit[:SHORT] + DIRTY * commit.endswith(DIRTY)
    return f"{_brought(standing).removeprefix(DISTRIBUTION)} {short}".strip()


def _brought(standing: Standing) -> str:
    """Return the version of the distribution that brings a backend; of older runs, which do not say, nnbench's."""
    info, label = standing.info, standing.row.backend
    if label in info.plugins:
        return info.plugins[label]
    return f"{DISTRIBUTION} {info.environment.packages.get(DISTRIBUTION, '')}".strip()


def _hardware(board: Board) -> str:
    """Say what machines are made of."""
    e = board.environment
    cores = e.physical_cores or e.logical_cores
    parts = [e.cpu, count(cores, "core") if cores else "", bytes_text(e.memory_bytes), *e.gpus]
    return ", ".join(filter(None, parts))


def _remarks(board: Board) -> list[str]:
    """Say why backends have no rank, and which accuracies are findings."""
    found = []
    for row in (each.row for each in board.standings):
        if row.message and row.no_rank:
            found.append(f"{row.backend}: {row.status}: {row.message}")
        if stray := strays(row):
            found.append(f"{row.backend}: {stray}")
    return found


def _runs(entries: Iterable[RunEntry]) -> Sheet:
    """Return runs as text."""
    headings = ["run", "date", "n", "baseline", "backends", "commit"]
    rows = [
        [
            *(entry.name, entry.started[:10], str(entry.rounds), entry.baseline),
            *(", ".join(entry.backends), entry.commit or MISSING),
        ]
        for entry in entries
    ]
    return Sheet("The newest first", headings, rows)


def _course(course: Course, runs: Mapping[Path, RunEntry], history: str | None) -> CourseEntry:
    """Return what the index has of a course."""
    workload = course.workload
    return CourseEntry(
        workload=workload.name,
        summary=workload.summary,
        batch_size=workload.batch_size,
        epochs=workload.epochs,
        threads=course.threads,
        baseline=course.baseline,
        history=history,
        runs=[runs[folder].name for folder in course.runs],
        boards=[
            BoardEntry(
                machine=board.machine,
                cpu=board.environment.cpu,
                physical_cores=board.environment.physical_cores,
                logical_cores=board.environment.logical_cores,
                memory_bytes=board.environment.memory_bytes,
                gpus=board.environment.gpus,
                standings=[_standing(each, runs[each.folder].name) for each in board.standings],
            )
            for board in course.boards
        ],
    )


def _standing(standing: Standing, run: str) -> StandingEntry:
    """Return what the index has of a standing."""
    row, info = standing.row, standing.info
    return StandingEntry(
        **{name: value(row, name) for name in FIGURES},
        run=run,
        started=info.started,
        version=_brought(standing),
        commit=info.environment.git,
        runs=standing.runs,
    )
