"""Maps of narrow elements take whole registers of them, where nothing has an order."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.diagonals import diagonals
from tests.native.support import LONG_BY_NUMBA, assert_same

MAP = """\
kernel(p0: in {a}, p1: in {b}, p2: out {c}; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: {a} = load p0[{place}]
    %1: {b} = load p1[i0]
{lines}
  }}
}}
"""
LESS = "    %2: bool = lt %0, %1\n    store p2[i0*n1 + j] = %2"
WIDER = "    %2: i16 = cast %0\n    %3: i16 = add %2, %1\n    store p2[i0*n1 + j] = %3"
REST = "    %2: u8 = remainder %0, %1\n    store p2[i0*n1 + j] = %2"
ADD = "    %2: u8 = add %0, %1\n    store p2[i0*n1 + j] = %2"
HERE = "i0*n1 + j"


@pytest.mark.parametrize(
    ("types", "place", "lines", "lanes"),
    [
        (("u8", "u8", "bool"), HERE, LESS, 64),
        (("i16", "i16", "bool"), HERE, LESS, 32),
        (("i8", "i16", "i16"), HERE, WIDER, 32),
        (("f32", "f32", "bool"), HERE, LESS, 16),
        (("u8", "u8", "bool"), "i0*n1 + j*2", LESS, 16),  # not one behind the other
        (("u8", "u8", "bool"), "[i0 + j in n0]*n1", LESS, 16),  # ends
        (("u8", "u8", "u8"), HERE, REST, 16),  # no processor divides them
        (("u8", "u8", "u8"), HERE, f"{ADD}\n    @r0: u8 = sum %2", 16),  # an order
        (("u8", "u8", "u8"), HERE, f"{ADD}\n    @r0: u8 = max %2", 64),  # none
    ],
)
def test_lanes(types, place, lines, lanes):
    assert parse_kernel(kernel_text(types, place, lines)).lanes == lanes


def kernel_text(types, place, lines):
    a, b, c = types
    return MAP.format(a=a, b=b, c=c, place=place, lines=lines)


def test_a_wide_map_is_a_kernel():
    verify_kernel(parse_kernel(kernel_text(("u8", "u8", "bool"), HERE, LESS)))


BUILDS = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "minimum": sg.minimum,
    "less": lambda x, y: x < y,
    "where": lambda x, y: sg.where(x > y, x, y[:1]),
    "join": lambda x, y: sg.concatenate([x, y], 1),
    "shift": lambda x, y: (x ^ y) >> 1,
    "absolute": lambda x, y: sg.abs(x - y),
    "most": lambda x, y: sg.maximum(x, y).max(axis=1),
    "least": lambda x, y: sg.minimum(x, y).min(axis=1),
    "least of all": lambda x, y: (x ^ y).min(),
    "most or not": lambda x, y: y == x.max(axis=1, keepdims=True),
}


def compare(x, y, build, what):
    graph = sg.Graph(build(*(sg.input(n, a.shape, a.dtype) for n, a in (("x", x), ("y", y)))))
    (found,) = sg.compile(graph).run({"x": x, "y": y}).values()
    (wanted,) = sg.evaluate(graph, {"x": x, "y": y}).values()
    assert_same(np.asarray(found), np.asarray(wanted), what)


@pytest.mark.thinned(2)
@diagonals(2, ("dtype", ["int8", "uint16"]), ("target", ["host", "x86-64-v3"]))
def test_integers_of_every_length(dtype, target, rng):
    with sg.options(target=target):
        for name, build in BUILDS.items():
            for columns in (1, 31, 33, 63, 64, 65, 200):
                low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
                x, y = rng.integers(low, high, (2, 3, columns), dtype, endpoint=True)
                compare(x, y, build, f"{name} {columns}")


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_bools(mode, rng):
    builds = {
        "and": sg.logical_and,
        "xor": sg.logical_xor,
        "where": lambda x, y: sg.where(x, y, ~x),
        "join": BUILDS["join"],
        "any": lambda x, y: sg.any(x & y & ~y[:1], axis=1),
        "all": lambda x, y: sg.all(x | y | True, axis=1),
        "any of all": lambda x, y: sg.any(x & y),
    }
    backend = "auto" if mode == "python" else mode
    with sg.options(jit=mode != "python", backend=backend):
        for name, build in builds.items():
            for columns in (1, 63, 64, 130):
                x, y = rng.random((2, 3, columns)) < 0.5
                compare(x, y, build, f"{name} {columns}")
