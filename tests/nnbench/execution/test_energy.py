"""Energy: by files as Linux has them, and by a stand-in for a GPU whose counter moves in steps."""

import pytest

from nnbench.execution import energy, gpu
from nnbench.execution.energy import Counters, Energy, Package
from nnbench.records.runs import Meter

RANGE_UJ = 262_143_328_850
ZONES = energy.ZONES
STEP_S, STEP_J = 0.1, 7.0  #: of the stand-in's counter


@pytest.fixture
def root(tmp_path):
    """Give a function that writes zones of powercap, by their folders, and which package each CPU is in."""

    def write(zones, cpus=(), range_uj=RANGE_UJ):
        for folder, (name, microjoules) in zones.items():
            place = tmp_path / ZONES / folder
            place.mkdir(parents=True, exist_ok=True)
            (place / "name").write_text(f"{name}\n")
            (place / "energy_uj").write_text(f"{microjoules}\n")
            (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
        for number, package in enumerate(cpus):
            topology = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
            topology.mkdir(parents=True, exist_ok=True)
            socket, _, die = package.partition("-die-")
            (topology / "physical_package_id").write_text(socket)
            (topology / "die_id").write_text(die or "0")
        return tmp_path

    return write


TWO = {
    "intel-rapl:0": ("package-0", 1_000_000),
    "intel-rapl:0:0": ("core", 5),
    "intel-rapl:0:1": ("dram", 5),
    "intel-rapl:1": ("package-1", 9_000_000),
    "intel-rapl:2": ("psys", 5),
    "intel-rapl-mmio:0": ("package-0", 5),
}


def names(found):
    return [package.name for package in found]


def test_packages_are_found_once_and_nothing_else(root):
    found = energy.packages(root(TWO))
    assert names(found) == ["package-0", "package-1"]
    assert [package.joules() for package in found] == [1.0, 9.0]
    assert found[0].range_j == pytest.approx(262_143.32885)


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        ([0, 1], ["package-0"]),
        ([2], ["package-1"]),
        ([3, 0, 1], ["package-1", "package-0"]),
        ([], ["package-0", "package-1"]),  # pinned to none, they may be on any
    ],
)
def test_packages_of_a_cell_are_those_of_its_cpus(root, cpus, expected):
    assert names(energy.of_cpus(cpus, root(TWO, "0011"))) == expected


def test_dies_of_a_socket_are_packages_of_their_own(root):
    zones = {f"intel-rapl:{n}": (f"package-0-die-{n}", n) for n in range(2)}
    assert names(energy.of_cpus([1], root(zones, ["0-die-0", "0-die-1"]))) == ["package-0-die-1"]


def test_cpu_of_a_package_that_is_not_counted_makes_the_whole_unknown(root):
    place = root({"intel-rapl:0": TWO["intel-rapl:0"]}, "01")
    assert names(energy.of_cpus([0], place)) == ["package-0"]
    assert energy.of_cpus([0, 1], place) is None
    assert energy.of_cpus([], place / "nowhere") is None


@pytest.mark.parametrize(
    ("before", "after", "range_j", "seconds", "expected"),
    [
        (10.0, 12.5, 1000.0, 0.5, 2.5),
        (999.0, 1.5, 1000.0, 0.5, 2.5),
        (10.0, 12.5, 1000.0, 1.0, None),  # at 1 kW it could have gone round
        (10.0, 12.5, 0.0, 1.0, 2.5),
        (12.5, 10.0, 0.0, 1.0, None),
    ],
)
def test_counter_begins_anew_at_its_range(tmp_path, before, after, range_j, seconds, expected):
    assert Package("package-0", tmp_path, range_j).between(before, after, seconds) == expected


def test_call_takes_what_was_counted_between_its_ends(root):
    counters = Counters(energy.packages(root(TWO)))
    assert counters.names == ["package-0", "package-1"]
    counters.begin()
    root({"intel-rapl:0": ("package-0", 3_500_000), "intel-rapl:1": ("package-1", 9_250_000)})
    counters.pause()
    root({"intel-rapl:0": ("package-0", 8_000_000)})  # once it is over
    assert counters.end() == Energy(pytest.approx(2.75))


def test_call_in_which_a_counter_failed_is_unknown(root):
    counters = Counters(energy.packages(root(TWO)))
    counters.begin()
    root({"intel-rapl:1": ("package-1", "gone")})
    counters.pause()
    assert counters.end() == Energy()
    counters.begin()
    root(TWO)
    counters.pause()
    assert counters.end() == Energy()


def test_nothing_is_counted_where_there_is_no_counter():
    counters = Counters(None)
    counters.begin()
    counters.pause()
    assert (counters.end(), counters.names) == (Energy(), [])


