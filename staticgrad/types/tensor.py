"""Tensor types: an element type and a shape of sizes; how shapes broadcast; typical sizes.

Named sizes never broadcast, not even at 1: an axis of literal size 1 stretches, nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

from staticgrad.records import dataclass
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Named, Size, evaluate, named_sizes
from staticgrad.types.dtype import DType
from staticgrad.types.kept_sizes import kept_by_sizes

Shape = tuple[Size, ...]
#: The longest axis: what 64 bits with a sign count, as in NumPy.
MOST_SIZE: Final = (1 << 63) - 1
BEYOND: Final = "sizes are below 2**63"


@dataclass(frozen=True, eq=False)
class TensorType:
    """Element type and shape of a value: ``f32[batch, 784]``."""

    dtype: DType
    shape: Shape = ()

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
    """The product of sizes, the literal ones first: those cost nothing."""
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
    """The shape in which ``shapes`` meet, by NumPy's rule for literal sizes.

    Raises:
        BroadcastError: two sizes of one axis can never agree.
    """
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    shapes = [shape for shape in shapes if shape]  # a scalar meets everything
    if len(shapes) == 1:
        return shapes[0]
    rank = max(len(shape) for shape in shapes)
    out: list[Size] = []
    for position in range(rank, 0, -1):
        sizes = [shape[-position] for shape in shapes if len(shape) >= position]
        out.append(_meet(sizes, position))
    return tuple(out)


def _meet(sizes: Sequence[Size], position: int) -> Size:
    stretched = [size for size in sizes if size != 1]
    if not stretched:
        return 1
    # A literal size is the better name of the two, a named size the more general: literals win.
    chosen = next((size for size in stretched if not isinstance(size, Dim)), stretched[0])
    for size in stretched:
        if size != chosen and not dims.equal(chosen, size, f"sizes {chosen} and {size} must agree"):
            raise BroadcastError(position, chosen, size)
    return chosen


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
    """A typical value, for cost decisions only: named sizes at their ``typical_value``."""
    if isinstance(size, int):
        return size
    found = size.typical.get(default)
    if found is None:
        values = {n.name: typical_value(n, default) for n in named_sizes(size)}
        found = size.typical[default] = evaluate(size, values)
    return found


def hint_product(sizes: Iterable[Size]) -> int:
    """The typical value of a product: that of ``hint_value``, without the product of the sizes."""
    return prod([hint_value(size) for size in sizes])


def hint_bytes(kind: TensorType) -> int:
    """Bytes of a contiguous array of a type, typically."""
    return hint_product(kind.shape) * kind.dtype.itemsize


def typical_value(named: Named, default: int = 64) -> int:
    """The hint of a named size; without one, ``default`` as far as its bounds allow."""
    if named.hint is not None:
        return named.hint
    rounded = -(-max(named.min, default) // named.multiple_of) * named.multiple_of
    if named.max is None or rounded <= named.max:
        return rounded
    return named.max // named.multiple_of * named.multiple_of
