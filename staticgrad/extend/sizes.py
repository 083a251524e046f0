"""Sizes of axes: numbers, named sizes, and arithmetic that holds for both."""

from staticgrad.language.types.dim import (
    Dim,
    FloorDiv,
    Named,
    Size,
    collecting_guards,
    equal,
    evaluate,
    floordiv,
    maximum,
    minimum,
    named_sizes,
)

# fmt: off
__all__ = [
    "collecting_guards", "Dim", "equal", "evaluate", "FloorDiv", "floordiv", "maximum",
    "minimum", "Named", "named_sizes", "Size",
]
# fmt: on
