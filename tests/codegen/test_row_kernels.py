"""Kernels over rows by their text, ``row_kernels/*.txt``: what they compute, by every reader.

They are the shapes that fused programs are to take: a price with its gradients, cross entropy with
its gradient, layer norm with gradients in one pass, the gradients of attention for a head at a
time, Adam over a list of chunks, rows of a few elements that lie across lanes, pooling. Oracles are
NumPy's, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from staticgrad.errors import ParseError, VerifyError
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.ir.summation import column_sum
from tests.codegen import kernels_on_file
from tests.codegen.kernels_on_file import assert_close
from tests.diagonals import diagonals
from tests.native.support import LONG_BY_NUMBA, MODES, Array, Mode, assert_same

FOLDER = Path(__file__).with_name("row_kernels")
RNG = np.random.default_rng(0)


def kernel_of(name: str) -> Kernel:
    """A kernel on file."""
    return kernels_on_file.kernel_of("row_kernels", name)


def run(name: str, sizes: Sequence[int], mode: Mode, **given: Array) -> dict[str, Array]:
    """The operands after all iterations."""
    kernel = kernel_of(name)
    if mode == "numba" and kernel.grouped:
        kernel = replace(kernel, jammed=1)  # what Numba would compile for ten seconds
    return kernels_on_file.run(kernel, sizes, mode, given)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype("f4")


def softmax(z: Array) -> Array:
    e = np.exp(z.astype("f8") - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# -- a price and its gradients --------------------------------------------------------------------


def price(t: Array, v: Array, s: Array, k: Array) -> Array:
    width = v * np.sqrt(t)
    d = (np.log(s / k) + (0.03 + 0.5 * v * v) * t) / width
    below, far = (0.5 + 0.5 * np.vectorize(erf)(x * 0.5**0.5) for x in (d, d - width))
    return np.asarray(s * below - k * np.exp(-0.03 * t) * far)


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_a_price_and_its_gradients(mode: Mode) -> None:
    ends = {"p0": (0.25, 2), "p1": (0.1, 0.5), "p2": (80, 120), "p3": (80, 120)}
    given = {name: RNG.uniform(*pair, 70).astype("f4") for name, pair in ends.items()}
    made = run("black_scholes", [70], mode, **given, **{f"p{i}": normal(70) for i in range(4, 9)})
    t, v, s, k = (given[name].astype("f8") for name in ends)
    assert_close(made["p4"], price(t, v, s, k))
    for slope in (slope_of(at, t, v, s, k) for at in (0, 2, 3)):
        scale = np.abs(slope).max()
        assert min(np.abs(made[f"p{i}"] - slope).max() for i in range(5, 9)) < 1e-5 * scale


def slope_of(at: int, *values: Array) -> Array:
    """The price's derivative with respect to one of its arguments, by finite differences."""
    ends = [[x + step * (n == at) for n, x in enumerate(values)] for step in (1e-5, -1e-5)]
    return (price(*ends[0]) - price(*ends[1])) / 2e-5


# -- cross entropy --------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (9, 33), (4, 4100)])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_cross_entropy_and_its_gradient(rows: int, columns: int, mode: Mode) -> None:
    z, labels = 3 * normal(rows, columns), RNG.integers(0, columns, rows)
    made = run(
        "cross_entropy", [rows, columns], mode,
        p0=z, p1=labels, p2=np.full(1, 0.25, "f4"), p3=np.empty_like(z), p4=normal(rows),
        p5=np.array([-1, 0]),
    )  # fmt: skip
    p, at = softmax(z), (np.arange(rows), labels)
    assert_close(made["p4"], -np.log(p[at]))
    p[at] -= 1
    assert_close(made["p3"], p / 4)
    assert made["p5"][0] == -1


@pytest.mark.parametrize("mode", MODES)
def test_a_label_beyond_the_columns_is_noted(mode: Mode) -> None:
    labels = np.array([0, 4, 5, 1, 2, -1, 3])
    found = run(
        "cross_entropy", [7, 5], mode, p0=normal(7, 5), p1=labels, p2=np.ones(1, "f4"),
        p3=normal(7, 5), p4=normal(7), p5=np.array([-1, 0]),
    )  # fmt: skip
    assert found["p5"].tolist() == [2, 5]


