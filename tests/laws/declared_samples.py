"""Each op as an expression of NumPy, its element types, and samples of it at a size.

Beside ``@provides`` an op needs a ``declare``: the expression of NumPy that it stands for (a test
evaluates it), the kinds of its operands unless its class says them, and, unless it is elementwise,
how it is applied to rows of n elements. ``completeness.py`` refuses an op that lacks any of it.
"""

from functools import partial

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import ALL_DTYPES, F32, F64, I64, U32, U64
from tests.laws.array_samples import ascending
from tests.laws.samples import Sample, declare

NUMBERS, ALL, WHOLE, BITS = "iuf", "biuf", "iu", "biu"

#: Elementwise ops: their classes say the kinds, and any size of them is tried as it is.
SPELLED = {
    "abs": "np.abs(x)",
    "acos": "np.arccos(x)",
    "acosh": "np.arccosh(x)",
    "add": "np.add(x, y)",
    "asin": "np.arcsin(x)",
    "asinh": "np.arcsinh(x)",
    "at_least": "np.maximum(x, y)",
    "at_most": "np.minimum(x, y)",
    "atan": "np.arctan(x)",
    "atan2": "np.arctan2(x, y)",
    "atanh": "np.arctanh(x)",
    "bit_and": "np.bitwise_and(x, y)",
    "bit_not": "np.invert(x)",
    "bit_or": "np.bitwise_or(x, y)",
    "bit_xor": "np.bitwise_xor(x, y)",
    "relu": "np.where(x <= 0, x.dtype.type(0), x)",
    "cbrt": "np.cbrt(x)",
    "ceil": "np.ceil(x)",
    "checkpoint": "np.positive(x) if x.dtype.kind != 'b' else x",
    "cos": "np.cos(x)",
    "cosh": "np.cosh(x)",
    "div": "np.divide(x, y)",
    "eq": "np.equal(x, y)",
    "erf": "scipy.special.erf(x)",
    "erfc": "scipy.special.erfc(x)",
    "exp": "np.exp(x)",
    "exp2": "np.exp2(x)",
    "expm1": "np.expm1(x)",
    "floor": "np.floor(x)",
    "flat_power": "flat(x, op)",
    "floor_divide": "np.floor_divide(x, y)",
    "fmod": "np.fmod(x, y)",
    "ge": "np.greater_equal(x, y)",
    "gt": "np.greater(x, y)",
    "hypot": "np.hypot(x, y)",
    "int_pow": "np.where(y < 0, inverse(x, y), np.power(x, np.maximum(y, 0)))",
    "integer_pow": "raise_to_power(x, op)",
    "le": "np.less_equal(x, y)",
    "left_shift": "np.left_shift(x, y)",
    "log": "np.log(x)",
    "log10": "np.log10(x)",
    "log1p": "np.log1p(x)",
    "log2": "np.log2(x)",
    "logaddexp": "np.logaddexp(x, y)",
    "logical_and": "np.logical_and(x, y)",
    "logical_not": "np.logical_not(x)",
    "logical_or": "np.logical_or(x, y)",
    "logical_xor": "np.logical_xor(x, y)",
    "lt": "np.less(x, y)",
    "maximum": "np.maximum(x, y)",
    "minimum": "np.minimum(x, y)",
    "mul": "np.multiply(x, y)",
    "ndtri": "scipy.special.ndtri(x)",
    "ne": "np.not_equal(x, y)",
    "neg": "np.negative(x)",
    "pow": "np.power(x, y)",
    "remainder": "np.remainder(x, y)",
    "right_shift": "np.right_shift(x, y)",
    "rint": "np.round(x)",
    "sigmoid": "scipy.special.expit(x)",
    "sign": "np.sign(x)",
    "signbit": "np.signbit(x)",
    "sin": "np.sin(x)",
    "sinh": "np.sinh(x)",
    "sqrt": "np.sqrt(x)",
    "stop_gradient": "np.positive(x) if x.dtype.kind != 'b' else x",
    "sub": "np.subtract(x, y)",
    "tan": "np.tan(x)",
    "tanh": "np.tanh(x)",
    "trunc": "np.trunc(x)",
    "xlogy": "scipy.special.xlogy(x, y)",
}
for _name, _text in SPELLED.items():
    declare(_name, _text)