def test_what_cannot_be_read_is_not_counted(root, monkeypatch):
    found = energy.packages(root(TWO))
    monkeypatch.setattr(energy, "of_cpus", lambda cpus: found[: len(cpus)])
    for why, expected in (("", ["package-0"]), ("Permission denied", [])):
        monkeypatch.setattr(energy, "why_uncounted", lambda why=why: why)
        assert energy.of_parts([0]).names == expected
    for joules, expected in ((1.0, ["GPU"]), (None, [])):
        monkeypatch.setattr(gpu, "energy_j", lambda joules=joules: joules)
        assert energy.of_device("cuda").names == expected
        assert energy.of_device("cpu").names == []


@pytest.fixture
def clock(monkeypatch):
    """Put a clock in the place of the machine's, which goes on when somebody sleeps; the GPU's counter follows it."""

    class Clock:
        now = 1000.03

        def sleep(self, seconds):
            self.now += seconds

        def joules(self):
            return STEP_J * (self.now // STEP_S)

    found = Clock()
    monkeypatch.setattr(energy, "perf_counter", lambda: found.now)
    monkeypatch.setattr(energy, "sleep", found.sleep)
    monkeypatch.setattr(gpu, "energy_j", found.joules)
    return found


def test_gpu_is_counted_from_one_step_of_its_counter_to_another(clock):
    counters = Counters(on_gpu=True)
    counters.begin()
    assert clock.now == pytest.approx(1000.1, abs=0.002)
    clock.sleep(0.55)
    counters.pause()
    found = counters.end()
    assert (found.cpu_j, found.gpu_j) == (None, 6 * STEP_J)
    assert found.gpu_s == pytest.approx(0.6, abs=0.003)
    assert found.gpu_rest_w == pytest.approx(STEP_J / STEP_S, rel=0.02)
    assert clock.now == pytest.approx(1000.8, abs=0.003)  # a step later
    assert counters.names == ["GPU"]


@pytest.mark.parametrize("stops", ["before", "after"])
def test_gpu_whose_counter_stands_still_is_unknown(clock, monkeypatch, stops):
    counters = Counters(on_gpu=True)
    if stops == "before":
        monkeypatch.setattr(gpu, "energy_j", lambda: 5.0)
    counters.begin()
    monkeypatch.setattr(gpu, "energy_j", lambda: 5.0)
    counters.pause()
    assert counters.end() == Energy()
    assert clock.now < 1000.1 + 3 * energy.STILL_S


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        (TWO, ""),
        ({}, "no RAPL counter is to be seen: virtual machines and containers hide it"),
        (
            {"intel-rapl:0": ("package-0", "?")},
            f"/{ZONES}/intel-rapl:0/energy_uj holds no number",
        ),
    ],
)
def test_reason_is_said_where_cpus_are_not_counted(root, zones, expected):
    assert energy.why_uncounted(root(zones)) == expected


def test_counter_that_this_user_may_not_read_is_named(root, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Package, "joules", refuse)
    found = energy.why_uncounted(root(TWO))
    assert found == f"/{ZONES}/intel-rapl:0/energy_uj: Permission denied"


def test_idle_power_is_what_is_counted_while_nothing_is_trained(root, clock, monkeypatch):
    place = root(TWO)

    def sleep(seconds):
        clock.now += seconds
        if seconds > energy.LOOK_S:
            root(
                {
                    "intel-rapl:0": ("package-0", 13_000_000),
                    "intel-rapl:1": ("package-1", 9_000_000),
                }
            )

    monkeypatch.setattr(energy, "sleep", sleep)
    monkeypatch.setattr(gpu, "why_uncounted", lambda: "")
    found = energy.meters(uses_gpu=True, root=place, seconds=1.0)
    assert [(meter.name, meter.problem) for meter in found] == [
        *(("package-0", ""), ("package-1", ""), ("GPU", ""))
    ]
    first, second, of_gpu = (meter.idle_w for meter in found)
    assert first == pytest.approx(12.0, rel=0.1)
    assert second == 0.0
    assert of_gpu == pytest.approx(STEP_J / STEP_S, rel=0.02)


def test_machine_that_counts_nothing_says_why_and_waits_for_nothing(root, clock, monkeypatch):
    monkeypatch.setattr(gpu, "why_uncounted", lambda: "no driver")
    before = clock.now
    assert energy.meters(uses_gpu=True, root=root({})) == [
        Meter(name="CPU", problem=energy.why_uncounted(root({}))),
        Meter(name="GPU", problem="no driver"),
    ]
    assert [meter.name for meter in energy.meters(uses_gpu=False, root=root({}))] == ["CPU"]
    assert clock.now == before
