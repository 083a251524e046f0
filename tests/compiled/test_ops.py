"""Every op of the registry, compiled: on its samples, at sizes round the vector width, derived.

An op that has no samples, or none of some kind, fails here; nothing has to be added for a new op.
All samples of one op are one program, so that this costs little.
"""

import os

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.autodiff.reverse import grad
from staticgrad.language.ir.expr import BLOCKS, ref
from staticgrad.language.ir.forms import CallForm, Contract, Pointwise, WindowProduct
from staticgrad.language.ir.graph import BodyOp, ancestors
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ir.rounded import element
from staticgrad.language.ops.contract import MatMul, PanelMatMul
from staticgrad.language.ops.convolution import Conv, ConvFilter, ConvImage
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.fourier import FourierTransform
from staticgrad.language.ops.marks import Mark
from staticgrad.language.ops.special_functions import SpecialFunction
from staticgrad.language.types.dtype import F32, F64
from staticgrad.language.vecmath.blocks import LONG, ULP
from staticgrad.testing.variants import LAYOUTS, views
from tests.compiled.agreement import (
    assert_near,
    assert_same,
    differing,
    input_like,
    used_feeds,
)
from tests.helpers.diagonals import diagonals, every_nth
from tests.helpers.limits import finfo
from tests.ir.test_vecmath import power_samples, samples as block_samples, truth, ulps
from tests.laws.completeness import SIZES as SIZES_OF_ROWS
from tests.laws.samples import Sample, as_tuple, declaration_of, op_names, samples_of, types_of

NAMES = op_names()
SIZES = (0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 257)
MOST_SAMPLES = 8  # of one op in a quick test: a kernel takes some 10 ms to compile
MOST_ELEMENTWISE = 4
MOST_PRODUCTS = 6  # a matrix product 50 ms
MOST_SMOOTH = 3  # whose derivatives are kernels of their own
BY_NUMBA = os.environ.get("STATICGRAD_BACKEND") == "numba"
MOST_BY_NUMBA = 2
#: Ops of which a kernel, or a vector of elements in plain Python, takes a tenth of a second.
LONGEST = LONG | {"polygamma"}
MOST_LONG = 3

every_op = pytest.mark.parametrize("name", NAMES)


def is_elementwise(name):
    """Return whether an op reads its operands as all elementwise ops do."""
    return issubclass(registered_ops()[name], Elementwise)


def most_ops(every):
    """All ops, but of the elementwise ones each n-th; the rest with ``-m exhaustive``."""
    elementwise = [name for name in NAMES if is_elementwise(name)]
    left_out = {*elementwise} - {*elementwise[::every]}
    exhaustive = [pytest.mark.exhaustive]
    marked = [pytest.param(name, marks=exhaustive * (name in left_out)) for name in NAMES]
    return pytest.mark.parametrize("name", marked)


def repeat_first_row(array):
    """Return the first row for every row, without memory: stride 0 along the first axis."""
    return np.broadcast_to(array[:1], array.shape) if array.ndim and array.shape[0] else array


class Program:
    """Many applications of ops as one graph: inputs and outputs are numbered."""

    def __init__(self):
        self.outputs = {}
        self.feeds = {}

    def operand(self, array):
        name = f"x{len(self.feeds)}"
        self.feeds[name] = array
        return input_like(name, array)

    def add_output(self, value):
        name = f"y{len(self.outputs)}"
        self.outputs[name] = value
        return name

    def graph(self):
        return sg.Graph(self.outputs)

    def run(self, every=slice(None)):
        """The results; the same ones, to the byte, from feeds in every layout, or in some."""
        graph = self.graph()
        feeds = used_feeds(graph, self.feeds)
        f = sg.compile(graph)
        actual = {name: array.copy() for name, array in f.run(feeds).items()}
        for layout, change in list(LAYOUTS.items())[every]:
            assert_same(f.run({n: change(a) for n, a in feeds.items()}), actual, layout)
        same_rows = {name: repeat_first_row(array) for name, array in feeds.items()}
        copied = f.run({name: array.copy() for name, array in same_rows.items()})
        copied = {name: array.copy() for name, array in copied.items()}
        assert_same(f.run(same_rows), copied, "broadcast")
        return actual


