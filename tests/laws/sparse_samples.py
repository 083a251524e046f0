"""Samples of ops of sparse matrices: patterns of all kinds, one number a row and many."""

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import F32, F64
from tests.laws.array_samples import extraordinary
from tests.laws.samples import Sample, declare, provides
from tests.sparse.patterns import pattern_of, random_pattern

#: Rows, columns, elements, numbers of a dense row.
SHAPES = (
    (4, 3, 6, 1), (4, 3, 6, 2), (3, 5, 9, 40), (1, 1, 1, 1), (3, 2, 0, 2), (0, 2, 0, 3),
    (2, 0, 0, 1), (5, 4, 12, 0), (300, 7, 400, 1),
)  # fmt: skip


def _samples(rng, op, operands, index_dtype=np.int32, smooth=False):
    for m, n, count, k in SHAPES:
        pattern = [v.astype(index_dtype) for v in random_pattern(rng, m, n, count)]
        for batches in (((), ()), ((2,), (2,)), ((2,), ()), ((), (3, 1)), ((0,), (0,))):
            first, second = operands(m, n, count, k)
            arrays = (
                rng.normal(size=(*batches[0], *first)),
                rng.normal(size=(*batches[1], *second)),
            )
            is_small = smooth and m == 4 and len(batches[1]) < 2 and (0,) not in batches
            yield Sample(op, (*arrays, *pattern), smooth=is_small)
            yield Sample(op, (*(a.astype(np.float32) for a in arrays), *pattern))
    for dtype in (F32, F64):
        for k in (1, 3):
            first, second = operands(9, 8, 30, k)
            arrays = (extraordinary(rng, first, dtype), extraordinary(rng, second, dtype))
            yield Sample(op, (*arrays, *random_pattern(rng, 9, 8, 30)))


def _outside(op, operands):
    """Places and rows that do not exist count as nothing."""
    starts, places, rows, starts_t, places_t, order = pattern_of([0, 2, 1], [0, 2, 3], (2, 3))
    for k in (1, 2):
        first, second = (np.ones(shape) for shape in operands(2, 3, 3, k))
        for wrong in (
            (starts, places + 2, rows, starts_t, places_t - 9, order),
            (starts[::-1], places, rows - 1, starts_t + 2, places_t, order + 7),
            (starts, places, rows, starts_t, places_t, order * 0),
            (starts - 1, -places, rows + 9, starts_t[::-1], places_t, order - 1),
        ):
            yield Sample(op, (first, second, *map(np.ascontiguousarray, wrong)))


def _of_product(m, n, count, k):
    return (count,), (n, k)


def _of_transposed(m, n, count, k):
    return (count,), (m, k)


def _of_sampled(m, n, count, k):
    return (m, k), (n, k)


@provides("sparse_product")
def _(rng):
    for transposed, operands in ((False, _of_product), (True, _of_transposed)):
        op = op_class("sparse_product")(transposed)
        yield from _samples(rng, op, operands, smooth=True)
        yield from _samples(rng, op, operands, np.int64)
        yield from _outside(op, operands)


@provides("sampled_product")
def _(rng):
    op = op_class("sampled_product")()
    yield from _samples(rng, op, _of_sampled, smooth=True)
    yield from _samples(rng, op, _of_sampled, np.int64)
    yield from _outside(op, _of_sampled)


#: Unknowns, elements outside of the diagonal, columns.
SYSTEMS = ((4, 5, 2), (3, 4, 1), (1, 0, 1), (0, 0, 2), (4, 3, 0), (30, 60, 3))


def _system(rng, n, count):
    """A pattern with the diagonal, and equal places, and elements that make a good matrix."""
    rows = np.concatenate([np.arange(n), rng.integers(0, max(n, 1), count)])
    order = np.argsort(rows, kind="stable")
    places = np.concatenate([np.arange(n), rng.integers(0, max(n, 1), count)])[order]
    starts = np.searchsorted(rows[order], np.arange(n + 1))
    large = np.concatenate([np.full(n, 4.0), np.zeros(count)])[order]
    return pattern_of(places, starts, (n, n)), large


