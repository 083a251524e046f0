"""Operators of 8-bit integers: those of ONNX, and those of ``com.microsoft`` that quantizers write.

Products and convolutions are computed in int32, exactly, and scaled once. A zero point is taken out
of them: the sum of (a - zero) b is that of a b less zero times the sum of b, which is a constant
where b is. What is dequantized and then multiplied is multiplied as integers, too; what is
dequantized and quantized by the same numbers is not changed.

Rows of another domain have its name in front: ``com.microsoft.QGemm``. An operator that takes a
scale and a zero point for each operand and for its result computes what its name says of the
dequantized operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

import staticgrad.functions as sg
from staticgrad import nn
from staticgrad.bridges.operands import as_operand
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.extend.functions import (
    convolve_integers,
    multiply_integers,
    quantize_by_range,
    round_to_integers,
)
from staticgrad.onnx.operators import conv, operator, pool, read_windows

#: The domain of the operators that onnxruntime defines.
MICROSOFT: Final = "com.microsoft"
#: The operators whose results are products of integers and a scale.
DEQUANTIZE: Final = ("DequantizeLinear", f"{MICROSOFT}.DequantizeLinear")


class Quantized(NamedTuple):
    """8-bit integers that mean (``integers`` - ``zero``) times ``scale``; without a zero, None."""

    integers: Any
    scale: Any
    zero: Any

    def value(self) -> Any:
        """Return the float32 numbers."""
        wide = sg.astype(self.integers, "int32")
        wide = wide if self.zero is None else wide - sg.astype(self.zero, "int32")
        return sg.astype(wide, self.scale.dtype) * self.scale

    def move(self, op: Any, *, as_one: bool) -> Quantized | None:
        """Return the integers after an op that moves elements; ``as_one`` if it joins axes."""
        parts = []
        for part in (self.scale, self.zero):
            if part is None or not part.ndim:
                parts.append(part)
            elif as_one or part.ndim != self.integers.ndim:
                return None
            else:
                parts.append(op(part))
        return Quantized(op(self.integers), *parts)


def read_integers(x: Any) -> Quantized | None:
    """Return the integers of which a value was dequantized, through reshapes and transposes."""
    node = getattr(x, "node", None)
    if node is None or x.dtype != "float32":
        return None
    if node.op.name in ("reshape", "transpose"):
        inner = read_integers(node.args[0])
        return None if inner is None else inner.move(node.op, as_one=node.op.name == "reshape")
    if node.op.name != "mul":
        return None
    scaled, scale = node.args
    if scaled.node.op.name != "cast" or scaled.node.args[0].dtype != "int32":
        return None
    (wide,) = scaled.node.args
    wide, zero = wide.node.args if wide.node.op.name == "sub" else (wide, None)
    if wide.node.op.name != "cast" or wide.node.args[0].dtype not in ("int8", "uint8"):
        return None
    (integers,) = wide.node.args
    return Quantized(integers, scale, zero)


def _number(value: Any) -> Any:
    """Return the elements of a constant, or None of what is computed."""
    node = getattr(value, "node", None)
    if isinstance(value, np.ndarray):
        return value
    if node is not None and node.op.name == "cast":
        return _number(node.args[0])
    return node.op.data.array if node is not None and node.op.name == "constant" else None


def _is_constant(value: Any) -> bool:
    return _number(value) is not None


def _is_zero(value: Any) -> bool:
    """Return True if there is no zero point, or all are 0."""
    number = None if value is None else _number(value)
    return value is None or (number is not None and not np.any(number))


def _are_same(a: Any, b: Any) -> bool:
    """Return True if two scales, or zero points, are known to be equal."""
    if _is_zero(a) and _is_zero(b):
        return True
    if a is None or b is None:
        return False
    left, right = _number(a), _number(b)
    if left is None or right is None:
        return getattr(a, "key", a) is getattr(b, "key", None)
    return bool(np.array_equal(left, right))


def _along_axis(x: Any, numbers: Any, axis: int, block_size: int = 0) -> Any:
    """Broadcast ONNX's quantization scale or zero point along its axis, or over blocks."""
    if _is_number(numbers):
        return numbers
    if numbers.shape == (1,) and x.ndim != 1:
        return sg.reshape(numbers, ())
    if block_size:
        return sg.repeat(numbers, block_size, axis)
    if numbers.ndim > 1:  # of the rows of a product
        return numbers
    return sg.reshape(numbers, tuple(-1 if k == axis % x.ndim else 1 for k in range(x.ndim)))


