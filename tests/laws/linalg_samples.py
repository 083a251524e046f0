"""Samples of the ops of linear algebra: matrices in their domains, and what no factor exists of.

Tests of all ops also try other operands than these, so the samples are of ops that do not raise;
``tests/linalg`` has those that do.
"""

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import F32, F64
from tests.laws.array_samples import extraordinary
from tests.laws.samples import Sample, declare, provides

BATCHES = ((), (2,), (2, 1), (0,))
#: Sizes of square matrices; a size behind which LAPACK works in blocks has a test of its own.
SQUARES = (3, 1, 0, 5)
RECTANGLES = ((4, 3), (3, 4), (3, 3), (1, 4), (3, 1), (0, 3), (3, 0), (0, 0), (1, 1))


def spread(rng, *shape):
    """Matrices whose singular values lie apart from 0 and from each other."""
    x = rng.normal(size=shape)
    for place in range(min(shape[-2:])):
        x[..., place, place] += 2.0 + 1.5 * place
    return x


def definite(rng, batch, n):
    """Symmetric positive definite matrices of which the upper triangle holds something else."""
    x = spread(rng, *batch, n, n)
    product = x @ np.swapaxes(x, -1, -2)
    return (np.tril(product) + np.triu(rng.normal(size=product.shape), 1),)


def _square(op, operands, rng):
    for batch in BATCHES:
        for n in SQUARES:
            arrays = operands(rng, batch, n)
            yield Sample(op, arrays, smooth=n == 3 and batch in ((), (2,)))
            yield Sample(op, tuple(narrow(a) for a in arrays))


