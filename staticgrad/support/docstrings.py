"""Docstrings of families: what functions or classes say alike is written once, with the first.

``@like(mse)`` completes a docstring when it is defined, so that ``help`` and the reference show
what each member takes, gives and raises.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

Member = TypeVar("Member", bound=Callable[..., Any])

Sections = dict[str, str]

#: Arguments that mean the same in all public functions: name and annotation -> text.
SHARED: Final = {
    ("x", "ArrayLike[AnyValue]"): "a value; where the result is floating, integers become float64.",
    ("axis", "Axes"): "which axes; negative ones count from the end; all by default.",
    ("axis", "int"): "which axis; negative ones count from the end.",
    ("keepdims", "bool"): "keep the reduced axes, with size 1.",
    ("where", "Mask"): "which elements count, as bools that broadcast to x; all by default.",
    ("k", "int"): "which diagonal; above the main one it is positive.",
    ("k", "Integer"): "which diagonal; above the main one it is positive.",
    ("like", "AnyValue | None"): "a value of the kind that the result shall have.",
    ("eps", "float"): "added to the variance.",
}
_ORDER: Final = ("", "Args:", "Returns:", "Raises:", ">>> ")
_NAMES: Final = re.compile(r"^    ([\w*]+(?:, [\w*]+)*):", re.MULTILINE)


def like(first: Callable[..., Any]) -> Callable[[Member], Member]:
    """Decorate a family member: its docstring inherits missing sections from that of ``first``.

    Args:
        first: a function or class, whose docstring has sections. What it says of arguments that
            the member takes and does not explain itself is added to the member's; so are
            "Returns" and "Raises" where the member has no such section.

    Returns:
        What gives the member itself, its docstring completed.

    >>> def half(x, places=2):
    ...     '''Half of x.
    ...
    ...     Args:
    ...         x: a number.
    ...         places: how many are kept.
    ...
    ...     Returns:
    ...         A number.
    ...     '''
    >>> @like(half)
    ... def third(x, places=2):
    ...     '''A third of x.'''
    >>> print(third.__doc__)
    A third of x.
    <BLANKLINE>
    Args:
        x: a number.
        places: how many are kept.
    <BLANKLINE>
    Returns:
        A number.
    """

    theirs = _parts(first.__doc__ or "")  # none has one under python -OO

    def complete_docstring(member: Member) -> Member:
        if member.__doc__ and theirs:
            member.__doc__ = _merge_sections(member, theirs)
        return member

    return complete_docstring


def with_shared_arguments(function: Callable[..., Any]) -> str | None:
    """Return the docstring of ``function`` with the arguments of ``SHARED`` that it leaves out."""
    kinds = function.__annotations__.items()
    lines = [f"    {name}: {SHARED[name, kind]}" for name, kind in kinds if (name, kind) in SHARED]
    if not function.__doc__ or not lines:
        return function.__doc__
    return _merge_sections(function, {"Args:": "\n".join(["Args:", *lines])})


def _merge_sections(member: Callable[..., Any], theirs: Sections) -> str:
    """Merge docstrings: the member's sections, and those of the family that it lacks."""
    sections = dict(_parts(member.__doc__ or ""))
    takes: tuple[str, ...]
    if (signature := getattr(member, "__signature__", None)) and not isinstance(member, type):
        takes = tuple(signature.parameters)
    else:
        code = inspect.unwrap(member.__init__ if isinstance(member, type) else member).__code__  # type: ignore[misc]
        starred = bool(code.co_flags & inspect.CO_VARARGS) + bool(
            code.co_flags & inspect.CO_VARKEYWORDS
        )
        takes = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + starred]
    explained = _entries(sections.get("Args:", ""))
    explained_names = {name for names in explained for name in names}
    arguments = explained | {
        names: text
        for names, text in _entries(theirs.get("Args:", "")).items()
        if explained_names.isdisjoint(names) and any(name in takes for name in names)
    }
    if arguments:
        in_order = sorted(
            arguments, key=lambda names: takes.index(names[0]) if names[0] in takes else -1
        )
        sections["Args:"] = "\n".join(["Args:", *(arguments[names] for names in in_order)])
    for section in ("Returns:", "Raises:"):
        if section in theirs:
            sections.setdefault(section, theirs[section])
    return "\n\n".join(sections[section] for section in _ORDER if sections.get(section))


@cache
def _parts(text: str) -> Sections:
    """Split a docstring into sections by headline; the text before the first is ""."""
    text, sections, name = inspect.cleandoc(text), {"": ""}, ""
    for block in text.split("\n\n"):
        first = block.partition("\n")[0]
        if first in _ORDER or first.startswith(">>> "):
            name = first if first in _ORDER else ">>> "
        elif not first.startswith(" ") and name != ">>> ":
            name = ""
        sections[name] = f"{sections[name]}\n\n{block}" if sections.get(name) else block
    return sections


@cache
def _entries(section: str) -> dict[tuple[str, ...], str]:
    """Split an Args section into entries: the argument names explained together -> lines."""
    starts = list(_NAMES.finditer(section))
    ends = [match.start() for match in starts[1:]] + [len(section)] * bool(starts)
    return {
        tuple(match[1].split(", ")): section[match.start() : end].rstrip()
        for match, end in zip(starts, ends, strict=True)
    }
