"""Products of matrices: every layout, tile and register width gives the same bytes."""

import re
from itertools import pairwise, product as product_of

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.codegen.products import direct, gemm
from staticgrad.codegen.products.streams import WIDEST
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.stages import (
    CHUNK,
    LONE,
    MANY_PANELS,
    STREAMED,
    TALL,
)
from staticgrad.narrow_floats import STORED, narrowed
from staticgrad.native.language import frontend
from staticgrad.native.machine import Machine
from tests.codegen.kernel_runs import assert_close
from tests.diagonals import diagonals
from tests.native.support import LONG_BY_NUMBA, assert_same, call

RNG = np.random.default_rng(0)
#: How a factor may lie: strides over its rows and columns, from its own sizes.
LAYOUTS = {
    "along": lambda rows, columns: (columns, 1),
    "across": lambda rows, columns: (1, rows),
    "apart": lambda rows, columns: (2 * columns, 2),
    "transposed and apart": lambda rows, columns: (3, 3 * rows),
}

#: Elements by the letters of NumPy; those of bfloat16 are given by their bits.
ELEMENTS = {"f": "f32", "d": "f64", "e": "f16", "H": "bf16", "l": "i64", "h": "i16", "b": "i8"}


def product(a, b, element, update, literal=None, stored=()):
    """A batch of products, one stride of each factor literal where its layout says so.

    ``literal``: its sizes m, n and k, where they are no arguments. ``stored``: how factors lie.
    """
    first, second = stored or (element, element)
    m, n, depth = literal or ("n0", "n1", "n2")
    i, k = ("*n4", "") if a == "along" else ("", "*n5") if a == "across" else ("*n4", "*n5")
    down, j = ("*n6", "") if b == "along" else ("", "*n7") if b == "across" else ("*n6", "*n7")
    head = "inout" if update else "out"
    value = "%1" if update else "@acc"
    lines = [
        f"kernel(p0: in {first}, p1: in {second}, p2: {head} {element}; "
        "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10) over i0: n3 {",
        f"  gemm i: {m}, j: {n}, k: {depth} {{",
        f"    @acc: {element} = sum p0[i0*n8 + i{i} + k{k}] * p1[i0*n9 + k{down} + j{j}]",
    ]
    if update:
        lines.append(f"    %0: {element} = load p2[i0*n10 + i*n1 + j]")
        lines.append(f"    %1: {element} = sub %0, @acc")
    lines += [f"    store p2[i0*n10 + i*n1 + j] = {value}", "  }", "}", ""]
    return parse_kernel("\n".join(lines))


def laid(matrices, layout):
    """Memory that holds matrices in a layout, its strides and the elements of a matrix."""
    count, rows, columns = matrices.shape
    strides = LAYOUTS[layout](rows, columns)
    size = strides[0] * max(rows - 1, 0) + strides[1] * max(columns - 1, 0) + 1
    memory = np.full(count * size, 77, matrices.dtype)
    for number, matrix in enumerate(matrices):
        part = memory[number * size :]
        places = np.add.outer(np.arange(rows) * strides[0], np.arange(columns) * strides[1])
        part[places] = matrix
    return memory, strides, size


def made(a, b, layouts, mode, bits, start=None, literal=False, step=3):
    """The products by a kernel for registers of ``bits``, subtracted from ``start`` if given.

    ``step``: how many iterations a call takes, but for the first one.
    """
    (count, m, k), n = a.shape, b.shape[2]
    stored = tuple(ELEMENTS[factor.dtype.char] for factor in (a, b))
    narrow = not {"f16", "bf16"}.isdisjoint(stored)
    element, dtype = ("f32", np.dtype("f4")) if narrow else (stored[0], a.dtype)
    kernel = product(*layouts, element, start is not None, (m, n, k) if literal else None, stored)
    (p0, at, size_a), (p1, bt, size_b) = laid(a, layouts[0]), laid(b, layouts[1])
    behind = np.full((1, m, n), 77, dtype)
    found = np.concatenate([np.full((count, m, n), 77, dtype) if start is None else start, behind])
    sizes = [m, n, k, count, *at, *bt, size_a, size_b, m * n]
    total = kernel.iterations(sizes)
    assert isinstance(total, int)
    source = render(kernel, Machine(vector_bits=bits))
    cuts = sorted({0, *range(1, total, step), total})  # a call may go through several as one
    for begin, end in pairwise(cuts):
        call(source, [p0, p1, found], sizes, begin, end, mode=mode)
    assert_same(found[count:], behind, "behind the results")
    return found[:count]


