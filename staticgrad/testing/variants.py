"""Samples made of samples: other element types, shapes and layouts, special values, refused ones.

Only an elementwise op can be given any shape and dtype; of others the floating operands change
between the floating dtypes that the op is declared to take, and take special values in place, so
that indices stay indices. ``infer`` is not asked: what an op refuses of these samples is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad.extend import Array, DType, Elementwise, Op, as_dtype
from staticgrad.extend.ops import transpose
from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.testing.gradients import CORNERS, PROBES, grid, smooth_points

Operands = tuple[Array, ...]
View = Callable[[Any], Any]
#: Shapes that an elementwise op is tried in; the operands take turns, so that they broadcast.
_SHAPES: Final = ((), (0,), (1,), (17,), (3, 1), (4,), (2, 3, 4), (1, 4))
FLOATS: Final = ("float32", "float64")
#: Round the widths of lanes, where a row of lanes begins anew, and round a block.
_SIZES: Final = (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 4097)
_MOST_PROBES: Final = 200
_MOST_CORNERS: Final = 4


def type_variants(op: Op, samples: Sequence[Operands], floats: Sequence[str]) -> Iterator[Operands]:
    """Convert an op's test samples to every dtype of ``floats``."""
    for sample in samples:
        for width in floats:
            if any(a.dtype.kind == "f" and a.dtype != width for a in sample):
                yield _convert_floats(sample, width)
    if isinstance(op, Elementwise):
        first = samples[0]
        for dtype in _uniform(op, first, floats):
            yield tuple(_convert(a, dtype) for a in first)
        for turn in range(len(_SHAPES)):
            reshaped = tuple(_reshape(a, turn + 5 * i) for i, a in enumerate(first))
            if _broadcast(reshaped):
                yield reshaped


def refused_samples(
    op: Op, samples: Sequence[Operands], floats: Sequence[str]
) -> Iterator[Operands]:
    """Return a test sample in each dtype that the op is declared not to take."""
    first = samples[0]
    if isinstance(op, Elementwise) and _is_uniform(first) and first:
        for dtype in ALL_DTYPES:
            if dtype.kind not in op.kinds:
                yield tuple(_convert(a, dtype) for a in first)
    for width in FLOATS:
        if width not in floats and any(a.dtype.kind == "f" for a in first):
            yield _convert_floats(first, width)


def edge_samples(op: Op, samples: Sequence[Operands], floats: Sequence[str]) -> Iterator[Operands]:
    """Replace floating operands of test samples by special values (NaN, infinities, ...)."""
    if not isinstance(op, Elementwise):
        for sample in samples:
            for turn, _ in enumerate(a for a in sample if a.dtype.kind == "f"):
                yield tuple(_special_like(a, turn + i) for i, a in enumerate(sample))
        return
    for dtype in _uniform(op, samples[0], floats):
        axes = [special_values(dtype) for _ in samples[0]]
        if axes:
            yield grid(axes)


def sized_samples(op: Op, samples: Sequence[Operands]) -> Iterator[Operands]:
    """The first sample of an elementwise op at the sizes where kernels turn a corner."""
    if isinstance(op, Elementwise):
        for size in _SIZES:
            yield tuple(np.resize(a, size).astype(a.dtype) for a in samples[0])


def probe_samples(op: Op, samples: Sequence[Operands]) -> Iterator[Operands]:
    """Return points at which to test derivatives: samples with other signs and sizes."""
    if isinstance(op, Elementwise) and samples[0]:
        most = max(2, int(_MOST_PROBES ** (1 / len(samples[0]))))
        axes = [
            PROBES[:most] + 0.017 * i if a.dtype.kind == "f" else np.unique(a)[:most]
            for i, a in enumerate(samples[0])
        ]
        yield smooth_points(op.reference, grid(axes))
        return
    for sample in samples:
        for change in (np.negative, lambda a: 3 * a + 0.011, lambda a: a * _signs(a.shape)):
            probes = (change(a.astype(np.float64)) if a.dtype.kind == "f" else a for a in sample)
            yield tuple(probes)


def corner_samples(op: Op, samples: Sequence[Operands]) -> Iterator[Operands]:
    """Return test samples at likely kinks: round numbers of every sign, in all pairs."""
    if isinstance(op, Elementwise) and samples[0]:
        axes = [CORNERS if a.dtype.kind == "f" else np.unique(a)[:2] for a in samples[0]]
        for chosen in zip(*grid(axes), strict=True):
            yield tuple(np.array([number]) for number in chosen)
        return
    for sample in samples[:_MOST_CORNERS]:
        for number in (0.5, 0.0):
            yield tuple(np.full(a.shape, number) if a.dtype.kind == "f" else a for a in sample)


