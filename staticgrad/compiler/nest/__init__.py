"""Kernels as one loop nest, with directives beside them that say how the loops run.

    found = nest.lower(kernel, machine)    # records, of which native.language writes LLVM IR
    print(nest.print_nest(found))          # readable Python

``lower`` makes the records of a nest; ``text`` prints them in the kernel language, which plain
Python runs.
"""

from __future__ import annotations

from staticgrad.compiler.nest.lower import lower
from staticgrad.compiler.nest.records import functions_of
from staticgrad.compiler.nest.text import print_nest

__all__ = ["functions_of", "lower", "print_nest"]
