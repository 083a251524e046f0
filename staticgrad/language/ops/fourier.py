"""Fourier transforms: one op, linear in what it is given, which is the op again transposed.

Complex values lie with real and imaginary parts along a last axis of 2, as in memory. SciPy's
pocketfft computes them (``native/libraries/fourier.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import size_value
from staticgrad.language.ops.movement import reshape
from staticgrad.language.ops.operands import LinearOp
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.selection import where
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dim import Size, at_least, floordiv
from staticgrad.language.types.dtype import F32, F64, I64
from staticgrad.support.errors import ArgumentError, DTypeError


class FourierTransform(LinearOp, name="fft"):
    """The discrete Fourier transform along some axes.

    ``c2c`` of complex values; ``r2c`` of real ones, without the half of the spectrum that is the
    conjugate of the other, along the last of ``axes``; ``c2r`` back to ``last`` real elements of
    it. ``axes`` count from the last axis of complex numbers, -1. ``forward``: the exponent has a
    minus sign. ``norm``: the result is divided by nothing (0), the root of the number of elements
    (1), or that number (2).
    """

    exact = True
    kind: str
    axes: tuple[int, ...]
    forward: bool = True
    norm: int = 0
    last: Size = 0

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype not in (F32, F64):
            raise DTypeError(
                f"fft: takes float32, float64, complex64 and complex128, not {x.dtype}",
                hint="x.astype('float32')",
            )
        shape = list(x.shape if self.kind == "r2c" else x.shape[:-1])
        for axis in self.axes:
            size = self.last if self.kind == "c2r" and axis == self.axes[-1] else shape[axis]
            text = f"fft: no elements along axis {axis}"
            if not at_least(size, 1, text):
                raise ArgumentError(text)
        if self.kind == "r2c":
            shape[self.axes[-1]] = floordiv(shape[self.axes[-1]], 2) + 1
        elif self.kind == "c2r":
            shape[self.axes[-1]] = self.last
        return x.with_shape(tuple(shape) if self.kind == "c2r" else (*shape, 2))

    def reference(self, x: Array) -> Any:
        from staticgrad.native.libraries.fourier import prepared

        shape: Any = self.infer(TensorType(F64, x.shape)).shape
        out = np.empty(shape, x.dtype)
        prepared(self.kind, self.axes, self.how, np.ascontiguousarray(x), out)()
        return out

    @property
    def how(self) -> str:
        """The sign of the exponent, f or b, and the normalization."""
        return f"{'f' if self.forward else 'b'}{self.norm}"

    def form(self, out: TensorType, *types: TensorType) -> Form:
        (x,) = types
        axes = "_".join(map(str, self.axes))
        name = f"fft:{self.kind}.{x.dtype.name}.{x.rank}.{out.rank}.{self.how}.{axes}"
        flops = 50 * product(x.shape)
        return CallForm(name, (*x.shape, *out.shape), checks=True, flops=flops, alone=True)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return self(*in_front(size, args, over))

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return None

    def counted(self, mask: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        return Op.counted(self, mask, out, *args)

    def transposed(self, ct: Any, x: Any) -> Any:
        """The transform with the other sign; of half a spectrum each element counts once."""
        axis, back = self.axes[-1], not self.forward
        if self.kind == "c2c":
            return FourierTransform("c2c", self.axes, back, self.norm)(ct)
        if self.kind == "c2r":
            ct = FourierTransform("r2c", self.axes, back, self.norm)(ct)
            return ct * _doubled(ct, axis, self.last, 2.0)
        size = x.shape[axis]
        ct = ct * _doubled(ct, axis, size, 0.5)
        return FourierTransform("c2r", self.axes, back, self.norm, size)(ct)


def _doubled(spectrum: Any, axis: int, size: Size, factor: float) -> Any:
    """``factor`` for elements that stand for a conjugate, too; 1 for the others."""
    count = spectrum.shape[axis - 1]  # behind it there is the axis of both parts
    places = iota((count,), like=spectrum)
    alone = (places == 0) | (places * 2 == size_value(size, I64))
    one, other = (np.array(number, spectrum.dtype.numpy) for number in (1.0, factor))
    return reshape(where(alone, one, other), (count, *(1,) * -axis))