for _name in ("again", "checkpoint_name"):
    declare(_name, "np.positive(x) if x.dtype.kind != 'b' else x")
declare("cast", "x.astype(op.dtype.numpy)")
declare("bitcast", "x.view(op.dtype.numpy)")
declare("where", "np.where(x, y, z)", kinds=("b", ALL, ALL))
declare("multiply_add", "no function of NumPy rounds a product and a sum once", kinds=("f",) * 3)


def _rows(n, dtype, rows=3):
    """Whole numbers of mixed sign, each telling its place: exact in every order of sums."""
    count = np.arange(rows * n).reshape(rows, n)
    return ((count * 7 + 3) % 23 - 11).astype(dtype.numpy)


def _for_floats(make):
    def at_size(n):
        for dtype in (F32, F64):
            yield from make(n, dtype)

    return at_size


def _reductions(name):
    def make(n, dtype):
        cls, x = op_class(name), _rows(n, dtype)
        samples = [Sample(cls((0,)), (x,))]
        if n or name == "sum":
            samples += [Sample(cls(axes), (x,)) for axes in ((1,), (0, 1))]
            samples += [Sample(cls((0,)), (np.ascontiguousarray(x.T),))]
        return samples

    return _for_floats(make)


declare("sum", "np.sum(x, op.axes, dtype=x.dtype)", (NUMBERS,), _reductions("sum"))
declare("max", "np.max(x, op.axes)", (ALL,), _reductions("max"))
declare("min", "np.min(x, op.axes)", (ALL,), _reductions("min"))


def _bits(name):
    cls = op_class(name)

    def at_size(n):
        for dtype in ALL_DTYPES:
            if dtype.kind in BITS:
                x = _rows(n, dtype)
                yield from (Sample(cls(axes), (x,)) for axes in ((0,), (1,), (0, 1)))
                yield Sample(cls((0,)), (np.ascontiguousarray(x.T),))

    return at_size


for _name in ("and", "or", "xor"):
    _reduced = f"reduce_{_name}"
    declare(_reduced, f"np.bitwise_{_name}.reduce(x, op.axes)", (BITS,), _bits(_reduced))


def _running(name, operands=1):
    def make(n, dtype):
        cls = op_class(name)
        signs = np.where(_rows(n, dtype) > 0, 1, -1).astype(dtype.numpy)
        x = _rows(n, dtype) if name == "cumsum" else signs
        return [
            Sample(cls(axis), (a,) * operands)
            for axis, a in ((1, x), (0, np.ascontiguousarray(x.T)))
        ]

    return _for_floats(make)


declare("cumsum", "np.cumsum(x, op.axis, dtype=x.dtype)", (NUMBERS,), _running("cumsum"))
declare("cumprod", "np.cumprod(x, op.axis, dtype=x.dtype)", (NUMBERS,), _running("cumprod"))
declare("linear_scan", "scan_linear(x, y, op.axis)", (NUMBERS, NUMBERS), _running("linear_scan", 2))


