"""The calls from lower packages to higher ones: the only upward imports, made when they run.

Import statements point down only (``pyproject.toml`` has the layers). Beside what is listed here,
higher packages register themselves in lower ones: ``set_default_kind`` and ``register_parameters``
(``ir``), ``TRANSPOSES`` (``ops/cotangent.py``), and every class of an op, pass or policy by its
definition.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

#: Module -> why something below it calls it.
UPWARD: Final = {
    "staticgrad.support.config": "how much of a traceback is shown is a setting",
    "staticgrad.language.pictures": "a graph draws itself",
    "staticgrad.analysis.known": "functions of arrays alone are computed when they are called",
    "staticgrad.autodiff.forward": "tangents of loops, and of functions of eigenvalues",
    "staticgrad.autodiff.reverse": "the derivative of a loop is one of its body",
    "staticgrad.compiler.fusion.merging": "what a backward pass reads depends on what fuses",
    "staticgrad.compiler.fusion.groups": "what a backward pass reads depends on what fuses",
}


def up(module: str) -> Any:
    """A module of a higher layer, which is one of ``UPWARD``."""
    if module not in UPWARD:
        raise LookupError(f"{module} is not listed in {__name__}")
    return import_module(module)
