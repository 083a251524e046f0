"""What a named size may be called, and what it may promise: the checks of ``sg.dim``."""

from __future__ import annotations

from operator import index
from typing import Any

from staticgrad.errors import ArgumentError


def check_size(name: Any, min: Any, max: Any, hint: Any, multiple_of: Any) -> None:
    """Refuse a size that cannot be.

    Raises:
        ArgumentError: no name, bounds that are no whole numbers or that no size can meet, or a
            hint outside of them.
    """
    if not name or not isinstance(name, str):
        raise ArgumentError(
            f"a size needs a name, got {name!r}", hint='sg.dim("batch"); a literal size is an int'
        )
    for what, bound in (("min", min), ("max", max), ("hint", hint), ("multiple_of", multiple_of)):
        if bound is not None and not _is_whole(bound):
            raise ArgumentError(f"size {name!r}: {what}={bound!r} is not a whole number")
    promised = f"min={min}, max={max}, multiple_of={multiple_of}"
    if min < 0 or multiple_of < 1 or (max is not None and max < min):
        raise ArgumentError(f"size {name!r}: no size has {promised}")
    if hint is not None and (hint < min or (max is not None and hint > max)):
        raise ArgumentError(f"size {name!r}: hint={hint} is outside {promised}")


def _is_whole(bound: Any) -> bool:
    try:
        index(bound)
    except TypeError:
        return False
    return not isinstance(bound, bool)
