"""The operators of ONNX as functions of staticgrad, a row each.

The signature of a function is the row: positional arguments are the inputs of the operator, None
where one may be absent; keyword arguments are its attributes, with their defaults, in Python's
spelling (``transA`` is ``trans_a``). Three keywords are no attributes: ``operator``, its name,
``opset``, the version of the operators that the model states, and ``outputs``, the number of
results that the node names. Attributes of type graph are functions that run these graphs. A list is
one result, a sequence; a tuple has several.

Inputs with a name of ``STATIC`` must be known while the graph is built: they are arrays, which have
sizes among their elements where they were computed of shapes. Inputs with a name of ``KNOWN`` are
arrays if they are known. All others are values. Older versions of many operators have an attribute
in the place of an input; it counts as the input of that name.

Operators without a row that ONNX defines by others (``onnx.defs``) are computed by these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import inf, prod
from typing import Any, Final

import numpy as np

import staticgrad.functions as sg
from staticgrad import linalg, nn
from staticgrad.bridges.operands import as_operand, sizes
from staticgrad.bridges.sizes import size_array
from staticgrad.bridges.tables import OperatorRow, OperatorTable, unsupported_variant
from staticgrad.errors import ExportError
from staticgrad.extend import Dim, op_class
from staticgrad.extend.sizes import collecting_guards, equal, maximum, minimum

STATIC: Final = frozenset((
    "axes", "axis", "block_shape", "delta", "depth", "elements", "ends", "image_shape", "k",
    "limit", "mask", "pads", "position", "ratio", "repeats", "roi", "scales", "shape", "size",
    "sizes", "split", "start", "starts", "steps", "training_mode",
))  # fmt: skip
KNOWN: Final = frozenset((
    "condition", "exponent", "indices", "iterations", "max", "min", "value",
))  # fmt: skip

#: The property of a model that names its running statistics, which are not trained.
STATISTICS: Final = "staticgrad.statistics"
#: Operators whose name is that of our op.
_OUR_NAMES: Final = """
    Abs Acos Acosh Add Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log Mul Neg Relu Sigmoid
    Sign Sin Sinh Sqrt Sub Tan Tanh Where
