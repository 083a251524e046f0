"""Elements between each other: taken together where they are neighbours, and no further."""

import numpy as np
import pytest

from staticgrad.backends import source_of
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_runs import run
from tests.helpers.diagonals import diagonals
from tests.native.support import MODES, READERS, assert_same, call, source_for
from tests.native.test_masks import Guarded


def _bracket_place(place):
    """A place that does not start behind others may be said as a stride, too: ``j:2``."""
    return f"[{place.replace(':', '*')}]" if ":" in place else f"[[{place}]]"


def moving(loads, stores):
    """A kernel that moves elements from places of p0 to places of p1, each with its own number."""
    places, targets = loads.split(), stores.split()
    lines = [f"    %{n}: f32 = load p0{_bracket_place(place)}" for n, place in enumerate(places)]
    lines += [f"    store p1{_bracket_place(to)} = %{n}" for n, to in enumerate(targets)]
    body = "\n".join(lines).replace("+", " + ")
    text = f"kernel(p0: in f32, p1: out f32; n0) {{\n  map j: n0 {{\n{body}\n  }}\n}}\n"
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    return kernel


@pytest.fixture
def fences():
    guards = Guarded(), Guarded()
    yield guards
    for guarded in guards:
        guarded.close()


@pytest.mark.thinned
@diagonals(2, ("mode", MODES), ("step", [2, 3, 5, 12, 16, 17, 30, 32]), daily="vector")
def test_rows_move_to_the_end_of_memory_and_no_further(step, mode, fences):
    places = " ".join(f"j*{step}+{k}" if k else f"j*{step}" for k in range(step))
    kernel = moving(places, places)
    assert "load_strided" not in source_of(kernel).text
    assert "store_strided" not in source_of(kernel).text
    for rows in (1, 15, 16, 17, 31):
        x, actual = (fence.at_end(np.dtype("f4"), rows * step) for fence in fences)
        x[:] = np.arange(rows * step)
        actual[:] = np.nan
        call(source_for(kernel, mode), [x, actual], [rows], 0, rows, mode=mode)
        assert_same(actual, x, f"{rows} rows of {step}")


def parts_of_rows(step, places):
    """A kernel that moves the first elements of rows of ``step``."""
    return moving(*[" ".join(f"j*{n}+{k}" for k in range(places)) for n in (step, places)])


@diagonals(2, ("mode", MODES), ("step,places", [(33, 4), (40, 35), (129, 8)]), daily="vector")
def test_parts_of_rows_far_apart(step, places, mode, fences):
    """Up to the end of memory, of which there are 1,024 elements, and of longer arrays."""
    kernel = parts_of_rows(step, places)
    for rows in (1, (1024 - places) // step + 1, 37):
        size = (rows - 1) * step + places
        x = np.empty(size, "f4") if size > 1024 else fences[0].at_end(np.dtype("f4"), size)
        actual = np.empty(rows * places, "f4")
        x[:] = np.arange(size)
        call(source_for(kernel, mode), [x, actual], [rows], 0, rows, mode=mode)
        expected = [x[row * step : row * step + places] for row in range(rows)]
        assert_same(actual, np.concatenate(expected), f"{rows} rows of {step}")


@pytest.mark.parametrize("mode", READERS)
def test_what_is_read_back_is_stored_before(mode):
    text = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0) {
  map j: n0 {
    %0: f32 = load p0[j]
    store p1[[j*2]] = %0
    store p1[[j*2 + 1]] = %0
    %1: f32 = load p1[[j*2]]
    %2: f32 = load p1[[j*2 + 1]]
    %3: f32 = add %1, %2
    store p2[j] = %3
  }
}
"""
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    x = np.arange(21, dtype="f4")
    twice, sums = np.zeros(42, "f4"), np.zeros(21, "f4")
    run(kernel, (21,), mode, {"p0": x, "p1": twice, "p2": sums})
    assert_same(twice, np.repeat(x, 2), mode)
    assert_same(sums, 2 * x, mode)
