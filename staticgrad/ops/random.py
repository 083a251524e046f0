"""Random numbers: generators whose draws are pure functions of a key and a step counter.

A generator owns two parameters, a key (from the seed) and a step; each draw has a stream of its own
within it. A graph that updates the step draws anew on every run; one that does not draws the same
numbers again. Public as ``sg.random``. The bits themselves come from ``philox.py``.

    >>> import staticgrad as sg
    >>> rng = sg.random.Generator(7)
    >>> noise = rng.normal(shape=("batch", 3))
    >>> graph = sg.Graph({"noise": noise}, updates=rng.updates)
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.ir.dim import dim
from staticgrad.ir.dtype import F32, F64, I64, U32, U64, DType
from staticgrad.ir.graph import Parameter
from staticgrad.ir.types import Shape
from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops.creation import parameter
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import dtype_of, floating, integer, shape_of
from staticgrad.ops.philox import STREAMS, RandomBits

_TAU: Final = 2.0 * math.pi


class Generator:
    """A source of random numbers with a seed; every draw is independent of the others.

    Attributes:
        key, step: the parameters (0-d uint64) that all draws read. Setting ``key.value`` seeds
            again without compiling again; setting ``step.value`` goes back to an earlier run.
    """

    key: Parameter
    step: Parameter

    def __init__(self, seed: int, name: str = "random") -> None:
        """A generator.

        Args:
            seed: a whole number in [0, 2**64).
            name: begins the names of its parameters: ``random.key``, ``random.step``.

        Raises:
            ArgumentError: a seed that is no such number.
        """
        number = integer("Generator", "seed", seed)
        if not 0 <= number < 1 << 64:
            raise ArgumentError(f"Generator: the seed {number} is not in [0, 2**64)")
        self.key = parameter(f"{name}.key", np.uint64(number))
        self.step = parameter(f"{name}.step", np.uint64(0))
        self._streams = 0

    @property
    def updates(self) -> dict[Parameter, Value]:
        """The step, one further: for ``sg.Graph(..., updates=...)``."""
        return {self.step: self.step + np.uint64(1)}

    def bits(self, shape: Any = (), dtype: Any = "uint32") -> Value:
        """Uniform random bits as uint32 or uint64. ``shape``: sizes, named ones by their name too.

        Raises:
            DTypeError: another dtype.
            ArgumentError: more draws than a generator has streams.
        """
        return self._bits(_shape("bits", shape), dtype_of("bits", dtype), self._stream())  # type: ignore[no-any-return]

    def uniform(
        self, low: Operand = 0.0, high: Operand = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Uniform in [low, high): of float32 numbers 2**24 different ones, of float64 2**53.

        low + (high - low) * u, which carries gradients to low and high; rounding can give high.

        Raises:
            DTypeError: a dtype that is not floating.
            ShapeError: borders that do not broadcast to the shape.
        """
        kind = _floating_dtype("uniform", dtype)
        unit = self._unit(_drawn("uniform", shape, low, high), kind)
        if type(low) in (int, float) and type(high) in (int, float):
            span = float(high - low)  # type: ignore[operator,arg-type]
            return unit if (low, high) == (0, 1) else unit * span + float(low)  # type: ignore[arg-type]
        return unit * (high - low) + low  # type: ignore[operator,no-any-return]

    def normal(
        self, loc: Operand = 0.0, scale: Operand = 1.0, shape: Any = None, dtype: Any = F32
    ) -> Value:
        """Normal with mean ``loc`` and standard deviation ``scale``, to which gradients flow.

        By Box and Muller's transform (1958): sqrt(-2 log(u)) cos(2 pi v). float32 reaches 6.6
        standard deviations, float64 8.5.

        Raises:
            DTypeError: a dtype that is not floating.
            ShapeError: parameters that do not broadcast to the shape.
        """
        kind = _floating_dtype("normal", dtype)
        sizes, stream = _drawn("normal", shape, loc, scale), self._stream()
        if kind == F32:
            both = self._bits(sizes, U64, stream)
            u = (_cast(both >> np.uint64(32), F32) + 1.0) * 2.0**-32
            v = _cast(both & np.uint64(0xFFFFFFFF), F32) * 2.0**-32
        else:
            u = (_cast(self._bits(sizes, U64, stream) >> np.uint64(11), F64) + 1.0) * 2.0**-53
            v = _cast(self._bits(sizes, U64, stream, 1) >> np.uint64(11), F64) * 2.0**-53
        z = FUNCTIONS["sqrt"](-2.0 * FUNCTIONS["log"](u)) * FUNCTIONS["cos"](v * _TAU)
        if type(loc) in (int, float) and type(scale) in (int, float) and (loc, scale) == (0, 1):
            return z  # type: ignore[no-any-return]
        return z * scale + loc  # type: ignore[no-any-return]

    def exponential(self, scale: Operand = 1.0, shape: Any = None, dtype: Any = F32) -> Value:
        """Exponential with mean ``scale``, to which gradients flow: -scale * log1p(-u).

        Raises:
            DTypeError: a dtype that is not floating.
        """
        kind = _floating_dtype("exponential", dtype)
        unit = self._unit(_drawn("exponential", shape, scale), kind)
        return -FUNCTIONS["log1p"](-unit) * scale  # type: ignore[no-any-return]

    def bernoulli(self, p: Operand = 0.5, shape: Any = None) -> Value:
        """True with probability ``p`` (to 2**-24), as bool; p broadcasts to the shape.

        Raises:
            ShapeError: probabilities that do not broadcast to the shape.
        """
        return self._unit(_drawn("bernoulli", shape, p), F32) < p  # type: ignore[no-any-return]

    def integers(self, low: int, high: int, shape: Any = (), dtype: Any = I64) -> Value:
        """Whole numbers in [low, high), at most 2**32 different ones; off by at most 2**-32 each.

        The upper part of bits times count (Lemire, "Fast random integer generation in an interval",
        2019, without rejection).

        Raises:
            ArgumentError: borders that are no integers, none between them, or too many.
            DTypeError: a dtype that is not integer.
        """
        first, last = integer("integers", "low", low), integer("integers", "high", high)
        kind, count = dtype_of("integers", dtype), last - first
        if not kind.is_integer:
            raise DTypeError(f"integers: not of dtype {kind.numpy}")
        limits = np.iinfo(kind.numpy.name)
        if not 1 <= count <= 1 << 32 or first < limits.min or last - 1 > limits.max:
            raise ArgumentError(
                f"integers: [{first}, {last}) holds {count} numbers for {kind.numpy}",
                hint="there must be one, at most 2**32, and the dtype must hold them",
            )
        bits = self._bits(_shape("integers", shape), U64, self._stream())
        many, word = np.uint64(count), np.uint64(32)
        carried = (bits & np.uint64(0xFFFFFFFF)) * many >> word
        chosen = ((bits >> word) * many + carried) >> word
        offset = np.asarray(first % (1 << kind.bits)).astype(f"uint{kind.bits}").view(kind.numpy)
        return _cast(chosen, kind) + offset[()]  # type: ignore[no-any-return]

    def dropout(self, x: Operand, rate: float) -> Value:
        """x with each element 0 with probability ``rate``, and the others divided by 1 - rate.

        Srivastava et al., JMLR 15 (2014). Gradients flow to the elements that stay.

        Raises:
            ArgumentError: a rate outside [0, 1).
        """
        if not 0.0 <= rate < 1.0:
            raise ArgumentError(f"dropout: the rate {rate} is not in [0, 1)")
        value = floating("dropout", x)
        if rate == 0.0:
            return value
        stays = self._unit(value.shape, F32) >= rate
        return FUNCTIONS["where"](stays, value * (1.0 / (1.0 - rate)), 0.0)  # type: ignore[no-any-return]

    def _unit(self, shape: Shape, kind: DType) -> Value:
        """Uniform in [0, 1), on a grid of all the dtype's bits."""
        if kind == F32:
            return _cast(self._bits(shape, U32, self._stream()) >> np.uint32(8), F32) * 2.0**-24  # type: ignore[no-any-return]
        return _cast(self._bits(shape, U64, self._stream()) >> np.uint64(11), F64) * 2.0**-53  # type: ignore[no-any-return]

    def _bits(self, shape: Shape, kind: DType, stream: int, half: int = 0) -> Any:
        return RandomBits(shape, kind, stream, half)(self.key, self.step)

    def _stream(self) -> int:
        if self._streams == STREAMS:
            raise ArgumentError(
                f"a generator makes {STREAMS} draws in a graph", hint="use another seed for more"
            )
        self._streams += 1
        return self._streams - 1


def _cast(x: Value, kind: DType) -> Any:
    return FUNCTIONS["astype"](x, kind)


def _floating_dtype(op: str, dtype: Any) -> DType:
    kind = dtype_of(op, dtype)
    if not kind.is_float:
        raise DTypeError(f"{op}: not of dtype {kind.numpy}", hint="float32 or float64")
    return kind


def _shape(op: str, data: Any) -> Shape:
    entries = data if isinstance(data, list | tuple) else (data,)
    return shape_of(op, tuple(dim(e) if isinstance(e, str) else e for e in entries))


def _drawn(op: str, shape: Any, *parameters: Operand) -> Shape:
    """The shape asked for, or that in which the parameters meet."""
    if shape is not None:
        return _shape(op, shape)
    values = FUNCTIONS["broadcast_arrays"](*parameters)
    met: Shape = values[0].shape
    return met
