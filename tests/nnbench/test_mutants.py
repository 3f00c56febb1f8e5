"""What `make mutants` is told of modules, tests and functions is there; the rest it says itself."""

from operator import attrgetter
from pkgutil import resolve_name

import pytest

from tests import mutants

CONFIG = mutants.config()


def test_modules_and_tests_are_files():
    tests = [text for text in CONFIG["pytest_add_cli_args_test_selection"] if "/" in text]
    names = [*CONFIG["only_mutate"], *CONFIG["also_copy"], *tests]
    assert [name for name in names if not (mutants.ROOT / name.partition("::")[0]).exists()] == []


@pytest.mark.parametrize("entry", mutants.survivors(), ids=lambda entry: entry["functions"][0])
def test_survivors_are_in_functions_of_these_modules(entry):
    assert entry["reason"]
    modules = {path.removesuffix(".py").replace("/", "."): path for path in CONFIG["only_mutate"]}
    for function in entry["functions"]:
        [module] = [name for name in modules if function.startswith(f"{name}.")]
        rest = function.removeprefix(f"{module}.")
        assert callable(attrgetter(rest)(resolve_name(module)))
