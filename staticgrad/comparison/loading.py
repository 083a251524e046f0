"""Finding the model that somebody names: one of the package, a user's file, or the thing itself."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from staticgrad.comparison.model import Model, checked, function_line, named
from staticgrad.comparison.models import MODELS
from staticgrad.comparison.programs import ComparedProgram, program
from staticgrad.errors import ArgumentError, UnknownNameError
from staticgrad.errors.wording import did_you_mean, listed
from staticgrad.nn.module import Module
from staticgrad.optim import Optimizer
from staticgrad.programs.function import Function

#: A name, ``path.py:name``, a function that makes a model, or the thing itself.
Spec = str | Model | Callable[..., Any] | tuple[Any, ...]
_NEEDED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def subject(
    spec: Spec,
    arrays: Sequence[Any] = (),
    loss: Callable[..., Any] | None = None,
    optimizer: Optimizer | None = None,
    depth: int | None = None,
) -> Model | ComparedProgram:
    """Load what is to be compared: a model, or a program of functions and modules.

    Args:
        spec: ``linear``, ``mlp``, ``deep``, ``chars``; ``path.py:name``, or ``path.py`` where
            there is one candidate in it; in Python the thing itself. A name in a file stands for
            a Model, a function that returns one, a tuple of a module or function and its arrays,
            a function that returns that, or a module, beside which the file has its arrays: the
            argument, and the target if there is one.
        arrays: with which a module or function is called; see ``programs.program``.
        loss: of a module.
        optimizer: of a module, or of a function that is a loss.
        depth: how many layers, for functions with an argument ``depth``.

    Raises:
        UnknownNameError: no such model, file or name.
        ArgumentError: it is none of these, or takes no depth; a part is not what it has to be.
        ProgramError: the user's file or function fails by itself.
    """
    beside: dict[str, Any] = {}
    found: Any = spec
    if isinstance(spec, str) and spec not in MODELS:
        found, beside = _from_file(spec)
    found = MODELS[spec] if isinstance(spec, str) and spec in MODELS else found
    if arrays:
        return program(found, arrays, loss, optimizer)
    if loss is not None or optimizer is not None:
        raise ArgumentError(
            "loss= and optimizer= are of a module or function that is given with its arrays",
            hint="compare(module, x, target, optimizer=...); a Model has its own",
        )
    if isinstance(found, Model) and depth is None:
        return checked(found)
    name = spec if isinstance(spec, str) else getattr(found, "__name__", "model")
    if callable(found) and not isinstance(found, Module | Function):
        found = _made(found, name, depth)
    elif depth is not None:
        raise ArgumentError(f"model {name!r} has no argument depth")
    if isinstance(found, Model):
        return checked(found)
    if isinstance(found, tuple) and found and callable(found[0]):
        return program(found[0], found[1:])
    if isinstance(found, Module) and beside:
        return program(found, _arrays_beside(str(spec), found, beside))
    if isinstance(found, Module | Function):
        return program(found, ())  # says that there are no arrays
    raise _no_model(spec, name, found)


def _made(make: Callable[..., Any], name: str, depth: int | None) -> Any:
    """Call a function without arguments, or with ``depth``, and return its result."""
    takes = inspect.signature(make)
    if depth is not None and "depth" not in takes.parameters:
        raise ArgumentError(f"model {name!r} has no argument depth")
    if _needed(make):
        raise ArgumentError(
            f"{name!r} takes {takes}: a function of arrays needs some",
            hint="compare(function, x, y), or in a file: def name(): return function, x, y",
            at=function_line(make),
        )
    with named(f"{name!r}", make):
        return make() if depth is None else make(depth=depth)


def model(spec: Spec, depth: int | None = None) -> Model:
    """A model by its name, or a user's own. Raises as ``subject``, also of what is no Model."""
    found = subject(spec, depth=depth)
    if not isinstance(found, Model):
        raise ArgumentError(f"{found.name} is not a Model", at=found.origin)
    return found


