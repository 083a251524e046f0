"""Graphs of ours as functions of JAX, beside the evaluator."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.implementations.with_staticgrad import Staticgrad, feeds_of, graph_of
from benchmarks.workloads import all_workloads
from staticgrad.errors import ArgumentError, ExportError, StaticgradError

jax = pytest.importorskip("jax", reason="JAX is not installed")

from staticgrad.jax.lax.accuracy import OF_LARGEST, OF_ONE, UNITS, bound_of  # noqa: E402
from staticgrad.jax.lax.lowering import REFUSED, ROWS, RULED  # noqa: E402
from staticgrad.language.ir.op import op_class, registered_ops  # noqa: E402
from staticgrad.language.ops.linalg import LinearAlgebra  # noqa: E402
from staticgrad.language.ops.sparse import PatternOp  # noqa: E402
from tests.laws.samples import as_tuple, op_names, samples_of  # noqa: E402


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def alike(values, feeds):
    graph = sg.Graph(values)
    actual, expected = jax.jit(sg.jax.lower(graph))(feeds), sg.evaluate(graph, feeds)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        result = np.asarray(actual[name])
        assert result.shape == array.shape
        np.testing.assert_allclose(result, array, rtol=2e-5, atol=2e-5)


def test_elements_reductions_products_and_parts():
    x = sg.input("x", ("n", 3), "float32")
    w = sg.input("w", (3, 2), "float32")
    y = sg.nn.softmax(x @ w, 1)
    i = sg.constant(np.array([1, 0, 1]))
    values = {
        "loss": sg.log(y).sum(), "slope": sg.grad(sg.log(y).sum(), x), "rows": x[i, ::2],
        "moved": sg.grad((x[i] * x[i]).sum(), x), "pads": sg.pad(x, 1), "most": x.max(0),
        "sums": sg.cumsum(x, 0), "chosen": sg.where(x > 0, x, sg.erf(x)), "mean": x.mean(),
    }  # fmt: skip
    alike(values, {"x": normal(4, 3), "w": normal(3, 2, seed=1)})


def test_convolutions_and_their_gradients():
    x = sg.input("x", (2, 3, 8, 7), "float32")
    w = sg.input("w", (4, 3, 3, 3), "float32")
    y = sg.nn.conv(x, w, stride=2, padding=1)
    slopes = sg.grad((y * y).sum(), [x, w])
    feeds = {"x": normal(2, 3, 8, 7), "w": normal(4, 3, 3, 3, seed=1)}
    alike({"y": y, "by x": slopes[0], "by w": slopes[1]}, feeds)


def test_loops_and_branches():
    x = sg.input("x", (4, 3), "float32")
    last, sums = sg.scan(lambda c, r: (sg.tanh(c + r), c.sum()), x[0], x, reverse=True)
    grown = sg.while_loop(lambda c: c.sum() < 100.0, lambda c: c * 2.0 + 1.0, sg.abs(x[0]))
    chosen = sg.cond(x.sum() > 0.0, lambda: sg.sin(x), lambda: x)
    values = {"last": last, "sums": sums, "grown": grown, "taken": chosen}
    alike(values | {"slope": sg.grad(last.sum(), x)}, {"x": normal(4, 3)})


#: Ops of several results of which some are vectors, up to a factor of modulus 1.
OF_VECTORS = {"complex_eigh": (1,), "complex_svd": (0, 2), "eigh": (1,), "svd": (0, 2)}
QUICK = ("betaln", "eig", "rank_mean", "special_of_order", "stop_gradient")
NAMES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in op_names()
]
#: What XLA compiles quickly.
PLAIN = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def ordinary(array):
    """Numbers without the ranges where XLA flushes to zero, as in reciprocals."""
    if array.dtype.kind not in "fV":
        return array
    wide = array.astype("float64")
    most = 1e30 if array.dtype != np.float16 else np.inf
    wide = np.where(np.abs(wide) < 1e-36, np.copysign(0.0, wide), wide)
    return np.where(np.isinf(wide), wide, np.clip(wide, -most, most)).astype(array.dtype)


def difference(actual, expected, of_sums, least=1e-36):
    """The greatest difference in units of the last place."""
    if expected.dtype.kind in "iub":
        return 0.0 if np.array_equal(actual, expected) else np.inf
    eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(expected.dtype.name)
    eps = eps or np.finfo(expected.dtype).eps
    actual, expected = actual.astype("float64"), expected.astype("float64")
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    same |= (np.abs(actual) < 1e-36) & (np.abs(expected) < 1e-36)
    if eps > 1e-15:  # near the largest number XLA's exponentials are of another one
        same |= (actual * np.sign(expected) > 1e36) & (np.abs(expected) > 1e36)
    size = np.maximum(np.abs(expected), least)
    unit = np.broadcast_to(eps * (size.max(initial=0.0) if of_sums else size), size.shape)
    finite = np.isfinite(actual) & np.isfinite(expected)
    with np.errstate(all="ignore"):
        distance = np.where(finite, np.abs(actual - expected) / unit, np.inf)
    return float(np.where(same, 0.0, distance).max(initial=0.0))


def fix_phases(vectors, axis, is_complex):
    """Vectors times factors that make the largest elements positive."""
    if is_complex:
        vectors = vectors[..., 0] + 1j * vectors[..., 1]
    at = np.abs(vectors).argmax(axis, keepdims=True)
    largest = np.take_along_axis(vectors, at, axis)
    vectors = vectors * (np.conj(largest) / np.maximum(np.abs(largest), 1e-30))
    return np.stack([vectors.real, vectors.imag], -1) if is_complex else vectors


def is_pattern(starts, places, rows, starts_t, places_t, order):
    """Return whether a matrix has this pattern: some samples are of no matrix."""
    numbers = np.arange(order.size)
    is_permutation = np.array_equal(np.sort(order), numbers) and np.array_equal(
        rows[order], places_t
    )
    return is_permutation and not (np.diff(starts, prepend=0) < 0).any()


def compute_samples(samples):
    """Samples, each with the name of its op, and their results here and in JAX."""
    graphs = []
    for name, sample in samples:
        if name in REFUSED and getattr(sample.op, "ranks", 2) != 1:
            continue
        arrays = [ordinary(array) for array in sample.arrays]
        matrices = isinstance(sample.op, LinearAlgebra)
        if matrices and not all(np.abs(x).max(initial=0) < 1e6 for x in arrays):
            continue
        if isinstance(sample.op, PatternOp) and not is_pattern(*arrays[2:]):
            continue
        inputs = [sg.input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(arrays)]
        results = as_tuple(sample.op(*inputs))
        graph = sg.Graph({f"y{k}": y for k, y in enumerate(results)}, inputs=inputs)
        feeds = {f"x{k}": x for k, x in enumerate(arrays)}
        try:
            expected = sg.evaluate(graph, feeds)
        except (StaticgradError, FloatingPointError):  # a matrix that has no such factors
            continue
        graphs.append((name, sample, sg.jax.lower(graph), feeds, expected))
    for first in range(0, len(graphs), 64):
        part = graphs[first : first + 64]
        runs = [run for _, _, run, *_ in part]
        together = jax.jit(
            lambda feeds, runs=tuple(runs): [f(x) for f, x in zip(runs, feeds, strict=True)],
            compiler_options=PLAIN,
        )
        outputs = together([feeds for *_, feeds, _ in part])
        for (name, sample, *_, expected), results in zip(part, outputs, strict=True):
            actual = {key: np.asarray(array) for key, array in results.items()}
            yield name, sample, actual, expected


@pytest.fixture
def in_float64():
    """All threads have 64 bits: callbacks run in others than the one of ``jax.enable_x64``."""
    old_value = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", old_value)


def check_samples(samples):
    """Check the results of JAX; return how many samples were compared."""
    count = 0
    for name, sample, actual, expected in compute_samples(samples):
        count += 1
        units, of = bound_of(name)
        for place, (key, array) in enumerate(expected.items()):
            result = actual[key]
            assert (result.shape, result.dtype) == (array.shape, array.dtype), sample.op
            if place in OF_VECTORS.get(name, ()) and array.size:
                is_complex = name.startswith("complex")
                axis = -2 if name.endswith("svd") and place == 0 else -1
                result, array = (fix_phases(x, axis, is_complex) for x in (result, array))
            least = 1.0 if of == "1 or each element" else 1e-36
            worst = difference(result, array, of == "the largest element", least)
            assert worst <= units, (sample.op, key, result, array)
    return count


@pytest.mark.parametrize("name", NAMES)
def test_every_op_has_the_values_of_the_evaluator(name, in_float64):
    check_samples((name, sample) for sample in samples_of(name))


#: Draws of samples: one op in so many, of each so many samples.
DRAWS, APART, EACH = 96, 8, 3


@pytest.mark.thinned(32, budgeted=True)  # some 5 s each, mostly of XLA's compiler
@pytest.mark.parametrize("draw", range(DRAWS))
def test_drawn_samples_of_ops_have_the_values_of_the_evaluator(draw, in_float64):
    """The quick tests see each row of the table in some commits."""
    random, samples = np.random.default_rng(draw), []
    for name in op_names()[draw % APART :: APART]:
        of_name = samples_of(name)
        places = random.permutation(len(of_name))[:EACH]
        samples += [(name, of_name[place]) for place in places]
    assert check_samples(samples) > len(samples) / 3


def step():
    w = sg.parameter("w", normal(3, 2))
    x, y = sg.input("x", ("n", 3), "float32"), sg.input("y", ("n", 2), "float32")
    loss = ((sg.tanh(x @ w) - y) ** 2).mean()
    return sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)}), w


FEEDS = {"x": normal(4, 3, seed=1), "y": normal(4, 2, seed=2)}


def test_a_training_step_is_pure():
    graph, w = step()
    old_value = w.value.copy()
    run = jax.jit(sg.jax.lower(graph))
    outputs, parameters = run(FEEDS)
    outputs, parameters = run(FEEDS, parameters)
    np.testing.assert_array_equal(w.value, old_value)
    f = sg.compile(graph)
    f.run(FEEDS)
    expected = f.run(FEEDS)
    np.testing.assert_allclose(outputs["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(parameters["w"], w.value, rtol=1e-5)


def test_jax_differentiates_and_maps_it():
    x = sg.input("x", (3,), "float32")
    run = sg.jax.lower(sg.Graph({"y": sg.sin(x).sum()}))
    slopes = jax.vmap(jax.grad(lambda x: run({"x": x})["y"]))(normal(4, 3))
    np.testing.assert_allclose(slopes, np.cos(normal(4, 3)), rtol=1e-5)


def test_refusals():
    with pytest.raises(ArgumentError, match="takes a graph"):
        sg.jax.lower(3)
    mean = op_class("rank_mean")(2)
    x = sg.input("x", (3,), "float32")
    y = mean(x)
    with pytest.raises(
        ExportError, match="rank_mean: exchanges arrays between processes"
    ) as caught:
        sg.jax.lower(sg.Graph({"y": y}))({"x": np.ones(3, "float32")})
    assert "y = mean(x)" in str(caught.value)
    fma = op_class("multiply_add")()
    with pytest.raises(ExportError, match="multiply_add: is an op of kernels alone"):
        sg.jax.lower(sg.Graph({"y": fma(x, x, x)}))({"x": np.ones(3, "float32")})
    draw = sg.Graph({"y": sg.random.Generator(0).normal(shape=(3,)) + x})
    with pytest.raises(ExportError, match="64 bits"):
        sg.jax.lower(draw)({"x": np.ones(3, "float32")})


W = {"in": normal(3, 2), "bias": normal(2, seed=3)}


def square_loss(w, x, scale=2.0):
    return {"loss": (sg.tanh(x @ w["in"] + w["bias"]) ** 2).mean() * scale, "rest": [w, None]}


@pytest.mark.parametrize(
    "f",
    [square_loss, sg.function(square_loss), sg.function(square_loss, sizes={"x": ("n", None)})],
    ids=["squared0", "squared1", "squared2"],
)
def test_a_function_has_its_arguments_and_containers(f):
    run = sg.jax.lower(f)
    of_jax = lambda w, x: run(w, x)["loss"]  # noqa: E731
    for rows in (4, 5, 6):
        x = normal(rows, 3)
        expected = (np.tanh(x @ W["in"] + W["bias"]) ** 2).mean()
        actual = jax.jit(run)(W, x)
        np.testing.assert_allclose(actual["loss"], 2.0 * expected, rtol=1e-5)
        np.testing.assert_allclose(run(W, x, scale=3.0)["loss"], 3.0 * expected, rtol=1e-5)
    assert jax.tree.structure(actual["rest"]) == jax.tree.structure([W, None])
    slopes = jax.jit(jax.grad(of_jax))(W, x)
    mapped = jax.vmap(of_jax, (None, 0))(W, np.stack([x, 2.0 * x]))
    theirs = lambda w, x: 2 * (jax.numpy.tanh(x @ w["in"] + w["bias"]) ** 2).mean()  # noqa: E731
    expected = jax.grad(theirs)(W, x)
    for name, slope in expected.items():
        np.testing.assert_allclose(slopes[name], slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mapped, [theirs(W, x), theirs(W, 2.0 * x)], rtol=1e-5)


def test_a_function_with_updates_gives_parameters_too():
    p = sg.parameter("p", np.ones(3, "float32"))

    @sg.function
    def train(x):
        loss = ((x * p) ** 2).sum()
        p.update(p - 0.1 * sg.grad(loss, p))
        return loss

    x = normal(4, 3)
    run = jax.jit(sg.jax.lower(train))
    loss, parameters = run(x)
    again, _ = run(x, parameters=parameters)
    np.testing.assert_array_equal(p.value, np.ones(3))
    np.testing.assert_allclose([loss, again], [train(x), train(x)], rtol=1e-5)
    np.testing.assert_array_equal(sg.jax.lower(lambda x: x.shape[0])(x), 4)
    compiled = sg.compile(sg.Graph({"y": sg.input("x", (3,), "float32") * 2.0}))
    np.testing.assert_array_equal(sg.jax.lower(compiled)({"x": x[0]})["y"], 2.0 * x[0])


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    weight: object
    rate: int = dataclasses.field(default=3, metadata={"static": True})


def test_classes_registered_with_jax_go_through_lowered_functions():
    run = sg.jax.lower(lambda state: State(state.weight * state.rate, state.rate + 1))
    actual = jax.jit(run)(State(W["bias"]))
    assert actual.rate == 4
    np.testing.assert_array_equal(actual.weight, 3 * W["bias"])
    slope = jax.grad(lambda state: run(state).weight.sum())(State(W["bias"]))
    np.testing.assert_array_equal(slope.weight, [3.0, 3.0])


def test_jax_differentiates_sparse_solutions(in_float64):
    dense = np.array([[4.0, 1.0, 0.0], [0.0, 3.0, 2.0], [1.0, 0.0, 5.0]])
    at, rows = dense.nonzero()[1], np.array([0, 2, 4, 6])
    data, b = dense[dense != 0], np.random.default_rng(0).normal(size=(3, 2))
    solve = sg.jax.lower(lambda d, b: sg.sparse.spsolve(sg.sparse.csr(d, at, rows, (3, 3)), b))
    places = dense.nonzero()

    def theirs(d, b):
        a = jax.numpy.zeros((3, 3)).at[places].set(d)
        return jax.numpy.sin(jax.numpy.linalg.solve(a, b)).sum()

    ours = lambda d, b: jax.numpy.sin(solve(d, b)).sum()  # noqa: E731
    batches = np.stack([data, 2.0 * data]), np.stack([b, b + 1.0])
    for f in (
        lambda f: f(data, b),
        lambda f: jax.grad(f, (0, 1))(data, b),
        lambda f: jax.hessian(f)(data, b),
        lambda f: jax.vmap(jax.grad(f, (0, 1)))(*batches),
    ):
        actual, expected = jax.jit(lambda f=f: f(ours))(), f(theirs)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-11), actual, expected)


def test_complex_values_are_complex_arrays(in_float64):
    z = sg.input("z", (3, 3), "complex128")
    w = sg.parameter("w", np.array([[1.0 + 1.0j], [2.0], [0.5j]]))
    y = sg.linalg.solve(z, w) * sg.exp(z[:, :1])
    graph = sg.Graph({"y": y, "values": sg.linalg.eigvals(z)}, updates={w: w + y})
    feeds = {"z": normal(3, 3) + 1j * normal(3, 3, seed=1) + 2.0 * np.eye(3)}
    (actual, new_parameters), (expected, updated) = (
        jax.jit(sg.jax.lower(graph))(feeds), sg.evaluate(graph, feeds, updates=True),
    )  # fmt: skip
    assert actual["y"].dtype == new_parameters["w"].dtype == np.complex128
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-12)
    np.testing.assert_allclose(new_parameters["w"], updated["w"], rtol=1e-12)
    np.testing.assert_allclose(actual["values"], expected["values"], rtol=1e-10)


@sg.custom_vjp(name="test_jax_lower.clipped")
def clip_slope(x):
    return x * 3.0


@clip_slope.rule
def _(ct, out, x):
    return (sg.clip(ct, -1.0, 1.0) * 5.0,)  # not linear in ct, and not the derivative


@sg.custom_jvp(name="test_jax_lower.bent")
def bent(x, y):
    return x * y


@bent.rule
def _(tangents, out, x, y):
    return tangents[0] * 7.0 + tangents[1] * x


def test_rules_of_the_user_are_those_of_jax(in_float64):
    x = sg.input("x", (2,), "float64")
    first = sg.jax.lower(sg.Graph({"y": (clip_slope(x) * 4.0).sum()}))
    second = sg.jax.lower(sg.Graph({"y": bent(x, x).sum()}))
    at = np.array([2.0, 3.0])

    def all_of(at):
        by_clipped, by_bent = (lambda x: first({"x": x})["y"]), lambda x: second({"x": x})["y"]
        tangent = jax.jvp(by_bent, (at,), (jax.numpy.array([1.0, 0.0]),))[1]
        return (
            by_clipped(at),
            jax.grad(by_clipped)(at),
            jax.grad(by_bent)(at),
            tangent,
            jax.vmap(jax.grad(by_clipped))(at[None]),
        )

    value, by_first, by_other, tangent, mapped = jax.jit(all_of)(at)
    assert (value, tangent) == (60.0, 9.0)
    assert by_first.tolist() == [5.0, 5.0]
    assert by_other.tolist() == [9.0, 10.0]
    assert mapped.tolist() == [[5.0, 5.0]]


BY_OUR_RULES = {
    "jv": lambda x: sg.special.jv(1.5, x),
    "order": lambda x: sg.special.expn(2, x),
    "betainc": lambda x: sg.special.betainc(0.5, 2.0, x / 9.0),
    "kl": lambda x: sg.special.kl_div(x, 2.0),
    "length": lambda x: sg.linalg.norm(sg.stack([x, 2.0 * x]), axis=0),
    "eigenvalues": lambda x: abs(sg.linalg.eigvals(sg.stack([sg.sin(x), x, x * x]))),
    "sylvester": lambda x: sg.linalg.solve_sylvester(
        sg.stack([x, x * x, sg.cos(x)]), sg.eye(3) * 20.0, sg.stack([x, x, x])
    ),
}


@pytest.mark.parametrize(
    "name",
    [rule if rule == "kl" else pytest.param(rule, marks=pytest.mark.slow) for rule in BY_OUR_RULES],
)
def test_what_numpy_computes_is_differentiated_by_our_rules(name, in_float64):
    f, at, along = BY_OUR_RULES[name], np.array([0.7, 1.9, 3.2]), np.array([1.0, -0.5, 0.3])
    x = sg.input("x", (3,), "float64")
    y = (f(x) * f(x)).sum()
    run = sg.jax.lower(sg.Graph({"y": y}))
    of_jax = lambda x: run({"x": x})["y"]  # noqa: E731
    slope = sg.grad(y, x)
    expected, second = sg.evaluate([slope, sg.hvp(y, x, sg.constant(along))], {"x": at})

    def all_of(at):
        slopes = jax.grad(of_jax)
        slopes_and_tangents = jax.jvp(slopes, (at,), (along,))
        return (
            *slopes_and_tangents,
            jax.jvp(of_jax, (at,), (along,))[1],
            jax.vmap(slopes)(jax.numpy.stack([at, at])),
        )

    slopes, curved, tangent, mapped = jax.jit(all_of, compiler_options=PLAIN)(at)
    np.testing.assert_allclose(slopes, expected, rtol=1e-9)
    np.testing.assert_allclose(curved, second, rtol=1e-7)
    np.testing.assert_allclose(tangent, expected @ along, rtol=1e-9)
    np.testing.assert_allclose(mapped, np.stack([expected, expected]), rtol=1e-9)


def test_random_numbers_have_our_bits(in_float64):
    generator = sg.random.Generator(3)
    graph = sg.Graph({"y": generator.normal(shape=(4, 5)), "u": generator.uniform(shape=(6,))})
    actual, expected = jax.jit(sg.jax.lower(graph))({}), sg.evaluate(graph)
    actual = actual[0] if isinstance(actual, tuple) else actual
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-6)
    np.testing.assert_array_equal(actual["u"], expected["u"])


def test_every_bound_is_one_of_an_op():
    assert {*UNITS, *OF_LARGEST, *OF_ONE} <= {*op_names()}
    assert bound_of("matmul") == (8, "the largest element")
    assert bound_of("svd") == (64, "the largest element")
    assert bound_of("exp2") == (64, "each element")


def test_the_tables_do_not_overlap():
    assert not ROWS.keys() & REFUSED.keys()
    assert ROWS.keys() >= RULED
    assert (ROWS.keys() | REFUSED.keys()) <= {*registered_ops()}


#: How many steps with updates are compared.
STEPS = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(all_workloads("")))
def test_benchmark_programs_have_our_results(name, in_float64):
    workload = all_workloads("")[name]
    data = workload.make(small=True)
    graph, feeds = graph_of(workload, data, Staticgrad()), feeds_of(workload, data)
    run, compiled = jax.jit(sg.jax.lower(graph)), sg.compile(graph)
    parameters = {parameter.name: np.array(parameter.value) for parameter in graph.parameters}
    for number in range(STEPS if graph.updates else 1):
        outputs, parameters = (
            run(feeds, parameters) if graph.updates else (run(feeds, parameters), {})
        )
        expected = compiled.run(feeds)
        written = {parameter.name: np.array(parameter.value) for parameter in graph.parameters}
        for results, ours in ((outputs, expected), (parameters, written)):
            for key in results:
                result, array = np.asarray(results[key]), np.asarray(ours[key])
                tolerance = (2e-4 if array.dtype.itemsize < 8 else 1e-9) * (number + 1)
                scale = max(np.abs(array).max(initial=0.0), 1e-12)
                np.testing.assert_allclose(
                    result, array, rtol=tolerance, atol=tolerance * scale, err_msg=f"{key} {number}"
                )


SHARDED = """
import numpy as np, jax, staticgrad as sg
from jax.sharding import NamedSharding
from jax.sharding import Mesh, PartitionSpec as P
from tests.bridges.test_jax_lower import FEEDS, step
graph, w = step()
run = sg.jax.lower(graph)
mesh = Mesh(np.array(jax.devices()), ("data",))
assert len(jax.devices()) == 4

