"""Named parts of a program: ``with sg.scope("block3"): ...``, which nodes, plans and errors show.

Only the name is checked here; how it reaches the nodes is in ``source.py``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from staticgrad.errors import ArgumentError
from staticgrad.errors.tracebacks import boundary
from staticgrad.support.building import within


@boundary
def scope(name: str) -> AbstractContextManager[None]:
    """Name the part of the program being built: ``with sg.scope("block3"): ...``.

    Scopes nest into a path, ``encoder/block3``, which nodes, ``explain`` and errors show.

    Args:
        name: the name of the part; parts may lie in each other.

    Returns:
        What ``with`` enters, or what stands above a function as its decorator.

    Raises:
        ArgumentError: ``name`` is not a non-empty line of text without brackets.

    >>> import staticgrad as sg
    >>> with sg.scope("head"):
    ...     y = sg.exp(sg.input("x", ()))
    """
    if not isinstance(name, str):
        raise ArgumentError(
            f"scope takes a name, not {name!r}", hint=f'a text: sg.scope("block{name}")'
        )
    if not name or not name.isprintable() or "[" in name or "]" in name:
        raise ArgumentError(f"scope takes a printable name without brackets, not {name!r}")
    return within(scope=name)