def _read(x: Any, scale: Any, zero: Any, axis: int, block_size: int = 0) -> Quantized:
    """Return the integers x with their scale and zero point along an axis."""
    return Quantized(
        x, _along_axis(x, scale, axis, block_size), _along_axis(x, zero, axis, block_size)
    )


@operator(*DEQUANTIZE)
def _dequantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: Any = None,
) -> Any:  # fmt: skip
    """Compute ONNX's DequantizeLinear: (x - zero) scale."""
    return _read(x, scale, zero, axis, block_size).value()


@operator("QuantizeLinear", f"{MICROSOFT}.QuantizeLinear")
def _quantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: Any = None, precision: int = 0, saturate: int = 1,
) -> Any:  # fmt: skip
    """Compute ONNX's QuantizeLinear: round x / scale + zero, and clip to the integer type."""
    target = np.dtype((output_dtype or "uint8") if zero is None else zero.dtype.name)
    scale, zero = (_along_axis(x, number, axis, block_size) for number in (scale, zero))
    read = read_integers(x)
    if (
        read is not None
        and read.integers.dtype == target
        and _are_same(read.scale, scale)
        and _are_same(read.zero, zero)
    ):
        return read.integers  # rounding removes the error of a product and a quotient
    return round_to_integers(sg.astype(x, "float32") / sg.astype(scale, "float32"), zero, target)


# -- sums of products, in int32 -------------------------------------------------------------------


def _wide(x: Any) -> Any:
    return sg.astype(x, "int32")


def _less_zero(x: Any, zero: Any) -> Any:
    return _wide(x) if _is_zero(zero) else _wide(x) - _wide(zero)


def _multiply(a: Any, zero_a: Any, b: Any, zero_b: Any) -> Any:
    """Return (a - zero_a) @ (b - zero_b) in int32; of constants the difference is computed once."""
    (a, zero_a), (b, zero_b) = _take_out(a, zero_a), _take_out(b, zero_b)
    return multiply_integers(a, zero_a, b, zero_b)


def _take_out(x: Any, zero: Any) -> tuple[Any, Any]:
    """Return integers and their zero point: None if it is 0, or was subtracted from a constant."""
    is_done = _is_zero(zero) or _is_constant(x)
    return (_less_zero(x, zero), None) if is_done else (x, zero)


