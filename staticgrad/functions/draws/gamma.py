"""Draws of the gamma distribution, by rejection, and of those that are made of it.

Gradients flow to parameters by implicit reparameterization (``ops.gamma_shapes``). Draws are made
as logarithms: of a small parameter most of them are smaller than any number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from staticgrad.errors import ArgumentError, RankError
from staticgrad.errors.wording import shown
from staticgrad.functions.draws.arguments import drawn_shape, floating_dtype, met_shape, not_from_0
from staticgrad.functions.nn import softmax
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.custom_jvp import custom_jvp
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.gamma_shapes import log_quantile_slope
from staticgrad.ops.operands import related
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.types.tensor import Shape


class GammaDraws:
    """The gamma, beta and Dirichlet distributions of a generator."""

    if TYPE_CHECKING:  # a generator's

        def _open(self, op: str, shape: Any, dtype: Any, *parameters: Operand) -> Any: ...
        def _operand(self, op: str, x: Operand) -> Any: ...
        def normal(
            self, loc: Operand = ..., scale: Operand = ..., shape: Any = ..., dtype: Any = ...
        ) -> Value: ...

    @public
    def gamma(self, a: Operand, scale: Operand = 1.0, shape: Any = None, dtype: Any = F32) -> Value:
        """Gamma of the shape parameter ``a``, times ``scale``; gradients flow to both.

        Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); of a below 1
        by u ** (1 / a). Every trip of its loop draws for all elements, until each has one: four to
        six trips for a million. 0 where a is 0, NaN below.

        Args:
            a: the shape parameter; ``gamma(df / 2, 2)`` is chi-squared.
            scale: the factor.
            shape: of the result; that in which both meet by default.
            dtype: floating.

        Raises:
            ArgumentError: a number a that is negative or NaN.
        """
        kind = floating_dtype("gamma", dtype)
        drawn = self._log_gamma("gamma", a, met_shape("gamma", shape, a, scale), kind)
        return functions.astype(functions.exp(drawn), kind) * scale

    @public
    def beta(self, a: Operand, b: Operand, shape: Any = None, dtype: Any = F32) -> Value:
        """Beta, as g / (g + h) of gamma draws g of a and h of b. Raises as ``gamma``."""
        kind = floating_dtype("beta", dtype)
        sizes = met_shape("beta", shape, a, b)
        first, last = (self._log_gamma("beta", each, sizes, kind) for each in (a, b))
        return functions.astype(functions.sigmoid(first - last), kind)

    @public
    def dirichlet(self, alpha: Operand, shape: Any = None, dtype: Any = F32) -> Value:
        """Shares that add up to 1 along the last axis, with positive parameters ``alpha``.

        Gamma draws over their sum. ``shape`` is that of the result without its last axis, that of
        alpha by default.
        """
        kind = floating_dtype("dirichlet", dtype)
        value = self._operand("dirichlet", alpha)
        if value.ndim < 1:
            raise RankError(
                f"dirichlet: alpha is {value.type}, and it needs an axis of parameters",
                hint="of two shares: beta(a, b)",
                related=related(value),
            )
        sizes = value.shape
        if shape is not None:
            sizes = (*drawn_shape("dirichlet", shape), value.shape[-1])
        drawn = self._log_gamma("dirichlet", value, sizes, kind)
        return functions.astype(softmax(drawn, -1), kind)

    def _log_gamma(self, op: str, a: Operand, sizes: Shape, kind: DType) -> Any:
        """The logarithm of gamma draws, in the compute dtype."""
        if not_from_0(a):
            raise ArgumentError(f"{op}: the parameter {shown(a)} is not a number from 0 on")
        wide = kind.compute
        given = functions.astype(self._operand(op, a), wide)
        return _as_drawn(self._accepted(given, sizes, wide), functions.broadcast_to(given, sizes))

    def _accepted(self, a: Any, sizes: Shape, kind: DType) -> Any:
        """The draws themselves, of a as it is; log(a) of an infinite one, NaN outside."""
        a = functions.stop_gradient(functions.broadcast_to(a, sizes))
        small = a < 1.0
        u, _ = self._open("gamma", sizes, kind)
        boost = functions.where(small, functions.log(u) / a, 0.0)
        d = functions.where(small, a + 1.0, a) - 1.0 / 3.0
        c = 1.0 / functions.sqrt(9.0 * d)

        def propose(state: tuple[Any, Any]) -> tuple[Any, Any]:
            kept, found = state
            t = c * self.normal(shape=sizes, dtype=kind)
            level, _ = self._open("gamma", sizes, kind)
            proper = t > -1.0
            logarithm = functions.log1p(functions.where(proper, t, 0.0))
            # z**2 / 2 + d * (1 - v + log(v)) of v = (1 + t)**3 and t = c * z
            ratio = 4.5 * d * t * t + 3.0 * d * (logarithm - t - t * t - t * t * t / 3.0)
            new = proper & (functions.log(level) < ratio) & ~found
            return functions.where(new, 3.0 * logarithm, kept), found | new

        settled = ~((a > 0.0) & (a < math.inf))
        start = functions.zeros_like(a), settled
        kept, _ = functions.while_loop(lambda state: ~functions.all(state[1]), propose, start)
        return functions.log(d) + kept + boost


@custom_jvp(name="staticgrad.gamma_draw")
def _as_drawn(drawn: Any, a: Any) -> Any:
    """``drawn``, which moves with the parameter that it was drawn with."""
    return drawn


@_as_drawn.rule
def _moved(tangents: tuple[Any, Any], out: Any, drawn: Any, a: Any) -> Any:
    slope = log_quantile_slope(functions.astype(a, F64), functions.astype(out, F64))
    return tangents[1] * functions.astype(slope, out.dtype)
