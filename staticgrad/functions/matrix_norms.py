"""Norms of matrices by their orders, for ``sg.norm`` and ``sg.linalg``."""

from __future__ import annotations

import math
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.functions import aggregate as of
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.linalg.svd import SVDVals
from staticgrad.ops.operands import related
from staticgrad.ops.powers import flat_root


def norm_of_matrices(op: str, x: AnyValue, ord: Any, keepdims: bool) -> AnyValue:
    """The norms of floating matrices, the last two axes."""
    if ord is None or ord == "fro":
        return flat_root(of.sum(functions.square(x), (-2, -1), keepdims=keepdims))
    if ord in (1, -1, math.inf, -math.inf):
        along, over = (-2, -1) if ord in (1, -1) else (-1, -2)
        sums = of.sum(functions.absolute(x), along, keepdims=True)
        found = (of.max if ord > 0 else of.min)(sums, over, keepdims=True)
    elif ord in (2, -2, "nuc"):
        values: Any = SVDVals()(x)
        join = of.sum if ord == "nuc" else of.max if ord == 2 else of.min
        found = functions.expand_dims(join(values, -1, keepdims=True), -1)
    else:
        raise ArgumentError(
            f"{op}: no norm {ord!r} of matrices",
            hint="'fro', 'nuc', 1, -1, 2, -2, inf, -inf",
            related=related(x),
        )
    return found if keepdims else functions.squeeze(found, (-2, -1))
