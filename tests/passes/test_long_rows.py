"""Few long rows are reduced in pieces, which workers share; the bytes are those of whole rows."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import VerifyError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.ir.summation import BLOCK, block_sum, lane_sum


@given(st.integers(1, 40), st.integers(1, 4 * BLOCK), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_sums_of_pieces_add_up_to_that_of_the_row(pieces, rest, doublings):
    """By the counter rule, where each piece but the last is a power of two of blocks."""
    piece = BLOCK << doublings
    row = np.random.default_rng(pieces).normal(size=(pieces - 1) * piece + min(rest, piece))
    row = row.astype("f4")
    parts = [lane_sum(row[k : k + piece]) for k in range(0, row.size, piece)]
    assert same_bytes(block_sum(np.array(parts)), lane_sum(row))


BLOCKS = """kernel(p0: in {dtype}, p1: out {dtype}; n0) {{
  map j: n0 {{
    %0: {dtype} = load p0[j]
    @r0: {dtype} = {kind} of blocks %0
  }}
  scalar {{
    store p1[0] = @r0
  }}
}}
"""


def test_only_the_order_of_a_sum_of_floats_is_of_blocks():
    text = BLOCKS.format(dtype="f32", kind="sum")
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    assert str(kernel) == text.strip() or str(kernel) == text
    assert kernel != parse_kernel(text.replace(" of blocks", ""))
    for dtype, kind in (("f32", "max"), ("i32", "sum")):
        with pytest.raises(VerifyError, match="no order of blocks"):
            verify_kernel(parse_kernel(BLOCKS.format(dtype=dtype, kind=kind)))
