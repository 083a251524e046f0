"""Stores past the caches: how they are written, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import VerifyError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.storage.parameter import aligned_bytes
from tests.codegen.kernel_runs import Array, run
from tests.native.support import MODES, Mode

TEXT = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0, n1) over i0: n0 {
  map j: n1 ahead j + 512 {
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = mul %0, %0
    stream p1[i0*n1 + j] = %1
    store p2[i0*n1 + j] = %0
  }
}
"""
STORE = "stream p1[i0*n1 + j] = %1"


def test_what_is_streamed_comes_nowhere_near_and_is_settled_at_the_end() -> None:
    kernel = parse_kernel(TEXT)
    verify_kernel(kernel)
    assert str(kernel) == TEXT
    assert kernel != parse_kernel(TEXT.replace("stream", "store"))
    source = render(kernel)
    assert "prefetch_write(p1" not in source
    assert "prefetch_write(p2" in source
    assert source.endswith("\n    settle()\n")
    assert "settle" not in render(parse_kernel(TEXT.replace("stream", "store")))


def aligned(count: int, first: int) -> Array:
    return aligned_bytes(4 * (count + first)).view(np.float32)[first:]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [5, 16, 40, 96])
def test_streaming_changes_nothing(length: int, mode: Mode) -> None:
    values = np.random.default_rng(3).normal(size=3 * length).astype("f")
    kernels = [parse_kernel(text) for text in (TEXT, TEXT.replace("stream", "store"))]
    for first in (0, 1):  # results begin with a line, or do not
        results = [{p: aligned(3 * length, first) for p in ("p1", "p2")} for _ in kernels]
        for kernel, given in zip(kernels, results, strict=True):
            run(kernel, (3, length), mode, {"p0": values, **given})
        assert bytes(results[0]["p1"]) == bytes(results[1]["p1"]) == bytes(values * values)


@pytest.mark.parametrize(
    "changed",
    [
        TEXT.replace(STORE, "stream p1[i0*n1 + j*n0] = %1"),
        TEXT.replace(STORE, "stream p1[i0*n1 + [j in n1]] = %1"),
        TEXT.replace(STORE, "stream p1[i0*n1 + j] += %1").replace("p1: out", "p1: inout"),
        TEXT.replace("p1: out", "p1: scratch"),
        TEXT.replace("p1: out f32", "p1: out bool").replace(
            STORE, "%2: bool = lt %0, %1\n    stream p1[i0*n1 + j] = %2"
        ),
    ],
)
def test_what_is_no_whole_vector_of_a_result_is_not_streamed(changed: str) -> None:
    verify_kernel(parse_kernel(changed.replace("stream", "store")))
    with pytest.raises(VerifyError, match="only whole vectors of results are streamed"):
        verify_kernel(parse_kernel(changed))
