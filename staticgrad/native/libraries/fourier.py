"""The routines of Fourier transforms: kernels along one axis, and SciPy's pocketfft for the others.

Complex arrays lie as pairs of real and imaginary parts. A call of pocketfft has the interpreter's
lock but for the transform itself; what it needs of the plan and the arrays is made once for each
plan and arena. It uses as many threads as the setting ``threads`` says, and rows have the same bits
with any number of them. The work memory of a row is pocketfft's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad import native
from staticgrad.native import processors
from staticgrad.native.libraries import fourier_kernels
from staticgrad.native.libraries.routines import RoutineCode, register
from staticgrad.native.libraries.user_calls import (
    Kind,
    prepared_once,
    raised,
)
from staticgrad.support import config

#: Calls whose arrays are kept, about a kilobyte each: a loop transforms rows at as many places.
_MOST_KEPT: Final = 1024
#: Elements for each further thread: what takes as long as waking one.
_PER_THREAD: Final = 1 << 14
_COMPLEX: Final[dict[Any, Any]] = {
    np.dtype("float32"): np.dtype("complex64"),
    np.dtype("float64"): np.dtype("complex128"),
}


def prepared(
    kind: str, axes: tuple[int, ...], how: str, x: np.ndarray[Any, Any], out: np.ndarray[Any, Any]
) -> Callable[[], object]:
    """Return what transforms one array into another, both as they lie in memory."""
    from scipy.fft._pocketfft import pypocketfft

    if not out.size:
        return lambda: None
    if not x.size:
        return partial(out.fill, 0.0)
    given = x if kind == "r2c" else _whole(x)
    found = out if kind == "c2r" else _whole(out)
    threads = max(x.size, out.size) // _PER_THREAD
    if threads > 1:  # the number of processors is read of files, for as long as a short row takes
        threads = min(threads, processors.threads(config.current().threads))
    rest = (how[0] == "f", int(how[1]), found, max(threads, 1))
    if kind == "c2r":
        return partial(pypocketfft.c2r, given, axes, found.shape[axes[-1]], *rest)
    return partial(getattr(pypocketfft, kind), given, axes, *rest)


def _whole(parts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    whole: Any = parts.view(_COMPLEX[parts.dtype])
    return whole[..., 0]


def _make(rest: str) -> RoutineCode:
    """The code of a routine, whose name ``fourier_kernels.FourierCall`` describes."""
    call = fourier_kernels.FourierCall.of(rest)
    if call.size:
        return _kernel(call)
    kinds: list[Kind] = [(call.dtype, call.rank), (call.dtype, call.result_rank)]
    return prepared_once(
        kinds, lambda arrays, _: prepared(call.kind, call.axes, call.how, *arrays), _MOST_KEPT
    )


def _kernel(call: fourier_kernels.FourierCall) -> RoutineCode:
    """A kernel with the words of its plan, which lives as long as the code."""
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


register("fft", _make, raised)
