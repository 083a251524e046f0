"""Complex values at functions around the core: each takes them, or refuses them in one sentence."""

import copy
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.language.ops.collective import RankMean, rows_of
from tests.helpers.processes import pretend_ranks

Z = np.array([1.0 + 2.0j, 3.0 - 1.0j])
X = np.array([1.0, 2.0])
HERMITIAN = np.array([[3.0, 1.0j], [-1.0j, 2.0]])
SQUARE = np.array([[3.0, 1.0 + 1.0j], [2.0 - 1.0j, 2.0]])
REAL = np.array([[3.0, 1.0], [1.0, 2.0]])


def z_input():
    return sg.input("z", (2,), "complex128")


# -- functions of users ---------------------------------------------------------------------------

CALLS = [sg.host_call, pytest.param(sg.numba_call, marks=pytest.mark.slow)]


def times_exp(z):
    return z * np.exp(z)


def turned_rule(ct, out, z):
    return (ct * (sg.exp(z) + out),)


@pytest.mark.parametrize("call", [sg.host_call, sg.numba_call], ids=lambda call: call.__name__)
def test_calls_get_complex_arrays_and_jax_s_cotangents(call):
    def f(z):
        return call(times_exp, z, types=z, vjp=turned_rule, name=f"{call.__name__} turned")

    z, t = z_input(), Tensor(Z, requires_grad=True)
    graph = sg.Graph(f(z))
    np.testing.assert_allclose(sg.evaluate(f(z), {"z": Z}), times_exp(Z))
    np.testing.assert_allclose(f(t).data, times_exp(Z))
    assert sg.same_graph(sg.parse(str(graph)), graph)
    assert sg.same_graph(pickle.loads(pickle.dumps(graph)), graph)
    assert sg.same_graph(copy.deepcopy(graph), graph)
    size = lambda f: lambda z: sg.abs_square(f(z) + 1j).sum()  # noqa: E731
    expected = sg.grad(size(lambda z: z * sg.exp(z)))(Z)
    np.testing.assert_allclose(sg.evaluate(sg.grad(size(f)(z), z), {"z": Z}), expected)
    np.testing.assert_allclose(sg.grad(size(f)(t), t).data, expected)


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_several_kinds_run_compiled(call):
    def f(z, x):
        return np.abs(z) * x, np.conj(z) + x

    def scalar(x):
        return x * (1.0 + 1.0j)

    z, x = z_input(), sg.input("x", (), "float64")
    types = [((2,), "float64"), z]
    size, total = call(f, z, X, types=types, name=f"{call.__name__} several")
    number = call(scalar, x, types=((), "complex64"), name=f"{call.__name__} scalar")
    graph = sg.Graph({"size": size, "total": total, "number": number})
    for actual in (
        sg.compile(graph).run({"z": Z, "x": 2.0}),
        sg.evaluate(graph, {"z": Z, "x": 2.0}),
    ):
        np.testing.assert_allclose(actual["size"], abs(Z) * X)
        np.testing.assert_allclose(actual["total"], Z.conj() + X)
        assert (actual["number"], actual["number"].dtype) == (2.0 + 2.0j, "complex64")
    batches = np.stack([Z, 2j * Z])
    mapped = sg.vmap(lambda z: call(f, z, X, types=types, name=f"{call.__name__} several")[1])
    np.testing.assert_allclose(mapped(batches), batches.conj() + X)


def test_a_call_that_promised_real_numbers_is_refused():
    with pytest.raises(sg.errors.CallError, match=r"gives complex128\[2\], types= says float64"):
        sg.evaluate(sg.host_call(times_exp, z_input(), types=((2,), "float64")), {"z": Z})


