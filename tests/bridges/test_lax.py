"""JAX's programs through the table of primitives, beside JAX."""

import collections
import dataclasses
import functools
import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, ExportError

jax = pytest.importorskip("jax", reason="JAX is not installed")

from staticgrad.jax.lax.primitives import PRIMITIVES, REFUSED, SAMPLERS  # noqa: E402
from staticgrad.jax.lax.program import CALLS  # noqa: E402

jnp, lax, scipy = jax.numpy, jax.lax, jax.scipy


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X, V = normal(4, 5), normal(4, seed=1)
A = X @ X.T + np.eye(4, dtype="float32")
IMAGE, FILTERS = normal(2, 8, 7, 3), normal(3, 3, 3, 4, seed=1)
WHOLE = np.arange(-5, 6, dtype="int32")
KEY = np.array([0, 3], "uint32")


def equal(actual, expected, tolerance=2e-5):
    """Results have JAX's containers, element types and shapes, and its values."""
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for ours, theirs in pairs:
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if tolerance:
            scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=1.0)
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(ours, theirs)


def evaluate(f, *args):
    """The results by NumPy's readings of a graph, without compilation."""
    traced = sg.jax.trace(f, *args)
    leaves, structure = jax.tree.flatten(args)
    inputs = [sg.input(f"x{k}", np.shape(x), np.asarray(x).dtype) for k, x in enumerate(leaves)]
    outputs = traced(*jax.tree.unflatten(structure, inputs))
    values, containers = jax.tree.flatten(outputs)
    return jax.tree.unflatten(containers, at(values, inputs, leaves))


def at(values, inputs, arrays):
    """Evaluate values at arrays for inputs, which they need not read."""
    graph = sg.Graph({f"y{k}": value for k, value in enumerate(values)}, inputs=inputs)
    feeds = {x.node.label: np.asarray(array) for x, array in zip(inputs, arrays, strict=True)}
    return [*sg.evaluate(graph, feeds).values()]


def conv(x, w, stride=(2, 2), **options):
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, stride, "SAME", dimension_numbers=axes, **options)


def pool_windows(x, reduce=lax.max, init=-np.inf, padding="SAME"):
    return lax.reduce_window(x, init, reduce, (1, 2, 3, 1), (1, 2, 2, 1), padding)


