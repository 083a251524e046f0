"""Samples of the ops that move, combine or read elements by position."""

import numpy as np

import staticgrad as sg
from staticgrad.language.ir.op import op_class
from staticgrad.language.ir.rounded import widen_array
from staticgrad.language.ops.custom import CustomFunction
from staticgrad.language.types.dtype import ALL_DTYPES, F32, F64, I32, I64, U32, U64
from tests.helpers.limits import finfo
from tests.laws.samples import Sample, declare, provides
from tests.ops.graphs import variable

FLOATS = (F32, F64)
NUMBERS = tuple(d for d in ALL_DTYPES if not d.is_bool)


def count_up(shape, dtype):
    """0, 1, 2, ... in ``dtype``: every element tells its place."""
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype.numpy)


def everywhere(op, shape, rng, dtypes=ALL_DTYPES):
    """One operand in every dtype; special values; smooth in float64."""
    for dtype in dtypes:
        yield Sample(op, (count_up(shape, dtype),))
    for dtype in (F32, F64):
        yield Sample(op, (extraordinary(rng, shape, dtype),))
    yield Sample(op, (apart(rng, shape),), smooth=True)


def extraordinary(rng, shape, dtype):
    """Signed zeros, infinities, NaN, denormals, the largest; some of them equal."""
    limits = finfo(dtype.numpy)
    tiny, most = float(limits.smallest_subnormal), float(limits.max)
    numbers = [0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, most, -most, 1.5, -2.5]
    return np.asarray(rng.choice(np.array(numbers, dtype.numpy), shape))


def apart(rng, shape):
    """Random float64 numbers, no two within 0.01 of each other."""
    count = int(np.prod(shape))
    return (rng.permutation(count) * 0.07 + rng.uniform(-0.02, 0.02, count) - 0.6).reshape(shape)


REDUCED = (((4,), (0,)), ((3, 4), (0,)), ((3, 4), (1,)), ((3, 4), (0, 1)), ((2, 3, 4), (1,)))
REDUCED += (((2, 3, 4), (0, 2)), ((2, 3, 4), (0, 1, 2)), ((1, 5, 1), (0, 2)))


@provides("rank_mean")
def _rank_mean(rng):
    """Yield samples of one rank: more need MPI (``tests/distributed/test_distributed.py``)."""
    cls = op_class("rank_mean")
    yield from everywhere(cls(1), (6, 9), rng, (F32, F64))
    yield Sample(cls(1), (np.ones((0, 3)), np.ones((), np.float32)))
    yield Sample(cls(1), (np.ones((1, 1)),))
    yield Sample(cls(1), (apart(rng, (2, 3)), apart(rng, (4,))), smooth=True)


def _parts(name, dtypes, *attributes):
    """Provide samples of one rank, whose part is all of the array; two operands of 54 elements."""

    @provides(name)
    def samples(rng):
        for sample in everywhere(op_class(name)(1, *attributes), (54,), rng, dtypes):
            yield Sample(sample.op, sample.arrays * 2)

    declare(
        name,
        "x.ravel() if len(operands) == 1 else tuple(operands)",
        ("f",) if dtypes is FLOATS else ("biuf",),
        lambda n: [Sample(op_class(name)(1, *attributes), (np.arange(54.0), np.arange(54.0)))],
    )


_parts("rank_part", ALL_DTYPES)
_parts("rank_scatter", FLOATS)
_parts("rank_gather", ALL_DTYPES, (54, 54))


declare(
    "rank_mean",
    "x if len(operands) == 1 else tuple(operands)",
    ("f",),
    lambda n: [Sample(op_class("rank_mean")(1), (np.arange(4.0 * n).reshape(n, 4),))],
)