# -- linear systems -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cg", "gmres"])
def test_iterations_solve_complex_systems(name):
    solve, z = getattr(sg.linalg, name), z_input()
    matrix = HERMITIAN if name == "cg" else SQUARE
    sparse = sg.sparse.csr(csr_array(REAL))
    inverse = np.diag(1 / np.diag(matrix).real)
    cases = [(matrix, Z, {}), (REAL, Z, {}), (matrix, X, {}), (matrix, Z, {"M": inverse})]
    for a, b, options in cases:
        actual = solve(sg.constant(a), sg.constant(b), rtol=1e-12, **options)
        x, info = sg.evaluate([actual.x, actual.info])
        np.testing.assert_allclose(a @ x, b, atol=1e-10)
        assert info == 0
    actual = sg.evaluate(solve(sparse, z, rtol=1e-12).x, {"z": Z})
    np.testing.assert_allclose(REAL @ actual, Z, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "as_function", "order"),
    [("cg", False, 1), ("cg", True, 2), ("gmres", True, 1),
     pytest.param("gmres", False, 2, marks=pytest.mark.slow)],
)  # fmt: skip
def test_derivatives_of_complex_systems_are_those_of_solve(name, as_function, order):
    matrix = HERMITIAN if name == "cg" else SQUARE

    def solve_iteratively(a, b):
        if not as_function:
            return getattr(sg.linalg, name)(a, b, rtol=1e-13).x
        return getattr(sg.linalg, name)(lambda v, a: a @ v, b, rtol=1e-13, args=(a,)).x

    def loss(solve):
        return lambda a, b: sg.abs_square(solve(a, b) * np.array([1.0, 2.0j]) + 1.0).sum()

    loss_of_solver, loss_of_solve = loss(solve_iteratively), loss(sg.linalg.solve)
    a, b = sg.input("a", (2, 2), "complex128"), z_input()
    feeds, ways = {"a": matrix, "z": Z}, [matrix * 1j, 2.0 * Z]
    first = lambda f: sg.grad(f(a, b), [a, b])  # noqa: E731
    second = lambda f: sg.hvp(f(a, b), [a, b], ways)  # noqa: E731
    for derivative in (first, second)[:order]:
        actual, expected = (
            sg.evaluate(derivative(f), feeds) for f in (loss_of_solver, loss_of_solve)
        )
        for left, right in zip(actual, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-9)
    tensors = [Tensor(matrix, requires_grad=True), Tensor(Z, requires_grad=True)]
    expected = sg.evaluate(first(loss_of_solve), feeds)
    for left, right in zip(sg.grad(loss_of_solver(*tensors), tensors), expected, strict=True):
        np.testing.assert_allclose(left.data, right, rtol=1e-8, atol=1e-9)


# -- further functions ----------------------------------------------------------------------------


def test_lines_through_complex_values():
    at, z = np.array([1.5, 0.0, 3.0, 2.0]), z_input()
    actual = sg.evaluate(sg.interp(at, X, z), {"z": Z})
    np.testing.assert_allclose(actual, np.interp(at, X, Z))
    actual = sg.evaluate(sg.interp(at, X, Z, left=2j, right=7))
    np.testing.assert_allclose(actual, np.interp(at, X, Z, 2j, 7))
    actual = sg.grad(lambda z: sg.abs_square(sg.interp(1.25, X, z)))(Z)
    np.testing.assert_allclose(
        actual, 2 * np.conj(0.75 * Z[0] + 0.25 * Z[1]) * np.array([0.75, 0.25])
    )


def test_what_is_not_finite_is_replaced_in_each_part():
    z = np.array([complex(np.nan, 1), complex(1, np.inf), complex(-np.inf, np.nan), 2 + 1j])
    np.testing.assert_array_equal(sg.evaluate(sg.nan_to_num(z)), np.nan_to_num(z))


