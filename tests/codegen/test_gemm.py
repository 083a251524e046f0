"""Products of matrices: every layout, tile and register width gives the same bytes."""

from functools import reduce
from itertools import pairwise, product as product_of

import numpy as np
import pytest

from staticgrad.compiler.nest.products import direct, gemm
from staticgrad.compiler.nest.products.streams import WIDEST
from staticgrad.errors import VerifyError
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.stages import CHUNK, LONE, STREAMED
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.native.machine import Machine
from staticgrad.support.narrow_floats import STORED, narrow_numbers
from tests.codegen.kernel_runs import assert_close
from tests.exporting.printed import run_printed
from tests.native.support import LONG_BY_NUMBA, assert_same, call, source_for
from tests.native.test_flushing import half, multiply_add
from tests.native.test_masks import target_of

RNG = np.random.default_rng(0)
#: How a factor may lie: strides over its rows and columns, from its own sizes.
LAYOUTS = {
    "along": lambda rows, columns: (columns, 1),
    "across": lambda rows, columns: (1, rows),
    "apart": lambda rows, columns: (2 * columns, 2),
    "transposed and apart": lambda rows, columns: (3, 3 * rows),
}
#: Elements by the letters of NumPy; those of bfloat16 are given by their bits.
ELEMENTS = {
    "f": "f32",
    "d": "f64",
    "e": "f16",
    "H": "bf16",
    "l": "i64",
    "i": "i32",
    "h": "i16",
    "b": "i8",
}


def product(a, b, element, update, literal=None, stored=(), factors=""):
    """A batch of products, one stride of each factor literal where its layout says so.

    ``literal``: its sizes m, n and k, where they are no arguments. ``stored``: how factors lie.
    ``factors``: to what they are rounded.
    """
    rounded = f" in {factors}" if factors else ""
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
        f"    @acc: {element} = sum p0[i0*n8 + i{i} + k{k}] * p1[i0*n9 + k{down} + j{j}]{rounded}",
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


def run_product(
    a, b, layouts, mode, bits, start=None, literal=False, step=3, factors="", pairs=False
):
    """The products by a kernel for registers of ``bits``, subtracted from ``start`` if given.

    ``step``: how many iterations a call takes, but for the first one. ``factors``: to what they are
    rounded; ``pairs``: whether pairs of them are multiplied by one instruction.
    """
    (count, m, k), n = a.shape, b.shape[2]
    stored = tuple(ELEMENTS[factor.dtype.char] for factor in (a, b))
    narrow = not {"f16", "bf16"}.isdisjoint(stored)
    element, dtype = ("f32", np.dtype("f4")) if narrow else (stored[0], a.dtype)
    sizes = (m, n, k) if literal else None
    kernel = product(*layouts, element, start is not None, sizes, stored, factors)
    (p0, at, size_a), (p1, bt, size_b) = laid(a, layouts[0]), laid(b, layouts[1])
    sentinel = np.full((1, m, n), 77, dtype)
    actual = np.concatenate(
        [np.full((count, m, n), 77, dtype) if start is None else start, sentinel]
    )
    sizes = [m, n, k, count, *at, *bt, size_a, size_b, m * n]
    total = kernel.iterations(sizes)
    assert isinstance(total, int)
    source = source_for(kernel, mode, Machine(vector_bits=bits, multiplies_pairs=pairs))
    cuts = sorted({0, *range(1, total, step), total})  # a call may go through several as one
    if mode == "file":
        memory = {"p0": p0, "p1": p1, "p2": actual}
        run_printed(kernel, memory, dict(zip(kernel.arguments, sizes, strict=True)))
        cuts = []
    for begin, end in pairwise(cuts):
        call(source, [p0, p1, actual], sizes, begin, end, mode=mode)
    assert_same(actual[count:], sentinel, "behind the results")
    return actual[:count]


