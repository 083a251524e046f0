"""Rewrites that no program needs: one that fails is left out, with a warning.

Pipelines, plans and derivatives share this; derivatives load no pipeline.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from os.path import basename  # pathlib is not loaded for this
from typing import Final, TypeVar

from staticgrad.errors import PassWarning, StaticgradError, warn
from staticgrad.support.source import NO_LINE

T = TypeVar("T")


def attempt(
    name: str,
    rewrite: Callable[[], T],
    otherwise: T,
    refuse: Callable[[Exception], None] | None = None,
) -> T:
    """Return the result of a rewrite that no program needs; ``otherwise`` if it fails, and warn.

    ``refuse`` gets the error first, and may raise one.
    """
    try:
        return rewrite()
    except MemoryError:
        raise
    except Exception as error:
        if refuse is not None:
            refuse(error)
        _warn_of_failure(name, error)
        return otherwise


#: Passes that have been warned of, each with the class of its error.
_warned: Final[set[tuple[str, type[Exception]]]] = set()


def _warn_of_failure(name: str, error: Exception) -> None:
    """Warn that a pass failed and was left out, once for each pass and class of error."""
    if (name, type(error)) in _warned:
        return
    warn(
        PassWarning,
        f"pass {name} failed and was left out, a defect of staticgrad: {describe_failure(error)};"
        " results are right without it. Please report it with the program",
    )
    _warned.add((name, type(error)))  # not where the warning is an error


def describe_failure(error: Exception) -> str:
    """Return the class and first line of an error, its place in the code, and the user's line."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    place = f"in {frame.name} ({basename(frame.filename)}:{frame.lineno})"  # noqa: PTH119
    text = f"{type(error).__name__} {place}: {str(error).partition(chr(10))[0]}"
    if isinstance(error, StaticgradError) and (line := error.at.resolve()) != NO_LINE:
        text += f", at {line.short}"
    return text
