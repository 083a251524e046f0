"""Kernels of Fourier transforms against sums in long double: sizes, layouts, bits, files."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.native.libraries.fourier_kernels import LANES, FourierCall, complex_size, layout_of

RNG = np.random.default_rng(29)
#: Sizes by the factors of their passes: each factor first, in between and last, odd ones, halves.
SIZES = (4, 5, 6, 8, 9, 12, 15, 16, 20, 24, 32, 45, 60, 64, 125, 128, 144, 200, 256, 480)
LINES = (32, 48, 80, 128, 192, 256, 384, 512)
#: Rows, or columns behind the axis: one, some that fill no vector, some that fill several.
SHAPES = {"a row": (1, 1), "rows": (11, 1), "columns": (2, 9), "a vector": (1, 8)}


def exact(x, size, sign=-1, at=slice(None)):
    """The sums along axis 1: all elements of the result, or those at some places."""
    turn = np.outer(np.arange(size), np.arange(size)[at]) % size
    angle = 8 * np.arctan(np.longdouble(1)) * np.longdouble(turn) / size
    waves = np.cos(angle) + sign * 1j * np.sin(angle)
    return np.einsum("nk,anb->akb", waves, np.asarray(x).astype(np.clongdouble))


def full_spectrum(half, size):
    """All elements of the spectrum of real values from the first half."""
    half = half.copy()
    half[:, 0] = half[:, 0].real
    if size % 2 == 0:
        half[:, -1] = half[:, -1].real
    return np.concatenate([half, half[:, 1 : (size + 1) // 2][:, ::-1].conj()], 1)


def sample(shape, dtype):
    x = RNG.normal(size=shape)
    return (x + 1j * RNG.normal(size=shape) if dtype[0] == "c" else x).astype(dtype)


def routines(f):
    return [s.routine.name for s in f.schedule.steps if hasattr(s, "routine")]


def error_of(actual, expected):
    """The largest error over the root of the mean square, in units of the last place."""
    size = np.sqrt(np.mean(np.abs(expected) ** 2))
    return float(np.max(np.abs(actual - expected)) / size) / np.finfo(actual.dtype).eps


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["fft", "ifft", "rfft", "irfft"])
def test_the_error_is_a_few_units_of_the_last_place(function, dtype, shape):
    outer, inner = SHAPES[shape]
    kind = {"rfft": "r2c", "irfft": "c2r"}.get(function, "c2c")
    of = dtype if kind == "r2c" else {"float32": "complex64", "float64": "complex128"}[dtype]
    inputs, outputs, expected = {}, {}, {}
    for size in LINES if shape == "a row" else SIZES:
        if layout_of(kind, dtype, size, outer, inner) is None:
            continue
        x = sample((outer, size // 2 + 1 if kind == "c2r" else size, inner), of)
        z = sg.input(f"x{size}", x.shape, of)
        inputs[z] = x
        outputs[f"y{size}"] = getattr(sg.fft, function)(z, size, 1)
        spectrum = full_spectrum(x.astype(np.clongdouble), size) if kind == "c2r" else x
        sums = exact(spectrum, size, -1 if function in ("fft", "rfft") else 1)
        sums = sums if function in ("fft", "rfft") else sums / size
        expected[f"y{size}"] = {"r2c": sums[:, : size // 2 + 1], "c2r": sums.real}.get(kind, sums)
    f = sg.compile(sg.Graph(outputs))
    assert all(FourierCall.of(name).size for name in routines(f))
    assert len(routines(f)) == len(outputs) > (0 if shape == "a row" else 8)
    for name, actual in f.run(inputs).items():
        assert error_of(actual, expected[name]) < 4 + np.log2(actual.shape[1]), name


def test_real_values_of_each_layout_and_the_slope_of_half_a_spectrum():
    """Ends and middles of spectra, whose imaginary parts do not count; the size divides."""
    inputs, outputs, expected = {}, {}, {}
    for layout, shape, axis in (
        ("lines", (1, 128), 1),
        ("rows", (9, 24), 1),
        ("columns", (24, 9), 0),
    ):
        size = shape[axis]
        half = tuple(size // 2 + 1 if k == axis else n for k, n in enumerate(shape))
        x, s = sample(shape, "float64"), sample(half, "complex128")
        real, spectrum = (
            sg.input(f"x {layout}", shape, "float64"),
            sg.input(f"s {layout}", half, "complex128"),
        )
        inputs |= {real: x, spectrum: s}
        back = sg.fft.irfft(spectrum, size, axis)
        outputs[f"{layout} forward"], outputs[f"{layout} back"] = sg.fft.rfft(real, axis=axis), back
        expected[f"{layout} forward"] = np.fft.rfft(x, axis=axis)
        expected[f"{layout} back"] = np.fft.irfft(s, size, axis)
        if layout == "rows":
            outputs["slope"] = sg.grad((back * real).sum(), spectrum)
            counts = np.full(half[1], 2.0)
            counts[[0, -1]] = 1.0  # an end stands for no conjugate
            expected["slope"] = np.conj(np.fft.rfft(x)) * counts / size
    f = sg.compile(sg.Graph(outputs))
    assert {FourierCall.of(name).layout for name in routines(f)} == {"lines", "rows", "columns"}
    for name, actual in f.run(inputs).items():
        np.testing.assert_allclose(actual, expected[name], rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_long_lines(dtype):
    x = sample((2, 2048), dtype)
    f = sg.compile(sg.fft.fft(sg.input("x", x.shape, dtype)))
    assert FourierCall.of(*routines(f)).layout == "lines"
    expected = exact(x[:, :, None], 2048, at=slice(5, None, 101))[..., 0]
    assert error_of(f.run({"x": x})[:, 5::101], expected) < 12


def test_a_kernel_is_chosen_by_the_factors_and_the_shape():
    assert [complex_size("c2c", n) for n in (3, 4, 7, 14, 486, 32768)] == [0, 4, 0, 0, 486, 0]
    assert [complex_size("r2c", n) for n in (7, 8, 10, 14, 32768)] == [0, 4, 5, 0, 16384]
    lanes = LANES["float64"]
    assert layout_of("c2c", "float64", 1024, 1, 1) == "lines"
    assert layout_of("c2c", "float64", 64, None, 1) == "rows"
    assert layout_of("c2c", "float64", 64, 1, lanes) == "columns"
    assert layout_of("c2c", "float64", 60, 1, 1) is None
    assert layout_of("c2c", "float64", 64, 9, 1 + lanes // 4 - 1) == "rows"
    name = "fft:c2c.float64.4.4.f0.-2.128.columns"
    assert FourierCall.of(name).name == name
    assert FourierCall.of("fft:r2c.float32.3.4.b2.-2_-1").name == "fft:r2c.float32.3.4.b2.-2_-1"


def test_several_axes_are_transformed_one_after_the_other():
    x = sample((3, 12, 40), "float64")
    f = sg.compile(sg.fft.rfft2(sg.input("x", x.shape, "float64"), norm="ortho"))
    assert [FourierCall.of(name).layout for name in routines(f)] == ["rows", "columns"]
    np.testing.assert_allclose(f.run({"x": x}), np.fft.rfft2(x, norm="ortho"), rtol=0, atol=1e-14)
    odd = sg.compile(sg.fft.fft2(sg.input("z", (3, 14, 16), "complex128")))
    assert [FourierCall.of(name).axes for name in routines(odd)] == [(-2, -1)]


def test_imaginary_parts_that_real_values_do_not_have_are_ignored():
    for shape, axis in (((1, 33), 1), ((9, 33), 1), ((33, 9), 0)):
        x = sample(shape, "complex128")
        f = sg.compile(sg.fft.irfft(sg.input("x", shape, "complex128"), 64, axis))
        np.testing.assert_allclose(f.run({"x": x}), np.fft.irfft(x, 64, axis), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("size", "axis"), [(48, 1), (48, 0), (512, 1)])
def test_bits_depend_neither_on_threads_nor_on_the_number_of_rows(size, axis):
    x = sample((37, size) if axis else (size, 37), "complex128")
    shape = ("rows", size) if axis else (size, "rows")
    actual = [sg.compile(sg.fft.fft(sg.input("x", shape, "complex128"), axis=axis), threads=n)
             for n in (1, 2)]  # fmt: skip
    expected = actual[0].run({"x": x})
    np.testing.assert_array_equal(actual[1].run({"x": x}), expected)
    for rows in (1, 6):
        some = x[:rows] if axis else np.ascontiguousarray(x[:, :rows])
        np.testing.assert_array_equal(
            actual[1].run({"x": some}), expected[:rows] if axis else expected[:, :rows]
        )


@pytest.mark.parametrize(("shape", "axis"), [((2, 64), 1), ((5, 20), 1), ((20, 5), 0)])
def test_bits_are_those_of_plain_python(shape, axis):
    x = sample(shape, "float64")
    z = sg.input("x", shape, "float64")
    spectrum = sg.fft.rfft(z, axis=axis)
    graph = sg.Graph({"s": spectrum, "y": sg.fft.irfft(spectrum * 2, shape[axis], axis)})
    expected = sg.compile(graph).run({"x": x})
    with sg.options(jit=False):
        actual = sg.compile(graph).run({"x": x})
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)
