"""What an op's form says about memory is what its reference does, element by element.

A small interpreter of the forms, written from their docstrings; kernels are made from forms alone.
"""

from functools import reduce

import numpy as np
import pytest

import staticgrad.functions  # noqa: F401 - fills the registry
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret as evaluated
from staticgrad.ir import forms
from staticgrad.ir.expr import literal, ref
from staticgrad.ir.rounded import widened
from staticgrad.types.arrays import TensorType
from staticgrad.types.dtype import I64, as_dtype
from tests.ops.samples import samples_of
from tests.ops.test_every_op import as_tuple


def interpret(form, out, arrays):
    """Fill ``out`` with the result that ``form`` describes, one element at a time."""
    READINGS[type(form)](form, out, *arrays)


def view(form, out, x):
    for i in np.ndindex(*out.shape):
        at = (a.start + (0 if a.source is None else a.step * i[a.source]) for a in form.axes)
        out[i] = x[tuple(at)]


def reshape(form, out, x):
    for element, i in zip(x.flat, np.ndindex(*out.shape), strict=True):
        out[i] = element


def gather(form, out, x, indices):
    after = form.axis + indices.ndim
    for i in np.ndindex(*out.shape):
        out[i] = x[(*i[: form.axis], int(indices[i[form.axis : after]]), *i[after:])]


def scatter(form, out, x, indices):
    out[...] = 0 if form.kind == "sum" else form.combiner.identity(as_dtype(x.dtype))
    after = form.axis + indices.ndim
    join = {"sum": np.add, "max": larger, "min": smaller}[form.kind]
    for i in np.ndindex(*x.shape):
        place = (*i[: form.axis], int(indices[i[form.axis : after]]), *i[after:])
        out[place] = join(out[place], x[i])


def along(form, out, x, indices):
    for i in np.ndindex(*out.shape):
        out[i] = x[(*i[: form.axis], int(indices[i]), *i[form.axis + 1 :])]


def onto(form, out, x, indices):
    out[...] = 0
    for i in np.ndindex(*x.shape):
        out[(*i[: form.axis], int(indices[i]), *i[form.axis + 1 :])] += x[i]


def assemble(form, out, *arrays):
    written = np.zeros(out.shape, int)
    for region, array in zip(form.regions, arrays, strict=True):
        for i in np.ndindex(*array.shape):
            parts = zip(region.starts, region.steps, i, strict=True)
            place = tuple(start + step * k for start, step, k in parts)
            assert all(0 <= k < n for k, n in zip(place, out.shape, strict=True))
            out[place] = array[i]
            written[place] += 1
    assert (written <= 1).all(), "two operands land on one place"
    if form.fill is None:
        assert (written == 1).all(), "a place that no operand covers"
    else:
        out[written == 0] = form.fill


def scan(form, out, *arrays):
    *factors, x = arrays
    for i in np.ndindex(*out.shape):
        before = (*i[: form.axis], i[form.axis] - 1, *i[form.axis + 1 :])
        if i[form.axis] == 0:
            out[i] = x[i]
        elif form.kind == "sum":
            out[i] = out[before] + x[i]
        elif form.kind == "prod":
            out[i] = out[before] * x[i]
        else:
            out[i] = factors[0][i] * out[before] + x[i]


def contract(form, out, a, b):
    batch = out.shape[:-2]
    a = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    b = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    for *p, i, j in np.ndindex(*out.shape):
        left = a[(*p, slice(None), i)] if form.transpose_a else a[(*p, i)]
        right = b[(*p, j)] if form.transpose_b else b[(*p, slice(None), j)]
        out[(*p, i, j)] = np.sum(left * right, dtype=out.dtype)


