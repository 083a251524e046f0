"""What holds for every op in the registry, checked on its samples (see ``samples.py``).

Types agree with the reference; attributes and text rebuild the op; the element's expression agrees
with the reference, read by NumPy and as kernels read it (byte for byte where the op says so); first
and second derivatives agree with central differences of fourth order in float64.
"""

import pickle
from functools import partial

import numpy as np
import pytest

from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.autodiff.reverse import grad
from staticgrad.language.ir.expr import ref
from staticgrad.language.ir.forms import Form, Pointwise
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ir.parser import parse
from staticgrad.language.ir.printer import same_graph
from staticgrad.language.ir.rounded import element
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import as_dtype
from staticgrad.language.vecmath.blocks import LONG
from tests.ops.elements import on_arrays
from tests.ops.graphs import run, run_all, variable
from tests.ops.samples import samples_of

#: The ops of this package but for the leaves; those from outside have a dot in their names.
NAMES = [
    n for n in registered_ops() if n not in ("input", "parameter", "constant") and "." not in n
]
#: What an element's expression of float16 may be off by, in relation and in denormal numbers: one
#: unit in the last place, as it is computed in float32.
HALF = (2.0**-10, 2.0**-24)
STEP = 2e-4  # of the differences; samples stay clear of kinks by 1e-3

every_op = pytest.mark.parametrize("name", NAMES)


def types_of(arrays):
    return [TensorType(as_dtype(a.dtype), a.shape) for a in arrays]


def variable_like(label, array):
    return variable(label, as_dtype(array.dtype), array.shape)


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


@every_op
def test_infer_agrees_with_reference(name):
    op = registered_ops()[name]
    assert isinstance(op.exact, bool)
    assert isinstance(op.differentiable, bool)
    for sample in samples_of(name):
        inferred = as_tuple(sample.op.infer(*types_of(sample.arrays)))
        results = as_tuple(sample.reference())
        assert len(inferred) == len(results)
        for tensor_type, result in zip(inferred, results, strict=True):
            array = np.asarray(result)
            assert (array.dtype, array.shape) == (tensor_type.dtype.numpy, tensor_type.shape), (
                sample
            )


@every_op
def test_attributes_rebuild_the_op(name):
    for sample in samples_of(name):
        again = type(sample.op)(**dict(sample.op.attributes()))
        assert again == sample.op
        assert hash(again) == hash(sample.op)
        assert pickle.loads(pickle.dumps(again)) == sample.op


@every_op
def test_text_reads_back(name):
    for op in dict.fromkeys(sample.op for sample in samples_of(name)):
        sample = next(s for s in samples_of(name) if s.op == op)
        values = [variable_like(f"x{i}", array) for i, array in enumerate(sample.arrays)]
        outs = as_tuple(op(*values))
        graph = Graph({f"y{i}": out for i, out in enumerate(outs)})
        again = parse(str(graph))
        assert same_graph(again, graph)
        assert again["y0"].node.op == op


@every_op
def test_form_and_element_agree_with_reference(name):
    for sample in samples_of(name):
        types = types_of(sample.arrays)
        inferred = sample.op.infer(*types)
        form = sample.op.form(*as_tuple(inferred), *types)
        assert isinstance(form, Form)
        if not isinstance(form, Pointwise) or form.indexed:
            continue
        sizes = [np.asarray(size, np.int64) for size in form.sizes]
        arrays = [*sample.arrays, *sizes]
        scalar = partial(element, form.scalar, as_tuple(inferred)[0].dtype)
        found = on_arrays(scalar, arrays, [t.dtype for t in types_of(tuple(arrays))])
        check_element(sample, np.asarray(found), np.asarray(sample.reference()))


@every_op
def test_kernel_arithmetic_agrees_with_reference(name):
    """Of long formulas, as NumPy reads them operation by operation, every fourth sample."""
    for sample in samples_of(name)[:: 4 if name in {*LONG, "polygamma"} else 1]:
        types = types_of(sample.arrays)
        outs = as_tuple(sample.op.infer(*types))
        form = sample.op.form(*outs, *types)
        if not isinstance(form, Pointwise) or form.indexed or form.sizes or not types:
            continue
        leaves = [ref(str(i), t.dtype) for i, t in enumerate(types)]
        root = element(form.scalar, outs[0].dtype, *leaves)
        found = interpret([root], lambda leaf, at=sample.arrays: at[int(leaf.attribute)])
        expected = np.asarray(sample.reference())
        check_element(sample, found[0], expected)


def check_element(sample, found, expected):
    found = np.broadcast_to(found, expected.shape)
    assert found.dtype == expected.dtype
    if sample.op.exact:
        assert same_bytes(found, expected), differing(sample, found, expected)
    else:
        places = sample.wide if expected.dtype == np.float64 else sample.tolerance
        places, least = HALF if expected.dtype == np.float16 else (places, 0.0)
        np.testing.assert_allclose(found, expected, rtol=places, atol=least)


def differing(sample, found, expected):
    operands = np.broadcast_arrays(*sample.arrays)
    both_nan = (found != found) & (expected != expected)
    where = np.argwhere((found.astype(str) != expected.astype(str)) & ~both_nan)[:5]
    return "\n".join(
        f"{sample.op}({', '.join(repr(o[tuple(i)]) for o in operands)}):"
        f" scalar {found[tuple(i)]!r}, reference {expected[tuple(i)]!r}"
        for i in where
    )


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

    def weighted(self, results, feeds):
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
            moved = {n: x + distance * step[n] for n, x in self.feeds.items()}
            return self.weighted(results, moved)

        near, far = at(STEP) - at(-STEP), at(2 * STEP) - at(-2 * STEP)
        difference = (8 * near - far) / (12 * STEP)
        scale = sum(
            float(np.sum(np.abs(g * v))) for g, v in zip(arrays, step.values(), strict=True)
        )
        assert product == pytest.approx(difference, rel=1e-7, abs=1e-8 * max(1.0, scale))
        return gradients


def smooth_samples(name):
    return [sample for sample in samples_of(name) if sample.smooth]


@every_op
def test_first_and_second_derivatives(name):
    rng = np.random.default_rng(1)
    for sample in smooth_samples(name):
        application = Application(sample, rng)
        if not application.inputs or not application.results:
            continue
        gradients = application.check(application.results, rng)
        application.check([(g, rng.normal(size=g.shape)) for g in gradients], rng)


@pytest.mark.parametrize("name", [n for n in NAMES if not registered_ops()[n].differentiable])
def test_rule_gives_nothing_without_gradient(name):
    for sample in samples_of(name):
        values = [variable_like(f"x{i}", array) for i, array in enumerate(sample.arrays)]
        for out in as_tuple(sample.op(*values)):
            assert all(ct is None for ct in sample.op.vjp(out, out, *values))


@every_op
def test_jvp_is_the_transpose_of_vjp(name):
    """<weights, J t> = <J^T weights, t>, also where one operand alone has a tangent."""
    rng = np.random.default_rng(2)
    for sample in smooth_samples(name) if hasattr(registered_ops()[name], "jvp") else ():
        application = Application(sample, rng)
        if not application.inputs or len(application.results) != 1:
            continue
        ((out, weight),) = application.results
        node, feeds = out.node, dict(application.feeds)
        backward = run_all(application.gradients(application.results), feeds)
        moved = dict(zip(feeds, backward, strict=True))
        for chosen in ([*moved], *([name] for name in moved)):
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
            expected = sum(np.sum(moved[name] * feeds[f"t{name}"]) for name in chosen)
            assert forward == pytest.approx(expected, rel=1e-9, abs=1e-9)
