"""Fourier transforms: one op, linear in what it is given, which is the op again transposed.

Complex values lie with real and imaginary parts along a last axis of 2, as in memory. A transform
along one axis of a literal size is a kernel (``native/libraries/fourier_kernels.py``) where the
size has no prime factor above 5; SciPy's pocketfft computes the others, and all of the evaluator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
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
from staticgrad.language.types.dim import Dim, Size, at_least, floordiv
from staticgrad.language.types.dtype import F32, F64, I64
from staticgrad.native.libraries.fourier_kernels import (
    LANES,
    FourierCall,
    buffer_elements,
    complex_size,
    layout_of,
)

#: Of a kernel, for each element and binary digit of the size: 5, at a fifth of the limit.
_FLOPS: Final = 25


class FourierTransform(LinearOp, name="fft"):
    """The discrete Fourier transform along some axes.

    ``c2c`` of complex values; ``r2c`` of real ones, without the half of the spectrum that is the
    conjugate of the other, along the last of ``axes``; ``c2r`` back to ``last`` real elements of
    it. ``axes`` count from the last axis of complex numbers, -1. ``forward``: the exponent has a
    minus sign. ``norm``: the result is divided by nothing (0), the root of the number of elements
    (1), or that number (2).
    """

    kind: str
    axes: tuple[int, ...]
    forward: bool = True
    norm: int = 0
    last: Size = 0

    def infer(self, x: TensorType) -> TensorType:
        """Infer a Fourier transform's type: pairs of reals, half a spectrum of real input."""
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
        from staticgrad.native.libraries.fourier import prepare_transform

        shape: Any = self.infer(TensorType(F64, x.shape)).shape
        out = np.empty(shape, x.dtype)
        prepare_transform(self.kind, self.axes, self.how, np.ascontiguousarray(x), out)()
        return out

    @property
    def how(self) -> str:
        """The sign of the exponent, f or b, and the normalization."""
        return f"{'f' if self.forward else 'b'}{self.norm}"

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Return the library call of a Fourier transform: our kernel, or SciPy's function."""
        (x,) = types
        call_of_kernel = self._kernel(out, x)
        if call_of_kernel is not None:
            return call_of_kernel
        call = FourierCall(self.kind, x.dtype.name, x.rank, out.rank, self.how, self.axes)
        flops = 50 * product(x.shape)
        return CallForm(call.name, (*x.shape, *out.shape), checks=True, flops=flops, alone=True)

    def _kernel(self, out: TensorType, x: TensorType) -> CallForm | None:
        """Return the call of a Fourier kernel over [outer, size, inner]; None if unsupported."""
        shape = list(out.shape if self.kind == "c2r" else x.shape)
        if self.kind == "c2c":
            shape.pop()
        axis = self.axes[-1] % len(shape)
        size, outer, inner = shape[axis], product(shape[:axis]), product(shape[axis + 1 :])
        if len(self.axes) > 1 or isinstance(size, Dim):
            return None
        dtype = x.dtype.name
        literals = [None if isinstance(count, Dim) else count for count in (outer, inner)]
        layout = layout_of(self.kind, dtype, size, *literals)
        if layout is None:
            return None
        half = size // 2 + 1
        size_in, size_out = (
            half if self.kind == "c2r" else size,
            half if self.kind == "r2c" else size,
        )
        operand_shape = [outer, size_in, inner, *([2] if self.kind[0] == "c" else [])]
        results = [outer, size_out, inner, *([2] if self.kind[2] == "c" else [])]
        elements = complex_size(self.kind, size)
        lanes = 1 if layout == "lines" else LANES[dtype]
        if layout == "columns":
            total = outer * floordiv(inner + (lanes - 1), lanes)
        else:
            total = floordiv(outer + (lanes - 1), lanes)
        ranks = len(operand_shape), len(results)
        call = FourierCall(self.kind, dtype, *ranks, self.how, (-2,), size, layout)
        scratch = ((x.dtype, 2 * buffer_elements(dtype, layout, elements)),)
        flops = _FLOPS * lanes * elements * elements.bit_length()
        return CallForm(call.name, (*operand_shape, *results), scratch, True, total, flops)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return self(*in_front(size, args, over))

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return None

    def operand_masks(self, mask: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        return Op.operand_masks(self, mask, out, *args)

    def transpose_rule(self, ct: Any, x: Any) -> Any:
        """Transpose a Fourier transform: the other sign; of half a spectrum, each element once."""
        axis, back = self.axes[-1], not self.forward
        if self.kind == "c2c":
            return FourierTransform("c2c", self.axes, back, self.norm)(ct)
        if self.kind == "c2r":
            ct = FourierTransform("r2c", self.axes, back, self.norm)(ct)
            return ct * _conjugate_weights(ct, axis, self.last, 2.0)
        size = x.shape[axis]
        ct = ct * _conjugate_weights(ct, axis, size, 0.5)
        return FourierTransform("c2r", self.axes, back, self.norm, size)(ct)


def _conjugate_weights(spectrum: Any, axis: int, size: Size, factor: float) -> Any:
    """``factor`` for elements that stand for a conjugate, too; 1 for the others."""
    count = spectrum.shape[axis - 1]  # behind it there is the axis of both parts
    places = iota((count,), like=spectrum)
    alone = (places == 0) | (places * 2 == size_value(size, I64))
    single, double = (np.array(number, spectrum.dtype.numpy) for number in (1.0, factor))
    return reshape(where(alone, single, double), (count, *(1,) * -axis))