ALONG, ACROSS = ("along", "along"), ("across", "along")
EVERY = [*product_of(LAYOUTS, LAYOUTS)]
BOTH = (512, 256)
LONG = [(1, CHUNK + 6, 65, 140), (1, 4 * CHUNK + 1, 130, 9), (3, 27, 14, 260)]
SHAPES = [
    (1, 3, 3, 3), (1, 14, 32, 5), (1, 24, 33, 5), (2, 15, 33, 17), (1, 5, 70, 129),
    (1, 29, 16, 200), (2, 40, 35, 2), (1, 0, 5, 3), (1, 3, 0, 4), (2, 6, 17, 0),
]  # fmt: skip
#: Counts, rows, columns and terms: few columns, a panel of them, few terms, rows beyond a tile;
#: columns beyond those that are packed together, columns that are read where they lie, and columns
#: that are taken two vectors at a time.
DIRECT = [
    (2, 9, 10, 10), (1, 115, 5, 70), (1, 30, 17, 300), (1, 7, 70, 9), (1, 38, 130, 64),
    (1, 23, direct.SPANS[1] + 44, 9), (1, 29, 40, 21), (1, 38, 130, 32),
    (1, 21, 64, 45), (2, 30, 128, 64), (1, 13, direct.SPANS[1] + 64, 18),
]  # fmt: skip
FEW = [(3, 4, 4, 4), (2, 1, 1, 1), (2, 7, 3, 5), (1, 9, 15, 8), (1, 3, 7, 70), (2, 5, 9, 23)]
PANELS = [
    (2, 3 * CHUNK + 7, 96, 70), (1, 5 * CHUNK, 69, 600), (1, CHUNK + 30, 353, 300),
    (2, 80, 64, 260), (1, 30, 65, 5120),  # whose rows displace each other in a small cache
]  # fmt: skip
THIN = [
    (2, 40, 8, 300), (2, CHUNK + 7, 5, 9), (2, 300, 1, 130), (2, 65, 8, 1), (2, 35, 7, 64),
    (2, 8, 8, 600), (2, 3, 5, 70), (2, 16, 16, 300),
]  # fmt: skip
TILES = [(2, m, n, 50) for m in (*range(29, 44), 64, 80, CHUNK, CHUNK + 8) for n in (64, 75)]
TOGETHER = [(1, 2 * CHUNK + 1, WIDEST // LONE + 65, 2)]
slow = pytest.mark.slow
#: What is special, letters of elements, shapes, layouts in turn, widths of registers, and whether
#: sizes are literal.
PRODUCTS = [
    ("shapes", "f", [*SHAPES, *LONG], EVERY, BOTH, [False]),
    ("shapes of others", "dl", SHAPES, [ALONG, ("across", "across")], (512,), [False]),
    (
        "panels keep their sums between runs and blocks",
        "f",
        [(1, CHUNK + 3, 97, 1024), (1, 4 * CHUNK + 2, 290, 520), (1, 30, 100, 4099)],
        [ALONG, ACROSS, ("across", "across")],
        BOTH,
        [False, True],
    ),
    ("a last tile of packed rows has room", "f", [(1, CHUNK, 3, 256)], [ACROSS], BOTH, [False]),
    ("rows packed by bytes", "bh", [(1, CHUNK + 6, 40, 70)], [ACROSS, ALONG], BOTH, [False]),
    ("rows that two panels read", "f", [(1, 2 * CHUNK + 9, 40, 70)], [ACROSS], BOTH, [True]),
    ("long rows that two read", "fd", [(1, 4 * CHUNK, 13, 600)], [ACROSS], BOTH, [True]),
    ("columns that iterations take together", "f", TOGETHER, [ALONG], BOTH, [False, True]),
    ("blocks of panels", "fd", PANELS, [ALONG, ("along", "across")], BOTH, [False, True]),
    ("no tiles", "fdl", DIRECT, EVERY, BOTH, [True]),
    ("few", "fdl", FEW, EVERY, (256,), [True]),
    (
        "rows in lanes", "fd", THIN, [("across", b) for b in ("along", "across", "apart")], BOTH,
        [True], slow,
    ),
    ("whole tiles", "fdl", TILES, EVERY, BOTH, [True], slow),
]  # fmt: skip
CASES = [
    pytest.param(
        what,
        letter,
        shapes[k::2],
        layouts,
        bits,
        literal,
        id=f"{what} {k} {letter} {bits} {literal}",
        marks=marks,
    )
    for what, letters, shapes, layouts, widths, literals, *marks in PRODUCTS
    for letter, bits, literal in product_of(letters, widths, literals)
    for k in range(min(2, len(shapes)))
]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("what", "letter", "shapes", "layouts", "bits", "literal"), CASES, ids=str)
def test_every_layout_gives_the_same_bytes(
    what, letter, shapes, layouts, bits, literal, monkeypatch
):
    """Those of rows along memory with registers of 512 bits, which are near NumPy's; subtracted
    from what lies there, too. Layouts take turns."""
    for turn, (count, m, n, k) in enumerate(shapes):
        a, b, c = (
            (4 * RNG.normal(size=(count, *size))).astype(letter)
            for size in ((m, k), (k, n), (m, n))
        )
        usual = run_product(a, b, ALONG, "vector", 512)
        if letter in "fd":
            tolerance = max(1.0, (k / 1024) ** 0.5) * (3e-6 if letter == "f" else 1e-14)
            assert_close(usual, a.astype("f8") @ b, tolerance)
        else:
            assert_same(usual, a @ b, f"{m}x{n}x{k}")
        with monkeypatch.context() as patch:
            if what == "blocks of panels":  # from a call's first whole chunk on
                patch.setattr(gemm, "FEWER", 0)
            if what == "no tiles":  # results that no cache holds; an epilogue in registers or not
                patch.setattr(direct, "_PLAIN", 99 * (turn % 2))
            for step, layout in enumerate(layouts[turn % 2 :: 2] or layouts, 3):
                label = f"{layout} {m}x{n}x{k}"
                assert_same(
                    run_product(a, b, layout, "vector", bits, None, literal, step), usual, label
                )
                assert_same(
                    run_product(a, b, layout, "vector", bits, c, literal, step), c - usual, label
                )


@pytest.mark.thinned
@pytest.mark.parametrize("letter", ["f", "d", "l"])
@pytest.mark.parametrize("mode", [*LONG_BY_NUMBA, pytest.param("file", marks=pytest.mark.slow)])
def test_every_reader_gives_the_same_bytes(letter, mode):
    for literal, (count, m, n, k) in product_of((False, True), [*FEW[1:4], *SHAPES[1:3]]):
        a, b, c = (
            (4 * RNG.normal(size=(count, *size))).astype(letter)
            for size in ((m, k), (k, n), (m, n))
        )
        usual = run_product(a, b, ALONG, "vector", 512, c)
        actual = run_product(a, b, ("apart", "across"), mode, 256, c, literal)
        assert_same(actual, usual, f"{m}x{n}x{k}")


@pytest.mark.thinned
@pytest.mark.parametrize(
    "layouts", [("along", "along"), ("across", "along"), ("apart", "across"), ("along", "across")]
)
@pytest.mark.parametrize("bits", [512, 256])
def test_streams_of_rows_have_the_bytes_of_tiles(layouts, bits):
    """One inner index, or few rows: with zeros behind them, tiles compute the same chains."""
    flat = [(1, 1, 5, 1), (2, 3, 64, 1), (1, CHUNK + 9, 300, 1), (1, 4 * CHUNK, 257, 1)]
    low = [(2, 2, 33, 7), (1, 1, WIDEST + 40, 5), (1, 2, 70, 4100), (3, 1, 16, 64), (1, 2, 300, 47)]
    low += [(1, m, n, k) for m, n, k in ((3, 33, 7), (4, 1100, 130), (5, 70, 4100), (8, 47, 66))]
    for count, m, n, k in [*flat, *low]:
        a = RNG.normal(size=(count, m, k)).astype("f4")
        b = RNG.normal(size=(count, k, n)).astype("f4")
        rows, inner, no = (0, STREAMED), (0, 1), (0, 0)
        tiled = run_product(
            np.pad(a, [no, rows, inner]), np.pad(b, [no, inner, no]), layouts, "vector", 512
        )
        actual = run_product(a, b, layouts, "vector", bits)
        assert_same(actual, tiled[:, :m].copy(), f"{count} {m}x{n}x{k}")
        start = RNG.normal(size=(count, m, n)).astype("f4")
        updated = run_product(a, b, layouts, "vector", bits, start)
        assert_same(updated, start - tiled[:, :m], f"{count} {m}x{n}x{k}")


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
        ("fH", ("apart", "along"), 512, False),
        ("He", ("along", "along"), 256, False),
    ],
)
def test_narrow_factors_have_the_bytes_of_wide_copies(letters, layouts, bits, literal, monkeypatch):
    """Rows of the last shape go through several panels at a time."""
    shapes = [*LONG, (1, 2, 300, 47), (2, 3, 64, 1), (1, 8, 530, 1030), (1, 40, 97, 37)]
    for count, m, n, k in [(1, 9, 10, 3), (1, 9, 10, 70)] if literal else shapes:
        if m == 40:
            monkeypatch.setattr(gemm, "FEWER", 0)
        wide, lying = [], []
        for letter, size in zip(letters, ((m, k), (k, n)), strict=True):
            numbers = RNG.normal(size=(count, *size)).astype("f4")
            narrow = numbers if letter == "f" else narrow_numbers(ELEMENTS[letter], numbers)
            wide.append(numbers if letter == "f" else STORED[ELEMENTS[letter]].widen(narrow))
            lying.append(narrow.view("f2") if letter == "e" else narrow)
        usual = run_product(*wide, ("along", "along"), "vector", 512)
        actual = run_product(*lying, layouts, "vector", bits, literal=literal)
        assert_same(actual, usual, f"{m}x{n}x{k}")