@provides("sum")
def _sum(rng):
    cls = op_class("sum")
    for shape, axes in REDUCED:
        yield from everywhere(cls(axes), shape, rng, NUMBERS)
    for shape, axes in (((0,), (0,)), ((0, 3), (0,)), ((3, 0), (1,)), ((0, 3), (1,))):
        yield Sample(cls(axes), (np.ones(shape, np.float32),))
    for shape, axes in (((9000,), (0,)), ((3, 70), (1,)), ((1100, 3), (0,)), ((33, 40), (0, 1))):
        yield Sample(cls(axes), (rng.normal(size=shape).astype(np.float32),))
    yield Sample(cls((0,)), (np.array([127, 1], np.int8),))


def _extreme(name):
    def provider(rng):
        for shape, axes in REDUCED:
            yield from everywhere(op_class(name)(axes), shape, rng)
        yield Sample(op_class(name)((1,)), (np.ones((0, 3), np.float32),))

    return provider


for _name in ("max", "min"):
    provides(_name)(_extreme(_name))


def _bit_reduction(name):
    def provider(rng):
        cls = op_class(name)
        for dtype in ALL_DTYPES:
            if dtype.kind in "biu":
                limits = (
                    (0, 1)
                    if dtype.is_bool
                    else (np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max)
                )
                for shape, axes in (*REDUCED, ((0, 3), (0,)), ((3, 0), (1,)), ((70, 33), (0,))):
                    x = (
                        rng.choice([*limits, 0, 1], shape)
                        if dtype.bits < 64
                        else count_up(shape, dtype)
                    )
                    yield Sample(cls(axes), (x.astype(dtype.numpy),))

    return provider


for _name in ("reduce_and", "reduce_or", "reduce_xor"):
    provides(_name)(_bit_reduction(_name))


@provides("reshape")
def _reshape(rng):
    pairs = (((3, 4), (12,)), ((3, 4), (2, 6)), ((6,), (1, 2, 3)), ((1, 1), ()), ((), (1, 1)))
    for shape, target in (*pairs, ((0, 3), (5, 0)), ((2, 3, 4), (6, 4))):
        yield from everywhere(op_class("reshape")(target), shape, rng)


@provides("transpose")
def _transpose(rng):
    for shape, perm in (
        ((), ()), ((3,), (0,)), ((3, 4), (1, 0)), ((2, 3, 4), (1, 2, 0)), ((2, 0, 4), (2, 0, 1)),
        ((5, 9), (1, 0)),
    ):  # fmt: skip
        yield from everywhere(op_class("transpose")(perm), shape, rng)


@provides("broadcast")
def _broadcast(rng):
    for shape, target, axes in (
        ((), (), ()), ((), (2, 3), ()), ((3,), (2, 3), (1,)), ((2,), (2, 3), (0,)),
        ((1, 3), (4, 3), (0, 1)), ((1,), (3,), (0,)), ((1, 2), (5, 3, 4, 2), (1, 3)),
        ((1,), (0,), (0,)), ((2, 1), (2, 3, 1), (0, 2)), ((3,), (0, 3), (1,)),
        ((40,), (2, 40), (1,)),
    ):  # fmt: skip
        yield from everywhere(op_class("broadcast")(target, axes), shape, rng)


#: Operand's shape, starts, lengths, steps.
SLICES = (
    ((), (), (), ()), ((5,), (0,), (5,), (1,)), ((5,), (1,), (3,), (1,)), ((5,), (4,), (5,), (-1,)),
    ((7,), (1,), (3,), (2,)), ((7,), (6,), (3,), (-3,)), ((4,), (4,), (0,), (1,)),
    ((4,), (9,), (0,), (3,)), ((3, 4), (0, 3), (3, 2), (1, -2)), ((0, 4), (0, 1), (0, 2), (1, 2)),
    ((2, 3, 4), (1, 0, 2), (1, 2, 1), (1, 2, 1)),
)  # fmt: skip


@provides("slice")
def _slice(rng):
    for shape, starts, lengths, steps in SLICES:
        yield from everywhere(op_class("slice")(starts, lengths, steps), shape, rng)


