"""Kernels as one loop nest, with directives beside them that say how the loops run.

    source = nest.source(kernel, machine)  # readable Python

``lower`` makes the records of a nest; ``text`` prints them in the kernel language, which Numba
compiles and plain Python runs; ``native.language`` writes LLVM IR straight from the records.
"""

from __future__ import annotations

from staticgrad.compiler.nest.lower import lower
from staticgrad.compiler.nest.records import Function
from staticgrad.compiler.nest.text import print_nest
from staticgrad.language.ir.kernels.directives import Directives
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.native.language.frontend import remember
from staticgrad.native.machine import Machine

__all__ = ["source"]


def source(kernel: Kernel, machine: Machine, directives: Directives | None = None) -> str:
    """Return the source of a kernel under directives; None: those that it has by default.

    Raises:
        IllegalDirectiveError: a directive is not legal.
        UnsupportedError: no source can be written for the kernel.
    """
    found = lower(kernel, machine, directives)
    text = print_nest(found)
    functions = (f for f in found.functions.values() if isinstance(f, Function))
    remember(text, {f.name: f.procedure for f in (*functions, found.entry)})
    return text
