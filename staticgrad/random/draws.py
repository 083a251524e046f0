"""Random numbers of many distributions, computed from uniform ones: methods of ``Generator``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, overload

from staticgrad.errors import ArgumentError, DTypeError, RankError
from staticgrad.extend import (
    DType,
    Shape,
    Size,
    Value,
    as_value,
    as_values,
    axis_of,
    binding_kind,
    broadcast,
    called_name,
    check_vector,
    describe_operands,
    dtype_of,
    is_number,
    public,
    quote,
    shape_of,
)
from staticgrad.extend.building import Stream
from staticgrad.extend.derivatives import custom_jvp
from staticgrad.extend.dtypes import (
    F32,
    F64,
    I64,
    U64,
)
from staticgrad.extend.functions import (
    full_like,
    largest,
    shares,
    zeros_like,
)
from staticgrad.extend.ops import (
    absolute,
    argsort,
    astype,
    broadcast_to,
    clip,
    copysign,
    cumsum,
    exp,
    floor,
    log,
    log1p,
    matmul,
    minimum,
    moveaxis,
    reshape,
    searchsorted,
    sigmoid,
    sqrt,
    stop_gradient,
    take,
    topk,
    where,
)
from staticgrad.extend.sizes import dim
from staticgrad.functions import aggregate
from staticgrad.functions.aggregate import argmax
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.special import GammaLn, Ndtr, Ndtri, log_quantile_slope

P = ParamSpec("P")


class DrawMethod(Protocol[P]):
    """A method that draws values; NumPy's name of ``shape`` is ``size``."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Value: ...
    @overload
    def __call__(self, *args: Any, size: Any, **kwargs: Any) -> Value: ...


if TYPE_CHECKING:

    def drawing(method: Callable[Concatenate[Any, P], Value]) -> DrawMethod[P]:
        """Return the public form of a method that draws values."""

else:
    drawing = public


def floating_dtype(dtype: Any) -> DType:
    """The dtype of a draw."""
    kind = dtype_of(dtype)
    if kind.is_complex or not kind.is_float:
        hint = "float32 or float64"
        hint += "; draw the real and the imaginary part" if kind.is_complex else ""
        raise DTypeError(f"{called_name()}: not of dtype {kind.numpy}", hint=hint)
    return kind


def drawn_shape(data: Any) -> Shape:
    """A shape as users write it: sizes, names of sizes, or one of them."""
    entries = data if isinstance(data, list | tuple) else (data,)
    return shape_of(tuple(dim(e) if isinstance(e, str) else e for e in entries))


def met_shape(shape: Any, *parameters: ArrayLike) -> Shape:
    """Return the given shape, or the broadcast shape of the parameters."""
    for parameter in parameters:
        if isinstance(parameter, tuple):
            name = called_name()
            raise ArgumentError(
                f"{name}: {parameter} is a tuple, and the shape comes after the parameters",
                hint=f"{name}(shape={parameter}); parameters by element are an array or a list",
            )
    if shape is not None:
        return drawn_shape(shape)
    return broadcast(called_name(), [value.shape for value in as_values(*parameters)])


def not_from_0(parameter: Any) -> bool:
    """Return whether a parameter is a number that is negative or NaN; arrays are not looked at."""
    return is_number(parameter) and not parameter >= 0.0


#: Means from here on are proposed; below, at most about 60 probabilities are added up.
_PROPOSED: Final = 10.0
#: No draw in (0, 1) of 53 bits lies beyond so many terms of a mean below that.
_MOST: Final = 100.0


