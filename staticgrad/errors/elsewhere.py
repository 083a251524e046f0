"""Names that a module or a value does not have: where they are, or what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from staticgrad.errors import UnknownAttributeError
from staticgrad.errors.hints import METHODS, OF_TENSORS, WRITE, instead_of
from staticgrad.errors.wording import closest
from staticgrad.upward import up

#: How users reach a module -> its home, whose ``__all__`` is what it offers.
_ROOMS: Final = {
    "sg.checkpoint_policies": "staticgrad.functions.checkpoints.policies",
    "sg.implicit": "staticgrad.programs.implicit",
    "sg.linalg": "staticgrad.functions.linalg",
    "sg.nn": "staticgrad.nn",
    "sg.ode": "staticgrad.functions.loops.ode",
    "sg.optim": "staticgrad.optim",
    "sg.random": "staticgrad.functions.random",
    "sg.special": "staticgrad.functions.special",
    "sg.testing": "staticgrad.testing",
    "sg.train": "staticgrad.train",
    "sg.tree": "staticgrad.functions.tree",
}

_IMPORTED: Final = ("staticgrad.comparison", "staticgrad.eager")
"""Modules that ``sg`` has no name for: users import from them."""


def no_such_name(room: str, name: str, known: Sequence[str] = ()) -> AttributeError:
    """The error for a name that ``sg`` or one of its modules does not have.

    Args:
        room: ``sg``, or how users reach the module (``sg.nn``).
        name: what was asked for. Python itself asks modules for names with two underscores; for
            these it is the plain error.
        known: the public names of ``sg``.
    """
    if name.startswith("__"):
        return AttributeError(name)
    hint = _answer(room, name, known) or _closest(room, name, _own(room, known))
    return UnknownAttributeError(f"{room} has no {name!r}", hint=hint)


def _answer(room: str, name: str, known: Sequence[str]) -> str:
    """Return what to write instead of a name that a module does not have; empty if unknown.

    PyTorch's classes are functions here: ``CrossEntropyLoss`` is ``sg.nn.cross_entropy``.
    """
    found = _where(room, name) or instead_of(name) or _imported(name)
    if found:
        return found
    paths, spelled = _paths(room, _own(room, known))
    written = spelled.get(_letters(name)) or spelled.get(_letters(name).removesuffix("loss"))
    return "" if written is None else f"it is {paths[written]}"


def instead_of_method(name: str, *, of_tensor: bool = False) -> str:
    """Return what to write for a method of another library's arrays; empty if unknown."""
    if of_tensor and name in OF_TENSORS:
        return OF_TENSORS[name]
    if name in METHODS:
        return METHODS[name]
    if name.endswith("_") and name.rstrip("_"):
        plain = name.rstrip("_")
        new = METHODS.get(plain) or call_of(plain)
        return f"a value never changes: y = {new}" if new.startswith(("sg.", "x.")) else WRITE
    return call_of(name) or instead_of(name)


def call_of(name: str) -> str:
    """``sg.nn.softmax(x, axis)``: how the public function of that name is called; else empty."""
    package = up()
    for room, home in (("sg", package), *((each, None) for each in _ROOMS)):
        there = home.__all__ if home is not None else _names_in(room)
        if name in there:
            function = getattr(home or import_module(_ROOMS[room]), name)
            if callable(function) and not isinstance(function, type):
                return f"{room}.{name}({_first_arguments(function)})"
    return ""


def _first_arguments(function: Callable[..., Any]) -> str:
    """Its operands, and the argument behind them: what a method of the same name would take."""
    from inspect import Parameter, signature  # for messages: a correct program never loads it

    known = list(signature(function).parameters.values())
    required = [p.name for p in known if p.default is Parameter.empty]
    further = [p.name for p in known if p.default is not Parameter.empty and p.name == "axis"]
    return ", ".join([*required, *further])


def _closest(room: str, name: str, own: tuple[str, ...]) -> str:
    """``did you mean sg.nn.softmax?``: a slip of the hand."""
    paths, _ = _paths(room, own)
    found = closest(name, paths)
    return "" if found is None else f"did you mean {paths[found]}?"


@cache
def _paths(room: str, own: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Each public name -> how users reach it, first in their room; its letters -> the name."""
    paths = [f"{room}.{each}" for each in own]
    paths += [f"{other}.{each}" for other in _ROOMS for each in _names_in(other)]
    last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    return last, {_letters(each): each for each in last}


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def _where(room: str, name: str) -> str:
    """Where else the name stands."""
    if name == "Parameter" and room != "sg":  # the class is there, a function makes them
        return "it is sg.parameter(name, array)"
    if room != "sg" and name in up().__all__:
        return f"it is sg.{name}"
    for other in _ROOMS:
        if other != room and name in _names_in(other):
            return f"it is {other}.{name}"
    if name in dir(up("staticgrad.functions.random").Generator):
        return f"a generator has it: rng = sg.random.Generator(seed), rng.{name}(...)"
    return ""


def _imported(name: str) -> str:
    """Where a name comes from that users import."""
    found = (module for module in _IMPORTED if name in import_module(module).__all__)
    return next((f"from {module} import {name}" for module in found), "")


def _own(room: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names that a room itself offers: those of ``sg`` are given."""
    return tuple(known) or _names_in(room)


def _names_in(room: str) -> tuple[str, ...]:
    """The public names of a module."""
    return tuple(import_module(_ROOMS[room]).__all__)
