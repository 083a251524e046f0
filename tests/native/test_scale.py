"""The word that multiplies by a power of two, where registers have 512 bits."""

import numpy as np
import pytest

from staticgrad import native
from tests.limits import finfo
from tests.native.support import MODES, assert_same, call

SOURCE = """\
def kernel(t, own, begin, end):
    a = ptr_{code}(t[0])
    n = ptr_{code}(t[1])
    c = ptr_{code}(t[2])
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        store(c, i, scale(load(a, i, m), load(n, i, m)), m)
"""


@pytest.mark.thinned(3)
@pytest.mark.skipif(native.vector_bits() < 512, reason="registers are narrower")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_scaled_with_one_rounding(dtype, mode):
    limits = finfo(np.dtype(dtype))
    span = 2 * limits.maxexp
    a = np.random.default_rng(0).uniform(0, 2, 2 * span + 3).astype(dtype)
    a[::9], a[::17] = 0.0, np.nan
    n = np.arange(-span - 1, span + 2).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = np.ldexp(a, n.astype(np.int32))
    lanes_of = (1, 2, 4, 8, 16) if mode == "vector" else (16,)
    for lanes in lanes_of:
        c = np.empty_like(a)
        code = "f32" if dtype is np.float32 else "f64"
        call(SOURCE.format(code=code, lanes=lanes), [a, n, c], [], 0, a.size, mode=mode)
        kept = ~np.isnan(a)
        assert_same(c[kept], wanted[kept], f"{lanes} lanes")
        assert np.isnan(c[~kept & (n > -100)]).all(), lanes
