"""``python -m benchmarks [NAME] ...``: the suite, or a benchmark by name.

Without a name the suite runs; ``python -m benchmarks --help`` lists its options and
``python -m benchmarks NAME --help`` those of a benchmark.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from benchmarks.commands import BENCHMARKS, module_of
from benchmarks.compiler.paths import as_told

#: Those that measure first results; the others measure full code.
_OF_FIRST_RESULTS: Final = (
    "suite", "models", "compile_times", "first_models", "torch_programs",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark that the first argument names, else the suite; return the exit code."""
    options = list(sys.argv[1:] if arguments is None else arguments)
    name = "suite"
    if options and not options[0].startswith("-"):
        name = options.pop(0)
        if name not in BENCHMARKS:
            raise SystemExit(f"no benchmark is named {name!r}: {', '.join(BENCHMARKS)}")
    if name not in _OF_FIRST_RESULTS:
        os.environ.setdefault("STATICGRAD_TIER", "full")
    saved, sys.argv = sys.argv, [f"python -m benchmarks {name}", *options]  # it is parsed there
    try:
        with as_told():
            return int(import_module(module_of(name)).main() or 0)
    finally:
        sys.argv = saved


if __name__ == "__main__":
    sys.exit(main())
