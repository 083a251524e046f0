"""What is streamed is what is stored, wherever it begins; whole vectors fit where half lines do."""

import numpy as np
import pytest

from staticgrad.native.language import frontend
from staticgrad.native.language.kinds import ELEMENTS
from staticgrad.storage.parameter import aligned_bytes
from tests.native.support import MODES, assert_same, call

SOURCE = """
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0])
    q = ptr_{name}(t[1])
    fitting = ptr_i64(t[2])
    for o in range(begin, end):
        m = mask{lanes}(t[3])
        v = load(p, 0, m)
        if fits(q, o, m):
            stream(q, o, v)
            store1(fitting, o, i64x1(1))
        else:
            store(q, o, v, m)
            store1(fitting, o, i64x1(0))
    settle()
"""


@pytest.mark.thinned(4)
@pytest.mark.parametrize(("name", "lanes"), [("f32", 16), ("f64", 8), ("f32", 8), ("i16", 16)])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_streamed_is_stored(name, lanes, mode):
    dtype = ELEMENTS[name].numpy
    source = SOURCE.format(name=name, lanes=lanes)
    memory = np.arange(1, lanes + 1).astype(dtype)
    for count in (lanes, lanes - 1, 0):
        for first in range(lanes + 1):
            block = aligned_bytes(3 * lanes * dtype.itemsize).view(dtype)
            block[:] = 0
            fitting = np.full(lanes + 1, -1, np.int64)
            call(source, [memory, block, fitting], [count], first, first + 1, mode=mode)
            wanted = np.zeros_like(block)
            wanted[first : first + count] = memory[:count]
            assert_same(block, wanted, f"{count} of {name}x{lanes} from {first}")
            assert fitting[first] == (count == lanes and first * dtype.itemsize % 32 == 0)


@pytest.mark.parametrize(
    "line",
    ["stream(q, o, v)", "stream(q, o, f64x8(0.0))", "x = fits(q, o, mask1(1))", "settle(1)"],
)
def test_what_is_no_vector_of_its_own_is_refused(line):
    source = "def kernel(t, own, begin, end):\n    q = ptr_f32(t[0])\n    o = begin\n"
    source += f"    v = f32x4(0.0)\n    {line}\n"
    with pytest.raises(TypeError):
        frontend.module_text(source, "kernel")
