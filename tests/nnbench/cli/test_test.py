"""``nnbench test``."""

import re

import pytest

from nnbench import distributions
from nnbench.contract.errors import ExitCode
from nnbench.testing import execution
from tests.plugins.helpers import EXAMPLE, environment, nnbench, survivors, variables

QUICK = ("--", "-k", "logits or gradients")
ALL = "relu, sigmoid, cross entropy, squared error, bias, no bias, no L2, L2, adam, sgd, adam-fresh"


def run(*arguments, plugins="broken"):
    """Test with some plugins: others would be listed for nothing."""
    env = environment("broken", EXAMPLE, NNBENCH_PLUGINS=plugins)
    return nnbench("test", *arguments, env=env)


def test_a_right_backend_passes():
    done = run("honest", "numpy", *QUICK, plugins="broken,numpy")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    lines = [
        rf"{name}: on 6 networks with {ALL}\n{name}: 16 passed in [\d.]+ s\n"
        for name in ("honest", "numpy")
    ]
    assert re.fullmatch("".join(lines), done.stdout)


def test_each_failed_check_is_one_line_and_the_mistake_is_summed_up():
    done = run("flips-sign", "honest", *QUICK)
    assert done.returncode == ExitCode.ACCURACY
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("flips-sign: FAILED ")]
    assert len(failed) == 6
    for line in failed:
        assert re.search(r"expected .*, came .*\. Likely mistake: the gradient has the", line)
    assert any("(so say 6 of 6)" in line for line in lines)
    assert lines[-1].startswith("honest: 16 passed")


def test_a_crash_is_a_failure_of_its_backend_alone():
    done = run("crashes", "honest", "--", "-k", "three_steps or logits")
    assert done.returncode == ExitCode.ACCURACY
    assert "crashes: FAILED three steps match the reference [relu" in done.stdout
    assert "killed by SIGSEGV" in done.stdout
    assert re.search(r"^honest: \d+ passed", done.stdout, re.MULTILINE)


def test_a_hang_is_cut(mark):
    env = environment("broken", EXAMPLE, mark=mark)
    done = nnbench("test", "hangs", "--timeout", 2, "--", "-k", "three_steps", env=env)
    assert done.returncode == ExitCode.ACCURACY
    assert "hangs: FAILED three steps match the reference [relu" in done.stdout
    assert "still running after 2 s, and was killed" in done.stdout
    assert "Likely mistake: a hang" in done.stdout
    assert "hangs: 5 checks did not run any more" in done.stdout
    assert survivors(mark) == []


def test_create_that_always_fails_is_said_once():
    done = run("creates-badly", "--", "-k", "not workload")
    assert done.returncode == ExitCode.ACCURACY
    failed, skipped, summary = done.stdout.splitlines()
    assert " and 5 more: raised RuntimeError: no compiler for 6 inputs" in failed
    assert re.fullmatch(
        r"creates-badly: skipped \d+ checks: create fails for every network", skipped
    )
    assert re.match(r"creates-badly: 6 failed, \d+ skipped in", summary)


def test_what_is_not_supported_is_skipped_by_name():
    done = run("knows-one-loss", *QUICK)
    assert done.returncode == ExitCode.OK
    assert done.stdout.startswith(
        "knows-one-loss: skipped gradients have the form of parameters (×3), "
        "gradients match the reference (×3): the library has no squared error\n"
        "knows-one-loss: on 3 networks with "
        "relu, sigmoid, cross entropy, bias, no bias, no L2, L2, adam, sgd, adam-fresh\n"
        "knows-one-loss: squared error: not tested\n"
        "knows-one-loss: sigmoid and bias, sigmoid and L2, "
    )
    assert re.search(r"^knows-one-loss: 10 passed, 6 skipped in", done.stdout, re.MULTILINE)


def test_what_was_tested_and_what_was_not_is_said():
    done = run("knows-one-network", "halves-biases", "--", "-k", "dump_returns")
    assert done.returncode == ExitCode.OK
    known = "relu, cross entropy, bias, no L2, sgd"
    other = "sigmoid, squared error, no bias, L2, adam, adam-fresh"
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        f"knows-one-network: on 1 network with {known}",
        f"knows-one-network: {other}: not tested",
    ]
    assert lines[3].startswith("halves-biases: on 6 networks with relu, cross entropy, squared er")
    assert lines[4] == "halves-biases: sigmoid, no bias, L2: not tested"
    assert "not tested together" not in done.stdout


def test_a_backend_that_supports_nothing_is_one_short_line():
    done = run("trains-trees")
    assert done.returncode == ExitCode.NOTHING_MEASURED
    assert done.stdout == (
        "trains-trees: nothing tested, as no network is supported: it trains trees\n"
    )


