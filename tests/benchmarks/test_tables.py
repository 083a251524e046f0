"""Every program of every table of the benchmarks is built: its graph, or what is called."""

import warnings
from importlib import import_module

import pytest

from benchmarks.commands import BENCHMARKS, module_of
from staticgrad.errors import MissingPackageError

#: Commands whose tables have no programs, or programs that ``test_adapters`` runs, each.
WITHOUT = {"gradbench", "lines", "pages"}
#: Commands whose programs take seconds: graphs of 50,000 nodes, 124 million parameters, examples.
SLOW = {"compile_times", "first_models", "peak_kinds"}
#: Commands with the programs of another one.
SAME = {"exports": "suite", "prices": "ablation", "tuning": "ablation"}
OURS = {"benchmarks", "examples", "passes", "staticgrad"}
COMMANDS = [
    pytest.param(command, marks=[pytest.mark.slow] * (command in SLOW))
    for command in BENCHMARKS
    if command not in WITHOUT | SAME.keys()
]


def builders_of(command):
    return import_module(module_of(command)).builders


def missing_package(error):
    """The package that is not installed; a module or name of ours that is missing is a mistake."""
    if isinstance(error, MissingPackageError):
        return error.headline
    package = (error.name or "").partition(".")[0]
    if not package or package in OURS:
        raise error
    return package


@pytest.mark.parametrize("command", COMMANDS)
def test_every_program_of_a_table_is_built(command):
    """Programs of packages that are not installed are left out."""
    count, missing = 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages
        try:
            builders = builders_of(command)()
        except ImportError as error:
            pytest.skip(f"not installed: {missing_package(error)}")
        for name, build in builders.items():
            try:
                assert build() is not None
                count += 1
            except ImportError as error:
                missing.add(missing_package(error))
            except Exception as error:
                error.add_note(f"python -m benchmarks {command}: {name}")
                raise
    if not count:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")


@pytest.mark.parametrize(("command", "source"), SAME.items())
def test_commands_of_the_same_programs_have_the_same_builders(command, source):
    assert builders_of(command) is builders_of(source)
