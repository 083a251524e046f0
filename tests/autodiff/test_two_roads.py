"""The same quantity by two roads: names and formulas that are one function, at special points.

A row is two functions of one array and the points. Both are differentiated twice in graphs, in
every order of the two modes, and once on the tape; all of it has to agree. Where a road has NaN it
says that there is no derivative, or that it does not see one; a number has to be the other road's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, grad as tape_grad

NAN, INF = np.nan, np.inf
ZEROS, ONES = np.zeros(3), np.ones(3)
LINE = np.array([1.0, -2.0, 0.5])
TIES = np.array([2.0, -1.0, 2.0])
ROWS = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])
TINY, HUGE = np.array([1e-170, -2e-170, 0.0]), np.array([1e160, 2e160, -3e160])


@dataclass(frozen=True)
class Row:
    """Two roads to one quantity.

    Attributes:
        one, other: the functions.
        points: arrays at which they are compared.
        blind: which readings may be NaN: the formula does not see derivatives that there are.
        tape: whether the tape takes the same road, though its second derivatives may be NaN: it
            sees one operation at a time. Else, in words, what it does.
        tolerance: of differences, relative to the largest element.
    """

    one: Callable[..., Any]
    other: Callable[..., Any]
    points: tuple[Any, ...]
    blind: tuple[str, ...] = ()
    tape: str = ""
    tolerance: float = 1e-11


def squared(x):
    return (x * x).sum()


def by_roots(x):
    return sg.sqrt(squared(x))


LENGTHS = (ZEROS, LINE, TIES)


def symmetric(x):
    return (x + x.mT) * 0.5


def by_eigenvalues(function):
    """V f(w) V' of the symmetric part."""

    def of_matrix(x):
        values, vectors = sg.linalg.eigh(symmetric(x))
        return (vectors * function(values)) @ vectors.T

    return of_matrix


def by_diagonal(x):
    values, vectors = sg.linalg.eigh(symmetric(x))
    return vectors @ sg.diag(1.0 / values) @ vectors.T


def by_einsum(x):
    values, vectors = sg.linalg.eigh(symmetric(x))
    return sg.einsum("ij,j,kj->ik", vectors, 1.0 / values, vectors)


def by_halves(x):
    values, vectors = sg.linalg.eigh(symmetric(x))
    half = vectors / sg.sqrt(values)
    return half @ half.mT


def in_batch(x):
    values, vectors = sg.linalg.eigh(symmetric(sg.stack([x, 2.0 * x])))
    return (vectors * (1.0 / values)[..., None, :]) @ vectors.mT


def inverse(x):
    return sg.linalg.inv(symmetric(x))


def sign_by_root(x):
    square = symmetric(x) @ symmetric(x)
    return symmetric(x) @ by_eigenvalues(lambda w: 1.0 / sg.sqrt(w))(square)


