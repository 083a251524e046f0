"""Fourier transforms against NumPy: lengths, axes, norms, derivatives, batches, loops, threads."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.eager import Tensor

RNG = np.random.default_rng(5)
NORMS = (None, "backward", "ortho", "forward")
OF_REAL = ("rfft", "rfftn", "rfft2")
ONE = ("fft", "ifft", "rfft", "irfft")
SEVERAL = ("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2")


def sample(name, shape):
    x = RNG.normal(size=shape)
    return x if name in OF_REAL else x + 1j * RNG.normal(size=shape)


def compare_with_numpy(name, x, *args, **kwargs):
    expected = getattr(np.fft, name)(x, *args, **kwargs)
    z = sg.input("z", x.shape, x.dtype.name)
    actual = getattr(sg.fft, name)(z, *args, **kwargs)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(sg.evaluate(actual, {"z": x}), expected, rtol=1e-12, atol=1e-11)
    return actual, expected


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ONE),
    st.lists(st.integers(2, 7), min_size=1, max_size=3),
    st.integers(-3, 2),
    st.none() | st.integers(1, 11),
    st.sampled_from(NORMS),
)
def test_one_axis(name, shape, axis, n, norm):
    axis = axis % len(shape) - (axis < 0) * len(shape)
    compare_with_numpy(name, sample(name, shape), n, axis, norm)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(SEVERAL),
    st.permutations([0, 1, 2]),
    st.none() | st.tuples(st.integers(1, 6), st.integers(2, 6)),
    st.sampled_from(NORMS),
)
def test_several_axes(name, axes, s, norm):
    compare_with_numpy(name, sample(name, (3, 4, 5)), s=s, axes=axes[:2], norm=norm)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "fft2", "ifft2"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 5, 4), (4, 1, 6)])
def test_whole_spectra_of_real_values(name, shape):
    """Half of one is the conjugate of the other half, mirrored along all axes."""
    x = RNG.normal(size=shape)
    for axes in ((0, 1), (2, 1), (1, 2), (-1, 0)):
        compare_with_numpy(name, x, axes=axes)
    compare_with_numpy(name, x)


@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
def test_compiled_eager_and_batched(name):
    x = sample(name, (3, 4, 6))
    z = sg.input("z", ("b", 4, None), x.dtype.name)
    function = getattr(sg.fft, name)
    expected = getattr(np.fft, name)(x[0])
    f = sg.compile(sg.vmap(function)(z))
    for _ in range(3):
        np.testing.assert_allclose(f.run({"z": x})[0], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(function(Tensor(x[0])).data, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sg.function(function)(x[0]), expected, rtol=1e-12, atol=1e-12)
    single = x.astype("complex64" if x.dtype.kind == "c" else "float32")
    actual = sg.function(function)(single[0])
    assert actual.dtype == (np.complex64 if expected.dtype.kind == "c" else np.float32)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*ONE, "rfftn", "irfftn"])
@pytest.mark.parametrize("n", [None, 4, 5, 8])
@pytest.mark.parametrize("axis", [0, -1])
def test_derivatives_of_two_orders(name, n, axis):
    """<w, F x>: the gradient is F' w; of a quartic the Hessian is compared with differences."""
    x = sample(name, (5, 6))
    options = {"n": n, "axis": axis} if name in ONE else {"s": n and (n, 3), "axes": (1, 0)}

    def loss(a):
        return sg.sum(sg.abs_square(getattr(sg.fft, name)(a, **options)) ** 2)

    way = sample(name, x.shape)
    step = 1e-5
    value_of, slope = sg.function(loss), sg.grad(loss)
    expected = (value_of(x + step * way) - value_of(x - step * way)) / (2 * step)
    np.testing.assert_allclose(np.sum(slope(x) * way).real, expected, rtol=1e-6)
    np.testing.assert_allclose(sg.jvp(loss, x, way)[1], expected, rtol=1e-6)
    second = sg.jvp(slope, x, way)[1]
    expected = (slope(x + step * way) - slope(x - step * way)) / (2 * step)
    np.testing.assert_allclose(second, expected, rtol=1e-5, atol=1e-5 * np.max(abs(expected)))


