"""Arrays: the conversion of what a user passes as numbers, and tensor types with broadcasting.

Feeds, constants, parameters, operands, outputs and tensors are all converted here, so that they
take the same things: NumPy's arrays, what follows its protocols or DLPack, lists, pandas. A
subclass of ndarray is viewed as the plain array that it is in memory, whatever it says of itself. A
masked array is refused: no kernel reads its mask, and masked elements are not data. A constant's
array is copied once, read-only, and compared by content.

A tensor type is an element type and a shape of sizes. Named sizes never broadcast, not even at 1:
an axis of literal size 1 stretches, nothing else does.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, Final
from weakref import ref

import numpy as np
import numpy.typing as npt

from staticgrad.errors import DTypeError, Related, StaticgradError
from staticgrad.errors.values import OF_SPARSE, masked_array
from staticgrad.errors.wording import kind_of, why_no_array
from staticgrad.language.types import dim as dims
from staticgrad.language.types.dim import Dim, Named, Size, evaluate, kept_by_sizes, named_sizes
from staticgrad.language.types.dtype import DType, as_dtype, complex_of, whole_bools
from staticgrad.support.caches import cached_property
from staticgrad.support.narrow_floats import narrow_numbers
from staticgrad.support.primitives import float_to_integer
from staticgrad.support.records import dataclass

#: The sizes of all axes.
Shape = tuple[Size, ...]
#: The longest axis: what 64 bits with a sign count, as in NumPy.
MOST_SIZE: Final = (1 << 63) - 1
BEYOND: Final = "sizes are below 2**63"


@dataclass(frozen=True, eq=False)
class TensorType:
    """Element type and shape of a value: ``f32[batch, 784]``."""

    dtype: DType
    shape: Shape = ()

    @cached_property
    def signature(self) -> tuple[Shape, str] | None:
        """Shape and name of the element type, which hash quickly; None with named sizes."""
        is_static = all(size.__class__ is int for size in self.shape)
        return (self.shape, self.dtype.code) if is_static else None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        """Number of elements."""
        return product(self.shape)

    @property
    def nbytes(self) -> Size:
        """Bytes of a contiguous array of this type."""
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __eq__(self, other: object) -> bool:
        if self is other:  # most are: results share the type of an operand
            return True
        if not isinstance(other, TensorType):
            return NotImplemented
        return self.dtype is other.dtype and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape))

    def __str__(self) -> str:
        return f"{self.dtype.code}[{', '.join(map(str, self.shape))}]"

    __repr__ = __str__


def product(sizes: Iterable[Size]) -> Size:
    """Multiply symbolic sizes, the literal ones first: those cost nothing."""
    literal, named = 1, []
    for size in sizes:
        if isinstance(size, Dim):
            named.append(size)
        else:
            literal *= size
    return prod(named, start=literal)


class BroadcastError(Exception):
    """Two sizes of one axis can never agree; raised by shape inference, reported by the caller."""

    def __init__(self, axis_from_end: int, left: Size, right: Size) -> None:
        super().__init__(f"{left} != {right}")
        self.axis_from_end, self.left, self.right = axis_from_end, left, right


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """Broadcast shapes to one, by NumPy's rule for literal sizes."""
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    shapes = [shape for shape in shapes if shape]  # a scalar meets everything
    if len(shapes) == 1:
        return shapes[0]
    out: list[Size] = []
    for position in range(max(map(len, shapes)), 0, -1):
        chosen: Size = 1
        wide: list[Size] = []
        for shape in shapes:
            if len(shape) < position or (size := shape[-position]) == 1:
                continue
            wide.append(size)
            # A literal size is the better name of two, a named one the more general: literals win.
            if chosen == 1 or (isinstance(chosen, Dim) and not isinstance(size, Dim)):
                chosen = size
        for size in wide:
            if size != chosen:
                agree = f"sizes {chosen} and {size} must agree"
                if not dims.equal(chosen, size, agree):
                    raise BroadcastError(position, chosen, size)
        out.append(chosen)
    return tuple(out)


