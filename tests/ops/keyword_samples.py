"""Sample values for every parameter of every NumPy function that is covered.

A base call for each function, values for each parameter, and whole calls where a parameter alone
says nothing. How they are tried stands in ``keyword_calls.py``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

RANDOM: Final = np.random.default_rng(7)
A: Final = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])
B: Final = np.array([[1.5, 0.75, -2.0], [0.5, 1.25, 3.0]])
NAN: Final = np.array([[0.5, np.nan, 2.0], [1.5, 0.25, -0.75]])
V: Final = np.array([0.5, 2.0, 3.5, 1.0])
ROWS: Final = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
SQUARE: Final = RANDOM.normal(size=(3, 3))
DEEP: Final = RANDOM.normal(size=(2, 3, 4))
INTS: Final = np.array([5, 3, 6, 1])
MASK: Final = np.array([[True, False, True], [True, True, False]])
WHICH: Final = np.array([0, 1, 1, 0])
#: Functions of no array: called as ``sg.f``.
CREATION: Final = (
    "arange",
    "eye",
    "full",
    "identity",
    "ones",
    "tri",
    "zeros",
    "linspace",
    "logspace",
    "geomspace",
)

#: Function -> the operands of a call. Arrays become values; all else stays as it is.
BASES: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(
        (
            "nancumprod",
            "nancumsum",
            "nanmax",
            "nanmean",
            "nanmedian",
            "nanmin",
            "nanprod",
            "nanstd",
            "nansum",
            "nanvar",
            "nan_to_num",
        ),
        (NAN,),
    ),
    **dict.fromkeys(
        (
            "allclose",
            "array_equal",
            "array_equiv",
            "isclose",
            "append",
            "kron",
            "outer",
            "vdot",
            "broadcast_arrays",
            "inner",
        ),
        (A, B),
    ),
    **dict.fromkeys(
        (
            "concat",
            "concatenate",
            "stack",
            "hstack",
            "vstack",
            "row_stack",
            "dstack",
            "column_stack",
        ),
        ([A, B],),
    ),
    **dict.fromkeys(("hsplit",), (A, 3)),
    **dict.fromkeys(("split", "array_split", "vsplit"), (A, 2)),
    **dict.fromkeys(("sort", "argsort", "argmax", "argmin"), (A,)),
    **dict.fromkeys(("partition", "argpartition"), (V, 2)),
    **dict.fromkeys(("quantile", "nanquantile"), (A, 0.4)),
    **dict.fromkeys(("percentile", "nanpercentile"), (A, 40)),
    **dict.fromkeys(("diagonal", "trace", "tril", "triu", "diag", "matrix_transpose"), (SQUARE,)),
    **dict.fromkeys(("full_like",), (A, 2.5)),
    **dict.fromkeys(("histogram", "histogram_bin_edges", "ediff1d", "unwrap"), (V,)),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), (V,)),
    **dict.fromkeys(("zeros", "ones"), ((2, 3),)),
    "arange": (2, 9),
    "astype": (A, "float64"),
    "average": (A,),
    "block": ([[A, B], [B, A]],),
    "broadcast_to": (A, (4, 2, 3)),
    "choose": (WHICH, [V, V + 1]),
    "clip": (A, 0.0, 1.0),
    "corrcoef": (ROWS,),
    "cov": (ROWS,),
    "count_nonzero": (np.array([[1.0, 0.0], [2.0, 3.0]]),),
    "cross": (ROWS, B),
    "diff": (A,),
    "digitize": (V, [0.0, 1.5, 3.0]),
    "dot": (A, SQUARE),
    "dsplit": (DEEP, 2),
    "einsum": ("ij,jk->ik", A, SQUARE),
    "expand_dims": (A, 0),
    "eye": (3,),
    "full": ((2, 3), 2.5),
    "geomspace": (1.0, 8.0),
    "gradient": (A,),
    "identity": (3,),
    "isin": (INTS, [5, 1, 9]),
    "lexsort": ([INTS, V],),
    "linspace": (0.0, 3.0),
    "logspace": (0.0, 2.0),
    "meshgrid": (V, INTS),
    "moveaxis": (DEEP, 0, 2),
    "pad": (A, 1),
    "piecewise": (V, [[True, False, True, False]], [2.0, 3.0]),
    "repeat": (A, 2),
    "reshape": (A, (3, 2)),
    "roll": (A, 1),
    "searchsorted": (np.sort(V), [0.7, 2.0]),
    "select": ([WHICH > 0, V > 1.0], [V, INTS]),
    "swapaxes": (DEEP, 0, 2),
    "take": (A, [0, 1]),
    "take_along_axis": (A, np.array([[0, 2], [1, 1]])),
    "tensordot": (A, B),
    "tile": (A, 2),
    "trapezoid": (A,),
    "tri": (3,),
    "where": (MASK, A, B),
    "matmul": (A, SQUARE),
    "matvec": (SQUARE, A),
    "vecmat": (A, SQUARE),
    "vecdot": (A, B),
    "rot90": (A,),
    "unstack": (A,),
    "squeeze": (A[None],),
}

SIGNATURES: Final = [
    "d->d",
    "dd->d",
    "d->?",
    "dd->?",
    "l->l",
    "ll->l",
    "ll->?",
    "l->?",
    "?->?",
    "dd->dd",
    "(n,k),(k)->(n)",
]
#: Parameter -> sample values; the first is what NumPy has by default, or near it.
VALUES: Final[dict[str, list[Any]]] = {
    "axis": [0, -1, None, (0, 1)],
    "axes": [(1, 0), [(0, 1), (0, 1), (0, 1)], 1],
    "keepdims": [True],
    "where": [True, MASK],
    "initial": [2.0],
    "dtype": ["float64", "float32", "int32", "bool"],
    "ddof": [1, 0.5],
    "correction": [1],
    "mean": [np.array([[0.25]])],
    "order": ["C", "K", "F", None],
    "stable": [True, False],
    "subok": [True, False],
    "copy": [True, False],
    "device": ["cpu"],
    "casting": ["same_kind", "unsafe"],
    "signature": SIGNATURES,
    "overwrite_input": [True],
    "method": ["lower", "higher", "midpoint", "nearest", "hazen"],
    "assume_unique": [True],
    "kind": ["stable", "introselect", "quicksort", "mergesort"],
    "equal_nan": [True],
    "rtol": [0.5],
    "atol": [2.0],
    "n": [0, 2],
    "prepend": [A, 3.0],
    "append": [A, 3.0],
    "k": [1, -1],
    "decimals": [1, -1],
    "nan": [3.0],
    "posinf": [4.0],
    "neginf": [-4.0],
    "offset": [1],
    "axis1": [1],
    "axis2": [0],
    "rowvar": [False],
    "bias": [True],
    "returned": [True],
    "shape": [(3, 2)],
    "M": [4],
    "endpoint": [False],
    "retstep": [True],
    "num": [0, 1, 7],
    "base": [2.0],
    "indexing": ["ij"],
    "sparse": [True],
    "optimize": [True, "greedy", "optimal"],
    "edge_order": [2],
    "include_initial": [True],
    "dx": [0.5],
    "period": [2.0],
    "discont": [4.0],
    "side": ["right"],
    "sorter": [np.array([0, 1, 2, 3])],
    "right": [True],
    "invert": [True],
    "density": [True, None],
    "bins": [4, [0.0, 1.0, 4.0]],
    "range": [(0.0, 3.0)],
    "default": [1.5],
    "step": [2, 0.25],
    "stop": [4.5],
    "to_end": [9.0, [8.0, 9.0]],
    "to_begin": [9.0],
    "mode": ["clip", "wrap", "raise"],
    "a_min": [-1.0],
    "a_max": [1.5],
    "min": [-1.0],
    "max": [1.5],
    "axisa": [0],
    "axisb": [0],
    "axisc": [0],
    "like": [A],
    "y": [B],
    "args": [],
    "kw": [],
}

PAD_MODES: Final = (
    "constant",
    "edge",
    "reflect",
    "symmetric",
    "wrap",
    "linear_ramp",
    "maximum",
    "minimum",
    "mean",
    "median",
    "empty",
)
_EXTREME: Final = ("max", "min", "amax", "amin", "nanmax", "nanmin")
#: (function, parameter) -> keyword arguments of whole calls, where it alone says nothing.
CALLS: Final[dict[tuple[str, str], list[dict[str, Any]]]] = {
    **{
        (f, "where"): [{"where": MASK, "initial": -3.0}, {"where": MASK, "initial": 9.0}]
        for f in _EXTREME
    },
    **{
        (f, "weights"): [{"weights": np.abs(B), "method": "inverted_cdf"}]
        for f in ("quantile", "nanquantile", "percentile", "nanpercentile")
    },
    ("average", "weights"): [
        {"weights": B},
        {"weights": [1.0, 3.0], "axis": 0},
        {"weights": B.T, "axis": (1, 0)},
        {"weights": [1.0, 2.0, 3.0], "axis": 1, "keepdims": True},
    ],
    ("average", "returned"): [
        {"returned": True},
        {"returned": True, "weights": B, "axis": 1},
        {"returned": True, "axis": 0, "keepdims": True},
    ],
    ("cov", "fweights"): [{"fweights": np.array([1, 3, 2])}, {"fweights": [2, 1, 1], "ddof": 0}],
    ("cov", "aweights"): [
        {"aweights": np.array([0.5, 1.0, 2.0])},
        {"aweights": [0.5, 1.0, 2.0], "fweights": [1, 3, 2], "bias": True},
    ],
    ("histogram", "weights"): [{"weights": np.array([1.0, 2.0, 0.5, 3.0])}],
    ("histogram_bin_edges", "weights"): [{"weights": np.array([1.0, 2.0, 0.5, 3.0])}],
    ("pad", "mode"): [{"mode": mode} for mode in PAD_MODES],
    ("pad", "kwargs"): [
        {"constant_values": 2.0},
        {"constant_values": ((1.0, 2.0), (3.0, 4.0))},
        {"mode": "linear_ramp", "end_values": (3.0, -2.0)},
        {"mode": "mean", "stat_length": 2},
        {"mode": "maximum", "stat_length": ((1, 2), (2, 1))},
        {"mode": "median", "stat_length": 1},
        {"mode": "reflect", "reflect_type": "odd"},
        {"mode": "reflect", "reflect_type": "even"},
    ],
    ("diff", "prepend"): [{"prepend": p, "axis": a} for p, a in ((A, 0), (A[:, :1], 1), (3.0, 1))],
    ("diff", "append"): [{"append": p, "axis": a, "n": 2} for p, a in ((A, 0), (A[:, :1], 1))],
    ("trapezoid", "x"): [{"x": np.array([0.0, 1.0, 3.0])}, {"x": B}],
    ("matmul", "axes"): [{"axes": [(-2, -1), (-2, -1), (0, 1)]}],
    ("matvec", "axes"): [{"axes": [(-2, -1), -1, -1]}],
    ("vecdot", "axes"): [{"axes": [0, 0, ()]}],
    ("vecmat", "axes"): [{"axes": [-1, (-2, -1), -1]}],
    ("isin", "kind"): [{"kind": "sort"}],
    ("gradient", "edge_order"): [{"edge_order": 2, "axis": 1}],
    ("cross", "axis"): [{"axis": 1}],
    ("cross", "axisa"): [{"axisa": 1}],
    ("cross", "axisb"): [{"axisb": 1}],
    **{
        (f, word): [{"axis1": 1, "axis2": 0}]
        for f in ("diagonal", "trace")
        for word in ("axis1", "axis2")
    },
    ("gradient", "varargs"): [],
    ("take", "mode"): [],
    ("choose", "mode"): [],
    ("rot90", "axes"): [{"axes": (1, 0)}],
    ("rot90", "k"): [{"k": k} for k in (0, 2, 3, -1)],
    ("tensordot", "axes"): [{"axes": ([1, 0], [1, 0])}],
    ("clip", "kwargs"): [{"dtype": "float32"}],
    ("einsum", "kwargs"): [{"dtype": "float64"}, {"casting": "unsafe"}, {"order": "C"}],
    ("unstack", "axis"): [{"axis": 1}],
    ("squeeze", "axis"): [{"axis": 0}, {"axis": None}],
    ("full", "dtype"): [{"dtype": "float64"}],
    ("like", "like"): [],
}
#: Whole calls beside the base: operands and keyword arguments, for what depends on both.
FURTHER: Final[dict[tuple[str, str], list[tuple[tuple[Any, ...], dict[str, Any]]]]] = {
    ("take", "mode"): [((V, [-5, 1, 9]), {"mode": m}) for m in ("clip", "wrap")]
    + [((A, [[1, -4], [7, 0]], 1), {"mode": "wrap"})],
    ("choose", "mode"): [
        ((np.array([-1, 0, 5, 1]), [V, V + 1]), {"mode": m}) for m in ("clip", "wrap")
    ]
    + [((WHICH, [V, V + 1]), {"mode": "raise"})],
    ("linspace", "axis"): [((V, 2.0, 5), {"axis": -1}), ((A, B, 3), {"axis": 1})],
    ("logspace", "axis"): [((V, 2.0, 5), {"axis": -1})],
    ("geomspace", "axis"): [((V, 2 * V, 5), {"axis": 1})],
    ("arange", "step"): [
        ((0.0, 1.0, 0.1), {}),
        ((1, 0, -0.25), {}),
        ((5, 0, -2), {}),
        ((0.5, 4), {}),
    ],
    ("gradient", "varargs"): [((A, 0.5), {}), ((A, 0.5, [0.0, 1.0, 3.0]), {})],
    ("cross", "axis"): [((A.T, B.T), {"axis": 0})],
    ("cross", "axisa"): [((A.T, B), {"axisa": 0})],
    ("cross", "axisb"): [((A, B.T), {"axisb": 0})],
    ("einsum", "operands"): [
        ((A, [0, 1], SQUARE, [1, 2], [0, 2]), {}),
        ((A, [3, 1]), {}),
        ((DEEP, [..., 0], [0, ...]), {}),
    ],
    ("tensordot", "axes"): [((A, SQUARE), {"axes": 1}), ((A, SQUARE), {"axes": ([1], [0])})],
    ("kron", "b"): [((A, V), {}), ((V, DEEP), {})],
    ("dot", "b"): [((DEEP, np.ones((4, 2))), {}), ((A, DEEP), {}), ((DEEP, V), {})],
    ("pad", "pad_width"): [
        ((A, {1: (2, 1)}), {}),
        ((A, ((0, 1), (2, 0))), {"mode": "wrap"}),
        ((A, 5), {"mode": "reflect"}),
        ((A, 5), {"mode": "symmetric"}),
        ((A, ((3, 4),)), {"mode": "edge"}),
    ],
    ("atleast_1d", "arys"): [((V, 1.0), {})],
    ("atleast_2d", "arys"): [((V, 1.0), {})],
    ("atleast_3d", "arys"): [((V, 1.0), {})],
    ("reshape", "order"): [((DEEP, (4, -1)), {"order": "F"})],
    ("ravel", "order"): [((DEEP,), {"order": "F"})],
    ("clip", "a_min"): [
        ((A,), {"a_min": 0.0, "a_max": None}),
        ((A,), {"a_min": 0.0, "a_max": 1.0}),
    ],
    ("clip", "a_max"): [((A,), {"a_min": None, "a_max": 1.0})],
    ("clip", "min"): [((A,), {"min": 0.0})],
    ("clip", "max"): [((A,), {"max": 1.0})],
    ("broadcast_to", "subok"): [((A, (2, 2, 3)), {"subok": True})],
}
