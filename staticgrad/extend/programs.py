"""Traced functions: their arguments, sizes and feeds."""

from staticgrad.analysis.binding import bind_sizes, input_label, name_feeds
from staticgrad.analysis.evaluate import at_sizes, evaluate
from staticgrad.compiler.compiling.compiler import Compiled, compile
from staticgrad.compiler.runtime.c_functions import pair_functions
from staticgrad.language.calls.pickling import reduce_wrapper
from staticgrad.language.ir.advances import next_steps
from staticgrad.language.ir.copies import NodeCopies
from staticgrad.language.ir.python_numbers import Arithmetic, Number
from staticgrad.native import wait
from staticgrad.programs.arguments import (
    CallArguments,
    bound_to,
    is_number,
    signature_of,
    static_key,
)
from staticgrad.programs.function import Function, traced_call
from staticgrad.programs.traced import Out, TracedProgram
from staticgrad.programs.transformed import made_once

# fmt: off
__all__ = [
    "Arithmetic", "at_sizes", "bind_sizes", "bound_to", "CallArguments", "compile", "Compiled",
    "evaluate", "Function", "input_label", "is_number", "made_once", "name_feeds", "next_steps",
    "NodeCopies", "Number", "Out", "pair_functions", "reduce_wrapper", "signature_of",
    "static_key", "traced_call", "TracedProgram", "wait",
]
# fmt: on
