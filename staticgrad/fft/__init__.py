"""Discrete Fourier, cosine and sine transforms, in the names of ``np.fft`` and ``scipy.fft``.

Public as ``sg.fft``; NumPy's functions of these names take values, too. Inside of the compiled step
kernels compute them where the sizes have no prime factors above 5, and SciPy's pocketfft elsewhere,
along any axes, in single or double precision. They are linear, so that derivatives of any order are
transforms again.

    >>> x = sg.input("x", (4,), "float64")
    >>> sg.evaluate(sg.fft.fft(x), {"x": [1.0, 2.0, 3.0, 4.0]})
    array([10.+0.j, -2.+2.j, -2.+0.j, -2.-2.j])
"""

from __future__ import annotations

import numpy as np

from staticgrad.extend import namespace, present, register_functions
from staticgrad.fft.cosines import (
    dct as dct,
    dctn as dctn,
    dst as dst,
    dstn as dstn,
    idct as idct,
    idctn as idctn,
    idst as idst,
    idstn as idstn,
)
from staticgrad.fft.fourier import (
    Norm as Norm,
    fft as fft,
    fft2 as fft2,
    fftfreq as fftfreq,
    fftn as fftn,
    fftshift as fftshift,
    ifft as ifft,
    ifft2 as ifft2,
    ifftn as ifftn,
    ifftshift as ifftshift,
    irfft as irfft,
    irfft2 as irfft2,
    irfftn as irfftn,
    rfft as rfft,
    rfft2 as rfft2,
    rfftfreq as rfftfreq,
    rfftn as rfftn,
)

__all__ = [
    "dct", "dctn", "dst", "dstn", "fft", "fft2", "fftfreq", "fftn", "fftshift", "idct", "idctn",
    "idst", "idstn", "ifft", "ifft2", "ifftn", "ifftshift", "irfft", "irfft2", "irfftn", "rfft",
    "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip


namespace(globals(), operands=present)
register_functions("fft", {name: globals()[name] for name in __all__ if hasattr(np.fft, name)})
