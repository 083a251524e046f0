"""Laws of every op in the registry, in graphs and on tensors, checked on its samples.

A law is a function of a sample (``tests/laws/samples.py``) and of random numbers; one test is one
law of one op. The oracles are the op's reference in NumPy, central differences of fourth order in
float64, the transpose of the other mode and, for tensors, the graph. ``compiled/test_ops.py`` has
what holds of their kernels. An op that has no samples fails ``test_completeness.py``.
"""

import pickle
from functools import lru_cache, partial

import numpy as np
import pytest

from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor, grad as grad_of_tensors
from staticgrad.language.ir import graph
from staticgrad.language.ir.expr import ref
from staticgrad.language.ir.forms import Form, Pointwise
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.parser import parse
from staticgrad.language.ir.printer import same_graph
from staticgrad.language.ir.rounded import element
from staticgrad.language.types.dtype import as_dtype, kind_of_elements
from staticgrad.language.vecmath.blocks import LONG
from tests.eager import oracle
from tests.laws.samples import as_tuple, op_names, samples_of, types_of
from tests.laws.table import Laws
from tests.ops.elements import on_arrays
from tests.ops.graphs import run, run_all, variable

NAMES = op_names()
#: What an element's expression of float16 may be off by, in relation and in denormal numbers: one
#: unit in the last place, as it is computed in float32.
HALF = (2.0**-10, 2.0**-24)
STEP = 2e-4  # of the differences; samples stay clear of kinks by 1e-3
#: Ops that add up in another order than the reference: where sums overflow depends on it.
OTHER_ORDER = ("sum", "matmul")
#: Of tensors, relative; of what is for storage it is a unit in the last place.
TOLERANCE = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 1e-6, "float64": 1e-14}

LAWS = Laws()
law = LAWS.law

samples_in_turn = lru_cache(maxsize=1)(samples_of)  # for all laws of one op


def smooth(samples):
    return [sample for sample in samples if sample.smooth]


# -- types, attributes, text -----------------------------------------------------------------------


@law()
def types_are_those_of_the_reference(sample, rng):
    assert isinstance(sample.op.exact, bool)
    assert isinstance(sample.op.differentiable, bool)
    inferred = as_tuple(sample.op.infer(*types_of(sample)))
    for kind, result in zip(inferred, as_tuple(sample.reference()), strict=True):
        array = np.asarray(result)
        assert (array.dtype, array.shape) == (kind.dtype.numpy, kind.shape), sample


@law()
def attributes_rebuild_the_op(sample, rng):
    again = type(sample.op)(**dict(sample.op.attributes()))
    assert again == sample.op
    assert hash(again) == hash(sample.op)
    assert pickle.loads(pickle.dumps(again)) == sample.op


@law(on=lambda samples: {sample.op: sample for sample in reversed(samples)}.values())
def text_reads_back(sample, rng):
    values = [variable_like(f"x{i}", array) for i, array in enumerate(sample.arrays)]
    outs = as_tuple(sample.op(*values))
    program = Graph({f"y{i}": out for i, out in enumerate(outs)})
    again = parse(str(program))
    assert same_graph(again, program)
    assert again["y0"].node.op == sample.op


def variable_like(label, array):
    return variable(label, as_dtype(array.dtype), array.shape)


# -- elements --------------------------------------------------------------------------------------


@law()
def form_and_element_agree_with_reference(sample, rng):
    form, out = form_of(sample)
    assert isinstance(form, Form)
    if not isinstance(form, Pointwise) or form.indexed:
        return
    arrays = [*sample.arrays, *(np.asarray(size, np.int64) for size in form.sizes)]
    scalar = partial(element, form.scalar, out.dtype)
    actual = on_arrays(scalar, arrays, [as_dtype(a.dtype) for a in arrays])
    check_element(sample, np.asarray(actual), np.asarray(sample.reference()))


def few_of_long_formulas(samples):
    """Return few samples of long formulas: NumPy evaluates them slowly."""
    every = 4 if samples and samples[0].op.name in {*LONG, "polygamma"} else 1
    return samples[::every]