def narrow(array):
    """float32 for float64."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def strange(op, rng, *shapes, integers=None):
    """Special values and equal elements, with ordinary matrices beside them."""
    for dtype in (F32, F64):
        for _ in range(3):
            arrays = [extraordinary(rng, shape, dtype) for shape in shapes]
            if integers is not None:
                arrays.insert(1, integers)
            yield Sample(op, tuple(arrays))


def symmetric(rng, batch, n):
    return (definite(rng, batch, n)[0] - 3.0 * np.eye(n),)


def of_real_values(rng, batch, n):
    """Matrices without symmetry whose eigenvalues are real: then so are vectors, but for a sign."""
    basis = spread(rng, *batch, n, n)
    return (basis * (1.0 + np.arange(n)) @ np.linalg.inv(basis),)


def of_any_values(rng, batch, n):
    return (rng.normal(size=(*batch, n, n)),)


ONE = {
    "cholesky": definite,
    "eig": of_real_values,
    "eigh": symmetric,
    "eigvals": of_any_values,
    "eigvalsh": symmetric,
    "ldl": symmetric,
    "schur": of_real_values,
}


#: The field of ops that have it, and of those that always have results.
NAN = ({"errors": "nan"}, {})


def _of_one(name):
    @provides(name)
    def _(rng):
        op = op_class(name)(**NAN[name in ("ldl", "lu", "qr")])
        yield from _square(op, ONE[name], rng)
        yield from strange(op, rng, (9, 3, 3))
        yield from strange(op, rng, (30, 1, 1))


def _rectangular(name, *options):
    @provides(name)
    def _(rng):
        nan = {"errors": "nan"} if "errors" in op_class(name).__dataclass_fields__ else {}
        for number, fields in enumerate(options):
            op = op_class(name)(**fields, **nan)
            # complete bases have a derivative where they are those of squares
            for m, n in [(3, 3), (0, 0), (1, 1)] if number else RECTANGLES:
                is_smooth = (m, n) == ((3, 3) if number else (4, 3))
                yield Sample(op, (spread(rng, m, n),), smooth=is_smooth)
                yield Sample(op, (narrow(spread(rng, m, n)),))
            yield Sample(op, (spread(rng, 2, 3, 3),))
            yield Sample(op, (spread(rng, 0, 3, 3),))
        for shape in ((9, 3, 2), (9, 2, 3), (30, 1, 1)):
            yield from strange(op_class(name)(**options[0], **nan), rng, shape)


for _name in ONE:
    _of_one(_name)
_rectangular("lu", {})
_rectangular("qr", {}, {"complete": True})
_rectangular("svd", {}, {"full": True})
_rectangular("svdvals", {})


@provides("triangular_solve")
def _triangular(rng):
    cls = op_class("triangular_solve")
    for lower in (False, True):
        for transposed in (False, True):
            for unit in (False, True):
                op = cls(lower, transposed, unit, "nan")
                for batch, n, k in (((), 3, 2), ((2,), 2, 1), ((2, 1), 3, 4), ((), 1, 1)):
                    arrays = spread(rng, *batch, n, n), rng.normal(size=(*batch, n, k))
                    yield Sample(op, arrays, smooth=n == (3, 2)[k == 1])
                    yield Sample(op, tuple(map(narrow, arrays)))
    for shapes in (((0, 0), (0, 2)), ((3, 3), (3, 0)), ((0, 2, 2), (0, 2, 1))):
        yield Sample(cls(errors="nan"), tuple(np.ones(shape) for shape in shapes))
    for k in (1, 3):
        yield from strange(cls(errors="nan"), rng, (9, 3, 3), (9, 3, k))


@provides("sylvester")
def _sylvester(rng):
    op = op_class("sylvester")("nan")
    for batch in BATCHES:
        for m, n in ((3, 2), (1, 1), (2, 4), (0, 2), (2, 0)):
            a, b = spread(rng, *batch, m, m), spread(rng, *batch, n, n)
            arrays = a, b, rng.normal(size=(*batch, m, n))
            yield Sample(op, arrays, smooth=(m, n) == (3, 2) and batch in ((), (2,)))
            yield Sample(op, tuple(map(narrow, arrays)))
    yield from strange(op, rng, (9, 2, 2), (9, 3, 3), (9, 2, 3))


@provides("tridiagonal_solve")
def _tridiagonal(rng):
    cls = op_class("tridiagonal_solve")
    for batch, n, k in (
        ((), 4, 2),
        ((2,), 3, 1),
        ((2, 1), 2, 3),
        ((), 1, 1),
        ((), 0, 2),
        ((0,), 3, 2),
    ):
        lower, upper = rng.normal(size=(2, *batch, n))
        arrays = lower, rng.normal(size=(*batch, n)) + 4.0, upper, rng.normal(size=(*batch, k, n))
        yield Sample(cls("nan"), arrays, smooth=n in (1, 3, 4))
        yield Sample(cls("nan"), tuple(map(narrow, arrays)))
    yield from strange(cls("nan"), rng, (9, 4), (9, 4), (9, 4), (9, 2, 4))


@provides("lu_solve")
def _lu_solve(rng):
    cls = op_class("lu_solve")
    for transposed in (False, True):
        for batch, n, k in (((), 3, 2), ((2,), 2, 1), ((2, 1), 3, 1), ((), 1, 1), ((), 0, 2)):
            order = rng.permuted(np.broadcast_to(np.arange(n), (*batch, n)).copy(), axis=-1)
            arrays = spread(rng, *batch, n, n), order, rng.normal(size=(*batch, n, k))
            yield Sample(cls(transposed, "nan"), arrays, smooth=n == 3)
            yield Sample(cls(transposed, "nan"), tuple(map(narrow, arrays)))
        order = np.broadcast_to(np.array([2, 0, 1]), (9, 3))
        yield from strange(cls(transposed, "nan"), rng, (9, 3, 3), (9, 3, 2), integers=order)


def _at_size(name):
    """Batches of small matrices, as many as rows of n elements have remainders."""

    fields = NAN[name in ("ldl", "lu", "qr")]

    def at_size(n):
        rng = np.random.default_rng(n)
        x = definite(rng, (n % 37,), 2)[0]
        order = np.broadcast_to(np.array([1, 0]), (n % 37, 2))
        row = rng.normal(size=(n % 37, 2)) + 4.0
        extra = {
            "triangular_solve": (x, rng.normal(size=(n % 37, 2, 3))),
            "lu_solve": (x, order, rng.normal(size=(n % 37, 2, 3))),
            "sylvester": (x, x, x),
            "tridiagonal_solve": (row, row + 3.0, row, rng.normal(size=(n % 37, 3, 2))),
        }
        arrays = extra.get(name, (x,))
        yield Sample(op_class(name)(**fields), arrays)
        yield Sample(op_class(name)(**fields), tuple(map(narrow, arrays)))

    return at_size


_NO = "no function of NumPy with these results and this order: tests/linalg compares them"
for _name, _kinds in {
    **dict.fromkeys((*ONE, "lu", "qr", "svd", "svdvals"), ("f",)),
    "triangular_solve": ("f", "f"),
    "tridiagonal_solve": ("f",) * 4,
    "lu_solve": ("f", "i", "f"),
    "sylvester": ("f",) * 3,
}.items():
    declare(_name, _NO, _kinds, _at_size(_name))
