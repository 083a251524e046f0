"""Every op of the registry on tensors: the values of its reference, the gradients of the graph."""

import numpy as np
import pytest

from staticgrad.eager import Tensor, grad
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.types.dtype import kind_of_elements
from tests.eager import oracle
from tests.ops.samples import samples_of

LEAVES = ("input", "parameter", "constant")
NAMES = [name for name in registered_ops() if name not in LEAVES and "." not in name]
every_op = pytest.mark.parametrize("name", NAMES)

#: Ops that add up in another order than the reference: where sums overflow depends on it.
OTHER_ORDER = ("sum", "matmul")
#: Relative; of what is for storage it is a unit in the last place.
TOLERANCE = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 1e-6, "float64": 1e-14}


def check_equal(name, found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if kind_of_elements(expected.dtype) != "f":
        np.testing.assert_array_equal(found, expected)
        return
    tolerance = TOLERANCE[expected.dtype.name]
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if name in OTHER_ORDER:
        known = np.isfinite(expected) & np.isfinite(found)
        found, expected = found[known], expected[known]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 100)


@every_op
def test_values_are_those_of_the_reference(name, refuse_nodes):
    samples = samples_of(name)
    refuse_nodes()
    for sample in samples:
        if not sample.arrays:
            continue
        with np.errstate(all="raise"):  # what the user asks of NumPy does not reach into ops
            found = oracle.as_tuple(sample.op(*map(Tensor.of, sample.arrays)))
        expected = oracle.as_tuple(sample.reference())
        for ours, theirs in zip(found, expected, strict=True):
            check_equal(name, ours.data, np.asarray(theirs))


def applied(sample):
    """Operands that need gradients where they are floating, and the results that carry them."""
    pairs = zip(sample.arrays, sample.moves, strict=True)
    args = [Tensor(a, moved, a.dtype) for a, moved in pairs]
    outs = [out for out in oracle.as_tuple(sample.op(*args)) if out.requires_grad]
    return [arg for arg in args if arg.requires_grad], outs


@every_op
def test_gradients_are_those_of_the_graph(name):
    rng = np.random.default_rng(3)
    for sample in samples_of(name):
        moved, outs = applied(sample) if sample.smooth else ([], [])
        if not outs:
            continue
        weights = [rng.normal(size=out.shape) for out in outs]
        found = grad(outs, moved, weights, allow_disconnected=True)
        expected = oracle.gradients(sample.op, sample.arrays, weights, moves=sample.moves)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours.data, theirs, rtol=1e-12, atol=1e-12)


@every_op
def test_second_gradients_are_those_of_the_graph(name):
    rng = np.random.default_rng(4)
    for sample in [s for s in samples_of(name) if s.smooth][:1]:
        moved, outs = applied(sample)
        if not outs:
            continue
        weights = [rng.normal(size=out.shape) for out in outs]
        first = grad(outs, moved, weights, create_graph=True, allow_disconnected=True)
        squares = sum((g * g).sum() for g in first)
        if not squares.requires_grad:
            continue
        found = grad(squares, moved, allow_disconnected=True)
        expected = oracle.gradients(sample.op, sample.arrays, weights, order=2, moves=sample.moves)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours.data, theirs, rtol=1e-10, atol=1e-10)