@provides("pad")
def _pad(rng):
    for shape, starts, lengths, steps in SLICES:
        yield from everywhere(op_class("pad")(shape, starts, steps), lengths, rng)


@provides("concat")
def _concat(rng):
    for axis, shapes in (
        (0, ((3,), (2,))), (0, ((3,), (0,), (1,))), (1, ((2, 1), (2, 3))), (0, ((0, 2), (0, 2))),
        (0, ((2, 2),)), (2, ((1, 2, 3), (1, 2, 1), (1, 2, 2))), (1, ((4, 9), (4, 3))),
    ):  # fmt: skip
        op = op_class("concat")(axis)
        for dtype in ALL_DTYPES:
            yield Sample(op, tuple(count_up(shape, dtype) for shape in shapes))
        for dtype in (F32, F64):
            yield Sample(op, tuple(extraordinary(rng, shape, dtype) for shape in shapes))
        yield Sample(op, tuple(apart(rng, shape) for shape in shapes), smooth=True)


#: Shape of x, axis, shape of the indices.
TAKEN = (
    ((5,), 0, ()), ((5,), 0, (3,)), ((5,), 0, (2, 3)), ((4, 3), 0, (7,)), ((4, 3), 1, (2, 2)),
    ((2, 3, 4), 1, (5,)), ((2, 3, 4), 2, ()), ((3, 0), 0, (2,)), ((3, 2), 0, (0,)), ((1,), 0, (4,)),
)  # fmt: skip
INDEX_DTYPES = tuple(d for d in ALL_DTYPES if d.is_integer)


def indices_into(rng, size, shape, dtype):
    low = 0 if dtype.kind == "u" else -size
    return rng.integers(low, size, shape).astype(dtype.numpy)


@provides("take")
def _take(rng):
    for shape, axis, of in TAKEN:
        op = op_class("take")(axis)
        for dtype in ALL_DTYPES:
            yield Sample(op, (count_up(shape, dtype), indices_into(rng, shape[axis], of, I64)))
        for dtype in INDEX_DTYPES:
            yield Sample(op, (count_up(shape, F32), indices_into(rng, shape[axis], of, dtype)))
        places = indices_into(rng, shape[axis], of, I64)
        for dtype in (F32, F64):
            yield Sample(op, (extraordinary(rng, shape, dtype), places))
        yield Sample(op, (apart(rng, shape), places), smooth=True)


@provides("scatter_add")
def _scatter_add(rng):
    for shape, axis, of in TAKEN:
        op = op_class("scatter_add")(axis, shape[axis])
        added = (*shape[:axis], *of, *shape[axis + 1 :])
        places = indices_into(rng, shape[axis], of, I64)
        for dtype in NUMBERS:
            yield Sample(op, (count_up(added, dtype), places))
        for dtype in INDEX_DTYPES:
            yield Sample(op, (count_up(added, F32), indices_into(rng, shape[axis], of, dtype)))
        for dtype in (F32, F64):
            yield Sample(op, (extraordinary(rng, added, dtype), places))
        yield Sample(op, (np.full(added, -0.0), places))
        yield Sample(op, (apart(rng, added), places), smooth=True)
        if len(of) == 1:
            for parts in (2, 3):
                split_op = op_class("scatter_add")(axis, shape[axis], parts)
                yield Sample(split_op, (extraordinary(rng, added, F64), places))
                yield Sample(split_op, (apart(rng, added), places), smooth=True)


#: Shape of x, axis, size of the indices along it.
ALONG = (
    ((5,), 0, 3),
    ((4, 3), 1, 1),
    ((4, 3), 0, 6),
    ((2, 3, 4), 1, 2),
    ((0, 3), 1, 1),
    ((2, 3), 0, 0),
)


