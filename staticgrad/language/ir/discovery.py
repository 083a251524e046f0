"""Ops by name: their classes, built-in or of other installed packages, and attributes from text.

Text and pickles name ops, so whoever reads them first may be in a process that has imported no op
yet. This module imports them when a name is unknown. A package that cannot be imported costs its
own ops and a warning. The annotations of an op's fields say what each attribute may be: unknown,
missing and ill-typed attributes are refused.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from staticgrad.errors import PluginWarning, warn
from staticgrad.errors.wording import shorten_text
from staticgrad.language.calls.functional import load_functions
from staticgrad.language.ir.op import Op, op_class
from staticgrad.language.ir.text import suggestion

BUILT_IN = "staticgrad.language.ops"
ENTRY_POINTS = "staticgrad.ops"  # other packages announce modules that define ops here

_loaded = False
_announced_loaded = False
#: What could not be imported, for the message about an unknown op.
broken: Final[list[str]] = []


def find_op(name: str) -> type[Op] | None:
    """Return the op class registered as ``name``; if it is unknown, import all op modules first."""
    for more in (None, load_ops, _import_announced_ops):
        if more is not None:
            more()
        try:
            return op_class(name)
        except KeyError:
            continue
    return None


def load_ops() -> None:
    """Import, once, the modules that define the built-in ops."""
    global _loaded
    if _loaded:
        return
    import pkgutil

    load_functions()
    package = importlib.import_module(BUILT_IN)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{BUILT_IN}.{module.name}")
    _loaded = True


def _import_announced_ops() -> None:
    """Import, once, the op modules that installed packages announce as entry points."""
    global _announced_loaded
    if _announced_loaded:
        return
    _announced_loaded = True
    for _ in load_entry_points(ENTRY_POINTS, broken):
        pass  # importing it registers its ops


def load_entry_points(group: str, failed: list[str] | None = None) -> Iterator[tuple[Any, Any]]:
    """Load the entry points of a group of installed packages, with the name of each; skip broken
    ones.

    Warns of each of the others, whatever it raised, with the name of its package; the texts of
    these warnings are added to ``failed``.
    """
    # A name that is unknown is rare, and this loads half of the standard library.
    from importlib.metadata import entry_points

    texts = []
    for entry in entry_points(group=group):
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:  # whatever a stranger's module does
            reason = shorten_text(" ".join(f"{type(error).__name__}: {error}".split()), 160)
            texts.append(
                f"{package_of(entry)}, which announces {entry.value!r} for {group}, cannot be"
                f" imported: {reason}"
            )
        else:
            yield entry, loaded
    if failed is not None:
        failed.extend(texts)
    for text in texts:
        warn(PluginWarning, text)


def package_of(entry: Any) -> str:
    """Return the name that messages use for the package of an entry point."""
    package = getattr(entry, "dist", None)
    return f"the package {package.name!r}" if package is not None else "a package"


_HINTS: Final[dict[object, dict[str, Any]]] = {}


class AttributeMistake(Exception):  # noqa: N818 - caught, and reported as a ParseError
    """An attribute that an op does not take. ``name`` is empty when it is missing."""

    def __init__(self, message: str, name: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.name, self.hint = name, hint


def build_op(cls: type[Op], attributes: Mapping[str, Any]) -> Op:
    """Build an op from attributes read from text, with defaults for the others."""
    fields_by_name = {field.name: field for field in fields(cls) if field.init}
    for name, value in attributes.items():
        if name not in fields_by_name:
            raise AttributeMistake(
                f"{cls.name} has no attribute {name!r}",
                name,
                suggestion(name, fields_by_name) or f"it has {', '.join(fields_by_name) or 'none'}",
            )
        if cls not in _HINTS:
            try:
                _HINTS[cls] = get_type_hints(cls)
            except (NameError, TypeError):  # an annotation that exists for type checkers only
                _HINTS[cls] = {}
        if not fits(value, _HINTS[cls].get(name, Any)):
            kind: Any = fields_by_name[name].type
            kind_text = kind.__name__ if isinstance(kind, type) else kind
            raise AttributeMistake(f"{cls.name}: {name} takes {kind_text}, not {value!r}", name)
    for name, field in fields_by_name.items():
        if name not in attributes and field.default is MISSING and field.default_factory is MISSING:
            raise AttributeMistake(f"{cls.name} needs the attribute {name!r}")
    return cls(**attributes)


def fits(value: object, hint: Any) -> bool:
    """Return whether an op attribute fits its annotation (any value, if unsupported)."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in get_args(hint))
    if origin is tuple:
        hints = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(hints) == 2 and hints[1] is ...:
            return all(fits(item, hints[0]) for item in value)
        return len(value) == len(hints) and all(map(fits, value, hints))
    if origin is Literal:
        return value in get_args(hint)
    if hint is float:  # an integer is a float to annotations
        return isinstance(value, int | float)
    return isinstance(value, hint) if isinstance(hint, type) else True
