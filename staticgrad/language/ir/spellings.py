"""Methods of values by PyTorch's names: each is one of ours under the name that people type.

Only names whose meaning is the same are here. ``x.split``, ``x.sort`` and ``x.size`` are NumPy's
or ours; the hints of ``support/errors/hints.py`` say what to write for the others.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from math import prod
from typing import Any, Self

from staticgrad.language.ir.calls import public
from staticgrad.language.ir.functional import functions, namespace_of
from staticgrad.language.types.dim import Dim
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import quote


class TorchSpellings:
    """Base of values: methods of ``torch.Tensor`` beside those of ``numpy.ndarray``."""

    __slots__ = ()

    @public
    def view(self, *shape: Any) -> Self:
        """``reshape``: the elements under another shape. Nothing is a view: values do not change.

        Raises ArgumentError for a dtype, which NumPy's ``view`` takes.
        """
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        if not all(isinstance(size, Dim) or hasattr(size, "__index__") for size in sizes):
            raise ArgumentError(
                f"view: {quote(shape[0])} is not a size",
                hint="x.astype(dtype) converts elements; their bytes are not read as another dtype",
            )
        return functions.reshape(self, tuple(sizes))

    @public
    def permute(self, *axes: Any) -> Self:
        """``transpose``: axes in another order, ``x.permute(1, 0)``."""
        is_sequence = len(axes) == 1 and isinstance(axes[0], tuple | list)
        return functions.transpose(self, axes[0] if is_sequence else axes)

    @public
    def unsqueeze(self, axis: int) -> Self:
        """``expand_dims``: one more axis, of size 1."""
        return functions.expand_dims(self, axis)

    @public
    def expand(self, *shape: Any) -> Self:
        """``broadcast_to``: axes of size 1 repeated; -1 keeps a size."""
        value: Any = self
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        further = len(sizes) - value.ndim
        extents = (*(1,) * max(further, 0), *value.shape)
        return functions.broadcast_to(
            value,
            [
                extent if _is_same(size) else size
                for size, extent in zip(sizes, extents, strict=False)
            ],
        )

    @public
    def gather(self, axis: int, index: Any) -> Self:
        """``take_along_axis``: the elements at ``index`` along ``axis``."""
        return functions.take_along_axis(self, index, axis)

    @public
    def masked_fill(self, mask: Any, value: Any) -> Self:
        """``where``: ``value`` where the mask is True, else the element."""
        return functions.where(mask, value, self)

    @public
    def clamp(self, min: Any = None, max: Any = None) -> Self:
        """``clip``: elements held between two bounds, either of which may be None."""
        return functions.clip(self, min, max)

    @public
    def chunk(self, chunks: int, axis: int = 0) -> tuple[Self, ...]:
        """``array_split``, as PyTorch divides: equal parts of which the last may be shorter."""
        value: Any = self
        size = value.shape[axis]
        if isinstance(size, Dim):
            return tuple(functions.split(value, chunks, axis))
        chunk_size = -(-size // chunks) or 1
        return tuple(functions.split(value, [*range(chunk_size, size, chunk_size)], axis))

    @public
    def matmul(self, other: Any) -> Self:
        """``self @ other``."""
        return functions.matmul(self, other)

    @public
    def pow(self, exponent: Any) -> Self:
        """``self ** exponent``."""
        return functions.power(self, exponent)

    def contiguous(self) -> Self:
        """The value itself: values have no memory layout."""
        return self

    def numel(self) -> Any:
        """The number of elements, ``x.size``."""
        value: Any = self
        return prod(value.shape)

    def dim(self) -> int:
        """The number of axes, ``x.ndim``."""
        value: Any = self
        return len(value.shape)

    @public
    def abs(self) -> Self:
        """The absolute values of the elements."""
        return functions.abs(self)

    @public
    def exp(self) -> Self:
        """The exponentials of the elements."""
        return functions.exp(self)

    @public
    def log(self) -> Self:
        """The natural logarithms of the elements."""
        return functions.log(self)

    @public
    def sqrt(self) -> Self:
        """The square roots of the elements."""
        return functions.sqrt(self)

    @public
    def sin(self) -> Self:
        """The sines of the elements."""
        return functions.sin(self)

    @public
    def cos(self) -> Self:
        """The cosines of the elements."""
        return functions.cos(self)

    @public
    def tanh(self) -> Self:
        """The hyperbolic tangents of the elements."""
        return functions.tanh(self)

    @public
    def sigmoid(self) -> Self:
        """The logistic functions of the elements."""
        return functions.sigmoid(self)

    @public
    def t(self) -> Self:
        """``transpose``: a matrix with its axes exchanged."""
        return functions.transpose(self)

    @public
    def expand_as(self, other: Any) -> Self:
        """``broadcast_to`` the shape of another value."""
        return functions.broadcast_to(self, other.shape)

    @public
    def view_as(self, other: Any) -> Self:
        """``reshape`` to the shape of another value."""
        return functions.reshape(self, other.shape)

    @public
    def type_as(self, other: Any) -> Self:
        """``astype`` of the dtype of another value."""
        return functions.astype(self, other.dtype)

    @public
    def add(self, other: Any) -> Self:
        """``self + other``."""
        return functions.add(self, other)

    @public
    def sub(self, other: Any) -> Self:
        """``self - other``."""
        return functions.subtract(self, other)

    @public
    def mul(self, other: Any) -> Self:
        """``self * other``."""
        return functions.multiply(self, other)

    @public
    def div(self, other: Any) -> Self:
        """``self / other``."""
        return functions.divide(self, other)

    @public
    def neg(self) -> Self:
        """``-self``."""
        return functions.negative(self)

    @public
    def eq(self, other: Any) -> Self:
        """``self == other``."""
        return functions.equal(self, other)

    @public
    def ne(self, other: Any) -> Self:
        """``self != other``."""
        return functions.not_equal(self, other)

    @public
    def lt(self, other: Any) -> Self:
        """``self < other``."""
        return functions.less(self, other)

    @public
    def le(self, other: Any) -> Self:
        """``self <= other``."""
        return functions.less_equal(self, other)

    @public
    def gt(self, other: Any) -> Self:
        """``self > other``."""
        return functions.greater(self, other)

    @public
    def ge(self, other: Any) -> Self:
        """``self >= other``."""
        return functions.greater_equal(self, other)

    @public
    def mm(self, other: Any) -> Self:
        """``self @ other``, of matrices."""
        return functions.matmul(self, other)

    @public
    def bmm(self, other: Any) -> Self:
        """``self @ other``, of batches of matrices."""
        return functions.matmul(self, other)

    @public
    def mv(self, other: Any) -> Self:
        """``self @ other``, of a matrix and a vector."""
        return functions.matmul(self, other)

    @public
    def softmax(self, axis: int) -> Self:
        """``sg.nn.softmax`` along an axis."""
        return namespace_of("nn").softmax(self, axis)

    @public
    def log_softmax(self, axis: int) -> Self:
        """``sg.nn.log_softmax`` along an axis."""
        return namespace_of("nn").log_softmax(self, axis)

    @public
    def logsumexp(self, axis: Any, keepdims: bool = False) -> Self:
        """``sg.nn.logsumexp`` along axes."""
        return namespace_of("nn").logsumexp(self, axis, keepdims=keepdims)

    @public
    def relu(self) -> Self:
        """The positive parts of the elements."""
        return functions.maximum(self, 0)

    @public
    def square(self) -> Self:
        """The squares of the elements."""
        return functions.square(self)

    @public
    def reciprocal(self) -> Self:
        """The reciprocals of the elements."""
        return functions.reciprocal(self)

    @public
    def rsqrt(self) -> Self:
        """The reciprocals of the square roots of the elements."""
        return functions.divide(1.0, functions.sqrt(self))

    @public
    def sign(self) -> Self:
        """The signs of the elements."""
        return functions.sign(self)

    @public
    def floor(self) -> Self:
        """The elements, rounded down."""
        return functions.floor(self)

    @public
    def ceil(self) -> Self:
        """The elements, rounded up."""
        return functions.ceil(self)

    @public
    def log1p(self) -> Self:
        """The logarithms of 1 + x."""
        return functions.log1p(self)

    @public
    def expm1(self) -> Self:
        """The exponentials - 1."""
        return functions.expm1(self)

    @public
    def isnan(self) -> Self:
        """Return which elements are NaN."""
        return functions.isnan(self)

    @public
    def isinf(self) -> Self:
        """Return which elements are infinite."""
        return functions.isinf(self)

    @public
    def unbind(self, axis: int = 0) -> tuple[Self, ...]:
        """``unstack``: the entries along an axis."""
        return tuple(functions.unstack(self, axis=axis))

    @public
    def index_select(self, axis: int, index: Any) -> Self:
        """``take``: the entries at ``index`` along an axis."""
        return functions.take(self, index, axis)

    @public
    def narrow(self, axis: int, start: Any, length: int) -> Self:
        """The ``length`` entries of an axis from ``start`` on."""
        value: Any = self
        leading = (slice(None),) * (axis % value.ndim)
        return functions.getitem(value, (*leading, slice(start, start + length)))

    @public
    def movedim(self, source: Any, destination: Any) -> Self:
        """``moveaxis``."""
        return functions.moveaxis(self, source, destination)

    @public
    def repeat_interleave(self, repeats: int, axis: int | None = None) -> Self:
        """``sg.repeat``: each entry several times."""
        return functions.repeat(self, repeats, axis)

    @public
    def triu(self, k: int = 0) -> Self:
        """``sg.triu``: zeros below diagonal k."""
        return functions.triu(self, k)

    @public
    def tril(self, k: int = 0) -> Self:
        """``sg.tril``: zeros above diagonal k."""
        return functions.tril(self, k)

    @public
    def outer(self, other: Any) -> Self:
        """``sg.outer``: the products of all elements of two vectors."""
        return functions.outer(self, other)

    @public
    def lerp(self, end: Any, weight: Any) -> Self:
        """``self + weight * (end - self)``."""
        return functions.add(self, functions.multiply(weight, functions.subtract(end, self)))


def _is_same(size: Any) -> bool:
    """Return whether a size is -1, the word for the one that is there."""
    return not isinstance(size, Dim) and size == -1
