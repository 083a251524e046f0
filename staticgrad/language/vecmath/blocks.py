"""The table of the vector-math blocks: name to definition, and the error of each.

A program has few blocks, and a file takes as long to load as a small kernel to write: a block's
file is loaded when the block is expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from staticgrad.language.ir.expr import Expr
from staticgrad.language.types.dtype import F32, F64, DType

#: The blocks that each file of this package defines.
_DEFINED_IN: Final[Mapping[str, str]] = {
    "bessel": "i0e i1e",
    "division": "fmod floor_quotient",
    "error_function": "erf erfc",
    "exponential": "exp expm1 exp2 sinh cosh tanh",
    "gamma": "gamma",
    "gamma_function": "gammaln digamma trigamma",
    "incomplete_beta": "betainc betaln",
    "incomplete_gamma": "gammainc gammaincc",
    "inverse_trigonometric": "atan atan2 asin acos",
    "logarithm": "log log1p log2 log10 logit",
    "normal_quantile": "ndtri erfinv",
    "power": "pow int_pow cbrt",
    "scaled_error_function": "erfcx ndtr",
    "trigonometric": "sin cos tan",
    "zeta": "zeta",
}
#: Blocks whose names Python has taken: their functions end in an underscore.
_TAKEN: Final = ("pow",)


class _Definitions(Mapping[str, Callable[..., Expr]]):
    """The functions that define blocks, by name; a file is loaded by its first block."""

    def __init__(self) -> None:
        pairs = _DEFINED_IN.items()
        self._files = {name: file for file, names in pairs for name in names.split()}

    def __getitem__(self, name: str) -> Callable[..., Expr]:
        module = import_module(f"staticgrad.language.vecmath.{self._files[name]}")
        function: Callable[..., Expr] = getattr(module, f"{name}_" if name in _TAKEN else name)
        return function

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


DEFINITIONS: Final[Mapping[str, Callable[..., Expr]]] = _Definitions()

#: The blocks of many lines: kernels call one function that is compiled once for all of them.
LONG: Final = frozenset(
    ("erfinv", "erfcx", "ndtr", "gammaln", "digamma", "trigamma", "i0e", "i1e")
) | frozenset(("gamma", "zeta", "gammainc", "gammaincc", "betainc", "betaln"))

#: (block, dtype) -> a bound on the distance from the true value, for all inputs, in units of the
#: last place of the true value's binade (of the denormal spacing, for denormal results). f32 blocks
#: of one operand: the maximum over all 2**32 inputs, rounded up. Others: above the largest of some
#: millions of samples, dense where errors peak (so f32 ndtri). floor_quotient is exact below 2**49
#: (f32: 2**20) and rounds as NumPy's from there on. Left out are operands of gammaln, digamma and
#: trigamma below 0, results of betaln next to 0, and betainc where it is 1 minus the other tail.
ULP: Final[Mapping[tuple[str, DType], float]] = MappingProxyType(
    {
        ("exp", F32): 0.95, ("exp", F64): 0.95,
        ("expm1", F32): 1.6, ("expm1", F64): 1.9,
        ("log", F32): 1.0, ("log", F64): 1.0,
        ("log1p", F32): 1.6, ("log1p", F64): 1.6,
        ("sin", F32): 1.7, ("sin", F64): 0.85,
        ("cos", F32): 1.7, ("cos", F64): 0.85,
        ("tan", F32): 1.6, ("tan", F64): 1.8,
        ("sinh", F32): 2.2, ("sinh", F64): 2.2,
        ("cosh", F32): 1.5, ("cosh", F64): 1.5,
        ("tanh", F32): 2.5, ("tanh", F64): 2.5,
        ("erf", F32): 1.95, ("erf", F64): 1.8,
        ("pow", F32): 0.6, ("pow", F64): 1.2,
        ("exp2", F32): 0.95, ("exp2", F64): 1.0,
        ("log2", F32): 1.4, ("log2", F64): 1.2,
        ("log10", F32): 1.15, ("log10", F64): 1.15,
        ("logit", F32): 1.8, ("logit", F64): 1.7,
        ("cbrt", F32): 0.51, ("cbrt", F64): 0.51,
        ("atan", F32): 1.5, ("atan", F64): 1.5,
        ("atan2", F32): 1.7, ("atan2", F64): 1.7,
        ("asin", F32): 1.65, ("asin", F64): 1.75,
        ("acos", F32): 1.1, ("acos", F64): 1.2,
        ("erfc", F32): 1.6, ("erfc", F64): 1.9,
        ("ndtri", F32): 5.0, ("ndtri", F64): 5.0,
        ("erfinv", F32): 5.0, ("erfinv", F64): 5.5,
        ("erfcx", F32): 3.5, ("erfcx", F64): 4.0,
        ("ndtr", F32): 4.5, ("ndtr", F64): 4.5,
        ("gamma", F32): 0.6, ("gamma", F64): 6.5,
        ("gammaln", F32): 4.5, ("gammaln", F64): 5.0,
        ("digamma", F32): 5.5, ("digamma", F64): 6.5,
        ("trigamma", F32): 3.5, ("trigamma", F64): 3.5,
        ("i0e", F32): 4.6, ("i0e", F64): 5.0,
        ("i1e", F32): 4.0, ("i1e", F64): 3.5,

        ("gammainc", F32): 0.7, ("gammainc", F64): 14.0,
        ("gammaincc", F32): 0.7, ("gammaincc", F64): 14.0,
        ("betainc", F32): 0.7, ("betainc", F64): 12.0,
        ("betaln", F32): 0.7, ("betaln", F64): 14.0,
        ("zeta", F32): 0.6, ("zeta", F64): 5.0,
        ("fmod", F32): 0.0, ("fmod", F64): 0.0,
        ("floor_quotient", F32): 2.0, ("floor_quotient", F64): 2.0,
    }
)  # fmt: skip


def expand(op: str, *args: Expr) -> Expr:
    """Return the definition of the block ``op`` over its operands, in plain primitives.

    Raises:
        KeyError: ``op`` is no block. TypeError: wrong operand count.
    """
    return DEFINITIONS[op](*args)