SHAPES = [
    (1, 3, 3, 3),
    (1, 14, 32, 5),
    (1, 24, 33, 5),
    (2, 15, 33, 17),
    (1, 5, 70, 129),
    (1, 29, 16, 200),
]
LONG = [(1, CHUNK + 6, 65, 140), (1, 4 * CHUNK + 1, 130, 9), (3, 27, 14, 260)]


@pytest.mark.thinned(4)
@diagonals(2, ("bits", [512, 256]), ("shape", [*SHAPES, *LONG]))
def test_every_layout_gives_the_same_bytes(shape, bits):
    count, m, n, k = shape
    a = RNG.normal(size=(count, m, k)).astype("f4")
    b = RNG.normal(size=(count, k, n)).astype("f4")
    usual = made(a, b, ("along", "along"), "vector", 512)
    assert_close(usual, a.astype("f8") @ b)
    for first in LAYOUTS:
        for second in ("along", "across", "apart"):
            found = made(a, b, (first, second), "vector", bits)
            assert_same(found, usual, f"{first} @ {second}")


@diagonals(2, ("literal", [False, True]), ("bits", [512, 256]))
def test_panels_keep_their_sums_between_runs_and_blocks(bits, literal):
    """More inner indices than rows are packed of at a time, or than a block has; several panels."""
    for m, n, k in ((CHUNK + 3, 3 * 32 + 1, 1024), (4 * CHUNK + 2, 290, 520), (30, 100, 4099)):
        a, b = (RNG.integers(-9, 9, (1, *size)).astype("f4") for size in ((m, k), (k, n)))
        for layouts in (("along", "along"), ("across", "along"), ("across", "across")):
            found = made(a, b, layouts, "vector", bits, literal=literal)
            assert_same(found, a @ b, f"{m} {n} {k} {layouts}")


@pytest.mark.slow
@diagonals(2, ("letter", ["f", "d"]), ("bits", [512, 256]))
def test_rows_are_lanes_where_columns_are_few(bits, letter):
    """Last vectors reach beyond all rows, and inner indices are more than a part or one."""
    for m, n, k in (
        (40, 8, 300),
        (CHUNK + 7, 5, 9),
        (300, 1, 130),
        (65, 8, 1),
        (35, 7, 64),
        (8, 8, 600),
        (3, 5, 70),
        (16, 16, 300),
    ):
        a, b = (RNG.integers(-9, 9, (2, *size)).astype(letter) for size in ((m, k), (k, n)))
        start = RNG.integers(-9, 9, (2, m, n)).astype(letter)
        for second in ("along", "across", "apart"):
            found = made(a, b, ("across", second), "vector", bits, literal=True)
            assert_same(found, a @ b, f"{m} {n} {k} {second}")
        updated = made(a, b, ("across", "along"), "vector", bits, start, literal=True)
        assert_same(updated, start - a @ b, f"{m} {n} {k}")


@pytest.mark.slow
@pytest.mark.parametrize(("letter", "bits"), [("f", 512), ("d", 512), ("d", 256), ("l", 512)])
def test_whole_tiles_that_store_results_store_those_of_others(letter, bits):
    """Tiles of all rows that there may be, beside those that take the way of an epilogue; every
    second height for each element."""
    heights = [*range(29, 44), 64, 80, CHUNK, CHUNK + 8, 2 * CHUNK + 28]
    heights = heights[letter == "d" :: 2]
    for m, layouts in zip(heights, product_of(LAYOUTS, LAYOUTS), strict=False):
        for n in (64, 75):
            a, b = ((4 * RNG.normal(size=(2, *size))).astype(letter) for size in ((m, 50), (50, n)))
            usual = made(a, b, ("along", "along"), "vector", 512)
            found = made(a, b, layouts, "vector", bits, literal=True)
            assert_same(found, usual, f"{layouts} {m}x{n}")


@pytest.mark.parametrize("bits", [512, 256])
def test_a_last_tile_of_packed_rows_has_room(bits):
    """It is not full: what a store has too much lay beyond local memory, and ended the process."""
    a = RNG.integers(-9, 9, (1, CHUNK, 256)).astype("f4")
    b = RNG.integers(-9, 9, (1, 256, 3)).astype("f4")
    assert_same(made(a, b, ("across", "along"), "vector", bits), a @ b, "across @ along")


