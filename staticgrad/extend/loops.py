"""Loops and branches, in the form that other functions call."""

from staticgrad.language.functions.loops.loops import (
    associative_scan,
    cond,
    fori_loop,
    scan,
    switch,
    while_loop,
)

# fmt: off
__all__ = [
    "associative_scan", "cond", "fori_loop", "scan", "switch", "while_loop",
]
# fmt: on
