"""What a tensor has of an array: its shape, its elements, NumPy's and Python's conversions.

Nothing here is about gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from staticgrad.ir.op import Array
from staticgrad.ir.types import Shape
from staticgrad.ir.value import FUNCTIONS, Value


class ArrayLike(Value):
    """A value with an array behind it."""

    __slots__ = ("array",)

    array: Array

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    def item(self) -> Any:
        """The one element, as a Python number. Raises ValueError where there are more."""
        return self.array.item()

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.array

    def tolist(self) -> Any:
        """The elements as Python numbers, in nested lists."""
        return self.array.tolist()

    def transpose(self, *axes: Any) -> Any:
        """The last two axes exchanged; by two integers those two; a tuple permutes them all."""
        if not axes:
            return FUNCTIONS["swapaxes"](self, -1, -2) if self.ndim > 1 else self
        return FUNCTIONS["swapaxes"](self, *axes) if len(axes) == 2 else self.permute(*axes)

    def permute(self, *axes: Any) -> Any:
        """Axis i of the result is axis ``axes[i]``."""
        return FUNCTIONS["transpose"](self, axes[0] if len(axes) == 1 else axes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self.array)))

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self.array.item())

    def __int__(self) -> int:
        return int(self.array.item())

    def __index__(self) -> int:
        return self.array.__index__()


def owned(array: Array, held: set[int]) -> Array:
    """``array``, or a copy where others hold it (``held``, by id) or it is a view."""
    own = array.base is None and array.flags.writeable and id(array) not in held
    held.add(id(array))
    return array if own else array.copy()
