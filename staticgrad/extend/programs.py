"""Traced functions: their arguments, sizes and feeds."""

from staticgrad.analysis.binding import bind_sizes, input_label, name_feeds
from staticgrad.analysis.evaluate import at_sizes, evaluate
from staticgrad.compiler.compiling.compiler import Compiled, compile
from staticgrad.compiler.runtime.c_functions import pair_functions
from staticgrad.programs.arguments import CallArguments
from staticgrad.programs.function import Function, traced_call
from staticgrad.programs.traced import Out, TracedProgram
from staticgrad.programs.transformed import made_once

# fmt: off
__all__ = [
    "at_sizes", "bind_sizes", "CallArguments", "compile", "Compiled", "evaluate", "Function",
    "input_label", "made_once", "name_feeds", "Out", "pair_functions", "traced_call",
    "TracedProgram",
]
# fmt: on