def _signs(shape: tuple[int, ...]) -> Array:
    return np.resize(np.array([1.0, -1.0, -1.0]), shape)


def special_values(dtype: DType) -> Array:
    """Return the special values of ``dtype``: infinities, NaN, extremes, and ordinary ones."""
    if dtype.is_bool:
        return np.array([False, True])
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy.name)
        return np.unique(np.array([info.min, info.max, 0, 1, 2, 7], dtype.numpy))
    limits = np.finfo(dtype.numpy.name)
    denormal = limits.smallest_subnormal
    numbers = [
        0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan,
        limits.max, limits.min, limits.tiny, denormal, -denormal, limits.eps,
    ]  # fmt: skip
    return np.array(numbers, dtype.numpy)


def _special_like(array: Array, turn: int) -> Array:
    if array.dtype.kind != "f":
        return array
    values = np.roll(special_values(as_dtype(array.dtype)), turn)
    return np.resize(values, array.shape).astype(array.dtype)


def _uniform(op: Elementwise, sample: Operands, floats: Sequence[str]) -> list[DType]:
    """The dtypes that all operands may have at once."""
    if not _is_uniform(sample):
        return []
    allowed = [d for d in ALL_DTYPES if d.kind in op.kinds]
    return [d for d in allowed if not d.is_float or d.numpy.name in floats]


def _is_uniform(sample: Operands) -> bool:
    return len({a.dtype for a in sample}) <= 1


def _convert(array: Array, dtype: DType) -> Array:
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _reshape(array: Array, turn: int) -> Array:
    shape = _SHAPES[turn % len(_SHAPES)]
    return np.resize(array, shape).astype(array.dtype) if array.size else array


def _convert_floats(sample: Operands, width: str) -> Operands:
    """The sample with its floating operands in the dtype ``width``."""
    return tuple(a.astype(width) if a.dtype.kind == "f" else a for a in sample)


def _broadcast(sample: Operands) -> bool:
    """Return whether the shapes of a sample broadcast."""
    try:
        np.broadcast_shapes(*(a.shape for a in sample))
    except ValueError:
        return False
    return True


def _in_bytes(array: Array, filler: int, offset: int) -> Array:
    """Copy elements to an odd offset from 64-byte alignment, between filler bytes, for tests."""
    room = 256
    raw = np.full(array.nbytes + 2 * room + 64, filler, np.uint8)
    start = room + (offset - raw.ctypes.data - room) % 64
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array: Array) -> Array:
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


def _reverse_layout(array: Array) -> Array:
    flip = (slice(None, None, -1),) * array.ndim
    return np.asarray(array[flip].copy()[flip])


#: Name -> the same elements in another layout; a 0-d array may come back as it was.
LAYOUTS: Final[dict[str, Callable[[Array], Array]]] = {
    "Fortran": lambda a: a.copy("F"),
    "reversed": _reverse_layout,
    "strided": lambda a: np.repeat(a, 2, -1)[..., ::2] if a.ndim else a,
    "inside a larger array": lambda a: np.pad(a, 3)[(slice(3, -3),) * a.ndim],
    "misaligned": partial(_in_bytes, filler=0, offset=1),
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "byte-swapped and reversed": lambda a: _reverse_layout(a.astype(a.dtype.newbyteorder())),
    "read-only": _read_only,
}


#: Name -> the same elements with other bytes before and behind them.
SURROUNDED: Final[dict[str, Callable[[Array], Array]]] = {
    f"among bytes {filler:#x}": partial(_in_bytes, filler=filler, offset=0)
    for filler in (0, 0x55, 0xFF)
}


def views(array: Array) -> Iterator[tuple[str, Array, View]]:
    """Yield test layouts of an array: name, base array to feed, and the view with its elements."""
    if not array.ndim:
        return
    reverse = (slice(None, None, -1),) * array.ndim
    yield "reversed", np.ascontiguousarray(array[reverse]), lambda x: x[reverse]
    axes = tuple(reversed(range(array.ndim)))
    if array.ndim > 1:
        feed = np.ascontiguousarray(array.transpose(axes))
        yield "transposed", feed, lambda x: transpose(x, axes)
    yield "strided", np.repeat(array, 2, -1), lambda x: x[..., ::2]
    inside = (slice(1, -1),) * array.ndim
    yield "part of a larger one", np.pad(array, 1), lambda x: x[inside]