def test_frequencies_and_shifts():
    x = sample("fft", (4, 5))
    for n in (1, 4, 5):
        for name in ("fftfreq", "rfftfreq"):
            actual = sg.evaluate(getattr(sg.fft, name)(n, 0.25))
            np.testing.assert_array_equal(actual, getattr(np.fft, name)(n, 0.25))
    z = sg.input("z", ("n", 5), "complex128")
    actual = sg.evaluate(sg.fft.fftfreq(z.shape[0]) * z.real[:, 0], {"z": x})
    np.testing.assert_allclose(actual, np.fft.fftfreq(4) * x.real[:, 0])
    for name in ("fftshift", "ifftshift"):
        for axes in (None, 0, (1,)):
            actual = sg.evaluate(getattr(sg.fft, name)(z, axes), {"z": x})
            np.testing.assert_array_equal(actual, getattr(np.fft, name)(x, axes))


def test_a_loop_of_split_steps():
    psi, kick = sample("fft", 32), np.exp(1j * RNG.normal(size=32))

    def step(_, p):
        return sg.fft.ifft(kick * sg.fft.fft(kick * p))

    @sg.function
    def evolve(p):
        return sg.fori_loop(0, 9, step, p)

    expected = psi
    for _ in range(9):
        expected = np.fft.ifft(kick * np.fft.fft(kick * expected))
    np.testing.assert_allclose(evolve(psi), expected, rtol=1e-11)
    # what is unitary keeps the norm, whose gradient is that of the beginning
    slope = sg.grad(lambda p: sg.sum(sg.abs_square(sg.fori_loop(0, 9, step, p))))(psi)
    np.testing.assert_allclose(slope, 2 * psi.conj(), rtol=1e-10)


def test_bits_do_not_depend_on_threads():
    x = sample("fft", (64, 1024))
    z = sg.input("z", x.shape, "complex128")
    actual = []
    for threads in (1, 4):
        with sg.options(threads=threads):
            actual.append(sg.compile(sg.fft.fft(z, axis=0)).run({"z": x}))
    np.testing.assert_array_equal(*actual)


def test_numpy_functions_and_texts():
    z = sg.input("z", (3, 4), "complex64")
    graph = sg.Graph({"y": np.fft.ifft2(np.fft.fft2(z))})
    x = sample("fft", (3, 4)).astype("complex64")
    np.testing.assert_allclose(sg.compile(graph).run({"z": x})["y"], x, atol=1e-6)
    assert sg.same_graph(sg.parse(str(graph)), graph)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda z: sg.fft.fft(z, norm="unit"), "norm='unit'"),
        (lambda z: sg.fft.fft(z, n=0), "no elements along axis -1"),
        (lambda z: sg.fft.fft(z, axis=2), "no axis 2"),
        (lambda z: sg.fft.rfft(z), "takes real values, got complex128"),
        (lambda z: sg.fft.fftn(z, s=(1, 2), axes=(0,)), "2 sizes for 1 axes"),
        (lambda z: sg.fft.rfft(z.real.astype("float16")), "not float16"),
    ],
)
def test_misuse_is_refused_at_the_line(call, words):
    with pytest.raises(sg.errors.StaticgradError, match=words) as caught:
        call(sg.input("z", (2, 3), "complex128"))
    assert caught.value.at.resolve().file == __file__


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "fftn"])
def test_an_empty_axis_is_refused_named_and_literal(name):
    with pytest.raises(sg.errors.StaticgradError):
        getattr(sg.fft, name)(np.zeros((2, 0)))
    y = getattr(sg.fft, name)(sg.input("x", (2, "n"), "float64"))
    with pytest.raises(sg.errors.SizeGuardError, match="no elements along axis"):
        sg.evaluate(y, {"x": np.zeros((2, 0))})
