"""Fourier transforms with something between them."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.kinds import Values, normal, program


def rows(ops: Any, v: Values) -> Any:
    """Rows filtered in the frequency domain, beside rows that are fed."""
    size = v["x"].shape[-1]
    out = ops.fft.irfft(ops.fft.rfft(v["x"]) * v["h"], size)
    return ops.mean((out - v["y"]) ** 2)


def power(ops: Any, v: Values) -> Any:
    """The mean power of images in a band."""
    spectrum = ops.abs(ops.fft.rfft2(v["x"])) ** 2
    return ops.mean(spectrum * v["band"])


def complex_rows(ops: Any, v: Values) -> Any:
    """Complex rows through a complex filter, then their magnitudes."""
    z = v["x"] + 1j * v["y"]
    out = ops.fft.ifft(ops.fft.fft(z) * (v["a"] + 1j * v["b"]))
    return ops.mean(ops.abs(out) ** 2 * v["g"])


def images(ops: Any, v: Values) -> Any:
    """Images blurred by a transfer function, then compared."""
    size = tuple(v["x"].shape[-2:])
    out = ops.fft.irfft2(ops.fft.rfft2(v["x"]) * v["h"], size)
    return ops.mean((out - v["y"]) ** 2)


def diffusion(ops: Any, v: Values) -> Any:
    """Steps of a nonlinear equation whose linear part is solved by its spectrum."""

    def step(u: Any, c: Any) -> Any:
        return ops.fft.irfft(ops.fft.rfft(u + 0.05 * u * (1.0 - u)) * c[0], 512)

    out = ops.loop(step, v["u"], 30, (v["h"],))
    return ops.mean(out * out)


def _rows(name: str, count: int, size: int, dtype: str) -> Any:
    shapes = {"x": (count, size), "h": (size // 2 + 1,)}
    about = f"{count} rows of {size:,}"
    return program(name, about, rows, normal(shapes, {"y": (count, size)}), dtype)


_COMPLEX = {"x": (128, 1024), "y": (128, 1024), "a": (1024,), "b": (1024,)}
WORKLOADS = (
    _rows("fft_filter_f64", 64, 4096, "float64"),
    _rows("fft_filter", 64, 4096, "float32"),
    _rows("fft_filter_3000", 64, 3000, "float64"),
    program("fft_power", "8 images of 256 x 256", power,
            normal({"x": (8, 256, 256)}, {"band": (256, 129)})),
    program("fft_complex", "128 rows of 1,024, complex", complex_rows,
            normal(_COMPLEX, {"g": (128, 1024)}), "float64"),
    program("fft_blur", "16 images of 120 x 120", images,
            normal({"x": (16, 120, 120), "h": (120, 61)}, {"y": (16, 120, 120)}), "float64"),
    program("fft_steps", "30 steps of 16 x 512", diffusion,
            normal({"u": (16, 512), "h": (257,)}, scale=0.2), "float64"),
)  # fmt: skip