"""
#: Operator -> our op of the same meaning, both ways: models are written by this table, too.
SAME: Final = {
    **{name: name.lower() for name in _OUR_NAMES.split()},
    "And": "logical_and", "BitwiseAnd": "bit_and", "BitwiseNot": "bit_not", "BitwiseOr": "bit_or",
    "BitwiseXor": "bit_xor", "Equal": "eq", "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt",
    "LessOrEqual": "le", "Not": "logical_not", "Or": "logical_or", "Round": "rint",
    "Xor": "logical_xor",
}  # fmt: skip


def _row(name: str) -> Callable[..., Any]:
    return lambda *operands: op_class(name)()(*operands)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _row(ours) for name, ours in SAME.items()},
    "BitShift": lambda x, y, *, direction: (
        sg.left_shift(x, y) if direction == "LEFT" else sg.right_shift(x, y)
    ),
    "Cast": lambda x, *, to, saturate=1, round_mode="up": sg.astype(x, to),
    "Celu": lambda x, *, alpha=1.0: nn.celu(x, alpha),
    "Clip": lambda x, min=None, max=None: sg.clip(x, min, max),
    "Compress": lambda x, mask, *, axis=None: sg.take(x, np.flatnonzero(mask), axis),
    "Concat": lambda *values, axis=1: sg.concatenate(values, axis),
    "ConcatFromSequence": lambda s, *, axis, new_axis=0: (
        sg.stack(s, axis) if new_axis else sg.concatenate(s, axis)
    ),
    "Det": linalg.det,
    "Einsum": lambda *values, equation: sg.einsum(equation, *values),
    "Elu": lambda x, *, alpha=1.0: nn.elu(x, alpha),
    "Flatten": lambda x, *, axis=1: sg.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:]))),
    "GatherElements": lambda x, places, *, axis=0: x[_key_along(x, places, axis)],
    "Gelu": lambda x, *, approximate="none": nn.gelu(x, approximate),
    "GlobalAveragePool": lambda x: sg.mean(x, _spatial(x), keepdims=True),
    "GlobalLpPool": lambda x, *, p=2: sg.sum(abs(x) ** p, _spatial(x), keepdims=True) ** (1.0 / p),
    "GlobalMaxPool": lambda x: sg.max(x, _spatial(x), keepdims=True),
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: sg.clip(x * alpha + beta, 0.0, 1.0),
    "Identity": lambda x: x,
    "InstanceNormalization": lambda x, scale, bias, *, epsilon=1e-5: nn.instance_norm(
        x, weight=scale, bias=bias, eps=epsilon
    ),
    "IsNaN": sg.isnan,
    "LeakyRelu": lambda x, *, alpha=0.01: nn.leaky_relu(x, alpha),
    "Max": lambda *values: reduce(sg.maximum, values),
    "Mean": lambda *values: reduce(sg.add, values) / float(len(values)),
    "Min": lambda *values: reduce(sg.minimum, values),
    "Mod": lambda a, b, *, fmod=0: sg.fmod(a, b) if fmod else sg.remainder(a, b),
    "NonZero": lambda elements: np.array(np.nonzero(elements), np.int64),
    "Optional": lambda value=None, *, type=None: value,
    "OptionalGetElement": lambda value: value,
    "OptionalHasElement": lambda value=None: np.array(value is not None),
    "Reciprocal": lambda x: 1.0 / x,
    "Selu": lambda x, *, alpha=1.6732632, gamma=1.050701: nn.elu(x, alpha) * gamma,
    "SequenceAt": lambda s, position: s[position.item()],
    "SequenceConstruct": lambda *values: list(values),
    "SequenceEmpty": lambda *, dtype=None: [],
    "SequenceLength": lambda s: size_array(len(s)),
    "Shape": lambda x, *, start=0, end=None: size_array(x.shape[start:end]),
    "Size": lambda x: size_array(prod(x.shape)),
    "Softplus": nn.softplus,
    "Softsign": nn.softsign,
    "Squeeze": lambda x, axes=None: sg.squeeze(x, None if axes is None else sizes_of(axes)),
    "Sum": lambda *values: reduce(sg.add, values),
    "Tile": lambda x, repeats: sg.tile(x, sizes_of(repeats)),
    "TopK": lambda x, k, *, axis=-1, largest=1, sorted=1: sg.topk(
        x, sizes_of(k)[0], axis, largest=bool(largest)
    ),
    "Transpose": lambda x, *, perm=None: sg.transpose(x, None if perm is None else tuple(perm)),
    "Unsqueeze": lambda x, axes: sg.expand_dims(x, sizes_of(axes)),
}


#: Operator -> its row.
OPERATORS: Final = OperatorTable(
    "ONNX",
    {name: OperatorRow(function) for name, function in _FUNCTIONS.items()},
    decorator="staticgrad.onnx.operators.operator",
    empty=(),
    takes_known=KNOWN,
    static=STATIC,
    name_argument="operator",
)
#: Registers a function as the row of ONNX operators of these names.
operator = OPERATORS.row


#: Returns the elements of a known array of integers, as sizes.
sizes_of: Final[Callable[[Any], tuple[Any, ...]]] = partial(sizes, what="a size")


# -- elementwise ----------------------------------------------------------------------------------


@operator("Div")
def _div(a: Any, b: Any) -> Any:
    if a.dtype.is_float:
        return a / b
    quotient = a // b
    if a.dtype.kind == "u":
        return quotient
    return sg.where((a % b != 0) & ((a < 0) != (b < 0)), quotient + 1, quotient)


@operator("Pow")
def _pow(x: Any, exponent: Any) -> Any:
    if isinstance(exponent, np.ndarray) and exponent.size == 1:
        exponent = exponent.item()
        exponent = int(exponent) if exponent == int(exponent) else exponent
    return sg.astype(x**exponent, x.dtype)


@operator("IsInf")
def _is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    below = sg.equal(x, -inf) if detect_negative else sg.zeros_like(x, dtype="bool")
    return below | sg.equal(x, inf) if detect_positive else below


@operator("PRelu")
def _p_relu(x: Any, slope: Any, *, opset: int) -> Any:
    if opset < 7 and slope.ndim == 1 and x.ndim > 1:  # one for each channel
        slope = sg.reshape(slope, (-1, *(1 for _ in x.shape[2:])))
    return sg.where(x < 0, x * slope, x)


@operator("Dropout")
def _dropout_row(
    x: Any, ratio: Any = None, training_mode: Any = None, *, seed: int = 0, is_test: int = 0,
    outputs: int = 1,
) -> Any:  # fmt: skip
    if training_mode is not None and training_mode and (ratio is None or ratio):
        raise unsupported_variant("dropout in training mode")
    return x, *[sg.ones_like(x, dtype="bool")] * (outputs - 1)


@operator("Softmax", "LogSoftmax", "Hardmax")
def _softmax(x: Any, *, axis: int | None = None, operator: str, opset: int) -> Any:
    """Compute ONNX's Softmax, LogSoftmax or Hardmax; before opset 13 over all axes from one on."""
    axis = (-1 if opset >= 13 else 1) if axis is None else axis
    if opset < 13:  # all axes from there on, as one
        rows = sg.reshape(x, (*x.shape[: axis % x.ndim], prod(x.shape[axis % x.ndim :])))
        return sg.reshape(_softmax(rows, axis=-1, operator=operator, opset=13), x.shape)
    if operator != "Hardmax":
        return (nn.softmax if operator == "Softmax" else nn.log_softmax)(x, axis)
    first = sg.argmax(x, axis, keepdims=True)
    return sg.astype(sg.iota(x.shape, axis, like=x) == first, x.dtype)


# -- reductions -----------------------------------------------------------------------------------

