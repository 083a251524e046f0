"""Operands that lie across memory: read by squares, to the byte what single elements give."""

from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.codegen.kernel_source import render
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.native.support import MODES, assert_same, call
from tests.native.test_masks import Guarded

MIXED = """\
kernel(p0: in f32, p1: in f64, p2: out f64, p3: out f32; n0, n1, n2, n3) over i0: n0, i1: n1 {
  map j: n2 {
    %0: f32 = load p0[i0*n3 + i1 + j*n1]
    %1: f64 = load p1[i1 + j*n1]
    %2: f64 = cast %0
    %3: f64 = add %2, %1
    store p2[i0*n3 + i1*n2 + j] = %3
    store p3[i0*n3 + i1*n2 + j] = %0
  }
}
"""
PLAIN = """\
kernel(p0: in f32, p1: in f32, p2: in f32, p3: out f32; n0, n1) over i0: n0 {
  map j: n1 {
    %0: f32 = load p0[i0 + j*n0]
    %1: f32 = load p1[i0*n1 + j]
    %2: f32 = load p2[i0]
    %3: f32 = mul %0, %1
    %4: f32 = add %3, %2
    store p3[i0*n1 + j] = %4
  }
}
"""


def made(text):
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    return kernel


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_any_number_and_length_are_transposed(mode):
    with closing(Guarded()) as fence:
        check_rows(mode, fence)


