"""The routines of Fourier transforms: kernels along one axis, and ``scipy.fft`` for the others.

Complex arrays are stored as pairs of real and imaginary parts. A call of SciPy holds the
interpreter's lock except during the transform itself. Its arguments are made once for each plan and
arena. It uses as many threads as the setting ``threads`` says, and rows have the same bits with any
number of them. SciPy allocates its own work memory: a buffer per row, and the result of a transform
from or to real numbers, which is copied into the arena.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad import native
from staticgrad.native.libraries import fourier_kernels
from staticgrad.native.libraries.routines import RoutineCode, register
from staticgrad.native.libraries.user_calls import (
    Kind,
    prepared_once,
    take_error,
)
from staticgrad.native.system import processors
from staticgrad.support import config

#: Calls whose arrays are kept, about a kilobyte each: a loop transforms rows at as many places.
_MOST_KEPT: Final = 1024
#: Elements for each further thread: what takes as long as waking one.
_PER_THREAD: Final = 1 << 14
_COMPLEX: Final[dict[Any, Any]] = {
    np.dtype("float32"): np.dtype("complex64"),
    np.dtype("float64"): np.dtype("complex128"),
}


def prepare_transform(
    kind: str, axes: tuple[int, ...], how: str, x: np.ndarray[Any, Any], out: np.ndarray[Any, Any]
) -> Callable[[], object]:
    """Return a call of ``scipy.fft`` that transforms one array in memory into another."""
    if not out.size:
        return lambda: None
    if not x.size:
        return partial(out.fill, 0.0)
    source = x if kind == "r2c" else _as_complex(x)
    result = out if kind == "c2r" else _as_complex(out)
    workers = max(x.size, out.size) // _PER_THREAD
    if workers > 1:  # the number of processors is read of files, for as long as a short row takes
        workers = min(workers, processors.threads(config.current().threads))
    scipy_call = partial(
        _scipy_function(kind, how[0] == "f"),
        s=[result.shape[axis] for axis in axes] if kind == "c2r" else None,
        axes=axes,
        norm=_norm(how),
        workers=max(workers, 1),
    )
    if kind == "c2c":
        return partial(_transform_in_place, scipy_call, source, result)
    return lambda: np.copyto(result, scipy_call(source))


def _scipy_function(kind: str, is_forward: bool) -> Callable[..., Any]:
    """Return SciPy's function for a kind of Fourier transform and the sign of its exponent."""
    from scipy import fft

    forward, backward = {
        "c2c": (fft.fftn, fft.ifftn),
        "r2c": (fft.rfftn, fft.ihfftn),
        "c2r": (fft.hfftn, fft.irfftn),
    }[kind]
    function: Callable[..., Any] = forward if is_forward else backward
    return function


def _norm(how: str) -> str:
    """Return SciPy's name of a scale: 0 is 1, 1 is 1/sqrt(n), 2 is 1/n."""
    scaled, unscaled = ("forward", "backward") if how[0] == "f" else ("backward", "forward")
    return (unscaled, "ortho", scaled)[int(how[1])]


def _transform_in_place(
    scipy_call: Callable[..., Any], source: np.ndarray[Any, Any], result: np.ndarray[Any, Any]
) -> None:
    """Compute a Fourier transform in place, on a copy of ``source`` in ``result``.

    ``overwrite_x`` allows SciPy to return its argument; whether it does is up to its release.
    """
    np.copyto(result, source)
    returned = scipy_call(result, overwrite_x=True)
    if not np.may_share_memory(returned, result):
        np.copyto(result, returned)


def _as_complex(parts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return pairs of real and imaginary parts, the last axis, as complex numbers."""
    pairs: Any = parts.view(_COMPLEX[parts.dtype])
    return pairs[..., 0]


def _make_routine(spec: str) -> RoutineCode:
    """Make a Fourier transform routine, from its name (``fourier_kernels.FourierCall``)."""
    call = fourier_kernels.FourierCall.of(spec)
    if call.size:
        return _kernel(call)
    kinds: list[Kind] = [(call.dtype, call.rank), (call.dtype, call.result_rank)]
    return prepared_once(
        kinds,
        lambda arrays, _: prepare_transform(call.kind, call.axes, call.how, *arrays),
        _MOST_KEPT,
    )


def _kernel(call: fourier_kernels.FourierCall) -> RoutineCode:
    """Return the compiled kernel of a Fourier transform, with its plan; cached with the code."""
    source = fourier_kernels.source(call.kind, call.dtype, call.how[0] == "b", call.layout)
    plan = fourier_kernels.plan(call.kind, call.dtype, call.how, call.size, call.layout)
    code = native.kernel(source)
    buffer = fourier_kernels.buffer_elements(call.dtype, call.layout, plan.elements)
    words = (
        plan.words.ctypes.data,
        plan.numbers.ctypes.data,
        plan.elements,
        plan.roots,
        buffer * plan.numbers.itemsize,
    )
    return RoutineCode(code.address, words, code.python, (code, plan))


register("fft", _make_routine, take_error)