@provides("take_along")
def _take_along(rng):
    for shape, axis, count in ALONG:
        of = (*shape[:axis], count, *shape[axis + 1 :])
        for dtype in ALL_DTYPES:
            places = indices_into(rng, shape[axis], of, I64)
            yield Sample(op_class("take_along")(axis), (count_up(shape, dtype), places))
        for dtype in INDEX_DTYPES:
            labels = np.abs(indices_into(rng, shape[axis] - 1, of, dtype))
            yield Sample(op_class("take_along")(axis, False), (count_up(shape, F32), labels))
        places = indices_into(rng, shape[axis], of, I64)
        for dtype in (F32, F64):
            x = extraordinary(rng, shape, dtype)
            yield Sample(op_class("take_along")(axis), (x, places))
        yield Sample(op_class("take_along")(axis), (apart(rng, shape), places), smooth=True)


@provides("scatter_extreme")
def _scatter_extreme(rng):
    for kind in ("max", "min"):
        for shape, axis, of in TAKEN:
            op = op_class("scatter_extreme")(kind, axis, shape[axis])
            sent = (*shape[:axis], *of, *shape[axis + 1 :])
            places = indices_into(rng, shape[axis], of, I64)
            for dtype in ALL_DTYPES:
                yield Sample(op, (count_up(sent, dtype), places))
            for dtype in INDEX_DTYPES:
                yield Sample(op, (count_up(sent, F32), indices_into(rng, shape[axis], of, dtype)))
            for dtype in (F32, F64):
                yield Sample(op, (extraordinary(rng, sent, dtype), places))
            every = min(shape[axis], int(np.prod(of)))  # of a place without any it is infinite
            op = op_class("scatter_extreme")(kind, axis, every)
            places = rng.permutation(np.arange(np.prod(of, dtype=int)) % max(every, 1)).reshape(of)
            yield Sample(op, (apart(rng, sent), places), smooth=True)


@provides("index_copy")
def _index_copy(rng):
    for shape, axis, of in TAKEN:
        sent = (*shape[:axis], *of, *shape[axis + 1 :])
        places = indices_into(rng, shape[axis], of, I64)
        op = op_class("index_copy")(axis)
        for dtype in ALL_DTYPES:
            yield Sample(op, (count_up(sent, dtype), places, count_up(shape, dtype)))
        for dtype in INDEX_DTYPES:
            entries = indices_into(rng, shape[axis], of, dtype)
            yield Sample(op, (count_up(sent, F32), entries, count_up(shape, F32)))
        for dtype in (F32, F64):
            x, base = extraordinary(rng, sent, dtype), extraordinary(rng, shape, dtype)
            yield Sample(op, (x, places, base))
        yield Sample(op, (apart(rng, sent), places, apart(rng, shape)), smooth=True)
        if places.size <= shape[axis]:
            some = rng.permutation(shape[axis])[: places.size].reshape(of)
            chosen = op_class("index_copy")(axis, inside=True, distinct=True)
            yield Sample(chosen, (apart(rng, sent), some, apart(rng, shape)), smooth=True)


@provides("scatter_along")
def _scatter_along(rng):
    for shape, axis, count in ALONG:
        of = (*shape[:axis], count, *shape[axis + 1 :])
        places = indices_into(rng, shape[axis], of, I64)
        for wrap in (True, False):
            op = op_class("scatter_along")(axis, shape[axis], wrap)
            where = places if wrap else places % shape[axis]
            for dtype in NUMBERS:
                yield Sample(op, (count_up(of, dtype), where))
            for dtype in INDEX_DTYPES:
                yield Sample(op, (count_up(of, F32), (places % shape[axis]).astype(dtype.numpy)))
            for dtype in (F32, F64):
                yield Sample(op, (extraordinary(rng, of, dtype), where))
            yield Sample(op, (apart(rng, of), where), smooth=True)


@provides("iota")
def _iota(rng):
    for shape, axis in (
        ((4,), 0),
        ((2, 3), 0),
        ((2, 3), 1),
        ((0,), 0),
        ((300,), 0),
        ((2, 0, 3), 2),
    ):
        for dtype in ALL_DTYPES:
            yield Sample(op_class("iota")(shape, axis, dtype), ())


