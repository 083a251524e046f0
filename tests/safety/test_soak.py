"""Programs run from several threads at changing sizes, for a moment here, for minutes on demand."""

import pytest

from tests.safety.child import run_child


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize("seconds", [1, pytest.param(1200, marks=pytest.mark.exhaustive)])
def test_results_keep_their_bytes_and_nothing_grows(workers, seconds):
    out = run_child("soak", str(seconds), timeout=seconds + 300, STATICGRAD_THREADS=workers)
    assert "each with one set of bytes" in out
