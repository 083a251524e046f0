"""Sums down columns that are read row by row, a run of memory each: the bytes of the tree."""

import numpy as np
import pytest

import staticgrad as sg
from tests.diagonals import diagonals
from tests.native.support import assert_same

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
        found, wanted = f.run(feeds), sg.evaluate(graph, feeds)
        for name in found:
            assert_same(found[name], wanted[name], f"{name} of {rows} rows")


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_whole_rows_side_by_side(kind):
    """One reduction of what is only read: chunks of columns, rows that are not eight, a rest."""
    for columns in (7, 48, 1041):
        x = sg.input("x", ("rows", columns), "float64")
        graph = sg.Graph({kind: getattr(x, kind)(axis=0)})
        f = sg.compile(graph)
        assert "for around in" in f.kernels[0].source
        for rows in (1, 9, 41, 1100):
            feeds = {"x": RNG.normal(size=(rows, columns))}
            assert_same(f.run(feeds)[kind], sg.evaluate(graph, feeds)[kind], f"{rows}, {columns}")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_positions_and_short_formulas_of_whole_rows_side_by_side(dtype):
    x = sg.input("x", ("rows", 1041), dtype)
    outputs = {"first": sg.argmax(x, axis=0), "least": (abs(x - 1) * 2 + x).min(axis=0)}
    outputs |= {"any": ((x > 9) | (x < -9)).any(axis=0), "squares": (x * x - x).sum(axis=0)}
    for name, value in outputs.items():
        graph = sg.Graph({name: value})
        f = sg.compile(graph)
        assert "for around in" in f.kernels[-1].source
        for rows in (1, 9, 41, 1100):
            array = (4 * RNG.normal(size=(rows, 1041))).astype(dtype)
            if array.dtype.kind == "f":
                array[RNG.integers(0, rows, 99), RNG.integers(0, 1041, 99)] = np.nan
            assert_same(f.run({"x": array})[name], sg.evaluate(graph, {"x": array})[name], name)


def test_sums_down_columns_as_plain_python():
    x = sg.input("x", ("rows", 40), "float32")
    graph = sg.Graph({"sum": x.sum(axis=0)})
    feeds = {"x": RNG.normal(size=(73, 40)).astype("f4")}
    with sg.options(jit=False):
        found = sg.compile(graph).run(feeds)
    assert_same(found["sum"], sg.evaluate(graph, feeds)["sum"], "sum")


def test_what_is_the_same_along_a_row_is_summed_too():
    x = sg.input("x", ("n", 1), "float64")
    spread = sg.broadcast_to(x, (x.shape[0], 300))
    graph = sg.Graph({"sum": sg.sum(spread, axis=0), "max": sg.max(spread, axis=0, initial=-9.0)})
    feeds = {"x": np.random.default_rng(0).normal(size=(70, 1))}
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    for name, array in wanted.items():
        assert_same(found[name], array, name)
