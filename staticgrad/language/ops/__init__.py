"""The ops: one class each, by family, with the public functions that apply one op to its operands.

Functions that are composed of several ops stand in ``staticgrad/functions``, which
publishes all.
"""

from staticgrad.language.ir.pairs import register_readings

# The families whose ops are applied by name in ``basic``.
from staticgrad.language.ops import (  # noqa: F401
    arithmetic,
    convert,
    logic,
    movement,
    reduce,
    selection,
    transcendental,
)


def _complex_readings() -> None:
    from staticgrad.language.ops import complex_readings  # noqa: F401 - it fills Complex.readings


register_readings(_complex_readings)