def test_squares_of_differences_are_squares_of_magnitudes():
    a = np.array([[1 + 2j, 3 - 1j, 2], [0.5, 1j, -1]])
    b = a[::-1] * 1j
    away = abs(a - b)
    np.testing.assert_allclose(sg.evaluate(sg.nn.mse(a, b)), np.mean(away**2))
    expected = np.mean(np.where(away <= 1, away**2 / 2, away - 0.5))
    np.testing.assert_allclose(sg.evaluate(sg.nn.huber(a, b)), expected)
    np.testing.assert_allclose(sg.evaluate(sg.nn.smooth_l1_loss(a, b)), expected)
    middle = a - a.mean(-1, keepdims=True)
    over = np.sqrt(np.mean(abs(middle) ** 2, -1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(sg.evaluate(sg.nn.layer_norm(a, eps=1e-5)), middle / over)
    over = np.sqrt(np.mean(abs(a) ** 2, -1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(sg.evaluate(sg.nn.rms_norm(a, eps=1e-5)), a / over)
    mean, variance = sg.evaluate(sg.nn.batch_statistics(a))
    np.testing.assert_allclose(mean, a.mean(0))
    np.testing.assert_allclose(variance, a.var(0))


def test_means_over_ranks_are_exchanged_as_both_parts(monkeypatch):
    class Two:
        ranks = 2

    z = z_input()
    pretend_ranks(monkeypatch, job=Two)
    actual, t = sg.distributed.mean(z), sg.distributed.mean(1j * z.real)
    assert (actual.type, t.type) == (z.type, z.type)
    (exchange,) = [node for node in sg.Graph(actual).nodes if isinstance(node.op, RankMean)]
    assert str(exchange.types[0]) == "f64[2, 2]"
    wide, number = sg.input("w", (5, 2), "complex128"), sg.input("u", (), "complex128")
    assert [size.tolist() for size in rows_of("mean", abs(wide)).sizes] == [[5.0]]
    assert rows_of("mean", abs(number)).sizes == ()  # its parts are no rows


#: Functions that take real values alone, and what their sentence begins with.
REFUSED = {
    "implicit.root": lambda z: sg.implicit.root(lambda x, a: x * x - a, z, X),
    "implicit.root ": lambda z: sg.implicit.root(lambda x, a: x * x - a, Z, X),
    "implicit.fixed_point": lambda z: sg.implicit.fixed_point(lambda x: x * 0.5, z),
    "implicit.argmin": lambda z: sg.implicit.argmin(lambda x: sg.abs_square(x).sum(), z),
    "implicit": lambda z: sg.implicit.root(lambda x: x * 1j, X),
    "interp": lambda z: sg.interp(z, X, X),
    "logaddexp": lambda z: sg.logaddexp(z, z),
    "order_statistic": lambda z: sg.median(z),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_takes_real_values_says_so(name):
    begin = name.strip().removeprefix("implicit.")
    with pytest.raises(
        sg.errors.DTypeError, match=rf"^\[SG102\] {begin}.*: takes real values, got c"
    ):
        REFUSED[name](z_input())


def test_real_solutions_may_depend_on_complex_operands():
    z = z_input()
    actual = sg.implicit.root(lambda x, a: x * x - abs(a), sg.constant(X), z)
    expected = sg.grad(lambda z: sg.sqrt(abs(z)).sum())(Z)
    np.testing.assert_allclose(sg.evaluate(sg.grad(actual.sum(), z), {"z": Z}), expected)


def test_complex_values_are_leaves_of_trees():
    z, t, p = z_input(), Tensor(Z), sg.parameter("p", Z)
    for leaf in (z, t, p, Z):
        assert sg.tree.leaves({"z": leaf}) == [leaf] if leaf is not Z else True
        actual = sg.tree.map(lambda a, b: a * a * 1j + b, {"z": leaf}, {"z": X})["z"]
        if leaf is z or leaf is p:
            actual, _ = sg.evaluate([actual, z], {"z": Z})
        actual = actual.data if leaf is t else actual
        np.testing.assert_allclose(actual, Z * Z * 1j + X)
    leaves, tree = sg.tree.flatten({"z": z, "p": [p]})
    assert (leaves, str(tree)) == ([z, p], "{'z': ?, 'p': [?]}")
    assert sg.tree.unflatten(tree, leaves) == {"z": z, "p": [p]}
    step = sg.function(lambda w: sg.tree.map(lambda w: w - 0.1 * sg.conj(w), w))
    np.testing.assert_allclose(step({"w": Z})["w"], Z - 0.1 * Z.conj())


def test_gradients_of_complex_values_are_not_checked():
    z = z_input()
    for call in (
        lambda: sg.testing.check_gradients(lambda z: sg.abs_square(z).sum(), [Z]),
        lambda: sg.testing.check_gradients(sg.abs_square(z).sum(), {"z": Z}),
        lambda: sg.testing.check_gradients(lambda x: x * 1j, [X]),
        lambda: sg.testing.check_gradients(sg.parameter("p", Z).real, {}),
    ):
        with pytest.raises(sg.errors.DTypeError, match="check_gradients: takes real values, got c"):
            call()


def test_lbfgs_moves_complex_parameters():
    w, u, target = sg.parameter("w", Z), sg.parameter("u", X), np.array([1.0 + 1.0j, -2j])

    def loss(p):
        return sg.abs_square(p["w"] - target).sum() + ((p["u"] - 3.0) ** 2).sum()

    value = sg.function(lambda: sg.optim.LBFGS().minimize(loss, {"w": w, "u": u}).value)()
    np.testing.assert_allclose(w.value, target, atol=1e-6)
    np.testing.assert_allclose(u.value, [3.0, 3.0], atol=1e-6)
    assert value < 1e-10
    actual = sg.optim.LBFGS().minimum(lambda z: sg.abs_square(z - target).sum(), Z)
    np.testing.assert_allclose(sg.evaluate(actual.x), target, atol=1e-6)
