"""Element types, and rules by which they meet."""

from staticgrad.language.types.dtype import (
    BF16,
    BOOL,
    C64,
    C128,
    COMPLEX_DTYPES,
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    complex_of,
    promote,
)

# fmt: off
__all__ = [
    "BF16", "BOOL", "C128", "C64", "COMPLEX_DTYPES", "complex_of", "F16",
    "F32", "F64", "I16", "I32", "I64", "I8", "promote", "U16", "U32", "U64", "U8",
]
# fmt: on
