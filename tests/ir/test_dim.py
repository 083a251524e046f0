"""Sizes and the types made of them: arithmetic of integers, equal objects, sound bounds."""

import operator

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.errors import SymbolicValueError
from staticgrad.language.ir.kernels.stages import column_words, group_rows
from staticgrad.language.ir.text import Reader
from staticgrad.language.types import arrays, dim as dims
from staticgrad.language.types.dim import (
    bounds,
    collecting_guards,
    dim,
    evaluate,
    floordiv,
    is_never_negative,
    maximum,
)
from staticgrad.language.types.lexis import Tokens

A, B = dim("a"), dim("b")
BOUNDED = dim("c", min=2, max=9)
EVEN = dim("d", multiple_of=4, hint=8)
SMALL = st.integers(-6, 6)
VALUES = st.fixed_dictionaries(
    {
        "a": st.integers(0, 30),
        "b": st.integers(0, 30),
        "c": st.integers(2, 9),
        "d": st.integers(0, 7).map(lambda k: 4 * k),
    }
)


def arithmetic(children):
    pairs = st.tuples(children, children)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]),
        pairs.map(lambda p: p[0] - p[1]),
        pairs.map(lambda p: p[0] * p[1]),
        pairs.map(lambda p: maximum(*p)),
        st.tuples(children, st.sampled_from([-3, -2, 1, 2, 3, 4, 6])).map(lambda p: floordiv(*p)),
    )


ATOMS = st.one_of(st.sampled_from([A, B, BOUNDED, EVEN]), SMALL)
SIZES = st.recursive(ATOMS, arithmetic, max_leaves=6)


def read(text, *sizes):
    reader = Reader(Tokens(text))
    reader.sizes = {named.name: size for size in sizes for named in dims.named_sizes(size)}
    size = reader.size()
    assert reader.kinds[reader.at] == "end"
    return size


@given(SIZES, SIZES, VALUES)
def test_arithmetic_is_that_of_integers(left, right, values):
    x, y = evaluate(left, values), evaluate(right, values)
    assert evaluate(left + right, values) == x + y
    assert evaluate(left - right, values) == x - y
    assert evaluate(left * right, values) == x * y
    assert evaluate(maximum(left, right), values) == max(x, y)
    if y:
        assert evaluate(floordiv(left, right), values) == x // y


OPERATORS = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, divmod]


@pytest.mark.parametrize("apply", OPERATORS, ids=lambda apply: apply.__name__)
@given(SIZES, SIZES, VALUES)
def test_operators_of_python_are_those_of_integers(apply, left, right, values):
    """Sizes stand on either side, and NumPy's integers beside them."""
    x, y = evaluate(left, values), evaluate(right, values)
    if y == 0 and apply not in (operator.add, operator.sub, operator.mul):
        return
    sides = [(left, right)]
    sides += [(np.int64(left), right)] if isinstance(left, int) else []
    sides += [(left, np.int64(right))] if isinstance(right, int) else []
    for first, second in sides:
        result = apply(first, second)
        parts = result if apply is divmod else (result,)
        expected = apply(x, y) if apply is divmod else (apply(x, y),)
        assert tuple(evaluate(index(part), values) for part in parts) == expected


def index(size):
    """Return a size with NumPy's integers as Python's."""
    return int(size) if isinstance(size, np.integer) else size


@given(SIZES, VALUES)
def test_signs_and_absolute_values(size, values):
    number = evaluate(size, values)
    assert [evaluate(part, values) for part in (-size, +size, abs(size))] == [
        -number, number, abs(number),
    ]  # fmt: skip


def test_a_power_with_a_size_is_refused_in_words():
    for power in (lambda: 2**A, lambda: A**2):
        with pytest.raises(SymbolicValueError, match="before feeds are bound"):
            power()


@given(SIZES, SIZES, SIZES)
def test_one_form_per_polynomial(x, y, z):
    assert x + y == y + x
    assert x * y == y * x
    assert (x + y) * z == x * z + y * z
    assert (x + y) - y == x
    assert maximum(x, y) == maximum(y, x)
    assert hash((x + y) + z) == hash(x + (y + z))


@given(
    st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 6), st.integers(1, 4)
)
def test_one_form_per_floor_division(a, b, k, divisor, factor):
    """Multiples leave the quotient, and common factors the fraction."""
    numerator = a * A + b * B + k
    once = floordiv(numerator, divisor)
    assert floordiv(numerator + divisor * A, divisor) == once + A
    assert floordiv(numerator * factor, divisor * factor) == once
    assert floordiv(-numerator, -divisor) == once


@given(SIZES, VALUES)
def test_bounds_hold_every_value(size, values):
    low, high = bounds(size)
    value = evaluate(size, values)
    assert low is None or low <= value
    assert high is None or value <= high


