"""Functions with derivatives that you write, and calls of Python functions at run time."""

from staticgrad.language.ops.custom import (
    CustomFunction,
    custom_jvp,
    custom_vjp,
    host_call,
    numba_call,
)

# fmt: off
__all__ = [
    "custom_jvp", "custom_vjp", "CustomFunction", "host_call", "numba_call",
]
# fmt: on
