"""staticgrad: write a graph, differentiate it, compile it, run it.

This file is the table of contents. ``import staticgrad as sg`` loads nothing else: a name is
imported from its home when it is first used, so that building and printing a graph never load the
compiler's tools. To add a public name, add it to ``_CONTENTS`` and to the block for type checkers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors read; a test compares it with the tables
    import passes as passes
    from staticgrad import errors as errors, optim as optim
    from staticgrad.analysis.evaluate import evaluate as evaluate
    from staticgrad.autodiff.reverse import grad as grad
    from staticgrad.compiler import Compiled as Compiled, compile as compile
    from staticgrad.config import options as options, show_config as show_config
    from staticgrad.errors import (
        BudgetInfeasible as BudgetInfeasible,
        StaticgradError as StaticgradError,
        StaticgradWarning as StaticgradWarning,
    )
    from staticgrad.ir.compare import same_graph as same_graph
    from staticgrad.ir.dim import dim as dim
    from staticgrad.ir.dtype import (
        BOOL as bool_,
        F32 as float32,
        F64 as float64,
        I8 as int8,
        I16 as int16,
        I32 as int32,
        I64 as int64,
        U8 as uint8,
        U16 as uint16,
        U32 as uint32,
        U64 as uint64,
    )
    from staticgrad.ir.parser import parse as parse
    from staticgrad.ops import (
        Graph as Graph,
        Parameter as Parameter,
        Value as Value,
        absolute as absolute,
        add as add,
        all as all,
        any as any,
        arange as arange,
        argmax as argmax,
        argmin as argmin,
        astype as astype,
        bitwise_and as bitwise_and,
        bitwise_or as bitwise_or,
        bitwise_xor as bitwise_xor,
        broadcast_to as broadcast_to,
        ceil as ceil,
        concat as concat,
        concatenate as concatenate,
        constant as constant,
        cos as cos,
        divide as divide,
        dot as dot,
        equal as equal,
        erf as erf,
        exp as exp,
        expand_dims as expand_dims,
        expm1 as expm1,
        eye as eye,
        flip as flip,
        floor as floor,
        full as full,
        full_like as full_like,
        getitem as getitem,
        greater as greater,
        greater_equal as greater_equal,
        input as input,
        invert as invert,
        iota as iota,
        less as less,
        less_equal as less_equal,
        log as log,
        log1p as log1p,
        logical_and as logical_and,
        logical_not as logical_not,
        logical_or as logical_or,
        logical_xor as logical_xor,
        matmul as matmul,
        max as max,
        maximum as maximum,
        mean as mean,
        min as min,
        minimum as minimum,
        moveaxis as moveaxis,
        multiply as multiply,
        negative as negative,
        nn as nn,
        not_equal as not_equal,
        one_hot as one_hot,
        ones as ones,
        ones_like as ones_like,
        outer as outer,
        pad as pad,
        parameter as parameter,
        positive as positive,
        power as power,
        ravel as ravel,
        reciprocal as reciprocal,
        reshape as reshape,
        rint as rint,
        scatter_add as scatter_add,
        sigmoid as sigmoid,
        sign as sign,
        sin as sin,
        size_value as size_value,
        sqrt as sqrt,
        square as square,
        squeeze as squeeze,
        stack as stack,
        std as std,
        stop_gradient as stop_gradient,
        subtract as subtract,
        sum as sum,
        swapaxes as swapaxes,
        take as take,
        take_along_axis as take_along_axis,
        tanh as tanh,
        transpose as transpose,
        tril as tril,
        triu as triu,
        trunc as trunc,
        var as var,
        vdot as vdot,
        where as where,
        zeros as zeros,
        zeros_like as zeros_like,
    )
    from staticgrad.source import scope as scope

__version__ = "0.1.0"

#: Home -> the names it gives. ``name=attribute`` where the home calls it otherwise.
_CONTENTS = {
    "staticgrad.ops": (
        "Graph Parameter Value absolute add all any arange argmax argmin astype bitwise_and"
        " bitwise_or bitwise_xor broadcast_to ceil concat concatenate constant cos divide dot"
        " equal erf exp expand_dims expm1 eye flip floor full full_like getitem greater"
        " greater_equal input invert iota less less_equal log log1p logical_and logical_not"
        " logical_or logical_xor matmul max maximum mean min minimum moveaxis multiply negative"
        " not_equal one_hot ones ones_like outer pad parameter positive power ravel"
        " reciprocal reshape rint scatter_add sigmoid sign sin size_value sqrt square"
        " squeeze stack std stop_gradient subtract sum swapaxes take take_along_axis tanh"
        " transpose tril triu trunc var vdot where zeros zeros_like"
    ),
    "staticgrad.ir.compare": "same_graph",
    "staticgrad.ir.dim": "dim",
    "staticgrad.ir.dtype": (
        "bool_=BOOL float32=F32 float64=F64 int8=I8 int16=I16 int32=I32 int64=I64"
        " uint8=U8 uint16=U16 uint32=U32 uint64=U64"
    ),
    "staticgrad.ir.parser": "parse",
    "staticgrad.autodiff.reverse": "grad",
    "staticgrad.analysis.evaluate": "evaluate",
    "staticgrad.compiler": "Compiled compile",
    "staticgrad.source": "scope",
    "staticgrad.config": "options show_config",
    "staticgrad.errors": "BudgetInfeasible StaticgradError StaticgradWarning",
}
#: Public name of a module -> where it stands.
_MODULES = {
    "errors": "staticgrad.errors",
    "nn": "staticgrad.ops.nn",
    "optim": "staticgrad.optim",
    "passes": "passes",
}
#: Public name -> (home, the attribute there)
_HOME = {
    entry.partition("=")[0]: (home, entry.rpartition("=")[2])
    for home, entries in _CONTENTS.items()
    for entry in entries.split()
}

__all__ = ["__version__", *sorted({*_HOME, *_MODULES})]


def __getattr__(name: str) -> object:
    if name not in _HOME and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
        hint="rename that folder, or start Python where it is not on sys.path",
    )