#: Reduction -> (its function, what is done to elements if no axis is reduced).
_REDUCTIONS: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "ReduceSum": (sg.sum, lambda x: x),
    "ReduceMean": (sg.mean, lambda x: x),
    "ReduceMax": (sg.max, lambda x: x),
    "ReduceMin": (sg.min, lambda x: x),
    "ReduceProd": (sg.prod, lambda x: x),
    "ReduceL1": (lambda x, *a, **k: sg.sum(abs(x), *a, **k), abs),
    "ReduceL2": (lambda x, *a, **k: sg.sqrt(sg.sum(x * x, *a, **k)), abs),
    "ReduceLogSum": (lambda x, *a, **k: sg.log(sg.sum(x, *a, **k)), sg.log),
    "ReduceLogSumExp": (nn.logsumexp, lambda x: x),
    "ReduceSumSquare": (lambda x, *a, **k: sg.sum(x * x, *a, **k), sg.square),
}


@operator(*_REDUCTIONS)
def _reduce(
    x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0, operator: str
) -> Any:
    """Reduce over axes by ONNX's ReduceSum, ReduceMax, ...; no axes may mean none.

    Results have the element type of x, where sums of NumPy have a wider one.
    """
    function, elementwise = _REDUCTIONS[operator]
    chosen = None if axes is None or not np.size(axes) else sizes_of(axes)
    if chosen is None and noop_with_empty_axes:
        return elementwise(x)
    return sg.astype(function(x, chosen, keepdims=bool(keepdims)), x.dtype)


@operator("ArgMax", "ArgMin")
def _arg(
    x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0, operator: str
) -> Any:
    function = sg.argmax if operator == "ArgMax" else sg.argmin
    places = function(sg.flip(x, axis) if select_last_index else x, axis, keepdims=bool(keepdims))
    return x.shape[axis] - 1 - places if select_last_index else places


@operator("CumSum", "CumProd")
def _cumulative(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0, operator: str) -> Any:
    """Compute ONNX's CumSum or CumProd, exclusive or reversed."""
    k, first = int(axis) % x.ndim, int(operator == "CumProd")
    outer = (slice(None),) * k
    x = sg.flip(x, k) if reverse else x
    if exclusive:
        initial = sg.full_like(x[(*outer, slice(0, 1))], first)
        x = sg.concatenate([initial, x[(*outer, slice(0, -1))]], k)
    out = (sg.cumprod if first else sg.cumsum)(x, k, dtype=x.dtype)
    return sg.flip(out, k) if reverse else out


# -- shapes and places ----------------------------------------------------------------------------


@operator("Reshape")
def _reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    asked = sizes_of(shape)
    if not allowzero:
        asked = tuple(x.shape[k] if size == 0 else size for k, size in enumerate(asked))
    return sg.reshape(x, asked)


@operator("Expand")
def _expand(x: Any, shape: Any) -> Any:
    """Broadcast to a shape as ONNX's Expand, in which 1 keeps the operand's size."""
    asked = sizes_of(shape)
    rank = max(len(asked), x.ndim)
    x_shape = (1,) * (rank - x.ndim) + tuple(x.shape)
    asked = (1,) * (rank - len(asked)) + asked
    return sg.broadcast_to(
        x, tuple(o if a == 1 else a for a, o in zip(asked, x_shape, strict=True))
    )