SMOOTH = {
    "elements": (lambda x: jnp.tanh(x) * jnp.exp(x) / (1 + x**2) - jnp.sqrt(x**2 + 1), X),
    "activations": (lambda x: jax.nn.gelu(x) + jax.nn.silu(x) + jax.nn.softplus(x), X),
    "reductions": (lambda x: x.var(0).sum() * x.mean(1) + x.max(1) + x.prod(1), X),
    "softmax": (lambda x: jax.nn.log_softmax(x, 1) + jax.nn.logsumexp(x, 0), X),
    "shapes": (lambda x: jnp.stack([x, x[::-1]], 1).reshape(-1)[::2] * jnp.tile(x, 2).sum(), X),
    "split": (lambda x: [part * 2 for part in jnp.split(x, [1, 3], 1)], X),
    "products": (lambda x: jnp.einsum("ij,kj->ik", x, x) @ x + jnp.tensordot(x, x, 2), X),
    "batched product": (lambda x: jnp.einsum("bij,bkj->bik", x, x + 1), normal(2, 3, 4)),
    "pad": (lambda x: lax.pad(x, 1.0, ((1, 2, 1), (-1, 0, 2))), X),
    "rows": (lambda x: x[np.array([0, 3, -1])] * 2, X),
    "elements by index": (lambda x: x[np.array([0, 3, 1]), np.array([1, 2, 4])], X),
    "columns beyond": (lambda x: jnp.nan_to_num(jnp.take(x, np.array([0, 9]), axis=1)), X),
    "along": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), X),
    "writes": (lambda x: x.at[np.array([0, 3, 0])].add(x[:3]).at[1:3, 2].set(7.0), X),
    "writes beyond": (lambda x: x.at[np.array([0, 9])].set(x[:2], mode="drop"), X),
    "positions of a known number": (
        lambda x: x[jnp.nonzero(x > 0, size=5)] * 2 + x[:3, :3][jnp.tril_indices(3)][:5], X,
    ),
    "one row written": (
        lambda x: x.at[jnp.argmin(x[:, 0])].set(x[0] * 2).at[1, 1:3].add(x[0, :2]).at[-1, 0].set(7.0),
        X,
    ),
    "one row beyond": (
        lambda x: x.at[x.shape[0] + 3].set(x[0], mode="drop") + x.at[9].add(x[0], mode="clip")
        + x.at[9, 1].multiply(3.0, mode="drop"), X,
    ),
    "one row combined": (
        lambda x: x.at[1].min(x[0]).at[2].max(x[0]).at[0].multiply(x[1]).at[2, 1].subtract(x[0, 0]),
        X,
    ),
    "products in place": (
        lambda x: x.at[np.array([0, 3])].multiply(x[:2], unique_indices=True), X,
    ),
    "a row and a column updated": (
        lambda x: lax.dynamic_update_slice(
            lax.dynamic_update_slice(x, jnp.sin(x[:1]), (2, 0)), x[:, :1] ** 2, (0, jnp.argmax(x[0]))
        ),
        X,
    ),
    "slices": (lambda x: lax.dynamic_update_slice(x, lax.dynamic_slice(x, (1, 3), (2, 2)), (2, 0)), X),
    "convolution": (conv, IMAGE, FILTERS),
    "groups": (lambda x, w: conv(x, w, feature_group_count=3), IMAGE, normal(3, 2, 1, 6)),
    "transposed convolution": (
        lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        IMAGE, FILTERS,
    ),
    "largest of windows": (pool_windows, IMAGE),
    "sums of windows": (lambda x: pool_windows(x, lax.add, 0.0, "VALID"), IMAGE),
    "scans": (lambda x: (jnp.cumsum(x, 1), jnp.cumprod(x, 0), lax.cumsum(x, 1, reverse=True)), X),
    "order": (lambda x: (jnp.sort(x, 1), lax.top_k(x, 2)[0], jnp.median(x)), X),
    "scan": (lambda x: lax.scan(lambda c, r: (jnp.sin(c * 0.5 + r), c.sum()), x[0], x), X),
    "reversed scan": (lambda x: lax.scan(lambda c, r: (c * r, c), x[0], x, reverse=True), X),
    "fori": (lambda x: lax.fori_loop(0, 3, lambda i, c: c.at[i].multiply(2.0), x), X),
    "cond": (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), X),
    "switch": (lambda x: lax.switch(2, [jnp.sin, jnp.cos, jnp.tanh], x), X),
    "checkpoint": (lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x), X),
    "vmap": (lambda x: jax.vmap(lambda r: r[jnp.argmax(r)] * r)(x), X),
    "constant": (lambda x: lax.stop_gradient(x) * x, X),
    "solve": (lambda a, b: jnp.linalg.solve(a, b), A, V),
    "cholesky": (lambda a: jnp.linalg.cholesky(a), A),
    "triangular": (lambda a, b: scipy.linalg.solve_triangular(a, b, lower=True, trans=1), A, V),
    "determinant": (lambda a: jnp.linalg.slogdet(a)[1] * jnp.linalg.det(a), A),
    "eigh": (lambda a: jnp.linalg.eigvalsh(a), A),
    "singular values": (lambda x: jnp.linalg.svd(x, compute_uv=False), X),
    "inverse": (lambda a: jnp.linalg.inv(a), A),
    "fourier": (lambda x: jnp.fft.irfft(jnp.fft.rfft(x, axis=1)[:, :2], axis=1), normal(3, 6)),
    "special": (lambda x: scipy.special.gammaln(x * x + 1) + scipy.special.erf(x), X),
    "sums over a named axis": (
        jax.vmap(lambda r: jnp.sin(r) * lax.psum(r, "i") + lax.pmean(r * r, "i"), axis_name="i"), X,
    ),
    "sums over two named axes": (
        jax.vmap(jax.vmap(lambda x: x * lax.psum(x, ("i", "j")), axis_name="i"), axis_name="j"), X,
    ),
    "a reduction by a function": (
        lambda x: lax.reduce(x, np.float32(0), lambda a, b: a + b - a * b, (0,)), X[:3],
    ),
    "squares below one": (lambda x: jnp.arctanh(x) + jnp.arccos(x), np.array([1e-30, 0.5, -0.9], "f")),
    "printed": (lambda x: (jax.debug.callback(lambda y: None, x), jnp.sin(x))[1], X),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_values_and_gradients_before_and_after(name):
    f, *args = SMOOTH[name]
    equal(evaluate(f, *args), jax.jit(f)(*args))

    def loss(*args):
        leaves = jax.tree.leaves(f(*args))
        return sum((leaf * np.cos(np.arange(leaf.size, dtype="f")).reshape(leaf.shape)).sum()
                   for leaf in leaves)  # fmt: skip

    wrt = tuple(range(len(args)))
    expected = jax.jit(jax.grad(loss, wrt))(*args)
    equal(evaluate(jax.grad(loss, wrt), *args), expected, 2e-4)
    traced = sg.jax.trace(loss, *args)
    inputs = [sg.input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(args)]
    slopes = sg.grad(traced(*inputs), inputs)
    equal(tuple(at(slopes, inputs, args)), expected, 2e-4)


