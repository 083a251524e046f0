"""Every parameter of NumPy's functions, tried on values: what a sample is, and how it is judged.

NumPy says in float64 what a call gives; values must give the same, or refuse with a code and the
parameter's name. What NumPy itself refuses for its own reasons is not a sample, but each parameter
must have one.
"""

import inspect
import itertools
import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.eager.tensor import WithArray
from staticgrad.errors import StaticgradError
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.value import Value

RANDOM = np.random.default_rng(7)
A = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])
B = np.array([[1.5, 0.75, -2.0], [0.5, 1.25, 3.0]])
NAN = np.array([[0.5, np.nan, 2.0], [1.5, 0.25, -0.75]])
V = np.array([0.5, 2.0, 3.5, 1.0])
ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
SQUARE = RANDOM.normal(size=(3, 3))
DEEP = RANDOM.normal(size=(2, 3, 4))
INTS = np.array([5, 3, 6, 1])
MASK = np.array([[True, False, True], [True, True, False]])
WHICH = np.array([0, 1, 1, 0])


def words(text):
    """The words of a text, one by one."""
    return text.split()


#: Functions of no array: called as ``sg.f``.
CREATION = words("arange eye full identity ones tri zeros linspace logspace geomspace")

#: Function -> the operands of a call. Arrays become values; all else stays as it is.
BASES = {
    **dict.fromkeys(
        words(
            "nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanprod"
            " nanstd nansum nanvar nan_to_num"
        ),
        (NAN,),
    ),
    **dict.fromkeys(
        words(
            "allclose array_equal array_equiv isclose append kron outer vdot broadcast_arrays inner"
        ),
        (A, B),
    ),
    "compress": (WHICH == 0, V),
    "extract": (MASK, A),
    **dict.fromkeys(
        words("concat concatenate stack hstack vstack row_stack dstack column_stack"),
        ([A, B],),
    ),
    **dict.fromkeys(("split", "array_split", "vsplit"), (A, 2)),
    "hsplit": (A, 3),
    "dsplit": (DEEP, 2),
    "digitize": (V, [0.0, 1.5, 3.0]),
    "insert": (V, 1, 7.5),
    "logspace": (0.0, 2.0),
    "geomspace": (1.0, 8.0),
    "rot90": (A,),
    "tri": (3,),
    "vander": (V,),
    **dict.fromkeys(words("bartlett blackman hamming hanning"), (5,)),
    "kaiser": (5, 2.5),
    **dict.fromkeys(words("gcd lcm"), (INTS, 4)),
    "bitwise_count": (INTS,),
    "ldexp": (A, np.array([1, -2, 0])),
    **dict.fromkeys(words("frexp modf spacing"), (A,)),
    "delete": (V, [0, 2]),
    "rollaxis": (DEEP, 2),
    **{name: (INTS, [3, 6, 8]) for name in words("intersect1d setdiff1d setxor1d union1d")},
    "histogram2d": (V, V[::-1].copy()),
    "histogramdd": (A.T,),
    "matvec": (A, B[0]),
    "vecmat": (B[0], SQUARE),
    "poly": (V,),
    **dict.fromkeys(words("polyadd polysub polymul"), (V, B[0])),
    **dict.fromkeys(words("polyder polyint roots"), (V,)),
    "polyfit": (V, INTS * 0.5, 2),
    "tril_indices": (3,),
    "triu_indices": (3,),
    "diag_indices": (3,),
    "indices": ((2, 3),),
    **dict.fromkeys(words("tril_indices_from triu_indices_from"), (SQUARE,)),
    "mask_indices": (3, np.triu),
    "ix_": ([0, 1], [1, 2]),
    "apply_along_axis": (lambda row: row[::-1] * 2.0, 0, A),
    "apply_over_axes": (np.sum, DEEP, [0, 2]),
    "fromfunction": (lambda i, j: i + 10.0 * j, (2, 3)),
    "unravel_index": (np.array([3, 5]), (2, 3)),
    "ravel_multi_index": ((np.array([0, 1]), np.array([2, 1])), (2, 3)),
    **dict.fromkeys(("partition", "argpartition"), (V, 2)),
    "bincount": (INTS, None, 8),
    "choose": (WHICH, [V, V + 1]),
    "lexsort": ((INTS, V),),
    "piecewise": (V, [[True, False, True, False]], [2.0, 3.0]),
    **dict.fromkeys(("sort", "argsort", "argmax", "argmin"), (A,)),
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
    "clip": (A, 0.0, 1.0),
    "convolve": (V, [1.0, 2.0]),
    "corrcoef": (ROWS,),
    "correlate": (V, [1.0, 2.0]),
    "cov": (ROWS,),
    "count_nonzero": (np.array([[1.0, 0.0], [2.0, 3.0]]),),
    "cross": (ROWS, B),
    "diff": (A,),
    "dot": (A, SQUARE),
    "einsum": ("ij,jk->ik", A, SQUARE),
    "expand_dims": (A, 0),
    "eye": (3,),
    "full": ((2, 3), 2.5),
    "gradient": (A,),
    "identity": (3,),
    "interp": ([0.5, 1.7, 9.0, -1.0], [0.0, 1.0, 3.0], [2.0, 5.0, 1.0]),
    "isin": (INTS, [5, 1, 9]),
    "linspace": (0.0, 3.0),
    "meshgrid": (V, INTS),
    "moveaxis": (DEEP, 0, 2),
    "pad": (A, 1),
    "polyval": ([2.0, -1.0, 3.0], A),
    "repeat": (A, 2),
    "reshape": (A, (3, 2)),
    "resize": (A, (4, 2)),
    "roll": (A, 1),
    "searchsorted": (np.sort(V), [0.7, 2.0]),
    "select": ([WHICH > 0, V > 1.0], [V, INTS]),
    "swapaxes": (DEEP, 0, 2),
    "take": (A, [0, 1]),
    "take_along_axis": (A, np.array([[0, 2], [1, 1]])),
    "tensordot": (A, B),
    "tile": (A, 2),
    "trapezoid": (A,),
    "where": (MASK, A, B),
    "matmul": (A, SQUARE),
    "vecdot": (A, B),
    "unstack": (A,),
    "squeeze": (A[None],),
}

