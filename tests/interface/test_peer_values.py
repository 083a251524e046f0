"""One call, one number: our functions beside those of the same name, and at sizes 0 to 2.

Every public function is called with made-up operands (``peer_calls.py``). What NumPy, SciPy or
PyTorch gives, ours gives too, or it refuses. A size with a name means what the literal one does.
"""

from functools import cache

import numpy as np
import pytest
import scipy

import staticgrad as sg
from staticgrad.errors import SizeGuardError
from tests.interface.peer_calls import (
    ROOMS,
    Call,
    Program,
    agree,
    calls,
    functions_of,
    of_numpy,
    of_staticgrad,
    of_torch,
    peers,
    torch_rooms,
    with_keywords,
)

#: Operands of every rank.
SHAPES = ((), (3,), (2, 3), (2, 2, 3), (2, 2, 2, 3))
#: Functions that are not called, and why.
NOT_COMPARED = {
    **dict.fromkeys(("compile", "cond", "vmap", "while_loop", "jvp"), "takes functions"),
    **dict.fromkeys(("load", "save", "show_config", "manual_seed"), "acts on the process or files"),
    **dict.fromkeys(("empty", "empty_like"), "holds anything"),
    **dict.fromkeys(
        ("can_cast", "isdtype", "astype", "result_type", "finfo", "iinfo"), "of dtypes"
    ),
    **dict.fromkeys(
        ("apply_along_axis", "apply_over_axes", "fromfunction", "mask_indices"), "takes functions"
    ),
    **dict.fromkeys(("histogramdd", "polyfit", "ravel_multi_index"), "tests/ops/keyword_calls.py"),
    **dict.fromkeys(("polymul",), "leading zeros stay: its docstring"),
    "select": "takes a list of conditions and one of values: tests/ops/keyword_calls.py",
    "piecewise": "takes lists of conditions and functions: tests/ops/test_numpy_names.py",
    "compress": "takes a condition as long as an axis: tests/ops/test_bounded.py",
    "cho_solve": "takes a pair of a factor: tests/linalg",
    "scatter_add": "PyTorch's has another order of operands, which is refused",
    **dict.fromkeys(
        ("gru", "gru_cell", "lstm", "lstm_cell", "rnn_tanh"), "PyTorch's takes lists of weights"
    ),
    "gumbel_softmax": "random",
    "batch_norm": "PyTorch's operands by place are statistics, which ours refuses",
    **dict.fromkeys(("layer_norm", "rms_norm"), "PyTorch's second operand, a shape, is refused"),
    "ctc_loss": "tests/ops/test_losses.py",
    "affine_grid": "tests/interface/test_peer_names.py",
    "fold": "takes axes of windows: guide names",
    "unfold": "gives axes of windows: guide names",
    "betaln": "NaN below 0, as its docstring says",
    "beta": "NaN below 0, as its docstring says",
    "zeta": "NaN for x below 1, as its docstring says",
    **dict.fromkeys(
        ("chdtri", "gammaincinv", "gammainccinv", "betaincinv", "betainccinv"),
        "NaN for a shape of 0: tests/ops/test_special.py",
    ),
    **dict.fromkeys(
        (
            *("assoc_legendre_p", "elliprj", "eval_jacobi", "eval_sh_jacobi", "hyp2f1", "lambertw"),
            *("j_roots", "js_roots", "ncfdtr", "ncfdtri", "ncfdtrinc", "nrdtrimn", "obl_cv_seq"),
            *("pro_cv_seq", "roots_jacobi", "roots_sh_jacobi", "sph_harm_y", "sph_legendre_p"),
            *(
                f"{shape}_{part}{end}"
                for shape in ("obl", "pro")
                for part in ("ang1", "rad1", "rad2")
                for end in ("", "_cv")
            ),
        ),
        "tests/ops/test_special_functions.py",
    ),
    **dict.fromkeys(
        ("bdtr", "bdtrc", "bdtri", "nbdtr", "nbdtrc", "nbdtri", "pdtri", "smirnov", "smirnovi"),
        "SciPy truncates counts that are not whole: tests/ops/test_special_functions.py",
    ),
    **dict.fromkeys(("hankel1", "hankel2", "yve"), "infinite at 0, where SciPy's are NaN"),
    **dict.fromkeys(("modfresnelm", "modfresnelp"), "SciPy's are wrong below 0"),
    "legendre_p": "SciPy's result has an axis of derivatives",
    "zetac": "NaN for x below 1, as its docstring says",
    **dict.fromkeys(
        ("expn", "kn", "spherical_in", "spherical_jn", "spherical_kn", "spherical_yn", "yn"),
        "NaN of orders that are not whole, which SciPy truncates or refuses",
    ),
    **dict.fromkeys(
        (
            "cho_solve_banded",
            "cholesky_banded",
            "diagsvd",
            "eig_banded",
            "eigh_tridiagonal",
            "eigvalsh_tridiagonal",
            "funm",
            "hadamard",
            "leslie",
            "lu_solve",
            "orthogonal_procrustes",
            "rq",
            "rsf2csf",
            "solve_banded",
            "solve_continuous_are",
            "solve_discrete_are",
            "solve_sylvester",
            "solveh_banded",
            "tensorinv",
        ),
        "needs operands that fit each other: tests/linalg/test_equations.py",
    ),
    **dict.fromkeys(
        ("null_space", "orth"), "a basis has any direction: tests/linalg/test_functions.py"
    ),
    "stdtrit": "SciPy's is inf at 0: tests/ops/test_special.py",
    "cho_factor": "SciPy's flag is an array for batches",
}