def multiply_by_reflections(x):
    """Both products with the factor of a QR decomposition and with its adjoint, and the factor."""
    packed, factors = jnp.linalg.qr(x, "raw")
    packed = packed.mT
    products = [
        lax.linalg.ormqr(packed, factors, y, left=left, transpose=transpose)
        for left, y in ((True, x), (False, x.mT))
        for transpose in (False, True)
    ]
    return products, lax.linalg.householder_product(packed, factors)


OTHERS = {
    "integers": (
        lambda i: (i // 3, i % -3, i << 2, lax.div(i, 3), lax.rem(i, -3), i >> 1,
                   lax.shift_right_logical(i, 1), lax.population_count(i), lax.clz(i), -i, ~i), WHOLE,
    ),
    "division by zero": (lambda i: (lax.div(i, i * 0), lax.rem(i, i * 0)), WHOLE),
    "shifts beyond": (lambda i: (lax.shift_left(i, 40), lax.shift_right_arithmetic(i, 40)), WHOLE),
    "conversions": (lambda x: (x.astype("int32"), x.astype(bool), x.astype("float16")), X),
    "saturation": (lambda x: (x * 1e30).astype("int32"), X),
    "bits": (lambda x: (x.view("int32"), x.view("uint32"), jnp.nextafter(x, 0.0)), X),
    "order of pairs": (lambda x: lax.sort((jnp.round(x), x), num_keys=2, dimension=1), X),
    "places": (lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 0), lax.top_k(x, 3)[1]), X),
    "rounding": (lambda x: (jnp.round(x), lax.round(x * 2), jnp.sign(x), jnp.floor(x)), X),
    "truth": (lambda x: ((x > 0).any(0), (x > 0).all(), jnp.isnan(x) | (x == x)), X),
    "while": (lambda x: lax.while_loop(lambda c: c[1] < 9, lambda c: (jnp.cos(c[0]), c[1] + 1), (x, 0)), X),
    "mapped while": (
        jax.vmap(
            lambda r: lax.while_loop(
                lambda c: c[0].sum() < 10, lambda c: (c[0] + jnp.abs(r), c[1] + 1), (r, 0)
            )
        ),
        X,
    ),
    "mapped fori": (
        jax.vmap(lambda r: lax.fori_loop(0, (r[0] * 9).astype(int), lambda i, c: c + i, r)), X,
    ),
    "extremes in place": (lambda x: x.at[0].max(0.3).at[np.array([1, 1])].min(x[:2]), X),
    "factors": (lambda x: scipy.linalg.lu_factor(x[:, :4]), X),
    "pivots": (
        lambda x: lax.linalg.lu_pivots_to_permutation(lax.linalg.lu(x)[1], 6),
        np.stack([X[:, :3], X[::-1, :3]]),
    ),
    "reflections": (lambda x: (jnp.linalg.qr(x, "raw"), jnp.linalg.qr(x.T, "raw")), X),
    "complex reflections": (lambda x: jnp.linalg.qr(lax.complex(x, x[::-1]), "raw"), IMAGE[..., 0]),
    "a triangle reflected": (lambda x: jnp.linalg.qr(jnp.triu(x), "raw"), X),
    "products of reflections": (
        lambda x: multiply_by_reflections(lax.complex(x, x[::-1])), IMAGE[..., 0],
    ),
    "schur": (lambda a: (scipy.linalg.schur(a), lax.linalg.schur(a, compute_schur_vectors=False)), A),
    "extremes of a named axis": (
        jax.vmap(lambda r: (lax.pmax(r, "i"), lax.pmin(r > 0, "i")), axis_name="i"), X,
    ),
    "a reduction of pairs": (
        lambda x: lax.reduce(
            (x, lax.broadcasted_iota("int32", x.shape, 1)), (np.float32(np.inf), np.int32(9)),
            lambda a, b: [jnp.where(a[0] < b[0], p, q) for p, q in zip(a, b, strict=True)], (1,),
        ),
        X,
    ),
    "an empty reduction": (
        lambda x: lax.reduce(x, np.float32(3), lambda a, b: a + b - a * b, (0,)), X[:0],
    ),
    "hessian": (jax.hessian(lambda x: jax.nn.softplus(x).sum()), X[0]),
    "trees": (lambda p, x: {"y": p["w"] @ x, "of": [p["b"], None]}, {"w": X, "b": V}, X.T),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_values(name):
    f, *args = OTHERS[name]
    equal(evaluate(f, *args), jax.jit(f)(*args), 2e-6)


def squares(w, x):
    return (conv(x, w, feature_group_count=2) ** 2).sum()


