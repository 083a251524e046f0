"""Functions of elements that PyTorch and JAX call by one name, and mean the same by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import staticgrad.language.functions as sg
from staticgrad.language.functions import special

#: Each by its name; the tables of both libraries have these rows.
ELEMENTS: Final[dict[str, Callable[..., Any]]] = {
    "acos": lambda x: sg.arccos(x),
    "acosh": lambda x: sg.arccosh(x),
    "asin": lambda x: sg.arcsin(x),
    "asinh": lambda x: sg.arcsinh(x),
    "atan": lambda x: sg.arctan(x),
    "atan2": lambda x, y: sg.arctan2(x, y),
    "atanh": lambda x: sg.arctanh(x),
    "ceil": lambda x: sg.ceil(x),
    "cos": lambda x: sg.cos(x),
    "cosh": lambda x: sg.cosh(x),
    "digamma": lambda x: special.digamma(x),
    "erf": lambda x: sg.erf(x),
    "erfc": lambda x: sg.erfc(x),
    "exp": lambda x: sg.exp(x),
    "exp2": lambda x: sg.exp2(x),
    "expm1": lambda x: sg.expm1(x),
    "floor": lambda x: sg.floor(x),
    "igamma": lambda x, y: special.gammainc(x, y),
    "igammac": lambda x, y: special.gammaincc(x, y),
    "lgamma": lambda x: special.gammaln(x),
    "log": lambda x: sg.log(x),
    "log1p": lambda x: sg.log1p(x),
    "mul": lambda x, y: x * y,
    "neg": lambda x: -x,
    "rsqrt": lambda x: 1.0 / sg.sqrt(x),
    "sign": lambda x: sg.sign(x),
    "sin": lambda x: sg.sin(x),
    "sinh": lambda x: sg.sinh(x),
    "sqrt": lambda x: sg.sqrt(x),
    "square": lambda x: sg.square(x),
    "tan": lambda x: sg.tan(x),
    "tanh": lambda x: sg.tanh(x),
}