def has_ties(call):
    return any(len(np.unique(arg)) < np.size(arg) for arg in call.args)


def scipy_is_before(*version):
    return tuple(int(part) for part in scipy.__version__.split(".")[:2]) < version


def no_axis(call):
    return call.kwargs.get("axis") is None and call.args[0].ndim not in (1,)


#: Function -> which calls may differ, and why.
DIFFERENT = {
    "argsort": (has_ties, "equal elements keep their order; NumPy's do not by default"),
    **dict.fromkeys(
        ("partition", "argpartition"),
        (lambda call: True, "NumPy's order is any: tests/ops/test_numpy_names.py"),
    ),
    "gradient": (has_ties, "coordinates that occur twice divide by 0"),
    "searchsorted": (lambda call: True, "only sorted operands: tests/ops/test_sorting.py"),
    "reciprocal": (
        lambda call: np.asarray(call.args[0]).dtype.kind != "f",
        "integers become float64; NumPy's whole quotients are 0 or 1",
    ),
    "trapezoid": (
        lambda call: call.args[0].dtype.kind == "b",
        "bools are numbers; NumPy joins them by or",
    ),
    "lstsq": (lambda call: True, "one sum of squares whatever the rank is: its docstring"),
    "local_response_norm": (
        lambda call: call.args[0].dtype.kind != "f",
        "integers become float64; PyTorch's stay whole",
    ),
    "hardtanh": (
        lambda call: np.asarray(call.args[0]).dtype.kind != "f",
        "integers become float64; PyTorch's stay whole",
    ),
    "softmax": (no_axis, "PyTorch's deprecated default: guide from-pytorch"),
    "log_softmax": (no_axis, "PyTorch's deprecated default: guide from-pytorch"),
    "logsumexp": (
        lambda call: np.ndim(call.args[0]) == 0,
        "SciPy's keepdims of a number gives an axis",
    ),
    "kron": (
        lambda call: scipy_is_before(1, 17) and np.ndim(call.args[0]) > 2,
        "that of SciPy before 1.17 is of matrices alone",
    ),
    **dict.fromkeys(
        ("gdtria", "gdtrix"),
        (
            lambda call: (
                (scipy_is_before(1, 17) and np.asarray(call.args[0]).dtype.kind == "b")
                or (not scipy_is_before(1, 17) and (np.asarray(call.args[1]) == 0).any())
            ),
            "limits at probabilities of 0 and 1: NaN in SciPy before 1.17, of shape 0 NaN here",
        ),
    ),
    **dict.fromkeys(
        ("it2i0k0", "it2j0y0", "kelvin", "spacing"),
        (
            lambda call: np.asarray(call.args[0]).dtype.kind == "b",
            "bools become float64; the spacing and the overflow of SciPy's narrow floats differ",
        ),
    ),
    **dict.fromkeys(
        ("h1vp", "h2vp", "hankel1e", "hankel2e"),
        (
            lambda call: (np.asarray(call.args[1]) <= 0).any(),
            "NaN below 0 as the docstring says, infinite at 0 where SciPy's are NaN",
        ),
    ),
    "chdtrc": (
        lambda call: not scipy_is_before(1, 17) and (np.asarray(call.args[1]) < 0).any(),
        "1 below 0 as its docstring says; NaN in SciPy since 1.17",
    ),
    "nrdtrisd": (
        lambda call: not scipy_is_before(1, 17) and np.isin(call.args[1], (0, 1)).any(),
        "the limit 0 at probabilities of 0 and 1; NaN in SciPy since 1.17",
    ),
    "subspace_angles": (
        lambda call: any((np.linalg.matrix_rank(a) < min(a.shape[-2:])).any() for a in call.args),
        "matrices have full rank: its docstring",
    ),
    "norm": (
        lambda call: isinstance(call.args[0], list),
        "a list of arrays is one array in NumPy",
    ),
}
#: Functions whose results are right up to signs of vectors.
UP_TO_SIGNS = {"eigh", "svd"}
#: Functions of which PyTorch gives the positions too, after the values.
VALUES_ONLY = {"cummax", "cummin"}
#: Combinations of one function that run daily, at least; the others are slow.
DAILY = 2


def last(path):
    return path.rpartition(".")[2]


@cache
def pairs(home):
    """Path -> our function and theirs."""
    of = peers(ROOMS if home == "numpy" else torch_rooms())
    functions = {
        path: (ours, theirs) for path, ours, theirs in of if last(path) not in NOT_COMPARED
    }
    if home == "torch":
        functions = {path: pair for path, pair in functions.items() if path not in pairs("numpy")}
    return functions


