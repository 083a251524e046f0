"""Sums across rows compute cheap formulas themselves, of which another kernel wants a part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.lowering.fuse import fuse
from tests.diagonals import diagonals
from tests.passes.test_siblings import assert_bytes_of_single_kernels, drawn
from tests.passes.test_sinking import arrays_between


def batch_norm(rows: Any, columns: int, dtype: str = "float32") -> dict[str, Any]:
    """A batch norm with gain and bias, and its gradients."""
    x, u = (sg.input(name, (rows, columns), dtype) for name in "xu")
    gain, bias = (sg.input(name, (columns,), dtype) for name in ("gain", "bias"))
    away = x - x.mean(0)
    y = away / sg.sqrt((away * away).mean(0) + 1e-5) * gain + bias
    dx, dgain, dbias = sg.grad((y * u).sum(), [x, gain, bias])
    return {"y": y, "dx": dx, "dgain": dgain, "dbias": dbias}


@pytest.mark.parametrize("rows", [700, "n"])
def test_a_batch_norm_and_its_gradient_store_results_alone(rows: Any) -> None:
    assert arrays_between(batch_norm(rows, 100)) == 0


@pytest.mark.thinned(4)
@diagonals(
    2,
    ("rows,columns", [(257, 300), (4500, 17), (130, 64)]),
    ("dtype", ["float16", "float32", "float64"]),
)
def test_bytes_are_those_of_single_kernels(rows: int, columns: int, dtype: str) -> None:
    assert_bytes_of_single_kernels(batch_norm(rows, columns, dtype))


@pytest.mark.parametrize("rows", [1, 33, 4097])
def test_bytes_at_any_size_of_a_named_axis(rows: int) -> None:
    assert_bytes_of_single_kernels(batch_norm("n", 48), n=rows)


@pytest.mark.parametrize("policy", ["store_all", "recompute", "sqrt"])
def test_policies_keep_the_bytes(policy: str) -> None:
    outputs = batch_norm(600, 70)
    outputs["deeper"] = sg.tanh(outputs["y"] * outputs["dx"]).sum(0)
    feeds = drawn(outputs)
    wanted = sg.compile(outputs, fuse=False).run(feeds)
    found = sg.compile(outputs, checkpoint=policy).run(feeds)
    assert all(same_bytes(found[name], array) for name, array in wanted.items())


def kernels(outputs: dict[str, Any]) -> int:
    return len(fuse(pipeline("O1")(sg.Graph(outputs))).steps)


def test_columns_of_what_is_reduced_by_rows_stay_in_the_kernel_of_the_rows() -> None:
    """The gradient of a layer norm sums columns while it has the rows."""
    x, u = (sg.input(name, (700, 100), "float32") for name in "xu")
    gain, bias = (sg.input(name, (100,), "float32") for name in ("gain", "bias"))
    y = sg.nn.layer_norm(x, gain, bias)
    outputs = dict(zip("xgb", sg.grad((y * u).sum(), [x, gain, bias]), strict=True))
    assert kernels(outputs) <= 3
    assert_bytes_of_single_kernels(outputs)


def test_what_is_in_memory_anyway_is_read_there() -> None:
    """Of results and factors of products: the sum of a bias reads what the product reads."""
    x, h = (sg.input(name, (700, 100), "float32") for name in "xh")
    w = sg.input("w", (100, 100), "float32")
    slope = sg.where(h > 0.0, x, 0.5 * x)
    outputs = {"product": slope @ w, "bias": slope.sum(0), "weights": slope.T @ h}
    assert arrays_between(outputs) == 1
    assert_bytes_of_single_kernels(outputs)
    seen = {"slope": slope, "bias": (slope * 2.0).sum(0), "again": sg.tanh(slope)}
    assert_bytes_of_single_kernels(seen)


def test_results_are_those_of_float64() -> None:
    """Beside NumPy in float64, for no clone may be of something else."""
    outputs = batch_norm(300, 40)
    feeds = drawn(outputs)
    found = sg.compile(outputs).run(feeds)
    x, u, gain = (feeds[name].astype("float64") for name in ("x", "u", "gain"))
    away, spread = x - x.mean(0), np.sqrt(x.var(0) + 1e-5)
    g = u * gain / spread
    dx = g - g.mean(0) - away / spread**2 * (g * away).mean(0)
    np.testing.assert_allclose(found["dx"], dx, atol=1e-5 * abs(dx).max())
    np.testing.assert_allclose(found["dgain"], (u * away / spread).sum(0), rtol=1e-4, atol=1e-4)
