"""C functions of compiled programs, called by ctypes and SciPy."""

import ctypes
import gc
import os
import threading

import numpy as np
import pytest
import scipy.integrate
import scipy.ndimage

import staticgrad as sg
from staticgrad.native.entry.words import HeadWord, ProgramWord, Status


def pointers(*arrays):
    """The addresses of arrays, which live as long."""
    addresses = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    addresses.arrays = arrays
    return addresses


def sizes(*values):
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def doubles(array):
    return np.ctypeslib.as_ctypes(array)


def plain(f):
    """The function of a signature as any language calls it: the status alone."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 4)
    return lambda *arguments: kind(f.address)(*arguments, f.user_data)


def density(size="n"):
    x = sg.input("x", (size,), "float64")
    value = -0.5 * (x * x).sum()
    return sg.compile({"value": value, "gradient": sg.grad(value, x)})


def affine():
    """A program of two named sizes and two element types, with two results."""
    a = sg.input("a", ("m", "n"), "float32")
    b = sg.input("b", ("n",), "float32")
    i = sg.input("i", (2,), "int64")
    y = a @ b
    return sg.compile(sg.Graph({"y": y, "picked": y[i]}, inputs=[a, b, i]))


def test_arrays_at_any_sizes():
    f = affine()
    assert [*f.program_graph.sizes] == ["m", "n"]
    random = np.random.default_rng(0)
    for m, n in [(3, 4), (2, 1), (3, 4), (5, 0), (64, 33), (2, 1)]:
        a, b = (random.normal(size=shape).astype("float32") for shape in [(m, n), (n,)])
        i, y, picked = np.array([1, 0]), np.empty(m, "float32"), np.empty(2, "float32")
        assert plain(f)(pointers(a, b, i), pointers(y, picked), sizes(m, n)) == Status.DONE
        np.testing.assert_allclose(y, a.astype("float64") @ b, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(picked, y[[1, 0]])


def test_statuses_and_errors():
    f = affine()
    a, b = np.ones((3, 2), "float32"), np.ones(2, "float32")
    y, picked = np.empty(3, "float32"), np.empty(2, "float32")
    results = pointers(y, picked)
    for _ in range(3):
        outside = pointers(a, b, np.array([0, 7]))
        assert plain(f)(outside, results, sizes(3, 2)) == Status.INDEX == 1
        with pytest.raises(sg.errors.IndexOutOfRange, match="index 7"):
            f.c_function().ctypes(outside, results, sizes(3, 2), f.user_data)
        inside = pointers(a, b, np.array([0, 2]))
        assert plain(f)(inside, results, sizes(3, 2)) == Status.DONE
        np.testing.assert_array_equal(y, [2, 2, 2])
        assert plain(f)(inside, pointers(y, y), sizes(3, 2)) == Status.OVERLAP == -3
        assert plain(f)(inside, pointers(a, picked), sizes(3, 2)) == Status.OVERLAP
        np.testing.assert_array_equal(a, 1)


def test_a_matrix_without_an_inverse():
    a = sg.input("a", (2, 2), "float64")
    f = sg.compile(sg.linalg.inv(a))
    out = np.empty((2, 2))
    for _ in range(5):
        assert plain(f)(pointers(np.zeros((2, 2))), pointers(out), sizes()) == Status.MATRIX == 2
        assert plain(f)(pointers(2 * np.eye(2)), pointers(out), sizes()) == Status.DONE
        np.testing.assert_allclose(out, np.eye(2) / 2)


@pytest.mark.parametrize("size", ["n", 3])
def test_a_density(size):
    f = density(size).c_function("density")
    x, gradient, value = np.array([1.0, -2.0, 0.5]), np.empty(3), np.empty(1)
    call = f.ctypes
    for _ in range(5):
        assert call(3, doubles(x), doubles(gradient), doubles(value), f.user_data) == 0
        np.testing.assert_array_equal(gradient, -x)
        assert value[0] == -0.5 * (x * x).sum()
    for number, status in ((np.nan, Status.GRADIENT), (np.inf, Status.GRADIENT), (1e200, 4)):
        strange = np.array([number, 1.0, 1.0])
        assert call(3, doubles(strange), doubles(gradient), doubles(value), f.user_data) == status
    if size == 3:
        with pytest.raises(sg.errors.FeedError, match="axis 0 of feed 'x' is 2"):
            call(2, doubles(x), doubles(gradient), doubles(value), f.user_data)


def test_a_density_whose_gradient_comes_first():
    x = sg.input("x", ("n",), "float64")
    value = (x * x).sum()
    f = sg.compile({"gradient": sg.grad(value, x), "value": value}).c_function("density")
    point, gradient, out = np.array([1.0, 2.0]), np.empty(2), np.empty(1)
    f.ctypes(2, doubles(point), doubles(gradient), doubles(out), f.user_data)
    np.testing.assert_array_equal([*gradient, *out], [2.0, 4.0, 5.0])


def test_a_map():
    x = sg.input("x", ("n",), "float64")
    f = sg.compile(sg.concatenate([x, x * 2.0])).c_function("map")
    for size in (2, 3, 2):
        point, out = np.arange(float(size)), np.empty(2 * size)
        assert f.ctypes(size, 2 * size, doubles(point), doubles(out), f.user_data) == Status.DONE
        np.testing.assert_array_equal(out, [*point, *(2 * point)])
        assert f.ctypes(size, 3, doubles(point), doubles(out), f.user_data) == Status.SIZES


def test_functions_of_scipy_call_programs():
    """The oracles are the same functions of SciPy with Python's functions."""
    x = sg.input("x", (3,), "float64")
    f = sg.compile(sg.exp(-x[0] * x[1]) * x[2]).c_function("integrand")
    low = scipy.LowLevelCallable(f.ctypes, ctypes.c_void_p(f.user_data))
    bounds = [(0, 1), (0, 2)]
    actual = scipy.integrate.nquad(low, bounds, args=(2.0,))
    expected = scipy.integrate.nquad(lambda a, b, c: np.exp(-a * b) * c, bounds, args=(2.0,))
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-13)
    n = sg.input("x", ("n",), "float64")
    g = sg.compile(sg.sqrt((n * n).mean())).c_function("filter")
    low = scipy.LowLevelCallable(g.ctypes, ctypes.c_void_p(g.user_data))
    image = np.random.default_rng(0).normal(size=(9, 7))
    np.testing.assert_allclose(
        scipy.ndimage.generic_filter(image, low, size=3),
        scipy.ndimage.generic_filter(image, lambda v: np.sqrt((v * v).mean()), size=3),
        rtol=1e-14,
    )


