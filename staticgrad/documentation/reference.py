"""The reference: a page for each public module, made of signatures, docstrings and trials.

Which element types a function takes, and what it gives for them, is found by calling it with
inputs of a graph: no page can say otherwise than the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Final

import staticgrad as sg
from staticgrad.documentation.docstrings import code, read
from staticgrad.errors import CODES, StaticgradError
from staticgrad.exports import FUNCTIONS, MODULES, OTHERS, homes
from staticgrad.types.dtype import BOOL, F16, F32, F64, I8, I32, I64, U8, DType

#: Address of a page -> its title, how users reach what is on it, and the names.
Room = tuple[str, str, tuple[str, ...]]
_FIRST_LETTERS: Final = (("a", "d"), ("e", "l"), ("m", "r"), ("s", "z"))
_TRIED: Final = 2  # operands of a function that is tried
_TYPES: Final = (BOOL, I8, I32, I64, U8, F16, F32, F64)


def rooms() -> dict[str, Room]:
    """The pages of the reference and what is on each: every public name, once."""
    functions = sorted(homes(FUNCTIONS))
    others = sorted(homes(OTHERS))
    found: dict[str, Room] = {"programs": ("Programs, settings, dtypes", "sg", tuple(others))}
    for first, last in _FIRST_LETTERS:
        names = [each for each in functions if first <= each[0].lower() <= last]
        title = f"Functions of arrays, {first.upper()} to {last.upper()}"
        found[f"functions-{first}-{last}"] = (title, "sg", tuple(names))
    for name, home in sorted(MODULES.items()):
        if name not in ("errors", "passes"):  # which have pages of their own
            known = tuple(sorted(import_module(home).__all__))
            found[name] = (f"sg.{name}", f"sg.{name}", known)
    return found


def page(room: Room) -> str:
    """The Markdown of a page of the reference."""
    title, path, names = room
    room_of = owner(path)
    head = (inspect.getdoc(room_of) or "").partition("\n\n")[0] if path != "sg" else ""
    parts = [f"# {title}", *([code(head)] if head else [])]
    parts += [entry(f"{path}.{name}", getattr(room_of, name)) for name in names]
    return "\n\n".join(parts) + "\n"


def find(name: str) -> tuple[str, Any] | None:
    """A public name as somebody types it (``exp``, ``sg.nn.relu``), in full, and what it is."""
    asked = name.removeprefix("sg.").removeprefix("staticgrad.")
    for _, path, names in rooms().values():
        room = path.removeprefix("sg").removeprefix("staticgrad").removeprefix(".")
        for each in names:
            if asked in (each, f"{room}.{each}".lstrip(".")):
                return f"{path}.{each}", getattr(owner(path), each)
    return None


def owner(path: str) -> Any:
    """What has the names of a page: ``sg``, or one of its modules."""
    return sg if path == "sg" else import_module(MODULES.get(path.removeprefix("sg."), path))


def entry(path: str, value: Any) -> str:
    """What the reference says of one name."""
    lines = [f"## {path}"]
    if not callable(value):
        return "\n\n".join([*lines, f"`{value!r}`"])
    lines += [f"```python\n{path}{called(value)}\n```", read(value).markdown()]
    given = dtypes(value)
    if given:
        lines += ["**Element types**", given]
    if isinstance(value, type):
        lines += list(_methods(value))
    home = inspect.unwrap(value).__module__.replace(".", "/")
    lines.append(f"*Defined in* `{home}.py`")
    return "\n\n".join(part for part in lines if part)


def called(value: Any) -> str:
    """The parameters of what is called, with their defaults; types stand in the code."""
    if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
        return ""
    made: Any = value
    signature = inspect.signature(made.__init__ if isinstance(value, type) else value)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    own = plain[isinstance(value, type) :]  # without self
    return str(signature.replace(parameters=own, return_annotation=signature.empty))


def first_sentence(value: Any) -> str:
    """The first paragraph of a docstring in one line; of a constant what it is."""
    if not callable(value):
        return f"`{value!r}`"
    known = f"{value.code}. " if getattr(value, "code", "") else ""
    return known + " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def _methods(kind: type) -> Iterator[str]:
    """The public methods and properties that the class itself defines."""
    found = []
    for name, member in sorted(vars(kind).items()):
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if name.startswith("_") or not (inspect.isfunction(function) and function.__doc__):
            continue
        shown = name if isinstance(member, property) else f"{name}{called(function)}"
        shown = shown.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
        found.append(f"- `{shown}`: {code(first_sentence(function))}")
    if found:
        yield "**Methods and properties**"
        yield "\n".join(found)


def dtypes(value: Callable[..., Any]) -> str:
    """Which types come of which, in a line for each: ``f32[n, 3] gives f32[n, 3]``.

    Empty where the function takes no operands, or needs more than these to be called.
    """
    count = _operands(value)
    if not 0 < count <= _TRIED:
        return ""
    gives: dict[str, list[str]] = {}
    for dtype in _TYPES:
        found = _tried(value, count, dtype)
        if found is None:
            continue
        pattern = found.replace(f"{dtype.code}[", "T[")
        gives.setdefault(pattern, []).append(dtype.code)
    operands = ", ".join(["T[n, 3]"] * count)
    return "\n".join(
        f"- {', '.join(codes)}: `{operands}` gives `{pattern}`" for pattern, codes in gives.items()
    )


def _operands(value: Callable[..., Any]) -> int:
    """How many operands a function needs; 0 where it needs something else, or is none."""
    if isinstance(value, type):
        return 0
    needed = [
        p
        for p in inspect.signature(value).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)
    ]
    plain = all("Operand" in str(p.annotation) and p.kind is not p.VAR_POSITIONAL for p in needed)
    return len(needed) if plain else 0


def _tried(value: Callable[..., Any], count: int, dtype: DType) -> str | None:
    """The type of what a function gives of operands of one type; None where it refuses them."""
    operands = [sg.input(f"x{k}", ("n", 3), dtype) for k in range(count)]
    try:
        found = value(*operands)
    except (StaticgradError, TypeError, ValueError):
        return None
    several = found if isinstance(found, tuple | list) else [found]
    if not all(isinstance(each, sg.Value) for each in several):
        return None
    return ", ".join(str(each.type) for each in several)


def codes() -> str:
    """The page of error codes: what each means, and the classes that carry it."""
    known: dict[str, list[type]] = {}
    everything: Any = import_module("staticgrad.errors")
    for name in everything.__all__:
        kind = getattr(everything, name)
        if isinstance(kind, type) and "code" in vars(kind):
            known.setdefault(vars(kind)["code"], []).append(kind)
    parts = [
        "# Error codes",
        "Every error begins with a code, which never changes its meaning. Below 900 they are"
        " errors, from there on warnings. All derive from `sg.StaticgradError` or"
        " `sg.StaticgradWarning`, most from Python's own class of the same kind, too.",
    ]
    for number, meaning in CODES.items():
        parts.append(f"## {number}")
        kinds = [_class(kind) for kind in known.get(number, ())]
        parts += kinds or [f"{meaning[0].upper()}{meaning[1:]}."]
    return "\n\n".join(parts) + "\n"


def _class(kind: type) -> str:
    bases = [base.__name__ for base in kind.__mro__[1:] if base.__module__ == "builtins"]
    python = [each for each in bases if each not in ("Exception", "BaseException", "object")]
    like = f" (also {_listed(python[:2])})" if python else ""
    return f"`sg.errors.{kind.__name__}`{like}: {read(kind).markdown()}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