#: Variants of primitives that the programs above lack, or could not tell from others.
VARIANTS = {
    "writes before the first": (lambda x: x.at[np.array([0, -9])].set(x[:2], mode="drop"), X),
    "reads before the first": (
        lambda x: x.at[np.array([0, -9]), 1:].get(mode="fill", fill_value=7.0), X,
    ),
    "sums of dilated windows": (
        lambda x: lax.reduce_window(
            x, 0.0, lax.add, (1, 2, 3, 1), (1, 1, 2, 1), "VALID", window_dilation=(1, 3, 2, 1)
        ),
        IMAGE,
    ),
    "groups of two channels": (jax.grad(squares), normal(3, 2, 2, 6), normal(2, 6, 5, 4)),
    "systems from the right": (jax.grad(lambda a: jnp.linalg.cholesky(a).sum()), A),
    "halves": (lambda x: (lax.round(x), jnp.round(x)), np.arange(-2.5, 3.0, dtype="float32")),
    "extremes of numbers and of bools": (
        lambda x: (x.max(1), x.min(), (x > 0).max(1), (x > 0).all(0), jnp.argmax(x, 1)), X,
    ),
    "the tangent of maxima": (
        lambda x, t: jax.jvp(pool_windows, (x,), (t,))[1], IMAGE, normal(*IMAGE.shape, seed=3),
    ),
    "the tangent of minima": (
        lambda x, t: jax.jvp(lambda x: pool_windows(x, lax.min, np.inf), (x,), (t,))[1],
        IMAGE, normal(*IMAGE.shape, seed=3),
    ),
    "keys in another order": (lambda x: lax.sort((jnp.round(x), -x), num_keys=2, dimension=1), X),
}  # fmt: skip


def test_variants_that_the_programs_above_lack():
    for f, *args in VARIANTS.values():
        equal(evaluate(f, *args), jax.jit(f)(*args))


RANDOM = {
    "bits": lambda key: jax.random.bits(key, (5, 3)),
    "narrow bits": lambda key: jax.random.bits(key, (5,), "uint8"),
    "uniform": lambda key: jax.random.uniform(key, (5, 3)),
    "split": lambda key: jax.random.uniform(jax.random.split(key, 3)[1], (4,)),
    "fold": lambda key: jax.random.bits(jax.random.fold_in(key, 7), (4,)),
    "integers": lambda key: jax.random.randint(key, (6,), 0, 100),
    "permutation": lambda key: jax.random.permutation(key, 10),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (9,)),
    "seed": lambda key: jax.random.bits(jax.random.key(key[1]), (3,)),
    "mapped": lambda key: jax.vmap(lambda k: jax.random.bits(k, (2,)))(jax.random.split(key, 4)),
    "carried": lambda key: lax.scan(
        lambda k, _: (jax.random.split(k)[0], jax.random.bits(k)), key, length=3
    )[1],
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_have_the_bits_of_jax(name):
    equal(evaluate(RANDOM[name], KEY), jax.jit(RANDOM[name])(KEY), 0)


@pytest.mark.parametrize("name", ["normal", "exponential", "gumbel", "laplace"])
def test_distributions_are_jaxs(name):
    f = lambda key: getattr(jax.random, name)(key, (50,))  # noqa: E731
    equal(evaluate(f, KEY), jax.jit(f)(KEY), 5e-6)


def test_gamma_distributions_have_the_slopes_of_jax():
    def draws(key, a):
        key = jax.random.wrap_key_data(key)
        samples = jax.random.gamma(key, a, (4,)), jax.random.beta(key, a, 2.0, (3,))
        return *samples, jax.random.dirichlet(key, jnp.stack([a, 1.0, 0.3]))

    a = np.float32(1.7)
    equal(evaluate(draws, KEY, a), jax.jit(draws)(KEY, a), 5e-6)
    loss = lambda key, a: sum(jnp.sin(draw).sum() for draw in draws(key, a))  # noqa: E731
    expected = jax.grad(loss, 1)(KEY, a)
    actual = sg.grad(sg.jax.trace(loss, KEY, a), 1)(KEY, a)
    np.testing.assert_allclose(actual, expected, 1e-4)


@jax.custom_vjp
def scale_clipped(x, scale):
    return x * scale


def _scale_forward(x, scale):
    return x * scale, scale


def _clip(scale, ct):
    return jnp.clip(ct, -1.0, 1.0) * scale, None


scale_clipped.defvjp(_scale_forward, _clip)


@jax.custom_jvp
def double_with_rule(x):
    return 2.0 * x


@double_with_rule.defjvp
def _(primals, tangents):
    return double_with_rule(primals[0]), 5.0 * tangents[0] * double_with_rule(
        primals[0]
    )  # not the derivative


def test_rules_of_custom_derivatives_are_followed():
    for f in (lambda x: (scale_clipped(x, 3.0) * 7.0).sum(), lambda x: double_with_rule(x).sum()):
        x = sg.input("x", V.shape, "float32")
        slope = sg.grad(sg.jax.trace(f, V)(x), x)
        equal(at([slope], [x], [V])[0], jax.grad(f)(V))
    second = sg.grad(sg.grad(sg.jax.trace(lambda x: double_with_rule(x).sum(), V)(x), x).sum(), x)
    expected = jax.grad(lambda x: jax.grad(lambda x: double_with_rule(x).sum())(x).sum())(V)
    equal(at([second], [x], [V])[0], expected)


