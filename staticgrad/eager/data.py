"""Batches of arrays, shuffled by a seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.ir.calls import public
from staticgrad.ir.op import Array
from staticgrad.types.arrays import array_of


class TensorDataset:
    """Several arrays with one entry per example along axis 0.

    Raises:
        ArgumentError: no arrays.
        ShapeError: different numbers of examples.
    """

    def __init__(self, *arrays: Any) -> None:
        if not arrays:
            raise ArgumentError("TensorDataset: there are no arrays")
        self.arrays = tuple([array_of(array, "TensorDataset") for array in arrays])
        counts = [array.shape[0] if array.ndim else 0 for array in self.arrays]
        if len(set(counts)) != 1:
            raise ShapeError(f"TensorDataset: arrays of {counts} examples")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, places: Any) -> tuple[Array, ...]:
        return tuple([array[places] for array in self.arrays])


class DataLoader:
    """Batches of a dataset, each a tuple of tensors: floats as float32, integers as they are.

    Args:
        dataset: a ``TensorDataset``, or a tuple of arrays for one.
        batch_size: examples per batch; the last one may have fewer.
        shuffle: a new order in every pass; passes follow from the seed.
        seed: of the orders.
        dtype: of the floats.

    Raises:
        ArgumentError: a batch size below 1.
    """

    @public
    def __init__(
        self,
        dataset: TensorDataset | tuple[Any, ...],
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        dtype: Any = "float32",
    ) -> None:
        if batch_size < 1:
            raise ArgumentError(f"DataLoader: batches of {batch_size} examples")
        self.dataset = dataset if isinstance(dataset, TensorDataset) else TensorDataset(*dataset)
        self.batch_size, self.shuffle, self.dtype = batch_size, shuffle, dtype
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        count = len(self.dataset)
        order = self._random.permutation(count) if self.shuffle else np.arange(count)
        for start in range(0, count, self.batch_size):
            arrays = self.dataset[order[start : start + self.batch_size]]
            yield tuple(
                [Tensor(a, dtype=self.dtype if a.dtype.kind == "f" else a.dtype) for a in arrays]
            )
