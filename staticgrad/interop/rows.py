"""Parts that the bridges share: places of results, arguments of rows, refused variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import Parameter as Argument, signature
from typing import Any, NamedTuple

from staticgrad.support.errors import ExportError


class ResultOf(NamedTuple):
    """The result of a call, or an input: its place among all of them in a program."""

    place: int


@cache
def arguments_of(row: Callable[..., Any]) -> Mapping[str, Argument]:
    """Return the arguments that the function of a row takes, by name."""
    return signature(row).parameters


def unsupported_variant(what: str) -> ExportError:
    """Return the error of a row that refuses a variant of its operator."""
    return ExportError(f"{what} is not supported")