perturbed = []


def _choosing(x, y):
    perturbed.append((x.perturbed, y.perturbed))
    return (x.value * y.value, x.value + y.value), (x.perturbed, y.perturbed, y.value)


def _pull_back(residual, cts):
    by_x, by_y, y = residual
    first, second = [0.0 if isinstance(ct, SymbolicZero) else ct for ct in cts]
    return (first * y * 2.0 + second if by_x else None), (first * 5.0 if by_y else None)


SymbolicZero = jax.custom_derivatives.SymbolicZero


@jax.custom_vjp
def product_and_sum(x, y):
    return x * y, x + y


product_and_sum.defvjp(_choosing, _pull_back, symbolic_zeros=True)


def test_a_rule_is_read_for_the_operands_that_move():
    f = lambda x, y: sum(result.sum() for result in product_and_sum(x, y))  # noqa: E731
    inputs = [sg.input(name, V.shape, "float32") for name in "xy"]
    loss = sg.jax.trace(f, V, V)(*inputs)
    perturbed.clear()
    slope = sg.grad(loss, inputs[0])
    assert perturbed == [(True, False)]  # both results together, once
    equal(at([slope], inputs, [V, V])[0], jax.grad(f)(V, V))
    equal(tuple(at(sg.grad(loss, inputs), inputs, [V, V])), jax.grad(f, (0, 1))(V, V))


@jax.custom_jvp
def multiply(x, y):
    return x * y


@functools.partial(multiply.defjvp, symbolic_zeros=True)
def _(primals, tangents):
    assert isinstance(tangents[1], SymbolicZero)  # it cannot move
    return multiply(*primals), tangents[0] * 3.0


def test_a_rule_of_tangents_may_refuse_that_an_operand_moves():
    f = lambda x: multiply(x, lax.stop_gradient(x)).sum()  # noqa: E731
    x = sg.input("x", V.shape, "float32")
    loss = sg.jax.trace(f, V)(x)
    pushed = sg.jvp(loss, x, sg.ones_like(x))
    slope, tangent = at([sg.grad(loss, x), pushed], [x], [V])
    equal((slope, tangent), (np.full(4, 3.0, "f"), np.float32(12.0)))


def test_a_rule_that_was_pickled_serves_any_operands():
    f = lambda x, y: sum(result.sum() for result in product_and_sum(x, y))  # noqa: E731
    traced = pickle.loads(pickle.dumps(sg.jax.trace(f, V, V)))
    inputs = [sg.input(name, V.shape, "float32") for name in "xy"]
    slope = sg.grad(traced(*inputs), inputs[1])
    equal(at([slope], inputs, [V, V])[0], jax.grad(f, 1)(V, V))


@jax.custom_jvp
def double_value(x):
    return 2.0 * x


double_value.defjvp(lambda primals, tangents: (double_value(*primals), double_value(*tangents)))


def test_a_rule_may_apply_the_function_to_tangents():
    f = lambda x: (double_value(x) ** 3).sum()  # noqa: E731
    traced = sg.jax.trace(f, V)
    equal(sg.grad(traced)(V), jax.grad(f)(V))
    equal(sg.hessian(traced)(V), jax.hessian(f)(V))


def test_a_rule_serves_the_tape():
    """The rule of ``relu`` compares with a literal, which is a tensor like the operands."""
    f = lambda b, x: (jax.nn.relu(x + b) ** 2).sum()  # noqa: E731
    b, leaf = sg.parameter("b", V), Tensor(2 * V, requires_grad=True)
    sg.jax.trace(f, V, V)(b, leaf).backward()
    equal(leaf.grad, jax.grad(f, 1)(V, 2 * V))


def test_callbacks_call_python():
    def f(x):
        types = jax.ShapeDtypeStruct(x.shape, "float32"), jax.ShapeDtypeStruct((), "int32")
        y, count = jax.pure_callback(lambda x: (np.sort(x), np.int32(x.size)), types, x)
        return lax.cond(count > 3, lambda y: y * 2.0, lambda y: jax.pure_callback(_fail, y, y), y)

    equal(evaluate(f, V), np.sort(V) * 2.0)


def _fail(y):
    raise AssertionError


def test_derivatives_of_a_solve_are_those_of_jax_at_second_order():
    f = lambda a: jnp.linalg.solve(a, V).sum()  # noqa: E731
    a = sg.input("a", A.shape, "float32")
    slope = sg.grad(sg.jax.trace(f, A)(a), a)
    second = sg.grad((slope * slope).sum(), a)
    expected = jax.grad(lambda a: (jax.grad(f)(a) ** 2).sum())(A)
    equal(sg.evaluate(second, {"a": A}), expected, 1e-4)


