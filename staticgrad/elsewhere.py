"""Names that a module does not have: what other libraries call it, or where it stands here."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from staticgrad.errors import UnknownAttributeError
from staticgrad.message import closest

#: How users reach a module -> its file, and the files whose functions and classes it offers.
_ROOMS: Final[dict[str, tuple[str, ...]]] = {
    "sg.nn": (
        "staticgrad.ops.nn",
        "staticgrad.ops.normalization",
        "staticgrad.ops.attention",
    ),
    "sg.optim": ("staticgrad.optim",),
    "sg.random": ("staticgrad.ops.random",),
    "sg.testing": ("staticgrad.testing", "staticgrad.testing.gradients", "staticgrad.testing.ops"),
}
#: How others call it -> what to write here.
_NAMES: Final = {
    **dict.fromkeys(("placeholder", "Input", "tensor", "symbol"), "sg.input(name, shape, dtype)"),
    **dict.fromkeys(("Variable", "variable", "shared"), "sg.parameter(name, array)"),
    **dict.fromkeys(("array", "asarray"), "sg.constant(array); most functions take arrays as is"),
    **dict.fromkeys(("jit", "function", "Function"), "f = sg.compile(value), then f.run(feeds)"),
    **dict.fromkeys(("Tensor", "no_grad"), "from staticgrad.eager import Tensor: define-by-run"),
    **dict.fromkeys(("gradient", "gradients", "value_and_grad", "backward"), "sg.grad(loss, wrt)"),
    **dict.fromkeys(("Linear", "Dense", "Module", "Sequential"), "layers are functions: x @ w + b"),
    **dict.fromkeys(("seed", "default_rng", "PRNGKey"), "rng = sg.random.Generator(seed)"),
    **dict.fromkeys(("mm", "bmm"), "a @ b, or sg.matmul(a, b)"),
    "permute": "sg.transpose(x, axes)",
    "cat": "sg.concatenate([a, b], axis)",
    "unsqueeze": "sg.expand_dims(x, axis)",
}


def no_such_name(room: str, name: str, known: tuple[str, ...] = ()) -> AttributeError:
    """The error for a name that ``sg`` or one of its modules does not have.

    Args:
        room: ``sg``, or how users reach the module (``sg.nn``).
        name: what was asked for. Python itself asks modules for names with two underscores; for
            these it is the plain error.
        known: the public names of ``sg``.
    """
    if name.startswith("__"):
        return AttributeError(name)
    hint = _instead(room, name)
    if not hint:
        names = [f"{room}.{each}" for each in known or _names_in(room)]
        others = [f"{other}.{each}" for other in _ROOMS for each in _names_in(other)]
        hint = _closest(name, [*names, *others])
    return UnknownAttributeError(f"{room} has no {name!r}", hint=hint)


def _closest(name: str, paths: list[str]) -> str:
    """``did you mean sg.nn.softmax?``: the path whose last part is closest."""
    last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    found = closest(name, last)
    return "" if found is None else f"did you mean {last[found]}?"


def _instead(room: str, name: str) -> str:
    """What stands for it here, or where else the name stands."""
    if name in _NAMES:
        return _NAMES[name]
    for other in _ROOMS:
        if other != room and name in _names_in(other):
            return f"it is {other}.{name}"
    if room != "sg" and name in import_module("staticgrad").__all__:
        return f"it is sg.{name}"
    if name in vars(import_module("staticgrad.ops.random").Generator):
        return f"a generator has it: rng = sg.random.Generator(seed), rng.{name}(...)"
    return ""


def _names_in(room: str) -> tuple[str, ...]:
    """The public functions and classes of a module."""
    homes = _ROOMS[room]
    found = vars(import_module(homes[0])).items()
    return tuple(
        name
        for name, thing in found
        if not name.startswith("_") and getattr(thing, "__module__", "") in homes
    )
