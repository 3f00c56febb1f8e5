"""``nnbench test``: check that backends are right, or time their phases."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn, assert_never

import click

from nnbench import files
from nnbench.cli.options import FILE, PATIENCE, echo_line
from nnbench.contract.errors import (
    BackendUnavailableError,
    ExitCode,
    NnbenchError,
    gravest,
    install_hint,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nnbench.selection import Selection
    from nnbench.testing.execution import Tested
    from nnbench.testing.session import Finding, Verdict

MOST_NAMES = 12  #: of checks that were skipped for one reason; of more, how many they are
#: of verdicts, in the order of the summary
WORDS: dict[Verdict, str] = {
    "failed": "failed",
    "expected": "failed as expected",
    "passed": "passed",
    "skipped": "skipped",
}
#: they keep one file for a session, and each backend has a session of its own
ONE_BACKEND = {"benchmark_autosave", "benchmark_save", "benchmark_compare"}


class WithPytestArguments(click.Command):
    """A command that hands what follows ``--`` to pytest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows ``--`` apart."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.obj = args[cut + 1 :]
        return super().parse_args(ctx, args[:cut])


@click.command(cls=WithPytestArguments)
@click.argument("backends", nargs=-1, metavar="[BACKEND]... [-- PYTEST ARGUMENTS]")
@click.option("--timeout", type=PATIENCE, default=300.0, help="Seconds that a backend may take.")
@click.option("--verbose", "-v", is_flag=True, help="Show what pytest prints.")
@click.option("--benchmark", is_flag=True, help="Time the phases with pytest-benchmark instead.")
@click.option(
    "--benchmark-json",
    type=FILE,
    help="Write the times of all backends to a file.",
)
@click.option("--benchmark-storage", metavar="URI", help="Where saved times are kept.")
@click.option("--benchmark-autosave", is_flag=True, help="Save the times of one backend there.")
@click.option("--benchmark-save", metavar="NAME", help="Save them under a name.")
@click.option(
    "--benchmark-compare",
    metavar="[NUMBER]",
    is_flag=False,
    flag_value="",
    help="Compare with saved times; without a number, with the latest.",
)
@click.option(
    "--benchmark-compare-fail",
    multiple=True,
    metavar="LIMIT",
    help="Fail beyond a limit, as in median:10%. May be repeated.",
)
@click.pass_obj
def test(
    pytest_arguments: list[str],
    /,
    *,
    backends: Sequence[str],
    timeout: float,
    verbose: bool,
    benchmark: bool,
    benchmark_json: Path | None,
    **options: Any,
) -> NoReturn:
    """Check that backends keep the contract.

    Each is checked in a process of its own. Without a name, all are checked that can run here. The exit code is {ACCURACY} if a check failed. What
    follows -- goes to pytest, as in: nnbench test numpy -- -k gradients
    """
    require_pytest()
    from nnbench.catalog.listings import sound
    from nnbench.execution import listing
    from nnbench.testing import execution

    with listing.relied_on() as known:
        chosen, left_out = select(backends)
    asked = {name: value for name, value in options.items() if value not in (None, False, ())}
    check_usage(chosen, asked, benchmark=benchmark, json=benchmark_json)
    for label, reason in left_out.items():
        echo_line(f"{label}: not tested: {reason}")
    arguments = [*spell(asked), *pytest_arguments]
    arguments += ["--nnbench-benchmark"] if benchmark else []
    arguments += ["--verbose"] if verbose else []
    with TemporaryDirectory(prefix="nnbench-times-") as folder:
        tested, parts = [], []
        for number, selection in enumerate(chosen):
            parts.append(Path(folder, f"{number}.json"))
            extra = [f"--benchmark-json={parts[-1]}"] if benchmark_json else []
            done = execution.test(
                selection,
                [*arguments, *extra],
                timeout_s=timeout,
                show=verbose or benchmark,
                python=None,
                plugins=sound(known.plugins),
            )
            report(done)
            tested.append(done)
        if benchmark_json:
            execution.join_timings(parts, benchmark_json)
            if not files.is_stream(benchmark_json):
                echo_line(f"Times: {benchmark_json}")
    sys.exit(gravest(code for each in tested for code in codes(each)))


def require_pytest() -> None:
    """Refuse to go on without what the suite is built on."""
    from nnbench import distributions

    missing = [name for name in distributions.SUITE if not distributions.is_installed(name)]
    if missing:
        names = " and ".join(missing)
        raise NnbenchError(f"nnbench test needs {names}: {install_hint('test')}")


