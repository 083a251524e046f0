"""``sg.linalg`` against NumPy and SciPy in float64; first and second derivatives by differences."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ops.linalg import COLUMNS
from staticgrad.testing import check_gradients
from tests.helpers.diagonals import diagonals
from tests.helpers.limits import finfo
from tests.laws.linalg_samples import spread

L, N = sg.linalg, np.linalg
RNG = np.random.default_rng(5)


def definite(*shape):
    x = spread(RNG, *shape)
    return x @ np.swapaxes(x, -1, -2)


def normal(*shape):
    return RNG.normal(size=shape)


def tridiagonal(lower, diagonal, upper, b):
    matrix = np.diag(lower, -1) + np.diag(diagonal) + np.diag(upper, 1)
    return N.solve(matrix, b)


A, P, TALL, WIDE = spread(RNG, 2, 3, 3), definite(2, 3, 3), spread(RNG, 4, 3), spread(RNG, 3, 4)
B, V = normal(2, 3, 2), normal(3)
#: What is called, what it is compared with, operands. Of several results those without choice.
CASES = {
    "cholesky": (L.cholesky, N.cholesky, (P,)),
    "cholesky upper": (
        lambda x: L.cholesky(x, upper=True),
        lambda x: N.cholesky(x, upper=True),
        (P,),
    ),
    "solve": (L.solve, N.solve, (A, B)),
    "solve vector": (L.solve, N.solve, (A, V)),
    "solve one matrix": (L.solve, N.solve, (A[0], B)),
    "inv": (L.inv, N.inv, (A,)),
    "det": (L.det, N.det, (A,)),
    "det by lu": (L.det, N.det, (spread(np.random.default_rng(7), 2, 4, 4),)),
    "slogdet": (lambda x: L.slogdet(x)[1], lambda x: N.slogdet(x)[1], (-A,)),
    "qr": (L.qr, N.qr, (TALL,)),
    "qr wide": (L.qr, N.qr, (WIDE,)),
    "qr r": (lambda x: L.qr(x, "r"), lambda x: N.qr(x, "r"), (TALL,)),
    "qr complete r": (lambda x: L.qr(x, "complete")[1], lambda x: N.qr(x, "complete")[1], (TALL,)),
    "lu": (lambda x: L.lu(x)[1:], lambda x: scipy.linalg.lu(x)[1:], (A,)),
    "lu tall": (lambda x: L.lu(x)[1:], lambda x: scipy.linalg.lu(x)[1:], (TALL,)),
    "lu wide": (lambda x: L.lu(x)[1:], lambda x: scipy.linalg.lu(x)[1:], (WIDE,)),
    "eigh": (lambda x: abs(L.eigh(x)[1]), lambda x: abs(N.eigh(x)[1]), (P,)),
    "eigh upper": (lambda x: L.eigh(x, "U")[0], lambda x: N.eigh(x, "U")[0], (P,)),
    "eigvalsh": (L.eigvalsh, N.eigvalsh, (P,)),
    "svd u": (lambda x: abs(L.svd(x, False)[0]), lambda x: abs(N.svd(x, False)[0]), (TALL,)),
    "svd wide": (lambda x: abs(L.svd(x, False)[2]), lambda x: abs(N.svd(x, False)[2]), (WIDE,)),
    "svd full": (lambda x: abs(L.svd(x)[2]), lambda x: abs(N.svd(x)[2]), (A,)),
    "svd full values": (lambda x: L.svd(x)[1], lambda x: N.svd(x)[1], (WIDE,)),
    "svd symmetric": (
        lambda x: abs(L.svd(x, hermitian=True)[2]),
        lambda x: abs(N.svd(x)[2]),
        (P - 3.0 * np.eye(3),),
    ),
    "svdvals": (L.svdvals, N.svdvals, (A,)),
    "pinv": (L.pinv, N.pinv, (TALL,)),
    "pinv wide": (L.pinv, N.pinv, (WIDE,)),
    "pinv symmetric": (lambda x: L.pinv(x, hermitian=True), N.pinv, (P,)),
    "lstsq": (lambda a, b: L.lstsq(a, b)[0], lambda a, b: N.lstsq(a, b)[0], (TALL, normal(4, 2))),
    "lstsq short": (lambda a, b: L.lstsq(a, b)[0], lambda a, b: N.lstsq(a, b)[0], (WIDE, V)),
    "expm": (L.expm, scipy.linalg.expm, (A,)),
    "matrix_power": (lambda x: L.matrix_power(x, 5), lambda x: N.matrix_power(x, 5), (A,)),
    "matrix_power inverse": (
        lambda x: L.matrix_power(x, -3),
        lambda x: N.matrix_power(x, -3),
        (A,),
    ),
    "solve_triangular": (
        lambda a, b: L.solve_triangular(a, b, lower=True, trans=1),
        lambda a, b: N.solve(np.swapaxes(np.tril(a), -1, -2), b),
        (P, B),
    ),
    "solve_triangular unit": (
        lambda a, b: L.solve_triangular(a, b, unit_diagonal=True),
        lambda a, b: N.solve(np.triu(a, 1) + np.eye(3), b),
        (P[0], V),
    ),
    "solve_tridiagonal": (
        L.solve_tridiagonal,
        tridiagonal,
        (normal(2), normal(3) + 4.0, normal(2), B[0]),
    ),
    "block_diag": (L.block_diag, scipy.linalg.block_diag, (TALL, V, WIDE, np.array(2.0))),
    "cho_solve": (
        lambda a, b: L.cho_solve(L.cho_factor(a), b),
        lambda a, b: N.solve(a, b),
        (P, B),
    ),
    "cho_solve lower": (
        lambda a, b: L.cho_solve(L.cho_factor(a, lower=True), b),
        lambda a, b: N.solve(a, b),
        (P[0], V),
    ),
    "cond": (L.cond, N.cond, (A,)),
    "cond 1": (lambda x: L.cond(x, 1), lambda x: N.cond(x, 1), (A,)),
    "cond -2": (lambda x: L.cond(x, -2), lambda x: N.cond(x, -2), (A,)),
    **{
        f"matrix_norm {order}": (
            lambda x, order=order: L.matrix_norm(x, ord=order),
            lambda x, order=order: N.matrix_norm(x, ord=order),
            (A,),
        )
        for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    },
    "norm over axes": (lambda x: L.norm(x, 1, (2, 0)), lambda x: N.norm(x, 1, (2, 0)), (A,)),
    "norm keepdims": (
        lambda x: L.norm(x, "nuc", (0, 2), True),
        lambda x: N.norm(x, "nuc", (0, 2), True),
        (A,),
    ),
    "vector_norm": (
        lambda x: L.vector_norm(x, axis=(0, 2), ord=3),
        lambda x: N.vector_norm(x, axis=(0, 2), ord=3),
        (A,),
    ),
    "trace": (L.trace, N.trace, (A,)),
    "diagonal": (lambda x: L.diagonal(x, offset=1), lambda x: N.diagonal(x, offset=1), (A,)),
    "outer": (L.outer, N.outer, (V, normal(2))),
    "cross": (L.cross, N.cross, (A, V)),
}


def results(value):
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    function, numpys, arrays = CASES[name]
    inputs = [sg.input(f"x{i}", a.shape, "float64") for i, a in enumerate(arrays)]
    outs = results(function(*inputs))
    feeds = {f"x{i}": a for i, a in enumerate(arrays)}
    actual = sg.evaluate(outs, feeds)
    for ours, theirs in zip(actual, results(numpys(*arrays)), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
    check_gradients(lambda *x: results(function(*x)), arrays, order=2)


COMPILED = ("solve", "det", "det by lu", "eigh", "svd u")


@pytest.mark.slow
def test_compiled_programs_give_what_the_evaluator_does_on_every_number_of_threads():
    outs, feeds = {}, {}
    for name in COMPILED:
        function, _, arrays = CASES[name]
        inputs = [sg.input(f"{name}{i}", a.shape, "float64") for i, a in enumerate(arrays)]
        feeds |= {f"{name}{i}": a for i, a in enumerate(arrays)}
        outs |= {f"{name}{i}": out for i, out in enumerate(results(function(*inputs)))}
    graph = sg.Graph(outs)
    expected = sg.evaluate(graph, feeds)
    first = {}
    for threads, jit in ((1, True), (3, True), (1, False)):
        with sg.options(jit=jit):
            actual = sg.compile(graph, threads=threads).run(feeds)
        for name, array in expected.items():
            np.testing.assert_allclose(actual[name], array, rtol=1e-12, atol=1e-13, err_msg=name)
            np.testing.assert_array_equal(actual[name], first.setdefault(name, actual[name]))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=2).map(tuple),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 99),
)
def test_factors_of_any_shape(batch, m, n, dtype, seed):
    """The matrix is the product of its factors, which are of the shapes and kinds promised."""
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(*batch, m, n)).astype(dtype)
    x, k, near = sg.input("x", array.shape, dtype), min(m, n), np.finfo(dtype).eps * 100

    def transpose(a):
        return np.swapaxes(a, -1, -2)

    for complete in (False, True):
        q, r = sg.evaluate(list(L.qr(x, "complete" if complete else "reduced")), {"x": array})
        u, s, v = sg.evaluate(list(L.svd(x, complete)), {"x": array})
        assert q.shape[-1] == (m if complete else k)
        assert u.shape[-1] == (m if complete else k)
        np.testing.assert_allclose(q @ r, array, atol=near)
        np.testing.assert_allclose((u[..., :k] * s[..., None, :]) @ v[..., :k, :], array, atol=near)
        for basis in (q, u, transpose(v)):
            unit = np.broadcast_to(np.eye(basis.shape[-1]), (*batch, *basis.shape[-1:] * 2))
            np.testing.assert_allclose(transpose(basis) @ basis, unit, atol=near)
        np.testing.assert_array_equal(np.tril(r, -1), 0)
    p, lower, upper = sg.evaluate(list(L.lu(x)), {"x": array})
    np.testing.assert_allclose(p @ lower @ upper, array, atol=near)
    rows, _, _ = sg.evaluate(list(L.lu(x, p_indices=True)), {"x": array})
    np.testing.assert_allclose(
        np.take_along_axis(lower @ upper, rows[..., None], -2), array, atol=near
    )
    assert abs(lower).max(initial=0) <= 1
    rank = sg.evaluate(L.matrix_rank(x), {"x": array})
    np.testing.assert_array_equal(rank, N.matrix_rank(array) if k else np.zeros(batch))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_batches_broadcast(a, b, n, k):
    try:
        batch = np.broadcast_shapes(a, b)
    except ValueError:
        return
    rng = np.random.default_rng(n)
    left, right = spread(rng, *a, n, n), rng.normal(size=(*b, n, k))
    x, y = sg.input("x", left.shape, "float64"), sg.input("y", right.shape, "float64")
    for solution, matrix in (
        (L.solve(x, y), left),
        (L.solve_triangular(x, y), np.triu(left)),
        (L.solve_triangular(x, y, "T", True), np.swapaxes(np.tril(left), -1, -2)),
    ):
        solved = sg.evaluate(solution, {"x": left, "y": right})
        assert solved.shape == (*batch, n, k)
        np.testing.assert_allclose(
            matrix @ solved, np.broadcast_to(right, solved.shape), atol=1e-10
        )


@pytest.mark.slow
def test_large_matrices_work_in_blocks():
    n = 150
    x = sg.input("x", (n, n), "float64")
    array = definite(n, n)
    graph = sg.Graph({"l": L.cholesky(x), "w": L.eigvalsh(x), "s": L.svdvals(x), "i": L.inv(x)})
    actual = sg.compile(graph).run({"x": array})
    np.testing.assert_allclose(actual["l"], N.cholesky(array), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(actual["w"], N.eigvalsh(array), rtol=1e-9)
    np.testing.assert_allclose(actual["s"], N.svdvals(array), rtol=1e-9)
    np.testing.assert_allclose(actual["i"] @ array, np.eye(n), atol=1e-7)
    q, r = sg.evaluate(list(L.qr(x)), {"x": array})
    np.testing.assert_allclose(q @ r, array, atol=1e-8)
    u, s, v = sg.evaluate(list(L.svd(x[:, :90])), {"x": array})
    np.testing.assert_allclose((u[:, :90] * s) @ v, array[:, :90], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qr", "qr complete r", "lu"])
def test_derivatives_of_rectangles_of_two_named_sizes(name):
    """The run decides which size is larger: first and second derivatives of the literal program."""

    def outputs(m, n):
        x = sg.input("x", (m, n), "float64")
        parts = {"qr": L.qr, "qr complete r": lambda x: L.qr(x, "complete")[1:]}
        parts["lu"] = lambda x: L.lu(x)[1:]
        loss = sum((sg.sin(part + 0.3) ** 2).sum() for part in parts[name](x))
        first = sg.grad(loss, x)
        return sg.compile({"first": first, "second": sg.grad(sg.sin(first).sum(), x)})

    named = outputs("m", "n")
    for m, n in [(3, 3), (5, 3), (3, 5), (1, 4), (4, 1)]:
        feeds = {"x": normal(m, n)}
        expected = outputs(m, n).run(feeds)
        for order, actual in named.run(feeds).items():
            np.testing.assert_allclose(actual, expected[order], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@diagonals(2, ("n", [200, 97]), ("dtype", ["float32", "float64"]))
def test_triangular_systems_of_several_blocks_and_parts(n, dtype):
    """Blocks of unknowns from both ends, parts of columns on workers, batches of matrices."""
    columns = COLUMNS + 45
    random = np.random.default_rng(n)
    a = (random.normal(size=(2, n, n)) / n + np.eye(n)).astype(dtype)
    b = random.normal(size=(2, n, columns)).astype(dtype)
    x, y = sg.input("x", ("m", n, n), dtype), sg.input("y", ("m", n, "k"), dtype)
    cases = {
        f"{trans}{'l' if lower else 'u'}{unit}": (trans, lower, bool(unit))
        for trans in "NT" for lower in (False, True) for unit in (0, 1)
    }  # fmt: skip
    graph = sg.Graph({name: L.solve_triangular(x, y, *case) for name, case in cases.items()})
    results = [sg.compile(graph, threads=k).run({"x": a, "y": b}) for k in (1, 2)]
    named = sg.evaluate(graph, {"x": a, "y": b})
    for name, (trans, lower, unit) in cases.items():
        actual = results[0][name]
        assert same_bytes(actual, results[1][name])
        assert same_bytes(actual, np.asarray(named[name]))
        for k in range(2):
            expected = scipy.linalg.solve_triangular(
                a[k].astype(np.float64), b[k].astype(np.float64), trans, lower, unit
            )
            bound = 40 * np.finfo(dtype).eps * np.abs(expected).max()
            np.testing.assert_allclose(actual[k], expected, rtol=0, atol=bound)


def test_numpys_functions_take_values():
    x = sg.input("x", (2, 3, 3), "float64")
    feeds = {"x": A}
    for name in ("inv", "det", "svdvals", "pinv", "cond", "matrix_rank", "trace", "diagonal"):
        function = getattr(np.linalg, name)
        np.testing.assert_allclose(sg.evaluate(function(x), feeds), function(A), rtol=1e-11)
    np.testing.assert_allclose(
        sg.evaluate(np.linalg.norm(x, 2, (1, 2)), feeds), N.norm(A, 2, (1, 2))
    )


@pytest.mark.slow
def test_named_sizes_compile_once():
    n = sg.dim("n")
    x, y = sg.input("x", (n, n), "float64"), sg.input("y", (n,), "float64")
    loss = L.slogdet(x)[1] + (L.solve(x, y) ** 2).sum() + L.eigvalsh(x).sum()
    f = sg.compile({"loss": loss, "slope": sg.grad(loss, x)})
    for size in (1, 4, 0, 7):
        array, row = definite(size, size) if size else np.zeros((0, 0)), normal(size)
        solved = N.solve(array, row)
        expected = N.slogdet(array)[1] + solved @ solved + N.eigvalsh(array).sum()
        np.testing.assert_allclose(f.run({"x": array, "y": row})["loss"], expected, rtol=1e-10)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_determinants_have_gradients_where_they_are_zero(n):
    """They are exact for integers: the gradient is the matrix of cofactors."""
    arrays = np.random.default_rng(n).integers(-9, 10, (40, n, n)).astype("float64")
    arrays[::2, -1] = 2 * arrays[::2, 0] * (n > 1)  # singular
    minors = np.empty_like(arrays)
    for i, j in np.ndindex(n, n):
        submatrices = np.delete(np.delete(arrays, i, 1), j, 2)
        minors[:, i, j] = (-1) ** (i + j) * N.det(submatrices).round()
    x = sg.input("x", ("b", n, n), "float64")
    actual = sg.compile({"d": L.det(x), "slope": sg.grad(L.det(x).sum(), x)}).run({"x": arrays})
    np.testing.assert_array_equal(actual["slope"], minors)
    np.testing.assert_array_equal(actual["d"], (arrays[:, 0] * minors[:, 0]).sum(-1))
    assert (actual["d"][::2] == 0).all()


def exact_det(rows):
    """A determinant along the first row, and that sum with every term positive."""
    if not rows:
        return Fraction(1), Fraction(1)
    total, size = Fraction(0), Fraction(0)
    for column, entry in enumerate(rows[0]):
        minor, largest = exact_det([row[:column] + row[column + 1 :] for row in rows[1:]])
        total += (-1) ** column * entry * minor
        size += abs(entry) * largest
    return total, size


@pytest.mark.thinned(2)
@pytest.mark.parametrize("n", [2, 3])
def test_small_determinants_of_float64_overflow_where_they_are_too_large_alone(n):
    """So do their gradients; rows are of any magnitude, singular matrices of large ones too."""
    rng = np.random.default_rng(n)
    arrays = rng.normal(size=(120, n, n)) * 10.0 ** rng.integers(-300, 300, (120, n, 1))
    arrays[:20, :2] = np.eye(1, n) * 2.0**700
    arrays[20] = 0.0
    x = sg.input("x", ("b", n, n), "float64")
    results = sg.compile({"d": L.det(x), "slope": sg.grad(L.det(x).sum(), x)}).run({"x": arrays})
    finite = 0
    for number, array in enumerate(arrays):
        rows = [[Fraction(entry) for entry in row] for row in array.tolist()]
        expected = [(results["d"][number], exact_det(rows))]
        for i, j in np.ndindex(n, n):
            minor = [row[:j] + row[j + 1 :] for k, row in enumerate(rows) if k != i]
            sign = (-1) ** (i + j)
            expected.append((sign * results["slope"][number, i, j], exact_det(minor)))
        for value, (true, size) in expected:
            if abs(true) > Fraction(finfo("float64").max):
                assert value == (np.inf if true > 0 else -np.inf)
            else:
                assert abs(Fraction(value.item()) - true) <= size / 2**50 + Fraction(2.0**-1073)
                finite += 1
    assert finite > 120


def keep_structure(a, structure, lower):
    """Return the matrix of which ``solve`` reads the elements that a structure names."""
    i, j = np.indices(a.shape[-2:])
    half = np.where(i >= j if lower else i <= j, a, 0)
    strict = np.where(i == j, 0, half)
    if structure in ("her", "hermitian", "pos", "positive definite"):
        return np.where(i == j, a.real, half) + strict.swapaxes(-1, -2).conj()
    masks = {"diagonal": i == j, "tridiagonal": abs(i - j) < 2}
    masks |= {"upper triangular": i <= j, "lower triangular": i >= j}
    if structure in ("sym", "symmetric"):
        return half + strict.swapaxes(-1, -2)
    return np.where(masks.get(structure, True), a, 0)


STRUCTURES = (
    "general", "gen", "symmetric", "sym", "hermitian", "her", "positive definite", "pos",
    "upper triangular", "lower triangular", "diagonal", "tridiagonal", "banded",
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_systems_of_a_structure_have_the_solutions_of_scipy(structure, dtype):
    rng = np.random.default_rng(3)
    for n in (1, 2, 5, 9):
        a, b = rng.normal(size=(2, 3, n, n))[0], rng.normal(size=(n, 2))
        if dtype.startswith("complex"):
            a = a + 1j * rng.normal(size=(3, n, n))
        a = a @ a.conj().swapaxes(-1, -2) + n * np.eye(n) + 0.1 * rng.normal(size=(3, n, n))
        a, b = a.astype(dtype), b.astype(dtype)
        near = 500 * np.finfo(dtype).eps
        for lower in (False, True):
            matrix = keep_structure(a, structure, lower)
            nan = np.where(keep_structure(np.ones_like(a), structure, lower) != 0, a, np.nan)
            if structure in STRUCTURES[2:8]:  # the other triangle is not read
                nan = np.where((np.tri(n) if lower else np.tri(n).T) != 0, a, np.nan)
            for transposed in (False, True):
                expected = N.solve(matrix.swapaxes(-1, -2) if transposed else matrix, b)
                options = {"assume_a": structure, "transposed": transposed}
                for read in (a, nan):
                    actual = L.solve(read, b, lower, **options)
                    assert actual.dtype == dtype
                    np.testing.assert_allclose(actual, expected, rtol=near, atol=near)
                if not (transposed and dtype.startswith("complex")):  # which SciPy refuses
                    usual = scipy.linalg.solve(a[0], b, lower=lower, **options)
                    np.testing.assert_allclose(actual[0], usual, rtol=near, atol=near)


@pytest.mark.parametrize("structure", ["sym", "her", "pos", "diagonal", "tridiagonal", "banded"])
def test_derivatives_of_systems_are_those_of_the_elements_that_are_read(structure):
    rng = np.random.default_rng(4)
    real = definite(3, 3) + 4 * np.eye(3) + 0.1 * rng.normal(size=(3, 3))
    arrays = [real, 0.1 * rng.normal(size=(3, 3)), rng.normal(size=(3, 2))]
    for lower in (False, True):
        for transposed in (False, True):
            options = {"assume_a": structure, "transposed": transposed}
            check_gradients(
                lambda a, _, b, low=lower, o=options: L.solve(a, b, low, **o), arrays, order=2
            )

            def solve_complex(re, im, b, low=lower, o=options):
                x = L.solve(sg.complex(re, im), b, low, **o)
                return [x.real, x.imag]

            check_gradients(solve_complex, arrays, order=1)


@pytest.mark.parametrize("structure", ["sym", "pos", "diagonal", "tridiagonal"])
def test_systems_of_named_sizes_run_with_portable_factors(structure):
    rng = np.random.default_rng(5)
    n = sg.dim("n", min=1)
    a, b = sg.input("a", ("m", n, n), "float64"), sg.input("b", (n, "k"), "float64")
    x = L.solve(a, b, assume_a=structure)
    graph = sg.Graph({"x": x, "slope": sg.grad(x.sum(), a)})
    for mode in ("fast", "portable"):
        with sg.options(linalg=mode):
            f = sg.compile(graph)
            for size in (1, 4, 30):
                array = definite(2, size, size) + size * np.eye(size)
                columns = rng.normal(size=(size, 3))
                matrix = keep_structure(array, structure, False)
                actual = f.run({"a": array, "b": columns})
                np.testing.assert_allclose(actual["x"], N.solve(matrix, columns), rtol=1e-9)
                is_read = keep_structure(np.ones_like(array), structure, False) != 0
                assert (is_read | (actual["slope"] == 0)).all()


def test_systems_that_have_not_their_structure_are_named():
    indefinite = np.array([[1.0, 3.0], [3.0, 1.0]])
    with pytest.raises(sg.errors.LinearAlgebraError, match="not positive definite"):
        L.solve(indefinite, np.ones(2), assume_a="pos")
    assert np.isnan(L.solve(indefinite, np.ones(2), assume_a="pos", errors="nan")).all()
    for structure in ("diagonal", "tridiagonal", "lower triangular", "sym"):
        with pytest.raises(sg.errors.LinearAlgebraError, match="singular"):
            L.solve(np.zeros((2, 2)), np.ones(2), assume_a=structure)
    with pytest.raises(sg.errors.ArgumentError, match="assume_a='posdef' is not one of"):
        L.solve(indefinite, np.ones(2), assume_a="posdef")


def test_what_has_no_blocks_or_diagonals_is_refused():
    for call, error in (
        (lambda: L.block_diag(), sg.errors.ArgumentError),
        (lambda: L.block_diag(np.zeros((2, 2, 2))), sg.errors.RankError),
        (lambda: L.cho_solve(np.eye(2), np.ones(2)), sg.errors.ArgumentError),
    ):
        with pytest.raises(error):
            call()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_bases_of_ranges_and_null_spaces_are_those_of_scipy(dtype):
    rng = np.random.default_rng(4)
    full = rng.normal(size=(5, 4)) + (1j * rng.normal(size=(5, 4)) if dtype == "complex128" else 0)
    low = full[:, :2] @ full[:2]
    for matrix, rank in ((full, 4), (full.T, 4), (low, 2), (low * 0.0, 0)):
        for name in ("orth", "null_space"):
            expected = getattr(scipy.linalg, name)(matrix)
            now = getattr(sg.linalg, name)(matrix)
            of_value = sg.evaluate(getattr(sg.linalg, name)(sg.constant(matrix), rank=rank))
            for actual in (now, of_value):
                assert actual.shape == expected.shape
                ours, theirs = actual @ actual.conj().T, expected @ expected.conj().T
                np.testing.assert_allclose(ours, theirs, atol=1e-12)
                np.testing.assert_allclose(
                    actual.conj().T @ actual, np.eye(actual.shape[1]), atol=1e-12
                )
    with pytest.raises(sg.errors.ArgumentError, match="rank=n says how many"):
        sg.linalg.orth(sg.input("a", (3, 2), "float64"))


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0)])
def test_expm_of_no_elements(shape):
    x = sg.input("x", shape, "float64")
    results = {"y": L.expm(x), "slope": sg.grad(L.expm(x).sum(), x)}
    for actual in (
        sg.evaluate(results, {"x": np.zeros(shape)}),
        sg.compile(results).run({"x": np.zeros(shape)}),
    ):
        assert actual["y"].shape == actual["slope"].shape == shape


def test_exponentials_of_one_batch_do_not_depend_on_each_other():
    """Norms that need no, some and too many squarings, and NaN, which count by themselves."""
    x = normal(4, 5, 5) * np.array([0.01, 3.0, 60.0, 1.0])[:, None, None]
    x[3, 1, 2] = np.nan
    a = sg.input("a", x.shape, "float64")
    value = L.expm(a, max_squarings=4, errors="nan")
    actual = sg.compile(sg.Graph({"e": value, "g": sg.grad(value.sum(), a)})).run({"a": x})
    for way in (actual["e"], np.asarray(L.expm(x, max_squarings=4, errors="nan"))):
        np.testing.assert_allclose(way[:2], scipy.linalg.expm(x[:2]), rtol=1e-12)
        assert np.isnan(way[2:]).all()
    for k in range(2):  # the derivative of a sum is that of the transposed matrix along ones
        expected = scipy.linalg.expm_frechet(x[k].T, np.ones((5, 5)), compute_expm=False)
        np.testing.assert_allclose(actual["g"][k], expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
@pytest.mark.parametrize("full", [False, True])
def test_full_bases_have_gradients_where_sides_are_equal_and_singular_values_anywhere(shape, full):
    """Beside differences of NumPy's; squares of a basis do not depend on its signs."""
    at = np.random.default_rng(3).normal(size=shape)
    a = sg.input("a", shape, "float64")
    for k, value in enumerate(sg.linalg.svd(a, full_matrices=full)):
        weights = np.arange(1.0, 1 + np.prod(value.shape)).reshape(value.shape)
        loss = (value**2 * weights).sum()
        if full and shape[0] != shape[1] and k != 1:
            with pytest.raises(sg.errors.GradientError):
                sg.grad(loss, a)
            continue
        slope = sg.compile(sg.grad(loss, a)).run({"a": at})
        for index in np.ndindex(shape):
            step = np.zeros(shape)
            step[index] = 1e-6
            ends = [
                (np.linalg.svd(at + s, full_matrices=full)[k] ** 2 * weights).sum()
                for s in (step, -step)
            ]
            assert abs(slope[index] - (ends[0] - ends[1]) / 2e-6) < 1e-4