EQUAL = (2.0 * np.eye(3), np.diag([3.0, 1.0, 1.0]))
SPECTRA = (*EQUAL, np.diag([1.0, 1.0 + 1e-7, 2.0]), np.array([[4.0, 1, 0], [1, 3, 1], [0, 1, 2]]))
TWICE = (
    "twice forward",
    "reverse over forward",
)  # the second tangent of an eigenvalue is made of those of the vectors
NO_VECTORS = "NaN: it does not see more than vectors of equal eigenvalues"
ABS = "the second derivative of abs at 0 is 0"
TABLE = {
    "norm squared": Row(lambda x: sg.norm(x) ** 2, squared, LENGTHS),
    "norm squared, of squares that vanish": Row(
        lambda x: sg.norm(x) ** 2, squared, (TINY,), tape="2 * norm is 0"
    ),
    "norm by norm": Row(lambda x: sg.norm(x) * sg.norm(x), squared, LENGTHS),
    "norm to the fourth": Row(lambda x: sg.norm(x) ** 4, lambda x: squared(x) ** 2, LENGTHS),
    "norms of rows squared": Row(
        lambda x: sg.norm(x, axis=1, keepdims=True) ** 2,
        lambda x: (x * x).sum(1, keepdims=True),
        (ROWS, np.zeros((2, 2))),
    ),
    "vector_norm squared": Row(lambda x: sg.linalg.vector_norm(x) ** 2, squared, LENGTHS),
    "matrix_norm squared": Row(lambda x: sg.linalg.matrix_norm(x) ** 2, squared, (ROWS, 0 * ROWS)),
    "norm 3 cubed": Row(
        lambda x: sg.norm(x, 3) ** 3, lambda x: (sg.abs(x) ** 3).sum(), (ZEROS, LINE)
    ),
    "half a squared distance": Row(
        lambda x: 0.5 * sg.linalg.norm(x - ONES) ** 2,
        lambda x: 0.5 * ((x - 1.0) ** 2).sum(),
        (ONES, LINE),
    ),
    "pairwise_distance squared": Row(
        lambda x: sg.nn.pairwise_distance(x, ROWS, eps=0.0) ** 2,
        lambda x: ((x - ROWS) ** 2).sum(1),
        (ROWS, 2 * ROWS),
    ),
    "root by hand squared": Row(
        lambda x: by_roots(x) ** 2, squared, LENGTHS, tape="NaN, by the slope of sqrt at 0"
    ),
    "std squared": Row(lambda x: sg.std(x) ** 2, sg.var, (ONES, LINE, TIES, ZEROS)),
    "square of std, ddof": Row(
        lambda x: sg.square(sg.std(x, ddof=1)), lambda x: sg.var(x, ddof=1), (ONES, LINE)
    ),
    "nanstd squared": Row(
        lambda x: sg.nanstd(x) ** 2, sg.nanvar, (ONES, np.array([1.0, NAN, 1.0]), LINE)
    ),
    "hypot squared": Row(
        lambda x: sg.hypot(x[0], x[1]) ** 2, lambda x: x[0] * x[0] + x[1] * x[1], LENGTHS
    ),
    "hypot and norm": Row(
        lambda x: sg.hypot(x[0], x[1]), lambda x: sg.norm(x[:2]), (ZEROS, LINE, ONES)
    ),
    "magnitude squared": Row(
        lambda x: abs(x) ** 2, lambda x: x * x, (ZEROS, LINE, HUGE, TINY), tape=ABS
    ),
    "magnitude cubed": Row(lambda x: abs(x) ** 3, lambda x: x * x * abs(x), (ZEROS, LINE)),
    "magnitude by magnitude": Row(
        lambda x: abs(x) * abs(x), lambda x: x * x, (ZEROS, LINE), tape=ABS
    ),
    "complex magnitude squared": Row(
        lambda x: abs(x + 1j * x[::-1]) ** 2,
        lambda x: sg.abs_square(x + 1j * x[::-1]),
        (ZEROS, LINE),
    ),
    "cosine similarity": Row(
        lambda x: sg.nn.cosine_similarity(x, np.stack([LINE, LINE]), eps=1e-3),
        lambda x: (x * LINE).sum(1) / sg.maximum(sg.norm(x, axis=1), 1e-3) / np.linalg.norm(LINE),
        (ROWS, 0 * ROWS),
    ),
    "normalize": Row(
        lambda x: sg.nn.normalize(x, axis=1, eps=1e-3),
        lambda x: x / sg.sqrt((x * x).sum(1, keepdims=True)),
        (ROWS[1:],),
    ),
    "normalize near zero": Row(
        lambda x: sg.nn.normalize(x, axis=1, eps=1e-3), lambda x: x / 1e-3, (0 * ROWS,)
    ),
    "inverse by eigenvalues": Row(
        by_eigenvalues(lambda w: 1.0 / w), inverse, SPECTRA, tape=NO_VECTORS
    ),
    "inverse by a diagonal": Row(by_diagonal, inverse, EQUAL, tape=NO_VECTORS),
    "inverse by einsum": Row(by_einsum, inverse, EQUAL, tape=NO_VECTORS),
    "inverse by halves": Row(by_halves, inverse, EQUAL, tape=NO_VECTORS),
    "inverses of a batch": Row(
        in_batch, lambda x: sg.stack([inverse(x), inverse(2.0 * x)]), EQUAL, tape=NO_VECTORS
    ),
    "cube by eigenvalues": Row(
        by_eigenvalues(lambda w: w**3),
        lambda x: symmetric(x) @ symmetric(x) @ symmetric(x),
        (*SPECTRA, np.zeros((2, 2)), -np.diag([1.0, 1.0, 0.0])),
        tape=NO_VECTORS,
    ),
    "exponential by eigenvalues": Row(
        by_eigenvalues(sg.exp),
        lambda x: sg.linalg.expm(symmetric(x), max_squarings=1),
        (*SPECTRA, np.zeros((3, 3))),
        tape=NO_VECTORS,
    ),
    "matrix and number": Row(  # with mixed derivatives
        lambda x: by_eigenvalues(lambda w: sg.exp(w * x[9]))(x[:9].reshape(3, 3)),
        lambda x: sg.linalg.expm(symmetric(x[:9].reshape(3, 3)) * x[9], max_squarings=1),
        tuple(np.append(each, 0.7) for each in EQUAL),
        tape=NO_VECTORS,
    ),
    "sign by eigenvalues": Row(
        by_eigenvalues(sg.sign), sign_by_root, (np.diag([-1.0, -1.0, 2.0]),), tape=NO_VECTORS
    ),
    "trace by eigenvalues": Row(
        lambda x: sg.linalg.eigvalsh(symmetric(x)).sum(),
        lambda x: sg.trace(x),
        SPECTRA,
        TWICE,
        tolerance=1e-8,
        tape="rounding of 0",
    ),
    "sum of squared eigenvalues": Row(
        lambda x: (sg.linalg.eigvalsh(symmetric(x)) ** 2).sum(),
        lambda x: (symmetric(x) ** 2).sum(),
        SPECTRA,
        TWICE,
        tolerance=1e-8,
    ),
    "eigh and eigvalsh": Row(
        lambda x: (sg.linalg.eigh(symmetric(x))[0] ** 3).sum(),
        lambda x: (sg.linalg.eigvalsh(symmetric(x)) ** 3).sum(),
        SPECTRA,
        TWICE,
        tolerance=1e-8,
    ),
    "slogdet by eigenvalues": Row(
        lambda x: sg.log(sg.linalg.eigvalsh(symmetric(x))).sum(),
        lambda x: sg.linalg.slogdet(symmetric(x))[1],
        SPECTRA,
        TWICE,
        tolerance=1e-8,
    ),
}


