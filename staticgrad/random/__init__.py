"""Random numbers: generators whose draws are pure functions of a key and a step counter.

A generator has two parameters, a key (from the seed) and a step; each draw has a stream of its own
within it. A graph with updates draws anew in every run: it advances the step by itself. A graph
without updates changes nothing, so it draws the same numbers again. The updates
``{rng.step: rng.step}`` repeat the draws of a graph that has others. Streams are numbered from 0 in
each traced function. In graphs built by hand they are numbered in the order of all draws of the
generator, so that values of two graphs may be combined.
Public as ``sg.random``. The bits themselves come from ``philox.py``.

In a loop (``sg.scan`` and others) a draw differs from iteration to iteration: it has one stream,
and its key is folded with the number of the iteration (``philox.folded``), of nested loops with
that of each. Which iterations run together, in what order and how often changes nothing. Of tensors
the same holds (but a case of a branch that does not run draws nothing there).

Ranks of a job (``sg.distributed``) draw different numbers from generators of one seed: the elements
of a draw are numbered through the ranks, so that the draws of N ranks with equal shares, one after
the other, are the draw of one process with the whole batch. A generator that is ``shared`` draws
the same on all ranks. Key and step are the same on all ranks, so a checkpoint has nothing of them.

A draw at once (of tensors, in no function) is a step of its own, and so is a loop that runs at
once: key and step say where a generator stands, also to whoever saves them.

    >>> rng = sg.random.Generator(7)
    >>> noise = rng.normal(shape=("batch", 3))
    >>> graph = sg.Graph({"noise": noise}, updates=rng.updates)  # it has no other updates
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, UnknownAttributeError
from staticgrad.extend import (
    DType,
    Fraction,
    Integer,
    Parameter,
    PythonNumber,
    Shape,
    Value,
    array_dtype,
    array_of,
    as_graph_value,
    boundary,
    called_name,
    did_you_mean,
    dtype_of,
    floating,
    make_boundaries,
    namespace,
    public,
    quote,
    ranks,
)
from staticgrad.extend.building import (
    GENERATORS,
    Stream,
    computing_kind,
    note_draw,
    running_session,
)
from staticgrad.extend.dtypes import (
    F32,
    F64,
    I64,
    U64,
)
from staticgrad.extend.functions import parameter
from staticgrad.extend.ops import (
    astype,
    log1p,
    subtract,
    where,
)
from staticgrad.extend.trees import ObjectParts, parts
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.philox import FOLD, FOLDED, RandomBits
from staticgrad.language.ops.special import Ndtri
from staticgrad.random.draws import (
    Distributions,
    drawing,
    drawn_shape,
    floating_dtype,
    met_shape,
)

__all__ = [
    "Generator",
]


#: Name in other libraries -> what to write here.
_ELSEWHERE: Final = {
    **dict.fromkeys(("random", "rand"), "rng.uniform(shape=(3,))"),
    **dict.fromkeys(("standard_normal", "randn"), "rng.normal(shape=(3,))"),
    "randint": "rng.integers(low, high, shape=(3,))",
    **dict.fromkeys(("shuffle", "permuted"), "rng.permutation(x)"),
    "standard_exponential": "rng.exponential(shape=(3,))",
    "rademacher": "2 * rng.bernoulli(shape=(3,)).astype('float32') - 1",
    **dict.fromkeys(("standard_gamma", "loggamma"), "rng.gamma(a), sg.log(rng.gamma(a))"),
    **dict.fromkeys(("chisquare", "chi2"), "rng.gamma(df / 2, 2)"),
    **dict.fromkeys(("standard_t", "t"), "rng.normal() / sg.sqrt(rng.gamma(df / 2, 2 / df))"),
    "f": "rng.gamma(m / 2, 2 / m) / rng.gamma(n / 2, 2 / n)",
    **dict.fromkeys(("weibull", "weibull_min"), "rng.exponential(shape=(3,)) ** (1 / a)"),
    "rayleigh": "scale * sg.sqrt(2 * rng.exponential(shape=(3,)))",
    "pareto": "sg.expm1(rng.exponential(shape=(3,)) / a)",
    **dict.fromkeys(
        ("cauchy", "standard_cauchy"),
        "loc + scale * sg.tan(np.pi * (rng.uniform(shape=(3,)) - 0.5))",
    ),
    "binomial": "of n trials: rng.bernoulli(p, shape=(n, 3)).sum(0)",
    "geometric": "1 + sg.floor(rng.exponential(shape=(3,)) / -sg.log1p(-p))",
    "negative_binomial": "rng.poisson(rng.gamma(n, (1 - p) / p))",
    "multinomial": "of n draws: sg.zeros(k).at[rng.categorical(sg.log(p), shape=(n,))].add(1)",
    **dict.fromkeys(
        ("hypergeometric", "logseries", "vonmises", "wald", "zipf", "noncentral_chisquare"),
        "draw them with NumPy, and feed them",
    ),
}


@make_boundaries
class Generator(Distributions):
    """A source of random numbers with a seed; every draw is independent of the others.

    Each call of a traced function, each draw of tensors, and each run of a graph with updates draws
    anew. A graph without updates repeats its draws: it changes nothing.

    Attributes:
        key, step: the parameters (0-d uint64) that all draws read. Setting ``key.value`` seeds
            again without compiling again; setting ``step.value`` goes back to an earlier run.

    >>> generator = sg.random.Generator(seed=1)
    >>> f = sg.compile(sg.Graph({"x": generator.normal(shape=(2,))}, updates=generator.updates))
    >>> first, second = f.run()["x"], f.run()["x"]
    >>> generator.step.value = np.uint64(0)
    >>> bool((f.run()["x"] == first).all()), bool((second == first).any())
    (True, False)
    """

    key: Parameter
    step: Parameter
    shared = False  # of generators that were pickled before there was a choice

    @public
    def __init__(self, seed: Integer, name: str = "random", *, shared: bool = False) -> None:
        """A generator.

        Args:
            seed: a whole number in [0, 2**64).
            name: begins the names of its parameters: ``random.key``, ``random.step``.
            shared: draw the same numbers on all ranks of a job, as noise of parameters must be. By
                default each rank draws for the examples of its share.
        """
        if not 0 <= seed < 1 << 64:
            raise ArgumentError(f"Generator: the seed {seed} is not in [0, 2**64)")
        self.key = parameter(f"{name}.key", np.uint64(seed))
        self.step = parameter(f"{name}.step", np.uint64(0))
        self.step.store.counts_runs = True
        self.shared = bool(shared)
        self.streams = 0
        self.iterations: tuple[int, ...] = ()  # of the loops that run at once
        GENERATORS.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and what was pickled go on from where it stood."""
        vars(self).update(state)
        self.step.store.counts_runs = True
        GENERATORS.add(self)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            names = [attribute for attribute in dir(Generator) if not attribute.startswith("_")]
            raise UnknownAttributeError(
                f"a generator has no {name!r}",
                hint=lambda: _ELSEWHERE.get(name) or did_you_mean(name, names),
            )

    def __repr__(self) -> str:
        return f"Generator(seed={int(self.key.value)}, step={int(self.step.value)})"

    @property
    def updates(self) -> dict[Parameter, Value]:
        """The step, one further: for ``sg.Graph(..., updates=...)`` that has no other updates."""
        return {self.step: self.step + np.uint64(1)}

    @drawing
    def bits(self, shape: Any = (), dtype: Any = "uint32") -> Value:
        """Uniform random bits as uint32 or uint64; ``shape``: sizes, or the names of sizes."""
        return self._draw_bits(drawn_shape(shape), dtype_of(dtype), self._next_stream())

    @drawing
    def uniform(
        self, low: ArrayLike = 0.0, high: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Uniform in [low, high): of float32 numbers 2**24 different ones, of float64 2**53.

        low + (high - low) * u, which carries gradients to low and high; rounding can give high.
        """
        kind = floating_dtype(dtype)
        unit = self._unit(met_shape(shape, low, high), kind)
        first: Any = low
        last: Any = high
        if {type(low), type(high)} <= {int, float, PythonNumber}:
            span = float(last - first)
            return unit if (low, high) == (0, 1) else unit * span + float(first)
        return unit * subtract(last, first) + first

    @drawing
    def normal(
        self, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Normal with mean ``loc`` and standard deviation ``scale``, to which gradients flow.

        The quantile of a uniform draw, one word per element: the highest bit is the sign, the rest
        says how far out. float32 reaches 6.3 standard deviations, float64 8.2.
        """
        kind = floating_dtype(dtype)
        sizes, stream = met_shape(shape, loc, scale), self._next_stream()
        compute_dtype = kind.compute
        bits = _cast(self._draw_bits(sizes, compute_dtype.unsigned, stream), compute_dtype.signed)
        half = _HALVES[compute_dtype](bits)
        below = Ndtri()(half)
        z = _cast(where(bits < 0, below, -below), kind)
        if type(loc) in (int, float) and type(scale) in (int, float) and (loc, scale) == (0, 1):
            return z
        return z * scale + loc

    @drawing
    def exponential(self, scale: ArrayLike = 1.0, shape: Any = None, dtype: Any = F32) -> Value:
        """Exponential with mean ``scale``, to which gradients flow: -scale * log1p(-u)."""
        kind = floating_dtype(dtype)
        unit = self._unit(met_shape(shape, scale), kind.compute)
        return _cast(-log1p(-unit), kind) * scale

    @drawing
    def bernoulli(self, p: ArrayLike = 0.5, shape: Any = None) -> Value:
        """True with probability ``p`` (to 2**-24), as bool; p broadcasts to the shape.

        Raises:
            ArgumentError: a probability outside [0, 1]; values of a graph are not checked.
        """
        if not isinstance(p, Value):
            array_dtype(p)
            probabilities = array_of(p, f"{called_name()}: p")
            if not np.all((probabilities >= 0.0) & (probabilities <= 1.0)):
                raise ArgumentError(
                    f"bernoulli: the probability {quote(p)} is not in [0, 1]",
                    hint="the probability comes first, then the shape: bernoulli(0.5, shape=(3,))",
                )
        return self._unit(met_shape(shape, p), F32) < p

    @drawing
    def integers(self, low: Integer, high: Integer, shape: Any = (), dtype: Any = I64) -> Value:
        """Whole numbers in [low, high), at most 2**32 different ones; off by at most 2**-32 each.

        The upper part of bits times count (Lemire, "Fast random integer generation in an interval",
        2019, without rejection).
        """
        kind, count = dtype_of(dtype), high - low
        if not kind.is_integer:
            raise DTypeError(f"integers: not of dtype {kind.numpy}")
        limits = np.iinfo(kind.numpy.name)
        if not 1 <= count <= 1 << 32 or low < limits.min or high - 1 > limits.max:
            raise ArgumentError(
                f"integers: [{low}, {high}) holds {count} numbers for {kind.numpy}",
                hint="there must be one, at most 2**32, and the dtype must hold them",
            )
        bits = self._draw_bits(drawn_shape(shape), U64, self._next_stream())
        many, word = np.uint64(count), np.uint64(32)
        carried = (bits & np.uint64(0xFFFFFFFF)) * many >> word
        chosen = ((bits >> word) * many + carried) >> word
        offset = np.asarray(low % (1 << kind.bits)).astype(f"uint{kind.bits}").view(kind.numpy)
        return _cast(chosen, kind) + offset[()]

    @public
    def dropout(self, x: ArrayLike, rate: Fraction) -> Value:
        """x with each element 0 with probability ``rate``, and the others divided by 1 - rate.

        Srivastava et al., JMLR 15 (2014). Gradients flow to the elements that stay.
        """
        value = floating(x)
        if rate == 0.0:
            return value
        stays = self._unit(value.shape, F32) >= rate
        return where(stays, value * (1.0 / (1.0 - rate)), 0.0)

    def _unit(self, shape: Shape, kind: DType) -> Value:
        drawn = kind.compute.unsigned
        bits = self._draw_bits(shape, drawn, self._next_stream())
        spare = drawn.numpy.type(drawn.bits - kind.digits)
        return _cast(bits >> spare, kind) * 2.0**-kind.digits

    def _draw_bits(self, shape: Shape, kind: DType, stream: Stream, half: int = 0) -> Any:
        """Draw random bits of a shape from the generator's key and step."""
        key: Any = self.key
        if (
            self.iterations
        ):  # a batch folds this key again: it is a number, and no draw of its trace
            key = key.value[()]
            for number in self.iterations:
                key = FOLD.reference(key, np.asarray(number, np.uint64))[()]
        rank = 0 if self.shared else _rank_of_draws()
        return RandomBits(shape, kind, stream.number, half, 0, rank)(
            as_graph_value(key), as_graph_value(stream.step)
        )

    def _next_stream(self) -> Stream:
        """Return the next random stream of the generator in this graph or eager call."""
        if self.streams >= FOLDED:
            raise ArgumentError(
                f"a generator makes {FOLDED} draws in a graph", hint="use another seed for more"
            )
        if computing_kind() is not None and running_session() is None and not self.iterations:
            return Stream(self._end_step(), 0)  # whatever has been traced with it
        if running_session() is None and not self.iterations:
            note_draw(self)
        self.streams += 1
        return Stream(self.step, self.streams - 1)

    def _end_step(self) -> Any:
        step = self.step.value
        self.step.value = step + np.uint64(1)
        return step[()]

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Inside, a loop runs at once: outside of a trace it is a step, with streams from 0."""
        if running_session() is not None or self.iterations:
            yield
            return
        streams, self.streams = self.streams, 0
        try:
            yield
            if self.streams:
                self._end_step()
        finally:
            self.streams = streams


parts.register(
    Generator, lambda generator: ObjectParts(lambda: {"key": generator.key, "step": generator.step})
)


def _rank_of_draws() -> int:
    """Return the MPI rank whose random numbers are drawn, that of the running job."""
    job = ranks.running()
    if job is None:
        if computing_kind() is None:
            ranks.note_draw()
        return 0
    session = running_session()
    if job.ranks > 1 and session is not None:
        session.draws = True
    return job.rank


def _cast(x: Value, kind: DType) -> Any:
    return astype(x, kind)


def _half_f32(bits: Any) -> Any:
    return (_cast(bits & np.int32(2**31 - 1), F32) + 0.5) * 2.0**-32


def _half_f64(bits: Any) -> Any:
    return (_cast(bits >> np.int64(10) & np.int64(2**53 - 1), F64) + 0.5) * 2.0**-54


_HALVES: Final = {F32: _half_f32, F64: _half_f64}


namespace(globals())
