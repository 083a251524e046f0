"""einsum and its special cases against NumPy; what they are made of; gradients; refusals."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import ArgumentError, DTypeError, ShapeError, SizeGuardError
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_each_refused, assert_refused

EINSUMS = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 4)),
    "ij,kj->ik": ((2, 3), (4, 3)),
    "bij,bjk->bik": ((5, 2, 3), (5, 3, 4)),
    "bhqd,bhkd->bhqk": ((2, 3, 4, 5), (2, 3, 6, 5)),
    "i,i": ((3,), (3,)),
    "i,j->ij": ((3,), (4,)),
    "i,j->ji": ((3,), (4,)),
    "ij->ji": ((2, 3),),
    "ji": ((2, 3),),
    "ij->": ((2, 3),),
    "ij->j": ((2, 3),),
    "ii": ((3, 3),),
    "ii->i": ((3, 3),),
    "iij->ji": ((3, 3, 2),),
    "iji->j": ((3, 2, 3),),
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 5)),
    "ij,jk,kl,lm->im": ((2, 9), (9, 2), (2, 8), (8, 3)),
    "i,i,i->i": ((3,), (3,), (3,)),
    "ij,i,j->": ((2, 3), (2,), (3,)),
    "ij,ik,il->jkl": ((2, 3), (2, 4), (2, 5)),
    "...ij,...jk->...ik": ((2, 5, 2, 3), (5, 3, 4)),
    "...i->...": ((2, 3),),
    "...,...": ((2, 3), (3,)),
    "i...,i->...": ((3, 2, 4), (3,)),
    "...ij": ((2, 3, 4),),
    "ij,ij->ij": ((2, 1), (2, 3)),
    "ij,jk->ik ": ((2, 1), (3, 4)),
    "ij,k->ij": ((2, 3), (4,)),
    "aab,bc->ac": ((2, 2, 3), (3, 4)),
    "ij,jk->i": ((2, 3), (3, 4)),
    ",ij->ij": ((), (2, 3)),
    "ijk,ilm,njm,nlk,abc->": ((2, 3, 4), (2, 5, 6), (7, 3, 6), (7, 5, 4), (2, 2, 2)),
    "i,i->": ((0,), (0,)),
    "bi,bj->ij": ((4, 2), (4, 3)),
}


def operands(shapes, rng):
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("text", EINSUMS)
def test_einsum_as_numpy(text, rng):
    arrays = operands(EINSUMS[text], rng)
    expected = np.einsum(text, *arrays)
    actual = run(sg.einsum(text, *arrays))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("text", EINSUMS)
def test_einsum_differentiates(text, rng):
    """Multilinear: the gradient by an operand, times it, is the result."""
    arrays = operands(EINSUMS[text], rng)
    inputs = [sg.input(f"x{k}", a.shape, "float64") for k, a in enumerate(arrays)]
    feeds = {f"x{k}": a for k, a in enumerate(arrays)}
    weights = rng.normal(size=np.einsum(text, *arrays).shape)
    expected = np.sum(np.einsum(text, *arrays) * weights)
    for gradient, array in zip(
        grad(sg.einsum(text, *inputs), inputs, seed=weights), arrays, strict=True
    ):
        assert np.sum(run(gradient, feeds) * array) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("empty", "abcde")
def test_products_without_elements_compile(empty):
    """Value and gradients, where one axis of three operands has size 0."""
    sizes = dict(zip("abcde", (2, 7, 4, 3, 5), strict=True)) | {empty: 0}
    inputs = [
        sg.input(word, tuple(sizes[k] for k in word), "float64") for word in ("abc", "cd", "de")
    ]
    value = sg.einsum("abc,cd,de->abe", *inputs)
    outputs = {"value": value} | dict(zip("xyz", sg.grad(value.sum(), inputs), strict=True))
    feeds = {x.node.label: np.ones(x.shape) for x in inputs}
    expected = sg.evaluate(sg.Graph(outputs), feeds)
    for name, actual in sg.compile(sg.Graph(outputs)).run(feeds).items():
        np.testing.assert_array_equal(actual, expected[name], strict=True)


def test_einsum_over_named_sizes(rng):
    a, b = sg.input("a", ("n", "h", "d"), "float64"), sg.input("b", ("n", "h", "d"), "float64")
    w = sg.input("w", ("h", "d", 3), "float64")
    arrays = {
        "a": rng.normal(size=(4, 2, 5)),
        "b": rng.normal(size=(4, 2, 5)),
        "w": rng.normal(size=(2, 5, 3)),
    }
    text = "nhd,mhd,hdk->nmk"
    np.testing.assert_allclose(
        run(sg.einsum(text, a, b, w), arrays), np.einsum(text, *arrays.values()), rtol=1e-12
    )
    assert sg.Graph(sg.einsum("nhd,mhd->nmh", a, b)).guards == ()
    with assert_refused(SizeGuardError, "n = 4", "d = 5", line="again = sg.einsum"):
        again = sg.einsum("ihi->h", a)
        run(again, {"a": arrays["a"]})


def test_einsum_is_matrix_products():
    a, b, c = (sg.input(n, s) for n, s in (("a", (10, 1000)), ("b", (1000, 10)), ("c", (10, 2))))
    names = op_names(sg.einsum("ij,jk,kl->il", a, b, c))
    assert names.count("matmul") == 2
    assert "mul" not in names
    assert op_names(sg.einsum("ij,jk->ik", a, b)).count("matmul") == 1
    assert "matmul" not in op_names(sg.einsum("i,j->ij", c[:, 0], c[0]))


def test_refusals():
    x = sg.input("x", (2, 3))
    assert_each_refused(
        (ArgumentError, "names 2 operands, there are 1", lambda: sg.einsum("ij,jk", x)),
        (ArgumentError, "names 3 axes, the operand has 2", lambda: sg.einsum("ijk", x)),
        (ArgumentError, "'k' of the result", "in no operand", lambda: sg.einsum("ij->k", x)),
        (ArgumentError, "twice in the result", lambda: sg.einsum("ij->ii", x)),
        (ArgumentError, "not letters", lambda: sg.einsum("i1", x)),
        (ArgumentError, "subscripts come first", lambda: sg.einsum(x, "ij")),
        (ShapeError, "'j' stands for sizes 3 and 2", lambda: sg.einsum("ij,jk", x, x)),
        (ShapeError, "'i' stands for sizes 2 and 3", lambda: sg.einsum("ii", x)),
        (DTypeError, "bools",
         lambda: sg.einsum("ij,kj->ik", np.ones((2, 2), bool), np.ones((2, 2), bool))),
        (ShapeError, "axis 1 of a has size 3, axis 0 of b 2", lambda: sg.tensordot(x, x, 1)),
        (ArgumentError, "3 axes", lambda: sg.tensordot(x, x, 3)),
        (ArgumentError, "axes 0.5 is not an integer", lambda: sg.tensordot(x, x, 0.5)),
    )  # fmt: skip
