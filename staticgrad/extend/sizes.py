"""Sizes of axes: numbers, named sizes, and arithmetic that holds for both."""

from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import (
    FloorDiv,
    Guard,
    Named,
    at_least,
    collecting_guards,
    dim,
    divide_exactly,
    equal,
    evaluate,
    floordiv,
    is_at_least,
    maximum,
    minimum,
    named_sizes,
    suggest_least_sizes,
)

# fmt: off
__all__ = [
    "at_least", "collecting_guards", "dim", "divide_exactly", "equal", "evaluate",
    "floordiv", "FloorDiv", "Guard", "hint_value", "is_at_least", "maximum", "minimum", "Named",
    "named_sizes", "suggest_least_sizes",
]
# fmt: on
