"""Complex arrays in loops: read and stacked in place, with the bytes of values part by part."""

import numpy as np
import pytest

import staticgrad as sg
from passes.loops.interleaved import take_rows
from passes.loops.whole import MergedLoops
from passes.pipelines import pipeline
from staticgrad.language.ir.verify import verify_graph

RNG = np.random.default_rng(3)
ROWS, WIDTH = 6, 5
#: Rows of the array in the tests of memory, and the elements of a row.
MANY, LONG = 64, 32


def complex_numbers(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


def square(z):
    return sg.abs_square(z).sum()


def cells(c, r):
    return c * r + sg.exp(r * 0.1), c * c * r


def scan_cells(z, c, w):
    last, ys = sg.scan(cells, c, z)
    return {"last": last, "ys": ys, "dz": sg.grad(square(last) + square(ys), z)}


def backwards(z, c, w):
    last, ys = sg.scan(lambda c, r: (c * r, c + r), c, z, reverse=True)
    return {"ys": ys, "dz": sg.grad(square(last) + square(ys), z)}


def products(z, c, w):
    last, ys = sg.scan(lambda c, r: (w @ c + r, w @ r), c, z)
    return {"ys": ys, "dw": sg.grad(square(last) + square(ys), w)}


def transforms(z, c, w):
    last, ys = sg.scan(lambda c, r: (c * 0.5 + sg.fft.fft(r), sg.fft.ifft(c)), c, z)
    return {"last": last, "ys": ys, "dz": sg.grad(square(last), z)}


def of_a_transform(z, c, w):
    last, ys = sg.scan(lambda c, r: (c * 0.5 + r, c * r), c, sg.fft.fft(z))
    return {"last": last, "ys": ys, "dz": sg.grad(square(last), z)}


def nest_scans(z, c, w):
    last, ys = sg.scan(lambda c, r: sg.scan(lambda d, q: (d * q + r, d), c, z), c, z)
    return {"last": last, "ys": ys, "dz": sg.grad(square(last), z)}


def map_rows(z, c, w):
    return {"y": sg.map(lambda r: r * r + sg.conj(r), z), "sums": sg.map(lambda r: r.sum(), z)}


def read_by_index(z, c, w):
    last = sg.fori_loop(0, ROWS, lambda i, s: s * 0.9 + z[(i * 5) % ROWS], c)
    return {"last": last, "dz": sg.grad(square(last), z), "rows": z[np.array([2, -1, 0])] * 2.0}


def whiles(z, c, w):
    return {
        "last": sg.while_loop(
            lambda s: (s[0] < ROWS) & (square(s[1]) < 1e9),
            lambda s: (s[0] + 1, s[1] * 0.9 + z[s[0]]),
            (sg.zeros((), "int64"), c),
        )[1]
    }


def recompute(z, c, w):
    loss = sg.checkpoint(lambda z: square(sg.scan(cells, c, z)[0]))(z)
    return {"dz": sg.grad(loss, z)}


PROGRAMS = {
    "scanned": scan_cells,
    "backwards": backwards,
    "products": products,
    "transforms": transforms,
    "of_a_transform": of_a_transform,
    "nested": nest_scans,
    "mapped": map_rows,
    "indexed": read_by_index,
    "whiles": whiles,
    "repeated": recompute,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_bytes_are_those_of_parts(name):
    z, c = (sg.input(n, s, "complex128") for n, s in (("z", (ROWS, WIDTH)), ("c", (WIDTH,))))
    w = sg.input("w", (WIDTH, WIDTH), "complex128")
    graph = sg.Graph(PROGRAMS[name](z, c, w), inputs=[z, c, w])
    feeds = {"z": complex_numbers(ROWS, WIDTH), "c": complex_numbers(WIDTH)}
    feeds["w"] = 0.3 * complex_numbers(WIDTH, WIDTH)
    by_columns = pipeline("dce,cse")(graph)
    by_rows, count = take_rows(by_columns)
    verify_graph(by_rows)
    assert bool(count) is (name not in ("indexed", "whiles"))  # these read rows as they are built
    assert take_rows(by_rows)[1] == 0
    expected = sg.evaluate(by_columns, feeds)
    for actual in (sg.evaluate(by_rows, feeds), sg.evaluate(MergedLoops()(by_columns), feeds)):
        assert {k: a.tobytes() for k, a in actual.items()} == {
            k: a.tobytes() for k, a in expected.items()
        }
    assert sg.same_graph(sg.parse(str(by_rows)), by_rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_loops_have_the_values_of_the_evaluator(name):
    z, c = (sg.input(n, s, "complex128") for n, s in (("z", (ROWS, WIDTH)), ("c", (WIDTH,))))
    w = sg.input("w", (WIDTH, WIDTH), "complex128")
    graph = sg.Graph(PROGRAMS[name](z, c, w), inputs=[z, c, w])
    feeds = {"z": complex_numbers(ROWS, WIDTH), "c": complex_numbers(WIDTH)}
    feeds["w"] = 0.3 * complex_numbers(WIDTH, WIDTH)
    actual, expected = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, 1e-11, 1e-11, err_msg=name)


def test_strided_parts_of_real_arrays_are_read_in_rows_and_joined():
    x = sg.input("x", (ROWS, WIDTH, 3), "float64")

    def body(c, rows):
        return c * 0.5 + rows[0] * rows[1], (c, rows[1])

    last, (a, b) = sg.scan(body, sg.zeros((WIDTH,), "float64"), (x[:, :, 0], x[:, :, 2]))
    graph = sg.Graph({"last": last, "joined": sg.stack([-a, b], 2)})
    by_rows, count = take_rows(graph)
    (loop,) = [node for node in by_rows.nodes if node.op.name == "loop"]
    assert (count, loop.op.slices, len(loop.types)) == (2, 1, 2)
    assert [value.shape for value in loop.args[1:2]] == [(ROWS, WIDTH, 3)]
    feeds = {"x": RNG.normal(size=(ROWS, WIDTH, 3))}
    actual, expected = sg.evaluate(by_rows, feeds), sg.evaluate(graph, feeds)
    assert {k: a.tobytes() for k, a in actual.items()} == {
        k: a.tobytes() for k, a in expected.items()
    }


def test_parts_of_a_value_with_other_readers_stay_apart():
    """A computed array of which a loop reads one part of three would live longer; so would two
    stacks of which one is read elsewhere."""
    x = sg.input("x", (ROWS, 3, 3), "float64")
    y = x @ x
    last, outs = sg.scan(lambda c, r: (c + r, (c, r)), sg.zeros((3,), "float64"), y[:, :, 1])
    graph = sg.Graph({"last": last, "joined": sg.stack(list(outs), 2), "again": outs[0] * 2.0})
    assert take_rows(graph) == (graph, 0)


def real_square(x):
    return (x * x).sum()


def complex_and_real(program):
    """The peaks of a program over complex numbers and over as many bytes of real ones."""
    peaks = []
    for dtype, width, total in (
        ("complex128", LONG, square), ("float64", 2 * LONG, real_square),
    ):  # fmt: skip
        z, c = sg.input("z", (MANY, width), dtype), sg.input("c", (width,), dtype)
        peaks.append(sg.compile(program(z, c, total)).plan().peak_bytes)
    return peaks


def with_gradient(z, c, total):
    last, ys = sg.scan(lambda c, r: (c * r, c * c), c, z)
    loss = total(last) + total(ys)
    return {"loss": loss, "dz": sg.grad(loss, z)}


MEMORY = {
    "scan": lambda z, c, _: sg.scan(lambda c, r: (c * 0.9 + r, None), c, z)[0],
    "reverse": lambda z, c, _: sg.scan(lambda c, r: (c * 0.9 + r, None), c, z, reverse=True)[0],
    "stacks": lambda z, c, _: sg.scan(lambda c, r: (c * 0.9 + r, c * 0.5), c, z)[1],
    "map": lambda z, c, _: sg.map(lambda r: r * r + 0.5, z),
    "indexed": lambda z, c, _: sg.fori_loop(0, MANY, lambda i, s: s + z[(i * 7) % MANY], c),
    "concat": lambda z, c, _: sg.concatenate([z, sg.input("y", z.shape, z.dtype)]),
    "gradient": with_gradient,
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_that_of_real_numbers(name):
    """But for rows of the carry, whose parts are copied when the loop begins and when it ends."""
    actual, real = complex_and_real(MEMORY[name])
    assert actual <= 1.05 * real + 4 * 8 * LONG, (actual, real)


@pytest.mark.slow
def test_a_budget_is_kept_that_is_a_share_of_the_array():
    def program(dtype, width, total):
        z, c = sg.input("z", (MANY, width), dtype), sg.input("c", (width,), dtype)
        last = sg.scan(lambda c, r: (c * c * 0.1 + r, None), c, z)[0]
        return {"loss": total(last), "dc": sg.grad(total(last), c)}

    small = sg.compile(program("complex128", LONG, square), memory_budget="30%")
    assert small.plan().peak_bytes < MANY * LONG * 16 * 0.4
    z, c = complex_numbers(MANY, LONG), complex_numbers(LONG)
    expected = sg.compile(program("complex128", LONG, square)).run({"z": z, "c": c})
    actual = small.run({"z": z, "c": c})
    assert {k: a.tobytes() for k, a in actual.items()} == {
        k: a.tobytes() for k, a in expected.items()
    }


def test_rows_of_complex_parameters_are_taken():
    values = complex_numbers(4, 3)
    p, i = sg.parameter("p", values), sg.input("i", (2,), "int64")
    actual = sg.evaluate(sg.Graph({"y": p[i] * 2.0}), {"i": np.array([3, 0])})
    np.testing.assert_array_equal(actual["y"], values[[3, 0]] * 2.0)
