"""The map of matrix products: results are compared first, cells are counted by their ratios."""

import numpy as np
import pytest

from benchmarks import gemm_map


@pytest.mark.slow
def test_cells_are_measured_by_every_library_that_is_asked():
    keys = [("float32", "tt", 3, 5, 2), ("float64", "nn", 1, 1, 1)]
    found = gemm_map.measure(keys, 1, 100.0, "staticgrad,numpy")
    assert set(found) == {"float32 tt 3 5 2 1", "float64 nn 1 1 1 1"}
    for rates in found.values():
        assert set(rates) == {"staticgrad", "numpy"}
        assert min(rates.values()) > 0


@pytest.mark.parametrize("form", gemm_map.FORMS)
@pytest.mark.parametrize("size", [4, 600])
def test_a_wrong_result_stops_the_run(form, size):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(size, size)).astype("f4") for _ in range(2))
    right = (a if form[0] == "n" else a.T) @ (b if form[1] == "n" else b.T)
    gemm_map._check("one", form, a, b, right)
    right[0, 0] += 1
    with pytest.raises(SystemExit, match="one is wrong"):
        gemm_map._check("one", form, a, b, right)


def test_the_report_counts_cells_that_fall_short():
    rates = {"staticgrad": 8.0, "numpy": 10.0, "torch": 4.0}
    found = {
        "float32 nn 64 64 64 1": rates,
        "float32 nn 64 64 256 1": {**rates, "staticgrad": 40.0},
        "float32 nn 8 64 64 1": rates,
        "float32 nt 64 64 64 2": {"staticgrad": 1.0},  # not yet measured beside the others
    }
    text = gemm_map.report(found)
    assert "| float32 | nn | 1 | 1.79 | 0.80 | 1 of 2 | 0.80 | 0.80 | 0 of 1 |" in text
    assert "- float32 nn 64 x 64 x 64, 1 threads: 0.80" in text
    assert "nt" not in text.partition("1 cells fall short")[2]


@pytest.mark.slow
def test_the_picture_is_drawn():
    pytest.importorskip("matplotlib")
    rates = {"staticgrad": 8.0, "numpy": 10.0, "torch": 4.0}
    assert gemm_map.picture({"float32 nn 64 64 64 1": rates}).startswith(b"\x89PNG")