def test_derivatives_of_a_solve_in_a_scan_are_those_of_jax():
    def f(a):
        step = lambda c, r: (jnp.linalg.solve(a, c + r), c.sum())  # noqa: E731
        last, sums = lax.scan(step, V, jnp.stack([V, 2.0 * V]))
        return last.sum() + (sums**2).sum()

    a = sg.input("a", A.shape, "float32")
    slope = sg.grad(sg.jax.trace(f, A)(a), a)
    equal(sg.evaluate(slope, {"a": A}), jax.grad(f)(A), 1e-4)


def test_eigenvalues_and_vectors_of_any_matrix():
    x = X[:, :4]
    values, vectors = evaluate(jnp.linalg.eig, x)
    np.testing.assert_allclose(x @ vectors, vectors * values, atol=1e-4)
    np.testing.assert_allclose(np.abs(vectors**2).sum(0), 1.0, rtol=1e-5)
    equal(values, np.linalg.eigvals(x).astype("complex64"), 1e-4)
    left = lambda x: lax.linalg.eig(x)[1]  # noqa: E731
    actual = evaluate(left, x)
    np.testing.assert_allclose(actual.conj().T @ x, values[:, None] * actual.conj().T, atol=1e-4)


double = importlib.import_module("jax.extend.core").Primitive("test_lax.double")
double.def_impl(lambda x, *, by: jnp.sin(x) * by)
double.def_abstract_eval(lambda x, *, by: x)


def test_a_package_s_primitive_is_what_defines_it():
    f = lambda x: double.bind(x, by=2.0).sum()  # noqa: E731
    x = sg.input("x", V.shape, "float32")
    slope = sg.grad(sg.jax.trace(f, V)(x), x)
    equal(at([slope], [x], [V])[0], 2.0 * np.cos(V))


def test_it_runs_compiled_like_any_function():
    f = lambda w, x: jnp.tanh(x @ w["a"]).sum()  # noqa: E731
    w = {"a": normal(5, 2)}
    traced = sg.jax.trace(f, w, X)
    assert traced.__name__ == "<lambda>"
    equal(traced(w, jnp.asarray(X)), np.float32(f(w, X)))
    equal(sg.grad(traced)(w, X), jax.grad(f)(w, X))
    batch = np.stack([X, X + 1])
    equal(sg.vmap(traced, (None, 0))(w, batch), jax.vmap(f, (None, 0))(w, batch))
    assert traced(w, X.astype("float64")).dtype == np.float32  # as JAX without 64 bits


def test_64_bits_where_jax_has_them():
    with jax.enable_x64(True):
        x = X.astype("float64")
        equal(evaluate(lambda x: (jnp.sin(x), jnp.arange(3)), x), (np.sin(x), np.arange(3)), 1e-12)


def test_a_primitive_without_a_row_is_refused_at_its_line():
    def f(x):
        y = x + 1.0
        return lax.linalg.hessenberg(y)[0]

    with pytest.raises(ExportError, match="hessenberg") as caught:
        sg.jax.trace(f, A)
    text = str(caught.value)
    assert "return lax.linalg.hessenberg(y)[0]" in text
    assert "test_lax.py" in text


def test_other_arguments_than_those_of_the_example_are_refused():
    traced = sg.jax.trace(lambda w, x: w["a"] * x, {"a": X}, X)
    with pytest.raises(ArgumentError, match=r"float32\[4, 5\]"):
        traced({"a": X}, X[:2])
    with pytest.raises(ArgumentError, match="containers"):
        traced({"b": X}, X)
    with pytest.raises(ArgumentError, match="not a function"):
        sg.jax.trace(3)
    with pytest.raises(ArgumentError, match="containers"):
        sg.jax.trace(lambda pair: pair.x, Pair(X, "a"))(Pair(X, "b"))
    with pytest.raises(ArgumentError, match="containers"):
        sg.jax.trace(lambda pair: pair.x, Pair(X, "a"))({"x": X})


@jax.tree_util.register_pytree_node_class
class Pair:
    def __init__(self, x, name):
        self.x, self.name = x, name

    def tree_flatten(self):
        return (self.x,), self.name

    @classmethod
    def tree_unflatten(cls, name, leaves):
        return cls(*leaves, name)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    weight: object
    rate: int = dataclasses.field(default=3, metadata={"static": True})


def test_classes_registered_with_jax_go_in_and_out():
    state = State(Pair(X, "a"))

    def f(state):
        return State({"w": state.weight, "of": [state.weight.x * state.rate]}, state.rate + 1)

    traced = sg.jax.trace(f, state)
    for function in (traced, pickle.loads(pickle.dumps(traced))):
        equal(function(state), f(state))
    loss = lambda state: (f(state).weight["of"][0] ** 2).sum()  # noqa: E731
    equal(sg.grad(sg.jax.trace(loss, state))(state), jax.grad(loss)(state))
    with pytest.raises(ArgumentError, match="containers"):
        traced(State(Pair(X, "a"), 4))