@law(on=few_of_long_formulas)
def kernel_arithmetic_agrees_with_reference(sample, rng):
    form, out = form_of(sample)
    if not isinstance(form, Pointwise) or form.indexed or form.sizes or not sample.arrays:
        return
    leaves = [ref(str(i), t.dtype) for i, t in enumerate(types_of(sample))]
    root = element(form.scalar, out.dtype, *leaves)
    actual = interpret([root], lambda leaf: sample.arrays[int(leaf.attribute)])
    check_element(sample, actual[0], np.asarray(sample.reference()))


def form_of(sample):
    """The form of an op, and the type of its first result."""
    types = types_of(sample)
    outs = as_tuple(sample.op.infer(*types))
    return sample.op.form(*outs, *types), outs[0]


def check_element(sample, actual, expected):
    actual = np.broadcast_to(actual, expected.shape)
    assert actual.dtype == expected.dtype
    if sample.op.exact:
        assert same_bytes(actual, expected), differing(sample, actual, expected)
    else:
        places = sample.wide if expected.dtype == np.float64 else sample.tolerance
        places, least = HALF if expected.dtype == np.float16 else (places, 0.0)
        np.testing.assert_allclose(actual, expected, rtol=places, atol=least)


def differing(sample, actual, expected):
    operands = np.broadcast_arrays(*sample.arrays)
    both_nan = (actual != actual) & (expected != expected)
    where = np.argwhere((actual.astype(str) != expected.astype(str)) & ~both_nan)[:5]
    return "\n".join(
        f"{sample.op}({', '.join(repr(o[tuple(i)]) for o in operands)}):"
        f" scalar {actual[tuple(i)]!r}, reference {expected[tuple(i)]!r}"
        for i in where
    )


# -- derivatives -----------------------------------------------------------------------------------


class Application:
    """A smooth sample as a graph: floating operands are inputs, the others constants."""

    def __init__(self, sample, rng):
        self.feeds = {}
        self.inputs = []
        values = []
        for position, array in enumerate(sample.arrays):
            if array.dtype != np.float64 or not sample.moves[position]:
                values.append(array)
                continue
            self.feeds[f"x{position}"] = array
            self.inputs.append(variable_like(f"x{position}", array))
            values.append(self.inputs[-1])
        outs = [out for out in as_tuple(sample.op(*values)) if out.dtype.is_float]
        self.results = [(out, rng.normal(size=out.shape)) for out in outs]

    def weighted_sum(self, results, feeds):
        """The sum of results times their weights."""
        arrays = run_all([value for value, _ in results], feeds)
        return float(sum(np.sum(a * w) for a, (_, w) in zip(arrays, results, strict=True)))

    def gradients(self, results):
        """The gradient of the weighted sum by every input."""
        total = [None] * len(self.inputs)
        for value, weight in results:
            for i, g in enumerate(grad(value, self.inputs, seed=weight, allow_disconnected=True)):
                total[i] = g if total[i] is None else total[i] + g
        return total

    def check(self, results, rng):
        """Gradients of ``results`` against differences along a random direction; the gradients."""
        gradients = self.gradients(results)
        step = {name: rng.normal(size=x.shape) for name, x in self.feeds.items()}
        for direction in step.values():
            direction /= max(1.0, np.abs(direction).max(initial=0.0))
        arrays = run_all(gradients, self.feeds)
        product = sum(np.sum(g * v) for g, v in zip(arrays, step.values(), strict=True))

        def at(distance):
            shifted = {n: x + distance * step[n] for n, x in self.feeds.items()}
            return self.weighted_sum(results, shifted)

        near, far = at(STEP) - at(-STEP), at(2 * STEP) - at(-2 * STEP)
        difference = (8 * near - far) / (12 * STEP)
        scale = sum(
            float(np.sum(np.abs(g * v))) for g, v in zip(arrays, step.values(), strict=True)
        )
        assert product == pytest.approx(difference, rel=1e-7, abs=1e-8 * max(1.0, scale))
        return gradients


@law(on=smooth)
def first_and_second_derivatives(sample, rng):
    application = Application(sample, rng)
    if application.inputs and application.results:
        gradients = application.check(application.results, rng)
        application.check([(g, rng.normal(size=g.shape)) for g in gradients], rng)


@law()
def rule_gives_nothing_without_gradient(sample, rng):
    if sample.op.differentiable:
        return
    values = [variable_like(f"x{i}", array) for i, array in enumerate(sample.arrays)]
    for out in as_tuple(sample.op(*values)):
        assert all(ct is None for ct in sample.op.vjp(out, out, *values))