def compare(home, path, most=None):
    """Compare a function's calls that both sides take; return how many."""
    ours, theirs = pairs(home)[path]
    call_peer = of_numpy if home == "numpy" else of_torch
    differs = DIFFERENT.get(last(path), (lambda call: False, ""))[0]
    count, wrong = 0, []
    for shape in SHAPES:
        for_shape = 0
        for call in (c for plain in calls(shape) for c in with_keywords(ours, plain)):
            if most is not None and for_shape == most:
                break
            expected = call_peer(theirs, call)
            if expected is None:
                continue
            actual = of_staticgrad(ours, call)
            if isinstance(actual, sg.StaticgradError):
                continue
            expected = expected[:1] if last(path) in VALUES_ONLY else expected
            count, for_shape = count + 1, for_shape + 1
            if last(path) in UP_TO_SIGNS:
                actual, expected = (
                    [np.abs(array) for array in side] for side in (actual, expected)
                )
            if not agree(actual, expected) and not differs(call):
                wrong.append(f"{path}({call}): {actual} beside {expected}")
    assert not wrong, f"{len(wrong)} of {count} differ:\n" + "\n".join(wrong[:4])
    return count


@pytest.mark.parametrize("path", pairs("numpy"))
def test_the_numbers_of_numpy_and_scipy(path):
    assert compare("numpy", path, DAILY), "no call is taken by both: see NOT_COMPARED"


@pytest.mark.slow
@pytest.mark.parametrize("path", pairs("numpy"))
def test_all_numbers_of_numpy_and_scipy(path):
    assert compare("numpy", path), "no call is taken by both: see NOT_COMPARED"


@pytest.mark.slow
def test_the_numbers_of_torch():
    pytest.importorskip("torch")
    for path in pairs("torch"):
        assert compare("torch", path), f"{path}: no call is taken by both: see NOT_COMPARED"


# -- sizes 0, 1 and 2 -----------------------------------------------------------------------------

#: The axes of size n of operands with 4 elements along the others.
PATTERNS = (("n",), ("n", 4), ("n", "n"))
#: Functions whose results depend on how many elements there are.
SIZED = {
    "sg": "median nanmedian mean var std cov corrcoef sum max prod cumsum diff flip sort roll",
    "sg.linalg": "expm det inv matrix_transpose",
}
#: Function -> why a named size is not what the literal one is.
NAMED_DIFFERS = {
    **dict.fromkeys(("cov", "corrcoef"), "one variable gives a number, a named one a matrix"),
}
#: Function -> why NumPy differs at these sizes.
SIZES_DIFFER = {
    **dict.fromkeys(("cov", "corrcoef"), "NumPy does not transpose a y of one row"),
    "median": "NumPy refuses several axes if all elements are none",
}


def sizes_of(path, ours, theirs):
    """Yield where a named size, or NumPy, disagrees with a literal size."""
    for pattern in PATTERNS[:1] if isinstance(theirs, np.ufunc) else PATTERNS:
        at = {n: [*calls(tuple(n if s == "n" else s for s in pattern))] for n in (0, 1, 2, 3)}
        for number, plain in enumerate(at[3]):
            if numbers(plain) != numbers(at[0][number]):  # a size as a number has no name
                continue
            for call in with_keywords(ours, plain):
                try:
                    Program(ours, call)
                except sg.StaticgradError:
                    continue
                try:
                    named = Program(ours, call, {3: "n"})
                except sg.StaticgradError:
                    named = None
                for n in (0, 1, 2):
                    small_call = Call(at[n][number].args, call.kwargs)
                    literal = of_staticgrad(ours, small_call)
                    yield from disagreement(path, n, small_call, literal, named, theirs, plain)


def numbers(call):
    """Return what a call passes beside arrays."""
    return str([arg for arg in call.args if not isinstance(arg, np.ndarray | list)])


def disagreement(path, n, call, literal, named, theirs, at_three):
    refused = isinstance(literal, sg.StaticgradError)
    if named is not None and last(path) not in NAMED_DIFFERS:
        actual = named.run(call)
        broadcasts = n == 1 and isinstance(actual, SizeGuardError)  # a named size never does
        differs = isinstance(actual, sg.StaticgradError) != refused
        if not broadcasts and (differs or (not refused and not agree(literal, actual))):
            yield f"n={n} {path}({call}): literal {literal}, named {actual}"
    if theirs is None or last(path) in SIZES_DIFFER:
        return
    expected = of_numpy(theirs, call)
    if (expected is None) != refused and of_numpy(theirs, Call(at_three.args, call.kwargs)):
        yield f"n={n} {path}({call}): {literal}, NumPy {expected}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [f"{room}.{name}" for room, names in SIZED.items() for name in names.split()]
)
def test_small_sizes_mean_the_same_named_and_literal(path):
    ours = dict(functions_of({"sg.nn": sg.nn, **{p: room for p, (room, _) in ROOMS.items()}}))[path]
    theirs = pairs("numpy").get(path, (None, None))[1]
    wrong = [*sizes_of(path, ours, theirs)]
    assert not wrong, f"{len(wrong)} disagree:\n" + "\n".join(wrong[:4])
