"""Loops that end by a test, in one kernel, beside the driver's iterations and the evaluator."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange, NonFiniteError
from staticgrad.ir.kernels.stages import Loop, nested
from staticgrad.preparation import loops
from tests.diagonals import diagonals


def root():
    """Newton's method, the number of steps, and the gradient by a number that it ends with."""
    a = sg.input("a", (), "float64")
    last, iterations = sg.while_loop(
        lambda c: abs(c[0] * c[0] - a) > 1e-12,
        lambda c: ((c[0] + a / c[0]) * 0.5, c[1] + 1),
        (sg.asarray(3.0), 0),
    )
    return {"last": last, "iterations": iterations}, {"a": np.array(2.0)}


def bounded():
    """No more iterations than ``most``; a derivative of as many; integers and truths."""
    x = sg.input("x", (3,), "float64")
    v, odd, k = sg.while_loop(
        lambda c: c[0].sum() < 100.0,
        lambda c: (c[0] * 1.5 + x, ~c[1], c[2] * 3 % 7),
        (x, True, 1),
        max_steps=11,
    )
    return {"v": v, "odd": odd, "k": k, "dx": sg.grad(v.sum(), x)}, {"x": np.full(3, 0.01)}


def undefined_behind_the_end():
    """A root of a number below 0, and a division by zero, in the iteration that is not made."""
    x = sg.input("x", (), "float64")
    v, k = sg.while_loop(
        lambda c: c[0] > 0.5, lambda c: (sg.sqrt(c[0] - 0.5), 12 // (c[1] - 1)), (x, 4)
    )
    return {"v": v, "k": k}, {"x": np.array(0.9)}


def by_number():
    """Nested loops, and the number of the iteration that ``fori_loop`` counts inside."""
    x = sg.input("x", (2,), "float32")

    def body(carry):
        inner = sg.fori_loop(0, 3, lambda i, s: s * 0.5 + x * i, carry[0])
        return inner, carry[1] + 1

    v, k = sg.while_loop(lambda c: c[1] < 21, body, (x, 0))
    return {"v": v, "k": k}, {"x": np.array([0.3, 0.7], np.float32)}


def never():
    """No iteration at all."""
    x = sg.input("x", (), "float64")
    v = sg.while_loop(lambda v: v > 5.0, lambda v: v - 1.0, x)
    return {"v": v}, {"x": np.array(3.0)}


def vectors():
    """Carries of several lanes, a test of all of them, and an invariant that iterations read."""
    a, b = sg.input("a", (5, 5), "float32"), sg.input("b", (5,), "float32")

    def body(carry):
        x, r, p, rs = carry
        ap = a @ p
        step = rs / (p * ap).sum()
        r2 = r - step * ap
        rs2 = (r2 * r2).sum()
        return x + step * p, r2, r2 + (rs2 / rs) * p, rs2

    first = (b * 0.0, b, b, (b * b).sum())
    x, *_ = sg.while_loop(lambda c: c[3] > 1e-3, body, first, max_steps=30)
    rng = np.random.default_rng(3)
    m = rng.normal(size=(5, 5)).astype(np.float32)
    return {"x": x}, {"a": m @ m.T + np.eye(5, dtype=np.float32), "b": m[0].copy()}


def rows():
    """Rows that stay vectors: of two lengths and dtypes, some exchanged, some read backwards."""
    x, y = sg.input("x", ("n",), "float32"), sg.input("y", (3, "n"), "float64")
    w = sg.input("w", ("n",), "float32")

    def body(carry):
        k, x, y, old = carry
        tops = sg.astype((y - y.max(axis=1, keepdims=True)).sum(axis=0), "float32")
        new = x[::-1] * 0.5 + sg.tanh(w + 0.1 * tops) / (1.0 + (x * x).sum())
        return k + 1, sg.where(new > 0, new, old), y * 0.5 + sg.astype(k, "float64"), x

    first = (0, x, y, sg.zeros((x.shape[0],), "float32"))
    k, last, *others = sg.while_loop(
        lambda c: sg.logical_and(c[0] < 17, abs(c[2]).max() < 20.0), body, first
    )
    rng = np.random.default_rng(5)
    feeds = {"x": rng.normal(size=70), "y": rng.normal(size=(3, 70)), "w": rng.normal(size=70)}
    feeds = {name: each if name == "y" else each.astype("f4") for name, each in feeds.items()}
    return {"k": k, "last": last, "y": others[0], "old": others[1]}, feeds


PROGRAMS = {
    each.__name__: each
    for each in (root, bounded, undefined_behind_the_end, by_number, never, vectors, rows)
}


def in_one_kernel(f):
    """Whether a kernel has a loop that ends by a test."""
    every = (stage for kernel in f.schedule.kernels for stage, _ in nested(kernel.stages))
    return any(isinstance(stage, Loop) and stage.going for stage in every)


@pytest.mark.slow
@diagonals(2, ("name", PROGRAMS), ("most", [2, 4096]))
def test_iterations_in_a_kernel_have_the_bytes_of_single_ones(name, most, monkeypatch):
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    monkeypatch.setattr(loops, "_MOST", most)
    f = sg.compile(graph)
    assert in_one_kernel(f)
    found, wanted = f.run(feeds), sg.evaluate(graph, feeds)
    for key, array in found.items():
        np.testing.assert_allclose(array, wanted[key], rtol=1e-5, err_msg=key)
        assert np.isfinite(array).all()
    for way in ({"fuse": False}, {"debug": True}, {"debug": "nan"}, {"threads": 2}):
        other = sg.compile(graph, **way).run(feeds)
        assert all(same_bytes(other[key], array) for key, array in found.items())
    with sg.options(jit=False):
        other = sg.compile(graph).run(feeds)
        assert all(same_bytes(other[key], array) for key, array in found.items())


def test_iterations_that_are_not_made_check_no_index():
    x, n = sg.input("x", (5,), "float64"), sg.input("n", (), "int64")
    _, total = sg.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + x[c[0]]), (0, 0.0))
    f = sg.compile({"total": total})
    assert in_one_kernel(f)
    for count in (0, 3, 5):
        found = f.run({"x": np.arange(5.0), "n": np.array(count)})
        assert found["total"] == sum(range(count))
    with pytest.raises(IndexOutOfRange, match="index 5"):
        f.run({"x": np.arange(5.0), "n": np.array(6)})


