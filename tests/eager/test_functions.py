"""The public functions on tensors give what the graph gives, and build none."""

import copy

import numpy as np
import pytest

import staticgrad as sg
import staticgrad.functions
from staticgrad.eager import Tensor
from staticgrad.language.calls.functional import FUNCTIONS
from tests.eager import oracle

X = np.array([[0.3, 0.7, 0.2, 0.9], [0.5, 0.1, 0.8, 0.6], [0.15, 0.25, 0.35, 0.45]], np.float32)
V = X[0]
I = np.array([2, 0, 1])  # noqa: E741

#: Function -> a call of it, where it takes none of ``OPERANDS``, or for another aspect of it.
CALLS = {
    "compress": lambda x, v, i: sg.compress(v > 0.5, v, size=2),
    "extract": lambda x, v, i: sg.extract(x > 0.5, x, size=4),
    "unique": lambda x, v, i: sg.unique(x, return_counts=True, size=4),
    "bincount": lambda x, v, i: sg.bincount(i, v[:3], 4),
    "segment_max": lambda x, v, i: sg.segment_max(v[:3], i, 4),
    "segment_min": lambda x, v, i: sg.segment_min(v[:3], i, 4),
    "segment_prod": lambda x, v, i: sg.segment_prod(v[:3], i, 4),
    "segment_sum": lambda x, v, i: sg.segment_sum(v[:3], i, 4),
    "choose": lambda x, v, i: sg.choose(i, [v[:3], 1.0, v[1:]]),
    "piecewise": lambda x, v, i: sg.piecewise(x, [x > 0.5], [lambda y: y * 2.0, 3.0]),
    "dsplit": lambda x, v, i: sg.dsplit(x[:, :, None] + v, 2),
    "insert": lambda x, v, i: sg.insert(x, 1, v, 0),
    "interp": lambda x, v, i: sg.interp(x, np.array([-1.0, 0.0, 2.0]), v[:3]),
    "associative_scan": lambda x, v, i: sg.associative_scan(sg.maximum, x, axis=1),
    "cond": lambda x, v, i: sg.cond(x.sum() > 0.0, lambda y: y * 2.0, lambda y: y, v),
    "fori_loop": lambda x, v, i: sg.fori_loop(1, 4, lambda k, y: y * v + k, x),
    "map": lambda x, v, i: sg.map(lambda row: (row * v).sum(), x),
    "scan": lambda x, v, i: sg.scan(lambda c, row: (c + row.sum(), row * c), 0.0, x),
    "scan reversed": lambda x, v, i: sg.scan(lambda c, r: (c * r, c), v, x, reverse=True),
    "switch": lambda x, v, i: sg.switch(i[0], [lambda: x, lambda: v, lambda: x + 1.0][::2]),
    "while_loop": lambda x, v, i: sg.while_loop(lambda y: y.sum() < 9.0, lambda y: y + v, x),
    "astype": lambda x, v, i: sg.astype(x, "float64"),
    "at": lambda x, v, i: x.at[1:].set(v),
    "at add": lambda x, v, i: x.at[i].add(v),
    "at set": lambda x, v, i: x.at[i, 1].set(9.0),
    "attention": lambda x, v, i: sg.nn.attention(x, x, x, causal=True),
    "cast": lambda x, v, i: sg.astype(x, "int32"),
    "cross": lambda x, v, i: sg.cross(x[:, :3], v[1:]),
    "cross_entropy": lambda x, v, i: sg.nn.cross_entropy(x, i),
    "einsum": lambda x, v, i: sg.einsum("ij,kj,j->ik", x, x, v),
    "embedding": lambda x, v, i: sg.nn.embedding(i, x),
    "getitem": lambda x, v, i: x[::-1, 1:3],
    "getitem arrays": lambda x, v, i: x[i, i],
    "getitem mask": lambda x, v, i: x[X > 0.4],
    "group_norm": lambda x, v, i: sg.nn.group_norm(x, 2),
    "instance_norm": lambda x, v, i: sg.nn.instance_norm(x[None]),
    "local_response_norm": lambda x, v, i: sg.nn.local_response_norm(x, 3, 0.5),
    "host_call": lambda x, v, i: sg.host_call(np.sort, x, types=x),
    "numba_call": lambda x, v, i: sg.numba_call(np.sort, x, types=x),
    "huber": lambda x, v, i: sg.nn.huber(x, 2.0 * x, 0.3),
    "complex": lambda x, v, i: sg.exp(sg.complex(x, v)).real,
    "invert": lambda x, v, i: ~(x > 0.5),
    **{
        f"linalg.{name}": lambda x, v, i, name=name: getattr(sg.linalg, name)(x @ x.T + np.eye(3))
        for name in ("cholesky", "cond", "det", "eigvalsh", "inv", "pinv", "svdvals", "slogdet")
    },
    "checkpoint_name": lambda x, v, i: sg.checkpoint_name(x, "h"),
    "linalg.block_diag": lambda x, v, i: sg.linalg.block_diag(x, v),
    "linalg.cho_solve": lambda x, v, i: sg.linalg.cho_solve(
        sg.linalg.cho_factor(x @ x.T + np.eye(3)), v[:3]
    ),
    "linalg.eigh": lambda x, v, i: abs(sg.linalg.eigh(x @ x.T + np.eye(3))[1]),
    "linalg.lstsq": lambda x, v, i: sg.linalg.lstsq(x.T, v)[0],
    "linalg.matrix_power": lambda x, v, i: sg.linalg.matrix_power(x @ x.T, 3),
    "linalg.qr": lambda x, v, i: sg.linalg.qr(x),
    "linalg.solve": lambda x, v, i: sg.linalg.solve(x @ x.T + np.eye(3), v[:3]),
    "linalg.svd": lambda x, v, i: abs(sg.linalg.svd(x, full_matrices=False)[0]),
    "apply_over_axes": lambda x, v, i: sg.apply_over_axes(sg.sum, x, [0]),
    "bitwise_count": lambda x, v, i: sg.bitwise_count(i),
    "reduce_and": lambda x, v, i: sg.reduce_and(i),
    "reduce_or": lambda x, v, i: sg.reduce_or(i),
    "reduce_xor": lambda x, v, i: sg.reduce_xor(i),
    "delete": lambda x, v, i: sg.delete(x, 1, 0),
    "digitize": lambda x, v, i: sg.digitize(x, sg.sort(v)),
    "histogram2d": lambda x, v, i: sg.histogram2d(v, v * v, 3),
    "histogramdd": lambda x, v, i: sg.histogramdd(x, 3)[0],
    "ix_": lambda x, v, i: sg.getitem(x, (sg.ix_(i)[0], 0)),
    "polyfit": lambda x, v, i: sg.polyfit(v, v * v, 1),
    "ravel_multi_index": lambda x, v, i: sg.ravel_multi_index((i, i), (4, 5)),
    "roots": lambda x, v, i: abs(sg.roots(v[:3])),
    "kaiser": lambda x, v, i: sg.kaiser(5, v[0]),
    "argwhere": lambda x, v, i: sg.argwhere(x > 0.5, size=3),
    "flatnonzero": lambda x, v, i: sg.flatnonzero(x > 0.5, size=3),
    "nonzero": lambda x, v, i: sg.nonzero(x > 0.5, size=3),
    "dynamic_slice": lambda x, v, i: sg.dynamic_slice(x, [i[0], 0], [2, 2]),
    "dynamic_update_slice": lambda x, v, i: sg.dynamic_update_slice(x, x[:1, :1], [i[0], 0]),
    "unravel_index": lambda x, v, i: sg.unravel_index(i, (2, 3)),
    **{
        name: lambda x, v, i, name=name: getattr(sg, name)(i, v[:3], size=3)
        for name in ("intersect1d", "setdiff1d", "setxor1d", "union1d")
    },
    "linspace": lambda x, v, i: sg.linspace(v[0], v[1], 7),
    "moveaxis": lambda x, v, i: sg.moveaxis(x, 0, 1),
    "numpy": lambda x, v, i: np.exp(np.where(x > 0.5, x, np.float32(0))) + np.sum(x, axis=0),
    "one_hot": lambda x, v, i: sg.one_hot(i, 4),
    "scatter_add": lambda x, v, i: sg.scatter_add(x, i, 5),
    "select": lambda x, v, i: sg.select([x > 0.8, x > 0.4], [x, 2.0 * x], 0.0),
    "swapaxes": lambda x, v, i: sg.swapaxes(x, 0, 1),
    "right_shift": lambda x, v, i: (i + 9) >> i,
    "take": lambda x, v, i: sg.take(x, i, 0),
    "take_along_axis": lambda x, v, i: sg.take_along_axis(x, i[:, None], 1),
    "tensordot": lambda x, v, i: sg.tensordot(x, v, 1),
}
#: What is tried for every other function: the first operands that the graph's one takes.
OPERANDS = (
    lambda x, v, i: (x,),
    lambda x, v, i: (x, v),
    lambda x, v, i: (v,),
    lambda x, v, i: (v, v),
    lambda x, v, i: (i, i),
    lambda x, v, i: ([x, x],),
    lambda x, v, i: (x, 1),
    lambda x, v, i: (x, (3, 4)),
    lambda x, v, i: (x > 0.5, x, v),
)
#: Without operands, or about sizes: there is nothing to decide that the result is a tensor.
MADE_OF_NOTHING = (
    *("arange", "eye", "full", "identity", "iota", "linspace", "logspace"),
    *("geomspace", "ones", "size_value", "tri", "zeros"),
)
#: Arrays of numbers alone: they compute at once, and give arrays.
OF_NUMBERS = (
    *("bartlett", "blackman", "hamming", "hanning"),
    *("diag_indices", "indices", "mask_indices", "tril_indices", "triu_indices"),
)
#: They make values of a graph, replace some, or say what derivatives are; no operand is a tensor.
OF_GRAPHS = (
    *("constant", "conventions", "custom_jvp", "custom_vjp", "input", "parameter"),
    *("replace", "vectorize"),
)
#: They trace a function once, with values of a graph, whatever they are given.
TRACING = ("apply_along_axis", "fromfunction", "vmap")
#: They say something of an operand, and compute nothing.
OF_VALUES = sorted({*FUNCTIONS} - {*MADE_OF_NOTHING, *OF_GRAPHS, *OF_NUMBERS, *TRACING, *CALLS})