def along(shape):
    """A direction, or weights, none of which is 0."""
    return np.linspace(0.7, 1.9, max(int(np.prod(shape)), 1)).reshape(shape)


def readings(row, function, point):
    """The value, and the derivatives along a direction in every order of the modes."""
    x = sg.input("x", point.shape, "float64")
    value = function(x)
    loss = (value * along(value.shape)).sum()
    way = -along(point.shape)
    first = sg.grad(loss, x)
    forward = sg.jvp(loss, x, way)
    found = {
        "value": value,
        "gradient": first,
        "forward": forward,
        "reverse over reverse": sg.grad((first * way).sum(), x, allow_disconnected=True),
        "forward over reverse": sg.jvp(first, x, way, allow_disconnected=True),
        "reverse over forward": sg.grad(forward, x, allow_disconnected=True),
        "twice forward": sg.jvp(forward, x, way, allow_disconnected=True),
    }
    with np.errstate(all="ignore"):
        found = sg.evaluate(sg.Graph(found, inputs=[x]), {"x": point})
    first, second = found["gradient"] * way, found["reverse over reverse"]
    same(row, "forward", found.pop("forward"), first.sum(), scale=np.abs(first).sum())
    scale = np.abs(second * way).sum() + 1e-4 * np.abs(first).sum()
    same(row, "twice forward", found.pop("twice forward"), (second * way).sum(), scale=scale)
    for what in ("forward over reverse", "reverse over forward"):
        same(row, what, found.pop(what), second, scale=scale)
    return found


