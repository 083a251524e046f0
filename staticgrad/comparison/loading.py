"""Finding the model that somebody names: one of the package, a user's file, or the thing itself."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from staticgrad.comparison.axes import Asked, BatchAxes
from staticgrad.comparison.models import MODELS
from staticgrad.comparison.programs import (
    ComparedProgram,
    code_errors,
    function_line,
    program,
)
from staticgrad.errors import ArgumentError, UnknownNameError
from staticgrad.extend import Graph, did_you_mean, list_names
from staticgrad.extend.programs import Function
from staticgrad.nn import Module
from staticgrad.optim import Optimizer

#: A name, ``path.py:name``, a function that makes a program, or the thing itself.
Spec = str | Callable[..., Any] | tuple[Any, ...]
_NEEDED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def subject(
    spec: Spec,
    arrays: Sequence[Any] = (),
    loss: Callable[..., Any] | None = None,
    optimizer: Optimizer | None = None,
    batch_axis: Asked | BatchAxes | None = None,
) -> ComparedProgram:
    """Load the program to be compared from a name, a file or an object.

    Args:
        spec: ``linear``, ``mlp``, ``deep``, ``chars``; ``path.py:name``, or ``path.py`` where
            there is one candidate in it; in Python the thing itself. A name in a file stands for
            a tuple of a module or function and its arrays, a function that returns such a tuple, or
            a module, beside which the file has its arrays: the argument, and the target if there is
            one.
        arrays: with which a module or function is called; see ``programs.program``.
        loss: of a module.
        optimizer: of a module, or of a function that is a loss.
        batch_axis: the axis that counts examples, or a dict of them by array; by default
            ``batch_axis`` of the file, else it is looked for; see ``axes``.

    Raises:
        UnknownNameError: no such model, file or name.
        ArgumentError: it is none of these; a part is not what it has to be.
        ProgramError: the user's file or function fails by itself.
    """
    beside: dict[str, Any] = {}
    candidate: Any = spec
    if isinstance(spec, str):
        candidate = MODELS.get(spec)
        if candidate is None:
            candidate, beside = _from_file(spec)
            batch_axis = beside.get("batch_axis") if batch_axis is None else batch_axis
    if arrays:
        return program(candidate, arrays, loss, optimizer, batch_axis)
    if loss is not None or optimizer is not None:
        raise ArgumentError(
            "loss= and optimizer= are of a module or function that is given with its arrays",
            hint="compare(module, x, target, optimizer=...)",
        )
    name = spec if isinstance(spec, str) else getattr(candidate, "__name__", "model")
    if callable(candidate) and not isinstance(candidate, Module | Function | Graph):
        if _needs_arguments(candidate):
            raise ArgumentError(
                f"{name!r} takes {inspect.signature(candidate)}: a function of arrays needs some",
                hint="compare(function, x, y), or in a file: def name(): return function, x, y",
                at=function_line(candidate),
            )
        with code_errors(f"{name!r}", candidate):
            candidate = candidate()
    if isinstance(candidate, tuple) and candidate and callable(candidate[0]):
        return program(candidate[0], candidate[1:], batch_axis=batch_axis)
    if isinstance(candidate, Module) and beside:
        return program(
            candidate, _arrays_beside(str(spec), candidate, beside), batch_axis=batch_axis
        )
    if isinstance(candidate, Module | Function):
        return program(candidate, ())  # raises: there are no arrays
    is_named = callable(spec) or isinstance(spec, str)
    raise ArgumentError(
        f"model {name!r} is or returns {type(candidate).__name__}" if is_named else
        f"a model is a name, or a module or function with arrays, not {type(spec).__name__}",
        hint="a tuple (module or function, *arrays)",
        at=function_line(spec) if is_named else None,
    )  # fmt: skip


def load_peer(spec: Spec, peer: Any) -> Any:
    """Load a program in another library; ``name`` alone stands for one in the file of ``spec``.

    Raises:
        UnknownNameError: no such name, or ``spec`` is not in a file.
    """
    if not isinstance(peer, str):
        return peer
    file, name = (spec, peer) if isinstance(spec, str) else ("", peer)
    if ".py" in peer:
        return _from_file(peer, again=False)[0]
    path = file if file.endswith(".py") else file.rpartition(":")[0]
    if not path:
        raise UnknownNameError(f"{name!r} is not in a file", hint="--torch path.py:name")
    return _from_file(f"{path}:{name}", again=False)[0]


def _from_file(spec: str, *, again: bool = True) -> tuple[Any, dict[str, Any]]:
    """Import a file of the user; return the object ``path.py:name`` or the only candidate.

    ``again``: a file that has run before runs again; else its parameters are those from before.
    """
    path, colon, name = spec.rpartition(":")
    if not colon or spec.endswith(".py"):
        path, name = spec, ""
        if not spec.endswith(".py"):
            raise UnknownNameError(
                f"no model is named {spec!r}", hint=f"{', '.join(MODELS)}, or path.py:name"
            )
    file = Path(path).resolve()
    loaded = sys.modules.get(file.stem)
    is_free = loaded is None or getattr(loaded, "__file__", None) == str(file)
    module_name = file.stem if is_free else f"compared_{file.stem}"
    running = sys.modules.get(module_name)
    if not again and name and is_free and running is not None:
        if not hasattr(running, name):
            raise UnknownNameError(
                f"{path!r} has no {name!r}", hint=did_you_mean(name, vars(running))
            )
        return getattr(running, name), vars(running)
    loading = importlib.util.spec_from_file_location(module_name, file)
    if loading is None or loading.loader is None or not file.is_file():
        raise UnknownNameError(f"there is no Python file {path!r}")
    module = importlib.util.module_from_spec(loading)
    # As for a script, the module has its name and its folder is on the path while the file runs
    # and afterwards, since functions may import later; unless the file fails.
    paths, previous = [*sys.path], sys.modules.get(module_name)
    sys.modules[module_name] = module
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    try:
        with code_errors(f"{path!r}", None):
            loading.loader.exec_module(module)
    except BaseException:
        sys.path[:] = paths
        del sys.modules[module_name]
        if previous is not None:
            sys.modules[module_name] = previous
        raise
    if not name:
        name = _only_candidate(path, module)
    if not hasattr(module, name):
        raise UnknownNameError(f"{path!r} has no {name!r}", hint=did_you_mean(name, vars(module)))
    return getattr(module, name), vars(module)


def _arrays_beside(spec: str, module: Module, names: dict[str, Any]) -> list[Any]:
    """Find example arrays beside a module in a user's file: one, or two with as many examples."""
    arrays = {n: v for n, v in names.items() if isinstance(v, np.ndarray) and n[:1] != "_"}
    rows = {array.shape[:1] for array in arrays.values()}
    if 1 <= len(arrays) <= 2 and len(rows) == 1 and rows != {()}:
        return [*arrays.values()]
    name = next(n for n, v in names.items() if v is module)
    shapes = [f"{n} {list(array.shape)}" for n, array in arrays.items()]
    chosen = ", ".join([*arrays][:2]) or "x, y"
    raise ArgumentError(
        f"{spec!r} has the module {name!r} and {list_names(shapes) if shapes else 'no arrays'}: a"
        " module is compared on its argument and a target",
        hint=f"write in the file which they are: example = {name}, {chosen}",
    )


def _only_candidate(path: str, module: ModuleType) -> str:
    """Choose what to compare in a user's file: tuples, else functions, else modules."""

    public = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    ready = [n for n, v in public.items() if isinstance(v, tuple) and len(v) > 1 and callable(v[0])]
    makers = [
        n
        for n, v in public.items()
        if inspect.isfunction(v) and v.__module__ == module.__name__ and not _needs_arguments(v)
    ]
    candidates = ready or makers or [n for n, v in public.items() if isinstance(v, Module)]
    if len(candidates) != 1:
        listed = ", ".join(f"{path}:{n}" for n in candidates) or f"{path}:name"
        raise UnknownNameError(
            f"{path!r} has {len(candidates) or 'no'} candidates for a comparison",
            hint=f"say which: {listed}",
        )
    return candidates[0]


def _needs_arguments(function: Callable[..., Any]) -> bool:
    takes = inspect.signature(function).parameters.values()
    return any(p.default is p.empty and p.kind in _NEEDED for p in takes)