def select(names: Sequence[str]) -> tuple[list[Selection], dict[str, str]]:
    """Return the backends that are tested, and why others are not, by label."""
    from nnbench import catalog, selection
    from nnbench.catalog.names import ALL
    from nnbench.testing.subject import required

    selections = selection.parse(names or [ALL])
    unavailable = {
        each.label: reason
        for each in selections
        if (reason := catalog.why_unavailable(each.backend))
    }
    selection.refuse_unavailable([each.label for each in selections if each.named], unavailable)
    must_run = required() & {s.backend.name for s in selections if s.label in unavailable}
    if missing := [
        f"{label}: {reason}" for label, reason in unavailable.items() if label in must_run
    ]:
        raise BackendUnavailableError(f"required (NNBENCH_REQUIRE), {'; '.join(missing)}")
    return [each for each in selections if each.label not in unavailable], unavailable


def check_usage(
    chosen: Sequence[Selection], asked: Collection[str], *, benchmark: bool, json: Path | None
) -> None:
    """Refuse options that do not go together, before anything runs."""
    if (asked or json) and not benchmark:
        raise click.UsageError("the options --benchmark-… need --benchmark")
    if len(chosen) > 1 and (one := ONE_BACKEND & set(asked)):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(one))
        raise click.UsageError(
            f"{names}: name one backend, as each has its own file; --benchmark-json joins all"
        )
    if json:
        files.check_output(json)  # better an error now than after all benchmarks


def spell(asked: Mapping[str, Any]) -> Iterator[str]:
    """Write options as pytest-benchmark takes them."""
    for name, value in asked.items():
        option = f"--{name.replace('_', '-')}"
        if value in (True, ""):
            yield option
        else:
            yield from (f"{option}={v}" for v in (value if isinstance(value, tuple) else [value]))


def report(tested: Tested) -> None:
    """Print the failed checks, one line for each reason to skip, what was tested, and a summary."""
    from nnbench.show.text import count
    from nnbench.testing import networks

    if reason := tested.why_untested:
        echo_line(f"{tested.label}: {reason}")
        return
    report_failures(tested.label, tested.failures)
    report_reasons(tested, "expected")
    report_reasons(tested, "skipped")
    for line in networks.describe(tested.networks):
        echo_line(f"{tested.label}: {line}")
    if tested.unrun:
        echo_line(f"{tested.label}: {count(tested.unrun, 'check')} did not run any more")
    if tested.has_regressed:
        echo_line(f"{tested.label}: slower than the limit")
    counts = Counter[str](finding.verdict for finding in tested.findings)
    summary = ", ".join(f"{counts[each]} {word}" for each, word in WORDS.items() if counts[each])
    echo_line(f"{tested.label}: {summary or 'nothing tested'} in {tested.seconds:.1f} s")


def report_reasons(tested: Tested, verdict: Verdict) -> None:
    """Print a line for each reason that checks with a verdict give."""
    reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for finding in tested.findings:
        if finding.verdict == verdict:
            reasons[finding.message][finding.check.partition(" [")[0]] += 1
    for reason, checks in reasons.items():
        names = ", ".join(f"{name} (×{n})" if n > 1 else name for name, n in checks.items())
        if len(checks) > MOST_NAMES:
            names = f"{checks.total()} checks"
        echo_line(f"{tested.label}: {WORDS[verdict]} {names}: {reason}")


def report_failures(label: str, failures: Sequence[Finding]) -> None:
    """Print a line for each failure, or for all that say the same, and what most have in common."""
    from nnbench.testing.session import NOTHING_FITS, RAISED

    alike = Counter(finding.message for finding in failures)
    for finding in failures:
        if count := alike.pop(finding.message, 0):
            others = f" and {count - 1} more" if count > 1 else ""
            echo_line(f"{label}: FAILED {finding.check}{others}: {finding.message}")
    causes = Counter(f.cause for f in failures if f.cause not in {"", NOTHING_FITS})
    if causes.total() < 2 or len({finding.message for finding in failures}) < 2:
        return
    [(cause, count)] = causes.most_common(1)
    share = f"{count} of {causes.total()}"
    if cause.startswith(RAISED):
        echo_line(f"{label}: {share} failures {cause}; -v shows the tracebacks")
    else:
        echo_line(f"{label}: likely mistake: {cause} (so say {share})")


def codes(tested: Tested) -> Iterator[ExitCode | None]:
    """Yield what the checks and the times of a backend come to."""
    if tested.has_regressed:
        yield ExitCode.REGRESSION
    for finding in tested.findings:
        match finding.verdict:
            case "failed":
                yield None if tested.why_untested else ExitCode.ACCURACY
            case "passed" | "expected":
                yield ExitCode.OK
            case "skipped" | "planned" | "started":
                yield None
            case unknown:
                assert_never(unknown)