SIGNATURES = [
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
    "(n),(n,m)->(m)",
    "l->B",
    "d->di",
    "d->dd",
    "dl->d",
]
#: Parameter -> sample values; the first is what NumPy has by default, or near it.
VALUES = {
    "axis": [0, -1, None, (0, 1)],
    "axes": [(1, 0), [(0, 1), (0, 1), (0, 1)], 1],
    "keepdims": [True],
    "where": [True, MASK],
    "initial": [2.0],
    "dtype": ["float64", "float32", "int32", "bool"],
    "ddof": [1, 0.5],
    "deg": [True, False],
    "correction": [1],
    "mean": [np.array([[0.25]])],
    "order": ["C", "K", "F", None],
    "stable": [True, False],
    "descending": [True, False, None],
    "subok": [True, False],
    "copy": [True, False],
    "device": ["cpu"],
    "casting": ["same_kind", "unsafe"],
    "signature": SIGNATURES,
    "overwrite_input": [True],
    "method": ["lower", "higher", "midpoint", "nearest", "hazen"],
    "assume_unique": [True],
    "return_indices": [True],
    "sorted": [True],
    **{key: [True, False] for key in words("return_index return_inverse return_counts")},
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
    "N": [2],
    "increasing": [True],
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

PAD_MODES = words("constant edge reflect symmetric wrap")
_EXTREME = ("max", "min", "amax", "amin", "nanmax", "nanmin")
#: (function, parameter) -> keyword arguments of whole calls, where it alone says nothing.
CALLS = {
    ("apply_along_axis", "kwargs"): [{}],
    ("fromfunction", "kwargs"): [{"dtype": int}],
    ("bitwise_count", "dtype"): [{"dtype": "uint8"}],
    ("diag_indices", "ndim"): [{"ndim": 3}],
    ("matvec", "axes"): [{"axes": [(-2, -1), -1, -1]}],
    ("vecmat", "axes"): [{"axes": [-1, (-2, -1), -1]}],
    ("histogram2d", "weights"): [{"weights": np.array([1.0, 2.0, 0.5, 3.0])}],
    ("histogram2d", "range"): [{"range": [(0.0, 3.0), (1.0, 3.0)]}],
    ("histogram2d", "bins"): [{"bins": 4}, {"bins": [3, [0.0, 1.0, 4.0]]}],
    ("histogramdd", "weights"): [{"weights": np.array([1.0, 2.0, 0.5])}],
    ("histogramdd", "range"): [{"range": [(0.0, 3.0), (-2.0, 3.0)]}],
    ("histogramdd", "bins"): [{"bins": 4}, {"bins": [3, [0.0, 1.0, 4.0]]}],
    ("polyder", "m"): [{"m": 0}, {"m": 2}],
    ("polyint", "m"): [{"m": 2}],
    ("polyint", "k"): [{"k": 3.0}, {"k": [1.0, 2.0], "m": 2}],
    ("polyfit", "rcond"): [{"rcond": 1e-3}],
    ("polyfit", "w"): [{"w": np.array([1.0, 2.0, 0.5, 3.0])}],
    ("polyfit", "cov"): [{"cov": True}, {"cov": "unscaled"}],
    ("polyfit", "full"): [{"full": False}],
    ("rollaxis", "start"): [{"start": k} for k in (1, 3, -1)],
    **{(f, "m"): [{"m": 4}] for f in ("tril_indices", "triu_indices")},
    ("ravel_multi_index", "mode"): [{"mode": "wrap"}, {"mode": ("clip", "raise")}],
    ("unravel_index", "order"): [{"order": "F"}],
    ("ravel_multi_index", "order"): [{"order": "F"}],
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
    ("cov", "fweights"): [{"fweights": np.array([1, 3, 2])}, {"fweights": [2, 1, 1], "ddof": 0}],
    ("cov", "aweights"): [
        {"aweights": np.array([0.5, 1.0, 2.0])},
        {"aweights": [0.5, 1.0, 2.0], "fweights": [1, 3, 2], "bias": True},
    ],
    ("einsum", "operands"): [
        ((A, [0, 1], SQUARE, [1, 2], [0, 2]), {}),
        ((A, [3, 1]), {}),
        ((DEEP, [..., 0], [0, ...]), {}),
    ],
    ("histogram", "weights"): [{"weights": np.array([1.0, 2.0, 0.5, 3.0])}],
    ("histogram_bin_edges", "weights"): [{"weights": np.array([1.0, 2.0, 0.5, 3.0])}],
    ("pad", "mode"): [{"mode": mode} for mode in PAD_MODES],
    ("pad", "kwargs"): [
        {"constant_values": 2.0},
        {"constant_values": ((1.0, 2.0), (3.0, 4.0))},
    ],
    ("diff", "prepend"): [{"prepend": p, "axis": a} for p, a in ((A, 0), (A[:, :1], 1), (3.0, 1))],
    ("diff", "append"): [{"append": p, "axis": a, "n": 2} for p, a in ((A, 0), (A[:, :1], 1))],
    ("interp", "left"): [{"left": -9.0}],
    ("interp", "right"): [{"right": 9.0}],
    ("interp", "period"): [{"period": 2.5}],
    ("convolve", "mode"): [{"mode": m} for m in ("full", "same", "valid")],
    ("correlate", "mode"): [{"mode": m} for m in ("full", "same", "valid")],
    ("trapezoid", "x"): [{"x": np.array([0.0, 1.0, 3.0])}, {"x": B}],
    ("matmul", "axes"): [{"axes": [(-2, -1), (-2, -1), (0, 1)]}],
    ("vecdot", "axes"): [{"axes": [0, 0, ()]}],
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
    ("tensordot", "axes"): [{"axes": ([1, 0], [1, 0])}],
    ("clip", "kwargs"): [{"dtype": "float32"}],
    ("einsum", "kwargs"): [{"dtype": "float64"}, {"casting": "unsafe"}, {"order": "C"}],
    ("unstack", "axis"): [{"axis": 1}],
    ("rot90", "axes"): [{"axes": (1, 0)}],
    ("rot90", "k"): [{"k": k} for k in (0, 2, 3, -1)],
    ("squeeze", "axis"): [{"axis": 0}, {"axis": None}],
    ("full", "dtype"): [{"dtype": "float64"}],
    ("like", "like"): [],
}
#: Whole calls beside the base: operands and keyword arguments, for what depends on both.
FURTHER = {
    ("take", "mode"): [((V, [-5, 1, 9]), {"mode": m}) for m in ("clip", "wrap")]
    + [((A, [[1, -4], [7, 0]], 1), {"mode": "wrap"})],
    ("linspace", "axis"): [((V, 2.0, 5), {"axis": -1}), ((A, B, 3), {"axis": 1})],
    ("arange", "step"): [
        ((0.0, 1.0, 0.1), {}),
        ((1, 0, -0.25), {}),
        ((5, 0, -2), {}),
        ((0.5, 4), {}),
    ],
    ("gradient", "varargs"): [((A, 0.5), {}), ((A, 0.5, [0.0, 1.0, 3.0]), {})],
    ("gradient", "edge_order"): [
        ((DEEP, [0.0, 0.5, 2.0, 2.25]), {"axis": 2, "edge_order": 2}),
        ((DEEP, 0.5), {"axis": -1, "edge_order": 2}),
    ],
    ("cross", "axis"): [((A.T, B.T), {"axis": 0})],
    ("cross", "axisa"): [((A.T, B), {"axisa": 0})],
    ("cross", "axisb"): [((A, B.T), {"axisb": 0})],
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


#: Function -> operands of further calls.
OPERANDS = {
    "append": [(A, [1.0, 2.0])],
    "array_equal": [(A, A), (A, A[:1]), (NAN, NAN)],
    "block": [([V, V, 3.0],), ([[A, A[:, :1]], [B[:1], B[:1, :1]]],)],
    "broadcast_arrays": [(V, DEEP[:, :1, :1])],
    "column_stack": [([A.T, V[:3]],)],
    "concatenate": [([DEEP, DEEP[:, :0], DEEP[:, :1]], 1), ([A, B], None)],
    "cov": [(ROWS, B), (V,)],
    "diag": [(V,), (V, 2), (V, -3), (A, 1)],
    "diagonal": [(DEEP, 2, 1, 2), (DEEP, -1, 2, 1), (DEEP, 7)],
    "diff": [(A, 2, 0)],
    "flip": [(DEEP, 1), (DEEP, (0, 2))],
    "hstack": [([V, V[:2]],)],
    "isclose": [(NAN, NAN), (A, A + 1e-9)],
    "linspace": [(0.0, 3.0, 1), (0.0, 3.0, 0), (0.0, 3.0, 4)],
    "meshgrid": [(V, ROWS[0], INTS), (V,)],
    "moveaxis": [(DEEP, (0, 1), (2, 0))],
    "repeat": [(DEEP, 3, 1), (DEEP, [2, 0, 1], 1), (DEEP, 0, 0)],
    "reshape": [(DEEP, (4, -1)), (DEEP, (-1,)), (DEEP, (2, 3, 2, 2))],
    "roll": [(DEEP, 5), (DEEP, -1, 1), (DEEP, (1, 2), (0, 2)), (DEEP, (1, 1), (2, 2))],
    "split": [(DEEP, 2, 2), (DEEP, [1, 2], 1), (DEEP, [1, 9], 1)],
    "squeeze": [(DEEP[:, :1], 1), (DEEP[:1, :, :1],)],
    "stack": [([A, B], 1), ([A, B, A], -1)],
    "tile": [(DEEP, (2, 1, 3, 2)), (DEEP, (2, 2))],
    "trace": [(DEEP, 1, 1, 2)],
    "transpose": [(DEEP, (2, 0, 1)), (DEEP, (0, -1, 1))],
    "trapezoid": [(A, [0.0, 0.5, 2.0])],
    "unwrap": [(A * 2.5,)],
    "vecdot": [(A, V[:3])],
    "vstack": [([V, DEEP[0]],)],
}


@dataclass(frozen=True)
class Sample:
    """One call: what is passed, and the parameter that it is about."""

    name: str
    parameter: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self):
        inner = ", ".join(f"{k}={v!r}" for k, v in self.kwargs.items())
        return " ".join(f"{self.name}({self.parameter}: {inner or self.args})".split())

    def numpy_result(self):
        """Return NumPy's result."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args = deepcopy(self.args)  # overwrite_input=True reorders its array
            return getattr(np, self.name)(*args, **self.kwargs)


def base(name):
    """The operands of a call of NumPy's function."""
    function = getattr(np, name)
    if name in BASES:
        return BASES[name]
    if isinstance(function, np.ufunc):
        floats = [np.abs(A) + 1.0, np.abs(B)][: function.nin]
        return tuple(floats) if takes(function, *floats) else tuple(INTS for _ in floats)
    return (A,)


def takes(function, *args):
    """Return whether NumPy's function accepts the arguments."""
    try:
        with np.errstate(all="ignore"):
            function(*args)
    except TypeError:
        return False
    return True


#: NumPy's signatures, of which these calls are made, can be read from 2.4 on.
IS_READABLE = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4)
#: Their operands stand before arguments of any number.
EXPLICIT = ("apply_along_axis", "gradient", "piecewise")


