"""Loops and branches, in the form that other functions call."""

from staticgrad.functions.loops import (
    associative_scan,
    bounded_iterations,
    check_function,
    cond,
    fori_loop,
    is_eager,
    scan,
    switch,
    while_loop,
)
from staticgrad.functions.tracing import Trace, Traced, call_traced, check_structure, named_after
from staticgrad.language.ir.bodies import body_input, body_of, inline_body

# fmt: off
__all__ = [
    "associative_scan", "body_input", "body_of", "bounded_iterations", "call_traced",
    "check_function", "check_structure", "cond", "fori_loop", "inline_body", "is_eager",
    "named_after", "scan", "switch", "Trace", "Traced", "while_loop",
]
# fmt: on
