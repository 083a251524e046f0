"""staticgrad: write a graph, differentiate it, compile it, run it.

This file is the table of contents. ``import staticgrad as sg`` loads nothing else: a name is
imported from its home when it is first used, so that building and printing a graph never load the
compiler's tools. To add a public name, add it to ``_CONTENTS`` and to the block for type checkers.
"""

from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors read; a test compares it with the tables
    import passes as passes
    import staticgrad.eager as eager
    import staticgrad.errors as errors
    import staticgrad.ops.functional as nn
    import staticgrad.optim as optim
    import staticgrad.testing as testing
    from staticgrad.analysis.evaluate import evaluate as evaluate
    from staticgrad.autodiff.reverse import grad as grad
    from staticgrad.compiler import Compiled as Compiled, compile as compile
    from staticgrad.config import options as options, show_config as show_config
    from staticgrad.errors import (
        BudgetInfeasible as BudgetInfeasible,
        StaticgradError as StaticgradError,
        StaticgradWarning as StaticgradWarning,
    )
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
    from staticgrad.ops import (
        Graph as Graph,
        Parameter as Parameter,
        Value as Value,
        constant as constant,
        input as input,
        parameter as parameter,
        parse as parse,
        same_graph as same_graph,
    )
    from staticgrad.ops.functional import (
        concat as concat,
        exp as exp,
        log as log,
        max as max,
        mean as mean,
        min as min,
        sum as sum,
        tanh as tanh,
        where as where,
    )
    from staticgrad.source import scope as scope

__version__ = "0.1.0"

#: Home -> the names it gives. ``name=attribute`` where the home calls it otherwise.
_CONTENTS = {
    "staticgrad.ops": "Graph Parameter Value constant input parameter parse same_graph",
    "staticgrad.ops.functional": "concat exp log max mean min sum tanh where",
    "staticgrad.ir.dim": "dim",
    "staticgrad.ir.dtype": (
        "bool_=BOOL float32=F32 float64=F64 int8=I8 int16=I16 int32=I32 int64=I64"
        " uint8=U8 uint16=U16 uint32=U32 uint64=U64"
    ),
    "staticgrad.autodiff.reverse": "grad",
    "staticgrad.analysis.evaluate": "evaluate",
    "staticgrad.compiler": "Compiled compile",
    "staticgrad.source": "scope",
    "staticgrad.config": "options show_config",
    "staticgrad.errors": "BudgetInfeasible StaticgradError StaticgradWarning",
}
#: Public name of a module -> where it stands.
_MODULES = {
    "eager": "staticgrad.eager",
    "errors": "staticgrad.errors",
    "nn": "staticgrad.ops.functional",
    "optim": "staticgrad.optim",
    "passes": "passes",
    "testing": "staticgrad.testing",
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
