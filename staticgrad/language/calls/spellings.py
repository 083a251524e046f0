"""Methods of values by PyTorch's names: each is one of ours under the name that people type.

Only names whose meaning is the same are here. ``x.split``, ``x.sort`` and ``x.size`` are NumPy's
or ours; the hints of ``errors/hints.py`` say what to write for the others.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Self, TypeVar

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import quote
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.functional import functions, namespace_of
from staticgrad.language.types.dim import Dim

S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])


def _unary(self: S) -> S:
    """Declare the parameters of a method of one operand, for type checkers."""
    return self


def _binary(self: S, other: Any) -> S:
    """Declare the parameters of a method of two operands, for type checkers."""
    return self


def _forward(parameters: F, name: str, summary: str, function: str = "") -> F:
    """Make a method of values under PyTorch's name, which calls our function."""
    function = function or name

    def unary(self: Any) -> Any:
        return getattr(functions, function)(self)

    def binary(self: Any, other: Any) -> Any:
        return getattr(functions, function)(self, other)

    method: Any = unary if parameters is _unary else binary
    qualified = f"TorchSpellings.{name}"
    method.__code__ = method.__code__.replace(co_name=name, co_qualname=qualified)
    method.__name__, method.__qualname__, method.__doc__ = name, qualified, summary
    operand = {} if method is unary else {"other": "Any"}
    method.__annotations__ = {**operand, "return": "Self"}
    public_method: Any = public(method)
    return public_method


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

    matmul = _forward(_binary, "matmul", "``self @ other``.")

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

    abs = _forward(_unary, "abs", "The absolute values of the elements.")
    exp = _forward(_unary, "exp", "The exponentials of the elements.")
    log = _forward(_unary, "log", "The natural logarithms of the elements.")
    sqrt = _forward(_unary, "sqrt", "The square roots of the elements.")
    sin = _forward(_unary, "sin", "The sines of the elements.")
    cos = _forward(_unary, "cos", "The cosines of the elements.")
    tanh = _forward(_unary, "tanh", "The hyperbolic tangents of the elements.")
    sigmoid = _forward(_unary, "sigmoid", "The logistic functions of the elements.")
    t = _forward(_unary, "t", "``transpose``: a matrix with its axes exchanged.", "transpose")

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

    add = _forward(_binary, "add", "``self + other``.")
    sub = _forward(_binary, "sub", "``self - other``.", "subtract")
    mul = _forward(_binary, "mul", "``self * other``.", "multiply")
    div = _forward(_binary, "div", "``self / other``.", "divide")
    neg = _forward(_unary, "neg", "``-self``.", "negative")
    eq = _forward(_binary, "eq", "``self == other``.", "equal")
    ne = _forward(_binary, "ne", "``self != other``.", "not_equal")
    lt = _forward(_binary, "lt", "``self < other``.", "less")
    le = _forward(_binary, "le", "``self <= other``.", "less_equal")
    gt = _forward(_binary, "gt", "``self > other``.", "greater")
    ge = _forward(_binary, "ge", "``self >= other``.", "greater_equal")
    mm = _forward(_binary, "mm", "``self @ other``, of matrices.", "matmul")
    bmm = _forward(_binary, "bmm", "``self @ other``, of batches of matrices.", "matmul")
    mv = _forward(_binary, "mv", "``self @ other``, of a matrix and a vector.", "matmul")

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

    square = _forward(_unary, "square", "The squares of the elements.")
    reciprocal = _forward(_unary, "reciprocal", "The reciprocals of the elements.")

    @public
    def rsqrt(self) -> Self:
        """The reciprocals of the square roots of the elements."""
        return functions.divide(1.0, functions.sqrt(self))

    sign = _forward(_unary, "sign", "The signs of the elements.")
    floor = _forward(_unary, "floor", "The elements, rounded down.")
    ceil = _forward(_unary, "ceil", "The elements, rounded up.")
    log1p = _forward(_unary, "log1p", "The logarithms of 1 + x.")
    expm1 = _forward(_unary, "expm1", "The exponentials - 1.")
    isnan = _forward(_unary, "isnan", "Return which elements are NaN.")
    isinf = _forward(_unary, "isinf", "Return which elements are infinite.")

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

    outer = _forward(_binary, "outer", "``sg.outer``: the products of all elements of two vectors.")

    @public
    def lerp(self, end: Any, weight: Any) -> Self:
        """``self + weight * (end - self)``."""
        return functions.add(self, functions.multiply(weight, functions.subtract(end, self)))


def _is_same(size: Any) -> bool:
    """Return whether a size is -1, the word for the one that is there."""
    return not isinstance(size, Dim) and size == -1