def rounded_product(a, b):
    """The sums of products of bfloat16 numbers, a chain of each block of terms."""
    a, b = (STORED["bf16"].widen(narrow_numbers("bf16", x)).astype("f8") for x in (a, b))
    blocks, terms = [], a.shape[-1]
    with np.errstate(all="ignore"):
        for first in range(0, terms, GEMM_BLOCK):
            chain = np.zeros((a.shape[0], a.shape[1], b.shape[2]))
            for k in range(first, min(first + GEMM_BLOCK, terms)):
                chain = multiply_add(a[:, :, k : k + 1], b[:, k : k + 1], chain)
            blocks.append(chain.astype("f4"))
        return reduce(np.add, blocks) if blocks else np.zeros_like(a @ b, "f4")


#: Shapes with odd numbers of terms, several parts of k, several blocks, and none.
ROUNDED = [
    (1, 3, 3, 3), (1, 14, 32, 5), (2, 15, 33, 17), (1, 29, 70, 200), (1, 1, 5, 1), (1, 3, 0, 4),
    (2, 6, 17, 0), (1, CHUNK + 6, 65, 31), (1, 5, 40, 1025), (1, 3, 20, 4099), (1, 40, 97, 37),
]  # fmt: skip


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layouts", EVERY)
@pytest.mark.parametrize("way", ["pairs", "512", "256", "x86-64-v3"])
def test_factors_that_are_rounded(layouts, way):
    """Products of bfloat16, which lie in either dtype: by every instruction, in every layout.

    Half of the numbers are so small that products and sums are subnormal.
    """
    bits = {"256": 256, "x86-64-v3": 256}.get(way, 512)
    options = {"factors": "bf16", "pairs": way == "pairs"}
    with target_of("x86-64-v3" if way == "x86-64-v3" else "host"):
        for turn, (count, m, n, k) in enumerate(ROUNDED):
            a, b = (
                (RNG.normal(size=size) * 10.0 ** RNG.uniform(-25 * (turn % 2), 0, size)).astype(
                    "f4"
                )
                for size in ((count, m, k), (count, k, n))
            )
            expected = rounded_product(a, b)
            lying = [
                narrow_numbers("bf16", x) if turn >> place & 1 else x
                for place, x in enumerate((a, b), 1)
            ]
            literal = turn % 3 == 0
            actual = run_product(*lying, layouts, "vector", bits, literal=literal, **options)
            assert_same(actual, expected, f"{layouts} {way} {count} {m}x{n}x{k}")


