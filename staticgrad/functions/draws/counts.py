"""Draws of counts: the Poisson and the binomial distribution.

Of small means the distribution function is followed upwards until it passes a uniform draw; of
larger ones counts are proposed and rejected, by all elements together until each has one. All of it
is float64, so that the counts of float32 parameters are those of float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.errors.wording import shown
from staticgrad.functions.draws.arguments import met_shape, not_from_0
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.gamma import GammaLn
from staticgrad.ops.operands import dtype_of
from staticgrad.types.dtype import F64, I64, DType
from staticgrad.types.tensor import Shape

#: Means from here on are proposed; below, at most about 60 probabilities are added up.
_PROPOSED: Final = 10.0
#: No draw in (0, 1) of 53 bits lies beyond so many terms of a mean below that.
_MOST: Final = 100.0


class CountDraws:
    """The Poisson and the binomial distribution of a generator."""

    if TYPE_CHECKING:  # a generator's

        def _open(self, op: str, shape: Any, dtype: Any, *parameters: Operand) -> Any: ...
        def _operand(self, op: str, x: Operand) -> Any: ...

    @public
    def poisson(self, lam: Operand = 1.0, shape: Any = None, dtype: Any = I64) -> Value:
        """Counts of events whose mean is ``lam``; -1 where that is negative, infinite or NaN.

        From 10 on by transformed rejection (PTRS: Hörmann, "The transformed rejection method for
        generating Poisson random variables", 1993). Counts carry no gradient.

        Raises:
            ArgumentError: a number that is negative, infinite or NaN.
        """
        kind = _integer("poisson", dtype)
        if not_from_0(lam) or (isinstance(lam, float) and lam == math.inf):
            raise ArgumentError(f"poisson: the mean {shown(lam)} is not a number from 0 on")
        sizes = met_shape("poisson", shape, lam)
        (mean,) = self._parameters("poisson", sizes, lam)
        valid, large = (mean >= 0.0) & (mean < math.inf), mean >= _PROPOSED
        low = functions.where(valid & ~large, mean, 0.0)
        few = self._followed("poisson", functions.exp(-low), lambda k: low / k, sizes)
        high = functions.where(valid & large, mean, _PROPOSED)
        spread, log_mean = functions.sqrt(high), functions.log(high)
        hat = _Hat(0.931 + 2.53 * spread, -0.059, 0.02483, high + 0.43, 0.9277, 3.6224, 2.0)
        top = functions.log(1.1239 + 1.1328 / (hat.b - 3.4))

        def surplus(k: Any) -> Any:
            return k * log_mean - high - GammaLn()(k + 1.0) - top

        most = functions.full_like(high, math.inf)
        many = self._rejected("poisson", hat, surplus, most, sizes, ~(valid & large))
        return functions.astype(
            functions.where(valid, functions.where(large, many, few), -1.0), kind
        )

    @public
    def binomial(self, n: Operand, p: Operand, shape: Any = None, dtype: Any = I64) -> Value:
        """Successes among ``n`` trials of probability ``p``; -1 where these are no such numbers.

        From a mean of 10 on by transformed rejection (BTRS: Hörmann, "The generation of binomial
        random variates", 1993), of p or 1 - p, whichever is smaller. Counts carry no gradient.

        Args:
            n: whole numbers from 0 on.
            p: probabilities, which broadcast with n.
            shape: of the result; that in which both meet by default.
            dtype: integer.

        Raises:
            ArgumentError: a number n below 0 or not whole; a number p outside [0, 1].
        """
        kind = _integer("binomial", dtype)
        if not_from_0(n) or (isinstance(n, float) and not n.is_integer()):
            raise ArgumentError(f"binomial: {shown(n)} trials are no whole number from 0 on")
        if not_from_0(p) or (isinstance(p, int | float) and p > 1.0):
            raise ArgumentError(f"binomial: the probability {shown(p)} is not in [0, 1]")
        sizes = met_shape("binomial", shape, n, p)
        trials, given = self._parameters("binomial", sizes, n, p)
        valid = (trials >= 0.0) & (trials < math.inf) & (functions.floor(trials) == trials)
        valid = valid & (given >= 0.0) & (given <= 1.0)
        trials, given = functions.where(valid, trials, 0.0), functions.where(valid, given, 0.0)
        flipped = given > 0.5
        share = functions.where(flipped, 1.0 - given, given)
        odds, large = share / (1.0 - share), trials * share >= _PROPOSED
        left = functions.where(large, 0.0, trials)
        start = functions.exp(left * functions.log1p(-share))
        few = self._followed("binomial", start, lambda k: (left + 1.0 - k) / k * odds, sizes)
        many = self._many_successes(trials, share, large, sizes)
        found = functions.where(large, many, few)
        found = functions.where(flipped, trials - found, found)
        return functions.astype(functions.where(valid, found, -1.0), kind)

    def _many_successes(self, trials: Any, share: Any, large: Any, sizes: Shape) -> Any:
        n, p = functions.where(large, trials, 40.0), functions.where(large, share, 0.5)
        spread, log_odds = functions.sqrt(n * p * (1.0 - p)), functions.log(p / (1.0 - p))
        centre = n * p + 0.5
        hat = _Hat(1.15 + 2.53 * spread, 0.01 * p - 0.0873, 0.0248, centre, 0.92, 4.2, 0.0)
        mode = functions.floor((n + 1.0) * p)
        peak = GammaLn()(mode + 1.0) + GammaLn()(n - mode + 1.0)
        top = functions.log((2.83 + 5.1 / hat.b) * spread)

        def surplus(k: Any) -> Any:
            tails = GammaLn()(k + 1.0) + GammaLn()(n - k + 1.0)
            return peak - tails + (k - mode) * log_odds - top

        return self._rejected("binomial", hat, surplus, n, sizes, ~large)

    def _parameters(self, op: str, sizes: Shape, *given: Operand) -> list[Any]:
        wide = (functions.astype(self._operand(op, each), F64) for each in given)
        return [functions.broadcast_to(each, sizes) for each in wide]

    def _followed(self, op: str, first: Any, ratio: Callable[[Any], Any], sizes: Shape) -> Any:
        """The count at which the sum of probabilities passes a draw: P(0) is ``first``."""
        u, _ = self._open(op, sizes, F64)

        def passed(state: tuple[Any, Any, Any]) -> Any:
            return functions.any((state[2] < u) & (state[0] < _MOST))

        def following(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            k, probability, total = state
            on = total < u
            later = probability * ratio(k + 1.0)
            return (
                functions.where(on, k + 1.0, k),
                functions.where(on, later, probability),
                functions.where(on, total + later, total),
            )

        begin = functions.zeros_like(first), first, first
        found: Any = functions.while_loop(passed, following, begin)[0]
        return found

    def _rejected(
        self, op: str, hat: _Hat, surplus: Callable[[Any], Any], most: Any, sizes: Shape, done: Any
    ) -> Any:
        """Counts from 0 to ``most`` that are proposed under a hat, where not ``done``.

        ``surplus`` is the logarithm of their probability, but for what the hat has.
        """

        def propose(state: tuple[Any, Any]) -> tuple[Any, Any]:
            kept, found = state
            u, v = (self._open(op, sizes, F64)[0] for _ in range(2))
            side = u - 0.5
            us = 0.5 - functions.absolute(side)
            k = functions.floor((2.0 * hat.a / us + hat.b) * side + hat.centre)
            inside = (k >= 0.0) & (k <= most)
            count = functions.where(inside, k, hat.mean)
            under = functions.log(v / (hat.a / (us * us) + hat.b)) <= surplus(count)
            new = inside & (((us >= 0.07) & (v <= hat.sure)) | under) & ~found
            return functions.where(new, k, kept), found | new

        start = functions.zeros_like(hat.b), done
        found: Any = functions.while_loop(lambda state: ~functions.all(state[1]), propose, start)
        return found[0]


class _Hat:
    """The hat of transformed rejection: Hörmann's a and b, its centre, and where it is sure."""

    def __init__(
        self, b: Any, base: Any, slope: float, centre: Any, most: float, fall: float, shift: float
    ) -> None:
        self.b, self.centre = b, centre
        self.a = base + slope * b
        self.sure = most - fall / (b - shift)
        self.mean = functions.floor(centre)


def _integer(op: str, dtype: Any) -> DType:
    kind = dtype_of(op, dtype)
    if not kind.is_integer:
        raise DTypeError(f"{op}: counts are not of dtype {kind.numpy}", hint="int64, int32")
    return kind