def each_window(axes):
    """Every tap of every window whose index lies in the image."""
    extents = [(axis.windows, axis.taps) for axis in axes]
    for (*found,) in np.ndindex(*[n for pair in extents for n in pair]):
        window, tap = tuple(found[::2]), tuple(found[1::2])
        place = tuple(
            a.step * y + a.dilation * k - a.before
            for a, y, k in zip(axes, window, tap, strict=True)
        )
        if all(0 <= at < axis.image for at, axis in zip(place, axes, strict=True)):
            yield place, window, tap


def window_product(form, out, a, b):
    out[...] = 0
    x, y, w = {
        "windows": (a, out, b), "image": (out, a, b), "filter": (a, b, out)
    }[form.result]  # fmt: skip
    channels, filters = w.shape[1], w.shape[0] // form.groups
    for place, window, tap in each_window(form.axes):
        for n, o, c in np.ndindex(x.shape[0], w.shape[0], channels):
            at = (n, o // filters * channels + c, *place), (n, o, *window), (o, c, *tap)
            if form.result == "windows":
                y[at[1]] += x[at[0]] * w[at[2]]
            elif form.result == "image":
                x[at[0]] += y[at[1]] * w[at[2]]
            else:
                w[at[2]] += x[at[0]] * y[at[1]]


def window_reduce(form, out, x, *places):
    taps = tuple(axis.taps for axis in form.axes)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    lead = x.shape[: x.ndim - len(taps)]
    windows = out.shape[out.ndim - len(taps) :]
    seen = np.zeros((*lead, *windows, *taps), x.dtype)
    inside = np.zeros((*windows, *taps), bool)
    for place, window, tap in each_window(form.axes):
        seen[(..., *window, *tap)] = x[(..., *place)]
        inside[(*window, *tap)] = True
    for at in np.ndindex(*lead, *windows):
        terms, there = seen[at].ravel(), inside[at[len(lead) :]].ravel()
        if form.kind == "sum":
            out[at] = reduce(np.add, terms)
        elif form.kind == "take":
            out[at] = terms[places[0][at]]
        elif form.kind == "max":
            out[at] = reduce(larger, [t for t, i in zip(terms, there, strict=True) if i] or [least])
        elif form.kind == "place":
            found = [k for k, i in enumerate(there) if i]
            out[at] = max(found, key=lambda k: order(terms[k]), default=0)
    if form.kind == "unfold":
        count, before = len(taps), len(lead)
        axes = range(before, before + count), range(before + count, before + 2 * count)
        out[...] = seen.transpose(*range(before), *axes[1], *axes[0])


def larger(a, b):
    """NaN wins, +0 is above -0."""
    if a.dtype.kind == "f" and a == b == 0:
        return b if np.signbit(a) else a
    return np.maximum(a, b)


def smaller(a, b):
    """NaN wins, -0 is below +0."""
    if a.dtype.kind == "f" and a == b == 0:
        return a if np.signbit(a) else b
    return np.minimum(a, b)


def order(x):
    return (True, 0) if x != x else (False, x)


def window_spread(form, out, y, *places):
    axes = form.axes
    lead = out.ndim - len(axes)
    counts = [-(-axis.taps // axis.residues) for axis in axes]
    terms = np.zeros((*counts, *out.shape), y.dtype)
    taps = tuple(axis.taps for axis in axes)
    for place, window, tap in each_window(axes):
        number = tuple(k // axis.residues for k, axis in zip(tap, axes, strict=True))
        if form.kind == "fold":
            given = y[(*(slice(None),) * lead, *tap, *window)]
        else:
            chosen = places[0][(..., *window)] == np.ravel_multi_index(tap, taps)
            given = np.where(chosen, y[(..., *window)], y.dtype.type(0))
        terms[(*number, ..., *place)] = given
    out[...] = reduce(np.add, terms.reshape(int(np.prod(counts)), *out.shape))


READINGS = {
    forms.View: view,
    forms.ReshapeForm: reshape,
    forms.Assemble: assemble,
    forms.Gather: gather,
    forms.Scatter: scatter,
    forms.GatherAlong: along,
    forms.ScatterAlong: onto,
    forms.Contract: contract,
    forms.Scan: scan,
    forms.WindowProduct: window_product,
    forms.WindowReduce: window_reduce,
    forms.WindowSpread: window_spread,
}


def inferred(sample):
    types = [TensorType(as_dtype(a.dtype), a.shape) for a in sample.arrays]
    out = sample.op.infer(*types)
    return out, sample.op.form(*as_tuple(out), *types)


MOVING = [
    "reshape", "transpose", "broadcast", "slice", "pad", "concat", "take", "scatter_add",
    "scatter_extreme",
    "take_along", "scatter_along", "matmul", "cumsum", "cumprod", "linear_scan",
    "conv", "conv_image", "conv_filter", "window_sum", "window_max", "window_place", "window_take",
    "window_put", "unfold", "fold",
]  # fmt: skip


@pytest.mark.parametrize("name", MOVING)
def test_the_form_does_what_the_reference_does(name):
    for sample in samples_of(name):
        out, form = inferred(sample)
        found = np.empty(out.shape, out.dtype.compute.numpy)
        with np.errstate(all="ignore"):
            interpret(form, found, tuple(map(widened, sample.arrays)))
            found = found.astype(out.dtype.numpy)
        expected = np.asarray(sample.reference())
        if sample.op.exact:
            assert same_bytes(found, expected), sample
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sort", "topk"])
def test_orders_are_those_of_the_keys(name):
    """Keys and positions in order, by Python's sort; the results are the first of them."""
    for sample in samples_of(name):
        (x,) = sample.arrays
        (values, places), form = inferred(sample)
        assert isinstance(form, forms.SortForm)
        assert form.keep == places.shape[form.axis]
        (keys,) = evaluated([form.key(ref("x", as_dtype(x.dtype)))], lambda leaf, x=x: x)
        keys = np.moveaxis(keys, form.axis, -1)
        assert keys.dtype == (np.int64 if x.dtype.itemsize == 8 else np.int32)
        found, at = (np.moveaxis(a, form.axis, -1) for a in sample.reference())
        rows = np.moveaxis(x, form.axis, -1)
        assert (values.shape, places.dtype) == (places.shape, I64)
        for i in np.ndindex(*rows.shape[:-1]):
            order = sorted(range(rows.shape[-1]), key=lambda k: (keys[i][k], k))[: form.keep]
            assert list(at[i]) == order
            assert same_bytes(found[i], rows[i][order])


def test_searches_count_what_comes_before():
    for sample in samples_of("searchsorted"):
        a, v = sample.arrays
        _, form = inferred(sample)
        assert form == forms.SearchForm(sample.op.right)
        side = "right" if form.right else "left"
        wanted = np.searchsorted(widened(a), widened(v), side)
        np.testing.assert_array_equal(sample.reference(), wanted)


@pytest.mark.parametrize("name", ["sum", "max", "min"])
def test_reductions_name_their_axes(name):
    for sample in samples_of(name):
        assert inferred(sample)[1] == forms.Reduce(name, sample.op.axes)


def test_iota_reads_the_position():
    for sample in samples_of("iota"):
        out, form = inferred(sample)
        assert isinstance(form, forms.Pointwise)
        assert form.indexed
        positions = list(np.indices(out.shape))
        leaves = [ref(str(axis), I64) for axis in range(out.rank)]
        (found,) = evaluated(
            [form.scalar(*leaves)], lambda leaf, at=positions: at[int(leaf.attribute)]
        )
        found = np.broadcast_to(found, out.shape)
        np.testing.assert_array_equal(found, sample.op.reference())
        assert form.scalar(*[literal(0, I64)] * out.rank).dtype == out.dtype


def test_class_labels_do_not_wrap_and_indices_do():
    for name, form in (("take_along", forms.GatherAlong), ("scatter_along", forms.ScatterAlong)):
        for sample in samples_of(name):
            assert inferred(sample)[1] == form(sample.op.axis, sample.op.wrap)
