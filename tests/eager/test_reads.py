"""Contents of the tape: the operands and results that a rule reads, of every op, and no others."""

import operator
import tracemalloc
import weakref
from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, detect_mutation, grad
from staticgrad.eager.binding import rule_reads
from staticgrad.eager.tensor import Hollow
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.cotangent import resolve, shares_of
from tests.eager import oracle
from tests.laws.samples import op_names, samples_of

every_op = pytest.mark.parametrize("name", op_names())


class Counted(Tensor):
    """A tensor that counts how often its array is asked for."""

    __slots__ = ("asked",)

    def __init__(self, array):
        object.__setattr__(self, "asked", 0)
        super().__init__(array, dtype=array.dtype)

    shape, ndim, size = Value.shape, Value.ndim, Value.size

    def __getattribute__(self, name):
        if name in ("array", "data"):
            object.__setattr__(self, "asked", object.__getattribute__(self, "asked") + 1)
        return super().__getattribute__(name)


def types(arrays):
    return [Tensor.of(np.asarray(a)).type for a in arrays]


def with_stand_ins(tensors, reads):
    """Tensors, but for those of narrow floats that a rule does not read, whose dtype changes."""
    return [
        tensor if read or not tensor.dtype.is_storage else Hollow(tensor.type)
        for tensor, read in zip(tensors, reads, strict=True)
    ]


def patterns(sample):
    """Every choice of floating operands that need gradients, but for none."""
    choices = [(False, True) if is_moved else (False,) for is_moved in sample.moves]
    return (pattern for pattern in product(*choices) if any(pattern))


@pytest.mark.thinned(23)
@every_op
def test_a_rule_reads_what_is_kept_for_it_and_all_of_it(name):
    """Counted on tensors: what the rule asks an array of, and so must be kept."""
    for sample in samples_of(name):
        outs = oracle.as_tuple(sample.op(*map(Tensor.of, sample.arrays))) if sample.arrays else ()
        if len(sample.arrays) > 6 or not sample.op.differentiable or not sample.op.has_rule:
            continue
        unbounded = getattr(sample.op, "most", 0) is None  # such a loop has no rule
        if unbounded or not any(out.dtype.is_float for out in outs):
            continue
        if sample.op.rule_is_foreign:
            actual = rule_reads(sample.op, types(sample.arrays), types(o.data for o in outs), ())
            assert all(map(all, actual))
            continue
        for expected in patterns(sample):
            args = [Counted(a) for a in sample.arrays]
            results = [Counted(out.data) for out in outs]
            for tensor in (*args, *results):
                tensor.asked = 0
            actual = rule_reads(sample.op, types(sample.arrays), [o.type for o in outs], expected)
            args, results = map(with_stand_ins, (args, results), actual)
            cts = [
                Tensor.of(np.ones(r.type.shape, r.type.dtype.numpy))
                if r.type.dtype.is_float
                else None
                for r in results
            ]
            shares = shares_of(sample.op, cts, results, args, expected)
            for share, want in zip(shares, expected, strict=True):
                if want and share is not None and not isinstance(share, float):
                    _ = resolve(share).array
            asked = [
                tuple(not isinstance(tensor, Hollow) and bool(tensor.asked) for tensor in row)
                for row in (args, results)
            ]
            assert [*actual] == asked, (name, expected)
            everything = next(reversed(list(patterns(sample))))  # what a tape keeps for all
            all_reads = rule_reads(
                sample.op, types(sample.arrays), [o.type for o in outs], everything
            )
            for some, every in zip(actual, all_reads, strict=True):
                assert all(map(operator.le, some, every))


@every_op
def test_gradients_need_no_more_than_is_kept(name):
    """Each pattern of operands that need gradients: the same as when all need them."""
    rng = np.random.default_rng(5)
    for sample in [s for s in samples_of(name) if s.smooth][:2]:
        if len(sample.arrays) > 4:
            continue
        outs = oracle.as_tuple(sample.op(*map(Tensor.of, sample.arrays)))
        floats = [k for k, out in enumerate(outs) if out.dtype.is_float]
        weights = [rng.normal(size=outs[k].shape) for k in floats]
        moves = sample.moves
        expected = (
            oracle.gradients(sample.op, sample.arrays, weights, moves=moves) if floats else []
        )
        where = [k for k, is_moved in enumerate(moves) if is_moved]
        for requires_grad in patterns(sample):
            args = [
                Tensor(a, w, a.dtype) for a, w in zip(sample.arrays, requires_grad, strict=True)
            ]
            results = oracle.as_tuple(sample.op(*args))
            used = [results[k] for k in floats]
            if not all(out.requires_grad for out in used) or not used:
                continue
            leaves = [arg for arg in args if arg.requires_grad]
            gradients = grad(used, leaves, weights, allow_disconnected=True)
            theirs = [e for k, e in zip(where, expected, strict=True) if requires_grad[k]]
            for ours, reference in zip(gradients, theirs, strict=True):
                np.testing.assert_allclose(ours.data, reference, rtol=1e-12, atol=1e-12)


def peak(function):
    """Bytes that NumPy and Python hold at most while ``function`` runs a third time."""
    for _ in range(2):
        function()
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        function()
        return tracemalloc.get_traced_memory()[1] - start
    finally:
        tracemalloc.stop()


ROWS, WIDTH, LAYERS = 512, 64, 12
ONE = ROWS * WIDTH * 4


def layers(x, ws):
    for w in ws:
        x = sg.tanh(x @ w + 1.0)
    return (x * x).sum()


@pytest.mark.thinned(2)
@pytest.mark.parametrize("how", ["backward", "grad"])
def test_a_pass_holds_one_activation_per_layer(how):
    """tanh keeps its result, which is the next product's operand; sums and additions keep nothing.

    At most four arrays beside them: the cotangent, and what the rule of tanh computes from it.
    """
    ws = [Tensor(np.eye(WIDTH, dtype="float32"), requires_grad=True) for _ in range(LAYERS)]
    x = Tensor(np.ones((ROWS, WIDTH), "float32"))

    def step():
        if how == "backward":
            layers(x, ws).backward()
            for w in ws:
                w.zero_grad()
        else:
            grad(layers(x, ws), ws)

    peak_bytes = peak(step)
    assert LAYERS * ONE < peak_bytes < (LAYERS + 4.5) * ONE


def test_what_is_not_kept_may_be_freed_and_is_watched():
    x = Tensor(np.ones(4), requires_grad=True)
    inner = x + 1.0
    gone = weakref.ref(inner.data)
    total = (inner + 2.0).sum()
    del inner
    assert gone() is None
    total.backward()
    assert x.grad.tolist() == [1.0] * 4
    x = Tensor([1.0, 2.0], requires_grad=True)
    with detect_mutation():
        y = x + 1.0
    x.data[0] = 9.0
    with pytest.raises(RuntimeError, match="operand 1 changed"):
        y.backward(np.ones(2))


def test_a_gradient_is_no_operand():
    """A rule of the user's own that hands on an operand gives a copy of it."""

    @sg.custom_vjp
    def same(value):
        return value * 1.0

    @same.rule
    def _(ct, out, value):
        return (value,)

    x = Tensor([3.0, 4.0], requires_grad=True)
    same(x).backward(np.ones(2))
    assert x.grad.tolist() == [3.0, 4.0]
    assert not np.shares_memory(x.grad, x.data)
