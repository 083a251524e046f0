"""Lower a kernel to one loop nest, under directives that say how its loops run.

    loops = nest.lower(kernel, machine)    # records, of which native.language writes LLVM IR
    print(nest.print_nest(loops))          # readable Python

``lower`` makes the records of a nest; ``text`` prints them in the kernel language, which plain
Python runs.
"""

from __future__ import annotations

from staticgrad.compiler.nest.lower import lower
from staticgrad.compiler.nest.records import functions_of
from staticgrad.compiler.nest.text import print_nest

__all__ = ["functions_of", "lower", "print_nest"]