@kept_by_sizes
def c_strides(shape: Shape) -> Shape:
    """Strides in elements of a C-contiguous array; an axis of size 0 counts as one of size 1."""
    strides: list[Size] = []
    step: Size = 1
    for extent in reversed(shape):
        strides.append(step)
        step = step * (extent or 1 if isinstance(extent, int) else extent)
    return tuple(reversed(strides))


def hint_value(size: Size, default: int = 64) -> int:
    """Estimate a symbolic size for cost decisions: named sizes at their hints."""
    if isinstance(size, int):
        return size
    value = size.typical.get(default)
    if value is None:
        values = {n.name: typical_value(n, default) for n in named_sizes(size)}
        value = size.typical[default] = evaluate(size, values)
    return value


def hint_product(sizes: Iterable[Size]) -> int:
    """The typical value of a product: that of ``hint_value``, without the product of the sizes."""
    return prod([hint_value(size) for size in sizes])


def hint_bytes(kind: TensorType) -> int:
    """Bytes of a contiguous array of a type, typically."""
    return hint_product(kind.shape) * kind.dtype.itemsize


def typical_value(named: Named, default: int = 64) -> int:
    """Return a named size's hint, or ``default`` within its bounds."""
    if named.hint is not None:
        return named.hint
    rounded = -(-max(named.min, default) // named.multiple_of) * named.multiple_of
    if named.max is None or rounded <= named.max:
        return rounded
    return named.max // named.multiple_of * named.multiple_of


Array = npt.NDArray[Any]
#: What an object has of which ``array_of`` makes an array.
PROTOCOLS: Final = ("__array__", "__array_interface__", "__dlpack__", "__dataframe__")
_NUMBERS: Final = (
    "a category as its code, or one column of 0 and 1 for each; a date as a number of days;\n"
    'numbers of text by .astype("float64")'
)


def is_array_like(data: Any) -> bool:
    """Return whether an object, not its class, has a protocol of arrays or of tables."""
    if isinstance(data, type):
        return False
    return any(hasattr(data, protocol) for protocol in PROTOCOLS) or _is_buffer(data)


def _is_buffer(data: Any) -> bool:
    """Return whether an object is one of Python's own arrays, which NumPy reads as buffers."""
    return isinstance(data, memoryview | ctypes.Array) or type(data).__module__ == "array"


def columns_of(data: Any) -> dict[str, Any] | None:
    """Return the columns of a data frame by name; None for anything else.

    A table is a data frame of pandas or Polars, a table or batch of records of Arrow, or anything
    else that lists its columns and makes an array.
    """
    if isinstance(data, np.ndarray | type):
        return None
    names = getattr(data, "column_names", None)  # of Arrow
    names = getattr(data, "columns", None) if names is None else names
    if (
        names is None
        or callable(names)
        or not (is_array_like(data) and hasattr(data, "__getitem__"))
    ):
        return None
    return {str(name): data[name] for name in names}


def over_bytes(array: Array) -> Array:
    """Return a copy over bytes of Python, which nothing can write."""
    copy: Array = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
    return copy


def is_constant(array: Any) -> bool:
    """Return whether an array's memory is read-only for all: bytes, or an array of JAX."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    if isinstance(array, memoryview):
        return array.readonly and type(array.obj).__module__.startswith("jaxlib")
    return type(array) is bytes


#: Bytes from which on arrays are compared in place.
_LARGE: Final = 1 << 13


def have_same_elements(first: Array, second: Array) -> bool:
    """Return whether two arrays have the same dtype, shape and bytes; NaN equals NaN."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if first.nbytes < _LARGE:
        return first.tobytes() == second.tobytes()
    views = [np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (first, second)]
    words = first.nbytes // 8 * 8
    first_words, second_words = (view[:words].view(np.uint64) for view in views)
    tails_agree = (views[0][words:] == views[1][words:]).all()
    return bool(tails_agree and (first_words == second_words).all())


def reference_to(
    data: Any, read: Callable[[Any], Array | None] = lambda data: data
) -> Callable[[], Array | None]:
    """Return a function that gives an array as it is now; None once its memory is gone.

    A view goes on for as long as the array that has its memory. ``read`` views or copies the array
    of another object.

    Raises:
        TypeError: the object cannot be referred to weakly.
    """
    if not isinstance(data, np.ndarray):
        source = ref(data)
        return lambda: None if (present := source()) is None else read(present)
    owner = data
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    order = np.argsort([-stride for stride in owner.strides], kind="stable")
    if owner is data or data.dtype.hasobject or not owner.transpose(order).flags.c_contiguous:
        return ref(data)
    memory, shape, dtype, strides = ref(owner), data.shape, data.dtype, data.strides
    offset = data.ctypes.data - owner.ctypes.data

    def view() -> Array | None:
        buffer = memory()
        if buffer is None:
            return None
        return np.ndarray(shape, dtype, buffer.transpose(order), offset, strides)

    return view


#: Class of arrays of another library -> what views one in NumPy; None of other classes.
_VIEWERS: Final[dict[type, Callable[[Any], Array | None] | None]] = {}


def viewer_of(kind: type) -> Callable[[Any], Array | None] | None:
    """Return a function that views arrays of a class of another library, without checks.

    A view is None where ``array_of`` has to say what is wrong. The class of an array of JAX and
    that of a tensor of PyTorch have one; None of NumPy's classes, of tables and of whatever has no
    memory.
    """
    try:
        return _VIEWERS[kind]
    except KeyError:
        has_protocols = hasattr(kind, "__array__") and hasattr(kind, "__dlpack__")
        homes = {base.__module__.partition(".")[0] for base in kind.__mro__}
        viewer = _view_array if has_protocols and not homes & {"numpy", "staticgrad"} else None
        _VIEWERS[kind] = viewer
        return viewer


def _view_array(data: Any) -> Array | None:
    try:
        array = np.asarray(data)
    except Exception:
        return None
    return array if array.dtype.kind in "biufcV" else None


def array_of(
    data: Any,
    what: str = "the operand",
    error: type[StaticgradError] = DTypeError,
    related: Sequence[Related] = (),
) -> Array:
    """Return ``data`` as a plain array of any dtype, layout and byte order.

    No copy if it has memory. ``what`` begins the message of an ``error``.
    """
    if type(data) is np.ndarray:
        return data
    if _is_masked(data):
        raise masked_array(what, related)
    if isinstance(data, np.ndarray):
        return np.asarray(data)
    try:
        if hasattr(data, "__dlpack__") and not hasattr(data, "__array__"):
            return np.from_dlpack(data)
        if hasattr(data, "__dataframe__") and not hasattr(data, "__array__"):
            return _convert_frame(data, what, error, related)
        array = np.asarray(data)
        if array.dtype.kind == "O" and is_pandas(data):
            if data.ndim == 1:
                array = _convert_column(data)
            else:
                columns = [_convert_column(data.iloc[:, place]) for place in range(data.shape[1])]
                if any(column.dtype.kind not in "biuf" for column in columns):
                    array = np.asarray(data)
                else:
                    array = np.stack(columns, axis=1)
        if array.dtype.kind not in "biufcV":
            _check_columns(data, what, error, related)
    except StaticgradError:
        raise
    except (TypeError, ValueError, RuntimeError, BufferError) as reason:
        raise error(f"{what} is not an array: {why_no_array(reason)}", related=related) from None
    return array


def _check_columns(
    data: Any, what: str, error: type[StaticgradError], related: Sequence[Related]
) -> None:
    """Refuse sparse matrices, and data frames with text, categories or dates."""
    if is_sparse(data):
        headline = f"{what}: a sparse matrix, {kind_of(data)}, is not an array"
        raise error(headline, hint=OF_SPARSE, related=related)
    columns = columns_of(data)
    if columns is None:
        kind = getattr(data, "dtype", None) or getattr(data, "type", None)
        if isinstance(data, np.generic) or kind is None:
            return
        headline = f"{what} is {kind_of(data)} of {_dtype_text(kind)}, and no numbers"
        raise error(headline, hint=_NUMBERS, related=related)
    for name, column in columns.items():
        if np.asarray(column).dtype.kind not in "biufc":
            kind = getattr(column, "dtype", None) or getattr(column, "type", None)
            headline = (
                f"{what} is {kind_of(data)} whose column {name!r} has {_dtype_text(kind)}, and no"
                " numbers"
            )
            raise error(headline, hint=_NUMBERS, related=related)


def _dtype_text(kind: Any) -> str:
    """The name of an element type of any library, on one line."""
    return " ".join(str(kind).split())[:40]


#: Kinds of columns in the protocol of data frames -> NumPy's.
_KINDS: Final = {0: "i", 1: "u", 2: "f", 20: "b"}


def _convert_frame(
    data: Any, what: str, error: type[StaticgradError], related: Sequence[Related]
) -> Array:
    """Convert a data frame of the interchange protocol to an array; missing numbers are NaN."""
    chunks = [*data.__dataframe__().get_chunks()]
    rows = []
    for chunk in chunks:
        columns = []
        for name in chunk.column_names():
            column = chunk.get_column_by_name(name)
            if column.dtype[0] not in _KINDS:
                kind = getattr(column.dtype[0], "name", column.dtype[0])
                raise error(
                    f"{what} is {kind_of(data)} whose column {name!r} has {str(kind).lower()}, and"
                    " no numbers",
                    hint=_NUMBERS,
                    related=related,
                )
            columns.append(_convert_chunk(column))
        rows.append(np.stack(columns, axis=1))
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _convert_chunk(column: Any) -> Array:
    """Convert one column of a data frame's chunk, by the addresses of its buffers."""
    buffers = column.get_buffers()
    buffer, dtype = buffers["data"]
    values = _read_buffer(buffer, dtype, column.offset, column.size())
    null, sentinel = column.describe_null
    missing: Any = None
    if null == 2:
        missing = values == sentinel
    elif null in (3, 4) and buffers["validity"] is not None:
        bits, kind = buffers["validity"]
        mask = _read_buffer(bits, kind, column.offset, column.size())
        missing = mask.astype(bool) == bool(sentinel)
    if missing is None or not missing.any():
        return values
    if values.dtype.kind == "b":
        raise ValueError("a column of bools has missing values")
    return np.where(missing, np.nan, values)


def _read_buffer(buffer: Any, dtype: Any, offset: int, count: int) -> Array:
    """Read ``count`` elements of a data frame's buffer from ``offset``; bools may be bits."""
    kind, bits = dtype[0], dtype[1]
    memory = (ctypes.c_uint8 * buffer.bufsize).from_address(buffer.ptr) if buffer.bufsize else b""
    raw = np.frombuffer(memory, np.uint8)
    if bits == 1:
        return np.unpackbits(raw, bitorder="little")[offset : offset + count].astype(bool)
    name = "?" if kind == 20 else f"{_KINDS[kind]}{bits // 8}"
    return raw.view(np.dtype(name))[offset : offset + count].copy()


def as_parts(array: Array) -> Array:
    """The real array with a last axis of 2 that a complex array is in memory, if contiguous."""
    dtype = as_dtype(array.dtype)
    parts: Array = np.asarray(array, dtype.numpy, order="C")[..., None].view(dtype.real.numpy)
    return parts.reshape(*array.shape, 2)


def of_parts(array: Array) -> Array:
    """The complex array that a real one with a last axis of 2 is in memory, if contiguous."""
    complex_array: Array = np.asarray(array, order="C").view(
        complex_of(as_dtype(array.dtype)).numpy
    )
    return complex_array.reshape(array.shape[:-1])


def _is_masked(data: Any) -> bool:
    """Return whether ``data`` is a masked array, or a list with one: NumPy would drop the mask."""
    module = sys.modules.get("numpy.ma")  # loaded by whoever has such an array
    masked = getattr(module, "MaskedArray", None)
    if masked is None:
        return False
    pending = [data]
    while pending:
        element = pending.pop()
        if isinstance(element, masked):
            return True
        if isinstance(element, list | tuple):
            pending.extend(element)
    return False


def is_pandas(data: Any) -> bool:
    """Return whether something is an object of pandas, which is loaded then."""
    return type(data).__module__.partition(".")[0] == "pandas"


def is_sparse(data: Any) -> bool:
    """Return whether something is a sparse matrix, of SciPy or of ``sg.sparse``."""
    home = type(data).__module__
    ours_or_theirs = home.startswith(("scipy.sparse.", "staticgrad.sparse"))
    return ours_or_theirs and hasattr(type(data), "tocsr")


def _convert_column(column: Any) -> Array:
    """Convert one pandas column; a missing number is NaN, a missing bool an error."""
    kind = getattr(column.dtype, "numpy_dtype", None)
    if kind is None or kind.kind not in "biuf":
        return np.asarray(column)
    missing = bool(column.isna().any())
    if missing and kind.kind == "b":
        raise ValueError("a column of bools has missing values: column.fillna(False)")
    if missing:
        kind = kind if kind.kind == "f" else np.dtype(np.float64)
        return np.asarray(column.to_numpy(dtype=kind, na_value=np.nan))
    return np.asarray(column.to_numpy(dtype=kind))


#: Bytes to which arrays that kernels read are aligned: a cache line, and the widest vector.
ALIGNMENT: Final = 64


def aligned_bytes(count: int, zero: bool = False) -> npt.NDArray[np.uint8]:
    """``count`` bytes that start on a 64-byte border, uninitialised or zeros."""
    raw = np.zeros(count + ALIGNMENT, np.uint8) if zero else np.empty(count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count]


class ArrayData:
    """A read-only array with value semantics: equal dtype, shape and bytes are equal data."""

    __slots__ = ("_digest", "array", "dtype")

    def __init__(self, data: npt.ArrayLike, dtype: DType | None = None) -> None:
        source = whole_bools(array_of(data, "the constant"))
        self.dtype = as_dtype(source.dtype) if dtype is None else dtype
        if self.dtype.is_storage:  # rounded once, also from float64
            source = convert_array(source, self.dtype)
        nbytes = source.size * self.dtype.itemsize
        if nbytes < ALIGNMENT:
            array = np.array(source, dtype=self.dtype.numpy, order="C", copy=True)
        else:
            array = aligned_bytes(nbytes).view(self.dtype.numpy).reshape(source.shape)
            array[...] = source
        array.flags.writeable = False
        self.array: npt.NDArray[Any] = array
        self._digest: str | None = None

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.array.shape)

    @property
    def digest(self) -> str:
        """BLAKE2b of dtype, shape and bytes, as hexadecimal text."""
        if self._digest is None:
            import hashlib  # loads OpenSSL, and most programs compare no constants

            head = f"{self.dtype.code}{self.array.shape}".encode()
            self._digest = hashlib.blake2b(head + self.array.tobytes(), digest_size=16).hexdigest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ArrayData) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ArrayData({self.type})" if self.array.size > 1 else f"ArrayData({self.array})"

    def __reduce__(self) -> tuple[object, ...]:
        return (ArrayData, (self.array, self.dtype))


def convert_array(x: Array, dtype: DType) -> Array:
    """Convert an array-like to an array of ``dtype``.

    Float to integer truncates (``float_to_integer``). To bool: x != 0. To a storage dtype rounded
    once, from whatever dtype.
    """
    if x.dtype == dtype.numpy:
        return x.astype(dtype.numpy)
    if x.dtype.kind == "V":  # a float that NumPy does not know converts to NumPy's exactly
        x = x.astype(np.float32)
    if dtype.is_storage:
        return narrow_numbers(dtype.code, x).view(dtype.numpy)
    if x.dtype.kind != "f" or not dtype.is_integer:
        return x.astype(dtype.numpy)
    return float_to_integer(x, dtype.numpy)