def _nothing(ct, out, x):
    """The rule of a body that does not depend on its operand."""
    return (x * 0.0 * ct.astype(x.dtype).sum(),)


def _no_tangent(tangents, out, x):
    """The same, for tangents."""
    nothing = sg.zeros_like(out)
    if tangents[0] is None:
        return nothing
    return nothing * (tangents[0] * 0.0).sum().astype(out.dtype)


CustomFunction(_nothing, "tests.nothing").rule(_nothing)
CustomFunction(_nothing, "tests.no_tangent").rule(_no_tangent)


@provides("custom_vjp")
def _custom_vjp(rng):
    yield from _mark_samples(rng, op_class("custom_vjp")("tests.nothing"))


@provides("custom_jvp")
def _custom_jvp(rng):
    yield from _mark_samples(rng, op_class("custom_jvp")("tests.no_tangent"))


@provides("recomputed")
def _provide_recomputed(rng):
    for saved in (0, 1):
        for sample in _mark_samples(rng, op_class("recomputed")(saved)):
            if not sample.smooth:
                yield sample
    yield Sample(op_class("recomputed")(), (apart(rng, (3, 2)),), smooth=True)


def _mark_samples(rng, op):
    for dtype in ALL_DTYPES:
        yield Sample(op, (count_up((2, 3), dtype), count_up((3,), F64)))
        yield Sample(op, (count_up((), dtype), count_up((4, 0), F32), count_up((2,), I64)))
        yield Sample(op, (count_up((3,), F32), count_up((2, 3), dtype)))
    for dtype in (F32, F64):
        strange = (extraordinary(rng, (5, 9), dtype), extraordinary(rng, (5, 9), dtype))
        yield Sample(op, strange)
    yield Sample(op, (count_up((2, 3), F32), apart(rng, (3,))), smooth=True)


@provides("panel_matmul")
def _panel_matmul(rng):
    op = op_class("panel_matmul")()
    for rows, inner, panels, columns in ((2, 3, 4, 5), (1, 1, 1, 1), (3, 0, 2, 2), (0, 2, 2, 3)):
        operands = (apart(rng, (rows, inner)), apart(rng, (panels, inner, columns)))
        yield Sample(op, operands, smooth=True)
    for rows in (1, 7, 9, 40):  # those of whole registers, as loops have them
        yield Sample(op, (apart(rng, (rows, 33)), apart(rng, (3, 33, 32))), smooth=True)
    for dtype in NUMBERS:
        yield Sample(op, (count_up((3, 4), dtype), count_up((2, 4, 3), dtype)))
    for dtype in (F32, F64):
        for inner in (1, 3):  # one strange term in each sum, and several
            a, b = extraordinary(rng, (40, inner), dtype), extraordinary(rng, (5, inner, 9), dtype)
            yield Sample(op, (a, np.ones((2, inner, 32), dtype.numpy)))
            yield Sample(op, (np.ones((4, inner), dtype.numpy), b))


@provides("matmul")
def _matmul(rng):
    for batch_a, batch_b in (((), ()), ((2,), ()), ((), (3,)), ((2, 1), (1, 3)), ((0,), (1,))):
        for rows, inner, columns in ((2, 3, 4), (1, 1, 1), (2, 0, 3), (0, 2, 1), (5, 4, 1)):
            for flags in ((False, False), (True, False), (False, True), (True, True)):
                op = op_class("matmul")(*flags)
                a = (*batch_a, *((inner, rows) if flags[0] else (rows, inner)))
                b = (*batch_b, *((columns, inner) if flags[1] else (inner, columns)))
                yield Sample(op, (apart(rng, a), apart(rng, b)), smooth=True)
    for dtype in NUMBERS:
        yield Sample(op_class("matmul")(), (count_up((3, 4), dtype), count_up((4, 2), dtype)))
    for dtype in (F32, F64):
        for shape in ((5, 1), (40, 3)):  # one strange term in each sum, and several
            a, b = extraordinary(rng, shape, dtype), extraordinary(rng, shape[::-1], dtype)
            yield Sample(op_class("matmul")(), (a, np.ones((shape[1], 4), dtype.numpy)))
            yield Sample(op_class("matmul")(), (np.ones((4, shape[1]), dtype.numpy), b))