def _pairs(array):
    return np.stack([array, array[..., ::-1] / 2], -1)


def _solutions(rng, name, of_parts):
    for transposed in (False, True):
        op = op_class(name)(transposed, "nan", "COLAMD")
        for n, count, k in SYSTEMS:
            pattern, large = _system(rng, n, count)
            for batches in (((), ()), ((2,), (2,)), ((2,), ()), ((), (3, 1)), ((0,), (0,))):
                data = large + rng.normal(size=(*batches[0], n + count)) / 2
                b = rng.normal(size=(*batches[1], n, k))
                arrays = [of_parts(data), of_parts(b)]
                is_small = n in (3, 4) and k > 0 and len(batches[1]) < 2 and (0,) not in batches
                yield Sample(op, (*arrays, *pattern), smooth=is_small)
                narrow = (a.astype(np.float32) for a in arrays)
                yield Sample(op, (*narrow, *pattern))
            yield Sample(op, (*arrays, *(v.astype(np.int64) for v in pattern)))
        for dtype in (F32, F64):
            for singular in (True, False):
                pattern, large = _system(rng, 9, 12)
                b = extraordinary(rng, of_parts(np.ones((9, 2))).shape, dtype)
                data = extraordinary(rng, of_parts(large).shape, dtype)
                data = data if singular else of_parts(large).astype(b.dtype)
                yield Sample(op, (data, b, *pattern))
    empty_rows = random_pattern(rng, 5, 5, 4)  # a singular matrix
    yield Sample(op, (of_parts(np.ones(4)), of_parts(np.ones((5, 2))), *empty_rows))
    for wrong in (-9, 1, 40):
        pattern, large = _system(rng, 4, 3)
        b = of_parts(np.ones((4, 2)))
        yield Sample(op, (of_parts(large), b, pattern[0], pattern[1] + wrong, *pattern[2:]))
        yield Sample(op, (of_parts(large), b, *pattern[:-1], pattern[-1] * 0))


@provides("sparse_solve")
def _(rng):
    yield from _solutions(rng, "sparse_solve", lambda array: array)


@provides("complex_sparse_solve")
def _(rng):
    yield from _solutions(rng, "complex_sparse_solve", _pairs)


def _at_size(name, operands):
    def at_size(n):
        rng = np.random.default_rng(n)
        pattern = random_pattern(rng, n % 37, 5, 3 * (n % 37))
        for dtype in (np.float32, np.float64):
            arrays = (
                rng.normal(size=s).astype(dtype) for s in operands(n % 37, 5, 3 * (n % 37), 3)
            )
            yield Sample(op_class(name)(), (*arrays, *pattern))

    return at_size


for _name, _operands in (("sparse_product", _of_product), ("sampled_product", _of_sampled)):
    declare(
        _name,
        "no function of NumPy: tests/sparse compares them with those of SciPy",
        ("f", "f", *"iiiiii"),
        _at_size(_name, _operands),
    )


def _solutions_at_size(name, of_parts):
    def at_size(n):
        rng = np.random.default_rng(n)
        pattern, large = _system(rng, n % 37, n % 37)
        for dtype in (np.float32, np.float64):
            arrays = (of_parts(large), of_parts(rng.normal(size=(n % 37, 3))))
            yield Sample(op_class(name)(), (*(a.astype(dtype) for a in arrays), *pattern))

    return at_size


for _name, _parts in (("sparse_solve", lambda array: array), ("complex_sparse_solve", _pairs)):
    declare(
        _name,
        "no function of NumPy: tests/sparse compares it with SciPy's",
        ("f", "f", *"iiiiii"),
        _solutions_at_size(_name, _parts),
    )