def same(actual, expected):
    outs = oracle.as_tuple(actual)
    assert len(outs) == len(expected)
    for ours, theirs in zip(outs, expected, strict=True):
        assert isinstance(ours, Tensor)
        assert (ours.data.dtype, ours.data.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours.data, theirs, rtol=2e-6, atol=2e-6)


def tensors():
    return [Tensor(array) for array in (X, V, I)]


def parameters():
    pairs = zip("xvi", (X, V, I), strict=True)
    return [sg.parameter(name, array) for name, array in pairs]


def check_at_once(call, expected, parameter_values):
    """Check a call of tensors, of parameters alone, and of these beside a tensor."""
    same(call(*tensors()), expected)
    x, v, i = parameter_values
    with sg.eager_mode():
        same(call(x, v, i), expected)
        same(call(tensors()[0], v, i), expected)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", CALLS)
def test_calls(name, refuse_nodes):
    expected = oracle.values(CALLS[name], (X, V, I))
    parameter_values = parameters()  # before nodes are refused
    refuse_nodes()
    check_at_once(CALLS[name], expected, parameter_values)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", OF_VALUES)
def test_functions_of_simple_operands(name, refuse_nodes):
    function = getattr(staticgrad.functions, name)
    for operands in OPERANDS:

        def call(*inputs, operands=operands):
            return function(*operands(*inputs))

        try:
            expected = oracle.values(call, (X, V, I))
        except (sg.StaticgradError, TypeError, AttributeError, ValueError):
            continue  # not its operands
        parameter_values = parameters()
        refuse_nodes()
        check_at_once(call, expected, parameter_values)
        return
    pytest.fail(f"no operands for {name}: write a call")


