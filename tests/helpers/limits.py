"""The limits of floats, of those too that NumPy does not know."""

import numpy as np

from staticgrad.language.types.dtype import ALL_DTYPES, BF16

#: The dtypes that NumPy has.
NUMPY_DTYPES = tuple(dtype for dtype in ALL_DTYPES if dtype is not BF16)


def finfo(dtype):
    """``np.finfo``, or that of the package that has the dtype."""
    numpy_dtype = np.dtype(dtype)
    if numpy_dtype.kind != "V":
        return np.finfo(numpy_dtype)
    import ml_dtypes

    return ml_dtypes.finfo(numpy_dtype)
