"""What one later kernel alone reads is computed there, where that moves fewer bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.lowering.fuse import fuse
from staticgrad.types.arrays import hint_value
from tests.diagonals import diagonals
from tests.passes.test_siblings import assert_bytes_of_single_kernels, drawn


def variance(rows: Any, columns: int, dtype: str) -> dict[str, Any]:
    """Columns without their mean, and the mean of their squares."""
    x = sg.input("x", (rows, columns), dtype)
    away = x - x.mean(0)
    return {"away": away, "variance": (away * away).mean(0)}


def scaled_product(batch: int, rows: Any, columns: int, dtype: str) -> dict[str, Any]:
    """An array that a product and a sum read, and products of it that one of them reads alone."""
    x = sg.input("x", (batch, rows, columns), dtype)
    u = sg.input("u", (batch, columns), dtype)
    m = sg.input("m", (batch, columns, columns), dtype)
    y = sg.tanh(x)
    return {
        "y": y,
        "product": y @ m + y * u[:, None, :],
        "sum": (-(y * x)).sum(1),
    }


def arrays_between(outputs: dict[str, Any]) -> int:
    """How many large arrays are neither fed nor results."""
    schedule = fuse(pipeline("O1")(sg.Graph(outputs)))
    sizes = [hint_value(b.size) for b in schedule.buffers if b.role == "temp"]
    return sum(size >= 8192 for size in sizes)


@pytest.mark.parametrize("rows", [700, "n"])
def test_squares_for_a_variance_are_not_stored(rows: Any) -> None:
    assert arrays_between(variance(rows, 100, "float32")) == 0


@pytest.mark.parametrize("rows", [300, "n"])
def test_products_that_one_kernel_reads_are_not_stored(rows: Any) -> None:
    assert arrays_between(scaled_product(4, rows, 40, "float32")) == 0


@pytest.mark.thinned(3)
@diagonals(
    2,
    ("rows,columns", [(257, 300), (4500, 17), (900, 64)]),
    ("dtype", ["float16", "float32", "float64"]),
)
def test_bytes_are_those_of_single_kernels(rows: int, columns: int, dtype: str) -> None:
    assert_bytes_of_single_kernels(variance(rows, columns, dtype))
    assert_bytes_of_single_kernels(scaled_product(3, rows, min(columns, 40), dtype))


@pytest.mark.parametrize("rows", [0, 1, 33, 4097])
def test_bytes_at_any_size_of_a_named_axis(rows: int) -> None:
    assert_bytes_of_single_kernels(scaled_product(3, "n", 40, "float32"), n=rows)


def test_what_others_see_is_stored() -> None:
    """Outputs, values with a second reader, and small ones stay where they are computed."""
    x = sg.input("x", (700, 100), "float32")
    away = x - x.mean(0)
    squares = away * away
    seen = {"away": away, "squares": squares, "variance": squares.mean(0)}
    assert_bytes_of_single_kernels(seen)
    both = {"away": away, "mean": squares.mean(0), "rows": squares @ sg.input("w", (100, 20))}
    assert arrays_between(both) == 1
    assert_bytes_of_single_kernels(both)


def test_a_chain_moves_as_far_as_that_spares_bytes() -> None:
    """Of ``x * y + z`` behind a stored ``y``, reading ``x`` and ``z`` takes more than the sum."""
    x, z = (sg.input(name, (700, 100), "float32") for name in "xz")
    y = sg.tanh(x)
    chain = {"y": y, "sum": (y * y * 2.0 + 1.0).sum(0)}
    assert arrays_between(chain) == 0
    assert_bytes_of_single_kernels(chain)
    more = {"y": y, "sum": (y * z * sg.exp(z) * sg.input("v", (700, 100), "float32")).sum(0)}
    assert_bytes_of_single_kernels(more)


def test_old_values_of_parameters_are_read_before_they_are_written() -> None:
    """A kernel that reads the old value is not made to wait for the one that writes the new."""
    start = np.random.default_rng(1).normal(size=(300, 60)).astype("float32")
    feeds = drawn({"x": sg.input("x", (300, 60), "float32")})
    found = []
    for options in ({"fuse": False}, {}, {"checkpoint": "recompute"}, {"threads": 3}):
        p = sg.parameter("p", start.copy())
        x = sg.input("x", (300, 60), "float32")
        y = sg.tanh(x)
        outputs = {"y": y, "sum": (y * p).sum(0)}
        f = sg.compile(sg.Graph(outputs, updates={p: p - 0.5 * y * y}), **options)
        results = [f.run(feeds) for _ in range(2)]
        found.append([each[name].copy() for each in results for name in ("y", "sum")])
    for other in found[1:]:
        assert all(same_bytes(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("policy", ["store_all", "recompute", "sqrt"])
def test_a_batch_norm_keeps_its_bytes_under_policies(policy: str) -> None:
    x, u = (sg.input(name, (600, 70), "float32") for name in "xu")
    gain = sg.input("gain", (70,), "float32")
    away = x - x.mean(0)
    y = sg.tanh(away / sg.sqrt((away * away).mean(0) + 1e-5) * gain)
    loss = (y * u).sum()
    dx, dgain = sg.grad(loss, [x, gain])
    outputs = {"loss": loss, "dx": dx, "dgain": dgain}
    feeds = drawn(outputs)
    wanted = sg.compile(outputs, fuse=False).run(feeds)
    found = sg.compile(outputs, checkpoint=policy).run(feeds)
    assert all(same_bytes(found[name], array) for name, array in wanted.items())