@pytest.mark.parametrize("kind", ["OrderedDict", "defaultdict", "FrozenDict", "State"])
def test_containers_keep_their_class_and_the_order_of_leaves(kind):
    make = {
        "OrderedDict": collections.OrderedDict,
        "defaultdict": lambda items: collections.defaultdict(None, items),
    }.get(kind)
    if make is None:
        flax = pytest.importorskip("flax", reason="flax is not installed")
        make = (
            flax.core.FrozenDict
            if kind == "FrozenDict"
            else importlib.import_module("flax.nnx").State
        )
    tree = make({"b": X, "a": V})  # OrderedDict has b first, JAX's dicts a
    f = lambda tree: jax.tree.map(lambda leaf: leaf * 2.0, tree)  # noqa: E731
    traced = sg.jax.trace(f, tree)
    loss = lambda tree: sum((leaf**3).sum() for leaf in jax.tree.leaves(tree))  # noqa: E731
    slope = sg.grad(sg.jax.trace(loss, tree))
    for _ in range(2):  # the second call repeats the first
        equal(traced(tree), jax.jit(f)(tree))
        equal(slope(tree), jax.grad(loss)(tree))
    changed_tree = make({"b": X + 1, "a": V + 2})
    equal(traced(changed_tree), jax.jit(f)(changed_tree))
    equal(slope(changed_tree), jax.grad(loss)(changed_tree))


def test_repeated_calls_tell_one_array_from_two():
    f = lambda state: state.weight["b"] - 2.0 * state.weight["a"]  # noqa: E731
    traced = sg.jax.trace(f, State({"b": V, "a": V}))
    for b, a in ((V, V), (V, V), (V, V + 1), (V + 1, V), (V, V)):
        equal(traced(State({"b": b, "a": a})), b - 2 * a)


def test_typed_keys_are_arguments():
    key = jax.random.key(3)
    f = lambda key: jax.random.uniform(key, (4,))  # noqa: E731
    traced = sg.jax.trace(f, key)
    equal(traced(key), f(key), 0)
    equal(traced(jax.random.key_data(key)), f(key), 0)


def test_the_table_has_no_primitive_twice():
    assert not PRIMITIVES.keys() & CALLS.keys()
    assert not (PRIMITIVES.keys() | CALLS.keys()) & REFUSED.keys()


def test_every_primitive_of_lax_has_a_row_or_a_reason():
    primitives = importlib.import_module("jax.extend.core.primitives")
    names = {
        primitive.name for primitive in vars(primitives).values() if hasattr(primitive, "bind")
    }
    unknown = names - PRIMITIVES.keys() - CALLS.keys() - REFUSED.keys() - {*SAMPLERS}
    assert not unknown


@pytest.mark.slow
def test_a_pickled_function_needs_no_jax(tmp_path):
    traced = sg.jax.trace(lambda x: jax.nn.relu(jnp.sin(x)).sum(), X)
    path = tmp_path / "f.pickle"
    path.write_bytes(pickle.dumps(traced))
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, pickle, numpy as np, staticgrad as sg; sys.modules['jax'] = None\n"
        f"f = pickle.load(open({str(path)!r}, 'rb')); x = np.load({str(tmp_path / 'x.npy')!r})\n"
        "print(float(f(x)), float(sg.grad(f)(x).sum()))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    value, slope = map(float, completed.stdout.split())
    expected = jnp.maximum(jnp.sin(X), 0).sum()
    assert value == pytest.approx(float(expected), rel=1e-5)
    slopes = jax.grad(lambda x: jax.nn.relu(jnp.sin(x)).sum())(X)
    assert slope == pytest.approx(float(slopes.sum()), rel=1e-5)


def _oscillator(dfx, y, stiffness):
    f = lambda t, y, a: jnp.stack([y[1], a * (1 - y[0] ** 2) * y[1] - y[0]])  # noqa: E731
    steps = dfx.PIDController(rtol=1e-4, atol=1e-6)
    saved = dfx.SaveAt(ts=jnp.linspace(0.0, 2.0, 4))
    return dfx.diffeqsolve(
        dfx.ODETerm(f), dfx.Tsit5(), 0.0, 2.0, 0.1, y, stiffness,
        stepsize_controller=steps, saveat=saved,
    ).ys  # fmt: skip


def _noisy(dfx, y, key):
    noise = dfx.VirtualBrownianTree(0.0, 1.0, tol=1e-2, shape=(3,), key=key)
    drift = dfx.ODETerm(lambda t, y, args: -y)
    terms = dfx.MultiTerm(drift, dfx.ControlTerm(lambda t, y, args: jnp.diag(0.1 * y), noise))
    return dfx.diffeqsolve(terms, dfx.Heun(), 0.0, 1.0, 0.1, y).ys