@pytest.mark.thinned(2)
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("mode", [*LONG_BY_NUMBA, pytest.param("file", marks=pytest.mark.slow)])
def test_every_reader_rounds_factors(mode, pairs):
    for count, m, n, k in [(1, 3, 5, 9), (2, 15, 33, 6)]:
        a, b = (
            (RNG.normal(size=size) * 10.0 ** RNG.uniform(-25, 0, size)).astype("f4")
            for size in ((count, m, k), (count, k, n))
        )
        actual = run_product(a, b, ("apart", "across"), mode, 512, factors="bf16", pairs=pairs)
        assert_same(actual, rounded_product(a, b), f"{m}x{n}x{k} {mode}")


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("terms", [1, 2, 3])
def test_a_last_pair_keeps_the_sign_of_zero(terms, pairs):
    """The products are too small for float32: negative ones give -0, and so does their sum."""
    a, b = np.full((1, 3, terms), 2.0**-80, "f4"), np.full((1, terms, 5), -(2.0**-80), "f4")
    sums = run_product(a, b, ALONG, "vector", 512, factors="bf16", pairs=pairs)
    assert_same(sums, np.full((1, 3, 5), -0.0, "f4"), f"{terms}")


#: Shapes of words: few rows, few terms, panels that are read where they lie and others, and parts.
WORDS = [
    (1, 1, 37, 5), (1, 3, 70, 200), (2, 15, 33, 17), (1, 29, 70, 3), (1, CHUNK + 6, 65, 31),
    (1, 40, 97, 1025), (2, 6, 17, 0), (1, CHUNK + 7, 5, 40),
]  # fmt: skip


def words_of(size):
    """Words of four bytes, many of which are the largest and the least."""
    values = RNG.choice([*range(256), *[0, 127, 128, 255] * 64], (*size, 4))
    return values.astype("u1").view("i4")[..., 0]


