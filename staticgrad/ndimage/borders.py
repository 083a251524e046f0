"""Arguments that filters and interpolations of images share: borders, axes, dtypes of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, cast

import numpy as np

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    DType,
    Value,
    as_value,
    called_name,
    describe_operands,
    distinct_axes,
    dtype_of,
    integer,
)
from staticgrad.extend.dtypes import BF16, BOOL, C64, F16, F32, F64, I64, U64
from staticgrad.extend.functions import imag, real
from staticgrad.extend.ops import astype, clip, floor, trunc, where
from staticgrad.functions import complex_numbers
from staticgrad.functions.arrange import PadMode

#: The values beyond the ends of an axis a b c d, in SciPy's names.
Mode = Literal[
    "reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror", "wrap", "grid-wrap"
]
#: Mode -> the mode of ``sg.pad`` with these values.
PAD_MODES: Final[dict[Mode, PadMode]] = {
    "reflect": "symmetric",  # d c b a | a b c d | d c b a
    "grid-mirror": "symmetric",
    "constant": "constant",  # k k k k | a b c d | k k k k
    "grid-constant": "constant",
    "nearest": "edge",  # a a a a | a b c d | d d d d
    "mirror": "reflect",  # d c b | a b c d | c b a
    "wrap": "wrap",  # a b c d | a b c d | a b c d
    "grid-wrap": "wrap",
}


def expand_per_axis(name: str, argument: Any, axes: Sequence[int]) -> list[Any]:
    """Return an argument that is one for all axes, or one for each, as one for each."""
    if isinstance(argument, Value) and argument.ndim == 1:
        count = integer(f"number of entries of {name}", argument.shape[0], argument)
        argument = [argument[entry] for entry in range(count)]
    elif isinstance(argument, np.ndarray):
        argument = argument.tolist()
    if not isinstance(argument, list | tuple):
        return [argument] * len(axes)
    if len(argument) != len(axes):
        raise ArgumentError(
            f"{called_name()}: {len(argument)} entries of {name} for {len(axes)} axes"
        )
    return list(argument)


def read_axes(axes: int | Sequence[int] | None, image: AnyValue) -> tuple[int, ...]:
    """Return the axes of an image that a filter goes along; by default all."""
    if axes is None:
        return tuple(range(image.ndim))
    return tuple(distinct_axes((axes,) if isinstance(axes, int) else axes, image))


def apply_to_image(
    function: Callable[..., Any],
    input: ArrayLike[AnyValue],
    output: Any,
    cval: Any,
    settle: Callable[[AnyValue, DType], AnyValue],
) -> AnyValue:
    """Apply a linear function of real images to an image of any dtype.

    Args:
        function: takes the image, floating, and the constant beyond its borders, and a function
            that is applied after each pass along an axis: it makes integers of the results where
            the image has integers.
        input: the image; of complex ones both parts.
        output: the dtype of the result, by default that of the image.
        cval: the constant beyond the borders.
        settle: makes floating results ones of an integer dtype.
    """
    image: Any = as_value(input)
    if image.ndim == 0:
        raise RankError(
            f"{called_name()}: {image.type} has no axis", related=describe_operands(image)
        )
    result = image.dtype if output is None else _read_output(output)
    if image.dtype.is_complex:
        part_dtype = (F32 if result is C64 else F64) if result.is_complex else result
        constant = as_value(cval)
        parts = [
            apply_to_image(function, part(image), part_dtype, part(constant), settle)
            for part in (real, imag)
        ]
        return complex_numbers.complex(*parts)
    if result.is_complex:
        zero = 0 * image
        return apply_to_image(function, complex_numbers.complex(image, zero), output, cval, settle)
    is_narrow = all(dtype in (F32, F16, BF16) for dtype in (image.dtype, result))
    computed = F32 if is_narrow else F64
    to_result = (lambda x: x) if result.is_float else (lambda x: settle(x, result))

    def after_pass(x: AnyValue) -> AnyValue:
        return astype(to_result(x), computed)

    return astype(to_result(function(astype(image, computed), cval, after_pass)), result)


def _read_output(output: Any) -> DType:
    """Return the dtype of a result."""
    if isinstance(output, np.ndarray | Value):
        raise ArgumentError(
            f"{called_name()}: output is an array: results are returned, never written into one",
            hint="output= is a dtype here",
        )
    return dtype_of(output)


def cut_to_integers(x: AnyValue, dtype: DType) -> AnyValue:
    """Return what filters give as integers: towards zero, modulo the range of the dtype."""
    integers = astype(trunc(x), I64)
    return integers != 0 if dtype is BOOL else astype(integers, dtype)


def round_to_integers(x: AnyValue, dtype: DType) -> AnyValue:
    """Return what interpolations give as integers: the nearest, within the range of the dtype."""
    if dtype is BOOL:
        return cut_to_integers(x, dtype)
    limits = np.iinfo(cast(Any, dtype.numpy))
    # The greatest floats below 2 ** 63 and 2 ** 64, whose conversion is defined.
    high = float(limits.max) if limits.bits < 64 else np.nextafter(float(limits.max), 0.0)
    rounded = where(x > 0, floor(x + 0.5), -floor(0.5 - x))
    bounded = clip(rounded, float(limits.min), high)
    return astype(bounded, dtype if dtype is U64 else I64)