@pytest.mark.parametrize(("letter", "bits"), [("b", 512), ("b", 256), ("h", 512)])
def test_integers_of_few_bytes_have_room_for_packed_rows(letter, bits):
    """Rows are packed by their bytes, which are more elements of one byte than of four."""
    a = RNG.integers(-99, 99, (1, CHUNK + 6, 70)).astype(letter)
    b = RNG.integers(-99, 99, (1, 70, 40)).astype(letter)
    for layout in ("along", "across", "apart"):
        assert_same(made(a, b, (layout, "along"), "vector", bits), a @ b, layout)


@pytest.mark.parametrize(("letter", "bits"), [("f", 512), ("d", 256)])
def test_rows_across_memory_that_two_panels_read_have_the_same_bytes(letter, bits):
    """They are read where they lie while a second cache has them, and packed where it has not."""
    columns = 40 if letter == "f" else 13
    for rows, depth in ((2 * CHUNK + 9, 70), (4 * CHUNK, 600)):
        a = RNG.normal(size=(1, rows, depth)).astype(letter)
        b = RNG.normal(size=(1, depth, columns)).astype(letter)
        usual = made(a, b, ("along", "along"), "vector", 512)
        found = made(a, b, ("across", "along"), "vector", bits, literal=True)
        assert_same(found, usual, f"{rows} {depth}")


@pytest.mark.thinned
@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("letter", ["f", "d"])
def test_rows_that_go_through_blocks_of_panels_have_the_same_bytes(letter, literal, monkeypatch):
    """Also those of several chunks, from a call's first whole chunk on, and of an epilogue."""
    panel = 128 // np.dtype(letter).itemsize
    shapes = [(2, 3 * CHUNK + 7, 3 * panel, 70), (1, 5 * CHUNK, 2 * panel + 5, 600)]
    shapes += [
        (1, CHUNK + 30, 11 * panel + 1, 300),
        (2, 80, 2 * panel, 260),
        (1, 30, 2 * panel + 1, 5120),  # whose rows displace each other in a small cache
    ]
    for count, m, n, k in shapes:
        a = RNG.normal(size=(count, m, k)).astype(letter)
        b = RNG.normal(size=(count, k, n)).astype(letter)
        c = RNG.normal(size=(count, m, n)).astype(letter)
        usual = made(a, b, ("across", "along"), "vector", 512)
        with monkeypatch.context() as patch:
            patch.setattr(gemm, "FEWER", 0)
            for step, bits, other in ((8, 512, "along"), (3, 512, "across"), (5, 256, "along")):
                passed = ("along", other), "vector", bits
                found = made(a, b, *passed, None, literal, step)
                assert_same(found, usual, f"{m} {n} {k} {step}")
                assert_same(made(a, b, *passed, c, literal, step), c - usual, f"{m} {n} {k} {step}")


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layout", ["along", "across"])
@pytest.mark.parametrize("letter", ["f", "d"])
def test_tall_chunks_have_the_same_bytes(letter, layout):
    """So cut are products of many columns."""
    n = MANY_PANELS * 128 // np.dtype(letter).itemsize + 5
    for m, k in ((2 * TALL + 9, 70), (TALL, 512), (TALL + 1, 1025)):
        a = RNG.normal(size=(1, m, k)).astype(letter)
        b = RNG.normal(size=(1, k, n)).astype(letter)
        first, last = slice(40), slice(n - 40, n)
        usual = [made(a, b[..., part], (layout, "along"), "vector", 512) for part in (first, last)]
        for bits in (512, 256):
            for other in ("along", "across"):
                found = made(a, b, (layout, other), "vector", bits)
                for part, values in zip((first, last), usual, strict=True):
                    assert_same(found[..., part].copy(), values, f"{m} {k} {bits}")


@pytest.mark.parametrize(
    ("rows", "columns", "wanted"),
    [
        (4 * CHUNK + 1, 128, 20),
        (4 * CHUNK + 1, 160, 15),
        (512, 512, 16),
        (64, 512, 16),
        (2 * TALL + 1, 1024, 33),
        (2, 512, 4),
    ],
)
def test_few_iterations_take_fewer_panels(rows, columns, wanted):
    """Five of four panels would leave one of two workers waiting for a fifth of the time."""
    kernel = product("along", "along", "f32", False)
    assert kernel.iterations([rows, columns, 7, 1, *[1] * 7]) == wanted


