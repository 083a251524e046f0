"""Distributions: one reading of arguments, and the methods that follow from a few formulas.

A distribution is a class with formulas of the standardized variable ``z = (x - loc) / scale``. The
base reads arguments by SciPy's names, brings them to one dtype, decides what lies outside of the
support, and derives the other methods. Of arrays and numbers alone a method computes at once and
gives an array; beside a value of a graph, a parameter or a tensor it gives a value of that kind.

Outside of the support the density is 0 and its logarithm -inf, with slopes of 0; where a parameter
is out of its range every method gives NaN, as SciPy does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from staticgrad.eager import no_grad
from staticgrad.errors import ArgumentError, DTypeError, UnknownAttributeError
from staticgrad.extend import (
    Dim,
    DType,
    Value,
    binding_kind,
    check_arguments,
    common_dtype,
    deprecated_attribute,
    did_you_mean,
    lift_operand,
    make_boundaries,
    quote,
)
from staticgrad.extend.building import computing_kind
from staticgrad.extend.dtypes import F64, I64
from staticgrad.extend.functions import full_like
from staticgrad.extend.loops import fori_loop
from staticgrad.extend.ops import (
    astype,
    ceil,
    exp,
    expm1,
    floor,
    log,
    log1p,
    logical_and,
    sqrt,
    stop_gradient,
    where,
)
from staticgrad.extend.tensors import eager_mode
from staticgrad.random import Generator
from staticgrad.random.draws import drawn_shape, met_shape

LOG_2: Final = 0.6931471805599453
#: log(sqrt(2 pi)).
LOG_ROOT_TAU: Final = 0.9189385332046727
#: log(pi).
LOG_PI: Final = 1.1447298858494002
#: Euler's constant, 0.5772...
EULER: Final = 0.5772156649015329

Formula = Callable[..., Any]


def is_plain(argument: Any) -> bool:
    """Return whether an argument is an array or a number, and no value is in it."""
    if isinstance(argument, list | tuple):
        return all(is_plain(entry) for entry in argument)
    return not isinstance(argument, Value | Dim)


def compute_formula(name: str, formula: Formula, arguments: Sequence[Any]) -> Any:
    """Compute a distribution's formula in one floating dtype; of plain arrays at once.

    Of arrays and numbers alone the result is an array, computed at once. Narrow floats are computed
    in float32, and the result is rounded once.
    """
    if computing_kind() is None and all(map(is_plain, arguments)):
        with eager_mode(), no_grad():
            return as_arrays(compute_formula(name, formula, arguments))
    values, dtype = as_floats(name, arguments)
    result = formula(*values)
    return round_to(result, dtype) if dtype.is_storage else result


def as_floats(name: str, arguments: Sequence[Any]) -> tuple[list[Any], DType]:
    """Convert a distribution's arguments to one compute dtype; return the result's dtype too."""
    arguments = [
        np.asarray(argument) if isinstance(argument, list | tuple) else argument
        for argument in arguments
    ]
    dtype = common_dtype(name, arguments)
    if dtype.is_complex:
        raise DTypeError(f"{name}: takes real numbers, got {dtype.numpy}")
    dtype = dtype if dtype.is_float else F64
    kind = binding_kind(tuple(arguments))
    return [lift_operand(name, kind, argument, dtype.compute) for argument in arguments], dtype


def as_arrays(results: Any) -> Any:
    """Return tensors as arrays; those without axes as numbers of NumPy."""
    if isinstance(results, tuple):
        return tuple([as_arrays(result) for result in results])
    tensor: Any = results
    return tensor.numpy()[()] if isinstance(results, Value) else results


def round_to(results: Any, dtype: DType) -> Any:
    """Return results in a narrow dtype."""
    if isinstance(results, tuple):
        return tuple([round_to(result, dtype) for result in results])
    return astype(results, dtype) if results.dtype is dtype.compute else results


def all_of(*conditions: Any) -> Any:
    """Combine conditions of a distribution by logical and; True ones are left out."""
    conjunction: Any = True
    for condition in conditions:
        conjunction = (
            condition
            if conjunction is True
            else conjunction
            if condition is True
            else logical_and(conjunction, condition)
        )
    return conjunction


def select(condition: Any, inside: Any, outside: Any) -> Any:
    """``where`` that takes True for a condition."""
    return inside if condition is True else where(condition, inside, outside)


def log1mexp(x: Any) -> Any:
    """log(1 - exp(x)) of x <= 0, accurate at both ends (Mächler, "Accurately computing
    log(1 - exp(-|a|))", 2012)."""
    near = x > -LOG_2
    return where(near, log(-expm1(where(near, x, -1.0))), log1p(-exp(where(near, -1.0, x))))


def log1mexp_of_log(u: Any) -> Any:
    """log(1 - exp(-exp(u))), which is about u where exp(u) is small and may underflow."""
    far = u < -40.0
    return where(far, u, log1mexp(-exp(where(far, -40.0, u))))


def log_of(p: Any, q: Any) -> Any:
    """log(p) of p + q = 1, accurate where p is near 1."""
    near = p > 0.5
    return where(near, log1p(-where(near, q, 0.5)), log(where(near, 0.5, p)))


def log1p_square(z: Any) -> Any:
    """log(1 + z**2), which does not overflow."""
    far = abs(z) > 1e3
    large = where(far, abs(z), 1e3)
    near = where(far, 0.0, z)
    return where(far, 2.0 * log(large) + log1p(1.0 / large / large), log1p(near * near))


class NamedDistribution:
    """The base of distributions, with or without parameters: lookup of names."""

    names_messages: ClassVar[bool] = True
    name: str

    @property
    def title(self) -> str:
        """The name in messages: ``sg.stats.norm``, or that of a class outside of the package."""
        is_ours = type(self).__module__.startswith("staticgrad.")
        return f"sg.stats.{self.name}" if is_ours else self.name

    def __getattr__(self, word: str) -> Any:
        """Refuse a name that there is not, with the nearest one."""
        if word.startswith("_"):
            raise AttributeError(word)
        names = [name for name in dir(type(self)) if not name.startswith("_")]
        counterpart = {"pdf": "pmf", "logpdf": "logpmf", "pmf": "pdf", "logpmf": "logpdf"}.get(
            word, ""
        )

        def hint() -> str:
            if counterpart in names:
                kind = "discrete" if counterpart.endswith("pmf") else "continuous"
                return f"it is {kind}: {self.name}.{counterpart}"
            return did_you_mean(word, names)

        raise UnknownAttributeError(f"{self.title} has no {word!r}", hint=hint)


@make_boundaries
class Distribution(NamedDistribution):
    """A family of distributions; called with parameters, the distribution that has them.

    Attributes:
        shapes: names of the shape parameters, in SciPy's order.
        location_and_scale: the names of location and scale, of families that have them.
    """

    shapes: ClassVar[tuple[str, ...]] = ()
    location_and_scale: ClassVar[Mapping[str, float]] = {"loc": 0.0, "scale": 1.0}
    located = deprecated_attribute("0.2", "location_and_scale")
    defaults: ClassVar[Mapping[str, Any]] = {}
    #: Parameters of another form -> the attribute with the family that has them.
    forms: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, home: str = "") -> None:
        """Make the family ``name``; ``home`` is its name in the module, where it is another."""
        self.name, self._home = name, home or name
        self.__doc__ = f"{type(self).__doc__}"

    def __repr__(self) -> str:
        return self.title

    def __reduce__(self) -> str:
        return self._home

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters, in order."""
        return (*self.shapes, *self.location_and_scale)

    @property
    def __signature__(self) -> Signature:
        """That of a call: the parameters."""
        return self.signature("")

    def signature(self, method: str) -> Signature:
        """Return the signature of a distribution's method: argument, parameters, loc, scale."""
        first, further = _ARGUMENTS.get(method, (("x",), ()))
        kind = Parameter.POSITIONAL_OR_KEYWORD
        fixed = [Parameter(name, kind) for name in first]
        defaults = {**self.defaults, **self.location_and_scale}
        fixed += [
            Parameter(name, kind, default=defaults.get(name, Parameter.empty))
            for name in self.parameters
        ]
        fixed += [Parameter(name, kind, default=None) for name in further]
        return Signature(fixed)

    def _read(self, method: str, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments of a method by name, in the order of its signature."""
        ours = self.signature(method)
        check_arguments(f"{self.name}.{method}" if method else self.name, ours, args, kwargs)
        bound = ours.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def _form(self, kwargs: Mapping[str, Any]) -> Any:
        """The family for parameters of another form (``logits=``), where these are passed."""
        for word, home in self.forms.items():
            if word in kwargs:
                return getattr(self, home)
        return self

    def _call(self, method: str, args: Any, kwargs: Any) -> Any:
        """Compute a distribution's method by its formula; refuse one without a formula."""
        family = self._form(kwargs)
        arguments = [*family._read(method, args, kwargs).values()]
        of = getattr(family, f"_{method}", None)
        try:
            if of is not None:
                return compute_formula(f"{self.name}.{method}", of, arguments)
        except NotImplementedError:  # a formula that the family does not have
            pass
        draws = f"from draws: {self.name}.rvs(..., size=10_000, random_state=0)"
        raise UnknownAttributeError(
            f"{self.title} has no {method!r}: there is no closed form of it here",
            hint=draws if family._can_draw() else "",
        )

    def _can_draw(self) -> bool:
        """Return whether the family has draws."""
        return hasattr(type(self), "_rvs")

    def __call__(self, *args: Any, **kwargs: Any) -> FrozenDistribution:
        """Return the distribution with these parameters."""
        family = self._form(kwargs)
        return FrozenDistribution(family, family._read("", args, kwargs))

    def rvs(self, *args: Any, **kwargs: Any) -> Any:
        """Draw random variates of a distribution: parameters, ``size``, ``random_state``.

        A ``sg.random.Generator`` gives values of the graph, or tensors in eager mode, whose draws
        differ from run to run; a whole number is the seed of an array that is drawn at once.
        Without ``size`` it is one draw for each element of the parameters.
        """
        family = self._form(kwargs)
        arguments = family._read("rvs", args, kwargs)
        size, source = arguments.pop("size"), arguments.pop("random_state")
        name = f"{self.name}.rvs"
        if not family._can_draw():
            raise UnknownAttributeError(f"{self.title} has no 'rvs': it is not drawn from here")
        parameters = [*arguments.values()]
        if isinstance(source, Generator):
            return drawn(name, family, source, size, parameters)
        if isinstance(source, int | np.integer) and not isinstance(source, bool):
            if computing_kind() is None and all(map(is_plain, parameters)):
                with eager_mode(), no_grad():
                    return as_arrays(drawn(name, family, Generator(int(source)), size, parameters))
            raise ArgumentError(
                f"{name}: a seed draws arrays, and a parameter is a value",
                hint="rng = sg.random.Generator(seed), and random_state=rng",
            )
        raise ArgumentError(
            f"{name}: random_state={quote(source)} is not a generator or a seed",
            hint="rng = sg.random.Generator(0), and random_state=rng; or random_state=0, at once",
        )

    def _shape(self, size: Any, parameters: Sequence[Any]) -> Any:
        """The shape of draws."""
        return met_shape(None if size is None else drawn_shape(size), *parameters)


def drawn(name: str, family: Any, rng: Generator, size: Any, parameters: Sequence[Any]) -> Any:
    """Return draws of a family by a generator."""
    values, dtype = as_floats(name, parameters)
    return family._rvs(rng, family._shape(size, values), dtype.compute, *values)


#: Method -> its arguments in front of the parameters, and behind them.
_ARGUMENTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    **dict.fromkeys(("", "mean", "var", "std", "entropy", "median", "support"), ((), ())),
    **dict.fromkeys(("ppf", "isf"), (("q",), ())),
    **dict.fromkeys(("pmf", "logpmf", "cdf_at", "sf_at"), (("k",), ())),
    "rvs": ((), ("size", "random_state")),
}