def test_an_index_that_fails_ends_a_loop_without_an_end():
    x = sg.input("x", (5,), "float64")
    f = sg.compile({"n": sg.while_loop(lambda k: x[k] < 2.5, lambda k: k + 1, 0)})
    assert not in_one_kernel(f)
    assert f.run({"x": np.arange(5.0)})["n"] == 3
    with pytest.raises(IndexOutOfRange):
        f.run({"x": np.zeros(5)})


def test_a_not_a_number_is_told_by_its_iteration():
    x = sg.input("x", (), "float64")
    y = sg.while_loop(lambda c: c[1] < 9, lambda c: (sg.log(c[0]), c[1] + 1), (x, 0))[0]
    with pytest.raises(NonFiniteError, match="in iteration 3, log"):
        sg.compile(y, debug="nan").run({"x": np.array(5.0)})


@pytest.mark.parametrize(("length", "joined"), [(2000, True), (400_000, False)])
def test_iterations_that_workers_share_are_single(length, joined):
    x = sg.input("x", (length,), "float64")
    f = sg.compile(sg.while_loop(lambda v: v.max() < 50.0, lambda v: v * 1.5 + 1.0, x))
    assert in_one_kernel(f) == joined
    np.testing.assert_array_equal(f.run({"x": np.full(length, 40.0)}), np.full(length, 61.0))


@pytest.mark.thinned(3)
@diagonals(
    2, ("iterations,most", [(1, 6), (5, 2), (5, None), (3, 0)]), ("dtype", ["float32", "float64"])
)
def test_a_loop_inside_of_a_loop_ends_by_its_own_test(dtype, iterations, most):
    """Limits come from the outer iteration, so that inner loops make other numbers of iterations,
    or none."""
    x = sg.input("x", (3,), dtype)

    def outer(i, v):
        limit = (i + 1) % 3
        inner = sg.while_loop(
            lambda c: c[0] < limit,
            lambda c: (c[0] + 1, sg.tanh(c[1] * 0.7 + x)),
            (0, v),
            **({} if most is None else {"max_steps": most}),
        )
        return inner[1] * 1.5 + inner[0]

    graph = sg.Graph({"out": sg.fori_loop(0, iterations, outer, x * 0.3)})
    f = sg.compile(graph)
    feeds = {"x": np.array([0.3, -0.8, 1.1], dtype)}
    found = f.run(feeds)["out"]
    np.testing.assert_allclose(found, sg.evaluate(graph, feeds)["out"], rtol=1e-5)
    assert same_bytes(sg.compile(graph, fuse=False).run(feeds)["out"], found)
