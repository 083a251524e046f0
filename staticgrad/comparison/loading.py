"""Finding the model that somebody names: one of the package, a user's file, or the thing itself."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from staticgrad.comparison.model import Model, checked, function_line, named
from staticgrad.comparison.models import MODELS
from staticgrad.errors import ArgumentError, UnknownNameError

#: A name, ``path.py:function``, a function that makes a model, or a model.
Spec = str | Model | Callable[..., Any]


def model(spec: Spec, depth: int | None = None) -> Model:
    """A model by its name, or a user's own.

    Args:
        spec: ``linear``, ``mlp``, ``deep``, ``chars``; ``path.py:function``; or in Python the
            function, or what it returns.
        depth: how many layers, for functions with an argument ``depth``.

    Raises:
        UnknownNameError: no such model, file or function.
        ArgumentError: the function returns something else than a Model, or takes no depth; a part
            of the model is not what it has to be.
        ProgramError: the user's file or function fails by itself.
    """
    if isinstance(spec, Model) and depth is None:
        return checked(spec)
    make = _maker(spec)
    name = spec if isinstance(spec, str) else getattr(make, "__name__", "model")
    if depth is not None and "depth" not in inspect.signature(make).parameters:
        raise ArgumentError(f"model {name!r} has no argument depth")
    with named(f"{name!r}", make):
        found = make() if depth is None else make(depth=depth)
    if not isinstance(found, Model):
        raise ArgumentError(
            f"model {name!r} returns {type(found).__name__}",
            hint="it returns a staticgrad.comparison.Model",
            at=function_line(make),
        )
    return checked(found)


def _maker(spec: Any) -> Callable[..., Any]:
    if isinstance(spec, str):
        return MODELS.get(spec) or _from_file(spec)
    if not callable(spec):
        raise ArgumentError(
            f"a model is a name, a Model or a function that returns one, not {type(spec).__name__}"
        )
    given: Callable[..., Any] = spec
    return given


def _from_file(spec: str) -> Callable[..., Any]:
    path, colon, name = spec.rpartition(":")
    if not colon:
        raise UnknownNameError(
            f"no model is named {spec!r}", hint=f"{', '.join(MODELS)}, or path.py:function"
        )
    file = Path(path).resolve()
    loading = importlib.util.spec_from_file_location(_module_name(file), file)
    if loading is None or loading.loader is None or not file.is_file():
        raise UnknownNameError(f"there is no Python file {path!r}")
    module = importlib.util.module_from_spec(loading)
    with _beside(file, module), named(f"{path!r}", None):
        loading.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise UnknownNameError(f"{path!r} has no function {name!r}")
    made: Callable[..., Any] = found
    return made


def _module_name(file: Path) -> str:
    """The file's own name, unless another module has it."""
    taken = sys.modules.get(file.stem)
    own = taken is None or getattr(taken, "__file__", None) == str(file)
    return file.stem if own else f"compared_{file.stem}"


@contextmanager
def _beside(file: Path, module: ModuleType) -> Iterator[None]:
    """As Python runs a script: the module is known by its name, its folder comes first.

    Both stay for as long as the process, if the file runs: functions may import later.
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