#: Shape, axis.
SCANNED = (
    ((5,), 0), ((1,), 0), ((0,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 20), 1), ((2, 3, 4), 2),
    ((4, 2, 3), 0), ((3, 0), 0), ((0, 3), 0), ((2, 70), 1),
)  # fmt: skip


def _running(name):
    def provider(rng):
        for shape, axis in SCANNED:
            yield from everywhere(op_class(name)(axis), shape, rng, NUMBERS)

    return provider


for _name in ("cumsum", "cumprod"):
    provides(_name)(_running(_name))


@provides("linear_scan")
def _linear_scan(rng):
    for shape, axis in SCANNED:
        op = op_class("linear_scan")(axis)
        for dtype in NUMBERS:
            yield Sample(op, (count_up(shape, dtype), count_up(shape, dtype)))
        for dtype in (F32, F64):
            yield Sample(op, tuple(extraordinary(rng, (2, *shape), dtype)))
        yield Sample(op, (apart(rng, shape), apart(rng, shape)), smooth=True)


@provides("random_bits")
def _random_bits(rng):
    for shape in ((), (0,), (1,), (7,), (40,), (3, 5), (2, 0, 3), (2, 3, 17)):
        for dtype in (U32, U64):
            for stream, half, key, step in ((0, 0, 0, 0), (5, 1, 2**64 - 1, 2**40 + 3)):
                op = op_class("random_bits")(shape, dtype, stream, half)
                yield Sample(op, (np.uint64(key), np.uint64(step)))
        yield Sample(op_class("random_bits")(shape, U32, 5, rank=3), (np.uint64(8), np.uint64(1)))
    for shape, keys in (((3,), 1), ((3, 5), 1), ((2, 0, 3), 1), ((2, 3, 17), 2)):
        key_shape = (*shape[:keys], *(1,) * (len(shape) - keys))
        words = [rng.integers(0, 2**63, key_shape).astype("uint64") for _ in range(2)]
        yield Sample(op_class("random_bits")(shape, U64, 7, 1, keys), tuple(words))


#: Shape and axis; 8 is the length of the runs that a kernel merges.
SORTED = (
    ((5,), 0), ((1,), 0), ((0,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 20), 1), ((3, 33), 1),
    ((2, 70), 1), ((3, 0), 0), ((0, 3), 0), ((1, 1, 17), 2), ((300,), 0), ((40, 2), 0),
)  # fmt: skip
#: Shape, axis, k; a kernel has room for 2 * k + 32 elements at a time.
CHOSEN = (
    ((5,), 0, 2), ((5,), 0, 5), ((5,), 0, 0), ((1,), 0, 1), ((0,), 0, 0), ((3, 4), 0, 1),
    ((2, 90), 1, 3), ((300,), 0, 1), ((2, 200), 1, 40), ((180, 2), 0, 7), ((0, 3), 1, 2),
)  # fmt: skip

#: Shape, axis, k; a kernel sorts 256 elements, and takes a sample of more.
PICKED = (
    ((5,), 0, 2), ((5,), 0, 0), ((1,), 0, 3), ((1, 3), 0, 1), ((3, 4), 1, 2), ((3, 4), 0, 5),
    ((2, 90), 1, 3), ((600,), 0, 4), ((2, 700), 1, 2), ((300, 2), 0, 3), ((0, 3), 1, 2),
)  # fmt: skip


