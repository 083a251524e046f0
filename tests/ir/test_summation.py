"""The tree of a sum: against a second, scalar reading of its definition; its zeros; its error."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.ir import summation
from staticgrad.types.dtype import ALL_DTYPES, F32, F64, I8
from tests.limits import finfo

# -- the definition once more, one number at a time -----------------------------------------------


def counter(terms):
    heights = []
    sums = []
    for term in terms:
        heights.append(0)
        sums.append(term)
        while len(heights) > 1 and heights[-1] == heights[-2]:
            newer, older = sums.pop(), sums.pop()
            heights.pop()
            heights[-1] += 1
            sums.append(older + newer)
    total = sums.pop()
    for older in reversed(sums):
        total = older + total
    return total


def row(terms, dtype):
    if not terms:
        return dtype.type(0.0)
    width = 8 if dtype.itemsize == 8 else 16
    blocks = []
    for start in range(0, len(terms), 4096):
        block = terms[start : start + 4096]
        lane = [dtype.type(-0.0)] * width
        for position, term in enumerate(block):
            lane[position % width] = lane[position % width] + term
        half = width // 2
        while half:
            for position in range(half):
                lane[position] = lane[position] + lane[position + half]
            half //= 2
        blocks.append(lane[0])
    return counter(blocks)


def column(terms, dtype):
    if not terms:
        return dtype.type(0.0)
    length = max(32, -(-len(terms) // 32))
    groups = []
    for start in range(0, len(terms), length):
        group = terms[start : start + length]
        blocks = []
        for first in range(0, len(group), 32):
            total = dtype.type(-0.0)
            for term in group[first : first + 32]:
                total = total + term
            blocks.append(total)
        groups.append(counter(blocks))
    total = groups[0]
    for group in groups[1:]:
        total = total + group
    return total


def by_definition(array, axes):
    rank = array.ndim
    trailing = 0
    while trailing < rank and rank - 1 - trailing in axes:
        trailing += 1
    if trailing == rank and rank > 1:
        trailing -= 1
    inner = tuple(range(rank - trailing, rank))
    rest = tuple(axis for axis in axes if axis not in inner)
    kept = tuple(axis for axis in range(rank) if axis not in axes)
    out = np.empty([array.shape[axis] for axis in kept], array.dtype)
    for place in np.ndindex(*out.shape):
        part = array.transpose(kept + rest + inner)[place]
        m = int(np.prod([array.shape[axis] for axis in rest]))
        if not inner:
            out[place] = column(list(part.reshape(m)), array.dtype)
            continue
        n = int(np.prod([array.shape[axis] for axis in inner]))
        rows = [row(list(terms), array.dtype) for terms in part.reshape(m, n)]
        out[place] = row(rows, array.dtype) if rest else rows[0]
    return out


def same_bits(found, expected):
    return (found.dtype, found.shape, found.tobytes()) == (
        expected.dtype,
        expected.shape,
        expected.tobytes(),
    )


SHAPES = [
    (1,), (7,), (16,), (17,), (4096,), (4097,), (9000,), (3, 5), (2, 33), (33, 2), (32, 1),
    (1100, 2), (2, 4100), (4, 3, 5), (40, 2, 3), (0,), (0, 3), (3, 0), (2, 1, 2, 3), (1, 1),
]  # fmt: skip


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_follows_the_definition(shape, dtype, rng):
    array = rng.normal(size=shape).astype(dtype) * rng.choice([1e-3, 1.0, 1e3], shape).astype(dtype)
    for mask in range(1, 2 ** len(shape)):
        axes = tuple(axis for axis in range(len(shape)) if mask >> axis & 1)
        assert same_bits(summation.tree_sum(array, axes), by_definition(array, axes)), axes


@given(
    shape=st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(lambda s: np.prod(s) < 4000),
    data=st.data(),
)
def test_follows_the_definition_on_any_shape(shape, data):
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    seed = data.draw(st.integers(0, 99))
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    assert same_bits(summation.tree_sum(array, axes), by_definition(array, axes))


def test_the_column_tree_is_not_a_row_tree(rng):
    """The order matters, or the tests above would not see a wrong one."""
    terms = rng.normal(size=5000).astype(np.float32)
    assert summation.lane_sum(terms) != summation.column_sum(terms)
    assert float(summation.lane_sum(terms)) != pytest.approx(
        float(terms.sum(dtype=np.float64)), rel=1e-12
    )


@pytest.mark.parametrize(
    ("rank", "axes", "rows", "rest"),
    [
        (1, (0,), (0,), ()),
        (2, (0,), (), (0,)),
        (2, (1,), (1,), ()),
        (2, (0, 1), (1,), (0,)),
        (3, (0, 1, 2), (1, 2), (0,)),
        (3, (0, 2), (2,), (0,)),
        (3, (0, 1), (), (0, 1)),
        (4, (0, 2, 3), (2, 3), (0,)),
        (4, (1,), (), (1,)),
    ],
)
def test_decompose(rank, axes, rows, rest):
    assert summation.decompose(rank, axes) == (rows, rest)


def test_every_reduced_axis_stands_on_one_side():
    for rank in range(1, 5):
        for chosen in product([False, True], repeat=rank):
            axes = tuple(axis for axis in range(rank) if chosen[axis])
            rows, rest = summation.decompose(rank, axes)
            assert sorted(rows + rest) == list(axes)
            assert all(b == a + 1 for a, b in pairwise(rows))
    assert [summation.lanes(d) for d in (F32, F64, I8)] == [16, 8, 16]
    assert [summation.group_length(m) for m in (1, 32, 1024, 1025, 3200)] == [32, 32, 32, 33, 100]
    for terms in range(1, 5000):
        assert -(-terms // summation.group_length(terms)) <= 32


@pytest.mark.parametrize("shape", [(1,), (20,), (5000,), (3, 3), (40, 5), (5, 40)])
def test_negative_zeros_stay(shape):
    zeros = np.full(shape, -0.0, np.float32)
    for axes in {(0,), tuple(range(len(shape))), (len(shape) - 1,)}:
        assert np.signbit(summation.tree_sum(zeros, axes)).all()
        mixed = zeros.copy()
        mixed[(0,) * len(shape)] = 0.0
        assert not np.signbit(summation.tree_sum(mixed, axes)).ravel()[0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((0,), (0,)), ((0, 2), (0,)), ((2, 0), (1,)), ((0, 0), (0, 1)), ((3, 0, 2), (0, 1))],
)
def test_a_sum_over_no_elements_is_positive_zero(shape, axes, dtype):
    found = summation.tree_sum(np.zeros(shape, dtype), axes)
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    assert found.dtype == dtype
    assert found.shape == kept
    assert not np.signbit(found.astype(float)).any()
    assert (found == 0).all()


def test_padding_with_negative_zero_changes_nothing(rng):
    """Renderers may pad a row to whole vectors, whole blocks, and further blocks."""
    for count in (1, 5, 16, 4095, 4096, 9000, 13000):
        terms = rng.normal(size=count).astype(np.float32)
        for more in (1, 16, summation.BLOCK, 3 * summation.BLOCK + 5):
            padded = np.concatenate([terms, np.full(more, -0.0, np.float32)])
            assert summation.lane_sum(padded) == summation.lane_sum(terms)


def test_infinities_and_nan_pass_through():
    terms = np.ones((3, 40), np.float32)
    terms[0, 3], terms[1, 5], terms[1, 30], terms[2, 39] = np.inf, np.inf, -np.inf, np.nan
    found = summation.tree_sum(terms, (1,))
    assert found[0] == np.inf
    assert np.isnan(found[1:]).all()
    assert summation.tree_sum(np.full(40, 3e38, np.float32), (0,)) == np.inf


@pytest.mark.parametrize("dtype", [d.numpy for d in ALL_DTYPES if d.is_integer], ids=str)
def test_integers_wrap_in_their_own_dtype(dtype, rng):
    array = rng.integers(0, 100, (30, 40)).astype(dtype)
    for axes in ((0,), (1,), (0, 1)):
        exact = array.astype(object).sum(axis=axes)
        wrapped = np.asarray(exact % 2 ** (8 * dtype.itemsize)).astype(np.uint64).astype(dtype)
        found = summation.tree_sum(array, axes)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, wrapped)


def test_a_strided_operand_has_the_tree_of_its_shape(rng):
    wide = rng.normal(size=(70, 90)).astype(np.float32)
    for view in (wide[::2, ::3], wide.T, wide[::-1]):
        for axes in ((0,), (1,), (0, 1)):
            assert same_bits(summation.tree_sum(view, axes), summation.tree_sum(view.copy(), axes))


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["normal", "positive", "equal", "cancelling", "growing"])
@pytest.mark.parametrize("axis", [0, 1])
def test_error_is_within_the_bound(dtype, kind, axis, rng):
    """Within 4 * eps * log2(n) * sum(|terms|) of the exact sum."""
    for count in (2, 100, 1000, 5000, 200_000):
        terms = {
            "normal": rng.normal(size=count),
            "positive": rng.uniform(size=count),
            "equal": np.full(count, 0.1),
            "cancelling": np.where(np.arange(count) % 2, -1.0, 1.0)
            * (1e6 + rng.normal(size=count)),
            "growing": 1.01 ** (np.arange(count) % 3000),
        }[kind].astype(dtype)
        shaped = terms[None, :] if axis else np.stack([terms, terms], 1)
        found = summation.tree_sum(shaped, (axis,))[0].astype(np.longdouble)
        exact = terms.astype(np.longdouble).sum()
        bound = 4 * finfo(dtype).eps * np.log2(count) * np.abs(terms.astype(np.longdouble)).sum()
        assert abs(found - exact) <= bound