@pytest.mark.thinned
@pytest.mark.parametrize(
    "layouts", [("along", "along"), ("across", "along"), ("apart", "across"), ("along", "across")]
)
@pytest.mark.parametrize("bits", [512, 256])
def test_streams_of_rows_have_the_bytes_of_tiles(layouts, bits):
    """Of one inner index, or few rows; with zeros behind them, tiles compute the same chains."""
    flat = [(1, 1, 5, 1), (2, 3, 64, 1), (1, CHUNK + 9, 300, 1), (1, 4 * CHUNK, 257, 1)]
    low = [(2, 2, 33, 7), (1, 1, WIDEST + 40, 5), (1, 2, 70, 4100), (3, 1, 16, 64), (1, 2, 300, 47)]
    low += [(1, m, n, k) for m, n, k in ((3, 33, 7), (4, 1100, 130), (5, 70, 4100), (8, 47, 66))]
    for count, m, n, k in [*flat, *low]:
        a = RNG.normal(size=(count, m, k)).astype("f4")
        b = RNG.normal(size=(count, k, n)).astype("f4")
        rows, inner, no = (0, STREAMED), (0, 1), (0, 0)
        tiled = made(
            np.pad(a, [no, rows, inner]), np.pad(b, [no, inner, no]), layouts, "vector", 512
        )
        found = made(a, b, layouts, "vector", bits)
        assert_same(found, tiled[:, :m].copy(), f"{count} {m}x{n}x{k}")
        start = RNG.normal(size=(count, m, n)).astype("f4")
        updated = made(a, b, layouts, "vector", bits, start)
        assert_same(updated, start - tiled[:, :m], f"{count} {m}x{n}x{k}")


@pytest.mark.parametrize(("bits", "literal"), [(512, False), (512, True), (256, True)])
def test_columns_that_iterations_take_together_end_where_one_ends(bits, literal):
    """Three chunks of rows have groups of three panels, which do not divide what is taken."""
    m, n, k = 2 * CHUNK + 1, WIDEST // LONE + 65, 2
    a, b = (RNG.integers(1, 9, (1, *size)).astype("f4") for size in ((m, k), (k, n)))
    found = made(a, b, ("along", "along"), "vector", bits, None, literal)
    assert_same(found, a @ b, f"{m}x{n}x{k}")


@pytest.mark.thinned
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_small_products_have_the_bytes_of_tiles(dtype, mode):
    """Rows that fill no group of chains, a second vector, and a factor that is packed or not."""
    shapes = [(3, 4, 4, 4), (2, 1, 1, 1), (2, 7, 3, 5), (1, 9, 15, 8), (1, 3, 7, 70), (2, 5, 9, 23)]
    for count, m, n, k in shapes:
        a, b, c = (
            (4 * RNG.normal(size=(count, *size))).astype(dtype) for size in ((m, k), (k, n), (m, n))
        )
        every = [*product_of(LAYOUTS, LAYOUTS)][m % 2 :: 2]
        for layouts in every if mode == "vector" else [("apart", "across")]:
            tiled = made(a, b, layouts, "vector", 512, c)
            small = made(a, b, layouts, mode, 256, c, literal=True)
            assert_same(small, tiled, f"{layouts} {m}x{n}x{k}")


#: Counts, rows, columns and terms: few columns, a panel of them, few terms, rows beyond a tile.
DIRECT = [(2, 9, 10, 10), (1, 115, 5, 70), (1, 30, 17, 300), (1, 7, 70, 9), (1, 38, 130, 64)]
#: Columns beyond those that are packed together, and columns that are read where they lie.
DIRECT += [(1, 23, direct.SPAN + 44, 9), (1, 29, 40, 21), (1, 38, 130, 32)]
#: Columns that are taken two vectors at a time.
DIRECT += [(1, 21, 64, 45), (2, 30, 128, 64), (1, 13, direct.SPAN + 64, 18)]