# -- layer norm -----------------------------------------------------------------------------------


def normalized(x: Array) -> tuple[Array, Array]:
    """Rows without mean, of variance 1; and one through their deviation."""
    d = x.astype("f8") - x.mean(1, keepdims=True, dtype="f8")
    inverse = 1 / np.sqrt((d * d).mean(1, keepdims=True) + 1e-5)
    return d * inverse, inverse


@diagonals(2, ("mode", MODES), ("rows,columns", [(1, 3), (5, 17), (3, 4100)]), daily="vector")
def test_layer_norm(rows: int, columns: int, mode: Mode) -> None:
    x, gain, shift = normal(rows, columns), normal(columns), normal(columns)
    made = run("layer_norm", [rows, columns], mode, p0=x, p1=gain, p2=shift, p3=np.empty_like(x))
    assert_close(made["p3"], normalized(x)[0] * gain + shift)


def gradients(x: Array, gain: Array, dy: Array) -> tuple[Array, Array, Array]:
    """With respect to x, gain and shift."""
    h, inverse = normalized(x)
    dh = dy * gain
    dx = inverse * (dh - dh.mean(1, keepdims=True) - h * (dh * h).mean(1, keepdims=True))
    return dx, (dy * h).sum(0), dy.sum(0)


SHAPES = [(1, 3), (37, 17), (70, 5)]


@pytest.mark.parametrize(("rows", "columns"), [*SHAPES, (1100, 20)])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_gradients_of_layer_norm(rows: int, columns: int, mode: Mode) -> None:
    if mode == "python" and rows > 100:
        pytest.skip("long in plain Python")
    x, gain, dy = normal(rows, columns), normal(columns), normal(rows, columns)
    groups: Any = kernel_of("layer_norm_backward").iterations((rows, columns))
    parts = {name: normal(groups, columns) for name in ("p4", "p6")}
    given = {"p0": x, "p1": gain, "p2": dy, "p3": np.empty_like(x), **parts}
    made = run("layer_norm_backward", [rows, columns], mode, **given)
    totals = run(
        "column_totals", [groups, columns], mode,
        p0=made["p4"], p1=normal(columns), p2=made["p6"], p3=normal(columns),
    )  # fmt: skip
    found = made["p3"], totals["p1"], totals["p3"]
    for one, true in zip(found, gradients(x, gain, dy), strict=True):
        assert_close(one, true)
    assert_same(totals["p3"], column_sum(dy.T), "the shift's gradient is a sum of columns")


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_layer_norm_gelu_and_mean_square_with_gradients(
    rows: int, columns: int, mode: Mode
) -> None:
    x, gain, shift = normal(rows, columns), normal(columns), normal(columns)
    groups: Any = kernel_of("layer_norm_block").iterations((rows, columns))
    made = run(
        "layer_norm_block", [rows, columns], mode, p0=x, p1=gain, p2=shift, p3=np.empty_like(x),
        p4=normal(groups, columns), p6=normal(groups, columns), p8=normal(rows),
        p9=np.full(1, 1 / x.size, "f4"),
    )  # fmt: skip
    y = normalized(x)[0] * gain + shift
    phi = 0.5 + 0.5 * np.vectorize(erf)(y / 2**0.5)
    slope = phi + y * np.exp(-y * y / 2) / (2 * np.pi) ** 0.5
    dx, dgain, dshift = gradients(x, gain, 2 * y * phi / y.size * slope)
    assert_close(made["p8"], ((y * phi) ** 2).sum(1))
    assert_close(made["p3"], dx, 1e-5)
    assert_close(made["p4"].sum(0), dgain, 1e-5)
    assert_close(made["p6"].sum(0), dshift, 1e-5)