@pytest.mark.parametrize(
    ("size", "proved"),
    [
        (A - A // 2, True),
        (-(-A // 2), True),
        (dims.minimum(A, 2), True),
        (dims.minimum(A, B), True),
        (dims.minimum(A // 2, maximum(B - 1, 0)), True),
        (A + 2 - maximum(maximum(A - 1, 0), 2), True),
        (A - 1, False),
        (A - B, False),
        (A // 2 - 1, False),
        (2 * (A // 2) - A, False),
        (2 * (A // 2) - A + 1, True),
        (BOUNDED - 2, True),
        (BOUNDED - 3, False),
    ],
    ids=str,
)
def test_sizes_that_are_never_negative(size, proved):
    assert is_never_negative(size) is proved


@given(SIZES)
def test_text_reads_back(size):
    again = read(str(size), A, B, BOUNDED, EVEN)
    assert again == size
    assert str(again) == str(size)
    assert type(again) is type(size)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (3 * A - 3, "3*a - 3"),
        ((A + 1) // 2, "(a + 1)//2"),
        ((A - 1) // 2, "(a + 1)//2 - 1"),
        ((6 * A) // 3, "2*a"),
        (-(A // 2), "-(a//2)"),
        (B - A // 2, "b - a//2"),
        (3 - (A * A // 2) - B, "-b - (a*a)//2 + 3"),
        (2 * (A // 2), "2*(a//2)"),
        (A // B, "a//b"),
        ((A // 2) // 3, "(a//2)//3"),
        (maximum(A - 1, 0), "max(a - 1, 0)"),
        (maximum(0, A), "a"),
        (maximum(BOUNDED, 12), "12"),
        (maximum(maximum(A - 1, 0), A), "a"),
        (maximum(A - 2, maximum(A - 1, 0)), "max(a - 1, 0)"),
        (A * A * B + A, "a*a*b + a"),
        (A - A, "0"),
        (dim("max") + dim("f32") + dim("two words"), '$"f32" + $"max" + $"two words"'),
        (dim('quote"') * 2, '2*$"quote\\""'),
    ],
)
def test_examples(size, text):
    assert str(size) == text
    assert read(text, A, B) == size


def test_a_hint_is_no_part_of_equality():
    assert dim("n", hint=3) == dim("n", hint=4)
    assert dim("n", min=1) != dim("n")
    assert [n.name for n in dims.named_sizes(maximum(B + A, 3) + BOUNDED // 2)] == ["c", "a", "b"]
    assert dims.divide_exactly(EVEN + 8, 4) == EVEN // 4 + 2
    assert dims.divide_exactly(A + 8, 4) is None
    assert dims.divide_exactly(EVEN, 8) is None
    assert arrays.hint_value(2 * dim("n", hint=5)) == 10
    assert arrays.hint_value(dim("n", max=10)) == 10
    assert arrays.hint_value(dim("n", min=100)) == 100
    assert arrays.hint_value(dim("n", multiple_of=48)) == 96
    assert arrays.hint_value(dim("n", multiple_of=48, max=64)) == 48


def test_guards_are_noted_only_where_they_are_needed():
    with dims.collecting_guards() as guards:
        assert dims.equal(A, A, "same")
        assert not dims.equal(3, 4, "never")
        assert not dims.equal(BOUNDED, 10, "out of bounds")
        assert dims.at_least(A, 0, "always")
        assert not dims.at_least(BOUNDED, 10, "out of bounds")
        assert guards == []
        assert dims.equal(A, B, "a must be b")
        assert dims.equal(A, B, "a must be b")
        assert dims.at_least(A, 3, "a must be at least 3")
    assert [g.text for g in guards] == ["a must be b", "a must be at least 3"]
    assert guards[0].holds({"a": 4, "b": 4})
    assert not guards[0].holds({"a": 4, "b": 5})
    assert guards[1].holds({"a": 3})
    assert not guards[1].holds({"a": 2})


def test_what_is_no_size_is_refused():
    for wrong in ("", 3):
        with pytest.raises(ValueError, match="name"):
            dim(wrong)
    for bounds_ in ({"min": -1}, {"min": 3, "max": 2}, {"multiple_of": 0}):
        with pytest.raises(ValueError, match="no size has"):
            dim("n", **bounds_)
    with pytest.raises(TypeError):
        A * 0.5
    with pytest.raises(ZeroDivisionError):
        A // 0
    for convert in (bool, int, range):
        with pytest.raises(TypeError, match="no value before"):
            convert(A)


@pytest.mark.parametrize(
    "computed",
    [
        group_rows,
        lambda size: column_words(64, size, 8),
        lambda size: arrays.c_strides((2, size))[0],
        lambda size: arrays.product((size, 4)),
        lambda size: maximum(size, 3),
        arrays.hint_value,
    ],
)
def test_hints_of_one_program_reach_no_other(computed):
    """Names are equal whatever their hints, and results are kept by what they were computed of."""
    for hint in (2**20, 2**25, None):
        size = dim("n", hint=hint)
        actual = computed(size)
        assert arrays.hint_value(actual) == evaluate(actual, {"n": hint or 64})


BATCH, OTHER = dim("batch"), dim("other")
SHAPES = st.lists(st.sampled_from([0, 1, 1, 2, 3]), max_size=4).map(tuple)


@given(st.lists(SHAPES, min_size=1, max_size=4))
def test_literal_shapes_broadcast_as_in_numpy(shapes):
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(arrays.BroadcastError):
            arrays.broadcast_shapes(shapes)
    else:
        assert arrays.broadcast_shapes(shapes) == expected


def test_only_a_literal_one_stretches_to_a_named_size():
    with collecting_guards() as guards:
        assert arrays.broadcast_shapes([(BATCH, 1), (1, 3), (3,)]) == (BATCH, 3)
        assert arrays.broadcast_shapes([(BATCH, 4), (BATCH, 1)]) == (BATCH, 4)
        assert guards == []
        assert arrays.broadcast_shapes([(BATCH,), (OTHER,)]) == (BATCH,)
        assert arrays.broadcast_shapes([(BATCH,), (7,)]) == (7,)
    assert [guard.text for guard in guards] == [
        "sizes batch and other must agree",
        "sizes 7 and batch must agree",
    ]


def test_a_mismatch_says_which_axis():
    with pytest.raises(arrays.BroadcastError) as caught:
        arrays.broadcast_shapes([(2, 3, 5), (4, 5)])
    assert (caught.value.axis_from_end, caught.value.left, caught.value.right) == (2, 3, 4)
    with pytest.raises(arrays.BroadcastError):
        arrays.broadcast_shapes([(dim("many", min=5),), (3,)])