@pytest.mark.slow
def test_programs_of_diffrax_are_those_of_jax():
    dfx = pytest.importorskip("diffrax", reason="diffrax is not installed")
    for f, *args in (
        (_oscillator, np.array([2.0, 0.0], "f"), np.float32(1.0)),
        (_noisy, V[:3], jax.random.key(3)),
    ):
        run = functools.partial(f, dfx)
        equal(sg.jax.trace(run, *args)(*args), jax.jit(run)(*args), 5e-4)


def _stiff(dfx, y, k):
    term = dfx.ODETerm(lambda t, y, k: jnp.stack([y[1], k * ((1 - y[0] ** 2) * y[1] - y[0])]))
    steps = dfx.PIDController(rtol=1e-6, atol=1e-8)
    return dfx.diffeqsolve(
        term, dfx.Kvaerno5(), 0.0, 2.0, 0.1, y, k, stepsize_controller=steps
    ).ys  # fmt: skip


def _minimum(y, a):
    optimistix = importlib.import_module("optimistix")
    loss = lambda y, a: (a - y[0]) ** 2 + 5 * (y[1] - y[0] ** 2) ** 2  # noqa: E731
    return optimistix.minimise(loss, optimistix.BFGS(1e-9, 1e-9), y, a).value


def _fit(y, a):
    optimistix = importlib.import_module("optimistix")
    errors = lambda y, a: jnp.stack([a - y[0], 3 * (y[1] - y[0] ** 2), y[0] * y[1]])  # noqa: E731
    solver = optimistix.LevenbergMarquardt(1e-12, 1e-12)
    return optimistix.least_squares(errors, solver, y, a).value


def _linear(lx, solver, b, a):
    solution = lx.linear_solve(lx.MatrixLinearOperator(a), b, getattr(lx, solver)()).value
    return jnp.concatenate([solution, a[0] * 2])  # another path to the operator


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Kvaerno5", "BFGS", "LevenbergMarquardt", "LU", "QR", "SVD"])
def test_implicit_solvers_are_those_of_jax(name):
    f = {"BFGS": _minimum, "LevenbergMarquardt": _fit}.get(name)
    start, slope = np.array([2.0, 0.0]), np.array(1.3)
    if name == "Kvaerno5":
        f = functools.partial(_stiff, pytest.importorskip("diffrax"))
    elif f is None:
        f = functools.partial(_linear, pytest.importorskip("lineax"), name)
        start, slope = V.astype("float64"), A.astype("float64")
    pytest.importorskip("optimistix")

    def loss(a, start):
        return (f(start, a) ** 2).sum()

    with jax.enable_x64(True):
        equal(sg.jax.trace(loss, slope, start)(slope, start), jax.jit(loss)(slope, start), 1e-9)
        expected = jax.jit(jax.grad(loss))(slope, start)
        equal(sg.jax.trace(jax.grad(loss), slope, start)(slope, start), expected, 1e-9)
        equal(sg.grad(sg.jax.trace(loss, slope, start))(slope, start), expected, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", ["RecursiveCheckpointAdjoint", "DirectAdjoint"])
def test_a_neural_ode_of_diffrax_is_differentiated_before_and_after(adjoint):
    dfx = pytest.importorskip("diffrax", reason="diffrax is not installed")

    def loss(w, y):
        solution = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, y, w: jnp.tanh(y @ w)), dfx.Tsit5(), 0.0, 1.0, 0.1, y, w,
            stepsize_controller=dfx.PIDController(rtol=1e-3, atol=1e-5),
            adjoint=getattr(dfx, adjoint)(),
        )  # fmt: skip
        return (solution.ys**2).mean()

    args = normal(4, 4) * 0.4, normal(3, 4, seed=1)
    expected = jax.jit(jax.grad(loss))(*args)
    equal(sg.jax.trace(jax.grad(loss), *args)(*args), expected, 1e-3)
    equal(sg.grad(sg.jax.trace(loss, *args))(*args), expected, 1e-3)


def test_calls_with_typed_keys_repeat_an_earlier_call():
    def draw(keys, scale, key):
        parts = [jax.random.normal(key_of_part, (3,)) for key_of_part in (*keys, key)]
        return parts[0] * scale + parts[1] - parts[2] * scale

    first, second, third = jax.random.split(jax.random.key(3), 3)
    f = sg.jax.trace(draw, (first, second), np.float32(2), third)
    for keys, key in (
        ((first, first), first), ((first, second), third), ((third, first), second),
        ((second, second), second),
    ):  # fmt: skip
        for scale in (np.float32(2), np.float32(-1)):
            expected = draw(keys, scale, key)
            np.testing.assert_allclose(f(keys, scale, key), expected, rtol=1e-5, atol=1e-6)
    assert f.repeat(((first, second), np.float32(3), third), {}) is not None
