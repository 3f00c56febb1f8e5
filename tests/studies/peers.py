"""What do nnbench and other tools say of two versions of one training, and how long does it take them?

``python -m tests.studies.peers --trials 10`` asks each tool to compare a version of a training with an equal one,
and with one that works 10% longer. ``--load`` keeps every CPU busy in bursts beside it. Everyone trains the same
(:mod:`tests.studies.training`): ``numpy``, one thread, five epochs of MNIST's 10,000 test images, about 0.1 s.
Each tool is used as its documentation compares two versions, with its defaults; what is none stands in the docstring of
its function below. None takes two minutes with them, so nothing is shortened.

The peers get a virtual environment of their own (``--environment``), with the versions in ``PEERS``; hyperfine is the
system's, and is left out where there is none. Trials of all tools take turns. Each is a line in ``out/peers/``, so that a
second call goes on where the first was stopped (delete the file to begin anew); the counts go to ``results/peers/quiet.json`` or ``load.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from nnbench.execution.variables import THREAD_VARIABLES, dropped, for_threads, tuning
from nnbench.figures import frames
from nnbench.records.cells import Handicap
from nnbench.records.runs import DEFAULT_TURN_FLOOR
from nnbench.runs import planning, schedule
from tests.cells import read_final
from tests.studies import peer_files, proofs
from tests.studies.conditions import bursts, small_dataset
from tests.studies.training import DATASET, EPOCHS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RAW = Path("out", "peers")
ROOT = Path(__file__).parents[2]
PACKAGES = "lib/python*/site-packages"  #: of an environment
PEERS = {"asv": "0.6.6", "benchopt": "1.10.0", "pyperf": "2.11.0", "pytest-benchmark": "5.3.1"}
NEEDED = ("msgspec", "numpy", "platformdirs", "pluggy", "psutil")  #: by the training
SHARES = {"equal": 0.0, "slow": 0.10}  #: by which the second version works longer
LIMIT = 0.05  #: beyond which a difference counts, where a tool has to be told
ROUNDS = 3  #: of nnbench
REPETITIONS = 10  #: of benchopt


class Said(NamedTuple):
    """What a tool says of the second version."""

    verdict: str  #: slower, faster, same, or undecided: it says of no difference
    words: str  #: where that is from


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where the peers are installed, and a folder to work in."""

    home: Path
    folder: Path

    @property
    def dataset(self) -> Path:
        """What everyone trains on."""
        return self.home / "mnist"

    @property
    def asv(self) -> Workshop:
        """The folder of asv's repository, which all trials share since its environments belong to it."""
        return replace(self, folder=self.home / "asv")

    def prepare(self) -> None:
        """Install what is missing, and set up what asv's users have before they compare."""
        if not (self.home / "bin").exists():
            venv.create(self.home, with_pip=True)
        self.dataset.mkdir(exist_ok=True)
        small_dataset(self.dataset)
        pins = {name: version(name) for name in NEEDED} | PEERS
        self.run("pip", "install", "--quiet", *(f"{name}=={pin}" for name, pin in pins.items()))
        if not (self.asv.folder / "env").exists():
            self.asv.write(peer_files.ASV)
            self.asv.run("git", "init", "--quiet", "--initial-branch=main")
            self.asv.commit(0.0)
            self.run_asv("machine", "--yes")
            self.asv.run("asv", "setup", fine=(1,))  # it exits with its list of environments
        [packages] = self.home.glob(PACKAGES)
        [inner] = self.asv.folder.glob(f"env/*/{PACKAGES}")
        for each in (packages, inner):
            (each / "peers.pth").write_text(f"{ROOT}\n{ROOT / 'backends'}\n{packages}\n")

    def write(self, files: Mapping[str, str]) -> None:
        """Write files into the folder."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def check_out(self, share: float) -> None:
        """Have the version that works longer by this share."""
        self.write({"version.py": peer_files.VERSION.format(share=share)})

    def commit(self, share: float) -> None:
        """Check it out, and commit it even if it is like the one before."""
        self.check_out(share)
        self.run("git", "add", "version.py", *peer_files.ASV)
        settings = ("user.name=study", "user.email=study@localhost", "commit.gpgsign=false")
        options = [word for setting in settings for word in ("-c", setting)]
        self.run("git", *options, "commit", "--quiet", "--allow-empty", "--message=Version")

    def run(self, *command: str, fine: Collection[int] = (0,), **variables: str) -> str:
        """Run a program of the environment, or the system's, with one thread; return what it prints."""
        tuned = tuning(dropped(os.environ))  # nnbench's workers do without, too
        kept = {name: value for name, value in os.environ.items() if name not in tuned}
        environment = for_threads(kept, 1) | {
            "PATH": os.pathsep.join([str(self.home / "bin"), os.environ["PATH"]]),
            DATASET: str(self.dataset),
            **variables,
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in fine:
            sys.exit(f"{done.stdout}\n{' '.join(command)}: ended with {done.returncode}")
        return done.stdout

    def run_asv(self, *arguments: str, fine: Collection[int] = (0,)) -> str:
        """Run asv in its repository, with a home of its own to keep what it knows of the machine."""
        return self.asv.run("asv", *arguments, fine=fine, HOME=str(self.home))


def nnbench(shop: Workshop, share: float) -> Said:
    """Run two variants of a backend for three rounds; the verdict is the table's, by the default floor."""
    plan = planning.plan(
        command="study",
        backends=["numpy"],
        workload="mnist",
        overrides={"dataset": str(shop.dataset), "epochs": EPOCHS},
        rounds=ROUNDS,
        seed=None,
        threads=1,
        budget=60.0,
        timeout=300.0,
        baseline=None,
    )
    [entry] = plan.entries
    handicap = Handicap("work", share) if share else None
    variants = base, head = entry.as_variant("base"), entry.as_variant("head", handicap=handicap)
    machines = plan.info.machines.items()
    info = replace(
        plan.info,
        backends={each.label: "" for each in variants},
        baseline=base.label,
        machines={k: replace(each, turn_floor=DEFAULT_TURN_FLOOR) for k, each in machines},
    )
    folder = shop.folder / "run"
    schedule.run(plan._replace(info=info, entries=[*variants]), folder, lambda _: None)
    groups = frames.groups(info, read_final(folder))
    found = frames.compare(info, groups[head.label], groups[base.label])
    if found is None or found.interval is None:
        return Said("undecided", "fewer than two rounds rank")
    words = f"{found.ratio:.3f} ({found.interval.low:.3f} to {found.interval.high:.3f})"
    return Said(found.verdict.replace("inconclusive", "undecided"), words)


def benchopt(shop: Workshop, share: float) -> Said:
    """Run two solvers, ten repetitions each as in benchopt's examples.

    benchopt gives no verdict. Ours is by hand: a difference of the median times beyond 5%.
    A training is one run (``run_once``), so there is no curve; no plots are made.
    """
    shop.write(peer_files.BENCHOPT)
    for name, each in {"base": 0.0, "head": share}.items():
        shop.write({f"solvers/{name}.py": peer_files.SOLVER.format(name=name, share=each)})
    asked = ("--n-repetitions", str(REPETITIONS), "--no-plot", "--output", "./found.parquet")
    shop.run("benchopt", "run", ".", *asked)
    medians = json.loads(shop.run("python", "-c", peer_files.MEDIANS))
    ratio = medians["head"] / medians["base"]
    verdicts = {"slower": ratio > 1 + LIMIT, "faster": 1 / ratio > 1 + LIMIT}
    verdict = next((name for name, holds in verdicts.items() if holds), "undecided")
    return Said(verdict, f"medians {medians}")


def asv(shop: Workshop, share: float) -> Said:
    """Let ``asv continuous`` compare two commits, with a factor of 1.05 in the place of 1.1.

    Its virtual environment is made before, and installing a commit is to copy its one file.
    """
    shop.asv.commit(0.0)
    shop.asv.commit(share)
    asked = ("--factor", str(1 + LIMIT), "HEAD~1", "HEAD")
    text = shop.run_asv("continuous", *asked, fine=(0, 1))
    return read(
        text,
        {
            "slower": r"PERFORMANCE DECREASED",
            "faster": r"PERFORMANCE INCREASED",
            "undecided": r"BENCHMARKS NOT SIGNIFICANTLY CHANGED",
        },
    )


def pytest_benchmark(shop: Workshop, share: float) -> Said:
    """Save a run of the first version, and fail if the mean of the second is beyond it by more than 5%.

    So it can say that the second one is slower, and nothing else.
    """
    command = ("pytest", "test_training.py", "--benchmark-save=version")
    shop.write(peer_files.PYTEST)
    shop.check_out(0.0)
    shop.run(*command)
    shop.check_out(share)
    limit = f"--benchmark-compare-fail=mean:{LIMIT:.0%}"
    text = shop.run(*command, "--benchmark-compare", limit, fine=(0, 1))
    return read(text, {"slower": r"Performance has regressed:\s+.*", "undecided": r"\d+ passed"})


def pyperf(shop: Workshop, share: float) -> Said:
    """Let ``pyperf compare_to`` test two files of 20 processes each (Student's t)."""
    shop.write(peer_files.PYPERF)
    variables = ",".join([*THREAD_VARIABLES, DATASET])
    for name, each in {"base.json": 0.0, "head.json": share}.items():
        shop.check_out(each)
        shop.run("python", "training.py", "--inherit-environ", variables, "-o", name)
    text = shop.run("pyperf", "compare_to", "base.json", "head.json")
    return read(
        text,
        {"slower": r".*x slower", "faster": r".*x faster", "undecided": r".*not significant.*"},
    )


def hyperfine(shop: Workshop, share: float) -> Said:
    """Let hyperfine compare two commands, after a warm-up of one run.

    A command is a whole process, and two thirds of it are its start. So all of it works longer, not the
    training alone. The verdict is by hand, from "x ± y times faster": whether x - y is beyond 1.
    """
    commands = {"base": 0.0, "head": share}
    shop.write(
        {f"{name}.py": peer_files.COMMAND.format(share=each) for name, each in commands.items()}
    )
    calls = (f"python {name}.py" for name in commands)
    text = shop.run("hyperfine", "--warmup", "1", *calls)
    summary = re.search(r"python (\w+)\.py'? ran\s+([\d.]+) ± ([\d.]+) times faster.*", text)
    assert summary, text
    first, ratio, spread = summary.groups()
    differs = "slower" if first == "base" else "faster"
    return Said(differs if float(ratio) - float(spread) > 1 else "undecided", summary[0])


def read(text: str, patterns: Mapping[str, str]) -> Said:
    """Return the verdict of the first pattern that the text has."""
    for verdict, pattern in patterns.items():
        if found := re.search(pattern, text):
            return Said(verdict, " ".join(found[0].split()))
    raise ValueError(text)


TOOLS = {
    "nnbench": nnbench,
    "benchopt": benchopt,
    "asv": asv,
    "pytest-benchmark": pytest_benchmark,
    "pyperf": pyperf,
    "hyperfine": hyperfine,
}


def main() -> None:
    """Make the trials that are missing, write the counts, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--load", action="store_true", help="bursts of work on every CPU")
    parser.add_argument("--environment", type=Path, default=RAW / "environment", metavar="DIR")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=[*TOOLS])
    options = parser.parse_args()
    home = options.environment.absolute()
    Workshop(home, home).prepare()
    versions = {"nnbench": version("nnbench-harness")} | PEERS
    if shutil.which("hyperfine"):
        versions["hyperfine"] = subprocess.check_output(
            ["hyperfine", "--version"], text=True
        ).split()[1]
    else:
        print("hyperfine is not installed, and left out")  # noqa: T201 - a script
    tools = [name for name in options.tools if name in versions]
    name = "load" if options.load else "quiet"
    with bursts() if options.load else nullcontext():
        trials = run_missing(RAW / f"{name}.jsonl", options.trials, tools, home)
    found = {tool: count([t for t in trials if t["tool"] == tool]) for tool in tools}
    missing = [tool for tool in options.tools if tool not in tools]
    content = {"versions": versions, "left_out": missing, "tools": found}
    proofs.write(name, content, folder="peers", study="peers")
    print(table(found))  # noqa: T201 - a script


def run_missing(path: Path, trials: int, tools: list[str], home: Path) -> list[dict[str, Any]]:
    """Make the trials that the file lacks, and return all that were asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    made = {(t["trial"], t["tool"], t["versions"]): t for t in map(json.loads, lines)}
    wanted = [(n, tool, kind) for n in range(trials) for tool in tools for kind in SHARES]
    for key in wanted:
        if key not in made:
            made[key] = run_trial(*key, home)
            with path.open("a") as file:
                file.write(json.dumps(made[key]) + "\n")
            print(json.dumps(made[key]), flush=True)  # noqa: T201 - a script
    return [made[key] for key in wanted]


def run_trial(number: int, tool: str, versions: str, home: Path) -> dict[str, Any]:
    """Let a tool compare two versions, in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        start = perf_counter()
        said = TOOLS[tool](Workshop(home, Path(name)), SHARES[versions])
        seconds = perf_counter() - start
    return {
        "trial": number,
        "tool": tool,
        "versions": versions,
        **said._asdict(),
        "seconds": seconds,
    }


def count(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often a tool was right and wrong, and the seconds of a comparison."""
    said = Counter((trial["versions"], trial["verdict"]) for trial in trials)
    return {
        "trials": said.total() // len(SHARES),
        "equal_told_apart": said["equal", "slower"] + said["equal", "faster"],
        "slow_found": said["slow", "slower"],
        "slow_called_faster": said["slow", "faster"],
        "slow_called_same": said["slow", "same"],
        "slow_undecided": said["slow", "undecided"],
        "median_s": median(trial["seconds"] for trial in trials),
    }


COLUMNS = {
    "equals told apart": "equal_told_apart",
    "10% slower found": "slow_found",
    "wrong sign": "slow_called_faster",
    "called the same": "slow_called_same",
    "undecided": "slow_undecided",
}


def table(found: Mapping[str, dict[str, Any]]) -> str:
    """Return the counts as a Markdown table."""
    rows = [["tool", *COLUMNS, "seconds"], ["---", *["---:"] * (len(COLUMNS) + 1)]]
    for tool, counts in found.items():
        shares = [f"{counts[field]} of {counts['trials']}" for field in COLUMNS.values()]
        rows.append([tool, *shares, f"{counts['median_s']:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
