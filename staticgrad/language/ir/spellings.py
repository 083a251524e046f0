"""Methods of values by PyTorch's names: each is one of ours under the name that people type.

Only names whose meaning is the same are here. ``x.split``, ``x.sort`` and ``x.size`` are NumPy's
or ours; the hints of ``support/errors/hints.py`` say what to write for the others.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from math import prod
from typing import Any, Self

from staticgrad.language.ir.calls import public
from staticgrad.language.ir.functional import functions
from staticgrad.language.types.dim import Dim
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import shown


class TorchSpellings:
    """Base of values: methods of ``torch.Tensor`` beside those of ``numpy.ndarray``."""

    __slots__ = ()

    @public
    def view(self, *shape: Any) -> Self:
        """``reshape``: the elements under another shape. Nothing is a view: values do not change.

        Raises ArgumentError for a dtype, which NumPy's ``view`` takes.
        """
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        if not all(isinstance(each, Dim) or hasattr(each, "__index__") for each in sizes):
            raise ArgumentError(
                f"view: {shown(shape[0])} is not a size",
                hint="x.astype(dtype) converts elements; their bytes are not read as another dtype",
            )
        return functions.reshape(self, tuple(sizes))

    @public
    def permute(self, *axes: Any) -> Self:
        """``transpose``: axes in another order, ``x.permute(1, 0)``."""
        whole = len(axes) == 1 and isinstance(axes[0], tuple | list)
        return functions.transpose(self, axes[0] if whole else axes)

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
        kept = (*(1,) * max(further, 0), *value.shape)
        return functions.broadcast_to(
            value, [own if _is_same(size) else size for size, own in zip(sizes, kept, strict=False)]
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
        each = -(-size // chunks) or 1
        return tuple(functions.split(value, [*range(each, size, each)], axis))

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


def _is_same(size: Any) -> bool:
    """Return whether a size is -1, the word for the one that is there."""
    return not isinstance(size, Dim) and size == -1
