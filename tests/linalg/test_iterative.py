"""Iterative solvers: compared with those of SciPy, and derivatives with those of a dense solve."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as theirs

import staticgrad as sg
from staticgrad.errors import StaticgradError

RNG = np.random.default_rng(0)
N = 30
CHAIN = sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(N, N)).tocsr()
SKEW = (CHAIN + 0.3 * sp.random_array((N, N), density=0.1, rng=RNG)).tocsr()
MATRICES = {"cg": CHAIN, "gmres": SKEW}
RIGHT = RNG.normal(size=N)
B = sg.input("b", (N,), "float64")


@pytest.mark.parametrize("name", MATRICES)
def test_steps_are_those_of_scipy(name):
    matrix, ours = MATRICES[name], getattr(sg.linalg, name)
    inverse = sp.diags_array(1.0 / matrix.diagonal()).tocsr()
    for options in ({}, {"maxiter": 2}, {"M": inverse}, {"x0": np.ones(N)}, {"atol": 1e-2}):
        expected, info = getattr(theirs, name)(matrix, RIGHT, rtol=1e-9, **options)
        x, number = sg.evaluate(list(ours(matrix, B, rtol=1e-9, **options)), {"b": RIGHT})
        # Theirs also end within a cycle of gmres.
        near = 1e-8 if name == "cg" else 10 * max(options.get("atol", 0.0), 1e-7)
        np.testing.assert_allclose(x, expected, atol=near * np.abs(expected).max())
        assert number == info


@pytest.mark.parametrize("form", ["sparse", "dense", "function"])
@pytest.mark.parametrize("name", MATRICES)
def test_derivatives_are_those_of_a_dense_solve(name, form):
    matrix = MATRICES[name]
    data = sg.input("data", (matrix.nnz,), "float64")
    ours = sg.sparse.csr(data, matrix.indices, matrix.indptr, matrix.shape)
    dense = ours.todense()
    options = {"rtol": 1e-13, "maxiter": 500}
    if form == "function":
        options["args"] = (data,)
    forms = {
        "sparse": ours,
        "dense": dense,
        "function": lambda v, data: ours.with_data(data) @ v,
    }
    actual = []
    for x in (getattr(sg.linalg, name)(forms[form], B, **options).x, sg.linalg.solve(dense, B)):
        slopes = sg.grad((sg.sin(x) * np.arange(N)).sum(), [data, B])
        second = sg.grad(sum((slope * slope).sum() for slope in slopes), [data, B])
        tangent = sg.jvp(x, [data, B], [np.ones(matrix.nnz), np.ones(N)])
        outs = {f"o{k}": value for k, value in enumerate([x, *slopes, *second, tangent])}
        actual.append(sg.compile(outs).run({"b": RIGHT, "data": matrix.data}))
    for key, expected in actual[1].items():
        np.testing.assert_allclose(actual[0][key], expected, rtol=1e-6, atol=1e-8)


def test_batches_tensors_and_right_sides_of_zeros():
    rows = RNG.normal(size=(3, N))
    solve = sg.vmap(lambda b: sg.linalg.cg(CHAIN, b, rtol=1e-12).x)
    expected = np.linalg.solve(CHAIN.toarray(), rows.T).T
    np.testing.assert_allclose(sg.evaluate(solve(sg.constant(rows))), expected, atol=1e-9)
    tensor = sg.eager.Tensor(RIGHT, requires_grad=True)
    sg.linalg.cg(CHAIN, tensor, rtol=1e-12).x.sum().backward()
    np.testing.assert_allclose(tensor.grad, np.linalg.solve(CHAIN.toarray(), np.ones(N)))
    for name in MATRICES:
        x, info = sg.evaluate(list(getattr(sg.linalg, name)(CHAIN, np.zeros(N))))
        assert not x.any()
        assert info == 0


MISUSE = {
    "not square": (lambda: sg.linalg.cg(np.ones((2, 3)), np.ones(2)), "is not square"),
    "columns": (lambda: sg.linalg.cg(CHAIN, np.ones((N, 1))), "sg.vmap solves for several"),
    "size": (lambda: sg.linalg.cg(CHAIN, np.ones(3)), "differ"),
    "args": (lambda: sg.linalg.cg(lambda v: v, B, args=B), "not a tuple"),
    "callback": (lambda: sg.linalg.cg(CHAIN, B, callback=print), "no argument 'callback'"),
    "restart": (lambda: sg.linalg.gmres(CHAIN, B, restart=0), "1 or more"),
    "shape": (lambda: sg.linalg.cg(lambda v: v.sum(), B), "one type each"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_error_at_the_line(case):
    build, words = MISUSE[case]
    with pytest.raises(StaticgradError) as caught:
        build()
    assert words in str(caught.value)
    assert "test_iterative.py" in str(caught.value)
