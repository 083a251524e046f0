"""Results over operands: each pair that a kernel names is run so, its rows in reverse order.

What is refused, and why it has to be: a run in one buffer would give other bytes.
"""

import numpy as np
import pytest

from staticgrad.backends import source_of
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_meaning import Meaning
from tests.codegen.random_kernels import random_kernel
from tests.codegen.test_random_kernels import memory_of, sizes_of
from tests.native.support import assert_same, call

#: Random kernels that have pairs of several stages, bools over bytes among them.
SOME = (46, 86, 88)


def numbers_of(kernel, sizes, seed):
    """Memory of numbers alone: a NaN in a row would hide what is read of the others."""
    memory = memory_of(kernel, sizes, seed)
    floats = {name for name, array in memory.items() if array.dtype.kind == "f"}
    return {
        n: np.nan_to_num(a, posinf=7, neginf=-7) if n in floats else a for n, a in memory.items()
    }


def in_one_buffer(kernel, out, into, seed, sizes, step=-1):
    """All memory after a run with the result over the operand, rows one by one, and apart."""
    actual, expected = numbers_of(kernel, sizes, seed), numbers_of(kernel, sizes, seed)
    actual[out] = actual[into].view(actual[out].dtype)
    expected[out] = expected[into].copy().view(expected[out].dtype)
    Meaning(kernel, expected, sizes).run()
    words = [sizes[argument] for argument in kernel.arguments]
    shared = [actual[o.name] for o in kernel.operands if not o.is_own]
    private = [actual[o.name] for o in kernel.operands if o.is_own]
    count = int(kernel.iterations(words))
    source = source_of(kernel)
    for row in range(count)[::step]:
        call(source, shared, words, row, row + 1, private=private, mode="vector")
    return actual, expected


def check_pairs(kernel, seed, sizes):
    """Every result of a kernel keeps its bytes, whichever pair shares a buffer."""
    for out, into in sorted(kernel.in_place):
        actual, expected = in_one_buffer(kernel, out, into, seed, sizes)
        for operand in kernel.operands:
            if operand.mode == "out":
                name = operand.name
                what = f"kernel {seed} at {sizes}: {name}, {out} over {into}\n{kernel}"
                assert_same(as_numbers(actual[name]), as_numbers(expected[name]), what)


def as_numbers(array):
    return array.view("u1") if array.dtype == np.bool_ else array


def pairs_of_random(seed):
    kernel = random_kernel(seed)
    check_pairs(kernel, seed, sizes_of(kernel, seed))


@pytest.mark.parametrize("seed", SOME)
def test_a_result_over_an_operand_has_its_bytes(seed):
    assert random_kernel(seed).in_place
    pairs_of_random(seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 601))
def test_results_over_operands_of_six_hundred_kernels(seed):
    if not random_kernel(seed).in_place:
        pytest.skip("no result may have the bytes of an operand")
    pairs_of_random(seed)


PICKED = """\
kernel(p0: in f32, p1: in i64, p2: check i64, p3: out f32, p4: out f32; n0, n1) over i0: n0 {
  map j: n1 {
    %0: f32 = load p0[i0*n1 + j]
    @r0: f32 = max %0
  }
  scalar {
    %1: i64 = load p1[i0]
    @c0: i64 = check %1 in n1 at i0 to p2
    %2: f32 = load p0[i0*n1 + @c0]
    store p3[i0] = %2
  }
  map j: n1 {
    %3: f32 = load p0[i0*n1 + j]
    %4: f32 = sub %3, @r0
    store p4[i0*n1 + j] = %4
  }
}
"""


def kernel_of(text, *changes):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    return kernel


