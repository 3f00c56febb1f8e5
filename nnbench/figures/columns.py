"""The tables of a run: names of columns, and how each writes its values.

``COLUMNS`` is the one place of a column, ``TABLES`` the one of a table, which is a list of names. Both
are cheap to import, so that the command line can offer the names.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from nnbench.figures.metrics import PHASES
from nnbench.records.cells import Deviations, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nnbench.contract.backend import Precision
    from nnbench.figures.axes import Setting
    from nnbench.records.cells import ProofMode
    from nnbench.records.runs import Roof, RunInfo

MISSING = "–"
USUAL: Precision = "float32"  #: class of products
SMALLEST_P = 0.001  #: that is written
BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 40  #: with more rounds, a bar is the median of several
MOST_ROUNDS = 20  #: that are written out; the CSV has all
Row = Any  # has a field for each column of its frame


class Column(NamedTuple):
    """A heading, how to write a row's value below it, and what it is made of."""

    name: str  #: as users type it
    heading: str  #: may name {baseline} and {target}
    text: Callable[[Row], str]
    fields: tuple[str, ...]  #: of the frame
    wraps: bool = False  #: words, on several lines if need be; not a figure
    drop: int = 0  #: on a narrow terminal 1 goes first, then 2; 0 stays
    on_request: bool = False  #: text only where it is named; CSV and JSON have it anyway


class Table(NamedTuple):
    """A table of some run: what stands above it, its columns, and its rows."""

    title: str
    columns: list[Column]
    name: str = ""  #: as users type it
    rows: Sequence[Row] = ()  #: of a frame
    kind: str = ""  #: of machines, if it is of those alone

    @property
    def shown(self) -> list[Column]:
        """The columns that it has as text."""
        return [column for column in self.columns if not column.on_request]


class Layout(NamedTuple):
    """A table of any run."""

    title: str  #: may name {baseline}, {floor}, {bars}, {roofs} and {load}
    names: tuple[str, ...]  #: of its columns
    drops: tuple[str, ...] = ()  #: columns that a narrow terminal has no room for, the first first


def value(row: Row, field: str) -> Any:
    """Return a field of a row, or None where it is missing."""
    found = getattr(row, field, None)
    return None if isinstance(found, float) and math.isnan(found) else found


def written(row: Row, field: str, spec: str = "", scale: float = 1) -> str:
    """Write a field of a row: words as they are, a figure by a format, or a dash where it is missing.

    Without a format, a figure has three significant digits.
    """
    match value(row, field):
        case None | "":
            return MISSING
        case str() as words:
            return words
        case number:
            return f"{number * scale:{spec}}" if spec else significant(number)


def plain(name: str, heading: str, spec: str = "", scale: float = 1, **look: bool) -> Column:
    """Return a column of the field of the same name."""
    text = partial(written, field=name, spec=spec, scale=scale)
    return Column(name, heading, text, (name,), **look)


