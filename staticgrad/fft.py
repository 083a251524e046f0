"""``sg.fft``: the module ``staticgrad.language.functions.fft``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import fft as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.fft import (
        dct as dct, dctn as dctn, dst as dst, dstn as dstn, fft as fft, fft2 as fft2, fftfreq as
        fftfreq, fftn as fftn, fftshift as fftshift, idct as idct, idctn as idctn, idst as idst,
        idstn as idstn, ifft as ifft, ifft2 as ifft2, ifftn as ifftn, ifftshift as ifftshift, irfft
        as irfft, irfft2 as irfft2, irfftn as irfftn, rfft as rfft, rfft2 as rfft2, rfftfreq as
        rfftfreq, rfftn as rfftn
    )

sys.modules[__name__] = _module