class Univariate(Distribution):
    """A distribution of numbers: methods of the distribution function and of moments.

    Attributes:
        low, high: where the support ends, before location and scale; functions of the shapes
            where they depend on them.
    """

    low: Any = -math.inf
    high: Any = math.inf

    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Probability of at most ``x``."""
        return self._call("cdf", (x, *args), kwargs)

    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Probability of more than ``x``, accurate where it is small."""
        return self._call("sf", (x, *args), kwargs)

    def logcdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Logarithm of ``cdf``."""
        return self._call("logcdf", (x, *args), kwargs)

    def logsf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Logarithm of ``sf``."""
        return self._call("logsf", (x, *args), kwargs)

    def ppf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """Quantile: the inverse of ``cdf``; NaN for q outside [0, 1]."""
        return self._call("ppf", (q, *args), kwargs)

    def isf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """Inverse of ``sf``, accurate for small ``q``."""
        return self._call("isf", (q, *args), kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """Mean; NaN or infinite where there is none."""
        return self._call("mean", args, kwargs)

    def var(self, *args: Any, **kwargs: Any) -> Any:
        """Variance."""
        return self._call("var", args, kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        """Standard deviation."""
        return self._call("std", args, kwargs)

    def median(self, *args: Any, **kwargs: Any) -> Any:
        """Quantile of one half."""
        return self._call("median", args, kwargs)

    def entropy(self, *args: Any, **kwargs: Any) -> Any:
        """Differential entropy, or of counts the entropy, in nats."""
        return self._call("entropy", args, kwargs)

    def _ends(self, s: Sequence[Any]) -> tuple[Any, Any]:
        low, high = self.low, self.high
        return (low(*s) if callable(low) else low, high(*s) if callable(high) else high)

    def _std(self, *p: Any) -> Any:
        return sqrt(self._var(*p))

    def _median(self, *p: Any) -> Any:
        return self._ppf(full_like(p[0], 0.5), *p)

    if TYPE_CHECKING:  # of what families have

        def _ppf(self, q: Any, *p: Any) -> Any: ...
        def _var(self, *p: Any) -> Any: ...


class Continuous(Univariate):
    """A distribution with a density. Formulas are of ``z``; ``s`` are the shape parameters.

    Attributes:
        closed: whether the density at an end is what the formula gives; else it is 0 there.
        typical: a point inside of the support, at which formulas are computed for what is outside.
    """

    closed: ClassVar[bool] = True
    typical: Any = 0.5

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Density at ``x``."""
        return self._call("pdf", (x, *args), kwargs)

    def logpdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Logarithm of the density at ``x``: -inf outside of the support."""
        return self._call("logpdf", (x, *args), kwargs)

    # -- formulas of families: of z and the shapes

    def valid(self, *s: Any) -> Any:
        """Return where shape parameters are in their range."""
        return all_of(*[parameter > 0.0 for parameter in s])

    def log_density(self, z: Any, *s: Any) -> Any:
        """Logarithm of the density of z."""
        raise NotImplementedError

    def below(self, z: Any, *s: Any) -> Any:
        """Probability of less than z."""
        self._check_formula("above", Continuous.above)
        return 1.0 - self.above(z, *s)

    def above(self, z: Any, *s: Any) -> Any:
        """Probability of more than z."""
        self._check_formula("below", Continuous.below)
        return 1.0 - self.below(z, *s)

    def _check_formula(self, name: str, default: Formula) -> None:
        """Check that the family has a formula of its own, on which another one's default builds."""
        if getattr(type(self), name) is default:
            raise NotImplementedError

    def log_below(self, z: Any, *s: Any) -> Any:
        """Logarithm of ``below``."""
        return log_of(self.below(z, *s), self.above(z, *s))

    def log_above(self, z: Any, *s: Any) -> Any:
        """Logarithm of ``above``."""
        return log_of(self.above(z, *s), self.below(z, *s))

    def quantile(self, q: Any, *s: Any) -> Any:
        """Inverse of ``below``."""
        raise NotImplementedError

    def upper_quantile(self, q: Any, *s: Any) -> Any:
        """Inverse of ``above``."""
        return self.quantile(1.0 - q, *s)

    def moments(self, *s: Any) -> tuple[Any, Any]:
        """Mean and variance of z."""
        raise NotImplementedError

    def spread(self, *s: Any) -> Any:
        """Entropy of z."""
        raise NotImplementedError

    def draw(self, rng: Any, shape: Any, dtype: DType, *s: Any) -> Any:
        """Draws of z: quantiles of uniform ones."""
        unit, _ = rng._open_unit(shape, dtype)
        return self.quantile(unit, *s)

    def _can_draw(self) -> bool:
        family = type(self)
        return family.draw is not Continuous.draw or family.quantile is not Continuous.quantile

    # -- what follows

    def _split(self, parameters: Sequence[Any]) -> tuple[Sequence[Any], Any, Any, Any]:
        """Shape parameters, location and scale, and where all are in their range."""
        *s, loc, scale = parameters
        return s, loc, scale, all_of(self.valid(*s), scale > 0.0)

    def _inside(self, z: Any, s: Sequence[Any]) -> tuple[Any, Any]:
        """Return a mask of a distribution's support, and z with a typical point outside of it."""
        low, high = self._ends(s)
        outside: Any = None
        for end, beyond in ((low, z < low), (high, z > high)):
            infinite = isinstance(end, float) and math.isinf(end)
            if infinite or not self.closed:
                beyond = z == end if infinite else beyond | (z == end)
            outside = beyond if outside is None else outside | beyond
        inside = ~outside
        typical = self.typical(*s) if callable(self.typical) else self.typical
        return inside, where(inside, z, typical)

    def _logpdf(self, x: Any, *parameters: Any) -> Any:
        s, loc, scale, valid = self._split(parameters)
        inside, z = self._inside((x - loc) / scale, s)
        logpdf = where(
            inside, self.log_density(z, *s) - log(where(scale > 0.0, scale, 1.0)), -math.inf
        )
        return where(valid, logpdf, math.nan)

    def _pdf(self, x: Any, *parameters: Any) -> Any:
        return exp(self._logpdf(x, *parameters))

    def _by(
        self, of: Formula, x: Any, parameters: Sequence[Any], at_low: float, at_high: float
    ) -> Any:
        """Compute a formula inside of a continuous support; constants below and above it."""
        s, loc, scale, valid = self._split(parameters)
        z = (x - loc) / scale
        low, high = self._ends(s)
        inside = (z > low) & (z < high)
        typical = self.typical(*s) if callable(self.typical) else self.typical
        result = where(inside, of(where(inside, z, typical), *s), where(z <= low, at_low, at_high))
        return where(valid & (z == z), result, math.nan)

    def _cdf(self, x: Any, *parameters: Any) -> Any:
        return self._by(self.below, x, parameters, 0.0, 1.0)

    def _sf(self, x: Any, *parameters: Any) -> Any:
        return self._by(self.above, x, parameters, 1.0, 0.0)

    def _logcdf(self, x: Any, *parameters: Any) -> Any:
        return self._by(self.log_below, x, parameters, -math.inf, 0.0)

    def _logsf(self, x: Any, *parameters: Any) -> Any:
        return self._by(self.log_above, x, parameters, 0.0, -math.inf)

    def _inverse(self, of: Formula, q: Any, parameters: Sequence[Any], upper: bool) -> Any:
        """Compute quantiles of a continuous distribution, with its ends at 0 and 1."""
        s, loc, scale, valid = self._split(parameters)
        inside = (q > 0.0) & (q < 1.0)
        low, high = self._ends(s)
        z = of(where(inside, q, 0.5), *s)
        ends = where(q == 0.0, high, low) if upper else where(q == 0.0, low, high)
        z = where(inside, z, ends)
        return where(valid & (q >= 0.0) & (q <= 1.0), z * scale + loc, math.nan)

    def _ppf(self, q: Any, *parameters: Any) -> Any:
        return self._inverse(self.quantile, q, parameters, False)

    def _isf(self, q: Any, *parameters: Any) -> Any:
        return self._inverse(self.upper_quantile, q, parameters, True)

    def _mean(self, *parameters: Any) -> Any:
        s, loc, scale, valid = self._split(parameters)
        return where(valid, self.moments(*s)[0] * scale + loc, math.nan)

    def _var(self, *parameters: Any) -> Any:
        s, _, scale, valid = self._split(parameters)
        return where(valid, self.moments(*s)[1] * scale * scale, math.nan)

    def _entropy(self, *parameters: Any) -> Any:
        s, _, scale, valid = self._split(parameters)
        return where(valid, self.spread(*s) + log(where(valid, scale, 1.0)), math.nan)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, *parameters: Any) -> Any:
        s, loc, scale, _ = self._split(parameters)
        return self.draw(rng, shape, dtype, *s) * scale + loc


class Discrete(Univariate):
    """A distribution of whole numbers, with ``pmf`` and ``logpmf``; ``loc`` shifts it."""

    location_and_scale: ClassVar[Mapping[str, float]] = {"loc": 0.0}
    low: Any = 0.0

    def pmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """Probability of ``k``: 0 where it is not a whole number of the support."""
        return self._call("pmf", (k, *args), kwargs)

    def logpmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """Logarithm of ``pmf``."""
        return self._call("logpmf", (k, *args), kwargs)

    # -- formulas of families

    def valid(self, *s: Any) -> Any:
        """Return where parameters are in their range."""
        raise NotImplementedError

    def safe(self, *s: Any) -> Sequence[Any]:
        """Parameters as formulas take them: any numbers in their range where they are not."""
        return s

    def log_mass(self, k: Any, *s: Any) -> Any:
        """Logarithm of the probability of a whole number of the support."""
        raise NotImplementedError

    def below(self, k: Any, *s: Any) -> Any:
        """Probability of at most a whole number k of the support."""
        raise NotImplementedError

    def above(self, k: Any, *s: Any) -> Any:
        """Probability of more than k."""
        raise NotImplementedError

    def log_below(self, k: Any, *s: Any) -> Any:
        """Logarithm of ``below``."""
        return log_of(self.below(k, *s), self.above(k, *s))

    def log_above(self, k: Any, *s: Any) -> Any:
        """Logarithm of ``above``."""
        return log_of(self.above(k, *s), self.below(k, *s))

    def moments(self, *s: Any) -> tuple[Any, Any]:
        """Mean and variance."""
        raise NotImplementedError

    def far(self, *s: Any) -> Any:
        """A whole number above all quantiles below 1."""
        return self._ends(s)[1]

    def draw(self, rng: Any, shape: Any, dtype: DType, *s: Any) -> Any:
        """Draws in floats: quantiles of uniform ones."""
        unit, _ = rng._open_unit(shape, F64)
        return self.quantile(unit, *[astype(parameter, F64) for parameter in s])

    # -- what follows

    def _logpmf(self, k: Any, *parameters: Any) -> Any:
        """Compute the log mass of a discrete distribution: -inf outside of the integers it has."""
        *s, loc = parameters
        k = k - loc
        low, high = self._ends(s)
        valid = self.valid(*s)
        inside = (k >= low) & (k <= high) & (floor(k) == k) & (k < math.inf)
        at = where(inside, k, low)
        logpmf = where(inside, self.log_mass(at, *self._safe(s)), -math.inf)
        return where(valid & (k == k), logpmf, math.nan)

    def _safe(self, s: Sequence[Any]) -> Sequence[Any]:
        return self.safe(*s)

    def _pmf(self, k: Any, *parameters: Any) -> Any:
        return exp(self._logpmf(k, *parameters))

    def _by(
        self, of: Formula, k: Any, parameters: Sequence[Any], at_low: float, at_high: float
    ) -> Any:
        """Compute a formula inside of a discrete support; constants below and above it."""
        *s, loc = parameters
        k = floor(k - loc)
        low, high = self._ends(s)
        inside = (k >= low) & (k < high)
        result = of(where(inside, k, low), *self._safe(s))
        result = where(inside, result, where(k < low, at_low, at_high))
        return where(self.valid(*s) & (k == k), result, math.nan)

    def _cdf(self, k: Any, *parameters: Any) -> Any:
        return self._by(self.below, k, parameters, 0.0, 1.0)

    def _sf(self, k: Any, *parameters: Any) -> Any:
        return self._by(self.above, k, parameters, 1.0, 0.0)

    def _logcdf(self, k: Any, *parameters: Any) -> Any:
        return self._by(self.log_below, k, parameters, -math.inf, 0.0)

    def _logsf(self, k: Any, *parameters: Any) -> Any:
        return self._by(self.log_above, k, parameters, 0.0, -math.inf)

    def quantile(self, q: Any, *s: Any) -> Any:
        """The first whole number whose ``below`` is at least q, by bisection."""
        return self._bisect(lambda k: self.below(k, *s) >= q, q, s)

    def upper_quantile(self, q: Any, *s: Any) -> Any:
        """The first whole number whose ``above`` is at most q."""
        return self._bisect(lambda k: self.above(k, *s) <= q, q, s)

    def _bisect(self, reached: Formula, q: Any, s: Sequence[Any]) -> Any:
        """Find the first ``reached`` integer of a discrete distribution by bisection."""
        zero = stop_gradient(sum([parameter * 0.0 for parameter in s], q * 0.0))
        low, _ = self._ends(s)
        start = zero + (low - 1.0)  # not reached
        end = ceil(zero + self.far(*s))  # reached

        def step(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
            lower, upper = state
            middle = floor((lower + upper) * 0.5)
            middle = where(middle > lower, middle, upper)
            is_reached = reached(middle)
            return where(is_reached, lower, middle), where(is_reached, middle, upper)

        return fori_loop(0, _HALVINGS, step, (start, end))[1]

    def _inverse(self, of: Formula, q: Any, parameters: Sequence[Any], upper: bool) -> Any:
        """Compute quantiles of a discrete distribution, with its ends at 0 and 1."""
        *s, loc = parameters
        inside = (q > 0.0) & (q < 1.0)
        low, high = self._ends(s)
        k = of(where(inside, q, 0.5), *self._safe(s))
        first = low - 1.0
        ends = where(q == 0.0, high, first) if upper else where(q == 0.0, first, high)
        k = where(inside, k, ends)
        return where(self.valid(*s) & (q >= 0.0) & (q <= 1.0), k + loc, math.nan)

    def _ppf(self, q: Any, *parameters: Any) -> Any:
        return self._inverse(self.quantile, q, parameters, False)

    def _isf(self, q: Any, *parameters: Any) -> Any:
        return self._inverse(self.upper_quantile, q, parameters, True)

    def _mean(self, *parameters: Any) -> Any:
        *s, loc = parameters
        return where(self.valid(*s), self.moments(*self._safe(s))[0] + loc, math.nan)

    def _var(self, *parameters: Any) -> Any:
        *s, _ = parameters
        return where(self.valid(*s), self.moments(*self._safe(s))[1], math.nan)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, *parameters: Any) -> Any:
        *s, loc = parameters
        return astype(self.draw(rng, shape, dtype, *s) + loc, I64)


#: Steps of bisection: counts below 2**53.
_HALVINGS: Final = 54


@make_boundaries
class FrozenDistribution(NamedDistribution):
    """A distribution with its parameters: ``sg.stats.norm(0.0, tau).logpdf(x)``."""

    def __init__(self, family: Any, parameters: dict[str, Any]) -> None:
        self.family, self.parameters = family, parameters
        self.name = family.name

    @property
    def title(self) -> str:
        """That of the family."""
        title: str = self.family.title
        return title

    def __repr__(self) -> str:
        text = ", ".join(f"{word}={quote(value)}" for word, value in self.parameters.items())
        return f"{self.title}({text})"

    def __reduce__(self) -> Any:
        return FrozenDistribution, (self.family, self.parameters)

    def __getattr__(self, word: str) -> Any:
        """The method of the family, which takes no parameters."""
        if word.startswith("_") or word in ("family", "parameters", "name"):
            raise AttributeError(word)
        method = getattr(self.family, word)
        return functools.partial(method, **self.parameters) if callable(method) else method
