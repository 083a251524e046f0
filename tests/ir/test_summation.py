"""Reductions: the table of their kinds, the tree of a sum by a second definition, its error."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.analysis.interpret import interpret
from staticgrad.errors import OpDefinitionError
from staticgrad.language.ir import summation
from staticgrad.language.ir.expr import PRIMITIVES, Expr, literal, ref
from staticgrad.language.ir.forms import COMBINERS, Reduce
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ops.reduce import Reduction
from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.native.plain.control import VOCABULARY
from tests.helpers.limits import finfo

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
    outer = tuple(axis for axis in axes if axis not in inner)
    kept_axes = tuple(axis for axis in range(rank) if axis not in axes)
    out = np.empty([array.shape[axis] for axis in kept_axes], array.dtype)
    for place in np.ndindex(*out.shape):
        part = array.transpose(kept_axes + outer + inner)[place]
        m = int(np.prod([array.shape[axis] for axis in outer]))
        if not inner:
            out[place] = column(list(part.reshape(m)), array.dtype)
            continue
        n = int(np.prod([array.shape[axis] for axis in inner]))
        rows = [row(list(terms), array.dtype) for terms in part.reshape(m, n)]
        out[place] = row(rows, array.dtype) if outer else rows[0]
    return out


def same_bits(actual, expected):
    return (actual.dtype, actual.shape, actual.tobytes()) == (
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
    actual = summation.tree_sum(np.zeros(shape, dtype), axes)
    remaining_shape = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    assert actual.dtype == dtype
    assert actual.shape == remaining_shape
    assert not np.signbit(actual.astype(float)).any()
    assert (actual == 0).all()


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
        actual = summation.tree_sum(shaped, (axis,))[0].astype(np.longdouble)
        exact = terms.astype(np.longdouble).sum()
        bound = 4 * finfo(dtype).eps * np.log2(count) * np.abs(terms.astype(np.longdouble)).sum()
        assert abs(actual - exact) <= bound


CASES = [(k, d) for k, c in COMBINERS.items() for d in ALL_DTYPES if d.kind in c.kinds]


def numbers(dtype):
    """The extremes, zeros of both signs, and some numbers between."""
    if dtype.is_float:
        samples = [-np.inf, finfo(dtype.numpy).min, -1.5, -0.0, 0.0, 2.0, np.inf, np.nan]
    elif dtype.is_bool:
        samples = [False, True]
    else:
        info = np.iinfo(dtype.numpy)
        samples = [info.min, 0, 1, info.max]
    return np.array(samples, dtype.numpy)


@pytest.mark.parametrize(("kind", "dtype"), CASES, ids=lambda case: str(case))
def test_the_identity_changes_no_bit_on_either_side(kind, dtype):
    combiner, samples = COMBINERS[kind], numbers(dtype)
    neutral, x = literal(combiner.identity(dtype), dtype), ref("x", dtype)
    for args in ((neutral, x), (x, neutral)):
        (actual,) = interpret([Expr(combiner.combine, dtype, args)], lambda _: samples)
        assert actual.dtype == samples.dtype
        assert actual[~np.isnan(samples)].tobytes() == samples[~np.isnan(samples)].tobytes()


@pytest.mark.parametrize("kind", COMBINERS)
def test_words_of_a_kind_exist(kind):
    assert COMBINERS[kind].kind == kind
    assert PRIMITIVES[COMBINERS[kind].combine].operands == 2
    assert COMBINERS[kind].horizontal in VOCABULARY


def test_every_reduction_has_a_kind():
    kinds = {op.kind for op in registered_ops().values() if issubclass(op, Reduction)}
    assert kinds == {*COMBINERS}
    with pytest.raises(OpDefinitionError, match="'product' is not a kind of reduction"):
        Reduce("product", (0,))