def spread(samples, most=MOST_SAMPLES):
    """Some of many samples, evenly picked, with the first of every op and choice of dtypes."""
    if samples and samples[0].op.name == "matmul":
        most = min(most, MOST_PRODUCTS)
    kinds = {}
    for sample in samples:
        kinds.setdefault((type(sample.op), *(a.dtype for a in sample.arrays)), sample)
    others = [s for s in samples if all(s is not selected for selected in kinds.values())]
    room = max(1, most - len(kinds))
    return [*kinds.values(), *others[:: max(1, -(-len(others) // room))]]


def expected_results(sample):
    """Return a kernel's exact results: by the reference if the op is exact, else by the
    element's expression."""
    op = sample.op
    types = types_of(sample)
    out = op.infer(*types)
    form = op.form(*as_tuple(out), *types)
    if op.exact or isinstance(form, CallForm):
        return tuple(np.asarray(r) for r in as_tuple(sample.reference()))
    if isinstance(form, Contract | WindowProduct):
        return ()
    assert isinstance(form, Pointwise)
    assert not form.indexed
    assert not form.sizes
    leaves = [ref(str(i), t.dtype) for i, t in enumerate(types)]
    root = element(form.scalar, as_tuple(out)[0].dtype, *leaves)
    elements = interpret([root], lambda leaf: sample.arrays[int(leaf.attribute)])
    return (np.broadcast_to(elements[0], out.shape),)


@most_ops(4 if BY_NUMBA else 1)
def test_samples_agree(name):
    samples = samples_of(name)
    assert samples, f"{name} has no samples"
    if BY_NUMBA:
        check_samples(read_by_numba(name, samples))
    elif is_elementwise(name):  # every dtype is among the sizes below
        check_samples(samples[:: -(-len(samples) // MOST_ELEMENTWISE)])
    else:
        check_samples(spread(samples, MOST_LONG if name in LONGEST else MOST_SAMPLES))


def read_by_numba(name, samples):
    """Few, each of which takes it half a second; of what is elementwise one, of dtypes in turn."""
    if issubclass(registered_ops()[name], Conv | ConvImage | ConvFilter):
        return samples[:1]
    if is_elementwise(name):
        sized = [s for s in samples if any(a.size > 1 for a in s.arrays)]
        return [sized[NAMES.index(name) % len(sized)]]
    return samples[:: -(-len(samples) // MOST_BY_NUMBA)]


@pytest.mark.exhaustive
@every_op
def test_all_samples_agree(name):
    """Those too that differ from others by their shapes alone."""
    check_samples(samples_of(name))


def check_samples(samples):
    """All in one program, each result to the byte."""
    program = Program()
    named = []
    for sample in samples:
        results = as_tuple(sample.op(*(program.operand(a) for a in sample.arrays)))
        named.append((sample, [program.add_output(value) for value in results]))
    arrays_by_name = program.run()
    for sample, names in named:
        check_results(sample, [arrays_by_name[n] for n in names], "")


def check_results(sample, actual, what):
    """Results of one application, to the byte; of a product, within its bound.

    Those of a loop or branch are as near to the reference as the kernels of its body.
    """
    if isinstance(sample.op, BodyOp):
        for got, want in zip(actual, as_tuple(sample.reference()), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        return
    all_expected = expected_results(sample)
    if isinstance(sample.op, Conv | ConvImage | ConvFilter):
        assert_convolution(sample, actual[0])
    elif isinstance(sample.op, FourierTransform):
        assert_transform(actual[0], all_expected[0])
        return
    elif not all_expected:
        assert_product(actual[0], *factors_of(sample))
    for got, want in zip(actual, all_expected, strict=bool(all_expected)):
        assert same_bytes(got, want), f"{sample.op} {what}: {differing(got, want)}"


@pytest.mark.thinned(12)
@most_ops(3)
def test_operands_may_be_views(name):
    """Reversed, transposed, strided, cut out of a larger one: inside the graph.

    One sample of each op, two of four views of it in turn: how operands are read depends on the
    op's form, which many have.
    """
    sizeable = spread([s for s in samples_of(name) if is_sizeable(s)], 1)
    check_views(sizeable[-1:], NAMES.index(name))


@pytest.mark.exhaustive
@every_op
def test_all_operands_may_be_views(name):
    check_views(spread([s for s in samples_of(name) if is_sizeable(s)], 40))


def is_sizeable(sample):
    """Return whether a view of the operands differs from them."""
    return any(1 < a.size <= 4000 for a in sample.arrays)


def check_views(samples, first_turn=0):
    """Two of four views of each sample's operands, in turn; and one operand that repeats itself."""
    program = Program()
    named = []
    for turn, sample in enumerate(samples, first_turn):
        sample, operands = with_repeated(sample, turn % len(sample.arrays), program)
        results = as_tuple(sample.op(*operands))
        named.append((sample, "repeated", [program.add_output(value) for value in results]))
    for turn, sample in enumerate(samples, first_turn):
        first = 2 * turn + turn // 2
        for way in (first % 4, (first + 1) % 4):
            operands, kinds = [], []
            for array in sample.arrays:
                view_choices = list(views(array)) or [("as it is", array, lambda x: x)]
                kind, feed, view = view_choices[way % len(view_choices)]
                operands.append(view(program.operand(feed)))
                kinds.append(kind)
            results = as_tuple(sample.op(*operands))
            named.append((sample, str(kinds), [program.add_output(value) for value in results]))
    if not named:
        return
    graph = program.graph()
    arrays_by_name = sg.compile(graph).run(used_feeds(graph, program.feeds))
    for sample, kinds, names in named:
        check_results(sample, [arrays_by_name[n] for n in names], kinds)


def with_repeated(sample, position, program):
    """The first element of every row of one operand in all of the row, by a stride of zero."""
    arrays, operands = [], []
    for at, array in enumerate(sample.arrays):
        first = array[..., :1] if at == position and array.ndim else array
        operands.append(sg.broadcast_to(program.operand(first), array.shape))
        arrays.append(np.broadcast_to(first, array.shape).copy())
    return Sample(sample.op, tuple(arrays)), operands


# -- sizes of what is not elementwise --------------------------------------------------------------


def ops_of_rows():
    """The ops that have samples at a size, and those samples."""
    for name in NAMES:
        declared = declaration_of(name)
        if declared is not None and declared.at_size is not None:
            yield pytest.param(name, declared.at_size, id=name)


@pytest.mark.thinned(21)
@pytest.mark.parametrize(("name", "at_size"), [*ops_of_rows()])
def test_rows_of_any_size(name, at_size):
    """Round the widths of lanes and blocks, each element in its place; sizes take turns."""
    program = Program()
    named = []
    sizes = SIZES_OF_ROWS[NAMES.index(name) % 2 :: 2]
    for sample in (s for n in sizes for s in at_size(n)):
        results = as_tuple(sample.op(*map(program.operand, sample.arrays)))
        named.append((sample, [program.add_output(value) for value in results]))
    graph = program.graph()
    arrays_by_name = sg.compile(graph).run(used_feeds(graph, program.feeds))
    for sample, names in named:
        check_results(sample, [arrays_by_name[n] for n in names], "")


def factors_of(sample):
    """The factors of a product, neither transposed nor in panels."""
    a, b = sample.arrays
    if isinstance(sample.op, PanelMatMul):
        panels, inner, columns = b.shape
        return a, b.swapaxes(0, 1).reshape(inner, panels * columns)
    assert isinstance(sample.op, MatMul)
    flips = sample.op.transpose_a, sample.op.transpose_b
    a, b = (np.swapaxes(x, -1, -2) if flip else x for x, flip in zip((a, b), flips, strict=True))
    return a, b


def assert_transform(got, want):
    """Within some units in the last place of the largest element: kernels have their own order."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    largest = np.abs(want[np.isfinite(want)]).max(initial=0.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=4 * finfo(got.dtype).eps * largest)


def assert_product(got, a, b):
    """Within 4 eps log2(k) of the sum of the terms' magnitudes; integers, and what is computed
    wider than it is stored, to the bit."""
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, np.matmul(a, b).astype(got.dtype))
        return
    wide_a, wide_b = a.astype(np.longdouble), b.astype(np.longdouble)
    limits = finfo(got.dtype)
    with np.errstate(all="ignore"):
        true = np.matmul(wide_a, wide_b)
        sizes = np.matmul(np.abs(wide_a), np.abs(wide_b))
        allowed = error_bound(got.dtype, a.shape[-1]) * sizes + limits.smallest_subnormal
        near = np.abs(got - true) <= allowed
        near |= (got == true) | (np.isnan(got) & np.isnan(true))
        near |= ~np.isfinite(got) & (sizes > limits.max)  # it may overflow on the way
    assert got.shape == true.shape
    assert near.all(), f"{a.shape} @ {b.shape}: {got[~near]} for {true[~near]}"


def assert_convolution(sample, got):
    """The same, beside the reference in double precision."""
    true = np.asarray(sample.reference())
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, true)
        return
    wide = [a.astype(np.float64) for a in sample.arrays]
    limits = finfo(got.dtype)
    with np.errstate(all="ignore"):
        true, sizes = sample.op.reference(*wide), sample.op.reference(*map(np.abs, wide))
        allowed = error_bound(got.dtype, sum(a.size for a in wide)) * sizes
        near = np.abs(got - true) <= allowed + limits.smallest_subnormal
        near |= (got == true) | (np.isnan(got) & np.isnan(true))
        near |= ~np.isfinite(got) & (sizes > limits.max)
    assert got.shape == true.shape
    assert near.all(), f"{sample.op}: {got[~near]} for {true[~near]}"


def error_bound(dtype, terms):
    return 4 * float(finfo(dtype).eps) * float(np.log2(max(terms, 2)))


# -- sizes -----------------------------------------------------------------------------------------


def pointwise_samples(name):
    """One sample per combination of attributes and operand types: the one with most elements."""
    best = {}
    for sample in samples_of(name):
        types = types_of(sample)
        form = sample.op.form(*as_tuple(sample.op.infer(*types)), *types)
        if not types or not isinstance(form, Pointwise) or form.indexed or form.sizes:
            continue
        key = (sample.op, *(t.dtype for t in types))
        size = max(a.size for a in sample.arrays)
        if key not in best or size > max(a.size for a in best[key].arrays):
            best[key] = sample
    yield from best.values()


@pytest.mark.thinned(19)
@every_nth(2, "name", NAMES)
def test_any_size_of_one_compiled_program(name):
    """Named sizes at and around multiples of the vector width, each element in its place: where a
    vector ends depends on the kernel, and not on the ops in it."""
    samples = list(pointwise_samples(name))  # by attributes, then by dtypes
    samples = samples[:: 4 if len(samples) > MOST_LONG and name in LONGEST else 1]
    if not samples:
        op = registered_ops()[name]
        assert issubclass(op, Mark | SpecialFunction) or not issubclass(op, Elementwise)
        return  # marks have no kernels, and those functions are calls
    full = {}
    outputs = {}
    for at, sample in enumerate(samples):
        arrays = [np.ravel(a) for a in np.broadcast_arrays(*sample.arrays)]
        inputs = []
        for position, array in enumerate(arrays):
            full[f"x{at}_{position}"] = array
            inputs.append(sg.input(f"x{at}_{position}", ("n",), array.dtype))
        outputs[f"y{at}"] = sample.op(*inputs)
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    full = {label: np.resize(array, SIZES[-1]) for label, array in full.items()}
    all_expected = []
    for at, sample in enumerate(samples):
        arrays = tuple(full[f"x{at}_{i}"] for i in range(len(sample.arrays)))
        all_expected += expected_results(Sample(sample.op, arrays))
    for n in SIZES:
        results = f.run({label: array[:n] for label, array in full.items()})
        for at, (sample, want) in enumerate(zip(samples, all_expected, strict=True)):
            got = results[f"y{at}"]
            assert same_bytes(got, want[:n]), f"{sample.op} at {n}: {differing(got, want[:n])}"


#: Blocks of two operands and the ops that are made of them.
OF_TWO = {"pow": "pow", "fmod": "fmod", "floor_quotient": "floor_divide", "atan2": "atan2"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [F32, F64])
def test_blocks_are_within_their_table_of_errors(dtype):
    """exp, log, ... as compiled, in units of the last place."""
    unary = [op for op, row in BLOCKS.items() if row.operands == 1 and op not in LONG]
    x = block_samples(dtype, 20_000 if dtype == F32 else 2_000)
    operand = input_like("x", x)
    outputs = {op: registered_ops()[op]()(operand) for op in unary}
    left, right = power_samples(dtype, 5_000 if dtype == F32 else 1_000)
    pair = input_like("l", left), input_like("r", right)
    outputs |= {op: registered_ops()[name]()(*pair) for op, name in OF_TWO.items()}
    assert outputs.keys() | LONG | {"int_pow"} == BLOCKS.keys()
    results = sg.compile(outputs).run({"x": x, "l": left, "r": right})
    for op, got in results.items():
        arrays = (left, right) if op in OF_TWO else (x,)
        distance = ulps(got, truth(op, *arrays))
        assert np.max(distance) <= ULP[op, dtype], op


# -- derivatives -----------------------------------------------------------------------------------


def gradients_of(sample, program, rng):
    """Results, gradients and gradients of a random combination of gradients."""
    inputs = []
    operands = []
    for array, is_differentiated in zip(sample.arrays, sample.moves, strict=True):
        operands.append(program.operand(array) if is_differentiated else array)
        inputs += operands[-1:] if is_differentiated else []
    results = [out for out in as_tuple(sample.op(*operands)) if out.dtype.is_float]
    if not inputs or not results:
        return []
    first = combined_gradient(results, inputs, rng)
    return [*results, *first, *combined_gradient(first, inputs, rng)]


def combined_gradient(results, inputs, rng):
    total = 0.0
    for value in results:
        weights = rng.integers(-3, 4, value.shape) / 4
        total = total + sg.sum(value * np.asarray(weights).astype(value.dtype.numpy))
    return list(grad(total, inputs, allow_disconnected=True))


def _is_exact(node):
    """Return whether a node has the oracle's bytes, beside its gradient, too."""
    return node.is_leaf or (node.op.exact and not node.op.contained_in())


@pytest.mark.thinned(4)
@diagonals(2, ("name", NAMES), ("precision", ["float32", "float64"]))
def test_gradients_of_first_and_second_order(name, precision):
    """Compiled gradient graphs equal the oracle's: to the byte where every op is exact.

    Samples and layouts of feeds take turns between the precisions.
    """
    rng = np.random.default_rng(3)
    program = Program()
    exact = []
    turn = slice(precision == "float64", None, 2)
    samples = spread([s for s in samples_of(name) if s.smooth], MOST_SMOOTH)
    for sample in samples[turn] or samples:
        if not isinstance(sample.op, BodyOp):  # a body has its own element types
            arrays = [a.astype(precision) if a.dtype == np.float64 else a for a in sample.arrays]
            sample = Sample(sample.op, tuple(arrays))
        for value in gradients_of(sample, program, rng):
            label = program.add_output(value)
            if all(map(_is_exact, ancestors([value]))):
                exact.append(label)
    if not program.outputs:
        return
    graph = program.graph()
    feeds = used_feeds(graph, program.feeds)
    actual = program.run(turn)
    assert_near(actual, graph, feeds, name)
    oracle = sg.evaluate(graph, feeds)
    assert_same({n: actual[n] for n in exact}, {n: oracle[n] for n in exact}, name)