def _no_model(spec: Any, name: str, found: Any) -> ArgumentError:
    hint = "a Model of staticgrad.comparison, or a tuple (module or function, *arrays)"
    if callable(spec) or isinstance(spec, str):
        return ArgumentError(
            f"model {name!r} is or returns {type(found).__name__}", hint=hint,
            at=function_line(spec),
        )  # fmt: skip
    return ArgumentError(
        f"a model is a name, a Model or a function that returns one, not {type(spec).__name__}",
        hint=hint,
    )


def _from_file(spec: str) -> tuple[Any, dict[str, Any]]:
    """Return the object ``path.py:name``, or the only candidate of ``path.py``, and all names."""
    path, colon, name = spec.rpartition(":")
    if not colon or spec.endswith(".py"):
        path, name = spec, ""
        if not spec.endswith(".py"):
            raise UnknownNameError(
                f"no model is named {spec!r}", hint=f"{', '.join(MODELS)}, or path.py:name"
            )
    file = Path(path).resolve()
    loading = importlib.util.spec_from_file_location(_module_name(file), file)
    if loading is None or loading.loader is None or not file.is_file():
        raise UnknownNameError(f"there is no Python file {path!r}")
    module = importlib.util.module_from_spec(loading)
    with _beside(file, module), named(f"{path!r}", None):
        loading.loader.exec_module(module)
    if not name:
        name = _only_candidate(path, module)
    if not hasattr(module, name):
        raise UnknownNameError(f"{path!r} has no {name!r}", hint=did_you_mean(name, vars(module)))
    return getattr(module, name), vars(module)


def _arrays_beside(spec: str, found: Module, names: dict[str, Any]) -> list[Any]:
    """The arrays of a file that has a module: one, or two of the same number of examples.

    Raises:
        ArgumentError: there are others, so that the file has to say which.
    """
    arrays = {n: v for n, v in names.items() if isinstance(v, np.ndarray) and n[:1] != "_"}
    rows = {array.shape[:1] for array in arrays.values()}
    if 1 <= len(arrays) <= 2 and len(rows) == 1 and rows != {()}:
        return [*arrays.values()]
    name = next(n for n, v in names.items() if v is found)
    shapes = [f"{n} {list(array.shape)}" for n, array in arrays.items()]
    chosen = ", ".join([*arrays][:2]) or "x, y"
    raise ArgumentError(
        f"{spec!r} has the module {name!r} and {listed(shapes) if shapes else 'no arrays'}: a"
        " module is compared on its argument and a target",
        hint=f"write in the file which they are: example = {name}, {chosen}",
    )


def _only_candidate(path: str, module: ModuleType) -> str:
    """The name of what a file has to compare: models and tuples, else functions, else modules."""
    own = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    ready = [n for n, v in own.items() if isinstance(v, Model) or _is_pair(v)]
    makers = [
        n
        for n, v in own.items()
        if inspect.isfunction(v) and v.__module__ == module.__name__ and not _needed(v)
    ]
    found = ready or makers or [n for n, v in own.items() if isinstance(v, Module)]
    if len(found) != 1:
        listed = ", ".join(f"{path}:{n}" for n in found) or f"{path}:name"
        raise UnknownNameError(
            f"{path!r} has {len(found) or 'no'} candidates for a comparison",
            hint=f"say which: {listed}",
        )
    return found[0]


def _is_pair(found: Any) -> bool:
    return isinstance(found, tuple) and len(found) > 1 and callable(found[0])


def _needed(function: Callable[..., Any]) -> bool:
    """Return whether a function cannot be called without arguments."""
    takes = inspect.signature(function).parameters.values()
    return any(p.default is p.empty and p.kind in _NEEDED for p in takes)


def _module_name(file: Path) -> str:
    """The file's own name, unless another module has it."""
    taken = sys.modules.get(file.stem)
    own = taken is None or getattr(taken, "__file__", None) == str(file)
    return file.stem if own else f"compared_{file.stem}"


@contextmanager
def _beside(file: Path, module: ModuleType) -> Iterator[None]:
    """Register the module by name and put its folder first on the path, as for a script.

    Both stay until the process ends if the file runs: functions may import later.
    """
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    folder = str(file.parent)
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        yield
    except BaseException:
        if added:
            sys.path.remove(folder)
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
        raise
