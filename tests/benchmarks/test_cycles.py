"""The loops that ``benchmarks cycles`` finds in assembly, and the machine code that it asks for."""

import pytest

from benchmarks.machine.cycles import (
    count_cycles,
    find_hot_loop,
    innermost_loops,
    read_assembly,
    table,
)

ASSEMBLY = """
kernel:
\tmov\tx2, x0
.LBB0_1:
\tmov\tx3, x1
.LBB0_2:
\tldr\tq0, [x3]
\tfmla\tv1.4s, v0.4s, v2.4s
\tfadd\tv3.4s, v3.4s, v0.4s
\tcmp\tx3, x4
\tb.lt\t.LBB0_2
\tsubs\tx2, x2, #1
\tb.ne\t.LBB0_1
.LBB0_4:
\tldr\tq4, [x5], #16
\tmov\tv5.16b, v4.16b
\tcbnz\tx5, .LBB0_4
\tret
"""


def test_innermost_loops_are_found_with_their_vector_arithmetic():
    loops = innermost_loops(ASSEMBLY)
    assert [(len(loop.lines), loop.vector) for loop in loops] == [(5, 2), (3, 0)]
    assert find_hot_loop(loops).vector == 2


def test_a_dense_loop_is_hot_although_another_has_more_arithmetic():
    short = "\n".join([".L1:", *3 * ["\tfmla\tv1.4s, v0.4s, v2.4s"], "\tb\t.L1"])
    mixed = "\n".join([".L2:", *4 * ["\tfadd\tv1.4s, v0.4s, v2.4s", "\tldr\tq0, [x1]"], "\tb\t.L2"])
    assert find_hot_loop(innermost_loops(f"{mixed}\n{short}")).vector == 3


@pytest.mark.slow
def test_scalars_of_a_product_are_multiplied_by_lane_for_aarch64():
    """A load that fills all lanes takes a vector unit: at most one of a tile's six rows has it."""
    (kernel,) = read_assembly("neoverse-v1")["product"]
    lines = find_hot_loop(innermost_loops(kernel)).lines
    assert sum("fmla" in line for line in lines) == 24
    assert sum("ld1r" in line for line in lines) <= 1


def test_the_model_is_asked_by_the_name_of_the_program():
    (loop, _) = innermost_loops(ASSEMBLY)
    with pytest.raises(FileNotFoundError):
        count_cycles(loop, "neoverse-n1", "no-such-llvm-mca")


def test_a_table_without_processors_is_its_head():
    assert len(list(table([], "no-such-llvm-mca"))) == 2
