"""The array interface of a tensor: shape, elements, conversions to NumPy and Python.

Gradients are in ``tensor.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from staticgrad.ir.calls import as_method
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array
from staticgrad.ir.value import Value
from staticgrad.types.arrays import Shape


class ArrayLike(Value):
    """A value with an array behind it."""

    __slots__ = ("array",)

    array: Array

    if TYPE_CHECKING:

        @property
        def data(self) -> Array: ...
        @property
        def of_kind(self) -> Self: ...

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
        return self.data.item()

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def tolist(self) -> Any:
        """The elements as Python numbers, in nested lists."""
        return self.data.tolist()

    def transpose(self, *axes: Any) -> Self:
        """The axes in reverse; by two integers those two exchanged; by a tuple all permuted."""
        if len(axes) != 2:
            return self.permute(*axes or (None,))
        return cast(Self, functions.swapaxes(self, *axes))

    @as_method
    def copy(self, order: str = "C") -> Self:
        """The same elements in an array of its own; gradients go through."""
        return cast(Self, functions.where(np.True_, self, self))

    def permute(self, *axes: Any) -> Self:
        """Axis i of the result is axis ``axes[i]``."""
        return cast(Self, functions.transpose(self, axes[0] if len(axes) == 1 else axes))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Self]:
        elements: Any = self
        return (elements[i] for i in range(len(self.array)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __complex__(self) -> complex:
        return complex(self.data.item())

    def __index__(self) -> int:
        return self.data.__index__()

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """``sg.xp``. Raises ArgumentError for a version that is not known here."""
        super().__array_namespace__(api_version=api_version)
        return import_module("staticgrad.eager.xp")

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A copy of the array for other libraries: nothing is written into a tensor.

        Raises:
            BufferError: another device, or ``copy=False``.
        """
        if copy is False:
            raise BufferError("a tensor gives a copy of its array")
        array: Any = self.data.copy()
        return array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self.array.__dlpack_device__()
        return int(kind), int(number)


def owned(array: Array, held: set[int]) -> Array:
    """``array``, or a copy where others hold it (``held``, by id) or it is a view."""
    own = array.base is None and array.flags.writeable and id(array) not in held
    held.add(id(array))
    return array if own else array.copy()