def check_rows(mode, fence):
    kernel = made(PLAIN)
    source = render(kernel)
    assert "load_strided" not in source
    assert "shared_transposed16_f32(p0" in source
    random = np.random.default_rng(3)
    shapes = [(1, 1), (16, 16), (33, 15), (15, 33), (64, 3), (7, 40), (32, 30)]
    for rows, columns in shapes[:: 1 if mode == "vector" else 3]:
        x = fence.at_end(np.dtype("f4"), rows * columns).reshape(columns, rows)
        x[:] = random.standard_normal((columns, rows))
        y = random.standard_normal((rows, columns)).astype("f4")
        b = random.standard_normal(rows).astype("f4")
        wanted = x.T * y + b[:, None]
        for cuts in ([0, rows], [0, rows // 3, rows // 2, rows]):
            found = np.zeros((rows, columns), "f4")
            for begin, end in pairwise(cuts):
                call(source, [x, y, b, found], [rows, columns], begin, end, mode=mode)
            assert_same(found, wanted, f"{rows} rows of {columns} {mode} {cuts}")


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", MODES)
def test_a_tile_ends_where_its_rows_do(mode):
    """Rows are neighbours along the last outer loop alone."""
    source, shape = render(made(MIXED)), (3, 37, 18)
    n0, n1, n2 = shape
    random = np.random.default_rng(4)
    x = random.standard_normal((n0, n2, n1)).astype("f4")
    y = random.standard_normal((n2, n1))
    sums, copy = np.zeros(shape), np.zeros(shape, "f4")
    for begin, end in pairwise([0, 5, 36, 37, 80, n0 * n1]):
        call(source, [x, y, sums, copy], [n0, n1, n2, n1 * n2], begin, end, mode=mode)
    assert_same(copy, np.ascontiguousarray(x.transpose(0, 2, 1)), mode)
    assert_same(sums, np.ascontiguousarray(x.transpose(0, 2, 1) + y.T), mode)


def test_a_group_of_rows_fills_its_tiles():
    kernel = made(PLAIN)
    for columns in (10, 1000, 100_000):
        assert kernel.grain((1000, columns)) % kernel.tile_rows == 0
    other = made(PLAIN.replace("i0 + j*n0", "i0*n1 + j"))
    assert not other.transposed
    assert other.grain((1000, 100_000)) == 1


@pytest.mark.parametrize("change", ["store p3[i0*n1 + j] = %4", "i0 + j*n0"])
def test_what_is_no_neighbour_or_is_written_is_not_transposed(change):
    other = {
        "store p3[i0*n1 + j] = %4": "store p3[i0*n1 + j] = %4\n    store p0[i0 + j*n0] = %4",
        "i0 + j*n0": "i0*n1 + j*n0",
    }[change]
    text = PLAIN.replace(change, other)
    if "store p0" in other:
        text = text.replace("p0: in", "p0: inout")
    assert not made(text).transposed


SHAPES = [(0, 3), (1, 5), (5, 1), (17, 35), (40, 16), (3, 70), (70, 3), (64, 64)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "int16", "float16"])
def test_transposed_operands_of_programs(dtype):
    x = sg.input("x", ("n", "m"), dtype)
    y = sg.input("y", ("m", "n"), dtype)
    both = sg.logical_xor(x.T, y) if dtype == "bool" else x.T * y
    f = sg.compile(sg.Graph({"copy": x.T, "both": both}))
    assert not any("load_strided" in kernel.source for kernel in f.kernels)
    random = np.random.default_rng(0)
    for n, m in SHAPES:
        at = {"x": _drawn(random, (n, m), dtype), "y": _drawn(random, (m, n), dtype)}
        found = f.run(at)
        assert_same(found["copy"], np.ascontiguousarray(at["x"].T), f"{n} {m}")
        wanted = at["x"].T ^ at["y"] if dtype == "bool" else at["x"].T * at["y"]
        assert_same(found["both"], np.ascontiguousarray(wanted), f"{n} {m}")


def _drawn(random, shape, dtype):
    return random.integers(0, 2 if dtype == "bool" else 50, shape).astype(dtype)


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_any_order_of_axes_goes_along_memory(axes):
    x = sg.input("x", ("a", "b", "c"), "float32")
    f = sg.compile(sg.Graph({"y": sg.transpose(x, axes) + 1.0}))
    (kernel,) = f.kernels
    assert "load_strided" not in kernel.source
    for shape in ((20, 18, 33), (2, 3, 5), (40, 1, 17)):
        at = np.arange(np.prod(shape), dtype="f4").reshape(shape)
        wanted = np.ascontiguousarray(np.transpose(at, axes) + np.float32(1))
        assert_same(f.run({"x": at})["y"], wanted, f"{axes} {shape}")


@pytest.mark.parametrize("step", [-1, 2, -2, 3, 4, -4, 5])
def test_elements_a_step_apart(step):
    x = sg.input("x", ("n", "m"), "float32")
    y = x[:, ::step] + 1.0
    f = sg.compile(
        sg.Graph({"y": y, "sums": sg.sum(x[:, ::step], axis=1), "g": sg.grad(y.sum(), x)})
    )
    for shape in ((3, 1), (2, 16), (3, 67), (1, 200)):
        at = np.arange(np.prod(shape), dtype="f4").reshape(shape)
        found = f.run({"x": at})
        assert_same(found["y"], np.ascontiguousarray(at[:, ::step] + np.float32(1)), f"{shape}")
        wanted = np.zeros(shape, "f4")
        wanted[:, ::step] = 1
        assert_same(found["g"], wanted, f"{shape}")
        assert_same(found["sums"], at[:, ::step].sum(1, dtype="f4"), f"{shape}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_columns_whose_rows_lie_along_memory(dtype):
    x = sg.input("x", ("n", "m"), dtype)
    few = {"most": sg.max(x.T, axis=0)} if dtype != "bool" else {"any": sg.any(x.T, axis=0)}
    graph = sg.Graph({"sums": sg.sum(x.T, axis=0), **few})
    f = sg.compile(graph)
    assert not any("load_strided" in kernel.source for kernel in f.kernels)
    random = np.random.default_rng(1)
    for n, m in ((1, 1), (5, 70), (16, 32), (40, 33), (19, 2500)):
        at = {"x": (random.standard_normal((n, m)) * 9).astype(dtype)}
        found, wanted = f.run(at), sg.evaluate(graph, at)
        for name, value in found.items():
            assert_same(np.asarray(value), np.asarray(wanted[name]), f"{name} {n} {m}")


STORED = """\
kernel(p0: in f32, p1: in f64, p2: out f64, p3: out f32; n0, n1, n2, n3) over i0: n0, i1: n1 {
  map j: n2 {
    %0: f32 = load p0[i0*n3 + i1*n2 + j]
    %1: f64 = load p1[i1 + j*n1]
    %2: f64 = cast %0
    %3: f64 = add %2, %1
    store p2[i0*n3 + i1 + j*n1] = %3
    store p3[i0*n3 + i1*n2 + j] = %0
  }
}
"""


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_across_memory_is_stored_by_squares(mode):
    """Stores across memory, along it, and a load across it: rows of any number and length."""
    shapes = [(1, 1, 1), (1, 16, 32), (1, 33, 15), (3, 5, 18), (1, 70, 5)]
    with closing(Guarded()) as fence:
        for shape in shapes[:: 1 if mode == "vector" else 2]:
            check_stores(mode, fence, shape)


def check_stores(mode, fence, shape):
    kernel = made(STORED)
    source, random = render(kernel), np.random.default_rng(5)
    assert "store_strided" not in source
    assert len(kernel.transposed_stores) == len(kernel.transposed) == 1
    n0, n1, n2 = shape
    x = random.standard_normal(shape).astype("f4")
    y = random.standard_normal((n2, n1))
    sums = fence.at_end(np.dtype("f8"), n0 * n1 * n2).reshape(n0, n2, n1)
    copy, rows = np.zeros(shape, "f4"), n0 * n1
    for begin, end in pairwise([0, rows // 3, rows // 2, rows]):
        call(source, [x, y, sums, copy], [n0, n1, n2, n1 * n2], begin, end, mode=mode)
    assert_same(copy, x, f"{shape} {mode}")
    assert_same(sums, x.transpose(0, 2, 1) + y, f"{shape} {mode}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "int16", "float16"])
def test_results_in_another_order_of_axes_are_one_kernel(dtype):
    x, y = sg.input("x", ("n", "m"), dtype), sg.input("y", ("n", "m"), dtype)
    mixed = sg.logical_xor(x, y) if dtype == "bool" else x * y
    f = sg.compile(sg.Graph({"a": mixed.T}), threads=2)
    g = sg.compile(sg.Graph({"a": mixed.T, "b": mixed, "c": mixed.T.T[::-1]}))
    h = sg.compile(sg.Graph({"both": sg.logical_xor(x.T, y.T) if dtype == "bool" else x.T + y.T}))
    assert len(f.kernels) == len(h.kernels) == 1
    assert not any("_strided" in each.source for each in (*f.kernels, *h.kernels))
    random = np.random.default_rng(0)
    for n, m in (*SHAPES, (300, 700)):
        at = {name: _drawn(random, (n, m), dtype) for name in "xy"}
        wanted = at["x"] ^ at["y"] if dtype == "bool" else at["x"] * at["y"]
        added = wanted if dtype == "bool" else at["x"] + at["y"]
        assert_same(f.run(at)["a"], np.ascontiguousarray(wanted.T), f"{n} {m}")
        assert_same(h.run(at)["both"], np.ascontiguousarray(added.T), f"{n} {m}")
        assert f.peak_bytes == 0
        found = g.run(at)
        assert_same(found["a"], np.ascontiguousarray(wanted.T), f"{n} {m}")
        assert_same(found["b"], wanted, f"{n} {m}")
        assert_same(found["c"], wanted[::-1], f"{n} {m}")


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1)])
def test_gradients_of_transposed_operands_are_one_kernel(axes):
    """The cotangent alone is transposed, and nothing is stored between; parameters are written
    so."""
    x = sg.input("x", ("a", "b", "c"), "float64")
    ct = sg.input("ct", tuple("abc"[axis] for axis in axes), "float64")
    y = sg.transpose(x, axes)
    graph = sg.Graph({"g": sg.grad((y * y * ct).sum(), x)})
    f = sg.compile(graph)
    assert len(f.kernels) == 1
    for shape in ((40, 3, 50), (1, 40, 1), (2, 0, 3), (33, 34, 35)):
        random = np.random.default_rng(1)
        at = {"x": random.standard_normal(shape)}
        at["ct"] = random.standard_normal([shape[axis] for axis in axes])
        assert_same(f.run(at)["g"], np.asarray(sg.evaluate(graph, at)["g"]), f"{shape}")
    w = sg.parameter("w", np.arange(1200.0).reshape(30, 40))
    v = sg.input("v", (40, 30), "float64")
    step = sg.compile(sg.Graph({}, updates={w: (w.T * v).T}))
    scale = np.random.default_rng(2).standard_normal((40, 30))
    wanted = w.value * scale.T
    step.run({"v": scale})
    assert_same(w.value, np.ascontiguousarray(wanted), "updated")


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_columns_of_a_transposed_operand_are_reduced(dtype):
    x = sg.input("x", ("n", "m"), dtype)
    at = {"x": np.arange(-600, 700).astype(dtype).reshape(26, 50)}
    for kind in (sg.max, sg.min, sg.sum):
        graph = sg.Graph(kind(sg.transpose(x), axis=0))
        f = sg.compile(graph)
        (found,), (wanted,) = f.run(at).values(), sg.evaluate(graph, at).values()
        assert_same(np.asarray(found), np.asarray(wanted), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_long_bodies_are_taken_together(dtype, rng):
    """Side by side, with numbers of their own and shared ones, and what is left one by one."""
    x, y = sg.input("x", ("n", "m"), dtype), sg.input("y", ("m", "n"), dtype)
    scale, bias = sg.input("scale", ("m", 1), dtype), sg.input("bias", ("n",), dtype)
    value = x.T * scale
    for _ in range(20):
        value = value * y + bias
    graph = sg.Graph({"v": value, "w": value * scale})
    f = sg.compile(graph)
    assert "whole_turn" in f.kernels[0].source
    for n, m in ((1, 40), (40, 1), (33, 66), (20, 131)):
        shapes = {"x": (n, m), "y": (m, n), "scale": (m, 1), "bias": (n,)}
        feeds = {name: rng.random(shape).astype(dtype) for name, shape in shapes.items()}
        found, wanted = f.run(feeds), sg.evaluate(graph, feeds)
        for name in ("v", "w"):
            assert_same(found[name], np.asarray(wanted[name]), f"{name} {n} {m}")