OF_SIZES = {
    **dict.fromkeys(("iota", "ones", "zeros"), ((3, 2),)),
    **dict.fromkeys(("arange", "eye", "identity", "tri"), (3,)),
    **dict.fromkeys(("geomspace", "linspace", "logspace"), (1.0, 8.0, 4)),
    "constant": ([1.5, 2.0],),
    "full": (3, 1.5),
}


@pytest.mark.parametrize("name", sorted({*MADE_OF_NOTHING, "constant"} - {"size_value"}))
def test_what_is_made_of_nothing_is_a_tensor_in_eager_mode(name):
    def call():
        return getattr(staticgrad.functions, name)(*OF_SIZES[name])

    expected = oracle.values(call, ())
    with sg.eager_mode():
        same(call(), expected)


def test_random_numbers_have_the_bits_of_the_graph():
    def drawn(rng):
        return rng.normal(shape=(3, 2)), rng.uniform(shape=(4,), dtype="float64")

    symbolic, unshared = sg.random.Generator(7), sg.random.Generator(7)
    normal, uniform = drawn(symbolic)
    run = sg.compile(sg.Graph({"a": normal, "b": uniform}, updates=symbolic.updates))
    eager = sg.function(lambda: drawn(unshared))
    for _ in range(3):
        expected, actual = run.run({}), eager.eagerly()
        np.testing.assert_allclose(actual[0], expected["a"], rtol=1e-5)
        np.testing.assert_array_equal(actual[1], expected["b"])
    assert unshared.step.value == 3


def test_generators_are_copied_in_eager_mode():
    generator = sg.random.Generator(7)
    with sg.eager_mode():
        again = copy.deepcopy(generator)
        np.testing.assert_array_equal(again.normal(shape=3).data, generator.normal(shape=3).data)


def _draws_at_once(rng):
    walk = sg.scan(lambda c, x: (c + rng.normal(), c), Tensor(np.float32(0)), Tensor(X[0]))[1]
    return [rng.normal(shape=2), rng.gamma(2.0, shape=2), walk, rng.uniform(shape=2)]


def _draws_of_functions(rng):
    first = sg.function(lambda: (rng.normal(shape=2), rng.uniform(shape=2)))
    second = sg.function(lambda: rng.gamma(2.0, shape=2))
    return [second, lambda: first()[1], second, lambda: first.eagerly()[0]]


@pytest.mark.parametrize("draws", [_draws_at_once, _draws_of_functions])
def test_numbers_depend_on_key_and_step_and_not_on_what_was_traced(draws):
    runs = []
    for traced in (False, True):
        rng = sg.random.Generator(7)
        if traced:
            sg.function(lambda rng=rng: (rng.normal(), rng.uniform()))()
            rng.step.value = np.uint64(0)
        with sg.eager_mode():
            values = draws(rng)
        runs.append([np.asarray(draw() if callable(draw) else draw.data) for draw in values])
        assert rng.step.value == 4 + (draws is _draws_at_once)  # a rejection loop is a step, too
    for left, right in zip(*runs, strict=True):
        np.testing.assert_array_equal(left, right)