class Distributions:
    """The distributions of a generator that are computed from uniform and normal draws."""

    if TYPE_CHECKING:  # a generator's
        key: Any

        def _draw_bits(self, shape: Shape, kind: DType, stream: Stream, half: int = 0) -> Any: ...
        def _next_stream(self) -> Stream: ...
        def integers(self, low: int, high: int, shape: Any = ..., dtype: Any = ...) -> Value: ...
        def normal(
            self, loc: ArrayLike = ..., scale: ArrayLike = ..., shape: Any = ..., dtype: Any = ...
        ) -> Value: ...

    @drawing
    def gumbel(
        self, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Gumbel, ``loc - scale * log(-log(u))``: the largest of many; gradients flow to both."""
        u, kind = self._open_unit(shape, dtype, loc, scale)
        return _cast(-log(-log(u)), kind) * scale + loc

    @drawing
    def logistic(
        self, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Logistic, ``loc + scale * log(u / (1 - u))``. Raises as ``gumbel``."""
        u, kind = self._open_unit(shape, dtype, loc, scale)
        return _cast(log(u) - log1p(-u), kind) * scale + loc

    @drawing
    def laplace(
        self, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Laplace: exponential with mean ``scale`` to both sides of loc. Raises as ``gumbel``."""
        u, kind = self._open_unit(shape, dtype, loc, scale)
        side = u - 0.5
        size = -log1p(-2.0 * absolute(side))
        return _cast(copysign(size, side), kind) * scale + loc

    @drawing
    def lognormal(
        self, mean: ArrayLike = 0.0, sigma: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """The exponential of a normal draw of this mean and deviation. Raises as ``gumbel``."""
        return exp(self.normal(mean, sigma, shape, dtype))

    @drawing
    def truncated_normal(
        self, low: ArrayLike, high: ArrayLike, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Standard normal in [low, high], which gradients flow to; as ``jax.random`` has it.

        The quantile of a uniform draw between the distribution functions of both, in the lower half
        where they are small. Raises as ``gumbel``.
        """
        u, kind = self._open_unit(shape, dtype, low, high)
        first, last = (_cast(bound, kind.compute) for bound in (low, high))
        upper = first > 0.0
        below = where(upper, -last, first)
        above = where(upper, -first, last)
        start, end = Ndtr()(below), Ndtr()(above)
        z = clip(Ndtri()(start + (end - start) * u), below, above)
        return _cast(where(upper, -z, z), kind)

    @drawing
    def multivariate_normal(
        self, mean: ArrayLike, cov: ArrayLike, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Normal vectors of a mean [..., n] and a covariance [..., n, n], by its Cholesky factor.

        Gradients flow to both. ``shape`` is the batch shape, the result's without its last axis; by
        default that to which both broadcast.
        """
        from staticgrad.linalg.matrices import (
            cholesky,  # LAPACK, loaded for this draw
        )

        kind = floating_dtype(dtype)
        centre = astype(self._operand(mean), kind)
        covariance = astype(self._operand(cov), kind)
        if centre.ndim < 1 or covariance.ndim < 2:
            raise RankError(
                f"multivariate_normal: a mean {centre.type} and a covariance {covariance.type}",
                hint="[..., n] and [..., n, n]",
                related=describe_operands(centre, covariance),
            )
        batch_shape = met_shape(None, centre, covariance[..., 0])
        if shape is not None:
            batch_shape = (*drawn_shape(shape), batch_shape[-1])
        z = astype(self.normal(shape=batch_shape, dtype=dtype), kind)
        return matmul(cholesky(covariance), z[..., None])[..., 0] + centre

    @drawing
    def categorical(self, logits: ArrayLike, axis: int = -1, shape: Any = None) -> Value:
        """Positions (int64) along an axis with probabilities ``softmax(logits)``: Gumbel's maximum.

        Args:
            logits: floating; -inf never comes.
            axis: that of the classes.
            shape: of the result; the rest of the logits broadcasts to it, whose shape it is by
                default. ``(1000,)`` draws a thousand of the same logits.
        """
        value = self._operand(logits)
        value = value if value.dtype.is_float else astype(value, F64)
        last = moveaxis(value, axis_of(axis, value), -1)
        sizes = last.shape
        if shape is not None:
            sizes = (*drawn_shape(shape), last.shape[-1])
        noise = self.gumbel(shape=sizes, dtype=value.dtype.compute)
        return argmax(broadcast_to(last, sizes) + noise, -1)

    @public
    def permutation(self, x: int | ArrayLike, axis: int = 0) -> Value:
        """Return the slices of x along ``axis`` in random order; of an integer n, 0 to n - 1."""
        if isinstance(x, int):
            return argsort(self._words(drawn_shape(x)))
        value = self._operand(x)
        place = axis_of(axis, value)
        order = argsort(self._words((value.shape[place],)))
        return take(value, order, place)

    @drawing
    def choice(
        self, x: int | ArrayLike, shape: Any = (), replace: bool = True, p: ArrayLike | None = None,
        axis: int = 0,
    ) -> Value:  # fmt: skip
        """Draw slices of x, or numbers below x, at random, as ``np.random.Generator.choice``.

        With replacement the quantile of a uniform draw is taken, in float64. Without, the largest
        of ``log(p)`` plus Gumbel noise are those drawn one after the other (Kool, van Hoof and
        Welling, ICML 2019).

        Args:
            x: a value, or a whole number n, which stands for 0 to n - 1.
            shape: of the draws, which replace the axis.
            replace: whether one slice may come several times.
            p: floating, a probability for each slice; all are as likely by default.
            axis: along which slices are taken.
        """
        value = None if isinstance(x, int) else self._operand(x)
        place = 0 if value is None else axis_of(axis, value)
        count = drawn_shape(x)[0] if value is None else value.shape[place]
        sizes = drawn_shape(shape)
        if count == 0 and math.prod(sizes) != 0:
            raise ArgumentError(
                "choice: there is nothing to choose from", hint="a size of 1 or more"
            )
        likely = None if p is None else astype(self._operand(p), F64)
        if likely is not None:
            text = f"choice: probabilities {likely.type} for {count} slices"
            check_vector(text, likely, count, hint="one for each slice")
        drawn = self._with_replacement if replace else self._draw_distinct
        indices = drawn(count, sizes, likely)
        return indices if value is None else take(value, indices, place)

    def _with_replacement(self, count: Size, sizes: Shape, p: Any) -> Any:
        u, _ = self._open_unit(sizes, F64)
        if p is None:
            return astype(floor(u * count), I64)
        # Inversion: the first slice whose cumulated probability is above a uniform number.
        ends = cumsum(p)
        indices = searchsorted(ends, u * ends[-1], side="right")
        return minimum(indices, count - 1)

    def _draw_distinct(self, count: Size, sizes: Shape, p: Any) -> Any:
        """Draw ``choice`` without replacement: the largest of Gumbel noise plus log p."""
        count_drawn = math.prod(sizes)
        if isinstance(count_drawn, int) and isinstance(count, int) and count_drawn > count:
            raise ArgumentError(
                f"choice: {count_drawn} different ones of {count}",
                hint="replace=True, or fewer draws",
            )
        # The Gumbel-top-k trick: W. Kool, H. van Hoof and M. Welling, Stochastic beams and where to
        # find them (2019).
        noise = self.gumbel(shape=(count,), dtype=F64)
        scores = noise if p is None else noise + log(p)
        return reshape(topk(scores, count_drawn)[1], sizes)

    def _operand(self, x: ArrayLike) -> Any:
        return as_value(x, binding_kind((self.key, x)))

    def _words(self, shape: Shape) -> Any:
        return self._draw_bits(shape, U64, self._next_stream())

    def _open_unit(self, shape: Any, dtype: Any, *parameters: ArrayLike) -> tuple[Any, DType]:
        kind = floating_dtype(dtype)
        compute_dtype = kind.compute
        bits = self._draw_bits(
            met_shape(shape, *parameters), compute_dtype.unsigned, self._next_stream()
        )
        spare = compute_dtype.unsigned.numpy.type(compute_dtype.bits - compute_dtype.digits + 1)
        # Whole numbers of one bit less than a float has, plus a half: exact, and neither 0 nor 1.
        return (_cast(bits >> spare, compute_dtype) + 0.5) * 2.0 ** (1 - compute_dtype.digits), kind

    @drawing
    def poisson(self, lam: ArrayLike = 1.0, shape: Any = None, dtype: Any = I64) -> Value:
        """Counts of events whose mean is ``lam``; -1 where that is negative, infinite or NaN.

        From 10 on by transformed rejection (PTRS: Hörmann, "The transformed rejection method for
        generating Poisson random variables", 1993). Counts carry no gradient.
        """
        kind = _integer(dtype)
        if not_from_0(lam) or (isinstance(lam, float) and lam == math.inf):
            raise ArgumentError(f"poisson: the mean {quote(lam)} is not a number from 0 on")
        sizes = met_shape(shape, lam)
        (mean,) = self._parameters(sizes, lam)
        valid, large = (mean >= 0.0) & (mean < math.inf), mean >= _PROPOSED
        low = where(valid & ~large, mean, 0.0)
        by_inversion = self._invert_cdf(exp(-low), lambda k: low / k, sizes)
        high = where(valid & large, mean, _PROPOSED)
        deviation, log_mean = sqrt(high), log(high)
        # the constants of PTRS, step 0
        hat = _Hat(0.931 + 2.53 * deviation, -0.059, 0.02483, high + 0.43, 0.9277, 3.6224, 2.0)
        top = log(1.1239 + 1.1328 / (hat.b - 3.4))

        def surplus(k: Any) -> Any:
            return k * log_mean - high - GammaLn()(k + 1.0) - top

        upper_limit = full_like(high, math.inf)
        by_rejection = self._sample_by_rejection(hat, surplus, upper_limit, sizes, ~(valid & large))
        return astype(where(valid, where(large, by_rejection, by_inversion), -1.0), kind)

    def _parameters(self, sizes: Shape, *parameters: ArrayLike) -> list[Any]:
        values = (astype(self._operand(parameter), F64) for parameter in parameters)
        return [broadcast_to(value, sizes) for value in values]

    def _invert_cdf(self, first: Any, ratio: Callable[[Any], Any], sizes: Shape) -> Any:
        """Draw a count by inverting its distribution function, term by term; P(0) is ``first``."""
        from staticgrad.extend.loops import while_loop

        u, _ = self._open_unit(sizes, F64)

        def is_unfinished(state: tuple[Any, Any, Any]) -> Any:
            return aggregate.any((state[2] < u) & (state[0] < _MOST))

        def next_term(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            """Add the next count's probability, while the sum is below the draw."""
            k, probability, total = state
            is_running = total < u
            next_probability = probability * ratio(k + 1.0)
            return (
                where(is_running, k + 1.0, k),
                where(is_running, next_probability, probability),
                where(is_running, total + next_probability, total),
            )

        initial = zeros_like(first), first, first
        return while_loop(is_unfinished, next_term, initial)[0]

    def _sample_by_rejection(
        self, hat: _Hat, surplus: Callable[[Any], Any], upper_limit: Any, sizes: Shape, done: Any
    ) -> Any:
        """Draw counts up to a limit by transformed rejection, where not ``done``.

        ``surplus`` is the logarithm of their probability, but for what the hat has.
        """
        from staticgrad.extend.loops import while_loop

        def propose(state: tuple[Any, Any]) -> tuple[Any, Any]:
            """Propose a count by the ratio of uniforms, and accept or keep the last."""
            counts, accepted = state
            u, v = (self._open_unit(sizes, F64)[0] for _ in range(2))
            side = u - 0.5
            us = 0.5 - absolute(side)
            k = floor((2.0 * hat.a / us + hat.b) * side + hat.centre)
            inside = (k >= 0.0) & (k <= upper_limit)
            count = where(inside, k, hat.mean)
            # Steps 2 and 3 of PTRS; most proposals are accepted by ``hat.sure``, which step 1
            # tests.
            is_under_hat = log(v / (hat.a / (us * us) + hat.b)) <= surplus(count)
            new = inside & (((us >= 0.07) & (v <= hat.sure)) | is_under_hat) & ~accepted
            return where(new, k, counts), accepted | new

        start = zeros_like(hat.b), done
        final: Any = while_loop(lambda state: ~aggregate.all(state[1]), propose, start)
        return final[0]

    @drawing
    def gamma(
        self, a: ArrayLike, scale: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Gamma of the shape parameter ``a``, times ``scale``; gradients flow to both.

        Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); of a below 1
        by u ** (1 / a). Every iteration of its loop draws for all elements, until each has one:
        four to six iterations for a million. 0 where a is 0, NaN below.

        Args:
            a: the shape parameter; ``gamma(df / 2, 2)`` is chi-squared.
            scale: the factor.
            shape: of the result; that in which both meet by default.
            dtype: floating.
        """
        kind = floating_dtype(dtype)
        drawn = self._log_gamma(a, met_shape(shape, a, scale), kind)
        return astype(exp(drawn), kind) * scale

    @drawing
    def beta(self, a: ArrayLike, b: ArrayLike, shape: Any = None, dtype: Any = F32) -> Value:
        """Beta, as g / (g + h) of gamma draws g of a and h of b. Raises as ``gamma``."""
        kind = floating_dtype(dtype)
        sizes = met_shape(shape, a, b)
        first, last = (self._log_gamma(concentration, sizes, kind) for concentration in (a, b))
        return astype(sigmoid(first - last), kind)

    @drawing
    def dirichlet(self, alpha: ArrayLike, shape: Any = None, dtype: Any = F32) -> Value:
        """Shares that add up to 1 along the last axis, with positive parameters ``alpha``.

        Gamma draws over their sum. ``shape`` is the batch shape, the result's without its last
        axis; by default ``alpha.shape[:-1]``.
        """
        kind = floating_dtype(dtype)
        value = self._operand(alpha)
        if value.ndim < 1:
            raise RankError(
                f"dirichlet: alpha is {value.type}, and it needs an axis of parameters",
                hint="of two shares: beta(a, b)",
                related=describe_operands(value),
            )
        sizes = value.shape
        if shape is not None:
            sizes = (*drawn_shape(shape), value.shape[-1])
        drawn = self._log_gamma(value, sizes, kind)
        last = (drawn.ndim - 1,)
        return astype(shares(drawn, stop_gradient(largest(drawn, last)), last), kind)

    def _log_gamma(self, a: ArrayLike, sizes: Shape, kind: DType) -> Any:
        """Draw logarithms of gamma variates, after checking the shape parameter."""
        if not_from_0(a):
            raise ArgumentError(
                f"{called_name()}: the parameter {quote(a)} is not a number from 0 on"
            )
        compute_dtype = kind.compute
        alpha = astype(self._operand(a), compute_dtype)
        return _as_drawn(
            self._sample_log_gamma(alpha, sizes, compute_dtype), broadcast_to(alpha, sizes)
        )

    def _sample_log_gamma(self, a: Any, sizes: Shape, kind: DType) -> Any:
        """Draw logarithms of gamma variates by Marsaglia's and Tsang's rejection."""
        from staticgrad.extend.loops import while_loop

        a = stop_gradient(broadcast_to(a, sizes))
        small = a < 1.0
        u, _ = self._open_unit(sizes, kind)
        boost = where(small, log(u) / a, 0.0)
        d = where(small, a + 1.0, a) - 1.0 / 3.0
        c = 1.0 / sqrt(9.0 * d)

        def propose(state: tuple[Any, Any]) -> tuple[Any, Any]:
            """Propose a gamma variate from a cubed normal one, and accept or keep the last."""
            logs, accepted = state
            t = c * self.normal(shape=sizes, dtype=kind)
            level, _ = self._open_unit(sizes, kind)
            proper = t > -1.0
            logarithm = log1p(where(proper, t, 0.0))
            # z**2 / 2 + d * (1 - v + log(v)) of v = (1 + t)**3 and t = c * z
            ratio = 4.5 * d * t * t + 3.0 * d * (logarithm - t - t * t - t * t * t / 3.0)
            new = proper & (log(level) < ratio) & ~accepted
            return where(new, 3.0 * logarithm, logs), accepted | new

        settled = ~((a > 0.0) & (a < math.inf))
        start = zeros_like(a), settled
        logs, _ = while_loop(lambda state: ~aggregate.all(state[1]), propose, start)
        return log(d) + logs + boost


def _cast(x: Any, kind: DType) -> Any:
    return astype(x, kind)


class _Hat:
    """The hat of transformed rejection: Hörmann's a and b, its centre, and where it is sure."""

    def __init__(
        self, b: Any, base: Any, slope: float, centre: Any, most: float, fall: float, shift: float
    ) -> None:
        self.b, self.centre = b, centre
        self.a = base + slope * b
        self.sure = most - fall / (b - shift)
        self.mean = floor(centre)


def _integer(dtype: Any) -> DType:
    kind = dtype_of(dtype)
    if not kind.is_integer:
        raise DTypeError(
            f"{called_name()}: counts are not of dtype {kind.numpy}", hint="int64, int32"
        )
    return kind


@custom_jvp(name="staticgrad.gamma_draw")
def _as_drawn(drawn: Any, a: Any) -> Any:
    return drawn


@_as_drawn.rule
def _push_tangent(tangents: tuple[Any, Any], out: Any, drawn: Any, a: Any) -> Any:
    slope = log_quantile_slope(astype(a, F64), astype(out, F64))
    return tangents[1] * astype(slope, out.dtype)
