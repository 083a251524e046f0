"""Deep and wide graphs: no recursion anywhere. How time grows is shown by benchmarks/scaling.py."""

import sys

import numpy as np
import pytest

from benchmarks.compile_time.scaling import deep, everything, fan, wide


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
@pytest.mark.parametrize(
    "make", [deep, *(pytest.param(m, marks=pytest.mark.exhaustive) for m in (wide, fan))]
)
def test_no_stage_recurses(make):
    """With a recursion limit that a chain of 300 nodes would break at once."""
    limit = sys.getrecursionlimit()
    depth = len(__import__("inspect").stack())
    sys.setrecursionlimit(depth + 250)
    try:
        _, results = everything(make, 300)
    finally:
        sys.setrecursionlimit(limit)
    assert results["same"] == [True] * 3
    for name, array in results["wanted"].items():
        np.testing.assert_allclose(results["found"][name], array, rtol=1e-5, atol=1e-5)
