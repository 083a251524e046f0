"""The libraries: modules here have ``IMPLEMENTATIONS``; a new one is found without being listed.

Modules import the library they adapt only when they are asked to ``load`` it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from benchmarks.harness.implementation import Implementation
from benchmarks.harness.registry import read_lists


def all_implementations() -> dict[str, type[Implementation]]:
    """Every implementation by name, staticgrad first."""
    by_name = {
        implementation.name: implementation
        for implementation in read_lists(sys.modules[__name__], "IMPLEMENTATIONS")
    }
    return dict(sorted(by_name.items(), key=lambda pair: (pair[1].peer, len(pair[0]))))


def is_installed(implementation: type[Implementation]) -> bool:
    """Return whether its package can be imported; the package is not loaded."""
    try:
        return find_spec(implementation.package) is not None
    except ModuleNotFoundError:
        return False