def shared(feeds, parameters):
    outputs, moved = run(feeds, parameters)
    return jax.lax.pmean(outputs["loss"], "data"), jax.lax.pmean(moved["w"], "data")

specs = ({"x": P("data"), "y": P("data")}, {"w": P()})
f = jax.jit(jax.shard_map(shared, mesh=mesh, in_specs=specs, out_specs=(P(), P())))
expected = []
program = sg.compile(graph)
first = {"w": w.value.copy()}
for _ in range(5):
    expected.append(program.run(FEEDS)["loss"])
parameters, losses = first, []
for _ in range(5):
    loss, moved = f(FEEDS, parameters)
    parameters = {"w": moved}
    losses.append(loss)
np.testing.assert_allclose(losses, expected, rtol=1e-5)
np.testing.assert_allclose(moved, w.value, rtol=1e-5)

# The compiler divides the work: inputs in parts, parameters on all devices.
whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
step = jax.jit(run, in_shardings=(rows, whole), out_shardings=(whole, whole))
feeds = jax.device_put(FEEDS, rows)
parameters, losses = jax.device_put(first, whole), []
for _ in range(5):
    outputs, parameters = step(feeds, parameters)
    losses.append(outputs["loss"])
assert len(feeds["x"].sharding.device_set) == 4
np.testing.assert_allclose(losses, expected, rtol=1e-5)
np.testing.assert_allclose(parameters["w"], w.value, rtol=1e-5)
"""


@pytest.mark.slow
def test_a_training_step_on_several_devices(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    run = subprocess.run([sys.executable, "-c", SHARDED], timeout=240, check=False)
    assert run.returncode == 0