# -- attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "depth"), [(1, 1), (5, 3), (37, 20)])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_gradients_of_causal_attention(length: int, depth: int, mode: Mode) -> None:
    q, k, v, g = given = [normal(2, length, depth) for _ in range(4)]
    scale = np.float32(depth**-0.5)
    made = run(
        "attention_gradient", [2, length, depth, length * depth], mode,
        **{f"p{i}": a for i, a in enumerate(given)},
        **{f"p{i}": np.empty_like(q) for i in (6, 7, 8)}, p9=np.full(1, scale),
    )  # fmt: skip
    transposed = (0, 2, 1)
    scores = scale * q.astype("f8") @ k.transpose(transposed)
    scores[:, ~np.tri(length, dtype=bool)] = -np.inf
    weights, slopes = softmax(scores), g.astype("f8") @ v.transpose(transposed)
    ds = weights * (slopes - (weights * slopes).sum(-1, keepdims=True)) * scale
    assert_close(made["p6"], ds @ k)
    assert_close(made["p7"], ds.transpose(transposed) @ q)
    assert_close(made["p8"], weights.transpose(transposed) @ g)


# -- Adam over a list of chunks -------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_adam_over_tensors_of_several_sizes(mode: Mode) -> None:
    numbers = np.float32([0.9, 0.1, 0.999, 0.001, 1 - 0.9, 1 - 0.999, 1e-3, 1e-8])
    lengths = (1, 40, 16, 0, 33)
    sets = [[normal(n), normal(n), normal(n) / 10, np.abs(normal(n))] for n in lengths]
    p, g, u, v = (np.concatenate([s[i] for s in sets]).astype("f8") for i in range(4))
    table = np.array([[*(a.ctypes.data for a in s), s[0].size] for s in sets])
    none = np.zeros(0, "f4")
    sizes = [len(lengths), max(lengths)]
    run("adam", sizes, mode, p0=table, p1=none, p2=none, p3=none, p4=none, p5=numbers)
    b1, c1, b2, c2, f1, f2, rate, eps = numbers.astype("f8")
    u, v = u * b1 + g * c1, v * b2 + g * g * c2
    assert_close(np.concatenate([s[2] for s in sets]), u)
    assert_close(np.concatenate([s[3] for s in sets]), v)
    assert_close(
        np.concatenate([s[0] for s in sets]), p - rate * (u / f1 / (np.sqrt(v / f2) + eps))
    )


# -- rows of a few elements, and windows of two by two --------------------------------------------


@diagonals(2, ("mode", MODES), ("rows", [1, 16, 53]), ("length", [2, 10]), daily="vector")
def test_short_rows(length: int, rows: int, mode: Mode) -> None:
    x = normal(rows, length)
    sums = run(f"sum_of_{length}", [rows], mode, p0=x, p1=normal(rows))["p1"]
    assert_close(sums, x.sum(1, dtype="f8"))
    assert_close(
        run(f"softmax_of_{length}", [rows], mode, p0=x, p1=np.empty_like(x))["p1"], softmax(x)
    )


@diagonals(2, ("mode", MODES), ("shape", [(1, 1), (3, 5), (4, 35)]), daily="vector")
def test_pooling_and_its_gradient(shape: tuple[int, int], mode: Mode) -> None:
    h, w = shape
    x = normal(2 * h, 2 * w)
    x[:2, :2] = 1  # ties share
    sizes = [h, w, 4 * w, 2 * w]
    made = run("pool", sizes, mode, p0=x, p1=normal(h, w))["p1"]
    windows = x.reshape(h, 2, w, 2)
    top = windows.max((1, 3))
    assert_same(made, top, mode)
    dy = normal(h, w)
    found = run("pool_gradient", sizes, mode, p0=x, p1=np.empty_like(x), p2=dy)["p1"]
    most = windows == top[:, None, :, None]
    share = (dy / most.sum((1, 3)))[:, None, :, None]
    assert_close(found, (most * share).reshape(x.shape))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(p1, p2,", "(p1, p1, p2,"),
        ("(p1, p2,", "(p0, p1, p2,"),
        ("(p1, p2,", "(n0, p1, p2,"),
        ("(p1, p2,", "(p9, p1, p2,"),
        ("p0: in i64", "p0: in i32"),
        ("p0: in i64", "p0: inout i64"),
        ("from p0", "from p5"),
        ("over i0: n0", "over groups of i0: n0"),
        ("over i0: n0", "over i0: n0 by 2"),
    ],
)
def test_lists_without_a_table_are_refused(old: str, new: str) -> None:
    text = (FOLDER / "adam.txt").read_text()
    assert old in text
    with pytest.raises((VerifyError, ParseError)):
        verify_kernel(parse_kernel(text.replace(old, new)))
