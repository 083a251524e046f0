"""Building an op from attributes that came from text: unknown, missing and ill-typed ones refused.

The annotations of the op's fields say what each attribute may be; a dataclass does not check them.
This module knows annotations, not the text that the values came from.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from staticgrad.ir.op import Op
from staticgrad.ir.text import suggestion

_HINTS: Final[dict[object, dict[str, Any]]] = {}


class AttributeMistake(Exception):  # noqa: N818 - caught, and reported as a ParseError
    """An attribute that an op does not take. ``name`` is empty when it is missing."""

    def __init__(self, message: str, name: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.name, self.hint = name, hint


def build_op(cls: type[Op], attributes: Mapping[str, Any]) -> Op:
    """The op with these attributes, defaults for the rest.

    Raises:
        AttributeMistake: an unknown, missing or ill-typed attribute. What the op's own checks raise
            passes through.
    """
    known = _fields(cls)
    for name, value in attributes.items():
        if name not in known:
            raise AttributeMistake(
                f"{cls.name} has no attribute {name!r}",
                name,
                suggestion(name, known) or _listed(known),
            )
        if not fits(value, _hints(cls).get(name, Any)):
            raise AttributeMistake(
                f"{cls.name}: {name} takes {known[name].type}, not {value!r}", name
            )
    for name, field in known.items():
        if name not in attributes and field.default is MISSING and field.default_factory is MISSING:
            raise AttributeMistake(f"{cls.name} needs the attribute {name!r}")
    return cls(**attributes)


def _fields(cls: type[Op]) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(cls) if field.init}


def _hints(cls: type[Op]) -> dict[str, Any]:
    if cls not in _HINTS:
        try:
            _HINTS[cls] = get_type_hints(cls)
        except (NameError, TypeError):  # an annotation that exists for type checkers only
            _HINTS[cls] = {}
    return _HINTS[cls]


def _listed(known: Mapping[str, object]) -> str:
    return f"it has {', '.join(known)}" if known else "it has none"


def fits(value: object, hint: Any) -> bool:
    """Whether a value is what an annotation says; an annotation not understood accepts anything."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and _items_fit(value, get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is float:  # an integer is a float to annotations
        return isinstance(value, int | float)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _items_fit(items: tuple[object, ...], hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is ...:
        return all(fits(item, hints[0]) for item in items)
    return len(items) == len(hints) and all(map(fits, items, hints))