@operator("Split", "SplitToSequence")
def _split(
    x: Any, split: Any = None, *, axis: int = 0, num_outputs: int | None = None,
    keepdims: int = 1, outputs: int, operator: str,
) -> Any:  # fmt: skip
    """Split along an axis by ONNX's Split or SplitToSequence."""
    extent, single = x.shape[axis], split is None
    if operator == "SplitToSequence" and np.ndim(split) == 0:
        length = 1 if split is None else int(split)
        split = [min(length, extent - k) for k in range(0, extent, length)]
    if split is None:
        count = num_outputs or outputs
        piece_length = -(-extent // count)
        split = [piece_length] * (count - 1) + [extent - piece_length * (count - 1)]
    pieces, start = [], 0
    for length in sizes_of(split):
        pieces.append(x[(slice(None),) * (axis % x.ndim) + (slice(start, start + length),)])
        start = start + length
    if operator == "Split":
        return tuple(pieces)
    return [sg.squeeze(piece, axis) if single and not keepdims else piece for piece in pieces]


@operator("Slice")
def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    """Slice by ONNX's starts, ends, axes and steps."""
    first, last = sizes_of(starts), sizes_of(ends)
    along = range(len(first)) if axes is None else sizes_of(axes)
    by = (1,) * len(first) if steps is None else sizes_of(steps)
    key = [slice(None)] * x.ndim
    for start, end, axis, step in zip(first, last, along, by, strict=True):
        key[axis] = slice(_near(start), _near(end), step)
    return x[tuple(key)]


def _near(place: Any) -> Any:
    """A bound of a slice; None if it lies beyond every axis."""
    return place if isinstance(place, Dim) or abs(place) < 2**31 - 1 else None


@operator("Pad")
def _pad(x: Any, pads: Any, value: Any = None, axes: Any = None, *, mode: Any = "constant") -> Any:
    """Pad by ONNX's Pad; negative widths crop."""
    widths = sizes_of(pads)
    along = range(x.ndim) if axes is None else [axis % x.ndim for axis in sizes_of(axes)]
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for place, axis in enumerate(along):
        pairs[axis] = widths[place], widths[place + len(widths) // 2]
    if any(isinstance(w, int) and w < 0 for w in widths):
        cut = [(max(0, -low), max(0, -high)) for low, high in pairs]
        ends = [slice(low, size - high) for (low, high), size in zip(cut, x.shape, strict=True)]
        x, pairs = x[tuple(ends)], [(max(0, low), max(0, high)) for low, high in pairs]
    if mode != "constant":
        return sg.pad(x, pairs, mode)
    if value is None or isinstance(value, np.ndarray):
        return sg.pad(x, pairs, constant_values=0 if value is None else value.item())
    inside = sg.pad(sg.ones_like(x, dtype="bool"), pairs)
    return sg.where(inside, sg.pad(x, pairs), sg.reshape(value, ()))


@operator("Gather")
def _gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    if isinstance(indices, np.ndarray) and not indices.ndim:  # a slice has no check in the run
        return x[(slice(None),) * (axis % x.ndim) + sizes_of(indices)]
    return sg.take(x, as_operand(indices), axis)


def _key_along(x: Any, places: Any, axis: int) -> tuple[Any, ...]:
    """The key whose element at each place is that of ``places`` along ``axis``."""
    key = [sg.iota(places.shape, k, like=places) for k in range(x.ndim)]
    key[axis % x.ndim] = places
    return tuple(key)


def _key_of_points(points: Any, batch_dims: int = 0) -> tuple[Any, ...]:
    outer = [sg.iota(points.shape[:-1], k, like=points) for k in range(batch_dims)]
    return (*outer, *(points[..., k] for k in range(int(points.shape[-1]))))


@operator("GatherND")
def _gather_nd(x: Any, points: Any, *, batch_dims: int = 0) -> Any:
    return x[_key_of_points(points, batch_dims)]


@operator("ScatterElements", "Scatter", "ScatterND")
def _scatter(
    x: Any, places: Any, updates: Any, *, axis: int = 0, reduction: str = "none", operator: str
) -> Any:
    nd = operator == "ScatterND"
    method = {"none": "set", "add": "add", "mul": "multiply", "max": "max", "min": "min"}
    key = _key_of_points(places) if nd else _key_along(x, places, axis)
    return getattr(x.at[key], method[reduction])(updates)


@operator("OneHot")
def _one_hot(labels: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """Encode labels by ONNX's OneHot, with its two values and negative labels."""
    (count,) = sizes_of(depth)
    labels = sg.astype(labels, "int64")
    labels = sg.where(labels < 0, labels + count, labels)
    axis = axis % (labels.ndim + 1)
    shape = (*labels.shape[:axis], count, *labels.shape[axis:])
    hit = sg.expand_dims(labels, axis) == sg.iota(shape, axis, like=labels)
    return sg.where(hit, values[1], values[0])


@operator("ConstantOfShape")
def _constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    fill = np.zeros(1, "float32") if value is None else value
    asked = sizes_of(shape)
    if all(isinstance(size, int) for size in asked) and prod(asked) < 1024:
        return np.full(asked, fill[0], fill.dtype)  # an array: it may be asked for as one
    return sg.full(asked, fill[0], fill.dtype)


@operator("Range")
def _range(start: Any, limit: Any, delta: Any) -> Any:
    first, end, step = (bound.item() for bound in (start, limit, delta))
    if any(isinstance(bound, Dim) for bound in (first, end, step)):
        return sg.arange(first, end, step)
    count = max(0, int(np.ceil((end - first) / step)))
    return (first + np.arange(count) * step).astype(start.dtype)


@operator("EyeLike")
def _eye_like(x: Any, *, dtype: Any = None, k: int = 0) -> Any:
    rows, columns = x.shape
    return sg.eye(rows, columns, k, dtype=x.dtype if dtype is None else dtype, like=x)


@operator("Trilu")
def _trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    return (sg.triu if upper else sg.tril)(x, 0 if k is None else int(k))


@operator("ReverseSequence")
def _reverse_sequence(x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    time = sg.iota(x.shape[:2], time_axis, like=lengths)
    ends = sg.expand_dims(lengths, 1 - batch_axis)
    back = sg.where(time < ends, ends - 1 - time, time)
    batch = sg.iota(x.shape[:2], batch_axis, like=lengths)
    return x[(back, batch) if time_axis == 0 else (batch, back)]


@operator("DepthToSpace")
def _depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Move blocks of channels into space (ONNX's DepthToSpace), in DCR or CRD order."""
    n, c, h, w = x.shape
    b, channels = blocksize, c // blocksize**2
    if mode == "DCR":
        blocks = sg.transpose(sg.reshape(x, (n, b, b, channels, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        blocks = sg.transpose(sg.reshape(x, (n, channels, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return sg.reshape(blocks, (n, channels, h * b, w * b))


@operator("SpaceToDepth")
def _space_to_depth(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    b, order = blocksize, (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    blocks = sg.reshape(x, (n, c, h // b, b, w // b, b))
    return sg.reshape(sg.transpose(blocks, order), (n, c * b * b, h // b, w // b))


# -- products, windows, normalization -------------------------------------------------------------


def _spatial(x: Any) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def read_windows(
    x: Any, taps: Sequence[Any], strides: Any, dilations: Any, auto_pad: str, pads: Any
) -> dict[str, Any]:
    """Convert ONNX's strides, dilations and padding to options of ``sg.nn``'s windows."""
    count = len(taps)
    steps, dilation = tuple(strides or (1,) * count), tuple(dilations or (1,) * count)
    widths = pads if pads and auto_pad == "NOTSET" else (0,) * (2 * count)
    borders = list(zip(widths[:count], widths[count:], strict=True))
    if auto_pad.startswith("SAME"):
        for k, (size, tap) in enumerate(zip(x.shape[2:], taps, strict=True)):
            reach = (tap - 1) * dilation[k] + 1
            missing = maximum((-(-size // steps[k]) - 1) * steps[k] + reach - size, 0)
            ends = (missing // 2, missing - missing // 2)
            borders[k] = ends if auto_pad == "SAME_UPPER" else ends[::-1]
    return {"stride": steps, "dilation": dilation, "padding": borders}


def conv(
    x: Any, w: Any, b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None,
    group: int = 1, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Convolve as ONNX's Conv."""
    options = read_windows(x, w.shape[2:], strides, dilations, auto_pad, pads)
    return nn.conv(x, w, b, groups=group, **options)


@operator("ConvTranspose")
def _conv_transpose(
    x: Any, w: Any, b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None,
    group: int = 1, kernel_shape: Any = None, output_padding: Any = None,
    output_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Compute ONNX's ConvTranspose, with padding from its output shape."""
    same = auto_pad.startswith("SAME")
    options = read_windows(x, w.shape[2:], strides, dilations, "NOTSET" if same else auto_pad, pads)
    steps, dilation, more = options["stride"], options["dilation"], [*(output_padding or ())]
    more = more or [0] * len(steps)
    if output_shape is not None or same:
        target_sizes = output_shape or [n * s for n, s in zip(x.shape[2:], steps, strict=True)]
        for k, size in enumerate(target_sizes[-len(steps) :]):
            spread = steps[k] * (x.shape[2 + k] - 1) + (w.shape[2 + k] - 1) * dilation[k] + 1
            total = spread + more[k] - size
            if total < 0:
                more[k], total = more[k] - total, 0
            ends = (total // 2, total - total // 2)
            options["padding"][k] = ends if auto_pad == "SAME_UPPER" else ends[::-1]
    return nn.conv_transpose(x, w, b, groups=group, output_padding=tuple(more), **options)


def pool(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, dilations: Any = None, p: int = 2, pads: Any = None,
    storage_order: int = 0, strides: Any = None, operator: str, outputs: int,
) -> Any:  # fmt: skip
    """Pool windows by ONNX's MaxPool, AveragePool or LpPool; the indices are unsupported."""
    if outputs > 1:
        raise unsupported_variant("the second result, the indices,")
    options = read_windows(x, kernel_shape, strides, dilations, auto_pad, pads)
    options |= {"ceil_mode": bool(ceil_mode)}
    if operator == "MaxPool":
        return nn.max_pool(x, tuple(kernel_shape), **options)
    if operator == "LpPool":
        return nn.lp_pool(x, p, tuple(kernel_shape), **options)
    return nn.avg_pool(x, tuple(kernel_shape), count_include_pad=bool(count_include_pad), **options)


@operator("Col2Im")
def _col2im(
    x: Any, image_shape: Any, block_shape: Any, *, dilations: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    """Add the columns of windows back into images (ONNX's Col2Im)."""
    image, taps = sizes_of(image_shape), sizes_of(block_shape)
    options = read_windows(x, taps, strides, dilations, "NOTSET", pads)
    windows = [
        (size + sum(options["padding"][k]) - (taps[k] - 1) * options["dilation"][k] - 1)
        // options["stride"][k] + 1
        for k, size in enumerate(image)
    ]  # fmt: skip
    columns = sg.reshape(x, (x.shape[0], x.shape[1] // prod(taps), *taps, *windows))
    return nn.fold(columns, image, **options)


@operator("BatchNormalization")
def _batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0, spatial: int = 1, is_test: int = 0,
    outputs: int = 1,
) -> Any:  # fmt: skip
    """Compute ONNX's BatchNormalization; in training also its running statistics."""
    if not training_mode:
        return nn.batch_norm(x, weight=scale, bias=bias, statistics=(mean, var), eps=epsilon)
    now = nn.batch_statistics(x)
    y = nn.batch_norm(x, weight=scale, bias=bias, statistics=now, eps=epsilon)
    running = [o * momentum + n * (1.0 - momentum) for o, n in zip((mean, var), now, strict=True)]
    return (y, *running)[:outputs]


@operator("LayerNormalization")
def _layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1, outputs: int = 1,
) -> Any:  # fmt: skip
    """Compute ONNX's LayerNormalization: the result, and mean and inverse deviation if read."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = sg.mean(x, axes, keepdims=True)
    centred = x - mean
    inverse = 1.0 / sg.sqrt(sg.mean(centred * centred, axes, keepdims=True) + epsilon)
    y = centred * inverse * scale
    return (y if bias is None else y + bias, mean, inverse)[:outputs]


@operator("LpNormalization")
def _lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    norm = sg.sum(abs(x) if p == 1 else x * x, axis, keepdims=True)
    norm = norm if p == 1 else sg.sqrt(norm)
    return sg.where(norm == 0, 0.0, x / sg.where(norm == 0, 1.0, norm))


@operator("LRN")
def _lrn(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    if size % 2 == 0:
        raise unsupported_variant("an even size")
    return nn.local_response_norm(x, size, alpha, beta, bias)


@operator("Resize", "Upsample")
def _resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, antialias: int = 0,
    axes: Any = None, coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch", mode: Any = "nearest",
    nearest_mode: str = "round_prefer_floor", operator: str, opset: int,
) -> Any:  # fmt: skip
    """Resize images by ONNX's Resize and Upsample, by scales or by sizes."""
    if operator == "Upsample" or opset < 11:
        scales = roi if scales is None else scales
        coordinate_transformation_mode, nearest_mode = "asymmetric", "floor"
    along = [a % x.ndim for a in (range(x.ndim) if axes is None else axes)]
    if coordinate_transformation_mode in ("pytorch_half_pixel", "tf_crop_and_resize"):
        raise unsupported_variant(
            f"coordinate_transformation_mode={coordinate_transformation_mode!r}"
        )
    words: dict[str, Any] = {
        "coordinates": coordinate_transformation_mode, "rounding": nearest_mode,
        "cubic": cubic_coeff_a, "antialias": bool(antialias),
        "exclude_outside": bool(exclude_outside),
    }  # fmt: skip
    if sizes is not None and np.size(sizes):
        target_sizes = dict(zip(along, sizes_of(sizes), strict=True))
        if keep_aspect_ratio_policy != "stretch":
            ratios = [n / x.shape[k] for k, n in target_sizes.items()]
            ratio = min(ratios) if keep_aspect_ratio_policy == "not_larger" else max(ratios)
            target_sizes = {k: int(ratio * x.shape[k] + 0.5) for k in target_sizes}
        first = min(k for k, n in target_sizes.items() if n != x.shape[k] or k == x.ndim - 1)
        shape = tuple(target_sizes.get(k, x.shape[k]) for k in range(first, x.ndim))
        return nn.resize(x, shape, mode, **words)
    factors = dict(zip(along, np.asarray(scales).tolist(), strict=True))
    changed = [k for k, factor in factors.items() if factor != 1.0]
    if coordinate_transformation_mode == "align_corners" and any(
        x.shape[k] * factors[k] % 1 for k in changed
    ):
        raise unsupported_variant("align_corners with a factor that gives no whole size")
    first = min([*changed, x.ndim - 1])
    scale = tuple(factors.get(k, 1.0) for k in range(first, x.ndim))
    return nn.resize(x, None, mode, scale=scale, **words)


@operator("AffineGrid")
def _affine_grid(theta: Any, size: Any, *, align_corners: int = 0) -> Any:
    if np.size(size) != 4:
        raise unsupported_variant("a grid of three axes")
    return nn.affine_grid(theta, sizes_of(size), bool(align_corners))


@operator("GridSample")
def _grid_sample(
    x: Any, grid: Any, *, align_corners: int = 0, mode: str = "linear", padding_mode: Any = "zeros"
) -> Any:
    method: Any = {"linear": "bilinear"}.get(mode, mode)
    if method not in ("bilinear", "nearest") or x.ndim != 4:
        raise unsupported_variant(f"mode {mode!r} of {x.ndim - 2} axes")
    return nn.grid_sample(x, grid, method, padding_mode, bool(align_corners))


# -- recurrent layers -----------------------------------------------------------------------------


@operator("RNN", "GRU", "LSTM")
def _recurrent(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None,
    p: Any = None, *, activation_alpha: Any = None, activation_beta: Any = None,
    activations: Any = None, clip: Any = None, direction: str = "forward", hidden_size: int = 0,
    input_forget: int = 0, layout: int = 0, linear_before_reset: int = 0, operator: str,
) -> Any:  # fmt: skip
    """Compute ONNX's RNN, GRU or LSTM as loops over time, forward, backward or both."""
    if clip is not None or activation_alpha or activation_beta:
        raise unsupported_variant("clip, activation_alpha or activation_beta")
    step, gates, default = _STEPS[operator]
    firsts = [h, c] if operator == "LSTM" else [h]
    if layout:
        x, *firsts = (v if v is None else sg.swapaxes(v, 0, 1) for v in (x, *firsts))
    names, width, hidden = activations or default * 2, gates * r.shape[-1], r.shape[-1]
    still = sg.zeros((x.shape[1], hidden), x.dtype, like=x)
    numbers, outputs, lasts = sg.arange(x.shape[0], like=x), [], []
    for d in range(int(w.shape[0])):
        functions = [
            OPERATORS[name].function for name in names[d * len(default) : (d + 1) * len(default)]
        ]
        zeros = sg.zeros((width,), x.dtype, like=x)
        input_bias, inner = (zeros, zeros) if b is None else (b[d, :width], b[d, width:])
        weights = sg.transpose(r[d]), inner, None if p is None else sg.split(p[d], 3)
        flags = {"linear_before_reset": linear_before_reset, "input_forget": input_forget}

        def iteration(
            carry: Any, slices: Any, functions: Any = functions, weights: Any = weights,
            flags: Any = flags,
        ) -> Any:  # fmt: skip
            """Compute one time step of ONNX's recurrent layer; ended sequences keep their state."""
            part, number = slices
            new = step(functions, part, carry, *weights, **flags)
            if lengths is None:
                return new, new[0]
            runs = (number < lengths)[:, None]
            next_carry = tuple(sg.where(runs, n, o) for n, o in zip(new, carry, strict=True))
            return next_carry, sg.where(runs, new[0], 0.0)

        first = tuple(still if state is None else state[d] for state in firsts)
        parts = sg.matmul(x, sg.transpose(w[d])) + input_bias, numbers
        last, out = sg.scan(iteration, first, parts, reverse=direction == "reverse" or d == 1)
        outputs.append(out)
        lasts.append(last)
    y, ends = sg.stack(outputs, 1), [sg.stack(states) for states in zip(*lasts, strict=True)]
    if layout:
        return sg.transpose(y, (2, 0, 1, 3)), *(sg.swapaxes(end, 0, 1) for end in ends)
    return y, *ends


def _rnn(functions: Any, part: Any, carry: Any, u: Any, v: Any, p: Any, **flags: Any) -> Any:
    return (functions[0](part + sg.matmul(carry[0], u) + v),)


def _gru(functions: Any, part: Any, carry: Any, u: Any, v: Any, p: Any, **flags: Any) -> Any:
    """Compute one step of ONNX's GRU cell."""
    f, g = functions
    (h,), (xz, xr, xn) = carry, sg.split(part, 3, -1)
    (uz, ur, un), (vz, vr, vn) = sg.split(u, 3, -1), sg.split(v, 3)
    z, r = f(xz + sg.matmul(h, uz) + vz), f(xr + sg.matmul(h, ur) + vr)
    if flags["linear_before_reset"]:
        new = g(xn + r * (sg.matmul(h, un) + vn))
    else:
        new = g(xn + sg.matmul(r * h, un) + vn)
    return ((1.0 - z) * new + z * h,)


def _lstm(functions: Any, part: Any, carry: Any, u: Any, v: Any, p: Any, **flags: Any) -> Any:
    """Compute one step of ONNX's LSTM cell, with optional peepholes."""
    f, g, last = functions
    h, c = carry
    i, o, forget, new = sg.split(part + sg.matmul(h, u) + v, 4, -1)
    if p is not None:  # peepholes: the gates read the cell
        i, forget = i + p[0] * c, forget + p[2] * c
    i = f(i)
    next_cell = (1.0 - i if flags["input_forget"] else f(forget)) * c + i * g(new)
    return f(o if p is None else o + p[1] * next_cell) * last(next_cell), next_cell


#: Operator -> (a step, its gates, its activations).
_STEPS: Final[dict[str, tuple[Callable[..., Any], int, tuple[str, ...]]]] = {
    "RNN": (_rnn, 1, ("Tanh",)),
    "GRU": (_gru, 3, ("Sigmoid", "Tanh")),
    "LSTM": (_lstm, 4, ("Sigmoid", "Tanh", "Tanh")),
}


# -- sequences and control flow -------------------------------------------------------------------


@operator("SequenceInsert")
def _sequence_insert(s: Any, element: Any, position: Any = None) -> Any:
    place = len(s) if position is None else position.item()
    place = place + len(s) if place < 0 else place
    return [*s[:place], element, *s[place:]]


@operator("SequenceErase")
def _sequence_erase(s: Any, position: Any = None) -> Any:
    place = (-1 if position is None else position.item()) % len(s)
    return [*s[:place], *s[place + 1 :]]


@operator("If")
def _if(condition: Any, *, then_branch: Any, else_branch: Any) -> Any:
    """Evaluate ONNX's If: one branch if the condition is a constant, else ``sg.cond``."""
    if isinstance(condition, np.ndarray):
        return tuple(then_branch() if condition.item() else else_branch())
    return sg.cond(
        sg.reshape(condition, ()),
        lambda: tuple(map(as_operand, then_branch())),
        lambda: tuple(map(as_operand, else_branch())),
    )


@operator("Scan")
def _scan(
    *operands: Any, body: Any, num_scan_inputs: int, scan_input_axes: Any = None,
    scan_input_directions: Any = None, scan_output_axes: Any = None,
    scan_output_directions: Any = None,
) -> Any:  # fmt: skip
    """Evaluate ONNX's Scan by ``sg.scan``, with its axes and directions."""

    def along(arrays: Any, axes: Any, backward: Any, to_front: bool) -> list[Any]:
        """Move the scan axes of ONNX's Scan to the front or back again, and reverse directions."""
        results = []
        for k, array in enumerate(arrays):
            axis = axes[k] if axes else 0
            array = sg.moveaxis(array, axis, 0) if to_front else sg.moveaxis(array, 0, axis)
            is_backward = bool(backward and backward[k])
            results.append(sg.flip(array, 0 if to_front else axis) if is_backward else array)
        return results

    def iteration(carry: Any, slices: Any) -> Any:
        results = tuple(map(as_operand, body(*carry, *slices)))
        return results[:count], results[count:]

    count = len(operands) - num_scan_inputs
    xs = along(operands[count:], scan_input_axes, scan_input_directions, True)
    last, outputs = sg.scan(iteration, tuple(operands[:count]), tuple(xs))
    return *last, *along(outputs, scan_output_axes, scan_output_directions, False)


@operator("Loop")
def _loop(iterations: Any = None, condition: Any = None, *first: Any, body: Any) -> Any:
    """Evaluate ONNX's Loop by ``sg.scan`` or ``sg.while_loop``."""
    count, counted = len(first), isinstance(iterations, np.ndarray)
    true = condition is None or (isinstance(condition, np.ndarray) and condition.item())

    def iteration(carry: Any, number: Any) -> Any:
        goes_on, *results = body(number, np.array(True), *carry)
        if not isinstance(goes_on, np.ndarray) or not goes_on.item():
            raise unsupported_variant("a number of iterations with a condition that is computed")
        return tuple(map(as_operand, results[:count])), tuple(map(as_operand, results[count:]))

    if counted and true and any(isinstance(value, list) for value in first):
        carry, stacks = first, []  # sequences have no type that a loop could carry
        for number in range(int(iterations)):
            carry, stacked = iteration(carry, np.array(number))
            stacks.append(stacked)
        return *carry, *map(sg.stack, zip(*stacks, strict=True))
    if counted and true:
        (length,) = sizes_of(iterations)
        last, outputs = sg.scan(iteration, first, sg.arange(length), length)
        return *last, *outputs

    def go(state: Any) -> Any:
        goes_on, *results = map(as_operand, body(*state))
        if len(results) != count:
            raise unsupported_variant("a condition that is computed with stacked outputs")
        return state[0] + 1, sg.reshape(goes_on, ()), *results

    most = None if iterations is None else sg.reshape(as_operand(iterations), ())
    start = np.array(True) if condition is None else condition
    state = (sg.constant(0, "int64"), sg.reshape(as_operand(start), ()), *first)
    return sg.while_loop(
        lambda state: state[1] if most is None else state[1] & (state[0] < most), go, state
    )[2:]


def _equal_sizes(x: Any, y: Any) -> Any:
    """Compare two shapes of an ONNX model, size by size.

    Raises:
        ExportError: it depends on the value of a named size.
    """

    def same(a: Any, b: Any) -> bool:
        """Compare two sizes of an ONNX model; refuse a result that depends on a named size."""
        with collecting_guards() as guards:
            are_equal = equal(a, b, "")
        if guards:
            raise ExportError(
                f"the model computes something else if the size {a} is {b}",
                hint='call it with sizes that say so: model(sg.input("x", (1, 3), "float32"))',
            )
        return are_equal

    return np.vectorize(same, otypes=[bool])(x, y)


def _multiply_sizes(x: Any, axes: Any = None, keepdims: int = 1) -> Any:
    """Return the product of the sizes of a row; None for several rows."""
    return np.full((1,) * keepdims, prod(x.flat)) if x.ndim == 1 else None


# -- arithmetic of shapes -------------------------------------------------------------------------

#: Operator -> the same of arrays of sizes, of which some are named; None where these do not decide
#: it. Arrays of numbers alone are computed by the rows of their operators.
OF_SIZES: Final[dict[str, Callable[..., Any]]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide,
    "Equal": _equal_sizes, "Where": np.where, "Identity": lambda x: x,
    "Max": lambda *x: reduce(np.frompyfunc(maximum, 2, 1), x),
    "Min": lambda *x: reduce(np.frompyfunc(minimum, 2, 1), x),
    "Cast": lambda x, to, **_: x if np.dtype(to).kind in "iu" else None,
    "Concat": lambda *x, axis: np.concatenate(x, axis),
    "Gather": lambda x, i, axis=0: np.asarray(np.take(x, i.astype(int), axis)),
    "ReduceProd": _multiply_sizes,
    "Reshape": lambda x, shape, allowzero=0: x.reshape(sizes_of(shape)),
    "Slice": _slice,
    "Squeeze": lambda x, axes=None: np.squeeze(x, None if axes is None else sizes_of(axes)),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, sizes_of(axes)),
}  # fmt: skip