def draw_mixed(rng, shape, dtype):
    """Many equal elements; the ends of the range; of floats also what is special."""
    if dtype.is_float:
        limits = finfo(dtype.numpy)
        tiny, most = float(limits.smallest_subnormal), float(limits.max)
        numbers = [0.0, -0.0, np.nan, np.inf, -np.inf, tiny, -tiny, most, -most, 1.5, -2.5]
        return rng.choice(np.array(numbers, dtype.numpy), shape)
    if dtype.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype.numpy)
    return rng.choice(np.array([info.min, info.max, 0, 1, 2, info.max - 1], dtype.numpy), shape)


def ascending(array):
    """The elements in order, NaN last."""
    return array[np.argsort(widen_array(array), kind="stable")]


def orders(op, shape, rng, *places):
    for dtype in ALL_DTYPES:
        yield Sample(op, (draw_mixed(rng, shape, dtype), *places))
    yield Sample(op, (rng.normal(size=shape).astype(np.float32), *places))
    yield Sample(op, (apart(rng, shape), *places), smooth=True)


@provides("sort")
def _sort(rng):
    for shape, axis in SORTED:
        yield from orders(op_class("sort")(axis), shape, rng)
        yield from orders(op_class("sort")(axis, True), shape, rng)


@provides("topk")
def _topk(rng):
    for shape, axis, k in CHOSEN:
        yield from orders(op_class("topk")(axis, k), shape, rng)
        yield from orders(op_class("topk")(axis, k, True), shape, rng)


@provides("order_statistic")
def _order_statistic(rng):
    for shape, axis, k in PICKED:
        places = rng.integers(-1, shape[axis] + 1, (*shape[:axis], k, *shape[axis + 1 :]))
        yield from orders(op_class("order_statistic")(axis), shape, rng, places)


@provides("searchsorted")
def _provide_searchsorted(rng):
    for size, shape in ((5, (7,)), (0, (3,)), (1, (2, 3)), (70, (33,)), (64, ()), (3, (0, 2))):
        for right in (False, True):
            op = op_class("searchsorted")(right)
            for dtype in NUMBERS:
                yield Sample(
                    op, (ascending(draw_mixed(rng, (size,), dtype)), draw_mixed(rng, shape, dtype))
                )
            row = np.sort(rng.normal(size=size))
            yield Sample(op, (row, rng.normal(size=shape)))


DTYPES = (F32, F64, I32)
#: Iterations, elements of a carry.
LOOPS = ((3, 4), (1, 1), (0, 3), (2, 0), (5, 2))


def recurrence(iterations, n, dtype, reverse):
    """c becomes c * p + x; the outputs are c - x * i, and c."""
    c, x, p = (
        variable(name, dtype, shape)
        for name, shape in (("c", (n,)), ("x", (iterations, n)), ("p", (n,)))
    )

    def iteration(i, carry, row):
        return carry * p + row, (carry - row * sg.astype(i, dtype), carry)

    numbers = sg.constant(np.arange(iterations))
    last, _ = sg.scan(lambda carry, pair: iteration(pair[0], carry, pair[1]), c, (numbers, x))
    op = last.node.op
    return type(op)(op.body, op.iterations, op.carries, op.slices, reverse)


def recurrence_arrays(op, c, i, x, p):
    """The same, by a loop of Python."""
    outs, carries = np.empty_like(x), np.empty_like(x)
    for t in reversed(range(len(x))) if op.reverse else range(len(x)):
        outs[t], carries[t] = c - x[t] * i[t].astype(x.dtype), c
        c = c * p + x[t]
    return c, outs, carries


def _loop(iterations, arrays, reverse, smooth=False):
    c, x, p = arrays
    dtype = {a.numpy: a for a in DTYPES}[c.dtype]
    op = recurrence(iterations, len(c), dtype, reverse)
    return Sample(op, (c, np.arange(iterations), x, p), smooth=smooth)