def product_of_words(a, b, factors):
    """The sums of products of bytes, modulo 2**32."""
    signs = ("u1", "i1") if factors == "u8" else ("i1", "u1")
    (count, m, k), n = a.shape, b.shape[2]
    left = a[..., None].view(signs[0]).reshape(count, m, 4 * k).astype("i8")
    right = b[..., None].view(signs[1]).reshape(count, k, n, 4).swapaxes(2, 3)
    return (left @ right.reshape(count, 4 * k, n).astype("i8")).astype("i4")


def pairs_of(size):
    """Float32 numbers whose bits are two of bfloat16, of which some have subnormal products."""
    halves = RNG.normal(size=(*size, 2)) * 10.0 ** RNG.uniform(-22, 0, (*size, 2))
    return narrow_numbers("bf16", halves.astype("f4")).view("f4")[..., 0]


def product_of_pairs(a, b):
    """The sums of products of both halves, the upper ones first, a chain of each block."""
    blocks = []
    for first in range(0, max(a.shape[-1], 1), GEMM_BLOCK):
        chain = np.zeros((a.shape[0], a.shape[1], b.shape[2]))
        for k in range(first, min(first + GEMM_BLOCK, a.shape[-1])):
            for shift in (16, 0):
                x = half(np.ascontiguousarray(a[:, :, k : k + 1]).view("u4"), shift)
                y = half(np.ascontiguousarray(b[:, k : k + 1]).view("u4"), shift)
                chain = multiply_add(x, y, chain)
        blocks.append(chain.astype("f4"))
    return reduce(np.add, blocks)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layouts", EVERY)
@pytest.mark.parametrize("factors", ["u8", "i8", "u32"])
@pytest.mark.parametrize("way", ["512", "256", "x86-64-v3"])
def test_words_of_bytes(layouts, factors, way):
    """Products of words of four 8-bit integers, in every layout, with either sign first."""
    bits = 512 if way == "512" else 256
    with target_of("x86-64-v3" if way == "x86-64-v3" else "host"):
        for turn, (count, m, n, k) in enumerate(WORDS):
            if factors == "u32":
                a, b = pairs_of((count, m, k)), pairs_of((count, k, n))
                actual = run_product(
                    a, b, layouts, "vector", bits, literal=turn % 3 == 0, factors=factors
                )
                assert_same(actual, product_of_pairs(a, b), f"{layouts} {way} {count} {m}x{n}x{k}")
                continue
            a, b = words_of((count, m, k)), words_of((count, k, n))
            options = {"literal": turn % 3 == 0, "factors": factors}
            start = RNG.integers(0, 9, (count, m, n)).astype("i4") if turn % 2 else None
            actual = run_product(a, b, layouts, "vector", bits, start, **options)
            expected = product_of_words(a, b, factors)
            expected = expected if start is None else start - expected
            assert_same(actual, expected, f"{layouts} {way} {count} {m}x{n}x{k}")


@pytest.mark.parametrize("factors", ["u8", "i8"])
@pytest.mark.parametrize("mode", [*LONG_BY_NUMBA, pytest.param("file", marks=pytest.mark.slow)])
def test_every_reader_multiplies_bytes(mode, factors):
    for count, m, n, k in [(1, 3, 5, 9), (2, 15, 33, 6)]:
        a, b = words_of((count, m, k)), words_of((count, k, n))
        actual = run_product(a, b, ("apart", "across"), mode, 512, factors=factors)
        assert_same(actual, product_of_words(a, b, factors), f"{m}x{n}x{k} {mode}")


def test_words_of_bytes_are_checked():
    text = str(product("along", "along", "i32", False, None, (), "u8"))
    assert "] in u8\n" in text
    assert str(parse_kernel(text)) == text
    with pytest.raises(VerifyError, match="p0 is i64; words of bytes are i32"):
        verify_kernel(product("along", "along", "i64", False, None, (), "u8"))


def test_rounded_factors_are_printed_and_checked():
    text = str(product("along", "along", "f32", False, None, ("f32", "bf16"), "bf16"))
    assert "] in bf16\n" in text
    assert str(parse_kernel(text)) == text
    for wrong, message in (
        (text.replace("in bf16", "in f16"), "factors are rounded to bf16, not to f16"),
        (text.replace("p1: in bf16", "p1: in f16"), "p1 is f16, which is not rounded to bf16"),
    ):
        with pytest.raises(VerifyError, match=message):
            verify_kernel(parse_kernel(wrong))
