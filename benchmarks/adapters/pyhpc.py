"""A backend of pyhpc-benchmarks: its own NumPy programs, traced and compiled.

With a checkout of https://github.com/dionhaefner/pyhpc-benchmarks, whose run.py takes the rest:

    python -m benchmarks.adapters.pyhpc CHECKOUT benchmarks/equation_of_state -b numpy -b staticgrad

Nothing is written into the checkout. The benchmark's ``*_numpy`` module runs under ``sg.function``,
on one thread as all backends there. That works for ``equation_of_state``; the others write into
slices of arrays, which a traced function does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import staticgrad as sg

NAME: Final = "staticgrad"


def setup(device: str = "cpu") -> Iterator[ModuleType]:
    """The backend's set-up, as ``backends.py`` has one for each."""
    if device != "cpu":
        raise RuntimeError("staticgrad runs on the CPU")
    yield sg


@cache
def compile_run(module: ModuleType) -> Callable[..., Any]:
    """The ``run`` of a NumPy implementation, compiled."""
    program = sg.function(lambda *arrays: module.run(*arrays), threads=1)
    return lambda *arrays, device="cpu": program(*arrays)


def install() -> None:
    """Add the backend to the suite, whose folder is the first on the path."""
    backends: Any = import_module("backends")
    backends.__backends__[NAME] = backends.SetupContext(setup)
    benchmark: Any = import_module("benchmarks.equation_of_state")
    others = benchmark.try_import

    def try_import(backend: str) -> Any:
        if backend != NAME:
            return others(backend)
        return SimpleNamespace(run=compile_run(others("numpy")))

    benchmark.try_import = try_import
    benchmark.__implementations__ = (*benchmark.__implementations__, NAME)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m benchmarks.adapters.pyhpc CHECKOUT ARGUMENTS...")
    checkout = str(Path(sys.argv.pop(1)).resolve())
    for name in [module for module in sys.modules if module.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]  # theirs has the same name
    sys.path[:0] = [checkout]
    os.chdir(checkout)
    install()
    sys.argv[0] = "run.py"
    import_module("run").main()


if __name__ == "__main__":
    main()
