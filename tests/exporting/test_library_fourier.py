"""Fourier transforms inside libraries for C: NumPy's results to rounding, at all lengths."""

import shutil

import numpy as np
import pytest

import staticgrad as sg
from tests.exporting.libraries import module_of

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
RNG = np.random.default_rng(13)


def complex_normal(*shape, dtype="complex128"):
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(dtype)


def parts(array):
    """Complex numbers as a library takes them."""
    real = np.empty((*array.shape, 2), array.real.dtype)
    real[..., 0], real[..., 1] = array.real, array.imag
    return real


#: Of feeds z (complex128), x (float64), y (float32) and w (complex64): the op, and NumPy's.
TRANSFORMS = {
    "lines": (lambda f: sg.fft.fft(f["z"]), lambda f: np.fft.fft(f["z"])),
    "columns back": (lambda f: sg.fft.ifft(f["z"], axis=0), lambda f: np.fft.ifft(f["z"], axis=0)),
    "both, orthonormal": (
        lambda f: sg.fft.fft2(f["z"], norm="ortho"), lambda f: np.fft.fft2(f["z"], norm="ortho"),
    ),
    "real": (lambda f: sg.fft.rfft(f["x"]), lambda f: np.fft.rfft(f["x"])),
    "real columns": (lambda f: sg.fft.rfft(f["x"], axis=0), lambda f: np.fft.rfft(f["x"], axis=0)),
    "real, both": (lambda f: sg.fft.rfft2(f["x"]), lambda f: np.fft.rfft2(f["x"])),
    "to real": (lambda f: sg.fft.irfft(f["z"]), lambda f: np.fft.irfft(f["z"])),
    "to real, odd": (
        lambda f: sg.fft.irfft(f["z"], f["z"].shape[1] * 2 - 1),
        lambda f: np.fft.irfft(f["z"], f["z"].shape[1] * 2 - 1),
    ),
    "to real, both": (
        lambda f: sg.fft.irfft2(f["z"], norm="forward"),
        lambda f: np.fft.irfft2(f["z"], norm="forward"),
    ),
    "float32": (lambda f: sg.fft.rfft(f["y"]), lambda f: np.fft.rfft(f["y"].astype("float64"))),
    "complex64": (
        lambda f: sg.fft.ifft2(f["w"]), lambda f: np.fft.ifft2(f["w"].astype("complex128")),
    ),
}  # fmt: skip
FEEDS = {"z": "complex128", "x": "float64", "y": "float32", "w": "complex64"}
SHAPES = [(4, 8), (5, 6), (2, 2), (7, 12), (3, 97), (37, 64), (2, 1009), (31, 30), (3, 2187)]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    shape = (sg.dim("n", min=1), sg.dim("m", min=2))
    inputs = {name: sg.input(name, shape, dtype) for name, dtype in FEEDS.items()}
    outputs = {name: op(inputs) for name, (op, _) in TRANSFORMS.items()}
    f = sg.compile(sg.Graph(outputs))
    return module_of(f, tmp_path_factory.mktemp("fourier")).Program()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_transforms_are_those_of_numpy(shape, program):
    feeds = {}
    for name, dtype in FEEDS.items():
        drawn = complex_normal(*shape)
        feeds[name] = drawn.astype(dtype) if dtype[0] == "c" else drawn.real.astype(dtype)
    actual = program.run({n: parts(a) if a.dtype.kind == "c" else a for n, a in feeds.items()})
    for name, (_, expected) in TRANSFORMS.items():
        want, result = expected(feeds), actual[name]
        result = result[..., 0] + 1j * result[..., 1] if want.dtype.kind == "c" else result
        error = np.abs(result - want).max() / np.abs(want).max()
        assert error < 8 * np.finfo(actual[name].dtype).eps, name


def test_of_equal_numbers_there_is_one_frequency(program):
    feeds = {n: np.ones((1, 12), d) for n, d in FEEDS.items()}
    actual = program.run({n: parts(a) if a.dtype.kind == "c" else a for n, a in feeds.items()})
    assert actual["lines"][0, 0].tolist() == [12.0, 0.0]
    assert np.abs(actual["lines"][0, 1:]).max() < 1e-15


def test_gradients_and_loops_go_through_transforms(tmp_path):
    x, h = sg.input("x", ("t", 16), "float64"), sg.parameter("h", RNG.normal(size=9))

    def step(carry, row):
        spectrum = sg.fft.rfft(row + carry)
        return (sg.fft.irfft(spectrum * h, 16),) * 2

    last, _ = sg.scan(step, sg.zeros((16,), "float64"), x)
    loss = (last * last).sum()
    f = sg.compile(sg.Graph({"loss": loss}, updates={h: h - 0.01 * sg.grad(loss, h)}))
    program = module_of(f, tmp_path).Program()
    for rows in (3, 1, 4):
        feeds = {"x": 0.3 * RNG.normal(size=(rows, 16))}
        actual, want = program.run(feeds)["loss"], f.run(feeds)["loss"]
        np.testing.assert_allclose(actual, want, rtol=1e-13)
        np.testing.assert_allclose(program.parameters["h"], h.value, rtol=1e-12)


def test_transforms_by_kernels_are_computed_once_on_several_threads(tmp_path):
    x = sg.input("x", ("rows", 64), "float64")
    spectrum = sg.fft.rfft(x)
    y = sg.fft.irfft(spectrum * 2.0, 64) + sg.fft.ifft(sg.fft.fft(x, axis=1), axis=1).real
    f = sg.compile(sg.Graph({"y": y}), threads=2)
    names = [step.routine.name for step in f.schedule.steps if hasattr(step, "routine")]
    assert [name.rpartition(".")[2] for name in names] == ["rows"] * 3
    program = module_of(f, tmp_path).Program()
    for rows in (1, 40):
        feeds = {"x": RNG.normal(size=(rows, 64))}
        for _ in range(3):
            np.testing.assert_allclose(program.run(feeds)["y"], 3 * feeds["x"], atol=1e-13)