@pytest.mark.thinned
@diagonals(2, ("plain", [0, 99]), ("letter,bits", [("f", 512), ("f", 256), ("d", 256), ("l", 512)]))
def test_products_without_tiles_have_their_bytes(letter, bits, plain, monkeypatch):
    """Their epilogue in registers and behind them, also where they subtract from their place.

    Results are taken for such that no cache holds.
    """
    monkeypatch.setattr(direct, "_PLAIN", plain)
    monkeypatch.setattr(direct, "large", lambda *_: 0)
    for (count, m, n, k), layouts in zip(DIRECT * 2, product_of(LAYOUTS, LAYOUTS), strict=False):
        a, b, c = (
            (4 * RNG.normal(size=(count, *size))).astype(letter)
            for size in ((m, k), (k, n), (m, n))
        )
        start = None if m == 7 else c
        tiled = made(a, b, ("along", "along"), "vector", 512, start)
        found = made(a, b, layouts, "vector", bits, start, literal=True)
        assert_same(found, tiled, f"{layouts} {m}x{n}x{k}")


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("letters", "layouts", "bits", "literal"),
    [
        ("ef", ("along", "along"), 512, False),
        ("Hf", ("across", "across"), 512, False),
        ("fH", ("apart", "along"), 256, False),
        ("fe", ("along", "across"), 512, False),
        ("eH", ("transposed and apart", "apart"), 256, False),
        ("Hf", ("across", "along"), 512, True),
        ("He", ("along", "along"), 256, True),
        ("fH", ("along", "across"), 512, True),
    ],
)
def test_narrow_factors_have_the_bytes_of_wide_copies(letters, layouts, bits, literal, monkeypatch):
    """Rows of the last shape go through several panels at a time."""
    shapes = [*LONG, (1, 2, 300, 47), (2, 3, 64, 1), (1, 40, 97, 37)]
    for count, m, n, k in [(1, 9, 10, 3), (1, 9, 10, 70)] if literal else shapes:
        if m == 40:
            monkeypatch.setattr(gemm, "FEWER", 0)
        wide, lying = [], []
        for letter, size in zip(letters, ((m, k), (k, n)), strict=True):
            numbers = RNG.normal(size=(count, *size)).astype("f4")
            narrow = numbers if letter == "f" else narrowed(ELEMENTS[letter], numbers)
            wide.append(numbers if letter == "f" else STORED[ELEMENTS[letter]].widen(narrow))
            lying.append(narrow.view("f2") if letter == "e" else narrow)
        usual = made(*wide, ("along", "along"), "vector", 512)
        found = made(*lying, layouts, "vector", bits, literal=literal)
        assert_same(found, usual, f"{m}x{n}x{k}")


def test_what_is_known_of_sizes_decides_about_tiles():
    for sizes, layouts, packs in [
        ((40, 16, 4096), ("along", "along"), False),
        ((40, 33, 65), ("along", "along"), True),
        ((40, 16, 4097), ("along", "along"), True),
        ((40, 16, 65), ("along", "across"), True),
        ((40, 500, 32), ("along", "across"), False),
        ((40, 500, 32), ("across", "across"), False),
        ((40, 500, 64), ("along", "along"), True),
    ]:
        source = render(product(*layouts, "f32", True, sizes), Machine())
        assert ("shared_tiles" in source) == packs, sizes


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layouts", [("along", "along"), ("across", "across")])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_products_that_are_subtracted(layouts, dtype, mode):
    shapes = [*SHAPES, (2, 40, 35, 2), (1, 0, 5, 3), (1, 3, 0, 4), (2, 6, 17, 0)]
    for count, m, n, k in shapes if mode == "vector" else (*shapes[1:3], shapes[5]):
        a, b, c = (
            (4 * RNG.normal(size=(count, *size))).astype(dtype) for size in ((m, k), (k, n), (m, n))
        )
        found = made(a, b, layouts, mode, 512, c)
        if dtype == "i8":
            assert_same(found, c - a @ b, f"{m}x{n}x{k}")
        else:
            true = c.astype("f8") - a.astype("f8") @ b
            assert_close(found, true, 3e-6 if dtype == "f4" else 1e-14)


@pytest.mark.parametrize("bits", [512, 256])
def test_blocks_of_a_long_chain_are_added_in_order(bits):
    a, b = (RNG.normal(size=size).astype("f4") for size in ((1, 30, 9000), (1, 9000, 33)))
    parts = [
        made(a[..., part], b[:, part], ("along", "along"), "vector", 512)
        for part in (slice(4096), slice(4096, 8192), slice(8192, 9000))
    ]
    for layouts in (("along", "along"), ("across", "across")):
        found = made(a, b, layouts, "vector", bits)
        assert_same(found, (parts[0] + parts[1]) + parts[2], str(layouts))


def test_products_share_their_tiles_and_what_packs_them():
    tiles = set()
    for lies, packed in (("along", ["lines"]), ("across", ["rows"])):
        plain, update = (
            render(product(lies, lies, "f32", update), Machine()) for update in (False, True)
        )
        found = [frontend.modules(source, "k") for source in (plain, update)]
        assert found[0].shared == found[1].shared
        names = {name.split("_")[1].rstrip("0123456789") for name in found[0].shared}
        assert names == {"tiles", "panel", "streams", *packed}
        tiles |= {name for name in found[0].shared if name.startswith("shared_tiles")}
        kernel = found[0].kernel
        assert not re.search(r"transpose\d", kernel)
        ends = kernel.count("@llvm.masked.load.v16f32.p0(ptr %")
        assert ends <= 4  # last vectors of streams of one inner index and of two
    assert len(tiles) == 1, "rows along memory and across it have tiles of their own"
