"""Convolutions of each channel apart: rows side by side, borders of known and named sizes."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes


@st.composite
def geometries(draw):
    """Images of two axes, whose windows have borders, steps and gaps."""
    taps = tuple(draw(st.sampled_from([1, 2, 3, 5, 7])) for _ in range(2))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(2))
    image = tuple(
        (k - 1) * d + draw(st.integers(1, 19)) for k, d in zip(taps, dilation, strict=True)
    )
    return {
        "image": image,
        "taps": taps,
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(2)),
        "dilation": dilation,
        "before": tuple(draw(st.integers(0, 3)) for _ in range(2)),
        "behind": tuple(draw(st.integers(0, 3)) for _ in range(2)),
    }


def program(geometry, image, dtype):
    """A depthwise convolution with what follows it, and its gradients."""
    x = sg.input("x", (2, 3, *image), dtype)
    w = sg.input("w", (3, 1, *geometry["taps"]), dtype)
    border = [*zip(geometry["before"], geometry["behind"], strict=True)]
    y = sg.nn.conv(
        x, w, stride=geometry["stride"], padding=border, dilation=geometry["dilation"], groups=3
    )
    z = sg.where(y > 0, y, 0.25 * y)
    dx, dw = sg.grad((z * z).sum(), [x, w])
    return sg.Graph({"z": z, "dx": dx, "dw": dw})


def feeds(geometry, dtype):
    rng = np.random.default_rng(3)
    shapes = {"x": (2, 3, *geometry["image"]), "w": (3, 1, *geometry["taps"])}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.slow
@given(geometries(), st.sampled_from(["float32", "float64"]))
@settings(max_examples=4)
def test_known_and_named_images_give_the_same_bytes(geometry, dtype):
    known = program(geometry, geometry["image"], dtype)
    at = feeds(geometry, dtype)
    found = sg.compile(known, threads=1).run(at)
    named = sg.compile(program(geometry, ("high", "wide"), dtype), threads=2).run(at)
    near = {"float32": 1e-4, "float64": 1e-11}[dtype]
    for name, wanted in sg.evaluate(known, at).items():
        np.testing.assert_allclose(found[name], wanted, rtol=near, atol=near)
        assert same_bytes(np.asarray(found[name]), np.asarray(named[name])), name


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 15])
def test_rows_that_fill_no_turn_are_not_stored(rows):
    x, w = sg.input("x", (1, 1, rows, 6), "float32"), sg.input("w", (1, 1, 3, 3), "float32")
    rng = np.random.default_rng(rows)
    at = {v.node.label: rng.normal(size=v.shape).astype("float32") for v in (x, w)}
    padded = np.pad(at["x"][0, 0].astype("float64"), 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    wanted = np.einsum("ijkl,kl->ij", windows, at["w"][0, 0].astype("float64"))
    found = sg.compile(sg.nn.conv(x, w, padding=1)).run(at)
    np.testing.assert_allclose(found[0, 0], wanted, rtol=1e-5, atol=1e-5)


def test_rows_side_by_side_read_each_image_row_once():
    x, w = sg.input("x", (1, 2, 16, 16), "float32"), sg.input("w", (2, 1, 3, 3), "float32")
    (kernel,) = sg.compile(sg.nn.conv(x, w, padding=1, groups=2)).kernels
    assert kernel.source.count(" = fma(") % (4 * 9) == 0  # four rows of nine taps
    body = kernel.source.count(" = load(p1, ") * 4 * 9 // kernel.source.count(" = fma(")
    assert body == 6 * 3  # of six rows of the copy, each at three places


def direct(x, w, border, step):
    """Windows of each channel times its taps, in float64."""
    wide = np.pad(x.astype("float64"), [(0, 0), (0, 0), (border, border), (border, border)])
    windows = np.lib.stride_tricks.sliding_window_view(wide, w.shape[2:], (2, 3))
    return np.einsum("ncijkl,ckl->ncij", windows[:, :, ::step], w[:, 0].astype("float64"))


@pytest.mark.parametrize(
    ("rows", "width", "taps", "step", "dtype"),
    [
        (7, 7, 7, 1, "float32"),
        (4, 8, 3, 1, "float32"),
        (6, 3, 5, 1, "float64"),
        (4, 13, 3, 1, "float32"),
        (8, 5, 5, 2, "float32"),
    ],
)
def test_small_images_are_read_where_they_lie(rows, width, taps, step, dtype):
    rng = np.random.default_rng(rows)
    at = {"x": rng.normal(size=(2, 3, rows, width)), "w": rng.normal(size=(3, 1, taps, taps))}
    at = {name: value.astype(dtype) for name, value in at.items()}
    at["w"][1, 0, 0, taps // 2] = np.inf  # times a zero of the border it is NaN
    x, w = (sg.input(name, value.shape, dtype) for name, value in at.items())
    y = sg.nn.conv(x, w, stride=(step, 1), padding=taps // 2, groups=3)
    with np.errstate(invalid="ignore"):
        wanted = direct(at["x"], at["w"], taps // 2, step)
    program = sg.compile(y, threads=2)
    np.testing.assert_allclose(program.run(at), wanted, rtol=1e-4, atol=1e-4)
    (kernel,) = program.kernels
    assert "own[" not in kernel.source  # no copy
    half = 16 // np.dtype(dtype).itemsize * 2
    assert f"mask{half}({width})" in kernel.source or width > half


def test_images_of_small_windows_are_read_where_they_lie():
    rng = np.random.default_rng(1)
    at = {"w": rng.normal(size=(3, 1, 5, 3)), "g": rng.normal(size=(2, 3, 4, 7))}
    at = {name: value.astype("float32") for name, value in at.items()}
    x, w = sg.input("x", (2, 3, 4, 7), "float32"), sg.input("w", (3, 1, 5, 3), "float32")
    g = sg.input("g", (2, 3, 4, 7), "float32")
    y = sg.nn.conv(x, w, padding=(2, 1), groups=3)
    program = sg.compile(sg.grad((y * g).sum(), x))
    transposed = at["w"][:, :, ::-1, ::-1]
    wide = np.pad(at["g"].astype("float64"), [(0, 0), (0, 0), (2, 2), (1, 1)])
    wanted = direct(wide, transposed, 0, 1)
    np.testing.assert_allclose(program.run(at), wanted, rtol=1e-4, atol=1e-4)
    assert "own[" not in program.kernels[0].source
