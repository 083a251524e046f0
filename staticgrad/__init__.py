"""staticgrad: write a graph, differentiate it, compile it, run it.

This file is the table of contents. ``import staticgrad as sg`` loads nothing else: a name is
imported from its home when it is first used, so that building and printing a graph never load the
compiler's tools. To add a public function, list it in ``staticgrad.ops`` and in ``_CONTENTS``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors read; a test compares it with the tables
    import passes as passes
    from staticgrad import errors as errors, optim as optim, testing as testing
    from staticgrad.analysis.evaluate import evaluate as evaluate
    from staticgrad.autodiff.forward import jvp as jvp
    from staticgrad.autodiff.jacobian import hessian as hessian, hvp as hvp, jacobian as jacobian
    from staticgrad.autodiff.reverse import (
        grad as grad,
        value_and_grad as value_and_grad,
        vjp as vjp,
    )
    from staticgrad.compiler import Compiled as Compiled, compile as compile
    from staticgrad.config import options as options, show_config as show_config
    from staticgrad.errors import (
        BudgetInfeasible as BudgetInfeasible,
        StaticgradError as StaticgradError,
        StaticgradWarning as StaticgradWarning,
    )
    from staticgrad.ir.compare import same_graph as same_graph
    from staticgrad.ir.parser import parse as parse
    from staticgrad.lints import lint as lint
    from staticgrad.ops import *
    from staticgrad.ops.standard import (
        asarray as asarray,
        can_cast as can_cast,
        e as e,
        finfo as finfo,
        iinfo as iinfo,
        inf as inf,
        isdtype as isdtype,
        nan as nan,
        ndim as ndim,
        newaxis as newaxis,
        pi as pi,
        result_type as result_type,
        shape as shape,
        size as size,
    )
    from staticgrad.scopes import scope as scope
    from staticgrad.types.dim import dim as dim
    from staticgrad.types.dtype import BOOL, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64

    # Imported under another name they would not be public to a strict type checker.
    bool_ = BOOL
    float32 = F32
    float64 = F64
    int8 = I8
    int16 = I16
    int32 = I32
    int64 = I64
    uint8 = U8
    uint16 = U16
    uint32 = U32
    uint64 = U64
    acos = arccos
    acosh = arccosh
    asin = arcsin
    asinh = arcsinh
    atan = arctan
    atan2 = arctan2
    atanh = arctanh
    bitwise_invert = invert
    bitwise_left_shift = left_shift
    bitwise_right_shift = right_shift
    permute_dims = transpose
    empty = zeros
    empty_like = zeros_like

__version__ = "0.1.0"

#: Home -> the names it gives. ``name=attribute`` where the home calls it otherwise.
_CONTENTS = {
    "staticgrad.ops": (
        "Graph Parameter Value abs absolute add all allclose any append arange arccos arccosh"
        " arcsin arcsinh arctan arctan2 arctanh argmax argmin argpartition argsort array_equal"
        " array_equiv array_split astype at atleast_1d atleast_2d atleast_3d average"
        " bitwise_and bitwise_or bitwise_xor block broadcast_arrays broadcast_to cbrt ceil"
        " checkpoint choose clip column_stack concat concatenate constant conventions copysign"
        " corrcoef cos cosh count_nonzero cov cross cumprod cumsum cumulative_prod"
        " cumulative_sum custom_vjp deg2rad diag diagonal diff digitize divide divmod dot"
        " dsplit dstack ediff1d einsum equal erf erfc exp exp2 expand_dims expm1 eye fabs flip"
        " fliplr flipud float_power floor floor_divide fmax fmin fmod full full_like geomspace"
        " getitem gradient greater greater_equal heaviside histogram histogram_bin_edges hsplit"
        " hstack hypot identity inner input invert iota isclose isfinite isin isinf isnan"
        " isneginf isposinf kron left_shift less less_equal lexsort linear_scan linspace log"
        " log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor"
        " logspace matmul matrix_transpose matvec max maximum mean median meshgrid min minimum"
        " moveaxis multiply nan_to_num nancumprod nancumsum nanmax nanmean nanmedian nanmin"
        " nanpercentile nanprod nanquantile nanstd nansum nanvar negative norm not_equal"
        " one_hot ones ones_like outer pad parameter partition percentile piecewise positive"
        " pow power prod ptp quantile rad2deg ravel reciprocal remainder repeat reshape"
        " right_shift rint roll rot90 round scatter_add searchsorted select sigmoid sign"
        " signbit sin sinc sinh size_value sort split sqrt square squeeze stack std"
        " stop_gradient subtract sum swapaxes take take_along_axis tan tanh tensordot tile topk"
        " trace transpose trapezoid tri tril triu trunc unstack unwrap var vdot vecdot vecmat"
        " vsplit vstack where xlogy zeros zeros_like"
        " acos=arccos acosh=arccosh asin=arcsin asinh=arcsinh atan=arctan atan2=arctan2"
        " atanh=arctanh bitwise_invert=invert bitwise_left_shift=left_shift"
        " bitwise_right_shift=right_shift empty=zeros empty_like=zeros_like"
        " permute_dims=transpose"
    ),
    "staticgrad.ops.standard": (
        "asarray can_cast e finfo iinfo inf isdtype nan ndim newaxis pi result_type shape size"
    ),
    "staticgrad.ir.compare": "same_graph",
    "staticgrad.types.dim": "dim",
    "staticgrad.types.dtype": (
        "bool_=BOOL float32=F32 float64=F64 int8=I8 int16=I16 int32=I32 int64=I64"
        " uint8=U8 uint16=U16 uint32=U32 uint64=U64"
    ),
    "staticgrad.ir.parser": "parse",
    "staticgrad.lints": "lint",
    "staticgrad.autodiff.forward": "jvp",
    "staticgrad.autodiff.jacobian": "hessian hvp jacobian",
    "staticgrad.autodiff.reverse": "grad value_and_grad vjp",
    "staticgrad.analysis.evaluate": "evaluate",
    "staticgrad.compiler": "Compiled compile",
    "staticgrad.scopes": "scope",
    "staticgrad.config": "options show_config",
    "staticgrad.errors": "BudgetInfeasible StaticgradError StaticgradWarning",
}
#: Public name of a module -> where it stands.
_MODULES = {
    "errors": "staticgrad.errors",
    "nn": "staticgrad.ops.nn",
    "optim": "staticgrad.optim",
    "passes": "passes",
    "random": "staticgrad.ops.random",
    "testing": "staticgrad.testing",
}
#: Public name -> (home, the attribute there)
_HOME = {
    entry.partition("=")[0]: (home, entry.rpartition("=")[2])
    for home, entries in _CONTENTS.items()
    for entry in entries.split()
}

__all__ = ["__version__", *sorted({*_HOME, *_MODULES})]


if not TYPE_CHECKING:  # a type checker shall find what is not there

    def __getattr__(name: str) -> object:
        if name not in _HOME and name not in _MODULES:
            raise _no_such_name(name)
        home, attribute = _HOME.get(name, (_MODULES.get(name, ""), ""))
        try:
            module = import_module(home)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "passes":
                _refuse_shadowed_passes()
            raise
        if home == "passes":
            _refuse_shadowed_passes()
        value = getattr(module, attribute) if attribute else module
        return globals().setdefault(name, value)


def _no_such_name(name: str) -> AttributeError:
    """The error for an unknown name; a plain one where ``from staticgrad import module`` asks."""
    from importlib.util import find_spec

    if name.startswith("_") or find_spec(f"{__name__}.{name}"):
        return AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from staticgrad.errors.elsewhere import no_such_name

    return no_such_name("sg", name, tuple(__all__))


def __dir__() -> list[str]:
    return sorted(__all__)


def _refuse_shadowed_passes() -> None:
    """Raise ShadowedPackageError when ``import passes`` finds a folder that is not ours."""
    from importlib import util
    from pathlib import Path

    ours = Path(__file__).parent.parent / "passes"
    spec = util.find_spec("passes")
    found = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    if spec is not None and not found:  # a single file, passes.py
        found = [Path(str(spec.origin))]
    if not found or ours.resolve() in [place.resolve() for place in found]:
        return
    from staticgrad.errors import ShadowedPackageError

    raise ShadowedPackageError(
        f"{found[0]} hides the package 'passes' that staticgrad is installed with",
        details=[f"staticgrad's own is {ours}"],
        hint="rename it, or start Python where its folder is not on sys.path",
    )