def on_tape(function, point):
    """The value, the gradient and its derivative along a direction, by the tape."""
    x = Tensor(point, requires_grad=True)
    value = function(x)
    first = tape_grad((value * along(value.shape)).sum(), x, create_graph=True)
    found = {"value": value.numpy(), "gradient": first.numpy()}
    if first.requires_grad:
        second = tape_grad((first * -along(point.shape)).sum(), x, allow_disconnected=True)
        found["reverse over reverse"] = second.numpy()
    return found


def same(row, what, found, wanted, scale=0.0, blind=False):
    """Compare; where ``blind``, NaN stands for anything. ``scale``: of terms that cancel."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if blind or what in row.blind:
        wanted = np.where(np.isnan(found), NAN, wanted)
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-300)
    if np.isfinite(scale):
        size = max(size, scale)
    np.testing.assert_allclose(found, wanted, row.tolerance, row.tolerance * size, err_msg=what)


POINTS = [(name, k) for name, row in TABLE.items() for k in range(len(row.points))]


@pytest.mark.parametrize(("name", "k"), POINTS)
def test_two_roads_meet(name, k):
    row = TABLE[name]
    point = np.asarray(row.points[k], np.float64)
    one, other = readings(row, row.one, point), readings(row, row.other, point)
    for what, wanted in other.items():
        same(row, what, one[what], wanted)


@pytest.mark.parametrize(("name", "k"), [p for p in POINTS if not TABLE[p[0]].tape])
def test_the_tape_takes_the_same_roads(name, k):
    row = TABLE[name]
    point = np.asarray(row.points[k], np.float64)
    wanted = readings(row, row.one, point)
    with np.errstate(all="ignore"):
        found = on_tape(row.one, point)
    for what, array in found.items():
        same(row, what, array, wanted[what], blind=what == "reverse over reverse")


def test_eigenvalues_in_the_middle_have_their_own_gradient():
    x = sg.input("x", (3, 3), "float64")
    values, vectors = sg.linalg.eigh(x)
    loss = ((vectors * sg.exp(values)) @ vectors.T * along((3, 3))).sum()
    point = {"x": SPECTRA[3]}
    by_values, by_vectors, by_x = sg.evaluate(sg.grad(loss, [values, vectors, x]), point)
    w, v = np.linalg.eigh(SPECTRA[3])
    middle = v.T @ along((3, 3)) @ v
    np.testing.assert_allclose(by_values, np.exp(w) * np.diag(middle), 1e-12)
    both = along((3, 3)) + along((3, 3)).T
    np.testing.assert_allclose(np.abs(by_vectors), np.abs(both @ v * np.exp(w)), 1e-11)
    (alone,) = sg.evaluate([sg.grad(loss, x)], point)
    np.testing.assert_array_equal(by_x, alone)


def test_third_derivatives_of_equal_eigenvalues_are_missing():
    """NaN says that; elsewhere they are those of differences."""
    x = sg.input("x", (3, 3), "float64")
    way = along((3, 3)) + along((3, 3)).T
    found = (by_eigenvalues(sg.exp)(x) * along((3, 3))).sum()
    for _ in range(3):
        second, found = found, (sg.grad(found, x) * way).sum()
    graph = sg.Graph({"second": second, "third": found}, inputs=[x])
    assert np.isnan(sg.evaluate(graph, {"x": EQUAL[0]})["third"])
    step = 1e-4 * way
    third = sg.evaluate(graph, {"x": SPECTRA[3]})["third"]
    up, down = (sg.evaluate(graph, {"x": SPECTRA[3] + each})["second"] for each in (step, -step))
    np.testing.assert_allclose(third, (up - down) / 2e-4, 1e-6)
