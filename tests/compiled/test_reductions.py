"""Running totals along every axis, in every form of their kernels: the bytes of the definition."""

import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.kernels.stages import Loop, Map, Scalar
from tests.helpers.diagonals import diagonals
from tests.native.support import assert_same

#: Shape (names are sizes), axis, and the stages of the kernel: one inside of a loop in brackets.
FORMS = [
    (("n", 10), 1, [Map]),
    ((40, 13, 3), 1, [Map]),
    (("n", 32), 1, [Loop, Scalar]),
    ((7, 10), 1, [Loop, Scalar]),
    ((50,), 0, [Loop, Scalar]),
    (("n",), 0, [Loop, Scalar]),
    ((9, 50, 5), 1, [Loop, Scalar]),
    (("n", 40), 0, [Loop, Map]),
    ((3, "n", 5, 9), 1, [Loop, Map]),
    ((3, 1, 20), 1, [Loop, Map]),
    ((20, 1), 1, [Map]),
]
#: For sizes that have names.
COUNTS = (0, 1, 2, 9, 33)


def numbers(shape, dtype, seed):
    random = np.random.default_rng(seed)
    array = random.integers(-9, 9, shape).astype(dtype)
    if dtype.startswith("float"):
        strange = random.choice([-0.0, np.inf, np.nan, 0.1], shape).astype(dtype)
        array = np.where(random.integers(0, 40, shape) == 0, strange, array * array.dtype.type(0.3))
    return array


def totals(x, y, axis):
    results = {"sum": sg.cumsum(x, axis, dtype=x.dtype), "prod": sg.cumprod(x, axis, dtype=x.dtype)}
    return results | {"linear": sg.linear_scan(x, y, axis)}


@pytest.mark.thinned
@diagonals(2, ("shape,axis,stages", FORMS), ("dtype", ["float32", "float64", "int64", "uint8"]))
def test_every_form(shape, axis, stages, dtype):
    x, y = sg.input("x", shape, dtype), sg.input("y", shape, dtype)
    graph = sg.Graph(totals(x, y, axis))
    compiled = sg.compile(graph)
    named = any(isinstance(size, str) for size in shape)
    for count in COUNTS if named else (0,):
        sizes = tuple(count if isinstance(size, str) else size for size in shape)
        feeds = {"x": numbers(sizes, dtype, 1), "y": numbers(sizes, dtype, 2)}
        actual, expected = compiled.run(feeds), sg.evaluate(graph, feeds)
        for name in expected:
            assert same_bytes(np.asarray(actual[name]), np.asarray(expected[name])), name
    if dtype == "float32":
        for step in compiled.schedule.steps:
            (stage,) = step.kernel.stages
            inner = list(stage.stages) if isinstance(stage, Loop) else []
            assert [type(part) for part in (stage, *inner)] == stages


RNG = np.random.default_rng(0)


@pytest.mark.thinned
@diagonals(
    2, ("columns", [64, 127, 128, 256, 300, 513]), ("dtype", ["float32", "float64", "int32"])
)
def test_sums_down_columns(columns, dtype):
    x = sg.input("x", ("rows", columns), dtype)
    graph = sg.Graph({
        "sum": x.sum(axis=0), "squares": (x * x).sum(axis=0), "least": x.min(axis=0),
        "lanes": (x.T * 3).sum(axis=1),
    })  # fmt: skip
    f = sg.compile(graph)
    for rows in (1, 31, 33, 700, 4100):
        feeds = {"x": (8 * RNG.normal(size=(rows, columns))).astype(dtype)}
        actual, expected = f.run(feeds), sg.evaluate(graph, feeds)
        for name in actual:
            assert_same(actual[name], expected[name], f"{name} of {rows} rows")


EIGHT_ROWS = re.compile(r"for r\d+ in range\(k\d+, v\d+, 8\):")


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_whole_rows_side_by_side(kind):
    """One reduction of what is only read: chunks of columns, rows that are not eight, a rest."""
    for columns in (200, 1041):
        x = sg.input("x", ("rows", columns), "float64")
        graph = sg.Graph({kind: getattr(x, kind)(axis=0)})
        f = sg.compile(graph)
        assert EIGHT_ROWS.search(f.kernels[0].source)
        for rows in (1, 9, 41, 1100):
            feeds = {"x": RNG.normal(size=(rows, columns))}
            assert_same(f.run(feeds)[kind], sg.evaluate(graph, feeds)[kind], f"{rows}, {columns}")


@pytest.mark.thinned
@diagonals(2, ("columns", [1, 3, 8, 37, 48, 96]), ("dtype", ["float32", "float64", "float16"]))
def test_rows_whose_accumulators_are_registers(columns, dtype):
    """Narrow rows: all columns go down together, also in an update that overwrites its operand."""
    x = sg.input("x", ("rows", columns), dtype)
    w = sg.parameter("w", np.arange(columns).astype(dtype))
    for kind in ("sum", "max"):
        down = getattr(x, kind)(axis=0)
        graph = sg.Graph({kind: down}, updates={w: w - down})
        f = sg.compile(graph, threads=2)
        for rows in (1, 7, 33, 2100):
            feeds = {"x": (8 * RNG.normal(size=(rows, columns))).astype(dtype)}
            expected, old = sg.evaluate(graph, feeds), np.array(w.value)
            assert_same(f.run(feeds)[kind], expected[kind], f"{kind} of {rows} rows")
            assert_same(np.array(w.value), old - expected[kind], f"update by {rows} rows")
