"""Whatever is wrong with the input: one line, exit code 2, no traceback, nothing written."""

import shlex
import subprocess
import sys

import pytest

from nnbench.contract.errors import ExitCode
from tests.plugins.helpers import environment, nnbench

START = "nnbench: error: "
TOY = ["-w", "toy-sigmoid", "-b", "numpy"]
LONG = "x" * 300
DIGITS = "9" * 5000
POSITIVE = ["--learning-rate", "--budget", "--timeout", "--target"]
COUNTS = ["--epochs", "--batch-size", "--rounds", "--threads"]

BACKENDS = [
    ("nump", "no backend named 'nump'; did you mean numpy? known: "),
    ("theano", "no backend named 'theano'; known: "),
    ("", "cannot read backend ''; write name or name[key=value,…]"),
    ("numpy,", "cannot read backend ''"),
    ("numpy[threads=1", "cannot read backend 'numpy[threads=1'"),
    ("numpy python", "cannot read backend 'numpy python'"),
    ("numpy[threads]", "numpy[threads]: write threads=value"),
    ("numpy[speed=9]", "numpy has no parameter 'speed'; known: threads"),
    ("numpy[threads=x]", "numpy[threads=x]: expected a value of type int"),
    ("numpy[threads=0]", "numpy[threads=0]: at least 1 thread is needed"),
    ("numpy[threads=10000]", "10000 threads are more than the "),
    ("torch-cpu[fused=maybe]", "torch-cpu[fused=maybe]: expected true or false"),
    ("all,nump", "no backend named 'nump'; did you mean numpy?"),
]
NUMBERS = [
    *[
        (option, value)
        for option in POSITIVE
        for value in ("0", "-1", "nan", "inf", "-inf", "1e999")
    ],
    *[(option, value) for option in POSITIVE for value in ("", "abc", "0,5", "1 2", "0x1p")],
    *[
        (option, value)
        for option in COUNTS
        for value in ("0", "-1", "1.5", "1e3", "", "abc", "nan")
    ],
    *[("--seed", value) for value in ("-1", "1.5", "", "abc", "inf")],
    *[("--epochs", DIGITS), ("--target", "101"), ("--target", "100.1%"), ("--target", "%")],
]
OPTIONS = [
    ("--workload mnis", "no workload named 'mnis'; did you mean mnist? known: mnist, "),
    ("--workload ''", "no workload named ''; known: mnist, "),
    ("--activation tanh", "'tanh' is not one of 'relu', 'sigmoid'"),
    ("--activation ''", "'' is not one of 'relu', 'sigmoid'"),
    ("--optimizer rmsprop", "'rmsprop' is not one of 'sgd', 'adam', 'adam-fresh'"),
    ("--optimizer ''", "'' is not one of 'sgd', 'adam', 'adam-fresh'"),
    ("--threads 10000", "10000 threads are more than the "),
    ("--baseline numpy -b python", "baseline 'numpy' is not among the backends of this run"),
    ("--baseline nump", "baseline 'nump' is not among the backends of this run"),
    ("--baseline ''", "baseline '' is not among the backends of this run"),
    ("--output ''", "Invalid value for '--output' / '-o': the name is empty"),
    ("--dataset ''", "no dataset or folder named ''; known: mnist, toy"),
    (
        "--dataset mnits",
        "no dataset or folder named 'mnits'; did you mean mnist? known: mnist, toy",
    ),
    ("--dataset /no/where", "no dataset or folder named '/no/where'; known: mnist, toy"),
    (f"--dataset {LONG}", f"no dataset or folder named '{LONG}'; known: mnist, toy"),
    ("--dataset toy", "toy: target values, but cross-entropy needs classes"),
    ("-w toy-sigmoid --target 90", "toy: no classes, so a target accuracy means nothing"),
    ("--quick=yes", "Option '--quick' does not take a value."),
    ("--bogus", "No such option '--bogus'"),
    ("more", "Got unexpected extra argument (more)"),
    ("--seed", "Option '--seed' requires an argument."),
]
WITH_LITTLE_MEMORY = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))  # less than what is drawn first
from nnbench.cli import main
main()
"""


def check(code, stdout, stderr):
    """Check that a command was refused in one line, and return what it says."""
    assert code == 2
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith(START)
    return line.removeprefix(START)


@pytest.fixture
def refuse(call, tmp_path):
    """Give a function that runs ``nnbench run``, and returns why it is refused."""

    def run(*arguments):
        before = set(tmp_path.rglob("*"))
        message = check(*call("run", *arguments))
        assert set(tmp_path.rglob("*")) == before
        return message

    return run


@pytest.mark.parametrize(("backend", "message"), BACKENDS)
def test_bad_backend_is_refused(refuse, backend, message):
    assert refuse("-b", backend).startswith(message)


@pytest.mark.parametrize(("option", "value"), NUMBERS)
def test_bad_number_is_refused(refuse, option, value):
    message = refuse(option, value)
    assert message.startswith("Invalid value for ")
    assert f"'{option}'" in message
    assert value.strip("%") in message


@pytest.mark.parametrize(
    "sizes", ["1,,2", "abc", "0", "", "-1", "1,0", "1.5", ",", "8,", "³", "1_0", "9" * 10, DIGITS]
)
def test_bad_layer_sizes_are_refused(refuse, sizes):
    reason = f"'{sizes}' is no list of layer sizes such as 128,64 (or none)"
    assert refuse("--hidden", sizes) == f"Invalid value for '--hidden': {reason}"


@pytest.mark.parametrize(("arguments", "message"), OPTIONS)
def test_bad_option_is_refused(refuse, arguments, message):
    assert message in refuse(*shlex.split(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "No such command 'bogus'."),
        (["list", "more"], "Got unexpected extra argument (more)"),
        (["info", "--jsn"], "No such option '--jsn'. Did you mean '--json'?"),
        (["--bogus"], "No such option '--bogus'"),
    ],
)
def test_bad_command_is_refused(call, arguments, message):
    assert check(*call(*arguments)).startswith(message)


def test_output_that_is_a_file_is_refused(refuse, plain_file):
    message = refuse(*TOY, "--output", plain_file)
    assert message == f"Invalid value for '--output' / '-o': Directory '{plain_file}' is a file."


def test_output_below_a_file_is_refused(refuse, plain_file):
    message = refuse(*TOY, "--output", plain_file / "run")
    what = f"cannot write to {plain_file / 'run'}: Not a directory"
    assert message == f"{what}; choose another place"


def test_output_that_the_system_refuses_is_refused(refuse):
    what = f"cannot write to {LONG}: File name too long"
    assert refuse(*TOY, "--output", LONG) == f"{what}; choose another place"


def test_output_that_holds_a_run_is_refused(refuse, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / ".lock").touch()  # as every run leaves it
    message = refuse(*TOY, "--output", tmp_path)
    assert message == f"{tmp_path} already holds a run; give another --output"
    assert (tmp_path / "run.json").read_text() == "{}"


def test_dataset_too_small_for_the_workload_is_refused(refuse, folder):
    message = refuse("-w", "mnist-lesson5", "--dataset", folder)
    assert message == f"{folder}: 60 training examples are too few to hold out 10,000"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train-images-idx3-ubyte", b"", "the file is empty"),
        ("t10k-labels-idx1-ubyte", b"label,1\n", "wrong magic number 0x6c616265"),
        ("train-labels-idx1-ubyte", b"\x1f\x8b\x08", "damaged gzip file ("),
        ("t10k-images-idx3-ubyte", b"\0\0\x08\x03", "truncated in its header"),
    ],
)
def test_damaged_dataset_is_refused(refuse, folder, name, content, reason):
    (folder / name).write_bytes(content)
    assert refuse("--dataset", folder).startswith(f"{folder / name}: {reason}")


def test_folder_without_a_dataset_is_refused(refuse, tmp_path):
    assert refuse("--dataset", tmp_path).startswith(f"{tmp_path}: no train-images-idx3-ubyte or ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", "1,,2"], "Invalid value for '--hidden': '1,,2' is no list of layer sizes"),
        (["--threads", "10000"], "10000 threads are more than the "),
    ],
)
def test_process_ends_with_one_line_and_code_2(arguments, message):
    done = nnbench("run", *arguments, env=environment())
    assert check(done.returncode, done.stdout, done.stderr).startswith(message)


def test_damaged_dataset_ends_the_process(folder):
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    done = nnbench("run", "-b", "numpy", "--dataset", folder, env=environment())
    message = check(done.returncode, done.stdout, done.stderr)
    assert message == f"{path}: truncated: 59 items, expected 60; get it again"


def test_backend_that_is_named_must_be_available():
    done = nnbench("run", "-b", "torch-cuda", env=environment(CUDA_VISIBLE_DEVICES=""))
    message = check(done.returncode, done.stdout, done.stderr)
    assert message.startswith("torch-cuda is unavailable: ")


def test_network_that_is_too_large_for_the_memory_ends_with_one_line(tmp_path):
    command = [sys.executable, "-c", WITH_LITTLE_MEMORY, "run", *TOY, "--hidden", "350000000"]
    command += ["--output", str(tmp_path / "run")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{START}Unable to allocate ")
    assert done.returncode == ExitCode.INTERNAL