@provides("loop")
def _loops(rng):
    for iterations, n in LOOPS:
        for reverse in (False, True):
            for dtype in DTYPES:
                shapes = ((n,), (iterations, n), (n,))
                yield _loop(iterations, [count_up(shape, dtype) for shape in shapes], reverse)
            smooth = [apart(rng, shape) for shape in ((n,), (iterations, n), (n,))]
            yield _loop(iterations, smooth, reverse, smooth=True)
    for dtype in (F32, F64):
        every = [extraordinary(rng, shape, dtype) for shape in ((40,), (2, 40), (40,))]
        yield _loop(2, every, False)


@provides("while")
def _whiles(rng):
    for start in (0, 2, 3):
        for dtype in DTYPES:
            yield _while(start, count_up((4,), dtype), count_up((4,), dtype), None)
        yield _while(start, apart(rng, (3,)), apart(rng, (3,)), 3, smooth=True)
    yield _while(0, apart(rng, (3,)), apart(rng, (3,)), 2, smooth=True)
    for dtype in (F32, F64):
        yield _while(1, extraordinary(rng, (40,), dtype), extraordinary(rng, (40,), dtype), None)


def _while(start, c, p, most, smooth=False):
    dtype = {a.numpy: a for a in DTYPES}[c.dtype]
    number = variable("k", sg.int64, ())
    carry, factor = (variable(name, dtype, c.shape) for name in "cp")
    _, last = sg.while_loop(
        lambda state: state[0] < 3,
        lambda state: (state[0] + 1, state[1] * factor + 1),
        (number, carry),
        max_steps=most,
    )
    return Sample(last.node.op, (np.asarray(start), c, p), smooth=smooth)


def while_arrays(op, start, c, p):
    """The same, by a loop of Python."""
    done = 0
    while start + done < 3 and done != op.most:
        c, done = c * p + c.dtype.type(1), done + 1
    return np.asarray(start + done), c, np.asarray(done)


@provides("branch")
def _branches(rng):
    for index in (0, 1, 2, -1, 7):
        for dtype in DTYPES:
            yield _branch(index, count_up((2, 3), dtype), count_up((2, 3), dtype))
        yield _branch(index, apart(rng, (3,)), apart(rng, (3,)), smooth=True)
    for dtype in (F32, F64):
        for index in range(3):
            every = [extraordinary(rng, (40,), dtype) for _ in range(2)]
            yield _branch(index, *every)


def _branch(index, x, y, smooth=False):
    dtype = {a.numpy: a for a in DTYPES}[x.dtype]
    i, a, b = variable("i", sg.int64, ()), *(variable(n, dtype, x.shape) for n in "ab")
    value = sg.switch(i, [lambda: a * b, lambda: a + b * b, lambda: b - a])
    operands = [arg.node.label for arg in value.node.args]
    arrays = {"i": np.asarray(index), "a": x, "b": y}
    assert operands == ["i", "a", "b"]
    return Sample(value.node.op, tuple(arrays[name] for name in operands), smooth=smooth)


def branch_arrays(index, x, y):
    """The same, by a list."""
    return [x * y, x + y * y, y - x][min(max(int(index), 0), 2)]


def _rows(n, dtype, count):
    return [(np.arange(n) % 7 - 3 + k).astype(dtype.numpy) for k in range(count)]


def _loop_at(n):
    for dtype in (F32, F64):
        c, x, p = _rows(n, dtype, 3)
        yield _loop(2, (c, np.stack([x, p]), p), False)


def _while_at(n):
    yield _while(1, *_rows(n, F32, 2), None)


def _branch_at(n):
    yield _branch(1, *_rows(n, F32, 2))


declare("loop", "recurrence_arrays(op, *operands)", ("biuf",), _loop_at)
declare("while", "while_arrays(op, *operands)", ("biuf",), _while_at)
declare("branch", "branch_arrays(*operands)", ("i", "biuf"), _branch_at)