def _convolve(
    x: Any, zero_x: Any, w: Any, zero_w: Any, *, auto_pad: str = "NOTSET", dilations: Any = None,
    group: int = 1, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Return the convolution of x - zero_x by w - zero_w in int32."""
    options = read_windows(x, w.shape[2:], strides, dilations, auto_pad, pads)
    borders = options.pop("padding")

    def convolve(x: Any, w: Any, borders: Any) -> Any:
        return nn.conv(x, w, groups=group, padding=borders, **options)

    zero_x = None if _is_zero(zero_x) else zero_x
    return convolve_integers(convolve, x, zero_x, _less_zero(w, zero_w), borders)


@operator("MatMul")
def _mat_mul(a: Any, b: Any) -> Any:
    """Multiply matrices: dequantized ones by their integers."""
    product = _multiply_dequantized(a, b)
    return sg.matmul(a, b) if product is None else product


@operator("Gemm")
def _gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, trans_a: int = 0,
    trans_b: int = 0, broadcast: int = 1,
) -> Any:  # fmt: skip
    """Compute ONNX's Gemm: alpha A B + beta C, with optional transposes."""

    def scale_by(x: Any, factor: float) -> Any:
        return x if factor == 1.0 else sg.astype(x * factor, x.dtype)

    out = _mat_mul(sg.transpose(a) if trans_a else a, sg.transpose(b) if trans_b else b)
    out = scale_by(out, alpha)
    return out if c is None else out + scale_by(c, beta)


def _multiply_dequantized(a: Any, b: Any) -> Any:
    """Return the product of two dequantized matrices by their integers, or None of others."""
    left, right = read_integers(a), read_integers(b)
    if left is None or right is None or not _fits(right.scale, -1) or not _fits(left.scale, -2):
        return None
    if not (_fits(right.zero, -1) and _fits(left.zero, -2)) or min(a.ndim, b.ndim) < 2:
        return None
    total = _multiply(left.integers, left.zero, right.integers, right.zero)
    return sg.astype(total, "float32") * (left.scale * right.scale)


@operator("Conv")
def _conv(x: Any, w: Any, b: Any = None, **attributes: Any) -> Any:
    """Convolve images: dequantized ones by their integers."""
    result = _convolve_dequantized(x, w, **attributes)
    if result is None:
        return conv(x, w, b, **attributes)
    return result if b is None else result + _of_channels(b, w.ndim)


@operator("MaxPool", "AveragePool", "LpPool")
def _pool(x: Any, *, operator: str, outputs: int, **attributes: Any) -> Any:
    """Pool windows: the largest of dequantized numbers is that of the largest integer."""
    read = read_integers(x) if operator == "MaxPool" else None
    scale = None if read is None or read.scale.ndim else _number(read.scale)
    if read is None or scale is None or scale <= 0 or not _is_number(read.zero):
        return pool(x, operator=operator, outputs=outputs, **attributes)
    integers = pool(read.integers, operator=operator, outputs=outputs, **attributes)
    return Quantized(integers, read.scale, read.zero).value()


def _convolve_dequantized(x: Any, w: Any, **attributes: Any) -> Any:
    """Return the convolution of a dequantized image by its integers, or None of others."""
    if attributes.get("group", 1) != 1 or w.shape[1] == 1:
        return None
    left, right = read_integers(x), read_integers(w)
    if left is None or right is None or not (_is_number(left.scale) and _is_number(left.zero)):
        return None
    if not (_fits(right.scale, 0, w.ndim) and _fits(right.zero, 0, w.ndim)):
        return None
    total = _convolve(left.integers, left.zero, right.integers, right.zero, **attributes)
    scale = left.scale * _of_channels(right.scale, w.ndim)
    return sg.astype(total, "float32") * scale


def _fits(numbers: Any, axis: int, rank: int = 0) -> bool:
    """Return True if a scale, or zero point, is a number, or has one axis that is longer than 1."""
    if _is_number(numbers):
        return True
    others = [size for k, size in enumerate(numbers.shape) if k != axis % numbers.ndim]
    return all(isinstance(size, int) and size == 1 for size in others) and (
        not rank or numbers.ndim == rank
    )


def _is_number(numbers: Any) -> bool:
    return numbers is None or not numbers.ndim


def _of_channels(numbers: Any, rank: int) -> Any:
    """Return numbers of the channels of a result, along its second axis."""
    return sg.reshape(numbers, (-1, *(1,) * (rank - 2))) if numbers.ndim else numbers


@operator("MatMulInteger")
def _mat_mul_integer(a: Any, b: Any, zero_a: Any = None, zero_b: Any = None) -> Any:
    return _multiply(a, _along_axis(a, zero_a, -2), b, _along_axis(b, zero_b, -1))


@operator("ConvInteger")
def _conv_integer(x: Any, w: Any, zero_x: Any = None, zero_w: Any = None, **attributes: Any) -> Any:
    zero_x = _along_axis(x, zero_x, 1)
    return _convolve(x, zero_x, w, _along_axis(w, zero_w, 0), **attributes)


@operator("QLinearMatMul")
def _q_linear_mat_mul(
    a: Any, scale_a: Any, zero_a: Any, b: Any, scale_b: Any, zero_b: Any, scale: Any, zero: Any
) -> Any:
    left, right = _read(a, scale_a, zero_a, -2), _read(b, scale_b, zero_b, -1)
    total = sg.astype(_multiply(a, left.zero, b, right.zero), "float32")
    scale = _along_axis(total, scale, -2)
    return round_to_integers(total * (left.scale * right.scale / scale), zero, zero.dtype.name)


@operator("QLinearConv")
def _q_linear_conv(
    x: Any, scale_x: Any, zero_x: Any, w: Any, scale_w: Any, zero_w: Any, scale: Any, zero: Any,
    bias: Any = None, **attributes: Any,
) -> Any:  # fmt: skip
    """Compute ONNX's QLinearConv: convolve integers, scale once, and quantize."""
    left, right = _read(x, scale_x, zero_x, 1), _read(w, scale_w, zero_w, 0)
    total = _convolve(x, left.zero, w, right.zero, **attributes)
    total = total if bias is None else total + _of_channels(bias, w.ndim)
    factor = left.scale * _of_channels(right.scale, w.ndim) / _along_axis(total, scale, 1)
    return round_to_integers(sg.astype(total, "float32") * factor, zero, zero.dtype.name)


# -- of com.microsoft -----------------------------------------------------------------------------


@operator(f"{MICROSOFT}.QGemm")
def _q_gemm(
    a: Any, scale_a: Any, zero_a: Any, b: Any, scale_b: Any, zero_b: Any, c: Any = None,
    scale: Any = None, zero: Any = None, *, alpha: float = 1.0, trans_a: int = 0,
    trans_b: int = 0,
) -> Any:  # fmt: skip
    """Compute alpha A B + C of quantized matrices, where C has the scale of the product."""
    a, b = (sg.transpose(x) if turned else x for x, turned in ((a, trans_a), (b, trans_b)))
    left, right = _read(a, scale_a, zero_a, -2), _read(b, scale_b, zero_b, -1)
    total = _multiply(a, left.zero, b, right.zero)
    total = sg.astype(total if c is None else total + c, "float32")
    factor = sg.astype(left.scale * right.scale * alpha, "float32")
    if scale is None:
        return total * factor
    return round_to_integers(total * (factor / scale), zero, zero.dtype.name)


@operator(f"{MICROSOFT}.MatMulIntegerToFloat")
def _to_float(
    a: Any, b: Any, scale_a: Any, scale_b: Any, zero_a: Any = None, zero_b: Any = None,
    bias: Any = None,
) -> Any:  # fmt: skip
    left, right = _read(a, scale_a, zero_a, -2), _read(b, scale_b, zero_b, -1)
    total = sg.astype(_multiply(a, left.zero, b, right.zero), "float32") * (
        left.scale * right.scale
    )
    return total if bias is None else total + bias


@operator(f"{MICROSOFT}.DynamicQuantizeMatMul")
def _dynamic(a: Any, b: Any, scale_b: Any, zero_b: Any = None, bias: Any = None) -> Any:
    """Quantize a float matrix by its range, and multiply it by a quantized left."""
    integers, scale, zero = quantize_by_range(a)
    return _to_float(integers, b, scale, scale_b, zero, zero_b, bias)


#: An operator of one quantized operand -> what it computes of its float numbers.
_UNARY: Final[dict[str, Callable[..., Any]]] = {
    f"{MICROSOFT}.QLinearSigmoid": lambda x: 1.0 / (1.0 + sg.exp(-x)),
    f"{MICROSOFT}.QLinearLeakyRelu": lambda x, *, alpha=0.01: nn.leaky_relu(x, alpha),
}
#: One of two operands.
_BINARY: Final[dict[str, Callable[..., Any]]] = {
    f"{MICROSOFT}.QLinearAdd": sg.add,
    f"{MICROSOFT}.QLinearMul": sg.multiply,
}


@operator(*_UNARY)
def _unary(
    x: Any, scale_x: Any, zero_x: Any, scale: Any, zero: Any = None, *, operator: str,
    **attributes: Any,
) -> Any:  # fmt: skip
    function = _UNARY[operator]
    result = function(_read(x, scale_x, zero_x, 1).value(), **attributes)
    return round_to_integers(result / scale, zero, x.dtype.name)


@operator(*_BINARY)
def _binary(
    a: Any, scale_a: Any, zero_a: Any, b: Any, scale_b: Any, zero_b: Any, scale: Any,
    zero: Any = None, *, operator: str,
) -> Any:  # fmt: skip
    left, right = _read(a, scale_a, zero_a, 1).value(), _read(b, scale_b, zero_b, 1).value()
    result = _BINARY[operator](left, right)
    return round_to_integers(result / scale, zero, a.dtype.name)


@operator(f"{MICROSOFT}.QLinearGlobalAveragePool")
def _global_average(
    x: Any, scale_x: Any, zero_x: Any, scale: Any, zero: Any, *, channels_last: int = 0
) -> Any:
    axes = tuple(range(1, x.ndim - 1) if channels_last else range(2, x.ndim))
    total = sg.sum(_less_zero(x, zero_x), axes, keepdims=True, dtype="int32")
    count = float(np.prod([x.shape[axis] for axis in axes]))
    return round_to_integers(
        sg.astype(total, "float32") * (scale_x / (scale * count)), zero, x.dtype.name
    )


@operator(f"{MICROSOFT}.QLinearAveragePool")
def _average(
    x: Any, scale_x: Any, zero_x: Any, scale: Any, zero: Any = None, *, channels_last: int = 0,
    **attributes: Any,
) -> Any:  # fmt: skip
    if channels_last:
        raise unsupported_variant("channels_last")
    numbers = _read(x, scale_x, zero_x, 1).value()
    result = pool(numbers, operator="AveragePool", outputs=1, **attributes)
    return round_to_integers(result / scale, zero, x.dtype.name)


@operator(f"{MICROSOFT}.QLinearConcat")
def _concat(scale: Any, zero: Any, *operands: Any, axis: int) -> Any:
    """Join quantized arrays, each behind which its scale and its zero point follow."""
    parts = [
        _quantize_linear(_dequantize_linear(*operands[k : k + 3]), scale, zero)
        for k in range(0, len(operands), 3)
    ]
    return sg.concatenate(parts, axis)


@operator(f"{MICROSOFT}.QLinearSoftmax")
def _softmax(
    x: Any, scale_x: Any, zero_x: Any, scale: Any, zero: Any, *, axis: int = -1, opset: int = 13
) -> Any:
    """Compute the softmax along an axis, as from version 13 on, which ``opset`` names."""
    result = nn.softmax(_read(x, scale_x, zero_x, 1).value(), axis)
    return round_to_integers(result / scale, zero, x.dtype.name)


@operator(f"{MICROSOFT}.QLinearWhere")
def _where(
    condition: Any, a: Any, scale_a: Any, zero_a: Any, b: Any, scale_b: Any, zero_b: Any,
    scale: Any, zero: Any,
) -> Any:  # fmt: skip
    left, right = (
        _quantize_linear(_dequantize_linear(*part), scale, zero)
        for part in ((a, scale_a, zero_a), (b, scale_b, zero_b))
    )
    return sg.where(as_operand(condition), left, right)


@operator(f"{MICROSOFT}.QLinearReduceMean")
def _reduce_mean(
    x: Any, scale_x: Any, zero_x: Any, scale: Any, zero: Any, *, axes: Sequence[int],
    keepdims: int = 1,
) -> Any:  # fmt: skip
    numbers = _read(x, scale_x, zero_x, 1).value()
    result = sg.mean(numbers, tuple(axes), keepdims=bool(keepdims))
    return round_to_integers(result / scale, zero, x.dtype.name)


@operator(f"{MICROSOFT}.QAttention")
def _attention(
    x: Any, weight: Any, bias: Any, scale_x: Any, scale_w: Any, mask: Any = None,
    zero_x: Any = None, zero_w: Any = None, past: Any = None, *, num_heads: int,
    unidirectional: int = 0, scale: float = 0.0, mask_filter_value: float = -1e4,
    do_rotary: int = 0, past_present_share_buffer: int = 0,
) -> Any:  # fmt: skip
    """Project x to queries, keys and values as integers, and attend with several heads.

    ``mask_filter_value`` makes a weight 0 in float32, as a mask of bools does. Where it forbids all
    keys it changes no weight.
    """
    if past is not None or do_rotary or past_present_share_buffer:
        raise unsupported_variant("QAttention with past keys, or rotary embeddings")
    if mask_filter_value > _FORBIDDING:
        raise unsupported_variant(f"QAttention(mask_filter_value={mask_filter_value})")
    projected = _to_float(x, weight, scale_x, scale_w, zero_x, zero_w, bias)
    batch, time, width = projected.shape
    shape = (batch, time, 3, num_heads, width // (3 * num_heads))
    q, k, v = sg.transpose(sg.reshape(projected, shape), (2, 0, 3, 1, 4))
    allowed = None if mask is None else _read_mask(mask, time)
    y = nn.attention(q, k, v, allowed, causal=bool(unidirectional), scale=scale or None)
    return sg.reshape(sg.transpose(y, (0, 2, 1, 3)), (batch, time, width // 3))


#: A number that, added to a score, makes its weight 0 beside any other.
_FORBIDDING: Final = -1e3


def _read_mask(mask: Any, time: Any) -> Any:
    """Return the keys that are allowed, as bools [batch, 1, queries or 1, keys].

    The mask is of lengths [batch], or of numbers [batch, keys] or [batch, queries, keys].
    """
    if mask.ndim == 1:
        mask = sg.arange(time) < sg.astype(mask, "int64")[:, None]
    elif mask.ndim not in (2, 3):
        raise unsupported_variant(f"QAttention with a mask of {mask.ndim} axes")
    else:
        mask = as_operand(mask) > 0
    allowed = mask[:, None, None] if mask.ndim == 2 else mask[:, None]
    return sg.logical_or(allowed, sg.logical_not(sg.any(allowed, axis=-1, keepdims=True)))
