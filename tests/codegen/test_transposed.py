"""Operands that lie across memory: read by squares, to the byte what single elements give."""

from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.backends import source_of
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from tests.compiled.ways import check, drawn
from tests.exporting.printed import run_printed
from tests.native.support import MODES, READERS, assert_same, call, source_for
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


def parse_verified(text):
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    return kernel


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_any_number_and_length_are_transposed(mode):
    with closing(Guarded()) as fence:
        check_rows(mode, fence)


def check_rows(mode, fence):
    kernel = parse_verified(PLAIN)
    source = source_of(kernel)
    assert "load_strided" not in source.text
    assert "shared_transposed16_f32(p0" in source.text
    random = np.random.default_rng(3)
    shapes = [(1, 1), (16, 16), (33, 15), (15, 33), (64, 3), (7, 40), (32, 30)]
    for rows, columns in shapes[:: 1 if mode == "vector" else 3]:
        x = fence.at_end(np.dtype("f4"), rows * columns).reshape(columns, rows)
        x[:] = random.standard_normal((columns, rows))
        y = random.standard_normal((rows, columns)).astype("f4")
        b = random.standard_normal(rows).astype("f4")
        expected = x.T * y + b[:, None]
        for cuts in ([0, rows], [0, rows // 3, rows // 2, rows]):
            actual = np.zeros((rows, columns), "f4")
            for begin, end in pairwise(cuts):
                arrays, source = [x, y, b, actual], source_for(kernel, mode)
                call(source, arrays, [rows, columns], begin, end, mode=mode)
            assert_same(actual, expected, f"{rows} rows of {columns} {mode} {cuts}")


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", READERS)
def test_a_tile_ends_where_its_rows_do(mode):
    """Rows are neighbours along the last outer loop alone."""
    kernel, shape = parse_verified(MIXED), (3, 37, 18)
    source = source_for(kernel, mode)
    n0, n1, n2 = shape
    random = np.random.default_rng(4)
    x = random.standard_normal((n0, n2, n1)).astype("f4")
    y = random.standard_normal((n2, n1))
    sums, copy = np.zeros(shape), np.zeros(shape, "f4")
    arrays, sizes = [x, y, sums, copy], [n0, n1, n2, n1 * n2]
    if mode == "file":
        names = (operand.name for operand in kernel.operands)
        memory = dict(zip(names, arrays, strict=True))
        run_printed(kernel, memory, dict(zip(kernel.arguments, sizes, strict=True)))
        cuts = []
    else:
        cuts = [0, 5, 36, 37, 80, n0 * n1]
    for begin, end in pairwise(cuts):
        call(source, arrays, sizes, begin, end, mode=mode)
    assert_same(copy, np.ascontiguousarray(x.transpose(0, 2, 1)), mode)
    assert_same(sums, np.ascontiguousarray(x.transpose(0, 2, 1) + y.T), mode)


def multiply_elements(x, y):
    return sg.logical_xor(x, y) if x.dtype.is_bool else x * y


def long_body(x, y, scale, bias):
    """Rows side by side, with numbers of their own and shared ones."""
    value = x.T * scale
    for _ in range(20):
        value = value * y + bias
    return {"v": value, "w": value * scale}


MATRIX, ROWS = ("n", "m"), ("m", "n")
DTYPES = ("float32", "float64", "bool", "int16", "float16")
#: Inputs, what is computed, dtypes, and whether nothing of it goes lane by lane.
PROGRAMS = {
    "copies": ({"x": MATRIX}, lambda x: x.T, DTYPES, True),
    "products": ({"x": MATRIX, "y": ROWS}, lambda x, y: multiply_elements(x.T, y), DTYPES, True),
    "results": ({"x": MATRIX, "y": MATRIX}, lambda x, y: multiply_elements(x, y).T, DTYPES, True),
    "both": ({"x": MATRIX, "y": MATRIX}, lambda x, y: multiply_elements(x.T, y.T), DTYPES, True),
    "all orders": (
        {"x": MATRIX, "y": MATRIX},
        lambda x, y: {"a": (p := multiply_elements(x, y)).T, "b": p, "c": p.T.T[::-1]},
        DTYPES,
        False,
    ),
    **{
        f"axes {axes}": (
            {"x": ("a", "n", "m")},
            lambda x, axes=axes: sg.transpose(x, axes) + 1.0,
            ("float32",),
            True,
        )
        for axes in ((2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1))
    },
    **{
        f"the gradient of axes {axes}": (
            {"x": ("a", "n", "m"), "ct": tuple("anm"[axis] for axis in axes)},
            lambda x, ct, axes=axes: sg.grad(((y := sg.transpose(x, axes)) * y * ct).sum(), x),
            ("float64",),
            False,
        )
        for axes in ((2, 1, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1))
    },
    **{
        f"steps of {step}": (
            {"x": MATRIX},
            lambda x, step=step: {
                "y": (y := x[:, ::step] + 1.0),
                "sums": sg.sum(x[:, ::step], axis=1),
                "slope": sg.grad(y.sum(), x),
            },
            ("float32",),
            False,
        )
        for step in (-1, 2, -2, 3, 4, -4, 5)
    },
    "sums of columns": (
        {"x": MATRIX},
        lambda x: sg.sum(x.T, axis=0),
        ("float32", "float64", "int32", "bool"),
        True,
    ),
    "largest of columns": (
        {"x": MATRIX},
        lambda x: sg.max(x.T, axis=0),
        ("float32", "float64", "int32"),
        True,
    ),
    "any of columns": ({"x": MATRIX}, lambda x: sg.any(x.T, axis=0), ("bool",), True),
    "least of columns": ({"x": MATRIX}, lambda x: sg.min(x.T, axis=0), ("float32", "int64"), True),
    "long bodies": (
        {"x": MATRIX, "y": ROWS, "scale": ("m", 1), "bias": ("n",)},
        long_body,
        ("float32", "float64"),
        False,
    ),
}
SIZES = ((0, 3), (1, 5), (5, 1), (17, 35), (40, 16), (3, 70), (70, 3), (64, 64), (19, 2500), (1, 1))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name, (_, _, dtypes, _) in PROGRAMS.items() for dtype in dtypes],
)
def test_programs_across_memory(name, dtype):
    inputs, build, _, by_squares = PROGRAMS[name]
    graph = sg.Graph(build(*(sg.input(n, shape, dtype) for n, shape in inputs.items())))
    feeds = [drawn(graph, n, a=3, n=n, m=m) for n, m in SIZES]
    if "largest" in name or "least" in name:
        feeds = feeds[1:]  # of nothing there is none
    f = check(graph, *feeds, ways=({"threads": 2},))
    if by_squares:
        assert len(f.kernels) == 1
        assert not any("_strided" in kernel.source for kernel in f.kernels)