@pytest.mark.parametrize("name", ["density", "map", "integrand", "filter"])
def test_a_program_of_another_kind_has_no_such_function(name):
    with pytest.raises(sg.errors.ArgumentError, match="one input f64") as raised:
        affine().c_function(name)
    assert "float32 of 2 axes" in raised.value.headline
    with pytest.raises(sg.errors.ArgumentError, match="signature='nothing' is not one of"):
        affine().c_function("nothing")


def test_a_program_that_is_gone_is_a_status():
    f = density()
    call = f.c_function()
    x, value, gradient = np.ones(2), np.empty(()), np.empty(2)
    arguments = pointers(x), pointers(value, gradient), sizes(2)
    address, data = f.address, f.user_data
    plain_call = plain(f)
    assert plain_call(*arguments) == Status.DONE
    del plain_call, f
    gc.collect()
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 4)(address)
    assert function(*arguments, data) == Status.DONE  # ``call`` keeps it
    del call
    gc.collect()
    assert function(*arguments, data) == Status.GONE == -4


def test_threads_have_contexts():
    f = density()
    call = f.c_function("density")
    failed_seeds = []

    def work(seed):
        x = np.random.default_rng(seed).normal(size=30_000)
        gradient, value = np.empty_like(x), np.empty(1)
        for _ in range(100):
            call.ctypes(x.size, doubles(x), doubles(gradient), doubles(value), call.user_data)
            if not np.array_equal(gradient, -x):
                failed_seeds.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed_seeds
    assert 1 <= f._c_program._words[ProgramWord.CONTEXTS] <= 4


def test_bools_have_bytes_0_and_1():
    on = sg.input("on", (4,), "bool")
    f = sg.compile(sg.logical_not(on))
    out = np.empty(4, "bool")
    for memory in ([0, 1, 1, 0], [0, 2, 255, 1], [1, 1, 0, 0]):
        for _ in range(2):
            array = np.array(memory, "uint8")
            assert plain(f)(pointers(array), pointers(out), sizes()) == Status.DONE
            np.testing.assert_array_equal(out.view("uint8"), [int(not byte) for byte in memory])


def test_parameters_are_those_of_the_program():
    w = sg.parameter("w", np.zeros(2))
    x = sg.input("x", (2,), "float64")
    f = sg.compile(sg.Graph({"sum": w.sum()}, updates={w: w + x}, inputs=[x]))
    out = np.empty(())
    for step in range(10):
        assert plain(f)(pointers(np.ones(2)), pointers(out), sizes()) == Status.DONE
        np.testing.assert_array_equal(w.value, np.full(2, step + 1.0))
        assert out == 2.0 * step
    f.run({"x": np.ones(2)})
    np.testing.assert_array_equal(w.value, np.full(2, 11.0))


def test_with_the_jit_off_python_runs_the_calls():
    with sg.options(jit=False):
        f = density()
        call = f.c_function("density")
        x, gradient, value = np.ones(2), np.empty(2), np.empty(1)
        for _ in range(2):
            assert call.ctypes(2, doubles(x), doubles(gradient), doubles(value), f.user_data) == 0
            np.testing.assert_array_equal([*value, *gradient], [-1.0, -1.0, -1.0])


def test_signatures_are_in_the_text_of_functions():
    text = repr(density().c_function("density"))
    assert "int64_t (uint64_t n, const double *x" in text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_finds_the_contexts_free_that_other_threads_held():
    f = density(3)
    call = f.c_function("density")
    x, gradient, value = np.ones(3), np.empty(3), np.empty(1)

    def run():
        call.ctypes(3, doubles(x), doubles(gradient), doubles(value), call.user_data)
        return np.array_equal(gradient, -x)

    for _ in range(3):
        run()
    f.wait()
    run()
    (context,) = f._c_program._executors
    entry = context.native_entry
    runs = entry.runs
    entry.head[HeadWord.RUNNING] = 1  # as a thread without the interpreter lock takes it
    try:
        child = os.fork()
        if child == 0:
            is_native = run() and run() and entry.runs == runs + 2
            os._exit(0 if is_native and f._c_program._words[ProgramWord.CONTEXTS] == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        entry.head[HeadWord.RUNNING] = 0
    assert run()