def _movements(n, dtype):
    """Movement ops on rows of n elements."""
    x = _rows(n, dtype)
    slices = [((0, 0), (3, n), (1, 1)), ((2, max(n - 1, 0)), (3, n), (-1, -1))]
    slices += [((0, n // 3), (2, n - n // 3), (2, 1)), ((1, 0), (2, (n + 1) // 2), (1, 2))]
    return {
        "reshape": [
            Sample(op_class("reshape")(shape), (x,)) for shape in ((3 * n,), (n, 3), (3, 1, n))
        ],
        "transpose": [Sample(op_class("transpose")((1, 0)), (x,))],
        "broadcast": [
            Sample(op_class("broadcast")((4, 3, n), (1, 2)), (x,)),
            Sample(op_class("broadcast")((3, n), (0, 1)), (x[:, :1].repeat(1, 1),)) if n else
            Sample(op_class("broadcast")((3, 0), (0,)), (np.ones(3, dtype.numpy),)),
            Sample(op_class("broadcast")((n, 3), (1,)), (np.arange(3).astype(dtype.numpy),)),
        ],
        "slice": [Sample(op_class("slice")(*args), (x,)) for args in slices],
        "pad": [
            Sample(op_class("pad")((5, 2 * n + 3), (1, 2), (1, 1)), (x,)),
            Sample(op_class("pad")((5, 2 * n + 3), (4, 2 * n + 1), (-1, -2)), (x,)),
        ],
        "concat": [
            Sample(op_class("concat")(1), (x, x[:, : n // 2], x)),
            Sample(op_class("concat")(0), (x, x[:1])),
        ],
    }  # fmt: skip


def _of(name):
    return _for_floats(lambda n, dtype: _movements(n, dtype)[name])


declare("reshape", "np.reshape(x, op.shape)", (ALL,), _of("reshape"))
declare("transpose", "np.transpose(x, op.perm)", (ALL,), _of("transpose"))
declare("broadcast", "np.broadcast_to(align_axes(x, op), op.shape)", (ALL,), _of("broadcast"))
declare("slice", "x[keys(op.starts, op.lengths, op.steps)]", (ALL,), _of("slice"))
declare("pad", "pad_zeros(x, op)", (ALL,), _of("pad"))
declare("concat", "np.concatenate(operands, op.axis)", (ALL,), _of("concat"))


def _index_samples(name):
    def make(n, dtype):
        x, cls = _rows(max(n, 1), dtype), op_class(name)
        places = (np.arange(n) * 5) % max(n, 1) - (n > 2)
        table = np.broadcast_to(places, (3, n)).copy()
        if name == "take":
            return [
                Sample(cls(1), (x, places)),
                Sample(cls(0), (x, places % 3)),
                Sample(cls(0), (np.ascontiguousarray(x.T), places)),
            ]
        if name == "take_along":
            return [Sample(cls(1), (x, table)), Sample(cls(0), (x[:, :n], table % 3))]
        if name == "scatter_add":
            return [
                Sample(cls(1, max(n, 1)), (x[:, :n], places)),
                Sample(cls(0, 3), (np.ascontiguousarray(x.T[:n]), places % 3)),
            ]
        if name == "scatter_extreme":
            return [
                Sample(cls("max", 1, max(n, 1)), (x[:, :n], places)),
                Sample(cls("min", 0, 3), (np.ascontiguousarray(x.T[:n]), places % 3)),
            ]
        if name == "index_copy":
            return [
                Sample(cls(1), (x[:, :n], places, x + x)),
                Sample(cls(0), (np.ascontiguousarray(x.T[:n]), places % 3, (x + x).T[:3].copy())),
            ]
        return [
            Sample(cls(1, max(n, 1)), (x[:, :n], table)),
            Sample(cls(0, 3), (x[:, :n], table % 3)),
        ]

    return _for_floats(make)


declare("take", "np.take(x, y, op.axis)", (ALL, WHOLE), _index_samples("take"))
declare(
    "take_along",
    "np.take_along_axis(x, y.astype(int), op.axis)",
    (ALL, WHOLE),
    _index_samples("take_along"),
)
declare(
    "scatter_add", "scatter_by_numpy(x, y, op)", (NUMBERS, WHOLE), _index_samples("scatter_add")
)
declare("scatter_extreme", "extremes(x, y, op)", (ALL, WHOLE), _index_samples("scatter_extreme"))
declare("index_copy", "write_entries(x, y, z, op)", (ALL, WHOLE, ALL), _index_samples("index_copy"))
declare(
    "scatter_along", "scattered_along(x, y, op)", (NUMBERS, WHOLE), _index_samples("scatter_along")
)


def _product(n, dtype):
    cls, x = op_class("matmul"), _rows(n, dtype)
    batch = np.stack([x, x[::-1]])
    return [
        Sample(cls(False, True), (x, x)),
        Sample(cls(True, False), (x[:, :9], x)),
        Sample(cls(), (batch[:, :, :9], np.ascontiguousarray(x[:, :9].T))),
    ]


_PRODUCT = "np.matmul(transpose(x, op.transpose_a), transpose(y, op.transpose_b))"
declare("matmul", _PRODUCT, (NUMBERS, NUMBERS), _for_floats(_product))


def _panels(n, dtype):
    x = _rows(n, dtype)
    batch = np.stack([x.T, x.T[:, ::-1]])
    return [Sample(op_class("panel_matmul")(), (x, np.ascontiguousarray(batch)))]


_IN_PANELS = "np.matmul(x, np.concatenate(y, axis=1))"
declare("panel_matmul", _IN_PANELS, (NUMBERS, NUMBERS), _for_floats(_panels))


def _mark_samples(n, dtype, name, rule):
    return [Sample(op_class(name)(rule), (_rows(n, dtype), _rows(n, F64, 1)))]


for _mark, _rule in (("custom_vjp", "tests.nothing"), ("custom_jvp", "tests.no_tangent")):
    _samples = _for_floats(partial(_mark_samples, name=_mark, rule=_rule))
    declare(_mark, "x", (ALL, ALL), _samples, fixed=(0,))


def _recomputation(n, dtype):
    x, y = _rows(n, dtype), _rows(n, F64, 1)
    return [Sample(op_class("recomputed")(saved), (x, y)) for saved in (0, 1)]


declare("recomputed", "x", (ALL, ALL), _for_floats(_recomputation), refused=(1,))


def _iota(n):
    for dtype in (F32, F64, I64):
        yield Sample(op_class("iota")((3, n), 1, dtype), ())
        yield Sample(op_class("iota")((n, 3), 0, dtype), ())


def _drawn(n):
    for shape in ((n,), (3, n), (n, 2)):
        for dtype in (U32, U64):
            yield Sample(op_class("random_bits")(shape, dtype, 0, 0), (np.uint64(5), np.uint64(9)))


def _sizes(n):
    yield Sample(op_class("size")(n, I64), ())


declare("iota", "count_up(op)", (), _iota)
_PHILOX = "no NumPy function: Philox, compared with its definition in test_random.py"
declare("random_bits", _PHILOX, ("u", "u"), _drawn)
declare("size", "np.asarray(op.dim, op.dtype.numpy)", (), _sizes)


def _sorts(n, dtype):
    x = _rows(n, dtype)
    return [
        *(Sample(op_class("sort")(1, down), (x,)) for down in (False, True)),
        Sample(op_class("sort")(0), (np.ascontiguousarray(x.T),)),
    ]


def _topk(n, dtype):
    ks = dict.fromkeys((min(1, n), n // 2, n))
    return [Sample(op_class("topk")(1, k), (_rows(n, dtype),)) for k in ks]


def _pick_places(n, dtype):
    x = _rows(max(n, 1), dtype)
    indices = np.arange(3 * len(x)).reshape(-1, 3) % (n + 2) - 1
    return [Sample(op_class("order_statistic")(1), (x, indices))]


def _sought(n, dtype):
    row, asked = ascending(_rows(n, dtype, 1)[0]), _rows(9, dtype)
    cls = op_class("searchsorted")
    return [
        Sample(cls(right), pair)
        for right in (False, True)
        for pair in ((row, asked), (asked[0, :0], row))
    ]


declare("sort", "sort_elements(x, op)", (ALL,), _for_floats(_sorts))
declare("topk", "sort_elements(x, op)", (ALL,), _for_floats(_topk))
declare("order_statistic", "pick_elements(x, y, op)", (ALL,), _for_floats(_pick_places))
_SEARCH = "np.searchsorted(x, y, 'right' if op.right else 'left')"
declare("searchsorted", _SEARCH, (NUMBERS, NUMBERS), _for_floats(_sought))
