"""Kernels as one loop nest, with directives beside them that say how the loops run.

    source = nest.source(kernel, machine)  # readable Python; None: the nest does not cover it yet

``lower`` makes the records of a nest; ``text`` prints them in the kernel language, which Numba
compiles and plain Python runs; ``llvm`` writes machine code's text straight from them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Columns, Loop, nested
from staticgrad.native.machine import Machine
from staticgrad.nest.directives import Directives
from staticgrad.nest.llvm import remember
from staticgrad.nest.lower import lower
from staticgrad.nest.records import UnsupportedError
from staticgrad.nest.text import print_nest

__all__ = ["REFUSED", "is_alone", "source"]

#: How many kernels this process did not write as nests, by the reason.
REFUSED: Final[Counter[str]] = Counter()


def is_alone(kernel: Kernel) -> bool:
    """Return whether nests alone write a kernel: rows in groups, in strips or as lanes of vectors,
    loops of stages, columns."""
    if kernel.grouped or kernel.in_strips or kernel.in_lanes:
        return True
    return any(isinstance(stage, Columns | Loop) for stage, _ in nested(kernel.stages))


def source(kernel: Kernel, machine: Machine, directives: Directives | None = None) -> str | None:
    """Return the source of a kernel, or None if the nest does not cover it yet.

    Raises:
        IllegalDirectiveError: a directive is not legal.
    """
    try:
        found = lower(kernel, machine, directives)
    except UnsupportedError as reason:
        REFUSED[str(reason)] += 1
        return None
    text = print_nest(found)
    remember(found, text)
    return text
