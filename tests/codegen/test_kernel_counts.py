"""What follows from kernels of windows, products over several loops, and loops of stages: their
iterations and groups, the scratch and the seconds they take, the lookups that must fail."""

import pytest

from staticgrad.analysis.cost import Rates, step_seconds
from staticgrad.analysis.lookups import failing_checks
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.schedule import Binding, KernelStep
from tests.codegen.golden import on_file

#: No bandwidth and no start to pay for: seconds are operations.
PLAIN = Rates(product_flops=1.0, map_flops=1.0, bandwidth=1e30, launch=0.0)


def convolution_sizes(outside, high, wide):
    inside, area = 5, high * wide
    images, groups = 2, 3
    return [
        images, groups, outside, high, wide, inside, 1, -1, high, wide, inside * 9, inside * area,
        area, groups * inside * area, outside * inside * 9, groups * outside * area,
        outside * area, area,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outside", "high", "wide", "tiles"),
    [(96, 4, 8, 1), (97, 4, 8, 2), (1, 3, 11, 2), (200, 28, 28, 75), (0, 4, 4, 0)],
)
def test_a_convolution_is_cut_into_chunks_and_panels(outside, high, wide, tiles):
    kernel, sizes = on_file("convolution_with_bias"), convolution_sizes(outside, high, wide)
    assert kernel.outer == "tiles"
    assert kernel.iterations(sizes) == 2 * 3 * tiles
    assert kernel.grain(sizes) == 1


def test_a_convolution_takes_what_its_products_take():
    kernel, sizes = on_file("convolution_with_bias"), convolution_sizes(7, 4, 9)
    elements = 2 * 3 * 7 * 4 * 9
    epilogue = elements * 2
    assert step_seconds(kernel, sizes, PLAIN) == elements * 5 * 9 * 2 + epilogue


def test_a_loop_takes_its_iterations():
    kernel = on_file("running_sum")
    assert kernel.outer == "axes"
    assert kernel.iterations([4, 10, 330, 33]) == 4
    assert kernel.in_place == frozenset()
    assert step_seconds(kernel, [4, 10, 330, 33], PLAIN) == 4 * 10 * 33
    assert kernel.grain([4, 10, 330, 33]) == 16384 // 330
    assert kernel.grain([4, 10**6, 33 * 10**6, 33]) == 1


def test_scratch_of_a_loop_reaches_as_far_as_its_last_iteration():
    kernel = on_file("tridiagonal")
    assert kernel.room([2, 30, 20, 40, 29]) == {"p4": 30 * 20}
    rows = on_file("product_of_normalised_rows")
    assert rows.room([13, 37, 20, 2]) == {"p3": 8 * 37}


@pytest.mark.parametrize(("iterations", "failing"), [(0, ()), (2, ("p3",))])
def test_a_loop_without_iterations_looks_nothing_up(iterations, failing):
    kernel = parse_kernel(
        """\
kernel(p0: in f32, p1: in i64, p2: out f32, p3: check i64; n0, n1) over i0: 1 {
  loop i1: n0 {
    scalar {
      %0: i64 = load p1[i1]
      @c0: i64 = check %0 in n1 at i1 to p3
      %1: f32 = load p0[@c0]
      store p2[i1] = %1
    }
  }
}
"""
    )
    bound = [Binding(f"b{number}", 0) for number in range(4)]
    step = KernelStep.of(kernel, bound, (iterations, 0))
    assert failing_checks(step, (iterations, 0), 1) == failing