def test_what_a_backend_declares_of_its_optimizer_is_an_expected_failure():
    done = run("adds-epsilon-early", "--", "-k", "steps_match or update or gradients_match")
    assert done.returncode == ExitCode.OK, done.stdout
    expected, *_, summary = done.stdout.splitlines()
    assert expected == (
        "adds-epsilon-early: failed as expected three steps match the reference (×2), a dozen steps "
        "match the reference (×2), an update can be repeated: other optimizer: it adds epsilon "
        "before the bias correction"
    )
    assert re.match(r"adds-epsilon-early: 5 failed as expected, \d+ passed in ", summary)


def test_what_it_declares_excuses_nothing_else():
    done = run("flips-sign-too", "--", "-k", "three_steps or gradients_match")
    assert done.returncode == ExitCode.ACCURACY
    assert "FAILED gradients match the reference [relu, cross entropy, bias, adam]" in done.stdout
    assert "FAILED three steps match the reference [relu, cross entropy, no bias" in done.stdout
    assert "Likely mistake: the gradient has the opposite sign" in done.stdout


def test_nothing_tested_is_said():
    done = run("unavailable-in-create", *QUICK)
    assert done.returncode == ExitCode.NOTHING_MEASURED
    assert "the library finds no device" in done.stdout
    assert run("honest", "--", "-k", "xyzzy").returncode == ExitCode.NOTHING_MEASURED


def test_all_that_can_run_are_tested_and_others_reported():
    env = environment("unavailable", NNBENCH_PLUGINS="python,numpy,unavailable")
    done = nnbench("test", "--", "-k", "logits_match", env=env)
    assert done.returncode == ExitCode.OK
    assert re.search(r"^mute: not tested: .*the driver is not talking", done.stdout, re.MULTILINE)
    assert re.findall(r"^(\w+): 1 passed", done.stdout, re.MULTILINE) == ["numpy", "python"]


def test_a_required_backend_must_not_be_missing():
    env = environment(CUDA_VISIBLE_DEVICES="", NNBENCH_REQUIRE="torch-cuda")
    done = nnbench("test", "--", "-k", "logits_match", env=env)
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("nnbench: error: required (NNBENCH_REQUIRE), torch-cuda: ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nump"], "did you mean numpy?"),
        (["numpy[x=1]"], "numpy has no parameter 'x'"),
        (["torch-cuda"], "torch-cuda is unavailable: "),
        (["numpy", "--", "--nonsense"], "pytest refused unrecognized arguments: --nonsense"),
        (["numpy", "--timeout", "0"], "not a positive number"),
        (["numpy", "--benchmark-json", "x.json"], "need --benchmark"),
        (["--benchmark-autosave"], "need --benchmark"),
        (
            ["numpy", "--benchmark", "--benchmark-json", "/dev/null/x"],
            "cannot write to /dev/null/x",
        ),
        (["numpy", "python", "--benchmark", "--benchmark-autosave"], "name one backend"),
    ],
)
def test_bad_input_is_one_line(call, monkeypatch, arguments, complaint):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = call("test", *arguments)
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    assert complaint in done.stderr
    assert done.stderr.startswith("nnbench: error: ")
    assert done.stderr.count("\n") == 1


def test_a_torch_with_cuda_whose_devices_are_hidden_is_unavailable(call, monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("NNBENCH_PLUGINS", "torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = call("test", "torch-cuda")
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    reason = "torch-cuda is unavailable: no CUDA device: CUDA_VISIBLE_DEVICES hides all"
    assert done.stderr == f"nnbench: error: {reason}\n"


def test_without_pytest_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setattr(distributions, "is_installed", lambda _: False)
    done = call("test", "numpy")
    assert done.code == ExitCode.USAGE
    assert done.stderr.endswith(
        "nnbench test needs pytest and pytest-benchmark: pip install 'nnbench-harness[test]'\n"
    )


@pytest.mark.filterwarnings("default::nnbench.contract.errors.PluginWarning")
def test_plugin_that_ends_its_process_is_not_loaded(call, monkeypatch):
    """Else it would end this process, and then the session, without a word."""
    path = variables("elsewhere")["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("NNBENCH_TEST_IMPORT", "dies")
    asked = []

    def note(*_, plugins, **__):
        asked.extend(plugins)
        return execution.Tested("numpy", [], 0.0)

    monkeypatch.setattr(execution, "test", note)
    done = call("test", "numpy")
    [warning] = done.stderr.splitlines()
    assert warning.endswith(
        "'elsewhere' of nnbench-elsewhere 1.0 is left out: its process ended with status 3"
    )
    assert "numpy@nnbench-harness" in asked
    assert not any("elsewhere" in each for each in asked)


def test_threads_are_set_before_the_process_starts():
    done = run("numpy[threads=2]", *QUICK, plugins="numpy")
    assert done.returncode == ExitCode.OK, done.stdout
    assert "numpy[threads=2]: 16 passed" in done.stdout


def test_verbose_shows_what_pytest_prints():
    done = run("honest", "-v", "--", "-k", "logits_match")
    assert "conformance::honest::test_logits_match_the_reference PASSED" in done.stdout
