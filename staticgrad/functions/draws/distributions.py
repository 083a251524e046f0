"""Draws of a generator that are made of its bits: distributions, choices, orders.

Continuous ones are quantiles of a uniform draw in (0, 1), so that gradients flow to parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.functions.draws.arguments import drawn_shape, floating_dtype, met_shape
from staticgrad.functions.draws.folded import Stream
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.normal_distribution import Ndtr, Ndtri
from staticgrad.ops.operands import as_value, axis_of, related
from staticgrad.types.dim import Size, equal
from staticgrad.types.dtype import F32, F64, I64, U64, DType
from staticgrad.types.tensor import Shape


class Distributions:
    """What a generator draws beside the simplest; ``sg.random.Generator`` is one."""

    if TYPE_CHECKING:  # a generator's
        key: Any

        def _bits(self, shape: Shape, kind: DType, stream: Stream, half: int = 0) -> Any: ...
        def _stream(self) -> Stream: ...
        def integers(self, low: int, high: int, shape: Any = ..., dtype: Any = ...) -> Value: ...
        def normal(
            self, loc: Operand = ..., scale: Operand = ..., shape: Any = ..., dtype: Any = ...
        ) -> Value: ...

    @public
    def gumbel(
        self, loc: Operand = 0.0, scale: Operand = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Gumbel, ``loc - scale * log(-log(u))``: the largest of many; gradients flow to both."""
        u, kind = self._open("gumbel", shape, dtype, loc, scale)
        return _cast(-functions.log(-functions.log(u)), kind) * scale + loc

    @public
    def logistic(
        self, loc: Operand = 0.0, scale: Operand = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Logistic, ``loc + scale * log(u / (1 - u))``. Raises as ``gumbel``."""
        u, kind = self._open("logistic", shape, dtype, loc, scale)
        return _cast(functions.log(u) - functions.log1p(-u), kind) * scale + loc

    @public
    def laplace(
        self, loc: Operand = 0.0, scale: Operand = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Laplace: exponential with mean ``scale`` to both sides of loc. Raises as ``gumbel``."""
        u, kind = self._open("laplace", shape, dtype, loc, scale)
        side = u - 0.5
        size = -functions.log1p(-2.0 * functions.absolute(side))
        return _cast(functions.copysign(size, side), kind) * scale + loc

    @public
    def lognormal(
        self, mean: Operand = 0.0, sigma: Operand = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """The exponential of a normal draw of this mean and deviation. Raises as ``gumbel``."""
        return functions.exp(self.normal(mean, sigma, shape, dtype))

    @public
    def truncated_normal(
        self, low: Operand, high: Operand, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Standard normal in [low, high], which gradients flow to; as ``jax.random`` has it.

        The quantile of a uniform draw between the distribution functions of both, in the lower half
        where they are small. Raises as ``gumbel``.
        """
        u, kind = self._open("truncated_normal", shape, dtype, low, high)
        first, last = (_cast(each, kind.compute) for each in (low, high))
        upper = first > 0.0
        below = functions.where(upper, -last, first)
        above = functions.where(upper, -first, last)
        start, end = Ndtr()(below), Ndtr()(above)
        z = functions.clip(Ndtri()(start + (end - start) * u), below, above)
        return _cast(functions.where(upper, -z, z), kind)

    @public
    def multivariate_normal(
        self, mean: Operand, cov: Operand, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Normal vectors of a mean [..., n] and a covariance [..., n, n], by its Cholesky factor.

        Args:
            mean, cov: gradients flow to both.
            shape: that of the result without its last axis; that in which both meet by default.
            dtype: floating.
        """
        from staticgrad.functions.linalg.factors import cholesky  # LAPACK, for who draws so

        kind = floating_dtype("multivariate_normal", dtype)
        centre = functions.astype(self._operand("multivariate_normal", mean), kind)
        spread = functions.astype(self._operand("multivariate_normal", cov), kind)
        if centre.ndim < 1 or spread.ndim < 2:
            raise RankError(
                f"multivariate_normal: a mean {centre.type} and a covariance {spread.type}",
                hint="[..., n] and [..., n, n]",
                related=related(centre, spread),
            )
        met = met_shape("multivariate_normal", None, centre, spread[..., 0])
        if shape is not None:
            met = (*drawn_shape("multivariate_normal", shape), met[-1])
        z = functions.astype(self.normal(shape=met, dtype=dtype), kind)
        return functions.matvec(cholesky(spread), z) + centre

    @public
    def categorical(self, logits: Operand, axis: int = -1, shape: Any = None) -> Value:
        """Positions (int64) along an axis with probabilities ``softmax(logits)``: Gumbel's maximum.

        Args:
            logits: floating; -inf never comes.
            axis: that of the classes.
            shape: of the result; the rest of the logits broadcasts to it, whose shape it is by
                default. ``(1000,)`` draws a thousand of the same logits.
        """
        value = self._operand("categorical", logits)
        value = value if value.dtype.is_float else functions.astype(value, F64)
        last = functions.moveaxis(value, axis_of("categorical", axis, value), -1)
        sizes = last.shape
        if shape is not None:
            sizes = (*drawn_shape("categorical", shape), last.shape[-1])
        noise = self.gumbel(shape=sizes, dtype=value.dtype.compute)
        return functions.argmax(functions.broadcast_to(last, sizes) + noise, -1)

    @public
    def permutation(self, x: int | Operand, axis: int = 0) -> Value:
        """Return the slices of x along ``axis`` in random order; of an integer n, 0 to n - 1."""
        if isinstance(x, int):
            return functions.argsort(self._words(drawn_shape("permutation", x)))
        value = self._operand("permutation", x)
        place = axis_of("permutation", axis, value)
        order = functions.argsort(self._words((value.shape[place],)))
        return functions.take(value, order, place)

    @public
    def choice(
        self, x: int | Operand, shape: Any = (), replace: bool = True, p: Operand | None = None,
        axis: int = 0,
    ) -> Value:  # fmt: skip
        """Slices of x, or numbers below x, drawn at random, as ``np.random.Generator.choice``.

        With replacement the quantile of a uniform draw is taken, in float64. Without, the largest
        of ``log(p)`` plus Gumbel noise are those drawn one after the other (Kool, van Hoof and
        Welling, ICML 2019).

        Args:
            x: a value, or a whole number n, which stands for 0 to n - 1.
            shape: of the draws, which replace the axis.
            replace: whether one slice may come several times.
            p: floating, a probability for each slice; all are as likely by default.
            axis: along which slices are taken.

        Raises:
            ArgumentError: more draws than there are slices, without replacement.
        """
        value = None if isinstance(x, int) else self._operand("choice", x)
        place = 0 if value is None else axis_of("choice", axis, value)
        count = drawn_shape("choice", x)[0] if value is None else value.shape[place]
        sizes = drawn_shape("choice", shape)
        if count == 0 and math.prod(sizes) != 0:
            raise ArgumentError(
                "choice: there is nothing to choose from", hint="a size of 1 or more"
            )
        likely = None if p is None else functions.astype(self._operand("choice", p), F64)
        if likely is not None and (likely.ndim != 1 or not equal(likely.shape[0], count, "choice")):
            raise ShapeError(
                f"choice: probabilities {likely.type} for {count} slices",
                hint="one for each slice",
                related=related(likely),
            )
        drawn = self._several if replace else self._distinct
        found = drawn(count, sizes, likely)
        return found if value is None else functions.take(value, found, place)

    def _several(self, count: Size, sizes: Shape, p: Any) -> Any:
        u, _ = self._open("choice", sizes, F64)
        if p is None:
            return functions.astype(functions.floor(u * count), I64)
        ends = functions.cumsum(p)
        found = functions.searchsorted(ends, u * ends[-1], side="right")
        return functions.minimum(found, count - 1)

    def _distinct(self, count: Size, sizes: Shape, p: Any) -> Any:
        many = math.prod(sizes)
        if isinstance(many, int) and isinstance(count, int) and many > count:
            raise ArgumentError(
                f"choice: {many} different ones of {count}", hint="replace=True, or fewer draws"
            )
        noise = self.gumbel(shape=(count,), dtype=F64)
        scores = noise if p is None else noise + functions.log(p)
        return functions.reshape(functions.topk(scores, many)[1], sizes)

    def _operand(self, op: str, x: Operand) -> Any:
        """A value of the kind in which this draws beside x."""
        return as_value(op, x, binding_kind((self.key, x)))

    def _words(self, shape: Shape) -> Any:
        return self._bits(shape, U64, self._stream())

    def _open(self, op: str, shape: Any, dtype: Any, *parameters: Operand) -> tuple[Any, DType]:
        """Uniform in (0, 1), symmetric about 1/2, in the compute dtype; and the dtype asked for."""
        kind = floating_dtype(op, dtype)
        wide = kind.compute
        word = self._bits(met_shape(op, shape, *parameters), wide.unsigned, self._stream())
        spare = wide.unsigned.numpy.type(wide.bits - wide.digits + 1)
        return (_cast(word >> spare, wide) + 0.5) * 2.0 ** (1 - wide.digits), kind


def _cast(x: Any, kind: DType) -> Any:
    return functions.astype(x, kind)
