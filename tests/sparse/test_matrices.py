"""Sparse matrices as operands, compared with those of SciPy and with dense graphs."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.errors import StaticgradError

RNG = np.random.default_rng(0)
S = sp.random_array((6, 5), density=0.4, format="csr", rng=RNG)
D = S.toarray()
FEEDS = {
    "x": RNG.normal(size=5),
    "y": RNG.normal(size=6),
    "m": RNG.normal(size=(5, 3)),
    "batch": RNG.normal(size=(2, 5, 3)),
    "rows": RNG.normal(size=(2, 4, 6)),
}
X, Y, M, BATCH, ROWS = (sg.input(name, a.shape, "float64") for name, a in FEEDS.items())
A = sg.sparse.csr(S)
x, y, m, batch, rows = FEEDS.values()
#: What is written, and the same in NumPy.
WRITTEN = {
    "A @ x": (lambda: A @ X, D @ x),
    "A @ M": (lambda: A @ M, D @ m),
    "A @ batch": (lambda: A @ BATCH, D @ batch),
    "x @ A": (lambda: Y @ A, y @ D),
    "rows @ A": (lambda: ROWS @ A, rows @ D),
    "A.T @ y": (lambda: A.T @ Y, D.T @ y),
    "matmul": (lambda: sg.matmul(A, X), D @ x),
    "csr_array @ x": (lambda: S @ X, D @ x),
    "coo_matrix @ x": (lambda: sp.coo_matrix(S) @ X, D @ x),
    "csc_array @ M": (lambda: S.tocsc() @ M, D @ m),
    "y @ csr_array": (lambda: Y @ S, y @ D),
    "array @ A": (lambda: y @ A, y @ D),
    "A @ array": (lambda: A @ m, D @ m),
    "sum": (lambda: A.sum(), D.sum()),
    "sum of rows": (lambda: A.sum(1), D.sum(1)),
    "sum of columns": (lambda: A.sum(axis=0), D.sum(0)),
    "diagonal": (lambda: A.diagonal(), np.diagonal(D)),
    "todense": (lambda: A.T.todense(), D.T),
    "A * s": (lambda: (2.0 * A).todense(), 2 * D),
    "A * row": (lambda: (A * X).todense(), D * x),
    "A.T * row": (lambda: (A.T * Y).todense(), D.T * y),
    "A / column": (lambda: (A / Y[:, None]).todense(), D / y[:, None]),
    "A + A": (lambda: (A + A).todense(), 2 * D),
    "A + other": (lambda: (A + sp.eye_array(6, 5)).todense(), D + np.eye(6, 5)),
    "A.T - other": (lambda: (A.T - sp.eye_array(5, 6)).todense(), D.T - np.eye(5, 6)),
    "-A": (lambda: (-A).todense(), -D),
    "apply": (lambda: A.apply(sg.square).todense(), D**2),
    "sampled": (lambda: A.sampled(Y[:, None], X[None]).todense(), np.outer(y, x) * (D != 0)),
    "sampled.T": (lambda: A.T.sampled(X[:, None], Y[None]).todense(), np.outer(x, y) * (D.T != 0)),
    "vmap of vectors": (lambda: sg.vmap(A.__matmul__, 1)(M), (D @ m).T),
    "vmap of matrices": (lambda: sg.vmap(A.__matmul__)(BATCH), D @ batch),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_is_what_dense_matrices_give(text):
    build, expected = WRITTEN[text]
    actual = build()
    if isinstance(actual, np.ndarray | np.generic):  # of arrays alone
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
        return
    graph = sg.Graph(actual)
    feeds = {name: FEEDS[name] for name in (value.node.label for value in graph.inputs)}
    actual = sg.compile(graph).run(feeds)["output"]
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def _loss(A, X, y):  # noqa: N803 - matrices
    return (sg.tanh(A @ X) ** 2).sum() + ((A.T @ y) ** 3).sum() + sg.sin(y @ A @ X).sum()


def test_derivatives_of_data_and_operands_of_first_and_second_order():
    data = sg.input("data", (S.nnz,), "float64")
    sparse = sg.sparse.csr(data, S.indices, S.indptr, S.shape)
    dense = sg.zeros(S.shape, "float64").at[sparse.places()].add(data)
    actual = []
    for matrix in (sparse, dense):
        slopes = sg.grad(_loss(matrix, M, Y), [data, M, Y])
        second = sg.grad(sum((slope**2).sum() for slope in slopes), [data, M, Y])
        forward = sg.jvp(_loss(matrix, M, Y), [data, M], [np.ones(S.nnz), m + 1.0])
        outs = {f"o{k}": value for k, value in enumerate([*slopes, *second, forward])}
        actual.append(sg.compile(outs).run({"m": m, "y": y, "data": S.data}))
    for name in actual[0]:
        np.testing.assert_allclose(actual[0][name], actual[1][name], rtol=1e-9, atol=1e-9)


def test_gradients_agree_with_differences():
    data = sg.input("data", (S.nnz,), "float64")
    matrix = sg.sparse.softmax(sg.sparse.csr(data, S.indices, S.indptr, S.shape))
    loss = sg.tanh(matrix @ M).sum()
    slope = sg.compile(sg.grad(loss, data)).run({"m": m, "data": S.data})
    value = sg.compile(loss)
    step = 1e-6
    for k in range(S.nnz):
        above, below = S.data.copy(), S.data.copy()
        above[k] += step
        below[k] -= step
        up, down = (value.run({"m": m, "data": elements}) for elements in (above, below))
        assert abs((up - down) / (2 * step) - slope[k]) < 1e-7


def test_data_is_the_leaf_of_a_tree():
    assert [leaf.shape for leaf in sg.tree.leaves(A)] == [(S.nnz,)]
    doubled = sg.tree.map(lambda leaf: leaf * 2.0, A)
    np.testing.assert_array_equal(doubled.tocsr().toarray(), 2 * D)
    slope = sg.grad(lambda A, x: ((A @ x) ** 2).sum())(A, x)
    expected = 2 * np.outer(D @ x, x)[S.nonzero()]
    np.testing.assert_allclose(slope.data, expected)
    again = pickle.loads(pickle.dumps(A))
    assert again.pattern == A.pattern
    np.testing.assert_array_equal(again.data, A.data)


def test_functions_take_matrices_and_compile_once_for_a_pattern():
    @sg.function
    def product(A, x):
        return A @ x

    np.testing.assert_allclose(product(A, x), D @ x)
    np.testing.assert_allclose(product(A.with_data(A.data * 2.0), x), 2 * D @ x)
    assert product.stats.traces == 1
    np.testing.assert_allclose(product(A.T, y), D.T @ y)


def test_training_moves_the_data():
    weight = sg.parameter("weight", np.zeros(S.nnz))
    matrix = A.with_data(weight)
    loss = ((matrix @ X - D @ x) ** 2).sum()
    f = sg.compile(sg.Graph(loss, sg.optim.SGD(0.05).updates(loss, [weight])))
    for _ in range(500):
        f.run({"x": x})
    np.testing.assert_allclose(matrix.with_data(weight.value).tocsr() @ x, D @ x, atol=1e-3)


class Edges(sg.nn.Module):
    def __init__(self):
        data = sg.parameter("edges", S.data.copy())
        self.edges, self.fixed = A.with_data(data), A

    def forward(self, x):
        return self.edges @ x + self.fixed @ x


def test_modules_and_files_take_matrices(tmp_path):
    model, optimizer = Edges(), sg.optim.Adam(0.1)
    assert "edges: Sparse(6 x 5" in str(model)

    @sg.function
    def step(x):
        loss = (model(x) ** 2).sum()
        optimizer.minimize(loss)
        return loss

    assert step(x) > step(x) > step(x)
    again = Edges()
    sg.save(tmp_path / "model.npz", model)
    sg.load(tmp_path / "model.npz", into=again)
    np.testing.assert_array_equal(again.edges.data.value, model.edges.data.value)
    sg.save(tmp_path / "tree.npz", {"A": A})
    np.testing.assert_array_equal(sg.load(tmp_path / "tree.npz")["A"]["data"], S.data)


def test_tensors_have_gradients():
    tensor = sg.eager.Tensor(x, requires_grad=True)
    data = sg.eager.Tensor(S.data, requires_grad=True)
    ((S @ tensor) * (A.with_data(data) @ tensor)).sum().backward()
    np.testing.assert_allclose(tensor.grad, 2 * D.T @ (D @ x))
    np.testing.assert_allclose(data.grad, np.outer(D @ x, x)[S.nonzero()])


def test_dense_operands_may_be_complex():
    z = sg.input("z", (5,), "complex128")
    feeds = {"z": x + 1j * x[::-1]}
    actual = sg.compile({"right": A @ z, "left": z @ A.T}).run(feeds)
    np.testing.assert_allclose(actual["right"], D @ feeds["z"])
    np.testing.assert_allclose(actual["left"], D @ feeds["z"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 3, 64, 200])
def test_threads_change_no_bit(dtype, k):
    big = sp.random_array((3000, 2500), density=0.004, format="csr", rng=RNG, dtype=dtype)
    dense = RNG.normal(size=(2500, k)).astype(dtype)
    value = sg.input("x", dense.shape, dtype)
    data = sg.input("data", (big.nnz,), dtype)
    out = sg.sparse.csr(data, big.indices, big.indptr, big.shape) @ value
    outs = {"out": out, **dict(zip("ab", sg.grad((out * out).sum(), [data, value]), strict=True))}
    actual = [
        sg.compile(outs, threads=threads).run({"x": dense, "data": big.data}) for threads in (1, 2)
    ]
    for name in outs:
        assert actual[0][name].tobytes() == actual[1][name].tobytes()
    np.testing.assert_array_equal(actual[0]["out"], big @ dense)  # SciPy adds in the same order


@st.composite
def places(draw):
    height, width = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    most = 12 if height and width else 0
    count = draw(st.integers(0, most))
    at = st.lists(st.integers(0, max(height - 1, 0)), min_size=count, max_size=count)
    across = st.lists(st.integers(0, max(width - 1, 0)), min_size=count, max_size=count)
    return (
        (height, width),
        draw(at),
        draw(across),
        draw(st.sampled_from(["int32", "int64", "uint8"])),
    )


@given(places())
@settings(max_examples=40, deadline=None)
def test_patterns_of_all_kinds(drawn):
    shape, at, across, dtype = drawn
    data = np.arange(1.0, len(at) + 1.0)
    at, across = np.array(at, dtype), np.array(across, dtype)
    dense = np.zeros(shape)
    np.add.at(dense, (at.astype(int), across.astype(int)), data)
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(shape[0] + 1))
    unsorted = sg.sparse.csr(data[order], across[order], starts.astype("int64"), shape)
    merged = sg.sparse.coo(data, at, across, shape)
    given_data = sg.input("data", data.shape, "float64")
    computed = sg.sparse.coo(given_data, at, across, shape)
    right, left = np.ones((shape[1], 2)), np.arange(float(shape[0]))
    for matrix in (unsorted, merged, computed):
        outs = [matrix @ right, left @ matrix, matrix.todense(), matrix.sum(0), matrix.diagonal()]
        expected = [dense @ right, left @ dense, dense, dense.sum(0), np.diagonal(dense)]
        feeds = {"data": data} if matrix is computed else {}
        for actual, reference in zip(sg.evaluate(outs, feeds), expected, strict=True):
            np.testing.assert_allclose(actual, reference)


MISUSE = {
    "inner sizes": (lambda: A @ Y, "[6, 5] @ [6]: the sizes 5 and 6 differ"),
    "from SciPy": (lambda: S @ Y, "[6, 5] @ [6]: the sizes 5 and 6 differ"),
    "from the left": (lambda: X @ A, "[5] @ [6, 5]"),
    "scalars": (lambda: A @ sg.constant(1.0), "a scalar is not a matrix"),
    "two sparse ones": (lambda: A @ S, "[6, 5] @ [6, 5]: the sizes 5 and 6 differ"),
    "dense sums": (lambda: A + 1.0, "A.todense() + x"),
    "shapes of sums": (lambda: A + A.T, "the shapes [6, 5] and [5, 6] differ"),
    "axes of data": (lambda: sg.sparse.csr([[1.0]], [0], [0, 1], (1, 1)), "not a vector"),
    "number of data": (lambda: A.with_data(np.ones(3)), f"3 numbers for a pattern of {S.nnz}"),
    "columns": (lambda: sg.sparse.csr([1.0], [5], [0, 1], (1, 2)), "in column 5, and there are 2"),
    "negative": (lambda: sg.sparse.csr([1.0], [-1], [0, 1], (1, 2)), "in column -1"),
    "rows": (lambda: sg.sparse.coo([1.0], [3], [0], (2, 2)), "in row 3, and there are 2"),
    "decreasing": (
        lambda: sg.sparse.csr([1.0, 2.0], [0, 0], [0, 2, 1, 2], (3, 2)),
        "indptr decreases behind row 1",
    ),
    "ends": (lambda: sg.sparse.csr([1.0], [0], [0, 2], (1, 2)), "indptr goes from 0 to 2"),
    "length": (lambda: sg.sparse.csr([1.0], [0], [0, 1], (2, 2)), "indptr has 2 elements, not 3"),
    "floats": (lambda: sg.sparse.csr([1.0], [0.5], [0, 1], (1, 2)), "float64, not of integers"),
    "shape": (lambda: sg.sparse.csr([1.0], [0], [0, 1], (1, 2, 3)), "not a pair"),
    "dense list": (lambda: sg.sparse.csr(D.tolist()), "takes data, indices, indptr and shape"),
    "axis": (lambda: A.sum(2), "neither 0 nor 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_error_at_the_line(case):
    build, words = MISUSE[case]
    with pytest.raises(StaticgradError) as caught:
        build()
    assert words in str(caught.value)
    assert "test_matrices.py" in str(caught.value)


def test_normalized_adjacency_is_that_of_gcn():
    graph = sp.random_array((7, 7), density=0.3, format="csr", rng=RNG)
    dense = graph.toarray() + np.eye(7)
    scale = dense.sum(1) ** -0.5
    expected = dense * scale * scale[:, None]
    actual = sg.sparse.normalized_adjacency(graph)
    np.testing.assert_allclose(actual.tocsr().toarray(), expected)
    data = sg.input("data", (graph.nnz,), "float64")
    computed = sg.sparse.csr(data, graph.indices, graph.indptr, graph.shape)
    again = sg.sparse.normalized_adjacency(computed).todense()
    np.testing.assert_allclose(sg.evaluate(again, {"data": graph.data}), expected)


def test_an_array_of_numpy_is_a_matrix_without_its_zeros():
    dense = np.where(D > 0, D, 0.0)
    matrix = sg.sparse.csr(dense)
    assert matrix.data.shape == (np.count_nonzero(dense),)
    np.testing.assert_array_equal(sg.evaluate(matrix.todense()), dense)


def test_a_matrix_of_scipy_is_no_argument_but_its_elements_are():
    matrix, x = sp.eye_array(3, format="csr") * 2.0, np.ones(3)
    product = sg.function(lambda a, x: a @ x)
    with pytest.raises(StaticgradError, match=r"sg\.sparse\.csr\(a\)"):
        product(matrix, x)
    np.testing.assert_array_equal(product(sg.sparse.csr(matrix), x), 2.0 * x)
