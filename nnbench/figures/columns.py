"""The tables of a run, and what their columns say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnbench.figures import values
from nnbench.figures.sparkline import BARS
from nnbench.figures.values import number, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.figures.values import Row
    from nnbench.records import Roof, RunInfo


class Column(NamedTuple):
    """A heading, how to write a row's value below it, and what it is made of."""

    heading: str
    text: Callable[[Row], str]
    name: str  #: as users type it
    parts: tuple[str, ...] | None = None  #: fields of the frame, if not that of the same name
    drop: int = 0  #: on a narrow terminal 1 goes first, then 2; 0 stays
    wraps: bool = False  #: words, on several lines if need be; not a figure

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the frame that it is made of."""
        return (self.name,) if self.parts is None else self.parts

    @property
    def sortable(self) -> bool:
        """Whether it has one value in each row, not a list of them."""
        return self.name == "backend" or bool(self.fields and not self.wraps)


class Section(NamedTuple):
    """A table of a run: what stands above it, and its columns."""

    title: str
    columns: list[Column]


def sections(info: RunInfo) -> dict[str, Section]:
    """Return every table of a run by the name that users type."""
    against = f"verdict against {info.baseline}, noise floor {info.noise_floor:.1%}"
    bars = f"{BARS[0]} the fastest to {BARS[-1]} the slowest of each backend"
    found = {
        "accuracy": Section("Accuracy", accuracy_columns(info)),
        "timing": Section(f"Timing ({against})", timing_columns(info)),
        "rounds": Section(f"Train s/epoch, round by round ({bars})", ROUNDS),
        "parts": Section("Outside the clock, medians", OTHER_PARTS),
        "phases": Section("Phases of a step, µs, medians", PHASES),
    }
    if info.roofs:
        roofs = "; ".join(map(describe_roof, info.roofs))
        found["ceilings"] = Section(f"Share of the ceilings: {roofs}", ROOFLINE)
    return found


def describe_roof(roof: Roof) -> str:
    """Write a roof in a few words."""
    where = "GPU" if roof.device != "cpu" else f"{roof.threads} thread{'s' * (roof.threads > 1)}"
    reached = [(roof.gflops, "GFLOP/s"), (roof.gb_per_s, "GB/s")]
    return f"{where} " + ", ".join(f"{value:.0f} {unit}" for value, unit in reached if value)


def accuracy_columns(info: RunInfo) -> list[Column]:
    """Return the columns of the accuracy table."""
    target = info.workload.target_accuracy
    columns = [
        BACKEND,
        Column("n", number("rounds", "d"), "rounds", drop=4),
        Column("accuracy %", values.accuracy, "accuracy", ("accuracy", "accuracy_stdev")),
        Column("loss", number("final_loss", ".4f"), "final_loss", drop=3),
    ]
    if target is not None:
        columns += [
            Column(f"≥ {target * 100:g}%", values.reached, "target_reached"),
            Column("after s", rounded("target_s"), "target_s"),
        ]
    return [
        *columns,
        Column("images", number("images", ",.0f"), "images", drop=2),
        Column("deviation", number("deviation", ".0e"), "deviation", drop=1),
        Column("status", lambda r: r.status, "status"),
    ]


def timing_columns(info: RunInfo) -> list[Column]:
    """Return the columns of the timing table."""
    return [
        BACKEND,
        Column("n", number("rounds", "d"), "rounds", drop=2),
        Column("train s/epoch", values.epoch, "train_s_per_epoch"),
        Column("images/s", number("images_per_s", ",.0f"), "images_per_s", drop=1),
        Column(f"× {info.baseline}", rounded("ratio"), "ratio"),
        Column("95% interval", values.interval, "interval", ("ratio_low", "ratio_high")),
        Column("verdict", values.verdict, "verdict"),
    ]


BACKEND = Column("backend", lambda r: r.backend, "backend", wraps=True)

ROUNDS = [
    BACKEND,
    Column("every round", values.every_round, "train_s_rounds", drop=2, wraps=True),
    Column("in order", values.round_bars, "sparkline", ()),
    Column("p", number("p_value", ".3f"), "p_value", drop=1),
    Column("remarks", values.remarks, "remarks", wraps=True),
]

OTHER_PARTS = [
    BACKEND,
    Column("set-up s", rounded("setup_s"), "setup_s"),
    Column("transfer s", rounded("transfer_s"), "transfer_s"),
    Column("warm-up s", rounded("warmup_s"), "warmup_s"),
    Column("peak MB", number("peak_memory_bytes", ",.0f", 1e-6), "peak_memory_bytes"),
]

PHASES = [
    BACKEND,
    Column("gather", number("gather_us", ",.0f"), "gather_us", drop=1),
    Column("feedforward", number("feedforward_us", ",.0f"), "feedforward_us"),
    Column("backprop", number("backprop_us", ",.0f"), "backprop_us"),
    Column("update", number("update_us", ",.0f"), "update_us"),
    Column("sum", number("phases_us", ",.0f"), "phases_us", drop=2),
    Column("whole step", number("step_us", ",.0f"), "step_us"),
]

ROOFLINE = [
    BACKEND,
    Column("GFLOP/s", rounded("gflops"), "gflops"),
    Column("% of products", number("gflops_share", ".0f", 100), "gflops_share"),
    Column("GB/s", rounded("gb_per_s"), "gb_per_s", drop=1),
    Column("% of copies", number("gb_per_s_share", ".0f", 100), "gb_per_s_share", drop=2),
]