def parameters(name):
    """The names of NumPy's parameters that a base call does not give."""
    function = getattr(np, name)
    if isinstance(function, np.ufunc) and name == "frexp":  # NumPy takes no dtype there
        return ["out", "where", "casting", "order", "subok", "signature"]
    if isinstance(function, np.ufunc):
        common = ["out", "where", "casting", "order", "dtype", "subok", "signature"]
        if function.signature is None:
            return common
        axis_words = ["axes", "axis", "keepdims"] if name == "vecdot" else ["axes"]
        return [w for w in common if w != "where"] + axis_words
    signature = inspect.signature(function).parameters
    names = [n for n, p in signature.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    operand_count = 0 if name == "einsum" else len(base(name))
    variable = len(names) < len(signature)
    return names if variable and name not in EXPLICIT else names[operand_count:]


def samples(name):
    """The calls that are tried for a function: of each parameter, and by NumPy's names."""
    args = base(name)
    for operands in (args, *OPERANDS.get(name, ())):
        yield Sample(name, "the operands", operands, {})
    for word in parameters(name):
        yield from samples_of_parameter(name, word, args)
    for (function, word), calls in FURTHER.items():
        if function == name:
            for call_args, kwargs in calls:
                yield Sample(name, word, call_args, kwargs)
    function = getattr(np, name)
    if not isinstance(function, np.ufunc):
        yield from by_names(name, function, args)


def samples_of_parameter(name, word, args):
    if word == "out":
        plain = Sample(name, word, args, {}).numpy_result()
        is_sequence = isinstance(plain, tuple | list)
        out = tuple(map(np.zeros_like, plain)) if is_sequence else np.zeros_like(plain)
        calls = [{"out": None}, {"out": out}]
    elif (name, word) in CALLS:
        calls = CALLS[name, word]
    else:
        calls = [{word: option} for option in VALUES[word]]
    for kwargs in calls:
        sample = Sample(name, word, args, kwargs)
        try:
            sample.numpy_result()
        except (TypeError, ValueError, IndexError):  # NumPy's own reasons
            continue
        yield sample


def by_names(name, function, args):
    """The operands by NumPy's names, where they have some."""
    declared = list(inspect.signature(function).parameters.values())
    named = [p for p in declared if p.kind is p.POSITIONAL_OR_KEYWORD][: len(args)]
    if len(named) == len(args) and declared[: len(args)] == named:
        kwargs = dict(zip([p.name for p in named], args, strict=True))
        yield Sample(name, "the names of operands", (), kwargs)


def replace_arrays(data, make):
    """``data`` with a value made of each array, inside lists too."""
    if isinstance(data, np.ndarray):
        return make(data)
    if isinstance(data, list) and any(isinstance(element, np.ndarray | list) for element in data):
        return [replace_arrays(element, make) for element in data]
    return data


def operand(sample, place):
    """The array that the value number ``place`` is made of."""
    arrays = []
    make_call(sample, lambda array: arrays.append(array) or array, "keep")
    return arrays[place]


def shift_element(sample, place, element, step):
    """The sample with one element of that array moved."""
    seen = itertools.count()

    def shift(array):
        if next(seen) != place:
            return array
        copy = array.copy()
        copy.flat[element] += step
        return copy

    args, kwargs = make_call(sample, shift, "keep")
    return Sample(sample.name, sample.parameter, args, kwargs)


def make_call(sample, make, way):
    """The call on values: as NumPy's function, or as ours."""
    args = tuple(replace_arrays(arg, make) for arg in sample.args)
    operands = sample.args == () or sample.name in CREATION
    kwargs = {
        k: replace_arrays(v, make) if operands and k not in ("weights", "where") else v
        for k, v in sample.kwargs.items()
    }
    if way == "keep":  # the arguments themselves
        return args, kwargs
    ours = NUMPY_NAMES.get(sample.name, sample.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's, of names that it gives up
        function = getattr(np if way == "np" else sg, sample.name if way == "np" else ours)
        return function(*args, **kwargs)


def results(output):
    """Values, arrays and numbers in one list."""
    if isinstance(output, tuple | list):
        return list(itertools.chain.from_iterable(map(results, output)))
    return [output]


def ways(sample):
    """``np.f`` only asks values where it is given one."""
    return ["sg"] if sample.name in CREATION else ["sg", "np"]


def refusal(sample, way="sg"):
    """The headline of the refusal on tensors; None where it is taken."""
    try:
        make_call(sample, tensor, way)
    except StaticgradError as error:
        return f"[{error.code}] {error.headline}"
    return None


def tensor(array):
    return Tensor(array)


def check(actual, sample):
    """Compare arrays with what NumPy gives."""
    expected = results(sample.numpy_result())
    assert len(actual) == len(expected), str(sample)
    single = sample.kwargs.get("dtype") == "float32"
    for output, reference in zip(actual, expected, strict=True):
        got, want = np.asarray(array_of(output)), np.asarray(reference)
        assert got.shape == want.shape, (str(sample), got, want)
        if "dtype" in sample.kwargs:
            assert got.dtype == want.dtype, (str(sample), got.dtype)
        close = {"rtol": 2e-6 if single or got.dtype == np.float32 else 1e-12, "atol": 1e-12}
        np.testing.assert_allclose(got, want, err_msg=str(sample), equal_nan=True, **close)


def array_of(output):
    """The array of a tensor, of a value without inputs, or of a NumPy number."""
    if isinstance(output, WithArray):
        return output.data
    return sg.evaluate(output, {}) if isinstance(output, Value) else output
