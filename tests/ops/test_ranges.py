"""Ranges and contributing elements that ops declare hold, for every op, on its samples."""

import math

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.nonfinite import find_counted_elements
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ir.ranges import ANY, POSITIVE, Range, Zero
from staticgrad.language.ir.rounded import widen_array
from staticgrad.language.types.dtype import F64, as_dtype
from tests.laws.samples import samples_of
from tests.ops.graphs import variable

NAMES = [
    n
    for n in registered_ops()
    if n not in ("input", "parameter", "constant", "size") and "." not in n
]
TOLERANCE = 1e-6  # relative: results are rounded, ranges are not


def range_of(array):
    """The range of the elements of an array, none of which may be NaN."""
    if array.size == 0:
        return ANY
    array = widen_array(array)
    zero = Zero.REACHED if (array == 0).any() else Zero.NEVER
    return Range(float(array.min()), float(array.max()), zero)


def is_plain(sample):
    """Return whether the operands are finite numbers and the result has elements."""
    arrays = [np.asarray(widen_array(a)) for a in sample.arrays]
    return all(a.size and (a.dtype.kind != "f" or np.isfinite(a).all()) for a in arrays)


def apply_op(sample):
    """The op on inputs of the sample's types, and the ranges of those."""
    inputs = [
        variable(f"x{k}", as_dtype(np.asarray(a).dtype), np.shape(a))
        for k, a in enumerate(sample.arrays)
    ]
    ranges = {x.key: range_of(np.asarray(a)) for x, a in zip(inputs, sample.arrays, strict=True)}
    return sample.op(*inputs), ranges


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", NAMES)
def test_results_lie_in_the_range_that_the_op_gives(name):
    for sample in filter(is_plain, samples_of(name)):
        value, ranges = apply_op(sample)
        if not isinstance(value, Symbolic) or not value.dtype.is_float:
            continue  # integers wrap
        actual = sample.op.value_range(lambda v, ranges=ranges: ranges[v.key], *value.node.args)
        with np.errstate(all="ignore"):
            result = np.asarray(sample.reference()).astype(np.float64)
        if actual is None or not result.size:
            continue
        result = result[~np.isnan(result)]
        rounded = max(TOLERANCE, 2.0**-value.dtype.digits)
        near = (1.0 - rounded) * np.abs(
            result.astype(np.float64)
        )  # towards 0, where ranges may end
        with np.errstate(all="ignore"):
            rounded_result = np.copysign(near, result)
        assert (np.maximum(result, rounded_result) >= actual.low).all(), (sample, actual)
        assert (np.minimum(result, rounded_result) <= actual.high).all(), (sample, actual)
        tiny = np.abs(result) < 1e-30  # an exponential may round to 0
        assert actual.zero is not Zero.NEVER or not (tiny & (actual.low > 1e-30)).any()


def test_sums_into_places_are_no_larger_than_sums():
    """Several elements meet in one place, and the range of the indices has no say."""
    x, places = np.ones((3,)), np.zeros((3,), np.int64)
    for name in ("scatter_add", "scatter_along"):
        op = registered_ops()[name](axis=0, size=2)
        actual = op.value_range(lambda v: range_of(v.array), *map(Held, (x, places)))
        assert actual == Range(0.0, math.inf, Zero.CHOSEN)


class Held:
    """An operand that is an array."""

    def __init__(self, array):
        self.array = array


def on_variables(op):
    """An op with some attributes, and operands for it."""
    for sample in samples_of(op.name):
        value, _ = apply_op(sample)
        if isinstance(value, Symbolic):
            return sample.op, list(value.node.args)
    return None


@pytest.mark.parametrize("name", [n for n in NAMES if registered_ops()[n].positive])
def test_what_is_positive_has_a_positive_range(name):
    actual = on_variables(registered_ops()[name])
    assert actual is not None
    op, args = actual
    operands = ANY if op.positive == "always" else POSITIVE
    declared_range = op.value_range(lambda _: operands, *args)
    assert declared_range.positive
    if op.positive == "kept":
        of_any = op.value_range(lambda _: ANY, *args)
        assert not of_any.positive


def test_positive_is_said_of_some_ops_of_each_kind():
    declared = {op.positive for op in registered_ops().values()}
    assert declared == {"", "always", "kept"}


@pytest.mark.parametrize("name", NAMES)
def test_masks_of_operands_have_their_shapes(name):
    """An op hands a mask of its result on to operands, whatever the shapes."""
    asked = 0
    for sample in samples_of(name)[:4]:
        value, _ = apply_op(sample)
        if not isinstance(value, Symbolic):
            continue
        mask = variable("mask", as_dtype(np.bool_), value.shape)
        shares = sample.op.operand_masks(mask, value, *value.node.args)
        assert len(shares) == len(value.node.args)
        for share, arg in zip(shares, value.node.args, strict=True):
            assert isinstance(share, bool) or share.shape == arg.shape
        asked += 1
    assert asked or name in ("topk", "sort") or samples_of(name)


def test_elements_that_where_throws_away_do_not_count():
    x = sg.input("x", (3,), "float64")
    rows = sg.log(x)
    graph = Graph({"y": sg.where(x > 0.0, rows, 0.0).sum()})
    masks = find_counted_elements(graph)
    seen = sg.evaluate(masks[rows.key], {"x": np.array([1.0, -1.0, 2.0])})
    assert seen.tolist() == [True, False, True]


def test_a_comparison_refines_what_a_choice_keeps():
    for name, above, below in (("gt", True, False), ("le", False, True)):
        op = registered_ops()[name]()
        assert op.refine(ANY, 2.0).low == (2.0 if above else -math.inf)
        assert op.refine(ANY, 2.0).high == (2.0 if below else math.inf)
        assert op.refine(ANY, 2.0, holds=False).low == (2.0 if below else -math.inf)
    x = variable("x", F64, (2,))
    with pytest.raises(StaticgradError):
        bool(x > 0.0)
