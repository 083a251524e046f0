"""Operations of sparse matrices: those of SciPy, of plain elements and of computed ones."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.errors import StaticgradError

RNG = np.random.default_rng(3)
S = sp.random_array((6, 5), density=0.4, format="csr", rng=RNG)
T = sp.random_array((5, 7), density=0.4, format="csr", rng=RNG)
U = sp.random_array((6, 5), density=0.5, format="csr", rng=RNG)
D, E, F = (matrix.toarray() for matrix in (S, T, U))
MASK = RNG.random((6, 5)) > 0.5
PICK = np.ix_([5, 0, 0], [1, 1, 4])
#: What is written of matrices a [6, 5], b [5, 7] and c [6, 5], and the same of dense arrays.
WRITTEN = {
    "a @ b": (lambda a, b, c: a @ b, lambda a, b, c: a @ b),
    "b.T @ a.T": (lambda a, b, c: b.T @ a.T, lambda a, b, c: b.T @ a.T),
    "a.T @ c": (lambda a, b, c: a.T @ c, lambda a, b, c: a.T @ c),
    "a.dot": (lambda a, b, c: a.dot(b), lambda a, b, c: a @ b),
    "a @ b @ x": (lambda a, b, c: (a @ b) @ np.arange(7.0), lambda a, b, c: a @ b @ np.arange(7.0)),
    "a * c": (lambda a, b, c: a * c, lambda a, b, c: a * c),
    "a.T * c.T": (lambda a, b, c: a.T * c.T, lambda a, b, c: (a * c).T),
    "multiply": (lambda a, b, c: a.multiply(c), lambda a, b, c: a * c),
    "a * a": (lambda a, b, c: a * a, lambda a, b, c: a * a),
    "a + c": (lambda a, b, c: a + c, lambda a, b, c: a + c),
    "a - c": (lambda a, b, c: a - c, lambda a, b, c: a - c),
    "a + dense": (lambda a, b, c: a + F, lambda a, b, c: a + F),
    "dense - a": (lambda a, b, c: F - a, lambda a, b, c: F - a),
    "scipy - a": (lambda a, b, c: U - a, lambda a, b, c: F - a),
    "scipy @ b": (lambda a, b, c: S @ b, lambda a, b, c: D @ b),
    "scipy * a": (lambda a, b, c: U * a, lambda a, b, c: F * a),
    "a ** 2": (lambda a, b, c: a**2, lambda a, b, c: a**2),
    "power": (lambda a, b, c: a.power(1.5), lambda a, b, c: a**1.5),
    "abs": (lambda a, b, c: abs(-a), lambda a, b, c: abs(a)),
    "mean": (lambda a, b, c: a.mean(), lambda a, b, c: a.mean()),
    "mean of columns": (lambda a, b, c: a.mean(0), lambda a, b, c: a.mean(0)),
    "mean of rows": (lambda a, b, c: a.T.mean(1), lambda a, b, c: a.mean(0)),
    "trace": (lambda a, b, c: a.trace(), lambda a, b, c: np.trace(a)),
    "trace below": (lambda a, b, c: a.trace(-2), lambda a, b, c: np.trace(a, -2)),
    "diagonal above": (lambda a, b, c: a.diagonal(1), lambda a, b, c: np.diagonal(a, 1)),
    "diagonal below": (lambda a, b, c: a.diagonal(-2), lambda a, b, c: np.diagonal(a, -2)),
    "diagonal of a.T": (lambda a, b, c: a.T.diagonal(2), lambda a, b, c: np.diagonal(a.T, 2)),
    "tril": (lambda a, b, c: sg.sparse.tril(a, -1), lambda a, b, c: np.tril(a, -1)),
    "triu of a.T": (lambda a, b, c: sg.sparse.triu(a.T, 1), lambda a, b, c: np.triu(a.T, 1)),
    "vstack": (lambda a, b, c: sg.sparse.vstack([a, c]), lambda a, b, c: np.vstack([a, c])),
    "hstack": (lambda a, b, c: sg.sparse.hstack([a, U, c]), lambda a, b, c: np.hstack([a, F, c])),
    "block_diag": (
        lambda a, b, c: sg.sparse.block_diag([a, b, 2.0]),
        lambda a, b, c: scipy.linalg.block_diag(a, b, 2.0),
    ),
    "block_array": (
        lambda a, b, c: sg.sparse.block_array([[a, None], [None, b], [c, None]]),
        lambda a, b, c: sp.block_array([[a, None], [None, b], [c, None]]).toarray(),
    ),
    "kron": (lambda a, b, c: sg.sparse.kron(a, b.T), lambda a, b, c: np.kron(a, b.T)),
    "kronsum": (
        lambda a, b, c: sg.sparse.kronsum(a.T @ c, b @ b.T),
        lambda a, b, c: np.kron(np.eye(5), a.T @ c) + np.kron(b @ b.T, np.eye(5)),
    ),
    "diags": (
        lambda a, b, c: sg.sparse.diags([a.sum(1), a.sum(0), 2.0], [0, -1, 2], (6, 6)),
        lambda a, b, c: (
            np.diag(a.sum(1)) + np.diag(a.sum(0), -1) + np.diag(np.full(4, 2.0), 2)
        ),
    ),
    "rows": (lambda a, b, c: [*a][2], lambda a, b, c: a[2]),
    "conj": (lambda a, b, c: a.H, lambda a, b, c: a.conj().T),
    "complex": (lambda a, b, c: (a * 2j + c).imag, lambda a, b, c: 2 * a),
}  # fmt: skip
INDICES = {
    "row": 2, "last row": -1, "rows": slice(1, 4), "part": (slice(1, 4), slice(0, 3)),
    "row, all": (3, slice(None)), "column": (slice(None), 1), "rows by array": ([0, 2, 2],),
    "columns by array": (slice(None), [4, 0, 0]), "places": ([0, 1, 1], [2, 3, 3]),
    "element": (2, 3), "negative": (-1, -2), "grid": PICK, "backwards": slice(None, None, -1),
    "steps": (slice(5, 0, -2), slice(None, None, 2)), "nothing": slice(2, 2), "mask": MASK,
    "mask of rows": np.array([True, False] * 3), "row, columns": (2, [1, 1, 3]),
    "rest": (..., 1), "all": (...,), "broadcast": ([[0], [1]], [[1, 2, 2]]),
}  # fmt: skip
for _name, _key in INDICES.items():
    _index = lambda a, b, c, key=_key: a[key]  # noqa: E731
    WRITTEN[f"a[{_name}]"] = (_index, _index)
UNARY = (
    "arcsin", "arcsinh", "arctan", "arctanh", "ceil", "conj", "deg2rad", "expm1", "floor", "log1p",
    "rad2deg", "rint", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip
for _name in UNARY:
    WRITTEN[_name] = (
        lambda a, b, c, name=_name: getattr(a, name)(),
        lambda a, b, c, name=_name: getattr(np, name)(a),
    )
MATRICES = (S, T, U)
DENSE = (D, E, F)


def dense(value):
    return value.todense() if isinstance(value, sg.sparse.Sparse) else value


@pytest.mark.parametrize("text", WRITTEN)
def test_plain_matrices_give_arrays_at_once(text):
    ours, theirs = WRITTEN[text]
    actual = ours(*map(sg.sparse.csr, MATRICES))
    if isinstance(actual, sg.sparse.Sparse):
        assert isinstance(actual.data, np.ndarray)
        actual = actual.toarray()
    assert isinstance(actual, np.ndarray | np.generic)
    np.testing.assert_allclose(actual, theirs(*DENSE), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("text", WRITTEN)
def test_computed_elements_and_their_derivatives_are_those_of_dense_graphs(text):
    ours, theirs = WRITTEN[text]
    names = {"a": S, "b": T, "c": U}
    data = {name: sg.input(name, (m.nnz,), "float64") for name, m in names.items()}
    matrices = [
        sg.sparse.csr(data[name], m.indices, m.indptr, m.shape) for name, m in names.items()
    ]
    value = dense(ours(*matrices))
    loss = sg.sin(value).sum() if value.size else value.sum()
    wrt, along = [*data.values()], [np.cos(np.arange(m.nnz)) for m in names.values()]
    slopes = sg.grad(loss, wrt, allow_disconnected=True)
    forward = sg.jvp(loss, wrt, along, allow_disconnected=True)
    second = sg.jvp(slopes[0], wrt, along, allow_disconnected=True)
    outs = {"value": value, "forward": forward, "second": second}
    outs |= {f"slope{k}": slope for k, slope in enumerate(slopes)}
    feeds = {name: m.data for name, m in names.items()}
    graph = sg.Graph(outs)
    actual = sg.evaluate(graph, {leaf.name: feeds[leaf.name] for leaf in graph.inputs})
    np.testing.assert_allclose(actual["value"], theirs(*DENSE), rtol=1e-12, atol=1e-12)

    def at(step):
        shifted = [m.copy() for m in MATRICES]
        for m, way in zip(shifted, along, strict=True):
            m.data = m.data + step * way
        loss = np.sin(theirs(*(m.toarray() for m in shifted))).sum()
        feeds = {name: m.data for name, m in zip(names, shifted, strict=True)}
        return loss, sg.evaluate(first, {leaf.name: feeds[leaf.name] for leaf in first.inputs})["g"]

    first = sg.Graph({"g": slopes[0]})
    (above, slope_above), (below, slope_below) = at(1e-6), at(-1e-6)
    if text not in ("ceil", "floor", "rint", "trunc", "sign"):
        np.testing.assert_allclose(actual["forward"], (above - below) / 2e-6, rtol=1e-5, atol=1e-7)
    change = (slope_above - slope_below) / 2e-6
    np.testing.assert_allclose(actual["second"], change, rtol=1e-5, atol=1e-6)
    product = sum(actual[f"slope{k}"] @ way for k, way in enumerate(along))
    np.testing.assert_allclose(actual["forward"], product, rtol=1e-9, atol=1e-9)


def test_compiled_programs_are_bitwise_the_evaluator():
    data = sg.input("data", (S.nnz,), "float64")
    a = sg.sparse.csr(data, S.indices, S.indptr, S.shape)
    product = (a.T @ a + sg.sparse.eye(5)) * (U.T @ a)
    outs = {"product": product[1:, [0, 3]].todense(), "slope": sg.grad(product.sum(), data)}
    expected = sg.evaluate(outs, {"data": S.data})
    actual = sg.compile(outs).run({"data": S.data})
    for name, array in actual.items():
        assert array.tobytes() == expected[name].tobytes()


def test_tensors_have_gradients():
    data = sg.eager.Tensor(S.data, requires_grad=True)
    a = sg.sparse.csr(data, S.indices, S.indptr, S.shape)
    ((a @ T)[2:5, 1:].sum() + (a * U).sum()).backward()
    expected = np.zeros_like(D)
    expected[2:5] = E[:, 1:].sum(1)
    np.testing.assert_allclose(data.grad, (expected + F)[S.nonzero()])


def test_functions_of_matrices_are_traced_once():
    @sg.function
    def product(a, b):
        return a @ b

    actual = product(sg.sparse.csr(S), sg.sparse.csr(T))
    np.testing.assert_allclose(actual.toarray(), D @ E)
    product(sg.sparse.csr(2.0 * S), sg.sparse.csr(T))
    assert product.stats.traces == 1


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", ["coo", "csr", "csc", "dia", "bsr", "lil", "dok"])
def test_matrices_of_scipy_in_each_format(form, kind):
    matrix = getattr(sp, f"csr_{kind}")(D).asformat(form)
    np.testing.assert_array_equal(sg.sparse.csr(matrix).toarray(), D)
    np.testing.assert_allclose(sg.sparse.csr(matrix) @ E, D @ E)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_elements(dtype):
    c = S.astype(dtype)
    c.data = c.data * np.exp(1j * np.arange(c.nnz)).astype(dtype)
    z, a = c.toarray(), sg.sparse.csr(c)
    rtol = 1e-5 if dtype == "complex64" else 1e-12
    x = (np.arange(5) + 1j).astype(dtype)
    for actual, expected in {
        "real vector": (a @ x.real, z @ x.real), "vector": (a @ x, z @ x),
        "left": (a.T @ (1j * x[[0, 1, 2, 3, 4, 0]]), z.T @ (1j * x[[0, 1, 2, 3, 4, 0]])),
        "sparse": ((a @ T).toarray(), z @ E), "sum": (a.sum(0), z.sum(0)),
        "H": (a.H.toarray(), z.conj().T), "abs": (abs(a).toarray(), abs(z)),
        "real": (a.real.toarray(), z.real), "part": (a[1:3, 2:].toarray(), z[1:3, 2:]),
        "scaled": ((a * x).toarray(), z * x), "+": ((a + U).toarray(), z + F),
    }.values():  # fmt: skip
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)
    data = sg.input("data", (c.nnz,), dtype)
    matrix = a.with_data(data)
    sparse = sg.grad((sg.abs(matrix @ x) ** 2).sum(), data)
    as_dense = sg.zeros(z.shape, dtype).at[matrix.places()].add(data)
    by_dense = sg.grad((sg.abs(as_dense @ x) ** 2).sum(), data)
    actual = sg.compile({"sparse": sparse, "dense": by_dense}).run({"data": c.data})
    np.testing.assert_allclose(actual["sparse"], actual["dense"], rtol=rtol, atol=rtol)


@st.composite
def triples(draw, rows=5, columns=4):
    count = draw(st.integers(0, 10))
    ints = lambda most: draw(st.lists(st.integers(0, most), min_size=count, max_size=count))  # noqa: E731
    return (
        np.arange(1.0, count + 1.0),
        np.array(ints(rows - 1), int),
        np.array(ints(columns - 1), int),
    )


@given(triples(), triples(4, 3), triples())
@settings(max_examples=30, deadline=None)
def test_duplicate_and_unsorted_places(a, b, c):
    """Matrices in whose rows places repeat, in any order, are those of their sums."""

    def ours(triple, shape):
        data, rows, columns = triple
        order = np.argsort(rows, kind="stable")
        starts = np.searchsorted(rows[order], np.arange(shape[0] + 1))
        return sg.sparse.csr(data[order], columns[order], starts, shape)

    first, second, third = ours(a, (5, 4)), ours(b, (4, 3)), ours(c, (5, 4))
    x, y, z = (matrix.tocsr().toarray() for matrix in (first, second, third))
    np.testing.assert_allclose((first @ second).toarray(), x @ y)
    np.testing.assert_allclose((first * third).toarray(), x * z)
    np.testing.assert_allclose((first**2).toarray(), x**2)
    np.testing.assert_allclose(first.sin().toarray(), np.sin(x))
    np.testing.assert_allclose(first[[3, 3, 0], 1:].toarray(), x[[3, 3, 0], 1:])
    np.testing.assert_allclose(first[[3, 3, 0], [1, 2, 2]], x[[3, 3, 0], [1, 2, 2]])
    np.testing.assert_allclose(sg.sparse.tril(first).toarray(), np.tril(x))
    assert [indices.tolist() for indices in first.nonzero()] == [
        indices.tolist() for indices in np.unique(np.stack(a[1:]), axis=1)
    ]


def test_from_dense_takes_the_places_of_a_mask():
    x = sg.input("x", D.shape, "float64")
    actual = sg.sparse.from_dense(x, MASK)
    assert actual.nnz == MASK.sum()
    outs = {"found": actual.todense(), "slope": sg.grad((actual**2).sum(), x)}
    got = sg.evaluate(outs, {"x": D})
    np.testing.assert_array_equal(got["found"], D * MASK)
    np.testing.assert_array_equal(got["slope"], 2 * D * MASK)
    assert sg.sparse.from_dense(D).nnz == S.nnz


def test_products_go_to_jax():
    pytest.importorskip("jax")
    data, x = sg.input("data", (S.nnz,), "float64"), sg.input("x", (5, 2), "float64")
    a = sg.sparse.csr(data, S.indices, S.indptr, S.shape)
    loss = sg.sin(a @ x).sum() + (a.T @ a @ x).sum()
    graph = sg.Graph(dict(zip("lab", (loss, *sg.grad(loss, [data, x])), strict=True)))
    feeds = {"data": S.data, "x": F[:5, :2]}
    actual, expected = sg.jax.lower(graph)(feeds), sg.evaluate(graph, feeds)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=2e-5, atol=1e-5)


def test_factors_of_rows_and_columns_are_not_made_as_large_as_the_matrix():
    big = sp.eye_array(10**6, format="csr")
    row, column = (sg.input(name, shape, "float64") for name, shape in
                   (("row", (10**6,)), ("column", (10**6, 1))))  # fmt: skip
    loss = ((sg.sparse.csr(big) * row * column).values() ** 2).sum()
    slope = sg.compile(sg.grad(loss, row))
    feeds = {"row": np.ones(10**6), "column": np.full((10**6, 1), 2.0)}
    np.testing.assert_array_equal(slope.run(feeds), np.full(10**6, 8.0))


@pytest.mark.parametrize("matrix", [S, sp.csr_matrix(S), sg.sparse.csr(S)])
def test_operators_of_dense_values_and_sparse_matrices(matrix):
    for actual, expected in {
        "x + a": (X + matrix, F + D), "x - a": (X - matrix, F - D), "x * a": (X * matrix, F * D),
        "a + x": (matrix + X, D + F), "a - x": (matrix - X, D - F),
        "x.T @ a": (X.T @ matrix, F.T @ D), "a @ x.T": (matrix @ X.T, D @ F.T),
        "0 + a": (sum([sg.sparse.csr(matrix), X]), D + F),
    }.values():  # fmt: skip
        np.testing.assert_allclose(sg.evaluate(dense(actual), {"x": F}), expected)
    with pytest.raises(StaticgradError, match=r"A\.toarray\(\) is dense"):
        X / matrix


X = sg.input("x", (6, 5), "float64")
INDEX = sg.input("i", (), "int64")
A, B = sg.sparse.csr(S), sg.sparse.csr(T)
MISUSE = {
    "sizes": (lambda: A @ A, "[6, 5] @ [6, 5]: the sizes 5 and 6 differ"),
    "elementwise": (lambda: A * B, "the shapes [6, 5] and [5, 7] differ"),
    "quotient": (lambda: A / A, "0 / 0 where neither is stored"),
    "power": (lambda: A**-1, "the exponent -1 is not a number above 0"),
    "computed index": (lambda: A[INDEX], "is known only in a run"),
    "computed slice": (lambda: A[INDEX:], "is known only in a run"),
    "outside": (lambda: A[6], "row 6 is outside of a matrix of 6 rows"),
    "outside to the left": (lambda: A[:, [-6]], "column -6 is outside"),
    "axes": (lambda: A[0, 0, 0], "3 indices, and a matrix has 2 axes"),
    "new axis": (lambda: A[None], "None adds no axis"),
    "floats": (lambda: A[0.5], "an index is of float64"),
    "mask": (lambda: A[np.ones((5, 6), bool)], "a mask is [5, 6], not [6, 5]"),
    "broadcast": (lambda: A[[0, 1], [0, 1, 2]], "do not broadcast"),
    "two axes beside a slice": (lambda: A[[[0]], :], "beside a slice"),
    "computed mask": (lambda: sg.sparse.from_dense(X), "sg.sparse.from_dense(x, mask)"),
    "another mask": (lambda: sg.sparse.from_dense(X, MASK.T), "a mask is [5, 6], not [6, 5]"),
    "dense block": (lambda: sg.sparse.vstack([A, X]), "vstack: "),
    "no blocks": (lambda: sg.sparse.hstack([]), "hstack: takes a list of matrices"),
    "heights": (lambda: sg.sparse.hstack([A, B]), "blocks beside each other have heights"),
    "unknown": (lambda: sg.sparse.block_array([[None, A], [None, A]]), "no width"),
    "diagonals": (lambda: sg.sparse.diags([[1.0]], [0, 1]), "1 diagonals for 2 offsets"),
    "twice": (lambda: sg.sparse.diags([1.0, 2.0], [0, 0], (2, 2)), "an offset is given twice"),
    "length": (lambda: sg.sparse.diags([[1.0, 2.0]], [1], (2, 2)), "has 1 elements, not 2"),
    "not square": (lambda: sg.sparse.kronsum(A, B), "kronsum: [6, 5] is not square"),
    "a name of SciPy's": (lambda: sg.sparse.csr_array, "sg.sparse.csr(matrix)"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_error_at_the_line(case):
    build, words = MISUSE[case]
    with pytest.raises(StaticgradError) as caught:
        build()
    assert words in str(caught.value)
    assert "test_operations.py" in str(caught.value)