# Each breaks the rule in one place, and gives other bytes in one order of the rows or the other.
BROKEN = {
    "a pick of another row": (("[i0*n1 + @c0]", "[@c0]"),),
    "a pick from more than the row": (("check %1 in n1", "check %1 in n2"),),
    "a row that begins in the one before": (("map j: n1 {\n    %0", "map j: n2 {\n    %0"),),
    "rows of a stage that store to one element": (
        ("map j: n1 {\n    %3", "map i1: 2, j: n1 {\n    %3"),
    ),
    "a load behind the store": (
        ("@r0\n    store p4[i0*n1 + j] = %4", "@r0\n    store p4[i0*n1 + j] = %4\n  }\n"
         "  scalar {\n    %5: f32 = load p0[i0*n1]\n    store p3[i0] = %5"),
    ),
    "a neighbour in the stage of the store": (
        ("%4: f32 = sub %3, @r0", "%6: f32 = load p0[i0*n1 + [j + -1 in n1]] else f32(0.0)\n"
         "    %7: f32 = sub %3, @r0\n    %4: f32 = add %7, %6"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_would_give_other_bytes_is_no_pair(what):
    changes = BROKEN[what]
    if "behind" in what:
        changes = (("    store p3[i0] = %2\n", "    store p5[i0] = %2\n"), *changes)
        changes = (("p4: out f32;", "p4: out f32, p5: out f32;"), *changes)
    text = PICKED.replace("; n0, n1)", "; n0, n1, n2)") if "n2" in str(changes) else PICKED
    kernel = kernel_of(text, *changes)
    assert ("p4", "p0") not in kernel.in_place
    sizes = {"n0": 5, "n1": 100, "n2": 250, "n4": 1000}
    differ = False
    for seed in range(4):
        actual, expected = in_one_buffer(kernel, "p4", "p0", seed, sizes, (-1) ** seed)
        outs = [o.name for o in kernel.operands if o.mode == "out"]
        differ |= any(not np.array_equal(actual[o], expected[o], equal_nan=True) for o in outs)
    assert differ


# Updates behind products and sums, as filters' gradients have them.
BEHIND = {
    "a product of rows that are packed before": (
        """\
kernel(p0: in f32, p1: scratch f32, p2: in f32, p3: in f32, p4: out f32; n0, n1, n2, n3, n4)
 over i0: n0 {
  map i1: n1, j: n2 {
    %0: f32 = load p0[i0*n3 + i1*n2 + j]
    store p1[i1*n2 + j] = %0
  }
  gemm i: n1, j: n1, k: n2 {
    @acc: f32 = sum p2[i*n2 + k] * p1[j*n2 + k]
    %1: f32 = load p3[i0*n4 + i*n1 + j]
    %2: f32 = sub %1, @acc
    store p4[i0*n4 + i*n1 + j] = %2
  }
}
""",
        {("p4", "p3")},
    ),
    "a product that is fed": (
        """\
kernel(p0: in f32, p1: scratch f32, p2: in f32, p3: in f32, p4: out f32; n0, n1, n2, n3, n4) {
  gemm i: n1, j: n1, (i1: n0, k: n2) {
    fed {
      map i2: n1, j: n2 {
        %0: f32 = load p0[i1*n3 + i2*n2 + j]
        store p1[i2*n2 + j] = %0
      }
    }
    @acc: f32 = sum p2[i*n2 + k] * p1[j*n2 + k]
    %1: f32 = load p3[i*n1 + j]
    %2: f32 = sub %1, @acc
    store p4[i*n1 + j] = %2
  }
}
""",
        {("p4", "p3")},
    ),
    "short rows behind sums over columns": (
        """\
kernel(p0: in f32, p1: scratch f32, p2: in f32, p3: out f32; n0, n1, n2, n3) over i0: n0 {
  columns j: n1 {
    rows i1: n2 {
      %0: f32 = load p0[i0*n3 + i1*n1 + j]
      @r0: f32 = sum %0
    }
    store p1[j] = @r0
  }
  scalar {
    %1: f32 = load p1[0]
    %2: f32 = load p2[i0*2]
    %3: f32 = sub %2, %1
    store p3[i0*2] = %3
    %4: f32 = load p2[i0*2 + [1]]
    %5: f32 = sub %4, %1
    store p3[i0*2 + [1]] = %5
  }
}
""",
        {("p3", "p2")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BEHIND)
def test_an_update_behind_products_and_sums_is_in_place(what):
    text, pairs = BEHIND[what]
    kernel = kernel_of(text)
    assert kernel.in_place == pairs
    for n1, n2 in ((5, 7), (33, 18), (70, 40)):
        sizes = {"n0": 2, "n1": n1, "n2": n2, "n3": n1 * n2, "n4": 2 * n1 * max(n1, n2)}
        for seed in range(2):
            check_pairs(kernel, seed, sizes)


def test_what_feeds_a_product_is_read_until_its_end():
    text, _ = BEHIND["a product that is fed"]
    for operand in ("p0", "p2"):
        changes = (("p3: in f32, ", ""), ("load p3[", f"load {operand}["))
        assert not kernel_of(text, *changes).in_place


def test_a_load_behind_the_store_of_a_short_row_is_no_pair():
    text, _ = BEHIND["short rows behind sums over columns"]
    change = ("%4: f32 = load p2[i0*2 + [1]]", "%4: f32 = load p2[i0*2]")
    assert ("p3", "p2") not in kernel_of(text, change).in_place
