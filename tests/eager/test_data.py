"""Data in batches."""

from __future__ import annotations

import numpy as np
import pytest

from staticgrad.eager import DataLoader, TensorDataset


def test_data_loader() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    plain = list(DataLoader((x, y), batch_size=4))
    assert [batch[0].shape for batch in plain] == [(4, 2), (4, 2), (2, 2)]
    assert plain[0][0].data.dtype == np.float32
    assert plain[0][1].data.dtype == np.int64
    np.testing.assert_array_equal(np.concatenate([b[1].data for b in plain]), y)

    def orders(seed: int) -> list[list[int]]:
        loader = DataLoader(TensorDataset(x, y), 4, shuffle=True, seed=seed)
        assert len(loader) == 3
        return [[int(i) for _, labels in loader for i in labels.data] for _ in range(2)]

    first = orders(1)
    assert first == orders(1)
    assert first != orders(2)
    assert first[0] != first[1]
    assert sorted(first[0]) == list(range(10))
    for rows, labels in DataLoader((x, y), 3, shuffle=True):
        np.testing.assert_array_equal(rows.data[:, 0], 2.0 * labels.data)
    assert list(DataLoader((x[:0], y[:0]), 3)) == []
    for wrong in (
        lambda: DataLoader((x, y), 0),
        lambda: TensorDataset(),
        lambda: TensorDataset(x, y[1:]),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            wrong()