@law(on=smooth)
def jvp_is_the_transpose_of_vjp(sample, rng):
    """<weights, J t> = <J^T weights, t>, also where one operand alone has a tangent."""
    application = Application(sample, rng) if hasattr(sample.op, "jvp") else None
    if application is None or not application.inputs or len(application.results) != 1:
        return
    ((out, weight),) = application.results
    node, feeds = out.node, dict(application.feeds)
    backward = run_all(application.gradients(application.results), feeds)
    gradients = dict(zip(feeds, backward, strict=True))
    for chosen in ([*gradients], *([name] for name in gradients)):
        feeds |= {f"t{name}": rng.normal(size=application.feeds[name].shape) for name in chosen}
        tangents = [
            variable_like(f"t{arg.node.op.label}", application.feeds[arg.node.op.label])
            if arg.node.op.name == "input" and arg.node.op.label in chosen
            else None
            for arg in node.args
        ]
        outs = node.values if len(node.types) > 1 else out
        pushed = as_tuple(sample.op.jvp(tangents, outs, *node.args))[out.index]
        if pushed is None:
            assert not sample.op.differentiable
            continue
        assert pushed.type == out.type
        forward = np.sum(run(pushed, feeds) * weight)
        expected = sum(np.sum(gradients[name] * feeds[f"t{name}"]) for name in chosen)
        assert forward == pytest.approx(expected, rel=1e-9, abs=1e-9)


# -- tensors ---------------------------------------------------------------------------------------


@law(on=lambda samples: [sample for sample in samples if sample.arrays])
def tensors_have_the_values_of_the_reference(sample, rng):
    """Without a node of a graph, whatever the user asks of NumPy."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a symbolic node was built")

    with pytest.MonkeyPatch.context() as patch, np.errstate(all="raise"):
        patch.setattr(graph.Node, "__init__", refuse)
        actual = as_tuple(sample.op(*map(Tensor.of, sample.arrays)))
    for ours, theirs in zip(actual, as_tuple(sample.reference()), strict=True):
        check_tensor(sample.op.name, ours.data, np.asarray(theirs))


def check_tensor(name, actual, expected):
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if kind_of_elements(expected.dtype) != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    tolerance = TOLERANCE[expected.dtype.name]
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    if name in OTHER_ORDER:
        finite = np.isfinite(expected) & np.isfinite(actual)
        actual, expected = actual[finite], expected[finite]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * 100)


def apply_to_tensors(sample):
    """Operands that need gradients where they are floating, and the results that carry them."""
    pairs = zip(sample.arrays, sample.moves, strict=True)
    args = [Tensor(a, needs_gradient, a.dtype) for a, needs_gradient in pairs]
    outs = [out for out in as_tuple(sample.op(*args)) if out.requires_grad]
    return [arg for arg in args if arg.requires_grad], outs


@law(on=smooth)
def tensors_have_the_gradients_of_the_graph(sample, rng):
    leaves, outs = apply_to_tensors(sample)
    if not outs:
        return
    weights = [rng.normal(size=out.shape) for out in outs]
    actual = grad_of_tensors(outs, leaves, weights, allow_disconnected=True)
    expected = oracle.gradients(sample.op, sample.arrays, weights, moves=sample.moves)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours.data, theirs, rtol=1e-12, atol=1e-12)


@law(on=lambda samples: smooth(samples)[:1])
def tensors_have_the_second_gradients_of_the_graph(sample, rng):
    leaves, outs = apply_to_tensors(sample)
    if not outs:
        return
    weights = [rng.normal(size=out.shape) for out in outs]
    first = grad_of_tensors(outs, leaves, weights, create_graph=True, allow_disconnected=True)
    squares = sum((g * g).sum() for g in first)
    if not squares.requires_grad:
        return
    actual = grad_of_tensors(squares, leaves, allow_disconnected=True)
    expected = oracle.gradients(sample.op, sample.arrays, weights, order=2, moves=sample.moves)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours.data, theirs, rtol=1e-10, atol=1e-10)


# -- the laws of every op --------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", NAMES)
def test_a_law_of_every_op(name, law):
    LAWS.check(law, samples_in_turn(name), np.random.default_rng(1))