def significant(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, and no exponent."""
    if value == 0:
        return "0"
    decimals = digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1])
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def _accuracy(row: Row) -> str:
    """Write the accuracy, with its spread over the rounds."""
    mean, spread = (written(row, name, ".2f", 100) for name in ("accuracy", "accuracy_stdev"))
    return mean if spread == MISSING else f"{mean} ± {spread}"


def _difference(row: Row) -> str:
    """Write by how many points the accuracy differs from the baseline's, with a sign."""
    return written(row, "difference", "+z.2f", 100)


def _accuracy_verdict(row: Row) -> str:
    """Write the verdict on the accuracy, or else that its class is another than the baseline's."""
    is_elsewhere = row.precision != USUAL and value(row, "difference") is not None
    return value(row, "accuracy_verdict") or (f"in {row.precision}" if is_elsewhere else MISSING)


def _reached(row: Row) -> str:
    """Write in how many rounds the target was reached."""
    count = written(row, "target_reached", ".0f")
    return count if count == MISSING else f"{count}/{row.rounds}"


def _epoch(row: Row) -> str:
    """Write the time of an epoch, marked where the budget cut the training short."""
    return ("~" if row.status == Status.BUDGET else "") + written(row, "train_s_per_epoch")


def _compared(row: Row, of: str) -> str:
    """Write a figure of a comparison, and of which devices it is if there are two."""
    figure, devices = written(row, of), value(row, "ratio_devices")
    return f"{figure} ({devices})" if devices and figure != MISSING else figure


def _comparison(name: str, heading: str, **look: bool) -> Column:
    """Return the column of a figure that compares, of the field of the same name."""
    fields = name, "ratio_devices"
    return Column(name, heading, partial(_compared, of=name), fields, **look)


def _interval(row: Row, of: str) -> str:
    """Write both ends of the interval of a figure."""
    low, high = (written(row, f"{of}_{end}") for end in ("low", "high"))
    return MISSING if low == MISSING else f"{low} to {high}"


def _interval_of(name: str, figure: str, **look: bool) -> Column:
    """Return the column of the interval of a figure."""
    ends = f"{figure}_low", f"{figure}_high"
    return Column(name, "95% interval", partial(_interval, of=figure), ends, **look)


def _rank(row: Row) -> str:
    """Write a rank, and the class of products within which it is one if that is not the usual one."""
    rank = written(row, "rank", "d")
    return rank if rank == MISSING or row.precision == USUAL else f"{rank} in {row.precision}"


def _proof(row: Row) -> str:
    """Write in a word whether the whole training was proved, else how much of it."""
    proved, trained = (value(row, name) for name in ("steps_proved", "steps_trained"))
    if not trained:
        return MISSING
    if proved >= trained:
        return "proved"
    return f"{proved * 100 // trained}%" if proved * 100 >= trained else "<1%" if proved else "none"


def _steps(row: Row) -> str:
    """Write how many steps were proved, of those trained."""
    proved, trained = (written(row, name, ",d") for name in ("steps_proved", "steps_trained"))
    if MISSING in {proved, trained}:
        return MISSING
    whole = "proved " if _proof(row) == "proved" else ""
    return f"{whole}{proved} of {trained}"


def _within(row: Row, kind: str) -> str:
    """Write a deviation, and the tolerance that it must keep."""
    found, limit = (value(row, f"{kind}_{name}") for name in ("deviation", "tolerance"))
    if found is None:
        return MISSING
    if not math.isfinite(found):
        return "not finite"
    return f"{found:.0e} of {limit:.0e}" if found else f"0 of {limit:.0e}"


def _verdict(row: Row) -> str:
    """Write the verdict, or else why there is none: no rank, or one in another class."""
    reason = row.no_rank or (f"in {row.precision}" if row.precision != USUAL else "")
    return value(row, "verdict") or reason or MISSING


def _phases(row: Row) -> str:
    """Write the sum of the phases, marked where it cannot be what a step was made of."""
    total = written(row, "phases_us", ",.0f")
    return f"{total} (own word)" if value(row, "phases_word") and total != MISSING else total


def _deviation_columns() -> Iterator[Column]:
    """Yield a column for each kind of deviation from the reference."""
    for kind in fields(Deviations):
        names = f"{kind.name}_deviation", f"{kind.name}_tolerance"
        heading = {"first": "1st moment", "second": "2nd moment"}.get(kind.name, kind.name)
        yield Column(names[0], heading, partial(_within, kind=kind.name), names)


def _times(row: Row) -> list[float]:
    text = getattr(row, "train_s_rounds", None)
    return [float(value) for value in text.split()] if isinstance(text, str) else []


def _every_round(row: Row) -> str:
    """Write the time of every round, or the range of many."""
    times = _times(row)
    if len(times) > MOST_ROUNDS:
        return f"{significant(min(times))} to {significant(max(times))}, {len(times):,} rounds"
    return " ".join(map(significant, times)) or MISSING


def _round_bars(row: Row) -> str:
    """Draw a bar for each round, or for the median of several where there are many."""
    times = _times(row)
    if len(times) <= MOST_BARS:
        return sparkline(times) if times else MISSING
    size = math.ceil(len(times) / MOST_BARS)
    bars = sparkline([median(times[i : i + size]) for i in range(0, len(times), size)])
    return f"{bars} ({size} rounds each)"


def _p_value(row: Row) -> str:
    """Write p; no evidence is so strong that it is zero."""
    p = value(row, "p_value")
    return f"< {SMALLEST_P}" if p is not None and p < SMALLEST_P else written(row, "p_value", ".3f")


def sparkline(values: Sequence[float]) -> str:
    """Draw a bar for each value: the lowest one at their minimum, the highest at their maximum.

    Values that are all equal have bars of medium height.
    """
    low, high, top = min(values), max(values), len(BARS) - 1
    if low == high:
        return BARS[top // 2] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * top)] for value in values)


COLUMNS = {
    column.name: column
    for column in (
        plain("backend", "backend", wraps=True),
        plain("device", "device"),
        Column("rank", "rank", _rank, ("rank", "precision")),
        plain("rounds", "n", "d"),
        plain("status", "status"),
        Column("accuracy", "accuracy %", _accuracy, ("accuracy", "accuracy_stdev")),
        Column(
            *("difference", "− {baseline}", _difference),
            ("difference", "difference_low", "difference_high", "difference_rounds"),
        ),
        Column("accuracy_verdict", "accuracy is", _accuracy_verdict, ("accuracy_verdict",)),
        plain("final_loss", "loss", ".4f"),
        Column("target_reached", "≥ {target}%", _reached, ("target_reached",)),
        plain("target_s", "after s"),
        plain("images", "images", ",.0f"),
        plain("deviation", "deviation", ".0e"),
        Column("train_s_per_epoch", "train s/epoch", _epoch, ("train_s_per_epoch",)),
        plain("images_per_s", "images/s", ",.0f"),
        _comparison("speedup", "times as fast"),
        _interval_of("speedup_interval", "speedup"),
        _comparison("ratio", "time × {baseline}", on_request=True),
        _interval_of("interval", "ratio", on_request=True),
        Column("verdict", "verdict", _verdict, ("verdict", "no_rank")),
        Column("proof", "proof", _proof, ("proof", "steps_proved", "steps_trained")),
        plain("precision", "products"),
        Column("steps_proved", "steps proved", _steps, ("steps_proved", "steps_trained")),
        *_deviation_columns(),
        plain("flips", "flips", ",d"),
        Column("train_s_rounds", "every round", _every_round, ("train_s_rounds",), wraps=True),
        Column("sparkline", "in order", _round_bars, ()),
        Column("p_value", "p", _p_value, ("p_value",)),
        plain("remarks", "remarks", wraps=True),
        plain("load_s", "load s"),
        plain("setup_s", "set-up s"),
        plain("transfer_s", "transfer s"),
        plain("warmup_s", "warm-up s"),
        plain("peak_memory_bytes", "peak MB", ",.0f", 1e-6),
        plain("training_memory_bytes", "training MB", ",.0f", 1e-6),
        plain("device_memory_bytes", "device MB", ",.0f", 1e-6),
        plain("energy_j_per_epoch", "J/epoch"),
        plain("images_per_j", "images/J"),
        plain("gpu_j_per_epoch", "of it the GPU"),
        plain("idle_w", "idle W"),
        plain("energy_missing", "not known", wraps=True),
        *(plain(phase.field, phase.heading, ",.0f") for phase in PHASES),
        Column("phases_us", "sum", _phases, ("phases_us", "phases_word")),
        plain("step_us", "whole step", ",.0f"),
        plain("gflops", "GFLOP/s"),
        plain("gflops_share", "% of products", ".0f", 100),
        plain("gb_per_s", "GB/s"),
        plain("gb_per_s_share", "% of copies", ".0f", 100),
    )
}
TABLES = {
    "accuracy": Layout(
        "Accuracy",
        (
            *("backend", "rounds", "accuracy", "difference", "accuracy_verdict", "final_loss"),
            *("target_reached", "target_s", "images", "deviation", "status"),
        ),
        ("deviation", "images", "final_loss", "rounds", "difference", "target_s"),
    ),
    "timing": Layout(
        "Timing (times as fast as {baseline}, noise floor {floor}{detect})",
        (
            *("backend", "device", "rank", "rounds", "train_s_per_epoch", "images_per_s"),
            *("ratio", "interval", "speedup", "speedup_interval", "verdict", "proof"),
        ),
        ("images_per_s", "rounds", "rank", "speedup_interval"),
    ),
    "proof": Layout(
        "Proof: the largest deviations from the reference, of what is allowed",
        (
            *("backend", "precision", "steps_proved", "loss_deviation", "displacement_deviation"),
            *("first_deviation", "second_deviation", "flips"),
        ),
        ("second_deviation", "first_deviation", "flips", "precision", "loss_deviation"),
    ),
    "rounds": Layout(
        "Train s/epoch, round by round ({bars[0]} the fastest to {bars[7]} the slowest of each backend)",
        ("backend", "train_s_rounds", "sparkline", "p_value", "remarks"),
        ("p_value", "train_s_rounds"),
    ),
    "parts": Layout(
        "Outside the clock, medians{load}",
        (
            *("backend", "setup_s", "transfer_s", "warmup_s", "load_s", "peak_memory_bytes"),
            *("training_memory_bytes", "device_memory_bytes"),
        ),
        ("load_s", "transfer_s"),
    ),
    "energy": Layout(
        "Energy of the CPU packages, and of the GPU, that a backend runs on, whoever uses it; medians",
        (
            *("backend", "energy_j_per_epoch", "images_per_j", "gpu_j_per_epoch", "idle_w"),
            "energy_missing",
        ),
        ("idle_w", "gpu_j_per_epoch"),
    ),
    "phases": Layout(
        "Phases of a step, µs, medians",
        ("backend", *(phase.field for phase in PHASES), "phases_us", "step_us"),
        ("gather_us", "phases_us"),
    ),
    "ceilings": Layout(
        "Share of the ceilings: {roofs}",
        ("backend", "gflops", "gflops_share", "gb_per_s", "gb_per_s_share"),
        ("gb_per_s", "gb_per_s_share"),
    ),
}
#: Columns, and tables, of what is a machine's own: unlike machines are not in one.
COLUMNS_OF_A_KIND = {"target_s", "train_s_per_epoch", "images_per_s"}
TABLES_OF_A_KIND = {"rounds", "parts", "energy", "phases", "ceilings"}
#: Of the table of times of one kind, where there are several.
OF_ONE_KIND = Layout(
    "Times, and times as fast as {baseline}, noise floor {floor}",
    (
        *("backend", "device", "rounds", "train_s_per_epoch", "images_per_s", "target_s"),
        *("ratio", "interval", "speedup", "speedup_interval"),
    ),
    ("target_s", "images_per_s", "rounds", "speedup_interval"),
)
OF_TARGET = {"target_reached", "target_s"}  #: columns of workloads that have a target
#: Columns, and a table, that runs do not have of which so much was to be proved; None was made before.
OF_PROOF: dict[str, set[ProofMode | None]] = {
    "proof": {None, "off"},
    **{name: {None} for name in ("load_s", "difference", "accuracy_verdict")},
}
#: Columns that a table has only if one of its rows has a figure in them.
WHERE_KNOWN = {
    *("device", "training_memory_bytes", "device_memory_bytes", "gpu_j_per_epoch"),
    "energy_missing",
}
OF_ENERGY = ("energy_j_per_epoch", "gpu_j_per_epoch")  #: whoever has none has no table of it
MOST_NAMED = 6  #: machines that a title names


def tables(info: RunInfo, rows: Sequence[Row] = ()) -> list[Table]:
    """Return every table of a run, with its rows."""
    return _made(info, TABLES, rows)


def pooled(info: RunInfo, rows: Sequence[Row]) -> list[Table]:
    """Return the tables of all kinds of machines together, without what is a machine's own."""
    layouts = {
        name: layout._replace(names=tuple(n for n in layout.names if n not in COLUMNS_OF_A_KIND))
        for name, layout in TABLES.items()
        if name not in TABLES_OF_A_KIND
    }
    return _made(info, layouts, rows)


def of_kind(info: RunInfo, rows: Sequence[Row], kind: str) -> list[Table]:
    """Return the tables of what is a machine's own, of the machines of one kind."""
    layouts = {"timing": OF_ONE_KIND}
    layouts |= {name: own for name, own in TABLES.items() if name in TABLES_OF_A_KIND}
    made = _made(info, layouts, rows)
    heads = {"timing": f"{kind} ({machine_names([*info.machines])})"}
    return [
        table._replace(title=f"{heads.get(table.name, kind)}: {table.title}", kind=kind)
        for table in made
    ]


def machine_names(names: Sequence[str]) -> str:
    """Name machines, or the first of many."""
    if len(names) > MOST_NAMED + 1:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _made(info: RunInfo, layouts: Mapping[str, Layout], rows: Sequence[Row]) -> list[Table]:
    """Return tables as a run has them."""
    named = {
        "baseline": info.baseline,
        "detect": f"; same within {info.detect:.1%}" if info.detect else "",
        "floor": f"{info.noise_floor:.1%}{' of turns' if info.turns else ''}",
        "bars": BARS,
        "load": "" if info.proof is None else "; load is on it",
        "roofs": roofs_text(info.roofs),
    }
    return [
        Table(
            layout.title.format(**named),
            [
                column(info, each, layout.drops)
                for each in layout.names
                if _applies(info, each) and is_known(each, rows)
            ],
            name,
            rows,
        )
        for name, layout in layouts.items()
        if _is_made(info, name, rows) and _applies(info, name)
    ]


def _is_made(info: RunInfo, name: str, rows: Sequence[Row]) -> bool:
    """Tell whether a run has measured what a table shows."""
    match name:
        case "ceilings":
            return bool(info.roofs)
        case "energy":
            return any(value(row, each) is not None for row in rows for each in OF_ENERGY)
        case _:
            return True


def why_missing(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Say why a run lacks some tables, if its rows know that."""
    if "energy" not in names:
        return ""
    return "; ".join(dict.fromkeys(filter(None, (value(row, "energy_missing") for row in rows))))


def located(table: Table, setting: Setting) -> Table:
    """Return a table with what tells its point from others of the run in front, written as an option takes it."""
    heads = [
        Column(axis, axis.replace("_", " "), partial(_whole, axis=axis), (axis,), wraps=True)
        for axis in setting
    ]
    return table._replace(columns=[*heads, *table.columns])


def _whole(row: Row, axis: str) -> str:
    """Write what a point has of an axis: a number with all of its digits."""
    return str(value(row, axis))


def joined(points: Sequence[Sequence[Table]]) -> list[Table]:
    """Return the tables of several points as one of each name and kind, with the rows of all.

    It has the columns that any has. A heading that differs loses what differs.
    """
    if len(points) == 1:
        return [*points[0]]
    alike: dict[tuple[str, str], list[Table]] = {}
    for table in chain.from_iterable(points):
        alike.setdefault((table.name, table.kind), []).append(table)
    found = []
    for own in alike.values():
        titles = list(dict.fromkeys(table.title for table in own))
        by_name: dict[str, list[Column]] = {}
        for each in sorted(own, key=lambda table: -len(table.columns)):
            for column in each.columns:
                by_name.setdefault(column.name, []).append(column)
        shared = [
            first if len({each.heading for each in [first, *others]}) == 1 else _general(first)
            for first, *others in by_name.values()
        ]
        rows = [row for table in own for row in table.rows]
        found.append(own[0]._replace(title="; ".join(titles), columns=shared, rows=rows))
    return found


def _general(column: Column) -> Column:
    """Return a column under a heading for all values that it may name."""
    general = COLUMNS[column.name].heading.format(baseline="baseline", target="target ")
    return column._replace(heading=general)


def pairs_table(info: RunInfo) -> Table:
    """Return the table of every two backends: what a row of ``nnbench.figures.frames.pairs`` is written in."""
    floor = f"{info.noise_floor:.1%}{' of turns' if info.turns else ''}"
    columns = [
        *(COLUMNS["backend"], plain("over", "over", wraps=True), COLUMNS["rounds"]),
        *(COLUMNS["ratio"]._replace(heading="time ×"), COLUMNS["interval"]),
        *(COLUMNS["speedup"], COLUMNS["speedup_interval"], COLUMNS["p_value"]),
        plain("verdict", "verdict"),
    ]
    title = f"Each backend over every faster one (noise floor {floor}; p adjusted for all pairs)"
    return Table(title, columns)


def _applies(info: RunInfo, name: str) -> bool:
    """Tell whether a run can have a column or a table."""
    if name in OF_TARGET:
        return info.workload.target_accuracy is not None
    return name not in OF_PROOF or info.proof not in OF_PROOF[name]


def is_known(name: str, rows: Sequence[Row]) -> bool:
    """Tell whether there is something to show in a column: that all train on the CPU is nothing."""
    return name not in WHERE_KNOWN or any(value(row, name) not in {None, "cpu"} for row in rows)


def column(info: RunInfo, name: str, drops: Sequence[str] = ()) -> Column:
    """Return a column as a run has it."""
    general = COLUMNS[name]
    target = f"{(info.workload.target_accuracy or 0) * 100:g}"
    return general._replace(
        heading=general.heading.format(baseline=info.baseline, target=target),
        drop=drops.index(name) + 1 if name in drops else 0,
    )


def roofs_text(roofs: Sequence[Roof]) -> str:
    """Write ceilings in a few words: those of several machines from the lowest to the highest."""
    alike: dict[tuple[str, int], list[Roof]] = {}
    for roof in roofs:
        alike.setdefault((roof.device, roof.threads), []).append(roof)
    texts = []
    for (device, threads), own in alike.items():
        where = "GPU" if device != "cpu" else f"{threads} thread{'s' * (threads > 1)}"
        figures = _ends(own, "gflops", "GFLOP/s"), _ends(own, "gb_per_s", "GB/s")
        texts.append(f"{where} {', '.join(filter(None, figures))}")
    return "; ".join(texts)


def _ends(roofs: Sequence[Roof], field: str, unit: str) -> str:
    """Write the lowest and the highest of what some roofs have of a figure; nothing if none has any."""
    found = sorted(value for roof in roofs if (value := getattr(roof, field)))
    ends = dict.fromkeys(f"{end:.0f}" for end in (*found[:1], *found[-1:]))
    return f"{' to '.join(ends)} {unit}" if ends else ""
