"""Small kernels of a body run as one kernel: the same bits, errors and order."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.lowering.loops.small_steps import join_small_steps
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.ir.schedule import KernelStep

X = sg.input("x", (4,), "float32")
TABLE = sg.input("table", (5, 4), "float32")
COUNT = sg.input("count", (), "int64")


def solver(state):
    """An iteration with a look-up, a row that is written, sums, a choice and a loop inside."""
    x, rows, count = state
    row = sg.take(TABLE, count % 5, axis=0)
    slope = sg.sin(x) * row - x * 0.5
    norm = sg.sqrt((slope * slope).sum())
    steps = sg.while_loop(lambda c: c[0] > 1.0, lambda c: (c[0] * 0.5, c[1] + 1), (norm, 0))[1]
    size = sg.cond(norm > 1.0, lambda: 0.1 / norm, lambda: sg.astype(0.1 + 0.0 * norm, "float32"))
    x = x + size * slope / (1 + sg.astype(steps, "float32"))
    place = sg.arange(3)[:, None] == count % 3
    rows = sg.where(place, x[None, :], rows)
    return x, rows, count + 1


def graph(limit=7):
    start = (X, sg.zeros((3, 4), "float32"), COUNT)
    x, rows, count = sg.while_loop(lambda c: c[2] < limit, solver, start)
    return sg.Graph({"x": x, "rows": rows, "count": count})


def feeds():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=4).astype("float32"),
        "table": rng.normal(size=(5, 4)).astype("float32"),
        "count": np.array(0),
    }


def by_hand(x, table, count, limit=7):
    """The loop in float64."""
    x, rows = x.astype("float64"), np.zeros((3, 4))
    while count < limit:
        slope = np.sin(x) * table[count % 5] - x * 0.5
        norm = np.sqrt((slope**2).sum())
        steps, halved = 0, norm
        while halved > 1.0:
            steps, halved = steps + 1, halved / 2
        x = x + (0.1 / norm if norm > 1.0 else 0.1) * slope / (1 + steps)
        rows[count % 3] = x
        count += 1
    return {"x": x, "rows": rows, "count": count}


def body_of(compiled):
    (loop,) = [step for step in compiled.schedule.steps if step.bodies()]
    return loop.bodies()[-1].schedule


def test_kernels_of_a_few_numbers_are_one():
    compiled = sg.compile(graph())
    body = body_of(compiled)
    kernels = [step for step in body.steps if isinstance(step, KernelStep)]
    assert sum(bool(step.bodies()) for step in body.steps) == 1
    assert len(kernels) == 2  # in front of the loop inside and behind it
    assert join_small_steps(body) is body
    actual = compiled.run(feeds())
    for name, expected in by_hand(**feeds()).items():
        np.testing.assert_allclose(actual[name], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("backend", [pytest.param("numba", marks=pytest.mark.slow), "vector"])
def test_bits_are_those_of_single_kernels(backend):
    single = sg.compile(graph(), fuse=False, backend=backend)
    assert len(body_of(single).steps) > 12
    expected = single.run(feeds())
    actual = sg.compile(graph(), backend=backend).run(feeds())
    for name, array in expected.items():
        assert actual[name].tobytes() == array.tobytes()


def test_large_and_sized_arrays_keep_their_kernels():
    """Workers share a large one; of a size with a name nobody knows whether it is small."""
    for size in (100_000, "n"):
        x = sg.input("x", (size,), "float32")

        def iteration(state):
            x, count = state
            return sg.sin(x) * 0.5 + x, count + 1

        y, _ = sg.while_loop(lambda c: c[1] < 3, iteration, (x, sg.constant(0)))
        compiled = sg.compile(sg.Graph({"y": y}))
        assert len(body_of(compiled).steps) == 2
        array = np.linspace(0, 1, 100_000, dtype="float32")
        expected = array
        for _ in range(3):
            expected = np.sin(expected) * np.float32(0.5) + expected
        np.testing.assert_allclose(compiled.run({"x": array})["y"], expected, rtol=1e-6)


def test_an_index_out_of_range_is_an_error_of_the_first_iteration_that_has_it():
    def iteration(state):
        total, count = state
        return total + sg.take(TABLE, count, axis=0) * 2.0, count + 1

    total, _ = sg.while_loop(lambda c: c[1] < 9, iteration, (X, COUNT))
    compiled = sg.compile(sg.Graph({"total": total}))
    with pytest.raises(IndexOutOfRange, match="index 5 is out of range for an axis of size 5"):
        compiled.run(feeds())
    with pytest.raises(IndexOutOfRange, match="index 7"):
        compiled.run({**feeds(), "count": np.array(7)})


@pytest.mark.parametrize("fuse", [True, False])
def test_an_index_of_rows_without_elements_reads_nothing(fuse):
    """A loop's kernel checks an index once for all elements of a row, but not for none."""
    table, start = sg.input("table", (5, "n"), "float64"), sg.input("start", ("n",), "float64")
    index = sg.input("index", (), "int64")
    last = sg.while_loop(
        lambda s: s[1] < 3, lambda s: (s[0] * 0.5 + table[index], s[1] + 1), (start, 0)
    )[0]
    f = sg.compile(last, fuse=fuse)
    for n, row in ((0, 7), (3, 2), (0, 2)):
        feeds = {"table": np.ones((5, n)), "start": np.zeros(n), "index": np.array(row)}
        np.testing.assert_array_equal(f.run(feeds), np.full(n, 1.75))
    feeds = {"table": np.ones((5, 3)), "start": np.zeros(3), "index": np.array(7)}
    with pytest.raises(sg.errors.IndexOutOfRange):
        f.run(feeds)


@pytest.mark.parametrize("size", [40, "n"])
def test_a_padded_number_in_a_loop_is_zero_in_its_border(size):
    x = sg.input("x", (size,), "float64")
    number = sg.constant(np.array([2.5]))
    first = np.r_[2.5, np.zeros(39)]

    def front():
        return sg.pad(number, (0, x.shape[0] - 1))

    steps = {
        "sum": (lambda c, i: c * 0.5 + front(), lambda c, i: c * 0.5 + first),
        "times a sum": (
            lambda c, i: c * 0.5 + front() * c.sum(),
            lambda c, i: c * 0.5 + first * c.sum(),
        ),
        "rolled": (
            lambda c, i: sg.roll(c, 1) * 0.5 + front() * (1.0 * i),
            lambda c, i: np.roll(c, 1) * 0.5 + first * i,
        ),
    }
    for name, (step, of_numpy) in steps.items():
        expected = array = np.linspace(0, 1, 40)
        for i in range(4):
            expected = of_numpy(expected, i)
        last = sg.fori_loop(0, 4, lambda i, c, step=step: step(c, i), x)
        result = sg.compile(last).run({"x": array})
        np.testing.assert_allclose(result, expected, rtol=1e-13, err_msg=name)
