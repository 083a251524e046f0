"""Products and convolutions of 8-bit integers: words of four, with the sums of NumPy's integers."""

from itertools import product

import numpy as np
import pytest

import staticgrad as sg

RANDOM = np.random.default_rng(0)
SIGNS = [*product(("uint8", "int8"), repeat=2)]


def numbers(dtype, shape):
    """Integers of 8 bits, many of which are the largest and the least."""
    ends = np.iinfo(dtype)
    choices = [*range(ends.min, ends.max + 1), *[ends.min, ends.max] * 64]
    return RANDOM.choice(choices, shape).astype(dtype)


def compile_and_run(build, arrays, constants, **options):
    """Compile ``build`` of wide copies of arrays, some of which are constants; return it and its
    result."""
    leaves = [
        sg.constant(array) if constant else sg.input(f"x{k}", array.shape, array.dtype.name)
        for k, (array, constant) in enumerate(zip(arrays, constants, strict=True))
    ]
    y = build(*[sg.astype(leaf, "int32") for leaf in leaves])
    f = sg.compile(sg.Graph({"y": y}), **options)
    feeds = {f"x{k}": a for k, a in enumerate(arrays) if not constants[k]}
    return f, f.run(feeds)["y"]


def multiplies_words(f):
    return any("dot4_u8_i8" in kernel.source for kernel in f.kernels)


@pytest.mark.parametrize("constants", [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize(("m", "k", "n"), [(5, 7, 9), (33, 130, 17), (3, 4, 2), (40, 33, 70)])
def test_products_equal_those_of_numpy(signs, constants, m, k, n):
    a, b = numbers(signs[0], (m, k)), numbers(signs[1], (k, n))
    f, y = compile_and_run(sg.matmul, (a, b), constants)
    assert multiplies_words(f)
    np.testing.assert_array_equal(y, a.astype("i8") @ b.astype("i8"))


@pytest.mark.parametrize("signs", SIGNS)
def test_transposed_factors(signs):
    a, b = numbers(signs[0], (3, 9, 6)), numbers(signs[1], (3, 5, 9))
    f, y = compile_and_run(lambda x, w: x.swapaxes(1, 2) @ w.swapaxes(1, 2), (a, b), (False, False))
    assert multiplies_words(f)
    np.testing.assert_array_equal(y, a.swapaxes(1, 2).astype("i8") @ b.swapaxes(1, 2).astype("i8"))


def convolve(x, w, stride, padding):
    """A convolution by loops over results, in int64."""
    x = np.pad(x.astype("i8"), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    w, size = w.astype("i8"), w.shape[2]
    counts = [(extent - size) // stride + 1 for extent in x.shape[2:]]
    y = np.zeros((len(x), len(w), *counts), "i8")
    for i, j in np.ndindex(*counts):
        at = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
        y[:, :, i, j] = np.tensordot(at, w, ((1, 2, 3), (1, 2, 3)))
    return y


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize(
    ("shape", "filters", "stride", "padding"),
    [
        ((2, 8, 9, 9), (16, 8, 3, 3), 1, 1),
        ((1, 3, 12, 12), (8, 3, 3, 3), 2, 1),
        ((2, 16, 7, 7), (5, 16, 1, 1), 1, 0),
        ((1, 6, 10, 10), (5, 6, 5, 5), 2, 2),
        ((1, 256, 2, 2), (160, 256, 3, 3), 1, 1),  # whose windows are rows, or columns
        ((9, 256, 2, 2), (160, 256, 3, 3), 1, 1),
    ],
)
def test_convolutions_equal_loops(shape, filters, stride, padding, signs, constant):
    x, w = numbers(signs[0], shape), numbers(signs[1], filters)
    f, y = compile_and_run(
        lambda x, w: sg.nn.conv(x, w, stride=stride, padding=padding), (x, w), (False, constant)
    )
    assert multiplies_words(f)
    np.testing.assert_array_equal(y, convolve(x, w, stride, padding))


def test_constants_that_fit_into_8_bits():
    """A wide constant counts by its elements; one that does not fit is multiplied as it is."""
    a, b = numbers("uint8", (6, 12)), RANDOM.integers(-128, 128, (12, 5)).astype("i4")
    for array, has_words in ((b, True), (b + np.int32(256), False)):
        x = sg.input("x", a.shape, "uint8")
        f = sg.compile(sg.Graph({"y": sg.astype(x, "int32") @ sg.constant(array)}))
        assert multiplies_words(f) == has_words
        np.testing.assert_array_equal(f.run({"x": a})["y"], a.astype("i8") @ array)


def test_words_of_constants_are_made_once():
    """No kernel of a run widens a constant matrix, or puts it into words."""
    a, b = numbers("uint8", (6, 128)), numbers("int8", (128, 64))
    f, _ = compile_and_run(sg.matmul, (a, b), (False, True))
    elements = [buffer.size for buffer in f.schedule.buffers if buffer.role == "temp"]
    assert all(size < b.size // 4 for size in elements)


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("backend", ["vector", "numba"])
def test_ways_of_running_agree(jit, backend):
    a, b = numbers("int8", (3, 9)), numbers("int8", (9, 4))
    with sg.options(jit=jit):
        _, y = compile_and_run(sg.matmul, (a, b), (False, True), backend=backend)
    np.testing.assert_array_equal(y, a.astype("i8") @ b.astype("i8"))


def test_sums_wrap():
    """140,000 products of 255 and -128 take 33 bits."""
    a, b = np.full((2, 140_000), 255, "u1"), np.full((140_000, 3), -128, "i1")
    _, y = compile_and_run(sg.matmul, (a, b), (False, False))
    np.testing.assert_array_equal(y, (a.astype("i8") @ b.astype("i8")).astype("i4"))
