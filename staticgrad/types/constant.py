"""Constant array data: copied once, read-only, compared and keyed by content."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from staticgrad.types.arrays import array_of
from staticgrad.types.dtype import DType, as_dtype, whole_bools
from staticgrad.types.tensor import TensorType


class ArrayData:
    """A read-only array with value semantics: equal dtype, shape and bytes are equal data."""

    __slots__ = ("_digest", "array", "dtype")

    def __init__(self, data: npt.ArrayLike, dtype: DType | None = None) -> None:
        source = whole_bools(array_of(data, "the constant"))
        self.dtype = as_dtype(source.dtype) if dtype is None else dtype
        array = np.array(source, dtype=self.dtype.numpy, order="C", copy=True)
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
